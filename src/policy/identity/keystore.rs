//! The API keys of one state directory: looked up on every request, changed by the CLI and the admin API.
//!
//! Readers take a snapshot without a lock. Changes go through the file: lock, read, change, write, swap; so
//! several processes on one directory see each other's. Everything but [`KeyStore::find`] blocks on disk.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

use super::{
    Consumer,
    key::{self, Secret},
    keyfile::{KeyFile, Lock, Record, Stamp, no_randomness},
};
use crate::diagnostic::{Diagnostic, codes};

/// Keys kept at most, revoked ones included.
pub const MAX_KEYS: usize = 100_000;

/// What a new key gets.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewKey {
    /// Milliseconds since the Unix epoch; never when absent.
    pub expires_ms: Option<u64>,
}

/// The keys of a state directory.
#[derive(Debug)]
pub struct KeyStore {
    dir: PathBuf,
    keys: ArcSwap<Snapshot>,
    /// The content of the file that `keys` shows; held by whoever changes it.
    shown: Mutex<Option<Stamp>>,
}

/// A key in use.
#[derive(Debug)]
pub struct Key {
    record: Record,
    pub consumer: Arc<Consumer>,
    /// Tells this key from all others.
    pub credential: u128,
    last_used_ms: AtomicU64,
}

#[derive(Debug)]
struct Snapshot {
    salt: [u8; 32],
    keys: Vec<Arc<Key>>,
    by_hash: HashMap<[u8; 32], Arc<Key>, RandomState>,
}

/// Why a presented key does not open anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRefusal {
    Unknown,
    Mistyped,
    Expired,
    Revoked,
}

impl KeyRefusal {
    /// What the caller may read: whoever holds an expired or revoked key knew it already.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "the API key is not known",
            Self::Mistyped => "the API key is mistyped: its check characters do not fit",
            Self::Expired => "the API key has expired",
            Self::Revoked => "the API key was revoked",
        }
    }
}

impl KeyStore {
    /// Opens the store of a state directory, which must exist. Nothing is written before the first change.
    ///
    /// # Errors
    /// The file of keys is there but cannot be read or understood.
    pub fn open(dir: &Path) -> Result<Self, Box<Diagnostic>> {
        let (file, stamp) = match KeyFile::read(dir)? {
            Some((file, stamp)) => (file, Some(stamp)),
            None => (KeyFile::empty().map_err(|error| no_randomness(dir, error))?, None),
        };
        let keys = ArcSwap::from_pointee(Snapshot::new(file, None));
        Ok(Self { dir: dir.to_owned(), keys, shown: Mutex::new(stamp) })
    }

    /// A store of nothing, for what only compiles: it opens no key and is never written.
    #[must_use]
    pub fn detached() -> Self {
        let file = KeyFile::new([0; 32], Vec::new());
        let keys = ArcSwap::from_pointee(Snapshot::new(file, None));
        Self { dir: PathBuf::from("/dev/null"), keys, shown: Mutex::new(None) }
    }

    /// The key that was presented, if it opens anything at `now_ms`; notes the use. Takes no lock.
    ///
    /// # Errors
    /// Why it opens nothing.
    pub fn find(&self, presented: &[u8], now_ms: u64) -> Result<Arc<Key>, KeyRefusal> {
        let keys = self.keys.load();
        let Some(key) = keys.by_hash.get(&key::hash(&keys.salt, presented)) else {
            return Err(if key::is_mistyped(presented) { KeyRefusal::Mistyped } else { KeyRefusal::Unknown });
        };
        if key.record.revoked_ms.is_some() {
            return Err(KeyRefusal::Revoked);
        }
        if key.record.expires_ms.is_some_and(|expires| expires <= now_ms) {
            return Err(KeyRefusal::Expired);
        }
        // At most one write per second, so that workers do not fight over the line.
        if now_ms.saturating_sub(key.last_used_ms.load(Ordering::Relaxed)) >= 1000 {
            key.last_used_ms.store(now_ms, Ordering::Relaxed);
        }
        Ok(Arc::clone(key))
    }

    /// All keys in the order of their making, revoked ones included.
    #[must_use]
    pub fn list(&self) -> Vec<Record> {
        self.keys.load().keys.iter().map(|key| key.current()).collect()
    }

    /// Makes a key for `consumer`. The secret is returned here and nowhere else.
    ///
    /// # Errors
    /// The name is empty or too long, there are too many keys, or the file cannot be written.
    pub fn add(&self, consumer: &str, new: NewKey, now_ms: u64) -> Result<(Record, Secret), Box<Diagnostic>> {
        super::consumer::check_name(consumer).map_err(|why| refused(&why, "choose another name"))?;
        self.change(|file| {
            if file.keys.len() >= MAX_KEYS {
                return Err(refused("there are too many keys", "remove revoked keys from `keys.json`"));
            }
            let taken: HashSet<&str> = file.keys.iter().map(|key| key.id.as_str()).collect();
            let secret = loop {
                let secret = Secret::generate().map_err(|error| no_randomness(&self.dir, error))?;
                if !taken.contains(secret.id()) {
                    break secret;
                }
            };
            let record = Record {
                id: secret.id().to_owned(),
                consumer: consumer.to_owned(),
                hash: key::hash(&file.salt, secret.reveal().as_bytes()),
                created_ms: now_ms,
                expires_ms: new.expires_ms,
                revoked_ms: None,
                last_used_ms: None,
            };
            file.keys.push(record.clone());
            Ok((record, secret))
        })
    }

    /// Revokes the key whose id this is, or whose id alone begins so (`gw_` before it is allowed).
    ///
    /// # Errors
    /// No key or several keys are meant, or the file cannot be written.
    pub fn revoke(&self, id: &str, now_ms: u64) -> Result<Record, Box<Diagnostic>> {
        let start = id.strip_prefix("gw_").unwrap_or(id);
        let start = start.split('_').next().unwrap_or_default();
        self.change(|file| {
            let mut meant = file.keys.iter_mut().filter(|key| !start.is_empty() && key.id.starts_with(start));
            match (meant.next(), meant.next()) {
                (Some(key), None) => {
                    key.revoked_ms = key.revoked_ms.or(Some(now_ms));
                    Ok(key.clone())
                }
                (None, _) => Err(refused(
                    &format!("no key has the id `{}`", start.escape_debug()),
                    "`gatewright keys list` shows all ids",
                )),
                _ => Err(refused(
                    &format!("several keys begin with `{}`", start.escape_debug()),
                    "give more characters of the id; `gatewright keys list` shows all ids",
                )),
            }
        })
    }

    /// Takes over what another process wrote. Cheap when nothing did.
    ///
    /// # Errors
    /// The file cannot be read or understood; the keys known so far stay in force.
    pub fn refresh(&self) -> Result<(), Box<Diagnostic>> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if Stamp::now(&self.dir) == *shown {
            return Ok(());
        }
        match KeyFile::read(&self.dir)? {
            Some((file, stamp)) => {
                self.show(file);
                *shown = Some(stamp);
                Ok(())
            }
            // A file that vanished must not lock everybody out; the next change writes it again.
            None => Ok(()),
        }
    }

    /// Writes down when keys were last used, if any was since the last time.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn flush(&self) -> Result<(), Box<Diagnostic>> {
        if self.keys.load().keys.iter().all(|key| key.current().last_used_ms == key.record.last_used_ms) {
            return Ok(());
        }
        self.change(|_| Ok(()))
    }

    /// The salt of this store's hashes.
    pub(super) fn salt(&self) -> [u8; 32] {
        self.keys.load().salt
    }

    /// Changes the file under its lock, then shows the new content.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut KeyFile) -> Result<T, Box<Diagnostic>>,
    ) -> Result<T, Box<Diagnostic>> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let _lock = Lock::take(&self.dir)?;
        let mut file = match KeyFile::read(&self.dir)? {
            Some((file, _)) => file,
            None => self.keys.load().file(),
        };
        let used = self.keys.load();
        for record in &mut file.keys {
            if let Some(key) = used.by_hash.get(&record.hash) {
                record.last_used_ms = record.last_used_ms.max(key.current().last_used_ms);
            }
        }
        let done = change(&mut file)?;
        *shown = Some(file.write(&self.dir)?);
        self.show(file);
        Ok(done)
    }

    fn show(&self, file: KeyFile) {
        let before = self.keys.load();
        self.keys.store(Arc::new(Snapshot::new(file, Some(&before))));
    }
}

impl Snapshot {
    /// Keys that were there before keep the moment of their last use.
    fn new(file: KeyFile, before: Option<&Self>) -> Self {
        let mut consumers: HashMap<String, Arc<Consumer>> = HashMap::new();
        let mut keys = Vec::with_capacity(file.keys.len());
        for record in file.keys {
            let consumer = consumers
                .entry(record.consumer.clone())
                .or_insert_with(|| Arc::new(Consumer::named(&record.consumer)));
            let used = before.and_then(|b| b.by_hash.get(&record.hash)).map(|key| &key.last_used_ms);
            let used =
                used.map_or(0, |used| used.load(Ordering::Relaxed)).max(record.last_used_ms.unwrap_or(0));
            let (consumer, credential) = (Arc::clone(consumer), super::id(&["key", &record.id]));
            keys.push(Arc::new(Key { record, consumer, credential, last_used_ms: AtomicU64::new(used) }));
        }
        let by_hash = keys.iter().map(|key| (key.record.hash, Arc::clone(key))).collect();
        Self { salt: file.salt, keys, by_hash }
    }

    /// The file that says the same.
    fn file(&self) -> KeyFile {
        KeyFile::new(self.salt, self.keys.iter().map(|key| key.current()).collect())
    }
}

impl Key {
    /// The record with the latest use.
    fn current(&self) -> Record {
        let used = self.last_used_ms.load(Ordering::Relaxed);
        Record { last_used_ms: (used > 0).then_some(used), ..self.record.clone() }
    }
}

fn refused(why: &str, help: &str) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(codes::KEY_REFUSED, why).help(help))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn open() -> (tempfile::TempDir, KeyStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = KeyStore::open(dir.path()).unwrap();
        (dir, store)
    }

    #[test]
    fn a_key_opens_until_it_expires_or_is_revoked() {
        let (_dir, store) = open();
        let (record, secret) = store.add("app", NewKey { expires_ms: Some(100) }, 1).unwrap();
        let key = secret.reveal().as_bytes();
        assert_eq!(&*store.find(key, 99).unwrap().consumer.name, "app");
        assert_eq!(store.find(key, 100).unwrap_err(), KeyRefusal::Expired);
        store.revoke(&record.id, 50).unwrap();
        assert_eq!(store.find(key, 51).unwrap_err(), KeyRefusal::Revoked);
        assert_eq!(store.find(b"gw_nothing", 1).unwrap_err(), KeyRefusal::Unknown);
        let mut wrong = key.to_vec();
        wrong[30] = if wrong[30] == b'x' { b'y' } else { b'x' };
        assert_eq!(store.find(&wrong, 1).unwrap_err(), KeyRefusal::Mistyped);
    }

    #[test]
    fn the_file_holds_no_secret_and_only_the_owner_reads_it() {
        let (dir, store) = open();
        let (record, secret) = store.add("app", NewKey::default(), 1).unwrap();
        let path = dir.path().join("keys.json");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(&record.id));
        assert!(!text.contains(&secret.reveal()[12..]));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn keys_and_their_last_use_survive_a_restart() {
        let (dir, store) = open();
        let (_, secret) = store.add("app", NewKey::default(), 1).unwrap();
        store.find(secret.reveal().as_bytes(), 5000).unwrap();
        store.flush().unwrap();
        let again = KeyStore::open(dir.path()).unwrap();
        assert_eq!(again.list(), store.list());
        assert_eq!(again.list()[0].last_used_ms, Some(5000));
        assert!(again.find(secret.reveal().as_bytes(), 6000).is_ok());
    }

    #[test]
    fn two_processes_on_one_directory_see_each_other() {
        let (dir, one) = open();
        let two = KeyStore::open(dir.path()).unwrap();
        let (record, first) = one.add("one", NewKey::default(), 1).unwrap();
        let (_, second) = two.add("two", NewKey::default(), 2).unwrap();
        one.refresh().unwrap();
        assert!(one.find(second.reveal().as_bytes(), 3).is_ok());
        assert!(two.find(first.reveal().as_bytes(), 3).is_ok());
        two.revoke(&record.id, 4).unwrap();
        one.refresh().unwrap();
        assert_eq!(one.find(first.reveal().as_bytes(), 5).unwrap_err(), KeyRefusal::Revoked);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_never_an_empty_list() {
        let (dir, store) = open();
        let (_, secret) = store.add("app", NewKey::default(), 1).unwrap();
        let path = dir.path().join("keys.json");
        let good = std::fs::read_to_string(&path).unwrap();
        let damage = [
            String::new(),
            good[..good.len() / 2].to_owned(),
            good.replace("\"format\": 1", "\"format\": 2"),
            good.replace("\"keys\"", "\"kees\""),
            "[]".to_owned(),
        ];
        for text in damage {
            std::fs::write(&path, &text).unwrap();
            let error = KeyStore::open(dir.path()).unwrap_err();
            assert_eq!(error.code, codes::KEYS_DAMAGED, "{text}");
            assert!(error.place.file.ends_with("keys.json"));
            // A running gateway keeps what it knows and does not write over the file.
            assert!(store.refresh().is_err());
            assert!(store.add("more", NewKey::default(), 1).is_err());
            assert!(store.find(secret.reveal().as_bytes(), 2).is_ok());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn revoking_needs_one_key_to_be_meant() {
        let (_dir, store) = open();
        let (a, secret) = store.add("app", NewKey::default(), 1).unwrap();
        let (b, _) = store.add("app", NewKey::default(), 1).unwrap();
        for bad in ["", "gw_", "no-such-key"] {
            assert_eq!(store.revoke(bad, 2).unwrap_err().code, codes::KEY_REFUSED, "{bad:?}");
        }
        assert_eq!(store.revoke(secret.reveal(), 2).unwrap().id, a.id);
        assert_eq!(store.revoke(&a.id, 9).unwrap().revoked_ms, Some(2));
        assert_eq!(store.list().iter().find(|key| key.id == b.id).unwrap().revoked_ms, None);
    }

    #[test]
    fn a_directory_that_cannot_be_written_gives_an_error_and_no_key() {
        let (dir, store) = open();
        drop(dir);
        assert_eq!(store.add("app", NewKey::default(), 1).unwrap_err().code, codes::KEYS_UNWRITABLE);
        assert!(store.list().is_empty());
    }
}
