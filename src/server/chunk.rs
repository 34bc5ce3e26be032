//! The strict reader of chunked bodies (RFC 9112, section 7.1): pure, resumable byte by byte.
//!
//! It finds where the body ends, so that the head behind it is found too, and refuses what servers read
//! differently: bare LF, odd sizes, data that does not end with CRLF. Extensions mean nothing
//! here and are tolerated within a bound, as the RFC demands; they are never forwarded.

use super::{
    config::Limits,
    head::{is_token, is_value},
    refusal::Refusal,
};

/// Bytes of chunk extensions in one body; beyond it they can only be meant to cost work.
const EXTENSIONS: u32 = 4 * 1024;
/// Bytes of a trailer section; hyper's own bound is 16 KiB.
const TRAILERS: u32 = 8 * 1024;
/// The longest name that may not be a trailer, `transfer-encoding`.
const NAME: usize = 17;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before or among the digits of a size.
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
}

/// Where in a chunked body we are.
#[derive(Clone, Debug)]
pub(super) struct ChunkScanner {
    place: Place,
    digits: u8,
    /// The size being read, then the data bytes still to come.
    left: u64,
    extensions: u32,
    trailers: u32,
    fields: usize,
    name: [u8; NAME],
    name_len: usize,
}

/// What [`ChunkScanner::scan`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    More,
    End,
    Refused(Refusal),
}

impl ChunkScanner {
    pub(super) fn new() -> Self {
        Self {
            place: Place::Size,
            digits: 0,
            left: 0,
            extensions: 0,
            trailers: 0,
            fields: 0,
            name: [0; NAME],
            name_len: 0,
        }
    }

    /// Reads on in `bytes`; also tells how many of them are fine and belong to the body.
    pub(super) fn scan(&mut self, bytes: &[u8], limits: &Limits) -> (usize, Found) {
        let mut at = 0;
        while at < bytes.len() {
            if self.place == Place::Data {
                let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += take;
                self.left -= take as u64;
                if self.left == 0 {
                    self.place = Place::DataCr;
                }
                continue;
            }
            match self.step(bytes[at], limits) {
                Ok(false) => at += 1,
                Ok(true) => return (at + 1, Found::End),
                Err(refusal) => return (at, Found::Refused(refusal)),
            }
        }
        (at, Found::More)
    }

    /// Takes one byte that is not data; true when it was the body's last.
    fn step(&mut self, byte: u8, limits: &Limits) -> Result<bool, Refusal> {
        self.place = match self.place {
            Place::Size => self.size(byte)?,
            Place::Extension => self.extension(byte)?,
            Place::SizeLf => expect(byte, b'\n', Refusal::BareCr, self.after_size())?,
            Place::Data => unreachable!("invariant: data is taken in one piece by `scan`"),
            Place::DataCr => expect(byte, b'\r', Refusal::ChunkData, Place::DataLf)?,
            Place::DataLf => expect(byte, b'\n', Refusal::ChunkData, Place::Size)?,
            Place::TrailerStart | Place::TrailerName | Place::TrailerValue | Place::TrailerLf => {
                self.trailers += 1;
                if self.trailers > TRAILERS {
                    return Err(Refusal::TrailersTooLarge);
                }
                self.trailer(byte, limits)?
            }
            Place::LastLf => return expect(byte, b'\n', Refusal::BareCr, true),
        };
        Ok(false)
    }

    fn size(&mut self, byte: u8) -> Result<Place, Refusal> {
        if let Some(digit) = (byte as char).to_digit(16) {
            self.digits += 1;
            if self.digits > 16 {
                return Err(Refusal::ChunkSize);
            }
            self.left = (self.left << 4) | u64::from(digit);
            return Ok(Place::Size);
        }
        if self.digits == 0 {
            return Err(Refusal::ChunkSize);
        }
        match byte {
            b'\r' => Ok(Place::SizeLf),
            b';' => Ok(Place::Extension),
            b'\n' => Err(Refusal::BareLf),
            _ => Err(Refusal::ChunkSize),
        }
    }

    fn extension(&mut self, byte: u8) -> Result<Place, Refusal> {
        self.extensions += 1;
        match byte {
            b'\r' => Ok(Place::SizeLf),
            b'\n' => Err(Refusal::BareLf),
            _ if self.extensions > EXTENSIONS || !is_value(byte) => Err(Refusal::ChunkExtension),
            _ => Ok(Place::Extension),
        }
    }

    fn after_size(&mut self) -> Place {
        self.digits = 0;
        if self.left == 0 { Place::TrailerStart } else { Place::Data }
    }

    fn trailer(&mut self, byte: u8, limits: &Limits) -> Result<Place, Refusal> {
        match (self.place, byte) {
            (Place::TrailerStart, b'\r') => Ok(Place::LastLf),
            (Place::TrailerStart, b' ' | b'\t') => Err(Refusal::LineFolding),
            (Place::TrailerStart, _) => {
                self.name_len = 0;
                self.fields += 1;
                if self.fields > limits.headers { Err(Refusal::TooManyFields) } else { self.name(byte) }
            }
            (Place::TrailerName, b':') => {
                let name = self.name.get(..self.name_len).unwrap_or_default();
                let forbidden = [&b"content-length"[..], b"transfer-encoding", b"host"];
                let refused = forbidden.iter().any(|word| word.eq_ignore_ascii_case(name));
                if refused { Err(Refusal::Trailer) } else { Ok(Place::TrailerValue) }
            }
            (Place::TrailerName, b' ' | b'\t') => Err(Refusal::SpaceBeforeColon),
            (Place::TrailerName, _) => self.name(byte),
            (Place::TrailerLf, _) => expect(byte, b'\n', Refusal::BareCr, Place::TrailerStart),
            (_, b'\r') => Ok(Place::TrailerLf),
            (_, b'\n') => Err(Refusal::BareLf),
            (_, _) if is_value(byte) => Ok(Place::TrailerValue),
            (_, _) => Err(Refusal::FieldValue),
        }
    }

    /// Keeps the start of a name, as much as a forbidden one has.
    fn name(&mut self, byte: u8) -> Result<Place, Refusal> {
        match byte {
            _ if is_token(byte) => {}
            b'\r' if self.name_len > 0 => return Err(Refusal::FieldWithoutColon),
            b'\n' => return Err(Refusal::BareLf),
            _ => return Err(Refusal::FieldName),
        }
        if let Some(place) = self.name.get_mut(self.name_len) {
            *place = byte;
        }
        self.name_len += 1;
        Ok(Place::TrailerName)
    }
}

fn expect<T>(byte: u8, expected: u8, refusal: Refusal, next: T) -> Result<T, Refusal> {
    if byte == expected { Ok(next) } else { Err(refusal) }
}
