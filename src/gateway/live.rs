//! State that outlives a generation, in registries keyed by stable identity.

use std::sync::Arc;

use crate::{
    cache::{Cache, Nodes},
    counter::Limiters,
    policy::identity::{KeyStore, keyset::KeySets},
    shared::Redis,
    telemetry::Telemetry,
    upstream::{Caps, Upstreams},
};

/// The live handles that every generation adopts from. One per process.
pub struct Live {
    pub telemetry: Arc<Telemetry>,
    pub upstreams: Upstreams,
    /// The requests of routes with a cap that are under way.
    pub caps: Caps,
    pub limiters: Arc<Limiters>,
    pub keys: Arc<KeyStore>,
    /// Issuers' key sets, each kept up to date by a task of its own.
    pub key_sets: KeySets,
    /// `None` when the cache is off.
    pub cache: Option<Cache>,
    /// What several gateways share; its server may change with a generation.
    pub redis: Redis,
    /// The way of purges that are to reach every node; `None` when the cache is off.
    pub nodes: Option<Nodes>,
}
