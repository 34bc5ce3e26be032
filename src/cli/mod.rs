//! The command line: what people type, and what they see.

mod args;
mod banner;
mod cache;
mod check;
mod configure;
mod connect;
mod demo;
mod dry;
mod engine;
mod explain;
mod explain_route;
mod findings;
mod keys;
mod meaning;
mod nodes;
mod prepare;
mod reload;
mod run;
mod serve;
mod state;
mod stored;
mod trial;
mod try_demo;

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use clap::Parser;

use crate::diagnostic::{Diagnostic, render};
use args::{Cli, Command};

/// Exit codes of all commands.
mod exit {
    use crate::diagnostic::{Diagnostic, codes};

    pub const FINDINGS: u8 = 1;
    pub const UNREADABLE: u8 = 2;

    /// For a command that cannot go on. Wrong usage ends as the parser of the command line ends it.
    pub fn of(diagnostics: &[Diagnostic]) -> u8 {
        if diagnostics.iter().any(|found| found.code == codes::USAGE) { UNREADABLE } else { FINDINGS }
    }
}

/// Parses the command line and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        show(&[Diagnostic::warning(
            crate::diagnostic::codes::START_FAILED,
            "another TLS provider is installed already",
        )]);
    }
    let done = match &cli.command {
        Command::Run(args) => return run::run(args),
        Command::Demo(args) => return try_demo::demo(args),
        Command::Check(args) => check::check(args),
        Command::Routes(args) => check::routes(args),
        Command::Import(args) => check::import(args),
        Command::Keys(args) => keys::keys(&args.action, &args.connect).map(printed),
        Command::Cache(args) => cache::cache(&args.action, &args.connect),
        Command::Reload(connect) => reload::reload(connect).map(printed),
        Command::Explain { code } => explain::explain(code.as_deref()).map(printed),
    };
    done.unwrap_or_else(|diagnostic| {
        let code = exit::of(std::slice::from_ref(&diagnostic));
        show(&[diagnostic]);
        ExitCode::from(code)
    })
}

fn printed(text: impl AsRef<str>) -> ExitCode {
    out(text.as_ref());
    ExitCode::SUCCESS
}

/// Prints to standard output; a reader that went away (`| head`) is no error.
fn out(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Says a line on standard error. Unlike `eprintln!` it does not panic when nobody reads there any more, which
/// would take the handling of signals with it.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Shows diagnostics on standard error, in colour on a terminal.
fn show(diagnostics: &[Diagnostic]) {
    let text = render::text(diagnostics, std::io::stderr().is_terminal());
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
