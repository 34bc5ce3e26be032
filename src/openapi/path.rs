//! Path keys as real descriptions have them: template, query, fragment, canonical escapes (RFC 3986, 6.2.2).
//!
//! A key is cut at its first `?` and `#` outside braces. What stands in braces is one parameter, whatever
//! it looks like. It does not decide which request goes where: the route room compiles the templates.

use std::fmt::Write;

use super::Conditions;

/// A path key taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathKey<'k> {
    /// The key without query and fragment, as written.
    pub written: &'k str,
    /// The same with canonical escapes and parameters as `{name}`.
    pub template: String,
    /// The parameters as written between their braces, in order.
    pub parameters: Vec<&'k str>,
    pub query: Option<&'k str>,
    pub fragment: Option<&'k str>,
    /// Blanks or characters outside ASCII beside the parameters.
    pub odd_characters: bool,
}

/// Why a path cannot be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unroutable {
    NoSlash,
    Braces,
    DotSegment,
    ControlCharacter,
    TooLong,
}

/// Longer paths are no paths: servers and proxies refuse them.
const MAX_LEN: usize = 8_000;

impl Unroutable {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSlash => "does not start with `/`",
            Self::Braces => "has a brace that is not closed or not opened",
            Self::DotSegment => "has a segment `.` or `..`, which clients and servers remove",
            Self::ControlCharacter => "has a control character",
            Self::TooLong => "is longer than 8,000 bytes",
        }
    }

    pub fn help(self) -> &'static str {
        match self {
            Self::NoSlash => "write the `/` in front of it",
            Self::Braces => "write parameters as `{name}`; a brace that is meant literally as `%7B` or `%7D`",
            Self::DotSegment => "write the path that is meant",
            Self::ControlCharacter | Self::TooLong => "remove it if it is not meant to be there",
        }
    }
}

impl<'k> PathKey<'k> {
    pub fn parse(key: &'k str) -> Result<Self, Unroutable> {
        if key.len() > MAX_LEN {
            return Err(Unroutable::TooLong);
        }
        if !key.starts_with('/') {
            return Err(Unroutable::NoSlash);
        }
        if key.chars().any(char::is_control) {
            return Err(Unroutable::ControlCharacter);
        }
        let (written, query, fragment) = cut(key);
        let mut path = PathKey {
            written,
            template: String::with_capacity(written.len()),
            parameters: Vec::new(),
            query,
            fragment,
            odd_characters: false,
        };
        path.read()?;
        // A parameter is not a dot segment, whatever it stands for; the request is checked as well.
        if path.template.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(Unroutable::DotSegment);
        }
        Ok(path)
    }

    /// Whether a `?` or `#` makes parameters with one value part of the route.
    pub fn conditional(&self) -> bool {
        self.query.is_some() || self.fragment.is_some()
    }

    /// The conditions that the query of the key states.
    pub fn conditions(&self) -> Conditions {
        let mut conditions = Conditions::default();
        for pair in self.query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').map_or((pair, None), |(n, v)| (n, Some(v)));
            let decode = |s: &str| percent_encoding::percent_decode_str(s).decode_utf8_lossy().into_owned();
            let any = |v: &str| v.contains('{') && v.contains('}');
            if !any(name) && !conditions.query.iter().any(|(known, _)| *known == decode(name)) {
                conditions.query.push((decode(name), value.filter(|v| !any(v)).map(decode)));
            }
        }
        conditions
    }

    fn read(&mut self) -> Result<(), Unroutable> {
        let mut rest = self.written;
        while let Some(open) = rest.find(['{', '}']) {
            let (literal, braced) = rest.split_at(open);
            self.literal(literal);
            let inside = close(braced).ok_or(Unroutable::Braces)?;
            self.parameters.push(inside);
            let name = plain_name(inside);
            if name.is_empty() {
                let _ = write!(self.template, "{{p{}}}", self.parameters.len());
            } else {
                let _ = write!(self.template, "{{{name}}}");
            }
            rest = &braced[inside.len() + 2..];
        }
        self.literal(rest);
        Ok(())
    }

    fn literal(&mut self, text: &str) {
        self.odd_characters |= text.chars().any(|c| c.is_whitespace() || !c.is_ascii());
        canonical(text, &mut self.template);
    }
}

/// The place of `key`'s path, query and fragment.
fn cut(key: &str) -> (&str, Option<&str>, Option<&str>) {
    let (path, fragment) = split_outside(key, '#');
    let (path, query) = split_outside(path, '?');
    (path, query, fragment)
}

/// Splits at the first `mark` outside balanced braces; where they are not balanced, at the first one.
fn split_outside(text: &str, mark: char) -> (&str, Option<&str>) {
    let mut from = 0;
    while let Some(at) = text[from..].find(['{', mark]).map(|i| i + from) {
        if text[at..].starts_with(mark) {
            return (&text[..at], Some(&text[at + 1..]));
        }
        let Some(inside) = close(&text[at..]) else {
            return text.split_once(mark).map_or((text, None), |(a, b)| (a, Some(b)));
        };
        from = at + inside.len() + 2;
    }
    (text, None)
}

/// What stands between the brace that `text` starts with and the one that closes it. Only a regular
/// expression behind `name:` may have braces of its own.
fn close(text: &str) -> Option<&str> {
    let text = text.strip_prefix('{')?;
    let first = text.find(['{', '}', '/'])?;
    if text[first..].starts_with('}') {
        return Some(&text[..first]);
    }
    let name = text[..first].split_once(':')?.0;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
        return None;
    }
    let mut depth = 1;
    for (i, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&text[..i]);
        }
    }
    None
}

/// The name in a parameter as written: without operators (RFC 6570, Amazon) and regular expressions.
pub fn plain_name(written: &str) -> &str {
    let name = written.split([':', '<', '|', '{']).next().unwrap_or_default();
    name.trim_matches(|c: char| {
        c.is_whitespace() || matches!(c, '+' | '*' | '.' | '?' | '/' | ';' | '&' | '#')
    })
}

/// Whether a parameter is written in a form that OpenAPI does not know.
pub fn is_pattern(written: &str) -> bool {
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '@' | '~');
    written.is_empty() || written.starts_with(['.', '-']) || !written.chars().all(fine)
}

/// Whether it asks for more than one segment: `{name+}`, `{+name}`, `{name*}`, `{*name}`.
pub fn spans_segments(written: &str) -> bool {
    let written = written.trim();
    written.starts_with(['+', '*']) || written.ends_with(['+', '*'])
}

/// Appends `text` in its one canonical spelling: unreserved characters bare, what a path cannot hold
/// escaped, hexadecimal digits in capitals.
pub fn canonical(text: &str, out: &mut String) {
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        let escaped = (bytes[i] == b'%').then(|| text.get(i + 1..i + 3)).flatten();
        let byte = escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+')));
        let (byte, written) = byte.map_or((bytes[i], false), |byte| (byte, true));
        i += if written { 3 } else { 1 };
        let bare = unreserved(byte) || (!written && b"/:@!$&'()*+,;=".contains(&byte));
        if bare {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(key: &str) -> String {
        PathKey::parse(key).unwrap().template
    }

    #[test]
    fn escapes_have_one_spelling() {
        assert_eq!(template("/enc%20oded/%7Eme%2f"), "/enc%20oded/~me%2F");
        assert_eq!(template("/grüße \"x\""), "/gr%C3%BC%C3%9Fe%20%22x%22");
        assert_eq!(template("/100%/%zz/%+1"), "/100%25/%25zz/%25+1");
        assert_eq!(template("/@{lat},{lon}/a('{k}')"), "/@{lat},{lon}/a('{k}')");
    }

    #[test]
    fn parameters_in_foreign_forms_keep_their_names() {
        assert_eq!(template("/{proxy+}/{id}{.format}"), "/{proxy}/{id}{format}");
        assert_eq!(template(r"/{id:\d{3}}/{ white space }/{}"), "/{id}/{white space}/{p3}");
        assert!(
            is_pattern("proxy+") && is_pattern(".x") && is_pattern("id:[0-9]+") && !is_pattern("track-id")
        );
        assert!(spans_segments("proxy+") && !spans_segments("proxy"));
    }

    #[test]
    fn query_and_fragment_are_cut_off_outside_braces() {
        let key = PathKey::parse("/a/{id?}?x=1&y={v}&z&%61=%20#f?g").unwrap();
        assert_eq!(
            (key.written, key.query, key.fragment),
            ("/a/{id?}", Some("x=1&y={v}&z&%61=%20"), Some("f?g"))
        );
        let some = |s: &str| Some(s.to_owned());
        let query =
            vec![("x".into(), some("1")), ("y".into(), None), ("z".into(), None), ("a".into(), some(" "))];
        assert_eq!(key.conditions().query, query);
    }

    #[test]
    fn paths_that_cannot_be_routed_are_refused() {
        for (key, reason) in [
            ("pets", Unroutable::NoSlash),
            ("", Unroutable::NoSlash),
            ("/open/{brace", Unroutable::Braces),
            ("/a}b", Unroutable::Braces),
            ("/{a{b}}", Unroutable::Braces),
            ("/a/../b", Unroutable::DotSegment),
            ("/a/%2e%2E", Unroutable::DotSegment),
            ("/a\nb", Unroutable::ControlCharacter),
        ] {
            assert_eq!(PathKey::parse(key), Err(reason), "{key}");
        }
        assert!(PathKey::parse("/a/...").is_ok());
    }
}
