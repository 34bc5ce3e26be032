//! The command line: what people type, and what they see.

mod args;
mod demo;
mod explain;
mod serve;
mod state;

use std::process::ExitCode;

use clap::Parser;

use crate::diagnostic::{Diagnostic, render};

/// Exit codes of all commands.
mod exit {
    pub const FINDINGS: u8 = 1;
    pub const UNREADABLE: u8 = 2;
}

/// Parses the command line and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    let cli = args::Cli::parse();
    match cli.command {
        args::Command::Run(run) => quick(&run),
        _ => ExitCode::FAILURE,
    }
}
fn quick(run: &args::Run) -> ExitCode {
    use crate::*;
    use std::sync::Arc;
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let url = url::Url::parse(run.source.proxy.as_deref().unwrap()).unwrap();
    let dir = std::path::PathBuf::from("/tmp/quick");
    std::fs::create_dir_all(&dir).ok();
    let workers = 1;
    let live = Arc::new(gateway::Live {
        telemetry: Arc::new(telemetry::Telemetry::new(telemetry::AccessLog::off())),
        upstreams: upstream::Upstreams::new(workers),
        limiters: Default::default(),
        keys: Arc::new(policy::identity::KeyStore::open(&dir).unwrap()),
        cache: None,
    });
    let plan = gateway::plan::Plan {
        hosts: vec![gateway::plan::HostPlan {
            host: "*".into(),
            routes: vec![gateway::plan::RoutePlan {
                methods: vec![route::Methods::Any],
                template: route::Template::parse_with_tail("/**").unwrap(),
                conditions: Default::default(),
                spans: vec![],
                api: "p".into(),
                operation: "p".into(),
                shown: "p".into(),
                security: gateway::plan::SecurityPlan {
                    mode: policy::security::Mode::Pass,
                    explicit: true,
                    public: true,
                    forward_credentials: true,
                    requirements: None,
                },
                rate_limits: Arc::new([]),
                limits_written: "".into(),
                upstream: Arc::new(upstream::UpstreamKey {
                    name: "u".into(),
                    endpoints: vec![url],
                    connect_timeout: std::time::Duration::from_secs(5),
                    max_requests: 10000,
                    own_host: false,
                }),
                strip: 0,
                prefix: "".into(),
                rewrite: gateway::route::Rewrite {
                    preserve_host: false,
                    client_address: true,
                    credentials: Box::new([]),
                    request: Default::default(),
                    response: Default::default(),
                },
                timeouts: Default::default(),
                body_limit: 1 << 30,
                uri_limit: 16384,
                encoded_slash: Default::default(),
                cache: None,
                secret_params: vec![],
                place: Default::default(),
            }],
        }],
        trusted_proxies: vec![],
        consumers: vec![],
        docs: None,
    };
    let (gw, said) = gateway::assemble::assemble(plan, 1, &live, None, None);
    println!("{said:?}");
    let proxy = Arc::new(proxy::Proxy {
        live,
        current: arc_swap::ArcSwap::from_pointee(gw.unwrap()),
        via: proxy::Via::new(fastrand::u32(..)),
    });
    let listeners = server::Listeners::bind(&run.serve.listen, workers)
        .map_err(|e| e.reason.as_str().to_owned())
        .unwrap();
    let drain = server::Drain::new();
    let s = server::run(
        listeners,
        server::ServerConfig { workers, ..Default::default() },
        &drain,
        &Default::default(),
        move |_| serve::DataPlane(proxy.clone()),
    )
    .unwrap();
    let _ = s.join();
    ExitCode::SUCCESS
}

/// Shows diagnostics on standard error, in colour on a terminal.
fn show(diagnostics: &[Diagnostic]) {
    use std::io::IsTerminal;
    eprint!("{}", render::text(diagnostics, std::io::stderr().is_terminal()));
}
