//! YAML 1.2 events into the tree of [`super::span`], with aliases and merge keys (`<<`) written out.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, ScanError};

use super::span::{Key, Node, Span, Value};

const MAX_DEPTH: usize = 64;
const MAX_VALUES: usize = 100_000;

/// What a text gave up to its end or the first fault.
pub(super) struct Parsed {
    pub root: Option<Node>,
    pub twice: Vec<Twice>,
    pub comments: Vec<Span>,
    pub fault: Option<Fault>,
}

pub(super) fn read(text: &str) -> Parsed {
    let mut builder = Builder::default();
    let options = granit_parser::options! { max_buffered_comment_events: usize::MAX };
    let mut events = Parser::new_from_str_with_options(text, options);
    let fault = events.find_map(|event| {
        let event = event.map_err(|error| Fault::syntax(&error));
        event.and_then(|(event, span)| builder.take(event, Span::from(span))).err()
    });
    Parsed { root: builder.root, twice: builder.twice, comments: builder.comments, fault }
}

/// Why the text cannot be read.
pub(super) struct Fault {
    pub span: Span,
    pub title: String,
    pub help: &'static str,
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

/// A key that stands twice.
pub(super) struct Twice {
    pub key: String,
    pub first: Span,
    pub second: Span,
}

/// Makes the tree from events.
#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    values: usize,
    twice: Vec<Twice>,
    comments: Vec<Span>,
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
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
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
            Event::Comment(..) => {
                self.comments.push(span);
                Ok(())
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

    fn end(&mut self, end: Span) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let span = Span { end_line: end.end_line, end_column: end.end_column, ..open.span };
        let value = match open.members {
            None => Value::List(open.items),
            Some(members) => Value::Map(merged(members)),
        };
        self.complete(Node { span, value, secret: false }, open.anchor)
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
