//! How a route is cached: what the configuration says, and what the description tells answers apart by.

use std::time::Duration;

use http::HeaderName;
use serde_json::Value;

use super::security::Secrets;
use crate::{
    cache::{
        Absent, DeclaredQuery, Param, RequestDirectiveMode, RouteCacheOptions, SetCookie, UndeclaredQuery,
    },
    config::{
        Switch,
        model::{self, Policy, UndeclaredQuery as Undeclared},
    },
    openapi::{Location, Operation, Parameter},
};

/// The caching of a route without a description; `None` when it is off.
pub fn plain(policy: &Policy) -> Option<RouteCacheOptions> {
    let entry = match &policy.cache {
        Some(Switch::Off) => return None,
        Some(Switch::On(entry)) => entry.clone(),
        None => model::Caching::default(),
    };
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let default = RouteCacheOptions::default();
    Some(RouteCacheOptions {
        ttl_ms: entry.ttl.map(millis),
        default_ttl_ms: entry.default_ttl.map(millis),
        heuristic: entry.heuristic.unwrap_or(false),
        grace_ms: entry.grace.map_or(0, millis),
        offline: entry.offline.unwrap_or(false),
        request_directives: match entry.request_directives {
            None | Some(model::RequestDirectives::Honour) => RequestDirectiveMode::Honour,
            Some(model::RequestDirectives::Ignore) => RequestDirectiveMode::Ignore,
        },
        reload_limit: entry.reload_limit.unwrap_or(default.reload_limit),
        busting_floor_ms: entry.reload_interval.map_or(0, millis),
        targets: entry.targeted.map_or(default.targets, |names| names.0.into()),
        set_cookie: match entry.set_cookie {
            None | Some(model::SetCookie::Drop) => SetCookie::Drop,
            Some(model::SetCookie::Keep) => SetCookie::Keep,
            Some(model::SetCookie::Refuse) => SetCookie::Refuse,
        },
        surrogate_control: entry.surrogate_control.unwrap_or(false),
        shared: entry.shared.unwrap_or(false),
        undeclared_query: match entry.undeclared_query {
            None | Some(Undeclared::Key) => UndeclaredQuery::Key,
            Some(Undeclared::Ignore) => UndeclaredQuery::Ignore,
            Some(Undeclared::Bypass) => UndeclaredQuery::Bypass,
        },
        languages: entry
            .languages
            .iter()
            .flat_map(|many| &many.0)
            .map(|language| language.0.clone())
            .collect(),
        ..default
    })
}

/// The caching of an operation, with its declared parameters in the keys; `None` when it is off.
pub fn of(policy: &Policy, operation: &Operation, secrets: &Secrets) -> Option<RouteCacheOptions> {
    let mut options = plain(policy)?;
    let fold = matches!(&policy.cache, Some(Switch::On(entry)) if entry.fold_defaults == Some(true));
    declare(&mut options, operation, secrets, fold);
    Some(options)
}

/// Completes the options of a route by what its operation declares. `fold`: a parameter that is sent with its
/// default counts as absent.
fn declare(options: &mut RouteCacheOptions, operation: &Operation, secrets: &Secrets, fold: bool) {
    let at = |location| operation.parameters.iter().filter(move |p| p.location == location);
    // 3.2's `in: querystring` is the query as a whole.
    if at(Location::QueryString).next().is_none() {
        options.query = Some(query(at(Location::Query).map(|p| &**p), &secrets.params, fold).into());
    }
    options.headers = at(Location::Header)
        .filter_map(|p| p.name.parse::<HeaderName>().ok())
        .filter(|name| !matches!(name.as_str(), "accept" | "content-type" | "authorization"))
        .collect();
    options.cookies = at(Location::Cookie).map(|p| p.name.as_str().into()).collect();
    options.credentials = secrets.headers.clone().into();
    options.credential_cookies = secrets.cookies.clone().into();
}

fn query<'a>(declared: impl Iterator<Item = &'a Parameter>, secrets: &[String], fold: bool) -> DeclaredQuery {
    let mut query = DeclaredQuery::default();
    let mut params = Vec::new();
    for parameter in declared {
        match Object::of(parameter) {
            // Its properties are parameters of their own.
            Some(object) if parameter.style == "form" && parameter.explode => {
                query.open |= object.open;
                params.extend(object.properties.iter().map(|name| Param::plain(name)));
            }
            _ => params.push(Param {
                name: parameter.name.as_str().into(),
                deep: parameter.style == "deepObject",
                default: if fold { absent(parameter) } else { None },
            }),
        }
    }
    // A credential tells answers apart whether it is declared as a parameter or not.
    params.extend(secrets.iter().map(|name| Param::plain(name)));
    query.params = params.into();
    query
}

/// The names of an object's properties.
struct Object<'a> {
    properties: Vec<&'a str>,
    /// It may have others.
    open: bool,
}

impl<'a> Object<'a> {
    /// `None` where the schema is of something else, or of nothing known: then it is one parameter.
    fn of(parameter: &'a Parameter) -> Option<Self> {
        let schema = parameter.schema.as_object()?;
        let known = schema.get("properties").and_then(Value::as_object);
        let is_object = match schema.get("type") {
            Some(Value::String(name)) => name == "object",
            Some(Value::Array(names)) => names.iter().any(|name| name == "object"),
            _ => known.is_some(),
        };
        is_object.then(|| Self {
            properties: known.into_iter().flatten().map(|(name, _)| name.as_str()).collect(),
            // Anything else is allowed unless it is said not to be; where no property is named, that is all there is.
            open: match schema.get("additionalProperties") {
                Some(Value::Bool(more)) => *more,
                Some(_) => true,
                None => known.is_none_or(serde_json::Map::is_empty),
            },
        })
    }
}

/// The default as it would be sent; `None` where there is none, or none that could be told from another value.
fn absent(parameter: &Parameter) -> Option<Absent> {
    let default = parameter.schema.get("default")?;
    let Value::Array(items) = default else { return Some(Absent::Pairs(Box::new([scalar(default)?]))) };
    let items: Box<[Box<str>]> = items.iter().map(scalar).collect::<Option<_>>()?;
    let delimiter = match parameter.style.as_str() {
        _ if items.is_empty() => return None,
        "form" if parameter.explode => return Some(Absent::Pairs(items)),
        "form" => ",",
        "pipeDelimited" => "|",
        "spaceDelimited" => "%20",
        _ => return None,
    };
    let plain = |item: &str| item.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
    items.iter().all(|item| plain(item)).then(|| Absent::Joined(items.join(delimiter).into()))
}

fn scalar(value: &Value) -> Option<Box<str>> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parameter(name: &str, style: &str, explode: bool, schema: Value) -> Parameter {
        let (name, style) = (name.to_owned(), style.to_owned());
        Parameter { name, location: Location::Query, required: false, style, explode, schema }
    }

    fn query_of(parameter: &Parameter) -> DeclaredQuery {
        query(std::iter::once(parameter), &[], true)
    }

    #[test]
    fn an_exploded_object_is_its_properties() {
        let closed =
            json!({"type": "object", "properties": {"r": {}, "g": {}}, "additionalProperties": false});
        let declared = query_of(&parameter("colour", "form", true, closed.clone()));
        assert_eq!(*declared.params, [Param::plain("g"), Param::plain("r")]);
        assert!(!declared.open);
        assert!(query_of(&parameter("colour", "form", true, json!({"type": ["object", "null"]}))).open);
        // In one pair, or with its name before each property, it is one parameter.
        let joined = query_of(&parameter("colour", "form", false, closed.clone()));
        assert_eq!(*joined.params, [Param::plain("colour")]);
        let deep = query_of(&parameter("colour", "deepObject", true, closed));
        assert!(deep.params[0].deep && !deep.open);
    }

    #[test]
    fn defaults_are_what_would_be_sent() {
        let default = |style, explode, default: Value| {
            query_of(&parameter("p", style, explode, json!({"default": default}))).params[0].default.clone()
        };
        let pairs = |values: &[&str]| Some(Absent::Pairs(values.iter().map(|v| Box::from(*v)).collect()));
        assert_eq!(default("form", true, json!(20)), pairs(&["20"]));
        assert_eq!(default("form", true, json!(true)), pairs(&["true"]));
        assert_eq!(default("form", true, json!(["a", 1])), pairs(&["a", "1"]));
        assert_eq!(default("form", false, json!(["a", "b"])), Some(Absent::Joined("a,b".into())));
        assert_eq!(default("pipeDelimited", false, json!(["a", "b"])), Some(Absent::Joined("a|b".into())));
        assert_eq!(default("form", false, json!(["a,b", "c"])), None);
        assert_eq!(default("form", true, json!({"a": 1})), None);
        assert_eq!(default("form", true, Value::Null), None);
        let plain = parameter("p", "form", true, json!({"default": 20}));
        assert_eq!(query(std::iter::once(&plain), &[], false).params[0].default, None);
    }
}
