//! The calls of the admin API, one handler each; their doc comments are its description.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};
use utoipa::{
    OpenApi as _,
    openapi::{
        OpenApi,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    CacheState, Control, CreatedKey, Generation, Health, Key, Listing, NewKey, Purge, Purged, Ready,
    RedisState, StoredPage, UpstreamState, Variant,
    answer::{Input, ProblemDocument, Query, Refusal, change},
    stored::Address,
};
use crate::problem::{self, Problem};

type Gateway = State<Arc<dyn Control>>;

/// What stands around the calls in the description.
pub(super) fn frame() -> OpenApi {
    let mut frame = Frame::openapi();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "The text of `admin.token` in the state directory. Calls that change something need it, and those \
             that show what is stored; off loopback every call but `/health` and `/ready` does.",
        ))
        .build();
    frame
        .components
        .get_or_insert_default()
        .security_schemes
        .insert("token".to_owned(), SecurityScheme::Http(bearer).into());
    frame
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Gatewright admin API",
        description = "Watches and steers one running gateway. Refusals are problem documents (RFC 9457).",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "http://127.0.0.1:9901", description = "the default admin listener")),
    tags(
        (name = "state", description = "What the gateway is and does"),
        (name = "keys", description = "API keys of consumers"),
        (name = "cache", description = "The cache and its removal of answers"),
        (name = "configuration", description = "Generations of the configuration"),
    )
)]
struct Frame;

/// That the process lives
///
/// Answers 200 as long as the process runs, also while it is leaving.
#[utoipa::path(get, path = "/health", tag = "state", responses((status = 200, body = Health, description = "alive")))]
pub(super) async fn health(State(gateway): Gateway) -> Json<Health> {
    Json(gateway.health())
}

/// Whether requests should be sent here
///
/// Turns to 503 with the first stop signal, while requests are still served, so that balancers go elsewhere.
#[utoipa::path(get, path = "/ready", tag = "state", responses(
    (status = 200, body = Ready, description = "send requests"),
    (status = 503, body = Ready, description = "send no more")))]
pub(super) async fn ready(State(gateway): Gateway) -> (StatusCode, Json<Ready>) {
    let ready = gateway.ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready }))
}

/// Metrics for Prometheus
///
/// OpenMetrics 1.0 when `Accept` names it, else the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "state", security(("token" = []), ()),
    responses((status = 200, body = String, content_type = "text/plain", description = "all metrics")))]
pub(super) async fn metrics(State(gateway): Gateway, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let exposition = gateway.metrics().expose(accept);
    ([(header::CONTENT_TYPE, exposition.content_type)], exposition.text)
}

/// Generations of the configuration, the newest first
#[utoipa::path(get, path = "/generations", tag = "configuration", security(("token" = []), ()),
    responses((status = 200, body = Vec<Generation>, description = "those in use and recent ones")))]
pub(super) async fn generations(State(gateway): Gateway) -> Json<Vec<Generation>> {
    Json(gateway.generations())
}

/// Read the configuration again
///
/// Compiles a new generation from the files and swaps it in. With errors nothing changes and the answer
/// lists them.
#[utoipa::path(post, path = "/config/reload", tag = "configuration", security(("token" = [])), responses(
    (status = 200, body = Generation, description = "the generation that serves now"),
    (status = 401, body = ProblemDocument, description = "the token is missing or wrong", content_type = "application/problem+json"),
    (status = 422, body = ProblemDocument, description = "the configuration has errors", content_type = "application/problem+json")))]
pub(super) async fn reload(State(gateway): Gateway) -> Result<(StatusCode, Json<Generation>), Refusal> {
    change(StatusCode::OK, move || gateway.reload()).await
}

/// All keys, revoked ones included
#[utoipa::path(get, path = "/keys", tag = "keys", security(("token" = []), ()),
    responses((status = 200, body = Vec<Key>, description = "the keys without their secrets")))]
pub(super) async fn keys(State(gateway): Gateway) -> Json<Vec<Key>> {
    Json(gateway.keys())
}

/// Make a key for a consumer
///
/// The secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/keys", tag = "keys", security(("token" = [])), request_body = NewKey, responses(
    (status = 201, body = CreatedKey, description = "the key and its secret"),
    (status = 401, body = ProblemDocument, description = "the token is missing or wrong", content_type = "application/problem+json"),
    (status = 422, body = ProblemDocument, description = "no key can be made so", content_type = "application/problem+json")))]
pub(super) async fn add_key(
    State(gateway): Gateway,
    Input(new): Input<NewKey>,
) -> Result<(StatusCode, Json<CreatedKey>), Refusal> {
    change(StatusCode::CREATED, move || gateway.add_key(&new)).await
}

/// Revoke a key
///
/// Takes effect at once.
#[utoipa::path(delete, path = "/keys/{id}", tag = "keys", security(("token" = [])),
    params(("id" = String, Path, description = "the key's id, or how it alone begins")), responses(
    (status = 200, body = Key, description = "the revoked key"),
    (status = 401, body = ProblemDocument, description = "the token is missing or wrong", content_type = "application/problem+json"),
    (status = 422, body = ProblemDocument, description = "no key or several keys are meant", content_type = "application/problem+json")))]
pub(super) async fn revoke_key(
    State(gateway): Gateway,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Key>), Refusal> {
    change(StatusCode::OK, move || gateway.revoke_key(&id)).await
}

/// Upstreams and how their endpoints are
#[utoipa::path(get, path = "/upstreams", tag = "state", security(("token" = []), ()),
    responses((status = 200, body = Vec<UpstreamState>, description = "all upstreams")))]
pub(super) async fn upstreams(State(gateway): Gateway) -> Json<Vec<UpstreamState>> {
    Json(gateway.upstreams())
}

/// How the cache is and what it did
#[utoipa::path(get, path = "/cache", tag = "cache", security(("token" = []), ()),
    responses((status = 200, body = CacheState, description = "its present state")))]
pub(super) async fn cache(State(gateway): Gateway) -> Json<CacheState> {
    Json(gateway.cache())
}

/// The Redis that several gateways share
#[utoipa::path(get, path = "/redis", tag = "state", security(("token" = []), ()),
    responses((status = 200, body = RedisState, description = "its present state")))]
pub(super) async fn redis(State(gateway): Gateway) -> Json<RedisState> {
    Json(gateway.redis())
}

/// Stored answers, a page at a time
#[utoipa::path(get, path = "/cache/entries", tag = "cache", security(("token" = [])), params(Listing), responses(
    (status = 200, body = StoredPage, description = "a page; `next` leads to the one after it"),
    (status = 401, body = ProblemDocument, description = "the token is missing or wrong", content_type = "application/problem+json"),
    (status = 422, body = ProblemDocument, description = "nothing can be meant by it", content_type = "application/problem+json")))]
pub(super) async fn stored(
    State(gateway): Gateway,
    Query(which): Query<Listing>,
) -> Result<(StatusCode, Json<StoredPage>), Refusal> {
    change(StatusCode::OK, move || gateway.stored(&which)).await
}

/// Everything stored for one address
///
/// All variants with their stored fields, their freshness, and what would be done with them.
#[utoipa::path(get, path = "/cache/entry", tag = "cache", security(("token" = [])), params(Address), responses(
    (status = 200, body = Vec<Variant>, description = "all of it; empty when nothing is stored"),
    (status = 401, body = ProblemDocument, description = "the token is missing or wrong", content_type = "application/problem+json"),
    (status = 422, body = ProblemDocument, description = "nothing can be meant by it", content_type = "application/problem+json")))]
pub(super) async fn variants(
    State(gateway): Gateway,
    Query(address): Query<Address>,
) -> Result<(StatusCode, Json<Vec<Variant>>), Refusal> {
    change(StatusCode::OK, move || gateway.variants(&address.url)).await
}

/// Remove answers from the cache
///
/// When it answers with 200, nothing of what was meant comes back, not even after a crash.
/// With a Redis that also holds for every node that shares it. While that is away, the purge is this node's alone
/// and waits here to be passed on: then the answer is 503 `purge-incomplete`.
#[utoipa::path(post, path = "/cache/purge", tag = "cache", security(("token" = [])), request_body = Purge, responses(
    (status = 200, body = Purged, description = "how much was removed"),
    (status = 401, body = ProblemDocument, description = "the token is missing or wrong", content_type = "application/problem+json"),
    (status = 422, body = ProblemDocument, description = "nothing can be meant by it", content_type = "application/problem+json"),
    (status = 503, body = ProblemDocument, description = "only this node was purged", content_type = "application/problem+json")))]
pub(super) async fn purge(
    State(gateway): Gateway,
    Input(what): Input<Purge>,
) -> Result<(StatusCode, Json<Purged>), Refusal> {
    let (status, Json(purged)) = change(StatusCode::OK, move || gateway.purge(&what)).await?;
    let Some(why) = purged.why else { return Ok((status, Json(purged))) };
    let problem = Problem::new(&problem::PURGE_INCOMPLETE, why).member("answers", purged.answers.into());
    Err(Refusal(problem.member("reach", serde_json::json!(purged.reach))))
}

/// This description as JSON
#[utoipa::path(get, path = "/openapi.json", tag = "state", security(("token" = []), ()),
    responses((status = 200, body = serde_json::Value, description = "OpenAPI 3.1")))]
pub(super) async fn openapi_json() -> Json<OpenApi> {
    Json(super::description())
}

/// This description as YAML
#[utoipa::path(get, path = "/openapi.yaml", tag = "state", security(("token" = []), ()),
    responses((status = 200, body = String, content_type = "application/yaml", description = "OpenAPI 3.1")))]
pub(super) async fn openapi_yaml() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/yaml")], super::description_yaml())
}
