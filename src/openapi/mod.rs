//! The lenient reader of OpenAPI descriptions, 2.0 to 3.2: text in, one [`Api`] and its diagnostics out.
//!
//! Pure: what it needs of other files comes through a [`Loader`], addresses are never fetched. One bad field
//! costs one operation and gives a diagnostic with its place; only what makes the document as a whole
//! unreadable or ambiguous costs the document. In reading order: `document` (with `json`, `yaml`, `builder`,
//! `value`) makes text into a tree, `dialect` finds the version, `operation` (with `item`, `path`,
//! `parameter`, `server`, `security`) the routes, `walk` and `schema` look at all the rest, `siting` says where
//! an operation is served, `listing` and `effective` show the outcome.

mod builder;
pub mod dialect;
pub mod document;
pub mod effective;
mod item;
mod json;
pub mod listing;
mod operation;
mod parameter;
mod path;
mod reference;
mod report;
mod schema;
mod security;
mod server;
pub mod siting;
pub mod value;
mod walk;
mod yaml;

use std::{collections::HashMap, sync::Arc};

pub use effective::{Asks, Shown, ShownOperation, write as effective};
pub use listing::{RouteRow, rows};
pub use siting::{Site, Siting, server_exists, site};

use document::{At, Document, Files};
use report::Context;
use security::Security;
use value::Node;

use crate::diagnostic::{Diagnostic, codes};

/// Reads the other files of a split description. The importer asks only for what lies in the folder of
/// the description; an implementation must still refuse anything outside it (symbolic links, `..`).
pub trait Loader {
    /// The bytes of `reference`, or why they cannot be had: a path in the folder, `/` between its parts and
    /// without `..`; with [`Options::remote_references`] also an `http` or `https` URL.
    fn load(&self, reference: &str) -> Result<Arc<[u8]>, String>;
}

/// A loader for descriptions in one piece: every other file is refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLoader;

impl Loader for NoLoader {
    fn load(&self, _: &str) -> Result<Arc<[u8]>, String> {
        Err("other files are not read here".to_owned())
    }
}

/// Files in memory, by their path in the folder.
impl<S: std::hash::BuildHasher> Loader for HashMap<String, Arc<[u8]>, S> {
    fn load(&self, reference: &str) -> Result<Arc<[u8]>, String> {
        self.get(reference).cloned().ok_or_else(|| "there is no such file".to_owned())
    }
}

/// The version family of a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V2_0,
    V3_0,
    V3_1,
    V3_2,
}

/// What to import and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The name shown in diagnostics: the path or URL as the user gave it.
    pub file: String,
    /// Where the root document lies in the folder that the loader reads, `/` between the parts; empty when
    /// that folder is its own.
    pub path: String,
    /// The address the document came from, for relative server URLs.
    pub base_url: Option<String>,
    /// Lets references to `http` and `https` addresses be followed: the loader is asked for the URL.
    pub remote_references: bool,
    /// `--server-variable NAME=VALUE`: overrides defaults of server variables.
    pub server_variables: Vec<(String, String)>,
}

/// One imported description: everything later rooms need, in one dialect-free model.
#[derive(Clone, Debug)]
pub struct Api {
    pub title: String,
    /// `info.version`.
    pub release: String,
    /// `info.summary`, else `info.description`.
    pub summary: String,
    pub version: Version,
    /// In document order; only those that can be routed.
    pub operations: Vec<Operation>,
    /// The document's own servers, resolved.
    pub servers: Vec<Server>,
    /// The variables that servers of document, path items and operations have.
    pub server_variables: Vec<String>,
    pub security_schemes: Vec<(String, SecurityScheme)>,
    /// `x-gatewright` at the root, if any.
    pub extension: Option<Extension>,
    pub counts: Counts,
    /// The files as read, the root first.
    pub documents: Arc<[Document]>,
}

/// What became of the operations that the description declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub declared: usize,
    pub routed: usize,
    /// Cannot be told apart from an earlier one.
    pub folded: usize,
    pub refused: usize,
}

/// One operation that becomes a route.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Upper case, as sent: `GET`, `QUERY`, `PURGE` …
    pub method: String,
    /// The path key as written.
    pub key: String,
    /// The key without query and fragment, as written.
    pub written: String,
    /// The same in canonical escapes, parameters as `{name}`. Names may repeat: they are told apart by position.
    pub template: String,
    /// Parameters that the description writes as spanning segments (`{name+}`).
    pub spans: Vec<String>,
    pub conditions: Conditions,
    pub operation_id: Option<String>,
    pub summary: Option<String>,
    /// Shared by the operations that refer to one declaration.
    pub parameters: Vec<Arc<Parameter>>,
    /// In force here: the operation's own, else the path item's, else the document's. Never empty.
    pub servers: Arc<[Server]>,
    /// Whether `servers` are the document's (then `--server` and `--upstream` replace them).
    pub servers_of_document: bool,
    /// `None`: stated nowhere. Empty: none needed. Else alternatives (OR) of schemes (AND).
    pub security: Option<Vec<Requirement>>,
    /// Media types the request body may have; empty when it takes none.
    pub request_types: Vec<String>,
    /// `x-gatewright` of path item and operation, outer first.
    pub extensions: Vec<Extension>,
    /// JSON pointer to the operation.
    pub pointer: String,
}

/// The `x-gatewright` of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Extension {
    /// Which of [`Api::documents`] it stands in.
    pub file: u32,
    /// JSON pointer to it.
    pub pointer: String,
    pub value: serde_json::Value,
}

/// What must hold beside method and path, sorted by name; `None` = present, whatever the value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conditions {
    pub query: Vec<(String, Option<String>)>,
    pub header: Vec<(String, Option<String>)>,
}

/// Schemes with scopes that must all hold.
pub type Requirement = Vec<(String, Vec<String>)>;

/// A server with its variables replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// As shown by `routes`: variables at their defaults, nothing else changed.
    pub url: String,
    /// Absolute `http`/`https` URL, when one can be made (relative ones against `base_url`).
    pub usable: Option<String>,
    /// The path part as written, without a slash at its end; `""` for none.
    pub base_path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    Path,
    Query,
    QueryString,
    Header,
    Cookie,
    Body,
    Form,
}

/// A declared parameter, as far as routing, keys and documentation need it.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub name: String,
    pub location: Location,
    pub required: bool,
    /// `form`, `simple`, `deepObject` … (2.0's `collectionFormat` is brought to these).
    pub style: String,
    pub explode: bool,
    /// The schema as JSON, its `$ref` resolved one level; `null` when absent.
    pub schema: serde_json::Value,
}

/// A security scheme in the words of 3.x.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecurityScheme {
    ApiKey {
        name: String,
        location: Location,
    },
    /// `basic`, `bearer`, `digest`, `negotiate` …, lower case.
    Http {
        scheme: String,
    },
    OAuth2 {
        scopes: Vec<String>,
    },
    OpenIdConnect {
        url: String,
    },
    MutualTls,
    /// What the description says is not a scheme of OpenAPI.
    Unknown {
        kind: String,
    },
}

/// The outcome of an import: nothing when the document as a whole is refused.
pub type Imported = (Option<Api>, Vec<Diagnostic>);

/// Reads a description. Never panics and ends in time and memory proportional to the text.
#[must_use]
pub fn import(bytes: &[u8], options: &Options, loader: &dyn Loader) -> Imported {
    let name = if options.file.is_empty() { "description" } else { &options.file };
    let path = match options.path.as_str() {
        "" => name.rsplit(['/', '\\']).next().unwrap_or(name),
        path => path,
    };
    let files = match Files::open(bytes, name, path, loader) {
        Ok(files) => files.with_remote(options.remote_references),
        Err(diagnostics) => return (None, diagnostics),
    };
    let version = match dialect::detect(files.root()) {
        Ok(version) => version,
        Err(diagnostic) => return (None, vec![*diagnostic]),
    };
    let (api, diagnostics) = {
        let mut cx = Context::new(&files, version, options);
        let api = interpret(&mut cx, files.root().tree.root());
        (api, cx.finish())
    };
    let api = api.map(|api| Api { documents: files.into_documents().into(), ..api });
    (api, diagnostics)
}

/// The root document and all it refers to, as an API; `None` when it is refused as a whole.
fn interpret<'a>(cx: &mut Context<'a>, root: Node<'a>) -> Option<Api> {
    dialect::check_version(cx, root);
    let paths = root.get("paths");
    let required = matches!(cx.version, Version::V2_0 | Version::V3_0);
    // An empty list is what PHP makes of an empty object.
    let usable = |paths: Node<'_>| paths.is_object() || (paths.is_array() && paths.items().len() == 0);
    if required && !paths.is_some_and(usable) {
        let title = format!("the description has no `paths`, which {} requires", cx.version.as_str());
        let at = paths.map_or(At::Value(root), |_| At::Key(root, "paths"));
        cx.refuse(codes::PATHS_MISSING, at, title, "add them, or write `paths: {}` when there is truly none");
        return None;
    }
    if !root.get("info").is_some_and(Node::is_object) {
        cx.warn(
            codes::INFO_MISSING,
            At::Value(root),
            "the description has no `info`",
            "add `info: { title: …, version: … }`",
        );
    }
    let text = |key: &str| {
        root.get("info").and_then(|info| info.get(key)).and_then(Node::scalar).unwrap_or_default()
    };
    let (servers, named) = server::of_document(cx, root);
    let mut security = Security::read(cx, root);
    let mut api = Api {
        title: text("title").to_owned(),
        release: text("version").to_owned(),
        summary: [text("summary"), text("description")]
            .into_iter()
            .find(|text| !text.is_empty())
            .unwrap_or_default()
            .to_owned(),
        version: cx.version,
        operations: Vec::new(),
        servers,
        server_variables: Vec::new(),
        security_schemes: Vec::new(),
        extension: operation::extension(root, &mut 0),
        counts: Counts::default(),
        documents: Arc::new([]),
    };
    if !operation::read(cx, &mut api, &mut security, root) {
        return None;
    }
    walk::walk(cx, root);
    api.security_schemes = security.schemes;
    api.server_variables = std::mem::take(&mut cx.server_variables).into_iter().collect();
    conclude(cx, root, &api, named).then_some(api)
}

/// What can be said only when all operations are known. Returns false when none can be routed.
fn conclude(cx: &mut Context<'_>, root: Node<'_>, api: &Api, server_named: bool) -> bool {
    let own_servers = !api.operations.is_empty() && api.operations.iter().all(|o| !o.servers_of_document);
    if !server_named && !own_servers && api.servers.iter().all(|s| s.usable.is_none()) {
        let title = "the description does not say which server it is of";
        let help =
            "name it: `--upstream http://127.0.0.1:9000`, or add `servers` (2.0: `host`) to the description";
        cx.warn(codes::NO_SERVER, At::Value(root), title, help);
    }
    let paths = root.get("paths").map_or(At::Value(root), |_| At::Key(root, "paths"));
    if api.counts.declared == 0 {
        let title = "the description declares no operation, so there is nothing to route";
        cx.warn(codes::NO_OPERATIONS, paths, title, "add operations under `paths`");
    } else if api.operations.is_empty() {
        let title = format!("none of the {} declared operations can be routed", api.counts.declared);
        cx.refuse(codes::NO_OPERATION_USABLE, paths, title, "the warnings beside this error say why");
        return false;
    }
    true
}

#[cfg(test)]
mod tests;
