//! The house rules that no compiler checks: layers, purity, budgets, words.
//!
//! Reads the sources as text, comments and literals blanked where only code counts. A rule that needs an
//! exception has a table here, and each line of it says why.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// Each room may use those of the lines above its own.
const LAYERS: &[&[&str]] = &[
    &["exchange", "problem", "diagnostic", "telemetry"],
    &["cache", "counter", "policy", "route", "tls", "upstream"],
    &["gateway"],
    &["config", "openapi", "proxy"],
    &["admin", "docs", "provider", "server"],
    &["cli"],
];

/// Uses within one line of [`LAYERS`]: from, to, why.
const SIDEWAYS: &[(&str, &str, &str)] = &[("problem", "exchange", "a refusal is a response with a body")];

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
    let names: BTreeSet<&str> = files.iter().map(File::stem).filter(|stem| *stem != "mod").collect();
    let mut faults = Faults::default();
    for file in files.iter().filter(|file| file.stem() != "mod") {
        let code = file.production();
        for name in names.iter().filter(|name| **name != file.stem()) {
            for path in [format!("super::{name}::"), format!("policy::{name}::")] {
                if let Some(line) = line_of(&code, &path) {
                    faults.add(file, line, format_args!("policy `{}` uses policy `{name}`", file.stem()));
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
        if file.is_test() && file.path.starts_with("src") {
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
const PROBLEM_MENTIONED: &[(&str, &str)] =
    &[("src/docs/", "the effective description lists the answers that the gateway can give")];

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
    let callers: Vec<String> = rust_files("src")
        .into_iter()
        .filter(|file| file.room() != "telemetry" && file.production().contains("access::emit("))
        .map(|file| file.path)
        .collect();
    assert!(
        callers.is_empty() || callers == ["src/proxy/finish.rs"],
        "the access event is emitted in {callers:?}"
    );
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
}

impl File {
    fn stem(&self) -> &str {
        Path::new(&self.path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
    }

    /// `src/cache/key.rs` and `src/cache.rs` are of the room `cache`.
    fn room(&self) -> &str {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inner.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// Whether it is compiled for tests alone.
    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.stem() == "tests" || self.path.contains("/tests/")
    }

    /// Comments and literals blanked.
    fn code(&self) -> String {
        blank(&self.text, true)
    }

    /// Without tests; comments and literals blanked.
    fn production(&self) -> String {
        if self.is_test() && self.path.starts_with("src/") {
            return String::new();
        }
        without_tests(&self.code(), &self.code())
    }

    /// Without tests and comments, literals kept.
    fn production_with_literals(&self) -> String {
        if self.is_test() { String::new() } else { without_tests(&self.code(), &blank(&self.text, false)) }
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
            files.push(File { path: inner.to_string_lossy().into_owned(), text });
        }
    }
}

fn line_of(text: &str, word: &str) -> Option<usize> {
    text.match_indices(word)
        .find(|(at, _)| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        .map(|(at, _)| text[..at].lines().count().max(1))
}

/// The rooms that `crate::…` paths name, each with its line; `use crate::{a, b::c}` names two.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, word) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '$')) {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + word.len()..];
        match rest.strip_prefix('{') {
            None => found.push((line, identifier(rest).to_owned())),
            Some(group) => found.extend(group_heads(group).into_iter().map(|head| (line, head))),
        }
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

/// The first identifier of each member of a `use` group, given from behind its opening brace.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut heads) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                heads.push(identifier(group[start..at].trim_start()).to_owned());
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    heads
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// Each function with its line, its name and the lines from its `fn` to its closing brace.
fn functions(code: &str) -> Vec<(usize, String, usize)> {
    let mut found = Vec::new();
    for (at, word) in code.match_indices("fn ") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let name = identifier(&code[at + word.len()..]);
        let Some(open) = code[at..].find(['{', ';']).map(|offset| at + offset) else { continue };
        if name.is_empty() || code.as_bytes()[open] == b';' {
            continue;
        }
        let end = closing_brace(code, open);
        let line = code[..at].matches('\n').count() + 1;
        found.push((line, name.to_owned(), code[at..end].matches('\n').count() + 1));
    }
    found
}

/// The end of the block that opens at `open`.
fn closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// The rows `NAME = "word";` of a table of codes, literals blanked.
fn code_constants(code: &str) -> Vec<(usize, String)> {
    code.lines()
        .enumerate()
        .filter_map(|(number, line)| {
            let (name, _) = line.trim().split_once(" =")?;
            let constant = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            (constant && !name.is_empty()).then(|| (number + 1, name.to_owned()))
        })
        .collect()
}

/// `text` without its `#[cfg(test)]` modules, found in `code`, which has the same places.
fn without_tests(code: &str, text: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let (mut out, mut from) = (String::new(), 0);
    while let Some(at) = code[from..].find(MARK).map(|offset| from + offset) {
        out.push_str(&text[from..at]);
        let end = code[at..].find(['{', ';']).map_or(code.len(), |offset| at + offset);
        from = if code.as_bytes().get(end) == Some(&b'{') { closing_brace(code, end) } else { end };
    }
    out.push_str(&text[from..]);
    out
}

/// Blanks comments, and literals if asked; every byte keeps its place, every line its number.
fn blank(text: &str, literals: bool) -> String {
    let mut out = text.as_bytes().to_vec();
    let mut at = 0;
    while at < text.len() {
        let (end, is_literal) = token(text, at);
        let literal = is_literal == Some(true);
        if is_literal.is_some() && (!literal || literals) {
            for byte in out[at..end].iter_mut().filter(|byte| **byte != b'\n') {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).expect("invariant: whole characters were blanked")
}

/// The end of what starts at `at`, and whether it is a literal, a comment (`Some(false)`) or neither.
fn token(text: &str, at: usize) -> (usize, Option<bool>) {
    let rest = &text[at..];
    let until = |end: Option<usize>| at + end.unwrap_or(rest.len());
    if rest.starts_with("//") {
        return (until(rest.find('\n')), Some(false));
    }
    if rest.starts_with("/*") {
        return (until(rest.find("*/").map(|end| end + 2)), Some(false));
    }
    let first = rest.chars().next().expect("invariant: within the text");
    match first {
        '"' => (until(string_end(rest)), Some(true)),
        'r' if !text[..at].ends_with(|c: char| c.is_alphanumeric() && c != 'b' || c == '_') => {
            let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
            if rest.as_bytes().get(1 + hashes) != Some(&b'"') {
                return (at + 1, None);
            }
            let close = format!("\"{}", "#".repeat(hashes));
            let inner = hashes + 2;
            (until(rest[inner..].find(&close).map(|end| inner + end + close.len())), Some(true))
        }
        '\'' => match rest[1..].chars().next() {
            Some('\\') => (until(rest[3..].find('\'').map(|end| end + 4)), Some(true)),
            Some(c) if rest[1 + c.len_utf8()..].starts_with('\'') => (at + 2 + c.len_utf8(), Some(true)),
            _ => (at + 1, None),
        },
        _ => (at + first.len_utf8(), None),
    }
}

/// Behind the closing quote of the string that `rest` opens with.
fn string_end(rest: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[test]
fn the_reader_of_sources_sees_code_and_nothing_else() {
    let source = r##"use crate::{a, b::{c, d}}; // crate::e
        fn long<'a>(x: &'a str) -> char { let _ = ("crate::f }", r#"crate::g"#, '}', '\'', b'"'); 'x' }
        #[cfg(test)]
        mod tests { fn t() { crate::h(); } }
        fn next() {}"##;
    let code = without_tests(&blank(source, true), &blank(source, true));
    let rooms: Vec<String> = crate_paths(&code).into_iter().map(|(_, room)| room).collect();
    assert_eq!(rooms, ["a", "b"]);
    let names: Vec<String> = functions(&code).into_iter().map(|(_, name, _)| name).collect();
    assert_eq!(names, ["long", "next"]);
}
