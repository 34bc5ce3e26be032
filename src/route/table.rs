//! The compiled routes of one virtual host: the Axum router that chooses a shape, and the segments to go on
//! with when none of its candidates fits.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    future::{Future, Ready, ready},
    ops::ControlFlow,
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum::{Router, body::Body, extract::Request, response::Response};
use foldhash::fast::RandomState;
use http::{HeaderMap, HeaderValue, Method, Uri, uri::PathAndQuery};
use tower::Service;

use super::{
    Asked, Conditions, Found, Methods, Params, RouteSpec,
    pattern::{Pattern, Values},
};

const ROOT: u32 = 0;

/// Two routes that no request can tell apart: same pattern, method and conditions. The first stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub kept: u32,
    pub dropped: u32,
}

/// The routes of one virtual host.
#[derive(Debug)]
pub struct HostRoutes {
    /// `None` where no shape has a template of its own: every path is for the walk to tell.
    router: Option<Router>,
    nodes: Vec<Node>,
    len: usize,
}

/// A place in the tree of segments.
#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, u32, RandomState>,
    parameter: Option<u32>,
    /// Patterns of this shape: those whose segments all led here.
    ends: Vec<Candidate>,
    /// Patterns that span segments from here on.
    rests: Vec<Candidate>,
}

/// A pattern with the routes that have it.
#[derive(Debug)]
struct Candidate {
    pattern: Pattern,
    /// Those that ask for more conditions first.
    routes: Vec<Route>,
}

#[derive(Debug)]
struct Route {
    methods: Methods,
    conditions: Conditions,
    names: Box<[Box<str>]>,
    id: u32,
}

/// What the Axum route of a path says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chosen {
    /// The shape of this node, narrower than every other that fits the path.
    Shape(u32),
    /// Something spans segments here: only the walk tells.
    Walk,
}

/// Compiles the routes of one host. Linear in their number, but for sorting.
#[must_use]
pub fn compile(specs: Vec<RouteSpec>) -> (HostRoutes, Vec<Conflict>) {
    let mut builder = Builder { nodes: vec![Node::default()], ..Builder::default() };
    for spec in specs {
        builder.add(spec);
    }
    for node in &mut builder.nodes {
        for candidates in [&mut node.ends, &mut node.rests] {
            candidates.sort_by(|a, b| a.pattern.rank.cmp(&b.pattern.rank));
            for candidate in candidates {
                candidate.routes.sort_by(|a, b| a.conditions.rank().cmp(&b.conditions.rank()));
            }
        }
    }
    let mut shapes = BTreeMap::new();
    shapes_below(&builder.nodes, ROOT, &mut String::new(), false, &mut shapes);
    let router = shapes.values().any(|chosen| matches!(chosen, Chosen::Shape(_))).then(|| {
        shapes.into_iter().fold(Router::new().without_v07_checks(), |router, (shape, chosen)| {
            router.route_service(&shape, Decision(chosen))
        })
    });
    let Builder { nodes, seen, conflicts, .. } = builder;
    (HostRoutes { router, nodes, len: seen.len() }, conflicts)
}

impl HostRoutes {
    /// How many routes there are; one of several methods counts once for each.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Finds the route of a request. `path` is canonical; parameter values are slices of it.
    #[must_use]
    pub fn find<'p>(
        &self,
        method: &Method,
        path: &'p str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Found<'_, 'p> {
        let asked = Asked { method, path, query, headers };
        match self.choose(path) {
            None => return Found::NotFound,
            Some(Chosen::Shape(node)) => {
                for candidate in &self.nodes[node as usize].ends {
                    if let Some(values) = candidate.pattern.matches(path)
                        && let Some(route) = candidate.choose(&asked)
                    {
                        return route.found(values);
                    }
                }
            }
            Some(Chosen::Walk) => {}
        }
        let mut walk = Walk { nodes: &self.nodes, asked, found: None, allow: Vec::new() };
        let _ = walk.visit(ROOT, path);
        walk.outcome()
    }

    /// Asks Axum. Its handlers are ready at once, so one poll is enough and nothing waits.
    fn choose(&self, path: &str) -> Option<Chosen> {
        let Some(router) = &self.router else { return Some(Chosen::Walk) };
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = Uri::from(PathAndQuery::try_from(path).ok()?);
        match pin!(router.clone().call(request)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(response)) => response.extensions().get().copied(),
            Poll::Pending => Some(Chosen::Walk),
        }
    }
}

/// The handler of a shape, for any method: it answers with the decision and nothing else.
#[derive(Clone, Copy)]
struct Decision(Chosen);

impl Service<Request> for Decision {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let mut response = Response::default();
        // Axum has made the request's map already; using it again saves making another.
        std::mem::swap(response.extensions_mut(), request.extensions_mut());
        response.extensions_mut().insert(self.0);
        ready(Ok(response))
    }
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    /// Where each pattern stands: its node, and its place among those of the node.
    patterns: HashMap<String, (u32, usize), RandomState>,
    seen: HashMap<(u32, bool, usize, Methods, Conditions), u32, RandomState>,
    conflicts: Vec<Conflict>,
}

impl Builder {
    fn add(&mut self, spec: RouteSpec) {
        let RouteSpec { methods, template, mut conditions, spans, id } = spec;
        conditions.normalise();
        let pattern = Pattern::new(&template, &spans);
        let fixed = pattern.is_fixed();
        let (node, place) = match self.patterns.get(&pattern.rank.text) {
            Some(&known) => known,
            None => {
                let node = self.node(&template, pattern.fixed);
                let key = pattern.rank.text.clone();
                let candidates = self.candidates(node, fixed);
                candidates.push(Candidate { pattern, routes: Vec::new() });
                let place = candidates.len() - 1;
                self.patterns.insert(key, (node, place));
                (node, place)
            }
        };
        let key = (node, fixed, place, methods.clone(), conditions.clone());
        if let Some(&kept) = self.seen.get(&key) {
            self.conflicts.push(Conflict { kept, dropped: id });
            return;
        }
        self.seen.insert(key, id);
        let names = template.names().map(Box::from).collect();
        self.candidates(node, fixed)[place].routes.push(Route { methods, conditions, names, id });
    }

    fn candidates(&mut self, node: u32, fixed: bool) -> &mut Vec<Candidate> {
        let node = &mut self.nodes[node as usize];
        if fixed { &mut node.ends } else { &mut node.rests }
    }

    /// The node that the first `fixed` segments lead to; made where it is missing.
    fn node(&mut self, template: &super::Template, fixed: usize) -> u32 {
        let mut at = ROOT;
        for segment in &template.segments[..fixed] {
            let new = self.nodes.len() as u32;
            let node = &mut self.nodes[at as usize];
            at = match &segment[..] {
                [] => *node.literals.entry(Box::default()).or_insert(new),
                [super::Part::Literal(text)] => *node.literals.entry(text.as_str().into()).or_insert(new),
                _ => *node.parameter.get_or_insert(new),
            };
            if at == new {
                self.nodes.push(Node::default());
            }
        }
        at
    }
}

/// Collects the Axum paths of a node and all below it. `path` is that of the node.
///
/// Axum cannot hold `/a/{p1}` beside `/a/{*rest}`. Where both are wanted, the catch-all goes one segment on,
/// to `/a/{p1}/{*rest}`, again and again, until no parameter stands in its place; `spanned` says that one
/// comes from above.
fn shapes_below(
    nodes: &[Node],
    at: u32,
    path: &mut String,
    spanned: bool,
    shapes: &mut BTreeMap<String, Chosen>,
) {
    let node = &nodes[at as usize];
    let spanned = spanned || !node.rests.is_empty();
    if !node.ends.is_empty() {
        shapes.insert(path.clone(), Chosen::Shape(at));
    }
    if spanned {
        if !path.is_empty() {
            shapes.entry(path.clone()).or_insert(Chosen::Walk);
        }
        shapes.entry(format!("{path}/")).or_insert(Chosen::Walk);
    }
    let length = path.len();
    for (text, &child) in &node.literals {
        path.push('/');
        path.push_str(text);
        shapes_below(nodes, child, path, false, shapes);
        path.truncate(length);
    }
    if let Some(child) = node.parameter {
        let position = path.matches('{').count() + 1;
        path.push_str(&format!("/{{p{position}}}"));
        shapes_below(nodes, child, path, spanned, shapes);
        path.truncate(length);
    } else if spanned {
        shapes.insert(format!("{path}/{{*rest}}"), Chosen::Walk);
    }
}

/// Tries candidates in the order of precedence until a route is found.
struct Walk<'r, 'p, 'a> {
    nodes: &'r [Node],
    asked: Asked<'p, 'a>,
    found: Option<Found<'r, 'p>>,
    /// Methods that the path takes.
    allow: Vec<&'r Methods>,
}

impl<'r, 'p> Walk<'r, 'p, '_> {
    /// `rest` is what of the path lies below the node: empty, or from a slash on.
    fn visit(&mut self, at: u32, rest: &'p str) -> ControlFlow<()> {
        let node = &self.nodes[at as usize];
        if let Some(rest) = rest.strip_prefix('/') {
            let (segment, below) = rest.split_at(memchr::memchr(b'/', rest.as_bytes()).unwrap_or(rest.len()));
            if let Some(&child) = node.literals.get(segment) {
                self.visit(child, below)?;
            }
            if let Some(child) = node.parameter
                && !segment.is_empty()
            {
                self.visit(child, below)?;
            }
        } else {
            node.ends.iter().try_for_each(|candidate| self.judge(candidate))?;
        }
        node.rests.iter().try_for_each(|candidate| self.judge(candidate))
    }

    fn judge(&mut self, candidate: &'r Candidate) -> ControlFlow<()> {
        let Some(values) = candidate.pattern.matches(self.asked.path) else {
            return ControlFlow::Continue(());
        };
        if let Some(route) = candidate.choose(&self.asked) {
            self.found = Some(route.found(values));
            return ControlFlow::Break(());
        }
        let before = self.allow.len();
        self.allow.extend(candidate.holding(&self.asked).map(|route| &route.methods));
        let lacks_method = candidate.routes.iter().all(|route| route.rank(self.asked.method).is_none());
        if candidate.pattern.literal && lacks_method && self.allow.len() > before {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn outcome(self) -> Found<'r, 'p> {
        match self.found {
            Some(found) => found,
            None if self.allow.is_empty() => Found::NotFound,
            None => Found::MethodNotAllowed { allow: allow(&self.allow) },
        }
    }
}

impl Candidate {
    /// The route of the method asked for whose conditions hold: of several the one that names the method
    /// best, then the first.
    fn choose(&self, asked: &Asked) -> Option<&Route> {
        let mut best: Option<(u8, &Route)> = None;
        for route in &self.routes {
            let Some(rank) = route.rank(asked.method) else { continue };
            let better = best.is_none_or(|(other, _)| rank < other);
            if better && route.conditions.hold(asked.query, asked.headers) {
                best = Some((rank, route));
            }
        }
        best.map(|(_, route)| route)
    }

    fn holding(&self, asked: &Asked) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(|route| route.conditions.hold(asked.query, asked.headers))
    }
}

impl Route {
    /// How well the route names a method, the least best; `None` when it does not take it.
    fn rank(&self, asked: &Method) -> Option<u8> {
        match &self.methods {
            Methods::One(own) if own == asked => Some(0),
            Methods::One(own) if own == Method::GET && asked == Method::HEAD => Some(1),
            Methods::One(_) => None,
            Methods::Any => Some(2),
        }
    }

    fn found<'p>(&self, values: Values<'p>) -> Found<'_, 'p> {
        Found::Route { id: self.id, params: Params { names: &self.names, values } }
    }
}

/// The value of `Allow` (RFC 9110, section 10.2.1), sorted.
fn allow(methods: &[&Methods]) -> HeaderValue {
    let mut names: Vec<&str> = Vec::new();
    for methods in methods {
        if let Methods::One(method) = methods {
            names.push(method.as_str());
            if method == Method::GET {
                names.push(Method::HEAD.as_str());
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    HeaderValue::try_from(names.join(", ")).expect("invariant: methods are tokens")
}
