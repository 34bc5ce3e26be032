//! The form of a stored response in the index: one byte of version, fields, a checksum over all.
//!
//! What does not read back whole and unchanged is not there.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::BodyFile;
use crate::cache::{
    control::Policy,
    entry::{Entry, Stored},
    vary::Vary,
};

/// Another version is another cache: its records are not read.
pub const VERSION: u8 = 3;

/// The largest record with its body: sixteen and more of them must fit a leaf of the index with room to
/// spare, or sled writes the leaf to a file of its own.
pub const MAX_WHOLE: usize = 4 * 1024;

/// The largest record without a body.
pub const MAX_HEAD: usize = 6 * 1024;

const FLAG_VALIDATE: u8 = 1;
const FLAG_NEVER_STALE: u8 = 2;
const FLAG_SHAREABLE: u8 = 4;

/// Where a record's body goes or lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed<'a> {
    Here(&'a [u8]),
    /// Name and length of a file of the same generation.
    File(u64, u64),
}

/// A record as read.
#[derive(Debug)]
pub struct Decoded {
    pub key: Vec<u8>,
    pub entry: Entry,
}

/// Writes `entry` under `key`; `seed` makes records of another store unreadable.
#[must_use]
pub fn encode(key: &[u8], entry: &Entry, body: Placed<'_>, seed: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.push(VERSION);
    out.extend_from_slice(&entry.since.to_le_bytes());
    long(&mut out, key);
    let policy = &entry.policy;
    for number in
        [policy.received_ms, policy.initial_age_ms, policy.lifetime_ms, policy.revalidate_ms, policy.error_ms]
    {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    out.push(
        flag(policy.always_validate, FLAG_VALIDATE)
            | flag(policy.never_stale, FLAG_NEVER_STALE)
            | flag(policy.shareable, FLAG_SHAREABLE),
    );
    out.extend_from_slice(&entry.status.as_u16().to_le_bytes());
    count(&mut out, entry.vary.fields().len());
    for (name, value) in entry.vary.fields() {
        long(&mut out, name.as_str().as_bytes());
        out.push(u8::from(value.is_some()));
        long(&mut out, value.as_deref().unwrap_or_default());
    }
    let headers = entry.fields();
    count(&mut out, headers.len());
    for (name, value) in &headers {
        long(&mut out, name.as_str().as_bytes());
        long(&mut out, value.as_bytes());
    }
    match body {
        Placed::Here(bytes) => {
            out.push(0);
            long(&mut out, bytes);
        }
        Placed::File(name, len) => {
            out.push(1);
            out.extend_from_slice(&name.to_le_bytes());
            out.extend_from_slice(&len.to_le_bytes());
        }
    }
    let sum = xxh3_64_with_seed(&out, seed);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// Reads a record of `generation`; nothing when it is damaged, of another version or another store.
#[must_use]
pub fn decode(record: &[u8], generation: u64, seed: u64) -> Option<Decoded> {
    let mut reader = Reader(verified(record, seed)?);
    if reader.byte()? != VERSION {
        return None;
    }
    let since = reader.number()?;
    let key = reader.long()?.to_vec();
    let numbers: [u64; 5] =
        [reader.number()?, reader.number()?, reader.number()?, reader.number()?, reader.number()?];
    let flags = reader.byte()?;
    let policy = Policy {
        received_ms: numbers[0],
        initial_age_ms: numbers[1],
        lifetime_ms: numbers[2],
        revalidate_ms: numbers[3],
        error_ms: numbers[4],
        always_validate: flags & FLAG_VALIDATE != 0,
        never_stale: flags & FLAG_NEVER_STALE != 0,
        shareable: flags & FLAG_SHAREABLE != 0,
    };
    let status = StatusCode::from_u16(reader.short()?).ok()?;
    let mut vary = Vec::new();
    for _ in 0..reader.short()? {
        let name = HeaderName::from_bytes(reader.long()?).ok()?;
        let present = reader.byte()? == 1;
        let value = reader.long()?;
        vary.push((name, present.then(|| value.into())));
    }
    let mut headers = HeaderMap::new();
    for _ in 0..reader.short()? {
        let name = HeaderName::from_bytes(reader.long()?).ok()?;
        headers.append(name, HeaderValue::from_bytes(reader.long()?).ok()?);
    }
    let body = match reader.byte()? {
        0 => Stored::Bytes(Bytes::copy_from_slice(reader.long()?)),
        1 => Stored::File(BodyFile { generation, name: reader.number()?, len: reader.number()? }),
        _ => return None,
    };
    let entry = Entry::from_parts(Vary::from_fields(vary), policy, status, headers, body, since);
    reader.0.is_empty().then_some(Decoded { key, entry })
}

/// The content of a record whose checksum holds.
fn verified(record: &[u8], seed: u64) -> Option<&[u8]> {
    let (content, sum) = record.split_last_chunk::<8>()?;
    (xxh3_64_with_seed(content, seed) == u64::from_le_bytes(*sum)).then_some(content)
}

fn count(out: &mut Vec<u8>, number: usize) {
    // Header maps hold at most 32,768 fields.
    out.extend_from_slice(&(number as u16).to_le_bytes());
}

fn long(out: &mut Vec<u8>, content: &[u8]) {
    // Longer content makes the record too large to be written.
    out.extend_from_slice(&(content.len() as u32).to_le_bytes());
    out.extend_from_slice(content);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn short(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn long(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.take()?) as usize;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let headers = HeaderMap::from_iter([
            (http::header::ETAG, HeaderValue::from_static("\"a\"")),
            (crate::cache::status::CACHE_STATUS, HeaderValue::from_static("up; hit")),
            (http::header::VARY, HeaderValue::from_bytes(b"x-\xff").unwrap()),
        ]);
        let vary = Vary::from_fields(vec![
            (HeaderName::from_static("a"), Some(Box::from(&b"1"[..]))),
            (HeaderName::from_static("b"), None),
        ]);
        let policy =
            Policy { received_ms: 1, lifetime_ms: 2, shareable: true, error_ms: 9, ..Policy::default() };
        let body = Stored::Bytes(Bytes::from_static(b"hello"));
        Entry::from_parts(vary, policy, StatusCode::NOT_FOUND, headers, body, 42)
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let written = entry();
        for body in [Placed::Here(b"hello"), Placed::File(7, 5)] {
            let read = decode(&encode(b"key", &written, body, 3), 11, 3).unwrap();
            assert_eq!(read.key, b"key");
            let entry = read.entry;
            assert_eq!((entry.policy, entry.status, entry.since), (written.policy, written.status, 42));
            assert_eq!((&entry.vary, &entry.headers), (&written.vary, &written.headers));
            assert_eq!(entry.before, written.before);
            match (body, entry.body) {
                (Placed::Here(bytes), Stored::Bytes(read)) => assert_eq!(read, bytes),
                (Placed::File(name, len), Stored::File(file)) => {
                    assert_eq!(file, BodyFile { generation: 11, name, len });
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn any_changed_or_missing_byte_makes_it_unreadable() {
        let record = encode(b"key", &entry(), Placed::Here(b"hello"), 3);
        assert!(decode(&record, 0, 4).is_none());
        for at in 0..record.len() {
            let mut bad = record.clone();
            bad[at] ^= 0x10;
            assert!(decode(&bad, 0, 3).is_none(), "byte {at}");
            assert!(decode(&record[..at], 0, 3).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn a_record_that_lies_about_its_lengths_does_not_read_beyond_its_end() {
        let mut record = vec![VERSION];
        record.extend_from_slice(&[0; 8]);
        record.extend_from_slice(&u32::MAX.to_le_bytes());
        let sum = xxh3_64_with_seed(&record, 3);
        record.extend_from_slice(&sum.to_le_bytes());
        assert!(decode(&record, 0, 3).is_none());
    }
}
