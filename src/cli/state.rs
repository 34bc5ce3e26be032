//! The state directory: where it is, that it is writable, and that one gateway at a time uses it.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::{
    diagnostic::{Diagnostic, codes},
    provider::source::reason,
};

/// A state directory in use; the lock goes with it.
#[derive(Debug)]
pub struct State {
    pub dir: PathBuf,
    /// Held, never read: closing it gives the directory free.
    _lock: File,
    /// Removed at the end, for `demo`.
    _temporary: Option<Temporary>,
}

const LOCK: &str = "lock";
/// The address of the admin listener while a gateway runs, for the commands that talk to it.
const ADMIN_ADDRESS: &str = "admin.address";

impl State {
    /// Creates the directory where needed and locks it.
    pub fn open(dir: PathBuf) -> Result<Self, Diagnostic> {
        create(&dir)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.join(LOCK));
        let lock = lock.map_err(|error| {
            unusable(&dir, format!("the state directory is not writable: {}", reason(&error)))
                .help("name another with `--state DIR`, or make this one writable for the user that runs gatewright")
        })?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(unusable(&dir, "another gatewright uses the state directory".to_owned())
                .help("stop that one, or give this one a directory of its own with `--state DIR`"));
        }
        Ok(Self { dir, _lock: lock, _temporary: None })
    }

    /// A directory that goes when the process ends.
    pub fn temporary() -> Result<Self, Diagnostic> {
        let dir = std::env::temp_dir().join(format!("gatewright-{}", std::process::id()));
        let mut state = Self::open(dir.clone())?;
        state._temporary = Some(Temporary(dir));
        Ok(state)
    }

    /// Leaves word where the admin listener is, in the directory and among the running gateways.
    pub fn announce(&self, admin: SocketAddr) -> std::io::Result<()> {
        self.write(ADMIN_ADDRESS, &admin.to_string())?;
        if let Ok(running) = running_dir() {
            let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(&running);
            let dir = fs::canonicalize(&self.dir)?;
            let _ = fs::write(running.join(admin.to_string()), dir.display().to_string());
        }
        Ok(())
    }

    /// Takes the word back.
    pub fn withdraw(&self, admin: SocketAddr) {
        let _ = fs::remove_file(self.dir.join(ADMIN_ADDRESS));
        if let Ok(running) = running_dir() {
            let _ = fs::remove_file(running.join(admin.to_string()));
            let _ = fs::remove_dir(running); // only when nobody else left word
        }
    }

    /// Writes a small file that others can read at any time whole or not at all.
    fn write(&self, name: &str, text: &str) -> std::io::Result<()> {
        let (path, draft) = (self.dir.join(name), self.dir.join(format!("{name}.new")));
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        fs::rename(draft, path)
    }
}

/// Whether a gateway uses the directory now.
#[must_use]
pub fn is_in_use(dir: &Path) -> bool {
    let lock = OpenOptions::new().write(true).open(dir.join(LOCK));
    lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err())
}

/// The admin address that the gateway using `dir` left word of.
#[must_use]
pub fn admin_of(dir: &Path) -> Option<SocketAddr> {
    fs::read_to_string(dir.join(ADMIN_ADDRESS)).ok()?.trim().parse().ok()
}

/// The gateways of this user that run now: admin address and state directory.
#[must_use]
pub fn running() -> Vec<(SocketAddr, PathBuf)> {
    let Ok(entries) = running_dir().and_then(fs::read_dir) else {
        return Vec::new();
    };
    let read = |entry: fs::DirEntry| {
        let address = entry.file_name().to_str()?.parse().ok()?;
        let dir = PathBuf::from(fs::read_to_string(entry.path()).ok()?);
        is_in_use(&dir).then_some((address, dir))
    };
    entries.flatten().filter_map(read).collect()
}

/// Where running gateways leave word: the user's runtime directory, or one of the user's own under the
/// temporary directory. Another user's is not looked into.
fn running_dir() -> std::io::Result<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let dir = match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_dir()) {
        Some(dir) => dir.join("gatewright"),
        None => std::env::temp_dir().join(format!("gatewright-running-{uid}")),
    };
    match fs::symlink_metadata(&dir) {
        Ok(meta) if !meta.is_dir() || meta.uid() != uid => Err(std::io::ErrorKind::PermissionDenied.into()),
        _ => Ok(dir),
    }
}

#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The directory of a configuration: under the XDG state directory, named by what is run so that two
/// configurations never share a cache.
pub fn default_dir(identity: &[String]) -> Result<PathBuf, Diagnostic> {
    let base = base_dir()?;
    let absolute = |name: &String| match fs::canonicalize(name) {
        Ok(path) => path.display().to_string(),
        Err(_) => name.clone(),
    };
    let names: Vec<String> = identity.iter().map(absolute).collect();
    let hash = blake3::hash(names.join("\n").as_bytes()).to_hex();
    let word: String = names
        .first()
        .and_then(|name| Path::new(name).file_stem())
        .map(|stem| {
            stem.to_string_lossy()
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
                .take(24)
                .collect()
        })
        .unwrap_or_default();
    Ok(base.join(format!("{word}-{}", &hash[..10])))
}

/// Where the state of all this user's gateways lies (XDG base directories).
fn base_dir() -> Result<PathBuf, Diagnostic> {
    let base = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state")));
    base.map(|base| base.join("gatewright")).ok_or_else(|| {
        Diagnostic::error(codes::STATE_UNUSABLE, "neither XDG_STATE_HOME nor HOME says where state belongs")
            .help("name a directory with `--state DIR`")
    })
}

fn create(dir: &Path) -> Result<(), Diagnostic> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
        unusable(dir, format!("the state directory cannot be created: {}", reason(&error)))
            .help("name another with `--state DIR`")
    })
}

fn unusable(dir: &Path, title: String) -> Diagnostic {
    Diagnostic::error(codes::STATE_UNUSABLE, title).file(dir.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_serves_one_gateway_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = State::open(dir.path().join("a")).unwrap();
        let second = State::open(dir.path().join("a")).unwrap_err();
        assert!(second.title.contains("another gatewright"), "{second:?}");
        drop(first);
        assert!(State::open(dir.path().join("a")).is_ok());
    }

    #[test]
    fn two_configurations_never_share_a_directory() {
        let one = default_dir(&["a/petstore.yaml".into()]).unwrap();
        let two = default_dir(&["b/petstore.yaml".into()]).unwrap();
        assert_ne!(one, two);
        assert!(one.to_string_lossy().contains("petstore-"));
    }
}
