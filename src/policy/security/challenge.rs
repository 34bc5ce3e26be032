//! The words of a 401 or 403: which credentials are wanted, in `detail` and in `WWW-Authenticate`.

use std::fmt::Write;

use http::{HeaderValue, header::WWW_AUTHENTICATE};

use super::{Check, Place, Rule, Security};
use crate::problem::{self, Problem};

/// The schemes of challenges, each told once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Challenge {
    /// Not registered with IANA, but what other gateways say for API keys.
    Key,
    Bearer,
    Basic,
}

impl Security {
    /// Adds a challenge per scheme; a refused token is told why (RFC 6750, section 3.1).
    pub(super) fn challenge(&self, mut problem: Problem, token_error: Option<&str>) -> Problem {
        let realm = quoted(&self.realm);
        for challenge in self.challenges() {
            let mut value = match challenge {
                Challenge::Key => format!("Key realm={realm}"),
                Challenge::Basic => format!("Basic realm={realm}, charset=\"UTF-8\""),
                Challenge::Bearer => format!("Bearer realm={realm}"),
            };
            if let (Challenge::Bearer, Some(why)) = (challenge, token_error) {
                let _ = write!(value, ", error=\"invalid_token\", error_description={}", quoted(why));
            }
            problem = add(problem, value);
        }
        problem
    }

    /// 403: the token is good but lacks scopes.
    pub(super) fn insufficient(&self, scopes: &str) -> Problem {
        let problem = Problem::new(&problem::FORBIDDEN, format!("the token lacks a scope of: {scopes}"));
        let (realm, scope) = (quoted(&self.realm), quoted(scopes));
        add(problem, format!("Bearer realm={realm}, error=\"insufficient_scope\", scope={scope}"))
    }

    /// What a caller without credentials is told.
    pub(super) fn wanted(&self) -> String {
        let Rule::AnyOf { alternatives, .. } = &self.rule else { return String::new() };
        let can_be_met = |checks: &&Vec<Check>| !checks.iter().any(|check| matches!(check, Check::Never));
        let all = |checks: &Vec<Check>| checks.iter().map(Check::describe).collect::<Vec<_>>().join(" and ");
        let wanted: Vec<String> = alternatives.iter().filter(can_be_met).map(all).collect();
        format!("send {}", wanted.join(", or "))
    }

    fn challenges(&self) -> Vec<Challenge> {
        let Rule::AnyOf { alternatives, .. } = &self.rule else { return Vec::new() };
        let mut challenges = Vec::new();
        for check in alternatives.iter().flatten() {
            let wanted: &[Challenge] = match check {
                Check::Key(_) => &[Challenge::Key],
                Check::Basic => &[Challenge::Basic],
                Check::Token { .. } => &[Challenge::Bearer],
                Check::Own(_) => &[Challenge::Key, Challenge::Bearer],
                Check::Never => &[],
            };
            for challenge in wanted {
                if !challenges.contains(challenge) {
                    challenges.push(*challenge);
                }
            }
        }
        challenges
    }
}

impl Check {
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Key(place) => format!("an API key in {}", place.describe()),
            Self::Basic => "a consumer's name and key by HTTP Basic".to_owned(),
            Self::Token { scopes } if scopes.is_empty() => "a bearer token".to_owned(),
            Self::Token { scopes } => format!("a bearer token with scope `{}`", scopes.join(" ")),
            Self::Own(places) => {
                let places: Vec<_> = places.iter().map(Place::describe).collect();
                format!(
                    "an API key in {}, or a key or token as `Authorization: Bearer …`",
                    places.join(" or ")
                )
            }
            Self::Never => "what cannot be checked here".to_owned(),
        }
    }
}

impl Place {
    fn describe(&self) -> String {
        match self {
            Self::Header(name) => format!("the header `{name}`"),
            Self::Query(name) => format!("the query parameter `{name}`"),
            Self::Cookie(name) => format!("the cookie `{name}`"),
        }
    }
}

/// A quoted-string (RFC 9110, section 5.6.4); what cannot stand in one becomes `?`.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => out.push('?'),
        }
    }
    out.push('"');
    out
}

fn add(problem: Problem, value: String) -> Problem {
    let value = HeaderValue::try_from(value).expect("invariant: quoted strings are visible ASCII");
    problem.header(WWW_AUTHENTICATE, value)
}
