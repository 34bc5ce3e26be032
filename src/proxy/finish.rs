//! Finish: the one access event of a request, exactly once, also for clients that vanished.
//!
//! The [`Record`] is made when the request's head arrives and ends with the response's last byte. Whatever
//! happens between (a refusal, a panic, a client that hangs up), dropping it emits the event.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{Method, Response, StatusCode, request};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{
    body::Upload,
    forward::{Answer, Failed},
};
use crate::{
    exchange::{Body, BoxError, RequestId},
    gateway::route::Route,
    policy::Findings,
    problem::{Kind, Problem},
    telemetry::{AccessEvent, InFlight, Step, Telemetry, Timings},
    upstream::Failure,
};

/// Emits the event of a request that was refused before it had a head.
pub fn headless(telemetry: &Telemetry, generation: u64, client: IpAddr, id: &RequestId, problem: &Problem) {
    let event = AccessEvent {
        client: Some(client),
        status: problem.kind.status.as_u16(),
        problem: Some(problem.kind),
        cause: Some(problem.cause.as_deref().unwrap_or(&problem.detail)),
        step: Step::Receive,
        generation,
        ..AccessEvent::new(id.as_str(), "-", "-")
    };
    telemetry.finish(telemetry.metrics.unrouted(), &event);
}

/// What is known of a request so far.
pub struct Record {
    pub telemetry: Arc<Telemetry>,
    pub head: Arc<request::Parts>,
    pub request_id: RequestId,
    pub client: IpAddr,
    pub generation: u64,
    pub route: Option<Arc<Route>>,
    pub caller: Option<Arc<str>>,
    pub cache: Option<&'static str>,
    pub problem: Option<&'static Kind>,
    pub cause: Option<String>,
    pub step: Step,
    pub attempts: u32,
    pub upload: Option<Arc<Upload>>,
    status: StatusCode,
    bytes_out: u64,
    timings: Timings,
    at_ms: u64,
    begun: Instant,
    lap: Instant,
    in_flight: InFlight,
    complete: bool,
    /// The upstream's answer broke off: it is the upstream that is gone, not the client.
    cut: bool,
    /// The response's body, once there is one.
    body: Body,
}

/// What a client that hung up before its answer is logged as (nginx's number for it).
const CLIENT_CLOSED: u16 = 499;

impl Record {
    #[must_use]
    pub fn begin(
        telemetry: &Arc<Telemetry>,
        head: &Arc<request::Parts>,
        request_id: RequestId,
        client: IpAddr,
        generation: u64,
        at_ms: u64,
    ) -> Box<Self> {
        let now = Instant::now();
        Box::new(Self {
            telemetry: Arc::clone(telemetry),
            head: Arc::clone(head),
            request_id,
            client,
            generation,
            route: None,
            caller: None,
            cache: None,
            problem: None,
            cause: None,
            step: Step::Receive,
            attempts: 0,
            upload: None,
            status: StatusCode::from_u16(CLIENT_CLOSED).expect("invariant: 499 is a status code"),
            bytes_out: 0,
            timings: Timings::default(),
            at_ms,
            begun: now,
            lap: now,
            in_flight: telemetry.metrics.unrouted().begin(),
            complete: false,
            cut: false,
            body: Body::Empty,
        })
    }

    /// When the request's head arrived, in milliseconds since the epoch: the clock of all its steps.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.at_ms
    }

    /// Ends the step under way and begins `next`.
    pub fn enter(&mut self, next: Step) {
        let now = Instant::now();
        let micros = (now - self.lap).as_micros();
        self.timings.add(self.step, u64::try_from(micros).unwrap_or(u64::MAX));
        self.lap = now;
        self.step = next;
    }

    /// From here on the request counts under its route.
    pub fn routed(&mut self, route: &Arc<Route>) {
        self.in_flight = route.metrics.begin();
        self.route = Some(Arc::clone(route));
    }

    /// Notes who calls.
    pub fn caller(&mut self, found: &Findings) {
        self.caller = found.caller.as_ref().map(|caller| Arc::clone(&caller.name));
    }

    /// Notes how the call to the upstream went.
    pub fn forwarded(&mut self, outcome: &Result<Answer, Failed>) {
        let upstream = self.route.as_deref().map(|route| &route.upstream_metrics);
        match outcome {
            Ok(answer) => {
                self.attempts = answer.attempts;
                self.upload.clone_from(&answer.upload);
            }
            Err(failed) => {
                self.attempts = failed.attempts;
                if let (Some(upstream), Some(reason)) = (upstream, failed.reason) {
                    upstream.failures.inc(reason.as_str());
                }
            }
        }
        if let Some(upstream) = upstream {
            upstream.requests.add(u64::from(self.attempts));
            upstream.retries.add(u64::from(self.attempts.saturating_sub(1)));
        }
    }

    /// Binds the record to the response: the record becomes its body and carries it to the last byte.
    #[must_use]
    pub fn deliver(mut self: Box<Self>, response: Response<Body>) -> Response<Body> {
        self.status = response.status();
        let bodiless = self.head.method == Method::HEAD
            || matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        self.complete = bodiless || response.body().is_end_stream();
        response.map(|body| {
            self.body = body;
            Body::Stream(Box::into_pin(self))
        })
    }

    /// Notes that the answer ends before its end.
    fn cut_off(&mut self, error: &BoxError) {
        self.cut = true;
        self.step = Step::Forward;
        self.cause = Some(error.to_string());
        if let (Some(route), Some(failure)) = (&self.route, error.downcast_ref::<Failure>()) {
            route.upstream_metrics.failures.inc(failure.reason.as_str());
        }
    }

    fn emit(&mut self) {
        let ended_at = if self.complete && self.problem.is_none() { Step::Finish } else { self.step };
        self.enter(Step::Finish);
        let head = &self.head;
        let route = self.route.as_deref();
        let event = AccessEvent {
            at_ms: self.at_ms,
            request_id: self.request_id.as_str(),
            client: Some(self.client),
            protocol: head.version,
            method: head.method.as_str(),
            host: super::receive::host(head),
            path: head.uri.path(),
            query: head.uri.query(),
            secret_params: route.map_or(&[], |route| &route.secret_params),
            status: self.status.as_u16(),
            api: route.map_or("", |route| &route.api),
            operation: route.map_or("", |route| &route.operation),
            consumer: self.caller.as_deref(),
            cache: self.cache,
            problem: self.problem,
            cause: self.cause.as_deref(),
            step: ended_at,
            generation: self.generation,
            upstream: route.map(|route| &*route.target.upstream.key.name),
            attempts: self.attempts,
            bytes_in: self.upload.as_deref().map_or(0, Upload::bytes),
            bytes_out: self.bytes_out,
            timings: self.timings,
            total_us: u64::try_from((self.lap - self.begun).as_micros()).unwrap_or(u64::MAX),
            vanished: !self.complete && !self.cut,
        };
        self.telemetry.finish(self.in_flight.operation(), &event);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.emit();
    }
}

impl HttpBody for Record {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64);
                this.complete |= this.body.is_end_stream();
            }
            Poll::Ready(None) => this.complete = true,
            Poll::Ready(Some(Err(error))) => this.cut_off(error),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
