//! The tables of cases: one row a case, told as the steps of a conversation. The reader, and what a row means.
//!
//! ```text
//! RFC SECTION LEVEL | what is shown | cell | cell | …
//!
//! GET /a if-none-match: "x" & range: …   a request; the path may be left out
//! 200 cache-control: max-age=60 & …      how the origin answers it, should it be asked
//! = hit #1 304 & age: 5                  what became of it
//! ^ if-none-match: "x" & -range          what the origin saw
//! +7                                     seconds that pass
//! with heuristic & grace=60              how the route is configured, first of all cells
//! ! reason                               last of all cells: the gateway does otherwise, on purpose
//! ```
//!
//! An origin's answer without a cell is a 200 with no fields. It may begin with `~2` (it takes 2 seconds) or
//! `cut` (it ends before its length), and `close` is none at all; `% name: value` is a trailer field, `103`
//! before another is an interim answer. A scripted 304 is given to conditional requests alone.
//!
//! Outcomes: `hit` (the origin was not asked), `forwarded` (its answer came through), `validated` (it said 304,
//! the stored answer came), `stale` (a stored answer came, whatever the origin did) and `refused`. `#1` is the
//! exchange whose answer it was.
//!
//! In values `{+60}`, `{-60}`, `{0}` are dates that far from now, `{850 +60}` and `{asctime +60}` in the older
//! forms, `{base}` is the path before that of the row, `{origin}` scheme and authority, `{x 9}` nine letters.

use std::fmt::Write;

/// How much the RFC asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Must,
    Should,
    May,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::May => "may",
        }
    }
}

/// Where a row can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Both,
    /// Under a clock of its own alone: it looks at what sockets make inexact.
    Rules,
    /// Between sockets alone: it is about the wire.
    Wire,
}

pub type Fields = Vec<(String, String)>;

#[derive(Clone, Debug)]
pub struct Case {
    /// File and line.
    pub at: String,
    /// `9111 4.2.1`.
    pub section: String,
    pub level: Level,
    pub place: Place,
    pub title: String,
    /// Settings of the route with their values.
    pub with: Fields,
    pub steps: Vec<Step>,
    /// Why the gateway does otherwise.
    pub deviates: Option<String>,
}

#[derive(Clone, Debug)]
pub enum Step {
    /// Milliseconds.
    Wait(u64),
    Exchange(Box<Exchange>),
}

#[derive(Clone, Debug)]
pub struct Exchange {
    pub method: String,
    /// Path and query, without the row's base.
    pub target: String,
    pub fields: Fields,
    pub answer: Answer,
    pub at_origin: Vec<Check>,
    pub expected: Option<Expected>,
}

/// What the origin does.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Before it begins to answer, in milliseconds.
    pub delay_ms: u64,
    /// `None` closes the connection.
    pub status: Option<u16>,
    pub fields: Fields,
    pub trailers: Fields,
    pub interim: Vec<(u16, Fields)>,
    /// It breaks off.
    pub cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Hit,
    Forwarded,
    Validated,
    Stale,
    Refused,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Forwarded => "forwarded",
            Self::Validated => "validated",
            Self::Stale => "stale",
            Self::Refused => "refused",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Expected {
    pub outcome: Outcome,
    /// Whose answer it is, counted from 1.
    pub answer: Option<usize>,
    pub status: Option<u16>,
    pub checks: Vec<Check>,
}

/// One look at a message's fields.
#[derive(Clone, Debug)]
pub enum Check {
    Absent(String),
    Present(String),
    Is(String, String),
    Holds(String, String),
    /// The number, or up to two more: seconds go by while a test runs.
    About(String, u64),
}

/// What was seen of one exchange.
#[derive(Clone, Debug)]
pub struct Seen {
    pub outcome: Outcome,
    pub answer: Option<usize>,
    pub status: u16,
    pub fields: Fields,
    /// The first request that came to the origin.
    pub at_origin: Option<Fields>,
}

impl Case {
    pub fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        self.steps.iter().filter_map(|step| match step {
            Step::Exchange(exchange) => Some(&**exchange),
            Step::Wait(_) => None,
        })
    }

    /// Milliseconds that it takes at least.
    pub fn lasts_ms(&self) -> u64 {
        let of = |step: &Step| match step {
            Step::Wait(ms) => *ms,
            Step::Exchange(exchange) => exchange.answer.delay_ms,
        };
        self.steps.iter().map(of).sum()
    }
}

/// Where what was seen is not what the row says; nothing where all is as it says. Looks that `skip` names are
/// left out.
pub fn fault(exchange: &Exchange, seen: &Seen, skip: impl Fn(&str) -> bool) -> Option<String> {
    let Some(expected) = &exchange.expected else { return None };
    let same = match expected.outcome {
        Outcome::Stale => !matches!(seen.outcome, Outcome::Forwarded | Outcome::Refused),
        outcome => outcome == seen.outcome,
    };
    if !same {
        return Some(seen.outcome.as_str().to_owned());
    }
    if expected.answer.is_some() && expected.answer != seen.answer {
        return Some(match seen.answer {
            Some(answer) => format!("{} of answer {answer}", seen.outcome.as_str()),
            None => "an answer of unknown origin".to_owned(),
        });
    }
    // A refusal is the gateway's own, whatever its status; a hit is usually a 200.
    let status = expected.status.or(match expected.outcome {
        Outcome::Hit | Outcome::Validated | Outcome::Stale => Some(200),
        Outcome::Forwarded | Outcome::Refused => None,
    });
    if status.is_some_and(|status| status != seen.status) {
        return Some(format!("{} with status {}", seen.outcome.as_str(), seen.status));
    }
    let wrong = expected.checks.iter().find(|check| !skip(check.name()) && !check.holds(&seen.fields));
    if let Some(check) = wrong {
        return Some(check.found(&seen.fields));
    }
    let no_fields = Vec::new();
    let at_origin = seen.at_origin.as_ref().unwrap_or(&no_fields);
    let wrong = exchange.at_origin.iter().find(|check| !check.holds(at_origin))?;
    Some(format!("asked the origin with {}", wrong.found(at_origin)))
}

impl Check {
    pub fn name(&self) -> &str {
        match self {
            Self::Absent(name)
            | Self::Present(name)
            | Self::Is(name, _)
            | Self::Holds(name, _)
            | Self::About(name, _) => name,
        }
    }

    pub fn holds(&self, fields: &Fields) -> bool {
        let value = all(fields, self.name());
        match self {
            Self::Absent(_) => value.is_none(),
            Self::Present(_) => value.is_some(),
            Self::Is(_, expected) => value.as_deref() == Some(expected),
            Self::Holds(_, part) => value.is_some_and(|value| value.contains(part)),
            Self::About(_, least) => value
                .and_then(|value| value.parse().ok())
                .is_some_and(|number: u64| (*least..=least + 2).contains(&number)),
        }
    }

    fn found(&self, fields: &Fields) -> String {
        match all(fields, self.name()) {
            Some(value) => format!("`{}: {value}`", self.name()),
            None => format!("no `{}`", self.name()),
        }
    }
}

/// All values of a field as one list.
pub fn all(fields: &Fields, name: &str) -> Option<String> {
    let values: Vec<&str> =
        fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// Puts dates and addresses in the place of what stands in braces.
pub fn filled(value: &str, now_ms: u64, base: &str, origin: &str) -> String {
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('{') {
        let (word, behind) = after.split_once('}').unwrap_or_else(|| panic!("an open brace in `{value}`"));
        text.push_str(before);
        let (form, number) = word.rsplit_once(' ').unwrap_or(("", word));
        match (form, number) {
            ("", "base") => text.push_str(base),
            ("", "origin") => text.push_str(origin),
            ("x", count) => text.push_str(&"x".repeat(count.parse().unwrap())),
            (form, seconds) => {
                let seconds: i64 = seconds.parse().unwrap_or_else(|_| panic!("`{{{word}}}` means nothing"));
                text.push_str(&date(form, now_ms / 1000, seconds));
            }
        }
        rest = behind;
    }
    text + rest
}

/// A date in one of its three forms, `seconds` from now.
fn date(form: &str, now: u64, seconds: i64) -> String {
    let then = now.checked_add_signed(seconds).expect("a date after 1970");
    let fixed = httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(then));
    let part = |from: usize, to: usize| &fixed[from..to];
    let (day, month, year, time) = (part(5, 7), part(8, 11), part(12, 16), part(17, 25));
    match form {
        "" => fixed,
        "850" => {
            let names = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
            let name = names.iter().find(|name| name.starts_with(part(0, 3))).unwrap();
            format!("{name}, {day}-{month}-{} {time} GMT", &year[2..])
        }
        "asctime" => {
            let day = day.strip_prefix('0').map_or(day.to_owned(), |one| format!(" {one}"));
            format!("{} {month} {day} {time} {year}", part(0, 3))
        }
        other => panic!("no form of a date: `{other}`"),
    }
}

/// All cases of the tables, file by file.
pub fn read() -> Vec<Case> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules/tables");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        for (index, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            if !line.trim().is_empty() && !line.starts_with('#') {
                cases.push(row(line, format!("{name}:{}", index + 1)));
            }
        }
    }
    cases
}

fn row(line: &str, at: String) -> Case {
    let mut cells = line.split(" | ").map(str::trim);
    let words: Vec<&str> = cells.next().unwrap_or_default().split(' ').collect();
    let (section, level, place) = match words[..] {
        [rfc, section, level] => (format!("{rfc} {section}"), level, Place::Both),
        [rfc, section, level, "rules"] => (format!("{rfc} {section}"), level, Place::Rules),
        [rfc, section, level, "wire"] => (format!("{rfc} {section}"), level, Place::Wire),
        _ => panic!("{at}: a row begins with RFC, section and level"),
    };
    let level = match level {
        "must" => Level::Must,
        "should" => Level::Should,
        "may" => Level::May,
        other => panic!("{at}: no level: {other}"),
    };
    let title = cells.next().unwrap_or_default().to_owned();
    let (with, steps, deviates) = (Fields::new(), Vec::new(), None);
    let mut case = Case { at, section, level, place, title, with, steps, deviates };
    for cell in cells {
        take(&mut case, cell);
    }
    assert!(case.exchanges().any(|exchange| exchange.expected.is_some()), "{}: expects nothing", case.at);
    case
}

/// Adds a cell to its row.
fn take(case: &mut Case, cell: &str) {
    let at = case.at.clone();
    assert!(case.deviates.is_none(), "{at}: a cell behind the reason");
    let (first, rest) = cell.split_once(' ').unwrap_or((cell, ""));
    if let Some(seconds) = first.strip_prefix('+') {
        let seconds: f64 = seconds.parse().unwrap_or_else(|_| panic!("{at}: no seconds: {cell}"));
        case.steps.push(Step::Wait((seconds * 1000.0).round() as u64));
        return;
    }
    match first {
        "with" => {
            let settings = rest.split(" & ").map(|word| word.split_once('=').unwrap_or((word, "")));
            case.with = settings.map(|(name, value)| (name.into(), value.into())).collect();
        }
        "!" => case.deviates = Some(rest.to_owned()),
        "=" => last(case).expected = Some(expected(rest, &at)),
        "^" => last(case).at_origin = rest.split(" & ").map(check).collect(),
        "close" | "cut" => answer(cell, last(case), &at),
        _ if first.starts_with('~') || first.starts_with(|c: char| c.is_ascii_digit()) => {
            answer(cell, last(case), &at);
        }
        _ => case.steps.push(Step::Exchange(Box::new(request(cell, &at)))),
    }
}

fn last(case: &mut Case) -> &mut Exchange {
    match case.steps.last_mut() {
        Some(Step::Exchange(exchange)) => exchange,
        _ => panic!("{}: no request before it", case.at),
    }
}

fn request(cell: &str, at: &str) -> Exchange {
    let (method, rest) = cell.split_once(' ').unwrap_or((cell, ""));
    assert!(method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-'), "{at}: no method: {cell}");
    let (target, rest) = match rest.starts_with('/') {
        true => rest.split_once(' ').unwrap_or((rest, "")),
        false => ("/", rest),
    };
    let answer = Answer {
        delay_ms: 0,
        status: Some(200),
        fields: Fields::new(),
        trailers: Fields::new(),
        interim: Vec::new(),
        cut: false,
    };
    let fields = fields(rest, at);
    Exchange {
        method: method.into(),
        target: target.into(),
        fields,
        answer,
        at_origin: vec![],
        expected: None,
    }
}

fn answer(cell: &str, exchange: &mut Exchange, at: &str) {
    let answer = &mut exchange.answer;
    let mut rest = cell;
    if let Some(delayed) = rest.strip_prefix('~') {
        let (seconds, behind) = delayed.split_once(' ').unwrap_or((delayed, ""));
        answer.delay_ms = seconds.parse::<u64>().unwrap() * 1000;
        rest = behind;
    }
    if rest == "close" {
        answer.status = None;
        return;
    }
    if let Some(behind) = rest.strip_prefix("cut ") {
        answer.cut = true;
        rest = behind;
    }
    let (status, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let status: u16 = status.parse().unwrap_or_else(|_| panic!("{at}: no status: {cell}"));
    if status < 200 {
        answer.interim.push((status, fields(rest, at)));
        return;
    }
    let (trailers, own) = fields(rest, at).into_iter().partition(|(name, _)| name.starts_with("% "));
    answer.status = Some(status);
    answer.fields = own;
    answer.trailers = trailers;
    for (name, _) in &mut answer.trailers {
        name.drain(..2);
    }
}

fn fields(text: &str, at: &str) -> Fields {
    let pieces = text.split(" & ").filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| {
            let (name, value) = piece.split_once(':').unwrap_or_else(|| panic!("{at}: no field: `{piece}`"));
            (name.to_owned(), value.trim_start().to_owned())
        })
        .collect()
}

fn expected(text: &str, at: &str) -> Expected {
    let mut pieces = text.split(" & ");
    let mut expected = Expected { outcome: Outcome::Hit, answer: None, status: None, checks: Vec::new() };
    for word in pieces.next().unwrap_or_default().split(' ') {
        match word {
            "hit" => expected.outcome = Outcome::Hit,
            "forwarded" => expected.outcome = Outcome::Forwarded,
            "validated" => expected.outcome = Outcome::Validated,
            "stale" => expected.outcome = Outcome::Stale,
            "refused" => expected.outcome = Outcome::Refused,
            _ => match word.strip_prefix('#') {
                Some(number) => expected.answer = Some(number.parse().unwrap()),
                None => {
                    let status = word.parse();
                    expected.status = Some(status.unwrap_or_else(|_| panic!("{at}: no outcome: `{word}`")));
                }
            },
        }
    }
    expected.checks = pieces.map(check).collect();
    expected
}

fn check(piece: &str) -> Check {
    if let Some(name) = piece.strip_prefix('-') {
        return Check::Absent(name.to_owned());
    }
    if let Some((name, part)) = piece.split_once(" ~ ") {
        return Check::Holds(name.to_owned(), part.to_owned());
    }
    match piece.split_once(": ") {
        None => Check::Present(piece.to_owned()),
        Some((name, value)) => match value.strip_suffix('~').and_then(|number| number.parse().ok()) {
            Some(number) => Check::About(name.to_owned(), number),
            None => Check::Is(name.to_owned(), value.to_owned()),
        },
    }
}

/// The row's expectations in words, for messages.
pub fn told(case: &Case) -> String {
    let mut text = format!("{} ({}, {}): {}", case.at, case.section, case.level.as_str(), case.title);
    if let Some(reason) = &case.deviates {
        let _ = write!(text, " [deviates: {reason}]");
    }
    text
}
