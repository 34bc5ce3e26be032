//! Bytes with a type, an entity tag and a compressed form, and the files that the pages load.
//!
//! Compression happens once per process, at the first request or shortly after start, whichever is first.

use std::{
    io::Write,
    sync::{Once, OnceLock},
    thread,
    time::Duration,
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::exchange::Body;

const BOOT: &str = include_str!("assets/boot.js");
const STYLE: &str = include_str!("assets/style.css");
/// Larger texts are compressed quickly rather than well: a worker does it, once.
const LARGE: usize = 1024 * 1024;

/// A text that is served in two codings.
pub(super) struct Asset {
    content_type: &'static str,
    source: Box<dyn Fn() -> Bytes + Send + Sync>,
    /// Each coding with its entity tag, made when it is first asked for.
    plain: OnceLock<(Bytes, HeaderValue)>,
    gzip: OnceLock<(Bytes, HeaderValue)>,
}

impl std::fmt::Debug for Asset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asset").field("content_type", &self.content_type).finish_non_exhaustive()
    }
}

impl Asset {
    pub(super) fn new(
        content_type: &'static str,
        source: impl Fn() -> Bytes + Send + Sync + 'static,
    ) -> Self {
        Self { content_type, source: Box::new(source), plain: OnceLock::new(), gzip: OnceLock::new() }
    }

    pub(super) fn ready(content_type: &'static str, bytes: Bytes) -> Self {
        Self::new(content_type, move || bytes.clone())
    }

    fn plain(&self) -> &(Bytes, HeaderValue) {
        self.plain.get_or_init(|| {
            let bytes = (self.source)();
            let tag = tag(&bytes, "");
            (bytes, tag)
        })
    }

    fn gzip(&self) -> &(Bytes, HeaderValue) {
        self.gzip.get_or_init(|| {
            // The plain form is not kept for this: most browsers never ask for it.
            let plain = (self.source)();
            let level = if plain.len() > LARGE { Compression::new(4) } else { Compression::default() };
            let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), level);
            encoder.write_all(&plain).expect("invariant: writing to memory does not fail");
            let bytes = encoder.finish().expect("invariant: writing to memory does not fail");
            (Bytes::from(bytes), tag(&plain, "-gz"))
        })
    }

    /// 200 or 304 in the coding that the client takes.
    pub(super) fn respond(&self, headers: &HeaderMap, cache_control: &'static str) -> Response<Body> {
        let gzip = takes_gzip(headers);
        let (bytes, tag) = if gzip { self.gzip() } else { self.plain() };
        let fresh = headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|have| have.trim().trim_start_matches("W/"))
            .any(|have| have == "*" || have.as_bytes() == tag.as_bytes());
        let mut response = Response::new(if fresh { Body::Empty } else { Body::from(bytes.clone()) });
        let fields = response.headers_mut();
        fields.insert(header::ETAG, tag.clone());
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache_control));
        fields.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        if fresh {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if gzip {
            fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// One of the files that pages load, by the name that [`address`] gave out.
pub(super) fn find(name: &str) -> Option<&'static Asset> {
    let (version, file) = name.split_once('/')?;
    let (asset, _) = files().iter().zip(NAMES).find(|(_, known)| *known == file)?;
    // An old version's address must not serve new bytes: they would be kept for a year.
    (version == asset.version).then_some(&asset.asset)
}

/// Where a page loads a file from: the address changes with the content, so it may be kept for ever.
pub(super) fn address(prefix: &str, file: &str) -> String {
    let index = NAMES.iter().position(|name| *name == file).expect("invariant: one of NAMES");
    format!("{prefix}/assets/{}/{file}", files()[index].version)
}

/// Compresses the large script in the background, so that no request has to; not at once, since start-up
/// has better use for the cores.
pub(super) fn warm() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = thread::Builder::new().name("docs-warm".into()).spawn(|| {
            thread::sleep(Duration::from_secs(1));
            for file in files() {
                file.asset.gzip();
            }
        });
    });
}

const NAMES: [&str; 3] = ["scalar.js", "boot.js", "style.css"];

struct File {
    version: String,
    asset: Asset,
}

fn files() -> &'static [File; 3] {
    static FILES: OnceLock<[File; 3]> = OnceLock::new();
    FILES.get_or_init(|| {
        NAMES.map(|name| {
            let content_type = if name.ends_with(".css") {
                "text/css; charset=utf-8"
            } else {
                "text/javascript; charset=utf-8"
            };
            let version = blake3::hash(&read(name)).to_hex()[..12].to_owned();
            File { version, asset: Asset::new(content_type, move || read(name)) }
        })
    })
}

fn read(name: &str) -> Bytes {
    match name {
        "boot.js" => Bytes::from_static(BOOT.as_bytes()),
        "style.css" => Bytes::from_static(STYLE.as_bytes()),
        // A release build holds it in the binary; it is copied once per coding.
        _ => Bytes::from(scalar_api_reference::get_asset(name).unwrap_or_default()),
    }
}

fn tag(bytes: &[u8], coding: &str) -> HeaderValue {
    let text = format!("\"{}{coding}\"", &blake3::hash(bytes).to_hex()[..20]);
    HeaderValue::try_from(text).expect("invariant: hexadecimal in quotes")
}

/// Whether `Accept-Encoding` allows gzip (RFC 9110, section 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING);
    let codings = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut any = false;
    for coding in codings {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let refused = parts.any(|part| {
            part.strip_prefix("q=").is_some_and(|q| q.trim().parse::<f32>().is_ok_and(|q| q <= 0.0))
        });
        if name.eq_ignore_ascii_case("gzip") {
            return !refused;
        }
        any |= name == "*" && !refused;
    }
    any
}
