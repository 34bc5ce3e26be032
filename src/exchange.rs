//! What every step of one request shares: the body type, request ids and the clock.
//!
//! The lowest room of the house: it names no type of any other module.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use smallvec::SmallVec;

/// The error of a body that ended early. Its text goes to the log, never to the client.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that streams; frames (data and trailers) pass through unchanged.
pub type StreamBody = Pin<Box<dyn HttpBody<Data = Bytes, Error = BoxError> + Send>>;

/// A response body as the gateway hands it on: nothing, bytes it already has, or a stream.
#[derive(Default)]
pub enum Body {
    #[default]
    Empty,
    Full(Bytes),
    Stream(StreamBody),
}

impl Body {
    /// Boxes any body whose frames are `Bytes`.
    pub fn stream<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::Stream(Box::pin(http_body_util::BodyExt::map_err(body, Into::into)))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(bytes) }
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::from(Bytes::from(text))
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::from(Bytes::from_static(text.as_bytes()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}

/// Milliseconds since the Unix epoch: the clock of everything that is stored or sent.
#[must_use]
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// The id that joins a client's answer, the access log and the upstream's log.
///
/// Taken from the caller's `X-Request-Id` when that is sane, else made here: 26 characters of
/// Crockford base 32, the first ten of them the time, so ids sort by age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(SmallVec<[u8; 32]>);

impl RequestId {
    /// Longer ids are replaced: an id stands in every log line.
    pub const MAX_LEN: usize = 128;

    /// Accepts a caller's id of 1 to [`Self::MAX_LEN`] visible ASCII characters without quotes,
    /// commas or backslashes (it stands in logs and header fields as it is).
    #[must_use]
    pub fn accept(value: &[u8]) -> Option<Self> {
        let fine = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b',' | b'<' | b'>');
        (!value.is_empty() && value.len() <= Self::MAX_LEN && value.iter().all(fine))
            .then(|| Self(SmallVec::from_slice(value)))
    }

    /// Makes a new id from the clock and 80 random bits of `random`.
    #[must_use]
    pub fn generate(now_ms: u64, random: u128) -> Self {
        // Digits of words, not of one number: shifting 128 bits 26 times is most of the work.
        let mut id = [0; 26];
        base32(now_ms, &mut id[..10]);
        base32((random >> 40) as u64, &mut id[10..18]);
        base32(random as u64, &mut id[18..]);
        Self(SmallVec::from_slice(&id))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("invariant: ids are ASCII")
    }
}

/// The last digits of a number, one for each place.
fn base32(mut bits: u64, places: &mut [u8]) {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    for place in places.iter_mut().rev() {
        *place = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_of_an_id_are_its_time_and_80_random_bits() {
        let id = RequestId::generate(0x1234_5678_9ABC, (1 << 127) | (1 << 79) | (31 << 40) | (1 << 5) | 2);
        assert_eq!(id.as_str(), "0J6HB7H6NWG000000Z00000012");
    }

    #[test]
    fn a_generated_id_sorts_by_time_and_has_26_characters() {
        let early = RequestId::generate(1_700_000_000_000, u128::MAX);
        let late = RequestId::generate(1_700_000_000_001, 0);
        assert_eq!(early.as_str().len(), 26);
        assert!(early.as_str() < late.as_str());
    }

    #[test]
    fn a_hostile_id_is_not_accepted() {
        for bad in ["", "a b", "a\"b", "a\nb", "ä", &"x".repeat(129)] {
            assert_eq!(RequestId::accept(bad.as_bytes()), None, "{bad:?}");
        }
        assert!(RequestId::accept(b"req-1:2/3").is_some());
    }
}
