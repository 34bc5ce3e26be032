//! Text into documents: encodings, sniffing, the set of files one description is split over, and the
//! place (line, column, pointer, source line) of anything in them. What the text means is not its business.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    sync::OnceLock,
};

use super::{
    Loader,
    builder::Duplicate,
    json,
    value::{Node, Tree},
    yaml,
};
use crate::diagnostic::{Code, Diagnostic, Place, codes};

/// How deep values may be nested, aliases included.
pub const MAX_DEPTH: usize = 128;
/// How much text one file may hold, and all files of a description together.
pub const MAX_TEXT: usize = 80_000_000;
/// How many other files a description may refer to.
const MAX_FILES: usize = 2_000;

/// Why a text could not be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub code: Code,
    /// Byte offset into the text.
    pub at: usize,
    pub title: String,
    pub label: String,
    pub help: String,
}

impl Fault {
    pub fn new(code: Code, at: usize, title: impl Into<String>) -> Self {
        Self { code, at, title: title.into(), label: String::new(), help: String::new() }
    }

    pub fn parse(at: usize, title: impl Into<String>) -> Self {
        Self::new(codes::PARSE, at, title)
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    #[must_use]
    fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }
}

/// One file that could be read.
#[derive(Debug)]
pub struct Document {
    /// As shown in diagnostics.
    pub name: String,
    /// Where it lies in the description's folder, `/` between the parts.
    pub path: String,
    pub tree: Tree,
    lines: OnceLock<Vec<u32>>,
}

/// Where something stands: a value, or a member's key.
#[derive(Clone, Copy, Debug)]
pub enum At<'a> {
    Value(Node<'a>),
    Key(Node<'a>, &'a str),
}

impl<'a> At<'a> {
    pub fn node(self) -> Node<'a> {
        match self {
            At::Value(node) | At::Key(node, _) => node,
        }
    }
}

impl Document {
    fn new(name: String, path: String, tree: Tree) -> Self {
        Self { name, path, tree, lines: OnceLock::new() }
    }

    /// Where the key that a JSON pointer names stands, or as much of it as there is.
    #[must_use]
    pub fn find(&self, pointer: &str) -> Place {
        let mut at = At::Value(self.tree.root());
        let mut node = self.tree.root();
        let parts: Vec<String> =
            pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
        for part in &parts {
            let Some(next) = node.step(part) else { break };
            at = if node.is_object() { At::Key(node, part) } else { At::Value(next) };
            node = next;
        }
        Place { pointer: pointer.to_owned(), ..self.place(at) }
    }

    pub fn place(&self, at: At<'_>) -> Place {
        let (offset, pointer) = match at {
            At::Value(node) => (node.offset(), node.pointer()),
            At::Key(node, key) => (
                node.key_offset(key).unwrap_or_else(|| node.offset()),
                format!("{}/{}", node.pointer(), super::value::escape(key)),
            ),
        };
        let lines = self.lines.get_or_init(|| line_starts(self.tree.text()));
        let line = lines.partition_point(|start| *start as usize <= offset).max(1);
        let start = lines[line - 1] as usize;
        let mut place = place_in_line(self.tree.text(), line, start, offset);
        (place.file, place.pointer) = (self.name.clone(), pointer);
        place
    }
}

/// The files of one description: the root is number 0, the others are loaded when first referred to.
pub struct Files<'l> {
    slots: Box<[OnceCell<Document>]>,
    count: Cell<usize>,
    bytes: Cell<usize>,
    /// Path in the folder -> its slot, or why it cannot be had.
    known: RefCell<HashMap<String, Result<usize, String>>>,
    loader: &'l dyn Loader,
    /// Whether the loader may be asked for URLs.
    pub remote: bool,
}

impl<'l> Files<'l> {
    /// Reads the root document. The diagnostics say why it is refused.
    pub fn open(
        bytes: &[u8],
        name: &str,
        path: &str,
        loader: &'l dyn Loader,
    ) -> Result<Self, Vec<Diagnostic>> {
        let tree = read(bytes, name, 0)?;
        let files = Self {
            slots: (0..=MAX_FILES).map(|_| OnceCell::new()).collect(),
            count: Cell::new(1),
            bytes: Cell::new(bytes.len()),
            known: RefCell::new(HashMap::from([(path.to_owned(), Ok(0))])),
            loader,
            remote: false,
        };
        let _ = files.slots[0].set(Document::new(name.to_owned(), path.to_owned(), tree));
        Ok(files)
    }

    /// Allows the loader to be asked for URLs.
    pub fn with_remote(self, remote: bool) -> Self {
        Self { remote, ..self }
    }

    pub fn root(&self) -> &Document {
        self.get(0)
    }

    pub fn get(&self, file: usize) -> &Document {
        self.slots[file].get().expect("invariant: a file has a number only when it is loaded")
    }

    pub fn place(&self, at: At<'_>) -> Place {
        self.get(at.node().file() as usize).place(at)
    }

    /// A file of the folder by its path there, loaded once.
    pub fn load(&self, path: &str) -> Result<&Document, String> {
        if let Some(known) = self.known.borrow().get(path) {
            return known.clone().map(|file| self.get(file));
        }
        let loaded = self.load_new(path);
        self.known.borrow_mut().insert(path.to_owned(), loaded.clone());
        loaded.map(|file| self.get(file))
    }

    fn load_new(&self, path: &str) -> Result<usize, String> {
        let number = self.count.get();
        if number > MAX_FILES {
            return Err(format!("the description refers to more than {MAX_FILES} files"));
        }
        let bytes = self.loader.load(path)?;
        self.bytes.set(self.bytes.get() + bytes.len());
        if self.bytes.get() > MAX_TEXT {
            return Err(format!("the description's files hold more than {} MB", MAX_TEXT / 1_000_000));
        }
        let tree = read(&bytes, path, number as u32).map_err(|diagnostics| {
            diagnostics.first().map_or_else(String::new, |d| format!("line {}: {}", d.place.line, d.title))
        })?;
        let root = &self.root().name;
        let folder = root.strip_suffix(self.root().path.as_str()).filter(|_| !super::reference::is_url(path));
        let name = format!("{}{path}", folder.unwrap_or_default());
        let document = Document::new(name, path.to_owned(), tree);
        let _ = self.slots[number].set(document);
        self.count.set(number + 1);
        Ok(number)
    }

    /// All documents that were read, the root first.
    pub fn into_documents(self) -> Vec<Document> {
        self.slots.into_vec().into_iter().map_while(OnceCell::into_inner).collect()
    }
}

/// Reads one file: encoding, syntax, keys that are there twice.
fn read(bytes: &[u8], name: &str, file: u32) -> Result<Tree, Vec<Diagnostic>> {
    let fail = |text: &str, fault: &Fault| vec![diagnostic(text, name, fault)];
    let text = decode(bytes).map_err(|fault| fail(&String::from_utf8_lossy(bytes), &fault))?;
    let (mut tree, duplicates) = parse(text, name).map_err(|fault| fail(text, &fault))?;
    tree.attach(text.to_owned(), file);
    if duplicates.is_empty() {
        return Ok(tree);
    }
    let faults = duplicates.iter().map(|duplicate| {
        let mut diagnostic = diagnostic(text, name, &duplicate_fault(text, duplicate));
        let owner = tree.node(duplicate.owner).pointer();
        diagnostic.place.pointer = format!("{owner}/{}", super::value::escape(&duplicate.key));
        diagnostic
    });
    Err(faults.collect())
}

fn duplicate_fault(text: &str, duplicate: &Duplicate) -> Fault {
    let line = |at: usize| text[..at].matches('\n').count() + 1;
    let (first, second) = (line(duplicate.first), line(duplicate.second));
    let place = if first == second {
        let start = text[..duplicate.first].rfind('\n').map_or(0, |i| i + 1);
        format!("in the same line, column {}", text[start..duplicate.first].chars().count() + 1)
    } else {
        format!("in line {first}")
    };
    let title = format!("the key `{}` is there twice in one object, first {place}", duplicate.key);
    Fault::new(codes::DUPLICATE_KEY, duplicate.second, title)
        .label("hides the first one")
        .help("remove or rename one of the two: readers disagree on which one counts")
}

/// UTF-8 with or without a byte order mark, and nothing that is obviously something else.
fn decode(bytes: &[u8]) -> Result<&str, Fault> {
    if bytes.len() > MAX_TEXT {
        let title = format!(
            "the file holds {} MB, at most {} are read",
            bytes.len() / 1_000_000,
            MAX_TEXT / 1_000_000
        );
        return Err(Fault::new(codes::TOO_LARGE, 0, title).help("split the description into smaller ones"));
    }
    let fault = |at, title: &str, help: &str| Err(Fault::new(codes::ENCODING_NOT_UTF8, at, title).help(help));
    match bytes {
        [0x1f, 0x8b, ..] => {
            return fault(0, "the file is compressed with gzip", "unpack it first: `gunzip FILE`");
        }
        [b'P', b'K', 3, 4, ..] => {
            return fault(0, "the file is a ZIP archive", "unpack it and name the file in it");
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            return fault(0, "the file is UTF-16", "save it as UTF-8: `iconv -f UTF-16 -t UTF-8 FILE`");
        }
        _ => {}
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).or_else(|error| {
        let at = error.valid_up_to();
        let title = format!("the file is not UTF-8: the byte 0x{:02x} does not fit there", bytes[at]);
        fault(at, &title, "save it as UTF-8; if it is Latin-1: `iconv -f LATIN1 -t UTF-8 FILE`")
    })
}

/// By its first character, not by its name; the name only decides about braces that are not JSON.
fn parse(text: &str, name: &str) -> Result<(Tree, Vec<Duplicate>), Fault> {
    let start = text.trim_start();
    let at = text.len() - start.len();
    if start.is_empty() {
        let fault = Fault::new(codes::NOT_OPENAPI, 0, "the file is empty");
        return Err(fault.help("it must hold an OpenAPI description in JSON or YAML"));
    }
    if start.starts_with('<') {
        let html = starts_with_any(start, &["<!doctype html", "<html"]);
        let kind = if html { "an HTML page" } else { "XML" };
        let fault = Fault::new(codes::NOT_OPENAPI, at, format!("this is {kind}, not an OpenAPI description"));
        return Err(
            fault.help("give the address of the JSON or YAML document, not that of a page that shows it")
        );
    }
    if !start.starts_with(['{', '[']) {
        return yaml::read(text);
    }
    let quoted = start[1..].trim_start().starts_with(['"', '{', '[', '}', ']']);
    json::read(text).or_else(|fault| {
        let yaml_named = [".yaml", ".yml"].iter().any(|end| name.to_ascii_lowercase().ends_with(end));
        if quoted && !yaml_named {
            return Err(fault);
        }
        yaml::read(text).map_err(|_| fault)
    })
}

/// Whether `text` starts with one of `prefixes`, which are in lower case.
fn starts_with_any(text: &str, prefixes: &[&str]) -> bool {
    let is = |prefix: &&str| text.get(..prefix.len()).is_some_and(|s| s.eq_ignore_ascii_case(prefix));
    prefixes.iter().any(is)
}

fn diagnostic(text: &str, name: &str, fault: &Fault) -> Diagnostic {
    let at = fault.at.min(text.len());
    let at = (0..=at).rev().find(|i| text.is_char_boundary(*i)).unwrap_or_default();
    let start = text[..at].rfind('\n').map_or(0, |i| i + 1);
    let line = text[..start].matches('\n').count() + 1;
    let mut place = place_in_line(text, line, start, at);
    place.file = name.to_owned();
    if fault.code == codes::ENCODING_NOT_UTF8 {
        place.width = 1;
    }
    Diagnostic::error(fault.code, &fault.title).at(place).label(&fault.label).help(&fault.help)
}

fn line_starts(text: &str) -> Vec<u32> {
    std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|i| i as u32 + 1)).collect()
}

/// The place of a byte offset in the line that starts at `start`. Of a line that is too long to keep,
/// the part around the place: what starts 50 characters before it (`render` knows).
fn place_in_line(text: &str, line: usize, start: usize, offset: usize) -> Place {
    const KEEP: usize = 2_000;
    const WINDOW: usize = 100;
    let offset = offset.min(text.len());
    let end = memchr::memchr(b'\n', &text.as_bytes()[offset..]).map_or(text.len(), |i| offset + i);
    let whole = text[start..end].trim_end_matches('\r');
    let before = &text[start..offset];
    let column = before.chars().count();
    let source = if whole.len() <= KEEP || column <= WINDOW {
        whole.chars().take(KEEP).collect()
    } else {
        let from = before.char_indices().rev().nth(WINDOW / 2 - 1).map_or(0, |(i, _)| i);
        whole[from..].chars().take(WINDOW).collect()
    };
    let width = token_width(&text[offset..]);
    let (line, column) = (line as u32, column as u32 + 1);
    Place { line, column, source, width, ..Place::default() }
}

/// How many characters the token at the start of `text` has, within its line.
fn token_width(text: &str) -> u32 {
    let line: String = text.chars().take_while(|c| !matches!(c, '\n' | '\r')).take(80).collect();
    let token = match line.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let closed =
                line.char_indices().skip(1).find(|(i, c)| *c == quote && !line[..*i].ends_with('\\'));
            closed.map_or(line.as_str(), |(i, _)| &line[..=i])
        }
        Some('{' | '[' | '&' | '*' | '|' | '>') | None => "{",
        Some(_) => line.split([':', ',', '}', ']', '#']).next().unwrap_or_default().trim_end(),
    };
    token.chars().count().max(1) as u32
}
