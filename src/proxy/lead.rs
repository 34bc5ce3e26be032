//! A request that leads: its call goes on without its client for as long as others wait for the answer.
//!
//! Everything it needs is its own, so that it can become a task. While its client is there it is polled in
//! place, which costs one allocation; a client that goes away while nobody waits takes the call with it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{Response, request::Parts};
use tokio::runtime::Handle;

use super::{
    Proxy, deliver, fetch,
    finish::Record,
    lookup::{self, Identity, Lookup, Standing},
    outgoing::Source,
    receive::{self, Connection},
};
use crate::{
    cache::Followers,
    exchange::Body,
    gateway::{Gateway, Route},
    policy::Findings,
    problem::Problem,
};

/// One request from Forward on.
pub struct Leader {
    pub proxy: Arc<Proxy>,
    pub gateway: Arc<Gateway>,
    pub connection: Connection,
    pub head: Arc<Parts>,
    pub route: Arc<Route>,
    pub found: Findings,
    pub record: Box<Record>,
}

impl Leader {
    /// The rest of the request's life.
    pub async fn run(mut self, standing: Standing) -> Response<Body> {
        let outcome = self.fetch(standing).await;
        deliver(&self.gateway, self.connection, &self.head, self.record, self.found, outcome)
    }

    async fn fetch(&mut self, standing: Standing) -> Result<Response<Body>, Problem> {
        let Self { proxy, gateway, connection, head, route, found, record } = self;
        // Made once more: what was made from the head the first time was borrowed from it.
        let head = &*lookup::normalised(head, route);
        let target = receive::receive(head, &proxy.via)?;
        let host = receive::normal_host(head)?;
        let identity = Identity::of(&host, &target, found, route, (gateway, *connection));
        let lookup = Lookup::resume(&proxy.live, route, head, &target, &identity, standing);
        let (via, target, query, connection) = (&proxy.via, &target, identity.query.as_deref(), *connection);
        let source = Source { via, gateway, connection, route, head, target, query, found };
        fetch(&source, lookup, None, record).await
    }
}

/// A leader's call. Dropped while someone waits for its answer, it becomes a task of this worker, which ends
/// with the answer's head (its body then belongs to those who read it) or with the last of those who wait.
pub struct Outliving {
    call: Option<Pin<Box<dyn Future<Output = Response<Body>> + Send>>>,
    followers: Followers,
}

impl Outliving {
    #[must_use]
    pub fn new(call: impl Future<Output = Response<Body>> + Send + 'static, followers: Followers) -> Self {
        Self { call: Some(Box::pin(call)), followers }
    }
}

impl Future for Outliving {
    type Output = Response<Body>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<Body>> {
        let Some(call) = &mut self.call else { return Poll::Pending };
        let response = ready!(call.as_mut().poll(cx));
        self.call = None;
        Poll::Ready(response)
    }
}

impl Drop for Outliving {
    fn drop(&mut self) {
        let Some(call) = self.call.take().filter(|_| self.followers.any()) else { return };
        // A call that panicked cannot go on, and a runtime that ends takes none.
        let (false, Ok(runtime)) = (std::thread::panicking(), Handle::try_current()) else { return };
        let followers = self.followers.clone();
        runtime.spawn(async move {
            tokio::select! {
                response = call => drop(response),
                () = followers.gone() => {}
            }
        });
    }
}
