//! JSON (RFC 8259) into a [`Tree`], with the place of every value and of every error.
//!
//! Own code because descriptions need what general readers drop: offsets, numbers of any size, both
//! places of a key that is there twice. Strict, but for lone surrogates, which become U+FFFD.

use super::{
    builder::{Builder, Duplicate, Open},
    document::{Fault, MAX_DEPTH},
    value::{Span, Tree},
};

/// Reads one JSON text; the error says where and what.
pub fn read(text: &str) -> Result<(Tree, Vec<Duplicate>), Fault> {
    let mut reader = Reader { text, at: 0, builder: Builder::new(text), scratch: String::new() };
    reader.blanks();
    let root = reader.value(0)?;
    reader.blanks();
    if reader.at < text.len() {
        return Err(reader.fault("there is more text after the end of the document"));
    }
    Ok(reader.builder.finish(root))
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    builder: Builder<'t>,
    scratch: String,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<u32, Fault> {
        if depth >= MAX_DEPTH {
            return Err(self.fault(format!("values are nested deeper than {MAX_DEPTH} levels")));
        }
        let at = self.at;
        match self.peek() {
            Some(b'{') => {
                let open = self.builder.open_object(at);
                self.object(&open, depth)
            }
            Some(b'[') => {
                let open = self.builder.open_array(at);
                self.array(&open, depth)
            }
            Some(b'"') => {
                let span = self.string()?;
                Ok(self.builder.string(span, at))
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true").map(|()| self.builder.bool(true, at)),
            Some(b'f') => self.word("false").map(|()| self.builder.bool(false, at)),
            Some(b'n') => self.word("null").map(|()| self.builder.null(at)),
            _ => Err(self.expected("a value")),
        }
    }

    fn object(&mut self, open: &Open, depth: usize) -> Result<u32, Fault> {
        self.at += 1;
        self.blanks();
        if self.accept(b'}') {
            return Ok(self.builder.close_object(open));
        }
        loop {
            let at = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.expected("a key in double quotes"));
            }
            let key = self.string()?;
            self.blanks();
            if !self.accept(b':') {
                return Err(self.expected("`:` after the key"));
            }
            self.blanks();
            let value = self.value(depth + 1)?;
            self.builder.member(key, at, value);
            self.blanks();
            if self.accept(b'}') {
                return Ok(self.builder.close_object(open));
            }
            if !self.accept(b',') {
                return Err(self.expected("`,` or `}`"));
            }
            self.blanks();
        }
    }

    fn array(&mut self, open: &Open, depth: usize) -> Result<u32, Fault> {
        self.at += 1;
        self.blanks();
        if self.accept(b']') {
            return Ok(self.builder.close_array(open));
        }
        loop {
            let value = self.value(depth + 1)?;
            self.builder.item(value);
            self.blanks();
            if self.accept(b']') {
                return Ok(self.builder.close_array(open));
            }
            if !self.accept(b',') {
                return Err(self.expected("`,` or `]`"));
            }
            self.blanks();
        }
    }

    /// A string that starts here; without escapes it stays a part of the source.
    fn string(&mut self) -> Result<Span, Fault> {
        let start = self.at + 1;
        self.at = self.plain(start)?;
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(Span::source(start..self.at - 1));
        }
        self.scratch.clear();
        let mut from = start;
        loop {
            self.scratch.push_str(&self.text[from..self.at]);
            if self.peek() == Some(b'"') {
                self.at += 1;
                return Ok(self.builder.extra(&self.scratch));
            }
            let c = self.escape()?;
            self.scratch.push(c);
            from = self.at;
            self.at = self.plain(from)?;
        }
    }

    /// The offset of the next quote or backslash.
    fn plain(&mut self, from: usize) -> Result<usize, Fault> {
        let bytes = &self.text.as_bytes()[from..];
        for (i, b) in bytes.iter().enumerate() {
            match b {
                b'"' | b'\\' => return Ok(from + i),
                0..0x20 => {
                    self.at = from + i;
                    return Err(self.fault("a string holds a control character; write it as an escape"));
                }
                _ => {}
            }
        }
        self.at = self.text.len();
        Err(self.expected("the end of a string"))
    }

    /// One escape, at the backslash.
    fn escape(&mut self) -> Result<char, Fault> {
        let c = match self.text.as_bytes().get(self.at + 1) {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(*c),
            Some(b'u') => return self.unicode(),
            _ => return Err(self.fault("a string holds an escape that JSON does not know")),
        };
        self.at += 2;
        Ok(c)
    }

    fn unicode(&mut self) -> Result<char, Fault> {
        let unit = |at: usize| {
            let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
            digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
        };
        let Some(first) = unit(self.at) else {
            return Err(self.fault("`\\u` needs four hexadecimal digits"));
        };
        if let (0xd800..0xdc00, Some(second @ 0xdc00..0xe000)) = (first, unit(self.at + 6)) {
            self.at += 12;
            let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        self.at += 6;
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn number(&mut self) -> Result<u32, Fault> {
        let start = self.at;
        self.accept(b'-');
        let zero = self.peek() == Some(b'0');
        let mut fine = self.digits() > 0;
        fine &= !zero || matches!(&self.text[start..self.at], "0" | "-0");
        if self.accept(b'.') {
            fine &= self.digits() > 0;
        }
        if self.accept(b'e') || self.accept(b'E') {
            let _sign = self.accept(b'+') || self.accept(b'-');
            fine &= self.digits() > 0;
        }
        if !fine {
            self.at = start;
            return Err(self.fault("this is not a JSON number"));
        }
        Ok(self.builder.number(Span::source(start..self.at), start))
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn word(&mut self, word: &str) -> Result<(), Fault> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.expected("a value"))
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn accept(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expected(&self, what: &str) -> Fault {
        let Some(c) = self.text[self.at..].chars().next() else {
            let title = format!("the text ends in the middle of the document: expected {what}");
            return self.fault(title).help("the file was cut off, or a brace or bracket in it is not closed");
        };
        let help = match c {
            '}' | ']' if self.text[..self.at].trim_end().ends_with(',') => "remove the comma before it",
            '\'' => "JSON has its strings in double quotes",
            '/' | '#' => "JSON has no comments: remove it, or name the file `.yaml`",
            _ => "check this place and what stands just before it",
        };
        self.fault(format!("expected {what}, found `{c}`")).help(help)
    }

    fn fault(&self, title: impl Into<String>) -> Fault {
        Fault::parse(self.at, title)
    }
}
