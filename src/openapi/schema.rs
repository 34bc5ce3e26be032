//! What is wrong with a single schema: keywords of other versions, patterns that cannot be run,
//! things that are no schema. Validation itself is not here.

use std::collections::HashMap;

use super::{
    Version,
    document::At,
    report::Context,
    value::{Kind, Node},
};
use crate::diagnostic::codes;

/// Patterns that repeat this often in total are dear to compile; so many of them are tried.
const DEAR_REPEAT: u64 = 1_000;
const DEAR_PATTERNS: usize = 200;

/// The patterns of a description, each compiled once.
#[derive(Default)]
pub struct Patterns {
    known: HashMap<String, Option<String>>,
    dear: usize,
}

/// Checks one schema, not what is inside it.
pub fn check(cx: &mut Context<'_>, patterns: &mut Patterns, at: At<'_>, node: Node<'_>) {
    match node.kind() {
        Kind::Object => {}
        // What Lua and PHP make of an empty object.
        Kind::Array if node.items().len() == 0 => return,
        Kind::Bool(_) if cx.version >= Version::V3_1 => return,
        Kind::Bool(_) => {
            let title =
                format!("a schema is {}, which {} does not know", node.describe(), cx.version.as_str());
            return cx.warn(codes::SCHEMA_OF_OTHER_VERSION, at, title, "write `{}` for any value");
        }
        _ => {
            let title = format!("a schema is {}", node.describe());
            return cx.warn(codes::SCHEMA_INVALID, at, title, "write a schema object; `{}` allows any value");
        }
    }
    if let Some(kind) = node.get("type") {
        check_type(cx, node, kind);
    }
    if let Some((key, why)) = foreign_keyword(cx.version, node) {
        let title = format!("`{key}` is not a keyword of schemas in {}", cx.version.as_str());
        cx.warn(codes::SCHEMA_OF_OTHER_VERSION, At::Key(node, key), title, why);
    }
    let fault = node.str("pattern").and_then(|pattern| patterns.fault(pattern));
    if let Some(reason) = fault {
        let title = format!("the pattern cannot be run in bounded time: {reason}");
        let help = "it is not checked; write it without look-around and references back";
        cx.warn(codes::PATTERN_UNSUPPORTED, At::Key(node, "pattern"), title, help);
    }
}

fn check_type(cx: &mut Context<'_>, node: Node<'_>, kind: Node<'_>) {
    let at = At::Key(node, "type");
    let modern = cx.version >= Version::V3_1;
    let unknown = |text: &str| !TYPES.contains(&text);
    match kind.kind() {
        Kind::String("null") if !modern => {
            let title = format!("the type `null` is not known in {}", cx.version.as_str());
            cx.warn(
                codes::SCHEMA_OF_OTHER_VERSION,
                at,
                title,
                "write `nullable: true` (3.0) or `x-nullable: true` (2.0)",
            );
        }
        Kind::String("file") if cx.version == Version::V2_0 => {}
        Kind::String("file") => {
            let title = "the type `file` is not known since 3.0";
            cx.warn(codes::SCHEMA_OF_OTHER_VERSION, at, title, "write `type: string` with `format: binary`");
        }
        Kind::String(text) if unknown(text) => {
            let near = crate::diagnostic::suggest(text, TYPES.iter().copied());
            let help = near.map_or_else(
                || format!("types are {}", TYPES.join(", ")),
                |n| format!("did you mean `{n}`?"),
            );
            cx.warn(codes::SCHEMA_INVALID, at, format!("`{text}` is not a type of schemas"), help);
        }
        Kind::String(_) => {}
        Kind::Array if !modern => {
            let title = format!("a list of types is not known in {}", cx.version.as_str());
            cx.warn(codes::SCHEMA_OF_OTHER_VERSION, at, title, "state one type; for more use `anyOf` (3.0)");
        }
        Kind::Array if kind.items().all(|t| t.as_str().is_some_and(|t| !unknown(t))) => {}
        _ => {
            let title = format!("the type of a schema is {}", kind.describe());
            cx.warn(codes::SCHEMA_INVALID, at, title, format!("types are {}", TYPES.join(", ")));
        }
    }
}

const TYPES: &[&str] = &["string", "number", "integer", "boolean", "object", "array", "null"];

/// A keyword with validating force that the version does not have, and what to write instead.
fn foreign_keyword<'a>(version: Version, node: Node<'a>) -> Option<(&'a str, &'static str)> {
    node.members().find_map(|(key, value)| {
        let bool_limit = matches!(key, "exclusiveMinimum" | "exclusiveMaximum");
        let advice = match version {
            Version::V3_1 | Version::V3_2 => match key {
                "nullable" => "add `null` to the types: `type: [string, \"null\"]`",
                _ if bool_limit && value.as_bool().is_some() => {
                    "state the limit itself: `exclusiveMinimum: 0`"
                }
                "items" if value.is_array() => "write `prefixItems`",
                _ => return None,
            },
            Version::V2_0 | Version::V3_0 => match key {
                "nullable" if version == Version::V2_0 => "write `x-nullable: true`",
                "oneOf" | "anyOf" | "not" if version == Version::V2_0 => {
                    "it is read all the same; move to 3.0"
                }
                _ if bool_limit && matches!(value.kind(), Kind::Number(_)) => {
                    "write `minimum` with `exclusiveMinimum: true`"
                }
                "items" if value.is_array() => "state one schema for all items",
                _ if MODERN.contains(&key) => "it is read all the same; move to 3.1",
                _ => return None,
            },
        };
        Some((key, advice))
    })
}

/// Keywords of JSON Schema 2020-12 that came with 3.1.
const MODERN: &[&str] = &[
    "const",
    "if",
    "then",
    "else",
    "prefixItems",
    "contains",
    "minContains",
    "maxContains",
    "propertyNames",
    "patternProperties",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$defs",
    "$dynamicRef",
];

impl Patterns {
    /// Why a pattern cannot be run, if so.
    fn fault(&mut self, pattern: &str) -> Option<String> {
        if let Some(known) = self.known.get(pattern) {
            return known.clone();
        }
        if repeats(pattern) >= DEAR_REPEAT || pattern.len() > 2_000 {
            self.dear += 1;
            if self.dear > DEAR_PATTERNS {
                return None;
            }
        }
        let fault = regex::Regex::new(pattern).err().map(|error| reason(&error));
        self.known.insert(pattern.to_owned(), fault.clone());
        fault
    }
}

fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "it repeats too much".to_owned(),
        error => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        }
    }
}

/// The sum of all numbers in `{n,m}`: a measure of what the pattern costs to compile.
fn repeats(pattern: &str) -> u64 {
    let counts = pattern.split('{').skip(1).filter_map(|part| part.split_once('}')).map(|(inside, _)| inside);
    let numbers = counts.flat_map(|inside| inside.split(',')).filter_map(|n| n.trim().parse::<u64>().ok());
    numbers.fold(0, u64::saturating_add)
}
