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
        CacheAction::Stats => Ok(stats(&gateway.call(Method::GET, "/cache", None)?)),
        CacheAction::Purge { url, prefix, api, all: _ } => {
            let what = match (url, prefix, api) {
                (Some(url), _, _) => json!({ "url": url }),
                (_, Some(prefix), _) => json!({ "prefix": prefix }),
                (_, _, Some(api)) => json!({ "api": api }),
                _ => json!("all"),
            };
            gateway.call(Method::POST, "/cache/purge", Some(&what))?;
            Ok("purged: what was stored is asked for anew\n".to_owned())
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

fn stats(cache: &Value) -> String {
    let number = |name: &str| cache[name].as_u64().unwrap_or_default();
    if cache["enabled"] != true {
        return "the cache is off\n".to_owned();
    }
    let closed = match (&cache["disk_working"], cache["disk_problem"].as_str()) {
        (Value::Bool(false), Some("")) => "        not open yet\n".to_owned(),
        (Value::Bool(false), Some(problem)) => format!("        closed: {problem}\n"),
        _ => String::new(),
    };
    format!(
        "disk    {} answers, {} of {} bytes\n{closed}memory  {} answers, {} bytes\n",
        number("entries"),
        number("bytes"),
        number("max_bytes"),
        number("memory_entries"),
        number("memory_bytes"),
    )
}
