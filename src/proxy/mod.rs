//! The spine: the life of one request, readable from top to bottom.
//!
//! ```text
//! Receive > Route > Guard > Lookup > Forward (Store while streaming) > Shape > Finish
//! ```
//!
//! Each step is a file of its own; steps return here and never call each other. A step that refuses gives
//! back a [`Problem`]; whatever the outcome, the answer is shaped once and its record finished once.

mod body;
mod finish;
mod forward;
mod guard;
mod hop;
mod lead;
mod lookup;
mod outgoing;
mod receive;
mod renew;
mod routing;
mod settle;
mod shape;

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{Request, Response, request::Parts};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::{
    cache::Followers,
    exchange::{Body, now_ms},
    gateway::{Gateway, Live, MountedPages, Route},
    policy::Findings,
    problem::Problem,
    route::Target,
    telemetry::Step,
};
use finish::Record;
use lead::{Leader, Outliving};
use lookup::{Asking, Identity, Looked, Lookup, Purpose, Standing};
use outgoing::Source;
use routing::Routed;
use settle::Settled;

pub use hop::Via;
pub use receive::Connection;

/// The data plane's one entrance, shared by all workers.
pub struct Proxy {
    pub live: Arc<Live>,
    pub current: ArcSwap<Gateway>,
    pub via: Via,
}

impl Proxy {
    /// Takes one request to its answer. Dropping the future (the client hung up) cancels the upstream call,
    /// unless others wait for what it answers, and still emits the access event.
    pub async fn handle(
        self: Arc<Self>,
        connection: Connection,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let gateway = self.current.load_full();
        let (head, body) = request.into_parts();
        let head = Arc::new(head);
        let client = receive::client_address(&gateway, &head.headers, connection.peer);
        let now_ms = now_ms();
        let request_id = receive::request_id(&head.headers, now_ms);
        let telemetry = &self.live.telemetry;
        let mut record = Record::begin(telemetry, &head, request_id, client, gateway.number, now_ms);
        let mut found = Findings::default();
        let outcome = self.answer(&gateway, connection, &head, body, &mut record, &mut found).await;
        let outcome = match outcome {
            Ok(Answer::Ready(response)) => Ok(response),
            Err(problem) => Err(problem),
            Ok(Answer::Led(route, standing, followers)) => {
                let leader = Leader { proxy: self, gateway, connection, head, route, found, record };
                return Outliving::new(leader.run(standing), followers).await;
            }
        };
        deliver(&gateway, connection, &head, record, found, outcome)
    }

    /// The answer to what never became a request: a refused head, a panic, a connection over the limit.
    pub fn refuse(&self, connection: Connection, problem: Problem) -> Response<Body> {
        let gateway = self.current.load_full();
        shape::refuse_unrouted(&gateway, &self.live.telemetry, connection, problem)
    }

    /// The steps up to the answer, or to the refusal; a request that leads goes on by itself from Forward.
    async fn answer(
        self: &Arc<Self>,
        gateway: &Arc<Gateway>,
        connection: Connection,
        head: &Parts,
        body: Incoming,
        record: &mut Record,
        found: &mut Findings,
    ) -> Result<Answer, Problem> {
        let target = receive::receive(head, &self.via)?;
        record.enter(Step::Route);
        let host = receive::normal_host(head)?;
        let route = match routing::find(gateway, &host, head, &target)? {
            Routed::Route(route) => route,
            Routed::Pages(pages) => {
                return page(pages, head, &target, record, found).await.map(Answer::Ready);
            }
        };
        record.routed(&route);
        routing::admit(&route, head, &target)?;

        record.enter(Step::Guard);
        let asks = (record.client, record.now_ms());
        let query = target.query.as_deref();
        if let Some(response) = guard::guard(&route.policies, &head.headers, query, asks, found).await? {
            return Ok(Answer::Ready(response));
        }
        record.caller(found);

        record.enter(Step::Lookup);
        let head = &*lookup::normalised(head, &route);
        let identity = Identity::of(&host, &target, found, &route, (gateway, connection));
        let body = Some(body).filter(|body| !body.is_end_stream());
        let asked = Asking { now_ms: record.now_ms(), purpose: Purpose::Answer, has_body: body.is_some() };
        let looked =
            lookup::lookup(&self.live, &route, head, &target, &identity, asked, &mut record.cache).await?;
        let lookup = match looked {
            Looked::Answered(response) => {
                self.refund(found);
                return Ok(Answer::Ready(response));
            }
            Looked::Renewing(response) => {
                self.refund(found);
                renew::renew(self, gateway, connection, head, &route, found);
                return Ok(Answer::Ready(response));
            }
            Looked::Leading(standing, followers) => return Ok(Answer::Led(route, standing, followers)),
            Looked::Unanswered(lookup) => lookup,
        };

        let (via, target, query) = (&self.via, &target, identity.query.as_deref());
        let source = Source { via, gateway, connection, route: &route, head, target, query, found };
        fetch(&source, lookup, body, record).await.map(Answer::Ready)
    }

    /// Gives calls back that do not count when the cache answers.
    fn refund(&self, found: &Findings) {
        if !found.refund_on_hit.is_empty() {
            self.live.limiters.give_back(&found.refund_on_hit, self.live.limiters.now());
        }
    }
}

/// How far [`Proxy::answer`] came.
enum Answer {
    Ready(Response<Body>),
    /// Others wait for what the upstream answers.
    Led(Arc<Route>, Standing, Followers),
}

/// Forward and Store: asks the upstream, a second time where it confirmed something that is not stored.
async fn fetch(
    from: &Source<'_>,
    mut lookup: Lookup<'_>,
    mut body: Option<Incoming>,
    record: &mut Record,
) -> Result<Response<Body>, Problem> {
    loop {
        record.enter(Step::Forward);
        let outgoing = |endpoint: &_| outgoing::outgoing(from, &lookup, &record.request_id, endpoint);
        let answer = forward::forward(from.route, from.connection.worker, body.take(), outgoing).await;
        record.forwarded(&answer);
        match lookup.settle(answer, from.via, &mut record.cache).await? {
            Settled::Answer(response) => return Ok(response),
            Settled::Again(without_conditions) => lookup = *without_conditions,
        }
    }
}

/// Shape and Finish.
fn deliver(
    gateway: &Gateway,
    connection: Connection,
    head: &Parts,
    mut record: Box<Record>,
    found: Findings,
    outcome: Result<Response<Body>, Problem>,
) -> Response<Body> {
    record.enter(Step::Shape);
    let response = shape::shape(gateway, connection, head, &mut record, found, outcome);
    record.deliver(response)
}

/// Answers with a page of the gateway's own, to those who may see it.
async fn page(
    mounted: &MountedPages,
    head: &Parts,
    target: &Target<'_>,
    record: &mut Record,
    found: &mut Findings,
) -> Result<Response<Body>, Problem> {
    record.enter(Step::Guard);
    let asks = (record.client, record.now_ms());
    let query = target.query.as_deref();
    if let Some(response) = guard::guard(&mounted.policies, &head.headers, query, asks, found).await? {
        return Ok(response);
    }
    mounted
        .pages
        .answer(&head.method, &target.path, &head.headers)
        .unwrap_or_else(|| Err(routing::not_found(head)))
}
