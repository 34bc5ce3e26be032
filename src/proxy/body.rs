//! Bodies under way: the request's with its bound and its clock, the upstream's with its own.
//!
//! Both stream frame by frame, trailers included, and hold nothing back; a timer is armed only when a body
//! makes its task wait.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::{
    exchange::BoxError,
    upstream::{Failure, Permit, cap::Slot, failure::Reason},
};

/// A request's body and what is known of it while it is being sent on.
#[derive(Debug)]
pub struct Upload {
    /// The client's body until it is asked for the first time: so long another endpoint can have it.
    waiting: Mutex<Option<Incoming>>,
    /// What is known of its length before it begins.
    size: SizeHint,
    limit: u64,
    idle: Duration,
    start: Instant,
    state: AtomicU8,
    /// Microseconds from `start` to the last frame.
    last: AtomicU64,
    bytes: AtomicU64,
}

/// How a request body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum UploadState {
    Running = 0,
    Complete = 1,
    /// Longer than the route takes.
    TooLarge = 2,
    /// The client sent nothing for longer than the idle bound.
    Stalled = 3,
    /// The client's connection or its framing broke.
    Broken = 4,
}

impl Upload {
    /// At most `limit` bytes; the client may pause for `idle` between frames.
    #[must_use]
    pub fn new(incoming: Incoming, limit: u64, idle: Duration) -> Arc<Self> {
        Arc::new(Self {
            size: incoming.size_hint(),
            waiting: Mutex::new(Some(incoming)),
            limit,
            idle,
            start: Instant::now(),
            state: AtomicU8::new(UploadState::Running as u8),
            last: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        })
    }

    /// The body of one attempt; it takes the client's when it is asked for the first time.
    #[must_use]
    pub fn body(self: &Arc<Self>) -> RequestBody {
        self.moved();
        RequestBody { inner: None, seen: 0, timer: IdleTimer::new(self.idle), upload: Arc::clone(self) }
    }

    /// Whether nothing of it was asked for yet, so that all of it can go to another endpoint.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn take(&self) -> Option<Incoming> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn moved(&self) {
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last.store(micros, Ordering::Relaxed);
    }

    fn set(&self, state: UploadState) {
        self.state.store(state as u8, Ordering::Release);
    }

    #[must_use]
    pub fn state(&self) -> UploadState {
        match self.state.load(Ordering::Acquire) {
            0 => UploadState::Running,
            1 => UploadState::Complete,
            2 => UploadState::TooLarge,
            3 => UploadState::Stalled,
            _ => UploadState::Broken,
        }
    }

    /// When the last frame went by, or the attempt began.
    #[must_use]
    pub fn last_progress(&self) -> Instant {
        self.start + Duration::from_micros(self.last.load(Ordering::Relaxed))
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A client's body on its way to an upstream.
pub struct RequestBody {
    inner: Option<Incoming>,
    seen: u64,
    timer: IdleTimer,
    upload: Arc<Upload>,
}

impl RequestBody {
    fn fail(&self, state: UploadState, cause: &str) -> Option<Result<Frame<Bytes>, Failure>> {
        self.upload.set(state);
        Some(Err(Failure::new(Reason::RequestBody, cause)))
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        if this.inner.is_none() {
            this.inner = this.upload.take();
        }
        let Some(inner) = &mut this.inner else {
            let failure = Failure::new(Reason::RequestBody, "another attempt has the body");
            return Poll::Ready(Some(Err(failure)));
        };
        let Poll::Ready(frame) = Pin::new(&mut *inner).poll_frame(cx) else {
            ready!(this.timer.poll_expired(cx));
            return Poll::Ready(this.fail(UploadState::Stalled, "the client stopped sending its body"));
        };
        this.timer.progress();
        this.upload.moved();
        Poll::Ready(match frame {
            None => {
                this.upload.set(UploadState::Complete);
                None
            }
            Some(Err(error)) => this.fail(UploadState::Broken, &error.to_string()),
            Some(Ok(frame)) => {
                this.seen += frame.data_ref().map_or(0, |data| data.len() as u64);
                this.upload.bytes.store(this.seen, Ordering::Relaxed);
                if this.seen > this.upload.limit {
                    return Poll::Ready(this.fail(UploadState::TooLarge, "the request body is too large"));
                }
                if inner.is_end_stream() {
                    this.upload.set(UploadState::Complete);
                }
                Some(Ok(frame))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_some_and(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| self.upload.size, HttpBody::size_hint)
    }
}

/// An upstream's body on its way to the client; holds the endpoint's permit and the route's slot until it ends.
pub struct UpstreamBody {
    inner: reqwest::Body,
    timer: IdleTimer,
    deadline: Option<Pin<Box<Sleep>>>,
    permit: Permit,
    _slot: Option<Slot>,
}

impl UpstreamBody {
    #[must_use]
    pub fn new(
        inner: reqwest::Body,
        idle: Duration,
        deadline: Option<Instant>,
        permit: Permit,
        slot: Option<Slot>,
    ) -> Self {
        let deadline = deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
        Self { inner, timer: IdleTimer::new(idle), deadline, permit, _slot: slot }
    }

    fn fail(&self, failure: Failure) -> Option<Result<Frame<Bytes>, BoxError>> {
        self.permit.endpoint().failures.fetch_add(1, Ordering::Relaxed);
        Some(Err(failure.into()))
    }
}

impl HttpBody for UpstreamBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.timer.progress();
                Poll::Ready(match frame {
                    Some(Err(error)) => this.fail(Failure::of_answer(&error)),
                    Some(Ok(frame)) => Some(Ok(frame)),
                    None => None,
                })
            }
            Poll::Pending => {
                if this.deadline.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready()) {
                    return Poll::Ready(
                        this.fail(Failure::new(Reason::TotalTimeout, "the whole call took too long")),
                    );
                }
                ready!(this.timer.poll_expired(cx));
                Poll::Ready(this.fail(Failure::new(Reason::IdleTimeout, "the upstream paused for too long")))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Expires when nothing moved for `idle`; costs nothing until the first wait.
struct IdleTimer {
    idle: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    moved: bool,
}

impl IdleTimer {
    fn new(idle: Duration) -> Self {
        Self { idle, sleep: None, moved: false }
    }

    fn progress(&mut self) {
        self.moved = true;
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.idle;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        if std::mem::take(&mut self.moved) {
            sleep.as_mut().reset(Instant::now() + idle);
        }
        sleep.as_mut().poll(cx)
    }
}
