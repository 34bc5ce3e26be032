//! `gatewright explain`: the long text behind a diagnostic code or a problem type.

use crate::{
    diagnostic::{Diagnostic, codes, suggest},
    problem,
};

/// The text of one word, or the list of all words.
pub fn explain(word: Option<&str>) -> Result<String, Diagnostic> {
    let Some(word) = word else { return Ok(list()) };
    if let Some(code) = codes::find(word) {
        return Ok(format!("{}\n\n{}", code.slug, paragraphs(code.text)));
    }
    if let Some(kind) = problem::ALL.iter().find(|kind| kind.slug == word) {
        let status = kind.status;
        return Ok(format!(
            "{} ({status}; who must act: {})\n\n{}.\n\n{}\n",
            kind.slug,
            kind.blame.as_str(),
            kind.title,
            kind.help
        ));
    }
    let words = codes::all().map(|code| code.slug).chain(problem::ALL.iter().map(|kind| kind.slug));
    let help = match suggest(word, words) {
        Some(near) => format!("did you mean `{near}`? `gatewright explain` lists all words"),
        None => "`gatewright explain` lists all words".to_owned(),
    };
    Err(Diagnostic::error(codes::USAGE, format!("there is no diagnostic or problem called `{word}`"))
        .help(help))
}

fn list() -> String {
    let mut text = String::from("What import and configuration can say:\n");
    for code in codes::all() {
        let first = code.text.trim_start().lines().next().unwrap_or_default();
        text.push_str(&format!("  {:28} {}\n", code.slug, first.trim()));
    }
    text.push_str("\nWhat a client can be answered:\n");
    for kind in problem::ALL {
        text.push_str(&format!("  {:28} {} {}\n", kind.slug, kind.status.as_u16(), kind.title));
    }
    text
}

/// Doc lines as paragraphs: one space of indentation off each.
fn paragraphs(text: &str) -> String {
    text.lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .fold(String::new(), |out, line| out + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_problems_and_near_misses_are_found() {
        assert!(explain(Some("no-server")).unwrap().contains("--upstream"));
        assert!(explain(Some("rate-limited")).unwrap().contains("429"));
        assert!(explain(Some("no-sever")).unwrap_err().help.contains("`no-server`"));
        assert!(explain(None).unwrap().lines().count() > 20);
    }
}
