//! `rate_limit`: at most so many calls per window, for each consumer, key, address, API or operation.
//!
//! Several limits are taken together: all or nothing. Every answer carries `RateLimit` and
//! `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers), a refusal `Retry-After` (RFC 9110, section
//! 10.2.3). The counting itself is `counter`'s.

use std::{fmt::Write, net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use serde_json::json;
use smallvec::SmallVec;

use super::{Context, Fault, Verdict};
use crate::{
    counter::{Admission, CellKey, LimitId, Limiters, Rate, Take},
    diagnostic::{Diagnostic, codes},
    problem::{self, Problem},
    telemetry::Counter,
};

/// More limits on one route than anyone can explain.
const MAX_LIMITS: usize = 8;

/// One limit as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The limit's name in `RateLimit` and in problems. Default: `default`.
    pub name: String,
    /// Calls per window, at least 1.
    pub limit: u32,
    pub window: Duration,
    /// Calls that may come at once. Default: `limit`.
    pub burst: Option<u32>,
    /// What is counted apart; several words count each combination. Default: `consumer`.
    pub per: Vec<Per>,
    /// Whether an answer from the cache counts. Default: yes.
    pub count_cached: bool,
}

impl Config {
    /// `limit` calls per `window` and consumer, everything else by default.
    #[must_use]
    pub fn new(limit: u32, window: Duration) -> Self {
        let name = String::from("default");
        Self { name, limit, window, burst: None, per: vec![Per::Consumer], count_cached: true }
    }
}

/// What a limit counts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// The consumer; a caller without one by the subject of its token, else by its address.
    Consumer,
    /// The API key or the token's subject; a caller without credentials by its address.
    Key,
    /// The client's address; of IPv6 the /64, since one client has that many.
    Address,
    Api,
    Operation,
    /// Nothing: one count for all calls.
    Global,
}

impl Per {
    pub const ALL: &'static [Self] =
        &[Self::Consumer, Self::Key, Self::Address, Self::Api, Self::Operation, Self::Global];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consumer => "consumer",
            Self::Key => "key",
            Self::Address => "address",
            Self::Api => "api",
            Self::Operation => "operation",
            Self::Global => "global",
        }
    }
}

/// Where the limits stand and which operation they are compiled for. The words make the counts' identity:
/// the same ones in a later generation find the same counts.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Where the limits are written: `""` for the whole configuration, an API's name, or API and operation.
    pub written: &'a str,
    pub api: &'a str,
    /// Unique within the API, such as `GET /pets/{id}`.
    pub operation: &'a str,
}

/// The limits of one route.
#[derive(Debug)]
pub struct RateLimit {
    limits: SmallVec<[Limit; 2]>,
    /// The value of `RateLimit-Policy`.
    policy: HeaderValue,
    limiters: Arc<Limiters>,
}

#[derive(Debug)]
struct Limit {
    id: LimitId,
    name: String,
    rate: Rate,
    /// The parts of the key that a request decides; the others are in `id`.
    callers: SmallVec<[Per; 2]>,
    per: String,
    count_cached: bool,
    refused: Arc<Counter>,
}

impl RateLimit {
    /// Compiles the limits that hold for one operation.
    ///
    /// # Errors
    /// A number out of range, a name that cannot stand in a header field, two limits of one name, too many.
    pub fn compile(configs: &[Config], scope: Scope<'_>, limiters: &Arc<Limiters>) -> Result<Self, Fault> {
        if configs.len() > MAX_LIMITS {
            return Err(fault("", format!("more than {MAX_LIMITS} limits for one operation")));
        }
        let mut limits: SmallVec<[Limit; 2]> = SmallVec::new();
        for (index, config) in configs.iter().enumerate() {
            if limits.iter().any(|limit| limit.name == config.name) {
                let title = format!("two limits have the name `{}`", config.name);
                return Err(fault(&format!("/{index}/name"), title));
            }
            limits.push(Limit::compile(config, index, scope, limiters)?);
        }
        let mut policy = String::new();
        for limit in &limits {
            let comma = if policy.is_empty() { "" } else { ", " };
            let (quota, window) = (limit.rate.limit, limit.rate.window.as_secs().max(1));
            let _ = write!(policy, "{comma}\"{}\";q={quota};w={window}", limit.name);
        }
        let policy = HeaderValue::try_from(policy).expect("invariant: names are checked, the rest is digits");
        Ok(Self { limits, policy, limiters: Arc::clone(limiters) })
    }

    /// Counts refusals with the counter that `of` gives for a limit's name.
    #[must_use]
    pub fn counted(mut self, of: impl Fn(&str) -> Arc<Counter>) -> Self {
        for limit in &mut self.limits {
            limit.refused = of(&limit.name);
        }
        self
    }

    #[must_use]
    pub fn describe(&self) -> String {
        let one = |limit: &Limit| {
            let Rate { limit: calls, window, burst, .. } = limit.rate;
            let burst = if burst == calls { String::new() } else { format!(", at most {burst} at once") };
            format!("`{}`: {calls} calls per {window:?} and {}{burst}", limit.name, limit.per)
        };
        self.limits.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    pub async fn apply(&self, cx: &mut Context<'_>) -> Verdict {
        self.decide(cx, self.limiters.now())
    }

    /// The decision at `now` on the clock of the counts.
    fn decide(&self, cx: &mut Context<'_>, now: u64) -> Verdict {
        let takes: SmallVec<[Take; 2]> = self
            .limits
            .iter()
            .map(|limit| Take { key: CellKey { limit: limit.id, who: limit.who(cx) }, rate: limit.rate })
            .collect();
        let admission = self.limiters.take(&takes, now);
        let fields = &mut cx.found.response_headers;
        fields.push((HeaderName::from_static("ratelimit-policy"), self.policy.clone()));
        fields.push((HeaderName::from_static("ratelimit"), self.standing(&admission)));
        if !admission.admitted {
            return self.refusal(&admission).into();
        }
        let uncounted = self.limits.iter().zip(&takes).filter(|(limit, _)| !limit.count_cached);
        cx.found.refund_on_hit.extend(uncounted.map(|(_, take)| *take));
        Verdict::Continue
    }

    /// The value of `RateLimit`: what is left of each limit and the seconds until it is whole again.
    fn standing(&self, admission: &Admission) -> HeaderValue {
        // Written for every request: no formatting, one allocation.
        let mut value: SmallVec<[u8; 128]> = SmallVec::new();
        let mut digits = itoa::Buffer::new();
        for (limit, standing) in self.limits.iter().zip(&admission.standings) {
            value.extend_from_slice(if value.is_empty() { b"\"" } else { b", \"" });
            value.extend_from_slice(limit.name.as_bytes());
            value.extend_from_slice(b"\";r=");
            value.extend_from_slice(digits.format(standing.remaining).as_bytes());
            value.extend_from_slice(b";t=");
            value.extend_from_slice(digits.format(seconds_up(standing.reset)).as_bytes());
        }
        HeaderValue::from_bytes(&value).expect("invariant: names are checked, the rest is digits")
    }

    fn refusal(&self, admission: &Admission) -> Problem {
        let all = || self.limits.iter().zip(&admission.standings);
        let used_up = || all().filter(|(_, standing)| standing.remaining == 0).map(|(limit, _)| limit);
        used_up().for_each(|limit| limit.refused.inc());
        let violated: Vec<&str> = used_up().map(|limit| limit.name.as_str()).collect();
        let wait = all().map(|(_, standing)| standing.retry).max().unwrap_or_default();
        let seconds = seconds_up(wait).max(1);
        let detail = match self.limits.iter().find(|limit| violated.first() == Some(&limit.name.as_str())) {
            Some(Limit { rate, name, .. }) => format!(
                "the limit `{name}` of {} calls per {} seconds is used up; try again in {seconds} seconds",
                rate.limit,
                rate.window.as_secs_f64()
            ),
            None => format!("a limit is used up; try again in {seconds} seconds"),
        };
        Problem::new(&problem::RATE_LIMITED, detail)
            .retry_after(seconds)
            .member("violated-policies", json!(violated))
    }
}

impl Limit {
    fn compile(config: &Config, index: usize, scope: Scope<'_>, limiters: &Limiters) -> Result<Self, Fault> {
        let sane = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if config.name.is_empty() || config.name.len() > 64 || !config.name.bytes().all(sane) {
            let title = "a limit's name is 1 to 64 letters, digits, `-`, `_` or `.`";
            return Err(fault(&format!("/{index}/name"), title));
        }
        let rate = Rate::new(config.limit, config.window, config.burst)
            .map_err(|why| fault(&format!("/{index}"), why))?;
        let mut per = config.per.clone();
        per.sort_unstable();
        per.dedup();
        let words: Vec<&str> = per.iter().map(|per| per.as_str()).collect();
        let mut identity = format!("{}\0{}\0{}", scope.written, config.name, words.join("+"));
        if per.contains(&Per::Api) || per.contains(&Per::Operation) {
            let _ = write!(identity, "\0{}", scope.api);
        }
        if per.contains(&Per::Operation) {
            let _ = write!(identity, "\0{}", scope.operation);
        }
        Ok(Self {
            id: limiters.id(&identity),
            name: config.name.clone(),
            rate,
            callers: per.iter().copied().filter(|p| *p <= Per::Address).collect(),
            per: words.join(" and "),
            count_cached: config.count_cached,
            refused: Arc::default(),
        })
    }

    /// Whom this call is counted for.
    fn who(&self, cx: &Context<'_>) -> u128 {
        match self.callers[..] {
            [] => 0,
            [one] => caller_part(one, cx),
            _ => {
                let mut hasher = blake3::Hasher::new();
                for part in &self.callers {
                    hasher.update(&caller_part(*part, cx).to_le_bytes());
                }
                super::identity::id_of(&hasher)
            }
        }
    }
}

fn caller_part(per: Per, cx: &Context<'_>) -> u128 {
    match (per, &cx.found.caller) {
        (Per::Consumer, Some(caller)) => caller.partition,
        (Per::Key, Some(caller)) => caller.credential,
        _ => address(cx.client),
    }
}

/// An address as counted: one of IPv4, a /64 of IPv6.
fn address(client: IpAddr) -> u128 {
    match client.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits() >> 64 << 64,
    }
}

fn seconds_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn fault(pointer: &str, title: impl Into<String>) -> Fault {
    let mut fault = Diagnostic::error(codes::RATE_LIMIT_INVALID, title)
        .help("for example `rate_limit: { limit: 100, window: 1m, per: consumer }`");
    fault.place.pointer = pointer.to_owned();
    Box::new(fault)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::policy::{Findings, identity::Caller};

    const MINUTE: u64 = 60_000_000_000;
    const SCOPE: Scope<'_> = Scope { written: "pets", api: "pets", operation: "GET /pets" };

    fn limit(calls: u32, per: &[Per]) -> Config {
        Config { per: per.to_vec(), ..Config::new(calls, Duration::from_mins(1)) }
    }

    fn named(name: &str, calls: u32, per: &[Per]) -> Config {
        Config { name: name.into(), ..limit(calls, per) }
    }

    fn caller(name: &str, key: u128) -> Option<Caller> {
        let partition = crate::policy::identity::id(&[name]);
        Some(Caller { consumer: None, name: name.into(), partition, credential: key })
    }

    struct Call {
        admitted: bool,
        limit: String,
        problem: Option<Box<Problem>>,
        refunds: usize,
    }

    fn call(policy: &RateLimit, client: &str, caller: Option<Caller>, now: u64) -> Call {
        let (headers, found) = (HeaderMap::new(), Findings { caller, ..Findings::default() });
        let mut cx =
            Context { query: None, headers: &headers, client: client.parse().unwrap(), now_ms: 0, found };
        let verdict = policy.decide(&mut cx, now);
        let fields: HeaderMap = cx.found.response_headers.into_iter().collect();
        Call {
            admitted: matches!(verdict, Verdict::Continue),
            limit: fields["ratelimit"].to_str().unwrap().to_owned(),
            problem: if let Verdict::Refuse(problem) = verdict { Some(problem) } else { None },
            refunds: cx.found.refund_on_hit.len(),
        }
    }

    fn compile(configs: &[Config]) -> RateLimit {
        RateLimit::compile(configs, SCOPE, &Arc::default()).unwrap()
    }

    #[test]
    fn six_a_minute_gives_six_answers_and_a_429_that_says_when_to_come_back() {
        let policy = compile(&[limit(6, &[Per::Address])]);
        assert_eq!(policy.policy, "\"default\";q=6;w=60");
        for left in (0..6).rev() {
            let call = call(&policy, "10.0.0.1", None, 0);
            assert!(call.admitted);
            assert!(call.limit.starts_with(&format!("\"default\";r={left};t=")), "{}", call.limit);
        }
        let refused = call(&policy, "10.0.0.1", None, 0);
        assert_eq!(refused.limit, "\"default\";r=0;t=60");
        let problem = refused.problem.unwrap();
        assert_eq!(problem.kind.slug, "rate-limited");
        assert_eq!(problem.headers, [(http::header::RETRY_AFTER, HeaderValue::from(10))]);
        assert_eq!(problem.members, [("violated-policies", json!(["default"]))]);
        assert!(call(&policy, "10.0.0.1", None, 10_000_000_000).admitted);
        // The last nanosecond of a wait is still a second for the client.
        let problem = call(&policy, "10.0.0.1", None, 19_999_999_999).problem.unwrap();
        assert_eq!(problem.headers[0].1, HeaderValue::from(1));
    }

    #[test]
    fn what_a_limit_counts_apart() {
        type Who = (&'static str, Option<Caller>);
        let (ann, ann2, bob) = (caller("ann", 1), caller("ann", 2), caller("bob", 3));
        let rows: Vec<(&[Per], Who, Who, bool)> = vec![
            (&[Per::Address], ("10.0.0.1", None), ("10.0.0.2", None), true),
            (&[Per::Address], ("10.0.0.1", ann.clone()), ("10.0.0.1", bob.clone()), false),
            (&[Per::Address], ("2001:db8::1", None), ("2001:db8::ffff:2", None), false),
            (&[Per::Address], ("2001:db8::1", None), ("2001:db8:0:1::1", None), true),
            (&[Per::Address], ("10.0.0.1", None), ("::ffff:10.0.0.1", None), false),
            (&[Per::Consumer], ("10.0.0.1", ann.clone()), ("10.0.0.2", ann2.clone()), false),
            (&[Per::Consumer], ("10.0.0.1", ann.clone()), ("10.0.0.1", bob.clone()), true),
            (&[Per::Consumer], ("10.0.0.1", None), ("10.0.0.2", None), true),
            (&[Per::Key], ("10.0.0.1", ann.clone()), ("10.0.0.1", ann2.clone()), true),
            (&[Per::Global], ("10.0.0.1", ann.clone()), ("10.0.0.2", bob.clone()), false),
            (&[Per::Operation], ("10.0.0.1", ann.clone()), ("10.0.0.2", bob.clone()), false),
            (&[Per::Consumer, Per::Address], ("10.0.0.1", ann.clone()), ("10.0.0.2", ann.clone()), true),
            (&[Per::Consumer, Per::Address], ("10.0.0.1", ann.clone()), ("10.0.0.1", bob), true),
            (&[Per::Address, Per::Consumer], ("10.0.0.1", ann), ("10.0.0.1", ann2), false),
        ];
        for (row, (per, first, second, apart)) in rows.into_iter().enumerate() {
            let policy = compile(&[limit(1, per)]);
            assert!(call(&policy, first.0, first.1, 0).admitted);
            assert_eq!(call(&policy, second.0, second.1, 0).admitted, apart, "row {row}: {per:?}");
        }
    }

    #[test]
    fn api_and_operation_are_counted_apart_only_where_they_are_named() {
        let rows: [(&[Per], Scope<'_>, bool); 5] = [
            (&[Per::Global], Scope { operation: "POST /pets", ..SCOPE }, false),
            (&[Per::Operation], Scope { operation: "POST /pets", ..SCOPE }, true),
            (&[Per::Api], Scope { operation: "POST /pets", ..SCOPE }, false),
            (&[Per::Api], Scope { api: "shops", ..SCOPE }, true),
            (&[Per::Global], Scope { written: "pets GET /pets", ..SCOPE }, true),
        ];
        for (row, (per, other, apart)) in rows.into_iter().enumerate() {
            let limiters = Arc::default();
            let one = RateLimit::compile(&[limit(1, per)], SCOPE, &limiters).unwrap();
            let two = RateLimit::compile(&[limit(1, per)], other, &limiters).unwrap();
            assert!(call(&one, "10.0.0.1", None, 0).admitted);
            assert_eq!(call(&two, "10.0.0.1", None, 0).admitted, apart, "row {row}");
        }
    }

    #[test]
    fn of_several_limits_the_violated_one_is_named_and_none_is_charged() {
        let policy = compile(&[named("wide", 10, &[Per::Address]), named("narrow", 1, &[Per::Global])]);
        assert!(call(&policy, "10.0.0.1", None, 0).admitted);
        for _ in 0..3 {
            let refused = call(&policy, "10.0.0.1", None, 0);
            assert_eq!(refused.limit, "\"wide\";r=9;t=6, \"narrow\";r=0;t=60");
            assert_eq!(refused.problem.unwrap().members[0].1, json!(["narrow"]));
        }
    }

    #[test]
    fn a_new_generation_with_another_number_keeps_the_usage() {
        let limiters = Arc::default();
        let old = RateLimit::compile(&[limit(10, &[Per::Address])], SCOPE, &limiters).unwrap();
        for _ in 0..4 {
            assert!(call(&old, "10.0.0.1", None, MINUTE).admitted);
        }
        let new = RateLimit::compile(&[limit(6, &[Per::Address])], SCOPE, &limiters).unwrap();
        assert!(call(&new, "10.0.0.1", None, MINUTE).limit.starts_with("\"default\";r=1;"));
        assert!(call(&new, "10.0.0.1", None, MINUTE).admitted);
        assert!(!call(&new, "10.0.0.1", None, MINUTE).admitted);
    }

    #[test]
    fn only_a_limit_that_does_not_count_hits_is_given_back_on_one() {
        let free = Config { count_cached: false, ..named("free", 5, &[Per::Address]) };
        let policy = compile(&[named("counted", 5, &[Per::Address]), free]);
        assert_eq!(call(&policy, "10.0.0.1", None, 0).refunds, 1);
        assert_eq!(call(&compile(&[limit(5, &[Per::Address])]), "10.0.0.1", None, 0).refunds, 0);
    }

    #[test]
    fn what_cannot_be_a_limit_is_refused_with_its_place() {
        let good = limit(1, &[Per::Global]);
        let rows = [
            (vec![Config { limit: 0, ..good.clone() }], "/0"),
            (vec![Config { window: Duration::ZERO, ..good.clone() }], "/0"),
            (vec![Config { name: "a\"b".into(), ..good.clone() }], "/0/name"),
            (vec![good.clone(), good.clone()], "/1/name"),
            (vec![good; 9], ""),
        ];
        for (configs, pointer) in rows {
            let fault = RateLimit::compile(&configs, SCOPE, &Arc::default()).unwrap_err();
            assert_eq!(fault.place.pointer, pointer, "{}", fault.title);
        }
    }
}
