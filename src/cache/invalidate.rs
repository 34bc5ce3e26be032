//! What makes stored responses invalid from outside: unsafe methods (RFC 9111, 4.4) and purges.
//!
//! An unsafe method works on host and path: whatever the query, the variant or the principal, it goes. A
//! purge works on what it covers ([`super::purge`]). Memory follows at once; the disk acknowledges when what
//! was removed can no longer come back, not even after a crash.

use std::{collections::HashSet, sync::atomic::Ordering};

use http::{HeaderMap, Method, StatusCode, header};
use url::Url;

use super::{
    Cache, CacheStats,
    disk::MAX_COUNTED,
    key,
    purge::{Facts, Purge, Scope},
    request::CacheRequest,
};
use crate::route::canonical;

/// What a purge did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Purged {
    /// Responses that were dropped or made stale.
    pub responses: u64,
    /// Whether those are all. Of a purge that is about more than one place, what lies on disk is not counted:
    /// it is kept from answering, and dealt with when it is met.
    pub all_counted: bool,
}

/// Memory is purged, but the disk did not acknowledge in time: after a crash what was purged could come
/// back. Purge again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeError;

impl std::fmt::Display for PurgeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("memory is purged, but the disk did not confirm in time; purge again")
    }
}

impl std::error::Error for PurgeError {}

impl Cache {
    /// After a response to an unsafe method: what is stored for its target, its `Location` and its
    /// `Content-Location` on the same host no longer answers. Returns when that holds on disk too, or
    /// after the disk's deadline; memory is done before the first wait.
    pub async fn invalidate(&self, request: &CacheRequest<'_>, status: StatusCode, headers: &HeaderMap) {
        if is_safe(request.method) || !(status.is_success() || status.is_redirection()) {
            return;
        }
        let mut paths = vec![request.path.to_owned()];
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            paths.extend(value.and_then(|location| same_host_path(request, location)));
        }
        paths.dedup();
        let mut pending = Vec::new();
        for path in &paths {
            CacheStats::add(&self.inner.stats.invalidations);
            pending.extend(self.invalidate_place(request.host, path));
        }
        if let Some(outbox) = self.inner.outbox.get() {
            outbox.changed(request.host, &paths);
        }
        for done in pending {
            let _ = done.await;
        }
    }

    /// What unsafe methods changed on other nodes: hosts with canonical paths. All of it is done before the first
    /// wait, but for the disk, which has its orders then; it returns when they hold, or after the disk's deadline.
    pub async fn invalidate_places(&self, places: &[(String, String)]) {
        let pending: Vec<_> =
            places.iter().filter_map(|(host, path)| self.invalidate_place(host, path)).collect();
        for done in pending {
            let _ = done.await;
        }
    }

    fn invalidate_place(&self, host: &str, path: &str) -> Option<impl Future<Output = bool> + Send + use<>> {
        let place = key::place(host, path, self.inner.seed);
        self.inner.epochs.invalidate(place);
        self.inner.disk.as_ref().and_then(|disk| disk.remove_place(place))
    }

    /// Drops what `purge` covers, or makes it stale. When it returns well, nothing of it comes back, whatever
    /// happens. Applying a purge again, or several in another order, does no harm.
    ///
    /// # Errors
    /// When the disk does not confirm within ten seconds.
    pub async fn apply(&self, purge: Purge) -> Result<Purged, PurgeError> {
        let (inner, soft) = (&self.inner, purge.stale_at_ms.is_some());
        CacheStats::add(if soft { &inner.stats.soft_purges } else { &inner.stats.purges });
        let issued = inner.epochs.issue(purge);
        let rule = &issued.rule;
        let in_memory =
            inner.memory.purge(|key, entry| rule.fate(&Facts::new(key, &entry.headers), entry.since));
        issued.holds_in_memory();
        let (on_disk, all_counted) = match &inner.disk {
            None => {
                issued.holds_on_disk();
                (Some(Vec::new()), true)
            }
            Some(disk) => {
                let place = rule.purge.place().map(|(host, path)| key::place(host, path, inner.seed));
                // An older response of the same name may lie on disk, with other tags.
                let by_tag = matches!(rule.purge.scope, Scope::Tags(_)) && !soft;
                let outdated = if by_tag { in_memory.clone() } else { Vec::new() };
                let on_disk = disk.purge(&issued, place, outdated).await;
                let all = place.is_some() && on_disk.as_ref().is_some_and(|names| names.len() < MAX_COUNTED);
                (on_disk, all)
            }
        };
        let confirmed = on_disk.is_some();
        let distinct: HashSet<_> = in_memory.into_iter().chain(on_disk.into_iter().flatten()).collect();
        let responses = distinct.len() as u64;
        inner.stats.purged.fetch_add(responses, Ordering::Relaxed);
        if confirmed {
            Ok(Purged { responses, all_counted })
        } else {
            CacheStats::add(&inner.stats.purges_unconfirmed);
            Err(PurgeError)
        }
    }
}

/// RFC 9110, 9.2.1 and the registry: methods that change nothing. An unknown method is unsafe.
fn is_safe(method: &Method) -> bool {
    const OTHERS: [&str; 5] = ["QUERY", "PROPFIND", "REPORT", "SEARCH", "PRI"];
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
        || OTHERS.contains(&method.as_str())
}

/// The path of a `Location` that lies in the origin of the request (RFC 9111, 4.4). The origin's port is that
/// which the client asked.
fn same_host_path(request: &CacheRequest<'_>, location: &str) -> Option<String> {
    let asked = request.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or(request.host);
    let scheme = request.scheme;
    let port = Url::parse(&format!("{scheme}://{asked}")).ok().and_then(|url| url.port());
    let mut target = Url::parse(&format!("{scheme}://{}{}", request.host, request.path)).ok()?;
    target.set_port(port).ok()?;
    let url = target.join(location).ok()?;
    // In the spelling in which paths are looked up; what cannot be asked for is not stored either.
    let path = canonical(url.path()).ok()?.path.into_owned();
    (url.origin() == target.origin()).then_some(path)
}

#[cfg(test)]
mod tests;
