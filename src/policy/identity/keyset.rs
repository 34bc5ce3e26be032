//! Key sets that live longer than a generation: fetched from an issuer or a file, kept fresh in the background.
//!
//! A task of the control plane owns the fetching; workers only read a snapshot, or ask for a refresh and wait
//! a bounded time. A file is watched by its metadata. So fetches are single flight, a caller that goes away cancels none, and a flood of unknown
//! key ids costs an issuer one call per [`PAUSE`]. While an issuer is down its last keys stay in force.

use std::{
    collections::HashMap,
    fmt,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::{Instant, timeout},
};

use super::jwk::Keys;

/// No key set is larger, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// A fetch must be done within this time, and no request waits longer for one.
const DEADLINE: Duration = Duration::from_secs(5);
/// The least time between two fetches that were asked for.
pub const PAUSE: Duration = Duration::from_secs(10);
/// How old a set from a URL becomes before it is fetched again unasked.
const FRESH_URL: Duration = Duration::from_mins(5);
/// The same for a file: for changes that its metadata does not show.
const FRESH_FILE: Duration = Duration::from_secs(30);
/// How often the metadata of a file is looked at; a change must also have settled for as long.
const LOOK: Duration = Duration::from_millis(500);

/// Where a key set comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    Url(String),
    File(PathBuf),
}

/// Gets key sets by URL. A trait so that tests and later transports can take its place.
pub trait FetchKeys: fmt::Debug + Send + Sync {
    /// The body at `url`, at most [`MAX_BYTES`], or why it cannot be had.
    fn fetch<'a>(&'a self, url: &'a str) -> Fetch<'a>;
}

/// The future of [`FetchKeys::fetch`].
pub type Fetch<'a> = Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send + 'a>>;

/// Fetches by HTTP: no redirects, bounded size and time.
#[derive(Clone, Debug)]
pub struct HttpFetch {
    client: reqwest::Client,
}

/// All key sets in use, by source. A set that no generation uses any more goes away with its task.
#[derive(Debug)]
pub struct KeySets {
    sets: Mutex<HashMap<Source, Weak<KeySet>>>,
    fetch: Arc<dyn FetchKeys>,
    /// The control plane's runtime; without one nothing is ever fetched (`check` starts nothing).
    runtime: Option<Handle>,
}

/// One key set, shared by all generations and workers.
#[derive(Debug)]
pub struct KeySet {
    source: Source,
    keys: ArcSwap<Loaded>,
    progress: watch::Sender<Progress>,
    wanted: Arc<Notify>,
}

/// The keys as last read.
#[derive(Debug, Default)]
pub struct Loaded {
    pub keys: Keys,
    /// 0 while nothing was read yet; grows when the content changes.
    pub version: u64,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    attempts: u64,
    fetching: bool,
    /// Before this, nothing that is asked for is fetched.
    next: Instant,
}

impl HttpFetch {
    /// # Errors
    /// The TLS configuration does not suit the client.
    pub fn new(tls: rustls::ClientConfig) -> Result<Self, reqwest::Error> {
        Self::with_deadline(tls, DEADLINE)
    }

    fn with_deadline(tls: rustls::ClientConfig, deadline: Duration) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(deadline)
            .no_proxy()
            .build()?;
        Ok(Self { client })
    }

    async fn get(&self, url: &str) -> Result<Bytes, String> {
        let why = |error: reqwest::Error| error.without_url().to_string();
        let mut response = self.client.get(url).send().await.map_err(why)?;
        let status = response.status();
        if status.is_redirection() {
            return Err(format!("it answers {status}; redirects are not followed, give the final URL"));
        }
        if status != reqwest::StatusCode::OK {
            return Err(format!("it answers {status}"));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(why)? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(format!("it is larger than {} KB", MAX_BYTES >> 10));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}

impl FetchKeys for HttpFetch {
    fn fetch<'a>(&'a self, url: &'a str) -> Fetch<'a> {
        Box::pin(self.get(url))
    }
}

impl KeySets {
    #[must_use]
    pub fn new(fetch: Arc<dyn FetchKeys>, runtime: Option<Handle>) -> Self {
        Self { sets: Mutex::default(), fetch, runtime }
    }

    /// The set of `source`: the live one, or a new one that begins to load.
    pub fn get(&self, source: &Source) -> Arc<KeySet> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = sets.get(source).and_then(Weak::upgrade) {
            return live;
        }
        sets.retain(|_, set| set.strong_count() > 0);
        let set = Arc::new(KeySet::new(source.clone(), self.runtime.is_some()));
        sets.insert(source.clone(), Arc::downgrade(&set));
        if let Some(runtime) = &self.runtime {
            let (wanted, fetch) = (Arc::clone(&set.wanted), Arc::clone(&self.fetch));
            runtime.spawn(keep_fresh(Arc::downgrade(&set), wanted, fetch));
        }
        set
    }
}

impl KeySet {
    fn new(source: Source, fetching: bool) -> Self {
        let progress = Progress { attempts: 0, fetching, next: Instant::now() };
        let (keys, progress) = (ArcSwap::default(), watch::Sender::new(progress));
        Self { source, keys, progress, wanted: Arc::default() }
    }

    /// The keys now.
    #[must_use]
    pub fn load(&self) -> arc_swap::Guard<Arc<Loaded>> {
        self.keys.load()
    }

    /// Asks for newer keys and waits for them, at most [`DEADLINE`]; false when it is too soon to ask.
    pub async fn refreshed(&self) -> bool {
        let mut progress = self.progress.subscribe();
        let before = *progress.borrow_and_update();
        if !before.fetching {
            if Instant::now() < before.next {
                return false;
            }
            self.wanted.notify_one();
        }
        let done = progress.wait_for(|now| now.attempts > before.attempts);
        timeout(DEADLINE, done).await.is_ok_and(|done| done.is_ok())
    }

    /// `asked`: a worker wants it, so the next one who does has to wait.
    async fn refresh(&self, fetch: &dyn FetchKeys, asked: bool) -> Result<(), String> {
        self.progress.send_modify(|progress| progress.fetching = true);
        let read = async {
            match &self.source {
                Source::Url(url) => fetch.fetch(url).await,
                Source::File(path) => read_file(path).await,
            }
        };
        let text = timeout(DEADLINE, read).await.unwrap_or_else(|_| Err(String::from("it took too long")));
        let outcome = text.and_then(|text| Keys::from_jwks(&text)).map(|keys| self.show(keys));
        self.progress.send_modify(|progress| {
            let next = if asked { Instant::now() + PAUSE } else { progress.next };
            *progress = Progress { attempts: progress.attempts + 1, fetching: false, next };
        });
        outcome
    }

    fn show(&self, keys: Keys) {
        let before = self.keys.load();
        if before.version > 0 && keys.fingerprint == before.keys.fingerprint {
            return;
        }
        for why in &keys.left_out {
            tracing::warn!(source = %self.source, "key set: {why}");
        }
        tracing::info!(source = %self.source, keys = keys.usable.len(), "key set loaded");
        self.keys.store(Arc::new(Loaded { keys, version: before.version + 1 }));
    }
}

/// Lets the task that keeps the set fresh see that nobody needs it.
impl Drop for KeySet {
    fn drop(&mut self) {
        self.wanted.notify_one();
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Loads the set now, then whenever it is old or wanted, until nobody holds it.
async fn keep_fresh(set: Weak<KeySet>, wanted: Arc<Notify>, fetch: Arc<dyn FetchKeys>) {
    let (mut failures, mut asked) = (0_u32, false);
    let mut told = String::new();
    loop {
        let Some(live) = set.upgrade() else { return };
        let file = match &live.source {
            Source::File(path) => Some(path.clone()),
            Source::Url(_) => None,
        };
        // Before it is read: what changes meanwhile is read again.
        let seen = stamp(file.as_deref()).await;
        match live.refresh(&*fetch, asked).await {
            Ok(()) => {
                failures = 0;
                told.clear();
            }
            Err(why) => {
                failures += 1;
                // A fault that lasts is told once.
                if why != told {
                    let kept = live.load().keys.usable.len();
                    tracing::warn!(source = %live.source, kept, "key set cannot be read: {why}");
                    told = why;
                }
            }
        }
        let fresh = if file.is_some() { FRESH_FILE } else { FRESH_URL };
        // After a failure sooner: 1, 2, 4 … seconds.
        let retry = Duration::from_secs(1 << failures.saturating_sub(1).min(8));
        let wait = if failures == 0 { fresh } else { retry.min(fresh) };
        let next = live.progress.borrow().next;
        drop(live);
        let due = Instant::now() + wait;
        let changed = changed(file.as_deref(), seen);
        tokio::pin!(changed);
        asked = loop {
            tokio::select! {
                () = tokio::time::sleep_until(due) => break false,
                () = &mut changed => break false,
                // Too soon when two asked at once: the second one's fetch was the first one's.
                () = wanted.notified() => if Instant::now() >= next || set.strong_count() == 0 {
                    break true;
                },
            }
        };
    }
}

/// Enough of a file's metadata to see every ordinary way of replacing it: inode, size, modification.
type Stamp = (u64, u64, i64, i64);

async fn stamp(file: Option<&Path>) -> Option<Stamp> {
    let meta = tokio::fs::metadata(file?).await.ok()?;
    Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
}

/// Ends when the file looks other than `seen` did and has settled; never where there is no file.
async fn changed(file: Option<&Path>, seen: Option<Stamp>) {
    if file.is_none() {
        return std::future::pending().await;
    }
    let mut last = seen;
    loop {
        tokio::time::sleep(LOOK).await;
        let now = stamp(file).await;
        if now != seen && now == last {
            return;
        }
        last = now;
    }
}

async fn read_file(path: &Path) -> Result<Bytes, String> {
    use tokio::io::AsyncReadExt;
    let file = tokio::fs::File::open(path).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        _ => error.to_string(),
    })?;
    let mut text = Vec::new();
    let mut bounded = file.take(MAX_BYTES as u64 + 1);
    bounded.read_to_end(&mut text).await.map_err(|error| error.to_string())?;
    if text.len() > MAX_BYTES {
        return Err(format!("it is larger than {} KB", MAX_BYTES >> 10));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests;
