//! Makes a [`Tree`] bottom up: children are closed before their parents, keys that are there twice are found.

use super::value::{EXTRA, Member, NO_PARENT, Node, Raw, SMALL, Span, Tree, slice};

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
        let mut tree = Tree::default();
        tree.nodes.reserve(guess);
        tree.offsets.reserve(guess);
        tree.parents.reserve(guess);
        tree.members.reserve(guess);
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
        self.tree.node(id).items().map(Node::id).collect()
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
        if len <= SMALL {
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
        if len > SMALL {
            self.tree.large.insert(start as u32, self.tree.sorted.len() as u32);
            self.tree.sorted.extend(order);
        }
    }
}
