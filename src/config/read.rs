//! From the tree to typed values: collects every error with its place, and knows which keys there are.
//!
//! A kind of value is one `impl FromNode`; a mapping with keys is one `record!`, whose doc comments are the
//! reference that users read. Nothing is ignored in silence: an unknown key is an error with a suggestion.

use std::{borrow::Cow, ops::Deref, sync::Arc};

use super::span::{Document, Key, Node, Span, Value};
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
    /// Of a mapping: its keys.
    const KEYS: &'static [KeyDoc] = &[];
    /// Of a mapping: the keys of a record that it takes in.
    const MORE: &'static [KeyDoc] = &[];

    /// The value, or nothing and at least one error.
    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self>;
}

/// A key of a mapping, for the reference and for suggestions.
#[derive(Debug)]
pub struct KeyDoc {
    pub name: &'static str,
    /// Lines of Markdown.
    pub doc: &'static str,
    pub required: bool,
    /// What its value is.
    pub what: &'static str,
    /// The keys of its value, or of each item of its value, where that is a mapping.
    pub keys: &'static [KeyDoc],
    /// Further keys of it, which several mappings share.
    pub more: &'static [KeyDoc],
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
    members: Vec<(&'n Key, &'n Node)>,
}

impl<'n> Fields<'n> {
    fn take(&mut self, name: &str) -> Option<&'n Node> {
        let at = self.members.iter().position(|(key, _)| key.text == name)?;
        Some(self.members.swap_remove(at).1)
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
        let place = self.place(node);
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
            Value::Scalar { text, .. } if !node.is_null() => self.resolve(text, node),
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
                let members = members.iter().map(|(key, value)| (key, value)).collect();
                Some(Fields { place, members })
            }
            _ => {
                self.unexpected(what, node, "");
                None
            }
        }
    }

    pub fn optional<T: FromNode>(&mut self, fields: &mut Fields<'_>, name: &str) -> Option<T> {
        let node = fields.take(name)?;
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
    pub fn finish(&mut self, mut fields: Fields<'_>, keys: &[KeyDoc], more: &[KeyDoc]) {
        let known = || keys.iter().chain(more).map(|key| key.name);
        fields.members.sort_by_key(|(key, _)| (key.span.line, key.span.column));
        for (key, _) in fields.members {
            let name = &key.text;
            let (code, title, help) = if NOT_YET.contains(&name.as_str()) {
                let help = "take it out: what it asks for would not happen".to_owned();
                (codes::NOT_SUPPORTED_YET, format!("`{name}` is not supported yet"), help)
            } else if let Some(near) = suggest(name, known()) {
                (codes::UNKNOWN_KEY, format!("`{name}` is no key here"), format!("did you mean `{near}`?"))
            } else {
                let mut all: Vec<_> = known().map(|name| format!("`{name}`")).collect();
                all.sort_unstable();
                let help =
                    if all.is_empty() { String::new() } else { format!("keys here: {}", all.join(", ")) };
                (codes::UNKNOWN_KEY, format!("`{name}` is no key here"), help)
            };
            let place = self.below(name, |reader| reader.place_of(key.span));
            self.found.push(Diagnostic::error(code, title).at(place).help(help));
        }
    }

    /// Replaces `${NAME}`, `${NAME:-default}` and `${file:PATH}`; `$${` stands for `${`.
    fn resolve<'n>(&mut self, text: &'n str, node: &Node) -> Option<Cow<'n, str>> {
        if !text.contains("${") {
            return Some(Cow::Borrowed(text));
        }
        let Some(lookup) = self.lookup else {
            let help = "a description comes from elsewhere and must not read variables or files; write this in \
                        gatewright.yaml";
            self.error(codes::REFERENCE_INVALID, "`${…}` is not allowed in a description", node, help);
            return None;
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
            let looked_up = match after.split_once('}') {
                Some((reference, after)) => {
                    rest = after;
                    reference_value(lookup, reference)
                }
                None => {
                    Err((format!("`{}` has no `}}`", "${"), "write `$${` for the characters `${`".to_owned()))
                }
            };
            match looked_up {
                Ok(value) => out.push_str(&value),
                Err((title, help)) => {
                    self.error(codes::REFERENCE_INVALID, title, node, help);
                    return None;
                }
            }
        }
        out.push_str(rest);
        Some(Cow::Owned(out))
    }
}

/// The value of what stands between `${` and `}`, or title and help of an error.
fn reference_value(lookup: &dyn Lookup, reference: &str) -> Result<String, (String, String)> {
    if let Some(path) = reference.strip_prefix("file:") {
        let title = |why| format!("the file `{path}` cannot be read: {why}");
        return lookup
            .file(path)
            .map_err(|why| (title(why), "the path is relative to this file's folder".into()));
    }
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (reference, None),
    };
    let named = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(named) {
        let help = "a reference is `${NAME}`, `${NAME:-default}` or `${file:PATH}`; `$${` stands for `${`";
        return Err(("`${…}` does not name a variable or a file".into(), help.into()));
    }
    let value = lookup.variable(name).filter(|value| !value.is_empty() || default.is_none());
    value.or_else(|| default.map(str::to_owned)).ok_or_else(|| {
        let help = format!("set it, or give a default: `${{{name}:-…}}`");
        (format!("the environment variable `{name}` is not set"), help)
    })
}

/// A mapping: its struct, how it is read, and its reference, from one list of documented keys.
///
/// `required`, `optional` (an `Option`), `many` (a `Vec`, empty when absent) or `deep` (an `Option` that
/// [`Deep::under`] merges key by key) stands before each key. `with field: Record` takes the keys of another
/// record in. `default` before the struct gives it a `Default`, `merge` also [`Deep`].
macro_rules! record {
    (@type required $ty:ty) => { $ty };
    (@type optional $ty:ty) => { Option<$ty> };
    (@type deep $ty:ty) => { Option<$ty> };
    (@type many $ty:ty) => { Vec<$ty> };
    (@what many $ty:ty) => { <Vec<$ty> as FromNode>::WHAT };
    (@what $kind:ident $ty:ty) => { <$ty as FromNode>::WHAT };
    (@read required $reader:ident $fields:ident $name:expr) => { $reader.required($fields, $name) };
    (@read many $reader:ident $fields:ident $name:expr) => { $reader.many($fields, $name) };
    (@read $kind:ident $reader:ident $fields:ident $name:expr) => { Some($reader.optional($fields, $name)) };
    (@merge deep $own:expr, $outer:expr) => { $crate::config::read::Deep::under($own, $outer) };
    (@merge optional $own:expr, $outer:expr) => { $own.or_else(|| $outer.clone()) };
    (
        merge
        $(#[doc = $about:literal])+
        pub struct $Name:ident { $($(#[doc = $doc:literal])+ $kind:ident $key:ident: $ty:ty,)* }
    ) => {
        $crate::config::read::record! {
            default
            $(#[doc = $about])+
            pub struct $Name { $($(#[doc = $doc])+ $kind $key: $ty,)* }
        }

        impl $crate::config::read::Deep for $Name {
            fn under(self, outer: &Self) -> Self {
                Self { place: self.place, $($key: $crate::config::read::record!(@merge $kind self.$key, &outer.$key),)* }
            }
        }
    };
    (
        default
        $(#[doc = $about:literal])+
        pub struct $Name:ident {
            $($(#[doc = $doc:literal])+ $kind:ident $key:ident: $ty:ty,)*
            $(with $flat:ident: $Flat:ty,)?
        }
    ) => {
        $crate::config::read::record! {
            $(#[doc = $about])+
            pub struct $Name { $($(#[doc = $doc])+ $kind $key: $ty,)* $(with $flat: $Flat,)? }
        }

        impl Default for $Name {
            fn default() -> Self {
                Self { place: Default::default(), $($key: Default::default(),)* $($flat: Default::default(),)? }
            }
        }
    };
    (
        $(#[doc = $about:literal])+
        pub struct $Name:ident {
            $($(#[doc = $doc:literal])+ $kind:ident $key:ident: $ty:ty,)*
            $(with $flat:ident: $Flat:ty,)?
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        pub struct $Name {
            /// Where it is written.
            pub place: std::sync::Arc<$crate::diagnostic::Place>,
            $($(#[doc = $doc])+ pub $key: $crate::config::read::record!(@type $kind $ty),)*
            $(pub $flat: $Flat,)?
        }

        impl $Name {
            /// Takes its keys out of a mapping.
            pub(super) fn from_fields(
                reader: &mut $crate::config::read::Reader<'_>,
                fields: &mut $crate::config::read::Fields<'_>,
            ) -> Option<Self> {
                let place = fields.place.clone();
                $(let $key = $crate::config::read::record!(@read $kind reader fields stringify!($key));)*
                $(let $flat = <$Flat>::from_fields(reader, fields)?;)?
                Some(Self { place, $($key: $key?,)* $($flat,)? })
            }
        }

        impl $crate::config::write::ToYaml for $Name {
            fn to_yaml(&self) -> Option<$crate::config::write::Yaml> {
                let mut members = Vec::new();
                $($crate::config::write::member(&mut members, stringify!($key), concat!($($doc, "\n"),+), &self.$key);)*
                $(members.extend($crate::config::write::members(&self.$flat));)?
                Some($crate::config::write::Yaml::Map(members))
            }
        }

        impl FromNode for $Name {
            const WHAT: &'static str = "a mapping";
            const KEYS: &'static [$crate::config::read::KeyDoc] = &[$($crate::config::read::KeyDoc {
                name: stringify!($key),
                doc: concat!($($doc, "\n"),+),
                required: matches!(stringify!($kind).as_bytes(), b"required"),
                what: $crate::config::read::record!(@what $kind $ty),
                keys: <$ty as FromNode>::KEYS,
                more: <$ty as FromNode>::MORE,
            }),*];
            $(const MORE: &'static [$crate::config::read::KeyDoc] = <$Flat as FromNode>::KEYS;)?

            fn from_node(reader: &mut $crate::config::read::Reader<'_>, node: &$crate::config::span::Node) -> Option<Self> {
                let mut fields = reader.fields(Self::WHAT, node)?;
                let record = Self::from_fields(reader, &mut fields);
                reader.finish(fields, Self::KEYS, Self::MORE);
                record
            }
        }
    };
}
pub(super) use record;

/// Something that is merged key by key with what stands further out; the nearer wins.
pub trait Deep: Sized {
    #[must_use]
    fn under(self, outer: &Self) -> Self;
}

impl<T: Deep + Clone> Deep for Option<T> {
    fn under(self, outer: &Self) -> Self {
        match (self, outer) {
            (Some(own), Some(outer)) => Some(own.under(outer)),
            (own, outer) => own.or_else(|| outer.clone()),
        }
    }
}
