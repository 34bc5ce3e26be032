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
            // The column separates base paths by blanks, so one with a blank cannot be compared.
            let blank = |name: &str| name == "base" && row["servers"] == "Your API URL";
            let differs = |name: &str, value: &String| row[name] != *value && !blank(name);
            for (name, value) in operation.iter().filter(|(name, value)| differs(name, value)) {
                let place = format!("{file}: {} {}", row["method"], row["path"]);
                wrong.push(format!("{place}: {name} is {value}, expected {}", row[name]));
            }
        }
    }
    wrong.truncate(40);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_project_s_own_samples_import_without_errors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi");
    let files = std::fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    for file in files.filter(|file| file.is_file()) {
        let bytes = read(&file);
        if dialect::is_root(&bytes) {
            let options = Options { file: file.display().to_string(), ..Options::default() };
            let (api, found) = import(&bytes, &options, &Folder(folder.clone()));
            assert!(api.is_some_and(|api| !api.operations.is_empty()), "{found:#?}");
        }
    }
}

/// Imports a YAML text without other files.
fn yaml(text: &str) -> Imported {
    import(text.as_bytes(), &Options { file: "api.yaml".into(), ..Options::default() }, &NoLoader)
}

#[test]
fn findings_name_line_column_pointer_and_source() {
    let text = "openapi: 3.0.0\ninfo: {}\nservers: [{url: 'https://ä/'}]\npaths:\n  /a b:\n    get: 7\n    put: {}\n";
    let (_, found) = yaml(text);
    let place = |code: &str| found.iter().find(|d| d.code.slug == code).unwrap().place.clone();
    let blank = place("path-characters");
    assert_eq!((blank.line, blank.column, blank.pointer.as_str()), (5, 3, "/paths/~1a b"));
    assert_eq!((blank.source.as_str(), blank.width, blank.file.as_str()), ("  /a b:", 4, "api.yaml"));
    let broken = place("operation-broken");
    assert_eq!((broken.line, broken.column, broken.pointer.as_str()), (6, 5, "/paths/~1a b/get"));
}

#[test]
fn findings_in_one_long_line_show_the_part_around_them() {
    let filler = "ü".repeat(3_000);
    let text = format!(
        r#"{{"openapi":"3.0.0","info":{{"title":"{filler}"}},"paths":{{"pets":{{"get":{{}}}},"/ok":{{"get":{{}}}}}}}}"#
    );
    let (api, found) = import(text.as_bytes(), &Options::default(), &NoLoader);
    assert_eq!(api.unwrap().counts, Counts { declared: 2, routed: 1, folded: 0, refused: 1 });
    let place = &found.iter().find(|d| d.code.slug == "path-refused").unwrap().place;
    let before = text[..text.find("\"pets\"").unwrap()].chars().count();
    assert_eq!((place.line, place.column as usize, place.width), (1, before + 1, 6));
    assert_eq!(place.source.chars().skip(50).take(6).collect::<String>(), "\"pets\"");
    let shown = crate::diagnostic::render::text(&found, false);
    assert!(shown.lines().any(|line| line.ends_with("^^^^^^")), "{shown}");
}

#[test]
fn references_reach_files_of_the_folder_and_nothing_else() {
    let file = |text: &str| -> Arc<[u8]> { text.as_bytes().into() };
    let files = HashMap::from([
        (
            "spec/parts/pets.yaml".to_owned(),
            file("get: { parameters: [{ $ref: '../../common/p.yaml#/limit' }] }"),
        ),
        ("common/p.yaml".to_owned(), file("limit: { name: limit, in: query, schema: { type: strnig } }")),
    ]);
    let text = "openapi: 3.1.0\ninfo: {}\npaths:\n  /pets: { $ref: parts/pets.yaml }\n  /x: { $ref: '../../etc/passwd' }\n  /y: { $ref: 'https://h/x.yaml' }\n";
    let options =
        Options { file: "spec/root.yaml".into(), path: "spec/root.yaml".into(), ..Options::default() };
    let (api, found) = import(text.as_bytes(), &options, &files);
    let api = api.unwrap();
    assert_eq!(api.operations[0].parameters[0].name, "limit");
    assert_eq!(api.documents.len(), 3);
    assert_eq!(codes_of(&found, false), "no-server,path-item-ref-unresolved,ref-unresolved,schema-invalid");
    assert!(found.iter().any(|d| d.code.slug == "ref-outside-folder" && d.place.line == 5));
    let elsewhere = found.iter().find(|d| d.code.slug == "schema-invalid").unwrap();
    assert_eq!((elsewhere.place.file.as_str(), elsewhere.place.line), ("common/p.yaml", 1));
}

#[test]
fn addresses_are_followed_only_when_that_is_allowed() {
    let file = |text: &str| -> Arc<[u8]> { text.as_bytes().into() };
    let files = HashMap::from([
        ("https://h/a/x.yaml".to_owned(), file("get: { parameters: [{ $ref: '../p.yaml' }] }")),
        ("https://h/p.yaml".to_owned(), file("{ name: limit, in: query }")),
    ]);
    let text = b"openapi: 3.1.0\ninfo: {}\npaths: { /x: { $ref: 'https://h/a/x.yaml' }, /y: { get: {} } }\n";
    let closed = import(text, &Options::default(), &files).0.unwrap();
    assert_eq!((closed.operations.len(), closed.documents.len()), (1, 1));
    let open = Options { remote_references: true, ..Options::default() };
    let open = import(text, &open, &files).0.unwrap();
    assert_eq!(open.operations[0].parameters[0].name, "limit");
}

#[test]
fn odd_fields_cost_at_most_their_operation() {
    let text = "openapi: '3.0.0'\ninfo: { title: 1, version: 2.0 }\nservers: [{ url: http://h, variables: null }, 5, { url: null }]\nsecurity: { key: [] }\ncomponents: { securitySchemes: { key: { type: apiKey, in: header, name: X } }, schemas: [], parameters: 4 }\npaths:\n  /a:\n    parameters: null\n    get: { operationId: 7, parameters: [null, 3, { name: 1, in: query, required: 'true' }], security: null, tags: 1, responses: [] }\n    put: []\n    post: { security: x }\n    delete: { requestBody: 3, security: [], servers: {} }\n  /b: null\n  /c: 5\n";
    let (api, found) = yaml(text);
    let api = api.unwrap();
    assert_eq!(api.counts, Counts { declared: 4, routed: 3, folded: 0, refused: 1 });
    let get = &api.operations[0];
    assert_eq!((get.operation_id.as_deref(), get.parameters.len()), (Some("7"), 1));
    assert!(get.parameters[0].required);
    assert_eq!(get.security, Some(vec![vec![("key".to_owned(), Vec::new())]]));
    assert_eq!(api.operations[1].security, Some(vec![vec![("x".to_owned(), Vec::new())]]));
    assert_eq!(api.operations[2].security, Some(Vec::new()));
    assert!(found.iter().all(|d| d.place.line > 0), "{found:?}");
}

#[test]
fn what_is_no_description_is_refused_with_a_reason() {
    for (text, code, words) in [
        ("", "not-openapi", "empty"),
        ("  \n", "not-openapi", "empty"),
        ("<!DOCTYPE html><html>", "not-openapi", "HTML"),
        ("[1, 2]", "not-openapi", "a list"),
        ("just words", "not-openapi", "a string"),
        ("{\"name\": \"x\", \"version\": \"1\"}", "not-openapi", "not an OpenAPI"),
        ("paths: {}\n", "version-unsupported", "not state its version"),
        ("openapi: 4.0.0\npaths: {}\n", "version-unsupported", "4.0.0"),
        ("{\"openapi\": \"3.0.0\", \"paths\": {\"/a\": {\"get\"", "parse", "ends in the middle"),
        ("{\"openapi\": \"3.0.0\",, }", "parse", "a key in double quotes"),
        ("\u{feff}{\"openapi\": \"3.0.0\", \"openapi\": 1}", "duplicate-key", "same line, column 2"),
        ("openapi: 3.0.0\npaths:\n\t/a: {}\n", "parse", "YAML"),
    ] {
        let (api, found) = yaml(text);
        assert!(api.is_none(), "{text}");
        assert_eq!(found[0].code.slug, code, "{text}");
        assert!(
            found[0].title.contains(words) && found[0].place.line == 1 || text.contains('\t'),
            "{found:?}"
        );
    }
    for (bytes, words) in
        [(&b"\x1f\x8b\x08\x00"[..], "gzip"), (b"\xff\xfe{\x00", "UTF-16"), (b"a: \xe4", "0xe4")]
    {
        let (_, found) = import(bytes, &Options::default(), &NoLoader);
        assert!(found[0].title.contains(words), "{found:?}");
    }
    let flow = "{openapi: 3.0.0, info: {}, paths: {/a: {get: {}}}}";
    assert_eq!(yaml(flow).0.unwrap().operations.len(), 1);
}

#[test]
fn a_description_from_a_url_is_served_by_its_host() {
    let options = Options { base_url: Some("https://h:8/spec/openapi.json".into()), ..Options::default() };
    let (api, found) = import(b"openapi: 3.1.0\ninfo: {}\npaths: {/a: {get: {}}}\n", &options, &NoLoader);
    assert_eq!(found, []);
    assert_eq!(api.unwrap().operations[0].servers[0].usable.as_deref(), Some("https://h:8"));
}

#[test]
fn few_lines_cannot_stand_for_endless_work() {
    let parameters: String = (0..2_000).map(|i| format!("{{name: p{i}, in: query}},")).collect();
    let methods: String = ["get", "put", "post", "delete"].iter().map(|m| format!("{m}: {{}},")).collect();
    let paths: String =
        (0..3_000).map(|i| format!("  /p{i}: {{ $ref: '#/components/pathItems/x' }}\n")).collect();
    let text = format!(
        "openapi: 3.1.0\ninfo: {{}}\ncomponents: {{ pathItems: {{ x: {{ parameters: [{parameters}], {methods} }} }} }}\npaths:\n{paths}"
    );
    let (api, found) = yaml(&text);
    assert!(api.is_none());
    assert!(found.iter().any(|d| d.code.slug == "too-large"));
    let deep = format!("{{\"openapi\": \"3.0.0\", \"x\": {}", "[".repeat(100_000));
    assert_eq!(yaml(&deep).1[0].code.slug, "parse");
}

#[test]
fn many_findings_of_one_kind_are_cut_short() {
    let paths: String = (0..500).map(|i| format!("  /p{i}/{{x}}: {{ get: {{}} }}\n")).collect();
    let (_, found) = yaml(&format!("openapi: 3.0.0\ninfo: {{}}\npaths:\n{paths}"));
    let undeclared: Vec<_> = found.iter().filter(|d| d.code.slug == "path-param-undeclared").collect();
    assert_eq!(undeclared.len(), 201);
    assert!(undeclared.iter().any(|d| d.title.starts_with("300 more")));
}

mod mutated {
    use proptest::prelude::*;

    use super::*;

    /// Real descriptions where they are, else one of our own.
    fn texts() -> Vec<Vec<u8>> {
        const NAMES: &[&str] = &[
            "2.0-petstore.json",
            "3.0-petstore.yaml",
            "3.0-kong.yaml",
            "3.0-security.yaml",
            "3.0-servers.yaml",
            "made/3.2-everything.yaml",
            "made/paths-hard.yaml",
            "made/yaml-oddities.yaml",
        ];
        let own = b"openapi: 3.1.0\ninfo: &i {title: T}\nx: *i\npaths:\n  /a/{b}?c=d#e: {get: {parameters: [{name: b, in: path, schema: {$ref: '#/x'}}]}}\n";
        let Some(folder) = specs() else { return vec![own.to_vec()] };
        NAMES.iter().map(|name| read(&folder.join(name))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn text_is_read_or_refused_and_never_panics(which in any::<prop::sample::Index>(), edits in prop::collection::vec((any::<prop::sample::Index>(), 0..8_usize), 1..6)) {
            let texts = texts();
            let mut text = which.get(&texts).clone();
            for (place, edit) in edits {
                let at = place.index(text.len().max(1)).min(text.len());
                match edit {
                    0 => text.truncate(at),
                    1 => drop(text.drain(at..(at + 7).min(text.len()))),
                    2 => text.insert(at, b'{'),
                    3 => text.insert(at, b'"'),
                    4 => drop(text.splice(at..at, *b"\n- &x *x: ")),
                    5 => drop(text.splice(at..at, *b" null\n")),
                    6 => text.insert(at, 0xff),
                    _ => drop(text.splice(at..at, *b"\n  <<: [{$ref: '#'}]\n")),
                }
            }
            let (api, found) = import(&text, &Options::default(), &NoLoader);
            prop_assert!(api.is_some() || found.iter().any(Diagnostic::is_error));
            if let Some(api) = api {
                check(&api);
            }
        }

        #[test]
        fn values_of_any_kind_may_stand_anywhere(which in any::<prop::sample::Index>(), edits in prop::collection::vec((any::<prop::sample::Index>(), 0..10_usize), 1..12)) {
            let values: Vec<serde_json::Value> = json_values();
            let mut value = which.get(&values).clone();
            for (place, edit) in edits {
                let mut nodes = 0;
                count(&value, &mut nodes);
                let mut left = place.index(nodes);
                replace(&mut value, &mut left, &replacement(edit));
            }
            let text = value.to_string();
            let (api, found) = import(text.as_bytes(), &Options::default(), &NoLoader);
            prop_assert!(api.is_some() || found.iter().any(Diagnostic::is_error));
            if let Some(api) = api {
                check(&api);
            }
        }
    }

    /// What must hold of every import.
    fn check(api: &Api) {
        let Counts { declared, routed, folded, refused } = api.counts;
        assert_eq!((declared, routed), (routed + folded + refused, api.operations.len()));
        let siting = siting::Siting::default();
        for operation in &api.operations {
            let site = siting::site(api, operation, &siting);
            assert!(site.served.starts_with('/') && site.served.is_ascii(), "{}", site.served);
            assert!(!operation.servers.is_empty());
        }
        let (schemes, requirement) = (serde_json::Map::new(), serde_json::Value::Null);
        for asks in [Asks::AsDescribed, Asks::Own, Asks::Nothing] {
            let own = (&schemes, &requirement);
            let shown = effective::Shown { origin: "http://gw", siting: &siting, own, asks, operations: &[] };
            let written: serde_json::Result<serde_json::Value> =
                serde_json::from_slice(&effective::write(api, &shown));
            assert!(written.is_ok());
        }
        assert!(serde_json::to_string(&listing::rows(api, "x", &siting)).is_ok());
    }

    fn json_values() -> Vec<serde_json::Value> {
        let parsed = texts().into_iter().filter_map(|text| import(&text, &Options::default(), &NoLoader).0);
        parsed.map(|api| api.documents[0].tree.root().to_json(&mut 1_000_000)).collect()
    }

    fn replacement(edit: usize) -> serde_json::Value {
        use serde_json::json;
        match edit {
            0 => json!(null),
            1 => json!([]),
            2 => json!({}),
            3 => json!("text {x} /a?b=c#d"),
            4 => json!(-1.5e300),
            5 => json!(true),
            6 => json!({ "$ref": "#/paths" }),
            7 => json!([null, { "$ref": "#" }, [1]]),
            8 => json!({ "get": { "$ref": "#/paths/~1a/get" }, "{": { "in": 1 } }),
            _ => json!({ "type": ["x"], "enum": [1], "required": "true", "name": {}, "in": "header" }),
        }
    }

    fn count(value: &serde_json::Value, nodes: &mut usize) {
        *nodes += 1;
        match value {
            serde_json::Value::Array(items) => items.iter().for_each(|v| count(v, nodes)),
            serde_json::Value::Object(map) => map.values().for_each(|v| count(v, nodes)),
            _ => {}
        }
    }

    fn replace(value: &mut serde_json::Value, left: &mut usize, with: &serde_json::Value) {
        if *left == 0 {
            *value = with.clone();
        }
        *left = left.wrapping_sub(1);
        match value {
            serde_json::Value::Array(items) => items.iter_mut().for_each(|v| replace(v, left, with)),
            serde_json::Value::Object(map) => map.values_mut().for_each(|v| replace(v, left, with)),
            _ => {}
        }
    }
}

/// `GATEWRIGHT_CORPUS=folder cargo test --lib corpus -- --ignored --nocapture`: every description below a
/// folder; prints what was said how often and the slowest ones.
#[test]
#[ignore = "needs a folder of descriptions"]
fn a_corpus_imports_without_a_panic() {
    let folder =
        PathBuf::from(std::env::var_os("GATEWRIGHT_CORPUS").expect("GATEWRIGHT_CORPUS names a folder"));
    let (mut todo, mut files) = (vec![folder], Vec::new());
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if entry.is_dir() { todo.push(entry) } else { files.push(entry) }
        }
    }
    let (mut said, mut slow) = (BTreeMap::<String, (usize, String)>::new(), Vec::new());
    for file in &files {
        let bytes = read(file);
        let options = Options { file: file.display().to_string(), ..Options::default() };
        let started = std::time::Instant::now();
        let (api, found) = import(&bytes, &options, &Folder(file.parent().unwrap().to_owned()));
        slow.push((started.elapsed(), bytes.len(), file));
        let mut codes: BTreeMap<String, &Diagnostic> = BTreeMap::new();
        for d in &found {
            codes.entry(format!("{:?} {}", d.severity, d.code.slug)).or_insert(d);
        }
        for (code, d) in codes {
            let example = format!("{}: {}", d.place.file.rsplit('/').next().unwrap_or_default(), d.title);
            let row = said.entry(code).or_insert((0, String::new()));
            row.0 += 1;
            if row.0 <= 6 {
                row.1 += &format!("\n      {example}");
            }
        }
        assert!(api.is_some() || found.iter().any(Diagnostic::is_error), "{}", file.display());
    }
    slow.sort();
    for (code, (count, examples)) in said {
        eprintln!("{count:6} {code}{examples}");
    }
    for (time, bytes, file) in slow.iter().rev().take(8) {
        eprintln!("{time:?} for {bytes} bytes: {}", file.display());
    }
    eprintln!("{} files", files.len());
}
