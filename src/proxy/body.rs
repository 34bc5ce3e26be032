//! Bodies under way: the request's with its bound and its clock, the upstream's with its own.
//!
//! Both stream frame by frame, trailers included, and hold nothing back; a timer is armed only when a body
//! makes its task wait.

use std::{
    pin::Pin,
    sync::{
        Arc,
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
    upstream::{Failure, Permit, failure::Reason},
};

/// What is known of a request body while it is being sent on.
#[derive(Debug)]
pub struct Upload {
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

    /// When the last frame went by, or the start.
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
    inner: Incoming,
    limit: u64,
    seen: u64,
    timer: IdleTimer,
    upload: Arc<Upload>,
}

impl RequestBody {
    /// At most `limit` bytes; the client may pause for `idle` between frames.
    #[must_use]
    pub fn new(inner: Incoming, limit: u64, idle: Duration) -> (Self, Arc<Upload>) {
        let upload = Arc::new(Upload {
            start: Instant::now(),
            state: AtomicU8::new(UploadState::Running as u8),
            last: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        (Self { inner, limit, seen: 0, timer: IdleTimer::new(idle), upload: Arc::clone(&upload) }, upload)
    }

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
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            ready!(this.timer.poll_expired(cx));
            return Poll::Ready(this.fail(UploadState::Stalled, "the client stopped sending its body"));
        };
        this.timer.progress();
        let micros = u64::try_from(this.upload.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        this.upload.last.store(micros, Ordering::Relaxed);
        Poll::Ready(match frame {
            None => {
                this.upload.set(UploadState::Complete);
                None
            }
            Some(Err(error)) => this.fail(UploadState::Broken, &error.to_string()),
            Some(Ok(frame)) => {
                this.seen += frame.data_ref().map_or(0, |data| data.len() as u64);
                this.upload.bytes.store(this.seen, Ordering::Relaxed);
                if this.seen > this.limit {
                    return Poll::Ready(this.fail(UploadState::TooLarge, "the request body is too large"));
                }
                if this.inner.is_end_stream() {
                    this.upload.set(UploadState::Complete);
                }
                Some(Ok(frame))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An upstream's body on its way to the client; holds the endpoint's permit until it ends.
pub struct UpstreamBody {
    inner: reqwest::Body,
    timer: IdleTimer,
    deadline: Option<Pin<Box<Sleep>>>,
    permit: Permit,
}

impl UpstreamBody {
    #[must_use]
    pub fn new(inner: reqwest::Body, idle: Duration, deadline: Option<Instant>, permit: Permit) -> Self {
        let deadline = deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
        Self { inner, timer: IdleTimer::new(idle), deadline, permit }
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
