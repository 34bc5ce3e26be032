//! The one thread that changes what is on disk.
//!
//! It takes orders before writes, flushes at most [`FLUSH_EVERY`] after a change (at once when someone
//! waits for an acknowledgement), turns generations, and is the only place where the tier is closed after
//! an error and opened again.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use super::{
    Folder, Live, Lock, Meta, Shared, damaged,
    generation::{DiskKey, Generation, disk_key},
    mending::Closed,
    queue::{MAX_ORDERS, Order, Work, Write},
    recovery,
    sweep::Sweep,
};
use crate::{
    cache::{
        CacheStats,
        purge::{Purge, Rule},
        store::StoreError,
    },
    diagnostic::Diagnostic,
};

/// What a crash may lose. sled's own default is 500 ms.
pub(super) const FLUSH_EVERY: Duration = Duration::from_millis(250);

/// How often the writer looks up without work.
const IDLE: Duration = Duration::from_secs(1);

/// Starts the thread; `opened` hears once what was found in the folder.
pub fn start(shared: Arc<Shared>, folder: Folder, opened: mpsc::Sender<Vec<Diagnostic>>) -> io::Result<()> {
    let writer = Writer {
        shared,
        lock: folder.lock,
        meta: folder.meta,
        unwritten: folder.problem.is_some(),
        generations: Vec::new(),
        waiting: Vec::new(),
        unflushed: Vec::new(),
        bookmark: None,
        dirty_since: None,
        sweep: None,
        failures: 0,
        faults: 0,
        closed: None,
    };
    std::thread::Builder::new()
        .name("cache-write".to_owned())
        .spawn(move || writer.run(folder.problem, &opened))
        .map(drop)
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) lock: Option<Lock>,
    /// Written where rules were added, before what depends on them is acknowledged.
    pub(super) meta: Meta,
    /// The folder could not be taken at the start.
    pub(super) unwritten: bool,
    /// The current one, then the older one; none while the tier is closed.
    pub(super) generations: Vec<Arc<Generation>>,
    /// Orders that are still to be carried out.
    pub(super) waiting: Vec<Order>,
    /// Orders that were carried out and are not durable yet, with what they touched: an error puts them back.
    pub(super) unflushed: Vec<(Order, Vec<DiskKey>)>,
    /// Kept when all of these orders are durable.
    bookmark: Option<String>,
    pub(super) dirty_since: Option<Instant>,
    pub(super) sweep: Option<Sweep>,
    /// Errors in a row, without a successful flush between.
    pub(super) failures: u32,
    /// Those among them for which the folder itself, which can be written, is not to blame.
    pub(super) faults: u32,
    pub(super) closed: Option<Closed>,
}

impl Writer {
    fn run(mut self, problem: Option<String>, opened: &mpsc::Sender<Vec<Diagnostic>>) {
        let begin = Instant::now();
        let found = match problem {
            Some(why) => {
                self.close_after(&why);
                Vec::new() // the start has said it
            }
            None => self.open_all(),
        };
        let took_ms = begin.elapsed().as_millis() as u64;
        // The start did not wait: what it would have said is said here.
        if let Err(late) = opened.send(found) {
            late.0.iter().for_each(|d| tracing::warn!(why = %d.label, "{}", d.title));
            if self.closed.is_none() {
                tracing::info!(entries = self.entries(), took_ms, "the cache on disk has joined");
            }
        }
        loop {
            let mut work = self.shared.queue.take(self.patience());
            let close = work.close.take();
            self.turn(work);
            if let Some(done) = close {
                self.finish();
                // Lets go of the folder's lock first.
                drop(self);
                let _ = done.send(());
                return;
            }
        }
    }

    /// One round: what waits is carried out, and an error closes the tier.
    fn turn(&mut self, work: Work) {
        self.waiting.extend(work.orders);
        self.bookmark = work.bookmark.or(self.bookmark.take());
        if self.waiting.len() > MAX_ORDERS {
            self.waiting = vec![Order::instead_of(std::mem::take(&mut self.waiting))];
        }
        if let Some(why) = work.failed {
            self.close_after(&why);
        }
        if self.closed.as_ref().is_some_and(|closed| closed.until <= Instant::now()) {
            self.reopen();
        }
        if self.generations.is_empty() {
            self.empty_for_orders();
            let skipped = work.writes.len() as u64;
            self.shared.stats.disk_writes_skipped.fetch_add(skipped, Ordering::Relaxed);
            return;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| self.change(work.writes)));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.close_after(&error.0),
            Err(_) => self.close_after("the index panicked"),
        }
    }

    fn change(&mut self, writes: Vec<Write>) -> Result<(), StoreError> {
        let urgent = !self.waiting.is_empty();
        self.carry_out_all()?;
        if self.bookmark.is_some() {
            // The next flush will do: after a crash, one that is older only leads over more of the same way.
            self.dirty_since.get_or_insert_with(Instant::now);
        }
        let idle = writes.is_empty();
        self.announce(&writes)?;
        for write in writes {
            match write {
                Write::Entry(key, entry, as_of) => self.write(&key, &entry, as_of)?,
                Write::Promote(key) => self.promote(&key)?,
                Write::Remove(key) => self.remove(&key)?,
            }
        }
        if idle {
            self.sweep_on()?;
        }
        let due = self.dirty_since.is_some_and(|since| since.elapsed() >= FLUSH_EVERY);
        let full = self.generations[0].bytes() >= self.shared.generation_bytes;
        if due || urgent || full {
            self.flush()?;
        }
        Ok(())
    }

    /// Carries out what waits. Rules are written once for all of them.
    fn carry_out_all(&mut self) -> Result<(), StoreError> {
        let mut ruled = false;
        while let Some(order) = self.waiting.pop() {
            ruled |= matches!(order, Order::Purge(..) | Order::Everything(_));
            let outcome = self.carry_out(&order);
            let touched = outcome.as_ref().cloned().unwrap_or_default();
            self.unflushed.push((order, touched));
            outcome?;
            self.dirty_since.get_or_insert_with(Instant::now);
        }
        if ruled {
            self.write_meta()?;
            if self.meta.rules.first().is_some_and(|rule| self.ends_with(rule)) {
                self.start_empty()?;
            }
            self.publish();
        }
        Ok(())
    }

    fn announce(&self, writes: &[Write]) -> Result<(), StoreError> {
        let names: Vec<DiskKey> = writes
            .iter()
            .filter_map(|write| match write {
                Write::Entry(key, entry, _) => Some(disk_key(key, &entry.vary)),
                Write::Promote(key) => Some(*key),
                Write::Remove(_) => None,
            })
            .collect();
        self.generations[0].announce(names.iter())
    }

    fn carry_out(&mut self, order: &Order) -> Result<Vec<DiskKey>, StoreError> {
        match order {
            Order::RemovePlace(place, _) => {
                for generation in &self.generations {
                    generation.remove_place(*place)?;
                }
            }
            Order::PurgePlace(place, issued, _) => return self.purge_place(*place, &issued.rule),
            Order::Purge(issued, outdated, _) => {
                self.meta.add(Arc::clone(&issued.rule));
                for name in outdated {
                    self.remove(name)?;
                }
            }
            Order::Everything(_) => {
                self.meta.add(Arc::new(Rule::new(self.shared.epochs.tick(), Purge::everything())));
            }
        }
        Ok(Vec::new())
    }

    /// Whether a rule leaves nothing of the generations that there are.
    fn ends_with(&self, rule: &Rule) -> bool {
        rule.purge.is_total() && self.generations[0].number < rule.before
    }

    pub(super) fn write_meta(&self) -> Result<(), StoreError> {
        self.meta.write(&self.shared.dir).map_err(|e| StoreError(format!("`meta`: {e}")))
    }

    /// Makes all changes durable, acknowledges them, and turns the generation when it is full.
    fn flush(&mut self) -> Result<(), StoreError> {
        let mut blobs = 0;
        for generation in &self.generations {
            blobs += generation.flush()?.blobs;
        }
        self.dirty_since = None;
        (self.failures, self.faults) = (0, 0);
        // Who is told that it is done finds it in the counts.
        self.count();
        for (order, touched) in std::mem::take(&mut self.unflushed) {
            self.acknowledge(order, touched);
        }
        if let Some(text) = self.bookmark.take() {
            self.meta.bookmark = Some(text);
            self.meta.write(&self.shared.dir).map_err(|e| StoreError(format!("`meta`: {e}")))?;
        }
        self.shared.stats.disk_blobs.store(blobs, Ordering::Relaxed);
        self.shared.stats.disk_works();
        if self.generations[0].bytes() >= self.shared.generation_bytes {
            self.turn_generation()?;
        }
        self.count();
        Ok(())
    }

    fn turn_generation(&mut self) -> Result<(), StoreError> {
        let next = self.new_generation()?;
        self.generations.insert(0, next);
        self.publish();
        for old in self.generations.split_off(2) {
            CacheStats::add(&self.shared.stats.disk_generations_dropped);
            recovery::trash(&self.shared.dir, old.number);
            drop(recovery::drop_apart(vec![old]));
        }
        self.publish();
        let (known, oldest) = (self.meta.rules.len(), self.generations[1].number);
        self.meta.forget_before(oldest);
        if self.meta.rules.len() != known {
            self.write_meta()?;
        }
        Ok(())
    }

    fn start_empty(&mut self) -> Result<(), StoreError> {
        let next = self.new_generation()?;
        for old in std::mem::replace(&mut self.generations, vec![next]) {
            recovery::trash(&self.shared.dir, old.number);
            drop(recovery::drop_apart(vec![old]));
        }
        Ok(())
    }

    pub(super) fn new_generation(&self) -> Result<Arc<Generation>, StoreError> {
        recovery::open(&self.shared, self.shared.epochs.tick()).map_err(StoreError)
    }

    /// What a process before this one left: the two newest generations that open.
    fn open_all(&mut self) -> Vec<Diagnostic> {
        let dir = self.shared.dir.clone();
        recovery::empty_trash(&dir);
        let mut problems = Vec::new();
        for number in recovery::generations(&dir) {
            if self.generations.len() == 2 {
                recovery::trash(&dir, number);
                continue;
            }
            match recovery::open(&self.shared, number) {
                Ok(generation) => self.generations.push(generation),
                Err(why) => {
                    recovery::trash(&dir, number);
                    problems.push(damaged(&dir, &why));
                }
            }
        }
        if self.generations.is_empty() {
            match self.new_generation() {
                Ok(generation) => self.generations.push(generation),
                Err(error) => self.close_after(&error.0),
            }
        }
        if self.closed.is_none() {
            self.shared.stats.disk_works();
        }
        self.publish();
        self.count();
        problems
    }

    /// The end: everything durable, all handles gone.
    fn finish(&mut self) {
        if !self.generations.is_empty() {
            let flushed = catch_unwind(AssertUnwindSafe(|| self.flush()));
            if !matches!(flushed, Ok(Ok(()))) {
                tracing::warn!("the cache on disk was not written to its end");
            }
        }
        let generations = std::mem::take(&mut self.generations);
        self.publish();
        let _ = recovery::drop_apart(generations).recv_timeout(Duration::from_secs(5));
    }

    pub(super) fn publish(&self) {
        let current = self.generations.first().map_or(0, |generation| generation.number);
        let live = Live { generations: self.generations.clone(), rules: self.meta.rules.clone() };
        self.shared.live.store(Arc::new(live));
        self.shared.current.store(current, Ordering::Relaxed);
    }

    fn count(&self) {
        let bytes = self.generations.iter().map(|generation| generation.bytes()).sum();
        let content = self.generations.iter().map(|generation| generation.content()).sum();
        self.shared.stats.disk_bytes.store(bytes, Ordering::Relaxed);
        self.shared.stats.disk_content_bytes.store(content, Ordering::Relaxed);
        self.shared.stats.disk_entries.store(self.entries(), Ordering::Relaxed);
        let own = self.generations.iter().map(|generation| generation.own_entries()).sum();
        self.shared.stats.disk_own_entries.store(own, Ordering::Relaxed);
    }

    pub(super) fn entries(&self) -> u64 {
        self.generations.iter().map(|generation| generation.entries()).sum()
    }

    /// Says that an order holds, and what it touched.
    pub(super) fn acknowledge(&self, order: Order, touched: Vec<DiskKey>) {
        let done = match order {
            Order::RemovePlace(place, done) => {
                self.shared.queue.left(place);
                done
            }
            Order::PurgePlace(_, issued, done) | Order::Purge(issued, _, done) => {
                issued.holds_on_disk();
                if issued.rule.purge.is_total() {
                    self.shared.epochs.purges.all_hold_on_disk(issued.rule.before);
                }
                done
            }
            Order::Everything(places) => {
                places.into_iter().for_each(|place| self.shared.queue.left(place));
                let before = self.meta.rules.first().map_or(0, |rule| rule.before);
                self.shared.epochs.purges.all_hold_on_disk(before);
                return;
            }
        };
        let _ = done.send(touched);
    }

    /// How long there is nothing to do without new work.
    fn patience(&self) -> Duration {
        let until_flush = self.dirty_since.map(|since| FLUSH_EVERY.saturating_sub(since.elapsed()));
        let until_open = self.closed.as_ref().map(|c| c.until.saturating_duration_since(Instant::now()));
        let until_sweep = self.sweep.as_ref().filter(|_| self.closed.is_none()).map(Sweep::rest);
        let all = [until_flush, until_open, until_sweep];
        all.into_iter().flatten().min().unwrap_or(IDLE).min(IDLE)
    }
}
