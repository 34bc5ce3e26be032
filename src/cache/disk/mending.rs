//! The tier after an error: closed for a while, then opened again, with as much of its content as can be.
//!
//! A folder that cannot be written (a full disk, a read-only one) is no fault of what is in it, which stays.
//! What fails though the folder can be written is given up in steps: the older generation, then all.

use std::{
    io,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use super::{
    Lock, Meta, Unlocked, Unread,
    generation::Generation,
    recovery,
    writer::{FLUSH_EVERY, Writer},
};

/// The pause before the tier is opened again, doubled with each failure in a row. The first is short: an
/// order that waits may still be carried out before its deadline.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A generation that is alone is dropped for a full disk only if it takes as much as this.
const WORTH_DROPPING: u64 = 64 * 1024 * 1024;

/// The tier after an error.
pub(super) struct Closed {
    pub(super) until: Instant,
    /// Hears when the old handles are gone.
    dropped: mpsc::Receiver<()>,
    /// The generations that were open, the older one last.
    numbers: Vec<u64>,
    /// What they took.
    bytes: u64,
}

impl Writer {
    /// Closes the tier after an error, for a while.
    pub(super) fn close_after(&mut self, why: &str) {
        tracing::warn!(%why, "the cache on disk is closed for a while; requests are served without it");
        self.shared.stats.disk_fails(why);
        let generations = std::mem::take(&mut self.generations);
        self.publish();
        let (numbers, bytes) = match &self.closed {
            Some(closed) if generations.is_empty() => (closed.numbers.clone(), closed.bytes),
            _ => (
                generations.iter().map(|generation| generation.number).collect(),
                generations.iter().map(|generation| generation.bytes()).sum(),
            ),
        };
        let pause = self.next_pause();
        self.faults += 1;
        self.dirty_since = None;
        // What was not durable is carried out again.
        self.waiting.extend(self.unflushed.drain(..).map(|(order, _)| order));
        self.sweep = None;
        let dropped = recovery::drop_apart(generations);
        self.closed = Some(Closed { until: Instant::now() + pause, dropped, numbers, bytes });
    }

    fn next_pause(&mut self) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.failures += 1;
        pause
    }

    /// Carries out the orders that wait, when the tier does not come back in time: without what is on disk
    /// nothing of it can come back.
    pub(super) fn empty_for_orders(&mut self) {
        let Some(closed) = &mut self.closed else { return };
        if self.waiting.is_empty() || self.failures < 2 {
            return;
        }
        let dir = &self.shared.dir;
        if closed.numbers.iter().all(|number| recovery::trash(dir, *number)) {
            closed.numbers.clear();
            for order in std::mem::take(&mut self.waiting) {
                self.acknowledge(order, Vec::new());
            }
        }
    }

    /// Opens the tier again, once the folder can be written: as it was, at the second fault without the
    /// older generation, at the third empty.
    pub(super) fn reopen(&mut self) {
        let Some(mut closed) = self.closed.take() else { return };
        let dir = self.shared.dir.clone();
        if let Err(error) = self.retake_folder(&mut closed).and_then(|()| recovery::probe(&dir)) {
            self.shared.stats.disk_still_fails(format!("the folder cannot be written: {error}"));
            closed.until = Instant::now() + self.next_pause();
            if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                self.make_way(&mut closed);
            }
            self.closed = Some(closed);
            return;
        }
        let kept = match (self.faults, closed.dropped.try_recv()) {
            // Handles that do not go away hold their files.
            (_, Err(mpsc::TryRecvError::Empty)) => 0,
            (0 | 1, _) => 2,
            (2, _) => 1,
            _ => 0,
        };
        for number in closed.numbers.iter().skip(kept) {
            recovery::trash(&dir, *number);
        }
        match self.open_again(closed.numbers.iter().take(kept)) {
            Ok(generations) => {
                self.generations = generations;
                self.publish();
                tracing::info!(entries = self.entries(), "the cache on disk is open again");
                // Proves that it can be written, and makes the tier whole in the statistics.
                self.dirty_since = Some(Instant::now().checked_sub(FLUSH_EVERY).unwrap_or_else(Instant::now));
            }
            Err(why) => {
                self.closed = Some(closed);
                self.close_after(&why);
            }
        }
    }

    /// The disk is full: the older generation goes, and in the end what is large enough to matter.
    fn make_way(&self, closed: &mut Closed) {
        let last = closed.numbers.len() == 1 && closed.bytes >= WORTH_DROPPING && self.failures >= 5;
        if closed.numbers.len() > 1 || last {
            for number in closed.numbers.split_off(usize::from(!last)) {
                tracing::warn!("the disk is full: a part of the cache is dropped to make room");
                recovery::trash(&self.shared.dir, number);
            }
        }
    }

    /// Those of the generations that are still there, or a new one.
    fn open_again<'a>(&self, numbers: impl Iterator<Item = &'a u64>) -> Result<Vec<Arc<Generation>>, String> {
        let mut generations = Vec::new();
        for number in numbers.filter(|n| recovery::generation_dir(&self.shared.dir, **n).exists()) {
            generations.push(recovery::open(&self.shared, *number)?);
        }
        if generations.is_empty() {
            generations.push(self.new_generation().map_err(|e| e.0)?);
        }
        Ok(generations)
    }

    /// Makes and locks the folder anew when it was taken away, or could not be had at the start.
    fn retake_folder(&mut self, closed: &mut Closed) -> io::Result<()> {
        let dir = &self.shared.dir;
        let locked = self.lock.is_some() && dir.join("lock").exists();
        if locked && dir.join("meta").exists() && !self.unwritten {
            return Ok(());
        }
        super::make_folder(dir)?;
        if !locked {
            let lock = Lock::take(dir).map_err(|unlocked| match unlocked {
                Unlocked::Io(error) => error,
                Unlocked::Taken(_) => io::Error::other("another instance uses it"),
            })?;
            self.lock = Some(lock);
        }
        if self.unwritten {
            match Meta::read(dir) {
                Ok(known) if known.seed == self.meta.seed && known.opened < self.meta.opened => {}
                Err(Unread::Io(error)) => return Err(error),
                // Of another seed, or of an instance that came between: its moments are above those of this one.
                _ => recovery::trash_generations(dir),
            }
        }
        self.meta.write(dir)?;
        if std::mem::take(&mut self.unwritten) {
            closed.numbers = recovery::generations(dir);
            self.faults = 0;
        }
        Ok(())
    }
}
