//! Parameters of operations, of all dialects in one form, and the conditions that tell routes apart.
//!
//! A parameter that cannot be understood is left out with a warning; it never costs its operation.

use std::{collections::HashMap, sync::Arc};

use serde_json::Value;

use super::{
    Conditions, Location, Parameter, Version,
    document::At,
    reference::{self, Lost},
    report::Context,
    value::Node,
};
use crate::diagnostic::codes;

/// A schema of a parameter is kept up to this many values.
const SCHEMA_BUDGET: usize = 2_000;

/// No route needs more conditions of one kind.
const MAX_CONDITIONS: usize = 64;

/// A parameter and where it is declared.
#[derive(Clone)]
pub struct Declared<'a> {
    pub parameter: Arc<Parameter>,
    pub node: Node<'a>,
}

/// The parameters read so far: those that are referred to are read and complained about once.
#[derive(Default)]
pub struct Parameters<'a> {
    known: HashMap<(u32, u32), Option<Declared<'a>>>,
}

impl<'a> Parameters<'a> {
    /// Those in force for an operation: `owners` are its path items and itself, inner ones last.
    pub fn of(&mut self, cx: &mut Context<'a>, owners: &[Node<'a>]) -> Vec<Declared<'a>> {
        let mut all: Vec<Declared<'a>> = Vec::new();
        let mut index: HashMap<(Location, String), usize> = HashMap::new();
        for owner in owners {
            let Some(list) = owner.some("parameters") else { continue };
            if !list.is_array() {
                self.not_a_list(cx, *owner, list);
            }
            for node in list.items() {
                let Some(declared) = self.one(cx, node) else { continue };
                let key = (declared.parameter.location, declared.parameter.name.clone());
                match index.get(&key) {
                    Some(place) => all[*place] = declared,
                    None => {
                        index.insert(key, all.len());
                        all.push(declared);
                    }
                }
            }
        }
        all
    }

    fn not_a_list(&mut self, cx: &mut Context<'a>, owner: Node<'a>, list: Node<'a>) {
        if self.known.insert(list.key(), None).is_none() {
            let title = format!("`parameters` is {}, not a list, and is ignored", list.describe());
            let help = "write the parameters as a list, each with `name` and `in`";
            cx.warn(codes::PARAMETER_INVALID, At::Key(owner, "parameters"), title, help);
        }
    }

    fn one(&mut self, cx: &mut Context<'a>, node: Node<'a>) -> Option<Declared<'a>> {
        if let Some(known) = self.known.get(&node.key()) {
            return known.clone();
        }
        let declared = match reference::resolve(cx.files, node) {
            Ok(target) if target == node => read(cx, node),
            Ok(target) => self.one(cx, target),
            // The other ways to be lost are told where all references are walked.
            Err(lost @ Lost::Circle) => {
                let title = format!("the parameter `{}` {}", reference::reference(node)?, lost.reason());
                cx.warn(codes::REF_UNRESOLVED, At::Value(node), title, lost.help());
                None
            }
            Err(_) => None,
        };
        self.known.insert(node.key(), declared.clone());
        declared
    }
}

fn read<'a>(cx: &mut Context<'a>, node: Node<'a>) -> Option<Declared<'a>> {
    let invalid = |cx: &mut Context<'a>, title: String| {
        let help =
            "a parameter is an object with a `name` and an `in`: `path`, `query`, `header` or `cookie`";
        cx.warn(codes::PARAMETER_INVALID, At::Value(node), title, help);
    };
    if !node.is_object() {
        invalid(cx, format!("a parameter is {} and is ignored", node.describe()));
        return None;
    }
    let name = node.get("name").and_then(Node::scalar);
    let written = node.get("in").and_then(Node::scalar).unwrap_or_default();
    let location = location(cx.version, written).or_else(|| {
        let location = location(cx.version, &written.to_ascii_lowercase())?;
        invalid(
            cx,
            format!("the parameter's place `{written}` is read as `{}`", written.to_ascii_lowercase()),
        );
        Some(location)
    });
    let (Some(name), Some(location)) = (name, location) else {
        let lacks = match (name, written) {
            (None, _) => "has no `name`".to_owned(),
            (Some(name), "") => format!("`{name}` has no `in`"),
            (Some(name), place) => format!("`{name}` is `in: {place}`, which is no place of parameters"),
        };
        invalid(cx, format!("a parameter {lacks} and is ignored"));
        return None;
    };
    if location == Location::Header && cx.version != Version::V2_0 && is_ignored(name) {
        let title = format!("the header `{name}` is declared as a parameter, which has no effect");
        let help = "media types stand in `content`, credentials in `security`; remove the parameter";
        cx.warn(codes::HEADER_PARAMETER_IGNORED, At::Value(node), title, help);
    }
    let required = node.get("required").is_some_and(|r| r.scalar() == Some("true"));
    let (style, explode) = style(cx.version, node, location);
    let schema = schema(cx, node, location);
    let name = name.to_owned();
    let parameter = Parameter { name, location, required, style, explode, schema };
    Some(Declared { parameter: Arc::new(parameter), node })
}

/// 3.x: what these headers hold is stated elsewhere.
fn is_ignored(name: &str) -> bool {
    ["accept", "content-type", "authorization"].iter().any(|n| name.eq_ignore_ascii_case(n))
}

fn location(version: Version, text: &str) -> Option<Location> {
    Some(match (text, version) {
        ("path", _) => Location::Path,
        ("query", _) => Location::Query,
        ("header", _) => Location::Header,
        ("cookie", Version::V3_0 | Version::V3_1 | Version::V3_2) => Location::Cookie,
        ("querystring", Version::V3_2) => Location::QueryString,
        ("body", Version::V2_0) => Location::Body,
        ("formData", Version::V2_0) => Location::Form,
        _ => return None,
    })
}

fn style(version: Version, node: Node<'_>, location: Location) -> (String, bool) {
    let default = if matches!(location, Location::Path | Location::Header) { "simple" } else { "form" };
    if version == Version::V2_0 {
        let (style, explode) = match node.str("collectionFormat") {
            Some("multi") => (default, true),
            Some("ssv") => ("spaceDelimited", false),
            Some("tsv") => ("tabDelimited", false),
            Some("pipes") => ("pipeDelimited", false),
            _ => (default, false),
        };
        return (style.to_owned(), explode);
    }
    let style = node.str("style").unwrap_or(default);
    let explode = node.get("explode").and_then(Node::as_bool).unwrap_or(matches!(style, "form" | "cookie"));
    (style.to_owned(), explode)
}

fn schema(cx: &Context<'_>, node: Node<'_>, location: Location) -> Value {
    let mut budget = SCHEMA_BUDGET;
    if cx.version == Version::V2_0 && location != Location::Body {
        let own = node.members().filter(|(key, _)| !NOT_SCHEMA.contains(key) && !key.starts_with("x-"));
        return Value::Object(own.map(|(key, value)| (key.to_owned(), value.to_json(&mut budget))).collect());
    }
    let content = || node.get("content")?.members().next()?.1.get("schema");
    let Some(schema) = node.some("schema").or_else(content) else { return Value::Null };
    reference::resolve(cx.files, schema).map_or(Value::Null, |schema| schema.to_json(&mut budget))
}

/// 2.0 keeps schema keywords in the parameter itself, beside these.
const NOT_SCHEMA: &[&str] =
    &["name", "in", "description", "required", "collectionFormat", "allowEmptyValue", "$ref"];

/// Adds what the required parameters with exactly one value demand, then sorts.
pub fn add_conditions(conditions: &mut Conditions, declared: &[Declared<'_>], version: Version) {
    for Declared { parameter, .. } in declared.iter().filter(|d| d.parameter.required) {
        let (list, same): (_, fn(&str, &str) -> bool) = match parameter.location {
            Location::Query => (&mut conditions.query, |a, b| a == b),
            Location::Header if version == Version::V2_0 || !is_ignored(&parameter.name) => {
                (&mut conditions.header, |a, b| a.eq_ignore_ascii_case(b))
            }
            _ => continue,
        };
        let Some(value) = only_value(&parameter.schema) else { continue };
        if list.len() >= MAX_CONDITIONS {
            continue;
        }
        if !list.iter().any(|(name, _)| same(name, &parameter.name)) {
            list.push((parameter.name.clone(), value));
        }
    }
    conditions.query.sort();
    conditions.header.sort();
}

/// The one value a schema allows, if so; `Some(None)` where its mere presence counts (flags).
fn only_value(schema: &Value) -> Option<Option<String>> {
    let value = match (schema.get("const"), schema.get("enum").and_then(Value::as_array)) {
        (Some(value), _) => value,
        (None, Some(values)) if values.len() == 1 => &values[0],
        _ => return None,
    };
    match value {
        Value::String(text) => Some(Some(text.clone())),
        Value::Number(number) => Some(Some(number.to_string())),
        Value::Bool(_) => Some(None),
        _ => None,
    }
}
