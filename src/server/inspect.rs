//! Where in a stream of HTTP/1 requests we are, and which of its bytes may go on to hyper. Pure.
//!
//! A head goes on as a whole or not at all, so hyper never sees half of one and a refused head never
//! becomes a request. Body bytes go on as they come.

use super::{
    chunk::{ChunkScanner, Found},
    config::Limits,
    head::{Framing, HeadScanner},
    refusal::Refusal,
};

#[derive(Debug)]
enum Place {
    Head(HeadScanner),
    Sized(u64),
    Chunked(ChunkScanner),
    /// The last request asked for an upgrade: the next bytes mean nothing before the answer is known.
    Waiting,
    /// The connection speaks another protocol now.
    Open,
    Refused,
}

/// Follows one connection.
#[derive(Debug)]
pub(super) struct Inspector {
    place: Place,
    /// The request whose body is being read asked for an upgrade.
    upgrade: bool,
}

/// The verdict on some bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// How many of the bytes may go on; the others must be shown again, with what follows them.
    pub(super) pass: usize,
    /// How many heads are among them.
    pub(super) heads: u32,
    /// Why nothing more may go on.
    pub(super) refused: Option<Refused>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// In a head, which is not a request then.
    Head(Refusal),
    /// In the body of the last request that went on.
    Body(Refusal),
}

impl Inspector {
    pub(super) fn new() -> Self {
        Self { place: Place::Head(HeadScanner::default()), upgrade: false }
    }

    /// Looks at `bytes`: those held back last time, then new ones.
    pub(super) fn inspect(&mut self, bytes: &[u8], limits: &Limits) -> Seen {
        let mut seen = Seen::default();
        while seen.refused.is_none() {
            let rest = &bytes[seen.pass..];
            match &mut self.place {
                Place::Head(scanner) if !rest.is_empty() => match scanner.scan(rest, limits) {
                    Ok(None) => break,
                    Ok(Some(head)) => {
                        seen.pass += head.len;
                        seen.heads += 1;
                        self.upgrade = head.upgrade;
                        match head.body {
                            Framing::None => self.message_ends(),
                            Framing::Sized(length) => self.place = Place::Sized(length),
                            Framing::Chunked => self.place = Place::Chunked(ChunkScanner::new()),
                        }
                    }
                    Err(refusal) => seen.refused = Some(Refused::Head(refusal)),
                },
                Place::Sized(left) if !rest.is_empty() => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    seen.pass += take;
                    *left -= take as u64;
                    if *left == 0 {
                        self.message_ends();
                    }
                }
                Place::Chunked(scanner) if !rest.is_empty() => {
                    let (fine, found) = scanner.scan(rest, limits);
                    seen.pass += fine;
                    match found {
                        Found::More => {}
                        Found::End => self.message_ends(),
                        Found::Refused(refusal) => seen.refused = Some(Refused::Body(refusal)),
                    }
                }
                Place::Open => {
                    seen.pass = bytes.len();
                    break;
                }
                _ => break,
            }
        }
        if seen.refused.is_some() {
            self.place = Place::Refused;
        }
        seen
    }

    fn message_ends(&mut self) {
        self.place = if self.upgrade { Place::Waiting } else { Place::Head(HeadScanner::default()) };
    }

    /// Whether bytes are held until an upgrade is answered.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.place, Place::Waiting)
    }

    /// The upgrade was answered.
    pub(super) fn decide(&mut self, upgraded: bool) {
        self.upgrade = false;
        self.place = if upgraded { Place::Open } else { Place::Head(HeadScanner::default()) };
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.place, Place::Open)
    }

    /// Whether the connection stands between two requests, or in a head.
    pub(super) fn in_head(&self) -> bool {
        matches!(self.place, Place::Head(_))
    }

    /// Whether a head has been begun; `held` are the bytes held back.
    pub(super) fn head_begun(&self, held: &[u8]) -> bool {
        matches!(&self.place, Place::Head(scanner) if scanner.begun(held))
    }

    /// Whether more bytes of a message are to come, or bytes that were refused.
    pub(super) fn is_unfinished(&self) -> bool {
        matches!(self.place, Place::Sized(_) | Place::Chunked(_) | Place::Refused)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::server::tests::vectors::{self, Expect};

    /// Feeds a stream in pieces as the stream under hyper does: what goes on, how many heads, the verdict.
    fn feed<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, u32, Option<Refused>) {
        feed_within(pieces, &Limits::default())
    }

    fn feed_within<'a>(
        pieces: impl Iterator<Item = &'a [u8]>,
        limits: &Limits,
    ) -> (Vec<u8>, u32, Option<Refused>) {
        let mut inspector = Inspector::new();
        let (mut held, mut passed, mut heads) = (Vec::new(), Vec::new(), 0);
        for piece in pieces {
            held.extend_from_slice(piece);
            let seen = inspector.inspect(&held, limits);
            passed.extend(held.drain(..seen.pass));
            heads += seen.heads;
            if seen.refused.is_some() {
                return (passed, heads, seen.refused);
            }
        }
        (passed, heads, None)
    }

    #[test]
    fn every_vector_gets_its_verdict_whole_and_byte_by_byte() {
        let all = vectors::all();
        assert!(all.len() >= 200, "{}", all.len());
        for vector in all {
            let (passed, heads, refused) = feed(std::iter::once(&vector.bytes[..]));
            let found = match refused {
                None => Expect::Take(heads as usize),
                Some(Refused::Head(refusal)) => Expect::Head(heads as usize, refusal),
                Some(Refused::Body(refusal)) => Expect::Body(heads as usize, refusal),
            };
            assert_eq!(found, vector.expect, "{}", vector.name);
            assert!(vector.bytes.starts_with(&passed), "{}", vector.name);
            if refused.is_none() {
                assert_eq!(passed, vector.bytes, "{}: all goes on", vector.name);
            }
            assert_eq!(feed(vector.bytes.chunks(1)), (passed, heads, refused), "{} by bytes", vector.name);
        }
    }

    #[test]
    fn what_follows_an_upgrade_is_held_until_it_is_decided() {
        let limits = Limits::default();
        let ask = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
        for (upgraded, more, pass) in
            [(true, &b"\x81\x00\n"[..], 3), (false, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27)]
        {
            let mut inspector = Inspector::new();
            let bytes = [&ask[..], more].concat();
            let seen = inspector.inspect(&bytes, &limits);
            assert_eq!((seen.pass, seen.refused), (ask.len(), None));
            assert!(inspector.is_waiting());
            assert_eq!(inspector.inspect(more, &limits), Seen::default());
            inspector.decide(upgraded);
            assert_eq!(inspector.is_open(), upgraded);
            assert_eq!(inspector.inspect(more, &limits).pass, pass);
        }
    }

    /// Pieces of requests, good and bad, that are put together at random.
    pub(in crate::server) fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let words: Vec<&[u8]> = vec![
            b"GET ",
            b"POST ",
            b"OPTIONS ",
            b"/",
            b"/a?b",
            b"*",
            b"http://a",
            b" HTTP/1.1",
            b" HTTP/1.0",
            b"\r\n",
            b"\r\n\r\n",
            b"\n",
            b"\r",
            b" ",
            b"\t",
            b"\0",
            b"\xe9",
            b":",
            b"Host: a\r\n",
            b"X: y\r\n",
            b"Upgrade: x\r\n",
            b"Content-Length: 5\r\n",
            b"Content-Length: 0\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"12345",
            b"5\r\n12345\r\n",
            b"0\r\n",
            b";a",
            b"f",
            b"GET / HTTP/1.1\r\nHost: a\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        ];
        prop::collection::vec(prop::sample::select(words), 0..24).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_verdict(
            bytes in pieces(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            tight in any::<bool>(),
        ) {
            let mut limits = Limits::default();
            if tight {
                limits = Limits { head_bytes: 60, headers: 2, uri_bytes: 6, ..limits };
            }
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let mut start = 0;
            let split = cuts.into_iter().map(|end| &bytes[std::mem::replace(&mut start, end)..end]);
            let whole = feed_within(std::iter::once(&bytes[..]), &limits);
            prop_assert!(bytes.starts_with(&whole.0));
            prop_assert_eq!(feed_within(split, &limits), whole);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let (passed, ..) = feed(bytes.chunks(7));
            prop_assert!(bytes.starts_with(&passed));
        }
    }
}
