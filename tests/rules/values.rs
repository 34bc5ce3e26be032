//! What single functions make of single values, row by row: `RFC SECTION LEVEL | kind | value | result`, where
//! the result of a deviation on purpose stands in a fifth cell with its reason.

use gatewright::cache::{
    conditional, date,
    directives::{Delta, RequestDirectives, ResponseDirectives},
    range::{self, Wanted},
    targeted,
    vary::Vary,
};
use http::{HeaderMap, HeaderName, header};

/// A length for ranges.
const LENGTH: u64 = 10;

/// Tue, 14 Nov 2023 22:13:20 GMT.
const NOW_MS: u64 = 1_700_000_000_000;

pub struct Row {
    at: String,
    kind: String,
    value: String,
    expected: String,
}

pub fn rows() -> Vec<Row> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules/values");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut rows = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        for (index, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let cells: Vec<&str> = line.split(" | ").map(str::trim).collect();
            let [place, kind, value, expected] = cells[..] else {
                panic!("{name}:{}: four cells", index + 1)
            };
            let words = place.split(' ').count();
            assert!(words == 3, "{name}:{}: a row begins with RFC, section and level", index + 1);
            let at = format!("{name}:{} ({place})", index + 1);
            rows.push(Row { at, kind: kind.into(), value: value.into(), expected: expected.into() });
        }
    }
    rows
}

#[test]
fn every_value_is_read_as_its_row_says() {
    let mut faults = String::new();
    for Row { at, kind, value, expected } in rows() {
        let found = read(&kind, &value);
        if found != expected {
            faults += &format!("{at}: {kind} `{value}`: {found}, not {expected}\n");
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

fn read(kind: &str, value: &str) -> String {
    match kind {
        "date" => date::parse_ms(value.as_bytes(), NOW_MS)
            .map_or_else(|| "no date".to_owned(), |ms| (ms / 1000).to_string()),
        "seconds" => match Delta::parse(Some(value.as_bytes())) {
            Delta::Seconds(seconds) => seconds.to_string(),
            Delta::Invalid | Delta::Absent => "invalid".to_owned(),
        },
        "range" => match range::wanted(&one(&header::RANGE, value), &HeaderMap::new(), LENGTH, NOW_MS) {
            Wanted::Whole => "whole".to_owned(),
            Wanted::Unsatisfiable => "unsatisfiable".to_owned(),
            Wanted::Part(start, end) => format!("{start}-{}", end - 1),
        },
        "entity tag" => {
            let (list, stored) = value.split_once(" to ").unwrap();
            let stored = one(&header::ETAG, stored);
            said(conditional::not_modified(&one(&header::IF_NONE_MATCH, list), &stored, NOW_MS), "match")
        }
        "304" => {
            let (new, stored) = value.split_once(" to ").unwrap();
            said(conditional::same_representation(&fields(stored), &fields(new)), "the same")
        }
        "targeted" => {
            let name = HeaderName::from_static("cdn-cache-control");
            match targeted::parse(&one(&name, value), &[name]) {
                None => "ignored".to_owned(),
                Some(found) => directives(&found),
            }
        }
        "response" => directives(&ResponseDirectives::parse(&one(&header::CACHE_CONTROL, value))),
        "request" => asked(&RequestDirectives::parse(&one(&header::CACHE_CONTROL, value))),
        "vary" => {
            let (name, values) = value.split_once(": ").unwrap();
            let (first, second) = values.split_once(" to ").unwrap();
            let name = HeaderName::try_from(name).unwrap();
            let response = one(&header::VARY, name.as_str());
            let key = Vary::of(&response, &lines(&name, first)).unwrap();
            said(key.matches(&lines(&name, second)), "the same")
        }
        other => panic!("no kind: {other}"),
    }
}

fn said(yes: bool, word: &str) -> String {
    if yes { word.to_owned() } else { format!("not {word}") }
}

fn one(name: &HeaderName, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(name.clone(), value.parse().unwrap())])
}

/// Lines of one field: `a // b`; `none` for no line at all.
fn lines(name: &HeaderName, values: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values.split(" // ").filter(|value| *value != "none") {
        headers.append(name, value.parse().unwrap());
    }
    headers
}

/// `etag: "a" & last-modified: …`, or nothing.
fn fields(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for piece in text.split(" & ").filter(|piece| *piece != "nothing") {
        let (name, value) = piece.split_once(": ").unwrap();
        headers.append(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
    }
    headers
}

fn directives(found: &ResponseDirectives) -> String {
    let mut words = Vec::new();
    let flags = [
        ("no-store", found.no_store),
        ("no-cache", found.no_cache),
        ("private", found.private),
        ("public", found.public),
        ("must-revalidate", found.must_revalidate),
        ("proxy-revalidate", found.proxy_revalidate),
        ("must-understand", found.must_understand),
    ];
    words.extend(flags.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).to_owned()));
    let numbers = [
        ("max-age", found.max_age),
        ("s-maxage", found.s_maxage),
        ("stale-while-revalidate", found.stale_while_revalidate),
        ("stale-if-error", found.stale_if_error),
    ];
    for (name, delta) in numbers {
        match delta {
            Delta::Absent => {}
            Delta::Invalid => words.push(format!("{name}=invalid")),
            Delta::Seconds(seconds) => words.push(format!("{name}={seconds}")),
        }
    }
    words.extend(found.named_fields.iter().map(|name| format!("without {name}")));
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

fn asked(found: &RequestDirectives) -> String {
    use gatewright::cache::directives::MaxStale;
    let mut words = Vec::new();
    let flags = [
        ("no-store", found.no_store),
        ("no-cache", found.no_cache),
        ("only-if-cached", found.only_if_cached),
    ];
    words.extend(flags.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).to_owned()));
    let numbers = [
        ("max-age", found.max_age),
        ("min-fresh", found.min_fresh),
        ("stale-if-error", found.stale_if_error),
    ];
    words.extend(numbers.iter().filter_map(|(name, number)| number.map(|number| format!("{name}={number}"))));
    match found.max_stale {
        MaxStale::Not => {}
        MaxStale::Any => words.push("max-stale".to_owned()),
        MaxStale::Seconds(seconds) => words.push(format!("max-stale={seconds}")),
    }
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}
