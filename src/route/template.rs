//! Path templates as written: literal text and `{parameters}`, brought to canonical escapes.

use std::fmt;

use super::canonical::{Refusal, has_dot_segment, path};

/// matchit names parameters by the letters of the alphabet and panics at the 26th.
const MAX_PARAMETER_SEGMENTS: usize = 25;
/// A template is walked recursively, one level a segment.
const MAX_SEGMENTS: usize = 128;

/// A parsed path template.
///
/// Segments are told apart by `/`; a trailing slash and `//` count. In a segment literal text and parameters
/// may stand in any mix. A parameter takes at least one character and as few as it can, the last one the
/// rest of its segment; one that another follows directly takes a single character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub(super) segments: Vec<Vec<Part>>,
    /// The name of what follows the segments, `**` when it was written so.
    pub(super) tail: Option<Box<str>>,
}

/// A piece of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// In canonical escapes, never empty.
    Literal(String),
    /// The text between the braces, as written.
    Param(String),
}

/// Why a template cannot be routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateError {
    NoSlash,
    Brace,
    QueryOrFragment,
    TailNotLast,
    TooManySegments,
    TooManyParameters,
    Refused(Refusal),
}

impl TemplateError {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSlash => "it does not begin with `/`",
            Self::Brace => "its braces do not pair",
            Self::QueryOrFragment => "it holds a `?` or `#`",
            Self::TailNotLast => {
                "`**` and `{*name}` stand for all that follows and can only be its last segment"
            }
            Self::TooManySegments => "it has more than 128 segments",
            Self::TooManyParameters => "more than 25 of its segments hold a parameter",
            Self::Refused(Refusal::DotSegment) => "it holds a dot segment (`.` or `..`)",
            Self::Refused(Refusal::Backslash) => "it holds a backslash",
            Self::Refused(Refusal::Control) => "it holds a control character",
            Self::Refused(Refusal::Escape) => "it holds a `%` that two hexadecimal digits do not follow",
            Self::Refused(_) => "no request can have this path",
        }
    }
}

impl Template {
    /// Parses the path key of a description. What stands between braces is the name, whatever it is.
    ///
    /// # Errors
    /// The first reason why no request could match it.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut rest = text.strip_prefix('/').ok_or(TemplateError::NoSlash)?;
        let (mut segments, mut segment) = (Vec::new(), Vec::new());
        while !rest.is_empty() {
            let end = rest.find(['/', '{', '}']).unwrap_or(rest.len());
            if end > 0 {
                segment.push(Part::Literal(literal(&rest[..end])?));
                rest = &rest[end..];
            } else if let Some(after) = rest.strip_prefix('/') {
                segments.push(std::mem::take(&mut segment));
                rest = after;
            } else {
                let inner = rest.strip_prefix('{').ok_or(TemplateError::Brace)?;
                let (name, after) = inner.split_once('}').ok_or(TemplateError::Brace)?;
                if name.contains('{') {
                    return Err(TemplateError::Brace);
                }
                segment.push(Part::Param(name.to_owned()));
                rest = after;
            }
        }
        segments.push(segment);
        Self { segments, tail: None }.checked()
    }

    /// Parses the path of a route that is configured without a description: as [`Self::parse`], and a last
    /// segment `**` or `{*name}` stands for the path before it and all below: `/legacy/**` matches
    /// `/legacy`, `/legacy/` and `/legacy/a/b`.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_with_tail(text: &str) -> Result<Self, TemplateError> {
        let tail = |segment: &[Part]| match segment {
            [Part::Literal(stars)] if stars == "**" => Some(Box::from("**")),
            [Part::Param(name)] => name.strip_prefix('*').map(Box::from),
            _ => None,
        };
        let mut template = Self::parse(text)?;
        template.tail = template.segments.last().and_then(|segment| tail(segment));
        if template.tail.is_some() {
            template.segments.pop();
        }
        if template.segments.iter().any(|segment| tail(segment).is_some()) {
            return Err(TemplateError::TailNotLast);
        }
        Ok(template)
    }

    fn checked(self) -> Result<Self, TemplateError> {
        let holds_parameter = |segment: &&Vec<Part>| segment.iter().any(Part::is_param);
        let parameters = self.segments.iter().filter(holds_parameter).count();
        let dots =
            |segment: &Vec<Part>| matches!(&segment[..], [Part::Literal(text)] if has_dot_segment(text));
        if self.segments.len() > MAX_SEGMENTS {
            Err(TemplateError::TooManySegments)
        } else if parameters > MAX_PARAMETER_SEGMENTS {
            Err(TemplateError::TooManyParameters)
        } else if self.segments.iter().any(dots) {
            Err(TemplateError::Refused(Refusal::DotSegment))
        } else {
            Ok(self)
        }
    }

    /// Parameter names in order, `**` or the tail's name last.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let parts = self.segments.iter().flatten();
        let names = parts.filter_map(|part| match part {
            Part::Param(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        });
        names.chain(self.tail.as_deref())
    }

    /// Whether exactly one path matches it.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.names().next().is_none()
    }

    /// The segments, each in its parts; a template with a tail has it behind them.
    #[must_use]
    pub fn segments(&self) -> &[Vec<Part>] {
        &self.segments
    }
}

impl Part {
    pub(super) fn is_param(&self) -> bool {
        matches!(self, Self::Param(_))
    }
}

/// The template as written, its literal text in canonical escapes.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            f.write_str("/")?;
            for part in segment {
                match part {
                    Part::Literal(text) => f.write_str(text)?,
                    Part::Param(name) => write!(f, "{{{name}}}")?,
                }
            }
        }
        match self.tail.as_deref() {
            None => Ok(()),
            Some("**") => f.write_str("/**"),
            Some(name) => write!(f, "/{{*{name}}}"),
        }
    }
}

fn literal(raw: &str) -> Result<String, TemplateError> {
    if raw.contains(['?', '#']) {
        return Err(TemplateError::QueryOrFragment);
    }
    path(raw).map(Into::into).map_err(TemplateError::Refused)
}
