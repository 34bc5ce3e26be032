//! What the cache is and holds, in words and tables for people.

use std::fmt::Write;

use crate::admin::{CacheState, DiskTier, RedisState, RedisStatus, Stored, Variant};

/// The head of the list.
pub const LIST_HEAD: &str = "STATUS       AGE       TTL        SIZE  TIER    ADDRESS  (TAGS)\n";

/// How the cache is.
pub fn stats(state: &CacheState) -> String {
    if !state.enabled {
        return "the cache is off\n".to_owned();
    }
    let (memory, disk, lookups) = (&state.memory, &state.disk, &state.lookups);
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:10} {value}");
    };
    let ratio =
        lookups.hit_ratio.map_or("nothing was looked up yet".to_owned(), |r| format!("{:.1} %", r * 100.0));
    line("hit ratio", ratio);
    line(
        "look-ups",
        format!(
            "{} from memory, {} from disk, {} stale, {} misses; {} went past the cache",
            count(lookups.hits_memory),
            count(lookups.hits_disk),
            count(lookups.stale),
            count(lookups.misses),
            count(lookups.bypasses),
        ),
    );
    line(
        "memory",
        format!(
            "{}, {} addresses, {} evicted",
            share(memory.bytes, memory.max_bytes),
            count(memory.entries),
            count(memory.evictions)
        ),
    );
    line("disk", disk_line(disk));
    line(
        "stores",
        format!(
            "{} stored, {} renewed, {} given up",
            count(state.stores.stored),
            count(state.stores.refreshed),
            count(state.stores.abandoned)
        ),
    );
    let purges = &state.purges;
    line(
        "purges",
        format!(
            "{} hard, {} soft, {} answers touched, {} unconfirmed; {} paths changed by unsafe methods",
            count(purges.hard),
            count(purges.soft),
            count(purges.answers),
            count(purges.unconfirmed),
            count(purges.invalidations)
        ),
    );
    line(
        "errors",
        format!(
            "{} of the disk, {} damaged, {} writes skipped, {} reads late",
            count(disk.errors),
            count(disk.damaged),
            count(disk.writes_skipped),
            count(disk.reads_late)
        ),
    );
    text.push_str("           counted since the gateway started\n");
    text
}

/// How it stands with other nodes; nothing where no Redis is shared.
pub fn redis(redis: &RedisState) -> String {
    let state = match redis.state {
        RedisStatus::Off => return String::new(),
        RedisStatus::Connecting => "connecting",
        RedisStatus::Up => "up",
        RedisStatus::Down => "AWAY",
    };
    let mut text = format!("redis      {}, {state}", plain(redis.server.as_deref().unwrap_or_default()));
    let problem = redis.purges.as_ref().and_then(|purges| purges.problem.as_ref());
    for why in redis.why.iter().chain(problem) {
        let _ = write!(text, " ({})", plain(why));
    }
    if let Some(purges) = &redis.purges {
        if let (Some(sequence), Some(lag)) = (purges.sequence, purges.lag) {
            let _ = write!(
                text,
                "; {} of {} in the nodes' log holds here",
                count(sequence),
                count(sequence + lag)
            );
        }
        if purges.waiting > 0 {
            let _ = write!(text, "; {} wait here to be told to others", count(purges.waiting));
        }
    }
    text + "\n"
}

fn disk_line(disk: &DiskTier) -> String {
    if disk.max_bytes == 0 {
        return "none: everything is in memory alone".to_owned();
    }
    let size = format!(
        "{}, {} answers, {} old halves dropped",
        share(disk.bytes, disk.max_bytes),
        count(disk.entries),
        count(disk.generations_dropped)
    );
    if disk.working { size } else { format!("NOT WORKING: {}; {size}", plain(&disk.problem)) }
}

/// One line of the list.
pub fn line(answer: &Stored) -> String {
    let tier = match (answer.in_memory, answer.on_disk) {
        (true, true) => "both",
        (true, false) => "memory",
        _ => "disk",
    };
    let mut line = format!(
        "{:<6} {:>9} {:>9} {:>11}  {tier:7} {}",
        answer.status,
        span(i64::try_from(answer.age_seconds).unwrap_or(i64::MAX)),
        span(answer.ttl_seconds),
        bytes(answer.bytes),
        plain(&answer.url),
    );
    if answer.incomplete {
        line.push_str("  [in part]");
    }
    if answer.private {
        line.push_str("  [one principal's]");
    }
    if !answer.tags.is_empty() {
        let _ = write!(line, "  ({})", plain(&answer.tags.join(", ")));
    }
    line + "\n"
}

/// All that is stored for an address.
pub fn variants(url: &str, variants: &[Variant]) -> String {
    if variants.is_empty() {
        return format!("nothing is stored for {}\n", plain(url));
    }
    variants.iter().map(variant).collect::<Vec<_>>().join("\n")
}

fn variant(variant: &Variant) -> String {
    let answer = &variant.answer;
    let mut text = format!("{}\n", plain(&answer.url));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:11} {value}");
    };
    line("verdict", plain(&variant.verdict));
    let tiers = match (answer.in_memory, answer.on_disk) {
        (true, true) => "in memory and on disk",
        (true, false) => "in memory",
        _ => "on disk",
    };
    let parts = if answer.incomplete { "parts of " } else { "" };
    line("answer", format!("{}, {parts}{}, {tiers}", answer.status, bytes(answer.bytes)));
    match (&answer.api, &answer.operation) {
        (Some(api), Some(operation)) => line("operation", format!("{} of {}", plain(operation), plain(api))),
        _ => line("operation", "none of the present configuration".to_owned()),
    }
    line("for", readers(variant));
    if !variant.vary.is_empty() {
        let field = |(name, value): &(String, Option<String>)| match value {
            Some(value) => format!("{name}: {}", plain(value)),
            None => format!("no {name}"),
        };
        line("asked with", variant.vary.iter().map(field).collect::<Vec<_>>().join("; "));
    }
    let (here, before) =
        (answer.age_seconds.saturating_sub(variant.initial_age_ms / 1000), variant.initial_age_ms / 1000);
    line("age", format!("{} s = {before} s when it came + {here} s here", answer.age_seconds));
    line("freshness", freshness(variant));
    line("stale use", stale_use(variant));
    if !answer.tags.is_empty() {
        line("tags", plain(&answer.tags.join(", ")));
    }
    text.push_str("  head\n");
    for (name, value) in &variant.head {
        let _ = writeln!(text, "    {name}: {}", plain(value));
    }
    text
}

fn readers(variant: &Variant) -> String {
    match (variant.answer.private, variant.shareable) {
        (true, _) => "one principal",
        (false, true) => "everyone, with credentials or without",
        (false, false) => "callers without credentials, unless the route is shared",
    }
    .to_owned()
}

fn freshness(variant: &Variant) -> String {
    let (ttl, life) = (variant.answer.ttl_seconds, variant.lifetime_ms / 1000);
    if variant.always_validate {
        return "none: `no-cache`".to_owned();
    }
    match ttl {
        0.. => format!("{life} s of life - {} s of age = {ttl} s left", variant.answer.age_seconds),
        _ => format!("{life} s of life - {} s of age: over since {} s", variant.answer.age_seconds, -ttl),
    }
}

fn stale_use(variant: &Variant) -> String {
    if variant.never_stale {
        return "never: the upstream forbids it (`must-revalidate`, `proxy-revalidate` or `s-maxage`)"
            .to_owned();
    }
    format!(
        "{} s while it is renewed, {} s where the upstream fails",
        variant.stale_while_revalidate_ms / 1000,
        variant.stale_if_error_ms / 1000
    )
}

/// `1.2 MiB of 64.0 MiB (2 %)`.
fn share(part: u64, whole: u64) -> String {
    let percent = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    format!("{} of {} ({percent:.0} %)", bytes(part), bytes(whole))
}

/// `1,234,567`.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `512 B`, `1.2 KiB`.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be shown as 1024.0 is one of the next unit.
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// `48s`, `5m12s`, `3h05m`, `2d04h`; with a minus when it is over.
fn span(seconds: i64) -> String {
    let (sign, s) = (if seconds < 0 { "-" } else { "" }, seconds.unsigned_abs());
    match s {
        0..60 => format!("{sign}{s}s"),
        60..3600 => format!("{sign}{}m{:02}s", s / 60, s % 60),
        3600..86_400 => format!("{sign}{}h{:02}m", s / 3600, s / 60 % 60),
        _ => format!("{sign}{}d{:02}h", s / 86_400, s / 3600 % 24),
    }
}

/// Without characters that a terminal would obey: most of this text is the upstream's or a caller's.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Stored {
        Stored {
            url: "http://a.test/pets?limit=2".into(),
            status: 200,
            age_seconds: 75,
            ttl_seconds: -15,
            bytes: 1300,
            incomplete: false,
            in_memory: true,
            on_disk: true,
            private: true,
            api: Some("pets".into()),
            operation: Some("listPets".into()),
            tags: vec!["pets".into(), "p\u{9b}31m".into()],
        }
    }

    #[test]
    fn numbers_have_units_that_fit() {
        assert_eq!(
            [0, 1023, 1024, 1_048_575, 1 << 30].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "1.0 GiB"]
        );
        assert_eq!([0, 59, 60, 3_661, 90_000, -5].map(span), ["0s", "59s", "1m00s", "1h01m", "1d01h", "-5s"]);
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(share(512, 1024), "512 B of 1.0 KiB (50 %)");
        assert_eq!(share(0, 0), "0 B of 0 B (0 %)");
    }

    #[test]
    fn a_line_says_all_and_nothing_in_it_moves_the_terminal() {
        let line = line(&stored());
        assert_eq!(
            line,
            "200        1m15s      -15s     1.3 KiB  both    http://a.test/pets?limit=2  [one principal's]  (pets, p\u{fffd}31m)\n"
        );
        assert_eq!(LIST_HEAD.find("ADDRESS"), line.find("http"));
    }

    #[test]
    fn a_variant_is_told_in_words() {
        let variant = Variant {
            answer: stored(),
            vary: vec![("accept-encoding".into(), Some("gzip".into())), ("x".into(), None)],
            received_ms: 0,
            initial_age_ms: 5_000,
            lifetime_ms: 60_000,
            stale_while_revalidate_ms: 30_000,
            stale_if_error_ms: 0,
            always_validate: false,
            never_stale: false,
            shareable: false,
            verdict: "is served stale".into(),
            head: vec![("etag".into(), "\"a\"".into())],
        };
        let text = variants("/pets", std::slice::from_ref(&variant));
        for words in [
            "verdict     is served stale\n",
            "operation   listPets of pets\n",
            "for         one principal\n",
            "asked with  accept-encoding: gzip; no x\n",
            "age         75 s = 5 s when it came + 70 s here\n",
            "freshness   60 s of life - 75 s of age: over since 15 s\n",
            "stale use   30 s while it is renewed, 0 s where the upstream fails\n",
            "    etag: \"a\"\n",
        ] {
            assert!(text.contains(words), "no {words:?} in\n{text}");
        }
        assert!(stale_use(&Variant { never_stale: true, ..variant }).contains("never"));
        assert_eq!(variants("/none", &[]), "nothing is stored for /none\n");
    }

    #[test]
    fn a_tier_that_does_not_work_says_why() {
        let disk = DiskTier { problem: "no space left".into(), max_bytes: 1, ..DiskTier::default() };
        let state = CacheState { enabled: true, disk, ..CacheState::default() };
        assert!(stats(&state).contains("NOT WORKING: no space left"));
        assert_eq!(stats(&CacheState::default()), "the cache is off\n");
    }
}
