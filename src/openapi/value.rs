//! An order-keeping value that knows where each of its parts stands in the text.
//!
//! A [`Tree`] is an arena beside the text it was read from: a node is 12 bytes and refers to its text
//! instead of copying it, so a description costs a small multiple of its size, YAML aliases share their
//! nodes, and every place (line, column, JSON pointer) can be found afterwards. It does not read text:
//! `json` and `yaml` do, through [`Builder`].

use std::{collections::HashMap, ops::Range, sync::OnceLock};

/// Objects with more members than this are looked up by binary search.
const SMALL: u32 = 12;
/// The bit of a [`Span`] that says its text lies in `extra`, not in the source.
const EXTRA: u32 = 1 << 31;
const NO_PARENT: u32 = u32::MAX;

/// A piece of text: of the source when it stands there as it is, else of `extra`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// A part of the source.
    pub fn source(range: Range<usize>) -> Self {
        Self { start: range.start as u32, len: (range.end - range.start) as u32 }
    }
}

#[derive(Clone, Copy, Debug)]
enum Raw {
    Null,
    Bool(bool),
    Number(Span),
    String(Span),
    /// First item and count in `items`.
    Array(u32, u32),
    /// First member and count in `members`.
    Object(u32, u32),
}

#[derive(Clone, Copy, Debug)]
struct Member {
    key: Span,
    /// Where the key's token starts in the source.
    at: u32,
    value: u32,
}

/// One document as read.
#[derive(Debug, Default)]
pub struct Tree {
    text: String,
    extra: String,
    nodes: Vec<Raw>,
    offsets: Vec<u32>,
    parents: Vec<u32>,
    items: Vec<u32>,
    members: Vec<Member>,
    /// Members of large objects in the order of their keys.
    sorted: Vec<u32>,
    /// First member of a large object -> its part of `sorted`.
    large: HashMap<u32, u32>,
    root: u32,
    /// The number of the document in its set.
    pub file: u32,
    anchors: OnceLock<HashMap<String, u32>>,
    ids: OnceLock<HashMap<String, u32>>,
}

impl Tree {
    #[must_use]
    pub fn root(&self) -> Node<'_> {
        Node { tree: self, id: self.root }
    }

    /// Gives the tree the text that its spans are parts of.
    pub fn attach(&mut self, text: String, file: u32) {
        (self.text, self.file) = (text, file);
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The schemas that have a name (`$anchor`, `$dynamicAnchor`), by name.
    #[must_use]
    pub fn anchors(&self) -> &HashMap<String, u32> {
        self.anchors.get_or_init(|| self.owners_of(&["$anchor", "$dynamicAnchor"]))
    }

    /// The schemas that have an address of their own (`$id`), by address.
    #[must_use]
    pub fn ids(&self) -> &HashMap<String, u32> {
        self.ids.get_or_init(|| self.owners_of(&["$id"]))
    }

    /// The objects that have a member of one of `keys` with a string value, by that string.
    fn owners_of(&self, keys: &[&str]) -> HashMap<String, u32> {
        let named = self.members.iter().filter(|m| keys.contains(&self.str(m.key)));
        let owner = |m: &Member| {
            let value = self.node(m.value);
            Some((value.as_str()?.to_owned(), value.parent()?.id))
        };
        named.filter_map(owner).collect()
    }

    /// The node with that number, as a [`Duplicate`] names it.
    #[must_use]
    pub fn node(&self, id: u32) -> Node<'_> {
        Node { tree: self, id }
    }

    fn str(&self, span: Span) -> &str {
        slice(&self.text, &self.extra, span)
    }
}

fn slice<'a>(source: &'a str, extra: &'a str, span: Span) -> &'a str {
    let (text, start) =
        if span.start & EXTRA == 0 { (source, span.start) } else { (extra, span.start & !EXTRA) };
    &text[start as usize..(start + span.len) as usize]
}

/// A value in its tree.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    tree: &'a Tree,
    id: u32,
}

/// What a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    Null,
    Bool(bool),
    /// As a JSON number, of any size.
    Number(&'a str),
    String(&'a str),
    Array,
    Object,
}

impl PartialEq for Node<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.tree, other.tree) && self.id == other.id
    }
}

impl<'a> Node<'a> {
    #[must_use]
    pub fn kind(self) -> Kind<'a> {
        match self.tree.nodes[self.id as usize] {
            Raw::Null => Kind::Null,
            Raw::Bool(value) => Kind::Bool(value),
            Raw::Number(span) => Kind::Number(self.tree.str(span)),
            Raw::String(span) => Kind::String(self.tree.str(span)),
            Raw::Array(..) => Kind::Array,
            Raw::Object(..) => Kind::Object,
        }
    }

    /// The document and the node in it: the identity of a value.
    #[must_use]
    pub fn key(self) -> (u32, u32) {
        (self.tree.file, self.id)
    }

    #[must_use]
    pub fn file(self) -> u32 {
        self.tree.file
    }

    #[must_use]
    pub fn tree(self) -> &'a Tree {
        self.tree
    }

    /// The object or array that holds this value; of a YAML alias, where the value is written.
    #[must_use]
    pub fn parent(self) -> Option<Node<'a>> {
        let id = self.tree.parents[self.id as usize];
        (id != NO_PARENT).then(|| Node { tree: self.tree, id })
    }

    #[must_use]
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    #[must_use]
    pub fn is_object(self) -> bool {
        self.kind() == Kind::Object
    }

    #[must_use]
    pub fn is_array(self) -> bool {
        self.kind() == Kind::Array
    }

    #[must_use]
    pub fn as_str(self) -> Option<&'a str> {
        if let Kind::String(text) = self.kind() { Some(text) } else { None }
    }

    #[must_use]
    pub fn as_bool(self) -> Option<bool> {
        if let Kind::Bool(value) = self.kind() { Some(value) } else { None }
    }

    /// The text of a scalar: authors write `1` and `true` where a string is due.
    #[must_use]
    pub fn scalar(self) -> Option<&'a str> {
        match self.kind() {
            Kind::String(text) | Kind::Number(text) => Some(text),
            Kind::Bool(value) => Some(if value { "true" } else { "false" }),
            _ => None,
        }
    }

    /// What this is, for messages: "a list", "a number" …
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self.kind() {
            Kind::Null => "null",
            Kind::Bool(_) => "a boolean",
            Kind::Number(_) => "a number",
            Kind::String(_) => "a string",
            Kind::Array => "a list",
            Kind::Object => "an object",
        }
    }

    /// The items of an array; of anything else none.
    pub fn items(self) -> impl ExactSizeIterator<Item = Node<'a>> + Clone {
        let range = match self.tree.nodes[self.id as usize] {
            Raw::Array(start, len) => start as usize..(start + len) as usize,
            _ => 0..0,
        };
        self.tree.items[range].iter().map(move |id| Node { tree: self.tree, id: *id })
    }

    /// The members of an object in order; of anything else none.
    pub fn members(self) -> impl ExactSizeIterator<Item = (&'a str, Node<'a>)> + Clone {
        self.raw_members().iter().map(move |m| (self.tree.str(m.key), Node { tree: self.tree, id: m.value }))
    }

    #[must_use]
    pub fn get(self, key: &str) -> Option<Node<'a>> {
        self.position(key).map(|i| Node { tree: self.tree, id: self.raw_members()[i].value })
    }

    /// A member that is there and not null.
    #[must_use]
    pub fn some(self, key: &str) -> Option<Node<'a>> {
        self.get(key).filter(|node| !node.is_null())
    }

    #[must_use]
    pub fn str(self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    /// One step of a JSON pointer.
    #[must_use]
    pub fn step(self, part: &str) -> Option<Node<'a>> {
        if self.is_array() {
            return part.parse::<usize>().ok().and_then(|i| self.items().nth(i));
        }
        self.get(part)
    }

    /// Where the value's token starts in the source, in bytes.
    #[must_use]
    pub fn offset(self) -> usize {
        self.tree.offsets[self.id as usize] as usize
    }

    /// Where the token of a member's key starts in the source, in bytes.
    #[must_use]
    pub fn key_offset(self, key: &str) -> Option<usize> {
        self.position(key).map(|i| self.raw_members()[i].at as usize)
    }

    /// RFC 6901 pointer; of a YAML alias, that of the anchored value.
    #[must_use]
    pub fn pointer(self) -> String {
        let mut parts = Vec::new();
        let mut id = self.id;
        while self.tree.parents[id as usize] != NO_PARENT && parts.len() < 1024 {
            let parent = Node { tree: self.tree, id: self.tree.parents[id as usize] };
            let part = match self.tree.nodes[parent.id as usize] {
                Raw::Array(start, len) => {
                    let items = &self.tree.items[start as usize..(start + len) as usize];
                    items.iter().position(|i| *i == id).unwrap_or_default().to_string()
                }
                _ => parent
                    .raw_members()
                    .iter()
                    .find(|m| m.value == id)
                    .map(|m| escape(self.tree.str(m.key)))
                    .unwrap_or_default(),
            };
            parts.push(part);
            id = parent.id;
        }
        parts.iter().rev().fold(String::new(), |all, part| all + "/" + part)
    }

    /// A copy as `serde_json` value, at most `budget` nodes; what is beyond becomes null.
    #[must_use]
    pub fn to_json(self, budget: &mut usize) -> serde_json::Value {
        use serde_json::Value;
        if *budget == 0 {
            return Value::Null;
        }
        *budget -= 1;
        match self.kind() {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(value),
            Kind::Number(text) => text
                .parse::<serde_json::Number>()
                .map_or_else(|_| Value::String(text.to_owned()), Value::Number),
            Kind::String(text) => Value::String(text.to_owned()),
            Kind::Array => Value::Array(self.items().map(|item| item.to_json(budget)).collect()),
            Kind::Object => Value::Object(
                self.members().map(|(key, value)| (key.to_owned(), value.to_json(budget))).collect(),
            ),
        }
    }

    fn raw_members(self) -> &'a [Member] {
        match self.tree.nodes[self.id as usize] {
            Raw::Object(start, len) => &self.tree.members[start as usize..(start + len) as usize],
            _ => &[],
        }
    }

    fn position(self, key: &str) -> Option<usize> {
        let members = self.raw_members();
        if members.len() <= SMALL as usize {
            return members.iter().position(|m| self.tree.str(m.key) == key);
        }
        let Raw::Object(start, len) = self.tree.nodes[self.id as usize] else { return None };
        let first = *self.tree.large.get(&start)? as usize;
        let sorted = &self.tree.sorted[first..first + len as usize];
        let found = sorted.binary_search_by(|i| self.tree.str(members[*i as usize].key).cmp(key)).ok()?;
        Some(sorted[found] as usize)
    }
}

/// A pointer's part with `~` and `/` escaped.
#[must_use]
pub fn escape(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

/// Two members of one object with the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    pub key: String,
    /// Offsets of the first and of the second key.
    pub first: usize,
    pub second: usize,
    /// Pointer to the object, filled in when the tree is complete.
    pub owner: u32,
}

/// How large a value is when every alias in it is written out, and how deep.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extent {
    pub nodes: u64,
    pub depth: u32,
}

/// A value that is being read: its members or items wait on the builder's stacks.
#[derive(Debug)]
pub struct Open {
    offset: usize,
    first: usize,
    pub extent: Extent,
}

/// Makes a [`Tree`]; children are closed before their parents.
#[derive(Debug, Default)]
pub struct Builder<'t> {
    text: &'t str,
    tree: Tree,
    waiting_items: Vec<u32>,
    waiting_members: Vec<Member>,
    duplicates: Vec<Duplicate>,
}

impl<'t> Builder<'t> {
    /// More duplicates than this are not worth telling.
    const DUPLICATES: usize = 20;

    #[must_use]
    pub fn new(text: &'t str) -> Self {
        // A node per sixteen bytes is what descriptions have; growing by doubling would waste more.
        let guess = text.len() / 16;
        let tree = Tree {
            nodes: Vec::with_capacity(guess),
            offsets: Vec::with_capacity(guess),
            members: Vec::with_capacity(guess),
            ..Tree::default()
        };
        Self { text, tree, ..Self::default() }
    }

    /// Text that does not stand in the source as it is.
    pub fn extra(&mut self, text: &str) -> Span {
        let start = self.tree.extra.len() as u32 | EXTRA;
        self.tree.extra.push_str(text);
        Span { start, len: text.len() as u32 }
    }

    pub fn null(&mut self, offset: usize) -> u32 {
        self.push(Raw::Null, offset)
    }

    pub fn bool(&mut self, value: bool, offset: usize) -> u32 {
        self.push(Raw::Bool(value), offset)
    }

    pub fn number(&mut self, span: Span, offset: usize) -> u32 {
        self.push(Raw::Number(span), offset)
    }

    pub fn string(&mut self, span: Span, offset: usize) -> u32 {
        self.push(Raw::String(span), offset)
    }

    #[must_use]
    pub fn open_array(&self, offset: usize) -> Open {
        Open { offset, first: self.waiting_items.len(), extent: Extent { nodes: 1, depth: 1 } }
    }

    #[must_use]
    pub fn open_object(&self, offset: usize) -> Open {
        Open { offset, first: self.waiting_members.len(), extent: Extent { nodes: 1, depth: 1 } }
    }

    /// Adds an item to the innermost open array.
    pub fn item(&mut self, value: u32) {
        self.waiting_items.push(value);
    }

    /// Adds a member to the innermost open object.
    pub fn member(&mut self, key: Span, at: usize, value: u32) {
        self.waiting_members.push(Member { key, at: at as u32, value });
    }

    pub fn close_array(&mut self, open: &Open) -> u32 {
        let start = self.tree.items.len() as u32;
        self.tree.items.extend(self.waiting_items.drain(open.first..));
        let id = self.push(Raw::Array(start, self.tree.items.len() as u32 - start), open.offset);
        for i in start as usize..self.tree.items.len() {
            self.adopt(self.tree.items[i], id);
        }
        id
    }

    pub fn close_object(&mut self, open: &Open) -> u32 {
        let start = self.tree.members.len();
        self.tree.members.extend(self.waiting_members.drain(open.first..));
        let len = self.tree.members.len() - start;
        let id = self.push(Raw::Object(start as u32, len as u32), open.offset);
        self.check_keys(start, len, id);
        for i in start..start + len {
            self.adopt(self.tree.members[i].value, id);
        }
        id
    }

    /// Takes back the members of an open object: key, its offset, value.
    pub fn take(&mut self, open: &Open) -> Vec<(Span, usize, u32)> {
        self.waiting_members.drain(open.first..).map(|m| (m.key, m.at as usize, m.value)).collect()
    }

    /// The text of a closed scalar, when it is one.
    #[must_use]
    pub fn scalar_of(&self, id: u32) -> Option<Span> {
        match self.tree.nodes[id as usize] {
            Raw::String(span) | Raw::Number(span) => Some(span),
            _ => None,
        }
    }

    /// The members of a closed object, to be merged into another: key, its offset, value.
    #[must_use]
    pub fn members_of(&self, id: u32) -> Vec<(Span, usize, u32)> {
        let members = self.tree.node(id).raw_members();
        members.iter().map(|m| (m.key, m.at as usize, m.value)).collect()
    }

    #[must_use]
    pub fn items_of(&self, id: u32) -> Vec<u32> {
        self.tree.node(id).items().map(|n| n.id).collect()
    }

    #[must_use]
    pub fn is_object(&self, id: u32) -> bool {
        matches!(self.tree.nodes[id as usize], Raw::Object(..))
    }

    #[must_use]
    pub fn is_array(&self, id: u32) -> bool {
        matches!(self.tree.nodes[id as usize], Raw::Array(..))
    }

    #[must_use]
    pub fn text_of(&self, span: Span) -> &str {
        slice(self.text, &self.tree.extra, span)
    }

    /// The complete tree, still without its text ([`Tree::attach`]), and the keys that are there twice.
    #[must_use]
    pub fn finish(mut self, root: u32) -> (Tree, Vec<Duplicate>) {
        self.tree.root = root;
        self.duplicates.sort_by_key(|d| d.second);
        (self.tree, self.duplicates)
    }

    fn push(&mut self, raw: Raw, offset: usize) -> u32 {
        self.tree.nodes.push(raw);
        self.tree.offsets.push(offset as u32);
        self.tree.parents.push(NO_PARENT);
        self.tree.nodes.len() as u32 - 1
    }

    /// The first parent is where the value is written; later ones are aliases.
    fn adopt(&mut self, child: u32, parent: u32) {
        let place = &mut self.tree.parents[child as usize];
        if *place == NO_PARENT {
            *place = parent;
        }
    }

    /// Finds keys that are there twice and, for large objects, keeps the order of keys.
    fn check_keys(&mut self, start: usize, len: usize, owner: u32) {
        let members = &self.tree.members[start..start + len];
        let key = |i: u32| slice(self.text, &self.tree.extra, members[i as usize].key);
        let mut order: Vec<u32> = (0..len as u32).collect();
        if len <= SMALL as usize {
            let twice = (1..len).any(|i| (0..i).any(|j| key(j as u32) == key(i as u32)));
            if !twice {
                return;
            }
        }
        order.sort_by(|a, b| key(*a).cmp(key(*b)).then(a.cmp(b)));
        for pair in order.windows(2) {
            if key(pair[0]) == key(pair[1]) && self.duplicates.len() < Self::DUPLICATES {
                let (first, second) = (members[pair[0] as usize].at, members[pair[1] as usize].at);
                let (first, second) = (first as usize, second as usize);
                self.duplicates.push(Duplicate { key: key(pair[0]).to_owned(), first, second, owner });
            }
        }
        if len > SMALL as usize {
            self.tree.large.insert(start as u32, self.tree.sorted.len() as u32);
            self.tree.sorted.extend(order);
        }
    }
}
