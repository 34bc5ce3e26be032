//! Dates of HTTP as a cache reads them (RFC 9110, 5.6.7; RFC 9111, 4.2). Pure.
//!
//! All three forms are read, letters in either case (RFC 9111, 4.2). What stands in the place of the day's
//! name has to be one, but not the right one: the date counts. Any zone but GMT makes it no date.

use http::HeaderValue;

const MONTHS: [&[u8]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];

const DAYS: [&[u8]; 7] =
    [b"monday", b"tuesday", b"wednesday", b"thursday", b"friday", b"saturday", b"sunday"];

/// The last second that four digits of a year can name.
const LAST_MS: u64 = 253_402_300_799_000;

/// Milliseconds since the epoch, or nothing where `value` is no date. One before the epoch is zero, which is
/// as much in the past. `now_ms` tells which century the two digits of RFC 850 mean.
#[must_use]
pub fn parse_ms(value: &[u8], now_ms: u64) -> Option<u64> {
    let mut text = Text(value);
    let long = text.day_name()?;
    let (year, month, day, seconds) = if !long && !text.eat(b",") {
        // asctime: `Sun Nov  6 08:49:37 1994`
        text.after(b" ")?;
        let month = text.month()?;
        text.after(b" ")?;
        let day = if text.eat(b" ") { text.digits(1)? } else { text.digits(2)? };
        text.after(b" ")?;
        let seconds = text.time()?;
        text.after(b" ")?;
        (text.digits(4)?, month, day, seconds)
    } else {
        if long {
            text.after(b",")?;
        }
        text.after(b" ")?;
        let between: &[u8] = if long { b"-" } else { b" " };
        let day = text.digits(2)?;
        text.after(between)?;
        let month = text.month()?;
        text.after(between)?;
        let year = if long { full_year(text.digits(2)?, now_ms) } else { text.digits(4)? };
        text.after(b" ")?;
        let seconds = text.time()?;
        text.after(b" gmt")?;
        (year, month, day, seconds)
    };
    let fits = text.0.is_empty() && day >= 1 && day <= days_of(year, month);
    fits.then(|| u64::try_from(days_since_epoch(year, month, day) * 86_400 + seconds).unwrap_or(0) * 1000)
}

/// A date in the preferred form; what lies behind the year 9999 is its last second.
#[must_use]
pub fn format(ms: u64) -> HeaderValue {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms.min(LAST_MS));
    HeaderValue::try_from(httpdate::fmt_http_date(time)).expect("invariant: an HTTP-date is ASCII")
}

/// The rest of a date that is being read.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    /// Takes `word` (in lower case) if the rest begins with it.
    fn eat(&mut self, word: &[u8]) -> bool {
        let found = self.0.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        if found {
            self.0 = &self.0[word.len()..];
        }
        found
    }

    fn after(&mut self, word: &[u8]) -> Option<()> {
        self.eat(word).then_some(())
    }

    /// Whether the name of a day is the long one of RFC 850.
    fn day_name(&mut self) -> Option<bool> {
        if DAYS.iter().any(|name| self.eat(name)) {
            return Some(true);
        }
        DAYS.iter().any(|name| self.eat(&name[..3])).then_some(false)
    }

    /// From 1.
    fn month(&mut self) -> Option<i64> {
        MONTHS.iter().position(|name| self.eat(name)).map(|at| at as i64 + 1)
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        let add = |sum: i64, d: &u8| sum * 10 + i64::from(d - b'0');
        digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, add))
    }

    /// `08:49:37` in seconds; a leap second is one.
    fn time(&mut self) -> Option<i64> {
        let hour = self.digits(2)?;
        self.after(b":")?;
        let minute = self.digits(2)?;
        self.after(b":")?;
        let second = self.digits(2)?;
        (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
    }
}

/// The year that two digits mean: not more than 50 years ahead (RFC 9110, 5.6.7).
fn full_year(two: i64, now_ms: u64) -> i64 {
    // Its error of days at a turn of the year does not matter in 50 years.
    let now = 1970 + i64::try_from(now_ms / 1000 / 31_556_952).unwrap_or(0).min(8029);
    let year = now - now.rem_euclid(100) + two;
    match year - now {
        51.. => year - 100,
        // The last century's year may lie within the next 50.
        ..-49 => year + 100,
        _ => year,
    }
}

fn days_of(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar. Years are counted from March, so that the leap
/// day is the last of its year.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000; // 2023

    #[test]
    fn two_digits_mean_a_year_not_more_than_fifty_ahead() {
        for (two, expected) in [(23, 2023), (73, 2073), (74, 1974), (94, 1994), (0, 2000), (99, 1999)] {
            assert_eq!(full_year(two, NOW), expected, "{two}");
        }
        let in_2080 = (2080 - 1970) * 31_556_952_000 + 1_000_000_000;
        for (two, expected) in [(80, 2080), (5, 2105), (30, 2130), (31, 2031), (79, 2079)] {
            assert_eq!(full_year(two, in_2080), expected, "{two}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_second_is_written_and_read_alike(second in 0..=LAST_MS / 1000) {
            let text = format(second * 1000);
            proptest::prop_assert_eq!(parse_ms(text.as_bytes(), NOW), Some(second * 1000));
        }

        #[test]
        fn no_text_makes_it_fail(text in "(?s).{0,40}", now in 0..u64::MAX) {
            let _ = parse_ms(text.as_bytes(), now);
            let _ = format(now);
        }

        #[test]
        fn nothing_that_looks_like_a_date_makes_it_fail(
            text in "(Sun|Sunday),? [0-9]{2}[- ]Nov[- ]([0-9]{2}|[0-9]{4}) [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
            now in 0..u64::MAX,
        ) {
            let _ = parse_ms(text.as_bytes(), now);
        }
    }
}
