//! Other nodes, as the admin API, the start-up page and the metrics tell of them.

use std::{sync::Arc, time::Duration};

use super::engine::Engine;
use crate::{
    admin,
    cache::{Nodes, Progress, Purge, Reach},
    diagnostic::{Diagnostic, codes},
    gateway::Live,
    shared::{State, Status},
};

/// How long the start waits for Redis and for what other nodes purged meanwhile.
const MEET_WITHIN: Duration = Duration::from_secs(2);

/// Carries out what other nodes purged while this one was away, before anything stored is served. Redis may be
/// away for long: then it is done when it is back. What the start-up page says of it.
pub async fn meet(live: &Live) -> Option<String> {
    let settled = match &live.nodes {
        Some(nodes) => nodes.settled(MEET_WITHIN).await,
        None => false,
    };
    let status = live.redis.status();
    let server = &status.server;
    match status.state {
        State::Off => None,
        State::Up if settled => Some(format!("{server} (purges reach every node)")),
        State::Up | State::Connecting => Some(format!("{server} (connecting)")),
        State::Down => Some(format!("{server} is away: {}; a purge reaches this node alone", status.why)),
    }
}

/// Purges here and on all other nodes; the first that reaches none of them is told of.
pub async fn purge(nodes: &Nodes, purges: Vec<Purge>) -> Result<admin::Purged, Diagnostic> {
    let mut sum = admin::Purged { entries: 0, reach: admin::Reach::Alone, sequence: None, why: None };
    for purge in purges {
        let spread = nodes.purge(purge).await;
        let spread = spread.map_err(|error| Diagnostic::error(codes::STATE_UNUSABLE, error.to_string()))?;
        sum.entries += spread.purged.memory;
        match spread.reach {
            Reach::HereOnly(why) => {
                sum.why.get_or_insert(why);
            }
            Reach::Everywhere(sequence) => sum.sequence = Some(sequence),
            Reach::Alone => {}
        }
    }
    sum.reach = match (&sum.why, sum.sequence) {
        (Some(_), _) => admin::Reach::HereOnly,
        (None, Some(_)) => admin::Reach::Everywhere,
        (None, None) => admin::Reach::Alone,
    };
    Ok(sum)
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
            unspread: progress.unspread,
            missed: progress.missed,
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
    gauge("purge_log_lag", "Purges of the shared log that do not hold here yet, as last seen", |live, _| {
        live.nodes.as_ref()?.progress().lag().map(|lag| lag as f64)
    });
    let counter = |name, help, read: fn(&Live) -> u64| {
        let live = Arc::clone(&engine.live);
        metrics.counter_fn(name, help, move || read(&live));
    };
    counter("redis_connects", "Connections made to Redis", |live| live.redis.status().connects);
    counter("redis_failures", "Connections to Redis that failed or ended", |live| live.redis.status().failures);
    counter("purges_applied", "Purges of other nodes carried out here", |live| progress(live).applied);
    counter("purges_unspread", "Purges made here that reached no other node", |live| progress(live).unspread);
    counter("purges_missed", "Times that all was purged since purges were missed", |live| progress(live).missed);
}

fn progress(live: &Live) -> Progress {
    live.nodes.as_ref().map(Nodes::progress).unwrap_or_default()
}
