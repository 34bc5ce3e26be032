//! Bodies too large for the index: one file each, in blocks with a checksum behind each.
//!
//! A file is written under a name that nothing else ever has, before the index refers to it; a crash
//! leaves at most a file without a reference, which goes with its generation. A block is checked before a
//! byte of it leaves.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of content per block.
pub const BLOCK: u64 = 64 * 1024;

const SUM: u64 = 8;

/// The folder of a generation's body files.
pub struct Bodies {
    dir: PathBuf,
    seed: u64,
}

impl Bodies {
    #[must_use]
    pub fn new(dir: PathBuf, seed: u64) -> Self {
        Self { dir, seed }
    }

    /// Writes `body` as the file `name`; a half-written one is taken away again.
    pub fn write(&self, name: u64, body: &[u8]) -> io::Result<()> {
        let path = self.path(name);
        let mut file = create(&path)?;
        let mut block = Vec::with_capacity((BLOCK + SUM) as usize);
        for (i, content) in body.chunks(BLOCK as usize).enumerate() {
            block.clear();
            block.extend_from_slice(content);
            block.extend_from_slice(&self.sum(name, i as u64, content).to_le_bytes());
            if let Err(error) = file.write_all(&block) {
                let _ = fs::remove_file(&path);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes a file of another generation over, without a copy.
    pub fn adopt(&self, from: &Self, name: u64) -> io::Result<()> {
        let path = self.path(name);
        if path.exists() {
            return Ok(());
        }
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::hard_link(from.path(name), path)
    }

    pub fn open(&self, name: u64) -> io::Result<File> {
        File::open(self.path(name))
    }

    pub fn remove(&self, name: u64) {
        let _ = fs::remove_file(self.path(name));
    }

    /// The content of `count` blocks from `first` on, of a file whose content has `len` bytes.
    pub fn read(seed: u64, file: &File, name: u64, len: u64, first: u64, count: u64) -> io::Result<Bytes> {
        let start = first * BLOCK;
        let end = (start + count * BLOCK).min(len);
        let mut content = BytesMut::with_capacity(end.saturating_sub(start) as usize + SUM as usize);
        let mut at = start;
        while at < end {
            let size = BLOCK.min(len - at);
            let from = content.len();
            content.resize(from + (size + SUM) as usize, 0);
            let block = at / BLOCK;
            file.read_exact_at(&mut content[from..], block * (BLOCK + SUM))?;
            let (data, sum) = content[from..].split_at(size as usize);
            if xxh3_64_with_seed(data, block_seed(seed, name, block)).to_le_bytes() != sum {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a body's checksum does not match"));
            }
            content.truncate(from + size as usize);
            at += size;
        }
        Ok(content.freeze())
    }

    fn sum(&self, name: u64, block: u64, content: &[u8]) -> u64 {
        xxh3_64_with_seed(content, block_seed(self.seed, name, block))
    }

    fn path(&self, name: u64) -> PathBuf {
        self.dir.join(format!("{:02x}", name & 0xff)).join(format!("{name:016x}"))
    }
}

/// Bytes that a body of `len` bytes takes as a file.
#[must_use]
pub fn size_on_disk(len: u64) -> u64 {
    len + len.div_ceil(BLOCK) * SUM
}

/// A block in another's place, or of another file, does not match.
fn block_seed(seed: u64, name: u64, block: u64) -> u64 {
    seed ^ name.rotate_left(20) ^ block.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A new file, with its folder where that is missing.
fn create(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().write(true).create_new(true).open(path);
    match (open(), path.parent()) {
        (Err(error), Some(dir)) if error.kind() == io::ErrorKind::NotFound => {
            // One level only: a generation's folder that was taken away is an error to be seen.
            fs::create_dir(dir)?;
            open()
        }
        (result, _) => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(len: u64) -> Vec<u8> {
        (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
    }

    #[test]
    fn a_body_reads_back_whole_and_in_parts() {
        let dir = tempfile::tempdir().unwrap();
        let bodies = Bodies::new(dir.path().to_owned(), 5);
        for (name, len) in [(1, 1), (2, BLOCK - 1), (3, BLOCK), (4, BLOCK + 1), (5, 3 * BLOCK + 17)] {
            let body = body(len);
            bodies.write(name, &body).unwrap();
            let file = bodies.open(name).unwrap();
            assert_eq!(file.metadata().unwrap().len(), size_on_disk(len));
            assert_eq!(Bodies::read(5, &file, name, len, 0, u64::MAX / BLOCK - 1).unwrap(), body);
            let last = (len - 1) / BLOCK;
            let tail = Bodies::read(5, &file, name, len, last, 1).unwrap();
            assert_eq!(tail, body[(last * BLOCK) as usize..]);
        }
    }

    #[test]
    fn a_changed_cut_or_exchanged_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let bodies = Bodies::new(dir.path().to_owned(), 5);
        let len = BLOCK + 9;
        bodies.write(1, &body(len)).unwrap();
        let path = bodies.path(1);
        let good = fs::read(&path).unwrap();
        for at in [0, 17, BLOCK as usize, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(Bodies::read(5, &bodies.open(1).unwrap(), 1, len, 0, 9).is_err(), "byte {at}");
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(Bodies::read(5, &bodies.open(1).unwrap(), 1, len, 0, 9).is_err());
        fs::write(&path, &good).unwrap();
        assert!(Bodies::read(5, &bodies.open(1).unwrap(), 2, len, 0, 9).is_err());
        assert!(Bodies::read(5, &bodies.open(1).unwrap(), 1, len, 0, 9).is_ok());
    }
}
