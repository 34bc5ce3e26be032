//! From the configuration as written and the imported descriptions to the plan of a generation. Pure.
//!
//! Who wins, key by key, from the weakest to the strongest: the configuration's root, the description's
//! `x-gatewright`, the API's entry in the configuration (and so the command line), `x-gatewright` of the path
//! item, of the operation.

mod caching;
mod route;
mod security;
mod upstream;

use std::{collections::HashSet, sync::Arc};

use super::{
    Location, Model, Pem, Spanned, Switch, bounds,
    model::{self, Policy},
    read_extension,
    record::Deep,
};
use crate::{
    diagnostic::{Diagnostic, Place, codes},
    gateway::plan::{DocsPlan, HostPlan, Plan, RoutePlan},
    openapi,
    policy::{
        identity::{
            consumer,
            issuer::{self, KeySource},
            keyset::Source as KeySet,
        },
        security::Mode,
    },
    shared,
};
use route::Common;

/// One imported description with the entry of `apis` that names it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub entry: &'a model::Api,
    pub api: &'a openapi::Api,
    /// Shown in diagnostics.
    pub file: &'a str,
    /// The API's name, unique among all.
    pub name: &'a str,
    /// Where the API is mounted instead of where the entry says: a folder's APIs that would overlap.
    pub mount: Option<&'a str>,
    /// The description came from the network: it may not configure the gateway, and its servers are
    /// somebody else's word.
    pub remote: bool,
}

/// What compiling found about one API, for the start-up page and the documentation.
#[derive(Clone, Debug)]
pub struct Summary {
    pub name: Arc<str>,
    pub hosts: Vec<String>,
    /// What all its paths begin with.
    pub prefix: String,
    /// The upstreams with the number of operations that go to each, most first.
    pub upstreams: Vec<(String, usize)>,
    pub security: Mode,
    pub security_by_default: bool,
    /// How each of the description's operations is treated, in their order.
    pub operations: Vec<Manner>,
    /// Whether it is shown in the documentation.
    pub documented: bool,
    pub siting: openapi::Siting,
}

/// How one operation is treated, for the documentation.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub documented: bool,
    pub security: Mode,
    /// Under `gateway`: no credential is needed.
    pub public: bool,
    /// A caller without the right credentials is refused here.
    pub checked: bool,
    pub limited: bool,
}

/// The result of compiling.
#[derive(Debug)]
pub struct Compiled {
    pub plan: Plan,
    pub summaries: Vec<Summary>,
    pub diagnostics: Vec<Diagnostic>,
}

const DEFAULT_DOCS: &str = "/docs";

/// Compiles a configuration.
#[must_use]
pub fn compile(model: &Model, sources: &[Source<'_>]) -> Compiled {
    let mut compiler = Compiler { model, said: Vec::new(), routes: Vec::new() };
    let outermost = outermost(model);
    let summaries = sources.iter().map(|source| compiler.api(source, &outermost)).collect();
    for entry in &model.routes {
        compiler.route(entry, &outermost);
    }
    let hosts = by_host(std::mem::take(&mut compiler.routes));
    let plan = Plan {
        hosts,
        trusted_proxies: model.trusted_proxies.iter().map(|range| range.network).collect(),
        consumers: model.consumers.iter().map(consumer).collect(),
        issuers: model.issuers.iter().filter_map(|entry| compiler.issuer(entry)).collect(),
        docs: docs(model),
    };
    Compiled { plan, summaries, diagnostics: compiler.said }
}

/// How Redis is reached, where one is configured.
#[must_use]
pub fn redis(model: &Model) -> Option<shared::Config> {
    let redis = model.redis.as_ref()?;
    let mut address = redis.url.value.clone();
    if let Some(username) = &redis.username {
        address.username = Some(username.value.clone());
    }
    if let Some(password) = &redis.password {
        address.password = Some(password.0.clone());
    }
    let mut config = shared::Config::new(address);
    if let Some(prefix) = &redis.prefix {
        prefix.0.clone_into(&mut config.prefix);
    }
    if let Some(clock) = &redis.connect_timeout {
        config.connect_timeout = clock.value;
    }
    if let Some(clock) = &redis.reply_timeout {
        config.reply_timeout = clock.value;
    }
    Some(config)
}

/// A route with the hosts it is served on; none = every host.
struct Placed {
    hosts: Arc<[String]>,
    plan: RoutePlan,
}

struct Compiler<'a> {
    model: &'a Model,
    said: Vec<Diagnostic>,
    routes: Vec<Placed>,
}

impl Compiler<'_> {
    fn api(&mut self, source: &Source<'_>, outermost: &Policy) -> Summary {
        let document = self.extension(source, source.api.extension.as_ref());
        let policy = source.entry.policy.clone().under(&document.unwrap_or_default().under(outermost));
        let hosts: Arc<[String]> = hosts(source.entry.host.as_ref());
        let mut common = Common::new(self.model, source, policy);
        common.check(&mut self.said);
        for operation in &source.api.operations {
            let own = self.extensions(source, operation);
            if let Some(plan) = common.operation(operation, own, &mut self.said) {
                self.routes.push(Placed { hosts: Arc::clone(&hosts), plan });
            }
        }
        common.finish(hosts.to_vec(), &mut self.said)
    }

    fn route(&mut self, entry: &model::Route, outermost: &Policy) {
        let policy = entry.policy.clone().under(outermost);
        let hosts = hosts(entry.host.as_ref());
        if let Some(plan) = route::plain(self.model, entry, &policy, &mut self.said) {
            self.routes.push(Placed { hosts, plan });
        }
    }

    /// The keys of path item and operation, merged; `None` when there are none.
    fn extensions(&mut self, source: &Source<'_>, operation: &openapi::Operation) -> Option<Policy> {
        let mut merged: Option<Policy> = None;
        // All of them are read, so that all that is wrong is said at once.
        for extension in &operation.extensions {
            let Some(own) = self.extension(source, Some(extension)) else { continue };
            merged = Some(match merged {
                Some(outer) => own.under(&outer),
                None => own,
            });
        }
        merged
    }

    fn issuer(&mut self, entry: &model::Issuer) -> Option<issuer::Config> {
        let keys = match (&entry.jwks, &entry.key) {
            (Some(jwks), None) => KeySource::Jwks(match &jwks.value {
                Location::File(path) => KeySet::File(path.into()),
                Location::Url(url) => KeySet::Url(url.as_str().to_owned()),
            }),
            (None, Some(key)) => match (&key.pem, &key.secret) {
                (Some(pem), None) => KeySource::PublicKey(match &pem.value {
                    Pem::Text(text) => text.0.clone(),
                    Pem::File(path) => path.clone(),
                }),
                (None, Some(secret)) => KeySource::Secret(secret.0.clone()),
                _ => return self.wrong_issuer(entry, "a key is either `pem` or `secret`"),
            },
            _ => return self.wrong_issuer(entry, "give it `jwks` or `key`"),
        };
        let named = entry.key.iter().map(|key| key.algorithm.value.clone());
        let config = issuer::Config {
            audience: entry.audience.as_ref().map(|many| many.0.clone()).unwrap_or_default(),
            algorithms: entry
                .algorithms
                .iter()
                .map(|algorithm| algorithm.value.clone())
                .chain(named)
                .collect(),
            typ: entry.token_type.clone(),
            ..issuer::Config::new(entry.issuer.as_deref().unwrap_or(&entry.name.value), keys)
        };
        Some(match entry.leeway {
            Some(leeway) => issuer::Config { leeway, ..config },
            None => config,
        })
    }

    fn wrong_issuer(&mut self, entry: &model::Issuer, help: &str) -> Option<issuer::Config> {
        let title = format!("the keys of the issuer `{}` are not clear", entry.name.value);
        self.said.push(Diagnostic::error(codes::KEYS_CONFLICT, title).at((*entry.place).clone()).help(help));
        None
    }

    fn extension(&mut self, source: &Source<'_>, extension: Option<&openapi::Extension>) -> Option<Policy> {
        let extension = extension?;
        let document = source.api.documents.get(extension.file as usize);
        // Without the source line: it may hold a secret.
        let place = |pointer: &str| match document {
            Some(document) => Place { source: String::new(), ..document.find(pointer) },
            None => Place { file: source.file.to_owned(), pointer: pointer.to_owned(), ..Place::default() },
        };
        if source.remote {
            let place = place(&extension.pointer);
            if !self.said.iter().any(|d| d.code == codes::EXTENSION_IGNORED && d.place.file == place.file) {
                self.said.push(
                    Diagnostic::warning(
                        codes::EXTENSION_IGNORED,
                        "`x-gatewright` of a fetched description is not obeyed",
                    )
                    .at(place)
                    .help(
                        "download the description and run the file, or write these keys into gatewright.yaml",
                    ),
                );
            }
            return None;
        }
        let (policy, mut found) = read_extension(source.file, &extension.pointer, &extension.value);
        if let Some(policy) = &policy {
            bounds::check(policy, self.model, &mut found);
        }
        for diagnostic in found {
            let place = place(&diagnostic.place.pointer);
            let diagnostic = diagnostic.at(place);
            // That of a path item is read for each of its operations.
            if !self.said.contains(&diagnostic) {
                self.said.push(diagnostic);
            }
        }
        policy
    }
}

/// What the configuration's root says for every route.
fn outermost(model: &Model) -> Policy {
    Policy {
        timeouts: model.timeouts.as_ref().map(|timeouts| timeouts.route.clone()),
        limits: model.limits.as_ref().map(|limits| limits.route.clone()),
        forward_client_address: model.forward_client_address,
        ..Policy::default()
    }
}

fn hosts(hosts: Option<&super::Many<Spanned<super::HostName>>>) -> Arc<[String]> {
    let named = hosts.into_iter().flat_map(|many| many.0.iter()).map(|host| host.value.0.clone());
    named.filter(|host| host != "*").collect()
}

/// Sorts routes into virtual hosts. A route without a host is served on all of them, behind those that name it.
fn by_host(routes: Vec<Placed>) -> Vec<HostPlan> {
    let mut names: Vec<String> = Vec::new();
    let mut known = HashSet::new();
    for host in routes.iter().flat_map(|route| route.hosts.iter()) {
        if known.insert(host.clone()) {
            names.push(host.clone());
        }
    }
    let everywhere = || routes.iter().filter(|route| route.hosts.is_empty()).map(|route| route.plan.clone());
    let mut hosts: Vec<HostPlan> = names
        .into_iter()
        .map(|host| {
            let own =
                routes.iter().filter(|route| route.hosts.contains(&host)).map(|route| route.plan.clone());
            HostPlan { routes: own.chain(everywhere()).collect(), host }
        })
        .collect();
    let rest: Vec<RoutePlan> =
        routes.into_iter().filter(|route| route.hosts.is_empty()).map(|route| route.plan).collect();
    if !rest.is_empty() {
        hosts.push(HostPlan { host: "*".to_owned(), routes: rest });
    }
    hosts
}

fn docs(model: &Model) -> Option<DocsPlan> {
    let at = |docs: &model::Docs| DocsPlan {
        prefix: docs.path.as_ref().map_or(DEFAULT_DOCS, |path| &path.0).to_owned(),
        protected: docs.protected.unwrap_or(false),
    };
    match model.docs.as_deref() {
        Some(Switch::Off) => None,
        Some(Switch::On(docs)) => Some(at(docs)),
        None => Some(DocsPlan { prefix: DEFAULT_DOCS.to_owned(), protected: false }),
    }
}

fn consumer(entry: &model::Consumer) -> consumer::Config {
    consumer::Config {
        name: entry.name.value.clone(),
        groups: entry.groups.clone(),
        keys: entry.keys.iter().map(|key| key.value.0.clone()).collect(),
        subjects: entry
            .subjects
            .iter()
            .map(|subject| consumer::Subject { issuer: None, subject: subject.value.clone() })
            .collect(),
    }
}
