//! Targeted cache control: `CDN-Cache-Control` and its kin (RFC 9213), in structured-field syntax
//! (RFC 9651, dictionaries).
//!
//! A field that is empty or does not parse is as if it were not there (RFC 9213, 2.1); one that parses
//! stands in place of `Cache-Control` and `Expires`.

use http::{HeaderMap, HeaderName};

use super::directives::ResponseDirectives;

/// The directives of the first of `targets` that is present and valid.
#[must_use]
pub fn parse(headers: &HeaderMap, targets: &[HeaderName]) -> Option<ResponseDirectives> {
    targets.iter().find_map(|name| dictionary(headers, name))
}

fn dictionary(headers: &HeaderMap, name: &HeaderName) -> Option<ResponseDirectives> {
    let mut lines = headers.get_all(name).iter();
    let mut text = lines.next()?.as_bytes().to_vec();
    for line in lines {
        text.extend_from_slice(b", ");
        text.extend_from_slice(line.as_bytes());
    }
    let members = Parser { text: &text, at: 0 }.dictionary().filter(|members| !members.is_empty())?;
    let mut found = ResponseDirectives::default();
    for (key, value) in &members {
        match value {
            Value::False => {}
            Value::True => found.take(key, None),
            // A number in quotes is not an integer (RFC 9213, 2.1), so it is read as invalid.
            Value::String(content) if content.iter().all(u8::is_ascii_digit) => found.take(key, Some(b"\"")),
            Value::String(content) | Value::Content(content) => found.take(key, Some(content)),
        }
    }
    Some(found)
}

#[derive(Clone, Copy)]
enum Value<'a> {
    True,
    False,
    String(&'a [u8]),
    /// An integer, token or anything else, as written.
    Content(&'a [u8]),
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    /// RFC 9651, 4.2.2. Of a repeated key the last value counts.
    fn dictionary(mut self) -> Option<Vec<(&'a [u8], Value<'a>)>> {
        let mut members: Vec<(&[u8], Value)> = Vec::new();
        self.skip(b" ");
        while self.at < self.text.len() {
            let key = self.key()?;
            let value = if self.eat(b'=') { self.member()? } else { Value::True };
            self.parameters()?;
            members.retain(|(known, _)| *known != key);
            members.push((key, value));
            self.skip(b" \t");
            if self.at == self.text.len() {
                break;
            }
            if !self.eat(b',') {
                return None;
            }
            self.skip(b" \t");
            if self.at == self.text.len() {
                return None; // a comma at the end
            }
        }
        Some(members)
    }

    fn member(&mut self) -> Option<Value<'a>> {
        if !self.eat(b'(') {
            return self.item();
        }
        let start = self.at;
        loop {
            self.skip(b" ");
            if self.eat(b')') {
                return Some(Value::Content(&self.text[start..self.at - 1]));
            }
            self.item()?;
            self.parameters()?;
            if !matches!(self.peek(), Some(b' ' | b')')) {
                return None;
            }
        }
    }

    fn parameters(&mut self) -> Option<()> {
        while self.eat(b';') {
            self.skip(b" ");
            self.key()?;
            if self.eat(b'=') {
                self.item()?;
            }
        }
        Some(())
    }

    fn item(&mut self) -> Option<Value<'a>> {
        let start = self.at;
        match self.peek()? {
            b'-' | b'0'..=b'9' => {
                self.number()?;
                Some(Value::Content(&self.text[start..self.at]))
            }
            b'"' => self.string(1).map(Value::String),
            b'%' => {
                self.at += 1;
                (self.peek() == Some(b'"')).then(|| self.string(1).map(Value::String))?
            }
            b'@' => {
                self.at += 1;
                self.number()?;
                Some(Value::Content(&self.text[start..self.at]))
            }
            b'?' => {
                self.at += 2;
                match self.text.get(self.at - 1)? {
                    b'1' => Some(Value::True),
                    b'0' => Some(Value::False),
                    _ => None,
                }
            }
            b':' => {
                let length = memchr::memchr(b':', &self.text[start + 1..])?;
                self.at = start + length + 2;
                let inner = &self.text[start + 1..start + 1 + length];
                let fine = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
                inner.iter().all(fine).then_some(Value::Content(inner))
            }
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
                let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&b);
                while self.peek().is_some_and(token) {
                    self.at += 1;
                }
                Some(Value::Content(&self.text[start..self.at]))
            }
            _ => None,
        }
    }

    /// An integer of at most 15 digits, or a decimal of at most 12 and 3.
    fn number(&mut self) -> Option<()> {
        self.eat(b'-');
        let whole = self.digits();
        if !self.eat(b'.') {
            return (1..=15).contains(&whole).then_some(());
        }
        let part = self.digits();
        ((1..=12).contains(&whole) && (1..=3).contains(&part)).then_some(())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    /// The content of a string whose quote stands `skip` bytes before it.
    fn string(&mut self, skip: usize) -> Option<&'a [u8]> {
        self.at += skip;
        let start = self.at;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(&self.text[start..self.at - 1]);
                }
                b'\\' if matches!(self.text.get(self.at + 1)?, b'"' | b'\\') => self.at += 2,
                b'\\' => return None,
                0x20..=0x7e => self.at += 1,
                _ => return None,
            }
        }
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        if !matches!(self.peek()?, b'a'..=b'z' | b'*') {
            return None;
        }
        while matches!(self.peek(), Some(b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*')) {
            self.at += 1;
        }
        Some(&self.text[start..self.at])
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip(&mut self, bytes: &[u8]) {
        while self.peek().is_some_and(|b| bytes.contains(&b)) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::directives::Delta;
    use super::*;

    fn cdn(lines: &[&str]) -> Option<ResponseDirectives> {
        let name = HeaderName::from_static("cdn-cache-control");
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, line.parse().unwrap());
        }
        parse(&headers, &[name])
    }

    #[test]
    fn a_valid_field_is_read_over_several_lines() {
        let found = cdn(&["max-age=60;x=y", "no-store, private=\"a\", stale-if-error=5"]).unwrap();
        assert_eq!(found.max_age, Delta::Seconds(60));
        assert!(found.no_store);
        assert_eq!(found.named_fields, ["a"]);
        assert_eq!(found.stale_if_error, Delta::Seconds(5));
    }

    #[test]
    fn the_last_of_a_repeated_key_counts_and_false_is_as_if_absent() {
        assert_eq!(cdn(&["max-age=1, max-age=9"]).unwrap().max_age, Delta::Seconds(9));
        assert!(!cdn(&["no-store=?0, max-age=1"]).unwrap().no_store);
    }

    #[test]
    fn an_empty_or_invalid_field_is_ignored() {
        for line in [
            "",
            " ",
            "max-age=60,",
            "Max-Age=60",
            "max-age=60 x",
            "max-age=\"6",
            "a=(1 2",
            "max-age=",
            "a=?2",
        ] {
            assert_eq!(cdn(&[line]), None, "{line:?}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_is_invalid_not_absent() {
        for line in ["max-age=\"60\"", "max-age=1.5", "max-age=-1", "max-age=abc", "max-age"] {
            assert_eq!(cdn(&[line]).unwrap().max_age, Delta::Invalid, "{line:?}");
        }
    }

    #[test]
    fn every_kind_of_value_is_passed_over_without_harm() {
        let found = cdn(&["a=(1 \"x, y\" tok);p=?1, b=:aGk=:, c=@17, d=*tok/x, e=-2.5, max-age=3"]).unwrap();
        assert_eq!(found.max_age, Delta::Seconds(3));
    }
}
