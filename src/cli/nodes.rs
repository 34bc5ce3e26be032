//! Other nodes, as the admin API, the start-up page and the metrics tell of them.

use std::{sync::Arc, time::Duration};

use tokio::runtime::Handle;

use super::engine::Engine;
use crate::{
    admin,
    cache::{Nodes, Progress, Purged, Reach, Spread, incomplete},
    gateway::Live,
    shared::{State, Status},
};

/// How long the start waits for Redis, and then for what other nodes purged meanwhile.
const MEET_WITHIN: Duration = Duration::from_secs(2);
const FOLLOW_WITHIN: Duration = Duration::from_secs(10);

/// How long the end waits for Redis to take what others do not know yet.
const TELL_WITHIN: Duration = Duration::from_millis(500);

/// Carries out what other nodes purged while this one was away, before anything stored is served. Redis may be
/// away for long: then what is stored counts as stale, and purges are carried out when it is back. What the
/// start-up page says of it.
pub async fn meet(live: &Live) -> Option<String> {
    let nodes = live.nodes.as_ref();
    let settled = match nodes {
        // Without anything stored there is nothing to wait for.
        Some(nodes) if nodes.has_old() => nodes.settled(MEET_WITHIN, FOLLOW_WITHIN).await,
        Some(nodes) => nodes.settled(Duration::from_millis(500), Duration::from_millis(500)).await,
        None => false,
    };
    let status = live.redis.status();
    let server = &status.server;
    let mut stale = "";
    if let Some(nodes) = nodes
        && !settled
        && status.state != State::Off
        && nodes.has_old()
    {
        tracing::warn!(
            %server,
            "what other nodes purged while this one was away is not known yet: all that is stored counts as stale"
        );
        nodes.doubt().await;
        stale = "; what is stored counts as stale";
    }
    match status.state {
        State::Off => None,
        State::Up if settled => Some(format!("{server} (purges reach every node)")),
        State::Up | State::Connecting => Some(format!("{server} (connecting{stale})")),
        State::Down => {
            Some(format!("{server} is away: {}; a purge reaches this node alone{stale}", status.why))
        }
    }
}

/// Tells other nodes what they do not know yet, at the end.
pub fn part(live: &Live, runtime: &Handle) {
    if let Some(nodes) = &live.nodes {
        runtime.block_on(nodes.close(TELL_WITHIN));
    }
}

/// What a purge did, in the form of the admin API.
pub fn purged(spread: Spread) -> admin::Purged {
    let (reach, sequence, why) = match spread.reach {
        Reach::Alone => (admin::Reach::Alone, None, None),
        Reach::Everywhere(sequence) => (admin::Reach::Everywhere, Some(sequence), None),
        Reach::HereOnly(why) => (admin::Reach::HereOnly, None, Some(incomplete(&why))),
    };
    let Purged { responses, all_counted } = spread.purged;
    admin::Purged { answers: responses, all_counted, reach, sequence, why }
}

/// What `/redis` answers.
pub fn state(live: &Live) -> admin::RedisState {
    let status = live.redis.status();
    let given = |text: String| (!text.is_empty()).then_some(text);
    let purges = live.nodes.as_ref().filter(|_| status.state != State::Off).map(|nodes| {
        let progress = nodes.progress();
        admin::PurgeLog {
            sequence: progress.sequence,
            lag: progress.lag(),
            applied: progress.applied,
            changed: progress.changed,
            unspread: progress.unspread,
            waiting: progress.waiting,
            missed: progress.missed,
            doubted: progress.doubted,
            problem: given(progress.problem),
        }
    });
    admin::RedisState {
        state: match status.state {
            State::Off => admin::RedisStatus::Off,
            State::Connecting => admin::RedisStatus::Connecting,
            State::Up => admin::RedisStatus::Up,
            State::Down => admin::RedisStatus::Down,
        },
        server: given(status.server),
        since_ms: status.since_ms,
        why: given(status.why),
        connects: status.connects,
        failures: status.failures,
        purges,
    }
}

/// Registers what the metrics tell. The gauges are there while a Redis is configured.
pub fn watch(engine: &Arc<Engine>) {
    let metrics = &engine.live.telemetry.metrics;
    let gauge = |name, help, read: fn(&Live, &Status) -> Option<f64>| {
        let live = Arc::clone(&engine.live);
        metrics.gauges_fn(name, help, "server", move || {
            let status = live.redis.status();
            let value = (status.state != State::Off).then(|| read(&live, &status)).flatten();
            value.map(|value| (status.server, value)).into_iter().collect()
        });
    };
    gauge("redis_up", "Whether Redis is connected", |_, status| {
        Some(f64::from(u8::from(status.state == State::Up)))
    });
    gauge("purge_log_sequence", "Number of the last purge of the shared log that holds here", |live, _| {
        live.nodes.as_ref()?.progress().sequence.map(|sequence| sequence as f64)
    });
    gauge("purges_waiting", "Purges and changed paths that wait here until Redis takes them", |live, _| {
        live.nodes.as_ref().map(|nodes| nodes.progress().waiting as f64)
    });
    gauge("purge_log_lag", "Purges of the shared log that do not hold here yet, as last seen", |live, _| {
        live.nodes.as_ref()?.progress().lag().map(|lag| lag as f64)
    });
    let counter = |name, help, read: fn(&Live) -> u64| {
        let live = Arc::clone(&engine.live);
        metrics.counter_fn(name, help, move || read(&live));
    };
    counter("redis_connects", "Connections made to Redis", |live| live.redis.status().connects);
    counter("redis_failures", "Connections to Redis that failed or ended", |live| {
        live.redis.status().failures
    });
    counter("purges_applied", "Purges of other nodes carried out here", |live| progress(live).applied);
    counter("paths_changed", "Paths that unsafe methods changed on other nodes", |live| {
        progress(live).changed
    });
    counter("purges_unspread", "Purges made here that Redis did not take at once", |live| {
        progress(live).unspread
    });
    counter("purges_missed", "Times that all was purged since purges were missed", |live| {
        progress(live).missed
    });
    counter("purges_doubted", "Times that all was made stale since it was unknown what was missed", |live| {
        progress(live).doubted
    });
}

fn progress(live: &Live) -> Progress {
    live.nodes.as_ref().map(Nodes::progress).unwrap_or_default()
}
