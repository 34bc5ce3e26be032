//! Route: from host, method, path, query and headers to one route, or to 404 and 405.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, header, request::Parts};

use super::forward;
use crate::{
    gateway::{Gateway, Host, MountedPages, Route, route::EncodedSlash},
    problem::{self, Problem},
    route::{Found, Target, decode_slashes},
};

/// What takes the request.
pub enum Routed<'g> {
    Route(Arc<Route>),
    /// No route does, and the path belongs to the gateway's own pages.
    Pages(&'g MountedPages),
}

/// Finds the route; `host` is normalised. A host or path that nothing serves is 404 and tells nothing more.
pub fn find<'g>(
    gateway: &'g Gateway,
    host: &str,
    head: &Parts,
    target: &Target<'_>,
) -> Result<Routed<'g>, Problem> {
    let host = gateway.hosts.get(host);
    if gateway.pages.as_ref().is_some_and(|pages| pages.first)
        && let Some(pages) = pages(gateway, target)
    {
        return Ok(pages);
    }
    let found = match host {
        None => return pages(gateway, target).ok_or_else(|| not_found(head)),
        Some(host) => lookup(host, head, target, &target.path),
    };
    match found {
        Outcome::Route(route) => {
            if target.encoded_slash
                && let Some(host) = host
            {
                refuse_ambiguous(host, head, target, &route)?;
            }
            Ok(Routed::Route(route))
        }
        Outcome::NotFound => pages(gateway, target).ok_or_else(|| not_found(head)),
        Outcome::MethodNotAllowed(allow) => {
            let detail = format!("`{}` takes {}", target.path, allow.to_str().unwrap_or_default());
            Err(Problem::new(&problem::METHOD_NOT_ALLOWED, detail).header(header::ALLOW, allow))
        }
    }
}

enum Outcome {
    Route(Arc<Route>),
    MethodNotAllowed(HeaderValue),
    NotFound,
}

fn lookup(host: &Host, head: &Parts, target: &Target<'_>, path: &str) -> Outcome {
    match host.table.find(&head.method, path, target.query.as_deref(), &head.headers) {
        Found::Route { id, .. } => Outcome::Route(Arc::clone(&host.routes[id as usize])),
        Found::MethodNotAllowed { allow } => Outcome::MethodNotAllowed(allow),
        Found::NotFound => Outcome::NotFound,
    }
}

/// `%2F` passes only where reading it as a slash would not lead elsewhere.
fn refuse_ambiguous(
    host: &Host,
    head: &Parts,
    target: &Target<'_>,
    route: &Arc<Route>,
) -> Result<(), Problem> {
    let refused = || {
        let detail = "the path holds an encoded slash (`%2F`), which two servers could read in two ways";
        Err(Problem::new(&problem::MALFORMED_REQUEST, detail))
    };
    match route.encoded_slash {
        EncodedSlash::Keep => Ok(()),
        EncodedSlash::Refuse => refused(),
        EncodedSlash::Unambiguous => match lookup(host, head, target, &decode_slashes(&target.path)) {
            Outcome::Route(other) if !Arc::ptr_eq(&other, route) => refused(),
            Outcome::MethodNotAllowed(_) => refused(),
            _ => Ok(()),
        },
    }
}

fn pages<'g>(gateway: &'g Gateway, target: &Target<'_>) -> Option<Routed<'g>> {
    let pages = gateway.pages.as_ref()?;
    let rest = target.path.strip_prefix(&*pages.prefix)?;
    (rest.is_empty() || rest.starts_with('/') || pages.prefix.ends_with('/')).then_some(Routed::Pages(pages))
}

/// The bounds of the route that can be judged by the head alone.
pub fn admit(route: &Route, head: &Parts, target: &Target<'_>) -> Result<(), Problem> {
    let length = target.path.len() + target.query.as_ref().map_or(0, |query| query.len() + 1);
    if length > route.uri_limit {
        let detail = format!("path and query may hold at most {} bytes", route.uri_limit);
        return Err(Problem::new(&problem::URI_TOO_LONG, detail));
    }
    if head.headers.len() > route.field_limit {
        let detail = format!("a request may have at most {} header fields here", route.field_limit);
        return Err(Problem::new(&problem::HEADERS_TOO_LARGE, detail));
    }
    if route.head_limit < usize::MAX && bytes(head, length) > route.head_limit {
        let detail = format!("the request head may hold at most {} bytes here", route.head_limit);
        return Err(Problem::new(&problem::HEADERS_TOO_LARGE, detail));
    }
    let declared =
        head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > route.body_limit) {
        return Err(forward::too_large(route.body_limit));
    }
    Ok(())
}

/// The bytes of a head as HTTP/1.1 writes it, one space behind each colon; `target` is the length of its target.
fn bytes(head: &Parts, target: usize) -> usize {
    let host = match head.uri.authority() {
        Some(authority) if !head.headers.contains_key(header::HOST) => {
            "host: \r\n".len() + authority.as_str().len()
        }
        _ => 0,
    };
    let field =
        |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + ": \r\n".len();
    let fields: usize = head.headers.iter().map(field).sum();
    head.method.as_str().len() + target + "  HTTP/1.1\r\n".len() + host + fields + "\r\n".len()
}

/// The refusal of what nothing serves.
pub fn not_found(head: &Parts) -> Problem {
    let method = if head.method == Method::GET { "" } else { head.method.as_str() };
    let space = if method.is_empty() { "" } else { " " };
    Problem::new(
        &problem::ROUTE_NOT_FOUND,
        format!("nothing is served at {method}{space}`{}`", shown(head.uri.path())),
    )
}

/// A path as far as it helps in an answer.
fn shown(path: &str) -> &str {
    match path.char_indices().nth(200) {
        Some((end, _)) => &path[..end],
        None => path,
    }
}
