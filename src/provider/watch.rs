//! Noticing changes: the files of a configuration are looked at once a second.
//!
//! Polling instead of kernel events: it works on network folders and with Kubernetes' symbolic-link swaps,
//! and a handful of `stat` calls a second cost nothing.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// How often files are looked at; a change must also have settled for one interval.
pub const INTERVAL: Duration = Duration::from_millis(500);

/// What the watched files looked like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot(Vec<(PathBuf, Option<Stamp>)>);

/// Enough of a file's metadata to see every ordinary way of replacing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: i64,
    modified_nanos: i64,
}

impl Snapshot {
    /// Looks at `paths` now; a folder stands for its own list of entries.
    #[must_use]
    pub fn take<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let stamp = |path: &Path| {
            let meta = fs::metadata(path).ok()?;
            Some(Stamp {
                inode: meta.ino(),
                size: meta.size(),
                modified: meta.mtime(),
                modified_nanos: meta.mtime_nsec(),
            })
        };
        Self(paths.into_iter().map(|path| (path.to_owned(), stamp(path))).collect())
    }

    /// The same files as they look now.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::take(self.0.iter().map(|(path, _)| path.as_path()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_and_a_vanished_one_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        fs::write(&file, "a: 1").unwrap();
        let before = Snapshot::take([file.as_path()]);
        assert_eq!(before, before.again());
        fs::write(dir.path().join("b"), "a: 2").unwrap();
        fs::rename(dir.path().join("b"), &file).unwrap();
        assert_ne!(before, before.again());
        fs::remove_file(&file).unwrap();
        assert_ne!(before, before.again());
    }
}
