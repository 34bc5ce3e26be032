//! From the tree to typed values: collects every error with its place, and knows which keys there are.
//!
//! A kind of value is one `impl FromNode`; a mapping with keys is one `record!`, whose doc comments are the
//! reference that users read (`record.rs`). Nothing is ignored in silence: an unknown key is an error with a
//! suggestion.

use std::{borrow::Cow, ops::Deref, sync::Arc};

use super::{
    record::{KeyDoc, Shape},
    span::{Document, Key, Node, Span, Value, is_presentable},
};
use crate::diagnostic::{Code, Diagnostic, Place, codes, suggest};

/// Keys that this configuration will have, but has not yet.
const NOT_YET: &[&str] = &[
    "acme",
    "balance",
    "breaker",
    "canary",
    "compression",
    "cors",
    "dashboard",
    "health",
    "ip_filter",
    "kubernetes",
    "mcp",
    "mirror",
    "mock",
    "plugins",
    "redirect",
    "redis",
    "retries",
    "retry",
    "rewrite",
    "telemetry",
    "tls",
    "tracing",
    "transform",
    "validate",
    "wasm",
    "weight",
];

/// What `${…}` may ask for. Reading is pure: this is how it reaches outside.
pub trait Lookup {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;

    /// The text of a file, relative to the configuration's folder; a line break at its end is taken off.
    ///
    /// # Errors
    /// Why it cannot be read, for people.
    fn file(&self, path: &str) -> Result<String, String>;
}

/// A kind of value that can be read from a node.
pub trait FromNode: Sized {
    /// Completes "expected …".
    const WHAT: &'static str;
    /// What the reference and the JSON Schema say of it.
    const SHAPE: Shape = Shape::Text(Self::WHAT);
    /// Of a mapping: its keys.
    const KEYS: &'static [KeyDoc] = &[];
    /// Of a mapping: the keys of a record that it takes in.
    const MORE: &'static [KeyDoc] = &[];
    /// Of a mapping: whether a scalar may stand for it.
    const SHORT: bool = false;

    /// The value, or nothing and at least one error.
    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self>;
}

/// A value that remembers where it was written.
#[derive(Clone, Debug, Default)]
pub struct Spanned<T> {
    pub value: T,
    pub place: Arc<Place>,
}

/// Equal where the values are: where they stand plays no part.
impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> From<T> for Spanned<T> {
    fn from(value: T) -> Self {
        Self { value, place: Arc::default() }
    }
}

/// One pass over a document.
pub struct Reader<'a> {
    document: &'a Document,
    /// `None` where `${…}` must not reach outside: in descriptions.
    lookup: Option<&'a dyn Lookup>,
    pointer: String,
    pub found: Vec<Diagnostic>,
}

/// The members of a mapping that nobody has asked for yet.
pub struct Fields<'n> {
    pub place: Arc<Place>,
    members: Vec<(&'n str, Span, &'n Node)>,
    /// A scalar stands for the mapping: no key is written.
    short: bool,
}

impl<'n> Fields<'n> {
    fn take(&mut self, name: &str) -> Option<&'n Node> {
        let at = self.members.iter().position(|(key, ..)| *key == name)?;
        Some(self.members.remove(at).2)
    }
}

impl<'a> Reader<'a> {
    pub fn new(document: &'a Document, lookup: Option<&'a dyn Lookup>) -> Self {
        Self { document, lookup, pointer: String::new(), found: Vec::new() }
    }

    pub fn place(&self, node: &Node) -> Place {
        self.place_of(node.span)
    }

    pub fn place_of(&self, span: Span) -> Place {
        self.document.place(span, &self.pointer)
    }

    pub fn error(&mut self, code: Code, title: impl Into<String>, node: &Node, help: impl Into<String>) {
        let mut place = self.place(node);
        if node.secret {
            place.source.clear();
        }
        self.found.push(Diagnostic::error(code, title).at(place).help(help));
    }

    /// Reports that a node is not what it should be.
    pub fn unexpected(&mut self, what: &str, node: &Node, help: impl Into<String>) {
        let title = format!("expected {what}, found {}", node.describe());
        self.error(codes::VALUE_INVALID, title, node, help);
    }

    /// Reads what lies below a node under a name or number.
    pub fn below<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
        let value = read(self);
        self.pointer.truncate(length);
        value
    }

    /// The text of a scalar, its references replaced.
    pub fn text<'n>(&mut self, what: &str, node: &'n Node) -> Option<Cow<'n, str>> {
        match &node.value {
            Value::Scalar { text, .. } if !node.is_null() => match self.resolve(text) {
                Ok(text) => Some(text),
                Err(unresolved) => {
                    self.error(codes::REFERENCE_INVALID, unresolved.title, node, unresolved.help);
                    None
                }
            },
            _ => {
                self.unexpected(what, node, "");
                None
            }
        }
    }

    /// Reads a scalar; `parse` gives the value, or a help text (which may be empty).
    pub fn scalar<T>(
        &mut self,
        what: &str,
        node: &Node,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(what, node)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(help) => {
                // A value from outside may be a secret that was named by mistake.
                let resolved = matches!(&node.value, Value::Scalar { text: written, .. } if *written != text);
                let help =
                    if resolved { "the value came from outside and is not shown".into() } else { help };
                self.unexpected(what, node, help);
                None
            }
        }
    }

    /// The members of a mapping.
    pub fn fields<'n>(&mut self, what: &str, node: &'n Node) -> Option<Fields<'n>> {
        let place = Arc::new(self.place(node));
        match &node.value {
            Value::Map(members) => {
                let member = |(key, value): &'n (Key, Node)| (key.text.as_str(), key.span, value);
                Some(Fields { place, members: members.iter().map(member).collect(), short: false })
            }
            // A slip can make one text of a key and its secret, so the text is not shown.
            Value::Scalar { .. } if !node.is_null() => {
                let place = Place { source: String::new(), ..self.place(node) };
                let title = format!("expected {what}, found a text");
                self.found.push(Diagnostic::error(codes::VALUE_INVALID, title).at(place));
                None
            }
            _ => {
                self.unexpected(what, node, "");
                None
            }
        }
    }

    /// A mapping for which its value under `name` stands.
    pub fn short<'n>(&mut self, name: &'n str, node: &'n Node) -> Fields<'n> {
        Fields { place: Arc::new(self.place(node)), members: vec![(name, node.span, node)], short: true }
    }

    pub fn optional<T: FromNode>(&mut self, fields: &mut Fields<'_>, name: &str) -> Option<T> {
        let node = fields.take(name)?;
        if fields.short {
            return T::from_node(self, node);
        }
        self.below(name, |reader| T::from_node(reader, node))
    }

    pub fn required<T: FromNode>(&mut self, fields: &mut Fields<'_>, name: &str) -> Option<T> {
        let Some(node) = fields.take(name) else {
            let (title, help) =
                (format!("the key `{name}` is missing"), format!("add `{name}:` with {}", T::WHAT));
            self.found
                .push(Diagnostic::error(codes::KEY_MISSING, title).at((*fields.place).clone()).help(help));
            return None;
        };
        self.below(name, |reader| T::from_node(reader, node))
    }

    pub fn many<T: FromNode>(&mut self, fields: &mut Fields<'_>, name: &str) -> Option<Vec<T>> {
        Some(self.optional(fields, name).unwrap_or_default())
    }

    /// Reports every member that is left: the mapping has no such key.
    pub fn finish(&mut self, fields: Fields<'_>, keys: &[KeyDoc], more: &[KeyDoc]) {
        let known = || keys.iter().chain(more).map(|key| key.name);
        for (name, span, node) in fields.members {
            let (code, title, help) = if NOT_YET.contains(&name) {
                let help = "take it out: what it asks for would not happen".to_owned();
                (codes::NOT_SUPPORTED_YET, format!("`{name}` is not supported yet"), help)
            } else if let Some(near) = suggest(name, known()) {
                (codes::UNKNOWN_KEY, format!("`{name}` is no key here"), format!("did you mean `{near}`?"))
            } else {
                let mut all: Vec<_> = known().collect();
                all.sort_unstable();
                let help = format!("keys here: `{}`", all.join("`, `"));
                if !is_presentable(name, node) {
                    let title = "what stands here is no key with a value";
                    let place = self.place_of(span);
                    self.found.push(Diagnostic::error(codes::UNKNOWN_KEY, title).at(place).help(help));
                    continue;
                }
                (codes::UNKNOWN_KEY, format!("`{name}` is no key here"), help)
            };
            let place = self.below(name, |reader| reader.place_of(span));
            self.found.push(Diagnostic::error(code, title).at(place).help(help));
        }
    }

    /// What a scalar says, its references replaced; nothing where they cannot be. Reports nothing.
    pub fn peek<'n>(&self, node: &'n Node) -> Option<Cow<'n, str>> {
        match &node.value {
            Value::Scalar { text, .. } => self.resolve(text).ok(),
            _ => None,
        }
    }

    /// Replaces `${NAME}`, `${NAME:-default}` and `${file:PATH}`; `$${` stands for `${`.
    fn resolve<'n>(&self, text: &'n str) -> Result<Cow<'n, str>, Unresolved> {
        if !text.contains("${") {
            return Ok(Cow::Borrowed(text));
        }
        let Some(lookup) = self.lookup else {
            return Err(Unresolved {
                title: "`${…}` is not allowed in a description".into(),
                help:
                    "a description comes from elsewhere and must not read variables or files; write this in \
                       gatewright.yaml"
                        .into(),
            });
        };
        let (mut out, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                rest = after;
                continue;
            }
            out.push_str(before);
            let (reference, after) = after.split_once('}').ok_or_else(|| Unresolved {
                title: "`${` has no `}`".into(),
                help: "write `$${` for the characters `${`".into(),
            })?;
            out.push_str(&referenced(lookup, reference)?);
            rest = after;
        }
        out.push_str(rest);
        Ok(Cow::Owned(out))
    }
}

/// Why a reference has no value.
struct Unresolved {
    title: String,
    help: String,
}

/// The value of what stands between `${` and `}`.
fn referenced(lookup: &dyn Lookup, reference: &str) -> Result<String, Unresolved> {
    if let Some(path) = reference.strip_prefix("file:") {
        return lookup.file(path).map_err(|why| Unresolved {
            help: match why.as_str() {
                "permission denied" => "let the user that runs gatewright read it".into(),
                _ => "the path is relative to this file's folder".into(),
            },
            title: format!("the file `{path}` cannot be read: {why}"),
        });
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(Unresolved {
            title: "`${…}` does not name a variable or a file".into(),
            help: "a reference is `${NAME}`, `${NAME:-default}` or `${file:PATH}`; `$${` stands for `${`"
                .into(),
        });
    }
    let value = lookup.variable(name).filter(|value| !value.is_empty() || default.is_none());
    value.or_else(|| default.map(str::to_owned)).ok_or_else(|| Unresolved {
        title: format!("the environment variable `{name}` is not set"),
        help: format!("set it, or give a default: `${{{name}:-…}}`"),
    })
}
