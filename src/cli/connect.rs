//! Talking to a running gateway: finding its admin listener and its token, and calling it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http::Method;
use serde_json::Value;

use super::{args::Connect, state};
use crate::{
    admin::Token,
    diagnostic::{Diagnostic, Place, codes},
    upstream::transport,
};

const TIMEOUT: Duration = Duration::from_secs(60);

/// A gateway that runs.
pub struct Running {
    address: SocketAddr,
    token: Option<String>,
    runtime: tokio::runtime::Runtime,
}

/// What the flags lead to.
pub enum Target {
    Running(Running),
    /// No gateway runs there, and this is its state directory.
    Stopped(PathBuf),
}

/// The gateway that the flags name, which must run.
pub fn running(connect: &Connect) -> Result<Running, Diagnostic> {
    match find(connect)? {
        Target::Running(gateway) => Ok(gateway),
        Target::Stopped(dir) => Err(Diagnostic::error(
            codes::GATEWAY_UNREACHABLE,
            "the gateway of this state directory does not run",
        )
        .file(dir.display().to_string())
        .help("start it first")),
    }
}

/// Finds the gateway that the flags name, else the one that runs.
pub fn find(connect: &Connect) -> Result<Target, Diagnostic> {
    if let Some(dir) = &connect.state {
        let address = connect.admin.or_else(|| state::admin_of(dir)).filter(|_| state::is_in_use(dir));
        return match address {
            Some(address) => at(address, Some(dir.clone())),
            None if dir.is_dir() => Ok(Target::Stopped(dir.clone())),
            None => Err(Diagnostic::error(codes::STATE_UNUSABLE, "there is no such state directory")
                .file(dir.display().to_string())
                .help("`gatewright run` creates it at its first start")),
        };
    }
    let mut all = state::running();
    if let Some(address) = connect.admin {
        let dir = all.into_iter().find(|(known, _)| *known == address).map(|(_, dir)| dir);
        return at(address, dir);
    }
    match all.pop() {
        Some((address, dir)) if all.is_empty() => at(address, Some(dir)),
        Some(last) => {
            let list: Vec<String> =
                all.iter().chain([&last]).map(|(a, d)| format!("--admin {a}   ({})", d.display())).collect();
            Err(Diagnostic::error(codes::GATEWAY_UNREACHABLE, "several gateways run here")
                .help(format!("say which one is meant:\n{}", list.join("\n"))))
        }
        None => Err(Diagnostic::error(codes::GATEWAY_UNREACHABLE, "no gateway of this user runs here")
            .help("start one, or name the state directory of a stopped one with `--state DIR`")),
    }
}

fn at(address: SocketAddr, dir: Option<PathBuf>) -> Result<Target, Diagnostic> {
    let token = dir.and_then(|dir| Token::read(&dir).ok());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Diagnostic::error(codes::GATEWAY_UNREACHABLE, format!("no runtime: {error}")))?;
    Ok(Target::Running(Running { address, token, runtime }))
}

impl Running {
    /// Calls the admin API; a refusal becomes a diagnostic with its own words.
    pub fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Diagnostic> {
        let url = format!("http://{}{path}", self.address);
        let unreachable = |cause: String| {
            Diagnostic::error(
                codes::GATEWAY_UNREACHABLE,
                format!("no answer from the admin listener: {cause}"),
            )
            .file(&url)
            .help("is the gateway running? name its admin listener with `--admin`")
        };
        let client = transport::plain_client(TIMEOUT, 0).map_err(|error| unreachable(error.to_string()))?;
        let mut request = client.request(method, &url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = self.runtime.block_on(async {
            let response = request.send().await?;
            Ok((response.status(), response.bytes().await?))
        });
        let (status, bytes) = answer.map_err(|error: reqwest::Error| {
            unreachable(crate::upstream::Failure::from_reqwest(&error).plain().to_owned())
        })?;
        let value: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let title =
            if text("title").is_empty() { format!("the gateway answered {status}") } else { text("title") };
        if let Some(first) = value["diagnostics"].as_array().and_then(|all| all.first()) {
            return Err(told(first, value["diagnostics"].as_array().map_or(1, Vec::len)));
        }
        let help = if status == http::StatusCode::UNAUTHORIZED && self.token.is_none() {
            "the gateway's token lies in its state directory: name that with `--state DIR`".to_owned()
        } else {
            text("detail")
        };
        Err(Diagnostic::error(codes::GATEWAY_REFUSED, title).file(url).help(help))
    }
}

/// The gateway's own finding, as it shows it itself.
fn told(finding: &Value, count: usize) -> Diagnostic {
    let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| finding[name].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
    let place = Place {
        file: text("file"),
        line: number("line"),
        column: number("column"),
        pointer: text("pointer"),
        ..Place::default()
    };
    let more = if count > 1 {
        format!(" (and {} more findings, on the gateway's console)", count - 1)
    } else {
        String::new()
    };
    let code = codes::find(&text("code")).unwrap_or(codes::GATEWAY_REFUSED);
    Diagnostic::error(code, format!("{}{more}", text("message"))).at(place).help(text("help"))
}
