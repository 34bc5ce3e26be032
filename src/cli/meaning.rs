//! What people name (addresses, operations, tags) in the words of the cache.

use std::collections::BTreeMap;

use http::{HeaderMap, Method};

use crate::{
    admin,
    cache::{Bound, Purge, Scope, key, query_hash},
    diagnostic::{Diagnostic, codes, suggest},
    gateway::{Gateway, Route},
    route::{self, Found, Target, Template},
};

/// Tags of one purge, and bytes of one of them.
const MAX_TAGS: usize = 256;
const MAX_TAG: usize = 1024;

/// The purge that is meant, dropping what it covers.
pub fn purge(gateway: &Gateway, what: &admin::Purge) -> Result<Purge, Diagnostic> {
    let by_operation = what.operation.is_some();
    let given = [
        what.all,
        what.url.is_some(),
        what.prefix.is_some(),
        what.template.is_some(),
        !what.tags.is_empty(),
        by_operation,
        what.api.is_some() && !by_operation,
    ];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(usage("a purge is about one thing").help(
            "give one of an address, a prefix, a template, tags, an operation (with its API), an API, or all",
        ));
    }
    if !by_operation && !what.parameters.is_empty() {
        return Err(
            usage("parameters narrow an operation, and none is named").help("name it with `operation`")
        );
    }
    let hostless = |scope| Ok(Purge::hard(None, scope));
    match what {
        admin::Purge { all: true, .. } => Ok(Purge::everything()),
        admin::Purge { url: Some(url), .. } => self::url(gateway, url),
        admin::Purge { prefix: Some(prefix), .. } => self::prefix(prefix),
        admin::Purge { template: Some(template), .. } => self::template(template),
        admin::Purge { operation: Some(name), .. } => {
            hostless(operation(gateway, what.api.as_deref(), name, &what.parameters)?)
        }
        admin::Purge { api: Some(name), .. } => hostless(Scope::Api(api(gateway, name)?)),
        _ => hostless(Scope::Tags(tags(&what.tags)?)),
    }
}

/// The answers that a list is about.
pub fn listing(gateway: &Gateway, which: &admin::Listing) -> Result<Purge, Diagnostic> {
    let admin::Listing { url, prefix, api, operation, tag, .. } = which.clone();
    let tags: Vec<String> = tag.into_iter().collect();
    let all = url.is_none() && prefix.is_none() && api.is_none() && operation.is_none() && tags.is_empty();
    purge(gateway, &admin::Purge { all, url, prefix, api, operation, tags, ..admin::Purge::default() })
}

/// The route that a GET of an address takes.
pub fn route<'g>(gateway: &'g Gateway, host: &str, path: &str, query: Option<&str>) -> Option<&'g Route> {
    let host = gateway.hosts.get(host)?;
    match host.table.find(&Method::GET, path, query, &HeaderMap::new()) {
        Found::Route { id, .. } => Some(&host.routes[id as usize]),
        Found::MethodNotAllowed { .. } | Found::NotFound => None,
    }
}

/// All routes, of whatever host.
pub fn routes(gateway: &Gateway) -> impl Iterator<Item = &Route> {
    gateway.hosts.iter().flat_map(|(_, host)| host.routes.iter()).map(AsRef::as_ref)
}

fn usage(title: impl Into<String>) -> Diagnostic {
    Diagnostic::error(codes::USAGE, title)
}

/// Host (none: every host) and what follows it.
fn split(address: &str) -> Result<(Option<String>, &str), Diagnostic> {
    let wrong = |why: &str| {
        usage(format!("`{address}` is no address: {why}"))
            .help("write it as a caller would: `http://127.0.0.1:8080/pets/1`, or `/pets/1` for every host")
    };
    if address.starts_with('/') {
        return Ok((None, address));
    }
    let (scheme, rest) = address.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
    if !matches!(scheme, "http" | "https") {
        return Err(wrong("only `http` and `https` are served"));
    }
    let (host, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let host = route::normalise(host).map_err(|error| wrong(error.as_str()))?.into_owned();
    if host.is_empty() {
        return Err(wrong("it has no host"));
    }
    Ok((Some(host), rest))
}

/// Path and query in canonical form.
fn target<'a>(address: &str, rest: &'a str) -> Result<Target<'a>, Diagnostic> {
    let rest = if rest.is_empty() { "/" } else { rest };
    route::canonical(rest).map_err(|refusal| {
        usage(format!("`{address}` is no address: {}", refusal.as_str()))
            .help("write it as a caller would: `http://127.0.0.1:8080/pets/1`")
    })
}

fn url(gateway: &Gateway, address: &str) -> Result<Purge, Diagnostic> {
    let (host, rest) = split(address)?;
    let target = target(address, rest)?;
    let path = target.path.into_owned();
    let Some(query) = target.query.as_deref() else {
        return Ok(Purge::hard(host.as_deref(), Scope::Path(path)));
    };
    let Some(host) = host else {
        return Err(usage(format!("`{address}` has a query, but no host")).help(
            "what of a query counts is a matter of its host: write `http://HOST/…`, or leave the query out",
        ));
    };
    // Nothing is stored where no route caches: then any reading of the query is right.
    let options = route(gateway, &host, &path, Some(query)).and_then(|route| route.cache.clone());
    let part = key::query_part(Some(query), &options.unwrap_or_default()).map_err(|_| {
        usage(format!("requests with the query of `{address}` go past the cache"))
            .help("leave the query out to mean the path with any query")
    })?;
    Ok(Purge::hard(Some(&host), Scope::Url { path, query: query_hash(part.as_ref()) }))
}

fn prefix(address: &str) -> Result<Purge, Diagnostic> {
    let (host, rest) = split(address)?;
    let target = target(address, rest)?;
    if target.query.is_some() {
        return Err(
            usage(format!("the prefix `{address}` has a query")).help("a prefix is about paths alone")
        );
    }
    Ok(Purge::hard(host.as_deref(), Scope::Prefix(target.path.into_owned())))
}

fn template(address: &str) -> Result<Purge, Diagnostic> {
    let (host, rest) = split(address)?;
    let template = Template::parse_with_tail(rest).map_err(|error| {
        usage(format!("`{address}` is no template: {}", error.as_str()))
            .help("write it as a description does: `/pets/{id}/photos`, or `/pets/**`")
    })?;
    Ok(Purge::hard(host.as_deref(), Scope::Template(template.to_string())))
}

fn tags(tags: &[String]) -> Result<Vec<String>, Diagnostic> {
    let tags: Vec<String> = tags.iter().map(|tag| tag.trim().to_owned()).collect();
    if tags.len() > MAX_TAGS || tags.iter().any(|tag| tag.is_empty() || tag.len() > MAX_TAG) {
        let bounds = format!("at most {MAX_TAGS} tags of 1 to {MAX_TAG} bytes are taken at once");
        return Err(usage(bounds));
    }
    Ok(tags)
}

fn api(gateway: &Gateway, name: &str) -> Result<String, Diagnostic> {
    if routes(gateway).any(|route| *route.api == *name) {
        return Ok(name.to_owned());
    }
    let mut known: Vec<&str> = routes(gateway).map(|route| &*route.api).collect();
    known.sort_unstable();
    known.dedup();
    let help = match suggest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", quoted(&known)),
    };
    Err(usage(format!("no API is called `{name}`")).help(help))
}

fn operation(
    gateway: &Gateway,
    api: Option<&str>,
    name: &str,
    parameters: &BTreeMap<String, String>,
) -> Result<Scope, Diagnostic> {
    if let Some(api) = api {
        self::api(gateway, api)?;
    }
    let mut found: Vec<&Route> = routes(gateway)
        .filter(|route| *route.operation == *name && api.is_none_or(|api| *route.api == *api))
        .collect();
    found.sort_by(|a, b| a.api.cmp(&b.api));
    found.dedup_by(|a, b| a.api == b.api);
    match &found[..] {
        [route] => Ok(Scope::Operation {
            api: route.api.to_string(),
            operation: name.to_owned(),
            bound: bound(route, parameters)?,
        }),
        [] => {
            let known = routes(gateway).filter(|route| api.is_none_or(|api| *route.api == *api));
            let help = match suggest(name, known.map(|route| &*route.operation)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`gatewright routes FILE` lists them; one without an id goes by method and path"
                    .to_owned(),
            };
            Err(usage(format!("no operation is called `{name}`")).help(help))
        }
        several => {
            let apis: Vec<&str> = several.iter().map(|route| &*route.api).collect();
            Err(usage(format!("several APIs have an operation `{name}`"))
                .help(format!("name the API too, one of {}", quoted(&apis))))
        }
    }
}

fn bound(route: &Route, parameters: &BTreeMap<String, String>) -> Result<Option<Bound>, Diagnostic> {
    if parameters.is_empty() {
        return Ok(None);
    }
    let template = Template::parse_with_tail(&route.template)
        .map_err(|error| usage(format!("`{}` cannot be narrowed: {}", route.operation, error.as_str())))?;
    let known: Vec<&str> = template.names().collect();
    let mut values = Vec::new();
    for (name, value) in parameters {
        if !known.contains(&name.as_str()) {
            let help = match &known[..] {
                [] => format!("its path `{template}` has none"),
                known => format!("its path has {}", quoted(known)),
            };
            return Err(usage(format!("`{}` has no path parameter `{name}`", route.operation)).help(help));
        }
        values.push((name.clone(), escaped(name, value)?));
    }
    Ok(Some(Bound { template: template.to_string(), spans: route.spans.to_vec(), values }))
}

/// A parameter's value as it stands in a canonical path.
fn escaped(name: &str, value: &str) -> Result<String, Diagnostic> {
    let path = format!("/{}", value.replace('?', "%3F").replace('#', "%23"));
    match route::canonical(&path) {
        Ok(target) if !value.is_empty() => Ok(target.path[1..].to_owned()),
        Ok(_) => Err(usage(format!("the value of `{name}` is empty"))),
        Err(refusal) => {
            Err(usage(format!("the value of `{name}` cannot stand in a path: {}", refusal.as_str()))
                .help("write it as it stands in the address; a plain `%` is `%25` there"))
        }
    }
}

fn quoted(names: &[&str]) -> String {
    const SHOWN: usize = 12;
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
