//! `gatewright cache` and `gatewright reload`: what a running gateway is asked to do.

use http::Method;
use serde_json::{Value, json};

use super::{
    args::{CacheAction, Connect},
    connect::{self, Running, Target},
};
use crate::diagnostic::{Diagnostic, codes, render::plural};

/// Runs one action on the cache; gives back what to print.
pub fn cache(action: &CacheAction, connect: &Connect) -> Result<String, Diagnostic> {
    let gateway = running(connect)?;
    match action {
        CacheAction::Stats => {
            let cache = stats(&gateway.call(Method::GET, "/cache", None)?);
            Ok(cache + &redis(&gateway.call(Method::GET, "/redis", None)?))
        }
        CacheAction::Purge { url, prefix, api, all: _ } => {
            let what = match (url, prefix, api) {
                (Some(url), _, _) => json!({ "url": url }),
                (_, Some(prefix), _) => json!({ "prefix": prefix }),
                (_, _, Some(api)) => json!({ "api": api }),
                _ => json!("all"),
            };
            let purged = gateway.call(Method::POST, "/cache/purge", Some(&what))?;
            let wherever = if purged["reach"] == "everywhere" { " on every node" } else { "" };
            Ok(format!("purged{wherever}: what was stored is asked for anew\n"))
        }
    }
}

/// Asks for a new generation; gives back what to print.
pub fn reload(connect: &Connect) -> Result<String, Diagnostic> {
    let generation = running(connect)?.call(Method::POST, "/config/reload", None)?;
    let number =
        |name: &str| usize::try_from(generation[name].as_u64().unwrap_or_default()).unwrap_or(usize::MAX);
    Ok(format!(
        "generation {} serves: {}, {}\n",
        number("number"),
        plural(number("operations"), "operation"),
        plural(number("warnings"), "warning")
    ))
}

fn running(connect: &Connect) -> Result<Running, Diagnostic> {
    match connect::find(connect)? {
        Target::Running(gateway) => Ok(gateway),
        Target::Stopped(dir) => Err(Diagnostic::error(
            codes::GATEWAY_UNREACHABLE,
            "the gateway of this state directory does not run",
        )
        .file(dir.display().to_string())
        .help("start it first")),
    }
}

/// How it stands with other nodes; nothing where no Redis is shared.
fn redis(redis: &Value) -> String {
    let text = |name: &str| redis[name].as_str().unwrap_or_default();
    let number = |name: &str| redis["purges"][name].as_u64();
    if text("state") == "off" {
        return String::new();
    }
    let mut line = format!("redis   {}, {}", text("server"), text("state"));
    for why in [&redis["why"], &redis["purges"]["problem"]].into_iter().filter_map(Value::as_str) {
        line.push_str(&format!(" ({why})"));
    }
    if let (Some(sequence), Some(lag)) = (number("sequence"), number("lag")) {
        line.push_str(&format!("; purge {sequence} of {} holds here", sequence + lag));
    }
    line + "\n"
}

fn stats(cache: &Value) -> String {
    let number = |name: &str| cache[name].as_u64().unwrap_or_default();
    if cache["enabled"] != true {
        return "the cache is off\n".to_owned();
    }
    format!(
        "disk    {} answers, {} of {} bytes\nmemory  {} answers, {} bytes\n",
        number("entries"),
        number("bytes"),
        number("max_bytes"),
        number("memory_entries"),
        number("memory_bytes"),
    )
}
