//! Collects what the importer has to say: each finding with its place, at most so many of one kind.

use std::collections::{BTreeSet, HashMap};

use super::{
    Version,
    document::{At, Files},
};
use crate::diagnostic::{Code, Diagnostic, codes};

/// Of one code this many findings are kept; the rest are counted.
const KEEP: usize = 200;

/// So many names of server variables are kept, for suggestions.
const VARIABLES: usize = 1000;

/// What every part of the importer reads and writes.
pub struct Context<'a> {
    pub files: &'a Files<'a>,
    pub version: Version,
    pub options: &'a super::Options,
    /// The variables of all servers that were looked at, at most [`VARIABLES`] of them.
    pub server_variables: BTreeSet<String>,
    found: Vec<Diagnostic>,
    counts: HashMap<&'static str, usize>,
}

impl<'a> Context<'a> {
    pub fn new(files: &'a Files<'a>, version: Version, options: &'a super::Options) -> Self {
        Self {
            files,
            version,
            options,
            server_variables: BTreeSet::new(),
            found: Vec::new(),
            counts: HashMap::new(),
        }
    }

    /// Notes that a server has this variable.
    pub fn has_variable(&mut self, name: &str) {
        let fits = self.server_variables.len() < VARIABLES && name.len() <= 200;
        if fits && !self.server_variables.contains(name) {
            self.server_variables.insert(name.to_owned());
        }
    }

    /// A finding that does not stop the import.
    pub fn warn(&mut self, code: Code, at: At<'_>, title: impl Into<String>, help: impl Into<String>) {
        let count = self.counts.entry(code.slug).or_default();
        *count += 1;
        if *count <= KEEP {
            let place = self.files.place(at);
            let warning = Diagnostic::warning(code, title).at(place).help(help);
            self.found.push(warning);
        }
    }

    /// A finding that refuses the description.
    pub fn refuse(&mut self, code: Code, at: At<'_>, title: impl Into<String>, help: impl Into<String>) {
        let place = self.files.place(at);
        self.found.push(Diagnostic::error(code, title).at(place).help(help));
    }

    /// Everything found, in reading order, with one line for each kind that was cut short.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        for code in codes::all() {
            let more = self.counts.get(code.slug).map_or(0, |n| n.saturating_sub(KEEP));
            if more > 0 {
                let title = format!("{more} more findings of this kind are not shown");
                self.found.push(Diagnostic::warning(code, title).file(&self.files.root().name));
            }
        }
        crate::diagnostic::sort(&mut self.found);
        self.found
    }
}

/// Hostile and generated names are endless; messages are not.
pub fn short(text: &str) -> String {
    const KEEP: usize = 120;
    if text.chars().count() <= KEEP {
        return text.to_owned();
    }
    text.chars().take(KEEP).chain(['…']).collect()
}
