//! The configuration as a tree in which every value knows where it stands.
//!
//! YAML 1.2 (JSON is a part of it), read from the events of `granit-parser`. Bounded: 4 MB of text, 64 levels,
//! 100,000 values with those that aliases stand for. Gives scalars as text: what they mean is decided where
//! it is known what is expected.

use std::collections::{HashMap, HashSet};

use super::yaml::{self, Parsed, Twice};
use crate::diagnostic::{Diagnostic, Place, codes, suggest};

const MAX_BYTES: usize = 4 << 20;

/// Keys whose values are secrets, with those that people write in their place.
const SECRET_KEYS: &[&str] = &[
    "value",
    "token",
    "secret",
    "pem",
    "set",
    "add",
    "password",
    "api_key",
    "apikey",
    "client_secret",
    "private_key",
    "credential",
    "bearer",
];

/// A file with its tree.
#[derive(Debug)]
pub struct Document {
    /// As the user named it.
    pub file: String,
    pub root: Node,
    /// JSON pointer to the root, for a tree that is a part of another document.
    base: String,
    lines: Vec<String>,
    /// By line, the columns that are never shown.
    hidden: HashMap<u32, Vec<(u32, u32)>>,
}

/// A value.
#[derive(Clone, Debug)]
pub struct Node {
    pub span: Span,
    pub value: Value,
    /// Stands under a key that holds a secret: is not quoted in messages.
    pub secret: bool,
}

#[derive(Clone, Debug)]
pub enum Value {
    /// `plain`: without quotes, so that `true` is no text.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// In the order of the file; no key twice.
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub struct Key {
    pub text: String,
    pub span: Span,
}

/// From a line and column up to another (exclusive); one-based, columns in characters, line 0 when unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub line: u32,
    pub column: u32,
    pub end_line: u32,
    pub end_column: u32,
}

impl Document {
    /// Reads YAML or JSON text. The tree is there where the text could be read, also when keys stand twice.
    /// `names` are the keys there are: what stands under one that is none of them may be a secret.
    #[must_use]
    pub fn parse(file: &str, text: &str, names: &HashSet<&str>) -> (Option<Self>, Vec<Diagnostic>) {
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        let mut document = Self {
            file: file.to_owned(),
            root: Node { span: Span::default(), value: Value::Map(Vec::new()), secret: false },
            base: String::new(),
            lines: Vec::new(),
            hidden: HashMap::new(),
        };
        if text.len() > MAX_BYTES {
            let title = format!(
                "the configuration has {} bytes, more than the {MAX_BYTES} that are read",
                text.len()
            );
            return (None, vec![Diagnostic::error(codes::CONFIG_SYNTAX, title).file(file)]);
        }
        document.lines = text.lines().map(str::to_owned).collect();
        let Parsed { root, twice, comments, fault } = yaml::read(text);
        document.root = root.unwrap_or(document.root);
        let mut hide = Hide { names, hidden: &mut document.hidden };
        hide.mark(&mut document.root, false);
        comments.into_iter().for_each(|comment| hide.blot(comment));
        let mut found: Vec<_> = twice.iter().map(|twice| document.twice(twice)).collect();
        let Some(fault) = fault else { return (Some(document), found) };
        // What follows the place may be a secret that was not recognised: no source line.
        let place = Place { source: String::new(), ..document.place(fault.span, "") };
        found.push(Diagnostic::error(codes::CONFIG_SYNTAX, fault.title).at(place).help(fault.help));
        (None, found)
    }

    /// The tree of a JSON value that stands at `pointer` of `file`; its lines are unknown. `names` as for
    /// [`Self::parse`].
    #[must_use]
    pub fn from_json(file: &str, pointer: &str, value: &serde_json::Value, names: &HashSet<&str>) -> Self {
        let mut root = json_node(value);
        Hide { names, hidden: &mut HashMap::new() }.mark(&mut root, false);
        Self {
            file: file.to_owned(),
            root,
            base: pointer.to_owned(),
            lines: Vec::new(),
            hidden: HashMap::new(),
        }
    }

    /// The place of a span, with its source line, in which secrets are blotted out.
    #[must_use]
    pub fn place(&self, span: Span, pointer: &str) -> Place {
        let line = (span.line as usize).checked_sub(1).and_then(|line| self.lines.get(line));
        let mut line: Vec<char> = line.map(|line| line.chars().collect()).unwrap_or_default();
        for &(from, to) in self.hidden.get(&span.line).into_iter().flatten() {
            let to = (to as usize - 1).min(line.len());
            if let Some(part) = line.get_mut(from as usize - 1..to) {
                part.fill('*');
            }
        }
        let end = if span.end_line == span.line { span.end_column } else { line.len() as u32 + 1 };
        Place {
            file: self.file.clone(),
            line: span.line,
            column: span.column,
            pointer: format!("{}{pointer}", self.base),
            source: line.into_iter().collect(),
            width: end.saturating_sub(span.column).max(1),
        }
    }

    fn twice(&self, twice: &Twice) -> Diagnostic {
        Diagnostic::error(
            codes::CONFIG_DUPLICATE_KEY,
            format!("the key `{}` stands twice in one mapping", twice.key),
        )
        .at(self.place(twice.second, ""))
        .label(format!("first on line {}", twice.first.line))
        .help("remove or rename one of them")
    }
}

impl Node {
    /// What it is, for `found …`.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.value {
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a mapping".into(),
            _ if self.is_null() => "nothing".into(),
            Value::Scalar { .. } if self.secret => "something else".into(),
            Value::Scalar { text, .. } => {
                let short: String = text.chars().take(60).collect();
                format!("`{short}{}`", if short.len() < text.len() { "…" } else { "" })
            }
        }
    }

    /// Whether nothing stands there: `key:`, `~` or `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }
}

impl From<granit_parser::Span> for Span {
    fn from(span: granit_parser::Span) -> Self {
        Self {
            line: span.start.line() as u32,
            column: span.start.col() as u32 + 1,
            end_line: span.end.line() as u32,
            end_column: span.end.col() as u32 + 1,
        }
    }
}

/// Marks secrets and collects where they stand.
struct Hide<'a> {
    names: &'a HashSet<&'a str>,
    hidden: &'a mut HashMap<u32, Vec<(u32, u32)>>,
}

impl Hide<'_> {
    fn mark(&mut self, node: &mut Node, under: bool) {
        let span = node.span;
        let under = under || matches!(&node.value, Value::Scalar { text, .. } if has_password(text));
        node.secret = under;
        let nothing = node.is_null();
        match &mut node.value {
            // A slip may have made an anchor of the secret, which stands before the span of nothing.
            Value::Scalar { .. } if under && nothing => {
                self.blot(Span { column: 1, end_line: span.line, end_column: u32::MAX, ..span });
            }
            Value::Scalar { .. } if under => self.blot(span),
            Value::Scalar { .. } => {}
            Value::List(items) => items.iter_mut().for_each(|item| self.mark(item, under)),
            Value::Map(members) => {
                for (key, value) in members {
                    let known = self.names.contains(key.text.as_str());
                    if !known && !self.is_presentable(&key.text, value) {
                        self.blot(key.span);
                    }
                    // What stands under a key that there is not may be a secret under a misspelt one.
                    let misspelt = !known && !matches!(value.value, Value::Map(_));
                    self.mark(value, under || misspelt || SECRET_KEYS.contains(&key.text.as_str()));
                }
            }
        }
    }

    fn is_presentable(&self, key: &str, value: &Node) -> bool {
        is_presentable(key, value) || suggest(key, self.names.iter().copied()).is_some()
    }

    fn blot(&mut self, span: Span) {
        for line in span.line..=span.end_line {
            let from = if line == span.line { span.column } else { 1 };
            let to = if line == span.end_line { span.end_column } else { u32::MAX };
            self.hidden.entry(line).or_default().push((from, to));
        }
    }
}

/// Whether a key that there is not may be shown. A slip in `{ token: abc }` makes a key of the secret: mostly
/// one with blanks, or without a value.
pub(super) fn is_presentable(key: &str, value: &Node) -> bool {
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$');
    !value.is_null() && key.len() <= 60 && key.bytes().all(name)
}

/// Whether a text may be an address with credentials: `http://user:password@host`.
fn has_password(text: &str) -> bool {
    let authority =
        text.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    authority.is_some_and(|authority| authority.contains('@'))
}

fn json_node(value: &serde_json::Value) -> Node {
    use serde_json::Value as Json;
    let value = match value {
        Json::Null => Value::Scalar { text: String::new(), plain: true },
        Json::String(text) => Value::Scalar { text: text.clone(), plain: false },
        Json::Bool(_) | Json::Number(_) => Value::Scalar { text: value.to_string(), plain: true },
        Json::Array(items) => Value::List(items.iter().map(json_node).collect()),
        Json::Object(members) => {
            let key = |text: &String| Key { text: text.clone(), span: Span::default() };
            Value::Map(members.iter().map(|(name, value)| (key(name), json_node(value))).collect())
        }
    };
    Node { span: Span::default(), value, secret: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(text: &str) -> String {
        let (document, found) =
            Document::parse("f", text, &HashSet::from(["a", "set", "value", "b", "header", "burst"]));
        assert!(document.is_none());
        let last = found.last().unwrap();
        format!("{}:{} {}", last.place.line, last.place.column, last.title)
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        assert_eq!(fails("a: 1\nb: [1\nc: 2\n").split(' ').next(), Some("3:2"));
        assert_eq!(fails("a: 1\n---\nb: 2\n"), "3:1 the file holds more than one YAML document");
        assert_eq!(
            fails(&("[".repeat(70) + &"]".repeat(70))),
            "1:65 more than 64 levels of lists and mappings"
        );
        assert_eq!(fails("? [a]\n: b"), "1:3 a list or mapping stands where a key is due");
        assert!(fails("a: &a [*a]").ends_with("an alias stands inside the value it names"));
        assert!(fails(&format!("a: {}", "x".repeat(MAX_BYTES))).contains("more than the 4194304"));
    }

    #[test]
    fn aliases_are_bounded_by_what_they_stand_for() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..9 {
            bomb += &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "));
        }
        assert!(fails(&bomb).ends_with("more than 100000 values"));
    }

    #[test]
    fn merge_keys_do_not_replace_own_keys() {
        let (document, found) = Document::parse(
            "f",
            "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n",
            &HashSet::from(["a", "b", "x", "y"]),
        );
        assert_eq!(found, []);
        let Value::Map(members) = document.unwrap().root.value else { panic!() };
        let Value::Map(merged) = &members[1].1.value else { panic!() };
        let texts: Vec<_> =
            merged.iter().map(|(key, value)| format!("{} {}", key.text, value.describe())).collect();
        assert_eq!(texts, ["x `3`", "y `2`"]);
    }

    #[test]
    fn json_is_read_as_well() {
        let (document, found) =
            Document::parse("f", "{\n\t\"a\": [true, null, \"\\u00e4\\/\"]\n}", &HashSet::from(["a"]));
        assert_eq!(found, []);
        let Value::Map(members) = document.unwrap().root.value else { panic!() };
        let Value::List(items) = &members[0].1.value else { panic!() };
        assert_eq!(items.iter().map(Node::describe).collect::<Vec<_>>(), ["`true`", "nothing", "`ä/`"]);
    }

    #[test]
    fn secrets_are_blotted_out_of_source_lines() {
        let text = "a: { header: X, valeu: s3cret, burts: 1 }\nset:\n  A: |\n    first\n    second\nb: 2\n";
        let (document, _) =
            Document::parse("f", text, &HashSet::from(["a", "set", "value", "b", "header", "burst"]));
        let document = document.unwrap();
        let line = |line| document.place(Span { line, column: 1, end_line: line, end_column: 2 }, "").source;
        assert_eq!(line(1), "a: { header: X, valeu: ******, burts: * }");
        assert!(!line(4).contains("first") && !line(5).contains("second"));
        assert_eq!(line(6), "b: 2");
    }
}
