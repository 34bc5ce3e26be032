//! What makes stored responses invalid from outside: unsafe methods (RFC 9111, 4.4) and purges.
//!
//! Both work on host and path: whatever the query, the variant or the principal, it goes. Memory follows
//! at once; the disk acknowledges when what was removed can no longer come back, not even after a crash.

use http::{HeaderMap, Method, StatusCode, header};
use url::Url;

use super::{Cache, CacheStats, disk::meta::Rule, key, request::CacheRequest};

/// What a purge is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    /// One host, as in [`CacheRequest::host`], or all.
    pub host: Option<String>,
    pub scope: Scope,
}

/// Paths of a purge, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    /// This path, with any query.
    Path(String),
    /// Every path that begins so.
    Prefix(String),
}

impl Purge {
    /// Whether it is about the resource of these key bytes.
    #[must_use]
    pub fn covers(&self, key: &[u8]) -> bool {
        // What cannot be read is purged too.
        let Some((host, path)) = key::host_and_path(key) else { return true };
        self.host.as_ref().is_none_or(|wanted| wanted == host)
            && match &self.scope {
                Scope::All => true,
                Scope::Path(wanted) => wanted == path,
                Scope::Prefix(prefix) => path.starts_with(prefix.as_str()),
            }
    }
}

/// What a purge did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Purged {
    /// Resources that were dropped from memory; those on disk are not counted, they no longer answer.
    pub memory: u64,
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
            let place = key::place(request.host, path, self.inner.seed);
            self.inner.epochs.invalidate(place);
            CacheStats::add(&self.inner.stats.invalidations);
            let done = self.inner.disk.as_ref().and_then(|disk| disk.remove_place(place));
            pending.extend(done.map(|done| (place, done)));
        }
        for (place, done) in pending {
            let _ = done.await;
            // What was read before it was gone from disk came back to memory as if it were younger.
            self.inner.epochs.invalidate(place);
        }
    }

    /// Drops what `purge` covers. When it returns well, nothing of it comes back, whatever happens.
    pub async fn purge(&self, purge: Purge) -> Result<Purged, PurgeError> {
        // Fills of other resources that are under way are lost too; that costs a fetch.
        let moment = self.inner.epochs.interrupt();
        let memory = self.inner.memory.purge(|key| purge.covers(key));
        CacheStats::add(&self.inner.stats.invalidations);
        let Some(disk) = &self.inner.disk else { return Ok(Purged { memory }) };
        let durable = match (&purge.host, &purge.scope) {
            (Some(host), Scope::Path(path)) => {
                let place = key::place(host, path, self.inner.seed);
                self.inner.epochs.invalidate(place);
                match disk.remove_place(place) {
                    Some(done) => done.await,
                    None => true,
                }
            }
            _ => disk.purge(Rule { before: moment, purge: purge.clone() }).await,
        };
        // What was read before it was gone from disk came back to memory as if it were younger.
        self.inner.epochs.interrupt();
        self.inner.memory.purge(|key| purge.covers(key));
        if durable { Ok(Purged { memory }) } else { Err(PurgeError) }
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
    (url.origin() == target.origin()).then(|| url.path().to_owned())
}
