//! Visits every object of a description by what it is, follows references into other files, and has each
//! checked once: references that lead nowhere, schemas, media types, extensions of other gateways.
//!
//! One table says what stands where; examples, defaults, extensions and enum values are data, not OpenAPI.

use std::collections::HashSet;

use super::{
    Version,
    document::At,
    reference::{self, Lost},
    report::Context,
    schema::{self, Patterns},
    value::Node,
};
use crate::diagnostic::codes;

/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Root,
    Components,
    PathItem,
    Operation,
    Parameter,
    Header,
    RequestBody,
    Response,
    MediaType,
    Encoding,
    Schema,
    /// Callback: expressions -> path items.
    Callback,
    /// Nothing inside it is looked at.
    Leaf,
    SecurityScheme,
}

/// How it stands under its key.
#[derive(Clone, Copy)]
enum As {
    One,
    List,
    Map,
    /// One or a list of them (`items`).
    Any,
}

use As::{Any, List, Map, One};
use What::{
    Callback, Components, Encoding, Header, Leaf, MediaType, Operation, Parameter, PathItem, RequestBody,
    Response, Root, Schema, SecurityScheme,
};

/// What stands under a key of an object.
fn child(what: What, key: &str, version: Version) -> Option<(What, As)> {
    let swagger = version == Version::V2_0;
    Some(match (what, key) {
        (Root, "paths" | "webhooks") | (Components, "pathItems") => (PathItem, Map),
        (Root, "components") if !swagger => (Components, One),
        (Root, "definitions") | (Components, "schemas") => (Schema, Map),
        (Root | Components, "parameters") => (Parameter, Map),
        (Root | Components, "responses") | (Operation, "responses") => (Response, Map),
        (Root, "securityDefinitions") | (Components, "securitySchemes") => (SecurityScheme, Map),
        (Components, "requestBodies") => (RequestBody, Map),
        (Components | Response | Encoding, "headers") => (Header, Map),
        (Components | Operation, "callbacks") => (Callback, Map),
        (Components | Response, "links") => (Leaf, Map),
        (Components | MediaType | Parameter | Header, "examples") if !swagger => (Leaf, Map),
        (PathItem | Operation, "parameters") => (Parameter, List),
        (PathItem, "additionalOperations") => (Operation, Map),
        (PathItem, key) if is_method(key) => (Operation, One),
        (Operation, "requestBody") => (RequestBody, One),
        (Parameter | Header | Response | MediaType, "schema") | (MediaType, "itemSchema") => (Schema, One),
        (Parameter | Header, "items") if swagger => (Schema, One),
        (Parameter | Header | RequestBody | Response, "content") | (Components, "mediaTypes") => {
            (MediaType, Map)
        }
        (MediaType | Encoding, "encoding") => (Encoding, Map),
        (MediaType | Encoding, "prefixEncoding") => (Encoding, List),
        (MediaType | Encoding, "itemEncoding") => (Encoding, One),
        (Schema, key) => return schema_child(key).map(|how| (Schema, how)),
        _ => return None,
    })
}

fn schema_child(key: &str) -> Option<As> {
    Some(match key {
        "properties" | "patternProperties" | "definitions" | "$defs" | "dependentSchemas" => Map,
        "allOf" | "anyOf" | "oneOf" | "prefixItems" => List,
        "items" => Any,
        "not"
        | "if"
        | "then"
        | "else"
        | "contains"
        | "propertyNames"
        | "additionalProperties"
        | "additionalItems"
        | "unevaluatedItems"
        | "unevaluatedProperties"
        | "contentSchema" => One,
        _ => return None,
    })
}

fn is_method(key: &str) -> bool {
    Version::V3_2.methods().contains(&key)
}

/// Walks the whole description from its root.
pub fn walk<'a>(cx: &mut Context<'a>, root: Node<'a>) {
    let mut walker = Walker {
        seen: HashSet::new(),
        lost: HashSet::new(),
        patterns: Patterns::default(),
        todo: Vec::new(),
    };
    walker.todo.push((Root, At::Value(root), root));
    while let Some((what, at, node)) = walker.todo.pop() {
        walker.visit(cx, what, at, node);
    }
}

struct Walker<'a> {
    seen: HashSet<(u32, u32)>,
    /// References that were complained about: file and text.
    lost: HashSet<(u32, &'a str)>,
    patterns: Patterns,
    todo: Vec<(What, At<'a>, Node<'a>)>,
}

impl<'a> Walker<'a> {
    fn visit(&mut self, cx: &mut Context<'a>, what: What, at: At<'a>, node: Node<'a>) {
        if !self.seen.insert(node.key()) {
            return;
        }
        if let Some(text) = reference::reference(node) {
            self.follow(cx, what, node, text);
            if what != PathItem && what != Schema {
                return;
            }
        }
        match what {
            Schema if reference::reference(node).is_none() || cx.version >= Version::V3_1 => {
                schema::check(cx, &mut self.patterns, at, node);
            }
            RequestBody if node.is_object() => body(cx, at, node),
            Root | PathItem | Operation | SecurityScheme => foreign_extensions(cx, what, node),
            _ => {}
        }
        if cx.version == Version::V2_0 && matches!(what, Root | Operation) {
            for key in ["consumes", "produces"] {
                let types = node.get(key).into_iter().flat_map(Node::items);
                types
                    .filter_map(|t| Some((t, t.as_str()?)))
                    .for_each(|(t, name)| media_type(cx, At::Value(t), name));
            }
        }
        let first = self.todo.len();
        for (key, value) in node.members() {
            if let Some((what, how)) = child(what, key, cx.version) {
                self.descend(cx, what, how, At::Key(node, key), value);
            } else if what == Callback && !key.starts_with("x-") {
                self.push(PathItem, At::Key(node, key), value);
            }
        }
        // The stack gives back the last one first: reading order needs it turned.
        self.todo[first..].reverse();
    }

    fn descend(&mut self, cx: &mut Context<'a>, what: What, how: As, at: At<'a>, value: Node<'a>) {
        match how {
            // `additionalProperties: false` is a schema in every version.
            One if what == Schema
                && value.as_bool().is_some()
                && !matches!(at, At::Key(_, "schema" | "items")) => {}
            One => self.push(what, at, value),
            Any if value.is_object() => self.push(what, at, value),
            List | Any => {
                if what == Schema && !value.is_array() {
                    let At::Key(node, key) = at else { return };
                    let title = format!("`{key}` is {}", value.describe());
                    cx.warn(codes::SCHEMA_INVALID, At::Key(node, key), title, "write schemas there");
                }
                value.items().for_each(|item| self.push(what, At::Value(item), item));
            }
            Map => {
                if what == Schema && !value.is_object() && !value.is_null() && !is_empty_list(value) {
                    let title = format!("schemas by name are due here, not {}", value.describe());
                    cx.warn(codes::SCHEMA_INVALID, at, title, "write an object: `name: { type: … }`");
                }
                for (name, member) in value.members() {
                    let data =
                        name.starts_with("x-") && what != Schema && what != Header && what != MediaType;
                    if !data {
                        self.push(what, At::Key(value, name), member);
                    }
                    if what == MediaType && !matches!(at, At::Key(_, "mediaTypes")) {
                        media_type(cx, At::Key(value, name), name);
                    }
                }
            }
        }
    }

    fn push(&mut self, what: What, at: At<'a>, node: Node<'a>) {
        self.todo.push((what, at, node));
    }

    fn follow(&mut self, cx: &mut Context<'a>, what: What, node: Node<'a>, text: &'a str) {
        match reference::target(cx.files, node, text) {
            Ok(target) => self.push(what, At::Value(target), target),
            Err(lost) if self.lost.insert((node.file(), text)) => {
                let code =
                    if lost == Lost::Outside { codes::REF_OUTSIDE_FOLDER } else { codes::REF_UNRESOLVED };
                let short: String = text.chars().take(200).collect();
                let title = format!("the reference `{short}` {}", lost.reason());
                cx.warn(code, At::Key(node, "$ref"), title, lost.help());
            }
            Err(_) => {}
        }
    }
}

fn is_empty_list(node: Node<'_>) -> bool {
    node.is_array() && node.items().len() == 0
}

fn body(cx: &mut Context<'_>, at: At<'_>, node: Node<'_>) {
    if node.get("content").is_none_or(|content| content.members().len() == 0) {
        let title = "a request body does not say what content it has";
        cx.warn(codes::BODY_WITHOUT_CONTENT, at, title, "add `content: { application/json: {} }`");
    }
}

/// RFC 9110, 8.3.1, with `*` for ranges; parameters are not looked at.
fn media_type(cx: &mut Context<'_>, at: At<'_>, name: &str) {
    let token = |s: &str| {
        !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
    };
    let bare = name.split(';').next().unwrap_or_default().trim();
    if bare.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub)) {
        return;
    }
    let short: String = name.chars().take(80).collect();
    let title = format!("`{short}` is not a media type");
    cx.warn(codes::MEDIA_TYPE_INVALID, at, title, "write it as `type/subtype`, such as `application/json`");
}

/// What other gateways keep in descriptions, by the start of their keys.
const FOREIGN: &[(&str, &str)] =
    &[("x-amazon-apigateway-", "Amazon API Gateway"), ("x-kong-", "Kong"), ("x-google-", "Google Cloud")];

fn foreign_extensions(cx: &mut Context<'_>, what: What, node: Node<'_>) {
    for (key, _) in node.members().filter(|(key, _)| key.starts_with("x-")) {
        if what == Root && key == "x-ms-paths" {
            let title = "the paths under `x-ms-paths` are not imported";
            let help = "move them to `paths`; a `?name=value` in a path is routed as a condition";
            cx.warn(codes::X_MS_PATHS_IGNORED, At::Key(node, key), title, help);
        }
        // Beside a scheme this only names what the scheme is made of.
        if key == "x-amazon-apigateway-authtype" {
            continue;
        }
        let whose =
            FOREIGN.iter().find(|(start, _)| key.starts_with(start) || key == start.trim_end_matches('-'));
        if let Some((_, name)) = whose {
            let title = format!("`{key}` of {name} is not carried over");
            let help = "state what it stands for under `x-gatewright` or in the configuration";
            cx.warn(codes::FOREIGN_EXTENSION, At::Key(node, key), title, help);
        }
    }
}
