//! Answers of the admin API: JSON, and refusals as problem documents.

use axum::{
    Json,
    body::Body,
    extract::{FromRequest, FromRequestParts, Request},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;

use super::MAX_BODY;
use crate::{
    diagnostic::{self, Diagnostic},
    exchange::{RequestId, now_ms},
    problem::{self, Kind, Problem},
};

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) Problem);

impl Refusal {
    pub(super) fn new(kind: &'static Kind, detail: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self(Problem::new(kind, detail))
    }

    /// A change that was not made, with everything that was found.
    pub(super) fn findings(diagnostics: &[Diagnostic]) -> Self {
        let detail = diagnostics
            .iter()
            .find(|d| d.is_error())
            .map_or_else(|| "the change was refused".to_owned(), |d| d.title.clone());
        let list = diagnostic::render::json(diagnostics)["diagnostics"].take();
        Self(Problem::new(&problem::CHANGE_REFUSED, detail).member("diagnostics", list))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut random = [0; 16];
        // Without randomness the id is still unique enough to find by its time.
        let _ = getrandom::fill(&mut random);
        let id = RequestId::generate(now_ms(), u128::from_ne_bytes(random));
        self.0.into_response("urn:gatewright:problem:", id.as_str()).map(Body::new)
    }
}

/// A refusal (RFC 9457).
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "the writer is `Problem::into_response`; this is its schema")]
pub(super) struct ProblemDocument {
    #[schema(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    detail: String,
    instance: String,
    /// The stable word of this type of problem.
    code: String,
    request_id: String,
    /// What was found, with file, line and help, where a change was refused.
    diagnostics: Option<Vec<serde_json::Value>>,
}

/// A JSON body; what is wrong with it becomes a problem document.
pub(super) struct Input<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Input<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let json = request.headers().get(header::CONTENT_TYPE).is_some_and(|value| {
            value.to_str().is_ok_and(|text| {
                let essence = text.split(';').next().unwrap_or_default().trim();
                essence.eq_ignore_ascii_case("application/json")
            })
        });
        if !json {
            return Err(Refusal::new(
                &problem::MEDIA_TYPE_UNSUPPORTED,
                "send `Content-Type: application/json`",
            ));
        }
        let bytes = axum::body::to_bytes(request.into_body(), MAX_BODY).await.map_err(|_| {
            Refusal::new(&problem::BODY_TOO_LARGE, format!("at most {MAX_BODY} bytes are taken"))
        })?;
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            Refusal::new(&problem::MALFORMED_REQUEST, format!("the body is not right: {error}"))
        })?;
        Ok(Self(value))
    }
}

/// The query as fields; what is wrong with it becomes a problem document.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(error) => {
                let why = format!("the query is not right: {}", error.body_text());
                Err(Refusal::new(&problem::MALFORMED_REQUEST, why))
            }
        }
    }
}

/// Runs what may block away from the worker, and turns a refusal into its document.
pub(super) async fn change<T: serde::Serialize + Send + 'static>(
    status: StatusCode,
    work: impl FnOnce() -> Result<T, Vec<Diagnostic>> + Send + 'static,
) -> Result<(StatusCode, Json<T>), Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok((status, Json(value))),
        Ok(Err(diagnostics)) => Err(Refusal::findings(&diagnostics)),
        Err(error) => Err(Refusal(Problem::new(&problem::INTERNAL, "the call failed").cause(error))),
    }
}
