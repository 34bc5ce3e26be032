//! The rows of `tests/rules/tables` between sockets: through the gateway, and through nginx and Varnish to see
//! where they differ.
//!
//! `UPDATE=1` writes `tests/rules/differences.md` anew; without it the file's column of the gateway is held
//! against what the gateway does.

mod report;
#[path = "../../rules/table.rs"]
mod table;
mod wire;

use std::{collections::BTreeMap, fmt::Write, net::SocketAddr};

use crate::harness::{Gateway, Nginx, Varnish};
use table::{Case, Place};
use wire::{Fault, Script};

/// Rows that take longer are run under a clock of their own alone.
const LONGEST_MS: u64 = 4_000;

/// What became of each row, by its place in the list.
type Faults = BTreeMap<usize, Option<Fault>>;

#[test]
fn every_conversation_between_sockets_goes_as_its_row_says() {
    let cases: Vec<Case> = table::read()
        .into_iter()
        .filter(|case| case.place != Place::Rules && case.lasts_ms() <= LONGEST_MS)
        .collect();
    assert!(cases.len() >= 400, "{} rows", cases.len());
    let gateway = through_gateway(&cases);
    let mut told = String::new();
    for (index, case) in cases.iter().enumerate() {
        match (&gateway[&index], &case.deviates) {
            (Some(fault), None) => {
                let _ = writeln!(told, "{}\n    {}", table::told(case), fault.text);
            }
            (None, Some(_)) => {
                let _ = writeln!(told, "{}\n    goes by the RFC: take the reason out", table::told(case));
            }
            _ => {}
        }
    }
    assert!(told.is_empty(), "\n{told}");
    if std::env::var_os("UPDATE").is_some() {
        report::write(&cases, &gateway, &through_nginx(&cases), &through_varnish(&cases));
    }
    report::check(&cases, &gateway);
}

fn through_gateway(cases: &[Case]) -> Faults {
    let script = Script::start(cases);
    let mut config = String::from("access_log: off\nroutes:\n");
    for (number, with) in script.settings.iter().enumerate() {
        let settings: Vec<String> = with.iter().map(|(name, value)| setting(name, value)).collect();
        let (origin, settings) = (script.origin.url(), settings.join(", "));
        let _ = writeln!(
            config,
            "  - {{ path: /o{number}/**, upstream: \"{origin}\", cache: {{ {settings} }} }}"
        );
    }
    let gateway = Gateway::config(&config);
    run(&script, cases, gateway.address, |_| false)
}

/// A setting of a row in the words of the configuration.
fn setting(name: &str, value: &str) -> String {
    match name {
        "ttl" | "default_ttl" | "grace" | "reload_interval" => format!("{name}: {value}s"),
        "targeted" => format!("{name}: [{value}]"),
        _ => format!("{name}: {}", if value.is_empty() { "true" } else { value }),
    }
}

/// nginx as its documentation sets up a cache, with conditional requests on.
fn through_nginx(cases: &[Case]) -> Faults {
    let script = Script::start(cases);
    let origin = script.origin.url();
    let nginx = Nginx::with(
        "proxy_cache_path FOLDER/cache keys_zone=c:10m;",
        &format!(
            "location / {{ proxy_pass {origin}; proxy_http_version 1.1; proxy_set_header Connection \"\";
               proxy_cache c; proxy_cache_revalidate on; proxy_cache_background_update on; }}"
        ),
    );
    run(&script, cases, nginx.address, |name| name == "cache-status")
}

/// Varnish with its built-in rules, without freshness or grace of its own, and keeping what it may validate.
fn through_varnish(cases: &[Case]) -> Faults {
    let script = Script::start(cases);
    let parameters = ["default_ttl=0", "default_grace=0", "default_keep=3600"];
    let varnish = Varnish::start(script.origin.address, &parameters);
    run(&script, cases, varnish.address, |name| name == "cache-status")
}

/// Runs the rows; those that did not go well once more, since seconds count here and the machine may be busy.
fn run(script: &Script, cases: &[Case], through: SocketAddr, skip: impl Fn(&str) -> bool + Sync) -> Faults {
    let all: Vec<usize> = (0..cases.len()).collect();
    let mut faults = wire::run(script, &all, through, "c", &skip);
    let again: Vec<usize> = faults
        .iter()
        .filter(|(index, fault)| fault.is_some() && cases[**index].deviates.is_none())
        .map(|(index, _)| *index)
        .collect();
    faults.extend(wire::run(script, &again, through, "r", &skip));
    faults
}
