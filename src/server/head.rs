//! The strict reader of HTTP/1 request heads (RFC 9112): pure, resumable, without copies.
//!
//! It judges what hyper's parser forgives or hides: bare LF, repeated or odd lengths, lengths beside
//! encodings, hosts that disagree. It takes nothing that two servers could read in two ways; what it takes,
//! hyper reads the same. Bytes that mean something only to the gateway's routes (dot segments,
//! backslashes, encoded slashes) are the proxy's to judge.

use std::ops::Range;

use memchr::memchr;

use super::{config::Limits, refusal::Refusal};

/// A field name this long is an attack; hyper's own bound is 64 KiB.
const LONGEST_NAME: usize = 1024;
/// What a request line may hold beside its target: method, two spaces, version.
const LINE_EXTRA: usize = 64;

/// A head that was found fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its bytes, the empty line at its end included.
    pub(super) len: usize,
    pub(super) body: Framing,
    /// The request asks to leave HTTP/1 (`Upgrade`, CONNECT): what follows depends on the answer.
    pub(super) upgrade: bool,
}

/// How the body that follows a head is delimited (RFC 9112, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Sized(u64),
    Chunked,
}

/// Reads one head. It is shown all bytes from the head's start on, again and again as more arrive, and
/// looks at each line once.
#[derive(Clone, Debug, Default)]
pub(super) struct HeadScanner {
    /// Where the current line starts.
    line: usize,
    /// Up to here there is no further line end.
    searched: usize,
    begun: bool,
    /// An empty line stood before the request line.
    empty_line: bool,
    fields: usize,
    http11: bool,
    connect: bool,
    upgrade: bool,
    chunked: bool,
    length: Option<u64>,
    host: Option<Range<usize>>,
    /// The authority of a target in absolute form.
    authority: Option<Range<usize>>,
}

impl HeadScanner {
    /// Whether something of a request has been seen; an empty line is not yet a request.
    pub(super) fn begun(&self, shown: &[u8]) -> bool {
        self.begun || !shown[self.line..].is_empty() && shown[self.line] != b'\r'
    }

    /// The head at the start of `bytes`, once it is complete.
    pub(super) fn scan(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<Head>, Refusal> {
        // Short of the head's bound, so that the longest line is refused as one whatever arrives at once.
        let longest_line = (limits.uri_bytes + LINE_EXTRA).min(limits.head_bytes.saturating_sub(4));
        while let Some(found) = memchr(b'\n', &bytes[self.searched..]) {
            let end = self.searched + found;
            let line = &bytes[self.line..end];
            let stripped = line.strip_suffix(b"\r");
            if !self.begun && stripped.unwrap_or(line).len() > longest_line {
                return Err(Refusal::TargetTooLong);
            }
            if end >= limits.head_bytes {
                return Err(Refusal::HeadTooLarge);
            }
            let line = stripped.ok_or(Refusal::BareLf)?;
            let start = self.line;
            self.line = end + 1;
            self.searched = self.line;
            if self.begun && line.is_empty() {
                return self.finish(bytes, end + 1).map(Some);
            }
            let judged = if self.begun {
                self.field_line(line, start, limits)
            } else {
                self.start_line(line, start, limits)
            };
            // No class of bytes holds CR, so a line with one was refused; say why.
            judged.map_err(|refusal| if line.contains(&b'\r') { Refusal::BareCr } else { refusal })?;
        }
        self.searched = bytes.len();
        // One more than the bound may be the CR of the line's end.
        if !self.begun && bytes.len() - self.line > longest_line + 1 {
            return Err(Refusal::TargetTooLong);
        }
        if bytes.len() > limits.head_bytes { Err(Refusal::HeadTooLarge) } else { Ok(None) }
    }

    fn start_line(&mut self, line: &[u8], start: usize, limits: &Limits) -> Result<(), Refusal> {
        if !line.is_empty() {
            self.begun = true;
            return self.request_line(line, start, limits);
        }
        if self.empty_line {
            return Err(Refusal::EmptyLines);
        }
        self.empty_line = true;
        Ok(())
    }

    fn request_line(&mut self, line: &[u8], start: usize, limits: &Limits) -> Result<(), Refusal> {
        let space = memchr(b' ', line).ok_or(Refusal::RequestLine)?;
        let (method, rest) = (&line[..space], &line[space + 1..]);
        if method.is_empty() || method.len() > LINE_EXTRA / 2 || !all(method, TOKEN) {
            return Err(Refusal::Method);
        }
        // Without a version it would be HTTP/0.9.
        let space = memchr(b' ', rest).ok_or(Refusal::Version)?;
        let (target, version) = (&rest[..space], &rest[space + 1..]);
        self.http11 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            _ if version.starts_with(b"HTTP/") && !version.contains(&b' ') => return Err(Refusal::Version),
            _ => return Err(Refusal::RequestLine),
        };
        if target.len() > limits.uri_bytes {
            return Err(Refusal::TargetTooLong);
        }
        self.target(method, target, start + method.len() + 1)
    }

    /// `at` is where the target stands among the bytes shown.
    fn target(&mut self, method: &[u8], target: &[u8], at: usize) -> Result<(), Refusal> {
        // hyper takes a quote in a path, but answers one in a query with an empty 400 of its own.
        let query = memchr(b'?', target).map_or(&[][..], |at| &target[at..]);
        if !all(target, TARGET) || query.contains(&b'"') {
            return Err(Refusal::Target);
        }
        if method == b"CONNECT" {
            self.connect = true;
            let port = host_and_port(target).ok_or(Refusal::Target)?;
            return if port.is_some() { Ok(()) } else { Err(Refusal::Target) };
        }
        if target.first() == Some(&b'/') || (target == b"*" && method == b"OPTIONS") {
            return Ok(());
        }
        let scheme = [&b"http://"[..], b"https://"]
            .into_iter()
            .find(|scheme| target.len() > scheme.len() && target[..scheme.len()].eq_ignore_ascii_case(scheme))
            .ok_or(Refusal::Target)?;
        let rest = &target[scheme.len()..];
        let len = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        host_and_port(&rest[..len]).ok_or(Refusal::Target)?;
        let from = at + scheme.len();
        self.authority = Some(from..from + len);
        Ok(())
    }

    fn field_line(&mut self, line: &[u8], start: usize, limits: &Limits) -> Result<(), Refusal> {
        self.fields += 1;
        if self.fields > limits.headers {
            return Err(Refusal::TooManyFields);
        }
        let (name, value) = split_field(line)?;
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value, start + name.len() + 1),
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade = true;
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(value),
            _ => Ok(()),
        }
    }

    /// `at` is where the value stands among the bytes shown.
    fn host(&mut self, value: &[u8], at: usize) -> Result<(), Refusal> {
        if self.host.is_some() {
            return Err(Refusal::HostRepeated);
        }
        let trimmed = value.trim_ascii();
        host_and_port(trimmed).ok_or(Refusal::Host)?;
        let from = at + (value.len() - value.trim_ascii_start().len());
        self.host = Some(from..from + trimmed.len());
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::LengthRepeated);
        }
        let digits = plain(value);
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::Length);
        }
        let length = digits
            .iter()
            .try_fold(0_i64, |sum, digit| sum.checked_mul(10)?.checked_add(i64::from(digit - b'0')));
        self.length = Some(length.ok_or(Refusal::Length)?.unsigned_abs());
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked {
            return Err(Refusal::EncodingRepeated);
        }
        if !plain(value).eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::Encoding);
        }
        self.chunked = true;
        Ok(())
    }

    /// What only the whole head can tell.
    fn finish(&self, bytes: &[u8], len: usize) -> Result<Head, Refusal> {
        if self.http11 && self.host.is_none() {
            return Err(Refusal::HostMissing);
        }
        if let (Some(authority), Some(host)) = (&self.authority, &self.host)
            && !same_host(&bytes[authority.clone()], &bytes[host.clone()])
        {
            return Err(Refusal::HostMismatch);
        }
        let body = match (self.chunked, self.length) {
            (true, Some(_)) => return Err(Refusal::LengthAndEncoding),
            (true, None) if !self.http11 => return Err(Refusal::EncodingInHttp10),
            (true, None) => Framing::Chunked,
            (false, Some(length)) if length > 0 => Framing::Sized(length),
            (false, _) => Framing::None,
        };
        if self.connect && body != Framing::None {
            return Err(Refusal::ConnectWithBody);
        }
        Ok(Head { len, body, upgrade: self.connect || (self.upgrade && self.http11) })
    }
}

/// Name and value of a field line, the value with its white space.
fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Refusal::LineFolding);
    }
    let colon = memchr(b':', line).ok_or(Refusal::FieldWithoutColon)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.len() > LONGEST_NAME {
        return Err(Refusal::HeadTooLarge);
    }
    if name.is_empty() || !all(name, TOKEN) {
        let spaced = matches!(name.last(), Some(b' ' | b'\t'));
        return Err(if spaced { Refusal::SpaceBeforeColon } else { Refusal::FieldName });
    }
    if all(value, VALUE) { Ok((name, value)) } else { Err(Refusal::FieldValue) }
}

/// The value without the one space that everyone writes. Fields that decide framing may have no other
/// white space: which of it counts is where parsers differ.
fn plain(value: &[u8]) -> &[u8] {
    value.strip_prefix(b" ").unwrap_or(value)
}

/// A plain decimal number that any server can hold: below 2^63.
fn length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: i64, digit: &u8| sum.checked_mul(10)?.checked_add(i64::from(digit - b'0'));
    digits.iter().try_fold(0, add).map(i64::unsigned_abs)
}

/// Whether `text` is a `Content-Length` that is taken.
pub(super) fn is_length(text: &[u8]) -> bool {
    length(text).is_some()
}

/// Whether `text` holds only what may stand in a request target.
pub(super) fn is_target(text: &[u8]) -> bool {
    all(text, TARGET)
}

/// Checks `host [":" port]`; the inner option is the port. No user information, no empty host or port.
pub(super) fn host_and_port(text: &[u8]) -> Option<Option<&[u8]>> {
    let (host_fine, rest) = match text.strip_prefix(b"[") {
        Some(address) => {
            let end = memchr(b']', address)?;
            let inner = std::str::from_utf8(&address[..end]).ok()?;
            (inner.parse::<std::net::Ipv6Addr>().is_ok(), &address[end + 1..])
        }
        None => {
            let end = memchr(b':', text).unwrap_or(text.len());
            (end > 0 && all(&text[..end], HOST), &text[end..])
        }
    };
    if !host_fine {
        return None;
    }
    match rest.split_first() {
        None => Some(None),
        Some((b':', port)) => {
            let fine = (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit);
            fine.then_some(Some(port))
        }
        Some(_) => None,
    }
}

/// Whether an absolute target's authority and `Host` are the same; the port of `http` may be left out.
pub(super) fn same_host(a: &[u8], b: &[u8]) -> bool {
    fn bare(text: &[u8]) -> &[u8] {
        text.strip_suffix(b":80").unwrap_or(text)
    }
    bare(a).eq_ignore_ascii_case(bare(b))
}

const TOKEN: u8 = 1;
const TARGET: u8 = 2;
const VALUE: u8 = 4;
const HOST: u8 = 8;

fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|&byte| CLASSES[usize::from(byte)] & class != 0)
}

/// Which classes each byte belongs to.
static CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        if is_token(byte) {
            table[at] |= TOKEN;
        }
        // Of the delimiters that RFC 3986 forbids, real clients send quotes, braces and bars.
        if matches!(byte, 0x21..=0x7e) && !matches!(byte, b'#' | b'<' | b'>' | b'`') {
            table[at] |= TARGET;
        }
        if matches!(byte, b'\t' | b' '..=0x7e | 0x80..) {
            table[at] |= VALUE;
        }
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            table[at] |= HOST;
        }
        at += 1;
    }
    table
};

/// `tchar` of RFC 9110, section 5.6.2.
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// A byte of a field value (RFC 9110, section 5.5).
pub(super) fn is_value(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & VALUE != 0
}
