//! Paths and operations: from path items to routes. One bad field costs one operation, never the rest.
//!
//! What cannot be told apart is folded: the first of one method, shape and conditions stays.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Api, Conditions, Location, Operation, Requirement, Server, Version,
    document::At,
    parameter::{self, Declared, Parameters},
    path::{self, PathKey},
    reference,
    report::Context,
    security::Security,
    server,
    value::{Node, escape},
};
use crate::diagnostic::codes;

/// More operations, or more parameters of operations in total, are not imported: `$ref` and aliases can
/// make few lines stand for any number of them.
const MAX_OPERATIONS: usize = 100_000;
const MAX_PARAMETERS: usize = 2_000_000;
/// How many values an `x-gatewright` may hold.
const EXTENSION_BUDGET: usize = 10_000;

/// A path item with everything it stands for: itself and what it refers to, itself first.
struct Item<'a> {
    key: &'a str,
    /// The object that holds all paths: the place of the key.
    paths: Node<'a>,
    layers: Vec<Node<'a>>,
}

/// One method of a path item.
struct Found<'a> {
    method: String,
    at: At<'a>,
    node: Node<'a>,
    pointer: String,
}

/// Reads all operations into `api`. Returns false when the description is too large.
pub fn read<'a>(cx: &mut Context<'a>, api: &mut Api, security: &mut Security, root: Node<'a>) -> bool {
    let Some(paths) = root.some("paths") else { return true };
    let mut reader = Reader {
        inherited: security.of(cx, root),
        root,
        servers: api.servers.clone().into(),
        parameters: Parameters::default(),
        routes: HashMap::new(),
        ids: HashSet::new(),
        complained: HashSet::new(),
        declared_parameters: 0,
        api,
        security,
    };
    for (key, node) in paths.members().filter(|(key, _)| !key.starts_with("x-")) {
        let layers = layers(cx, paths, key, node);
        reader.item(cx, &Item { key, paths, layers });
        if reader.api.counts.declared > MAX_OPERATIONS || reader.declared_parameters > MAX_PARAMETERS {
            let title = format!(
                "the description declares more than {MAX_OPERATIONS} operations or {MAX_PARAMETERS} parameters"
            );
            cx.refuse(codes::TOO_LARGE, At::Key(paths, key), title, "split it into smaller ones");
            return false;
        }
    }
    true
}

/// The path item and what its `$ref` leads to.
fn layers<'a>(cx: &mut Context<'a>, paths: Node<'a>, key: &'a str, node: Node<'a>) -> Vec<Node<'a>> {
    let mut layers = vec![node];
    let mut node = node;
    let at = At::Key(paths, key);
    if !node.is_object() {
        let title = format!("the path `{}` is {}, not a path item", short(key), node.describe());
        cx.warn(
            codes::PATH_ITEM_REF_UNRESOLVED,
            at,
            title,
            "",
            "write its operations under it, or remove it",
        );
        return Vec::new();
    }
    while let Some(text) = reference::reference(node) {
        let fault = match reference::target(cx.files, node, text) {
            Ok(target) if layers.contains(&target) || layers.len() > 16 => reference::Lost::Circle.reason(),
            Ok(target) if !target.is_object() => {
                format!("leads to {}, not to a path item", target.describe()).into()
            }
            Ok(target) => {
                layers.push(target);
                node = target;
                continue;
            }
            Err(lost) => lost.reason(),
        };
        let title = format!("the reference of the path `{}` {fault}", short(key));
        let help =
            "its operations are unknown and not routed: let it lead to a path item of this description";
        cx.warn(codes::PATH_ITEM_REF_UNRESOLVED, at, title, "", help);
        break;
    }
    layers
}

struct Reader<'r, 'a> {
    api: &'r mut Api,
    security: &'r mut Security,
    root: Node<'a>,
    inherited: Option<Vec<Requirement>>,
    servers: Arc<[Server]>,
    parameters: Parameters<'a>,
    /// Method, shape and conditions -> the path key of the first operation that has them.
    routes: HashMap<(String, String, Conditions), &'a str>,
    ids: HashSet<&'a str>,
    /// Parameters that were complained about in one of two ways.
    complained: HashSet<(u32, u32, bool)>,
    declared_parameters: usize,
}

impl<'a> Reader<'_, 'a> {
    fn item(&mut self, cx: &mut Context<'a>, item: &Item<'a>) {
        let found = found(cx, item);
        self.api.counts.declared += found.len();
        let at = At::Key(item.paths, item.key);
        let path = match PathKey::parse(item.key) {
            Ok(path) => path,
            Err(reason) => {
                self.api.counts.refused += found.len();
                let title = format!("the path `{}` {}; it is left out", short(item.key), reason.as_str());
                cx.warn(codes::PATH_REFUSED, at, title, "", reason.help());
                return;
            }
        };
        if found.is_empty() {
            return;
        }
        self.judge(cx, at, &path);
        let own_servers = item.layers.iter().find_map(|layer| server::stated(cx, *layer)).map(Arc::from);
        let mut undeclared: Vec<&str> = Vec::new();
        for operation in found {
            let mut owners: Vec<Node<'a>> = item.layers.iter().rev().copied().collect();
            let Some(node) = self.object(cx, &operation) else {
                self.api.counts.refused += 1;
                continue;
            };
            owners.push(node);
            let declared = self.parameters.of(cx, &owners);
            self.declared_parameters += declared.len();
            self.compare(cx, &path, &declared, &mut undeclared);
            self.route(cx, item, &path, &operation, &owners, &declared, own_servers.as_ref());
        }
        if !undeclared.is_empty() {
            let names: Vec<String> =
                undeclared.iter().take(10).map(|name| format!("`{}`", short(name))).collect();
            let title = format!(
                "the path `{}` has parameters that are not declared: {}",
                short(item.key),
                names.join(", ")
            );
            cx.warn(
                codes::PATH_PARAM_UNDECLARED,
                at,
                title,
                "",
                "declare them with `in: path` and `required: true`",
            );
        }
    }

    /// What is odd about a path that can be routed.
    fn judge(&self, cx: &mut Context<'a>, at: At<'a>, path: &PathKey<'a>) {
        let written = short(path.written);
        if path.fragment.is_some() {
            let title = format!("the path `{written}` has a fragment: it is routed without it");
            cx.warn(
                codes::FRAGMENT_IN_PATH,
                at,
                title,
                "",
                "required parameters with one value tell such operations apart",
            );
        }
        if path.query.is_some() {
            let title = format!("the path `{written}` has a query: it is a condition of the route");
            cx.warn(
                codes::QUERY_IN_PATH,
                at,
                title,
                "",
                "declare it as required query parameters to have it checked",
            );
        }
        if path.odd_characters {
            let title = format!("the path `{written}` has blanks or characters outside ASCII");
            cx.warn(
                codes::PATH_CHARACTERS,
                at,
                title,
                "",
                "it is routed in its escaped form; is a placeholder left in it?",
            );
        }
        if let Some(odd) = path.parameters.iter().find(|p| path::is_pattern(p)) {
            let title =
                format!("the parameter `{{{}}}` of the path `{written}` is written as a pattern", short(odd));
            cx.warn(
                codes::PATH_PARAM_PATTERN,
                at,
                title,
                "",
                "it is routed as a plain parameter: write `{name}`",
            );
        }
        let mut seen = HashSet::new();
        if let Some(twice) = path.parameters.iter().find(|p| !seen.insert(**p)) {
            let title = format!("the path `{written}` has the parameter `{}` twice", short(twice));
            cx.warn(codes::PATH_PARAM_TWICE, at, title, "", "give each parameter its own name");
        }
    }

    /// The operation itself, or the one its `$ref` leads to.
    fn object(&self, cx: &mut Context<'a>, operation: &Found<'a>) -> Option<Node<'a>> {
        let mut node = operation.node;
        if reference::reference(node).is_some() {
            let resolved = reference::resolve(cx.files, node).ok().filter(|target| target.is_object());
            let outcome =
                if resolved.is_some() { "is followed" } else { "leads to no operation, so it is left out" };
            let title = format!("the operation `{}` is a `$ref`; it {outcome}", operation.method);
            cx.warn(
                codes::OPERATION_REF,
                operation.at,
                title,
                "",
                "only path items may be references: put it there",
            );
            node = resolved?;
        }
        if node.is_object() {
            return Some(node);
        }
        let title = format!("the operation `{}` is {}, so it is left out", operation.method, node.describe());
        cx.warn(
            codes::OPERATION_BROKEN,
            operation.at,
            title,
            "",
            "write an object with `responses`, or remove it",
        );
        None
    }

    /// Template against declared path parameters.
    fn compare(
        &mut self,
        cx: &mut Context<'a>,
        path: &PathKey<'a>,
        declared: &[Declared<'a>],
        undeclared: &mut Vec<&'a str>,
    ) {
        let names = |written: &str| [written.to_owned(), path::plain_name(written).to_owned()];
        let in_path = || declared.iter().filter(|d| d.parameter.location == Location::Path);
        for written in &path.parameters {
            let is_declared = in_path().any(|d| names(written).contains(&d.parameter.name));
            if !is_declared && !undeclared.contains(written) {
                undeclared.push(written);
            }
        }
        for Declared { parameter, node } in in_path() {
            let (file, id) = node.key();
            let used = path.parameters.iter().any(|written| names(written).contains(&parameter.name));
            if !used && self.complained.insert((file, id, true)) {
                let title = format!(
                    "the path parameter `{}` does not occur in `{}`",
                    short(&parameter.name),
                    short(path.written)
                );
                cx.warn(
                    codes::PATH_PARAM_UNUSED,
                    At::Value(*node),
                    title,
                    "",
                    "remove it, or add `{name}` to the path",
                );
            }
            if used && !parameter.required && self.complained.insert((file, id, false)) {
                let title =
                    format!("the path parameter `{}` is not marked as required", short(&parameter.name));
                cx.warn(codes::PATH_PARAM_NOT_REQUIRED, At::Value(*node), title, "", "add `required: true`");
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one operation, gathered once")]
    fn route(
        &mut self,
        cx: &mut Context<'a>,
        item: &Item<'a>,
        path: &PathKey<'a>,
        operation: &Found<'a>,
        owners: &[Node<'a>],
        declared: &[Declared<'a>],
        item_servers: Option<&Arc<[Server]>>,
    ) {
        let node = *owners.last().expect("invariant: an operation is its own last owner");
        let operation_id = self.operation_id(cx, node);
        let stated = self.security.of(cx, node);
        let (servers, servers_of_document) = self.servers(cx, node, item_servers);
        let mut conditions = path.conditions();
        if path.conditional() {
            parameter::add_conditions(&mut conditions, declared, cx.version);
        }
        let mut folded_by = conditions.clone();
        folded_by.header.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
        let identity = (operation.method.clone(), shape(&path.template), folded_by);
        if let Some(first) = self.routes.get(&identity) {
            self.api.counts.folded += 1;
            let (method, key) = (&operation.method, short(item.key));
            let title = format!("`{method} {key}` cannot be told apart from `{method} {}`", short(first));
            let help = "it is not routed; give it a path of its own, or a required parameter with one value";
            return cx.warn(codes::SAME_ROUTE, operation.at, title, "", help);
        }
        self.routes.insert(identity, item.key);
        self.api.counts.routed += 1;
        let spans = path.parameters.iter().filter(|p| path::spans_segments(p));
        self.api.operations.push(Operation {
            method: operation.method.clone(),
            key: item.key.to_owned(),
            written: path.written.to_owned(),
            template: path.template.clone(),
            spans: spans.map(|p| path::plain_name(p).to_owned()).collect(),
            conditions,
            operation_id,
            summary: node.get("summary").and_then(Node::scalar).map(str::to_owned),
            parameters: declared.iter().map(|d| Arc::clone(&d.parameter)).collect(),
            servers,
            servers_of_document,
            security: stated.or_else(|| self.inherited.clone()),
            request_types: self.request_types(cx, node, declared),
            extensions: owners.iter().filter_map(|owner| extension(*owner)).collect(),
            pointer: operation.pointer.clone(),
        });
    }

    fn operation_id(&mut self, cx: &mut Context<'a>, node: Node<'a>) -> Option<String> {
        let id = node.get("operationId").and_then(Node::scalar).filter(|id| !id.is_empty())?;
        if !self.ids.insert(id) {
            let title = format!("the operation id `{}` is used before", short(id));
            cx.warn(
                codes::DUPLICATE_OPERATION_ID,
                At::Key(node, "operationId"),
                title,
                "",
                "give each operation its own",
            );
        }
        Some(id.to_owned())
    }

    /// Its own, else the path item's, else the document's; 2.0 knows only other schemes.
    fn servers(
        &self,
        cx: &mut Context<'a>,
        node: Node<'a>,
        item: Option<&Arc<[Server]>>,
    ) -> (Arc<[Server]>, bool) {
        if cx.version == Version::V2_0 {
            let schemes = node.some("schemes").filter(|s| s.items().len() > 0);
            let differ = schemes.filter(|_| self.root.get("host").is_some());
            return match differ {
                Some(schemes) => (server::swagger(cx, self.root, Some(schemes)).0.into(), true),
                None => (Arc::clone(&self.servers), true),
            };
        }
        match server::stated(cx, node).map(Arc::from).or_else(|| item.cloned()) {
            Some(servers) => (servers, false),
            None => (Arc::clone(&self.servers), true),
        }
    }

    /// The media types that the request body may have.
    fn request_types(&self, cx: &Context<'a>, node: Node<'a>, declared: &[Declared<'a>]) -> Vec<String> {
        if cx.version == Version::V2_0 {
            let has_body =
                declared.iter().any(|d| matches!(d.parameter.location, Location::Body | Location::Form));
            let consumes = node.some("consumes").or_else(|| self.root.some("consumes"));
            let types = consumes.filter(|_| has_body).into_iter().flat_map(Node::items);
            return types.filter_map(Node::as_str).map(str::to_owned).collect();
        }
        let body = node.get("requestBody").and_then(|body| reference::resolve(cx.files, body).ok());
        let content = body.and_then(|body| body.get("content")).into_iter().flat_map(Node::members);
        content.map(|(name, _)| name.to_owned()).collect()
    }
}

/// The methods of a path item, in the order of its keys.
fn found<'a>(cx: &mut Context<'a>, item: &Item<'a>) -> Vec<Found<'a>> {
    let mut all: Vec<Found<'a>> = Vec::new();
    let base = format!("/paths/{}", escape(item.key));
    for (depth, layer) in item.layers.iter().enumerate() {
        for (key, node) in layer.members() {
            let at = At::Key(*layer, key);
            let mut add = |method: &str, at: At<'a>, node: Node<'a>, pointer: String| {
                if !all.iter().any(|f| f.method == method) {
                    let pointer = if depth == 0 { pointer } else { node.pointer() };
                    all.push(Found { method: method.to_owned(), at, node, pointer });
                }
            };
            if cx.version.methods().contains(&key) {
                add(&key.to_ascii_uppercase(), at, node, format!("{base}/{key}"));
            } else if key == "additionalOperations" && cx.version == Version::V3_2 {
                for (method, node) in node.members().filter(|(method, _)| !method.starts_with("x-")) {
                    if is_token(method) {
                        let pointer = format!("{base}/{key}/{}", escape(method));
                        add(method, At::Key(layer.get(key).unwrap_or(*layer), method), node, pointer);
                    } else {
                        unknown(cx, At::Key(layer.get(key).unwrap_or(*layer), method), method);
                    }
                }
            } else if node.is_object() && !key.starts_with("x-") && !ITEM_KEYS.contains(&key) {
                unknown(cx, at, key);
            }
        }
    }
    all
}

/// Keys of a path item that are no methods.
const ITEM_KEYS: &[&str] = &["summary", "description", "servers", "parameters", "$ref"];

fn unknown(cx: &mut Context<'_>, at: At<'_>, key: &str) {
    let title = format!("`{}` is not a method of {}", short(key), cx.version.as_str());
    let near = crate::diagnostic::suggest(&key.to_ascii_lowercase(), cx.version.methods().iter().copied());
    let help = near.map_or_else(
        || "it is left out; extensions start with `x-`, other methods stand under `additionalOperations` (3.2)".to_owned(),
        |near| format!("it is left out; did you mean `{near}`?"),
    );
    cx.warn(codes::METHOD_UNKNOWN, at, title, "", help);
}

/// RFC 9110, 5.6.2: what a method may be made of.
fn is_token(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.len() <= 64 && text.chars().all(fine)
}

/// The template without the names of its parameters.
fn shape(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut inside = false;
    for c in template.chars() {
        if c == '}' {
            inside = false;
        }
        if !inside {
            out.push(c);
        }
        if c == '{' {
            inside = true;
        }
    }
    out
}

/// The `x-gatewright` of an object.
pub fn extension(node: Node<'_>) -> Option<serde_json::Value> {
    node.some("x-gatewright").map(|value| value.to_json(&mut { EXTENSION_BUDGET }))
}

/// Hostile and generated names are endless; messages are not.
fn short(text: &str) -> String {
    const KEEP: usize = 120;
    if text.chars().count() <= KEEP {
        return text.to_owned();
    }
    text.chars().take(KEEP).chain(['…']).collect()
}
