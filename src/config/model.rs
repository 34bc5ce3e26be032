//! The configuration as written: every key of `gatewright.yaml` and `x-gatewright`, with its reference.
//!
//! What a key means when it is absent stands in its comment; the compiler applies it. The comments are what
//! users read: unit, default, why.

use std::{net::SocketAddr, num::NonZeroU64, time::Duration};

use http::{HeaderName, HeaderValue, Method};

use super::{
    read::{FromNode, Reader, Spanned},
    record::{Shape, record},
    scalar::words,
    span::Node,
    value::{
        Filled, HostName, KeyPrefix, Language, Location, Many, Named, Pem, Percent, Prefix, Range, Secret,
        ServerUrl, Size, Switch, UpstreamRef,
    },
};
use crate::{
    diagnostic::suggest,
    gateway::route::EncodedSlash,
    policy::{rate_limit::Per, security::Mode},
    route::Template,
    shared::Address,
};

record! {
    default
    /// A whole `gatewright.yaml`.
    pub struct Model {
        /// Where clients are served: addresses such as `0.0.0.0:8080`. Port 0 picks a free one and prints
        /// it. Default: `127.0.0.1:8080`, this machine alone.
        many listen: Listen,
        /// The listener for health, metrics and administration, or `off`. Default: `127.0.0.1:9901`.
        optional admin: Switch<Admin>,
        /// The folder for cache, keys and the admin token, relative to this file. It is for one gateway
        /// alone. Default: one per configuration under the XDG state directory.
        optional state: Spanned<String>,
        /// Worker threads, each with its own listening sockets and upstream connections. Default: one per core.
        optional workers: Spanned<usize>,
        /// One line per request: `human` for people, `json` for programs, or `off`. Default: `human` on a
        /// terminal, else `json`.
        optional access_log: AccessLog,
        /// Where the documentation lies: a path, `off`, or a mapping. Default: `/docs`, open to all.
        optional docs: Spanned<Switch<Docs>>,
        /// Address ranges of the proxies before the gateway (`10.0.0.0/8`). Only their word about the client
        /// (`Forwarded`, `X-Forwarded-*`) is believed; from anyone else it is dropped. Default: none.
        many trusted_proxies: Range,
        /// Whether upstreams are told the client's address. APIs and routes may say otherwise. Default: `true`.
        optional forward_client_address: bool,
        /// How the gateway stops.
        optional drain: Drain,
        /// Bounds on what clients may send.
        optional limits: Limits,
        /// Bounds on time, for every route that does not set its own.
        optional timeouts: ServerTimeouts,
        /// The store for answers, shared by all APIs, or `off`.
        optional cache: Switch<Store>,
        /// The Redis that several gateways share: a purge of one reaches all. An address, or a mapping.
        /// Default: none.
        optional redis: Redis,
        /// Who calls: names for API keys and tokens, to tell them apart in limits and logs.
        many consumers: Consumer,
        /// Whose tokens (JWT) are accepted.
        many issuers: Issuer,
        /// The APIs that are served, each from its description.
        many apis: Api,
        /// Routes without a description.
        many routes: Route,
        /// Servers behind the gateway, by name.
        optional upstreams: Named<Upstream>,
    }
}

record! {
    short address
    /// An address to listen on.
    pub struct Listen {
        /// IP address and port; IPv6 in brackets.
        required address: Spanned<SocketAddr>,
    }
}

record! {
    default short path
    /// Where the documentation lies.
    pub struct Docs {
        /// The path under which it lies. Default: `/docs`.
        optional path: Prefix,
        /// Whether it asks for a key, as the APIs do under `security: gateway`. Default: `false`.
        optional protected: bool,
    }
}

record! {
    default
    /// The admin listener.
    pub struct Admin {
        /// IP address and port. Off loopback everything but `/health` and `/ready` needs the token.
        /// Default: `127.0.0.1:9901`.
        optional address: Spanned<SocketAddr>,
        /// Further names under which it may be called; loopback names always are. Others are refused, so
        /// that no web page can reach it through a name of its own. Default: none.
        many hosts: HostName,
        /// The token that changing calls must show. Default: made at the first start and kept in the state
        /// directory, readable by its owner alone.
        optional token: Secret,
    }
}

record! {
    /// How the gateway stops after SIGTERM or Ctrl-C.
    pub struct Drain {
        /// How long `/ready` answers 503 while connections are still accepted, so that balancers notice.
        /// Default: `0s`.
        optional delay: Duration,
        /// How long requests in flight may take to end after that. Default: `30s`.
        optional timeout: Duration,
    }
}

record! {
    /// Bounds on what clients may send. All but `connections` can also be set for an API, a path, an operation
    /// or a route.
    pub struct Limits {
        /// Connections open at once; one more is answered with 503. Default: `16384`.
        optional connections: usize,
        with route: RouteLimits,
    }
}

record! {
    merge
    /// Bounds on a request. The first three are judged for the whole gateway first, so a route can only narrow
    /// them.
    pub struct RouteLimits {
        /// Bytes of a request's header fields and request line; beyond it 431. Default: `64KiB`.
        optional headers: Spanned<Size>,
        /// Header fields of a request; beyond it 431. Default: `100`.
        optional header_count: Spanned<usize>,
        /// Bytes of path and query; beyond it 414. At most 64 KiB. Default: `16KiB`.
        optional uri: Spanned<Size>,
        /// Bytes of the request body, or `off`; beyond it 413. Bodies are streamed, this protects upstreams.
        /// Default: `100MB`.
        optional body: Switch<Size>,
        /// Requests of one route under way at its upstream at once, bodies included; one more is answered with
        /// 503. Written for an API or the whole gateway it holds for each route by itself. Default: no bound
        /// but that of the upstream's endpoints.
        optional max_requests: Spanned<usize>,
    }
}

record! {
    /// Bounds on time. The first four can also be set for an API, a path or an operation.
    pub struct ServerTimeouts {
        /// From the first byte of a request head to its end; beyond it 408. Default: `10s`.
        optional header_read: Duration,
        /// How long a connection without a request is kept. Default: `65s`.
        optional keep_alive: Duration,
        with route: Timeouts,
    }
}

record! {
    merge
    /// The clocks of one call; beyond each of them the client gets 504.
    pub struct Timeouts {
        /// Until the upstream's connection is open, with TLS. Default: `5s`.
        optional connect: Duration,
        /// From the end of the request, or the dialling where it has no body, to the beginning of the answer.
        /// Default: `60s`.
        optional first_byte: Duration,
        /// The longest pause within a body, either way. Default: `60s`.
        optional idle: Duration,
        /// The whole call, or `off`: streams may be long. Default: `off`.
        optional total: Switch<Duration>,
    }
}

record! {
    /// The store of the cache.
    pub struct Store {
        /// Bytes in memory. Default: `64MiB`.
        optional memory: Size,
        /// Bytes on disk, in the state directory. Default: `1GiB`.
        optional disk: Size,
        /// How much of either the answers may take that are stored for one caller alone; beyond it the
        /// caller's oldest go first, so that nobody pushes out everyone else's. Default: `50%`.
        optional caller_share: Percent,
        /// How many answers may be stored for one caller alone, in memory and on disk each, every variant
        /// counted; beyond it the caller's oldest go first. Default: `50000`.
        optional caller_entries: NonZeroU64,
        /// Larger answers are not stored. Default: `16MiB`.
        optional object: Size,
    }
}

record! {
    short url
    /// The Redis that several gateways share, version 6 or later. The gateway starts and serves without it too.
    pub struct Redis {
        /// `redis://HOST:PORT/DATABASE`, or `rediss://` for TLS, with or without `USER:PASSWORD@` before the
        /// host. Default: port 6379, database 0.
        required url: Spanned<Address>,
        /// The user in the server's access list. Default: the one in `url`, else the server's default user.
        optional username: Spanned<String>,
        /// The password, from `${NAME}` or `${file:PATH}`. Default: the one in `url`, else none.
        optional password: Secret,
        /// What the names of its keys begin with. Gateways with one prefix belong together. Default: `gatewright`.
        optional prefix: KeyPrefix,
        /// How long connecting may take, with TLS and log-in. Default: `2s`.
        optional connect_timeout: Spanned<Duration>,
        /// How long a command may take, beyond which Redis counts as away. Default: `1s`.
        optional reply_timeout: Spanned<Duration>,
    }
}

record! {
    /// Someone who calls.
    pub struct Consumer {
        /// The name in logs, limits and what the upstream is told.
        required name: Spanned<String>,
        /// API keys beside those that `gatewright keys add` makes.
        many keys: ConsumerKey,
        /// The subjects (`sub`) or clients (`client_id`, `azp`) of tokens that are this consumer.
        many subjects: Spanned<String>,
        /// Names of groups, for limits and rules.
        many groups: String,
    }
}

record! {
    /// An API key.
    pub struct ConsumerKey {
        /// The key in full, from `${NAME}` or `${file:PATH}`.
        required value: Secret,
    }
}

record! {
    /// Someone whose tokens are accepted, checked with the keys of `jwks` or with `key`.
    pub struct Issuer {
        /// The name for descriptions and messages.
        required name: Spanned<String>,
        /// What the `iss` claim must be. Default: `name`.
        optional issuer: String,
        /// What the `aud` claim must hold, one of several. Default: `aud` is not looked at, with a warning:
        /// a token made for another service of the issuer would be accepted here.
        optional audience: Many<String>,
        /// The key set: a file, or an address that is asked again for unknown keys.
        optional jwks: Spanned<Location>,
        /// The one key written here.
        optional key: IssuerKey,
        /// The algorithms that are accepted. Default: those that the keys are for.
        many algorithms: Spanned<String>,
        /// How far the clocks of the two sides may differ, at most ten minutes. Default: `60s`.
        optional leeway: Duration,
        /// The `typ` that a token's head must have, such as `at+jwt`, so that an identity token of the same
        /// issuer opens nothing. Default: any.
        optional token_type: String,
    }
}

record! {
    /// A key that tokens are checked with: `pem` or `secret`.
    pub struct IssuerKey {
        /// A public key in PEM form, or the file that holds it.
        optional pem: Spanned<Pem>,
        /// The secret of `HS256`, `HS384` and `HS512`.
        optional secret: Secret,
        /// The algorithm: `RS256`, `ES256`, `EdDSA`, `HS256` … Never taken from the token.
        required algorithm: Spanned<String>,
    }
}

record! {
    default
    /// One API, from its description.
    pub struct Api {
        /// The OpenAPI description: a file, a folder or an address.
        required spec: Spanned<String>,
        /// The name in logs, limits and the documentation. Default: made of the description's title.
        optional name: Spanned<String>,
        /// The virtual host, or several: names, `*.example.com`, or `*`. Default: every host.
        optional host: Many<Spanned<HostName>>,
        /// The path prefix under which the API is served, before the server's base path. Default: none.
        optional mount: Spanned<Prefix>,
        /// Leave the server's base path out of the paths that clients call. Default: `false`, so that a
        /// client changes nothing but the host.
        optional strip_base: bool,
        /// Which of the description's servers requests go to, from 0. Default: the first usable one.
        optional server: Spanned<usize>,
        /// Values for the variables of server addresses. Default: those of the description.
        optional server_variables: Named<String>,
        /// Let `server` and `upstream` replace the servers of paths and operations too. Default: `false`.
        optional all_servers: bool,
        with policy: Policy,
    }
}

record! {
    /// A route without a description.
    pub struct Route {
        /// The path: literal text, `{parameters}`, and `/**` at its end for all that lies below.
        required path: Spanned<Template>,
        /// The methods. Default: all of them.
        many methods: Method,
        /// The virtual host, or several. Default: every host.
        optional host: Many<Spanned<HostName>>,
        with policy: Policy,
    }
}

record! {
    /// Servers behind the gateway.
    pub struct Upstream {
        /// Their addresses, such as `http://10.0.0.5:8000`. A path is put before that of each request.
        required endpoints: Filled<Spanned<ServerUrl>>,
        /// Send the client's `Host` instead of the server's name. Default: `false`.
        optional preserve_host: bool,
        /// Requests under way at once to one endpoint; beyond it 503. Default: `1024`.
        optional max_requests: usize,
    }
}

record! {
    merge
    /// What applies to an API, a path, an operation or a route. In a description these keys stand under
    /// `x-gatewright`, at its root, at a path or at an operation. The nearest wins, key by key; mappings among
    /// them are merged key by key too, lists are not.
    pub struct Policy {
        /// Where requests go: the name of an upstream, or an address. Default: the description's server.
        optional upstream: Spanned<UpstreamRef>,
        /// Who checks credentials: `pass` leaves that to the upstream, `enforce` checks what the description
        /// asks for, `gateway` asks for the gateway's own keys or tokens. Default: `pass`.
        optional security: Spanned<Mode>,
        /// Under `gateway`: whether no credential is needed here. Default: `false`.
        optional public: bool,
        /// Send credentials on that were checked here. Default: `false`.
        optional forward_credentials: bool,
        /// What the gateway shows the upstream, in place of the caller's credentials.
        optional credentials: Many<Credential>,
        /// Send the client's `Host` instead of the upstream's name. Default: `false`.
        optional preserve_host: bool,
        /// Tell the upstream the client's address. Default: as for the whole gateway.
        optional forward_client_address: bool,
        /// At most so many calls, or `off`. Several are checked together. Default: no limit.
        optional rate_limit: Switch<Many<RateLimit>>,
        /// How answers are cached, or `off`. Default: as the upstream says in its answers, and only then.
        deep cache: Switch<Caching>,
        /// Bounds on time.
        deep timeouts: Timeouts,
        /// Bounds on the request.
        deep limits: RouteLimits,
        /// Whether it is shown in the documentation. Default: `true`.
        optional docs: bool,
        /// Path parameters whose value may span several segments: `topic` of `/v1/{topic}:publish`.
        optional spans: Vec<Spanned<String>>,
        /// What becomes of `%2F` in a path: `refuse` answers 400, `keep` sends it as it is, `unambiguous` sends
        /// it unless reading it as a slash would lead to another route. Default: `unambiguous`.
        optional encoded_slash: EncodedSlash,
        /// Changes to the header fields that the upstream gets.
        optional request_headers: HeaderChanges,
        /// Changes to the header fields that the client gets.
        optional response_headers: HeaderChanges,
    }
}

record! {
    /// What the gateway shows an upstream: `header` or `query`, and its value.
    pub struct Credential {
        /// The header field, such as `Authorization`.
        optional header: Spanned<HeaderName>,
        /// The query parameter.
        optional query: String,
        /// The whole value, such as `Bearer ${TOKEN}`.
        required value: Secret,
    }
}

record! {
    /// A limit on calls.
    pub struct RateLimit {
        /// Calls per window, at least 1.
        required limit: Spanned<u32>,
        /// The window, such as `1m`.
        required window: Spanned<Duration>,
        /// Calls that may come at once. Default: `limit`.
        optional burst: u32,
        /// What is counted apart, one or several together: `consumer`, `key`, `address`, `api`, `operation`,
        /// `global`. Callers without a key count by address. Default: `consumer`.
        optional per: Many<Per>,
        /// Whether answers from the cache count. Default: `true`.
        optional count_cached: bool,
        /// Its name in the `RateLimit` field and in problems. Default: `default`.
        optional name: String,
    }
}

record! {
    merge
    /// How answers are cached.
    pub struct Caching {
        /// How long a success counts as fresh from when it came, in place of the lifetime that the upstream
        /// states (`max-age`, `s-maxage`, `Expires`). Its `no-store`, `private`, `no-cache` and
        /// `must-revalidate` hold all the same. Default: what the upstream says.
        optional ttl: Duration,
        /// How long an answer counts as fresh that says nothing of its own. It never overrides what the
        /// upstream says. Default: such answers are not stored.
        optional default_ttl: Duration,
        /// Whether an answer that says nothing of its own counts as fresh for a tenth of the time since its
        /// `Last-Modified`, a day at most (RFC 9111, section 4.2.2). `default_ttl` wins over it. Default: `false`.
        optional heuristic: bool,
        /// How long an answer may still be served when it is no longer fresh and the upstream fails, beside what
        /// its `stale-if-error` allows. Answers that forbid it (`must-revalidate`) are not. Default: `0s`.
        optional grace: Duration,
        /// Whether the upstream is left alone: what is stored answers, fresh or not, unless it forbids that
        /// (`must-revalidate`, `no-cache`), and everything else is refused with 504. Default: `false`.
        optional offline: bool,
        /// Whether `Cache-Control` of requests is obeyed: `honour`, or `ignore`. A request's `no-store` always
        /// keeps its answer from being stored. Default: `honour`.
        optional request_directives: RequestDirectives,
        /// How long after it was fetched or validated a stored answer is used even where a request asks for a
        /// new one: the bound on clients that would wear the upstream out. Default: `0s`.
        optional reload_interval: Duration,
        /// How many requests a second may ask for a new answer of one address though a stored one is fresh
        /// (`no-cache`, `max-age`, `min-fresh`). Further ones are answered as if they had not asked: the other
        /// bound on such clients. Default: `10`.
        optional reload_limit: u32,
        /// Fields that stand in place of `Cache-Control` and `Expires` where an answer has them, the first that
        /// is there and valid (RFC 9213). Default: `CDN-Cache-Control`.
        optional targeted: Many<HeaderName>,
        /// What becomes of `Set-Cookie` where an answer that has it may be stored: `drop` stores the answer
        /// without it, `keep` gives everyone the same cookie (RFC 9111, section 7.3), `refuse` does not store
        /// the answer. Default: `drop`.
        optional set_cookie: SetCookie,
        /// Whether `Surrogate-Control` counts as one more of the targeted fields, the last. Default: `false`.
        optional surrogate_control: bool,
        /// One stored answer for all callers, whatever their credentials. Only where the upstream gives
        /// everyone the same. Default: `false`.
        optional shared: bool,
        /// What becomes of query parameters that the description does not declare: `key` tells answers apart
        /// by them, `ignore` leaves them out and does not forward them, `bypass` goes past the cache.
        /// Default: `key`.
        optional undeclared_query: UndeclaredQuery,
        /// Whether a query parameter that is sent with its declared default counts as absent. Only where the
        /// upstream answers both alike. Default: `false`.
        optional fold_defaults: bool,
        /// The languages that the upstream has: `Accept-Language` is brought to the best of them before it is
        /// looked up and forwarded, or taken out where none fits, so that few variants are stored.
        /// Default: it stays as sent.
        optional languages: Many<Language>,
        /// Consumers that may remove answers with the method `PURGE`, shown by the gateway's own keys or
        /// tokens. Such a request goes to no upstream. Default: nobody, and `PURGE` is a method like any other.
        optional purge: Many<String>,
    }
}

record! {
    /// Changes to header fields: taken out first, then set, then added.
    pub struct HeaderChanges {
        /// Fields added beside those of the same name: a text or a list each.
        optional add: Headers,
        /// Fields that replace those of the same name.
        optional set: Headers,
        /// Names of fields that are taken out.
        many remove: HeaderName,
    }
}

/// Names of header fields with their values, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(HeaderName, HeaderValue)>);

/// The form of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    Human,
    Json,
    Off,
}

/// What `Cache-Control` of a request counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestDirectives {
    Honour,
    Ignore,
}

/// What becomes of `Set-Cookie` in what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetCookie {
    Drop,
    Keep,
    Refuse,
}

/// What becomes of a query parameter that the description does not declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UndeclaredQuery {
    Key,
    Ignore,
    Bypass,
}

words!(AccessLog: "human" => Self::Human, "json" => Self::Json, "off" => Self::Off);
words!(RequestDirectives: "honour" => Self::Honour, "ignore" => Self::Ignore);
words!(SetCookie: "drop" => Self::Drop, "keep" => Self::Keep, "refuse" => Self::Refuse);
words!(UndeclaredQuery: "key" => Self::Key, "ignore" => Self::Ignore, "bypass" => Self::Bypass);
