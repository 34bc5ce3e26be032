//! What the admin API says of the cache and takes for it: plain data.
//!
//! All times are milliseconds since the Unix epoch; durations say their unit in their name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Reach;

/// What the cache holds and did since the process started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CacheState {
    pub enabled: bool,
    /// Where callers reach the gateway: the first listener's address.
    pub address: String,
    pub memory: MemoryTier,
    pub disk: DiskTier,
    pub lookups: Lookups,
    pub stores: Stores,
    pub purges: PurgeCounts,
}

/// The tier in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemoryTier {
    /// Addresses of which something is held, each with all its variants.
    pub entries: u64,
    pub bytes: u64,
    pub max_bytes: u64,
    /// Addresses that went for want of space.
    pub evictions: u64,
}

/// The tier on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskTier {
    pub working: bool,
    /// What is wrong; empty when nothing is.
    pub problem: String,
    /// Answers held.
    pub entries: u64,
    pub bytes: u64,
    pub max_bytes: u64,
    /// Halves of the tier that went for want of space.
    pub generations_dropped: u64,
    pub errors: u64,
    /// Records and bodies whose checksum did not match; they were not served.
    pub damaged: u64,
    /// Answers that were not written because too many waited.
    pub writes_skipped: u64,
    /// Look-ups that the disk did not answer in time.
    pub reads_late: u64,
}

/// How requests fared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Lookups {
    pub hits_memory: u64,
    pub hits_disk: u64,
    /// Found, but stale or to be validated.
    pub stale: u64,
    pub misses: u64,
    /// Requests that went past the cache.
    pub bypasses: u64,
    /// Hits of all that were looked up, from 0 to 1; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hit_ratio: Option<f64>,
}

/// What became of answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stores {
    pub stored: u64,
    /// Validations that renewed what was stored.
    pub refreshed: u64,
    /// Given up: aborted, too large, or purged meanwhile.
    pub abandoned: u64,
}

/// What was removed on demand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PurgeCounts {
    pub hard: u64,
    pub soft: u64,
    /// Answers that they touched, as far as they were counted.
    pub answers: u64,
    /// Those that the disk did not confirm in time.
    pub unconfirmed: u64,
    /// Paths that unsafe methods made invalid.
    pub invalidations: u64,
}

/// What to remove from the cache: exactly one of `all`, `url`, `prefix`, `template`, `tags`, `operation` (with
/// `api` where several APIs have it) and `api`. All queries, variants and principals are meant where nothing
/// else is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Purge {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// One address. With a query that alone is meant: `http://host/path?query`. `/path` means every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Every address that begins so: `http://host/path/`, or `/path/` on every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Every path of a template, whatever serves it: `http://host/pets/{id}`, or `/pets/{id}` on every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Everything of one API, by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    /// Everything of one operation: its `operationId`, or its method and path where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// With `operation`: only where these path parameters have these values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Answers that the upstream gave one of these tags (`Cache-Tag`, `Surrogate-Key`); case does not count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Make the answers stale instead of dropping them: the next request validates them, and until then they
    /// may be served where `stale-while-revalidate` or `stale-if-error` allow it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub soft: bool,
    /// Change nothing, only count.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// What a purge did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Purged {
    /// Of this gateway.
    pub answers: u64,
    /// Whether `answers` are all. Unless one address was meant, those on disk are not counted: they are kept
    /// from being served.
    pub all_counted: bool,
    pub reach: Reach,
    /// The number of the purge in the log that all nodes read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Why no other node knows of it.
    #[serde(skip)]
    #[schema(ignore)]
    pub why: Option<String>,
}

/// Which stored answers to list: at most one of `url`, `prefix`, `tag`, `operation` (with `api` where several
/// APIs have it) and `api`, each as in a purge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Listing {
    pub url: Option<String>,
    pub prefix: Option<String>,
    pub api: Option<String>,
    pub operation: Option<String>,
    pub tag: Option<String>,
    /// So many at once, at most 1000. Default: 100. A page may be short before the end.
    pub limit: Option<usize>,
    /// Where the page before this one ended: its `next`.
    pub after: Option<String>,
}

/// One stored answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stored {
    /// Without port; credentials in the query are masked. The query of a described operation stands in the
    /// order of its parameters, without what does not tell answers apart.
    pub url: String,
    pub status: u16,
    pub age_seconds: u64,
    /// How long it is still fresh; negative when it is stale.
    pub ttl_seconds: i64,
    /// Bytes of the body.
    pub bytes: u64,
    /// Whether only parts of it are stored, from answers with 206.
    #[serde(default)]
    pub incomplete: bool,
    pub in_memory: bool,
    pub on_disk: bool,
    /// Whether it is for one principal alone.
    pub private: bool,
    /// Absent when no operation of the present configuration stored it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    pub tags: Vec<String>,
}

/// Some of the stored answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredPage {
    pub answers: Vec<Stored>,
    /// Give it as `after` for more; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The disk is not open: what lies there is missing.
    pub without_disk: bool,
}

/// The address to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Address {
    /// `http://host/path`, with a query that alone; `/path` on every host.
    pub url: String,
}

/// One stored answer with all there is to know of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Variant {
    pub answer: Stored,
    /// Request fields that it was selected by, with their values; absent where the request had none.
    pub vary: Vec<(String, Option<String>)>,
    /// When it came from the upstream, or was last validated.
    pub received_ms: u64,
    /// How old it was then.
    pub initial_age_ms: u64,
    /// How long it is fresh, counted from its making.
    pub lifetime_ms: u64,
    pub stale_while_revalidate_ms: u64,
    /// With the grace that the route gives.
    pub stale_if_error_ms: u64,
    /// `no-cache`: never used without validation.
    pub always_validate: bool,
    /// `must-revalidate` and the like: never used stale.
    pub never_stale: bool,
    /// May answer callers with credentials.
    pub shareable: bool,
    /// What a plain GET would get now, and why.
    pub verdict: String,
    /// The stored fields, each line as it is.
    pub head: Vec<(String, String)>,
}
