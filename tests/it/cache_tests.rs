//! The public suite for HTTP caches (npm `http-cache-tests`), run through the gateway against its own origin.
//!
//! `tests/node/http-cache-tests.txt` says of each test whether it passes, and why not.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use crate::harness::{Gateway, files, free_port};

/// How many must pass at least, whatever the list says.
const LEAST: [(&str, usize); 2] = [("required", 150), ("optimal", 75)];

/// What the suite needs of a route: heuristic freshness, a cookie that is stored for everyone (as RFC 9111 has
/// it, and the gateway does not unless told), and the one language that its origin answers in.
const CACHE: &str = "{ heuristic: true, grace: 60s, set_cookie: keep, languages: [de] }";

/// One line of the list.
struct Listed {
    kind: String,
    /// Why it does not pass.
    reason: Option<String>,
}

/// What became of one test.
#[derive(serde::Deserialize)]
struct Outcome {
    id: String,
    kind: String,
    why: Option<String>,
}

#[test]
fn the_public_suite_for_caches_passes_as_listed() {
    let listed = listed();
    for (kind, least) in LEAST {
        let passing = listed.values().filter(|line| line.kind == kind && line.reason.is_none()).count();
        assert!(passing >= least, "only {passing} {kind} tests are listed as passing, at least {least} must");
    }
    let mut outcomes = run(&[]);
    // The suite counts seconds by the wall clock: what a busy machine made late gets one more chance.
    let is_lost = |outcome: &Outcome| {
        outcome.why.is_some() && listed.get(&outcome.id).is_some_and(|l| l.reason.is_none())
    };
    let again: Vec<String> = outcomes.iter().filter(|o| is_lost(o)).map(|o| o.id.clone()).collect();
    if !again.is_empty() {
        let second = run(&again);
        outcomes.retain(|outcome| !again.contains(&outcome.id));
        outcomes.extend(second);
    }
    judge(&listed, &outcomes);
}

fn judge(listed: &BTreeMap<String, Listed>, outcomes: &[Outcome]) {
    let mut faults = String::new();
    let mut fault = |text: String| faults += &format!("{text}\n");
    let counted: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.kind != "check").collect();
    for outcome in &counted {
        let Outcome { id, kind, why } = outcome;
        match (listed.get(id), why) {
            (None, _) => fault(format!("`{id}` is not listed")),
            (Some(line), _) if line.kind != *kind => fault(format!("`{id}` is {kind}, not {}", line.kind)),
            (Some(Listed { reason: None, .. }), Some(why)) => fault(format!("`{id}` is lost: {why}")),
            (Some(Listed { reason: Some(_), .. }), None) => {
                fault(format!("`{id}` passes: say so in the list"));
            }
            _ => {}
        }
    }
    for id in listed.keys().filter(|id| !counted.iter().any(|outcome| outcome.id == **id)) {
        fault(format!("`{id}` is listed and did not run"));
    }
    assert!(faults.is_empty(), "\n{faults}");
}

/// Runs the suite, or some of it, through a gateway of its own.
fn run(ids: &[String]) -> Vec<Outcome> {
    let driver = files::project("tests/node/cache_tests.mjs");
    let package = files::project("tests/node/node_modules/http-cache-tests");
    assert!(package.is_dir(), "http-cache-tests is not installed; `make test` installs what the tests need");
    let port = free_port();
    let gateway = Gateway::config(&format!(
        "routes:\n  - {{ path: /**, upstream: \"http://127.0.0.1:{port}\", cache: {CACHE} }}\n"
    ));
    let output = Command::new("node")
        .arg("--no-warnings")
        .arg(driver)
        .args([port.to_string(), format!("http://{}", gateway.address)])
        .args(ids)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("node: {error}; `make test` installs what the tests need"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the suite ended with {}: {said}", output.status);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// The list: `pass KIND ID` and `fail KIND ID: REASON`.
fn listed() -> BTreeMap<String, Listed> {
    let text = std::fs::read_to_string(files::project("tests/node/http-cache-tests.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut listed = BTreeMap::new();
    for line in lines {
        let mut words = line.splitn(3, ' ');
        let (verdict, kind, rest) = (words.next(), words.next(), words.next());
        let (kind, rest) = (kind.unwrap_or_default().to_owned(), rest.unwrap_or_default());
        let (id, reason) = match verdict {
            Some("pass") => (rest, None),
            Some("fail") => {
                let (id, reason) = rest.split_once(": ").unwrap_or_else(|| panic!("no reason: {line}"));
                (id, Some(reason.to_owned()))
            }
            _ => panic!("neither `pass` nor `fail`: {line}"),
        };
        assert!(listed.insert(id.to_owned(), Listed { kind, reason }).is_none(), "`{id}` stands twice");
    }
    listed
}
