//! The running configuration: loads generations, swaps them, and tells the admin API about it all.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::{
    args::Source,
    configure::Policies,
    findings,
    prepare::{self, Imported, Prepared},
};
use crate::{
    admin,
    cache::{self, Purge, Scope},
    config::{self, Model, Summary},
    diagnostic::{self, Diagnostic, codes},
    docs::{Docs, DocsApi},
    exchange::{Body, now_ms},
    gateway::{Gateway, Live, Pages, assemble},
    openapi,
    policy::{
        identity::{keyfile::Record, keystore},
        security::Mode,
    },
    problem::Problem,
    provider::watch::Snapshot,
    proxy::Proxy,
    route,
    server::Drain,
    telemetry::Metrics,
};

/// Generations that `/generations` still shows.
const HISTORY: usize = 20;

/// What a generation is loaded from, again and again.
#[derive(Debug)]
pub struct Recipe {
    pub source: Source,
    pub policies: Policies,
    /// `--docs`, which wins over the configuration.
    pub docs: Option<String>,
    /// Scheme, host and port under which clients call.
    pub origin: String,
    /// Shown as the generation's source.
    pub name: String,
}

/// A compiled generation and what there is to tell about it.
pub struct Loaded {
    pub gateway: Option<Gateway>,
    pub model: Option<Model>,
    pub summaries: Vec<Summary>,
    pub sources: Vec<Imported>,
    /// Where the documentation is.
    pub docs: Option<String>,
    /// Where it was to be, when a route takes that path.
    pub docs_moved: Option<String>,
    pub diagnostics: Vec<Diagnostic>,
    pub files: Snapshot,
    pub unreadable: bool,
}

impl Loaded {
    /// Whether it may serve.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.gateway.is_none() || self.diagnostics.iter().any(Diagnostic::is_error)
    }

    fn operations(&self) -> usize {
        let described: usize =
            self.sources.iter().map(|source| source.description.api.operations.len()).sum();
        described + self.model.as_ref().map_or(0, |model| model.routes.len())
    }
}

/// Prepares a configuration and compiles generation `number` from it.
pub fn load(recipe: &Recipe, number: u64, live: &Live, runtime: &Handle) -> Loaded {
    let prepared = prepare::prepare(&recipe.source, &recipe.policies, runtime);
    build(prepared, recipe, number, live)
}

/// Compiles what was prepared.
pub fn build(mut prepared: Prepared, recipe: &Recipe, number: u64, live: &Live) -> Loaded {
    let files = Snapshot::take(prepared.files.iter().map(std::path::PathBuf::as_path));
    let mut said = std::mem::take(&mut prepared.diagnostics);
    let model = prepared.model.take();
    let mut loaded = Loaded {
        gateway: None,
        model: None,
        summaries: Vec::new(),
        sources: Vec::new(),
        docs: None,
        docs_moved: None,
        diagnostics: Vec::new(),
        files,
        unreadable: prepared.unreadable,
    };
    let mut homes: Vec<String> = Vec::new();
    if let Some(model) = model {
        let sources = prepared.compiler_sources(&model);
        let config::Compiled { mut plan, summaries, mut diagnostics } = config::compile(&model, &sources);
        demand_upstreams(&mut diagnostics, &summaries);
        said.append(&mut diagnostics);
        match recipe.docs.as_deref() {
            Some("off") => plan.docs = None,
            Some(path) => {
                if let Some(docs) = &mut plan.docs {
                    path.trim_end_matches('/').clone_into(&mut docs.prefix);
                }
            }
            None => {}
        }
        let wanted = plan.docs.as_ref().map(|docs| docs.prefix.clone());
        let make = |prefix: &str| pages(prefix, &recipe.origin, &prepared.sources, &summaries);
        let (gateway, found) = assemble::assemble(plan, number, live, Some(&make));
        said.extend(found);
        findings::locate(&mut said, &model);
        homes = prepared.homes(&model).into_iter().map(str::to_owned).collect();
        loaded.docs =
            gateway.as_ref().and_then(|gateway| gateway.pages.as_ref()).map(|pages| pages.prefix.to_string());
        loaded.docs_moved = wanted.filter(|wanted| loaded.docs.as_ref().is_some_and(|docs| docs != wanted));
        loaded.gateway = gateway;
        loaded.summaries = summaries;
        loaded.model = Some(model);
    }
    loaded.sources = prepared.sources;
    let homes: Vec<&str> = homes.iter().map(String::as_str).collect();
    findings::condense(&mut said, &homes);
    diagnostic::sort(&mut said);
    loaded.diagnostics = said;
    loaded
}

/// An API that has nowhere to send its requests cannot run.
fn demand_upstreams(diagnostics: &mut [Diagnostic], summaries: &[Summary]) {
    if summaries.iter().all(|summary| !summary.upstreams.is_empty()) {
        return;
    }
    for diagnostic in
        diagnostics.iter_mut().filter(|d| d.code == codes::NO_UPSTREAM && d.title.starts_with("no usable"))
    {
        diagnostic.severity = diagnostic::Severity::Error;
    }
}

/// The documentation of all APIs that show theirs.
fn pages(prefix: &str, origin: &str, sources: &[Imported], summaries: &[Summary]) -> Arc<dyn Pages> {
    let shown = sources.iter().zip(summaries).filter(|(_, summary)| summary.documented);
    let apis = shown.map(|(source, summary)| {
        let api = &source.description.api;
        DocsApi {
            slug: source.name.clone(),
            title: api.title.clone(),
            release: api.release.clone(),
            summary: api.summary.clone(),
            operations: api.operations.len(),
            description: effective(origin, api, summary),
        }
    });
    Arc::new(DocsPages(Docs::new(prefix, apis.collect())))
}

/// The description as it holds at the gateway: its address, its security, its own answers.
fn effective(origin: &str, api: &openapi::Api, summary: &Summary) -> crate::docs::Description {
    let (origin, api, summary) = (origin.to_owned(), api.clone(), summary.clone());
    Arc::new(move || {
        let origin = match summary.hosts.iter().find(|host| !host.starts_with('*')) {
            Some(host) => with_host(&origin, host),
            None => origin.clone(),
        };
        let own = own_security(api.version);
        let shown = openapi::Shown {
            origin: &origin,
            siting: &summary.siting,
            own: (&own.0, &own.1),
            asks: asks(summary.security, false),
            operations: &summary.operations.iter().map(manner).collect::<Vec<_>>(),
        };
        openapi::effective(&api, &shown).into()
    })
}

/// `http://127.0.0.1:8080` with another host.
fn with_host(origin: &str, host: &str) -> String {
    match origin.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())) {
        Some((_, port)) => format!("http://{host}:{port}"),
        None => format!("http://{host}"),
    }
}

/// The schemes of `security: gateway` and the requirement of either; 2.0 knows no bearer scheme.
fn own_security(version: openapi::Version) -> (serde_json::Map<String, Value>, Value) {
    let mut schemes = serde_json::Map::new();
    schemes.insert("gatewrightKey".into(), json!({ "type": "apiKey", "in": "header", "name": "X-API-Key" }));
    let mut requirement = vec![json!({ "gatewrightKey": [] })];
    if version != openapi::Version::V2_0 {
        schemes.insert("gatewrightToken".into(), json!({ "type": "http", "scheme": "bearer" }));
        requirement.push(json!({ "gatewrightToken": [] }));
    }
    (schemes, Value::Array(requirement))
}

/// What the gateway does about one operation, and can answer to its callers.
fn manner(manner: &config::Manner) -> openapi::ShownOperation {
    use crate::problem::{
        CREDENTIALS_MISSING, FORBIDDEN, RATE_LIMITED, ROUTE_NOT_FOUND, UPSTREAM_TIMEOUT, UPSTREAM_UNREACHABLE,
    };
    let answers = [
        (manner.checked, &CREDENTIALS_MISSING),
        (manner.checked, &FORBIDDEN),
        (true, &ROUTE_NOT_FOUND),
        (manner.limited, &RATE_LIMITED),
        (true, &UPSTREAM_UNREACHABLE),
        (true, &UPSTREAM_TIMEOUT),
    ]
    .into_iter()
    .filter(|(given, _)| *given)
    .map(|(_, kind)| (kind.status.as_u16(), kind.title))
    .collect();
    let asks = asks(manner.security, manner.public);
    openapi::ShownOperation { hidden: !manner.documented, asks, answers }
}

/// What callers must show under a mode. What is not asked for here, the upstream may ask for.
fn asks(mode: Mode, public: bool) -> openapi::Asks {
    match mode {
        Mode::Pass | Mode::Enforce => openapi::Asks::AsDescribed,
        Mode::Gateway if public => openapi::Asks::Nothing,
        Mode::Gateway => openapi::Asks::Own,
    }
}

struct DocsPages(Docs);

impl Pages for DocsPages {
    fn answer(
        &self,
        method: &http::Method,
        path: &str,
        headers: &http::HeaderMap,
    ) -> Option<Result<http::Response<Body>, Problem>> {
        self.0.handle(method, path, headers)
    }
}

/// The generations of this process: loads them, swaps them, remembers them.
pub struct Engine {
    pub recipe: Recipe,
    pub live: Arc<Live>,
    pub proxy: Arc<Proxy>,
    pub runtime: Handle,
    pub drain: Drain,
    started: Instant,
    /// The configuration that the process was started with.
    first: Option<Model>,
    number: AtomicU64,
    /// Held while a generation is made: one at a time.
    making: Mutex<Snapshot>,
    history: Mutex<VecDeque<admin::Generation>>,
}

impl Engine {
    /// Takes over after the first generation was loaded.
    pub fn new(
        recipe: Recipe,
        live: Arc<Live>,
        proxy: Arc<Proxy>,
        runtime: Handle,
        drain: Drain,
        first: &Loaded,
    ) -> Self {
        let number = proxy.current.load().number;
        let engine = Self {
            recipe,
            live,
            proxy,
            runtime,
            drain,
            started: Instant::now(),
            first: first.model.clone(),
            number: AtomicU64::new(number),
            making: Mutex::new(first.files.clone()),
            history: Mutex::default(),
        };
        engine.remember(number, first);
        engine
    }

    /// Loads the configuration again and swaps it in when it is good. A bad one changes nothing.
    pub fn reload(&self) -> Result<(admin::Generation, Vec<Diagnostic>), Vec<Diagnostic>> {
        let mut files = lock(&self.making);
        let number = self.number.load(Ordering::Relaxed) + 1;
        let mut loaded = load(&self.recipe, number, &self.live, &self.runtime);
        // Also after a failure: the next change is then seen as one.
        *files = loaded.files.clone();
        let failed = loaded.failed();
        if let (Some(first), Some(now)) = (&self.first, &loaded.model) {
            loaded.diagnostics.extend(findings::needs_restart(first, now, &self.recipe.name));
        }
        match loaded.gateway.take() {
            Some(gateway) if !failed => {
                self.proxy.current.store(Arc::new(gateway));
                self.number.store(number, Ordering::Relaxed);
                Ok((self.remember(number, &loaded), loaded.diagnostics))
            }
            _ => Err(loaded.diagnostics),
        }
    }

    /// Whether a watched file changed since the last load, and the change has settled.
    #[must_use]
    pub fn has_changed(&self, before: &Snapshot) -> Option<Snapshot> {
        let loaded = lock(&self.making);
        let now = loaded.again();
        (now != *loaded && now == *before).then_some(now)
    }

    /// The watched files as they are now.
    #[must_use]
    pub fn look(&self) -> Snapshot {
        lock(&self.making).again()
    }

    fn remember(&self, number: u64, loaded: &Loaded) -> admin::Generation {
        let generation = admin::Generation {
            number,
            created_ms: now_ms(),
            source: self.recipe.name.clone(),
            current: true,
            apis: loaded.sources.len(),
            operations: loaded.operations(),
            warnings: diagnostic::count(&loaded.diagnostics).1,
        };
        let mut history = lock(&self.history);
        for old in history.iter_mut() {
            old.current = false;
        }
        history.push_front(generation.clone());
        history.truncate(HISTORY);
        generation
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl admin::Control for Engine {
    fn health(&self) -> admin::Health {
        let gateway = self.proxy.current.load();
        admin::Health {
            status: if self.drain.is_leaving() { admin::Status::Leaving } else { admin::Status::Serving },
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: gateway.number,
            generation_age_seconds: now_ms().saturating_sub(gateway.created_ms) / 1000,
            uptime_seconds: self.started.elapsed().as_secs(),
        }
    }

    fn ready(&self) -> bool {
        !self.drain.is_leaving()
    }

    fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.live.telemetry.metrics)
    }

    fn generations(&self) -> Vec<admin::Generation> {
        lock(&self.history).iter().cloned().collect()
    }

    fn upstreams(&self) -> Vec<admin::UpstreamState> {
        let state = |upstream: Arc<crate::upstream::Upstream>| admin::UpstreamState {
            name: upstream.key.name.to_string(),
            endpoints: upstream
                .endpoints
                .iter()
                .map(|endpoint| admin::Endpoint {
                    url: endpoint.origin.as_str().trim_end_matches('/').to_owned(),
                    available: true,
                    state: "not probed".to_owned(),
                    in_flight: endpoint.in_flight() as u64,
                })
                .collect(),
        };
        self.live.upstreams.all().into_iter().map(state).collect()
    }

    fn cache(&self) -> admin::CacheState {
        self.live.cache.as_ref().map(|cache| cache_state(cache, self.live.cache_bytes)).unwrap_or_default()
    }

    fn keys(&self) -> Vec<admin::Key> {
        self.live.keys.list().into_iter().map(key).collect()
    }

    fn reload(&self) -> Result<admin::Generation, Vec<Diagnostic>> {
        Self::reload(self).map(|(generation, _)| generation)
    }

    fn add_key(&self, new: &admin::NewKey) -> Result<admin::CreatedKey, Vec<Diagnostic>> {
        let wanted = keystore::NewKey { expires_ms: new.expires_ms };
        let (record, secret) =
            self.live.keys.add(&new.consumer, wanted, now_ms()).map_err(|fault| vec![*fault])?;
        Ok(admin::CreatedKey { key: key(record), secret: secret.reveal().to_owned() })
    }

    fn revoke_key(&self, id: &str) -> Result<admin::Key, Vec<Diagnostic>> {
        self.live.keys.revoke(id, now_ms()).map(key).map_err(|fault| vec![*fault])
    }

    fn purge(&self, what: &admin::Purge) -> Result<admin::Purged, Vec<Diagnostic>> {
        let Some(cache) = &self.live.cache else {
            return Err(vec![Diagnostic::error(codes::USAGE, "the cache is off")]);
        };
        let mut entries = 0;
        for purge in scope(&self.proxy, what)? {
            let done = self.runtime.block_on(cache.purge(purge));
            entries += done
                .map_err(|error| vec![Diagnostic::error(codes::STATE_UNUSABLE, error.to_string())])?
                .memory;
        }
        Ok(admin::Purged { entries })
    }
}

fn key(record: Record) -> admin::Key {
    admin::Key {
        id: record.id,
        consumer: record.consumer,
        created_ms: record.created_ms,
        expires_ms: record.expires_ms,
        revoked_ms: record.revoked_ms,
        last_used_ms: record.last_used_ms,
    }
}

fn cache_state(cache: &cache::Cache, max_bytes: u64) -> admin::CacheState {
    let report = cache.stats();
    admin::CacheState {
        enabled: true,
        entries: report.disk_entries,
        bytes: report.disk_bytes,
        max_bytes,
        memory_entries: report.memory_entries,
        memory_bytes: report.memory_bytes,
        disk_working: report.disk_ok,
        disk_problem: report.disk_problem,
    }
}

/// What the admin API names, in the words of the cache.
fn scope(proxy: &Proxy, what: &admin::Purge) -> Result<Vec<Purge>, Vec<Diagnostic>> {
    let (address, prefix) = match what {
        admin::Purge::All => return Ok(vec![Purge { host: None, scope: Scope::All }]),
        admin::Purge::Api(name) => return api_scope(proxy, name),
        admin::Purge::Url(address) => (address, false),
        admin::Purge::Prefix(address) => (address, true),
    };
    let wrong = |why: &str| {
        vec![
            Diagnostic::error(codes::USAGE, format!("`{address}` cannot be purged: {why}"))
                .help("write it as a caller would: `http://127.0.0.1:8080/pets/1`"),
        ]
    };
    let Some((_, rest)) = address.split_once("://") else { return Err(wrong("it has no scheme and host")) };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = route::normalise(host).map_err(|error| wrong(error.as_str()))?.into_owned();
    let target = route::canonical(if path.is_empty() { "/" } else { path })
        .map_err(|refusal| wrong(refusal.as_str()))?;
    let path = target.path.into_owned();
    let scope = if prefix { Scope::Prefix(path) } else { Scope::Path(path) };
    Ok(vec![Purge { host: (!host.is_empty()).then_some(host), scope }])
}

/// Every path that the routes of one API begin with.
fn api_scope(proxy: &Proxy, name: &str) -> Result<Vec<Purge>, Vec<Diagnostic>> {
    let gateway = proxy.current.load();
    let routes = gateway.hosts.iter().flat_map(|(_, host)| host.routes.iter());
    let mut prefixes: Vec<String> =
        routes.filter(|route| *route.api == *name).map(|route| route.literal.to_string()).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    if prefixes.is_empty() {
        return Err(vec![Diagnostic::error(codes::USAGE, format!("no API is called `{name}`"))]);
    }
    // A prefix of a prefix covers it.
    let mut kept: Vec<String> = Vec::new();
    for prefix in prefixes {
        if !kept.last().is_some_and(|last| prefix.starts_with(last.as_str())) {
            kept.push(prefix);
        }
    }
    Ok(kept.into_iter().map(|prefix| Purge { host: None, scope: Scope::Prefix(prefix) }).collect())
}
