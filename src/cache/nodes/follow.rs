//! Reading the log and carrying out what others wrote.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{runtime::Handle, time::timeout};

use super::{Inner, lock, message};
use crate::{
    cache::Purge,
    shared::{Away, Entry, Position, Read, State},
};

/// How often the log is looked at without news: a message on a channel can be lost.
const LOOK: Duration = Duration::from_secs(1);

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
        loop {
            let position = lock(&self.position).clone();
            let read = self.log.read(position.as_ref(), &everything).await?;
            let (Read::Next { tail, .. } | Read::Lost { tail, .. }) = &read;
            self.tail.store(tail.sequence, Ordering::Relaxed);
            match read {
                Read::Lost { why, tail } => self.lose(position.is_some(), why, tail).await,
                Read::Next { entries, tail } => {
                    let read_last = position.map_or(0, |position| position.sequence);
                    let missed = tail.sequence.saturating_sub(read_last);
                    let Some(last) = entries.last() else { return Ok(()) };
                    if missed > MAX_MISSED {
                        self.lose(true, "more was missed than is carried out one by one", tail).await;
                    } else {
                        let last = last.position.clone();
                        self.carry_out(entries).await;
                        self.reached(last).await;
                    }
                }
            }
        }
    }

    /// Carries out what other nodes wrote. Memory follows in their order; the disk confirms them together.
    async fn carry_out(&self, entries: Vec<Entry>) {
        let foreign = entries.into_iter().filter(|e| !e.message.is_empty() && !self.is_own(&e.position));
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
    async fn lose(&self, known: bool, why: &str, tail: Position) {
        self.missed.fetch_add(1, Ordering::Relaxed);
        if known {
            tracing::warn!("purges of other nodes were missed, so everything is purged: {why}");
        } else {
            tracing::info!("this node is new to the purges of others: everything is purged once");
        }
        self.purge_all(vec![Purge::everything()]).await;
        self.reached(tail).await;
    }

    /// Remembers how far this node is.
    async fn reached(&self, position: Position) {
        let text = position.to_string();
        *lock(&self.position) = Some(position);
        if !self.cache.set_bookmark(text).await {
            tracing::warn!(
                "the disk did not confirm how far the purges of other nodes are; after a crash they are carried out again"
            );
        }
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

    /// Looking through memory takes its time: not on a thread that others need.
    async fn purge_all(&self, purges: Vec<Purge>) {
        if purges.is_empty() {
            return;
        }
        let (cache, runtime) = (self.cache.clone(), Handle::current());
        let work = move || {
            let outcomes = runtime.block_on(join_all(purges.into_iter().map(|purge| cache.purge(purge))));
            if outcomes.iter().any(Result::is_err) {
                tracing::warn!("the disk did not confirm purges of other nodes in time; they wait to be written");
            }
        };
        let _ = tokio::task::spawn_blocking(work).await;
    }
}
