//! Reading the log and carrying out what others wrote.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{runtime::Handle, time::timeout};

use super::{Inner, lock, message};
use crate::{
    cache::{Purge, PurgeError, Purged},
    shared::{Away, Entry, Position, Read, State},
};

/// How often the log is looked at without news: a message on a channel can be lost.
const LOOK: Duration = Duration::from_secs(1);

/// How long the disk is waited for before the start, and later on.
const FIRST: Duration = Duration::from_secs(2);
const LATER: Duration = Duration::from_millis(200);

/// Who missed more than this purges everything: it is one look through what is stored instead of so many.
const MAX_MISSED: u64 = 1000;

/// Follows the log as long as the process runs.
pub(super) async fn follow(inner: Arc<Inner>) {
    let mut news = inner.log.news();
    loop {
        news.mark_unchanged();
        if inner.log.status().state == State::Up {
            match inner.catch_up().await {
                Ok(()) => inner.works(),
                Err(why) => inner.fails(&why),
            }
        }
        // While there is no connection, its return is news.
        let _ = timeout(LOOK, news.changed()).await;
    }
}

impl Inner {
    /// Carries out all that is in the log and was not yet.
    async fn catch_up(&self) -> Result<(), Away> {
        let everything = message::write(&Purge::everything());
        // What the log took by now, it must show by its end.
        let taken: Vec<String> =
            lock(&self.own).iter().filter(|own| own.taken).map(|own| own.mark.clone()).collect();
        loop {
            let position = lock(&self.position).clone();
            let read = self.log.read(position.as_ref(), &everything).await?;
            let (Read::Next { tail, .. } | Read::Lost { tail, .. }) = &read;
            self.tail.store(tail.sequence, Ordering::Relaxed);
            match read {
                Read::Lost { why, tail } => self.lose(position.is_some(), why, tail, &taken).await,
                Read::Next { entries, tail } => {
                    let read_last = position.map_or(0, |position| position.sequence);
                    let missed = tail.sequence.saturating_sub(read_last);
                    let Some(last) = entries.last() else { return self.write_again(&taken).await };
                    if missed > MAX_MISSED {
                        let why = "more was missed than is carried out one by one";
                        self.lose(true, why, tail, &taken).await;
                    } else {
                        let last = last.position.clone();
                        self.carry_out(entries).await;
                        self.reached(last);
                    }
                }
            }
        }
    }

    /// Writes own messages again that the log took and does not have: Redis crashed before anyone read them.
    async fn write_again(&self, taken: &[String]) -> Result<(), Away> {
        for mark in taken {
            let lost = lock(&self.own).iter().find(|own| own.mark == *mark).cloned();
            let Some(lost) = lost else { continue };
            tracing::warn!("Redis lost a purge that it had taken: it is passed on again");
            self.append(lost.message, lost.held).await?;
            lock(&self.own).retain(|own| own.mark != *mark);
        }
        Ok(())
    }

    /// Carries out what other nodes wrote. Memory follows in their order; the disk confirms them together.
    async fn carry_out(&self, entries: Vec<Entry>) {
        let foreign = entries.into_iter().filter(|e| !e.message.is_empty() && !self.is_held(&e.position));
        let mut purges = Vec::new();
        for entry in foreign {
            let asked = message::read(&entry.message);
            if !asked.understood {
                let (sequence, purge) = (entry.position.sequence, &asked.purge);
                tracing::warn!(
                    sequence,
                    "another node's purge is not understood, it may be newer: {} is purged",
                    purge.host.as_ref().map_or("everything".to_owned(), |host| format!("all of `{host}`"))
                );
            }
            purges.push(asked.purge);
        }
        self.applied.fetch_add(purges.len() as u64, Ordering::Relaxed);
        self.purge_all(purges).await;
    }

    /// Purges everything, for nobody knows what was missed.
    async fn lose(&self, known: bool, why: &str, tail: Position, taken: &[String]) {
        self.missed.fetch_add(1, Ordering::Relaxed);
        if known {
            tracing::warn!("purges of other nodes were missed, so everything is purged: {why}");
        } else {
            tracing::info!("this node is new to the purges of others: everything is purged once");
        }
        self.purge_all(vec![Purge::everything()]).await;
        // They are not looked for behind the new position.
        lock(&self.own).retain(|own| !taken.contains(&own.mark));
        self.reached(tail);
    }

    /// Remembers how far this node is. The cache writes it down when all that was purged until now is durable.
    fn reached(&self, position: Position) {
        self.cache.set_bookmark(position.to_string());
        *lock(&self.position) = Some(position);
    }

    fn works(&self) {
        lock(&self.problem).clear();
        self.settled.send_replace(true);
    }

    fn fails(&self, why: &Away) {
        let mut problem = lock(&self.problem);
        // A fault that lasts is told once, one of the connection by who keeps it.
        if *problem != why.0 && self.log.status().state == State::Up {
            tracing::warn!("the purges of other nodes cannot be read: {why}");
        }
        problem.clone_from(&why.0);
    }

    /// Purges memory, and waits for the disk a while: one that does not confirm must not keep the next purges
    /// from memory.
    async fn purge_all(&self, purges: Vec<Purge>) {
        if purges.is_empty() {
            return;
        }
        // At first what lies on disk is all there is, and nothing is served yet.
        let patience = if *self.settled.borrow() { LATER } else { FIRST };
        let (cache, runtime) = (self.cache.clone(), Handle::current());
        let work = move || {
            let all = async move { join_all(purges.into_iter().map(|purge| cache.purge(purge))).await };
            let mut all = Box::pin(all);
            let done = runtime.block_on(async { timeout(patience, &mut all).await });
            match done {
                Ok(outcomes) => confirm(&outcomes),
                Err(_) => drop(runtime.spawn(async move { confirm(&all.await) })),
            }
        };
        // Looking through memory takes its time: not on a thread that others need.
        let _ = tokio::task::spawn_blocking(work).await;
    }
}

fn confirm(outcomes: &[Result<Purged, PurgeError>]) {
    if outcomes.iter().any(Result::is_err) {
        tracing::warn!("the disk did not confirm purges of other nodes in time; they wait to be written");
    }
}
