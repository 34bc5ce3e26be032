//! The page that lists every key, made of the records that the reader reads by.

use std::fmt::Write;

use super::{
    extension_keys, keys,
    record::{KeyDoc, Shape},
};

const OPENING: &str = "<!-- Made by `make docs` from the records in src/config/model.rs: change these, not this page. -->

# Every key of gatewright.yaml

A heading says where the keys below it may stand: `[]` is each item of a list, `NAME` a name of yours, `x-gatewright` the
root, a path or an operation of a description. The nearest to an operation wins, key by key; lists are replaced whole.
A value may hold `${NAME}` (a variable of the environment), `${NAME:-default}` and `${file:PATH}` (the text of a file),
but not in a description. An unknown key is an error.
";

/// The page in Markdown.
#[must_use]
pub fn page() -> String {
    let mut groups = Vec::new();
    collect(&mut groups, "gatewright.yaml", "", keys(), &[]);
    collect(&mut groups, "x-gatewright", "x-gatewright", extension_keys(), &[]);
    let mut text = OPENING.to_owned();
    for group in &groups {
        let places: Vec<String> = group.places.iter().map(|place| format!("`{place}`")).collect();
        let _ = write!(
            text,
            "\n## {}\n\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n",
            places.join(", ")
        );
        for key in group.keys {
            row(&mut text, key);
        }
    }
    text
}

/// Keys that stand together, and every place at which they do.
struct Group {
    places: Vec<String>,
    keys: &'static [KeyDoc],
}

/// Gathers the keys of a mapping and of those below it. `shown` names its place in a heading, `path` begins those of
/// what lies below.
fn collect(
    groups: &mut Vec<Group>,
    shown: &str,
    path: &str,
    keys: &'static [KeyDoc],
    more: &'static [KeyDoc],
) {
    for keys in [keys, more].into_iter().filter(|keys| !keys.is_empty()) {
        match groups.iter_mut().find(|group| are_same(group.keys, keys)) {
            Some(group) => group.places.push(shown.to_owned()),
            None => groups.push(Group { places: vec![shown.to_owned()], keys }),
        }
    }
    for key in keys.iter().chain(more).filter(|key| !key.keys.is_empty()) {
        let dot = if path.is_empty() { "" } else { "." };
        let below = format!("{path}{dot}{}{}", key.name, step(key.shape));
        collect(groups, &below, &below, key.keys, key.more);
    }
}

/// One record is read at several places: it is told by what it says.
fn are_same(a: &[KeyDoc], b: &[KeyDoc]) -> bool {
    let told = |key: &KeyDoc| (key.name, key.doc);
    a.len() == b.len() && a.iter().map(told).eq(b.iter().map(told))
}

/// The way from a key to the mapping that is its value or part of it.
fn step(shape: Shape) -> String {
    match shape {
        Shape::List(inner) | Shape::Filled(inner) => format!("[]{}", step(*inner)),
        Shape::Named(inner) => format!(".NAME{}", step(*inner)),
        Shape::OneOrList(inner) | Shape::OrOff(inner) => step(*inner),
        _ => String::new(),
    }
}

fn row(text: &mut String, key: &KeyDoc) {
    let doc = key.doc.split_whitespace().collect::<Vec<_>>().join(" ");
    let (meaning, default) = match doc.split_once("Default: ") {
        Some((meaning, default)) => (meaning.trim_end(), default.trim_end_matches('.')),
        None if key.required => (doc.as_str(), "required"),
        None => (doc.as_str(), ""),
    };
    let cell = |text: &str| text.replace('|', "\\|");
    let _ = writeln!(
        text,
        "| `{}` | {} | {} | {} |",
        key.name,
        cell(&value(key.shape)),
        cell(default),
        cell(meaning)
    );
}

/// What a value is, in words.
fn value(shape: Shape) -> String {
    match shape {
        Shape::Text(what) | Shape::Form(what, _) => what.to_owned(),
        Shape::Number => "a whole number".to_owned(),
        Shape::Size => "a size such as `64KiB`, `10MB` or `1048576`".to_owned(),
        Shape::Bool => "`true` or `false`".to_owned(),
        Shape::Words(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Shape::Keys(None) => "a mapping".to_owned(),
        Shape::Keys(Some(key)) => format!("a mapping, or its `{key}` alone"),
        Shape::List(inner) => format!("a list, each {}", value(*inner)),
        Shape::Filled(inner) => format!("a list of at least one, each {}", value(*inner)),
        Shape::OneOrList(inner) => format!("{}, or a list of such", value(*inner)),
        Shape::Named(inner) => format!("a mapping of names, each {}", value(*inner)),
        Shape::OrOff(inner) => format!("{}, or `off`", value(*inner)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The committed page is what the records say. `UPDATE=1` writes it.
    #[test]
    fn the_committed_reference_is_not_stale() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/reference.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == page(), "deploy/reference.md is stale: run `make docs`");
    }

    #[test]
    fn every_key_stands_once_with_all_its_places() {
        let text = page();
        for line in [
            "## `gatewright.yaml`",
            "## `limits`, `apis[].limits`, `routes[].limits`, `x-gatewright.limits`",
            "## `apis[]`, `routes[]`, `x-gatewright`",
            "## `upstreams.NAME`",
            "| `connect` | a duration such as `30s` | `5s` | Until the upstream's connection is open, with TLS. |",
            "| `spec` | a text | required | The OpenAPI description: a file, a folder or an address. |",
        ] {
            assert!(text.lines().any(|known| known == line), "no `{line}` in\n{text}");
        }
        assert_eq!(text.matches("| `first_byte` |").count(), 1);
        assert!(text.lines().filter(|line| line.starts_with("| `")).all(|line| !line.contains("|  |  |")));
    }
}
