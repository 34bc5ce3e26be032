//! Writes a [`Model`](super::Model) as a commented `gatewright.yaml`, each key under its reference.
//!
//! What it writes, [`super::read`] reads as the same model. A [`Secret`] is written as it is held: put
//! `${NAME}` into one that is made for writing, never a resolved value.

use std::{fmt::Write, net::SocketAddr, num::NonZeroU64, time::Duration};

use http::{HeaderName, HeaderValue, Method};

use super::{
    Model, Spanned,
    model::{AccessLog, Headers, RequestDirectives, SetCookie, UndeclaredQuery},
    value::{
        Filled, HostName, KeyPrefix, Language, Location, Many, Named, Pem, Percent, Prefix, Range, Secret,
        ServerUrl, Size, Switch, UpstreamRef,
    },
};
use crate::{
    gateway::route::EncodedSlash,
    policy::{rate_limit::Per, security::Mode},
    route::Template,
    shared::Address,
};

/// What stands at the end of the file: where to go on.
const MORE: &str = "
# Lines to put under an API, a route, or `x-gatewright` in a description:
#
#     security: gateway                            # ask callers for a key; make one: gatewright keys add NAME
#     credentials: { header: Authorization, value: \"Bearer ${TOKEN}\" }   # what the upstream is shown
#     rate_limit: { limit: 100, window: 1m }
#     cache: { default_ttl: 30s }
";

/// A value to be written.
#[derive(Debug)]
pub enum Yaml {
    /// Without quotes: what no reader takes for anything else.
    Word(String),
    Text(String),
    List(Vec<Yaml>),
    Map(Vec<Member>),
}

/// A key with its reference and value.
#[derive(Debug)]
pub struct Member {
    key: String,
    doc: &'static str,
    value: Yaml,
}

/// What a value is written as; nothing when it need not be written.
pub trait ToYaml {
    fn to_yaml(&self) -> Option<Yaml>;
}

/// The text of a configuration; `intro` stands at its head as a comment.
#[must_use]
pub fn write(model: &Model, intro: &str) -> String {
    let mut out = String::new();
    for line in intro.lines() {
        let _ = writeln!(out, "{}", format!("# {line}").trim_end());
    }
    for member in members(model) {
        out.push('\n');
        block(&mut out, &member, 0);
    }
    out.push_str(MORE);
    out
}

/// Adds a key unless there is nothing to write.
pub(super) fn member(members: &mut Vec<Member>, key: &str, doc: &'static str, value: &impl ToYaml) {
    if let Some(value) = value.to_yaml() {
        members.push(Member { key: key.to_owned(), doc, value });
    }
}

/// The members of a record.
pub(super) fn members(record: &impl ToYaml) -> Vec<Member> {
    match record.to_yaml() {
        Some(Yaml::Map(members)) => members,
        _ => Vec::new(),
    }
}

/// A key in block style, with its comment.
fn block(out: &mut String, member: &Member, indent: usize) {
    for line in member.doc.lines() {
        let _ = writeln!(out, "{:indent$}# {}", "", line.trim());
    }
    let _ = write!(out, "{:indent$}{}:", "", quoted(&member.key));
    match &member.value {
        Yaml::Map(members) if members.is_empty() => out.push_str(" {}\n"),
        Yaml::Map(members) => {
            out.push('\n');
            members.iter().for_each(|member| block(out, member, indent + 2));
        }
        Yaml::List(items) if items.iter().any(|item| matches!(item, Yaml::Map(_))) => {
            out.push('\n');
            items.iter().for_each(|item| item_block(out, item, indent + 2));
        }
        flat => {
            out.push(' ');
            inline(out, flat);
            out.push('\n');
        }
    }
}

/// An item of a list of mappings. The dash stands alone, so that each key has room for its comment.
fn item_block(out: &mut String, item: &Yaml, indent: usize) {
    match item {
        Yaml::Map(members) if !members.is_empty() => {
            let _ = writeln!(out, "{:indent$}-", "");
            members.iter().for_each(|member| block(out, member, indent + 2));
        }
        flat => {
            let _ = write!(out, "{:indent$}- ", "");
            inline(out, flat);
            out.push('\n');
        }
    }
}

fn inline(out: &mut String, value: &Yaml) {
    match value {
        Yaml::Word(word) => out.push_str(word),
        Yaml::Text(text) => out.push_str(&quoted(text)),
        Yaml::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                inline(out, item);
            }
            out.push(']');
        }
        Yaml::Map(members) => {
            out.push_str("{ ");
            for (at, member) in members.iter().enumerate() {
                let _ = write!(out, "{}{}: ", if at > 0 { ", " } else { "" }, quoted(&member.key));
                inline(out, &member.value);
            }
            out.push_str(" }");
        }
    }
}

/// A scalar, in quotes unless every reader takes it for the same text.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | '*' | '@');
    let word =
        ["null", "true", "false", "off", "on", "yes", "no"].contains(&text.to_ascii_lowercase().as_str());
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    if begins && text.chars().all(plain) && !text.ends_with(':') && !word {
        return text.to_owned();
    }
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A text that [`super::read`] must not take references in.
fn text(text: &(impl ToString + ?Sized)) -> Option<Yaml> {
    Some(Yaml::Text(text.to_string().replace("${", "$${")))
}

fn word(word: &(impl ToString + ?Sized)) -> Option<Yaml> {
    Some(Yaml::Word(word.to_string()))
}

impl<T: ToYaml> ToYaml for Option<T> {
    fn to_yaml(&self) -> Option<Yaml> {
        self.as_ref().and_then(T::to_yaml)
    }
}

impl<T: ToYaml> ToYaml for Spanned<T> {
    fn to_yaml(&self) -> Option<Yaml> {
        self.value.to_yaml()
    }
}

impl<T: ToYaml> ToYaml for Vec<T> {
    fn to_yaml(&self) -> Option<Yaml> {
        (!self.is_empty()).then(|| Yaml::List(self.iter().filter_map(T::to_yaml).collect()))
    }
}

impl<T: ToYaml> ToYaml for Many<T> {
    fn to_yaml(&self) -> Option<Yaml> {
        match &self.0[..] {
            [one] => one.to_yaml(),
            _ => self.0.to_yaml(),
        }
    }
}

impl<T: ToYaml> ToYaml for Filled<T> {
    fn to_yaml(&self) -> Option<Yaml> {
        self.0.to_yaml()
    }
}

impl<T: ToYaml> ToYaml for Named<T> {
    fn to_yaml(&self) -> Option<Yaml> {
        let mut members = Vec::new();
        self.0.iter().for_each(|(name, value)| member(&mut members, name, "", value));
        (!members.is_empty()).then_some(Yaml::Map(members))
    }
}

impl<T: ToYaml> ToYaml for Switch<T> {
    fn to_yaml(&self) -> Option<Yaml> {
        match self {
            Self::Off => word("off"),
            Self::On(value) => value.to_yaml(),
        }
    }
}

impl ToYaml for Headers {
    fn to_yaml(&self) -> Option<Yaml> {
        let mut all: Vec<(Spanned<String>, Many<HeaderValue>)> = Vec::new();
        for (name, value) in &self.0 {
            match all.iter_mut().find(|(other, _)| other.value == name.as_str()) {
                Some((_, Many(values))) => values.push(value.clone()),
                None => all.push((name.to_string().into(), Many(vec![value.clone()]))),
            }
        }
        Named(all).to_yaml()
    }
}

impl ToYaml for Duration {
    fn to_yaml(&self) -> Option<Yaml> {
        let millis = self.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
        let fits = |(length, _): &&(u128, &str)| millis > 0 && millis.is_multiple_of(*length);
        let (length, unit) = units.iter().find(fits).unwrap_or(&(1, "ms"));
        word(&format!("{}{unit}", millis / length))
    }
}

impl ToYaml for Size {
    fn to_yaml(&self) -> Option<Yaml> {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1_000_000, "MB"), (1_000, "KB")];
        let fits = |(length, _): &&(u64, &str)| self.0 > 0 && self.0.is_multiple_of(*length);
        let (length, unit) = units.iter().find(fits).unwrap_or(&(1, ""));
        word(&format!("{}{unit}", self.0 / length))
    }
}

impl ToYaml for Percent {
    fn to_yaml(&self) -> Option<Yaml> {
        word(&format!("{}%", self.0))
    }
}

impl ToYaml for Pem {
    fn to_yaml(&self) -> Option<Yaml> {
        match self {
            Self::Text(secret) => secret.to_yaml(),
            Self::File(file) => text(file),
        }
    }
}

impl ToYaml for Prefix {
    fn to_yaml(&self) -> Option<Yaml> {
        text(if self.0.is_empty() { "/" } else { &self.0 })
    }
}

/// `impl ToYaml` of one line each.
macro_rules! written {
    ($($Ty:ty: $self:ident => $value:expr;)+) => {
        $(impl ToYaml for $Ty {
            fn to_yaml(&$self) -> Option<Yaml> {
                $value
            }
        })+
    };
}

written! {
    String: self => text(self);
    bool: self => word(self);
    u32: self => word(self);
    u64: self => word(self);
    usize: self => word(self);
    NonZeroU64: self => word(self);
    Secret: self => Some(Yaml::Text(self.0.clone()));
    SocketAddr: self => text(self);
    Range: self => text(&self.text);
    HostName: self => text(&self.0);
    ServerUrl: self => text(self.0.as_str().trim_end_matches('/'));
    UpstreamRef: self => match self {
        Self::Name(name) => text(name),
        Self::Url(url) => text(url.as_str().trim_end_matches('/')),
    };
    Location: self => match self {
        Self::File(file) => text(file),
        Self::Url(url) => text(url),
    };
    Address: self => text(&self.reveal());
    KeyPrefix: self => text(&self.0);
    Template: self => text(self);
    Method: self => text(self);
    HeaderName: self => text(self);
    Language: self => text(&String::from_utf8_lossy(self.0.as_bytes()));
    HeaderValue: self => text(&String::from_utf8_lossy(self.as_bytes()));
    Mode: self => word(self.as_str());
    Per: self => word(self.as_str());
    EncodedSlash: self => word(match self {
        Self::Refuse => "refuse",
        Self::Keep => "keep",
        Self::Unambiguous => "unambiguous",
    });
    AccessLog: self => word(match self {
        Self::Human => "human",
        Self::Json => "json",
        Self::Off => "off",
    });
    RequestDirectives: self => word(match self {
        Self::Honour => "honour",
        Self::Ignore => "ignore",
    });
    SetCookie: self => word(match self {
        Self::Drop => "drop",
        Self::Keep => "keep",
        Self::Refuse => "refuse",
    });
    UndeclaredQuery: self => word(match self {
        Self::Key => "key",
        Self::Ignore => "ignore",
        Self::Bypass => "bypass",
    });
}
