//! Real descriptions against what independent code expects of them, operation by operation.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::{Path, PathBuf},
};

use super::*;

/// Reads the files of one folder; only for tests, so without care for symbolic links.
struct Folder(PathBuf);

impl Loader for Folder {
    fn load(&self, reference: &str) -> Result<Arc<[u8]>, String> {
        std::fs::read(self.0.join(reference)).map(Into::into).map_err(|e| e.to_string())
    }
}

/// The folder of descriptions, if it is there: `GATEWRIGHT_SPECS` or beside the project.
fn specs() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/specs");
    let folder = std::env::var_os("GATEWRIGHT_SPECS").map_or_else(default, PathBuf::from);
    let there = folder.join("expected.tsv").is_file();
    if !there {
        eprintln!("\nNOTE: {} is not there: tests on real descriptions do NOT run\n", folder.display());
    }
    there.then_some(folder)
}

fn read(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    if path.extension().is_none_or(|end| end != "gz") {
        return bytes;
    }
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut out).unwrap();
    out
}

fn import_file(folder: &Path, file: &str) -> Imported {
    // A description in several files lies in a folder of its own, the first part of its path.
    let (root, path) = match file.split_once('/') {
        Some((first, rest)) if !matches!(first, "made" | "refuse") => (folder.join(first), rest),
        _ => (folder.join(file).parent().unwrap().to_owned(), file.rsplit('/').next().unwrap()),
    };
    let options = Options { file: file.to_owned(), path: path.to_owned(), ..Options::default() };
    import(&read(&folder.join(file)), &options, &Folder(root))
}

fn table(path: &Path) -> Vec<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split('\t'));
    let head: Vec<&str> = lines.next().unwrap().collect();
    lines.map(|cells| head.iter().map(|h| (*h).to_owned()).zip(cells.map(str::to_owned)).collect()).collect()
}

/// Codes that the expectations do not know.
const OWN: &[&str] = &["ref-outside-folder"];

fn codes_of(diagnostics: &[Diagnostic], errors: bool) -> String {
    let all = diagnostics.iter().filter(|d| d.is_error() == errors && !OWN.contains(&d.code.slug));
    let all: BTreeSet<&str> = all.map(|d| d.code.slug).collect();
    all.into_iter().collect::<Vec<_>>().join(",")
}

fn key(template: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in template.chars() {
        inside &= c != '}';
        if !inside {
            out.push(c);
        }
        inside |= c == '{';
    }
    out
}

/// `expected-ops.tsv`'s way to write an operation.
fn written(operation: &Operation, schemes: &[(String, SecurityScheme)]) -> BTreeMap<String, String> {
    let value = |v: &Option<String>| v.clone().unwrap_or_else(|| "{}".to_owned());
    let Conditions { query, header } = &operation.conditions;
    let mut conditions: Vec<String> = query.iter().map(|(n, v)| format!("query:{n}={}", value(v))).collect();
    conditions.extend(header.iter().map(|(n, v)| format!("header:{n}={}", value(v))));
    conditions.sort();
    let path = key(&operation.template);
    let qkey =
        if conditions.is_empty() { path.clone() } else { format!("{path} [{}]", conditions.join(" ")) };
    let alternative = |requirement: &Requirement| {
        let mut names: Vec<String> = requirement
            .iter()
            .map(|(name, scopes)| {
                let known = if schemes.iter().any(|(n, _)| n == name) { "" } else { "?" };
                let scopes =
                    if scopes.is_empty() { String::new() } else { format!("[{}]", scopes.join(",")) };
                format!("{known}{name}{scopes}")
            })
            .collect();
        names.sort();
        if names.is_empty() { "{}".to_owned() } else { names.join(" & ") }
    };
    let security = operation.security.as_deref().unwrap_or_default();
    let security = security.iter().map(alternative).collect::<Vec<_>>().join(" | ");
    let mut bases: Vec<&str> = Vec::new();
    for server in operation.servers.iter() {
        let base = if server.base_path.is_empty() { "/" } else { &server.base_path };
        if !bases.contains(&base) {
            bases.push(base);
        }
    }
    let servers: Vec<&str> = operation.servers.iter().map(|s| s.url.as_str()).collect();
    BTreeMap::from([
        ("method".to_owned(), operation.method.clone()),
        ("path".to_owned(), operation.key.clone()),
        ("key".to_owned(), path),
        ("qkey".to_owned(), qkey),
        ("servers".to_owned(), servers.join(" ")),
        ("base".to_owned(), bases.join(" ")),
        ("security".to_owned(), if security.is_empty() { "none".to_owned() } else { security }),
        ("operation_id".to_owned(), operation.operation_id.clone().unwrap_or_default()),
    ])
}

#[test]
fn every_description_imports_as_expected() {
    let Some(folder) = specs() else { return };
    let mut wrong = Vec::new();
    for row in table(&folder.join("expected.tsv")) {
        let file = &row["file"];
        let started = std::time::Instant::now();
        let (api, diagnostics) = import_file(&folder, file);
        eprintln!("{file}: {:?}", started.elapsed());
        let (errors, warnings) = (codes_of(&diagnostics, true), codes_of(&diagnostics, false));
        if row["verdict"] == "refuse" {
            if api.is_some() || errors != row["warnings_or_reason"] {
                wrong.push(format!("{file}: expected {}, found {errors}", row["warnings_or_reason"]));
            }
            continue;
        }
        let Some(api) = api else {
            wrong.push(format!("{file}: refused for {errors}: {}", diagnostics[0].title));
            continue;
        };
        if warnings != row["warnings_or_reason"] || !errors.is_empty() {
            wrong.push(format!("{file}: expected {}, found {warnings} {errors}", row["warnings_or_reason"]));
        }
        let Counts { declared, routed, folded, refused } = api.counts;
        let counts = [("declared", declared), ("routed", routed), ("folded", folded), ("refused", refused)];
        for (name, count) in counts {
            if row[name] != count.to_string() {
                wrong.push(format!("{file}: {name} {count}, expected {}", row[name]));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_operation_is_read_as_expected() {
    let Some(folder) = specs() else { return };
    let mut wrong = Vec::new();
    let mut expected: BTreeMap<String, Vec<BTreeMap<String, String>>> = BTreeMap::new();
    for row in table(&folder.join("expected-ops.tsv")) {
        expected.entry(row["id"].clone()).or_default().push(row);
    }
    let refused: BTreeSet<String> = table(&folder.join("expected.tsv"))
        .into_iter()
        .filter(|row| row["verdict"] == "refuse")
        .map(|row| row["file"].clone())
        .collect();
    for (file, rows) in expected.iter().filter(|(file, _)| !refused.contains(*file)) {
        let Some(api) = import_file(&folder, file).0 else { continue };
        let found: Vec<_> = api.operations.iter().map(|o| written(o, &api.security_schemes)).collect();
        let rows: Vec<_> = rows.iter().filter(|row| row["status"] == "route").collect();
        if found.len() != rows.len() {
            wrong.push(format!("{file}: {} operations, expected {}", found.len(), rows.len()));
        }
        let by_route: BTreeMap<_, _> = found.iter().map(|o| ((&o["method"], &o["qkey"]), o)).collect();
        for row in rows {
            let Some(operation) = by_route.get(&(&row["method"], &row["qkey"])) else {
                wrong.push(format!("{file}: {} {} is not routed", row["method"], row["qkey"]));
                continue;
            };
            for (name, value) in operation.iter().filter(|(name, value)| row[*name] != **value) {
                let place = format!("{file}: {} {}", row["method"], row["path"]);
                wrong.push(format!("{place}: {name} is {value}, expected {}", row[name]));
            }
        }
    }
    wrong.truncate(40);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
