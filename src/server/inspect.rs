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
