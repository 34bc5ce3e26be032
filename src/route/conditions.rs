//! What must hold beside method and path: query parameters and header fields.

use std::cmp::Reverse;

use http::HeaderMap;

/// Conditions of a route, all of which must hold; a value of `None` asks for presence, whatever the value.
///
/// Where a name occurs several times in a request, every occurrence must have the value: an upstream may read
/// the first or the last, and a request must not be judged as one operation and run as another.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conditions {
    /// Decoded names and values, compared exactly. In the request `%XX` and `+` are decoded.
    pub query: Vec<(String, Option<String>)>,
    /// Names in any case, values compared exactly.
    pub header: Vec<(String, Option<String>)>,
}

impl Conditions {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.query.is_empty() && self.header.is_empty()
    }

    /// Whether a request with this raw query and these header fields fulfils all of them.
    #[must_use]
    pub fn hold(&self, query: Option<&str>, headers: &HeaderMap) -> bool {
        self.query.iter().all(|(name, value)| query_holds(query.unwrap_or_default(), name, value.as_deref()))
            && self.header.iter().all(|(name, value)| header_holds(headers, name, value.as_deref()))
    }

    /// One spelling for equal conditions: sorted, header names in lower case, duplicates gone.
    pub(super) fn normalise(&mut self) {
        for (name, _) in &mut self.header {
            name.make_ascii_lowercase();
        }
        for list in [&mut self.query, &mut self.header] {
            list.sort();
            list.dedup();
        }
    }

    /// Sorts the conditions that ask for more before those that ask for less.
    pub(super) fn rank(&self) -> impl Ord + use<'_> {
        let all = || self.query.iter().chain(&self.header);
        let values = all().filter(|(_, value)| value.is_some()).count();
        (Reverse((all().count(), values)), self)
    }
}

fn query_holds(query: &str, name: &str, value: Option<&str>) -> bool {
    let mut present = false;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (own, text) = pair.split_once('=').unwrap_or((pair, ""));
        if decodes_to(own, name) {
            if value.is_some_and(|value| !decodes_to(text, value)) {
                return false;
            }
            present = true;
        }
    }
    present
}

fn header_holds(headers: &HeaderMap, name: &str, value: Option<&str>) -> bool {
    let mut lines = headers.get_all(name).iter().peekable();
    lines.peek().is_some() && lines.all(|line| value.is_none_or(|value| line.as_bytes() == value.as_bytes()))
}

/// Whether `raw`, decoded as a form does (`%XX`, `+` for a blank), is `expected`; nothing is allocated.
fn decodes_to(raw: &str, expected: &str) -> bool {
    let spaced = raw.split('+').enumerate();
    let decoded = spaced.flat_map(|(at, part)| {
        let blank = (at > 0).then_some(b' ');
        blank.into_iter().chain(percent_encoding::percent_decode_str(part))
    });
    decoded.eq(expected.bytes())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn query(name: &str, value: Option<&str>) -> Conditions {
        Conditions { query: vec![(name.into(), value.map(Into::into))], header: vec![] }
    }

    #[test]
    fn query_values_are_compared_decoded() {
        let none = HeaderMap::new();
        let one = query("Action", Some("a b+c"));
        assert!(one.hold(Some("x=1&Action=a+b%2Bc"), &none));
        assert!(one.hold(Some("%41ction=a%20b%2bc&&"), &none));
        for other in ["", "Action", "Action=a b", "action=a+b%2Bc", "Action=a+b%2Bcd", "Action=%zz"] {
            assert!(!one.hold(Some(other), &none), "{other}");
        }
        assert!(!one.hold(None, &none));
    }

    #[test]
    fn presence_needs_no_value() {
        let none = HeaderMap::new();
        let uploads = query("uploads", None);
        assert!(uploads.hold(Some("uploads"), &none));
        assert!(uploads.hold(Some("a&uploads=1"), &none));
        assert!(!uploads.hold(Some("uploadss"), &none));
    }

    #[test]
    fn a_repeated_name_must_agree_with_itself() {
        let one = query("Action", Some("One"));
        assert!(one.hold(Some("Action=One&Action=One"), &HeaderMap::new()));
        assert!(!one.hold(Some("Action=One&Action=Two"), &HeaderMap::new()));
        assert!(!one.hold(Some("Action=Two&Action=One"), &HeaderMap::new()));

        let target = Conditions { query: vec![], header: vec![("X-Target".into(), Some("a.B".into()))] };
        let mut headers = HeaderMap::new();
        assert!(!target.hold(None, &headers));
        headers.append("x-target", HeaderValue::from_static("a.B"));
        assert!(target.hold(None, &headers));
        headers.append("x-target", HeaderValue::from_static("a.b"));
        assert!(!target.hold(None, &headers));
    }
}
