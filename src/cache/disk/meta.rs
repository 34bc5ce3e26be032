//! The folder of the disk tier: its lock, and the small file that outlives generations.
//!
//! The file holds the format version, the seed of the store's hashes and checksums, how often it was
//! opened, and the purges that records still on disk are under. It is written anew, flushed and renamed:
//! what was acknowledged is there after a crash.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::record;
use crate::cache::purge::{Purge, Rule};

/// More purges than this become one of everything: each is looked at for each record that is read. The
/// writer sweeps them out long before, unless they come faster than it can.
const MAX_RULES: usize = 1000;

/// An instance that is just ending is waited for.
const LOCK_WAIT: Duration = Duration::from_millis(500);

const MAX_META_BYTES: u64 = 16 * 1024 * 1024;

/// The content of the file.
#[derive(Clone, Debug)]
pub struct Meta {
    pub seed: u64,
    /// How often the folder was opened; the moments of each opening are above those of the one before.
    pub opened: u64,
    pub rules: Vec<Arc<Rule>>,
    /// How far someone got with what is about this cache; goes with what is stored.
    pub bookmark: Option<String>,
}

/// Why there is no usable file.
#[derive(Debug)]
pub enum Unread {
    /// A new folder.
    Missing,
    /// Of another format, or damaged.
    Unusable(String),
    Io(io::Error),
}

/// The form on disk. A line of JSON and its checksum: it is read by people when something is wrong.
#[derive(Serialize, Deserialize)]
struct Written {
    format: u8,
    seed: u64,
    opened: u64,
    rules: Vec<WrittenRule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bookmark: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct WrittenRule {
    before: u64,
    #[serde(flatten)]
    purge: Purge,
}

impl Meta {
    /// Reads the file of `dir`.
    pub fn read(dir: &Path) -> Result<Self, Unread> {
        let file = match File::open(path(dir)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unread::Missing),
            Err(error) => return Err(Unread::Io(error)),
        };
        let mut text = String::new();
        file.take(MAX_META_BYTES).read_to_string(&mut text).map_err(|e| match e.kind() {
            io::ErrorKind::InvalidData => Unread::Unusable("it is not text".to_owned()),
            _ => Unread::Io(e),
        })?;
        let unusable = |what: &str| Unread::Unusable(what.to_owned());
        let (json, sum) = text.trim_end().rsplit_once('\n').ok_or_else(|| unusable("it is cut short"))?;
        if sum != checksum(json) {
            return Err(unusable("its checksum does not match"));
        }
        let written: Written = serde_json::from_str(json).map_err(|e| Unread::Unusable(e.to_string()))?;
        if written.format != record::VERSION {
            return Err(Unread::Unusable(format!(
                "it is of format {}, this is {}",
                written.format,
                record::VERSION
            )));
        }
        let rules =
            written.rules.into_iter().map(|rule| Arc::new(Rule::new(rule.before, rule.purge))).collect();
        Ok(Self { seed: written.seed, opened: written.opened, rules, bookmark: written.bookmark })
    }

    /// Writes the file; when this returns, it is there.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let written = Written {
            format: record::VERSION,
            seed: self.seed,
            opened: self.opened,
            rules: self
                .rules
                .iter()
                .map(|rule| WrittenRule { before: rule.before, purge: rule.purge.clone() })
                .collect(),
            bookmark: self.bookmark.clone(),
        };
        let json = serde_json::to_string(&written).map_err(io::Error::other)?;
        let next = dir.join("meta.new");
        let mut file = File::create(&next)?;
        file.write_all(format!("{json}\n{}\n", checksum(&json)).as_bytes())?;
        file.sync_all()?;
        fs::rename(&next, path(dir))?;
        File::open(dir)?.sync_all()
    }

    /// Adds a purge, in whatever order they come. The same made earlier is in it; too many become one of
    /// everything.
    pub fn add(&mut self, rule: Arc<Rule>) {
        if self.rules.iter().any(|known| known.purge.is_total() && known.before >= rule.before) {
            return;
        }
        if rule.purge.is_total() {
            self.rules.retain(|known| known.before > rule.before);
            self.rules.insert(0, rule);
            return;
        }
        // Not that of a soft one: what began between the two went stale at the later.
        let hard = rule.purge.stale_at_ms.is_none();
        self.rules.retain(|known| {
            let earlier = hard && known.before < rule.before || known.before == rule.before;
            !(earlier && known.purge == rule.purge)
        });
        if self.rules.len() >= MAX_RULES {
            let before = self.rules.iter().map(|known| known.before).fold(rule.before, u64::max);
            self.rules = vec![Arc::new(Rule::new(before, Purge::everything()))];
        } else {
            self.rules.push(rule);
        }
    }

    /// Forgets the purges that no record is old enough for.
    pub fn forget_before(&mut self, oldest: u64) {
        self.rules.retain(|rule| rule.before > oldest);
    }
}

/// The lock of the folder, held as long as the value lives; the system lets go of it when the process
/// ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why the lock cannot be had.
#[derive(Debug)]
pub enum Unlocked {
    /// By the process of this id, where it is known.
    Taken(String),
    Io(io::Error),
}

impl Lock {
    /// Locks `dir`, which must exist.
    pub fn take(dir: &Path) -> Result<Self, Unlocked> {
        let path = dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Unlocked::Io)?;
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOCK_WAIT / 20),
                Err(TryLockError::WouldBlock) => {
                    let mut owner = String::new();
                    let _ = (&mut file).take(20).read_to_string(&mut owner);
                    return Err(Unlocked::Taken(owner.trim().to_owned()));
                }
                Err(TryLockError::Error(error)) => return Err(Unlocked::Io(error)),
            }
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(Unlocked::Io)?;
        Ok(Self { _file: file })
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("meta")
}

fn checksum(json: &str) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(json.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Scope;

    fn rule(before: u64, scope: Scope) -> Arc<Rule> {
        Arc::new(Rule::new(before, Purge::hard(Some("a.test"), scope)))
    }

    #[test]
    fn what_is_written_reads_back_and_damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Meta::read(dir.path()), Err(Unread::Missing)));
        let soft = Purge::hard(None, Scope::Tags(vec!["a\"b".to_owned()])).softly(7);
        let rules = vec![
            rule(1, Scope::All),
            rule(2, Scope::Path("/a".to_owned())),
            rule(3, Scope::Url { path: "/b".to_owned(), query: u64::MAX }),
            Arc::new(Rule::new(4, soft)),
        ];
        let bookmark = Some("57:x".to_owned());
        let meta = Meta { seed: 9, opened: 2, rules: rules.clone(), bookmark: bookmark.clone() };
        meta.write(dir.path()).unwrap();
        let read = Meta::read(dir.path()).unwrap();
        let plain = |rules: &[Arc<Rule>]| {
            rules.iter().map(|rule| (rule.before, rule.purge.clone())).collect::<Vec<_>>()
        };
        assert_eq!((read.seed, read.opened, plain(&read.rules)), (9, 2, plain(&rules)));
        assert_eq!(read.bookmark, bookmark);
        let good = fs::read(path(dir.path())).unwrap();
        for at in 0..good.len() - 1 {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(path(dir.path()), &bad).unwrap();
            assert!(Meta::read(dir.path()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn too_many_purges_become_one_of_everything_and_it_takes_the_place_of_all_others() {
        let mut meta = Meta { seed: 0, opened: 0, rules: Vec::new(), bookmark: None };
        (0..MAX_RULES as u64 + 5).for_each(|i| meta.add(rule(i, Scope::Path(format!("/{i}")))));
        assert_eq!(meta.rules.len(), 5);
        assert!(meta.rules[0].purge.is_total());
        meta.forget_before(MAX_RULES as u64 + 2);
        assert_eq!(meta.rules.len(), 2);
        meta.add(Arc::new(Rule::new(9999, Purge::everything())));
        assert_eq!(meta.rules.len(), 1);
        // Purges that were ordered at once are added in any order.
        meta.add(rule(10_002, Scope::Path("/a".to_owned())));
        meta.add(Arc::new(Rule::new(10_001, Purge::everything())));
        let left: Vec<_> = meta.rules.iter().map(|rule| rule.before).collect();
        assert_eq!(left, [10_001, 10_002]);
    }

    #[test]
    fn a_purge_made_again_takes_the_place_of_the_first_and_a_soft_one_does_not() {
        let mut meta = Meta { seed: 0, opened: 0, rules: Vec::new(), bookmark: None };
        let soft = |before| {
            let purge = Purge::hard(None, Scope::Api("a".to_owned()));
            Arc::new(Rule::new(before, purge.softly(before)))
        };
        for before in 1..4 {
            meta.add(rule(before, Scope::Api("a".to_owned())));
            meta.add(soft(before));
        }
        let left: Vec<_> = meta.rules.iter().map(|rule| (rule.before, rule.purge.stale_at_ms)).collect();
        assert_eq!(left, [(1, Some(1)), (2, Some(2)), (3, None), (3, Some(3))]);
    }

    #[test]
    fn a_folder_is_locked_once() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        match Lock::take(dir.path()) {
            Err(Unlocked::Taken(owner)) => assert_eq!(owner, std::process::id().to_string()),
            other => panic!("{other:?}"),
        }
        drop(lock);
        assert!(Lock::take(dir.path()).is_ok());
    }
}
