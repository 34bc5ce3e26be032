//! The two renderings of diagnostics: text for a terminal, JSON for editors and CI.

use std::fmt::Write;

use super::{Diagnostic, Severity, count};

/// Text as rustc shows it; `colour` adds ANSI sequences.
#[must_use]
pub fn text(diagnostics: &[Diagnostic], colour: bool) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        one(&mut out, diagnostic, colour);
        out.push('\n');
    }
    out
}

fn one(out: &mut String, d: &Diagnostic, colour: bool) {
    let paint = |code: &'static str| if colour { code } else { "" };
    let (word, tint) = match d.severity {
        Severity::Error => ("error", paint("\x1b[1;31m")),
        Severity::Warning => ("warning", paint("\x1b[1;33m")),
    };
    let (bold, blue, off) = (paint("\x1b[1m"), paint("\x1b[1;34m"), paint("\x1b[0m"));
    let _ = writeln!(out, "{tint}{word}[{}]{off}{bold}: {}{off}", d.code.slug, printable(&d.title));
    let place = &d.place;
    let gutter = if place.line == 0 { 1 } else { place.line.to_string().len() };
    if !place.file.is_empty() {
        let _ = write!(out, "{:gutter$}{blue}-->{off} {}", "", printable(&place.file));
        if place.line > 0 {
            let _ = write!(out, ":{}:{}", place.line, place.column);
        }
        if !place.pointer.is_empty() {
            let _ = write!(out, "   {}", printable(&place.pointer));
        }
        out.push('\n');
    }
    if place.line > 0 && !place.source.is_empty() {
        let (source, column) = frame(&place.source, place.column as usize);
        let marks = (place.width.max(1) as usize).min(60);
        let _ = writeln!(out, "{blue}{:gutter$} |{off}", "");
        let _ = writeln!(out, "{blue}{} |{off} {source}", place.line);
        let label = if d.label.is_empty() { String::new() } else { format!(" {}", printable(&d.label)) };
        let pad = column.saturating_sub(1);
        let _ =
            writeln!(out, "{blue}{:gutter$} |{off} {:pad$}{tint}{}{label}{off}", "", "", "^".repeat(marks));
    }
    if !d.help.is_empty() {
        let mut lines = d.help.lines();
        let _ = writeln!(out, "  {bold}help{off}: {}", printable(lines.next().unwrap_or_default()));
        for line in lines {
            let _ = writeln!(out, "        {}", printable(line));
        }
    }
}

/// At most 100 characters of the source line around the column, and the column within them.
fn frame(source: &str, column: usize) -> (String, usize) {
    const WIDTH: usize = 100;
    let len = source.chars().count();
    if column > len + 1 {
        // Of a line too long to keep, `source` is what starts 50 characters before the column.
        return (printable(source), WIDTH / 2 + 1);
    }
    let start = column.saturating_sub(WIDTH / 2);
    let start = if len <= WIDTH { 0 } else { start };
    let part: String = source.chars().skip(start).take(WIDTH).collect();
    (printable(&part), column - start.min(column))
}

/// Control characters of a hostile document must not reach the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `{errors, warnings, diagnostics: […]}`, the contract of `check --format json`.
#[must_use]
pub fn json(diagnostics: &[Diagnostic]) -> serde_json::Value {
    let (errors, warnings) = count(diagnostics);
    let rows: Vec<_> = diagnostics
        .iter()
        .map(|d| {
            serde_json::json!({
                "code": d.code.slug,
                "severity": d.severity,
                "file": d.place.file,
                "line": d.place.line,
                "column": d.place.column,
                "pointer": d.place.pointer,
                "message": d.title,
                "help": d.help,
            })
        })
        .collect();
    serde_json::json!({ "errors": errors, "warnings": warnings, "diagnostics": rows })
}

/// `2 errors, 1 warning`.
#[must_use]
pub fn tally(errors: usize, warnings: usize) -> String {
    format!("{}, {}", plural(errors, "error"), plural(warnings, "warning"))
}

/// `1 error`, `2 errors`.
#[must_use]
pub fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
