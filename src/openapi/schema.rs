//! What is wrong with a single schema: keywords of other versions, patterns that cannot be run,
//! things that are no schema. Validation itself is not here.

use std::collections::HashMap;

use regex_syntax::hir::{Class, Hir, HirKind};

use super::{
    Version,
    document::At,
    report::Context,
    value::{Kind, Node},
};
use crate::diagnostic::codes;

/// Compiled patterns below this size are far under the limit of `regex`; larger ones are tried, so many of them.
const DEAR_SIZE: u64 = 150_000;
const DEAR_PATTERNS: usize = 64;
/// What is beyond these is not looked at: no honest description has it.
const MAX_PATTERN: usize = 16_000;
const MAX_CLASSES: usize = 500_000;

/// The patterns of a description, each looked at once.
#[derive(Default)]
pub struct Patterns {
    known: HashMap<String, Option<String>>,
    dear: usize,
    classes: usize,
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
    /// Why a pattern cannot be run, if so: what `regex` would say, without compiling all of them.
    fn fault(&mut self, pattern: &str) -> Option<String> {
        if let Some(known) = self.known.get(pattern) {
            return known.clone();
        }
        self.classes += pattern.matches('\\').count() + pattern.matches("(?").count();
        if self.classes > MAX_CLASSES {
            return None;
        }
        let fault = self.examine(pattern);
        self.known.insert(pattern.to_owned(), fault.clone());
        fault
    }

    fn examine(&mut self, pattern: &str) -> Option<String> {
        let too_large = || Some("it repeats too much".to_owned());
        if pattern.len() > MAX_PATTERN {
            return too_large();
        }
        let parsed = match regex_syntax::parse(pattern) {
            Ok(parsed) => parsed,
            Err(regex_syntax::Error::Parse(error)) => return Some(error.kind().to_string()),
            Err(regex_syntax::Error::Translate(error)) => return Some(error.kind().to_string()),
            Err(_) => return Some("it is no regular expression".to_owned()),
        };
        if size(&parsed) < DEAR_SIZE || self.dear >= DEAR_PATTERNS {
            return None;
        }
        self.dear += 1;
        regex::Regex::new(pattern).err().and_then(|_| too_large())
    }
}

/// About how many transitions the compiled pattern has; the parser bounds how deep it is nested.
fn size(hir: &Hir) -> u64 {
    let all = |parts: &[Hir]| parts.iter().map(size).fold(0, u64::saturating_add);
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) | HirKind::Class(Class::Bytes(_)) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(Class::Unicode(class)) => 2 * class.ranges().len() as u64,
        HirKind::Repetition(repeated) => {
            let times = repeated.max.unwrap_or(repeated.min).max(1);
            size(&repeated.sub).saturating_mul(times.into())
        }
        HirKind::Capture(capture) => size(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => all(parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_judged_as_regex_would() {
        let mut patterns = Patterns::default();
        for pattern in [
            r"^[a-z]+\.(yes|no)$",
            r"^(?!x)",
            r"\1",
            r"(?<=a)b",
            r"[",
            r"\p{L}{1,64}",
            r"\w{1,255}",
            r"\w{1,9000}",
            r"^[\w+=,.@-]{1,64}$",
            r"a{,5}",
            r"\/x\-y\_",
            r"\Z",
            r"[^]",
            r"{",
            r"(?i)straße",
            r".{0,4096}",
            "((a{100}){100}){100}",
        ] {
            let compiles = regex::Regex::new(pattern);
            assert_eq!(patterns.fault(pattern).is_none(), compiles.is_ok(), "{pattern}: {compiles:?}");
        }
    }
}
