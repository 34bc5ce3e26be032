//! Taking credentials that were checked here out of a request before it is forwarded.
//!
//! Everything else stays byte for byte and in order.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::percent_decode;
use smallvec::SmallVec;

/// What is to be removed. Empty for most requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strip {
    pub headers: SmallVec<[HeaderName; 2]>,
    /// Decoded names of query parameters.
    pub query: SmallVec<[Arc<str>; 1]>,
    /// Names of cookies.
    pub cookies: SmallVec<[Arc<str>; 1]>,
}

impl Strip {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.query.is_empty() && self.cookies.is_empty()
    }

    /// Removes header fields and cookies.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.headers {
            headers.remove(name);
        }
        if self.cookies.is_empty() || !headers.contains_key(header::COOKIE) {
            return;
        }
        let kept: Vec<HeaderValue> =
            headers.get_all(header::COOKIE).iter().filter_map(|value| self.cookies_of(value)).collect();
        headers.remove(header::COOKIE);
        for value in kept {
            headers.append(header::COOKIE, value);
        }
    }

    /// The query without the parameters; `None` when nothing of it is left.
    #[must_use]
    pub fn query<'a>(&self, query: &'a str) -> Option<Cow<'a, str>> {
        let strips = |pair: &str| self.query.iter().any(|name| pair_name(pair) == name.as_bytes());
        if self.query.is_empty() || !query.split('&').any(strips) {
            return Some(Cow::Borrowed(query));
        }
        let kept: Vec<&str> = query.split('&').filter(|pair| !strips(pair)).collect();
        (!kept.is_empty()).then(|| Cow::Owned(kept.join("&")))
    }

    fn cookies_of(&self, value: &HeaderValue) -> Option<HeaderValue> {
        let strips = |pair: &[u8]| {
            let name = pair.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii();
            self.cookies.iter().any(|stripped| name == stripped.as_bytes())
        };
        let pairs = || value.as_bytes().split(|b| *b == b';');
        if !pairs().any(strips) {
            return Some(value.clone());
        }
        let kept: Vec<&[u8]> = pairs().filter(|pair| !strips(pair)).collect();
        let joined = kept.join(&b';');
        let joined = joined.trim_ascii_start();
        (!joined.is_empty()).then(|| HeaderValue::from_bytes(joined).ok()).flatten()
    }
}

/// The decoded name of one `name=value` pair of a query.
pub(super) fn pair_name(pair: &str) -> Cow<'_, [u8]> {
    decoded(pair.split('=').next().unwrap_or_default())
}

/// Form decoding, as upstreams read queries: `+` is a space, `%41` is `A`.
pub(super) fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|b| b == b'%' || b == b'+') {
        return Cow::Borrowed(text.as_bytes());
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode(spaced.as_bytes()).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::credentials::{Place, Presented};

    fn strip() -> Strip {
        Strip {
            headers: [HeaderName::from_static("x-api-key")].into_iter().collect(),
            query: [Arc::from("api_key")].into_iter().collect(),
            cookies: [Arc::from("session")].into_iter().collect(),
        }
    }

    #[test]
    fn the_other_parameters_keep_their_order_and_bytes() {
        let rows = [
            ("b=%41&api_key=s&a=+&&b", Some("b=%41&a=+&&b")),
            ("api_key=s", None),
            ("api_key", None),
            ("api%5Fkey=s&x", Some("x")),
            ("api_key[]=s", Some("api_key[]=s")),
            ("API_KEY=s", Some("API_KEY=s")),
            ("a=api_key", Some("a=api_key")),
            ("", Some("")),
        ];
        for (query, expected) in rows {
            assert_eq!(strip().query(query).as_deref(), expected, "{query}");
        }
    }

    proptest! {
        /// Whatever is sent: what was read as a credential cannot be read any more, and nothing else is touched.
        #[test]
        fn what_is_stripped_cannot_be_read_any_more(query in "([a-c%_=&+\\[\\]]|api_key|%61pi_key|api%5fkey){0,30}") {
            let (place, none) = (Place::Query("api_key".into()), HeaderMap::new());
            let stripped = strip().query(&query).map(Cow::into_owned);
            prop_assert_eq!(place.read(&none, stripped.as_deref()), Presented::Nothing);
            let kept = query.split('&').filter(|pair| pair_name(pair) != &b"api_key"[..]);
            let kept: Vec<&str> = kept.collect();
            prop_assert_eq!(stripped.unwrap_or_default(), kept.join("&"));
        }

        #[test]
        fn no_cookie_escapes_either(cookie in "([ab;= ,]|session|session=){0,20}") {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, HeaderValue::from_str(&cookie).unwrap());
            strip().apply(&mut headers);
            let place = Place::Cookie("session".into());
            prop_assert_eq!(place.read(&headers, None), Presented::Nothing);
        }
    }

    #[test]
    fn header_fields_and_cookies_go_and_the_rest_stays() {
        let mut headers = HeaderMap::new();
        headers.append("x-api-key", HeaderValue::from_static("s"));
        headers.append("cookie", HeaderValue::from_static("session=s; theme=dark; other=1"));
        headers.append("cookie", HeaderValue::from_static("session=s"));
        headers.append("cookie", HeaderValue::from_static("a=session"));
        headers.append("accept", HeaderValue::from_static("*/*"));
        strip().apply(&mut headers);
        let cookies: Vec<_> = headers.get_all("cookie").iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!(cookies, ["theme=dark; other=1", "a=session"]);
        assert_eq!(headers.len(), 3);
    }
}
