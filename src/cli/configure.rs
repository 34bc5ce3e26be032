//! Flags as configuration: what `run FILE --flag` means is what a gatewright.yaml with these keys means.

use serde_json::{Map, Value, json};

use super::args::{Rate, Run, Security, Source};
use crate::diagnostic::{Diagnostic, codes};

/// Policy flags of `run`, for commands that have none.
#[derive(Debug, Default)]
pub struct Policies {
    pub security: Option<Security>,
    pub upstream_headers: Vec<String>,
    pub rate_limit: Option<Rate>,
    pub no_cache: bool,
    pub hide_client_address: bool,
}

impl From<&Run> for Policies {
    fn from(run: &Run) -> Self {
        Self {
            security: if run.protect { Some(Security::Gateway) } else { run.security },
            upstream_headers: run.upstream_headers.clone(),
            rate_limit: run.rate_limit.clone(),
            no_cache: run.no_cache,
            hide_client_address: run.hide_client_address,
        }
    }
}

/// The configuration that the flags stand for, and what is questionable about them.
pub fn configuration(source: &Source, policies: &Policies) -> Result<(Value, Vec<Diagnostic>), Diagnostic> {
    let mut said = Vec::new();
    let policy = policy(policies, &mut said)?;
    let mut root = Map::new();
    if let Some(proxy) = &source.proxy {
        let mut route = policy;
        route.insert("path".into(), json!("/**"));
        route.insert("upstream".into(), json!(proxy));
        root.insert("routes".into(), json!([route]));
        root.insert("docs".into(), json!("off"));
        return Ok((Value::Object(root), said));
    }
    if source.specs.is_empty() {
        return Err(Diagnostic::error(codes::USAGE, "no description is named")
            .help("name an OpenAPI description, a folder or an address: `gatewright run petstore.yaml`\n`gatewright demo` shows it all without one"));
    }
    let apis: Vec<Value> =
        source.specs.iter().map(|spec| Value::Object(api(source, spec, &policy))).collect();
    root.insert("apis".into(), Value::Array(apis));
    Ok((Value::Object(root), said))
}

fn api(source: &Source, spec: &str, policy: &Map<String, Value>) -> Map<String, Value> {
    let mut api = Map::new();
    api.insert("spec".into(), json!(spec));
    if let Some(mount) = &source.mount {
        api.insert("mount".into(), json!(mount));
    }
    if let Some(upstream) = &source.upstream {
        api.insert("upstream".into(), json!(upstream));
    }
    if let Some(server) = source.server {
        api.insert("server".into(), json!(server));
    }
    if !source.server_variables.is_empty() {
        let variables: Map<_, _> =
            source.server_variables.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        api.insert("server_variables".into(), Value::Object(variables));
    }
    for (flag, name) in [(source.all_servers, "all_servers"), (source.strip_base, "strip_base")] {
        if flag {
            api.insert(name.into(), json!(true));
        }
    }
    api.extend(policy.clone());
    api
}

fn policy(policies: &Policies, said: &mut Vec<Diagnostic>) -> Result<Map<String, Value>, Diagnostic> {
    let mut policy = Map::new();
    if let Some(security) = policies.security {
        let word = match security {
            Security::Pass => "pass",
            Security::Enforce => "enforce",
            Security::Gateway => "gateway",
        };
        policy.insert("security".into(), json!(word));
    }
    if let Some(limit) = &policies.rate_limit {
        policy.insert("rate_limit".into(), json!({ "limit": limit.calls, "window": limit.window }));
    }
    if policies.no_cache {
        policy.insert("cache".into(), json!("off"));
    }
    if policies.hide_client_address {
        policy.insert("forward_client_address".into(), json!(false));
    }
    let credentials: Result<Vec<Value>, Diagnostic> =
        policies.upstream_headers.iter().map(|header| credential(header, said)).collect();
    let credentials = credentials?;
    if !credentials.is_empty() {
        policy.insert("credentials".into(), Value::Array(credentials));
    }
    Ok(policy)
}

/// `Authorization: env:TOKEN`, `X-Key: @file`; a value written out is taken, with a warning.
fn credential(header: &str, said: &mut Vec<Diagnostic>) -> Result<Value, Diagnostic> {
    let (name, value) = header.split_once(':').ok_or_else(|| {
        Diagnostic::error(codes::USAGE, "`--upstream-header` needs a name and a value")
            .help("write `--upstream-header 'Authorization: env:TOKEN'`")
    })?;
    let value = value.trim();
    let value = if let Some(variable) = value.strip_prefix("env:") {
        format!("${{{}}}", variable.trim())
    } else if let Some(file) = value.strip_prefix('@') {
        format!("${{file:{}}}", file.trim())
    } else {
        said.push(
            Diagnostic::warning(
                codes::SECRET_ON_COMMAND_LINE,
                format!("the value of `{}` stands on the command line", name.trim()),
            )
            .help(format!(
                "other users of this machine can read it there: write `{}: env:NAME` or `{}: @FILE`",
                name.trim(),
                name.trim()
            )),
        );
        value.replace('$', "$$")
    };
    Ok(json!({ "header": name.trim(), "value": value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_the_keys_of_a_configuration() {
        let source = Source { specs: vec!["a.yaml".into()], mount: Some("/a".into()), ..Source::default() };
        let policies = Policies {
            security: Some(Security::Gateway),
            rate_limit: Some(Rate { calls: 100, window: "1m".into() }),
            upstream_headers: vec!["Authorization: env:TOKEN".into(), "X-Key: @k".into()],
            no_cache: true,
            hide_client_address: true,
        };
        let (value, said) = configuration(&source, &policies).unwrap();
        let expected = json!({ "apis": [{
            "spec": "a.yaml", "mount": "/a", "security": "gateway", "rate_limit": { "limit": 100, "window": "1m" },
            "cache": "off", "forward_client_address": false,
            "credentials": [{ "header": "Authorization", "value": "${TOKEN}" }, { "header": "X-Key", "value": "${file:k}" }],
        }] });
        assert_eq!(value, expected);
        assert!(said.is_empty());
    }

    #[test]
    fn a_secret_on_the_command_line_is_taken_with_a_warning_that_does_not_show_it() {
        let policies = Policies { upstream_headers: vec!["X-Key: s3cr3t$".into()], ..Policies::default() };
        let source = Source { proxy: Some("http://u".into()), ..Source::default() };
        let (value, said) = configuration(&source, &policies).unwrap();
        assert_eq!(value["routes"][0]["credentials"][0]["value"], "s3cr3t$$");
        assert!(said.len() == 1 && !format!("{said:?}").contains("s3cr3t"));
    }
}
