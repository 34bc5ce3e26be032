//! One route: the policy in force for it, turned into what the gateway's plan holds.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{HeaderValue, Method};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::{
    Manner, Source, Summary, caching,
    security::{self, Secrets},
    upstream::{self, Chosen, Keys},
};
use crate::{
    cache::{RequestDirectiveMode, RouteCacheOptions, SetCookie, UndeclaredQuery},
    config::{
        Model, Switch,
        bounds::Head,
        model::{self, Policy, UndeclaredQuery as Undeclared},
        record::Deep,
    },
    diagnostic::{Diagnostic, Place, codes},
    gateway::{
        plan::{CapPlan, RoutePlan, SecurityPlan},
        route::{Credential, HeaderChanges, Rewrite, Strip, Timeouts},
    },
    openapi::{self, Siting},
    policy::{rate_limit, security::Mode},
    route::{Conditions, Methods, Template},
};

/// Request bodies beyond this are refused unless a route says otherwise: 100 MB.
const BODY_LIMIT: u64 = 100_000_000;

/// What the operations of one API have in common.
pub struct Common<'a> {
    model: &'a Model,
    source: &'a Source<'a>,
    name: Arc<str>,
    policy: Policy,
    siting: Siting,
    parts: Parts,
    keys: Keys,
    secrets: Secrets,
    /// Operations without an upstream.
    homeless: usize,
    by_upstream: BTreeMap<String, usize>,
    prefix: Option<String>,
    operations: Vec<Manner>,
}

/// What a policy comes to, apart from what depends on the operation.
#[derive(Clone)]
struct Parts {
    chosen: Option<Chosen>,
    rewrite: Rewrite,
    timeouts: Timeouts,
    body_limit: u64,
    uri_limit: usize,
    head_limit: usize,
    field_limit: usize,
    max_requests: Option<usize>,
    limits: Arc<[rate_limit::Config]>,
}

impl<'a> Common<'a> {
    pub fn new(model: &'a Model, source: &'a Source<'a>, policy: Policy) -> Self {
        let entry = source.entry;
        let siting = Siting {
            mount: source
                .mount
                .or(entry.mount.as_ref().map(|mount| mount.value.0.as_str()))
                .unwrap_or_default()
                .to_owned(),
            strip_base: entry.strip_base.unwrap_or(false),
            server: entry.server.as_ref().map(|server| server.value),
            upstream: None,
            all_servers: entry.all_servers.unwrap_or(false),
        };
        Self {
            model,
            source,
            name: source.name.into(),
            parts: Parts::empty(model, &policy),
            policy,
            siting,
            keys: Keys::default(),
            secrets: Secrets::of(source.api),
            homeless: 0,
            by_upstream: BTreeMap::new(),
            prefix: None,
            operations: Vec::new(),
        }
    }

    /// Compiles what all operations share and says what is wrong with it, once.
    pub fn check(&mut self, said: &mut Vec<Diagnostic>) {
        self.parts = Parts::compile(self.model, &self.policy, said);
        self.siting.upstream = self.parts.chosen.as_ref().map(Chosen::address);
        if !openapi::server_exists(self.source.api, &self.siting) {
            let count = self.source.api.servers.len();
            let place =
                self.source.entry.server.as_ref().map(|server| (*server.place).clone()).unwrap_or_default();
            said.push(
                Diagnostic::error(
                    codes::NO_SUCH_SERVER,
                    match count {
                        1 => "the description has one server, number 0".to_owned(),
                        _ => format!("the description has {count} servers, counted from 0"),
                    },
                )
                .at(place)
                .help("`gatewright routes FILE --format json` shows them in order"),
            );
        }
    }

    /// The plan of one operation; `None` when there is nowhere to send its requests.
    pub fn operation(
        &mut self,
        operation: &openapi::Operation,
        own: Option<Policy>,
        said: &mut Vec<Diagnostic>,
    ) -> Option<RoutePlan> {
        let merged = own.map(|own| {
            let limits_are_own = own.rate_limit.is_some();
            let policy = own.under(&self.policy);
            (Parts::compile(self.model, &policy, said), policy, limits_are_own)
        });
        let (parts, policy, limits_are_own) = match &merged {
            Some((parts, policy, own)) => (parts, policy, *own),
            None => (&self.parts, &self.policy, false),
        };
        self.operations.push(manner(operation, policy, parts));
        let mut siting = self.siting.clone();
        let own_address = merged.is_some() && own_upstream(policy) != own_upstream(&self.policy);
        if own_address {
            siting.upstream = parts.chosen.as_ref().map(Chosen::address);
            siting.all_servers = true;
        }
        let site = openapi::site(self.source.api, operation, &siting);
        let place = self.place(operation);
        let Some(url) = site.upstream.as_deref().and_then(|url| Url::parse(url).ok()) else {
            self.homeless += 1;
            return None;
        };
        let replaced = siting.upstream.is_some() && (operation.servers_of_document || siting.all_servers);
        let chosen = parts.chosen.as_ref().filter(|_| replaced);
        if !replaced {
            self.warn_internal(&url, said);
        }
        let template = template(&site, &place, said)?;
        let own_host = parts.rewrite.preserve_host;
        let key = self.keys.key(chosen, &url, parts.timeouts.connect, own_host);
        *self.by_upstream.entry(url.as_str().trim_end_matches('/').to_owned()).or_default() += 1;
        self.prefix = Some(common_prefix(self.prefix.take(), &site.prefix));
        let shown = format!("{} {}", operation.method, site.listed);
        let operation_name: Arc<str> = operation.operation_id.clone().unwrap_or_else(|| shown.clone()).into();
        let written = if limits_are_own {
            format!("{} {operation_name}", self.name).into()
        } else {
            Arc::clone(&self.name)
        };
        let mut rewrite = parts.rewrite.clone();
        rewrite.preserve_host |= chosen.is_some_and(|chosen| chosen.preserve_host);
        Some(RoutePlan {
            methods: vec![Methods::One(Method::from_bytes(operation.method.as_bytes()).ok()?)],
            template,
            conditions: conditions(operation),
            spans: spans(operation, policy),
            api: Arc::clone(&self.name),
            operation: operation_name,
            shown,
            security: SecurityPlan {
                requirements: security::requirements(self.source.api, operation),
                ..security_of(policy)
            },
            rate_limits: Arc::clone(&parts.limits),
            limits_written: written,
            upstream: key,
            strip: Strip::prefix(&site.prefix),
            prefix: url.path().trim_end_matches('/').into(),
            rewrite,
            timeouts: parts.timeouts,
            body_limit: parts.body_limit,
            uri_limit: parts.uri_limit,
            head_limit: parts.head_limit,
            field_limit: parts.field_limit,
            cap: parts.max_requests.map(|max_requests| CapPlan {
                identity: format!("{} {} {}", self.name, operation.method, operation.key).into(),
                max_requests,
            }),
            encoded_slash: policy.encoded_slash.unwrap_or_default(),
            cache: self.caching(operation, policy),
            secret_params: self.secrets.params.clone(),
            place,
        })
    }

    fn place(&self, operation: &openapi::Operation) -> Place {
        Place { file: self.source.file.to_owned(), pointer: operation.pointer.clone(), ..Place::default() }
    }

    fn caching(&self, operation: &openapi::Operation, policy: &Policy) -> Option<RouteCacheOptions> {
        let mut options = caching(policy)?;
        let fold = matches!(&policy.cache, Some(Switch::On(entry)) if entry.fold_defaults == Some(true));
        caching::declare(&mut options, operation, &self.secrets, fold);
        Some(options)
    }

    /// A description from the network that names an upstream inside this machine or network.
    fn warn_internal(&self, url: &Url, said: &mut Vec<Diagnostic>) {
        if !self.source.remote || !is_internal(url) {
            return;
        }
        let title = format!(
            "the fetched description sends requests to `{}`, inside this machine or network",
            url.as_str()
        );
        if said.iter().any(|d| d.code == codes::UPSTREAM_INTERNAL && d.title == title) {
            return;
        }
        said.push(
            Diagnostic::warning(codes::UPSTREAM_INTERNAL, title)
                .file(self.source.file)
                .help("name the upstream yourself with `--upstream URL` if that is right"),
        );
    }

    /// What is said about the API as a whole.
    pub fn finish(self, hosts: Vec<String>, said: &mut Vec<Diagnostic>) -> Summary {
        let served: usize = self.by_upstream.values().sum();
        if self.homeless > 0 {
            let title = match served {
                0 => "no usable server says where requests should go".to_owned(),
                _ => format!("{} operations have no usable server and are not served", self.homeless),
            };
            said.push(Diagnostic::warning(codes::NO_UPSTREAM, title).file(self.source.file).help(
                "name the upstream: `--upstream http://127.0.0.1:9000`, or `upstream:` in gatewright.yaml",
            ));
        }
        let mut upstreams: Vec<(String, usize)> = self.by_upstream.into_iter().collect();
        upstreams.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Summary {
            name: self.name,
            hosts,
            prefix: self.prefix.unwrap_or_default(),
            upstreams,
            security: self.policy.security.as_deref().copied().unwrap_or(Mode::Pass),
            security_by_default: self.policy.security.is_none(),
            operations: self.operations,
            documented: self.policy.docs.unwrap_or(true),
            siting: self.siting,
        }
    }
}

fn own_upstream(policy: &Policy) -> Option<&crate::config::UpstreamRef> {
    policy.upstream.as_ref().map(|upstream| &upstream.value)
}

/// The plan of a route without a description.
pub fn plain(
    model: &Model,
    entry: &model::Route,
    policy: &Policy,
    said: &mut Vec<Diagnostic>,
) -> Option<RoutePlan> {
    let parts = Parts::compile(model, policy, said);
    let Some(chosen) = &parts.chosen else {
        if policy.upstream.is_none() {
            said.push(
                Diagnostic::error(codes::KEY_MISSING, "the key `upstream` is missing")
                    .at((*entry.place).clone())
                    .help("a route without a description needs `upstream:` with a name or an address"),
            );
        }
        return None;
    };
    let url = &chosen.endpoints[0];
    let key = Keys::default().key(Some(chosen), url, parts.timeouts.connect, parts.rewrite.preserve_host);
    let shown = entry.path.value.to_string();
    let name: Arc<str> = shown.as_str().into();
    let methods = match entry.methods.as_slice() {
        [] => vec![Methods::Any],
        methods => methods.iter().cloned().map(Methods::One).collect(),
    };
    let mut rewrite = parts.rewrite.clone();
    rewrite.preserve_host |= chosen.preserve_host;
    Some(RoutePlan {
        methods,
        template: entry.path.value.clone(),
        conditions: Conditions::default(),
        spans: policy.spans.iter().flatten().map(|span| span.value.clone()).collect(),
        api: "routes".into(),
        operation: Arc::clone(&name),
        shown,
        security: security_of(policy),
        rate_limits: parts.limits,
        limits_written: name,
        upstream: key,
        strip: Strip::Bytes(0),
        prefix: url.path().trim_end_matches('/').into(),
        rewrite,
        timeouts: parts.timeouts,
        body_limit: parts.body_limit,
        uri_limit: parts.uri_limit,
        head_limit: parts.head_limit,
        field_limit: parts.field_limit,
        cap: parts.max_requests.map(|max_requests| CapPlan { identity: identity(entry), max_requests }),
        encoded_slash: policy.encoded_slash.unwrap_or_default(),
        cache: caching(policy),
        secret_params: Vec::new(),
        place: (*entry.place).clone(),
    })
}

/// What tells a route without a description from all others, in every generation.
fn identity(entry: &model::Route) -> Arc<str> {
    let hosts = entry.host.iter().flat_map(|many| &many.0).map(|host| host.value.0.as_str());
    let methods = entry.methods.iter().map(Method::as_str);
    let words: Vec<&str> = hosts.chain(["/"]).chain(methods).collect();
    format!("{} {}", words.join(" "), entry.path.value).into()
}

impl Parts {
    fn compile(model: &Model, policy: &Policy, said: &mut Vec<Diagnostic>) -> Self {
        let chosen =
            policy.upstream.as_ref().and_then(|reference| match upstream::choose(model, reference) {
                Ok(chosen) => Some(chosen),
                Err(error) => {
                    if !said.contains(&error) {
                        said.push(error);
                    }
                    None
                }
            });
        Self { chosen, ..Self::empty(model, policy) }
    }

    /// Everything but the upstream.
    fn empty(model: &Model, policy: &Policy) -> Self {
        let limits = policy.limits.clone().unwrap_or_default();
        let listener = Head::of(model);
        let head = listener.with(&limits);
        // What the listener judges already is not judged again.
        let narrower = |own: usize, whole: usize| if own < whole { own } else { usize::MAX };
        let body_limit = match limits.body {
            Some(Switch::Off) => u64::MAX,
            Some(Switch::On(size)) => size.0,
            None => BODY_LIMIT,
        };
        Self {
            chosen: None,
            rewrite: rewrite(policy),
            timeouts: timeouts(policy),
            body_limit,
            uri_limit: head.uri,
            head_limit: narrower(head.bytes, listener.bytes),
            field_limit: narrower(head.fields, listener.fields),
            max_requests: limits.max_requests.as_ref().map(|max| max.value),
            limits: rate_limits(policy),
        }
    }
}

fn rewrite(policy: &Policy) -> Rewrite {
    Rewrite {
        preserve_host: policy.preserve_host.unwrap_or(false),
        client_address: policy.forward_client_address.unwrap_or(true),
        credentials: policy.credentials.iter().flat_map(|many| &many.0).filter_map(credential).collect(),
        request: changes(policy.request_headers.as_ref()),
        response: changes(policy.response_headers.as_ref()),
    }
}

fn credential(entry: &model::Credential) -> Option<Credential> {
    if let Some(name) = &entry.header {
        let mut value = HeaderValue::from_str(&entry.value.0).ok()?;
        value.set_sensitive(true);
        return Some(Credential::Header(name.value.clone(), value));
    }
    let name = entry.query.as_ref()?;
    let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    Some(Credential::Query(format!("{}={}", escaped(name), escaped(&entry.value.0)).into()))
}

fn changes(entry: Option<&model::HeaderChanges>) -> HeaderChanges {
    let Some(entry) = entry else { return HeaderChanges::default() };
    let fields =
        |headers: &Option<model::Headers>| headers.iter().flat_map(|headers| headers.0.clone()).collect();
    HeaderChanges { remove: entry.remove.clone().into(), set: fields(&entry.set), add: fields(&entry.add) }
}

fn timeouts(policy: &Policy) -> Timeouts {
    let (entry, default) = (policy.timeouts.clone().unwrap_or_default(), Timeouts::default());
    let total = match entry.total {
        Some(Switch::On(total)) => Some(total),
        Some(Switch::Off) => None,
        None => default.total,
    };
    Timeouts {
        connect: entry.connect.unwrap_or(default.connect),
        first_byte: entry.first_byte.unwrap_or(default.first_byte),
        idle: entry.idle.unwrap_or(default.idle),
        total,
    }
}

fn rate_limits(policy: &Policy) -> Arc<[rate_limit::Config]> {
    let Some(Switch::On(limits)) = &policy.rate_limit else { return Arc::new([]) };
    let config = |limit: &model::RateLimit| rate_limit::Config {
        burst: limit.burst,
        per: limit.per.as_ref().map_or_else(|| vec![rate_limit::Per::Consumer], |many| many.0.clone()),
        count_cached: limit.count_cached.unwrap_or(true),
        name: limit.name.clone().unwrap_or_else(|| "default".to_owned()),
        ..rate_limit::Config::new(limit.limit.value, limit.window.value)
    };
    limits.0.iter().map(config).collect()
}

fn security_of(policy: &Policy) -> SecurityPlan {
    SecurityPlan {
        mode: policy.security.as_deref().copied().unwrap_or(Mode::Pass),
        explicit: policy.security.is_some(),
        public: policy.public.unwrap_or(false),
        forward_credentials: policy.forward_credentials.unwrap_or(false),
        requirements: None,
    }
}

/// The template of a site, unless no router can hold it.
fn template(site: &openapi::Site, place: &Place, said: &mut Vec<Diagnostic>) -> Option<Template> {
    Template::parse(&site.served)
        .map_err(|error| {
            let title = format!("`{}` cannot be routed: {}", site.listed, error.as_str());
            said.push(Diagnostic::warning(codes::PATH_REFUSED, title).at(place.clone()));
        })
        .ok()
}

/// The caching of a route without a description; `None` when it is off.
fn caching(policy: &Policy) -> Option<RouteCacheOptions> {
    let entry = match &policy.cache {
        Some(Switch::Off) => return None,
        Some(Switch::On(entry)) => entry.clone(),
        None => model::Caching::default(),
    };
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let default = RouteCacheOptions::default();
    Some(RouteCacheOptions {
        default_ttl_ms: entry.default_ttl.map(millis),
        heuristic: entry.heuristic.unwrap_or(false),
        grace_ms: entry.grace.map_or(0, millis),
        offline: entry.offline.unwrap_or(false),
        request_directives: match entry.request_directives {
            None | Some(model::RequestDirectives::Honour) => RequestDirectiveMode::Honour,
            Some(model::RequestDirectives::Ignore) => RequestDirectiveMode::Ignore,
        },
        busting_floor_ms: entry.reload_interval.map_or(0, millis),
        targets: entry.targeted.map_or(default.targets, |names| names.0.into()),
        set_cookie: match entry.set_cookie {
            None | Some(model::SetCookie::Drop) => SetCookie::Drop,
            Some(model::SetCookie::Keep) => SetCookie::Keep,
            Some(model::SetCookie::Refuse) => SetCookie::Refuse,
        },
        surrogate_control: entry.surrogate_control.unwrap_or(false),
        shared: entry.shared.unwrap_or(false),
        undeclared_query: match entry.undeclared_query {
            None | Some(Undeclared::Key) => UndeclaredQuery::Key,
            Some(Undeclared::Ignore) => UndeclaredQuery::Ignore,
            Some(Undeclared::Bypass) => UndeclaredQuery::Bypass,
        },
        languages: entry
            .languages
            .iter()
            .flat_map(|many| &many.0)
            .map(|language| language.0.clone())
            .collect(),
        ..default
    })
}

/// How an operation is shown in the documentation.
fn manner(operation: &openapi::Operation, policy: &Policy, parts: &Parts) -> Manner {
    let SecurityPlan { mode, public, .. } = security_of(policy);
    // An empty requirement is met by everyone.
    let asks = |all: &Vec<openapi::Requirement>| !all.is_empty() && all.iter().all(|one| !one.is_empty());
    Manner {
        documented: policy.docs.unwrap_or(true),
        security: mode,
        public,
        checked: match mode {
            Mode::Pass => false,
            Mode::Enforce => operation.security.as_ref().is_some_and(asks),
            Mode::Gateway => !public,
        },
        limited: !parts.limits.is_empty(),
    }
}

fn conditions(operation: &openapi::Operation) -> Conditions {
    let openapi::Conditions { query, header } = operation.conditions.clone();
    Conditions { query, header }
}

fn spans(operation: &openapi::Operation, policy: &Policy) -> Vec<String> {
    let configured = policy.spans.iter().flatten().map(|span| span.value.clone());
    operation.spans.iter().cloned().chain(configured).collect()
}

/// Whole segments that both begin with.
fn common_prefix(known: Option<String>, next: &str) -> String {
    let Some(known) = known else { return next.to_owned() };
    let same = known.split('/').zip(next.split('/')).take_while(|(a, b)| a == b);
    same.map(|(segment, _)| segment).collect::<Vec<_>>().join("/")
}

/// Loopback, link-local, private and unspecified addresses, and the names of this machine.
fn is_internal(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => {
            name == "localhost" || [".localhost", ".local", ".internal"].iter().any(|end| name.ends_with(end))
        }
        Some(url::Host::Ipv4(ip)) => {
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified()
        }
        Some(url::Host::Ipv6(ip)) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local() || ip.is_unique_local()
        }
        None => false,
    }
}
