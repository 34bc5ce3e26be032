//! Security schemes and requirements, read in full: what is not understood is closed, never open.

use std::collections::{HashMap, HashSet};

use super::{Location, Requirement, SecurityScheme, document::At, reference, report::Context, value::Node};
use crate::diagnostic::codes;

/// Stands in requirements for what was no requirement at all; no scheme has this name.
const UNREADABLE: &str = "<unreadable>";

/// The schemes of a description and the requirements that name others.
pub struct Security {
    pub schemes: Vec<(String, SecurityScheme)>,
    known: HashSet<String>,
    complained: HashSet<String>,
}

impl Security {
    pub fn read(cx: &mut Context<'_>, root: Node<'_>) -> Self {
        let mut schemes = Vec::new();
        if let Some(map) = cx.version.security_schemes(root) {
            for (name, node) in map.members() {
                if name.starts_with("x-") && node.get("type").is_none() && node.get("$ref").is_none() {
                    continue;
                }
                let scheme = scheme(cx, node);
                if let Some(kind) = unsupported(&scheme) {
                    let title =
                        format!("the security scheme `{name}` is {kind}, which cannot be checked here");
                    let help = "its operations stay closed where security is checked; \
                                use another scheme, or `security: pass` to leave the check to the upstream";
                    cx.warn(codes::SECURITY_UNSUPPORTED, At::Key(map, name), title, help);
                }
                schemes.push((name.to_owned(), scheme));
            }
        }
        let known = schemes.iter().map(|(name, _)| name.clone()).collect();
        Self { schemes, known, complained: HashSet::new() }
    }

    /// The requirements that `owner` states; `None` when it states none.
    pub fn of(&mut self, cx: &mut Context<'_>, owner: Node<'_>) -> Option<Vec<Requirement>> {
        let stated = owner.some("security")?;
        let alternatives: Vec<Node<'_>> = match (stated.is_array(), stated.is_object()) {
            (true, _) => stated.items().collect(),
            (_, true) if stated.members().len() == 0 => Vec::new(),
            _ => vec![stated],
        };
        Some(alternatives.into_iter().map(|node| self.requirement(cx, node)).collect())
    }

    fn requirement(&mut self, cx: &mut Context<'_>, node: Node<'_>) -> Requirement {
        if let Some(name) = node.as_str() {
            self.check(cx, At::Value(node), name);
            return vec![(name.to_owned(), Vec::new())];
        }
        if !node.is_object() {
            self.check(cx, At::Value(node), UNREADABLE);
            return vec![(UNREADABLE.to_owned(), Vec::new())];
        }
        let schemes = node.members().map(|(name, scopes)| {
            self.check(cx, At::Key(node, name), name);
            let mut scopes: Vec<String> =
                scopes.items().filter_map(Node::scalar).map(str::to_owned).collect();
            scopes.sort();
            (name.to_owned(), scopes)
        });
        let mut schemes: Requirement = schemes.collect();
        schemes.sort();
        schemes
    }

    fn check(&mut self, cx: &mut Context<'_>, at: At<'_>, name: &str) {
        if self.known.contains(name) || !self.complained.insert(name.to_owned()) {
            return;
        }
        let title = if name == UNREADABLE {
            "a security requirement is no object".to_owned()
        } else {
            format!("the security scheme `{name}` is not defined")
        };
        let nearest = crate::diagnostic::suggest(name, self.schemes.iter().map(|(n, _)| n.as_str()));
        let hint = nearest.map_or_else(String::new, |n| format!("did you mean `{n}`? "));
        let help = format!("{hint}until it is defined, its operations are closed where security is checked");
        cx.warn(codes::SECURITY_UNDEFINED, at, title, help);
    }
}

fn scheme(cx: &Context<'_>, node: Node<'_>) -> SecurityScheme {
    let unknown = |kind: &str| SecurityScheme::Unknown { kind: kind.to_owned() };
    let Ok(node) = reference::resolve(cx.files, node) else { return unknown("a `$ref` that leads nowhere") };
    let text = |key: &str| node.get(key).and_then(Node::scalar).unwrap_or_default();
    match text("type").to_ascii_lowercase().as_str() {
        "basic" => SecurityScheme::Http { scheme: "basic".to_owned() },
        "http" => SecurityScheme::Http { scheme: text("scheme").to_ascii_lowercase() },
        "apikey" => {
            let location = match text("in").to_ascii_lowercase().as_str() {
                "header" => Location::Header,
                "query" => Location::Query,
                "cookie" => Location::Cookie,
                _ => return unknown("an API key without a place"),
            };
            match text("name") {
                "" => unknown("an API key without a name"),
                name => SecurityScheme::ApiKey { name: name.to_owned(), location },
            }
        }
        "oauth2" => SecurityScheme::OAuth2 { scopes: scopes(node) },
        "openidconnect" => SecurityScheme::OpenIdConnect { url: text("openIdConnectUrl").to_owned() },
        "mutualtls" => SecurityScheme::MutualTls,
        "" => unknown("without a type"),
        _ => unknown(&format!("of type `{}`", text("type"))),
    }
}

/// All scopes of all flows, each once.
fn scopes(node: Node<'_>) -> Vec<String> {
    let flows = node.get("flows").into_iter().flat_map(Node::members).map(|(_, flow)| flow);
    let all = flows.chain([node]).filter_map(|flow| flow.get("scopes")).flat_map(Node::members);
    let mut seen = HashMap::new();
    let fresh = all.filter(|(scope, _)| seen.insert(*scope, ()).is_none());
    fresh.map(|(scope, _)| scope.to_owned()).collect()
}

/// What kind of scheme it is that nothing here can check.
fn unsupported(scheme: &SecurityScheme) -> Option<String> {
    match scheme {
        SecurityScheme::Http { scheme } if !matches!(scheme.as_str(), "basic" | "bearer") => {
            Some(if scheme.is_empty() {
                "`http` without a scheme".to_owned()
            } else {
                format!("`http` with `{scheme}`")
            })
        }
        SecurityScheme::Unknown { kind } => Some(kind.clone()),
        _ => None,
    }
}
