//! `keys.json`, the file in which API keys are kept: format, reading, atomic writing.
//!
//! Written to a temporary file, flushed, then renamed over the old one, so that a crash leaves the old or
//! the new list and never half of one. A file that cannot be understood is an error and never an empty list.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Code, Diagnostic, codes};

/// The only version there is; a file of a later one is refused rather than misread.
const FORMAT: u32 = 1;

/// About 100,000 keys.
const MAX_BYTES: u64 = 64 << 20;

const NAME: &str = "keys.json";

/// The file's content.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    format: u32,
    /// Keys the hash of every key in this file.
    #[serde(with = "hex")]
    pub salt: [u8; 32],
    pub keys: Vec<Record>,
}

/// What every format has.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

/// One key. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The visible part of the key.
    pub id: String,
    /// The consumer the key belongs to.
    pub consumer: String,
    #[serde(with = "hex")]
    pub hash: [u8; 32],
    pub created_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_ms: Option<u64>,
}

/// Tells one content of the file from another without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    len: u64,
    modified: (i64, i64),
}

impl KeyFile {
    /// An empty list with a fresh salt.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn empty() -> Result<Self, getrandom::Error> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt)?;
        Ok(Self::new(salt, Vec::new()))
    }

    #[must_use]
    pub fn new(salt: [u8; 32], keys: Vec<Record>) -> Self {
        Self { format: FORMAT, salt, keys }
    }

    /// Reads the file in `dir`; `None` when there is none yet.
    ///
    /// # Errors
    /// The file exists but cannot be read or understood.
    pub fn read(dir: &Path) -> Result<Option<(Self, Stamp)>, Box<Diagnostic>> {
        let path = dir.join(NAME);
        let damaged = |why: String| Box::new(damaged(dir, &why));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(Box::new(denied(dir))),
            Err(error) => return Err(damaged(error.to_string())),
        };
        let stamp = file.metadata().map(|meta| Stamp::of(&meta)).map_err(|e| damaged(e.to_string()))?;
        if stamp.len > MAX_BYTES {
            return Err(damaged(format!("it is larger than {} MB", MAX_BYTES >> 20)));
        }
        let mut text = Vec::with_capacity(stamp.len as usize);
        file.take(MAX_BYTES).read_to_end(&mut text).map_err(|e| damaged(e.to_string()))?;
        // The format first: what else a later one has is not this one's business.
        let Head { format } = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if format != FORMAT {
            return Err(damaged(format!("it has format {format}, this gateway knows format {FORMAT}")));
        }
        let file = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        Ok(Some((file, stamp)))
    }

    /// Replaces the file in `dir`; returns once the new content is safe on disk.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, dir: &Path) -> Result<Stamp, Box<Diagnostic>> {
        self.replace(dir).map_err(|error| Box::new(unwritable(dir, &error.to_string())))
    }

    fn replace(&self, dir: &Path) -> std::io::Result<Stamp> {
        let temporary = dir.join("keys.json.new");
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        file.write_all(&text)?;
        file.sync_all()?;
        let stamp = Stamp::of(&file.metadata()?);
        std::fs::rename(&temporary, dir.join(NAME))?;
        File::open(dir)?.sync_all()?;
        Ok(stamp)
    }
}

impl Stamp {
    /// The stamp of the file that is there now; `None` when there is none.
    #[must_use]
    pub fn now(dir: &Path) -> Option<Self> {
        std::fs::metadata(dir.join(NAME)).ok().map(|meta| Self::of(&meta))
    }

    fn of(meta: &std::fs::Metadata) -> Self {
        Self { inode: meta.ino(), len: meta.len(), modified: (meta.mtime(), meta.mtime_nsec()) }
    }
}

/// Held while the file is read, changed and written, against other processes on the same folder.
pub struct Lock(#[expect(dead_code, reason = "closing the file releases the lock")] File);

impl Lock {
    /// Waits for the lock of `dir`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn take(dir: &Path) -> Result<Self, Box<Diagnostic>> {
        let path = dir.join("keys.lock");
        let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        let locked = open.and_then(|file| {
            rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
            Ok(file)
        });
        locked.map(Self).map_err(|error| Box::new(unwritable(dir, &error.to_string())))
    }
}

/// The system gave no randomness for a key or a salt.
pub(super) fn no_randomness(dir: &Path, error: getrandom::Error) -> Box<Diagnostic> {
    Box::new(unwritable(dir, &format!("the system has no randomness to give: {error}")))
}

fn damaged(dir: &Path, why: &str) -> Diagnostic {
    about(codes::KEYS_DAMAGED, dir, format!("the file of API keys cannot be read: {why}"))
        .help("restore the file from a backup, or move it away to start with no keys")
}

fn denied(dir: &Path) -> Diagnostic {
    about(codes::KEYS_DAMAGED, dir, "the file of API keys cannot be read: permission denied".to_owned()).help(
        "run this as the user that runs the gateway, or name another state directory with `--state DIR`",
    )
}

fn unwritable(dir: &Path, why: &str) -> Diagnostic {
    about(codes::KEYS_UNWRITABLE, dir, format!("the file of API keys cannot be written: {why}"))
        .help("make the state directory writable for this user, or name another one with `--state DIR`")
}

fn about(code: Code, dir: &Path, title: String) -> Diagnostic {
    Diagnostic::error(code, title).file(dir.join(NAME).display().to_string())
}

/// 32 bytes as 64 hexadecimal digits.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&blake3::Hash::from_bytes(*bytes).to_hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        let hash =
            blake3::Hash::from_hex(&text).map_err(|_| D::Error::custom("expected 64 hexadecimal digits"))?;
        Ok(*hash.as_bytes())
    }
}
