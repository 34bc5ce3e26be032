//! Policies: what may be demanded of a request before it is answered. One file each, one ordered table.
//!
//! A route holds its policies as a slice in table order; `proxy` alone runs them, one after the other:
//! each may let the request go on, refuse it, or answer it. What they find out (who calls, which
//! credentials are not to be forwarded, which fields the answer gets) is collected in [`Findings`].
//! No policy imports another. [`identity`] is what several of them know about callers.

mod credentials;
pub mod identity;
pub mod rate_limit;
pub mod security;
pub mod strip;

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Response};
use smallvec::SmallVec;

use crate::{counter::Take, diagnostic::Diagnostic, exchange::Body, problem::Problem};

use identity::Caller;
use strip::Strip;

/// Why a policy cannot be compiled. The place's pointer is relative to the value that was compiled; who
/// reads the file adds its name, line and column.
pub type Fault = Box<Diagnostic>;

/// The order in which a request meets its policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Refuses by what anyone can see (addresses, shapes), before anything costs.
    Screen,
    /// Finds out who calls.
    Identify,
    /// Decides whether this caller may do this.
    Authorize,
    /// Counts and validates what an admitted caller sends.
    Check,
    /// Answers in the upstream's place.
    Answer,
}

impl Phase {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Screen => "screen",
            Self::Identify => "identify",
            Self::Authorize => "authorize",
            Self::Check => "check",
            Self::Answer => "answer",
        }
    }
}

/// What a policy decides.
pub enum Verdict {
    Continue,
    Refuse(Box<Problem>),
    Answer(Box<Response<Body>>),
}

impl From<Problem> for Verdict {
    fn from(problem: Problem) -> Self {
        Self::Refuse(Box::new(problem))
    }
}

/// One request as policies see it.
#[derive(Debug)]
pub struct Context<'a> {
    /// The query as received, without `?`.
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    /// The client's address, computed from trusted hops.
    pub client: IpAddr,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
    pub found: Findings,
}

/// What the policies of one request found out, for the steps after them.
#[derive(Debug, Default)]
pub struct Findings {
    /// Who calls, once a credential was accepted.
    pub caller: Option<Caller>,
    /// Credentials that were checked here: not to be forwarded.
    pub strip: Option<Arc<Strip>>,
    /// Fields of the answer, whoever gives it; each replaces a field of that name.
    pub response_headers: SmallVec<[(HeaderName, HeaderValue); 2]>,
    /// Counted calls to give back ([`crate::counter::Limiters::give_back`]) when the cache answers.
    pub refund_on_hit: SmallVec<[Take; 1]>,
}

impl Findings {
    /// The query as it is forwarded: without the credentials that were checked here; `None` when nothing is left.
    #[must_use]
    pub fn forwarded_query<'a>(&self, query: &'a str) -> Option<Cow<'a, str>> {
        match &self.strip {
            Some(strip) => strip.query(query),
            None => Some(Cow::Borrowed(query)),
        }
    }
}

macro_rules! policies {
    ($($(#[doc = $doc:literal])+ $phase:ident $label:literal => $module:ident::$name:ident),+ $(,)?) => {
        /// A compiled policy of one route. The variants stand in the order in which policies run.
        #[derive(Debug)]
        pub enum Policy {
            $($(#[doc = $doc])+ $name(Box<$module::$name>),)+
        }

        /// The table: phase and word of each policy, in the order in which they run.
        pub static TABLE: &[(Phase, &str)] = &[$((Phase::$phase, $label)),+];

        impl Policy {
            /// The policy's word in configuration, logs and metrics.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => $label),+ }
            }

            #[must_use]
            pub fn phase(&self) -> Phase {
                match self { $(Self::$name(_) => Phase::$phase),+ }
            }

            /// One line for `routes --explain`.
            #[must_use]
            pub fn describe(&self) -> String {
                match self { $(Self::$name(policy) => policy.describe()),+ }
            }

            /// Applies the policy. Waits only where a row of the table says so.
            pub async fn apply(&self, cx: &mut Context<'_>) -> Verdict {
                match self { $(Self::$name(policy) => policy.apply(cx).await),+ }
            }
        }

        $(impl From<$module::$name> for Policy {
            fn from(policy: $module::$name) -> Self {
                Self::$name(Box::new(policy))
            }
        })+
    };
}

policies! {
    /// Who calls, and whether the description's (or the gateway's) security lets them in. May wait a bounded
    /// time for an issuer's keys when a token names one that is not known yet.
    Identify "security" => security::Security,
    /// How often. After identity: a limit counts for a consumer, and callers without credentials use up nobody's.
    Check "rate_limit" => rate_limit::RateLimit,
}

impl Policy {
    /// Puts a route's policies into table order; of one kind, the order given stays.
    #[must_use]
    pub fn chain(mut policies: Vec<Self>) -> Box<[Self]> {
        let place = |policy: &Self| TABLE.iter().position(|(_, name)| *name == policy.name());
        policies.sort_by_key(place);
        policies.into_boxed_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_phases_and_names_each_policy_once() {
        assert!(TABLE.is_sorted_by_key(|(phase, _)| *phase));
        let mut names: Vec<_> = TABLE.iter().map(|(_, name)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn policies_can_be_shared_between_workers() {
        fn shared<T: Send + Sync>() {}
        fn sent<T: Send>(_: T) {}
        shared::<Policy>();
        fn applied(policy: &'static Policy, cx: &'static mut Context<'static>) {
            sent(policy.apply(cx));
        }
        let _ = applied;
    }
}
