//! The lenient reader of OpenAPI descriptions, 2.0 to 3.2: text in, one [`Api`] and its diagnostics out.
//!
//! Pure: what it needs of other files comes through a [`Loader`]. One bad field costs one operation and
//! gives a diagnostic with its place; only what `INDEX`-like document rules name costs the document.

use std::sync::Arc;

use crate::diagnostic::Diagnostic;

/// Reads the other files of a split description. The importer asks only for what lies in the folder of
/// the root document; an implementation must still refuse anything outside it (symbolic links, `..`).
pub trait Loader {
    /// The bytes of `reference` (a relative path, `/` between its parts), or why they cannot be had.
    fn load(&self, reference: &str) -> Result<Arc<[u8]>, String>;
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
    /// The address the document came from, for relative server URLs.
    pub base_url: Option<String>,
    /// `--server-variable NAME=VALUE`: overrides defaults of server variables.
    pub server_variables: Vec<(String, String)>,
}

/// One imported description: everything later rooms need, in one dialect-free model.
#[derive(Clone, Debug)]
pub struct Api {
    pub title: String,
    /// `info.version`.
    pub release: String,
    pub version: Version,
    /// In document order; only those that can be routed.
    pub operations: Vec<Operation>,
    /// The document's own servers, resolved.
    pub servers: Vec<Server>,
    pub security_schemes: Vec<(String, SecurityScheme)>,
    /// `x-gatewright` at the root, if any.
    pub extension: Option<serde_json::Value>,
}

/// One operation that becomes a route.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Upper case, as sent: `GET`, `QUERY`, `PURGE` …
    pub method: String,
    /// The path key as written.
    pub key: String,
    /// The key without query and fragment, in canonical escapes, parameters as `{name}`.
    pub template: String,
    pub conditions: Conditions,
    pub operation_id: Option<String>,
    pub summary: Option<String>,
    pub parameters: Vec<Parameter>,
    /// In force here: the operation's own, else the path item's, else the document's.
    pub servers: Vec<Server>,
    /// Whether `servers` are the document's (then `--server` and `--upstream` replace them).
    pub servers_of_document: bool,
    /// `None`: stated nowhere. Empty: none needed. Else alternatives (OR) of schemes (AND).
    pub security: Option<Vec<Requirement>>,
    /// Media types the request body may have; empty when it takes none.
    pub request_types: Vec<String>,
    /// `x-gatewright` of path item and operation, outer first.
    pub extensions: Vec<serde_json::Value>,
    /// JSON pointer to the operation.
    pub pointer: String,
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
    /// The path part without a slash at its end, `""` for none.
    pub base_path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
