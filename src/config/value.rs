//! The types of values, and those that hold others: lists, names, switches.

use std::{fmt, ops::Deref};

use http::{HeaderName, HeaderValue};
use url::Url;

use super::{
    model::Headers,
    read::{FromNode, Reader, Spanned},
    record::{Deep, KeyDoc, Shape},
    scalar::header_name,
    span::{Key, Node, Value},
};
use crate::{
    diagnostic::{Diagnostic, codes},
    gateway::Network,
};

/// A text that is never shown: not in messages, not in `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Something that can be switched off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Switch<T> {
    Off,
    On(T),
}

impl<T: Deep + Clone> Deep for Switch<T> {
    fn under(self, outer: &Self) -> Self {
        match (self, outer) {
            (Self::On(own), Self::On(outer)) => Self::On(own.under(outer)),
            (own, _) => own,
        }
    }
}

/// One or a list of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Many<T>(pub Vec<T>);

/// A language tag such as `de` or `pt-BR` (RFC 5646), as it stands in `Accept-Language`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Language(pub HeaderValue);

/// A list of at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled<T>(pub Vec<T>);

impl<T> Deref for Filled<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

/// A mapping whose keys are names, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Named<T>(pub Vec<(Spanned<String>, T)>);

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A whole number of hundredths, from 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub u8);

/// An `http` or `https` address of a server, without credentials, query and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(pub Url);

/// Where requests go: an upstream by its name, or one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamRef {
    Name(String),
    Url(Url),
}

/// A file, or something at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    File(String),
    Url(Url),
}

/// A PEM text, or the file that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    Text(Secret),
    File(String),
}

/// An address range, with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub text: String,
    pub network: Network,
}

/// A host name in lower case, `*.` before a name, or `*` for every host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(pub String);

/// A path prefix in canonical form: empty, or from a slash on and without one at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix(pub String);

/// What the names of keys in Redis begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPrefix(pub String);

/// A list gives a name several values.
impl FromNode for Headers {
    const WHAT: &'static str = "a mapping of header fields";
    const SHAPE: Shape = Shape::Named(&Shape::OneOrList(&HeaderValue::SHAPE));

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let Named(fields) = Named::<Many<HeaderValue>>::from_node(reader, node)?;
        let mut all = Vec::new();
        for (name, Many(values)) in fields {
            match header_name(&name.value) {
                Ok(own) => all.extend(values.into_iter().map(|value| (own.clone(), value))),
                Err(help) => {
                    let title = format!("expected {}, found `{}`", HeaderName::WHAT, name.value);
                    let place = (*name.place).clone();
                    reader.found.push(Diagnostic::error(codes::VALUE_INVALID, title).at(place).help(help));
                }
            }
        }
        Some(Self(all))
    }
}

impl<T: FromNode> FromNode for Spanned<T> {
    const WHAT: &'static str = T::WHAT;
    const SHAPE: Shape = T::SHAPE;
    const KEYS: &'static [KeyDoc] = T::KEYS;
    const MORE: &'static [KeyDoc] = T::MORE;
    const SHORT: bool = T::SHORT;

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let place = reader.place(node).into();
        T::from_node(reader, node).map(|value| Self { value, place })
    }
}

impl<T: FromNode> FromNode for Vec<T> {
    const WHAT: &'static str = "a list";
    const SHAPE: Shape = Shape::List(&T::SHAPE);
    const KEYS: &'static [KeyDoc] = T::KEYS;
    const MORE: &'static [KeyDoc] = T::MORE;
    const SHORT: bool = T::SHORT;

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        match &node.value {
            Value::List(items) => Some(items_of(reader, items)),
            _ => {
                reader.unexpected(
                    Self::WHAT,
                    node,
                    "write it in brackets: `[…]`, or with `-` before each item",
                );
                None
            }
        }
    }
}

fn items_of<T: FromNode>(reader: &mut Reader<'_>, items: &[Node]) -> Vec<T> {
    let read =
        |(at, item): (usize, &Node)| reader.below(&at.to_string(), |reader| T::from_node(reader, item));
    items.iter().enumerate().filter_map(read).collect()
}

impl<T: FromNode> FromNode for Many<T> {
    const WHAT: &'static str = T::WHAT;
    const SHAPE: Shape = Shape::OneOrList(&T::SHAPE);
    const KEYS: &'static [KeyDoc] = T::KEYS;
    const MORE: &'static [KeyDoc] = T::MORE;
    const SHORT: bool = T::SHORT;

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        match &node.value {
            Value::List(items) => Some(Self(items_of(reader, items))),
            _ => T::from_node(reader, node).map(|one| Self(vec![one])),
        }
    }
}

impl<T: FromNode> FromNode for Filled<T> {
    const WHAT: &'static str = "a list of at least one";
    const SHAPE: Shape = Shape::Filled(&T::SHAPE);
    const KEYS: &'static [KeyDoc] = T::KEYS;
    const MORE: &'static [KeyDoc] = T::MORE;

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        if matches!(&node.value, Value::List(items) if items.is_empty()) {
            reader.error(codes::VALUE_INVALID, "the list is empty", node, "at least one item is needed");
            return None;
        }
        Vec::from_node(reader, node).map(Self)
    }
}

impl<T: FromNode> FromNode for Named<T> {
    const WHAT: &'static str = "a mapping of names";
    const SHAPE: Shape = Shape::Named(&T::SHAPE);
    const KEYS: &'static [KeyDoc] = T::KEYS;
    const MORE: &'static [KeyDoc] = T::MORE;
    const SHORT: bool = T::SHORT;

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let Value::Map(members) = &node.value else {
            reader.unexpected(Self::WHAT, node, "");
            return None;
        };
        let read = |(key, value): &(Key, Node)| {
            if value.is_null() {
                // The key may be a secret that a slip made one: it is not named.
                reader.unexpected(T::WHAT, value, "each name has a value");
                return None;
            }
            reader.below(&key.text, |reader| {
                let place = reader.place_of(key.span).into();
                let value = T::from_node(reader, value)?;
                Some((Spanned { value: key.text.clone(), place }, value))
            })
        };
        Some(Self(members.iter().filter_map(read).collect()))
    }
}

impl<T: FromNode> FromNode for Switch<T> {
    const WHAT: &'static str = T::WHAT;
    const SHAPE: Shape = Shape::OrOff(&T::SHAPE);
    const KEYS: &'static [KeyDoc] = T::KEYS;
    const MORE: &'static [KeyDoc] = T::MORE;
    const SHORT: bool = T::SHORT;

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        match reader.peek(node).as_deref() {
            Some("off" | "false") => Some(Self::Off),
            Some(_) if !T::SHORT && !T::KEYS.is_empty() => {
                let keys: Vec<_> = T::KEYS.iter().map(|key| format!("`{}`", key.name)).collect();
                reader.unexpected("`off` or a mapping", node, format!("keys here: {}", keys.join(", ")));
                None
            }
            _ => T::from_node(reader, node).map(Self::On),
        }
    }
}
