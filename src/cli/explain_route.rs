//! `routes --explain 'GET /pets/1'`: what would happen to one request, step by step.

use std::fmt::Write;

use http::{HeaderMap, Method};

use super::dry;
use crate::{
    config::Compiled,
    diagnostic::{Diagnostic, codes},
    gateway::{Host, Route, route::Credential},
    route::{self, Found},
};

/// Explains a request such as `GET http://host/pets/1?x=1`; the host may be left out.
pub fn explain(compiled: &Compiled, request: &str) -> Result<String, Diagnostic> {
    let wrong = || {
        Diagnostic::error(codes::USAGE, format!("`{request}` is no request")).help(
            "write a method and a path: `--explain 'GET /pets/1?limit=3'`; a host may stand before the path",
        )
    };
    let (method, target) = request.trim().split_once(' ').ok_or_else(wrong)?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| wrong())?;
    let (host, target) = split(target.trim());
    let mut text = String::new();
    let target = match route::canonical(target) {
        Ok(target) => target,
        Err(refusal) => return Ok(format!("receive   400: {}\n", refusal.as_str())),
    };
    let query = target.query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
    let _ = writeln!(text, "receive   {method} {}{query}", target.path);
    let (gateway, _) = dry::gateway(compiled.plan.clone());
    let Some(gateway) = gateway else { return Ok(text + "route     the configuration has errors\n") };
    let Ok(Some(served)) = gateway.hosts.find(host) else {
        let _ = writeln!(text, "route     404: no API serves the host `{host}`");
        return Ok(text);
    };
    match served.table.find(&method, &target.path, target.query.as_deref(), &HeaderMap::new()) {
        Found::NotFound => text.push_str("route     404: no route has this path\n"),
        Found::MethodNotAllowed { allow } => {
            let _ = writeln!(text, "route     405: the path takes {}", allow.to_str().unwrap_or_default());
        }
        Found::Route { id, params } => {
            let params: Vec<String> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
            describe(&mut text, served, id as usize, &params.join(" "), &target.path, &query);
        }
    }
    Ok(text)
}

fn describe(text: &mut String, host: &Host, id: usize, params: &str, path: &str, query: &str) {
    let route: &Route = &host.routes[id];
    let space = if params.is_empty() { "" } else { "  " };
    let _ = writeln!(text, "route     {} of {}{space}{params}", route.operation, route.api);
    if route.policies.is_empty() {
        text.push_str("guard     nothing is checked: credentials go to the upstream\n");
    }
    for policy in &route.policies {
        let _ = writeln!(
            text,
            "guard     {} ({}): {}",
            policy.name(),
            policy.phase().as_str(),
            policy.describe()
        );
    }
    let _ = match &route.cache {
        None => writeln!(text, "lookup    off"),
        Some(cache) => {
            let fallback =
                cache.default_ttl_ms.map(|ms| format!("; {} s where the upstream says nothing", ms / 1000));
            writeln!(text, "lookup    as the upstream's answers say{}", fallback.unwrap_or_default())
        }
    };
    let upstream = &route.target.upstream;
    let origin = upstream.endpoints[0].origin.as_str().trim_end_matches('/');
    let more = match upstream.endpoints.len() {
        1 => String::new(),
        n => format!(" and {} more endpoints", n - 1),
    };
    let rest = route.target.strip.rest(path);
    let _ = writeln!(text, "forward   {origin}{}{rest}{query}{more}", route.target.prefix);
    for credential in &route.rewrite.credentials {
        let shown = match credential {
            Credential::Header(name, _) => format!("the header `{name}`"),
            Credential::Query(pair) => {
                format!("the query parameter `{}`", pair.split('=').next().unwrap_or_default())
            }
        };
        let _ = writeln!(text, "          with {shown} as the gateway's credential");
    }
    let clocks = &route.timeouts;
    let total = clocks.total.map_or_else(|| "none".to_owned(), |total| format!("{total:?}"));
    let _ = writeln!(
        text,
        "          timeouts connect {:?}, first byte {:?}, idle {:?}, total {total}; body at most {} bytes",
        clocks.connect, clocks.first_byte, clocks.idle, route.body_limit,
    );
    let narrower = [
        ("bytes of the head", route.head_limit),
        ("header fields", route.field_limit),
        ("requests at once", route.cap.as_ref().map_or(usize::MAX, |cap| cap.max)),
    ];
    let narrower: Vec<String> = narrower
        .iter()
        .filter(|(_, bound)| *bound < usize::MAX)
        .map(|(what, bound)| format!("{what} {bound}"))
        .collect();
    if !narrower.is_empty() {
        let _ = writeln!(text, "          bounds {}", narrower.join(", "));
    }
}

/// `http://host:80/path` and `host/path` into host and path.
fn split(target: &str) -> (&str, &str) {
    let bare = target.strip_prefix("http://").or_else(|| target.strip_prefix("https://")).unwrap_or(target);
    match bare.find('/') {
        Some(slash) => bare.split_at(slash),
        None => (bare, "/"),
    }
}
