//! `gatewright demo`: the bookshop and a gateway before it, on loopback, offline, without a trace left behind.

use std::{net::Ipv4Addr, process::ExitCode};

use super::{
    args::{self, Source},
    configure::Policies,
    demo,
    engine::Recipe,
    exit,
    run::{self, Extra, Tour},
    show,
};
use crate::diagnostic::{Diagnostic, codes};

/// Runs `gatewright demo`.
pub fn demo(args: &args::Demo) -> ExitCode {
    match prepare() {
        Ok((source, _folder)) => {
            let recipe = Recipe {
                source,
                policies: Policies { security: Some(args::Security::Gateway), ..Policies::default() },
                docs: args.serve.docs.clone(),
                origin: String::new(),
                name: "the built-in demo".to_owned(),
            };
            let extra = Extra { temporary: true, protect: Some("demo"), tour: Some(tour) };
            run::start(recipe, &args.serve, &extra)
        }
        Err(diagnostic) => {
            show(&[diagnostic]);
            ExitCode::from(exit::FINDINGS)
        }
    }
}

/// Removes the folder of the description at the end.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Starts the shop on a free port and lays its description where the gateway finds it.
fn prepare() -> Result<(Source, Folder), Diagnostic> {
    let failed = |error: std::io::Error| {
        Diagnostic::error(codes::START_FAILED, format!("the demo cannot start: {error}"))
    };
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    std::thread::Builder::new().name("bookshop".into()).spawn(move || serve(listener)).map_err(failed)?;
    let folder = std::env::temp_dir().join(format!("gatewright-demo-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let folder = Folder(folder);
    let file = folder.0.join("bookshop.yaml");
    std::fs::write(&file, demo::DESCRIPTION).map_err(failed)?;
    let source = Source {
        specs: vec![file.display().to_string()],
        upstream: Some(format!("http://{address}")),
        ..Source::default()
    };
    Ok((source, folder))
}

/// The shop's own small runtime, for as long as the process lives.
fn serve(listener: std::net::TcpListener) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
            let _ = axum::serve(listener, demo::upstream()).await;
        }
    });
}

/// What to try, in the order in which it tells its story.
fn tour(tour: &Tour) -> String {
    let Tour { base, docs, key } = tour;
    let key = key.as_deref().unwrap_or("$KEY");
    let docs = docs.as_deref().unwrap_or("(off)");
    format!(
        "  then, in another terminal
    the same call again      Cache-Status says hit: the shop was not asked
    curl -i {base}/books
                             401: without the key nobody gets in
    for i in 1 2 3 4; do curl -si -H 'X-API-Key: {key}' {base}/quote | head -1; done
                             the fourth is 429: too many in ten seconds
    {docs}
                             the documentation, made of the description; the same key works there

"
    )
}
