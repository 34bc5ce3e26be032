//! The house rules that no compiler checks: layers, purity, budgets, words.
//!
//! Reads the sources as text, comments and literals blanked where only code counts. A rule that needs an
//! exception has a table here, and each line of it says why.

#[path = "tidy/source.rs"]
mod source;

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use source::{
    blank, code_constants, crate_paths, functions, identifier, line_of, test_modules, without_tests,
};

/// Each room may use those of the lines above its own.
const LAYERS: &[&[&str]] = &[
    &["exchange", "problem", "diagnostic", "telemetry", "route"],
    &["cache", "counter", "policy", "shared", "tls", "upstream"],
    &["gateway"],
    &["config", "openapi", "proxy"],
    &["admin", "docs", "provider", "server"],
    &["cli"],
];

/// Uses within one line of [`LAYERS`]: from, to, why.
const SIDEWAYS: &[(&str, &str, &str)] = &[
    ("problem", "exchange", "a refusal is a response with a body"),
    ("telemetry", "exchange", "an access event has the time and id of its exchange"),
    ("telemetry", "problem", "events and counts name the refusal"),
    ("cache", "route", "a purge names paths by their templates"),
    ("cache", "shared", "purges reach other nodes through a shared log"),
    ("policy", "counter", "a rate limit is a policy that counts"),
    ("config", "openapi", "a description is compiled like the configuration that names it"),
];

/// Rooms and files that compute and never touch the world.
const PURE: &[&str] = &["src/config/", "src/openapi/", "src/route/", "src/cache/control", "src/counter/gcra"];

/// What touching the world looks like.
const WORLD: &[&str] = &[
    "std::fs",
    "std::process",
    "std::env",
    "std::thread",
    "tokio::",
    "reqwest::",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "File::",
    "SystemTime::now",
    "Instant::now",
];

/// Lines of a file without its tests: above the first it is reported, above the second the test fails.
const FILE_LINES: (usize, usize) = (400, 600);

/// The same for functions, signature and closing brace included.
const FUNCTION_LINES: (usize, usize) = (60, 80);

/// Folders between `src` and a file.
const NESTING: usize = 3;

#[test]
fn rooms_depend_downward_only() {
    let layer = |room: &str| LAYERS.iter().position(|rooms| rooms.contains(&room));
    let mut faults = Faults::default();
    for file in rust_files("src") {
        let from = file.room();
        if matches!(from, "lib" | "main") {
            continue;
        }
        let Some(own) = layer(from) else {
            faults.add(&file, 1, format_args!("`{from}` stands in no line of LAYERS"));
            continue;
        };
        for (line, to) in crate_paths(&file.production()) {
            let fine = to == from
                || layer(&to).is_some_and(|other| other < own)
                || SIDEWAYS.iter().any(|(a, b, _)| (*a, *b) == (from, to.as_str()));
            if !fine {
                faults.add(&file, line, format_args!("`{from}` uses `{to}`, which is not below it"));
            }
        }
    }
    faults.judge();
}

#[test]
fn every_sideways_use_that_is_allowed_is_made() {
    let made: BTreeSet<(String, String)> = rust_files("src")
        .iter()
        .flat_map(|file| {
            let from = file.room().to_owned();
            crate_paths(&file.production()).into_iter().map(move |(_, to)| (from.clone(), to))
        })
        .collect();
    for (from, to, _) in SIDEWAYS {
        assert!(
            made.contains(&((*from).into(), (*to).into())),
            "`{from}` uses `{to}` no more: drop the line"
        );
    }
}

#[test]
fn no_policy_knows_another() {
    let files = rust_files("src/policy");
    let table = files.iter().find(|file| file.path == "src/policy/mod.rs").expect("the table of policies");
    let table = table.production();
    let rows = table.split("policies! {").nth(1).and_then(|rest| rest.split('}').next()).unwrap_or_default();
    let names: Vec<&str> = rows.split("=> ").skip(1).map(identifier).collect();
    assert!(names.len() >= 2, "the table of policies was not recognised: {names:?}");
    let mut faults = Faults::default();
    for file in &files {
        let inner = file.path.trim_start_matches("src/policy/");
        let Some(own) = names.iter().find(|name| identifier(inner) == **name) else { continue };
        let code = file.production();
        for other in names.iter().filter(|name| *name != own) {
            for path in [format!("super::{other}::"), format!("policy::{other}::")] {
                if let Some(line) = line_of(&code, &path) {
                    faults.add(file, line, format_args!("policy `{own}` uses policy `{other}`"));
                }
            }
        }
    }
    faults.judge();
}

#[test]
fn pure_rooms_do_not_touch_the_world() {
    let mut faults = Faults::default();
    for file in rust_files("src") {
        if !PURE.iter().any(|pure| file.path.starts_with(pure)) {
            continue;
        }
        let code = file.production();
        for word in WORLD {
            if let Some(line) = line_of(&code, word) {
                faults.add(&file, line, format_args!("`{word}` in a pure room"));
            }
        }
    }
    faults.judge();
}

#[test]
fn files_and_functions_keep_their_budgets() {
    let mut faults = Faults::default();
    let mut notes = String::new();
    for file in rust_files("src").into_iter().chain(rust_files("tests")) {
        if file.test && file.path.starts_with("src") {
            continue;
        }
        let code = file.production();
        let lines = code.trim_end().lines().count();
        if lines > FILE_LINES.1 {
            faults.add(&file, 1, format_args!("{lines} lines without tests, at most {}", FILE_LINES.1));
        } else if lines > FILE_LINES.0 {
            let _ = writeln!(notes, "{}: {lines} lines without tests", file.path);
        }
        for (line, name, length) in functions(&code) {
            if length > FUNCTION_LINES.1 {
                let limit = FUNCTION_LINES.1;
                faults.add(&file, line, format_args!("`{name}` has {length} lines, at most {limit}"));
            } else if length > FUNCTION_LINES.0 {
                let _ = writeln!(notes, "{}:{line}: `{name}` has {length} lines", file.path);
            }
        }
        if file.path.matches('/').count() > NESTING + 1 {
            faults.add(&file, 1, format_args!("more than {NESTING} folders deep"));
        }
    }
    print!("{notes}");
    faults.judge();
}

#[test]
fn every_file_says_what_it_owns() {
    let mut faults = Faults::default();
    for file in rust_files("src").into_iter().chain(rust_files("tests")) {
        let opening = file.text.lines().next().unwrap_or_default();
        if !opening.starts_with("//! ") {
            faults.add(&file, 1, format_args!("does not open with `//!`"));
        }
    }
    faults.judge();
}

#[test]
fn only_the_command_line_prints() {
    let mut faults = Faults::default();
    for file in rust_files("src") {
        if matches!(file.room(), "cli" | "main") {
            continue;
        }
        let code = file.production();
        for word in ["println!", "print!", "eprintln!", "eprint!", "dbg!"] {
            if let Some(line) = line_of(&code, word) {
                faults.add(&file, line, format_args!("`{word}` outside `cli`"));
            }
        }
    }
    faults.judge();
}

/// Places where `application/problem+json` is spoken of, not sent.
const PROBLEM_MENTIONED: &[(&str, &str)] = &[
    ("src/docs/", "the reference shows what a refusal looks like"),
    ("src/openapi/effective.rs", "the effective description lists the answers that the gateway can give"),
    ("src/admin/calls.rs", "the admin API's own description lists them too"),
];

#[test]
fn only_the_problem_table_writes_a_problem() {
    let mut faults = Faults::default();
    for file in rust_files("src") {
        let mentioned = PROBLEM_MENTIONED.iter().any(|(place, _)| file.path.starts_with(place));
        if file.path == "src/problem.rs" || mentioned {
            continue;
        }
        if let Some(line) = line_of(&file.production_with_literals(), "application/problem+json") {
            faults.add(&file, line, format_args!("writes a problem document"));
        }
    }
    faults.judge();
}

#[test]
fn only_finish_emits_the_access_event() {
    let makers: Vec<String> = rust_files("src")
        .into_iter()
        .filter(|file| file.room() != "telemetry" && file.production().contains("AccessEvent"))
        .map(|file| file.path)
        .collect();
    assert_eq!(makers, ["src/proxy/finish.rs"]);
}

#[test]
fn every_diagnostic_code_has_its_word_and_its_text() {
    let mut seen = BTreeSet::new();
    for code in gatewright::diagnostic::codes::all() {
        let kebab = code.slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        assert!(kebab && !code.slug.is_empty(), "`{}` is not in kebab case", code.slug);
        assert!(code.text.trim().len() > 30, "`{}` has no text to explain it", code.slug);
        assert!(seen.insert(code.slug), "`{}` stands twice", code.slug);
    }
}

#[test]
fn every_diagnostic_code_is_used() {
    let constants: Vec<(File, usize, String)> = rust_files("src/diagnostic/codes")
        .into_iter()
        .flat_map(|file| {
            let rows = code_constants(&file.code());
            rows.into_iter().map(move |(line, name)| (file.clone(), line, name))
        })
        .collect();
    assert!(!constants.is_empty(), "no row of the code tables was recognised");
    let uses: String = rust_files("src")
        .iter()
        .filter(|file| file.room() != "diagnostic")
        .map(File::production)
        .collect::<Vec<_>>()
        .join("\n");
    let words: BTreeSet<&str> = uses.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut faults = Faults::default();
    for (file, line, name) in constants {
        if !words.contains(name.as_str()) {
            faults.add(&file, line, format_args!("`{name}` is never said"));
        }
    }
    faults.judge();
}

#[test]
fn no_tracked_file_names_a_registry_or_this_machine() {
    // Put together here, so that this file does not hold them.
    let hosts = [
        "crates@io",
        "pypi@org",
        "pythonhosted@org",
        "npmjs@org",
        "npmjs@com",
        "proxy@golang@org",
        "deb@debian@org",
    ]
    .map(|host| host.replace('@', "."));
    let paths = ["work", "farm", "root", "tmp/wt", "tmp/brief"].map(|folder| format!("/{folder}/"));
    let mut faults = Faults::default();
    for file in all_files() {
        if file.path.ends_with("Cargo.lock") || file.path.ends_with("package-lock.json") {
            continue;
        }
        for (number, line) in file.text.lines().enumerate() {
            for host in hosts.iter().filter(|host| line.contains(host.as_str())) {
                faults.add(&file, number + 1, format_args!("names the registry host {host}"));
            }
            for path in &paths {
                // `../work/` and `a/work/` are relative, so of the project
                let absolute = line.match_indices(path.as_str()).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '}' | '*'))
                });
                if absolute {
                    faults.add(&file, number + 1, format_args!("names the path {path}"));
                }
            }
        }
    }
    faults.judge();
}

/// A file of the project and what stands in it.
#[derive(Clone)]
struct File {
    /// From the root of the project, `/` between its parts.
    path: String,
    text: String,
    /// Compiled for tests alone.
    test: bool,
}

impl File {
    /// `src/cache/key.rs` and `src/cache.rs` are of the room `cache`.
    fn room(&self) -> &str {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inner.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// Comments and literals blanked.
    fn code(&self) -> String {
        blank(&self.text, true)
    }

    /// Without tests; comments and literals blanked.
    fn production(&self) -> String {
        if self.test && self.path.starts_with("src/") {
            return String::new();
        }
        without_tests(&self.code(), &self.code())
    }

    /// Without tests and comments, literals kept.
    fn production_with_literals(&self) -> String {
        if self.test { String::new() } else { without_tests(&self.code(), &blank(&self.text, false)) }
    }
}

/// Collects what breaks a rule, so that one run shows it all.
#[derive(Default)]
struct Faults(String);

impl Faults {
    fn add(&mut self, file: &File, line: usize, fault: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.0, "{}:{line}: {fault}", file.path);
    }

    fn judge(self) {
        assert!(self.0.is_empty(), "\n{}", self.0);
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &str) -> Vec<File> {
    let mut files = Vec::new();
    collect(&root().join(folder), &mut files);
    files.retain(|file| file.path.ends_with(".rs"));
    let mut tests = BTreeSet::from(["tests/".to_owned()]);
    for file in &files {
        let folder = file.path.trim_end_matches("/mod.rs").trim_end_matches(".rs");
        tests.extend(test_modules(&file.code()).into_iter().map(|module| format!("{folder}/{module}")));
    }
    for file in &mut files {
        let path = file.path.trim_end_matches(".rs");
        file.test = tests
            .iter()
            .any(|test| path == test || path.starts_with(&format!("{}/", test.trim_end_matches('/'))));
    }
    files
}

/// Every text file that belongs to the project.
fn all_files() -> Vec<File> {
    let mut files = Vec::new();
    collect(&root(), &mut files);
    files
}

fn collect(folder: &Path, files: &mut Vec<File>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !matches!(name, "target" | ".git" | ".tools" | "node_modules") {
                collect(&path, files);
            }
        } else if name != ".git"
            && let Ok(text) = fs::read_to_string(&path)
        {
            let inner = path.strip_prefix(root()).expect("invariant: below the root");
            files.push(File { path: inner.to_string_lossy().into_owned(), text, test: false });
        }
    }
}
