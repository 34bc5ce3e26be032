//! A template without its names: what it matches, and where it stands in the order of precedence.

use memchr::{memchr, memmem};
use smallvec::SmallVec;

use super::{
    Params,
    template::{Part, Template},
};

pub(super) type Values<'p> = SmallVec<[&'p str; 8]>;

/// Templates that differ only in parameter names have one pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub rank: Rank,
    tokens: Vec<Token>,
    /// For a pattern with a tail: the tokens that match the path before it.
    without_tail: Option<Vec<Token>>,
    /// How many of its segments, from the left, each match exactly one segment of a path.
    pub fixed: usize,
    pub literal: bool,
}

/// The order of precedence, see [`super`]; equal for equal patterns only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// What each segment is as a whole.
    whole: Vec<Class>,
    /// Of each segment that holds parameters: whether it is nothing else, and how little text it has.
    detail: Vec<(bool, usize)>,
    /// The pattern with `{}` for parameters.
    pub text: String,
}

/// Narrow to wide. A pattern that ends comes behind one that goes on, and before one that ends in a tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Literal,
    Parameter,
    Span,
    End,
    Tail,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// With the slashes between segments in it.
    Literal(String),
    /// At least one character, none of them `/`.
    Param,
    /// At least one character.
    Span,
    /// All that is left, also nothing.
    Rest,
}

/// Whether tokens match. `Dead`: a parameter further right could not be placed, so trying another place for
/// one further left cannot help.
#[derive(PartialEq, Eq)]
enum Fit {
    Yes,
    No,
    Dead,
}

impl Pattern {
    pub fn new(template: &Template, spans: &[String]) -> Self {
        let mut tokens = Tokens::default();
        let (mut whole, mut detail, mut text) = (Vec::new(), Vec::new(), String::new());
        for segment in &template.segments {
            let spans = |part: &Part| matches!(part, Part::Param(name) if spans.contains(name));
            text.push('/');
            tokens.literal("/");
            let mut written = 0;
            for part in segment {
                match part {
                    Part::Literal(literal) => {
                        text.push_str(literal);
                        tokens.literal(literal);
                        written += literal.len();
                    }
                    Part::Param(_) => {
                        text.push_str(if spans(part) { "{+}" } else { "{}" });
                        tokens.0.push(if spans(part) { Token::Span } else { Token::Param });
                    }
                }
            }
            let class = if segment.iter().any(spans) {
                Class::Span
            } else if segment.iter().any(Part::is_param) {
                Class::Parameter
            } else {
                Class::Literal
            };
            whole.push(class);
            if class != Class::Literal {
                detail.push((written == 0, usize::MAX - written));
            }
        }
        let fixed = whole.iter().take_while(|class| **class < Class::Span).count();
        let without_tail = template.tail.is_some().then(|| tokens.0.clone());
        whole.push(if without_tail.is_some() { Class::Tail } else { Class::End });
        if without_tail.is_some() {
            text.push_str("/**");
            tokens.literal("/");
            tokens.0.push(Token::Rest);
        }
        let literal = template.is_literal();
        Self { rank: Rank { whole, detail, text }, tokens: tokens.0, without_tail, fixed, literal }
    }

    /// Whether all segments are fixed and nothing follows them.
    pub fn is_fixed(&self) -> bool {
        self.fixed + 1 == self.rank.whole.len() && self.without_tail.is_none()
    }

    /// The values of its parameters where it matches the whole path.
    pub fn matches<'p>(&self, path: &'p str) -> Option<Values<'p>> {
        let mut values = Values::new();
        if fit(&self.tokens, path, 0, &mut values) == Fit::Yes {
            return Some(values);
        }
        values.clear();
        let tokens = self.without_tail.as_ref()?;
        (fit(tokens, path, 0, &mut values) == Fit::Yes).then(|| {
            values.push(&path[path.len()..]);
            values
        })
    }
}

/// One template by itself, without the others that may win over it.
#[derive(Clone, Debug)]
pub struct Matcher {
    pattern: Pattern,
    names: Box<[Box<str>]>,
}

impl Matcher {
    /// `spans` names the parameters whose value may span several segments.
    #[must_use]
    pub fn new(template: &Template, spans: &[String]) -> Self {
        let names = template.names().map(Box::from).collect();
        Self { pattern: Pattern::new(template, spans), names }
    }

    /// The parameters of a canonical path, where it is one of the template's.
    #[must_use]
    pub fn matches<'p>(&self, path: &'p str) -> Option<Params<'_, 'p>> {
        self.pattern.matches(path).map(|values| Params { names: &self.names, values })
    }
}

/// Literal text grows together, so that a search for it looks beyond the end of its segment.
#[derive(Default)]
struct Tokens(Vec<Token>);

impl Tokens {
    fn literal(&mut self, text: &str) {
        match self.0.last_mut() {
            Some(Token::Literal(last)) => last.push_str(text),
            _ => self.0.push(Token::Literal(text.to_owned())),
        }
    }
}

/// Matches `tokens` against `path[at..]` to its end.
///
/// Each parameter takes as little as it can: the leftmost place of the text behind it leaves most to the
/// others, so within one segment no other place need be tried. Only one that spans segments is tried further
/// right, as those behind it may not hold a slash. Linear in the path for each such parameter.
fn fit<'p>(tokens: &[Token], path: &'p str, mut at: usize, values: &mut Values<'p>) -> Fit {
    for (index, token) in tokens.iter().enumerate() {
        let behind = &tokens[index + 1..];
        match token {
            Token::Literal(text) if path.as_bytes()[at..].starts_with(text.as_bytes()) => at += text.len(),
            Token::Literal(_) => return Fit::No,
            Token::Rest => {
                values.push(&path[at..]);
                return Fit::Yes;
            }
            Token::Param => {
                let segment = memchr(b'/', &path.as_bytes()[at..]).map_or(path.len(), |length| at + length);
                let Some(end) = next_end(behind, path, at, segment) else { return Fit::No };
                let Some(value) = path.get(at..end) else { return Fit::No };
                values.push(value);
                at = end;
            }
            Token::Span => return fit_span(behind, path, at, values),
        }
    }
    if at == path.len() { Fit::Yes } else { Fit::No }
}

/// Matches a parameter that may span segments and begins at `start`, and all `behind` it.
fn fit_span<'p>(behind: &[Token], path: &'p str, start: usize, values: &mut Values<'p>) -> Fit {
    let before = values.len();
    let mut at = start;
    while let Some(end) = next_end(behind, path, at, path.len()) {
        let Some(value) = path.get(start..end) else { break };
        values.truncate(before);
        values.push(value);
        match fit(behind, path, end, values) {
            Fit::No => at = end,
            decided => return decided,
        }
    }
    Fit::Dead
}

/// The nearest end, beyond `at` and not beyond `limit`, of a parameter that `behind` follows.
fn next_end(behind: &[Token], path: &str, at: usize, limit: usize) -> Option<usize> {
    let end = match behind {
        [] => path.len(),
        [Token::Literal(text)] => path.strip_suffix(text.as_str())?.len(),
        [Token::Literal(text), ..] => {
            let window = path.as_bytes().get(at + 1..path.len().min(limit + text.len()))?;
            at + 1 + memmem::find(window, text.as_bytes())?
        }
        [_, ..] => at + if path.as_bytes().get(at) == Some(&b'%') { 3 } else { 1 },
    };
    (at < end && end <= limit).then_some(end)
}
