//! `gatewright run`: from the command line to a serving process, and down again.

use std::{
    io::{IsTerminal, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU64,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use super::{
    args::{self, Serve},
    banner::{ApiLine, Banner},
    configure::Policies,
    engine::{self, Engine, Loaded, Recipe},
    exit, findings, nodes, prepare,
    serve::{self, DataPlane},
    show,
    state::{self, State},
    trial,
};
use crate::{
    admin,
    cache::{Cache, CacheConfig, Nodes},
    config::{self, Model, Switch, model},
    counter::Limiters,
    diagnostic::{self, Diagnostic, codes},
    exchange::now_ms,
    gateway::Live,
    openapi,
    policy::{
        identity::{
            KeyStore,
            keyset::{HttpFetch, KeySets},
            keystore::NewKey,
        },
        security::Mode,
    },
    proxy::{Proxy, Via},
    server::{self, Control, Drain, Listeners, ServerConfig},
    shared::Redis,
    telemetry::{AccessLog, Format, Telemetry},
    upstream::{Caps, Upstreams, transport},
};

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

/// What `demo` changes about `run`.
#[derive(Debug, Default)]
pub struct Extra {
    /// State that goes with the process.
    pub temporary: bool,
    /// Make a key for this consumer, print it, and ask for one.
    pub protect: Option<&'static str>,
    /// Printed below the start-up page.
    pub tour: Option<fn(&Tour) -> String>,
}

/// What the lines below the start-up page may speak of.
#[derive(Debug)]
pub struct Tour {
    pub base: String,
    pub docs: Option<String>,
    pub key: Option<String>,
}

/// Runs `gatewright run`.
pub fn run(args: &args::Run) -> ExitCode {
    let policies = Policies::from(args);
    let name = prepare::identity(&args.source).join(" ");
    let recipe = Recipe {
        source: args.source.clone(),
        policies,
        docs: args.serve.docs.clone(),
        origin: String::new(),
        name,
    };
    let extra = Extra { protect: args.protect.then_some("default"), ..Extra::default() };
    start(recipe, &args.serve, &extra)
}

/// Starts the gateway that `recipe` describes and serves until a signal ends it.
pub fn start(recipe: Recipe, flags: &Serve, extra: &Extra) -> ExitCode {
    match Start::prepare(recipe, flags, extra) {
        Ok(start) => start.serve(extra),
        Err((diagnostics, code)) => {
            show(&diagnostics);
            ExitCode::from(code)
        }
    }
}

type Failed = (Vec<Diagnostic>, u8);

fn fail(diagnostic: Diagnostic) -> Failed {
    let code = exit::of(std::slice::from_ref(&diagnostic));
    (vec![diagnostic], code)
}

/// Everything that is up before the first request is taken.
struct Start {
    control: Control,
    engine: Arc<Engine>,
    state: State,
    listeners: Listeners,
    admin: Option<(Listeners, admin::Access)>,
    config: ServerConfig,
    banner: Banner,
}

impl Start {
    fn prepare(mut recipe: Recipe, flags: &Serve, extra: &Extra) -> Result<Self, Failed> {
        let broken = |what: &str, error: &dyn std::fmt::Display| {
            fail(Diagnostic::error(codes::START_FAILED, format!("{what}: {error}")))
        };
        if let Err(text) = crate::telemetry::log::init() {
            show(&[Diagnostic::warning(codes::USAGE, text)]);
        }
        server::raise_file_limit();
        let control = Control::new().map_err(|error| broken("the control plane cannot start", &error))?;
        let mut prepared = prepare::prepare(&recipe.source, &recipe.policies, control.handle());
        let Some(model) = prepared.model.clone() else {
            findings::condense(&mut prepared.diagnostics, &[]);
            let code = if prepared.unreadable { exit::UNREADABLE } else { exit::of(&prepared.diagnostics) };
            return Err((prepared.diagnostics, code));
        };
        let settings = Settings::new(&model, flags).map_err(fail)?;
        check_docs(flags.docs.as_deref()).map_err(fail)?;
        let listeners = Listeners::bind(&settings.listen, settings.server.workers)
            .map_err(|error| fail(error.diagnostic()))?;
        recipe.origin = origin(&listeners.addresses());
        let admin = settings.admin.map(bind_admin).transpose().map_err(fail)?;
        let state = open_state(&recipe, flags, &model, extra).map_err(fail)?;
        let (live, mut said) = open_live(&settings, &state, control.handle())?;
        let live = Arc::new(live);
        let key = extra.protect.map(|consumer| protect(&live, consumer)).transpose().map_err(fail)?.flatten();
        let mut loaded = engine::build(prepared, &recipe, 1, &live);
        said.append(&mut loaded.diagnostics);
        diagnostic::sort(&mut said);
        loaded.diagnostics = said;
        let Some(gateway) =
            loaded.gateway.take().filter(|_| !loaded.diagnostics.iter().any(Diagnostic::is_error))
        else {
            let code = if loaded.unreadable { exit::UNREADABLE } else { exit::FINDINGS };
            return Err((loaded.diagnostics, code));
        };
        show(&loaded.diagnostics);
        let proxy = Arc::new(Proxy {
            live: Arc::clone(&live),
            current: ArcSwap::from_pointee(gateway),
            via: Via::new(fastrand::u32(..)),
        });
        let banner =
            banner(&loaded, &settings, &listeners, (&recipe.origin, &state), (key, usable_keys(&live)));
        let engine = Engine::new(recipe, live, proxy, control.handle().clone(), Drain::new(), &loaded);
        let access = |listener: &Listeners| access(&model, listener, &state);
        let admin = admin.map(|listener| Ok((access(&listener)?, listener))).transpose().map_err(fail)?;
        let admin = admin.map(|(access, listener)| (listener, access));
        Ok(Self {
            control,
            engine: Arc::new(engine),
            state,
            listeners,
            admin,
            config: settings.server,
            banner,
        })
    }

    /// Serves until the drain is through.
    fn serve(self, extra: &Extra) -> ExitCode {
        let Self { control, engine, state, listeners, admin, config, mut banner } = self;
        let (drain, stats) = (engine.drain.clone(), Arc::new(server::Stats::default()));
        serve::watch_gauges(&engine, &stats);
        // Before anyone can see the gateway ready and send it a signal.
        let signals = {
            let _inside = control.handle().enter();
            server::signals()
        };
        match signals {
            Ok(signals) => drop(control.handle().spawn(serve::signals(Arc::clone(&engine), signals))),
            Err(error) => tracing::error!(%error, "signals cannot be received"),
        }
        if let Some((listener, access)) = admin {
            let router = admin::router(Arc::clone(&engine) as Arc<dyn admin::Control>, access);
            let address = listener.addresses().first().copied();
            if let Err(error) = control.serve_admin(listener, ServerConfig::default(), router, &drain) {
                tracing::error!(%error, "the admin listener could not be started");
            }
            banner.admin = address;
            if let Some(Err(error)) = address.map(|address| state.announce(address)) {
                tracing::warn!(%error, "the admin address could not be left in the state directory");
            }
        }
        banner.redis = control.block_on(nodes::meet(&engine.live));
        let proxy = Arc::clone(&engine.proxy);
        let server = match server::run(listeners, config, &drain, &stats, move |_| {
            DataPlane(Arc::clone(&proxy))
        }) {
            Ok(server) => server,
            Err(error) => {
                show(&[Diagnostic::error(codes::START_FAILED, format!("the workers cannot start: {error}"))]);
                return ExitCode::from(exit::FINDINGS);
            }
        };
        control.handle().spawn(serve::watch_files(Arc::clone(&engine)));
        control.handle().spawn(serve::keep_keys(Arc::clone(&engine)));
        print_page(&banner, extra);
        let ended = server.join();
        if let Some(address) = banner.admin {
            state.withdraw(address);
        }
        nodes::part(&engine.live, control.handle());
        serve::close(&engine.live);
        control.shutdown();
        if ended.cut > 0 {
            super::say("  some requests did not end within the drain timeout and were cut");
        }
        ExitCode::SUCCESS
    }
}

/// The process-wide settings, flags over configuration over defaults.
struct Settings {
    listen: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    access_log: Option<Format>,
    server: ServerConfig,
    /// Without its folder; `None` = off.
    cache: Option<CacheConfig>,
    redis: Option<crate::shared::Config>,
}

impl Settings {
    fn new(model: &Model, flags: &Serve) -> Result<Self, Diagnostic> {
        let configured: Vec<SocketAddr> = model.listen.iter().map(|listen| listen.address.value).collect();
        let listen = match (flags.listen.as_slice(), configured.as_slice()) {
            ([], []) => vec![DEFAULT_LISTEN],
            ([], configured) => configured.to_vec(),
            (flags, _) => flags.to_vec(),
        };
        let admin = match (flags.admin.as_deref(), &model.admin) {
            (Some("off"), _) | (None, Some(Switch::Off)) => None,
            (Some(address), _) => Some(
                args::address(address)
                    .map_err(|text| Diagnostic::error(codes::USAGE, format!("`--admin`: {text}")))?,
            ),
            (None, Some(Switch::On(admin))) => {
                Some(admin.address.as_ref().map_or(DEFAULT_ADMIN, |address| address.value))
            }
            (None, None) => Some(DEFAULT_ADMIN),
        };
        let access_log = match (flags.access_log, model.access_log) {
            (Some(args::AccessLog::Human), _) | (None, Some(model::AccessLog::Human)) => {
                Some(Format::Human { colour: std::io::stdout().is_terminal() })
            }
            (Some(args::AccessLog::Json), _) | (None, Some(model::AccessLog::Json)) => Some(Format::Json),
            (Some(args::AccessLog::Off), _) | (None, Some(model::AccessLog::Off)) => None,
            (None, None) => Some(Format::auto(std::io::stdout().is_terminal())),
        };
        let cache = match &model.cache {
            Some(Switch::Off) => None,
            Some(Switch::On(store)) => Some(cache_config(store)),
            None => Some(CacheConfig::default()),
        };
        let (server, redis) = (server_config(model, flags)?, config::redis(model));
        Ok(Self { listen, admin, access_log, server, cache, redis })
    }
}

fn cache_config(store: &model::Store) -> CacheConfig {
    let default = CacheConfig::default();
    CacheConfig {
        memory_bytes: store.memory.map_or(default.memory_bytes, |size| size.0),
        disk_bytes: store.disk.map_or(default.disk_bytes, |size| size.0),
        caller_percent: store.caller_share.map_or(default.caller_percent, |percent| percent.0),
        caller_entries: store.caller_entries.map_or(default.caller_entries, NonZeroU64::get),
        max_object_bytes: store.object.map_or(default.max_object_bytes, |size| size.0),
        ..default
    }
}

fn server_config(model: &Model, flags: &Serve) -> Result<ServerConfig, Diagnostic> {
    let mut config = ServerConfig::default();
    let workers = flags.workers.or(model.workers.as_ref().map(|workers| workers.value));
    if let Some(workers) = workers {
        if workers == 0 || workers > 1024 {
            return Err(Diagnostic::error(codes::USAGE, "the number of workers must be from 1 to 1024"));
        }
        config.workers = workers;
    }
    if let Some(limits) = &model.limits {
        config.limits.connections = limits.connections.unwrap_or(config.limits.connections);
    }
    let head = config::bounds::Head::of(model);
    config.limits.head_bytes = head.bytes;
    config.limits.headers = head.fields;
    config.limits.uri_bytes = head.uri;
    if let Some(timeouts) = &model.timeouts {
        config.timeouts.header_read = timeouts.header_read.unwrap_or(config.timeouts.header_read);
        config.timeouts.keep_alive = timeouts.keep_alive.unwrap_or(config.timeouts.keep_alive);
    }
    let drain = model.drain.as_ref();
    let delay = flags.drain_delay.or(drain.and_then(|drain| drain.delay));
    let timeout = flags.drain_timeout.or(drain.and_then(|drain| drain.timeout));
    config.drain_delay = delay.unwrap_or(config.drain_delay);
    config.drain_timeout = timeout.unwrap_or(config.drain_timeout);
    Ok(config)
}

/// `--docs` must be somewhere to go.
fn check_docs(docs: Option<&str>) -> Result<(), Diagnostic> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '~');
    match docs {
        Some(path) if path != "off" && !(path.starts_with('/') && path.chars().all(plain)) => {
            Err(Diagnostic::error(codes::USAGE, format!("`--docs {path}` is no path"))
                .help("write `--docs /docs`, or `--docs off`"))
        }
        _ => Ok(()),
    }
}

fn bind_admin(address: SocketAddr) -> Result<Listeners, Diagnostic> {
    Listeners::bind(&[address], 1).map_err(|error| {
        let mut diagnostic = error.diagnostic();
        diagnostic.title = format!("admin listener: {}", diagnostic.title);
        diagnostic.help("take another address with `--admin ADDR`, or do without: `--admin off`")
    })
}

fn access(model: &Model, listener: &Listeners, state: &State) -> Result<admin::Access, Diagnostic> {
    let address = listener.addresses().first().copied().unwrap_or(DEFAULT_ADMIN);
    let configured = match &model.admin {
        Some(Switch::On(admin)) => Some(admin),
        _ => None,
    };
    let token = match configured.and_then(|admin| admin.token.as_ref()) {
        Some(token) => admin::Token::of(&token.0),
        None => admin::Token::open(&state.dir).map_err(|fault| *fault)?,
    };
    let hosts =
        configured.map(|admin| admin.hosts.iter().map(|host| host.0.clone()).collect()).unwrap_or_default();
    Ok(admin::Access::new(token, address, hosts))
}

fn open_state(recipe: &Recipe, flags: &Serve, model: &Model, extra: &Extra) -> Result<State, Diagnostic> {
    if extra.temporary && flags.state.is_none() {
        return State::temporary();
    }
    let configured = model.state.as_ref().map(|dir| {
        match recipe.source.config.as_deref().or(recipe.source.specs.first().map(Path::new)) {
            Some(file) => crate::provider::source::folder_of(file).join(&dir.value),
            None => PathBuf::from(&dir.value),
        }
    });
    match flags.state.clone().or(configured) {
        Some(dir) => State::open(dir),
        None => State::open(state::default_dir(&prepare::identity(&recipe.source))?),
    }
}

fn open_live(
    settings: &Settings,
    state: &State,
    runtime: &Handle,
) -> Result<(Live, Vec<Diagnostic>), Failed> {
    let log = match settings.access_log {
        None => AccessLog::off(),
        Some(format) => AccessLog::start(format, std::io::stdout()).map_err(|error| {
            fail(Diagnostic::error(codes::START_FAILED, format!("the access log cannot start: {error}")))
        })?,
    };
    let keys = KeyStore::open(&state.dir).map_err(|fault| fail(*fault))?;
    let fetch = HttpFetch::new(transport::tls()).map_err(|error| {
        fail(Diagnostic::error(codes::START_FAILED, format!("no client for key sets: {error}")))
    })?;
    let config = settings.cache.as_ref();
    let (cache, said) = match config {
        None => (None, Vec::new()),
        Some(config) => {
            let dir = Some(state.dir.join("cache"));
            let (cache, said) = Cache::open(&CacheConfig { dir, ..config.clone() });
            (Some(cache), said)
        }
    };
    let redis = Redis::new(Some(runtime.clone()), transport::tls);
    let nodes = cache.clone().map(|cache| Nodes::start(cache, redis.clone(), runtime));
    redis.configure(settings.redis.clone());
    let live = Live {
        telemetry: Arc::new(Telemetry::new(log)),
        upstreams: Upstreams::new(settings.server.workers),
        caps: Caps::default(),
        limiters: Arc::new(Limiters::default()),
        keys: Arc::new(keys),
        key_sets: KeySets::new(Arc::new(fetch), Some(runtime.clone())),
        cache,
        redis,
        nodes,
    };
    Ok((live, said))
}

/// The address to call, as a person would type it.
fn origin(listen: &[SocketAddr]) -> String {
    match listen.first() {
        Some(address) if address.ip().is_unspecified() => format!("http://127.0.0.1:{}", address.port()),
        Some(address) => format!("http://{address}"),
        None => String::new(),
    }
}

/// A key for callers to show: made at the first start, and again when no usable one is left.
fn protect(live: &Live, consumer: &str) -> Result<Option<String>, Diagnostic> {
    if usable_keys(live) > 0 {
        return Ok(None);
    }
    let (_, secret) = live.keys.add(consumer, NewKey::default(), now_ms()).map_err(|fault| *fault)?;
    Ok(Some(secret.reveal().to_owned()))
}

fn usable_keys(live: &Live) -> usize {
    let now = now_ms();
    let usable = |record: &crate::policy::identity::keyfile::Record| {
        record.revoked_ms.is_none() && record.expires_ms.is_none_or(|at| at > now)
    };
    live.keys.list().iter().filter(|record| usable(record)).count()
}

fn banner(
    loaded: &Loaded,
    settings: &Settings,
    listeners: &Listeners,
    (origin, state): (&str, &State),
    (key, keys): (Option<String>, usize),
) -> Banner {
    let api = |(source, summary): (&prepare::Imported, &config::Summary)| {
        let api = &source.description.api;
        let version = if api.release.is_empty() { String::new() } else { format!(" {}", api.release) };
        let upstream = summary.upstreams.first().map(|(url, _)| (url.clone(), summary.upstreams.len() - 1));
        ApiLine {
            name: summary.name.to_string(),
            title: format!("{}{version}", api.title),
            operations: api.operations.len(),
            hosts: summary.hosts.clone(),
            prefix: summary.prefix.clone(),
            upstream,
            security: summary.security,
            security_by_default: summary.security_by_default,
            trial: trial::target(api, |operation| openapi::site(api, operation, &summary.siting).served),
        }
    };
    let routes = loaded.model.iter().flat_map(|model| &model.routes).map(|route| {
        let upstream = match route.policy.upstream.as_ref().map(|upstream| &upstream.value) {
            Some(config::UpstreamRef::Url(url)) => url.as_str().trim_end_matches('/').to_owned(),
            Some(config::UpstreamRef::Name(name)) => name.clone(),
            None => String::new(),
        };
        (route.path.value.to_string(), upstream)
    });
    Banner {
        apis: loaded.sources.iter().zip(&loaded.summaries).map(api).collect(),
        routes: routes.collect(),
        warnings: diagnostic::count(&loaded.diagnostics).1,
        origin: origin.to_owned(),
        listen: listeners.addresses(),
        admin: settings.admin,
        docs_moved: loaded.docs_moved.clone(),
        docs: loaded.docs.clone().filter(|_| !loaded.sources.is_empty()),
        state: state.dir.display().to_string(),
        cache: settings.cache.is_some(),
        redis: None,
        key,
        keys,
        protected: loaded.summaries.iter().any(|summary| summary.security == Mode::Gateway),
    }
}

fn print_page(banner: &Banner, extra: &Extra) {
    let colour = std::io::stdout().is_terminal();
    let mut page = banner.text(colour);
    if let Some(tour) = extra.tour {
        let base = banner.origin.clone();
        let docs = banner.docs.as_ref().map(|docs| format!("{base}{docs}"));
        page.push_str(&tour(&Tour { docs, key: banner.key.clone(), base }));
    }
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(page.as_bytes()).and_then(|()| out.flush());
}

/// How long closing the stores may take at the end.
pub const CLOSE_WITHIN: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_that_bounds_are_compared_with_are_those_of_the_server() {
        let head = config::bounds::Head::default();
        let server = crate::server::Limits::default();
        assert_eq!(
            (head.bytes, head.fields, head.uri),
            (server.head_bytes, server.headers, server.uri_bytes)
        );
    }
}
