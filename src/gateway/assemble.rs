//! From a plan to a generation: live handles are adopted, policies compiled, routers generated.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use http::{HeaderMap, Method};

use super::{
    Gateway, Host, Live, MountedPages, Network, Pages, Route,
    plan::{DocsPlan, HostPlan, Plan, RoutePlan, SecurityPlan},
    route::{PurgeRight, Target},
};
use crate::{
    cache::{Owner, RouteCacheOptions},
    diagnostic::{Diagnostic, Place, codes},
    exchange::now_ms,
    policy::{
        Policy,
        identity::{Consumers, Tokens},
        rate_limit::{RateLimit, Scope},
        security::{self, Gap, Security},
    },
    route::{self, Found, Hosts, RouteSpec},
    telemetry::{OperationMetrics, UpstreamMetrics},
    upstream::{Upstream, UpstreamKey},
};

/// Builds the generation `number`. Errors mean that it must not serve; warnings come with one that may.
pub fn assemble(
    plan: Plan,
    number: u64,
    live: &Live,
    pages: Option<MakePages<'_>>,
) -> (Option<Gateway>, Vec<Diagnostic>) {
    let (tokens, said) = match Tokens::compile(&plan.issuers, &live.key_sets) {
        Ok((tokens, warnings)) => (tokens.map(Arc::new), warnings),
        Err(faults) => return (None, faults.into_iter().map(|fault| *fault).collect()),
    };
    let consumers = match Consumers::compile(&plan.consumers, &live.keys) {
        Ok(consumers) => Arc::new(consumers),
        Err(faults) => return (None, faults.into_iter().map(|fault| *fault).collect()),
    };
    let mut builder = Builder::new(live, consumers, tokens, said);
    let mut hosts = Hosts::default();
    for host in plan.hosts {
        builder.host(&mut hosts, host);
    }
    let pages = pages.zip(plan.docs).map(|(pages, docs)| builder.pages(pages, &docs, &hosts));
    builder.report_gaps();
    let problem_path =
        pages.as_ref().map(|mounted| format!("{}/problems/", mounted.prefix.trim_end_matches('/')).into());
    let gateway = Gateway {
        number,
        created_ms: now_ms(),
        hosts,
        trusted_proxies: Vec::<Network>::into_boxed_slice(plan.trusted_proxies),
        pages,
        problem_path,
    };
    let failed = builder.said.iter().any(Diagnostic::is_error);
    ((!failed).then_some(gateway), builder.said)
}

/// Makes the pages for the path under which they are served.
pub type MakePages<'a> = &'a dyn Fn(&str) -> Arc<dyn Pages>;

/// Where the pages go when routes take every other place: here they win over a route that takes all paths.
const RESERVED: &str = "/.well-known/gatewright/docs";

/// Whether no route of the host takes a page under `prefix`.
fn is_free(host: &Host, prefix: &str) -> bool {
    ["", "/x", "/x/openapi.json", "/problems/x", "/assets/x"].iter().all(|page| {
        let path = format!("{prefix}{page}");
        matches!(host.table.find(&Method::GET, &path, None, &HeaderMap::new()), Found::NotFound)
    })
}

/// Operations with what cannot be checked for them.
type Gaps = Vec<(String, Gap)>;

struct Builder<'a> {
    live: &'a Live,
    consumers: Arc<Consumers>,
    tokens: Option<Arc<Tokens>>,
    upstreams: HashMap<Arc<UpstreamKey>, (Arc<Upstream>, Arc<UpstreamMetrics>)>,
    purge_rights: HashMap<(Arc<str>, Vec<String>), Arc<PurgeRight>>,
    said: Vec<Diagnostic>,
    /// What cannot be checked, by API: its place, then each operation with its gap.
    gaps: BTreeMap<Arc<str>, (Place, Gaps)>,
}

impl<'a> Builder<'a> {
    fn new(
        live: &'a Live,
        consumers: Arc<Consumers>,
        tokens: Option<Arc<Tokens>>,
        said: Vec<Diagnostic>,
    ) -> Self {
        let (upstreams, purge_rights, gaps) = (HashMap::new(), HashMap::new(), BTreeMap::new());
        Self { live, consumers, tokens, upstreams, purge_rights, said, gaps }
    }

    fn host(&mut self, hosts: &mut Hosts<Host>, plan: HostPlan) {
        let specs = plan.routes.iter().zip(0..).flat_map(|(route, id)| specs(route, id)).collect();
        let (table, conflicts) = route::compile(specs);
        for conflict in conflicts {
            self.conflict(&plan.routes, conflict.kept as usize, conflict.dropped as usize);
        }
        let routes = plan.routes.into_iter().map(|route| Arc::new(self.route(route))).collect();
        match hosts.entry(&plan.host, || Host { table, routes }) {
            Ok(_) => {}
            Err(error) => self
                .said
                .push(Diagnostic::error(codes::HOST_INVALID, format!("`{}`: {}", plan.host, error.as_str()))),
        }
    }

    /// Two APIs of one host claim one route; the first keeps it.
    fn conflict(&mut self, routes: &[RoutePlan], first: usize, second: usize) {
        let (first, second) = (&routes[first], &routes[second]);
        // Of one description the importer has said so already; the lines of a configuration are known.
        let described = second.place.line == 0;
        if first.api == second.api && described {
            return;
        }
        let title = if first.api == second.api {
            format!("`{}` stands before this already", first.shown)
        } else {
            format!("`{}` of `{}` is served by `{}` already", second.shown, second.api, first.api)
        };
        self.said.push(
            Diagnostic::warning(codes::ROUTE_TAKEN, title)
                .at(second.place.clone())
                .help("give one of the two another `mount` or `host`; until then the first one answers"),
        );
    }

    fn route(&mut self, plan: RoutePlan) -> Route {
        let (upstream, upstream_metrics) = self.upstream(&plan.upstream);
        let policies = self.policies(&plan);
        let owner = Owner::of(&plan.api, &plan.operation);
        Route {
            template: plan.template.to_string().into(),
            purge: self.purge_right(&plan),
            metrics: self.operation(&plan),
            upstream_metrics,
            api: plan.api,
            operation: plan.operation,
            secret_params: plan.secret_params,
            policies,
            target: Target { upstream, strip: plan.strip, prefix: (&*plan.prefix).into() },
            rewrite: plan.rewrite,
            timeouts: plan.timeouts,
            body_limit: plan.body_limit,
            uri_limit: plan.uri_limit,
            head_limit: plan.head_limit,
            field_limit: plan.field_limit,
            cap: plan.cap.map(|cap| self.live.caps.adopt(&cap.identity, cap.max_requests)),
            encoded_slash: plan.encoded_slash,
            cache: plan.cache.map(|options| RouteCacheOptions { owner, ..options }),
            spans: plan.spans.into(),
        }
    }

    /// The routes of an API that say the same share it.
    fn purge_right(&mut self, plan: &RoutePlan) -> Option<Arc<PurgeRight>> {
        if plan.purge.is_empty() {
            return None;
        }
        let key = (Arc::clone(&plan.api), plan.purge.clone());
        if let Some(known) = self.purge_rights.get(&key) {
            return Some(Arc::clone(known));
        }
        let own = SecurityPlan {
            mode: security::Mode::Gateway,
            explicit: true,
            public: false,
            forward_credentials: true,
            requirements: None,
        };
        let policies = self.security(&own, &plan.api).policy.map(Policy::from).into_iter().collect();
        let right = Arc::new(PurgeRight { policies, consumers: plan.purge.clone().into() });
        self.purge_rights.insert(key, Arc::clone(&right));
        Some(right)
    }

    fn operation(&self, plan: &RoutePlan) -> Arc<OperationMetrics> {
        self.live.telemetry.metrics.operation(&plan.api, &plan.operation)
    }

    fn upstream(&mut self, key: &Arc<UpstreamKey>) -> (Arc<Upstream>, Arc<UpstreamMetrics>) {
        let live = self.live;
        let adopt = || (live.upstreams.adopt((**key).clone()), live.telemetry.metrics.upstream(&key.name));
        self.upstreams.entry(Arc::clone(key)).or_insert_with(adopt).clone()
    }

    fn policies(&mut self, plan: &RoutePlan) -> Box<[Policy]> {
        let mut policies = Vec::new();
        let compiled = self.security(&plan.security, &plan.api);
        policies.extend(compiled.policy.map(Policy::from));
        if !compiled.gaps.is_empty() {
            let place = Place { file: plan.place.file.clone(), ..Place::default() };
            let (_, gaps) = self.gaps.entry(Arc::clone(&plan.api)).or_insert((place, Vec::new()));
            gaps.extend(compiled.gaps.into_iter().map(|gap| (plan.shown.clone(), gap)));
        }
        if !plan.rate_limits.is_empty() {
            let scope = Scope { written: &plan.limits_written, api: &plan.api, operation: &plan.operation };
            match RateLimit::compile(&plan.rate_limits, scope, &self.live.limiters) {
                Ok(limit) => {
                    let metrics = &self.live.telemetry.metrics;
                    policies.push(limit.counted(|name| metrics.limit_refused(&plan.api, name)).into());
                }
                Err(fault) => self.said.push(fault.at(plan.place.clone())),
            }
        }
        Policy::chain(policies)
    }

    fn security(&self, plan: &SecurityPlan, realm: &str) -> security::Compiled {
        Security::compile(security::Config {
            mode: plan.mode,
            explicit: plan.explicit,
            public: plan.public,
            forward_credentials: plan.forward_credentials,
            requirements: plan.requirements.as_deref(),
            own_keys: &[],
            realm,
            consumers: &self.consumers,
            tokens: self.tokens.as_ref(),
        })
    }

    fn pages(&self, make: MakePages<'_>, docs: &DocsPlan, hosts: &Hosts<Host>) -> MountedPages {
        let places = [docs.prefix.as_str(), "/-/docs", RESERVED];
        let free = places.into_iter().find(|place| hosts.iter().all(|(_, host)| is_free(host, place)));
        let prefix = free.unwrap_or(RESERVED);
        let plan = SecurityPlan {
            mode: security::Mode::Gateway,
            explicit: true,
            public: !docs.protected,
            forward_credentials: true,
            requirements: None,
        };
        let policies = self.security(&plan, "docs").policy.map(Policy::from).into_iter().collect();
        MountedPages { prefix: prefix.into(), first: free.is_none(), policies, pages: make(prefix) }
    }

    /// One warning per scheme and API, not one per operation.
    fn report_gaps(&mut self) {
        for (place, gaps) in std::mem::take(&mut self.gaps).into_values() {
            let gaps = gaps.iter().map(|(operation, gap)| (operation.as_str(), gap));
            self.said.extend(security::warnings(gaps).into_iter().map(|warning| warning.at(place.clone())));
        }
    }
}

/// The router's view of a route, one per method.
fn specs(route: &RoutePlan, id: u32) -> impl Iterator<Item = RouteSpec> + '_ {
    route.methods.iter().map(move |methods| RouteSpec {
        methods: methods.clone(),
        template: route.template.clone(),
        conditions: route.conditions.clone(),
        spans: route.spans.clone(),
        id,
    })
}
