//! Runs a row against the library under a clock of its own: no socket, no waiting. What the spine does with
//! look-ups and answers is done here the same way; that the spine does it is for the rows between sockets to show.

use std::{
    cell::Cell,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use gatewright::cache::{
    Cache, CacheConfig, CacheRequest, Hit, Lookup, Mend, Mended, NoStore, RequestDirectiveMode,
    RouteCacheOptions, SetCookie, Times, status,
};
use gatewright::exchange::BoxError;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;

use crate::table::{self, Answer, Case, Exchange, Fields, Outcome, Seen, Step};

/// Tue, 14 Nov 2023 22:13:20 GMT.
const START_MS: u64 = 1_700_000_000_000;
const HOST: &str = "a.test";
const ORIGIN: &str = "http://a.test";

/// Runs a row; what is wrong with what became of it.
pub fn run(case: &Case) -> Option<String> {
    let (cache, _) = Cache::open(&CacheConfig { memory_bytes: 1 << 20, ..CacheConfig::default() });
    let world = World { cache, options: options(&case.with), now_ms: Cell::new(START_MS) };
    let mut number = 0;
    for step in &case.steps {
        match step {
            Step::Wait(ms) => world.pass(*ms),
            Step::Exchange(exchange) => {
                number += 1;
                let seen = world.exchange(exchange, number);
                if let Some(fault) = table::fault(exchange, &seen, |_| false) {
                    return Some(format!("exchange {number}: {fault}"));
                }
            }
        }
    }
    None
}

struct World {
    cache: Cache,
    options: RouteCacheOptions,
    now_ms: Cell<u64>,
}

/// A request of the row with what belongs to it.
struct Asking<'a> {
    row: &'a Exchange,
    number: usize,
    method: Method,
    headers: HeaderMap,
}

/// What came of asking the origin.
struct Asked {
    response: Response<Bytes>,
    outcome: Outcome,
    sent: HeaderMap,
}

impl World {
    fn exchange(&self, row: &Exchange, number: usize) -> Seen {
        let method = Method::from_bytes(row.method.as_bytes()).unwrap();
        let asking = Asking { row, number, method, headers: map(&self.filled(&row.fields)) };
        let request = self.request(&asking);
        let lookup = now(self.cache.lookup(&request));
        let why = status::Forwarded::of(&lookup);
        let (response, outcome, sent) = match lookup {
            Lookup::Fresh(hit) => (whole(hit.respond(&request)), Outcome::Hit, None),
            Lookup::Revalidating(hit, claimed) => {
                let response = whole(hit.respond(&request));
                if claimed {
                    self.renew(&asking);
                }
                (response, Outcome::Stale, None)
            }
            Lookup::NotCached => (refusal(504), Outcome::Refused, None),
            Lookup::Stale(hit, _) => {
                let asked = self.forward(&asking, why, Some(hit));
                (asked.response, asked.outcome, Some(asked.sent))
            }
            Lookup::Partial(mend) => {
                let asked = self.complete(&asking, why, *mend);
                (asked.response, asked.outcome, Some(asked.sent))
            }
            Lookup::Miss(_) | Lookup::Bypass(_) => {
                let asked = self.forward(&asking, why, None);
                (asked.response, asked.outcome, Some(asked.sent))
            }
        };
        let outcome = match outcome {
            // A hit that says of itself that it is stale is one, as far as the origin can tell.
            Outcome::Stale if sent.is_none() => Outcome::Hit,
            outcome => outcome,
        };
        Seen {
            outcome,
            answer: answer_of(&response),
            status: response.status().as_u16(),
            fields: listed(response.headers()),
            at_origin: sent.as_ref().map(listed),
        }
    }

    /// Asks the origin, with the conditions of what is stored if there is something.
    fn forward(&self, asking: &Asking<'_>, why: Option<status::Forwarded>, stale: Option<Hit>) -> Asked {
        let mut sent = asking.headers.clone();
        if let Some(hit) = &stale {
            condition(&mut sent, hit, &asking.headers);
        }
        let sent_ms = self.now_ms.get();
        self.pass(asking.row.answer.delay_ms);
        let times = Times { sent_ms, received_ms: self.now_ms.get() };
        let request = CacheRequest { now_ms: sent_ms, ..self.request(asking) };
        let moment = self.cache.moment();
        let done = |response, outcome| Asked { response, outcome, sent: sent.clone() };
        let Some(response) = self.origin(asking, &sent) else {
            let stood_in = stale.and_then(|hit| hit.on_error(&request).ok());
            return match stood_in {
                Some(hit) => done(whole(hit.respond(&request)), Outcome::Stale),
                None => done(refusal(502), Outcome::Refused),
            };
        };
        if let Some(hit) = stale {
            let not_modified = response.status() == StatusCode::NOT_MODIFIED;
            if not_modified && !hit.leaves_to_client(&asking.headers, response.headers()) {
                return match self.cache.refresh(&request, hit, response.headers(), times) {
                    Some(hit) => done(whole(hit.respond(&request)), Outcome::Validated),
                    None => self.forward(asking, why, None),
                };
            }
            if matches!(response.status().as_u16(), 500 | 502 | 503 | 504)
                && let Ok(hit) = hit.on_error(&request)
            {
                return done(whole(hit.respond(&request)), Outcome::Stale);
            }
        }
        let mut response = response;
        if !asking.method.is_safe() {
            now(self.cache.invalidate(&request, response.status(), response.headers()));
        }
        let stored = match why {
            Some(status::Forwarded::Bypass(_)) | None => None,
            Some(_) => Some(self.store(asking, &request, &response, times, moment)),
        };
        if let Some(why) = why {
            let said = status::forwarded(why, response.status(), stored, false, None);
            response.headers_mut().append(status::CACHE_STATUS, said);
        }
        done(response, Outcome::Forwarded)
    }

    /// Asks the origin for what is missing in the stored parts.
    fn complete(&self, asking: &Asking<'_>, why: Option<status::Forwarded>, mend: Mend) -> Asked {
        let mut sent = asking.headers.clone();
        sent.extend(mend.fields().map(|(name, value)| (Some(name), value)));
        let sent_ms = self.now_ms.get();
        self.pass(asking.row.answer.delay_ms);
        let times = Times { sent_ms, received_ms: self.now_ms.get() };
        let request = CacheRequest { now_ms: sent_ms, ..self.request(asking) };
        let Some(response) = self.origin(asking, &sent) else {
            return Asked { response: refusal(502), outcome: Outcome::Refused, sent };
        };
        match self.cache.mend(&request, mend, response.status(), response.headers(), times) {
            Mended::Rest(rest) => {
                let arriving = Arriving::of(response.body(), asking.row.answer.cut);
                let response = whole(rest.respond(&request, Box::pin(arriving)));
                Asked { response, outcome: Outcome::Forwarded, sent }
            }
            Mended::Own | Mended::Again => self.forward(asking, why, None),
        }
    }

    fn store(
        &self,
        asking: &Asking<'_>,
        request: &CacheRequest<'_>,
        response: &Response<Bytes>,
        times: Times,
        moment: gatewright::cache::Moment,
    ) -> Result<(), NoStore> {
        let fill = self.cache.admit(request, response.status(), response.headers(), times, moment)?;
        let arriving = Arriving::of(response.body(), asking.row.answer.cut);
        let read = now(fill.through(Box::pin(arriving)).collect());
        assert_eq!(read.is_err(), asking.row.answer.cut);
        Ok(())
    }

    /// The renewal beside a stale answer (RFC 5861, section 3).
    fn renew(&self, asking: &Asking<'_>) {
        let mut headers = asking.headers.clone();
        for name in [header::RANGE, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::CACHE_CONTROL] {
            headers.remove(name);
        }
        let renewal = Asking { row: asking.row, number: asking.number, method: Method::GET, headers };
        let Lookup::Revalidating(hit, _) = now(self.cache.lookup(&self.request(&renewal))) else { return };
        let why = status::Forwarded::Validate(gatewright::cache::Validate::Stale);
        self.forward(&renewal, Some(why), Some(hit));
    }

    /// The origin's answer to a request with these fields.
    fn origin(&self, asking: &Asking<'_>, sent: &HeaderMap) -> Option<Response<Bytes>> {
        let Answer { status, fields, .. } = &asking.row.answer;
        let conditional =
            sent.contains_key(header::IF_NONE_MATCH) || sent.contains_key(header::IF_MODIFIED_SINCE);
        let status = match (*status)? {
            304 if !conditional => 200,
            status => status,
        };
        let empty = status == 304 || status == 204 || asking.method == Method::HEAD;
        let body = if empty { String::new() } else { format!("answer {}", asking.number) };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        *response.headers_mut() = map(&self.filled(fields));
        if status != 304 {
            response.headers_mut().insert("x-answer", HeaderValue::from(asking.number));
        }
        let framed = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
        if !matches!(status, 204 | 304) && !framed.iter().any(|name| response.headers().contains_key(name)) {
            let length = format!("answer {}", asking.number).len();
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        Some(response)
    }

    fn request<'a>(&'a self, asking: &'a Asking<'_>) -> CacheRequest<'a> {
        let target = asking.row.target.as_str();
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        CacheRequest {
            method: &asking.method,
            host: HOST,
            path,
            query,
            headers: &asking.headers,
            partition: None,
            scheme: "http",
            from_trusted: false,
            options: &self.options,
            now_ms: self.now_ms.get(),
        }
    }

    fn pass(&self, ms: u64) {
        self.now_ms.set(self.now_ms.get() + ms);
    }

    fn filled(&self, fields: &Fields) -> Fields {
        let fill = |value: &str| table::filled(value, self.now_ms.get(), "", ORIGIN);
        fields.iter().map(|(name, value)| (name.clone(), fill(value))).collect()
    }
}

fn condition(sent: &mut HeaderMap, hit: &Hit, asked: &HeaderMap) {
    let conditions = hit.conditions(asked);
    if conditions.is_empty() {
        return;
    }
    for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::RANGE, header::IF_RANGE] {
        sent.remove(name);
    }
    for (name, value) in conditions {
        sent.insert(name, value);
    }
}

/// The settings of a row as the configuration makes them.
fn options(with: &Fields) -> RouteCacheOptions {
    let mut options = RouteCacheOptions::default();
    for (name, value) in with {
        let ms = || value.parse::<u64>().unwrap() * 1000;
        match name.as_str() {
            "heuristic" => options.heuristic = true,
            "ttl" => options.ttl_ms = Some(ms()),
            "default_ttl" => options.default_ttl_ms = Some(ms()),
            "grace" => options.grace_ms = ms(),
            "reload_interval" => options.busting_floor_ms = ms(),
            "request_directives" => options.request_directives = RequestDirectiveMode::Ignore,
            "surrogate_control" => options.surrogate_control = true,
            "shared" => options.shared = true,
            "targeted" => options.targets = Arc::new([HeaderName::try_from(value).unwrap()]),
            "set_cookie" => {
                options.set_cookie = if value == "keep" { SetCookie::Keep } else { SetCookie::Refuse };
            }
            other => panic!("no setting: {other}"),
        }
    }
    options
}

fn map(fields: &Fields) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::try_from(name.as_str()).unwrap(), value.parse().unwrap());
    }
    headers
}

/// The fields but for the key in `Cache-Status`, which is another in each cache.
fn listed(headers: &HeaderMap) -> Fields {
    let text = |value: &HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        text.split_once("; key=").map_or(text.clone(), |(before, _)| before.to_owned())
    };
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn answer_of(response: &Response<Bytes>) -> Option<usize> {
    let body = std::str::from_utf8(response.body()).ok().and_then(|text| text.strip_prefix("answer "));
    let field = || response.headers().get("x-answer").and_then(|value| value.to_str().ok());
    body.or_else(field)?.parse().ok()
}

fn refusal(status: u16) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// The origin's body on its way.
struct Arriving {
    data: Option<Bytes>,
    /// It breaks off.
    cut: bool,
}

impl Arriving {
    fn of(body: &Bytes, cut: bool) -> Self {
        let comes = if cut { body.len() / 2 } else { body.len() };
        Self { data: Some(body.slice(..comes)), cut }
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(match self.data.take() {
            Some(data) => Some(Ok(Frame::data(data))),
            None => self.cut.then(|| Err("the connection was cut".into())),
        })
    }
}

fn whole(response: Response<gatewright::exchange::Body>) -> Response<Bytes> {
    let (head, body) = response.into_parts();
    Response::from_parts(head, now(body.collect()).unwrap().to_bytes())
}

/// What is ready when first asked: nothing here waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}
