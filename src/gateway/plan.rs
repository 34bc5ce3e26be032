//! What a generation is to be: plain data, no live handles. `config` makes it, [`super::assemble`] builds from it.

use std::sync::Arc;

use super::{
    Network,
    route::{EncodedSlash, Rewrite, Strip, Timeouts},
};
use crate::{
    cache::RouteCacheOptions,
    diagnostic::Place,
    policy::{
        identity::{consumer, issuer},
        rate_limit, security,
    },
    route::{Conditions, Methods, Template},
    upstream::UpstreamKey,
};

/// One generation before it is built.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub hosts: Vec<HostPlan>,
    pub trusted_proxies: Vec<Network>,
    pub consumers: Vec<consumer::Config>,
    pub issuers: Vec<issuer::Config>,
    /// Where the documentation lies, when there is any, and whether it asks for a credential.
    pub docs: Option<DocsPlan>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocsPlan {
    pub prefix: String,
    pub protected: bool,
}

/// The routes of one virtual host: a name, `*.` and a name, or `*` for every other.
#[derive(Clone, Debug)]
pub struct HostPlan {
    pub host: String,
    pub routes: Vec<RoutePlan>,
}

/// One route. What many routes have in common is shared.
#[derive(Clone, Debug)]
pub struct RoutePlan {
    pub methods: Vec<Methods>,
    pub template: Template,
    pub conditions: Conditions,
    pub spans: Vec<String>,
    pub api: Arc<str>,
    /// The operation's id, else method and path: unique within the API.
    pub operation: Arc<str>,
    /// Method and served path, for people.
    pub shown: String,
    pub security: SecurityPlan,
    /// The limits in force, and where they are written.
    pub rate_limits: Arc<[rate_limit::Config]>,
    pub limits_written: Arc<str>,
    pub upstream: Arc<UpstreamKey>,
    pub strip: Strip,
    pub prefix: Arc<str>,
    pub rewrite: Rewrite,
    pub timeouts: Timeouts,
    pub body_limit: u64,
    pub uri_limit: usize,
    /// [`usize::MAX`] where the listener's bounds are in force.
    pub head_limit: usize,
    pub field_limit: usize,
    pub cap: Option<CapPlan>,
    pub encoded_slash: EncodedSlash,
    pub cache: Option<RouteCacheOptions>,
    /// Consumers that may purge with the method `PURGE`.
    pub purge: Vec<String>,
    /// Query parameters that carry credentials.
    pub secret_params: Vec<String>,
    /// Where the route is written, for what is found when it is built.
    pub place: Place,
}

/// How many requests of a route may be under way at its upstream.
#[derive(Clone, Debug)]
pub struct CapPlan {
    /// The same in every generation.
    pub identity: Arc<str>,
    pub max_requests: usize,
}

/// Who may call a route.
#[derive(Clone, Debug)]
pub struct SecurityPlan {
    pub mode: security::Mode,
    /// The mode stands in the configuration.
    pub explicit: bool,
    pub public: bool,
    pub forward_credentials: bool,
    pub requirements: Option<Vec<security::Requirement>>,
}
