//! The folder of the disk tier: its lock, and the small file that outlives generations.
//!
//! The file holds the format version, the seed of the store's hashes and checksums, how often it was
//! opened, and the purges that records still on disk are under. It is written anew, flushed and renamed:
//! what was acknowledged is there after a crash.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::record;
use crate::cache::invalidate::{Purge, Scope};

/// More purges than this become one of everything: it keeps the list short and errs on the safe side.
const MAX_RULES: usize = 1000;

/// An instance that is just ending is waited for.
const LOCK_WAIT: Duration = Duration::from_millis(500);

const MAX_META_BYTES: u64 = 16 * 1024 * 1024;

/// A purge on disk: what it covers and began before the moment no longer answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub before: u64,
    pub purge: Purge,
}

impl Rule {
    #[must_use]
    pub fn covers(&self, key: &[u8], since: u64) -> bool {
        since < self.before && self.purge.covers(key)
    }
}

/// The content of the file.
#[derive(Clone, Debug)]
pub struct Meta {
    pub seed: u64,
    /// How often the folder was opened; the moments of each opening are above those of the one before.
    pub opened: u64,
    pub rules: Vec<Rule>,
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
    host: Option<String>,
    path: Option<String>,
    prefix: Option<String>,
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
        let rules = written.rules.into_iter().map(Rule::from).collect();
        Ok(Self { seed: written.seed, opened: written.opened, rules, bookmark: written.bookmark })
    }

    /// Writes the file; when this returns, it is there.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let written = Written {
            format: record::VERSION,
            seed: self.seed,
            opened: self.opened,
            rules: self.rules.iter().map(WrittenRule::from).collect(),
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

    /// Adds a purge; too many become one of everything.
    pub fn add(&mut self, rule: Rule) {
        if rule.purge == EVERYTHING || self.rules.len() >= MAX_RULES {
            self.rules = vec![Rule { before: rule.before, purge: EVERYTHING }];
        } else {
            self.rules.push(rule);
        }
    }

    /// Forgets the purges that no record is old enough for.
    pub fn forget_before(&mut self, oldest: u64) {
        self.rules.retain(|rule| rule.before > oldest);
    }
}

const EVERYTHING: Purge = Purge { host: None, scope: Scope::All };

impl From<WrittenRule> for Rule {
    fn from(written: WrittenRule) -> Self {
        let scope = match (written.path, written.prefix) {
            (Some(path), _) => Scope::Path(path),
            (None, Some(prefix)) => Scope::Prefix(prefix),
            (None, None) => Scope::All,
        };
        Self { before: written.before, purge: Purge { host: written.host, scope } }
    }
}

impl From<&Rule> for WrittenRule {
    fn from(rule: &Rule) -> Self {
        let (path, prefix) = match &rule.purge.scope {
            Scope::All => (None, None),
            Scope::Path(path) => (Some(path.clone()), None),
            Scope::Prefix(prefix) => (None, Some(prefix.clone())),
        };
        Self { before: rule.before, host: rule.purge.host.clone(), path, prefix }
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

    fn rule(before: u64, scope: Scope) -> Rule {
        Rule { before, purge: Purge { host: Some("a.test".to_owned()), scope } }
    }

    #[test]
    fn what_is_written_reads_back_and_damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Meta::read(dir.path()), Err(Unread::Missing)));
        let rules = vec![
            rule(1, Scope::All),
            rule(2, Scope::Path("/a".to_owned())),
            rule(3, Scope::Prefix("/b".to_owned())),
        ];
        let bookmark = Some("57:x".to_owned());
        let meta = Meta { seed: 9, opened: 2, rules: rules.clone(), bookmark: bookmark.clone() };
        meta.write(dir.path()).unwrap();
        let read = Meta::read(dir.path()).unwrap();
        assert_eq!((read.seed, read.opened, read.rules, read.bookmark), (9, 2, rules, bookmark));
        let good = fs::read(path(dir.path())).unwrap();
        for at in 0..good.len() - 1 {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(path(dir.path()), &bad).unwrap();
            assert!(Meta::read(dir.path()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_purge_of_everything_takes_the_place_of_all_others() {
        let mut meta = Meta { seed: 0, opened: 0, rules: Vec::new(), bookmark: None };
        (0..MAX_RULES as u64 + 5).for_each(|i| meta.add(rule(i, Scope::Path(format!("/{i}")))));
        assert_eq!(meta.rules.len(), 5);
        assert_eq!(meta.rules[0].purge, EVERYTHING);
        meta.forget_before(MAX_RULES as u64 + 2);
        assert_eq!(meta.rules.len(), 2);
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
