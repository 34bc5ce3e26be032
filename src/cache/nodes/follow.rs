//! Reading the log and carrying out what others wrote.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::{join, join_all};
use tokio::{runtime::Handle, time::timeout};

use super::{
    Inner, lock,
    message::{self, News, Place},
};
use crate::{
    cache::{Purge, PurgeError, Purged},
    shared::{Away, Entry, Position, Read, State},
};

/// How often the log is looked at without news: a message on a channel can be lost.
const LOOK: Duration = Duration::from_secs(1);

/// How long the disk is waited for before the start, and later on.
const FIRST: Duration = Duration::from_secs(2);
const LATER: Duration = Duration::from_millis(200);

/// Who missed more purges than this, or more changed paths, purges everything: it is one look through what is
/// stored instead of so many.
const MAX_PURGES: usize = 1000;
const MAX_PLACES: usize = 100_000;

/// Hosts whose messages were not understood that are told apart in the log.
const MAX_STRANGE: usize = 64;

/// What is to be carried out.
#[derive(Default)]
struct Task {
    purges: Vec<Purge>,
    places: Vec<Place>,
}

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
        let everything = News::Purge(Purge::everything()).write();
        // What the log took by now, it must show by its end.
        let taken: Vec<String> =
            lock(&self.own).iter().filter(|own| own.taken).map(|own| own.mark.clone()).collect();
        let (mut purges, mut places) = (0, 0);
        loop {
            let position = lock(&self.position).clone();
            let read = self.log.read(position.as_ref(), &everything).await?;
            let (Read::Next { tail, .. } | Read::Lost { tail, .. }) = &read;
            self.tail.store(tail.sequence, Ordering::Relaxed);
            match read {
                Read::Lost { why, tail } => self.lose(position.is_some(), why, tail, &taken).await,
                Read::Next { entries, tail } => {
                    let Some(last) = entries.last() else { return self.write_again(&taken).await };
                    let last = last.position.clone();
                    let task = self.understand(entries);
                    purges += task.purges.len();
                    places += task.places.len();
                    if purges > MAX_PURGES || places > MAX_PLACES {
                        (purges, places) = (0, 0);
                        self.lose(true, "more was missed than is carried out one by one", tail, &taken).await;
                    } else {
                        self.carry_out(task).await;
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

    /// What other nodes ask for in these entries.
    fn understand(&self, entries: Vec<Entry>) -> Task {
        let foreign = entries.into_iter().filter(|e| !e.message.is_empty() && !self.is_held(&e.position));
        let mut task = Task::default();
        for entry in foreign {
            let told = message::read(&entry.message);
            match told.news {
                News::Purge(purge) => {
                    if !told.understood {
                        self.wonder(entry.position.sequence, &purge);
                    }
                    self.applied.fetch_add(1, Ordering::Relaxed);
                    task.purges.push(purge);
                }
                News::Changed(places) => {
                    self.changed.fetch_add(places.len() as u64, Ordering::Relaxed);
                    task.places.extend(places);
                }
            }
        }
        task
    }

    /// Tells, once for what it leads to, that a message is not understood.
    fn wonder(&self, sequence: u64, purge: &Purge) {
        let mut strange = lock(&self.strange);
        if strange.len() < MAX_STRANGE && strange.insert(purge.host.clone()) {
            tracing::warn!(
                sequence,
                "another node's purge is not understood, it may be newer: {} is purged, now and each time",
                purge.host.as_ref().map_or("everything".to_owned(), |host| format!("all of `{host}`"))
            );
        }
    }

    /// Purges everything, for nobody knows what was missed.
    async fn lose(&self, known: bool, why: &str, tail: Position, taken: &[String]) {
        self.missed.fetch_add(1, Ordering::Relaxed);
        if known {
            tracing::warn!("purges of other nodes were missed, so everything is purged: {why}");
        } else {
            tracing::info!("this node is new to the purges of others: everything is purged once");
        }
        self.carry_out(Task { purges: vec![Purge::everything()], places: Vec::new() }).await;
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
    /// from memory. What the disk has not confirmed is ordered: the bookmark comes behind it.
    async fn carry_out(&self, task: Task) {
        if task.purges.is_empty() && task.places.is_empty() {
            return;
        }
        // At first what lies on disk is all there is, and nothing is served yet.
        let patience = if *self.settled.borrow() { LATER } else { FIRST };
        let (cache, runtime) = (self.cache.clone(), Handle::current());
        let work = move || {
            let all = async move {
                let purges = join_all(task.purges.into_iter().map(|purge| cache.apply(purge)));
                join(cache.invalidate_places(&task.places), purges).await.1
            };
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
