//! The start-up page: what was imported, where it listens, what `security` means here, one call that works.

use std::net::SocketAddr;

use crate::{diagnostic::render::tally, policy::security::Mode};

/// One API as the page shows it.
#[derive(Clone, Debug)]
pub struct ApiLine {
    pub name: String,
    /// Title and version of the description.
    pub title: String,
    pub operations: usize,
    pub hosts: Vec<String>,
    /// What all its paths begin with.
    pub prefix: String,
    /// Where most of its requests go, and how many other upstreams there are.
    pub upstream: Option<(String, usize)>,
    pub security: Mode,
    /// The mode was not chosen by anyone.
    pub security_by_default: bool,
    /// Path and query of a call to try.
    pub trial: Option<String>,
}

/// Everything the page shows.
#[derive(Clone, Debug)]
pub struct Banner {
    pub apis: Vec<ApiLine>,
    /// Routes without a description, as `path -> upstream`.
    pub routes: Vec<(String, String)>,
    pub warnings: usize,
    /// The address to call, as a person would type it.
    pub origin: String,
    pub listen: Vec<SocketAddr>,
    pub admin: Option<SocketAddr>,
    pub docs: Option<String>,
    /// Where it was to be, when a route takes that path.
    pub docs_moved: Option<String>,
    pub state: String,
    pub cache: bool,
    /// The Redis that nodes share, and how it is.
    pub redis: Option<String>,
    /// The key that `--protect` or `demo` made.
    pub key: Option<String>,
    /// Keys that open it.
    pub keys: usize,
    /// Some API asks for a key of this gateway.
    pub protected: bool,
}

struct Paint {
    bold: &'static str,
    dim: &'static str,
    green: &'static str,
    off: &'static str,
}

impl Banner {
    /// The page as text, `colour` for a terminal.
    #[must_use]
    pub fn text(&self, colour: bool) -> String {
        let paint = if colour {
            Paint { bold: "\x1b[1m", dim: "\x1b[2m", green: "\x1b[32m", off: "\x1b[0m" }
        } else {
            Paint { bold: "", dim: "", green: "", off: "" }
        };
        let mut out = format!("\n  {}gatewright {}{}\n\n", paint.bold, env!("CARGO_PKG_VERSION"), paint.off);
        let base = &self.origin;
        for api in &self.apis {
            self.api(&mut out, api, base, &paint);
        }
        for (path, upstream) in &self.routes {
            row(&mut out, "route", &format!("{base}{path} -> {upstream}"), &paint);
        }
        if !self.routes.is_empty() {
            out.push('\n');
        }
        for line in self.facts(base) {
            row(&mut out, line.0, &line.1, &paint);
        }
        self.trial(&mut out, base, &paint);
        out
    }

    fn api(&self, out: &mut String, api: &ApiLine, base: &str, paint: &Paint) {
        let operations = if api.operations == 1 {
            "1 operation".to_owned()
        } else {
            format!("{} operations", api.operations)
        };
        out.push_str(&format!("  {}{}{}  {} · {operations}\n", paint.bold, api.name, paint.off, api.title));
        let host = match api.hosts.as_slice() {
            [] => String::new(),
            hosts => format!(" (host {})", hosts.join(", ")),
        };
        let upstream = match &api.upstream {
            Some((url, 0)) => url.clone(),
            Some((url, others)) => format!("{url} and {others} more"),
            None => "no upstream".to_owned(),
        };
        out.push_str(&format!("    {base}{}{host} {}->{} {upstream}\n", api.prefix, paint.dim, paint.off));
        let by_default = if api.security_by_default { "; nothing else was asked for" } else { "" };
        let meaning = match api.security {
            Mode::Pass => "pass: callers' credentials go to the upstream unchecked",
            Mode::Enforce => "enforce: the description's security requirements are checked here",
            Mode::Gateway => "gateway: callers need a key or token of this gateway",
        };
        out.push_str(&format!("    security {meaning}{by_default}\n\n"));
    }

    fn facts(&self, base: &str) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        let addresses: Vec<String> = self.listen.iter().map(|address| format!("http://{address}")).collect();
        facts.push(("listening", addresses.join(", ")));
        if let Some(admin) = self.admin {
            facts.push(("admin", format!("http://{admin} (/health /ready /metrics)")));
        }
        facts.push((
            "docs",
            match &self.docs {
                Some(path) => match &self.docs_moved {
                    Some(wanted) => format!("{base}{path} (a route of an API takes {wanted})"),
                    None => format!("{base}{path}"),
                },
                None => "off".to_owned(),
            },
        ));
        facts.push(("state", format!("{}{}", self.state, if self.cache { "" } else { " (cache off)" })));
        if let Some(redis) = &self.redis {
            facts.push(("redis", redis.clone()));
        }
        if self.warnings > 0 {
            facts.push(("findings", format!("{}, shown above", tally(0, self.warnings))));
        }
        if let Some(key) = &self.key {
            facts.push(("key", format!("{key} (shown this once)")));
        } else if self.protected {
            facts.push((
                "keys",
                match self.keys {
                    0 => "none yet; make one: gatewright keys add NAME".to_owned(),
                    keys => format!("{keys} made before; another: gatewright keys add NAME"),
                },
            ));
        }
        facts
    }

    fn trial(&self, out: &mut String, base: &str, paint: &Paint) {
        let Some((api, trial)) = self.apis.iter().find_map(|api| Some((api, api.trial.as_ref()?))) else {
            out.push('\n');
            return;
        };
        let mut curl = String::from("curl -i");
        match &self.key {
            Some(key) => curl.push_str(&format!(" -H 'X-API-Key: {key}'")),
            None if self.protected => curl.push_str(" -H \"X-API-Key: $KEY\""),
            None => {}
        }
        if let Some(host) = api.hosts.first().filter(|host| !host.starts_with('*')) {
            curl.push_str(&format!(" -H 'Host: {host}'"));
        }
        out.push_str(&format!(
            "\n  {}try it{}\n    {}{curl} '{base}{trial}'{}\n\n",
            paint.bold, paint.off, paint.green, paint.off
        ));
    }
}

fn row(out: &mut String, word: &str, text: &str, paint: &Paint) {
    out.push_str(&format!("  {}{word:10}{} {text}\n", paint.dim, paint.off));
}
