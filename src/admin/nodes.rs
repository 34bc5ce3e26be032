//! What the admin API says of other gateways that share a Redis with this one: plain data.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which nodes a purge reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// This gateway; it shares no Redis with others.
    Alone,
    /// All that share the Redis: those that are up within moments, others before they serve again.
    Everywhere,
    /// This gateway alone, though it shares a Redis. The purge waits here until Redis takes it.
    HereOnly,
}

/// The Redis that several gateways share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RedisState {
    pub state: RedisStatus,
    /// Its address, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// When the state began.
    pub since_ms: u64,
    /// Why it is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Connections made since the start.
    pub connects: u64,
    /// Connections that failed or ended since the start.
    pub failures: u64,
    /// How far this gateway is with the purges of all; absent when the cache is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purges: Option<PurgeLog>,
}

/// How the connection to Redis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RedisStatus {
    /// None is configured.
    Off,
    /// The first attempt is under way.
    Connecting,
    Up,
    /// The last attempt failed; the next one comes by itself.
    Down,
}

/// How far this gateway is in the log of purges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PurgeLog {
    /// The number of the last entry that holds here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Entries that do not hold here yet, as last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// Purges of others that were carried out here since the start.
    pub applied: u64,
    /// Paths that unsafe methods changed on others, made invalid here since the start.
    pub changed: u64,
    /// Purges made here that Redis did not take at once, since the start.
    pub unspread: u64,
    /// Purges and changed paths that wait here until Redis takes them.
    pub waiting: u64,
    /// How often everything was purged since the start, for it was not known which purges had been missed.
    pub missed: u64,
    /// How often everything was made stale, for it was not known at the start which purges had been missed.
    pub doubted: u64,
    /// Why the log cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
