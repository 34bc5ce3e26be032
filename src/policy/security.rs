//! `security`: who may call an operation, in one of three meanings (OpenAPI, Security Requirement Object).
//!
//! *pass* checks nothing here. *enforce* checks the description's requirements: OR between requirement
//! objects, AND inside one, an empty object lets everyone in. *gateway* asks for the gateway's own keys or
//! tokens instead. What cannot be checked with what is configured is closed, never open.
//!
//! Challenges follow RFC 9110, section 11.6.1; for tokens RFC 6750, section 3.

mod challenge;
mod compile;

pub use super::credentials::Place;
pub use compile::{Compiled, Config, Demand, Gap, Mode, OWN_KEY, Requirement, Scheme, warnings};

use std::{borrow::Cow, sync::Arc};

use super::{
    Context, Verdict,
    credentials::{Authorization, Presented, authorization, parameters},
    identity::{Caller, Consumers, Tokens, token::TokenRefusal},
    strip::Strip,
};
use crate::problem::{self, Problem};

/// The compiled rule of one operation.
#[derive(Debug)]
pub struct Security {
    mode: Mode,
    realm: String,
    rule: Rule,
    /// Every place at which the rule reads credentials.
    reads: Arc<Strip>,
    /// They go to the upstream all the same.
    forward: bool,
    consumers: Arc<Consumers>,
    tokens: Option<Arc<Tokens>>,
}

#[derive(Debug)]
enum Rule {
    /// Nobody can be let in.
    Closed { scheme: String },
    AnyOf {
        alternatives: Vec<Vec<Check>>,
        /// One of the alternatives asks for nothing.
        optional: bool,
    },
}

/// One thing to be shown.
#[derive(Debug)]
enum Check {
    Key(Place),
    Basic,
    Token {
        scopes: Vec<String>,
    },
    /// A key or token in `Authorization: Bearer`, or a key at one of these places.
    Own(Vec<Place>),
    /// A scheme that cannot be checked here.
    Never,
}

/// Why an alternative was not met; the greatest one is told.
#[derive(Debug)]
enum Failure {
    Never,
    Missing,
    Invalid { detail: Cow<'static, str>, bearer: bool },
    Unavailable,
    Forbidden { scopes: String },
}

impl Security {
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.rule {
            Rule::Closed { scheme } => format!("closed: the scheme `{scheme}` cannot be checked here"),
            Rule::AnyOf { alternatives, optional } => {
                let all = |checks: &Vec<Check>| {
                    checks.iter().map(Check::describe).collect::<Vec<_>>().join(" and ")
                };
                let any = alternatives.iter().map(all).collect::<Vec<_>>().join(", or ");
                format!("{}: {any}{}", self.mode.as_str(), if *optional { ", or nothing" } else { "" })
            }
        }
    }

    pub async fn apply(&self, cx: &mut Context<'_>) -> Verdict {
        let (alternatives, optional) = match &self.rule {
            Rule::Closed { scheme } => return closed(scheme).into(),
            Rule::AnyOf { alternatives, optional } => (alternatives, *optional),
        };
        cx.found.strip = (!self.forward).then(|| Arc::clone(&self.reads));
        let mut worst = Failure::Never;
        for checks in alternatives {
            match self.meet(checks, cx).await {
                Ok(caller) => {
                    cx.found.caller = Some(caller);
                    return Verdict::Continue;
                }
                Err(failure) if failure.rank() > worst.rank() => worst = failure,
                Err(_) => {}
            }
        }
        if optional { Verdict::Continue } else { self.refusal(worst).into() }
    }

    /// Whether all of `checks` are met; the first one names the caller.
    async fn meet(&self, checks: &[Check], cx: &Context<'_>) -> Result<Caller, Failure> {
        let mut first = None;
        for check in checks {
            let caller = match check {
                Check::Key(place) => self.key_at(place, cx)?,
                Check::Basic => self.basic(cx)?,
                Check::Token { scopes } => self.token_in_header(scopes, cx).await?,
                Check::Own(places) => self.own(places, cx).await?,
                Check::Never => return Err(Failure::Never),
            };
            first.get_or_insert(caller);
        }
        first.ok_or(Failure::Never)
    }

    fn key_at(&self, place: &Place, cx: &Context<'_>) -> Result<Caller, Failure> {
        match place.read(cx.headers, cx.query) {
            Presented::Nothing => Err(Failure::Missing),
            Presented::Several => Err(Failure::invalid("the API key is sent more than once (duplicate)")),
            Presented::One(key) => self.key(bare(place, &key), cx),
        }
    }

    fn key(&self, key: &[u8], cx: &Context<'_>) -> Result<Caller, Failure> {
        self.consumers.by_key(key, cx.now_ms).map_err(|refusal| Failure::invalid(refusal.as_str()))
    }

    fn basic(&self, cx: &Context<'_>) -> Result<Caller, Failure> {
        match authorization(cx.headers) {
            Authorization::Basic(user, password) => {
                let caller = self.key(password.as_bytes(), cx)?;
                let same = caller.name.as_bytes() == user.as_bytes();
                same.then_some(caller).ok_or_else(|| Failure::invalid("user and password do not fit"))
            }
            Authorization::Several => Err(Failure::invalid(SEVERAL)),
            Authorization::Malformed => Err(Failure::invalid("`Authorization` is malformed")),
            Authorization::Nothing | Authorization::Bearer(_) | Authorization::Other => Err(Failure::Missing),
        }
    }

    async fn token_in_header(&self, scopes: &[String], cx: &Context<'_>) -> Result<Caller, Failure> {
        let token = match authorization(cx.headers) {
            Authorization::Bearer(token) => token,
            Authorization::Several => return Err(Failure::bearer(SEVERAL)),
            Authorization::Malformed => return Err(Failure::bearer("`Authorization` is malformed")),
            Authorization::Nothing | Authorization::Basic(..) | Authorization::Other => {
                return Err(Failure::Missing);
            }
        };
        // RFC 6750, section 2: no more than one method; the upstream could read the other token.
        if !self.reads_query("access_token") && parameters(cx.query, "access_token").next().is_some() {
            return Err(Failure::bearer(
                "the request has a token in the query beside the one in `Authorization`",
            ));
        }
        self.token(token, scopes, cx).await
    }

    async fn token(&self, token: &[u8], scopes: &[String], cx: &Context<'_>) -> Result<Caller, Failure> {
        let Some(tokens) = &self.tokens else { return Err(Failure::bearer("tokens are not accepted here")) };
        let verified = tokens.verify(token, cx.now_ms).await.map_err(|refusal| match refusal {
            TokenRefusal::KeysUnavailable => Failure::Unavailable,
            _ => Failure::bearer(refusal.as_str()),
        })?;
        if !scopes.iter().all(|scope| verified.scopes.contains(scope)) {
            return Err(Failure::Forbidden { scopes: scopes.join(" ") });
        }
        let names = [&verified.subject, &verified.client];
        let alone = tokens.has_one_issuer();
        let find = |name: &Arc<str>| self.consumers.by_subject(&verified.issuer, name, alone);
        let consumer = names.iter().filter_map(|name| name.as_ref()).find_map(find);
        let name = consumer.map(|c| &c.name).or(verified.subject.as_ref()).or(verified.client.as_ref());
        Ok(Caller {
            consumer: consumer.cloned(),
            name: name.map_or_else(|| Arc::from("anonymous token"), Arc::clone),
            partition: consumer.map_or(verified.credential, |c| c.id),
            credential: verified.credential,
        })
    }

    /// *gateway* mode: one key or token, wherever it is sent.
    async fn own(&self, places: &[Place], cx: &Context<'_>) -> Result<Caller, Failure> {
        let mut key: Option<Cow<'_, [u8]>> = None;
        for place in places {
            match place.read(cx.headers, cx.query) {
                Presented::Nothing => {}
                Presented::One(found) if key.as_ref().is_none_or(|key| *key == found) => key = Some(found),
                Presented::One(_) | Presented::Several => return Err(Failure::invalid(SEVERAL)),
            }
        }
        match (authorization(cx.headers), key) {
            (Authorization::Several, _) => Err(Failure::bearer(SEVERAL)),
            (Authorization::Malformed, _) => Err(Failure::bearer("`Authorization` is malformed")),
            (Authorization::Bearer(token), Some(key)) if token != &key[..] => Err(Failure::bearer(SEVERAL)),
            (Authorization::Bearer(token), _) => match self.consumers.by_key(token, cx.now_ms) {
                Ok(caller) => Ok(caller),
                Err(_) if memchr::memchr(b'.', token).is_some() => self.token(token, &[], cx).await,
                Err(refusal) => Err(Failure::bearer(refusal.as_str())),
            },
            (_, Some(key)) => self.key(&key, cx),
            (_, None) => Err(Failure::Missing),
        }
    }

    fn reads_query(&self, name: &str) -> bool {
        self.reads.query.iter().any(|read| &**read == name)
    }

    fn refusal(&self, failure: Failure) -> Problem {
        let missing = || Problem::new(&problem::CREDENTIALS_MISSING, self.wanted());
        match failure {
            Failure::Missing | Failure::Never => self.challenge(missing(), None),
            Failure::Invalid { detail, bearer } => {
                let error = bearer.then(|| detail.clone().into_owned());
                self.challenge(Problem::new(&problem::CREDENTIALS_INVALID, detail), error.as_deref())
            }
            Failure::Unavailable => Problem::new(
                &problem::ISSUER_UNAVAILABLE,
                "the token cannot be checked now: its issuer's keys cannot be had",
            )
            .retry_after(5),
            Failure::Forbidden { scopes } => self.insufficient(&scopes),
        }
    }
}

const SEVERAL: &str = "the request has several credentials; send one";

impl Failure {
    fn invalid(detail: &'static str) -> Self {
        Self::Invalid { detail: Cow::Borrowed(detail), bearer: false }
    }

    fn bearer(detail: &'static str) -> Self {
        Self::Invalid { detail: Cow::Borrowed(detail), bearer: true }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Never => 0,
            Self::Missing => 1,
            Self::Invalid { .. } => 2,
            Self::Unavailable => 3,
            Self::Forbidden { .. } => 4,
        }
    }
}

/// An API key in `Authorization` is often written with a word before it (`Token abc`).
fn bare<'a>(place: &Place, key: &'a [u8]) -> &'a [u8] {
    match place {
        Place::Header(name) if name == http::header::AUTHORIZATION => {
            key.rsplit(|b| *b == b' ').next().unwrap_or(key)
        }
        _ => key,
    }
}

fn closed(scheme: &str) -> Problem {
    let detail = format!("the operation needs `{scheme}`, which cannot be checked here");
    Problem::new(&problem::SECURITY_UNSUPPORTED, detail)
}

#[cfg(test)]
mod tests;
