//! `gatewright.yaml` and `x-gatewright`: from text to a typed [`Model`], and back to text.
//!
//! Pure: what `${NAME}` and `${file:…}` stand for comes through a [`Lookup`]. Every error is collected, with
//! line, column, pointer and source line; secrets are blotted out of what is shown.

pub mod bounds;
mod check;
pub mod compile;
pub mod model;
mod read;
mod record;
pub mod reference;
mod scalar;
pub mod schema;
pub mod span;
mod value;
pub mod write;
mod yaml;

#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::LazyLock};

use crate::diagnostic::{Diagnostic, codes};
pub use compile::{Compiled, Manner, Source, Summary, compile};
pub use model::Model;
pub use read::{Lookup, Spanned};
pub use record::{Deep, KeyDoc, Shape};
pub use scalar::duration;
pub use value::{
    Filled, HostName, Language, Location, Many, Named, Pem, Prefix, Range, Secret, ServerUrl, Size, Switch,
    UpstreamRef,
};

use model::Policy;
use read::{FromNode, Reader};
use span::{Document, Value};

/// Reads a configuration. The model is there only when there was no error.
#[must_use]
pub fn read(file: &str, text: &str, lookup: &dyn Lookup) -> (Option<Model>, Vec<Diagnostic>) {
    let (document, mut found) = Document::parse(file, text, &NAMES);
    let Some(mut document) = document else { return (None, found) };
    if let Value::Map(members) = &document.root.value
        && let Some((key, _)) =
            members.iter().find(|(key, _)| matches!(key.text.as_str(), "openapi" | "swagger"))
    {
        let title = "this is an OpenAPI description, not a configuration";
        let help =
            format!("run it as it is: `gatewright run {file}`, or name it under `apis:` as `spec: {file}`");
        let place = document.place(key.span, "");
        return (None, vec![Diagnostic::error(codes::VALUE_INVALID, title).at(place).help(help)]);
    }
    if document.root.is_null() {
        document.root.value = Value::Map(Vec::new());
    }
    let mut reader = Reader::new(&document, Some(lookup));
    let model = Model::from_node(&mut reader, &document.root);
    found.append(&mut reader.found);
    if let Some(model) = &model {
        check::model(model, &mut found);
    }
    crate::diagnostic::sort(&mut found);
    (model.filter(|_| !found.iter().any(Diagnostic::is_error)), found)
}

/// Reads the `x-gatewright` of a description, which stands at `pointer` of `file`. References (`${…}`) are
/// errors there: a description comes from elsewhere and must not read variables or files.
#[must_use]
pub fn read_extension(
    file: &str,
    pointer: &str,
    value: &serde_json::Value,
) -> (Option<Policy>, Vec<Diagnostic>) {
    let document = Document::from_json(file, pointer, value, &NAMES);
    let mut reader = Reader::new(&document, None);
    let policy = Policy::from_node(&mut reader, &document.root);
    let mut found = reader.found;
    if let Some(policy) = &policy {
        check::policy(policy, &mut found);
    }
    (policy.filter(|_| !found.iter().any(Diagnostic::is_error)), found)
}

/// The names of all keys, to tell a misspelt one from a name of the user's.
static NAMES: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    fn collect(keys: &'static [KeyDoc], names: &mut HashSet<&'static str>) {
        for key in keys {
            names.insert(key.name);
            collect(key.keys, names);
            collect(key.more, names);
        }
    }
    let mut names = HashSet::new();
    collect(keys(), &mut names);
    names
});

/// Whether a file is meant as a configuration: one of its own keys stands at its root, and no key of a
/// description does.
#[must_use]
pub fn is_configuration(bytes: &[u8]) -> bool {
    let mut known = root_words(bytes).filter(|word| keys().iter().any(|key| key.name == *word));
    !is_description(bytes) && known.next().is_some()
}

/// Whether a file says of itself that it is a description.
#[must_use]
pub fn is_description(bytes: &[u8]) -> bool {
    root_words(bytes).any(|word| matches!(word, "openapi" | "swagger" | "asyncapi" | "swaggerVersion"))
}

/// The words before a colon at the beginning of lines: enough to tell what a file is without reading it.
fn root_words(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let lines = std::str::from_utf8(bytes).unwrap_or_default().lines();
    lines.filter(|line| !line.starts_with([' ', '\t', '#'])).map(|line| {
        let line = line.trim_start_matches(['\u{feff}', '{', ' ', '"']);
        line.split([':', '"']).next().unwrap_or_default().trim()
    })
}

/// All keys with their reference.
#[must_use]
pub fn keys() -> &'static [KeyDoc] {
    Model::KEYS
}

/// The keys of `x-gatewright` in a description.
#[must_use]
pub fn extension_keys() -> &'static [KeyDoc] {
    Policy::KEYS
}
