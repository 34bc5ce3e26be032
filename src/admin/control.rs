//! What the admin API knows and can do: the trait that the composition implements, and its data.
//!
//! All times are milliseconds since the Unix epoch, all durations seconds.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{diagnostic::Diagnostic, telemetry::Metrics};

/// The gateway behind the admin API.
///
/// The reading calls answer at once from memory. The changing ones may take long (a reload imports and
/// compiles); they are called on a thread where blocking is allowed. A refusal is told in diagnostics and
/// has changed nothing.
pub trait Control: Send + Sync + 'static {
    fn health(&self) -> Health;
    /// False from the first stop signal on.
    fn ready(&self) -> bool;
    fn metrics(&self) -> Arc<Metrics>;
    /// The newest first.
    fn generations(&self) -> Vec<Generation>;
    fn upstreams(&self) -> Vec<UpstreamState>;
    fn cache(&self) -> CacheState;
    fn keys(&self) -> Vec<Key>;

    fn reload(&self) -> Result<Generation, Vec<Diagnostic>>;
    fn add_key(&self, new: &NewKey) -> Result<CreatedKey, Vec<Diagnostic>>;
    /// Revokes the key whose id begins with `id`, if that is exactly one.
    fn revoke_key(&self, id: &str) -> Result<Key, Vec<Diagnostic>>;
    fn purge(&self, what: &Purge) -> Result<Purged, Vec<Diagnostic>>;
}

/// Whether requests are still taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Serving,
    /// A stop signal came; what is in flight is finished.
    Leaving,
}

/// That the process lives, and what it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    pub status: Status,
    /// Version of Gatewright.
    pub version: String,
    /// Number of the generation that serves.
    pub generation: u64,
    /// How long that generation has been serving.
    pub generation_age_seconds: u64,
    pub uptime_seconds: u64,
}

/// Whether a balancer should send requests here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    pub ready: bool,
}

/// One compiled configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Generation {
    pub number: u64,
    pub created_ms: u64,
    /// The file, folder or address it was made from.
    pub source: String,
    /// Whether it serves new requests.
    pub current: bool,
    pub apis: usize,
    pub operations: usize,
    pub warnings: usize,
}

/// One upstream with its endpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UpstreamState {
    pub name: String,
    pub endpoints: Vec<Endpoint>,
}

/// One address that requests are sent to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Endpoint {
    /// Without credentials.
    pub url: String,
    /// Whether requests are sent to it now.
    pub available: bool,
    /// Why not, or what is known: `healthy`, `failing`, `circuit open` …
    pub state: String,
    /// Requests sent and not yet answered.
    pub in_flight: u64,
}

/// What the cache holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CacheState {
    pub enabled: bool,
    /// Answers held on disk.
    pub entries: u64,
    /// Bytes on disk.
    pub bytes: u64,
    pub max_bytes: u64,
    /// Answers held in memory.
    pub memory_entries: u64,
    pub memory_bytes: u64,
    /// Whether the cache on disk is open and works.
    pub disk_working: bool,
    /// What is wrong with it; empty when nothing is, or while it is being opened.
    pub disk_problem: String,
}

/// What to remove from the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purge {
    /// Everything.
    All,
    /// One address with all its variants, as a caller would write it: `http://host/path?query`.
    Url(String),
    /// Everything under an address: `http://host/path/`.
    Prefix(String),
    /// Everything of one API, by its name.
    Api(String),
}

/// How much was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Purged {
    pub entries: u64,
}

/// An API key without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// The visible part of the key.
    pub id: String,
    pub consumer: String,
    pub created_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_ms: Option<u64>,
}

/// What a new key shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// Who will use it: the name in limits and logs.
    #[schema(example = "ada", min_length = 1)]
    pub consumer: String,
    /// Never expires when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

/// A new key; the secret is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedKey {
    pub key: Key,
    /// What the caller sends. It is stored only as a hash.
    pub secret: String,
}
