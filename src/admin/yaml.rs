//! JSON as YAML 1.2 block style, as far as a generated description needs it.

use serde_json::Value;

/// Keys that people look for first stand first; the others follow by name.
const FIRST: [&str; 16] = [
    "openapi",
    "info",
    "servers",
    "tags",
    "paths",
    "components",
    "title",
    "name",
    "summary",
    "description",
    "operationId",
    "get",
    "post",
    "delete",
    "type",
    "required",
];

pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    block(&mut out, value, 0);
    out
}

/// Writes a mapping or sequence at `indent`, one entry per line, or a scalar with its newline.
fn block(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort_by_key(|key| {
                (FIRST.iter().position(|first| first == key).unwrap_or(FIRST.len()), *key)
            });
            for key in keys {
                out.push_str(&" ".repeat(indent));
                out.push_str(&scalar(key));
                out.push(':');
                nested(out, &map[key], indent);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for item in list {
                let start = out.len();
                block(out, item, indent + 2);
                // The dash takes the place of the first line's indent.
                let dash = format!("{}- ", " ".repeat(indent));
                if is_nested(item) {
                    out.replace_range(start..start + indent + 2, &dash);
                } else {
                    out.insert_str(start, &dash);
                }
            }
        }
        other => {
            out.push_str(&flow(other));
            out.push('\n');
        }
    }
}

fn nested(out: &mut String, value: &Value, indent: usize) {
    if is_nested(value) {
        out.push('\n');
        block(out, value, indent + 2);
    } else {
        out.push(' ');
        block(out, value, indent);
    }
}

fn is_nested(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    }
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        // Numbers, booleans, null and empty collections are the same in both.
        other => other.to_string(),
    }
}

/// Plain where nothing else can be read into it, else in JSON's quotes, which YAML reads alike.
fn scalar(text: &str) -> String {
    let mut chars = text.chars();
    let plain = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '/' | '$'))
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && text.chars().all(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\'))
        && !matches!(text, "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n");
    if plain { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_block_style_is_what_people_write() {
        let value = json!({
            "zeta": [1, {"a": "x: y", "title": "t"}, [true, null]], "openapi": "3.1.0",
            "paths": {"/a": {"get": {}}}, "empty": [], "true": "true", "line": "a\nb"
        });
        let expected = "openapi: \"3.1.0\"\npaths:\n  /a:\n    get: {}\nempty: []\nline: \"a\\nb\"\n\"true\": \"true\"\n\
            zeta:\n  - 1\n  - title: t\n    a: \"x: y\"\n  - - true\n    - null\n";
        assert_eq!(text(&value), expected);
    }
}
