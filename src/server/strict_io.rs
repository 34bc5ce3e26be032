//! The stream under hyper's HTTP/1: shows every byte to the [`Inspector`] before hyper may see it.
//!
//! Bytes are read straight into hyper's buffer; only a head that arrives in pieces is copied, for hyper gets
//! it whole. A refused head is replaced by a harmless one that hyper parses in its turn, so that the answers
//! before it go out first; the exchange behind it knows its number and answers 400 instead of calling
//! the service. The connection then closes, and lingers so that the client can read why.
//! Also here, because only this place sees them: the timers of idle clients, slow heads and slow readers.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use smallvec::SmallVec;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    config::ServerConfig,
    inspect::{Inspector, Refused, Seen},
    refusal::Refusal,
    service::ConnInfo,
    stats::{Open, Stats},
};

/// Stands for a refused head.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n";
/// What a client may send ahead of the answer to its upgrade.
const AHEAD: usize = 64 * 1024;
/// How long a closed connection waits for its client to have read the last answer.
const LINGER: Duration = Duration::from_secs(2);
/// What is read and thrown away meanwhile; beyond it nothing more is read.
const LINGER_BYTES: usize = 1024 * 1024;

/// An answer of at most so many bytes is copied together: one buffer costs the system less than a list of them.
const SMALL: usize = 1024;

/// A connection's stream with its inspector, its timers and its place in the count.
pub(super) struct StrictIo<I> {
    stream: I,
    inspector: Inspector,
    config: Arc<ServerConfig>,
    info: Arc<ConnInfo>,
    stats: Arc<Stats>,
    _open: Open,
    /// Read from the stream but not passed on.
    held: Vec<u8>,
    /// How much of `held` has been passed on already …
    passed: usize,
    /// … and up to where it may be.
    cleared: usize,
    heads: u64,
    end: End,
    wait: Option<(Wait, Instant)>,
    alarm: Option<Pin<Box<Sleep>>>,
    stall: Option<Instant>,
    stall_alarm: Option<Pin<Box<Sleep>>>,
    linger: Linger,
}

/// What follows the bytes that are cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Whatever the client sends.
    Open,
    /// Nothing: to hyper the client is gone, for it was idle too long or the server leaves.
    Idle,
    /// Nothing, without an end: the head before was the last one, and stands for a refused one.
    Refused,
    /// An error, for a body went wrong.
    Error(Refusal),
}

/// What a connection may be waiting for when nothing is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Idle,
    Head,
}

#[derive(Debug)]
enum Linger {
    No,
    Until { alarm: Pin<Box<Sleep>>, left: usize },
    Over,
}

impl<I: AsyncRead + AsyncWrite + Unpin> StrictIo<I> {
    /// `first` was read already; the first head must be complete at `deadline`.
    pub(super) fn new(
        stream: I,
        first: Vec<u8>,
        deadline: Instant,
        info: Arc<ConnInfo>,
        config: Arc<ServerConfig>,
        stats: Arc<Stats>,
        open: Open,
    ) -> Self {
        let mut strict = Self {
            stream,
            inspector: Inspector::new(),
            config,
            info,
            stats,
            _open: open,
            held: first,
            passed: 0,
            cleared: 0,
            heads: 0,
            end: End::Open,
            wait: Some((Wait::Head, deadline)),
            alarm: None,
            stall: None,
            stall_alarm: None,
            linger: Linger::No,
        };
        strict.inspect_held();
        strict
    }

    /// Passes on what is cleared; false when nothing is.
    fn deliver(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let part = (self.cleared - self.passed).min(buffer.remaining());
        if part == 0 {
            return false;
        }
        buffer.put_slice(&self.held[self.passed..self.passed + part]);
        self.passed += part;
        if self.passed == self.held.len() {
            // An idle connection holds no buffer.
            self.held = Vec::new();
            (self.passed, self.cleared) = (0, 0);
        }
        true
    }

    /// Shows the inspector what is held and not cleared yet.
    fn inspect_held(&mut self) {
        if self.passed > 0 {
            self.held.drain(..self.passed);
            self.cleared -= self.passed;
            self.passed = 0;
        }
        let seen = self.inspector.inspect(&self.held[self.cleared..], &self.config.limits);
        self.cleared += seen.pass;
        self.note(seen);
    }

    /// Draws the conclusions of a verdict; `held` must be what goes on before its refusal, and more.
    fn note(&mut self, seen: Seen) {
        if seen.heads > 0 {
            self.wait = None;
            self.heads += u64::from(seen.heads);
            self.info.state.takes(seen.heads);
        }
        match seen.refused {
            Some(Refused::Head(refusal)) => self.refuse_head(refusal),
            Some(Refused::Body(refusal)) => {
                self.refused(refusal);
                self.held.truncate(self.cleared);
                self.end = End::Error(refusal);
            }
            None => {}
        }
    }

    fn refuse_head(&mut self, refusal: Refusal) {
        self.heads += 1;
        self.info.state.takes(1);
        self.refused(refusal);
        self.held.truncate(self.cleared);
        self.held.extend_from_slice(STAND_IN);
        self.cleared = self.held.len();
        self.end = End::Refused;
    }

    fn refused(&self, refusal: Refusal) {
        self.stats.count_refusal(refusal);
        self.info.state.refuse(self.heads, refusal);
        let peer = self.info.peer;
        tracing::debug!(%peer, reason = refusal.as_str(), "refused what a client sent");
    }

    /// Whether a request for an upgrade was answered while its next bytes are held back.
    fn is_settled(&self) -> Option<bool> {
        self.inspector.is_waiting().then(|| self.info.state.upgraded(self.heads))?
    }

    /// Reads once, straight into `buffer`; ready when something, or nothing more, may go on.
    fn poll_fill(&mut self, task: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.deliver(buffer) {
                return Poll::Ready(Ok(()));
            }
            match self.end {
                End::Open => {}
                End::Idle => return Poll::Ready(Ok(())),
                // The answer is on its way; an end of input would look like a client that left.
                End::Refused => return Poll::Pending,
                End::Error(refusal) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal)));
                }
            }
            if let Some(upgraded) = self.is_settled() {
                self.inspector.decide(upgraded);
                self.inspect_held();
                continue;
            }
            if self.inspector.is_waiting() && self.held.len() >= AHEAD {
                // The answer wakes us, in `poll_flush`.
                return Poll::Pending;
            }
            let before = buffer.filled().len();
            match Pin::new(&mut self.stream).poll_read(task, buffer) {
                Poll::Ready(read) => read?,
                Poll::Pending if self.poll_wait(task) => continue,
                Poll::Pending => return Poll::Pending,
            }
            if buffer.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            self.take(buffer, before);
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Leaves in `buffer` what may go on of the bytes after `before`, holds back the rest.
    fn take(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        if !self.held.is_empty() {
            self.held.extend_from_slice(&buffer.filled()[before..]);
            buffer.set_filled(before);
            return self.inspect_held();
        }
        let new = &buffer.filled()[before..];
        let seen = self.inspector.inspect(new, &self.config.limits);
        if seen.pass < new.len() && seen.refused.is_none() {
            self.held.extend_from_slice(&new[seen.pass..]);
        }
        buffer.set_filled(before + seen.pass);
        self.note(seen);
    }

    /// Watches the clock while the stream is silent; true when the wait is over and `end` or `held` changed.
    fn poll_wait(&mut self, task: &mut Context<'_>) -> bool {
        let wait = if !self.inspector.in_head() || self.end != End::Open {
            None
        } else if self.inspector.head_begun(&self.held) {
            Some(Wait::Head)
        } else {
            (!self.info.state.is_active()).then_some(Wait::Idle)
        };
        let Some(wait) = wait else {
            self.wait = None;
            return false;
        };
        let idle = wait == Wait::Idle;
        if idle && self.info.state.is_closing() {
            self.end = End::Idle;
            return true;
        }
        let deadline = match self.wait {
            Some((since, deadline)) if since == wait => deadline,
            _ => {
                Instant::now()
                    + if idle { self.config.timeouts.keep_alive } else { self.config.timeouts.header_read }
            }
        };
        self.wait = Some((wait, deadline));
        if poll_alarm(&mut self.alarm, deadline, task).is_pending() {
            return false;
        }
        match wait {
            Wait::Idle => self.end = End::Idle,
            Wait::Head => self.refuse_head(Refusal::HeadTimeout),
        }
        true
    }

    /// Cuts a client that does not read: a write may be blocked only so long.
    fn watch_write<T>(
        &mut self,
        task: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let deadline = *self.stall.get_or_insert_with(|| Instant::now() + self.config.timeouts.write_stall);
        ready!(poll_alarm(&mut self.stall_alarm, deadline, task));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Waits, reading and throwing away, until the client closes too: closing over unread bytes would
    /// reset the connection and take the answer with it.
    fn poll_linger(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let Linger::Until { alarm, left } = &mut self.linger else { return Poll::Ready(()) };
        if alarm.as_mut().poll(task).is_ready() {
            return Poll::Ready(());
        }
        while *left > 0 {
            let mut raw = [const { MaybeUninit::uninit() }; 4096];
            let mut buffer = ReadBuf::uninit(&mut raw);
            match ready!(Pin::new(&mut self.stream).poll_read(task, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    *left = left.saturating_sub(buffer.filled().len());
                }
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}

/// Ready at `deadline`. The timer is moved only when it rings too early: most deadlines are never met.
fn poll_alarm(alarm: &mut Option<Pin<Box<Sleep>>>, deadline: Instant, task: &mut Context<'_>) -> Poll<()> {
    let alarm = alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
    if alarm.deadline() > deadline {
        alarm.as_mut().reset(deadline);
    }
    while alarm.as_mut().poll(task).is_ready() {
        if alarm.deadline() >= deadline {
            return Poll::Ready(());
        }
        alarm.as_mut().reset(deadline);
    }
    Poll::Pending
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for StrictIo<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.inspector.is_open() && this.held.is_empty() {
            return Pin::new(&mut this.stream).poll_read(task, buffer);
        }
        this.poll_fill(task, buffer)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for StrictIo<I> {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(task, bytes);
        this.watch_write(task, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = if parts.iter().map(|part| part.len()).sum::<usize>() <= SMALL {
            let mut small = SmallVec::<[u8; SMALL]>::new();
            for part in parts {
                small.extend_from_slice(part);
            }
            Pin::new(&mut this.stream).poll_write(task, &small)
        } else {
            Pin::new(&mut this.stream).poll_write_vectored(task, parts)
        };
        this.watch_write(task, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes after each answer, and does not read again by itself when the last read found nothing:
    /// here the idle timer begins, and here an answered upgrade lets reading go on.
    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(task))?;
        if this.is_settled().is_some() || (this.cleared == this.passed && this.poll_wait(task)) {
            task.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if matches!(this.linger, Linger::No) {
            ready!(Pin::new(&mut this.stream).poll_shutdown(task))?;
            let refused = matches!(this.end, End::Refused | End::Error(_));
            let unread = refused || this.inspector.is_unfinished() || !this.held.is_empty();
            this.linger = if unread && !this.inspector.is_open() {
                let alarm = Box::pin(sleep_until(Instant::now() + LINGER));
                Linger::Until { alarm, left: LINGER_BYTES }
            } else {
                Linger::Over
            };
        }
        ready!(this.poll_linger(task));
        this.linger = Linger::Over;
        Poll::Ready(Ok(()))
    }
}
