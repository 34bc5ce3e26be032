//! The documentation that the gateway serves: every API in a browsable reference, and the problem pages.
//!
//! Everything is in the binary and works offline. The reference is Scalar's, on a page of our own that
//! switches off whatever would leave the gateway's origin: request proxy, fonts, telemetry, assistants. A
//! strict Content-Security-Policy makes sure of it, and nothing is kept in the browser.
//!
//! Text of a description is never markup here: it is escaped, or read by the reference from JSON.
//! Not here: which route wins over these pages and who may see them (the spine decides), and how the
//! effective description is made (`openapi`).

mod assets;
mod page;

use std::{collections::HashSet, fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use crate::{
    exchange::Body,
    problem::{self, Problem},
};
use assets::Asset;

/// Gives the effective description as JSON; asked at most twice, when someone first wants to see it.
pub type Description = Arc<dyn Fn() -> Bytes + Send + Sync>;

/// One API as the pages show it.
#[derive(Clone)]
pub struct DocsApi {
    /// Its place in the address: `/docs/<slug>`. Brought to lower-case letters, digits, `-`, `_` and `.`, and made unique.
    pub slug: String,
    pub title: String,
    /// `info.version`.
    pub release: String,
    /// Plain text or Markdown; shown as text, shortened.
    pub summary: String,
    pub operations: usize,
    pub description: Description,
}

impl fmt::Debug for DocsApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DocsApi")
            .field("slug", &self.slug)
            .field("title", &self.title)
            .finish_non_exhaustive()
    }
}

/// The pages of one generation.
#[derive(Debug)]
pub struct Docs {
    /// `/docs`, without a slash at its end; `""` serves them at the root.
    prefix: String,
    apis: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    api: DocsApi,
    json: Asset,
}

impl Docs {
    /// The pages for `apis` under `prefix` (`/docs`).
    #[must_use]
    pub fn new(prefix: &str, apis: Vec<DocsApi>) -> Self {
        assets::warm();
        // What the pages themselves are called.
        let mut taken: HashSet<String> = ["problems", "assets"].map(String::from).into();
        let apis = apis
            .into_iter()
            .map(|mut api| {
                api.slug = unique(&api.slug, &mut taken);
                let source = Arc::clone(&api.description);
                Entry { json: Asset::new("application/json", move || source()), api }
            })
            .collect();
        Self { prefix: prefix.trim_end_matches('/').to_owned(), apis }
    }

    /// Where the index is.
    #[must_use]
    pub fn path(&self) -> &str {
        if self.prefix.is_empty() { "/" } else { &self.prefix }
    }

    /// Where each API's page is, in the order given.
    pub fn paths(&self) -> impl Iterator<Item = String> + '_ {
        self.apis.iter().map(|entry| format!("{}/{}", self.prefix, entry.api.slug))
    }

    /// Answers a request under the prefix; `None` when `path` (without query) is not of these pages' realm.
    ///
    /// A [`Problem`] is for the caller to turn into an answer: it knows the request's id.
    #[must_use]
    pub fn handle(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<Result<Response<Body>, Problem>> {
        let rest = path.strip_prefix(&self.prefix)?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        let Some(place) = self.place(rest.trim_matches('/')) else {
            let detail = "there is no documentation page at this address";
            return Some(Err(Problem::new(&problem::ROUTE_NOT_FOUND, detail)));
        };
        if method != Method::GET && method != Method::HEAD {
            let problem = Problem::new(&problem::METHOD_NOT_ALLOWED, "documentation pages are only read")
                .header(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Some(Err(problem));
        }
        let mut response = self.answer(place, headers);
        if method == Method::HEAD {
            let length = http_body::Body::size_hint(response.body()).exact();
            *response.body_mut() = Body::Empty;
            // For HEAD the length is of what GET would send (RFC 9110, section 8.6).
            if let Some(length) = length.filter(|_| response.status() == StatusCode::OK) {
                response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
        }
        Some(Ok(response))
    }

    fn place(&self, rest: &str) -> Option<Place<'_>> {
        let find = |slug: &str| self.apis.iter().find(|entry| entry.api.slug == slug);
        let (first, more) = rest.split_once('/').map_or((rest, None), |(first, more)| (first, Some(more)));
        match (first, more) {
            ("", None) => Some(Place::Index),
            ("problems", None) => Some(Place::Problems),
            ("problems", Some(slug)) => {
                problem::ALL.iter().find(|kind| kind.slug == slug).map(|kind| Place::Problem(kind))
            }
            ("assets", Some(name)) => assets::find(name).map(Place::Asset),
            (slug, None) => find(slug).map(Place::Reference),
            (slug, Some("openapi.json")) => find(slug).map(Place::Description),
            _ => None,
        }
    }

    fn answer(&self, place: Place<'_>, headers: &HeaderMap) -> Response<Body> {
        match place {
            Place::Index => match &self.apis[..] {
                [only] => redirect(&format!("{}/{}", self.prefix, only.api.slug)),
                _ => html(
                    page::index(&self.prefix, self.apis.iter().map(|entry| &entry.api)),
                    headers,
                    page::CSP,
                ),
            },
            Place::Problems => html(page::problems(&self.prefix), headers, page::CSP),
            Place::Problem(kind) => html(page::problem(&self.prefix, kind), headers, page::CSP),
            Place::Reference(entry) => {
                let several = self.apis.len() > 1;
                html(page::reference(&self.prefix, &entry.api, several), headers, page::REFERENCE_CSP)
            }
            Place::Description(entry) => finish(entry.json.respond(headers, "no-cache")),
            Place::Asset(asset) => finish(asset.respond(headers, "public, max-age=31536000, immutable")),
        }
    }
}

/// What an address under the prefix stands for.
#[derive(Clone, Copy)]
enum Place<'a> {
    Index,
    Problems,
    Problem(&'static problem::Kind),
    Reference(&'a Entry),
    Description(&'a Entry),
    Asset(&'static Asset),
}

fn html(text: String, headers: &HeaderMap, policy: &'static str) -> Response<Body> {
    let page = Asset::ready("text/html; charset=utf-8", Bytes::from(text));
    let mut response = finish(page.respond(headers, "no-cache"));
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

fn redirect(to: &str) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::FOUND;
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    finish(response)
}

/// The fields that every answer of this room carries.
fn finish(mut response: Response<Body>) -> Response<Body> {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A word for the address that nothing else has.
fn unique(wanted: &str, taken: &mut HashSet<String>) -> String {
    let mut slug = String::new();
    for c in wanted.chars().take(80) {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') => slug.push(c),
            _ if !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    // `.` and `..` are steps in a path, not names.
    let slug = slug.trim_matches(['-', '.']);
    let slug = if slug.is_empty() { "api" } else { slug };
    let candidates = std::iter::once(slug.to_owned()).chain((2..).map(|n| format!("{slug}-{n}")));
    let free = candidates.into_iter().find(|name| !taken.contains(name)).expect("invariant: endless");
    taken.insert(free.clone());
    free
}

#[cfg(test)]
mod tests;
