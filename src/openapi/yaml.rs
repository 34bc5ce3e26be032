//! YAML 1.2 into a [`Tree`]: the core schema, plus what descriptions use of 1.1: merge keys (`<<`).
//!
//! `granit-parser` reads the syntax; this file gives the events meaning. Keys are strings whatever they
//! look like (`200:`). Aliases share the anchored node, so an alias bomb costs no memory; what it would
//! cost later is bounded by counting the nodes that all aliases stand for.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span as Place, Tag};

use super::{
    builder::{Builder, Duplicate, Extent, Open},
    document::{Fault, MAX_DEPTH},
    value::{Span, Tree},
};
use crate::diagnostic::codes;

/// How many nodes all aliases of a document may stand for.
const MAX_ALIASED: u64 = 5_000_000;

/// Reads one YAML text with one document; the error says where and what.
pub fn read(text: &str) -> Result<(Tree, Vec<Duplicate>), Fault> {
    let mut options = granit_parser::options! {};
    options.set_emit_comments(false);
    let mut reader = Reader {
        text,
        builder: Builder::new(text),
        frames: Vec::new(),
        anchors: HashMap::new(),
        aliased: 0,
        root: None,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, place) = event.map_err(|error| syntax(text, &error))?;
        reader.event(event, place)?;
    }
    let root = match reader.root {
        Some(done) => done.id,
        None => reader.builder.null(0),
    };
    Ok(reader.builder.finish(root))
}

/// A value that is complete.
#[derive(Clone, Copy)]
struct Done {
    id: u32,
    extent: Extent,
}

/// A key that waits for its value.
struct Key {
    span: Span,
    at: usize,
    merge: bool,
}

/// A collection that is being read.
struct Frame {
    open: Open,
    anchor: usize,
    /// Of mappings: the key whose value comes next. Sequences have none.
    mapping: Option<Option<Key>>,
    /// Values of `<<` with how many own members stand before them.
    merges: Vec<(usize, u32)>,
    members: usize,
}

struct Reader<'t> {
    text: &'t str,
    builder: Builder<'t>,
    frames: Vec<Frame>,
    /// Anchor id -> its value, `None` while that is being read.
    anchors: HashMap<usize, Option<Done>>,
    aliased: u64,
    root: Option<Done>,
}

impl<'t> Reader<'t> {
    fn event(&mut self, event: Event<'t>, place: Place) -> Result<(), Fault> {
        let at = offset(&place);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.alone(at, style == ScalarStyle::Plain && place.is_empty())?;
                self.scalar(&text, style, tag.as_deref(), anchor, at)
            }
            Event::SequenceStart(_, anchor, _) => {
                let open = self.builder.open_array(at);
                self.start(open, anchor, None, at)
            }
            Event::MappingStart(_, anchor, _) => {
                let open = self.builder.open_object(at);
                self.start(open, anchor, Some(None), at)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, at),
            _ => Ok(()),
        }
    }

    /// A second document in one file would be ignored silently, so it is refused; an empty one is not.
    fn alone(&self, at: usize, empty: bool) -> Result<(), Fault> {
        if self.root.is_none() || !self.frames.is_empty() || empty {
            return Ok(());
        }
        let help = "keep one description per file: remove what follows the `---` line";
        Err(Fault::parse(at, "the file holds more than one YAML document").help(help))
    }

    fn start(
        &mut self,
        open: Open,
        anchor: usize,
        mapping: Option<Option<Key>>,
        at: usize,
    ) -> Result<(), Fault> {
        self.alone(at, false)?;
        if matches!(self.frames.last(), Some(Frame { mapping: Some(None), .. })) {
            let help = "write the key as plain text, in quotes when it starts with `{` or `[`";
            return Err(Fault::parse(at, "a list or mapping stands where a key is due").help(help));
        }
        self.deep(1, at)?;
        if anchor > 0 {
            self.anchors.insert(anchor, None);
        }
        self.frames.push(Frame { open, anchor, mapping, merges: Vec::new(), members: 0 });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let frame = self.frames.pop().expect("invariant: the parser closes only what it opened");
        let mut extent = frame.open.extent;
        let id = if frame.mapping.is_none() {
            self.builder.close_array(&frame.open)
        } else {
            if !frame.merges.is_empty() {
                self.merge(&frame);
            }
            self.builder.close_object(&frame.open)
        };
        extent.depth += 1;
        let done = Done { id, extent };
        if frame.anchor > 0 {
            self.anchors.insert(frame.anchor, Some(done));
        }
        self.add(done)
    }

    /// Brings in the members of merged mappings: own keys win, then earlier mappings.
    fn merge(&mut self, frame: &Frame) {
        let own = self.builder.take(&frame.open);
        let mut seen: HashSet<String> =
            own.iter().map(|(key, ..)| self.builder.text_of(*key).to_owned()).collect();
        let mut merges = frame.merges.iter().peekable();
        for i in 0..=own.len() {
            while let Some((_, source)) = merges.next_if(|(before, _)| *before <= i) {
                for (key, at, value) in self.builder.members_of(*source) {
                    if seen.insert(self.builder.text_of(key).to_owned()) {
                        self.builder.member(key, at, value);
                    }
                }
            }
            if let Some((key, at, value)) = own.get(i) {
                self.builder.member(*key, *at, *value);
            }
        }
    }

    fn alias(&mut self, anchor: usize, at: usize) -> Result<(), Fault> {
        let done = match self.anchors.get(&anchor) {
            Some(Some(done)) => *done,
            Some(None) => {
                let help = "an alias may only repeat a value that is complete before it";
                return Err(Fault::parse(at, "an alias stands inside the value it repeats").help(help));
            }
            None => return Err(Fault::parse(at, "an alias names an anchor that is not defined before it")),
        };
        self.aliased += done.extent.nodes;
        if self.aliased > MAX_ALIASED {
            let title = format!("the aliases stand for more than {MAX_ALIASED} values");
            let help = "write the repeated parts out, or use `$ref`: such nesting is how YAML bombs are made";
            return Err(Fault::new(codes::ALIAS_EXPANSION_LIMIT, at, title).help(help));
        }
        self.deep(done.extent.depth as usize, at)?;
        if let Some(Frame { mapping: Some(key @ None), .. }) = self.frames.last_mut() {
            let Some(span) = self.builder.scalar_of(done.id) else {
                return Err(Fault::parse(at, "an alias of a list or mapping stands where a key is due"));
            };
            *key = Some(Key { span, at, merge: false });
            return Ok(());
        }
        self.add(done)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        anchor: usize,
        at: usize,
    ) -> Result<(), Fault> {
        let span = self.span(text);
        let plain = style == ScalarStyle::Plain;
        if let Some(Frame { mapping: Some(key @ None), .. }) = self.frames.last_mut() {
            *key = Some(Key { span, at, merge: plain && tag.is_none() && text == "<<" });
            if anchor > 0 {
                let id = self.builder.string(span, at);
                self.anchors.insert(anchor, Some(Done { id, extent: Extent { nodes: 1, depth: 1 } }));
            }
            return Ok(());
        }
        let typed = match tag {
            None => plain,
            Some(tag) => matches!(tag.core_suffix(), Some("int" | "float" | "bool" | "null")),
        };
        let id = if typed { self.resolve(text, span, at) } else { self.builder.string(span, at) };
        let done = Done { id, extent: Extent { nodes: 1, depth: 1 } };
        if anchor > 0 {
            self.anchors.insert(anchor, Some(done));
        }
        self.add(done)
    }

    /// The core schema (YAML 1.2.2, 10.3.2). `.inf` and `.nan` have no JSON form and stay text.
    fn resolve(&mut self, text: &str, span: Span, at: usize) -> u32 {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return self.builder.null(at),
            "true" | "True" | "TRUE" => return self.builder.bool(true, at),
            "false" | "False" | "FALSE" => return self.builder.bool(false, at),
            _ => {}
        }
        match number(text) {
            Some(Cow::Borrowed(_)) => self.builder.number(span, at),
            Some(Cow::Owned(json)) => {
                let span = self.builder.extra(&json);
                self.builder.number(span, at)
            }
            None => self.builder.string(span, at),
        }
    }

    /// Puts a complete value where it belongs.
    fn add(&mut self, done: Done) -> Result<(), Fault> {
        let Some(frame) = self.frames.last_mut() else {
            self.root.get_or_insert(done);
            return Ok(());
        };
        let extent = &mut frame.open.extent;
        extent.nodes += done.extent.nodes;
        extent.depth = extent.depth.max(done.extent.depth);
        match &mut frame.mapping {
            None => self.builder.item(done.id),
            Some(key) => {
                let key = key.take().expect("invariant: a mapping's value follows its key");
                if key.merge && self.builder.is_object(done.id) {
                    frame.merges.push((frame.members, done.id));
                } else if key.merge && self.builder.is_array(done.id) {
                    let sources = self.builder.items_of(done.id);
                    let sources = sources.into_iter().filter(|id| self.builder.is_object(*id));
                    frame.merges.extend(sources.map(|id| (frame.members, id)));
                } else {
                    self.builder.member(key.span, key.at, done.id);
                    frame.members += 1;
                }
            }
        }
        Ok(())
    }

    fn deep(&self, more: usize, at: usize) -> Result<(), Fault> {
        if self.frames.len() + more > MAX_DEPTH {
            return Err(Fault::parse(at, format!("values are nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(())
    }

    /// A part of the source where the parser borrowed it, else a copy.
    fn span(&mut self, text: &str) -> Span {
        let start = (text.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        if self.text.get(start..start.saturating_add(text.len())) == Some(text) {
            return Span::source(start..start + text.len());
        }
        self.builder.extra(text)
    }
}

fn offset(place: &Place) -> usize {
    place.start.byte_offset().unwrap_or_default()
}

/// A number of the core schema in JSON's spelling; borrowed when it is spelt so already.
fn number(text: &str) -> Option<Cow<'_, str>> {
    let first = *text.as_bytes().first()?;
    if !matches!(first, b'0'..=b'9' | b'-' | b'+' | b'.') {
        return None;
    }
    for (prefix, radix) in [("0o", 8), ("0x", 16)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            let fine = digits.chars().all(|c| c.is_digit(radix));
            return fine.then(|| u128::from_str_radix(digits, radix).ok())?.map(|n| n.to_string().into());
        }
    }
    let (sign, rest) = match first {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let (mantissa, exponent) = rest.split_once(['e', 'E']).map_or((rest, None), |(m, e)| (m, Some(e)));
    let (whole, part) = mantissa.split_once('.').map_or((mantissa, None), |(w, p)| (w, Some(p)));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let power = exponent.map(|e| e.strip_prefix(['+', '-']).unwrap_or(e));
    if !digits(whole)
        || part.is_some_and(|p| !digits(p))
        || (whole.is_empty() && part.is_none_or(str::is_empty))
        || power.is_some_and(|p| p.is_empty() || !digits(p))
    {
        return None;
    }
    let bare = whole.trim_start_matches('0');
    let bare = if bare.is_empty() { "0" } else { bare };
    if bare == whole && first != b'+' && part != Some("") {
        return Some(Cow::Borrowed(text));
    }
    let part = part.filter(|p| !p.is_empty()).map(|p| format!(".{p}")).unwrap_or_default();
    let exponent = exponent.map(|e| format!("e{e}")).unwrap_or_default();
    Some(Cow::Owned(format!("{sign}{bare}{part}{exponent}")))
}

/// The parser's error with its place, and advice for what people meet most.
fn syntax(text: &str, error: &ScanError) -> Fault {
    let at = error.marker().byte_offset().unwrap_or_default().min(text.len());
    let at = (0..=at).rev().find(|i| text.is_char_boundary(*i)).unwrap_or_default();
    let fault = Fault::parse(at, format!("this is not YAML: {}", error.info()));
    let start = text[..at].rfind('\n').map_or(0, |i| i + 1);
    let blanks = text[start..].chars().take_while(|c| matches!(c, ' ' | '\t'));
    if blanks.clone().any(|c| c == '\t') {
        return fault.help("indent with spaces: YAML does not allow tabs there");
    }
    fault.help(
        "check the indentation and the quotes, here and just before; text with `: ` or ` #` needs quotes",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi::value::Kind;

    fn json(yaml: &str) -> String {
        let (mut tree, duplicates) = read(yaml).unwrap();
        assert!(duplicates.is_empty(), "{duplicates:?}");
        tree.attach(yaml.to_owned(), 0);
        tree.root().to_json(&mut 1000).to_string()
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        let all = "[yes, NO, on, ~, null, True, 012, 0o14, 0x1F, +1, .5, 5., 1e3, 1_000, 12:30, .inf, '1', 2020-01-01]";
        assert_eq!(
            json(all),
            r#"["yes","NO","on",null,null,true,12,12,31,1,0.5,5,1000.0,"1_000","12:30",".inf","1","2020-01-01"]"#
        );
        assert_eq!(json("a:\nb: ''\n"), r#"{"a":null,"b":""}"#);
        assert_eq!(json("[!!str 1, !!int '3', ! 4, !x y]"), r#"["1",3,"4","y"]"#);
    }

    #[test]
    fn numbers_of_any_size_keep_their_digits() {
        let (mut tree, _) = read("123456789012345678901234567890").unwrap();
        tree.attach("123456789012345678901234567890".into(), 0);
        assert_eq!(tree.root().kind(), Kind::Number("123456789012345678901234567890"));
    }

    #[test]
    fn merge_keys_yield_to_own_keys_and_earlier_mappings() {
        let yaml = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}\nd: {'<<': 1}\n";
        assert!(json(yaml).contains(r#""c":{"x":3,"y":1,"z":2},"d":{"<<":1}"#), "{}", json(yaml));
    }

    #[test]
    fn integer_keys_are_text_and_may_not_repeat() {
        assert_eq!(json("200: a\ntrue: b"), r#"{"200":"a","true":"b"}"#);
        let (_, duplicates) = read("200: a\n'200': b\n").unwrap();
        assert_eq!((duplicates[0].first, duplicates[0].second), (0, 7));
    }

    #[test]
    fn hostile_aliases_are_refused() {
        assert_eq!(read("a: &a [*a]").unwrap_err().code, codes::PARSE);
        let mut bomb = String::from("a: &a [l, l, l, l, l, l, l, l, l, l]\n");
        for (from, to) in ('a'..='h').zip('b'..='i') {
            bomb +=
                &format!("{to}: &{to} [{}]\n", [format!("*{from}"), format!("*{from}")].join(",").repeat(5));
        }
        assert!(read(&bomb.replace("**", "*")).is_err());
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(read(&deep).is_err());
    }

    #[test]
    fn a_second_document_is_refused_but_an_empty_one_is_not() {
        assert!(read("---\na: 1\n---\n").is_ok());
        assert!(read("a: 1\n---\nb: 1\n").is_err());
        assert!(read("? [a]\n: 1\n").is_err());
    }
}
