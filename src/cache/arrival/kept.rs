//! The bytes of an arriving body that are kept: all of them while they are stored, else a window.

use bytes::{Buf, Bytes, BytesMut};

/// What is reserved at once for a body that states its length.
const FIRST_RESERVE: u64 = 1024 * 1024;

/// Bytes that are handed out at once while more arrive: they are copied out.
const PIECE: usize = 64 * 1024;

/// Bytes from one position of the body to another; positions count from the body's first byte.
pub struct Kept {
    start: u64,
    held: Held,
}

enum Held {
    Growing(BytesMut),
    Whole(Bytes),
}

impl Kept {
    /// Nothing yet of a body, or a part of one, that begins at `start`.
    #[must_use]
    pub fn new(start: u64, expected: Option<u64>) -> Self {
        let reserve = expected.unwrap_or(0).min(FIRST_RESERVE) as usize;
        Self { start, held: Held::Growing(BytesMut::with_capacity(reserve)) }
    }

    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.held {
            Held::Growing(bytes) => bytes.len() as u64,
            Held::Whole(bytes) => bytes.len() as u64,
        }
    }

    /// The position behind the last byte that came.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start + self.len()
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if let Held::Growing(held) = &mut self.held {
            held.extend_from_slice(bytes);
        }
    }

    /// Notes bytes that nobody needs any more; none are kept then.
    pub fn pass(&mut self, count: u64) {
        self.start = self.end() + count;
        self.held = Held::Growing(BytesMut::new());
    }

    /// Lets go of all before a position.
    pub fn release(&mut self, before: u64) {
        if let Held::Growing(held) = &mut self.held {
            let count = before.saturating_sub(self.start).min(held.len() as u64);
            held.advance(count as usize);
            self.start += count;
        }
    }

    /// All that came is all there is: the bytes as they are stored.
    pub fn close(&mut self) -> Bytes {
        let whole = match std::mem::replace(&mut self.held, Held::Whole(Bytes::new())) {
            Held::Growing(held) => compact(held),
            Held::Whole(whole) => whole,
        };
        self.held = Held::Whole(whole.clone());
        whole
    }

    /// The next bytes from `at` on, before `until`; none when there is nothing yet.
    #[must_use]
    pub fn piece(&self, at: u64, until: u64) -> Option<Bytes> {
        let from = usize::try_from(at.checked_sub(self.start)?).ok()?;
        let to = usize::try_from(until.min(self.end()).checked_sub(self.start)?).ok()?;
        (from < to).then(|| match &self.held {
            Held::Growing(bytes) => Bytes::copy_from_slice(&bytes[from..to.min(from + PIECE)]),
            Held::Whole(bytes) => bytes.slice(from..to),
        })
    }
}

/// The bytes without the room that the buffer kept for more.
fn compact(body: BytesMut) -> Bytes {
    let spare = body.capacity() - body.len();
    if spare > body.len() / 8 + 64 { Bytes::copy_from_slice(&body) } else { body.freeze() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_let_go_keeps_its_place() {
        let mut kept = Kept::new(100, None);
        kept.push(b"abcdef");
        assert_eq!((kept.len(), kept.end()), (6, 106));
        kept.release(103);
        assert_eq!((kept.len(), kept.end()), (3, 106));
        assert_eq!(kept.piece(104, 200).unwrap(), "ef");
        assert_eq!(kept.piece(103, 105).unwrap(), "de");
        for nothing in
            [kept.piece(102, 200), kept.piece(106, 200), kept.piece(104, 104), kept.piece(110, 200)]
        {
            assert_eq!(nothing, None);
        }
        kept.pass(10);
        assert_eq!((kept.len(), kept.end()), (0, 116));
        kept.push(b"g");
        assert_eq!(kept.piece(116, 200).unwrap(), "g");
        kept.release(500);
        assert_eq!((kept.len(), kept.end()), (0, 117));
    }

    #[test]
    fn a_body_is_handed_out_in_pieces_until_it_is_whole() {
        let mut kept = Kept::new(0, Some(5));
        let body: Vec<u8> = (0..3 * PIECE + 5).map(|i| i as u8).collect();
        kept.push(&body);
        assert_eq!(kept.piece(1, u64::MAX).unwrap(), body[1..=PIECE]);
        assert_eq!(kept.close(), body);
        assert_eq!(kept.piece(1, u64::MAX).unwrap(), body[1..]);
        kept.release(9);
        assert_eq!(kept.piece(0, u64::MAX).unwrap(), body, "what is whole is kept");
    }
}
