//! Looking into the store: what is in either tier, in one order, a page at a time.
//!
//! For people; no request comes here. Each page goes through memory once and through a bounded part of the
//! disk, so that it ends soon however much is stored.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use super::{
    Cache, Inner,
    disk::{Late, generation::DiskKey, generation::disk_name},
    entry::Entry,
    key,
    purge::{Cover, Facts, Purge},
};

/// Records of each disk generation that are looked at in one go, and how often for one page.
const STEP: usize = 256;
const MAX_STEPS: usize = 64;

/// A stored response.
#[derive(Clone, Debug)]
pub struct Item {
    pub key: Box<[u8]>,
    pub entry: Arc<Entry>,
    pub in_memory: bool,
    pub on_disk: bool,
}

/// Where a page ends; the next begins behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(DiskKey);

/// Some of what is stored.
#[derive(Debug)]
pub struct Page {
    /// In an order that stays the same from page to page.
    pub items: Vec<Item>,
    /// Nothing when there is no more.
    pub next: Option<Cursor>,
    /// Whether the disk is not open, so that what lies there is missing.
    pub without_disk: bool,
}

impl Cache {
    /// What `purge` would cover, at most `limit` of it at once, behind `after`. A page may be short, or even
    /// empty, before the end.
    ///
    /// # Errors
    /// When the disk does not answer in time.
    pub async fn list(&self, purge: &Purge, after: Option<Cursor>, limit: usize) -> Result<Page, Late> {
        let cover = Cover::of(purge);
        let place = purge.place().map(|(host, path)| key::place(host, path, self.inner.seed));
        let after = after.map_or([0; 32], |Cursor(name)| name).max(place.map_or([0; 32], first_of));
        let range = Range { after, place };
        let (mut items, mut end) = self.inner.list_memory(&cover, range, limit);
        let disk = self.inner.disk.as_ref().filter(|disk| disk.is_open());
        if let Some(disk) = disk {
            let upto = list_disk(disk, &cover, range, limit, &mut items).await?;
            end = [end, upto].into_iter().flatten().min();
        }
        if items.len() > limit {
            end = items.keys().nth(limit.saturating_sub(1)).copied();
        }
        if let Some(end) = end {
            items.retain(|name, _| *name <= end);
        }
        let without_disk = self.inner.disk.is_some() && disk.is_none();
        Ok(Page { items: items.into_values().collect(), next: end.map(Cursor), without_disk })
    }
}

/// The names that a page may hold.
#[derive(Clone, Copy)]
struct Range {
    after: DiskKey,
    place: Option<u64>,
}

impl Range {
    fn holds(&self, name: &DiskKey) -> bool {
        *name > self.after && self.place.is_none_or(|place| name[..8] == place.to_be_bytes())
    }
}

type Items = BTreeMap<DiskKey, Item>;

impl Inner {
    /// The first of what memory has; with the last name that was looked at, if not all were.
    fn list_memory(&self, cover: &Cover, range: Range, limit: usize) -> (Items, Option<DiskKey>) {
        let (mut items, mut end) = (Items::new(), None);
        self.memory.each(|id, resource| {
            if range.place.is_some_and(|place| place != resource.place) {
                return;
            }
            for entry in resource.variants() {
                let name = disk_name(resource.place, id, &entry.vary);
                let counts = range.holds(&name)
                    && end.is_none_or(|end| name < end)
                    && self.epochs.valid(resource.place, entry.since)
                    && cover.covers(&Facts::new(&resource.key, &entry.headers));
                if !counts {
                    continue;
                }
                let (key, entry) = (resource.key.clone(), Arc::clone(entry));
                items.insert(name, Item { key, entry, in_memory: true, on_disk: false });
                if items.len() > limit {
                    items.pop_last();
                    end = items.last_key_value().map(|(name, _)| *name);
                }
            }
        });
        (items, end)
    }
}

/// Adds what lies on disk, until there is enough; with the last name that was looked at, if not all were.
async fn list_disk(
    disk: &super::disk::Disk,
    cover: &Cover,
    range: Range,
    limit: usize,
    items: &mut Items,
) -> Result<Option<DiskKey>, Late> {
    let (mut after, mut found) = (range.after, 0);
    for _ in 0..MAX_STEPS {
        let chunk = disk.list(after, STEP).await?;
        for record in chunk.records {
            if !range.holds(&record.name) || !cover.covers(&Facts::new(&record.key, &record.entry.headers)) {
                continue;
            }
            found += 1;
            match items.entry(record.name) {
                btree_map::Entry::Occupied(mut known) => known.get_mut().on_disk = true,
                btree_map::Entry::Vacant(vacant) => {
                    let (key, entry) = (record.key.into(), Arc::new(record.entry));
                    vacant.insert(Item { key, entry, in_memory: false, on_disk: true });
                }
            }
        }
        let Some(upto) = chunk.upto else { return Ok(None) };
        if range.place.is_some_and(|place| upto[..8] > place.to_be_bytes()[..]) {
            return Ok(None);
        }
        after = upto;
        if found >= limit {
            break;
        }
    }
    Ok(Some(after))
}

/// Before all names of a place.
fn first_of(place: u64) -> DiskKey {
    let mut name = [0; 32];
    name[..8].copy_from_slice(&place.to_be_bytes());
    name
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for Cursor {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut name = [0; 32];
        let whole = if text.len() == 64 && text.is_ascii() { text } else { "" };
        for (at, byte) in name.iter_mut().enumerate() {
            *byte = u8::from_str_radix(whole.get(at * 2..at * 2 + 2).unwrap_or_default(), 16)?;
        }
        Ok(Self(name))
    }
}
