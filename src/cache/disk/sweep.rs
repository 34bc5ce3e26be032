//! Purges carried out on what is stored, so that they need not be looked at for ever.
//!
//! A purge about one place is carried out there at once. Any other is a rule at first, which each record is
//! held against when it is read; when there are many, the writer goes through all records in its spare time
//! and does what the rules say. Then they are dropped.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    MAX_COUNTED,
    generation::{DiskKey, Generation},
    record::{self, Decoded, Placed},
    writer::Writer,
};
use crate::cache::{
    entry::Stored,
    purge::{self, Facts, Fate, Rule},
    store::StoreError,
};

/// So many rules are worth going through everything.
const MANY: usize = 64;

/// Records that are looked at in one go, and the pause between two: about 12,000 a second.
const STEP: usize = 128;
const PAUSE: Duration = Duration::from_millis(10);

/// Records of one place that are looked at in one go.
const PLACE_STEP: usize = 256;

/// How far the writer is.
pub struct Sweep {
    /// What is being carried out; rules that came later are too, but not everywhere.
    rules: Vec<Arc<Rule>>,
    /// Numbers of the generations that are still to be gone through; the last is under way.
    left: Vec<u64>,
    /// The last record that was looked at.
    after: Vec<u8>,
    last: Instant,
}

impl Sweep {
    /// How long until the next step is due.
    pub fn rest(&self) -> Duration {
        PAUSE.saturating_sub(self.last.elapsed())
    }
}

impl Writer {
    /// Does what a purge says with all records of a place; which it touched.
    pub(super) fn purge_place(&mut self, place: u64, rule: &Arc<Rule>) -> Result<Vec<DiskKey>, StoreError> {
        let rules = std::slice::from_ref(rule);
        let mut touched = Vec::new();
        for generation in &self.generations {
            if !generation.may_hold_place(place) {
                continue;
            }
            let mut after = place.to_be_bytes().to_vec();
            loop {
                let (records, more) = generation.after(&after, PLACE_STEP)?;
                let of_place = records.iter().take_while(|(name, _)| name[..8] == place.to_be_bytes());
                let mut looked_at = 0;
                for (name, value) in of_place {
                    looked_at += 1;
                    if self.carry_out_on(generation, name, value, rules)? && touched.len() < MAX_COUNTED {
                        touched.push(*name);
                    }
                }
                match records.last() {
                    Some((name, _)) if more && looked_at == records.len() => after = name.to_vec(),
                    _ => break,
                }
            }
        }
        Ok(touched)
    }

    /// Goes on with a sweep where one is due, and begins one where there are many rules.
    pub(super) fn sweep_on(&mut self) -> Result<(), StoreError> {
        let Some(mut sweep) = self.sweep.take() else {
            if self.meta.rules.len() >= MANY {
                let rules = self.meta.rules.clone();
                let left = self.generations.iter().map(|generation| generation.number).collect();
                self.sweep = Some(Sweep { rules, left, after: Vec::new(), last: Instant::now() });
            }
            return Ok(());
        };
        if sweep.rest().is_zero() {
            self.step(&mut sweep)?;
            sweep.last = Instant::now();
        }
        if sweep.left.is_empty() {
            return self.end_sweep(&sweep);
        }
        self.sweep = Some(sweep);
        Ok(())
    }

    fn step(&mut self, sweep: &mut Sweep) -> Result<(), StoreError> {
        let under_way = sweep.left.last().copied();
        let Some(generation) = self.generations.iter().find(|g| Some(g.number) == under_way) else {
            // It was dropped meanwhile.
            sweep.left.pop();
            sweep.after.clear();
            return Ok(());
        };
        let (records, more) = generation.after(&sweep.after, STEP)?;
        let mut changed = false;
        for (name, value) in &records {
            changed |= self.carry_out_on(generation, name, value, &self.meta.rules)?;
        }
        if changed {
            self.dirty_since.get_or_insert_with(Instant::now);
        }
        match records.last() {
            Some((name, _)) if more => sweep.after = name.to_vec(),
            _ => {
                sweep.left.pop();
                sweep.after.clear();
            }
        }
        Ok(())
    }

    /// Forgets the rules that were carried out, once that is durable.
    fn end_sweep(&mut self, sweep: &Sweep) -> Result<(), StoreError> {
        for generation in &self.generations {
            generation.flush()?;
        }
        self.meta.rules.retain(|rule| !sweep.rules.iter().any(|done| Arc::ptr_eq(done, rule)));
        self.write_meta()?;
        self.publish();
        tracing::debug!(rules_left = self.meta.rules.len(), "purges were carried out on disk");
        Ok(())
    }

    /// Does with one record what the rules say; whether that changed it.
    fn carry_out_on(
        &self,
        generation: &Generation,
        name: &DiskKey,
        value: &[u8],
        rules: &[Arc<Rule>],
    ) -> Result<bool, StoreError> {
        let seed = self.shared.seed;
        // One that cannot be read is removed by who reads it.
        let Some(Decoded { key, mut entry }) = record::decode(value, generation.number, seed) else {
            return Ok(false);
        };
        let facts = Facts::new(&key, &entry.headers);
        match purge::fate(rules.iter().map(|rule| &**rule), &facts, entry.since) {
            Fate::Kept => Ok(false),
            Fate::Gone => {
                // Also what an older generation has of the same name.
                for generation in &self.generations {
                    generation.remove(name)?;
                }
                Ok(true)
            }
            Fate::Stale(at_ms) => {
                entry.soften(at_ms);
                let body = match &entry.body {
                    Stored::Bytes(bytes) => Placed::Here(bytes),
                    Stored::File(file) => Placed::File(file.name, file.len),
                    // Those are in memory alone.
                    Stored::Parts(_) => return Ok(false),
                };
                let softer = record::encode(&key, &entry, body, seed);
                let changed = softer != value;
                if changed {
                    generation.put(name, &softer)?;
                }
                Ok(changed)
            }
        }
    }
}
