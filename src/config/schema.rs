//! A JSON Schema of gatewright.yaml for editors, made of the records that the reader reads by.
//!
//! It takes everything that the reader takes. The reader is stricter: what no schema can say (names that must be
//! defined, keys that exclude one another) it alone finds.

use serde_json::{Map, Value, json};

use super::{
    keys,
    record::{KeyDoc, Shape},
};

/// The schema, ready to be written.
#[must_use]
pub fn document() -> Value {
    let mut schema = mapping(keys(), &[]);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("gatewright.yaml");
    schema["definitions"] = json!({
        "reference": {
            "description": "`${NAME}`, `${NAME:-default}` or `${file:PATH}`",
            "type": "string",
            "pattern": "\\$\\{",
        },
        "text": { "type": ["string", "number", "boolean"] },
        "number": {
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^[0-9]+$" },
                { "$ref": "#/definitions/reference" },
            ],
        },
        "size": {
            "description": "bytes, or a number with KB, MB, GB, KiB, MiB or GiB",
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^[0-9]+ *([KkMmGg]?[Bb]|[KkMmGg][Ii][Bb])?$" },
                { "$ref": "#/definitions/reference" },
            ],
        },
        "boolean": { "anyOf": [{ "enum": [true, false, "true", "false"] }, { "$ref": "#/definitions/reference" }] },
    });
    schema
}

/// The text of the file.
#[must_use]
pub fn text() -> String {
    format!("{:#}\n", document())
}

fn mapping(keys: &[KeyDoc], more: &[KeyDoc]) -> Value {
    let all = || keys.iter().chain(more);
    let properties: Map<String, Value> = all().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<&str> = all().filter(|key| key.required).map(|key| key.name).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// A key's value with what the reference says of it.
fn property(key: &KeyDoc) -> Value {
    let doc = key.doc.split_whitespace().collect::<Vec<_>>().join(" ");
    match value(key.shape, key) {
        // Beside `$ref` nothing counts.
        Value::Object(schema) if schema.contains_key("$ref") => {
            json!({ "description": doc, "allOf": [schema] })
        }
        mut schema => {
            schema["description"] = json!(doc);
            schema
        }
    }
}

fn value(shape: Shape, key: &KeyDoc) -> Value {
    let known = |name: &str| json!({ "$ref": format!("#/definitions/{name}") });
    match shape {
        Shape::Text(_) => known("text"),
        Shape::Form(_, pattern) => json!({ "type": "string", "pattern": format!("{pattern}|\\$\\{{") }),
        Shape::Number => known("number"),
        Shape::Size => known("size"),
        Shape::Bool => known("boolean"),
        Shape::Words(words) => json!({ "anyOf": [{ "enum": words }, known("reference")] }),
        Shape::Keys(short) => {
            let long = mapping(key.keys, key.more);
            match short.and_then(|short| key.keys.iter().find(|key| key.name == short)) {
                Some(short) => json!({ "anyOf": [value(short.shape, short), long] }),
                None => long,
            }
        }
        Shape::List(inner) => json!({ "type": "array", "items": value(*inner, key) }),
        Shape::Filled(inner) => json!({ "type": "array", "minItems": 1, "items": value(*inner, key) }),
        Shape::OneOrList(inner) => {
            let one = value(*inner, key);
            json!({ "anyOf": [one, { "type": "array", "items": one }] })
        }
        Shape::Named(inner) => json!({ "type": "object", "additionalProperties": value(*inner, key) }),
        Shape::OrOff(inner) => json!({ "anyOf": [value(*inner, key), { "enum": ["off", false] }] }),
    }
}

#[cfg(test)]
mod tests;
