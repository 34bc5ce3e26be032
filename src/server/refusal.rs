//! Why bytes of an HTTP/1 client are not taken for a request: one table of reasons.

use std::fmt;

use super::config::Limits;
use crate::problem::{self, Kind, Problem};

macro_rules! refusals {
    ($($(#[doc = $doc:literal])+ $name:ident $slug:literal $kind:ident $detail:literal;)+) => {
        /// The reason, one per rule; the message it stands in is never forwarded and its connection never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Refusal { $($(#[doc = $doc])+ $name),+ }

        impl Refusal {
            /// All reasons, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stable word: log field and metrics label.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $slug),+ }
            }

            fn kind(self) -> &'static Kind {
                match self { $(Self::$name => &problem::$kind),+ }
            }

            fn detail(self) -> &'static str {
                match self { $(Self::$name => $detail),+ }
            }
        }
    };
}

refusals! {
    /// A TLS ClientHello (RFC 8446, section 5.1) on a port without TLS.
    Tls "tls-on-cleartext-port" MALFORMED_REQUEST "this port speaks HTTP, not HTTPS: call it with `http://`";
    /// More than one empty line before a request line (RFC 9112, section 2.2).
    EmptyLines "empty-lines" MALFORMED_REQUEST "more than one empty line stands before the request line";
    /// A line that ends with LF alone (RFC 9112, section 2.2: a recipient may accept it, and two that differ can be played off).
    BareLf "bare-lf" MALFORMED_REQUEST "a line ends with a bare LF; lines end with CRLF";
    /// A CR that no LF follows (RFC 9112, section 2.2).
    BareCr "bare-cr" MALFORMED_REQUEST "a bare CR stands in the request head";
    /// Not `method SP target SP version` (RFC 9112, section 3).
    RequestLine "request-line-malformed" MALFORMED_REQUEST "the request line is not `METHOD TARGET HTTP/1.1` with single spaces";
    /// The method is not a token (RFC 9110, section 9.1).
    Method "method-invalid" MALFORMED_REQUEST "the method holds a character that no method may hold";
    /// A target that no form allows (RFC 9112, section 3.2).
    Target "target-invalid" MALFORMED_REQUEST "the request target is not a path, or holds a character that must be percent-encoded";
    /// HTTP/0.9, HTTP/2 without its preface, or anything but 1.0 and 1.1.
    Version "version-unsupported" MALFORMED_REQUEST "the protocol version is neither HTTP/1.1 nor HTTP/1.0";
    /// A field continued on a second line (RFC 9112, section 5.2).
    LineFolding "line-folding" MALFORMED_REQUEST "a line of the head begins with white space; folded fields are not taken";
    /// A line without a colon (RFC 9112, section 5).
    FieldWithoutColon "field-without-colon" MALFORMED_REQUEST "a line of the head has no colon";
    /// White space between field name and colon (RFC 9112, section 5.1).
    SpaceBeforeColon "space-before-colon" MALFORMED_REQUEST "white space stands between a field's name and its colon";
    /// A field name that is not a token (RFC 9110, section 5.1).
    FieldName "field-name-invalid" MALFORMED_REQUEST "a field name is empty or holds a character that no name may hold";
    /// NUL or another control character in a value (RFC 9110, section 5.5).
    FieldValue "field-value-invalid" MALFORMED_REQUEST "a field value holds a control character";
    /// HTTP/1.1 without `Host` (RFC 9112, section 3.2).
    HostMissing "host-missing" MALFORMED_REQUEST "the `Host` field is missing";
    /// `Host` more than once (RFC 9112, section 3.2).
    HostRepeated "host-repeated" MALFORMED_REQUEST "the `Host` field stands more than once";
    /// A `Host` that is no host and port (RFC 9110, section 7.2).
    Host "host-invalid" MALFORMED_REQUEST "the `Host` field is not a host name with an optional port";
    /// An absolute target that names another host than `Host` does.
    HostMismatch "host-mismatch" MALFORMED_REQUEST "the request target and the `Host` field name different hosts";
    /// `Content-Length` and `Transfer-Encoding` together (RFC 9112, section 6.1).
    LengthAndEncoding "length-and-encoding" MALFORMED_REQUEST "`Content-Length` and `Transfer-Encoding` exclude each other";
    /// `Content-Length` more than once, the same or not (RFC 9112, section 6.3).
    LengthRepeated "length-repeated" MALFORMED_REQUEST "the `Content-Length` field stands more than once";
    /// A length that is not digits alone (RFC 9110, section 8.6).
    Length "length-invalid" MALFORMED_REQUEST "the `Content-Length` field is not a plain decimal number";
    /// `Transfer-Encoding` more than once.
    EncodingRepeated "encoding-repeated" MALFORMED_REQUEST "the `Transfer-Encoding` field stands more than once";
    /// A transfer coding other than `chunked`, or `chunked` among others (RFC 9112, section 6.1).
    Encoding "encoding-unsupported" MALFORMED_REQUEST "the only transfer coding taken is `chunked`, alone and written plainly";
    /// A transfer coding under HTTP/1.0 (RFC 9112, section 6.1).
    EncodingInHttp10 "encoding-in-http10" MALFORMED_REQUEST "HTTP/1.0 knows no `Transfer-Encoding`";
    /// CONNECT with a body (RFC 9110, section 9.3.6).
    ConnectWithBody "connect-with-body" MALFORMED_REQUEST "CONNECT takes no body";
    /// A chunk size that is not 1 to 16 hexadecimal digits (RFC 9112, section 7.1).
    ChunkSize "chunk-size-invalid" MALFORMED_REQUEST "a chunk size is not 1 to 16 hexadecimal digits";
    /// Chunk extensions with control characters or too many of them (RFC 9112, section 7.1.1).
    ChunkExtension "chunk-extension-invalid" MALFORMED_REQUEST "a chunk extension is too long or holds a control character";
    /// A chunk whose data is longer or shorter than its size (RFC 9112, section 7.1).
    ChunkData "chunk-data-unterminated" MALFORMED_REQUEST "a chunk's data does not end where its size says";
    /// A trailer field that would decide framing or routing (RFC 9110, section 6.5.1).
    Trailer "trailer-forbidden" MALFORMED_REQUEST "`Content-Length`, `Transfer-Encoding` and `Host` may not be trailers";
    /// The target, or the line it stands in, is over its bound.
    TargetTooLong "target-too-long" URI_TOO_LONG "the request target is too long";
    /// The head is over its bound.
    HeadTooLarge "head-too-large" HEADERS_TOO_LARGE "the request head is too large";
    /// More fields than the bound.
    TooManyFields "too-many-fields" HEADERS_TOO_LARGE "the request has too many header fields";
    /// The trailer section is over its bound.
    TrailersTooLarge "trailers-too-large" HEADERS_TOO_LARGE "the trailer section is too large";
    /// The head was begun and not ended in time.
    HeadTimeout "head-timeout" REQUEST_TIMEOUT "the request head did not arrive in time";
}

impl Refusal {
    /// The answer to the client, with the bound that was passed where there is one.
    pub(super) fn problem(self, limits: &Limits) -> Problem {
        let bound = match self {
            Self::TargetTooLong => Some((limits.uri_bytes, "bytes")),
            Self::HeadTooLarge => Some((limits.head_bytes, "bytes")),
            Self::TooManyFields => Some((limits.headers, "fields")),
            _ => None,
        };
        let problem = match bound {
            Some((bound, unit)) => {
                Problem::new(self.kind(), format!("{}: at most {bound} {unit} are taken", self.detail()))
            }
            None => Problem::new(self.kind(), self.detail()),
        };
        problem.member("reason", self.as_str().into())
    }

    pub(super) fn from_index(index: u8) -> Option<Self> {
        Self::ALL.get(usize::from(index)).copied()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_word_and_finds_its_way_back_from_its_index() {
        let mut words: Vec<_> = Refusal::ALL.iter().map(|refusal| refusal.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Refusal::ALL.len());
        for &refusal in Refusal::ALL {
            assert_eq!(Refusal::from_index(refusal as u8), Some(refusal));
        }
    }
}
