//! The command line as typed: flags and their help, nothing of what they do.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config;

/// An API gateway and ingress that runs your OpenAPI description as its configuration.
#[derive(Debug, Parser)]
#[command(name = "gatewright", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "First steps:  gatewright demo\n              gatewright run petstore.yaml")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a gateway from a description (file, folder or URL) or from a gatewright.yaml
    Run(Box<Run>),
    /// See it all offline: a built-in upstream and a gateway before it
    Demo(Demo),
    /// Import and compile, start nothing; exit code 0 fine, 1 errors, 2 unreadable
    Check(Check),
    /// List every route; `--explain 'GET /pets/1'` shows what happens to one request
    Routes(Routes),
    /// Write down the configuration that `run FILE` would use
    Import(Import),
    /// Add, list and revoke the API keys of consumers
    Keys(Keys),
    /// Look into the cache of a running gateway, purge it, fill it
    Cache(CacheCommand),
    /// Load the configuration of a running gateway again
    Reload(Connect),
    /// Explain a diagnostic code or a problem type at length
    Explain {
        /// The word in brackets of a message, such as `no-server`; all of them when left out
        code: Option<String>,
    },
}

/// How descriptions become routes, the same for `run`, `check`, `routes` and `import`.
#[derive(Clone, Debug, Default, Args)]
pub struct Source {
    /// OpenAPI descriptions (file, folder or URL), or one gatewright.yaml
    #[arg(value_name = "FILE|FOLDER|URL")]
    pub specs: Vec<String>,
    /// A configuration file; the same as naming it as the only argument
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Be a plain caching reverse proxy for everything under `/`, without a description
    #[arg(long, value_name = "URL", conflicts_with_all = ["specs", "config"])]
    pub proxy: Option<String>,
    /// Send requests here instead of to the description's server; a path replaces the base path too
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// Take the N-th server of the description (from 0)
    #[arg(long, value_name = "N")]
    pub server: Option<usize>,
    /// Set a server variable of the description
    #[arg(long = "server-variable", value_name = "NAME=VALUE", value_parser = pair)]
    pub server_variables: Vec<(String, String)>,
    /// Let --server and --upstream replace the servers of path items and operations as well
    #[arg(long)]
    pub all_servers: bool,
    /// Serve the API under this path prefix
    #[arg(long, value_name = "PATH")]
    pub mount: Option<String>,
    /// Leave the server's base path out of the paths that clients call
    #[arg(long)]
    pub strip_base: bool,
    /// Follow `$ref`s of descriptions to other hosts too; never done unasked
    #[arg(long)]
    pub remote_refs: bool,
}

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub serve: Serve,
    /// Who checks the description's security requirements
    #[arg(long, value_enum)]
    pub security: Option<Security>,
    /// Create an API key, print it, and refuse callers without one
    #[arg(long)]
    pub protect: bool,
    /// Show this to the upstream: `'Authorization: env:TOKEN'`, `'X-Key: @file'`
    #[arg(long = "upstream-header", value_name = "NAME: VALUE")]
    pub upstream_headers: Vec<String>,
    /// Refuse callers beyond this rate, such as `100/m` or `5/s`, per address or key
    #[arg(long, value_name = "N/UNIT", value_parser = rate)]
    pub rate_limit: Option<Rate>,
    /// Do not cache
    #[arg(long)]
    pub no_cache: bool,
    /// Do not tell upstreams the client's address
    #[arg(long)]
    pub hide_client_address: bool,
}

/// Where the gateway listens and what it keeps.
#[derive(Clone, Debug, Default, Args)]
pub struct Serve {
    /// Listen here; repeatable; port 0 picks a free one and prints it [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub listen: Vec<SocketAddr>,
    /// The admin listener, or `off` [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR|off")]
    pub admin: Option<String>,
    /// Keep the cache and the keys here [default: a folder per configuration under the XDG state directory]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// One line per request: for people, for programs, or none [default: human on a terminal, else json]
    #[arg(long, value_name = "FORMAT")]
    pub access_log: Option<AccessLog>,
    /// Serve the documentation under this path, or `off` [default: /docs]
    #[arg(long, value_name = "PATH|off")]
    pub docs: Option<String>,
    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub workers: Option<usize>,
    /// Keep accepting for so long after SIGTERM, while /ready already answers 503
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub drain_delay: Option<Duration>,
    /// Let requests in flight finish for so long at the end [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub drain_timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct Demo {
    #[command(flatten)]
    pub serve: Serve,
}

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub source: Source,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Exit with 1 on warnings too
    #[arg(long)]
    pub deny_warnings: bool,
}

#[derive(Debug, Args)]
pub struct Routes {
    #[command(flatten)]
    pub source: Source,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Show what would happen to this request, such as `GET /pets/1`
    #[arg(long, value_name = "REQUEST")]
    pub explain: Option<String>,
}

#[derive(Debug, Args)]
pub struct Import {
    #[command(flatten)]
    pub source: Source,
    /// Write here; standard output when left out
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(long)]
    pub force: bool,
}

/// Which gateway a command talks to.
#[derive(Clone, Debug, Default, Args)]
pub struct Connect {
    /// The admin listener of the running gateway [default: the one gateway that runs here]
    #[arg(long, value_name = "ADDR", value_parser = address, global = true)]
    pub admin: Option<SocketAddr>,
    /// The gateway's state directory: holds the keys and the admin token
    #[arg(long, value_name = "DIR", global = true)]
    pub state: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Keys {
    #[command(subcommand)]
    pub action: KeysAction,
    #[command(flatten)]
    pub connect: Connect,
}

#[derive(Debug, Subcommand)]
pub enum KeysAction {
    /// Create a key for a consumer and print it once
    Add {
        consumer: String,
        /// The key stops working after this long, such as `30d`
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires: Option<Duration>,
    },
    /// List the keys: prefix, consumer, age, last use; never the secret
    List,
    /// Revoke a key by its id or prefix
    Revoke { key: String },
}

#[derive(Debug, Args)]
pub struct CacheCommand {
    #[command(subcommand)]
    pub action: CacheAction,
    #[command(flatten)]
    pub connect: Connect,
}

#[derive(Debug, Subcommand)]
pub enum CacheAction {
    /// Show how it is and what it did: sizes, hit ratio, evictions, errors
    Stats {
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// List stored answers
    List(ListStored),
    /// Show all that is stored for one address: fields, freshness, and whether it would be served
    Show {
        /// `http://127.0.0.1:8080/pets?limit=2`, or `/pets` with any query on every host
        url: String,
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Remove stored answers, or make them stale
    Purge(PurgeStored),
    /// Ask for addresses through the gateway, so that they are stored
    ///
    /// Exit code 0 when all are stored in the end, 1 when some are not.
    Warm(Warm),
}

#[derive(Clone, Debug, Args)]
pub struct ListStored {
    /// Those whose address begins so: `http://127.0.0.1:8080/pets/`, or `/pets/` on every host
    #[arg(long, value_name = "URL", conflicts_with_all = ["api", "operation", "tag"])]
    pub prefix: Option<String>,
    /// Those of one API
    #[arg(long, value_name = "NAME", conflicts_with = "tag")]
    pub api: Option<String>,
    /// Those of one operation, by its `operationId`
    #[arg(long, value_name = "ID", conflicts_with = "tag")]
    pub operation: Option<String>,
    /// Those that the upstream gave this tag
    #[arg(long)]
    pub tag: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: usize,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["url", "prefix", "template", "tags", "operation", "api", "all"]))]
pub struct PurgeStored {
    /// One address: `http://127.0.0.1:8080/pets?limit=2`; without a query the path with any; `/pets` on every host
    pub url: Option<String>,
    /// Every address that begins so: `http://127.0.0.1:8080/pets/`, or `/pets/` on every host
    #[arg(long, value_name = "URL", conflicts_with_all = ["url", "template", "tags", "operation", "all"])]
    pub prefix: Option<String>,
    /// Every path of a template: `/pets/{id}/photos`, `/pets/**`
    #[arg(long, value_name = "URL", conflicts_with_all = ["url", "tags", "operation", "all"])]
    pub template: Option<String>,
    /// What the upstream gave this tag (`Cache-Tag`, `Surrogate-Key`); repeatable
    #[arg(long = "tag", value_name = "TAG", conflicts_with_all = ["url", "operation", "all"])]
    pub tags: Vec<String>,
    /// One operation, by its `operationId`
    #[arg(long, value_name = "ID", conflicts_with_all = ["url", "all"])]
    pub operation: Option<String>,
    /// Of the operation only what has this path parameter: `petId=7`; repeatable
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair, requires = "operation")]
    pub parameters: Vec<(String, String)>,
    /// Everything of one API; beside `--operation`: the API that has it
    #[arg(long, value_name = "NAME", conflicts_with_all = ["url", "prefix", "template", "tags", "all"])]
    pub api: Option<String>,
    /// Everything
    #[arg(long, conflicts_with = "url")]
    pub all: bool,
    /// Make the answers stale instead: they are validated before they are served again, unless
    /// `stale-while-revalidate` or `stale-if-error` allow more
    #[arg(long)]
    pub soft: bool,
    /// Change nothing, only count
    #[arg(long)]
    pub dry_run: bool,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Clone, Debug, Args)]
pub struct Warm {
    /// Addresses or paths, one a line; `-` reads standard input; lines that begin with `#` are left out
    #[arg(value_name = "FILE")]
    pub list: PathBuf,
    /// So many requests at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=256))]
    pub jobs: usize,
    /// Send this field too: `'Accept-Encoding: gzip'`; repeatable. Answers that vary are stored as asked for
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// The gateway's listener [default: the running gateway's first]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub to: Option<SocketAddr>,
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccessLog {
    Human,
    Json,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Security {
    /// Forward the caller's credentials unchecked
    Pass,
    /// Check the description's requirements here
    Enforce,
    /// Require the gateway's own keys or tokens
    Gateway,
}

/// Calls per window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    pub calls: u32,
    /// A duration as the configuration writes it.
    pub window: String,
}

fn rate(text: &str) -> Result<Rate, String> {
    let wrong = || "expected a number and a window, such as `100/m`, `5/s` or `1000/1h`".to_owned();
    let (calls, window) = text.split_once('/').ok_or_else(wrong)?;
    let calls = calls.trim().parse().ok().filter(|calls| *calls > 0).ok_or_else(wrong)?;
    let window = match window.trim() {
        unit @ ("s" | "m" | "h" | "d") => format!("1{unit}"),
        window => window.to_owned(),
    };
    config::duration(&window).ok_or_else(wrong)?;
    Ok(Rate { calls, window })
}

fn duration(text: &str) -> Result<Duration, String> {
    config::duration(text).ok_or_else(|| "expected a duration such as `10s`, `500ms` or `1m`".to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, such as `region=eu`")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("http://").unwrap_or(text);
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    let full = full.replacen("localhost", "127.0.0.1", 1);
    full.parse().map_err(|_| {
        format!("`{text}` is no address: expected HOST:PORT such as `127.0.0.1:8080` or `:8080`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_window() {
        assert_eq!(rate("100/m"), Ok(Rate { calls: 100, window: "1m".into() }));
        assert_eq!(rate("5/90s"), Ok(Rate { calls: 5, window: "90s".into() }));
        for bad in ["100", "x/m", "/m", "-1/s", "0/s", "5/", "5/parsec"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
