//! The access log: one line per request, formatted on the worker, written by a thread of its own.
//!
//! A worker formats into one of a few shared buffers (its own, as long as there are not more workers than
//! buffers) and never waits for the disk or the terminal: the writer thread takes the buffers every
//! [`INTERVAL`], and a full buffer drops lines and counts them. With the log off nothing of this exists.
//!
//! Not here: who emits the event (the spine's finish step) and the gateway's own log (`log`).

mod format;

use std::{
    fmt,
    io::Write,
    net::IpAddr,
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, Thread},
    time::Duration,
};

use super::step::{Step, Timings};
use crate::{exchange::now_ms, problem::Kind};

/// All there is to say about one finished request. Borrowed: it lives as long as the finish step.
#[derive(Clone, Debug)]
pub struct AccessEvent<'a> {
    /// When the request began, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    pub request_id: &'a str,
    /// The client's address as the trusted hops tell it.
    pub client: Option<IpAddr>,
    pub protocol: http::Version,
    pub method: &'a str,
    pub host: &'a str,
    pub path: &'a str,
    /// Without the question mark; values of secret parameters are redacted when the line is written.
    pub query: Option<&'a str>,
    /// Further query parameters that carry credentials: the description's API keys.
    pub secret_params: &'a [String],
    /// 499 when the client went away before there was an answer.
    pub status: u16,
    pub api: &'a str,
    pub operation: &'a str,
    pub consumer: Option<&'a str>,
    /// What the cache did, as a word of the cache's closed list.
    pub cache: Option<&'static str>,
    /// The refusal, when the gateway made the answer.
    pub problem: Option<&'static Kind>,
    /// The operator's half of the refusal; the client never saw it.
    pub cause: Option<&'a str>,
    /// Where the request ended.
    pub step: Step,
    pub generation: u64,
    pub upstream: Option<&'a str>,
    pub attempts: u32,
    /// Body bytes received from and sent to the client.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub timings: Timings,
    /// Microseconds from the request's head to the last byte of the answer.
    pub total_us: u64,
    /// The client went away before the end.
    pub vanished: bool,
}

impl<'a> AccessEvent<'a> {
    /// An event with everything else empty, begun now.
    #[must_use]
    pub fn new(request_id: &'a str, method: &'a str, path: &'a str) -> Self {
        Self {
            at_ms: now_ms(),
            request_id,
            client: None,
            protocol: http::Version::HTTP_11,
            method,
            host: "",
            path,
            query: None,
            secret_params: &[],
            status: 0,
            api: "",
            operation: "",
            consumer: None,
            cache: None,
            problem: None,
            cause: None,
            step: Step::Finish,
            generation: 0,
            upstream: None,
            attempts: 0,
            bytes_in: 0,
            bytes_out: 0,
            timings: Timings::default(),
            total_us: 0,
            vanished: false,
        }
    }
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Off,
    /// A short line for people, with ANSI colours when `colour`.
    Human {
        colour: bool,
    },
    /// One JSON object per line.
    Json,
}

impl Format {
    /// Short coloured lines on a terminal, JSON otherwise.
    #[must_use]
    pub fn auto(terminal: bool) -> Self {
        if terminal { Self::Human { colour: true } } else { Self::Json }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "off" => Ok(Self::Off),
            "human" => Ok(Self::Human { colour: false }),
            "json" => Ok(Self::Json),
            _ => Err(format!("expected `human`, `json` or `off`, found `{word}`")),
        }
    }
}

/// How long a line may wait before it is written.
const INTERVAL: Duration = Duration::from_millis(50);
/// More workers than this share buffers.
const SHARDS: usize = 16;
/// A buffer with more bytes than this wakes the writer at once.
const WAKE_AT: usize = 128 * 1024;
/// A buffer never grows past this; further lines are dropped and counted.
const LIMIT: usize = 1024 * 1024;
/// How long [`AccessLog::close`] waits for a slow terminal or pipe.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// A handle of the log; all clones write to the same place.
#[derive(Clone)]
pub struct AccessLog(Option<Arc<Shared>>);

struct Shared {
    format: Format,
    shards: [Mutex<Vec<u8>>; SHARDS],
    dropped: AtomicU64,
    /// The writer found nothing and sleeps until it is woken.
    idle: AtomicBool,
    stop: AtomicBool,
    writer: Thread,
    done: Mutex<mpsc::Receiver<()>>,
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AccessLog").field(&self.0.as_ref().map(|shared| shared.format)).finish()
    }
}

impl AccessLog {
    /// A log that writes nothing and costs nothing.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Starts the writer thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(format: Format, out: impl Write + Send + 'static) -> std::io::Result<Self> {
        if format == Format::Off {
            return Ok(Self::off());
        }
        let (hand_over, receive) = mpsc::channel::<Arc<Shared>>();
        let (done, wait) = mpsc::channel();
        let handle = thread::Builder::new().name("access-log".into()).spawn(move || {
            if let Ok(shared) = receive.recv() {
                write_lines(&shared, out);
            }
            let _ = done.send(());
        })?;
        let shared = Arc::new(Shared {
            format,
            shards: Default::default(),
            dropped: AtomicU64::new(0),
            idle: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            writer: handle.thread().clone(),
            done: Mutex::new(wait),
        });
        let _ = hand_over.send(Arc::clone(&shared));
        Ok(Self(Some(shared)))
    }

    /// Formats one line into this worker's buffer.
    pub fn log(&self, event: &AccessEvent<'_>) {
        let Some(shared) = &self.0 else { return };
        let mut buffer = lock(&shared.shards[shard()]);
        if buffer.len() >= LIMIT {
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        format::line(&mut buffer, shared.format, event);
        let long = buffer.len() > WAKE_AT;
        drop(buffer);
        // The plain load keeps the common case (the writer is awake) free of a locked instruction.
        if long || shared.idle.load(Ordering::Relaxed) && shared.idle.swap(false, Ordering::AcqRel) {
            shared.writer.unpark();
        }
    }

    /// Lines lost because the log could not be written fast enough.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| shared.dropped.load(Ordering::Relaxed))
    }

    /// Writes what is left and ends the writer thread; waits a second at most. Lines logged afterwards are lost.
    pub fn close(&self) {
        let Some(shared) = &self.0 else { return };
        shared.stop.store(true, Ordering::Release);
        shared.writer.unpark();
        let _ = lock(&shared.done).recv_timeout(CLOSE_WITHIN);
    }
}

/// The writer thread: takes all buffers, writes them, sleeps.
fn write_lines(shared: &Shared, mut out: impl Write) {
    let mut spare = Vec::new();
    let mut reported = 0;
    loop {
        let stopping = shared.stop.load(Ordering::Acquire);
        let found = drain(shared, &mut spare, &mut out);
        let dropped = shared.dropped.load(Ordering::Relaxed);
        if dropped > reported {
            tracing::warn!(lines = dropped - reported, "access log too slow, lines were dropped");
            reported = dropped;
        }
        if stopping {
            return;
        }
        if found {
            thread::park_timeout(INTERVAL);
            continue;
        }
        shared.idle.store(true, Ordering::SeqCst);
        // A line may have come between the look and the flag; its worker saw the flag unset.
        let empty = shared.shards.iter().all(|shard| lock(shard).is_empty());
        if empty && !shared.stop.load(Ordering::Acquire) {
            thread::park();
        }
        shared.idle.store(false, Ordering::SeqCst);
        // Gather what comes together instead of writing line by line.
        if !shared.stop.load(Ordering::Acquire) {
            thread::park_timeout(INTERVAL);
        }
    }
}

/// Writes every buffer's lines; says whether there were any.
fn drain(shared: &Shared, spare: &mut Vec<u8>, out: &mut impl Write) -> bool {
    let mut found = false;
    for shard in &shared.shards {
        spare.clear();
        std::mem::swap(&mut *lock(shard), spare);
        if spare.is_empty() {
            continue;
        }
        found = true;
        // A closed pipe must not end the gateway; the lines are lost, and counted.
        if out.write_all(spare).and_then(|()| out.flush()).is_err() {
            let lines = memchr::memchr_iter(b'\n', spare).count() as u64;
            shared.dropped.fetch_add(lines, Ordering::Relaxed);
        }
        if spare.capacity() > LIMIT / 2 {
            *spare = Vec::new();
        }
    }
    found
}

/// The buffer of this thread: threads take numbers in the order of their first line.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    MINE.with(|mine| *mine)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
