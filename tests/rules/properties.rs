//! What holds for every field and every number, on made-up ones.

#[path = "../../fuzz/checks.rs"]
mod checks;

use gatewright::cache::{RouteCacheOptions, control::Policy};
use proptest::prelude::*;

/// What fields are made of: words that mean something, and what stands between them.
const PIECES: &[&str] = &[
    "max-age=",
    "s-maxage=",
    "no-cache",
    "no-store",
    "private",
    "public",
    "must-revalidate",
    "must-understand",
    "stale-while-revalidate=",
    "stale-if-error=",
    "max-stale",
    "min-fresh=",
    "=\"",
    "\"",
    "\\",
    ",",
    ";",
    " ",
    "=",
    "*",
    "W/",
    "0",
    "60",
    "-1",
    "99999999999999999999",
    "1.5",
    "bytes=",
    "-",
    "(",
    ")",
    "?0",
    "?1",
    ":",
    "\0",
    "\n",
    "a",
    "x-a",
    "accept-encoding",
    "\"a\"",
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
    "Cache-Control: ",
    "Expires: ",
    "Date: ",
    "Age: ",
    "Last-Modified: ",
    "ETag: ",
    "Vary: ",
    "Connection: ",
    "Set-Cookie: ",
    "Surrogate-Control: ",
    "CDN-Cache-Control: ",
    "Content-Length: ",
];

fn fields() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Times that may be anything, but often are near one another.
fn numbers() -> impl Strategy<Value = Vec<u8>> {
    let time = prop_oneof![any::<u64>(), 1_699_999_990_000..1_700_000_010_000u64, Just(0), Just(u64::MAX)];
    prop::collection::vec(time, 3)
        .prop_map(|times| times.iter().flat_map(|time| time.to_le_bytes()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_check_holds_for_made_up_fields(bytes in fields()) {
        for (_, check) in checks::ALL {
            check(&bytes);
        }
    }

    #[test]
    fn no_times_and_fields_make_the_arithmetic_wrong(times in numbers(), rest in fields()) {
        checks::storing(&[times, rest].concat());
    }

    #[test]
    fn no_numbers_make_the_arithmetic_wrong(
        received_ms in any::<u64>(),
        initial_age_ms in any::<u64>(),
        lifetime_ms in any::<u64>(),
        revalidate_ms in any::<u64>(),
        error_ms in any::<u64>(),
        flags in any::<[bool; 3]>(),
        grace_ms in any::<u64>(),
        busting_floor_ms in any::<u64>(),
        now_ms in any::<u64>(),
    ) {
        let [always_validate, never_stale, shareable] = flags;
        let policy = Policy {
            received_ms, initial_age_ms, lifetime_ms, revalidate_ms, error_ms, always_validate, never_stale, shareable,
        };
        let options = RouteCacheOptions { grace_ms, busting_floor_ms, ..RouteCacheOptions::default() };
        checks::aging(&policy, &options, now_ms);
    }
}

#[test]
fn every_check_has_its_fuzz_target() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut targets: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let mut checks: Vec<&str> = checks::ALL.iter().map(|(name, _)| *name).collect();
    targets.sort();
    checks.sort_unstable();
    assert_eq!(targets, checks);
}
