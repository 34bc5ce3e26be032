//! `check`, `routes` and `import`: everything that reads and compiles and starts nothing.

use std::{fs, process::ExitCode};

use serde_json::Value;

use super::{
    args::{Check, Format, Import, Routes, Source},
    configure::Policies,
    exit, explain_route, findings, out,
    prepare::{self, Prepared},
    show,
};
use crate::{
    config::{self, Model},
    diagnostic::{self, Diagnostic, codes, render},
    openapi::{self, RouteRow},
};

/// What was read and compiled.
struct Findings {
    prepared: Prepared,
    compiled: Option<config::Compiled>,
    diagnostics: Vec<Diagnostic>,
}

fn examine(source: &Source) -> Result<Findings, Diagnostic> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime =
        runtime.map_err(|error| Diagnostic::error(codes::START_FAILED, format!("no runtime: {error}")))?;
    let mut prepared = prepare::prepare(source, &Policies::default(), runtime.handle());
    let mut diagnostics = std::mem::take(&mut prepared.diagnostics);
    let compiled =
        prepared.model.as_ref().map(|model| config::compile(model, &prepared.compiler_sources(model)));
    if let Some(compiled) = &compiled {
        diagnostics.extend(compiled.diagnostics.iter().cloned());
        diagnostics.extend(super::dry::assemble(compiled));
    }
    if let Some(model) = &prepared.model {
        findings::locate(&mut diagnostics, model);
    }
    let homes = prepared.model.as_ref().map(|model| prepared.homes(model)).unwrap_or_default();
    findings::condense(&mut diagnostics, &homes);
    diagnostic::sort(&mut diagnostics);
    Ok(Findings { prepared, compiled, diagnostics })
}

impl Findings {
    fn exit(&self, deny_warnings: bool) -> ExitCode {
        let (errors, warnings) = diagnostic::count(&self.diagnostics);
        if self.prepared.unreadable {
            ExitCode::from(exit::UNREADABLE)
        } else if errors > 0 || (deny_warnings && warnings > 0) {
            ExitCode::from(exit::FINDINGS)
        } else {
            ExitCode::SUCCESS
        }
    }

    fn rows(&self) -> Vec<RouteRow> {
        let Some(compiled) = &self.compiled else { return Vec::new() };
        let described = self.prepared.sources.iter().zip(&compiled.summaries);
        described
            .flat_map(|(source, summary)| {
                openapi::rows(&source.description.api, &source.name, &summary.siting)
            })
            .collect()
    }
}

/// Runs `gatewright check`.
pub fn check(args: &Check) -> Result<ExitCode, Diagnostic> {
    let findings = examine(&args.source)?;
    match args.format {
        Format::Json => out(&format!("{:#}\n", render::json(&findings.diagnostics))),
        Format::Text => {
            show(&findings.diagnostics);
            let (errors, warnings) = diagnostic::count(&findings.diagnostics);
            let operations = findings.rows().len();
            let routes = findings.prepared.model.as_ref().map_or(0, |model| model.routes.len());
            let plural = render::plural;
            let mut text =
                format!("{}: {}", render::tally(errors, warnings), plural(operations, "operation"));
            if routes > 0 {
                text.push_str(&format!(", {} without a description", plural(routes, "route")));
            }
            out(&format!("{text}\n"));
        }
    }
    Ok(findings.exit(args.deny_warnings))
}

/// Runs `gatewright routes`.
pub fn routes(args: &Routes) -> Result<ExitCode, Diagnostic> {
    let findings = examine(&args.source)?;
    show(&findings.diagnostics);
    if let Some(request) = &args.explain {
        let compiled = findings.compiled.as_ref();
        let text = compiled.map(|compiled| explain_route::explain(compiled, request)).transpose()?;
        out(&text.unwrap_or_default());
        return Ok(findings.exit(false));
    }
    let mut rows: Vec<Value> =
        findings.rows().iter().map(|row| serde_json::to_value(row).unwrap_or_default()).collect();
    rows.extend(findings.prepared.model.iter().flat_map(|model: &Model| &model.routes).map(plain_row));
    match args.format {
        Format::Json => {
            let rows: Vec<String> = rows.iter().map(Value::to_string).collect();
            out(&if rows.is_empty() { "[]\n".to_owned() } else { format!("[\n{}\n]\n", rows.join(",\n")) });
        }
        Format::Text => out(&table(&rows)),
    }
    Ok(findings.exit(false))
}

fn plain_row(route: &config::model::Route) -> Value {
    let upstream = match route.policy.upstream.as_ref().map(|upstream| &upstream.value) {
        Some(config::UpstreamRef::Url(url)) => Value::from(url.as_str().trim_end_matches('/')),
        Some(config::UpstreamRef::Name(name)) => Value::from(name.as_str()),
        None => Value::Null,
    };
    let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
    let method = if methods.is_empty() { "*".to_owned() } else { methods.join(",") };
    serde_json::json!({
        "method": method, "path": route.path.value.to_string(), "operation_id": null, "api": "routes",
        "conditions": {}, "servers": [], "upstream": upstream, "security": null,
    })
}

fn table(rows: &[Value]) -> String {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("-").to_owned();
    let cells: Vec<[String; 4]> = rows
        .iter()
        .map(|row| {
            let conditions = row["conditions"]
                .as_object()
                .filter(|map| !map.is_empty())
                .map(|map| format!(" [{}]", words(map)));
            let path = format!("{}{}", text(row, "path"), conditions.unwrap_or_default());
            [text(row, "method"), path, security(&row["security"]), text(row, "upstream")]
        })
        .collect();
    let width = |column: usize, most: usize| {
        cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).min(most)
    };
    let (a, b, c) = (width(0, 10), width(1, 70), width(2, 40));
    cells
        .iter()
        .map(|[method, path, security, upstream]| {
            format!("{method:a$}  {path:b$}  {security:c$}  {upstream}\n")
        })
        .collect()
}

fn words(map: &serde_json::Map<String, Value>) -> String {
    let parts = map.iter().flat_map(|(kind, pairs)| {
        pairs.as_object().into_iter().flatten().map(move |(name, value)| match value.as_str() {
            Some(value) => format!("{kind}:{name}={value}"),
            None => format!("{kind}:{name}"),
        })
    });
    parts.collect::<Vec<_>>().join(" ")
}

fn security(value: &Value) -> String {
    let Some(alternatives) = value.as_array() else { return "-".to_owned() };
    let one = |alternative: &Value| {
        let names: Vec<&str> =
            alternative.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        if names.is_empty() { "anyone".to_owned() } else { names.join(" & ") }
    };
    if alternatives.is_empty() {
        "open".to_owned()
    } else {
        alternatives.iter().map(one).collect::<Vec<_>>().join(" | ")
    }
}

/// Runs `gatewright import`.
pub fn import(args: &Import) -> Result<ExitCode, Diagnostic> {
    let findings = examine(&args.source)?;
    show(&findings.diagnostics);
    let Some(mut model) = findings.prepared.model.clone() else { return Ok(findings.exit(false)) };
    if findings.diagnostics.iter().any(Diagnostic::is_error) {
        return Ok(findings.exit(false));
    }
    if let Some(output) = &args.output {
        prepare::move_specs(&mut model, &args.source, output);
    }
    let text = config::write::write(
        &model,
        "Written by `gatewright import`. Run it with `gatewright run FILE`; it is read again when it changes.",
    );
    match &args.output {
        None => out(&text),
        Some(path) => {
            let shown = path.display().to_string();
            if path.exists() && !args.force {
                return Err(Diagnostic::error(codes::USAGE, "the file exists already")
                    .file(shown)
                    .help("name another, or overwrite it with `--force`"));
            }
            fs::write(path, text).map_err(|error| {
                Diagnostic::error(
                    codes::FILE_UNREADABLE,
                    format!("cannot write the file: {}", crate::provider::source::reason(&error)),
                )
                .file(&shown)
                .help("name a place that you may write to")
            })?;
            out(&format!("wrote {shown}; run it with `gatewright run {shown}`\n"));
        }
    }
    Ok(findings.exit(false))
}
