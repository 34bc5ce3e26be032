//! Bounds on what the server may send: each reply is measured before the client's parser makes room for it.
//!
//! Follows the framing of RESP3 and nothing else. A reply beyond the bounds is an error of the stream, which
//! ends the connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of one reply.
pub const MAX_REPLY: u64 = 8 * 1024 * 1024;

/// Values in one reply, at all depths together.
const MAX_VALUES: u64 = 64 * 1024;

/// Lists within lists.
const MAX_DEPTH: usize = 16;

/// Bytes of a length, with its sign.
const MAX_DIGITS: u32 = 12;

/// A stream whose replies are bounded.
#[derive(Debug)]
pub struct Bounded<S> {
    inner: S,
    meter: Meter,
}

impl<S> Bounded<S> {
    pub fn new(inner: S) -> Self {
        Self { inner, meter: Meter::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let this = &mut *self;
        let read = Pin::new(&mut this.inner).poll_read(cx, buf);
        if matches!(read, Poll::Ready(Ok(()))) {
            this.meter.take(&buf.filled()[before..]).map_err(|what| {
                io::Error::new(io::ErrorKind::InvalidData, format!("the server sent {what}"))
            })?;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Where in a reply the stream is.
#[derive(Debug, Default)]
struct Meter {
    at: At,
    /// Values that each open list still needs, outermost first.
    open: Vec<u64>,
    bytes: u64,
    values: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum At {
    /// Before the first byte of a value.
    #[default]
    Kind,
    /// In a value of one line.
    Line,
    /// In the length of a value of this kind: what it says so far, and its digits.
    Length { kind: u8, value: u64, digits: u32, negative: bool },
    /// So many bytes of a text, with the line end behind it, are still to come.
    Text(u64),
}

impl Meter {
    fn take(&mut self, mut bytes: &[u8]) -> Result<(), &'static str> {
        while let Some(&byte) = bytes.first() {
            let used = match self.at {
                At::Text(left) => usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()),
                _ => 1,
            };
            bytes = &bytes[used..];
            self.bytes += used as u64;
            if self.bytes > MAX_REPLY {
                return Err("a reply that is too large");
            }
            self.step(byte, used as u64)?;
        }
        Ok(())
    }

    fn step(&mut self, byte: u8, used: u64) -> Result<(), &'static str> {
        match &mut self.at {
            At::Kind => {
                self.values += 1;
                if self.values > MAX_VALUES {
                    return Err("a reply of too many values");
                }
                self.at = match byte {
                    b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => At::Line,
                    b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' | b'|' => {
                        At::Length { kind: byte, value: 0, digits: 0, negative: false }
                    }
                    _ => return Err("what is no reply of Redis"),
                };
            }
            At::Line if byte == b'\n' => self.end_value(),
            At::Line => {}
            At::Length { kind, value, negative, .. } if byte == b'\n' => {
                let (kind, value, negative) = (*kind, *value, *negative);
                return self.begin(kind, value, negative);
            }
            At::Length { value, digits, negative, .. } => match byte {
                b'\r' => {}
                b'-' if *digits == 0 && !*negative => *negative = true,
                b'0'..=b'9' if *digits < MAX_DIGITS => {
                    *value = *value * 10 + u64::from(byte - b'0');
                    *digits += 1;
                }
                _ => return Err("a length that is none"),
            },
            At::Text(left) => {
                *left -= used;
                if *left == 0 {
                    self.end_value();
                }
            }
        }
        Ok(())
    }

    /// What follows a length.
    fn begin(&mut self, kind: u8, value: u64, negative: bool) -> Result<(), &'static str> {
        if negative {
            self.end_value();
            return Ok(());
        }
        let values = match kind {
            b'$' | b'!' | b'=' => {
                if value > MAX_REPLY {
                    return Err("a text that is too large");
                }
                self.at = At::Text(value + 2);
                return Ok(());
            }
            b'%' => value.saturating_mul(2),
            // Attributes stand before the value that they are about.
            b'|' => value.saturating_mul(2) + 1,
            _ => value,
        };
        if self.values + values > MAX_VALUES {
            return Err("a reply of too many values");
        }
        if values == 0 {
            self.end_value();
            return Ok(());
        }
        if self.open.len() == MAX_DEPTH {
            return Err("lists within lists without end");
        }
        self.open.push(values);
        self.at = At::Kind;
        Ok(())
    }

    fn end_value(&mut self) {
        self.at = At::Kind;
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return;
            }
            self.open.pop();
        }
        (self.bytes, self.values) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds a text in pieces of `step`; whether it is within the bounds and ends between two replies.
    fn fed(text: &[u8], step: usize) -> Result<bool, &'static str> {
        let mut meter = Meter::default();
        for piece in text.chunks(step) {
            meter.take(piece)?;
        }
        Ok(matches!(meter.at, At::Kind) && meter.open.is_empty() && meter.bytes == 0)
    }

    #[test]
    fn replies_end_where_they_do_however_they_are_cut() {
        let replies: &[&[u8]] = &[
            b"+OK\r\n",
            b"-ERR no\r\n",
            b":-42\r\n",
            b"_\r\n",
            b",1.5\r\n",
            b"#t\r\n",
            b"(123456789012345678901234567890\r\n",
            b"$-1\r\n",
            b"$0\r\n\r\n",
            b"$7\r\na\r\nb*1$\r\n",
            b"=5\r\ntxt:a\r\n",
            b"!3\r\nERR\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"*2\r\n*1\r\n$1\r\na\r\n*0\r\n",
            b"~2\r\n:1\r\n:2\r\n",
            b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n_\r\n",
            b">3\r\n+message\r\n$1\r\nc\r\n$1\r\n1\r\n",
            b"|1\r\n+ttl\r\n:3\r\n*1\r\n:1\r\n",
            b"|0\r\n+OK\r\n",
        ];
        for reply in replies {
            let shown = String::from_utf8_lossy(reply);
            for step in 1..=reply.len() {
                assert_eq!(fed(reply, step), Ok(true), "{shown:?} by {step}");
                let twice = [*reply, *reply].concat();
                assert_eq!(fed(&twice, step), Ok(true), "{shown:?} twice by {step}");
            }
            for cut in 1..reply.len() {
                assert_eq!(fed(&reply[..cut], cut), Ok(false), "{shown:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_would_take_too_much_is_refused_at_its_head() {
        let deep = "*1\r\n".repeat(MAX_DEPTH + 1);
        for wrong in [
            "$8388609\r\n",
            "*65536\r\n",
            "%40000\r\n",
            "*9999999999999\r\n",
            "*99999999999999999999\r\n",
            "$?\r\n",
            "$1x\r\n",
            "$--1\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
            "\r\n",
            &deep,
        ] {
            assert!(fed(wrong.as_bytes(), 1).is_err(), "{wrong}");
        }
    }

    #[test]
    fn many_small_values_are_bounded_together() {
        let lists = format!("*1000\r\n{}", format!("*100\r\n{}", ":1\r\n".repeat(100)).repeat(1000));
        assert_eq!(fed(lists.as_bytes(), 1000), Err("a reply of too many values"));
        let line = vec![b'x'; MAX_REPLY as usize + 1];
        assert_eq!(fed(&[b"+".as_slice(), &line].concat(), 4096), Err("a reply that is too large"));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in proptest::collection::vec(any::<u8>(), 0..200), step in 1..20_usize) {
            let _ = fed(&text, step);
        }
    }
}
