//! The rows of `gatewright routes`: a contract for programs, so its fields and their order stand here.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    Api, Conditions, Requirement,
    siting::{Siting, site},
};

/// One route as `routes --format json` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct RouteRow {
    pub method: String,
    /// The template as written, behind mount and base path.
    pub path: String,
    pub operation_id: Option<String>,
    pub api: String,
    #[serde(serialize_with = "conditions")]
    pub conditions: Conditions,
    /// Those in force for the operation; alternatives, never a pool.
    pub servers: Vec<String>,
    pub upstream: Option<String>,
    /// `None`: the description states none anywhere.
    #[serde(serialize_with = "security")]
    pub security: Option<Vec<Requirement>>,
}

/// The rows of one API, in the order of the description.
#[must_use]
pub fn rows(api: &Api, name: &str, siting: &Siting) -> Vec<RouteRow> {
    let row = |operation: &super::Operation| {
        let site = site(api, operation, siting);
        RouteRow {
            method: operation.method.clone(),
            path: site.listed,
            operation_id: operation.operation_id.clone(),
            api: name.to_owned(),
            conditions: operation.conditions.clone(),
            servers: operation.servers.iter().map(|s| s.url.clone()).collect(),
            upstream: site.upstream,
            security: operation.security.clone(),
        }
    };
    api.operations.iter().map(row).collect()
}

/// `{"query": {…}, "header": {…}}` with null for "present, whatever the value"; `{}` when there is none.
fn conditions<S: Serializer>(conditions: &Conditions, serializer: S) -> Result<S::Ok, S::Error> {
    let parts = [("query", &conditions.query), ("header", &conditions.header)];
    let mut map = serializer.serialize_map(None)?;
    for (key, list) in parts.iter().filter(|(_, list)| !list.is_empty()) {
        map.serialize_entry(key, &Pairs(list))?;
    }
    map.end()
}

/// A list of alternatives, each an object of schemes with their scopes.
fn security<S: Serializer>(security: &Option<Vec<Requirement>>, serializer: S) -> Result<S::Ok, S::Error> {
    match security {
        None => serializer.serialize_none(),
        Some(list) => serializer.collect_seq(list.iter().map(|requirement| Pairs(requirement))),
    }
}

/// A list of pairs as an object, in its order.
struct Pairs<'a, V>(&'a [(String, V)]);

impl<V: Serialize> Serialize for Pairs<'_, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}
