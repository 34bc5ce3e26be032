//! What the author of a description or configuration is told: one fact with its place and its remedy.
//!
//! A [`Diagnostic`] is data; [`render`] turns it into text for people and JSON for programs. Codes are
//! words, stable and never reused; [`codes`] holds the long text that `gatewright explain CODE` prints.

pub mod codes;
pub mod render;

pub use codes::Code;

/// Whether a finding stops what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

/// Where a finding stands. Every part is optional: a refused port has no line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file or URL as the user named it.
    pub file: String,
    /// One-based line, 0 when unknown.
    pub line: u32,
    /// One-based column in characters, 0 when unknown.
    pub column: u32,
    /// JSON pointer (RFC 6901) into the document, `""` for its root.
    pub pointer: String,
    /// The source line, for the frame shown under the title. Empty when it could show a secret.
    pub source: String,
    /// How many characters of `source` are marked, at least one.
    pub width: u32,
}

/// One finding: what, where, why, what now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub code: Code,
    pub severity: Severity,
    /// The fact, lower case, no period, code in backticks.
    pub title: String,
    pub place: Place,
    /// Stands beside the marks under the source line.
    pub label: String,
    /// What to do now.
    pub help: String,
}

impl Diagnostic {
    #[must_use]
    pub fn error(code: Code, title: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, title)
    }

    #[must_use]
    pub fn warning(code: Code, title: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, title)
    }

    fn new(code: Code, severity: Severity, title: impl Into<String>) -> Self {
        let (title, place) = (title.into(), Place::default());
        Self { code, severity, title, place, label: String::new(), help: String::new() }
    }

    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Names the file alone, for findings that concern it as a whole.
    #[must_use]
    pub fn file(mut self, file: impl Into<String>) -> Self {
        self.place.file = file.into();
        self
    }

    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Errors first, then by place: the order in which people read them.
pub fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by(|a, b| {
        let key = |d: &Diagnostic| (d.severity, d.place.line, d.place.column);
        a.place.file.cmp(&b.place.file).then_with(|| key(a).cmp(&key(b)))
    });
}

/// How many findings are errors and how many warnings.
#[must_use]
pub fn count(diagnostics: &[Diagnostic]) -> (usize, usize) {
    let errors = diagnostics.iter().filter(|d| d.is_error()).count();
    (errors, diagnostics.len() - errors)
}

/// The candidate nearest to a misspelt `word`, when one is near enough to be meant.
#[must_use]
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (edit_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many characters must be added, left out, changed, or swapped with their neighbour to make `b` of `a`.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let changed = row[j] + usize::from(a[i] != b[j]);
            next[j + 1] = changed.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                next[j + 1] = next[j + 1].min(before[j - 1] + 1);
            }
        }
        (before, row) = (row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_the_nearest_word_only_when_it_is_near() {
        assert_eq!(suggest("upstraem", ["listen", "upstream"]), Some("upstream"));
        assert_eq!(suggest("zebra", ["listen", "upstream"]), None);
        assert_eq!(suggest("burts", ["limit", "burst"]), Some("burst"));
        assert_eq!(suggest("tsl", ["tls"]), Some("tls"));
        assert_eq!(suggest("per", ["xyz"]), None);
    }
}
