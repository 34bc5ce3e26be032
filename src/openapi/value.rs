//! An order-keeping value that knows where each of its parts stands in the text.
//!
//! A [`Tree`] is an arena beside the text it was read from: a node is 12 bytes and refers to its text
//! instead of copying it, so a description costs a small multiple of its size, YAML aliases share their
//! nodes, and every place (line, column, JSON pointer) can be found afterwards. It does not read text:
//! `json` and `yaml` do, through `builder`.

use std::{collections::HashMap, ops::Range, sync::OnceLock};

/// Objects with more members than this are looked up by binary search.
pub(super) const SMALL: usize = 12;
/// The bit of a [`Span`] that says its text lies in `extra`, not in the source.
pub(super) const EXTRA: u32 = 1 << 31;
pub(super) const NO_PARENT: u32 = u32::MAX;

/// A piece of text: of the source when it stands there as it is, else of `extra`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Span {
    /// A part of the source.
    pub fn source(range: Range<usize>) -> Self {
        Self { start: range.start as u32, len: (range.end - range.start) as u32 }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Raw {
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
pub(super) struct Member {
    pub(super) key: Span,
    /// Where the key's token starts in the source.
    pub(super) at: u32,
    pub(super) value: u32,
}

/// One document as read.
#[derive(Debug, Default)]
pub struct Tree {
    text: String,
    pub(super) extra: String,
    pub(super) nodes: Vec<Raw>,
    pub(super) offsets: Vec<u32>,
    pub(super) parents: Vec<u32>,
    pub(super) items: Vec<u32>,
    pub(super) members: Vec<Member>,
    /// Members of large objects in the order of their keys.
    pub(super) sorted: Vec<u32>,
    /// First member of a large object -> its part of `sorted`.
    pub(super) large: HashMap<u32, u32>,
    pub(super) root: u32,
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

pub(super) fn slice<'a>(source: &'a str, extra: &'a str, span: Span) -> &'a str {
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

    pub(super) fn id(self) -> u32 {
        self.id
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
        (id != NO_PARENT).then_some(Node { tree: self.tree, id })
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

    pub(super) fn raw_members(self) -> &'a [Member] {
        match self.tree.nodes[self.id as usize] {
            Raw::Object(start, len) => &self.tree.members[start as usize..(start + len) as usize],
            _ => &[],
        }
    }

    fn position(self, key: &str) -> Option<usize> {
        let members = self.raw_members();
        if members.len() <= SMALL {
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
