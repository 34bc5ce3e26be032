//! The running process: sockets, workers, the admin listener, signals, and the way down.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::{
    exchange::Body,
    problem::Problem,
    proxy::{Connection, Proxy},
    server::{ConnInfo, Service},
};

/// The data plane's service: every worker shares the proxy.
pub struct DataPlane(pub Arc<Proxy>);

impl Service for DataPlane {
    async fn call(self: Arc<Self>, request: Request<Incoming>, conn: Arc<ConnInfo>) -> Response<Body> {
        let connection = Connection { peer: conn.peer.ip(), worker: conn.worker, scheme: "http" };
        self.0.handle(connection, request).await
    }

    fn refuse(&self, problem: Problem, conn: &ConnInfo) -> Response<Body> {
        let connection = Connection { peer: conn.peer.ip(), worker: conn.worker, scheme: "http" };
        self.0.refuse(connection, problem)
    }
}
