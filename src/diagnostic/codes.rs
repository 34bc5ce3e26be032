//! Every diagnostic code with its long text, one table per area.
//!
//! A code is added by one line in the table of its area; `gatewright explain CODE` prints the text.

mod config;
mod import;
mod policy;
mod run;

pub use config::*;
pub use import::*;
pub use policy::*;
pub use run::*;

/// One row of the table: the word and what it means at length.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The stable word, kebab case.
    pub slug: &'static str,
    /// What happened, why it matters, what to do: paragraphs for `gatewright explain`.
    pub text: &'static str,
}

/// A reference into the table; two codes are equal when their words are.
pub type Code = &'static Entry;

/// Makes a constant per row and the list of the area's rows.
macro_rules! codes {
    ($list:ident: $($(#[doc = $doc:literal])+ $name:ident = $slug:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: $crate::diagnostic::Code = &$crate::diagnostic::codes::Entry { slug: $slug, text: concat!($($doc, "\n"),+) };)+
        pub(super) const $list: &[$crate::diagnostic::Code] = &[$($name),+];
    };
}
pub(super) use codes;

/// All codes, by area.
pub fn all() -> impl Iterator<Item = Code> {
    [import::IMPORT, config::CONFIG, policy::POLICY, run::RUN].into_iter().flatten().copied()
}

/// The row of a word.
#[must_use]
pub fn find(slug: &str) -> Option<Code> {
    all().find(|code| code.slug == slug)
}
