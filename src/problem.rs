//! Every refusal a client can see: one table, one writer (RFC 9457, RFC 9209).
//!
//! Only this file writes a body that the gateway made. An upstream's error answer passes untouched;
//! `Proxy-Status` tells the two apart. The same rows feed the reference page, the effective
//! description, metrics labels and log levels.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;

use crate::exchange::Body;

/// Whose fault it is; decides the log level and who must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    Client,
    Upstream,
    Gateway,
}

impl Blame {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Gateway => "gateway",
        }
    }
}

/// One row of the table.
#[derive(Debug)]
pub struct Kind {
    /// The stable word: problem type, metrics label, log field.
    pub slug: &'static str,
    pub status: StatusCode,
    /// Fixed per type (RFC 9457, section 3.1.3).
    pub title: &'static str,
    pub blame: Blame,
    /// The `error` parameter of `Proxy-Status` (RFC 9209, section 2.3).
    pub proxy_error: &'static str,
    /// What the caller and the operator can do, for the page behind `type`.
    pub help: &'static str,
}

macro_rules! problems {
    ($($name:ident $slug:literal $status:ident $blame:ident $proxy:literal $title:literal => $help:literal;)+) => {
        $(pub static $name: Kind = Kind {
            slug: $slug, status: StatusCode::$status, title: $title, blame: Blame::$blame, proxy_error: $proxy, help: $help,
        };)+
        /// All rows, in the order of the table.
        pub static ALL: &[&Kind] = &[$(&$name),+];
    };
}

// A `Kind` holds only 4xx and 5xx: a test reads the table.
problems! {
    MALFORMED_REQUEST "malformed-request" BAD_REQUEST Client "http_request_error" "the request is not valid HTTP" => "Correct the part that `detail` names. The gateway refuses what two servers could read in two ways: dot segments, encoded slashes, ambiguous lengths, control characters.";
    CREDENTIALS_MISSING "credentials-missing" UNAUTHORIZED Client "http_request_denied" "the operation needs credentials" => "Send the credential that `WWW-Authenticate` and `detail` name. An operator creates keys with `gatewright keys add NAME`.";
    CREDENTIALS_INVALID "credentials-invalid" UNAUTHORIZED Client "http_request_denied" "the credentials are not valid" => "The key is unknown, expired or revoked, or the token was not accepted. Ask for a new one; `detail` says what was wrong where that gives nothing away.";
    FORBIDDEN "forbidden" FORBIDDEN Client "http_request_denied" "the caller may not do this" => "The credentials are valid but lack a scope or permission that the operation requires.";
    SECURITY_UNSUPPORTED "security-unsupported" FORBIDDEN Gateway "http_request_denied" "the operation is closed: its security scheme cannot be checked here" => "The description requires a scheme that this gateway is not configured to check, so the operation stays closed. The operator finds the lines to add in the start-up warning, or sets `security: pass` to leave the check to the upstream.";
    ROUTE_NOT_FOUND "route-not-found" NOT_FOUND Client "destination_not_found" "no route matches the request" => "Check host and path. `gatewright routes FILE` lists what is served; paths are case-sensitive and a trailing slash counts.";
    METHOD_NOT_ALLOWED "method-not-allowed" METHOD_NOT_ALLOWED Client "http_request_denied" "the path does not take this method" => "Use one of the methods in `Allow`.";
    REQUEST_TIMEOUT "request-timeout" REQUEST_TIMEOUT Client "http_request_error" "the request did not arrive in time" => "The client was too slow in sending its request. Send it again.";
    LENGTH_REQUIRED "length-required" LENGTH_REQUIRED Client "http_request_error" "the request body needs a length" => "Send `Content-Length`, or a chunked body.";
    BODY_TOO_LARGE "body-too-large" PAYLOAD_TOO_LARGE Client "http_request_denied" "the request body is too large" => "Send at most as many bytes as `detail` says, or raise `limits.body` for the route.";
    URI_TOO_LONG "uri-too-long" URI_TOO_LONG Client "http_request_denied" "the request target is too long" => "Shorten path and query; the bound is `limits.uri`.";
    MEDIA_TYPE_UNSUPPORTED "media-type-unsupported" UNSUPPORTED_MEDIA_TYPE Client "http_request_denied" "the operation does not take this media type" => "Send one of the media types that the description declares.";
    EXPECTATION_FAILED "expectation-failed" EXPECTATION_FAILED Client "http_request_error" "the expectation cannot be met" => "Only `Expect: 100-continue` is known.";
    MISDIRECTED "misdirected-request" MISDIRECTED_REQUEST Client "http_request_denied" "the connection does not serve this host" => "Open a new connection for this host.";
    REQUEST_INVALID "request-invalid" UNPROCESSABLE_ENTITY Client "http_request_denied" "the request does not match the API description" => "`errors` names each part that does not match, with its place.";
    CHANGE_REFUSED "change-refused" UNPROCESSABLE_ENTITY Client "http_request_denied" "the change was refused and nothing was changed" => "Only the admin API answers so. `diagnostics` says what is wrong, where, and what to do; what was in force stays in force.";
    RATE_LIMITED "rate-limited" TOO_MANY_REQUESTS Client "http_request_denied" "too many requests" => "Wait as long as `Retry-After` says. `RateLimit` and `RateLimit-Policy` tell what is left and what the limit is.";
    HEADERS_TOO_LARGE "headers-too-large" REQUEST_HEADER_FIELDS_TOO_LARGE Client "http_request_denied" "the request header fields are too large" => "Send fewer or smaller header fields; often a cookie has grown too large.";
    INTERNAL "internal" INTERNAL_SERVER_ERROR Gateway "proxy_internal_error" "the gateway failed" => "This is a fault of the gateway. Search the log for the request id.";
    NOT_IMPLEMENTED "method-not-implemented" NOT_IMPLEMENTED Client "http_request_denied" "the gateway does not serve this method" => "CONNECT is not served here.";
    UPSTREAM_UNREACHABLE "upstream-unreachable" BAD_GATEWAY Upstream "connection_refused" "the upstream cannot be reached" => "The gateway could not connect. Operator: is the upstream running at the address in the log, and may the gateway reach it?";
    UPSTREAM_PROTOCOL_ERROR "upstream-protocol-error" BAD_GATEWAY Upstream "http_protocol_error" "the upstream's answer is not valid HTTP" => "Operator: the log says what was wrong. A restarting or overloaded upstream often cuts its answers short.";
    UPSTREAM_UNAVAILABLE "upstream-unavailable" SERVICE_UNAVAILABLE Upstream "destination_unavailable" "the upstream cannot take the request now" => "Try again as `Retry-After` says. Operator: see the upstream's health, its `max_requests` and `limits.max_requests` of the route.";
    OVERLOADED "overloaded" SERVICE_UNAVAILABLE Gateway "connection_limit_reached" "the gateway is at its limit" => "Try again as `Retry-After` says.";
    ISSUER_UNAVAILABLE "issuer-unavailable" SERVICE_UNAVAILABLE Upstream "destination_unavailable" "the issuer's keys cannot be had" => "The token cannot be checked while the keys of its issuer are missing. Operator: the log says why the key set at `jwks` could not be read.";
    UPSTREAM_TIMEOUT "upstream-timeout" GATEWAY_TIMEOUT Upstream "http_response_timeout" "the upstream did not answer in time" => "Operator: the timeouts are `timeouts.connect`, `first_byte`, `idle` and `total` of the route.";
    NOT_CACHED "not-cached" GATEWAY_TIMEOUT Client "http_request_denied" "nothing is stored that may answer" => "Only a stored answer was allowed, and none is fit: the request says so (`Cache-Control: only-if-cached`), or the route is offline (`cache: { offline: true }`).";
    LOOP_DETECTED "loop-detected" LOOP_DETECTED Client "proxy_loop_detected" "the request came through this gateway before" => "An upstream points back at the gateway. Operator: correct the upstream's address.";
}

/// One part of a request that is wrong (the `errors` member).
#[derive(Clone, Debug, serde::Serialize)]
pub struct Part {
    /// `body`, `query`, `header`, `path` or `cookie`.
    #[serde(rename = "in")]
    pub place: &'static str,
    /// The parameter, or the JSON pointer (`#/age`) within the body.
    pub name: String,
    pub detail: String,
}

/// A refusal: a row of the table and what is particular about this one.
#[derive(Clone, Debug)]
pub struct Problem {
    pub kind: &'static Kind,
    /// Helps the caller mend the request; never an address, a stack or a secret.
    pub detail: Cow<'static, str>,
    /// For the log alone.
    pub cause: Option<String>,
    /// Fields that belong to the answer: `WWW-Authenticate`, `Allow`, `Retry-After` …
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub errors: Vec<Part>,
    /// The problem document's further members, such as `violated-policies`.
    pub members: Vec<(&'static str, serde_json::Value)>,
    /// Overrides the row's `Proxy-Status` error where more is known (`connection_timeout`, …).
    pub proxy_error: Option<&'static str>,
}

impl Problem {
    #[must_use]
    pub fn new(kind: &'static Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            cause: None,
            headers: Vec::new(),
            errors: Vec::new(),
            members: Vec::new(),
            proxy_error: None,
        }
    }

    /// What the log says beyond `detail`.
    #[must_use]
    pub fn cause(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// A client may try again after this many seconds (RFC 9110, section 10.2.3).
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    #[must_use]
    pub fn member(mut self, name: &'static str, value: serde_json::Value) -> Self {
        self.members.push((name, value));
        self
    }

    #[must_use]
    pub fn proxy_error(mut self, error: &'static str) -> Self {
        self.proxy_error = Some(error);
        self
    }

    /// Writes the answer. `base` is what stands before the slug in `type`: the address of the problem pages
    /// with a slash at its end, or a URN with its colon.
    #[must_use]
    pub fn into_response(self, base: &str, request_id: &str) -> Response<Body> {
        let kind = self.kind;
        let mut document = json!({
            "type": format!("{base}{}", kind.slug),
            "title": kind.title,
            "status": kind.status.as_u16(),
            "detail": self.detail,
            "instance": format!("urn:gatewright:request:{request_id}"),
            "code": kind.slug,
            "request_id": request_id,
        });
        if !self.errors.is_empty() {
            document["errors"] = json!(self.errors);
        }
        for (name, value) in self.members {
            document[name] = value;
        }
        let mut text = document.to_string();
        text.push('\n');
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = kind.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let error = self.proxy_error.unwrap_or(kind.proxy_error);
        let status = format!("gatewright; error={error}; details=\"{}\"", kind.slug);
        if let Ok(value) = HeaderValue::try_from(status) {
            headers.insert(HeaderName::from_static("proxy-status"), value);
        }
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_an_error_and_every_slug_stands_once() {
        let mut slugs: Vec<_> = ALL.iter().map(|kind| kind.slug).collect();
        assert!(ALL.iter().all(|k| k.status.is_client_error() || k.status.is_server_error()));
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), ALL.len());
    }
}
