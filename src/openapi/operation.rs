//! Operations: from path items to routes. One bad field costs one operation, never the rest.
//!
//! What cannot be told apart is folded: the first of one method, shape and conditions stays.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Api, Conditions, Extension, Location, Operation, Requirement, Server, Version,
    document::At,
    item::{Found, Item},
    parameter::{self, Declared, Parameters},
    path::{self, PathKey},
    reference,
    report::{Context, short},
    security::Security,
    server,
    value::Node,
};
use crate::diagnostic::codes;

/// More operations are not imported. `$ref` and aliases can make few lines stand for any number of them,
/// so what all of them hold together (parameters, servers, requirements, text) is bounded as well.
const MAX_OPERATIONS: usize = 100_000;
const MAX_WEIGHT: usize = 1_000_000;
/// How many values an `x-gatewright` may hold.
const EXTENSION_BUDGET: usize = 10_000;

/// Reads all operations into `api`. Returns false when the description is too large.
pub fn read<'a>(cx: &mut Context<'a>, api: &mut Api, security: &mut Security, root: Node<'a>) -> bool {
    let Some(paths) = root.some("paths") else { return true };
    let mut reader = Reader {
        inherited: security.of(cx, root),
        root,
        servers: api.servers.clone().into(),
        stated_servers: HashMap::new(),
        parameters: Parameters::default(),
        routes: HashMap::new(),
        ids: HashSet::new(),
        complained: HashSet::new(),
        weight: 0,
        api,
        security,
    };
    for (key, node) in paths.members().filter(|(key, _)| !key.starts_with("x-")) {
        let item = Item::read(cx, paths, key, node);
        if !reader.item(cx, &item) {
            let title =
                format!("the description holds more than {MAX_OPERATIONS} operations, or too much in them");
            cx.refuse(codes::TOO_LARGE, item.at(), title, "split it into smaller ones");
            return false;
        }
    }
    true
}

struct Reader<'r, 'a> {
    api: &'r mut Api,
    security: &'r mut Security,
    root: Node<'a>,
    inherited: Option<Vec<Requirement>>,
    servers: Arc<[Server]>,
    /// By the path item or operation that states them.
    stated_servers: HashMap<(u32, u32), Option<Arc<[Server]>>>,
    parameters: Parameters<'a>,
    /// Method, shape and conditions -> the path key of the first operation that has them.
    routes: HashMap<(String, String, Conditions), &'a str>,
    ids: HashSet<&'a str>,
    /// Parameters that were complained about in one of two ways.
    complained: HashSet<(u32, u32, bool)>,
    weight: usize,
}

/// What was gathered for one operation.
struct Parts<'p, 'a> {
    path: &'p PathKey<'a>,
    method: String,
    key: &'a str,
    at: At<'a>,
    pointer: String,
    node: Node<'a>,
    /// Path items and the operation itself, inner ones last.
    owners: Vec<Node<'a>>,
    declared: Vec<Declared<'a>>,
    item_servers: Option<Arc<[Server]>>,
}

impl<'a> Reader<'_, 'a> {
    /// All operations of a path item. Returns false when it is too much.
    fn item(&mut self, cx: &mut Context<'a>, item: &Item<'a>) -> bool {
        let found = item.methods(cx);
        self.api.counts.declared += found.len();
        let path = match PathKey::parse(item.key) {
            Ok(path) => path,
            Err(reason) => {
                self.api.counts.refused += found.len();
                let title = format!("the path `{}` {}; it is left out", short(item.key), reason.as_str());
                cx.warn(codes::PATH_REFUSED, item.at(), title, reason.help());
                return true;
            }
        };
        if !found.is_empty() {
            judge(cx, item.at(), &path);
        }
        let item_servers = item.layers.iter().find_map(|layer| self.stated_servers(cx, *layer));
        let mut undeclared: Vec<&str> = Vec::new();
        for Found { method, at, node, pointer } in found {
            let Some(node) = object(cx, &method, at, node) else {
                self.api.counts.refused += 1;
                continue;
            };
            let owners: Vec<Node<'a>> = item.layers.iter().rev().copied().chain([node]).collect();
            let declared = self.parameters.of(cx, &owners);
            self.compare(cx, &path, &declared, &mut undeclared);
            let (path, key, item_servers) = (&path, item.key, item_servers.clone());
            self.route(cx, Parts { path, method, key, at, pointer, node, owners, declared, item_servers });
            if self.weight > MAX_WEIGHT || self.api.counts.declared > MAX_OPERATIONS {
                return false;
            }
        }
        if !undeclared.is_empty() {
            let names: Vec<String> =
                undeclared.iter().take(10).map(|name| format!("`{}`", short(name))).collect();
            let (path, names) = (short(item.key), names.join(", "));
            let title = format!("the path `{path}` has parameters that are not declared: {names}");
            let help = "declare them with `in: path` and `required: true`";
            cx.warn(codes::PATH_PARAM_UNDECLARED, item.at(), title, help);
        }
        true
    }

    /// Template against declared path parameters.
    fn compare(
        &mut self,
        cx: &mut Context<'a>,
        path: &PathKey<'a>,
        declared: &[Declared<'a>],
        undeclared: &mut Vec<&'a str>,
    ) {
        let in_path = || declared.iter().filter(|d| d.parameter.location == Location::Path);
        let names: HashSet<&str> = in_path().map(|d| d.parameter.name.as_str()).collect();
        for written in &path.parameters {
            let known = names.contains(written) || names.contains(path::plain_name(written));
            if !known && !undeclared.contains(written) {
                undeclared.push(written);
            }
        }
        let used: HashSet<&str> = path.parameters.iter().flat_map(|p| [*p, path::plain_name(p)]).collect();
        for Declared { parameter, node } in in_path() {
            let used = used.contains(parameter.name.as_str());
            let (file, id) = node.key();
            if (used && parameter.required) || !self.complained.insert((file, id, used)) {
                continue;
            }
            let (name, at) = (short(&parameter.name), At::Value(*node));
            if used {
                let title = format!("the path parameter `{name}` is not marked as required");
                cx.warn(codes::PATH_PARAM_NOT_REQUIRED, at, title, "add `required: true`");
            } else {
                let title =
                    format!("the path parameter `{name}` does not occur in `{}`", short(path.written));
                cx.warn(codes::PATH_PARAM_UNUSED, at, title, "remove it, or add `{name}` to the path");
            }
        }
    }

    fn route(&mut self, cx: &mut Context<'a>, parts: Parts<'_, 'a>) {
        let operation_id = self.operation_id(cx, parts.node);
        let stated = self.security.of(cx, parts.node);
        let (servers, servers_of_document) = self.servers(cx, &parts);
        let mut conditions = parts.path.conditions();
        if parts.path.conditional() {
            parameter::add_conditions(&mut conditions, &parts.declared, cx.version);
        }
        let mut identity = (parts.method.clone(), shape(&parts.path.template), conditions.clone());
        identity.2.header.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
        if let Some(first) = self.routes.get(&identity) {
            self.api.counts.folded += 1;
            let (method, key) = (&parts.method, short(parts.key));
            let title = format!("`{method} {key}` cannot be told apart from `{method} {}`", short(first));
            let help = "it is not routed; give it a path of its own, or a required parameter with one value";
            return cx.warn(codes::SAME_ROUTE, parts.at, title, help);
        }
        self.routes.insert(identity, parts.key);
        self.api.counts.routed += 1;
        let spans = parts.path.parameters.iter().filter(|p| path::spans_segments(p));
        let operation = Operation {
            method: parts.method,
            key: parts.key.to_owned(),
            written: parts.path.written.to_owned(),
            template: parts.path.template.clone(),
            spans: spans.map(|p| path::plain_name(p).to_owned()).collect(),
            conditions,
            operation_id,
            summary: parts.node.get("summary").and_then(Node::scalar).map(short),
            parameters: parts.declared.iter().map(|d| Arc::clone(&d.parameter)).collect(),
            servers,
            servers_of_document,
            security: stated.or_else(|| self.inherited.clone()),
            request_types: self.request_types(cx, parts.node, &parts.declared),
            extensions: parts.owners.iter().filter_map(|owner| extension(*owner, &mut self.weight)).collect(),
            pointer: parts.pointer,
        };
        self.weight += weight(&operation);
        self.api.operations.push(operation);
    }

    fn operation_id(&mut self, cx: &mut Context<'a>, node: Node<'a>) -> Option<String> {
        let id = node.get("operationId").and_then(Node::scalar).filter(|id| !id.is_empty())?;
        if !self.ids.insert(id) {
            let title = format!("the operation id `{}` is used before", short(id));
            let at = At::Key(node, "operationId");
            cx.warn(codes::DUPLICATE_OPERATION_ID, at, title, "give each operation an id of its own");
        }
        Some(id.to_owned())
    }

    /// Its own, else the path item's, else the document's; 2.0 knows only other schemes.
    fn servers(&mut self, cx: &mut Context<'a>, parts: &Parts<'_, 'a>) -> (Arc<[Server]>, bool) {
        if cx.version == Version::V2_0 {
            let schemes = parts.node.some("schemes").filter(|s| s.items().len() > 0);
            return match schemes.filter(|_| self.root.get("host").is_some()) {
                Some(schemes) => (server::swagger(cx, self.root, Some(schemes)).0.into(), true),
                None => (Arc::clone(&self.servers), true),
            };
        }
        match self.stated_servers(cx, parts.node).or_else(|| parts.item_servers.clone()) {
            Some(servers) => (servers, false),
            None => (Arc::clone(&self.servers), true),
        }
    }

    fn stated_servers(&mut self, cx: &mut Context<'a>, owner: Node<'a>) -> Option<Arc<[Server]>> {
        owner.get("servers")?;
        let known = self.stated_servers.entry(owner.key());
        known.or_insert_with(|| server::stated(cx, owner).map(Arc::from)).clone()
    }

    /// The media types that the request body may have.
    fn request_types(&self, cx: &Context<'a>, node: Node<'a>, declared: &[Declared<'a>]) -> Vec<String> {
        if cx.version == Version::V2_0 {
            let in_body = |d: &Declared<'_>| matches!(d.parameter.location, Location::Body | Location::Form);
            let consumes = node.some("consumes").or_else(|| self.root.some("consumes"));
            let consumes = consumes.filter(|_| declared.iter().any(in_body));
            let types = consumes.into_iter().flat_map(Node::items);
            return types.filter_map(Node::as_str).map(str::to_owned).collect();
        }
        let body = node.get("requestBody").and_then(|body| reference::resolve(cx.files, body).ok());
        let content = body.and_then(|body| body.get("content")).into_iter().flat_map(Node::members);
        content.map(|(name, _)| name.to_owned()).collect()
    }
}

/// What is odd about a path that can be routed.
fn judge<'a>(cx: &mut Context<'a>, at: At<'a>, path: &PathKey<'a>) {
    let written = short(path.written);
    if path.fragment.is_some() {
        let title = format!("the path `{written}` has a fragment: it is routed without it");
        let help = "required parameters with one value tell such operations apart";
        cx.warn(codes::FRAGMENT_IN_PATH, at, title, help);
    }
    if path.query.is_some() {
        let title = format!("the path `{written}` has a query: it is a condition of the route");
        let help = "declare it as required query parameters to have it checked";
        cx.warn(codes::QUERY_IN_PATH, at, title, help);
    }
    if path.odd_characters {
        let title = format!("the path `{written}` has blanks or characters outside ASCII");
        let help = "it is routed in its escaped form; is a placeholder left in it?";
        cx.warn(codes::PATH_CHARACTERS, at, title, help);
    }
    if let Some(odd) = path.parameters.iter().find(|p| path::is_pattern(p)) {
        let title =
            format!("the parameter `{{{}}}` of the path `{written}` is written as a pattern", short(odd));
        let help = "it is routed as a plain parameter: write `{name}`";
        cx.warn(codes::PATH_PARAM_PATTERN, at, title, help);
    }
    let mut seen = HashSet::new();
    if let Some(twice) = path.parameters.iter().find(|p| !seen.insert(**p)) {
        let title = format!("the path `{written}` has the parameter `{}` twice", short(twice));
        cx.warn(codes::PATH_PARAM_TWICE, at, title, "give each parameter its own name");
    }
}

/// The operation itself, or the one its `$ref` leads to.
fn object<'a>(cx: &mut Context<'a>, method: &str, at: At<'a>, node: Node<'a>) -> Option<Node<'a>> {
    if reference::reference(node).is_some() {
        let resolved = reference::resolve(cx.files, node).ok().filter(|target| target.is_object());
        let outcome =
            if resolved.is_some() { "is followed" } else { "leads to no operation, so it is left out" };
        let title = format!("the operation `{method}` is a `$ref`; it {outcome}");
        cx.warn(codes::OPERATION_REF, at, title, "only path items may be references: put it there");
        return resolved;
    }
    if node.is_object() {
        return Some(node);
    }
    let title = format!("the operation `{method}` is {}, so it is left out", node.describe());
    cx.warn(codes::OPERATION_BROKEN, at, title, "write an object with `responses`, or remove it");
    None
}

/// The template without the names of its parameters.
fn shape(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut inside = false;
    for c in template.chars() {
        inside &= c != '}';
        if !inside {
            out.push(c);
        }
        inside |= c == '{';
    }
    out
}

/// The `x-gatewright` of an object; what it holds is added to `weight`.
pub fn extension(node: Node<'_>, weight: &mut usize) -> Option<Extension> {
    let mut budget = EXTENSION_BUDGET;
    let value = node.some("x-gatewright")?.to_json(&mut budget);
    *weight += EXTENSION_BUDGET - budget;
    Some(Extension { file: node.file(), pointer: format!("{}/x-gatewright", node.pointer()), value })
}

/// What an operation holds, in values; long text counts as several.
fn weight(operation: &Operation) -> usize {
    let text = |s: &str| 1 + s.len() / 256;
    let requirements = operation.security.iter().flatten().flatten();
    let security =
        requirements.map(|(name, scopes)| text(name) + scopes.iter().map(|s| text(s)).sum::<usize>());
    let types = operation.request_types.iter().map(|t| text(t));
    let id = operation.operation_id.iter().map(|id| text(id));
    let own_servers = if operation.servers_of_document { 0 } else { operation.servers.len() };
    // Parameters are shared: a pointer each.
    operation.parameters.len() / 8 + own_servers + security.chain(types).chain(id).sum::<usize>()
}
