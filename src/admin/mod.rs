//! The admin listener's API: health, metrics, keys, generations, upstreams, cache, reload.
//!
//! What is known and done comes through [`Control`], which the composition implements; this room owns the
//! HTTP side: who may ask (`guard`), the calls and their description. The description is generated from the
//! handlers, committed as `openapi/admin.yaml` and served at `/openapi.json` and `/openapi.yaml`.
//!
//! Not here: accepting connections and their timeouts. The server must put the peer's address into each
//! request as `ConnectInfo<SocketAddr>`; without it a caller counts as a stranger.

mod answer;
mod calls;
mod control;
mod guard;
mod nodes;
mod stored;
mod token;
mod yaml;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderValue, header},
    middleware,
    response::Response,
};
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use control::{
    Control, CreatedKey, Endpoint, Generation, Health, Key, NewKey, Ready, Status, UpstreamState,
};
pub use guard::Access;
pub use nodes::{PurgeLog, Reach, RedisState, RedisStatus};
pub use stored::{
    CacheState, DiskTier, Listing, Lookups, MemoryTier, Purge, PurgeCounts, Purged, Stored, StoredPage,
    Stores, Variant,
};
pub use token::Token;

use crate::problem;
use answer::Refusal;

/// No call takes more than a few fields.
const MAX_BODY: usize = 64 * 1024;

type Calls = OpenApiRouter<Arc<dyn Control>>;

/// The router of the admin listener.
pub fn router(control: Arc<dyn Control>, access: Access) -> Router {
    let (open, guarded) = parts();
    let (open, _) = open.split_for_parts();
    let (guarded, _) = guarded.split_for_parts();
    let access = Arc::new(access);
    // From the inside out: probes are exempt from quota and token, and nothing is exempt from the host check.
    let guarded = guarded
        .fallback(async || Refusal::new(&problem::ROUTE_NOT_FOUND, "`/openapi.json` lists what there is"))
        .method_not_allowed_fallback(async || {
            Refusal::new(&problem::METHOD_NOT_ALLOWED, "`/openapi.json` lists what there is")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&access), guard::token))
        .layer(guard::quota());
    open.method_not_allowed_fallback(async || {
        Refusal::new(&problem::METHOD_NOT_ALLOWED, "a probe only reads")
    })
    .merge(guarded)
    .layer(DefaultBodyLimit::max(MAX_BODY))
    .layer(middleware::from_fn_with_state(access, guard::host))
    .layer(middleware::map_response(fields))
    .with_state(control)
}

/// The description of this API.
#[must_use]
pub fn description() -> OpenApi {
    let (open, guarded) = parts();
    let (_, open) = open.split_for_parts();
    let (_, guarded) = guarded.split_for_parts();
    let mut whole = calls::frame();
    whole.merge(open);
    whole.merge(guarded);
    whole
}

/// The description as YAML, the text of `openapi/admin.yaml`.
#[must_use]
pub fn description_yaml() -> String {
    let value = serde_json::to_value(description()).expect("invariant: a description is JSON");
    format!(
        "# Generated from src/admin. `UPDATE=1 cargo test admin` writes it again.\n{}",
        yaml::text(&value)
    )
}

/// Probes, and everything else.
fn parts() -> (Calls, Calls) {
    let open = OpenApiRouter::new().routes(routes!(calls::health)).routes(routes!(calls::ready));
    let guarded = OpenApiRouter::new()
        .routes(routes!(calls::metrics))
        .routes(routes!(calls::generations))
        .routes(routes!(calls::reload))
        .routes(routes!(calls::keys, calls::add_key))
        .routes(routes!(calls::revoke_key))
        .routes(routes!(calls::upstreams))
        .routes(routes!(calls::cache))
        .routes(routes!(calls::redis))
        .routes(routes!(calls::stored))
        .routes(routes!(calls::variants))
        .routes(routes!(calls::purge))
        .routes(routes!(calls::openapi_json))
        .routes(routes!(calls::openapi_yaml));
    (open, guarded)
}

async fn fields(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests;
