//! The strict check of HTTP/2 heads (RFC 9113, section 8): what the `h2` crate leaves to its user.
//!
//! Frames, pseudo-fields, connection-specific fields and the characters of names and values are checked
//! there. Here: one host and no doubt about it, one length, our bounds; the same stance as for HTTP/1, for
//! the request may go on as HTTP/1.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::{CONTENT_LENGTH, HOST},
};

use super::{
    config::Limits,
    head::{host_and_port, is_length, is_target, same_host},
    refusal::Refusal,
};

/// Why the request must not go on.
pub(super) fn judge<B>(request: &Request<B>, limits: &Limits) -> Result<(), Refusal> {
    let headers = request.headers();
    if headers.len() > limits.headers {
        return Err(Refusal::TooManyFields);
    }
    target(request.method(), request.uri(), limits)?;
    host(request.uri(), headers)?;
    match once(headers, &CONTENT_LENGTH, Refusal::LengthRepeated)? {
        Some(length) if !is_length(length) => Err(Refusal::Length),
        _ => Ok(()),
    }
}

fn target(method: &Method, uri: &Uri, limits: &Limits) -> Result<(), Refusal> {
    let Some(target) = uri.path_and_query() else {
        return if method == Method::CONNECT { Ok(()) } else { Err(Refusal::Target) };
    };
    if target.as_str().len() > limits.uri_bytes {
        return Err(Refusal::TargetTooLong);
    }
    let asterisk = target == "*" && method != Method::OPTIONS;
    if asterisk || !is_target(target.as_str().as_bytes()) { Err(Refusal::Target) } else { Ok(()) }
}

/// `:authority` and `Host` may each stand alone or agree (RFC 9113, section 8.3.1).
fn host(uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = once(headers, &HOST, Refusal::HostRepeated)?;
    for name in [authority, host].into_iter().flatten() {
        host_and_port(name).ok_or(Refusal::Host)?;
    }
    match (authority, host) {
        (None, None) => Err(Refusal::HostMissing),
        (Some(a), Some(b)) if !same_host(a, b) => Err(Refusal::HostMismatch),
        _ => Ok(()),
    }
}

fn once<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    repeated: Refusal,
) -> Result<Option<&'a [u8]>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(repeated) } else { Ok(first.map(HeaderValue::as_bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(uri: &str, method: &str, fields: &[(&str, &str)]) -> Result<(), Refusal> {
        let mut request = Request::builder().uri(uri).method(method);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        judge(&request.body(()).unwrap(), &Limits { uri_bytes: 20, headers: 3, ..Limits::default() })
    }

    #[test]
    fn one_host_and_no_doubt_about_it() {
        for (uri, fields, verdict) in [
            ("http://a/", &[][..], Ok(())),
            ("http://a/", &[("host", "A")], Ok(())),
            ("http://a:80/", &[("host", "a")], Ok(())),
            ("/", &[("host", "a")], Ok(())),
            ("/", &[], Err(Refusal::HostMissing)),
            ("http://a/", &[("host", "b")], Err(Refusal::HostMismatch)),
            ("http://a/", &[("host", "a"), ("host", "a")], Err(Refusal::HostRepeated)),
            ("http://u@a/", &[], Err(Refusal::Host)),
            ("http://a/", &[("host", "")], Err(Refusal::Host)),
        ] {
            assert_eq!(judged(uri, "GET", fields), verdict, "{uri} {fields:?}");
        }
    }

    #[test]
    fn lengths_targets_and_bounds_are_those_of_http1() {
        for (uri, method, fields, verdict) in [
            ("http://a/", "POST", &[("content-length", "5")][..], Ok(())),
            ("http://a/", "POST", &[("content-length", "+5")], Err(Refusal::Length)),
            ("http://a/", "POST", &[("content-length", "5,5")], Err(Refusal::Length)),
            (
                "http://a/",
                "POST",
                &[("content-length", "5"), ("content-length", "5")],
                Err(Refusal::LengthRepeated),
            ),
            ("http://a/caf\u{e9}", "GET", &[], Err(Refusal::Target)),
            ("http://a/aaaaaaaaaaaaaaaaaaaaaaaaa", "GET", &[], Err(Refusal::TargetTooLong)),
            ("http://a/", "GET", &[("x", ""), ("x", ""), ("x", ""), ("x", "")], Err(Refusal::TooManyFields)),
            ("a:443", "CONNECT", &[], Ok(())),
        ] {
            assert_eq!(judged(uri, method, fields), verdict, "{method} {uri} {fields:?}");
        }
    }
}
