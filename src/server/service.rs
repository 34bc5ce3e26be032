//! What stands behind the server: one [`Service`] per worker, and what it learns of the connection.

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc};

use axum::extract::ConnectInfo;
use http::{Request, Response};
use hyper::body::Incoming;
use tower::ServiceExt as _;

use super::state::State;
use crate::{
    exchange::{Body, RequestId, now_ms},
    problem::Problem,
};

/// One client connection, as far as a request may know it. Shared by all its requests.
#[derive(Debug)]
pub struct ConnInfo {
    /// The socket's other end: a client, or a proxy before it.
    pub peer: SocketAddr,
    /// The address the client reached.
    pub local: SocketAddr,
    /// The worker that serves the connection; 0 on the control plane.
    pub worker: usize,
    pub(super) state: State,
}

/// Answers requests. One instance serves one worker, so it may hold clients of that worker's runtime.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. A panic inside ends this request alone, with 500.
    ///
    /// When the client sends a body whose framing cannot be trusted, the body ends with an error whose
    /// source is an [`std::io::Error`] of kind `InvalidData`; the client is answered 400 whatever the service says.
    fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
        conn: Arc<ConnInfo>,
    ) -> impl Future<Output = Response<Body>> + Send + 'static;

    /// Writes the answer to a request that never reached [`Service::call`] or did not come back from it:
    /// a refused head, a panic, a connection over the limit.
    fn refuse(&self, problem: Problem, _conn: &ConnInfo) -> Response<Body> {
        let mut random = [0; 16];
        // Without randomness the id is merely guessable.
        let _ = getrandom::fill(&mut random);
        let id = RequestId::generate(now_ms(), u128::from_ne_bytes(random));
        problem.into_response("/problems", id.as_str())
    }
}

/// A [`Service`] made of a function.
pub fn service_fn<F, R>(function: F) -> impl Service
where
    F: Fn(Request<Incoming>, Arc<ConnInfo>) -> R + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    ServiceFn(function)
}

struct ServiceFn<F>(F);

impl<F, R> Service for ServiceFn<F>
where
    F: Fn(Request<Incoming>, Arc<ConnInfo>) -> R + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
        conn: Arc<ConnInfo>,
    ) -> impl Future<Output = Response<Body>> + Send + 'static {
        (self.0)(request, conn)
    }
}

/// An axum router as a [`Service`]: the admin API. Handlers find the peer in `ConnectInfo<SocketAddr>`.
pub struct RouterService(pub axum::Router);

impl Service for RouterService {
    async fn call(self: Arc<Self>, request: Request<Incoming>, conn: Arc<ConnInfo>) -> Response<Body> {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(conn.peer));
        let answer: Result<_, Infallible> = self.0.clone().oneshot(request).await;
        match answer {
            Ok(response) => response.map(Body::stream),
            Err(never) => match never {},
        }
    }
}
