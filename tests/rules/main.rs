//! The rules of the cache, row by row: RFC 9111, 9110, 5861, 9211, 9213 and 9651 as tables.
//!
//! `tables/` holds conversations, run here under a clock of their own and between sockets by `tests/it`;
//! `values/` holds what single functions make of single values. What is expected comes from the RFC that the row
//! names; where the gateway does otherwise on purpose, the row says so.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod clock;
mod properties;
mod table;
mod values;

use std::fmt::Write;

/// How many rows there must be, of both kinds together.
const LEAST_ROWS: usize = 400;

#[test]
fn every_conversation_goes_as_its_row_says() {
    let mut faults = String::new();
    for case in table::read().iter().filter(|case| case.place != table::Place::Wire) {
        let fault = clock::run(case);
        match (&fault, &case.deviates) {
            (Some(fault), None) => {
                let _ = writeln!(faults, "{}\n    {fault}", table::told(case));
            }
            (None, Some(_)) => {
                let _ = writeln!(faults, "{}\n    goes by the RFC: take the reason out", table::told(case));
            }
            _ => {}
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

#[test]
fn there_are_enough_rows_and_each_names_its_section() {
    let cases = table::read();
    let rows = cases.len() + values::rows().len();
    assert!(rows >= LEAST_ROWS, "{rows} rows");
    let short = cases.iter().filter(|case| case.lasts_ms() <= 4_000).count();
    assert!(short * 10 > cases.len() * 8, "too few rows are short enough to run between sockets: {short}");
    let sections = cases.iter().map(|case| (&case.at, &case.section)).collect::<Vec<_>>();
    for (at, section) in sections {
        let (rfc, part) = section.split_once(' ').unwrap();
        assert!(["9111", "9110", "5861", "6585", "9211", "9213"].contains(&rfc), "{at}: RFC {rfc}");
        assert!(part.split('.').all(|number| number.parse::<u8>().is_ok()), "{at}: section {part}");
    }
    let mut titles: Vec<_> = cases.iter().map(|case| (&case.section, &case.title)).collect();
    titles.sort();
    let twice = titles.windows(2).find(|pair| pair[0] == pair[1]);
    assert!(twice.is_none(), "two rows alike: {twice:?}");
}
