//! The connection to Redis: made, watched and made again in the background, and used with a deadline.
//!
//! A task of the control plane owns it. Whoever calls gets the connection that is up now, or hears at once that
//! there is none. A call that is not answered in time ends the connection: what hangs is not asked twice.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, aio::MultiplexedConnection};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};

use super::{
    address::Config,
    dial::{self, Driver, MakeTls},
};
use crate::exchange::now_ms;

/// The pause before the second attempt in a row, doubled with each one more.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A connection that lasted so long was a good one: the next is tried without a long pause, and told of.
const STEADY: Duration = Duration::from_secs(5);

/// The handle of the one connection; clones share it.
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

struct Inner {
    /// The control plane's; without one nothing is ever dialled (`check` starts nothing).
    runtime: Option<Handle>,
    tls: MakeTls,
    config: watch::Sender<Option<Arc<Config>>>,
    configured_ms: AtomicU64,
    current: ArcSwapOption<Connected>,
    /// Grows with each message on a channel and each change of state.
    news: watch::Sender<u64>,
    /// The names of channels that are listened to.
    channels: Mutex<Vec<&'static str>>,
    shown: Mutex<Shown>,
    connects: AtomicU64,
    failures: AtomicU64,
}

/// A connection that is up.
struct Connected {
    config: Arc<Config>,
    connection: MultiplexedConnection,
    /// The server's own name for this run of it; empty where it does not tell.
    run: String,
    /// Takes the reason for which the connection must end.
    broken: mpsc::Sender<String>,
}

/// How the connection was when it was looked at last.
struct Shown {
    /// What it is about: after a change of configuration that is another one.
    config: Option<Arc<Config>>,
    state: State,
    since_ms: u64,
    why: String,
}

/// How the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// None is configured.
    Off,
    /// The first attempt is under way.
    Connecting,
    Up,
    /// The last attempt failed; the next one comes by itself.
    Down,
}

/// The connection at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    pub state: State,
    /// The address without credentials; empty when none is configured.
    pub server: String,
    /// When the state began, in milliseconds since the epoch.
    pub since_ms: u64,
    /// Why it is down.
    pub why: String,
    /// Connections made, and attempts and connections that failed, since the start of the process.
    pub connects: u64,
    pub failures: u64,
}

/// Redis did not do what it was asked; why, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away(pub String);

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Away {}

/// A connection in the hands of one call.
pub(super) struct Call {
    pub connection: MultiplexedConnection,
    pub config: Arc<Config>,
    pub run: String,
}

impl Redis {
    /// Nothing is dialled before [`Self::configure`].
    #[must_use]
    pub fn new(runtime: Option<Handle>, tls: MakeTls) -> Self {
        let inner = Arc::new(Inner {
            runtime,
            tls,
            config: watch::Sender::new(None),
            configured_ms: AtomicU64::new(now_ms()),
            current: ArcSwapOption::empty(),
            news: watch::Sender::new(0),
            channels: Mutex::default(),
            shown: Mutex::new(Shown { config: None, state: State::Off, since_ms: 0, why: String::new() }),
            connects: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        });
        if let Some(runtime) = &inner.runtime {
            runtime.spawn(keep(Arc::clone(&inner), inner.config.subscribe()));
        }
        Self { inner }
    }

    /// Connects to another server, or to none. What is the same stays connected.
    pub fn configure(&self, config: Option<Config>) {
        if self.inner.runtime.is_none() {
            return;
        }
        let config = config.map(Arc::new);
        let changed = self.inner.config.send_if_modified(|now| {
            let changes = *now != config;
            if changes {
                *now = config;
                self.inner.configured_ms.store(now_ms(), Ordering::Relaxed);
                // Nothing more goes to the old one. Here, before the new one can be there.
                self.inner.current.store(None);
            }
            changes
        });
        if changed {
            self.inner.news.send_modify(|count| *count += 1);
        }
    }

    #[must_use]
    pub fn status(&self) -> Status {
        let config = self.inner.config.borrow().clone();
        let shown = lock(&self.inner.shown);
        let configured_ms = self.inner.configured_ms.load(Ordering::Relaxed);
        let (state, since_ms, why) = match (&config, &shown.config) {
            (Some(config), Some(about)) if Arc::ptr_eq(config, about) => {
                (shown.state, shown.since_ms, shown.why.clone())
            }
            (Some(_), _) => (State::Connecting, configured_ms, String::new()),
            (None, _) => (State::Off, configured_ms, String::new()),
        };
        Status {
            state,
            server: config.map(|config| config.address.to_string()).unwrap_or_default(),
            since_ms,
            why,
            connects: self.inner.connects.load(Ordering::Relaxed),
            failures: self.inner.failures.load(Ordering::Relaxed),
        }
    }

    /// Hears of every message on a channel and every change of state, several at once as one.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.inner.news.subscribe()
    }

    /// Listens to the channel of this name, from the next connection on.
    pub(super) fn listen(&self, channel: &'static str) {
        let mut channels = lock(&self.inner.channels);
        if !channels.contains(&channel) {
            channels.push(channel);
        }
    }

    /// Makes a call, for at most the configured deadline.
    ///
    /// # Errors
    /// When there is no connection, no reply in time, or the server refuses.
    pub(super) async fn call<T, F>(&self, work: impl FnOnce(Call) -> F) -> Result<T, Away>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let Some(connected) = self.inner.current.load_full() else { return Err(self.away()) };
        let Connected { config, connection, run, .. } = &*connected;
        let call = Call { connection: connection.clone(), config: Arc::clone(config), run: run.clone() };
        let outcome = timeout(config.reply_timeout, work(call)).await;
        let (why, ends) = match outcome {
            Ok(Ok(value)) => return Ok(value),
            // It ended while the call was under way: the reason is known where it ended.
            Ok(Err(error)) if error.is_connection_dropped() && self.status().state == State::Down => {
                return Err(self.away());
            }
            Ok(Err(error)) => (dial::told(&error), ends_connection(&error)),
            Err(_) => (format!("no reply within {:?}", config.reply_timeout), true),
        };
        if ends {
            self.inner.end(&connected, &why);
        }
        Err(Away(why))
    }

    fn away(&self) -> Away {
        let status = self.status();
        Away(match status.state {
            State::Off => "no Redis is configured".to_owned(),
            State::Connecting | State::Up => "the connection is being made".to_owned(),
            State::Down => status.why,
        })
    }
}

impl Inner {
    /// Lets no further call have this connection, and ends it. Without a reason it is ending already.
    fn end(&self, connected: &Arc<Connected>, why: &str) {
        let before = self.current.rcu(|now| match now {
            Some(now) if Arc::ptr_eq(now, connected) => None,
            other => other.clone(),
        });
        if !why.is_empty() && before.is_some_and(|before| Arc::ptr_eq(&before, connected)) {
            self.show(&connected.config, State::Down, why);
            // Full: someone else had the same trouble.
            let _ = connected.broken.try_send(why.to_owned());
        }
    }

    fn show(&self, config: &Arc<Config>, state: State, why: &str) {
        let mut shown = lock(&self.shown);
        let same = shown.config.as_ref().is_some_and(|about| Arc::ptr_eq(about, config));
        if shown.state != state || !same {
            shown.since_ms = now_ms();
        }
        shown.config = Some(Arc::clone(config));
        shown.state = state;
        why.clone_into(&mut shown.why);
        drop(shown);
        self.news.send_modify(|count| *count += 1);
    }
}

/// Whether the connection is of no use after this error.
fn ends_connection(error: &RedisError) -> bool {
    match error.kind() {
        // After a failover the address may lead to another server.
        ErrorKind::Server(kind) => kind == ServerErrorKind::ReadOnly,
        ErrorKind::UnexpectedReturnType | ErrorKind::Extension => false,
        _ => true,
    }
}

/// Keeps a connection to the server that is configured, as long as the process runs.
async fn keep(inner: Arc<Inner>, mut configs: watch::Receiver<Option<Arc<Config>>>) {
    loop {
        let config = configs.borrow_and_update().clone();
        let Some(config) = config else {
            if configs.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            () = stay(&inner, &config) => {}
            changed = configs.changed() => if changed.is_err() { return },
        }
    }
}

/// Connects to one server again and again. What goes on and on is told once.
async fn stay(inner: &Arc<Inner>, config: &Arc<Config>) {
    let (mut failures, mut flaps) = (0_u32, false);
    loop {
        let (why, lasted) = session(inner, config, !flaps).await;
        let steady = lasted.is_some_and(|lasted| lasted >= STEADY);
        inner.failures.fetch_add(1, Ordering::Relaxed);
        if failures == 0 || steady || (lasted.is_some() && !flaps) {
            tracing::warn!(server = %config.address, "Redis is away: {why}; it is tried again until it is back");
        }
        inner.show(config, State::Down, &why);
        failures = if steady { 1 } else { failures.saturating_add(1) };
        flaps = lasted.is_some() && !steady;
        let pause = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(10)).min(LONGEST_PAUSE);
        // Many gateways must not come back in step.
        sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
    }
}

/// One connection from its making to its end: why it ended, and how long it lasted if it was made. It is told
/// of at once where `told` says so, else when it lasts.
async fn session(inner: &Arc<Inner>, config: &Arc<Config>, told: bool) -> (String, Option<Duration>) {
    let (broken, mut breaks) = mpsc::channel(1);
    let made = timeout(config.connect_timeout, open(inner, config, broken)).await;
    let (connected, mut driver) = match made {
        Ok(Ok(made)) => made,
        Ok(Err(why)) => return (why, None),
        Err(_) => return (format!("no connection within {:?}", config.connect_timeout), None),
    };
    let (connected, began) = (Arc::new(connected), Instant::now());
    inner.current.store(Some(Arc::clone(&connected)));
    inner.connects.fetch_add(1, Ordering::Relaxed);
    inner.show(config, State::Up, "");
    // Dropped with this future, so that a change of configuration takes the connection out of use too.
    let _ends = Ending { inner, connected: &connected };
    let tell = || tracing::info!(server = %config.address, "Redis is connected");
    if told {
        tell();
    }
    let mut untold = !told;
    let why = loop {
        tokio::select! {
            () = &mut driver => break "the connection was closed".to_owned(),
            why = breaks.recv() => break why.unwrap_or_default(),
            () = sleep(STEADY), if untold => {
                tell();
                untold = false;
            }
        }
    };
    (why, Some(began.elapsed()))
}

/// Takes a connection out of use when it goes.
struct Ending<'a> {
    inner: &'a Inner,
    connected: &'a Arc<Connected>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.inner.end(self.connected, "");
    }
}

/// Dials, says who is there, asks which run of the server this is, and listens to the channels.
async fn open(
    inner: &Arc<Inner>,
    config: &Arc<Config>,
    broken: mpsc::Sender<String>,
) -> Result<(Connected, Driver), String> {
    let news = inner.news.clone();
    let heard = move || news.send_modify(|count| *count += 1);
    let (mut connection, mut driver) = dial::dial(config, inner.tls, heard).await?;
    let run = tokio::select! {
        () = &mut driver => return Err("the connection was closed".to_owned()),
        run = settle(&mut connection, config, inner) => run,
    };
    Ok((Connected { config: Arc::clone(config), connection, run, broken }, driver))
}

async fn settle(connection: &mut MultiplexedConnection, config: &Config, inner: &Inner) -> String {
    let channels: Vec<String> = lock(&inner.channels).iter().map(|name| config.key(name)).collect();
    for channel in channels {
        if let Err(error) = connection.subscribe(&channel).await {
            let why = dial::told(&error);
            tracing::warn!(%channel, "Redis does not let this gateway listen, it looks once a second: {why}");
        }
    }
    // For who looks at `CLIENT LIST`; where it is not allowed, nothing is lost.
    let _: RedisResult<()> =
        redis::cmd("CLIENT").arg("SETNAME").arg("gatewright").query_async(connection).await;
    let info: RedisResult<String> = redis::cmd("INFO").arg("server").query_async(connection).await;
    let info = info.unwrap_or_default();
    info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default().trim().to_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
