//! `gatewright reload`: asking a running gateway for a new generation.

use http::Method;

use super::{args::Connect, connect};
use crate::diagnostic::{Diagnostic, render::plural};

/// Asks for a new generation; gives back what to print.
pub fn reload(connect: &Connect) -> Result<String, Diagnostic> {
    let generation = connect::running(connect)?.call(Method::POST, "/config/reload", None)?;
    let number =
        |name: &str| usize::try_from(generation[name].as_u64().unwrap_or_default()).unwrap_or(usize::MAX);
    Ok(format!(
        "generation {} serves: {}, {}\n",
        number("number"),
        plural(number("operations"), "operation"),
        plural(number("warnings"), "warning")
    ))
}
