//! One request through the service: judged, counted, isolated, and told to close when it must.

use std::{
    any::Any,
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context as Task, Poll},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::{
    connection::Context,
    head2,
    refusal::Refusal,
    service::{ConnInfo, Service},
};
use crate::{
    exchange::{Body, BoxError},
    problem::{self, Problem},
};

/// One request through the service. Under HTTP/1 the stream has judged it already and counts it as active.
///
/// One function, for a future that waits in another is moved into it with all it holds.
pub(super) async fn exchange<S: Service>(
    request: Request<Incoming>,
    info: Arc<ConnInfo>,
    context: Arc<Context<S>>,
) -> Result<Response<Counted>, Infallible> {
    let number = info.state.begins();
    let http1 = request.version() < Version::HTTP_2;
    if !http1 {
        info.state.takes(1);
    }
    let active = Active(info.clone());
    let connect = request.method() == Method::CONNECT;
    let refused = if http1 { info.state.refusal(number) } else { judge(&request, &context) };
    let mut response = match refused {
        Some(refusal) => refuse(refusal, &info, &context),
        None => match call(request, &info, &context).await {
            Ok(response) => response,
            Err(panic) => panicked(&*panic, &info, &context),
        },
    };
    if http1 {
        // The body may have gone wrong meanwhile: that decides, whatever the service made of it.
        if refused.is_none()
            && let Some(refusal) = info.state.refusal(number)
        {
            response = refuse(refusal, &info, &context);
        }
        let status = response.status();
        let upgraded = status == StatusCode::SWITCHING_PROTOCOLS || (connect && status.is_success());
        info.state.answers(number, upgraded);
        if !upgraded && must_close(&info, number, &context) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
    Ok(response.map(|body| Counted { body, _active: active }))
}

/// Why an HTTP/2 request must not go on.
fn judge<S>(request: &Request<Incoming>, context: &Context<S>) -> Option<Refusal> {
    let refusal = head2::judge(request, &context.config.limits).err()?;
    context.stats.count_refusal(refusal);
    Some(refusal)
}

fn refuse<S: Service>(refusal: Refusal, info: &ConnInfo, context: &Context<S>) -> Response<Body> {
    context.service.refuse(refusal.problem(&context.config.limits), info)
}

/// Whether an HTTP/1 connection may not serve another request: the server leaves, the framing is in
/// doubt, or places are scarce and better given to those who wait than kept for one who may not come back.
fn must_close<S>(info: &ConnInfo, number: u64, context: &Context<S>) -> bool {
    let plenty = context.config.limits.connections.saturating_mul(9) / 10;
    context.drain.is_leaving()
        || info.state.refusal(number).is_some()
        || (plenty > 0 && context.stats.open() > plenty)
}

/// The service's answer, or what it panicked with.
fn call<S: Service>(
    request: Request<Incoming>,
    info: &Arc<ConnInfo>,
    context: &Context<S>,
) -> impl Future<Output = Result<Response<Body>, Box<dyn Any + Send>>> + use<S> {
    let (service, info) = (context.service.clone(), info.clone());
    AssertUnwindSafe(async move { service.call(request, info).await }).catch_unwind()
}

/// The 500 for a panic, which ends its request alone.
fn panicked<S: Service>(panic: &(dyn Any + Send), info: &ConnInfo, context: &Context<S>) -> Response<Body> {
    context.stats.count_panic();
    let cause = panic_text(panic);
    tracing::error!(cause, "a request ended in a panic");
    let problem = Problem::new(&problem::INTERNAL, "the gateway failed").cause(cause);
    context.service.refuse(problem, info)
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// Counts an exchange as in flight until its response body is gone.
struct Active(Arc<ConnInfo>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.state.ends();
    }
}

/// A response body that holds its exchange's place in the count.
pub(super) struct Counted {
    body: Body,
    _active: Active,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(task)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
