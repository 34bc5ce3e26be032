//! The configuration as a tree in which every value knows where it stands.
//!
//! YAML 1.2 (JSON is a part of it), read from the events of `granit-parser`. Bounded: 4 MB of text, 64 levels,
//! 100,000 values with those that aliases stand for. Gives scalars as text: what they mean is decided where
//! it is known what is expected.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, ScanError};

use crate::diagnostic::{Diagnostic, Place, codes, suggest};

const MAX_BYTES: usize = 4 << 20;
const MAX_DEPTH: usize = 64;
const MAX_VALUES: usize = 100_000;

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
    #[must_use]
    pub fn parse(file: &str, text: &str) -> (Option<Self>, Vec<Diagnostic>) {
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
        let mut builder = Builder::default();
        let mut failure = None;
        for event in Parser::new_from_str_with_options(text, granit_parser::options! { emit_comments: false })
        {
            let taken = event
                .map_err(|error| Fault::syntax(&error))
                .and_then(|(event, span)| builder.take(event, Span::from(span)));
            if let Err(fault) = taken {
                failure = Some(fault);
                break;
            }
        }
        if let Some(root) = builder.root.take() {
            document.root = root;
        }
        hide(&mut document.root, false, &mut document.hidden);
        let mut found: Vec<_> = builder.twice.iter().map(|twice| document.twice(twice)).collect();
        let Some(fault) = failure else { return (Some(document), found) };
        // What follows the place may be a secret that was not recognised: no source line.
        let place = Place { source: String::new(), ..document.place(fault.span, "") };
        found.push(Diagnostic::error(codes::CONFIG_SYNTAX, fault.title).at(place).help(fault.help));
        (None, found)
    }

    /// The tree of a JSON value that stands at `pointer` of `file`; its lines are unknown.
    #[must_use]
    pub fn from_json(file: &str, pointer: &str, value: &serde_json::Value) -> Self {
        Self {
            file: file.to_owned(),
            root: json_node(value),
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

/// Marks what stands under a secret's key and collects where it stands.
fn hide(node: &mut Node, under: bool, hidden: &mut HashMap<u32, Vec<(u32, u32)>>) {
    let span = node.span;
    let under = under || matches!(&node.value, Value::Scalar { text, .. } if has_password(text));
    node.secret = under;
    match &mut node.value {
        Value::Scalar { .. } if under => {
            for line in span.line..=span.end_line {
                let from = if line == span.line { span.column } else { 1 };
                let to = if line == span.end_line { span.end_column } else { u32::MAX };
                hidden.entry(line).or_default().push((from, to));
            }
        }
        Value::Scalar { .. } => {}
        Value::List(items) => items.iter_mut().for_each(|item| hide(item, under, hidden)),
        Value::Map(members) => {
            for (key, value) in members {
                let name = key.text.to_ascii_lowercase();
                let secret = suggest(&name, SECRET_KEYS.iter().copied()).is_some();
                hide(value, under || secret, hidden);
            }
        }
    }
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

/// Why the text cannot be read.
struct Fault {
    span: Span,
    title: String,
    help: &'static str,
}

impl Fault {
    fn new(span: Span, title: impl Into<String>, help: &'static str) -> Self {
        Self { span, title: title.into(), help }
    }

    fn syntax(error: &ScanError) -> Self {
        let mark = error.marker();
        let span = Span::from(granit_parser::Span::new(*mark, *mark));
        let title = format!("the text cannot be read as YAML: {}", error.info());
        Self::new(span, title, "the mistake is at this place or just before it")
    }
}

struct Twice {
    key: String,
    first: Span,
    second: Span,
}

/// Makes the tree from events.
#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    values: usize,
    twice: Vec<Twice>,
}

/// A list or mapping that is being read.
struct Open {
    span: Span,
    anchor: usize,
    items: Vec<Node>,
    /// Of a mapping: what has its value, and the key that waits for one.
    members: Option<Vec<(Key, Node)>>,
    key: Option<Key>,
    seen: HashMap<String, Span>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let value = Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                self.complete(Node { span, value, secret: false }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.start(span, anchor, None),
            Event::MappingStart(_, anchor, _) => self.start(span, anchor, Some(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(Fault::new(
                        span,
                        "an alias stands inside the value it names",
                        "write the value out",
                    ));
                };
                self.count(size(&node), span)?;
                self.complete(node, 0)
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, span: Span, anchor: usize, members: Option<Vec<(Key, Node)>>) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::new(span, format!("more than {MAX_DEPTH} levels of lists and mappings"), ""));
        }
        if matches!(self.open.last(), Some(Open { members: Some(_), key: None, .. })) {
            return Err(Fault::new(
                span,
                "a list or mapping stands where a key is due",
                "keys are plain text",
            ));
        }
        self.open.push(Open { span, anchor, items: Vec::new(), members, key: None, seen: HashMap::new() });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.members {
            None => Value::List(open.items),
            Some(members) => Value::Map(merged(members)),
        };
        self.complete(Node { span: open.span, value, secret: false }, open.anchor)
    }

    /// Puts a complete value where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.count(1, node.span)?;
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None if self.root.is_some() && !node.is_null() => {
                let help = "keep one configuration in a file: remove what follows the `---` line";
                return Err(Fault::new(node.span, "the file holds more than one YAML document", help));
            }
            None => {
                self.root.get_or_insert(node);
            }
            Some(Open { members: None, items, .. }) => items.push(node),
            Some(Open { members: Some(members), key, seen, .. }) => match key.take() {
                Some(key) => match seen.get(&key.text) {
                    Some(&first) => self.twice.push(Twice { key: key.text, first, second: key.span }),
                    None => {
                        seen.insert(key.text.clone(), key.span);
                        members.push((key, node));
                    }
                },
                None => match node.value {
                    Value::Scalar { text, .. } => *key = Some(Key { text, span: node.span }),
                    _ => {
                        return Err(Fault::new(node.span, "a list or mapping stands where a key is due", ""));
                    }
                },
            },
        }
        Ok(())
    }

    fn count(&mut self, values: usize, span: Span) -> Result<(), Fault> {
        self.values += values;
        if self.values > MAX_VALUES {
            let help = "aliases count as much as what they stand for";
            return Err(Fault::new(span, format!("more than {MAX_VALUES} values"), help));
        }
        Ok(())
    }
}

/// The members with those of `<<` behind them, which never replace a mapping's own.
fn merged(members: Vec<(Key, Node)>) -> Vec<(Key, Node)> {
    let (merges, mut own): (Vec<_>, Vec<_>) = members.into_iter().partition(|(key, _)| key.text == "<<");
    if merges.is_empty() {
        return own;
    }
    let mut seen: HashSet<String> = own.iter().map(|(key, _)| key.text.clone()).collect();
    let mut add = |node: Node| {
        if let Value::Map(members) = node.value {
            own.extend(members.into_iter().filter(|(key, _)| seen.insert(key.text.clone())));
        }
    };
    for (_, node) in merges {
        match node.value {
            Value::List(items) => items.into_iter().for_each(&mut add),
            _ => add(node),
        }
    }
    own
}

/// How many values a node holds, with itself.
fn size(node: &Node) -> usize {
    match &node.value {
        Value::Scalar { .. } => 1,
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(members) => 1 + members.iter().map(|(_, value)| size(value)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(text: &str) -> String {
        let (document, found) = Document::parse("f", text);
        assert!(document.is_none());
        let last = found.last().unwrap();
        format!("{}:{} {}", last.place.line, last.place.column, last.title)
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        assert_eq!(fails("a: 1\nb: [1\nc: 2\n").split(' ').next(), Some("3:2"));
        assert_eq!(fails("a: 1\n---\nb: 2\n"), "3:1 the file holds more than one YAML document");
        assert_eq!(fails(&"[".repeat(70)), "1:65 more than 64 levels of lists and mappings");
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
        let (document, found) = Document::parse("f", "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n");
        assert_eq!(found, []);
        let Value::Map(members) = document.unwrap().root.value else { panic!() };
        let Value::Map(merged) = &members[1].1.value else { panic!() };
        let texts: Vec<_> =
            merged.iter().map(|(key, value)| format!("{} {}", key.text, value.describe())).collect();
        assert_eq!(texts, ["x `3`", "y `2`"]);
    }

    #[test]
    fn json_is_read_as_well() {
        let (document, found) = Document::parse("f", "{\n\t\"a\": [true, null, \"\\u00e4\\/\"]\n}");
        assert_eq!(found, []);
        let Value::Map(members) = document.unwrap().root.value else { panic!() };
        let Value::List(items) = &members[0].1.value else { panic!() };
        assert_eq!(items.iter().map(Node::describe).collect::<Vec<_>>(), ["`true`", "nothing", "`ä/`"]);
    }

    #[test]
    fn secrets_are_blotted_out_of_source_lines() {
        let text = "a: { header: X, valeu: s3cret, burts: 1 }\nset:\n  A: |\n    first\n    second\nb: 2\n";
        let (document, _) = Document::parse("f", text);
        let document = document.unwrap();
        let line = |line| document.place(Span { line, column: 1, end_line: line, end_column: 2 }, "").source;
        assert_eq!(line(1), "a: { header: X, valeu: ******, burts: 1 }");
        assert!(!line(4).contains("first") && !line(5).contains("second"));
        assert_eq!(line(6), "b: 2");
    }
}
