//! What no single key can be wrong about: keys that exclude or need one another, names that are twice.

use std::{collections::HashMap, time::Duration};

use super::{
    bounds,
    model::{Issuer, Model, Policy, Redis},
    read::Spanned,
    value::{Many, Named, Switch, UpstreamRef},
};
use crate::diagnostic::{Code, Diagnostic, Place, codes, suggest};

/// The longest that Redis may be waited for.
const MAX_REDIS_WAIT: Duration = Duration::from_mins(1);

/// Checks a whole model.
pub(super) fn model(model: &Model, found: &mut Vec<Diagnostic>) {
    let api_names = model.apis.iter().filter_map(|api| api.name.as_ref());
    unique("an API", api_names, found);
    unique("a consumer", model.consumers.iter().map(|consumer| &consumer.name), found);
    unique("an issuer", model.issuers.iter().map(|issuer| &issuer.name), found);
    model.issuers.iter().for_each(|issuer| self::issuer(issuer, found));
    model.redis.iter().for_each(|redis| self::redis(redis, found));
    let upstreams: Vec<&str> =
        model.upstreams.iter().flat_map(|Named(all)| all).map(|(name, _)| name.value.as_str()).collect();
    bounds::check_root(model, found);
    // One that could not be read is not there; its routes are not to blame.
    let all_read = !is_wrong(found, "/upstreams");
    let policies =
        model.apis.iter().map(|api| &api.policy).chain(model.routes.iter().map(|route| &route.policy));
    for policy in policies {
        self::policy(policy, found);
        bounds::check(policy, model, found);
        if all_read {
            known_upstream(policy, &upstreams, found);
        }
    }
    for route in &model.routes {
        if route.policy.upstream.is_none() && !is_wrong(found, &format!("{}/upstream", route.place.pointer)) {
            let help = "add `upstream:` with the name of an upstream or an address";
            error(codes::KEY_MISSING, "the key `upstream` is missing", &route.place, help, found);
        }
        for span in route.policy.spans.iter().flatten() {
            if !route.path.names().any(|name| name == span.value) {
                let title = format!("`{}` is no parameter of `{}`", span.value, route.path.value);
                error(codes::VALUE_INVALID, title, &span.place, "name a parameter of the path", found);
            }
        }
    }
}

/// Checks what applies to an API, a route, or a part of a description.
pub(super) fn policy(policy: &Policy, found: &mut Vec<Diagnostic>) {
    for credential in policy.credentials.iter().flat_map(|Many(all)| all) {
        let both = [("header", credential.header.is_some()), ("query", credential.query.is_some())];
        one_of(both, &credential.place, found);
    }
    if let Some(Switch::On(Many(limits))) = &policy.rate_limit {
        for limit in limits {
            if limit.limit.value == 0 {
                let help = "the least is 1; `security` and `methods` close a route";
                error(codes::VALUE_INVALID, "the limit is 0", &limit.limit.place, help, found);
            }
            if limit.window.value.is_zero() {
                error(
                    codes::VALUE_INVALID,
                    "the window is 0",
                    &limit.window.place,
                    "the least is `1s`",
                    found,
                );
            }
        }
    }
}

/// Reports an upstream that none of the names is.
pub(super) fn known_upstream(policy: &Policy, names: &[&str], found: &mut Vec<Diagnostic>) {
    let Some(Spanned { value: UpstreamRef::Name(name), place }) = &policy.upstream else { return };
    if names.contains(&name.as_str()) {
        return;
    }
    let near = suggest(name, names.iter().copied()).map(|near| format!("did you mean `{near}`? "));
    let all: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    let defined = match all.len() {
        0 => "define it under `upstreams`, or write an address such as `http://10.0.0.5:8000`".to_owned(),
        _ => format!("upstreams defined here: {}", all.join(", ")),
    };
    let diagnostic =
        Diagnostic::error(codes::UNKNOWN_UPSTREAM, format!("the upstream `{name}` is not defined"));
    let help = near.unwrap_or_default() + &defined;
    found.push(diagnostic.at((**place).clone()).label("no upstream has this name").help(help));
}

fn issuer(issuer: &Issuer, found: &mut Vec<Diagnostic>) {
    if !is_wrong(found, &issuer.place.pointer) {
        one_of([("jwks", issuer.jwks.is_some()), ("key", issuer.key.is_some())], &issuer.place, found);
    }
    if let Some(key) = &issuer.key {
        one_of([("pem", key.pem.is_some()), ("secret", key.secret.is_some())], &key.place, found);
    }
}

fn redis(redis: &Redis, found: &mut Vec<Diagnostic>) {
    let address = &redis.url.value;
    let password = redis.password.is_some() || address.password.is_some();
    let both = [
        ("username", redis.username.is_some() && address.username.is_some()),
        ("password", redis.password.is_some() && address.password.is_some()),
    ];
    for (key, _) in both.into_iter().filter(|(_, twice)| *twice) {
        let title = format!("the {key} stands in `url` and under `{key}`");
        error(codes::KEYS_CONFLICT, title, &redis.place, "take it out of `url`", found);
    }
    if let Some(username) = &redis.username
        && !password
    {
        let help = "add `password`; a user without one is Redis' default user";
        error(codes::KEYS_CONFLICT, "there is a `username` without a password", &username.place, help, found);
    }
    let clocks = [("connect_timeout", &redis.connect_timeout), ("reply_timeout", &redis.reply_timeout)];
    for (key, clock) in clocks {
        let Some(clock) = clock else { continue };
        if clock.value.is_zero() || clock.value > MAX_REDIS_WAIT {
            let title = format!("`{key}` is out of bounds");
            let help = "from `1ms` to `1m`: a call must end while someone still waits for it";
            error(codes::VALUE_INVALID, title, &clock.place, help, found);
        }
    }
}

/// Whether something at a pointer, or below it, was reported already.
fn is_wrong(found: &[Diagnostic], pointer: &str) -> bool {
    let below = |found: &str| {
        found.strip_prefix(pointer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    found.iter().any(|diagnostic| below(&diagnostic.place.pointer))
}

/// Reports a mapping that has both or neither of two keys.
fn one_of(
    [(first, has_first), (second, has_second)]: [(&str, bool); 2],
    place: &Place,
    found: &mut Vec<Diagnostic>,
) {
    if has_first == has_second {
        let what = if has_first { "both" } else { "neither" };
        let title = format!("there is {what} `{first}` {} `{second}`", if has_first { "and" } else { "nor" });
        error(codes::KEYS_CONFLICT, title, place, "write exactly one of the two", found);
    }
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a Spanned<String>>, found: &mut Vec<Diagnostic>) {
    let mut seen: HashMap<&str, &Place> = HashMap::new();
    for name in names {
        match seen.get(name.value.as_str()) {
            Some(first) => {
                let title = format!("{what} has the name `{}` already", name.value);
                let help = format!("the first stands on line {}; give each its own name", first.line);
                error(codes::NAME_TWICE, title, &name.place, help, found);
            }
            None => {
                seen.insert(&name.value, &name.place);
            }
        }
    }
}

fn error(
    code: Code,
    title: impl Into<String>,
    place: &Place,
    help: impl Into<String>,
    found: &mut Vec<Diagnostic>,
) {
    found.push(Diagnostic::error(code, title).at(place.clone()).help(help));
}
