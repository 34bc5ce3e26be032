//! A generation that never serves: what only assembling finds, for commands that start nothing.

use std::sync::Arc;

use crate::{
    config::Compiled,
    counter::Limiters,
    diagnostic::Diagnostic,
    gateway::{Gateway, Live, assemble, plan::Plan},
    policy::identity::{
        KeyStore,
        keyset::{Fetch, FetchKeys, KeySets},
    },
    shared::Redis,
    telemetry::{AccessLog, Telemetry},
    upstream::{Caps, Upstreams, transport},
};

/// What assembling the plan would say.
pub fn assemble(compiled: &Compiled) -> Vec<Diagnostic> {
    gateway(compiled.plan.clone()).1
}

/// Builds a generation on nothing: no state directory, no cache, no sockets.
pub fn gateway(plan: Plan) -> (Option<Gateway>, Vec<Diagnostic>) {
    let live = Live {
        telemetry: Arc::new(Telemetry::new(AccessLog::off())),
        upstreams: Upstreams::new(1),
        caps: Caps::default(),
        limiters: Arc::new(Limiters::default()),
        keys: Arc::new(KeyStore::detached()),
        key_sets: KeySets::new(Arc::new(NoFetch), None),
        cache: None,
        redis: Redis::new(None, transport::tls),
        nodes: None,
    };
    assemble::assemble(plan, 0, &live, None)
}

/// Commands that start nothing fetch nothing.
#[derive(Debug)]
struct NoFetch;

impl FetchKeys for NoFetch {
    fn fetch<'a>(&'a self, _: &'a str) -> Fetch<'a> {
        Box::pin(async { Err("nothing is fetched here".to_owned()) })
    }
}
