//! The one curl line of the start-up page: a call that has the best chance to work as it stands.

use serde_json::Value;

use crate::openapi::{Api, Location, Operation, Parameter};

/// The served path and query of a `GET` whose required parameters can all be filled in; the easiest first.
#[must_use]
pub fn target(api: &Api, served: impl Fn(&Operation) -> String) -> Option<String> {
    let callable = api.operations.iter().filter(|operation| operation.method == "GET");
    callable
        .filter_map(|operation| Some((effort(operation)?, operation)))
        .min_by_key(|(effort, _)| *effort)
        .map(|(_, operation)| fill(operation, &served(operation)))
}

/// How much of the call is guessed; `None` when it cannot be made on one line.
fn effort(operation: &Operation) -> Option<usize> {
    let mut effort = 0;
    for parameter in &operation.parameters {
        let needed = parameter.required || parameter.location == Location::Path;
        match parameter.location {
            Location::Body | Location::Form | Location::Header | Location::Cookie | Location::QueryString
                if needed =>
            {
                return None;
            }
            Location::Path | Location::Query if needed => {
                effort += if example(parameter).is_some() { 1 } else { 10 }
            }
            _ => {}
        }
    }
    let conditions = &operation.conditions;
    if !conditions.header.is_empty() {
        return None;
    }
    let secured = operation
        .security
        .as_ref()
        .is_some_and(|all| !all.is_empty() && all.iter().all(|one| !one.is_empty()));
    Some(effort + conditions.query.len() + if secured { 5 } else { 0 })
}

fn fill(operation: &Operation, served: &str) -> String {
    let mut path = String::new();
    let mut rest = served;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        path.push_str(before);
        let parameter = operation.parameters.iter().find(|p| p.location == Location::Path && p.name == name);
        path.push_str(&escaped(&parameter.map_or_else(|| "1".to_owned(), |parameter| value(parameter))));
        rest = after;
    }
    path.push_str(rest);
    let required = operation.parameters.iter().filter(|p| p.location == Location::Query && p.required);
    let mut pairs: Vec<String> =
        required.map(|p| format!("{}={}", escaped(&p.name), escaped(&value(p)))).collect();
    for (name, value) in &operation.conditions.query {
        let pair = match value {
            Some(value) => format!("{}={}", escaped(name), escaped(value)),
            None => escaped(name),
        };
        if !pairs.iter().any(|known| known.starts_with(&format!("{}=", escaped(name)))) {
            pairs.push(pair);
        }
    }
    if pairs.is_empty() { path } else { format!("{path}?{}", pairs.join("&")) }
}

fn value(parameter: &Parameter) -> String {
    example(parameter).unwrap_or_else(|| "1".to_owned())
}

/// What the description gives as a value: an example, the default, the first of an enumeration.
fn example(parameter: &Parameter) -> Option<String> {
    let schema = &parameter.schema;
    let array = schema.get("items").unwrap_or(&Value::Null);
    let first = |value: &Value| value.get(0).cloned();
    [schema, array]
        .iter()
        .flat_map(|s| {
            [
                s.get("example").cloned(),
                s.get("examples").and_then(first),
                s.get("default").cloned(),
                s.get("enum").and_then(first),
            ]
        })
        .flatten()
        .find_map(|value| match value {
            Value::String(text) if !text.is_empty() => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        })
}

/// Escaped for a URL, and harmless between the quotes of a shell.
fn escaped(text: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~')
        .remove(b',')
        .remove(b':');
    percent_encoding::utf8_percent_encode(text, KEPT).to_string()
}
