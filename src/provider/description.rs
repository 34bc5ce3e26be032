//! From a description as the user names it (file, folder, URL) to imported APIs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::runtime::Handle;

use super::{
    fetch,
    source::{self, FolderLoader, folder_of},
};
use crate::{
    diagnostic::{Diagnostic, codes},
    openapi::{self, Api, Loader},
};

/// One imported description.
#[derive(Debug)]
pub struct Description {
    /// As the user named it, or the file found in the folder that was named.
    pub file: String,
    /// A short name for logs, metrics and addresses.
    pub name: String,
    pub api: Api,
    /// It came from the network: its servers are somebody else's word.
    pub remote: bool,
}

/// What naming one description led to.
#[derive(Debug, Default)]
pub struct Found {
    pub descriptions: Vec<Description>,
    pub diagnostics: Vec<Diagnostic>,
    /// A change to any of these is a change to what was found.
    pub files: Vec<PathBuf>,
}

/// Whether `spec` is to be fetched.
#[must_use]
pub fn is_url(spec: &str) -> bool {
    spec.starts_with("http://") || spec.starts_with("https://")
}

/// How descriptions are read.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    pub server_variables: &'a [(String, String)],
    /// Follow `$ref`s to addresses.
    pub remote_refs: bool,
    /// Fetches what has an address.
    pub runtime: &'a Handle,
}

/// Reads and imports what `spec` names.
pub fn load(spec: &str, reading: Reading<'_>) -> Found {
    if is_url(spec) {
        return remote(spec, reading);
    }
    let path = Path::new(spec);
    if path.is_dir() { folder(path, reading) } else { file(path, folder_of(path), reading) }
}

fn remote(url: &str, reading: Reading<'_>) -> Found {
    let fetched = match reading.runtime.block_on(fetch::fetch(url)) {
        Ok(fetched) => fetched,
        Err(diagnostic) => return Found { diagnostics: vec![diagnostic], ..Found::default() },
    };
    let options = openapi::Options {
        file: url.to_owned(),
        path: fetched.url.clone(),
        base_url: Some(fetched.url),
        remote_references: reading.remote_refs,
        server_variables: reading.server_variables.to_vec(),
    };
    let loader = WithAddresses { folder: None, reading };
    let (api, diagnostics) = openapi::import(&fetched.bytes, &options, &loader);
    let name = |api: &Api| name_of(Path::new(url.split(['?', '#']).next().unwrap_or(url)), api);
    let descriptions = api
        .map(|api| Description { file: url.to_owned(), name: name(&api), api, remote: true })
        .into_iter()
        .collect();
    Found { descriptions, diagnostics, files: Vec::new() }
}

fn file(path: &Path, boundary: &Path, reading: Reading<'_>) -> Found {
    let mut files = vec![path.to_owned()];
    let bytes = match source::read(path) {
        Ok(bytes) => bytes,
        Err(diagnostic) => return Found { diagnostics: vec![diagnostic], files, ..Found::default() },
    };
    let options = openapi::Options {
        file: path.display().to_string(),
        path: path.strip_prefix(boundary).unwrap_or(path).display().to_string(),
        base_url: None,
        remote_references: reading.remote_refs,
        server_variables: reading.server_variables.to_vec(),
    };
    let loader = WithAddresses { folder: Some(FolderLoader::within(boundary)), reading };
    let (api, diagnostics) = openapi::import(&bytes, &options, &loader);
    files.extend(loader.folder.into_iter().flat_map(FolderLoader::into_loaded));
    let description = |api: Api| Description {
        file: path.display().to_string(),
        name: name_of(path, &api),
        api,
        remote: false,
    };
    Found { descriptions: api.map(description).into_iter().collect(), diagnostics, files }
}

/// Every root description of a folder. Files that are none (parts of split ones, other JSON and YAML) are
/// passed over in silence, unless no description is found at all.
fn folder(path: &Path, reading: Reading<'_>) -> Found {
    let mut found = Found { files: vec![path.to_owned()], ..Found::default() };
    let candidates = match source::candidates(path) {
        Ok(candidates) => candidates,
        Err(diagnostic) => {
            found.diagnostics.push(diagnostic);
            return found;
        }
    };
    for candidate in candidates {
        let mut one = file(&candidate, path, reading);
        found.files.append(&mut one.files);
        let stranger = |d: &Diagnostic| d.is_error() && d.code == codes::NOT_OPENAPI;
        if one.descriptions.is_empty() && one.diagnostics.iter().any(stranger) {
            continue;
        }
        found.descriptions.append(&mut one.descriptions);
        found.diagnostics.append(&mut one.diagnostics);
    }
    if found.descriptions.is_empty() && found.diagnostics.is_empty() {
        found.diagnostics.push(
            Diagnostic::error(codes::FILE_UNREADABLE, "the folder holds no OpenAPI description")
                .file(path.display().to_string())
                .help("descriptions are `.json`, `.yaml` or `.yml` files with `openapi` or `swagger` at their root"),
        );
    }
    found
}

/// The description's folder, and addresses where the user allowed them.
struct WithAddresses<'a> {
    folder: Option<FolderLoader>,
    reading: Reading<'a>,
}

impl Loader for WithAddresses<'_> {
    fn load(&self, reference: &str) -> Result<Arc<[u8]>, String> {
        if is_url(reference) {
            let fetched = self.reading.runtime.block_on(fetch::fetch(reference));
            return fetched.map(|fetched| fetched.bytes.into()).map_err(|diagnostic| diagnostic.title);
        }
        match &self.folder {
            Some(folder) => folder.load(reference),
            None => Err("a fetched description reads no files".to_owned()),
        }
    }
}

/// The file's name without its ending; the title where that name says nothing.
fn name_of(path: &Path, api: &Api) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let name = slug(&stem);
    let says_nothing = ["", "openapi", "swagger", "api", "api-docs", "index", "spec", "schema"];
    if !says_nothing.contains(&name.as_str()) {
        return name;
    }
    let title = slug(&api.title);
    if title.is_empty() { "api".to_owned() } else { title }
}

/// Lower-case letters, digits, `-`, `_` and `.`, at most 60 characters.
#[must_use]
pub fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(200) {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '_' | '.') => out.push(c),
            _ if !out.ends_with('-') && !out.is_empty() => out.push('-'),
            _ => {}
        }
    }
    out.truncate(60);
    out.trim_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        assert_eq!(slug("Swagger Petstore - OpenAPI 3.0"), "swagger-petstore-openapi-3.0");
        assert_eq!(slug("<script>"), "script");
        assert_eq!(slug("日本"), "");
    }
}
