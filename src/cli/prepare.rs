//! From the command line to everything a generation is made of: configuration read, descriptions imported.

use std::{
    cell::RefCell,
    collections::HashSet,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::ProgressBar;
use tokio::runtime::Handle;

use super::{
    args::Source,
    configure::{self, Policies},
    findings,
};
use crate::{
    config::{self, Location, Lookup, Model, Pem, Secret, Spanned},
    diagnostic::{Diagnostic, codes},
    openapi::{self, Siting},
    provider::{
        description::{self, Description, Found, Reading, slug},
        source::{self, folder_of},
    },
};

/// The file that flags are read as.
pub const COMMAND_LINE: &str = "command line";

/// What was read. Without a model there are errors among the diagnostics.
#[derive(Debug, Default)]
pub struct Prepared {
    pub model: Option<Model>,
    pub sources: Vec<Imported>,
    pub diagnostics: Vec<Diagnostic>,
    /// A change to any of these asks for a new generation.
    pub files: Vec<PathBuf>,
    /// A file that was named cannot be read at all.
    pub unreadable: bool,
}

/// One imported description and the entry of `apis` that it belongs to.
#[derive(Debug)]
pub struct Imported {
    pub entry: usize,
    pub name: String,
    pub description: Description,
    pub mount: Option<String>,
}

impl Prepared {
    /// The descriptions as the compiler takes them.
    #[must_use]
    pub fn compiler_sources<'a>(&'a self, model: &'a Model) -> Vec<config::Source<'a>> {
        let one = |imported: &'a Imported| config::Source {
            entry: &model.apis[imported.entry],
            api: &imported.description.api,
            file: &imported.description.file,
            name: &imported.name,
            mount: imported.mount.as_deref(),
            remote: imported.description.remote,
        };
        self.sources.iter().map(one).collect()
    }

    /// The files of descriptions whose requests go where the user said.
    #[must_use]
    pub fn homes(&self, model: &Model) -> Vec<&str> {
        let chosen = |imported: &&Imported| model.apis[imported.entry].policy.upstream.is_some();
        self.sources.iter().filter(chosen).map(|imported| imported.description.file.as_str()).collect()
    }
}

/// What the words on the command line name, for the state directory: two gateways that run different things
/// never share one.
#[must_use]
pub fn identity(source: &Source) -> Vec<String> {
    let config = source.config.as_ref().map(|path| path.display().to_string());
    config.into_iter().chain(source.proxy.clone()).chain(source.specs.iter().cloned()).collect()
}

/// Reads and imports what the command line names.
pub fn prepare(source: &Source, policies: &Policies, runtime: &Handle) -> Prepared {
    let mut prepared = Prepared::default();
    let folder = match configuration_file(source) {
        Some(path) => {
            prepared.read_file(&path, source, policies);
            folder_of(&path).to_owned()
        }
        None => {
            prepared.read_flags(source, policies);
            PathBuf::from(".")
        }
    };
    prepared.import(&folder, source.remote_refs, runtime);
    crate::diagnostic::sort(&mut prepared.diagnostics);
    prepared
}

/// The configuration that is named: by `--config`, or as the only argument when that is no description.
fn configuration_file(source: &Source) -> Option<PathBuf> {
    if let Some(path) = &source.config {
        return Some(path.clone());
    }
    let [only] = source.specs.as_slice() else { return None };
    let path = Path::new(only);
    let yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
    if description::is_url(only) || !yaml || !path.is_file() {
        return None;
    }
    let bytes = source::read(path).ok()?;
    let named = path.file_stem().is_some_and(|stem| stem.to_string_lossy().starts_with("gatewright"));
    (named && !config::is_description(&bytes) || config::is_configuration(&bytes)).then(|| path.to_owned())
}

impl Prepared {
    fn read_file(&mut self, path: &Path, source: &Source, policies: &Policies) {
        self.files.push(path.to_owned());
        let text = match source::read(path) {
            Ok(bytes) => String::from_utf8(bytes),
            Err(diagnostic) => {
                self.diagnostics.push(diagnostic);
                self.unreadable = true;
                return;
            }
        };
        let file = path.display().to_string();
        let Ok(text) = text else {
            self.diagnostics.push(
                Diagnostic::error(codes::FILE_UNREADABLE, "the file is not UTF-8")
                    .file(file)
                    .help("save it as UTF-8"),
            );
            return;
        };
        if let Some(flag) = stray_flag(source, policies) {
            self.diagnostics.push(
                Diagnostic::error(codes::USAGE, format!("`{flag}` does not go with a configuration file"))
                    .file(&file)
                    .help("write it into the file, under the API it is meant for"),
            );
        }
        self.read_text(&file, &text, folder_of(path));
        if self.model.as_ref().is_some_and(|model| model.apis.is_empty() && model.routes.is_empty()) {
            // Also what a file looks like while an editor writes it.
            self.model = None;
            self.diagnostics.push(
                Diagnostic::error(
                    codes::KEY_MISSING,
                    "neither `apis` nor `routes` is there: nothing would be served",
                )
                .file(file)
                .help("add the first API: `apis: [{ spec: petstore.yaml }]`"),
            );
        }
    }

    fn read_flags(&mut self, source: &Source, policies: &Policies) {
        match configure::configuration(source, policies) {
            Ok((value, mut said)) => {
                self.diagnostics.append(&mut said);
                self.read_text(COMMAND_LINE, &value.to_string(), Path::new("."));
            }
            Err(diagnostic) => self.diagnostics.push(diagnostic),
        }
    }

    fn read_text(&mut self, file: &str, text: &str, folder: &Path) {
        let outside = Outside { folder: folder.to_owned(), files: RefCell::default() };
        let (model, mut said) = config::read(file, text, &outside);
        self.model = model;
        self.diagnostics.append(&mut said);
        self.resolve_keys(folder, &outside);
        self.files.extend(outside.files.into_inner());
    }

    /// Files that the configuration names are relative to its folder; PEM files are read here.
    fn resolve_keys(&mut self, folder: &Path, outside: &Outside) {
        let issuers = self.model.iter_mut().flat_map(|model| &mut model.issuers);
        for issuer in issuers {
            if let Some(Spanned { value: Location::File(path), place }) = &mut issuer.jwks {
                *path = beside(folder, path);
                if let Err(error) = std::fs::File::open(path) {
                    let title = format!("cannot read the key set: {}", source::reason(&error));
                    let help = match error.kind() {
                        ErrorKind::NotFound => "paths are relative to the folder of the configuration",
                        _ => source::advice(&error),
                    };
                    self.diagnostics.push(
                        Diagnostic::error(codes::FILE_UNREADABLE, title).at((**place).clone()).help(help),
                    );
                }
            }
            if let Some(pem) = issuer.key.as_mut().and_then(|key| key.pem.as_mut()) {
                let Pem::File(path) = &pem.value else { continue };
                match outside.file(path) {
                    Ok(text) => pem.value = Pem::Text(Secret(text)),
                    Err(why) => self.diagnostics.push(
                        Diagnostic::error(
                            codes::FILE_UNREADABLE,
                            format!("cannot read the key `{path}`: {why}"),
                        )
                        .at((*pem.place).clone()),
                    ),
                }
            }
        }
    }

    fn import(&mut self, folder: &Path, remote_refs: bool, runtime: &Handle) {
        let Some(model) = &self.model else { return };
        let mut taken = HashSet::new();
        for (entry, api) in model.apis.iter().enumerate() {
            let spec = &api.spec.value;
            let named = if description::is_url(spec) { spec.clone() } else { beside(folder, spec) };
            let variables: Vec<(String, String)> = api
                .server_variables
                .iter()
                .flat_map(|named| named.0.iter())
                .map(|(name, value)| (name.value.clone(), value.clone()))
                .collect();
            // Drawn on a terminal alone.
            let progress = ProgressBar::new_spinner().with_message(format!("importing {spec}"));
            progress.enable_steady_tick(Duration::from_millis(200));
            let Found { descriptions, mut diagnostics, files } =
                description::load(&named, Reading { server_variables: &variables, remote_refs, runtime });
            progress.finish_and_clear();
            if api.spec.place.file != COMMAND_LINE {
                at_its_key(&mut diagnostics, &named, &api.spec);
            }
            self.unreadable |= descriptions.is_empty()
                && diagnostics
                    .iter()
                    .any(|d| d.code == codes::FILE_UNREADABLE || d.code == codes::FETCH_FAILED);
            self.diagnostics.extend(diagnostics);
            self.files.extend(files);
            let mount = api.mount.as_ref().map(|mount| mount.value.0.as_str()).unwrap_or_default();
            let mounts = mounts(&descriptions, mount);
            let alone = descriptions.len() == 1;
            for (description, mount) in descriptions.into_iter().zip(mounts) {
                let wanted = match &api.name {
                    Some(name) if alone => slug(&name.value),
                    _ => description.name.clone(),
                };
                let name = unique(wanted, &mut taken);
                self.sources.push(Imported { entry, name, description, mount });
            }
        }
        self.diagnostics.extend(findings::unused_variables(model, &self.sources));
    }
}

/// What a configuration names and cannot be read is wrong where it is named.
fn at_its_key(diagnostics: &mut [Diagnostic], named: &str, spec: &Spanned<String>) {
    for d in diagnostics.iter_mut().filter(|d| d.code == codes::FILE_UNREADABLE && d.place.file == named) {
        d.title = d.title.replacen("the file", &format!("the description `{}`", spec.value), 1);
        d.place = (*spec.place).clone();
        if d.title.ends_with("no such file or folder") {
            d.help = "paths are relative to the folder of the configuration".to_owned();
        }
    }
}

/// A path of the configuration, relative to its folder.
fn beside(folder: &Path, path: &str) -> String {
    if folder == Path::new(".") { path.to_owned() } else { folder.join(path).display().to_string() }
}

/// Names descriptions as they are named from the folder of `output`, where the configuration will be read.
pub fn move_specs(model: &mut Model, source: &Source, output: &Path) {
    let from = configuration_file(source);
    let from = from.as_deref().map_or(Path::new("."), folder_of);
    let (Ok(from), Ok(to)) = (from.canonicalize(), folder_of(output).canonicalize()) else { return };
    if from == to {
        return;
    }
    for spec in model.apis.iter_mut().map(|api| &mut api.spec.value) {
        if description::is_url(spec) || Path::new(spec.as_str()).is_absolute() {
            continue;
        }
        let Ok(there) = from.join(spec.as_str()).canonicalize() else { continue };
        *spec = relative(&to, &there).display().to_string();
    }
}

/// The way from one folder to a path, both absolute.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| std::path::Component::ParentDir);
    up.chain(to.components().skip(shared)).collect()
}

fn unique(wanted: String, taken: &mut HashSet<String>) -> String {
    let wanted = if wanted.is_empty() { "api".to_owned() } else { wanted };
    let names = std::iter::once(wanted.clone()).chain((2..).map(|n| format!("{wanted}-{n}")));
    let free = names.into_iter().find(|name| !taken.contains(name)).unwrap_or(wanted);
    taken.insert(free.clone());
    free
}

/// Where the APIs of one folder are mounted: those whose base paths overlap go to `/<file name>`.
fn mounts(descriptions: &[Description], mount: &str) -> Vec<Option<String>> {
    if descriptions.len() < 2 {
        return descriptions.iter().map(|_| None).collect();
    }
    let bases: Vec<String> = descriptions.iter().map(|d| base(&d.api)).collect();
    let overlaps = |a: &str, b: &str| {
        a == b
            || format!("{b}/").starts_with(&format!("{a}/"))
            || format!("{a}/").starts_with(&format!("{b}/"))
    };
    let mut taken = HashSet::new();
    let place = |(index, description): (usize, &Description)| {
        let crowded =
            bases.iter().enumerate().any(|(other, base)| other != index && overlaps(base, &bases[index]));
        crowded.then(|| format!("{mount}/{}", unique(description.name.clone(), &mut taken)))
    };
    descriptions.iter().enumerate().map(place).collect()
}

/// The base path of most operations: that of the document's server in force.
fn base(api: &openapi::Api) -> String {
    let operation =
        api.operations.iter().find(|operation| operation.servers_of_document).or(api.operations.first());
    operation.map(|operation| openapi::site(api, operation, &Siting::default()).prefix).unwrap_or_default()
}

/// A flag that only makes sense with a description on the command line.
fn stray_flag(source: &Source, policies: &Policies) -> Option<&'static str> {
    [
        (source.config.is_some() && !source.specs.is_empty(), "FILE"),
        (source.upstream.is_some(), "--upstream"),
        (source.server.is_some(), "--server"),
        (!source.server_variables.is_empty(), "--server-variable"),
        (source.all_servers, "--all-servers"),
        (source.mount.is_some(), "--mount"),
        (source.strip_base, "--strip-base"),
        (policies.security.is_some(), "--security"),
        (!policies.upstream_headers.is_empty(), "--upstream-header"),
        (policies.rate_limit.is_some(), "--rate-limit"),
        (policies.no_cache, "--no-cache"),
        (policies.hide_client_address, "--hide-client-address"),
    ]
    .into_iter()
    .find_map(|(given, flag)| given.then_some(flag))
}

/// The environment and the files beside the configuration.
struct Outside {
    folder: PathBuf,
    files: RefCell<Vec<PathBuf>>,
}

/// More than any secret needs.
const MAX_SECRET: u64 = 64 * 1024;

impl Lookup for Outside {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &str) -> Result<String, String> {
        use std::io::Read;
        let path = self.folder.join(path);
        self.files.borrow_mut().push(path.clone());
        let mut text = String::new();
        let file = std::fs::File::open(&path).map_err(|error| source::reason(&error))?;
        file.take(MAX_SECRET).read_to_string(&mut text).map_err(|error| source::reason(&error))?;
        Ok(text.trim_end_matches(['\n', '\r']).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_from_a_folder_to_a_file_goes_up_and_down() {
        let way = |from: &str, to: &str| relative(Path::new(from), Path::new(to)).display().to_string();
        assert_eq!(way("/a/conf", "/a/pets.yaml"), "../pets.yaml");
        assert_eq!(way("/a", "/a/b/pets.yaml"), "b/pets.yaml");
        assert_eq!(way("/a/b/c", "/d/pets.yaml"), "../../../d/pets.yaml");
    }
}
