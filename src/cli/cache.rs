//! `gatewright cache`: what the cache of a running gateway is asked.

mod shown;
mod warm;

use std::process::ExitCode;

use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    args::{CacheAction, Connect, Format, ListStored, PurgeStored},
    connect::{self, Running},
    out, printed,
};
use crate::{
    admin,
    diagnostic::{Diagnostic, codes, render::plural},
};

/// Answers that are asked for at once.
const PAGE: usize = 500;

/// Runs one action on the cache.
pub fn cache(action: &CacheAction, connect: &Connect) -> Result<ExitCode, Diagnostic> {
    match action {
        CacheAction::Stats { format } => {
            let gateway = connect::running(connect)?;
            let value = gateway.call(Method::GET, "/cache", None)?;
            Ok(printed(match format {
                Format::Json => pretty(&value),
                Format::Text => {
                    let redis = read(gateway.call(Method::GET, "/redis", None)?)?;
                    shown::stats(&read(value)?) + &shown::redis(&redis)
                }
            }))
        }
        CacheAction::List(which) => list(&connect::running(connect)?, which),
        CacheAction::Show { url, format } => {
            let path = format!("/cache/entry{}", query(&[("url", Some(url))]));
            let value = connect::running(connect)?.call(Method::GET, &path, None)?;
            Ok(printed(match format {
                Format::Json => pretty(&value),
                Format::Text => shown::variants(url, &read::<Vec<admin::Variant>>(value)?),
            }))
        }
        CacheAction::Purge(what) => purge(&connect::running(connect)?, what).map(printed),
        CacheAction::Warm(args) => warm::warm(args, connect),
    }
}

/// Prints page after page as they come.
fn list(gateway: &Running, which: &ListStored) -> Result<ExitCode, Diagnostic> {
    let (mut left, mut after, mut first) = (which.limit, None::<String>, true);
    let json = which.format == Format::Json;
    out(if json { "[" } else { shown::LIST_HEAD });
    while left > 0 {
        let limit = left.min(PAGE).to_string();
        let asked = query(&[
            ("prefix", which.prefix.as_ref()),
            ("api", which.api.as_ref()),
            ("operation", which.operation.as_ref()),
            ("tag", which.tag.as_ref()),
            ("limit", Some(&limit)),
            ("after", after.as_ref()),
        ]);
        let page: admin::StoredPage =
            read(gateway.call(Method::GET, &format!("/cache/entries{asked}"), None)?)?;
        for answer in &page.answers {
            if json {
                out(if first { "\n" } else { ",\n" });
                out(&json!(answer).to_string());
            } else {
                out(&shown::line(answer));
            }
            first = false;
        }
        left = left.saturating_sub(page.answers.len());
        if page.without_disk {
            super::show(&[Diagnostic::warning(
                codes::CACHE_UNAVAILABLE,
                "the disk is not open: what lies there is missing",
            )
            .help("`gatewright cache stats` says why")]);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if json {
        out("\n]\n");
    } else if after.is_some() {
        out(&format!("(there may be more: `--limit` was {})\n", which.limit));
    }
    Ok(ExitCode::SUCCESS)
}

fn purge(gateway: &Running, what: &PurgeStored) -> Result<String, Diagnostic> {
    let json = what.format == Format::Json;
    let what = admin::Purge {
        all: what.all,
        url: what.url.clone(),
        prefix: what.prefix.clone(),
        template: what.template.clone(),
        api: what.api.clone(),
        operation: what.operation.clone(),
        parameters: what.parameters.iter().cloned().collect(),
        tags: what.tags.clone(),
        soft: what.soft,
        dry_run: what.dry_run,
    };
    let answer = gateway.call(Method::POST, "/cache/purge", Some(&json!(what)))?;
    if json {
        return Ok(pretty(&answer));
    }
    let done: admin::Purged = read(answer)?;
    let answers = plural(usize::try_from(done.answers).unwrap_or(usize::MAX), "answer");
    let verb = match (what.dry_run, what.soft) {
        (true, _) => "would purge",
        (false, true) => "made stale",
        (false, false) => "purged",
    };
    let did = match (done.all_counted, what.dry_run) {
        (true, _) => format!("{verb} {answers}"),
        (false, true) => format!("{verb} at least {answers}"),
        (false, false) => format!("{verb} {answers} in memory, and what lies on disk, which is not counted"),
    };
    Ok(match done.sequence {
        Some(number) => format!("{did}; every other node does the same (number {number} in their log)\n"),
        None => did + "\n",
    })
}

/// `?name=value&…` of what is given; empty when nothing is.
fn query(fields: &[(&str, Option<&String>)]) -> String {
    let pair = |(name, value): &(&str, Option<&String>)| {
        value.map(|value| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
    };
    let pairs: Vec<String> = fields.iter().filter_map(pair).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// The gateway's answer in its form.
fn read<T: DeserializeOwned>(value: Value) -> Result<T, Diagnostic> {
    serde_json::from_value(value).map_err(|error| {
        Diagnostic::error(codes::GATEWAY_REFUSED, format!("the gateway's answer cannot be read: {error}"))
            .help("it may be of another version than this command")
    })
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
