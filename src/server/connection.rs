//! One connection from its first byte to its last: which protocol, hyper with our bounds, the way down.
//!
//! Takes any stream, so that TLS can be put before it.

use std::{
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context as Task, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use super::{
    config::ServerConfig,
    drain::{Drain, Phase},
    exchange::exchange,
    goodbye,
    refusal::Refusal,
    service::{ConnInfo, Service},
    stats::{Open, Stats},
    strict_io::StrictIo,
};
use crate::{
    exchange::{BoxError, now_ms},
    telemetry::log::Hush,
};

/// What every HTTP/2 connection opens with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What every TLS connection opens with (RFC 8446, section 5.1); no method begins so.
const TLS_HANDSHAKE: u8 = 22;
/// A connection taken just before closing may still bring its first request this long after.
const FRESH: Duration = Duration::from_millis(500);
/// While closing, an HTTP/2 connection without streams on which nothing moves this long is dropped.
const SILENCE: Duration = Duration::from_secs(5);

/// What the connections of one worker share.
pub(super) struct Context<S> {
    pub(super) worker: usize,
    pub(super) config: Arc<ServerConfig>,
    pub(super) stats: Arc<Stats>,
    pub(super) drain: Drain,
    pub(super) service: Arc<S>,
    /// Cloned for every connection: the worker ends when all are gone.
    pub(super) alive: mpsc::Sender<()>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl<S> Context<S> {
    pub(super) fn new(
        worker: usize,
        config: Arc<ServerConfig>,
        stats: Arc<Stats>,
        drain: Drain,
        service: Arc<S>,
        alive: mpsc::Sender<()>,
    ) -> Self {
        let (http1, http2) = (http1_builder(&config), http2_builder(&config));
        Self { worker, config, stats, drain, service, alive, http1, http2 }
    }
}

/// No half-close: an end of input means that the client went away, and its upstream call is cancelled.
fn http1_builder(config: &ServerConfig) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // Heads and idle clients are timed by the stream, which tells the two apart.
        .header_read_timeout(None)
        // A head arrives whole; beyond it the buffer is for bodies.
        .max_buf_size(config.limits.head_bytes + 64 * 1024);
    if config.limits.headers != 100 {
        // hyper's own bound is 100 and is dearer when set.
        builder.max_headers(config.limits.headers);
    }
    builder
}

fn http2_builder(config: &ServerConfig) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.limits.h2_streams)
        .max_header_list_size(u32::try_from(config.limits.head_bytes).unwrap_or(u32::MAX))
        // Rapid reset (CVE-2023-44487): streams reset before they were taken up.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(128)
        .keep_alive_interval(config.timeouts.h2_ping)
        .keep_alive_timeout(config.timeouts.h2_ping);
    builder
}

/// Serves `stream` until it ends, the client stays silent too long, or the drain is done.
pub(super) async fn serve<S, I>(mut stream: I, info: ConnInfo, open: Open, context: Arc<Context<S>>)
where
    S: Service,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let deadline = Instant::now() + context.config.timeouts.header_read;
    let mut first = Vec::new();
    let fresh = async {
        context.drain.reached(Phase::Closing).await;
        sleep(FRESH).await;
    };
    let protocol = tokio::select! {
        biased;
        sniffed = sniff(&mut stream, &mut first) => sniffed,
        () = sleep_until(deadline) => return,
        () = fresh => return,
    };
    let info = Arc::new(info);
    let result = match protocol {
        Ok(Some(Protocol::Http1)) => {
            let (config, stats) = (context.config.clone(), context.stats.clone());
            let stream = StrictIo::new(stream, first, deadline, info.clone(), config, stats, open);
            serve_http1(stream, info, &context).await
        }
        Ok(Some(Protocol::Http2)) => {
            let stream = Prefixed { stream, first: Bytes::from(first), info: info.clone(), _open: open };
            serve_http2(stream, info, &context).await
        }
        Ok(Some(Protocol::Tls)) => return refuse_tls(stream, &info, &context).await,
        Ok(None) => return,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a client connection ended early");
    }
}

enum Protocol {
    Http1,
    Http2,
    /// Which is not spoken on this port.
    Tls,
}

/// Tells a client that speaks TLS so in cleartext, as it can: most show what they could not read.
async fn refuse_tls<S, I>(stream: I, info: &ConnInfo, context: &Context<S>)
where
    S: Service,
    I: AsyncRead + AsyncWrite + Unpin,
{
    static HUSH: Hush = Hush::new();
    context.stats.count_refusal(Refusal::Tls);
    if let Some(unsaid) = HUSH.turn(now_ms()) {
        let (peer, local) = (info.peer, info.local);
        tracing::warn!(
            %peer, %local, unsaid,
            "a client speaks TLS to a port that speaks HTTP: call it with `http://`, or put what ends TLS before it"
        );
    }
    let answer = context.service.refuse(Refusal::Tls.problem(&context.config.limits), info);
    goodbye::say(stream, answer).await;
}

/// Reads until it is clear which protocol the client speaks; what was read is in `first`.
/// `None` when the client left without a word.
async fn sniff<I: AsyncRead + Unpin>(stream: &mut I, first: &mut Vec<u8>) -> io::Result<Option<Protocol>> {
    std::future::poll_fn(|task| {
        loop {
            // On the stack of this call alone: an idle connection holds no buffer.
            let mut raw = [const { MaybeUninit::uninit() }; 2048];
            let mut buffer = ReadBuf::uninit(&mut raw);
            ready!(Pin::new(&mut *stream).poll_read(task, &mut buffer))?;
            first.extend_from_slice(buffer.filled());
            if first.first() == Some(&TLS_HANDSHAKE) {
                return Poll::Ready(Ok(Some(Protocol::Tls)));
            }
            let compared = first.len().min(PREFACE.len());
            if first[..compared] != PREFACE[..compared] {
                return Poll::Ready(Ok(Some(Protocol::Http1)));
            }
            if compared == PREFACE.len() {
                return Poll::Ready(Ok(Some(Protocol::Http2)));
            }
            if buffer.filled().is_empty() {
                let protocol = (!first.is_empty()).then_some(Protocol::Http1);
                return Poll::Ready(Ok(protocol));
            }
        }
    })
    .await
}

async fn serve_http1<S, I>(
    stream: StrictIo<I>,
    info: Arc<ConnInfo>,
    context: &Arc<Context<S>>,
) -> Result<(), BoxError>
where
    S: Service,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = {
        let (info, context) = (info.clone(), context.clone());
        service_fn(move |request| exchange(request, info.clone(), context.clone()))
    };
    let connection = context.http1.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return Ok(ended?),
        () = context.drain.reached(Phase::Closing) => {}
    }
    // Not hyper's own way, which would close over a request that has just arrived: the stream
    // ends when nothing is in flight, and every answer from now on says `Connection: close`.
    info.state.close();
    tokio::select! {
        biased;
        ended = connection => Ok(ended?),
        () = context.drain.reached(Phase::Done) => Ok(()),
    }
}

async fn serve_http2<S, I>(
    stream: Prefixed<I>,
    info: Arc<ConnInfo>,
    context: &Arc<Context<S>>,
) -> Result<(), BoxError>
where
    S: Service,
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = {
        let (info, context) = (info.clone(), context.clone());
        service_fn(move |request| exchange(request, info.clone(), context.clone()))
    };
    let mut connection = pin!(context.http2.serve_connection(TokioIo::new(stream), service));
    let state = &info.state;
    let idle = async {
        // Idle for one whole period: no stream open and none begun since the period began.
        loop {
            let begun = state.begun();
            sleep(context.config.timeouts.keep_alive).await;
            if !state.is_active() && begun == state.begun() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        ended = connection.as_mut() => return Ok(ended?),
        () = context.drain.reached(Phase::Closing) => {}
        () = idle => {}
    }
    connection.as_mut().graceful_shutdown();
    let silent = async {
        loop {
            let moved = state.moved();
            sleep(SILENCE).await;
            if !state.is_active() && moved == state.moved() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        ended = connection => Ok(ended?),
        () = silent => Ok(()),
        () = context.drain.reached(Phase::Done) => Ok(()),
    }
}

/// A stream whose first bytes were read already; counts what moves and holds the connection's place.
struct Prefixed<I> {
    stream: I,
    first: Bytes,
    info: Arc<ConnInfo>,
    _open: Open,
}

impl<I: AsyncRead + Unpin> AsyncRead for Prefixed<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let part = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first.split_to(part));
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.stream).poll_read(task, buffer))?;
        self.info.state.moves(buffer.filled().len());
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Prefixed<I> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(task, bytes))?;
        self.info.state.moves(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(task, parts))?;
        self.info.state.moves(written);
        Poll::Ready(Ok(written))
    }
}
