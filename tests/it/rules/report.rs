//! `tests/rules/differences.md`: where the gateway, nginx and Varnish do not do the same, and who is right.

use std::{collections::BTreeMap, fmt::Write, process::Command};

use super::{
    Faults,
    table::{Case, Level},
    wire::Fault,
};
use crate::harness::files;

const FILE: &str = "tests/rules/differences.md";
const NAMES: [&str; 3] = ["Gatewright", "nginx", "Varnish"];
const FINE: &str = "as expected";

/// Writes the file anew.
pub fn write(cases: &[Case], gateway: &Faults, nginx: &Faults, varnish: &Faults) {
    let all = [gateway, nginx, varnish];
    // What needs a setting of the gateway's is not for the others.
    let common: Vec<usize> = (0..cases.len()).filter(|index| cases[*index].with.is_empty()).collect();
    let mut text = heading(cases, &common, all);
    let mut section = String::new();
    for &index in &common {
        if all.iter().all(|faults| faults[&index].is_none()) {
            continue;
        }
        let case = &cases[index];
        let table = case.at.split(':').next().unwrap();
        if section != table {
            section = table.to_owned();
            let _ = writeln!(text, "\n## {section}\n");
            let _ = writeln!(text, "| case | RFC | {} | right by the RFC |", NAMES.join(" | "));
            let _ = writeln!(text, "| --- | --- | --- | --- | --- | --- |");
        }
        let found = all.map(|faults| faults[&index].as_ref());
        let cells = found.map(|fault| fault.map_or(FINE, |fault| fault.text.as_str()).replace('|', "\\|"));
        let (title, level) = (case.title.replace('|', "\\|"), case.level.as_str());
        let (cells, right) = (cells.join(" | "), right(case, found));
        let _ = writeln!(text, "| {title} | {} ({level}) | {cells} | {right} |", case.section);
    }
    std::fs::write(files::project(FILE), text).unwrap();
}

/// Holds the gateway's column against what it does.
#[track_caller]
pub fn check(cases: &[Case], gateway: &Faults) {
    let text = std::fs::read_to_string(files::project(FILE)).unwrap();
    let rows: BTreeMap<(String, String), usize> = cases
        .iter()
        .enumerate()
        .filter(|(_, case)| case.with.is_empty())
        .map(|(index, case)| ((case.title.replace('|', "\\|"), case.section.clone()), index))
        .collect();
    let mut stale = String::new();
    let mut seen = 0;
    for line in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if matches!(cells[0], "case" | "level" | "must" | "should" | "may") {
            continue;
        }
        seen += 1;
        let section = cells[1].split(" (").next().unwrap_or_default();
        let Some(index) = rows.get(&(cells[0].to_owned(), section.to_owned())) else {
            let _ = writeln!(stale, "no such row any more: {line}");
            continue;
        };
        let does = gateway[index].as_ref().map_or(FINE, |fault| fault.text.as_str());
        if does != cells[2] {
            let _ = writeln!(stale, "{}: the gateway does `{does}`, not `{}`", cells[0], cells[2]);
        }
    }
    assert!(seen > 50, "{FILE} was not recognised: {seen} rows");
    assert!(stale.is_empty(), "{FILE} is stale, run with UPDATE=1:\n{stale}");
}

/// What the file is, and how many rows each does as expected.
fn heading(cases: &[Case], common: &[usize], all: [&Faults; 3]) -> String {
    let versions = [("nginx", "-v"), ("varnishd", "-V")].map(|(program, flag)| {
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let output = Command::new(program).env("PATH", path).arg(flag).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let word =
            said.split(['/', '-', ' ', '\n']).find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        word.unwrap_or_default().to_owned()
    });
    let [nginx, varnish] = versions;
    let mut text = format!(
        "# Where Gatewright, nginx and Varnish differ\n\n\
         Generated: `UPDATE=1 cargo test --test it rules::`. The rows of `tests/rules/tables` that need no setting \
         of Gatewright's own and no long waiting, run through Gatewright, nginx {nginx} (`proxy_cache`, \
         `proxy_cache_revalidate`, `proxy_cache_background_update`) and Varnish {varnish} (built-in rules, no \
         freshness or grace of its own). Each row expects what the RFC says; a row is listed where one of the \
         three does otherwise. *Asks the origin* is never wrong: no cache has to use what it has stored. `MAY` \
         rows show a choice, not a fault.\n\n\
         | level | rows | {} |\n| --- | --- | --- | --- | --- |\n",
        NAMES.join(" | ")
    );
    for level in [Level::Must, Level::Should, Level::May] {
        let rows: Vec<_> = common.iter().filter(|index| cases[**index].level == level).collect();
        let counts = all.map(|faults| {
            let fine = rows.iter().filter(|index| faults[index].is_none()).count();
            let asks = rows.iter().filter(|i| faults[i].as_ref().is_some_and(|fault| fault.asks)).count();
            if level == Level::May {
                format!("{fine} as here")
            } else {
                format!("{fine} as expected, {asks} ask the origin, {} otherwise", rows.len() - fine - asks)
            }
        });
        let _ = writeln!(text, "| {} | {} | {} |", level.as_str(), rows.len(), counts.join(" | "));
    }
    text
}

fn right(case: &Case, found: [Option<&Fault>; 3]) -> String {
    let wrong = |fault: &Option<&Fault>| fault.is_some_and(|fault| !fault.asks);
    if case.section.starts_with("9213") {
        return "Gatewright; the others do not claim RFC 9213".to_owned();
    }
    if case.level == Level::May || !found.iter().any(wrong) {
        return "all".to_owned();
    }
    let right: Vec<&str> =
        NAMES.iter().zip(&found).filter(|(_, fault)| !wrong(fault)).map(|(name, _)| *name).collect();
    let mut text = if right.is_empty() { "none".to_owned() } else { right.join(", ") };
    if let Some(reason) = &case.deviates {
        let _ = write!(text, " (Gatewright on purpose: {reason})");
    }
    text
}
