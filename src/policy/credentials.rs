//! Reading what a caller presents: API keys in header, query or cookie, and `Authorization` (RFC 9110,
//! section 11.6.2; Basic RFC 7617; Bearer RFC 6750, section 2.1).
//!
//! Only reads. Whether what is presented opens anything is judged by `security.rs`.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, header};
use memchr::memchr;

use super::strip::{decoded, pair_name};

/// Where an API key is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Header(HeaderName),
    /// The decoded name of a query parameter.
    Query(String),
    Cookie(String),
}

/// What a caller presents at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Presented<'a> {
    Nothing,
    One(Cow<'a, [u8]>),
    /// The gateway and the upstream could each read another one of them.
    Several,
}

/// The `Authorization` field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Authorization<'a> {
    Nothing,
    Several,
    Bearer(&'a [u8]),
    /// User and password, decoded.
    Basic(String, String),
    /// A known scheme, not written as its RFC says.
    Malformed,
    /// Another scheme: as good as nothing.
    Other,
}

impl Place {
    /// What is presented here. An empty value is nothing.
    pub(super) fn read<'a>(&self, headers: &'a HeaderMap, query: Option<&'a str>) -> Presented<'a> {
        match self {
            Self::Header(name) => {
                one(headers.get_all(name).iter().map(|value| Cow::Borrowed(value.as_bytes())))
            }
            Self::Query(name) => one(parameters(query, name)),
            Self::Cookie(name) => one(cookies(headers, name)),
        }
    }
}

/// The values of a query parameter, decoded.
pub(super) fn parameters<'a>(query: Option<&'a str>, name: &str) -> impl Iterator<Item = Cow<'a, [u8]>> {
    let pairs = query.unwrap_or_default().split('&').filter(move |pair| pair_name(pair) == name.as_bytes());
    pairs.map(|pair| decoded(pair.split_once('=').map_or("", |(_, value)| value)))
}

/// Reads `Authorization`.
pub(super) fn authorization(headers: &HeaderMap) -> Authorization<'_> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Authorization::Nothing };
    if fields.next().is_some() {
        return Authorization::Several;
    }
    let field = field.as_bytes();
    let end = field.iter().position(|b| matches!(b, b' ' | b'\t')).unwrap_or(field.len());
    let (scheme, rest) = field.split_at(end);
    // Several spaces are lawful (1*SP), a tab is not.
    let spaces = rest.iter().take_while(|b| **b == b' ').count();
    let credentials = &rest[spaces..];
    let well_formed = !credentials.is_empty() && credentials.iter().all(u8::is_ascii_graphic);
    match scheme {
        _ if scheme.eq_ignore_ascii_case(b"bearer") => {
            if well_formed {
                Authorization::Bearer(credentials)
            } else {
                Authorization::Malformed
            }
        }
        _ if scheme.eq_ignore_ascii_case(b"basic") => {
            basic(credentials).filter(|_| well_formed).unwrap_or(Authorization::Malformed)
        }
        _ => Authorization::Other,
    }
}

fn basic(credentials: &[u8]) -> Option<Authorization<'_>> {
    let text = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Authorization::Basic(user.to_owned(), password.to_owned()))
}

fn cookies<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = Cow<'a, [u8]>> {
    let fields = headers.get_all(header::COOKIE).iter();
    let pairs = fields.flat_map(|field| field.as_bytes().split(|b| *b == b';'));
    pairs.filter_map(move |pair| {
        let (found, value) = pair.split_at_checked(memchr(b'=', pair)?)?;
        (found.trim_ascii() == name.as_bytes()).then(|| Cow::Borrowed(value[1..].trim_ascii()))
    })
}

fn one<'a>(mut values: impl Iterator<Item = Cow<'a, [u8]>>) -> Presented<'a> {
    match (values.next(), values.next()) {
        (Some(_), Some(_)) => Presented::Several,
        (Some(value), None) if !value.is_empty() => Presented::One(value),
        _ => Presented::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn field(value: &[u8]) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap())])
    }

    #[test]
    fn authorization_is_read_as_the_rfcs_write_it() {
        let rows: &[(&[u8], Authorization<'_>)] = &[
            (b"Bearer abc", Authorization::Bearer(b"abc")),
            (b"bEARER   abc", Authorization::Bearer(b"abc")),
            (b"Bearer\tabc", Authorization::Malformed),
            (b"Bearer \tabc", Authorization::Malformed),
            (b"Bearer", Authorization::Malformed),
            (b"Bearer a b", Authorization::Malformed),
            (b"Bearer a\xff", Authorization::Malformed),
            (b"Bearerabc", Authorization::Other),
            (b"Digest x", Authorization::Other),
            (b"Basic dTpwOnE=", Authorization::Basic("u".into(), "p:q".into())),
            (b"Basic dTpwOnE", Authorization::Malformed),
            (b"Basic dQ==", Authorization::Malformed),
        ];
        for (value, expected) in rows {
            assert_eq!(authorization(&field(value)), *expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn two_fields_are_several_even_when_they_are_equal() {
        let mut headers = field(b"Bearer a");
        headers.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        assert_eq!(authorization(&headers), Authorization::Several);
    }

    #[test]
    fn a_query_parameter_is_found_by_its_decoded_name_alone() {
        let place = Place::Query("apikey".into());
        let rows = [
            ("apikey=a", Presented::One(Cow::Borrowed(&b"a"[..]))),
            ("x=1&api%6bey=a%2Bb", Presented::One(Cow::Borrowed(b"a+b"))),
            ("apikey", Presented::Nothing),
            ("apikey=", Presented::Nothing),
            ("apikey[]=a", Presented::Nothing),
            ("apikey[1]=a", Presented::Nothing),
            ("APIKEY=a", Presented::Nothing),
            ("apikey=a&apikey=a", Presented::Several),
            ("apikey=a&api%6bey=", Presented::Several),
        ];
        for (query, expected) in rows {
            assert_eq!(place.read(&HeaderMap::new(), Some(query)), expected, "{query}");
        }
    }

    #[test]
    fn a_cookie_is_found_in_any_of_the_fields_and_two_are_several() {
        let place = Place::Cookie("key".into());
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=key; monkey=1"));
        assert_eq!(place.read(&headers, None), Presented::Nothing);
        headers.append(header::COOKIE, HeaderValue::from_static("b=1; key=s=1"));
        assert_eq!(place.read(&headers, None), Presented::One(Cow::Borrowed(b"s=1")));
        headers.append(header::COOKIE, HeaderValue::from_static("key=s"));
        assert_eq!(place.read(&headers, None), Presented::Several);
    }
}
