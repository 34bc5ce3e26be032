//! `gatewright cache warm`: asks for a list of addresses through the gateway, so that they are stored.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Read},
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::{
    cli::{
        args::{self, Connect, Format, Warm},
        connect, exit, out, say,
    },
    diagnostic::{Diagnostic, codes, render::plural},
    provider::source::reason,
    route,
    upstream::{Failure, transport},
};

/// Bytes of the list.
const MAX_LIST: u64 = 64 * 1024 * 1024;

/// The whole of one call.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Reasons that the summary names.
const REASONS: usize = 10;

/// Runs the command.
pub fn warm(args: &Warm, connect: &Connect) -> Result<ExitCode, Diagnostic> {
    let list = read(&args.list)?;
    let lines: Vec<&str> =
        list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let headers = headers(&args.headers)?;
    let to = match args.to {
        Some(address) => address,
        None => listener(connect)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Diagnostic::error(codes::START_FAILED, format!("no runtime: {error}")))?;
    let client = transport::busy_client(TIMEOUT, args.jobs).map_err(|error| {
        Diagnostic::error(
            codes::START_FAILED,
            format!("no client: {}", Failure::from_reqwest(&error).plain()),
        )
    })?;
    // Drawn on a terminal alone.
    let bar = ProgressBar::new(lines.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    let (start, mut tally) = (Instant::now(), Tally::default());
    runtime.block_on(async {
        let calls = lines.iter().map(|line| {
            let (client, headers) = (&client, &headers);
            async move { (*line, call(client, to, line, headers).await) }
        });
        let mut done = stream::iter(calls).buffer_unordered(args.jobs);
        while let Some((line, outcome)) = done.next().await {
            bar.inc(1);
            tally.add(line, outcome);
        }
    });
    bar.finish_and_clear();
    out(&match args.format {
        Format::Json => format!("{:#}\n", tally.json()),
        Format::Text => tally.text(lines.len(), start.elapsed()),
    });
    Ok(if tally.all_stored() { ExitCode::SUCCESS } else { ExitCode::from(exit::FINDINGS) })
}

/// What became of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Hit,
    Stored,
    NotStored(String),
    Failed(String),
}

#[derive(Debug, Default)]
struct Tally {
    hit: usize,
    stored: usize,
    /// By reason: how many, and the first of them.
    not_stored: BTreeMap<String, (usize, String)>,
    failed: BTreeMap<String, (usize, String)>,
}

impl Tally {
    fn add(&mut self, line: &str, outcome: Outcome) {
        let (reasons, reason) = match outcome {
            Outcome::Hit => return self.hit += 1,
            Outcome::Stored => return self.stored += 1,
            Outcome::NotStored(reason) => (&mut self.not_stored, reason),
            Outcome::Failed(reason) => (&mut self.failed, reason),
        };
        reasons.entry(reason).or_insert_with(|| (0, line.to_owned())).0 += 1;
    }

    fn all_stored(&self) -> bool {
        self.not_stored.is_empty() && self.failed.is_empty()
    }

    fn text(&self, all: usize, took: Duration) -> String {
        let sum =
            |reasons: &BTreeMap<String, (usize, String)>| reasons.values().map(|(n, _)| n).sum::<usize>();
        let mut text = format!(
            "{} in {:.1} s: {} hit, {} stored, {} not stored, {} failed\n",
            plural(all, "address").replace("addresss", "addresses"),
            took.as_secs_f64(),
            self.hit,
            self.stored,
            sum(&self.not_stored),
            sum(&self.failed)
        );
        for (word, reasons) in [("not stored", &self.not_stored), ("failed", &self.failed)] {
            for (reason, (count, first)) in reasons.iter().take(REASONS) {
                text.push_str(&format!("  {word}: {count} {reason}, such as {first}\n"));
            }
            if reasons.len() > REASONS {
                text.push_str(&format!("  {word}: {} more reasons\n", reasons.len() - REASONS));
            }
        }
        text
    }

    fn json(&self) -> serde_json::Value {
        let list = |reasons: &BTreeMap<String, (usize, String)>| {
            let row = |(reason, (count, first)): (&String, &(usize, String))| json!({ "reason": reason, "count": count, "first": first });
            reasons.iter().map(row).collect::<Vec<_>>()
        };
        json!({
            "hit": self.hit,
            "stored": self.stored,
            "not_stored": list(&self.not_stored),
            "failed": list(&self.failed),
        })
    }
}

fn read(path: &Path) -> Result<String, Diagnostic> {
    let unreadable = |why: String| {
        Diagnostic::error(codes::FILE_UNREADABLE, format!("the list cannot be read: {why}"))
            .file(path.display().to_string())
    };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        let input = std::io::stdin();
        if input.is_terminal() {
            say("reading addresses from standard input, one a line; Ctrl-D ends them");
        }
        input.lock().take(MAX_LIST + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_LIST + 1).read_to_string(&mut text))
    };
    read.map_err(|error| unreadable(reason(&error)))?;
    if text.len() as u64 > MAX_LIST {
        return Err(unreadable(format!("it has more than {} MiB", MAX_LIST >> 20)).help("split it"));
    }
    Ok(text)
}

fn headers(given: &[String]) -> Result<HeaderMap, Diagnostic> {
    let mut headers = HeaderMap::new();
    for text in given {
        let field = text.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        let Some((name, value)) = field else {
            return Err(Diagnostic::error(codes::USAGE, format!("`--header {text}` is no field"))
                .help("write `--header 'Accept-Encoding: gzip'`"));
        };
        headers.append(name, value);
    }
    Ok(headers)
}

/// The first listener of the running gateway.
fn listener(connect: &Connect) -> Result<SocketAddr, Diagnostic> {
    let state = connect::running(connect)?.call(Method::GET, "/cache", None)?;
    if state["enabled"] != true {
        return Err(Diagnostic::error(codes::CACHE_OFF, "the cache is off")
            .help("take `cache: off` out of its configuration and start it again"));
    }
    args::address(state["address"].as_str().unwrap_or_default()).map_err(|error| {
        Diagnostic::error(
            codes::GATEWAY_REFUSED,
            format!("the gateway does not say where it listens: {error}"),
        )
        .help("name its listener with `--to ADDR`")
    })
}

/// Asks for one address and reads the answer to its end.
async fn call(client: &reqwest::Client, to: SocketAddr, line: &str, headers: &HeaderMap) -> Outcome {
    let (authority, target) = match line.split_once("://") {
        Some(("http" | "https", rest)) => {
            let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            (Some(authority), target)
        }
        _ => (None, line),
    };
    let slash = if target.starts_with('/') || authority.is_none() { "" } else { "/" };
    let target = format!("{slash}{}", target.split('#').next().unwrap_or_default());
    if let Err(refusal) = route::canonical(&target) {
        return Outcome::Failed(format!("not an address: {}", refusal.as_str()));
    }
    let host = match authority.map(HeaderValue::from_str) {
        Some(Ok(host)) if !host.is_empty() => Some(host),
        None => None,
        Some(_) => return Outcome::Failed("not an address: its host is none".to_owned()),
    };
    let mut request = client.get(format!("http://{to}{target}")).headers(headers.clone());
    if let Some(host) = host {
        request = request.header(header::HOST, host);
    }
    let outcome = async {
        let mut response = request.send().await?;
        let outcome = judge(response.status(), response.headers());
        // Reading the body to its end is what stores it.
        while response.chunk().await?.is_some() {}
        Ok::<_, reqwest::Error>(outcome)
    };
    outcome.await.unwrap_or_else(|error| Outcome::Failed(Failure::from_reqwest(&error).plain().to_owned()))
}

/// What the head of an answer says of the store (RFC 9211).
fn judge(status: StatusCode, headers: &HeaderMap) -> Outcome {
    let said = headers.get_all("cache-status").iter().next_back().and_then(|value| value.to_str().ok());
    // The gateway's own member is the last: it is nearest to the caller (RFC 9211, section 2).
    let own =
        said.map(|list| list.rsplit(", ").next().unwrap_or(list)).filter(|own| own.starts_with("gatewright"));
    let words: Vec<&str> = own.unwrap_or_default().split("; ").skip(1).collect();
    let has = |word: &str| words.contains(&word);
    let value = |name: &str| {
        words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    };
    if has("hit") || has("collapsed") {
        return Outcome::Hit;
    }
    if has("stored") {
        return Outcome::Stored;
    }
    if status.is_client_error() || status.is_server_error() {
        let own = headers.get("proxy-status").and_then(|value| value.to_str().ok()).and_then(|text| {
            let (_, code) = text.split_once("details=\"")?;
            Some(format!(" ({})", code.trim_end_matches('"')))
        });
        return Outcome::Failed(format!("{}{}", status.as_u16(), own.unwrap_or_default()));
    }
    Outcome::NotStored(match (value("detail"), value("fwd")) {
        ("", "") => "the route does not cache".to_owned(),
        ("", why) => why.to_owned(),
        (detail, _) => detail.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{NoStore, key::Name, status};

    fn outcome(code: u16, fields: &[(&'static str, &str)]) -> Outcome {
        let fields =
            fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        judge(StatusCode::from_u16(code).unwrap(), &fields.collect())
    }

    #[test]
    fn the_gateways_own_word_decides() {
        let cases = [
            ("gatewright; hit; ttl=3", Outcome::Hit),
            ("up; hit, gatewright; hit; ttl=3; detail=disk", Outcome::Hit),
            ("gatewright; fwd=uri-miss; fwd-status=200; stored", Outcome::Stored),
            (
                "up; stored, gatewright; fwd=uri-miss; fwd-status=200; detail=no-store",
                Outcome::NotStored("no-store".into()),
            ),
            (
                "gatewright; fwd=bypass; detail=undeclared-query; fwd-status=200",
                Outcome::NotStored("undeclared-query".into()),
            ),
            ("other; hit", Outcome::NotStored("the route does not cache".into())),
        ];
        for (said, expected) in cases {
            assert_eq!(outcome(200, &[("cache-status", said)]), expected, "{said}");
        }
        let refused =
            [("proxy-status", "gatewright; error=connection_refused; details=\"upstream-unreachable\"")];
        assert_eq!(outcome(502, &refused), Outcome::Failed("502 (upstream-unreachable)".into()));
        assert_eq!(outcome(404, &[]), Outcome::Failed("404".into()));
        assert_eq!(
            outcome(404, &[("cache-status", "gatewright; fwd=uri-miss; fwd-status=404; stored")]),
            Outcome::Stored
        );
    }

    #[test]
    fn what_the_cache_writes_is_understood() {
        let (miss, key) = (status::Forwarded::Miss(crate::cache::Miss::Uri), Name(7));
        for (stored, expected) in [
            (Some(Ok(())), Outcome::Stored),
            (Some(Err(NoStore::Private)), Outcome::NotStored("private".into())),
        ] {
            let said = status::forwarded(miss, StatusCode::OK, stored, false, Some(key));
            assert_eq!(outcome(200, &[("cache-status", said.to_str().unwrap())]), expected);
        }
        let hit = status::hit(status::Whence { before: None, key }, 3, Some("disk"));
        assert_eq!(outcome(200, &[("cache-status", hit.to_str().unwrap())]), Outcome::Hit);
    }

    #[test]
    fn reasons_are_counted_with_their_first_address() {
        let mut tally = Tally::default();
        tally.add("/a", Outcome::Hit);
        tally.add("/b", Outcome::Stored);
        assert!(tally.all_stored());
        tally.add("/c", Outcome::NotStored("private".into()));
        tally.add("/d", Outcome::NotStored("private".into()));
        tally.add("/e", Outcome::Failed("502".into()));
        assert!(!tally.all_stored());
        assert_eq!(
            tally.text(5, Duration::from_millis(1250)),
            "5 addresses in 1.2 s: 1 hit, 1 stored, 2 not stored, 1 failed\n  not stored: 2 private, such as /c\n  \
             failed: 1 502, such as /e\n"
        );
        assert_eq!(tally.json()["not_stored"][0]["count"], 2);
    }
}
