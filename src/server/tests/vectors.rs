//! Hostile and odd byte streams with the verdict each must get: read by the inspector's tests and sent
//! over real sockets.

use crate::server::refusal::Refusal::{self, *};

/// What becomes of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// So many requests reach the service and none is refused.
    Take(usize),
    /// So many requests reach the service, then a head is refused.
    Head(usize, Refusal),
    /// The body of the request with this number is refused.
    Body(usize, Refusal),
}

pub(crate) struct Vector {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) expect: Expect,
}

fn vector(name: &'static str, bytes: impl Into<Vec<u8>>, expect: Expect) -> Vector {
    Vector { name, bytes: bytes.into(), expect }
}

/// A request line of its own and a `Host`.
fn line(name: &'static str, line: &str, expect: Expect) -> Vector {
    vector(name, format!("{line}\r\nHost: a\r\n\r\n"), expect)
}

/// Fields (each with its CRLF) beside a `Host`, then whatever follows the head.
fn post(name: &'static str, fields: &str, rest: &str, expect: Expect) -> Vector {
    vector(name, format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{rest}"), expect)
}

/// The whole head but the request line.
fn fields(name: &'static str, fields: &str, expect: Expect) -> Vector {
    vector(name, format!("GET / HTTP/1.1\r\n{fields}\r\n"), expect)
}

fn chunked(name: &'static str, body: &str, expect: Expect) -> Vector {
    post(name, "Transfer-Encoding: chunked\r\n", body, expect)
}

const SMUGGLED: &str = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";

pub(crate) fn all() -> Vec<Vector> {
    let mut all = Vec::new();
    all.extend(lines());
    all.extend(endings());
    all.extend(field_names_and_values());
    all.extend(hosts());
    all.extend(lengths());
    all.extend(encodings());
    all.extend(chunks());
    all.extend(trailers());
    all.extend(pipelines());
    all
}

fn refuse(refusal: Refusal) -> Expect {
    Expect::Head(0, refusal)
}

const fn take(count: usize) -> Expect {
    Expect::Take(count)
}

fn lines() -> Vec<Vector> {
    vec![
        line("plain", "GET / HTTP/1.1", take(1)),
        line("query", "GET /a/b?c=d&e={f}|g HTTP/1.1", take(1)),
        line("percent-encoded", "GET /%2e%2e/%00 HTTP/1.1", take(1)),
        line("unknown method", "FROB / HTTP/1.1", take(1)),
        line("method with every mark", "!#$%&'*+-.^_`|~9z / HTTP/1.1", take(1)),
        line("asterisk", "OPTIONS * HTTP/1.1", take(1)),
        line("http 1.0", "GET / HTTP/1.0", take(1)),
        vector("http 1.0 without host", "GET / HTTP/1.0\r\n\r\n", take(1)),
        line("asterisk for get", "GET * HTTP/1.1", refuse(Target)),
        line("http 0.9", "GET /", refuse(Version)),
        line("http 0.9 in words", "GET / HTTP/0.9", refuse(Version)),
        line("http 2.0 by name", "GET / HTTP/2.0", refuse(Version)),
        line("http 1.2", "GET / HTTP/1.2", refuse(Version)),
        line("http 1.10", "GET / HTTP/1.10", refuse(Version)),
        line("http 01.1", "GET / HTTP/01.1", refuse(Version)),
        line("version in lower case", "GET / http/1.1", refuse(RequestLine)),
        line("version without minor", "GET / HTTP/1", refuse(Version)),
        line("space after version", "GET / HTTP/1.1 ", refuse(RequestLine)),
        line("two versions", "GET / HTTP/1.1 HTTP/1.1", refuse(RequestLine)),
        line("two spaces before target", "GET  / HTTP/1.1", refuse(RequestLine)),
        line("two spaces after target", "GET /  HTTP/1.1", refuse(RequestLine)),
        line("tab for space", "GET\t/ HTTP/1.1", refuse(Method)),
        line("space before method", " GET / HTTP/1.1", refuse(Method)),
        line("method with colon", "GET: / HTTP/1.1", refuse(Method)),
        line("method with brackets", "G[E]T / HTTP/1.1", refuse(Method)),
        line("method far too long", &format!("{} / HTTP/1.1", "A".repeat(40)), refuse(Method)),
        line("no target", "GET HTTP/1.1", refuse(Version)),
        line("only a word", "GET", refuse(RequestLine)),
        line("relative target", "GET a/b HTTP/1.1", refuse(Target)),
        line("space in target", "GET /a b HTTP/1.1", refuse(RequestLine)),
        line("fragment", "GET /a#b HTTP/1.1", refuse(Target)),
        line("tab in target", "GET /a\tb HTTP/1.1", refuse(Target)),
        line("nul in target", "GET /a\0b HTTP/1.1", refuse(Target)),
        line("delete in target", "GET /a\x7fb HTTP/1.1", refuse(Target)),
        line("unencoded letter", "GET /caf\u{e9} HTTP/1.1", refuse(Target)),
        line("quote in path", "GET /a\"b HTTP/1.1", take(1)),
        line("quote in query", "GET /a?b=\"c\" HTTP/1.1", refuse(Target)),
        line("angle brackets", "GET /?<script> HTTP/1.1", refuse(Target)),
        line("cr in target", "GET /a\rb HTTP/1.1", refuse(BareCr)),
        line("foreign scheme", "GET ftp://a/ HTTP/1.1", refuse(Target)),
        line("connect", "CONNECT a:443 HTTP/1.1", take(1)),
        line("connect without port", "CONNECT a HTTP/1.1", refuse(Target)),
        line("connect to a path", "CONNECT /a HTTP/1.1", refuse(Target)),
        line("target too long", &format!("GET /{} HTTP/1.1", "a".repeat(20_000)), refuse(TargetTooLong)),
        vector("target without end", format!("GET /{}", "a".repeat(20_000)), refuse(TargetTooLong)),
        vector(
            "preface in the middle",
            format!("{SMUGGLED}PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            Expect::Head(1, Version),
        ),
        vector(
            "tls behind a request",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n".as_slice(),
            Expect::Head(1, BareLf),
        ),
    ]
}

fn endings() -> Vec<Vector> {
    vec![
        vector("lf everywhere", "GET / HTTP/1.1\nHost: a\n\n", refuse(BareLf)),
        vector("lf after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", refuse(BareLf)),
        vector("lf after a field", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", refuse(BareLf)),
        vector("lf as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n", refuse(BareLf)),
        vector("cr cr lf", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", refuse(BareCr)),
        vector("cr in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n", refuse(BareCr)),
        vector(
            "cr hides a length",
            "GET / HTTP/1.1\r\nHost: a\r\nX: b\rContent-Length: 5\r\n\r\n",
            refuse(BareCr),
        ),
        vector("one empty line first", format!("\r\n{SMUGGLED}"), take(1)),
        vector("two empty lines first", format!("\r\n\r\n{SMUGGLED}"), refuse(EmptyLines)),
        vector("lf first", format!("\n{SMUGGLED}"), refuse(BareLf)),
        vector("folded field", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", refuse(LineFolding)),
        vector("folded by tab", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", refuse(LineFolding)),
        vector("first field folded", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", refuse(LineFolding)),
        vector(
            "folded encoding",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
            refuse(Encoding),
        ),
        vector("white line", "GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n", refuse(LineFolding)),
    ]
}

fn field_names_and_values() -> Vec<Vector> {
    vec![
        fields("no space after colon", "Host:a\r\nX:b\r\n", take(1)),
        fields("white space around a value", "Host: a\r\nX: \t b \t \r\n", take(1)),
        fields("empty value", "Host: a\r\nX:\r\n", take(1)),
        vector("latin 1 in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: caf\xe9\r\n\r\n".as_slice(), take(1)),
        fields("no colon", "Host: a\r\nX\r\n", refuse(FieldWithoutColon)),
        fields("empty name", "Host: a\r\n: b\r\n", refuse(FieldName)),
        fields("space before colon", "Host: a\r\nX : b\r\n", refuse(SpaceBeforeColon)),
        fields("tab before colon", "Host: a\r\nX\t: b\r\n", refuse(SpaceBeforeColon)),
        fields("space in a name", "Host: a\r\nX Y: b\r\n", refuse(FieldName)),
        fields("brackets in a name", "Host: a\r\nX(Y): b\r\n", refuse(FieldName)),
        fields("nul in a name", "Host: a\r\nX\0: b\r\n", refuse(FieldName)),
        fields("letter in a name", "Host: a\r\nXé: b\r\n", refuse(FieldName)),
        fields("nul in a value", "Host: a\r\nX: b\0c\r\n", refuse(FieldValue)),
        fields("escape in a value", "Host: a\r\nX: b\x1bc\r\n", refuse(FieldValue)),
        fields("vertical tab in a value", "Host: a\r\nX: \x0bb\r\n", refuse(FieldValue)),
        fields("delete in a value", "Host: a\r\nX: \x7f\r\n", refuse(FieldValue)),
        fields("a hundred fields", &format!("Host: a\r\n{}", "X: b\r\n".repeat(99)), take(1)),
        fields("a hundred and one", &format!("Host: a\r\n{}", "X: b\r\n".repeat(100)), refuse(TooManyFields)),
        fields("a large field", &format!("Host: a\r\nX: {}\r\n", "b".repeat(60_000)), take(1)),
        fields(
            "too large a field",
            &format!("Host: a\r\nX: {}\r\n", "b".repeat(66_000)),
            refuse(HeadTooLarge),
        ),
        fields("too long a name", &format!("Host: a\r\n{}: b\r\n", "x".repeat(1025)), refuse(HeadTooLarge)),
        vector(
            "a head without end",
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "X: b\r\nY: ccc\r\n".repeat(20_000)),
            refuse(TooManyFields),
        ),
    ]
}

fn hosts() -> Vec<Vector> {
    vec![
        fields("host with port", "Host: a.example:8080\r\n", take(1)),
        fields("host as address", "Host: [::1]:8080\r\n", take(1)),
        fields("host in capitals with a dot", "HOST: A.Example.\r\n", take(1)),
        fields("no host", "X: b\r\n", refuse(HostMissing)),
        vector("nothing but the request line", "GET / HTTP/1.1\r\n\r\n", refuse(HostMissing)),
        fields("two hosts", "Host: a\r\nHost: b\r\n", refuse(HostRepeated)),
        fields("the same host twice", "Host: a\r\nhost: a\r\n", refuse(HostRepeated)),
        vector("two hosts under 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", refuse(HostRepeated)),
        fields("empty host", "Host:\r\n", refuse(Host)),
        fields("host list", "Host: a, b\r\n", refuse(Host)),
        fields("host with a path", "Host: a/b\r\n", refuse(Host)),
        fields("host with a user", "Host: u@a\r\n", refuse(Host)),
        fields("host with a space", "Host: a b\r\n", refuse(Host)),
        fields("host with a scheme", "Host: http://a\r\n", refuse(Host)),
        fields("host with an empty port", "Host: a:\r\n", refuse(Host)),
        fields("host with a word for port", "Host: a:http\r\n", refuse(Host)),
        fields("host with two ports", "Host: a:1:2\r\n", refuse(Host)),
        fields("host with an open bracket", "Host: [::1\r\n", refuse(Host)),
        fields("host with a letter", "Host: é\r\n", refuse(Host)),
        line("absolute target", "GET http://a/b HTTP/1.1", take(1)),
        line("absolute target in capitals", "GET HTTP://A/b HTTP/1.1", take(1)),
        line("absolute target with the usual port", "GET http://a:80/b HTTP/1.1", take(1)),
        line("absolute target with a query alone", "GET http://a?b HTTP/1.1", take(1)),
        line("absolute target for another host", "GET http://b/ HTTP/1.1", refuse(HostMismatch)),
        line("absolute target for another port", "GET http://a:81/ HTTP/1.1", refuse(HostMismatch)),
        line("absolute target with a user", "GET http://a@b/ HTTP/1.1", refuse(Target)),
        line("absolute target without a host", "GET http:///b HTTP/1.1", refuse(Target)),
        vector("absolute target, no host field", "GET http://a/ HTTP/1.1\r\n\r\n", refuse(HostMissing)),
    ]
}

fn lengths() -> Vec<Vector> {
    let bad = |name, value: &str| post(name, &format!("Content-Length:{value}\r\n"), "12345", refuse(Length));
    vec![
        post("length", "Content-Length: 5\r\n", "12345", take(1)),
        post("length zero", "Content-Length: 0\r\n", SMUGGLED, take(2)),
        post("length without a space", "content-length:5\r\n", "12345", take(1)),
        post("length with leading zeros", "Content-Length: 005\r\n", "12345", take(1)),
        post("length, then the next request", "Content-Length: 5\r\n", &format!("12345{SMUGGLED}"), take(2)),
        post(
            "length that covers a request",
            &format!("Content-Length: {}\r\n", SMUGGLED.len()),
            SMUGGLED,
            take(1),
        ),
        bad("length plus", " +5"),
        bad("length minus", " -5"),
        bad("length hexadecimal", " 0x5"),
        bad("length fraction", " 5.0"),
        bad("length exponent", " 5e0"),
        bad("length list", " 5,5"),
        bad("length list of different", " 5, 6"),
        bad("length empty", ""),
        bad("length of blanks", " "),
        bad("length after two spaces", "  5"),
        bad("length after a tab", "\t5"),
        bad("length before a space", " 5 "),
        bad("length with a space inside", " 5 5"),
        bad("length with letters", " 5a"),
        bad("length in arabic digits", " ٥"),
        bad("length in quotes", " \"5\""),
        bad("length with underscore", " 1_0"),
        bad("length over 64 bits", " 18446744073709551621"),
        bad("length over 63 bits", " 9223372036854775808"),
        post("length twice", "Content-Length: 5\r\nContent-Length: 5\r\n", "12345", refuse(LengthRepeated)),
        post("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n", "12345", refuse(LengthRepeated)),
        post(
            "length with a space before its colon",
            "Content-Length : 5\r\n",
            "12345",
            refuse(SpaceBeforeColon),
        ),
        post("length in a folded line", "X: b\r\n Content-Length: 5\r\n", "12345", refuse(LineFolding)),
        line("get with a length", "GET / HTTP/1.1\r\nContent-Length: 0", take(1)),
        line("connect with a length", "CONNECT a:1 HTTP/1.1\r\nContent-Length: 5", refuse(ConnectWithBody)),
    ]
}

fn encodings() -> Vec<Vector> {
    let odd = |name, value: &str| {
        post(name, &format!("Transfer-Encoding:{value}\r\n"), "0\r\n\r\n", refuse(Encoding))
    };
    let both =
        |name, fields: &str| post(name, fields, &format!("0\r\n\r\n{SMUGGLED}"), refuse(LengthAndEncoding));
    vec![
        post("chunked", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n", take(1)),
        post("chunked in capitals", "TRANSFER-ENCODING: CHUNKED\r\n", "0\r\n\r\n", take(1)),
        both("cl.te", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n"),
        both("te.cl", "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n"),
        both("cl zero and te", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
        post(
            "cl.te with an odd te",
            "Content-Length: 6\r\nTransfer-Encoding: xchunked\r\n",
            SMUGGLED,
            refuse(Encoding),
        ),
        post(
            "te.te",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
            refuse(EncodingRepeated),
        ),
        post(
            "te.te with identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "0\r\n\r\n",
            refuse(EncodingRepeated),
        ),
        post(
            "te.te the odd one first",
            "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
            refuse(Encoding),
        ),
        odd("identity", " identity"),
        odd("gzip", " gzip"),
        odd("gzip, chunked", " gzip, chunked"),
        odd("chunked, gzip", " chunked, gzip"),
        odd("chunked twice in one", " chunked, chunked"),
        odd("chunked with a comma", " chunked,"),
        odd("comma before chunked", " ,chunked"),
        odd("chunked in quotes", " \"chunked\""),
        odd("chunked with a parameter", " chunked;a=b"),
        odd("xchunked", " xchunked"),
        odd("chunke", " chunke"),
        odd("chunked and more", " chunkedx"),
        odd("empty encoding", ""),
        odd("encoding after a tab", "\tchunked"),
        odd("encoding after two spaces", "  chunked"),
        odd("encoding before a space", " chunked "),
        odd("encoding before a tab", " chunked\t"),
        post("vertical tab before chunked", "Transfer-Encoding: \x0bchunked\r\n", "", refuse(FieldValue)),
        post("form feed after chunked", "Transfer-Encoding: chunked\x0c\r\n", "", refuse(FieldValue)),
        post("nul after chunked", "Transfer-Encoding: chunked\0\r\n", "", refuse(FieldValue)),
        post("cr after chunked", "Transfer-Encoding: chunked\r\r\n", "", refuse(BareCr)),
        post(
            "encoding with a space before its colon",
            "Transfer-Encoding : chunked\r\n",
            "",
            refuse(SpaceBeforeColon),
        ),
        post("encoding after a space", "X: b\r\n Transfer-Encoding: chunked\r\n", "", refuse(LineFolding)),
        post("encoding behind a bare lf", "X: b\nTransfer-Encoding: chunked\r\n", "", refuse(BareLf)),
        post("encoding with a nul in its name", "Transfer-\0Encoding: chunked\r\n", "", refuse(FieldName)),
        post(
            "no-break space before the colon",
            "Transfer-Encoding\u{a0}: chunked\r\n",
            "",
            refuse(FieldName),
        ),
        vector(
            "chunked under 1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            refuse(EncodingInHttp10),
        ),
        line(
            "connect with an encoding",
            "CONNECT a:1 HTTP/1.1\r\nTransfer-Encoding: chunked",
            refuse(ConnectWithBody),
        ),
    ]
}

fn chunks() -> Vec<Vector> {
    let bad = |name, body: &str, refusal| chunked(name, body, Expect::Body(1, refusal));
    vec![
        chunked("one chunk", "5\r\n12345\r\n0\r\n\r\n", take(1)),
        chunked("hexadecimal sizes", "A\r\n1234567890\r\na\r\n1234567890\r\n00\r\n\r\n", take(1)),
        chunked("sixteen digits", "0000000000000005\r\n12345\r\n0\r\n\r\n", take(1)),
        chunked("data that looks like an end", "5\r\n0\r\n\r\n\r\n0\r\n\r\n", take(1)),
        chunked("chunks, then the next request", &format!("5\r\n12345\r\n0\r\n\r\n{SMUGGLED}"), take(2)),
        chunked("an extension", "5;a=b;c=\"d e\"\r\n12345\r\n0;e\r\n\r\n", take(1)),
        bad("extension with lf", "5;a\n12345\r\n0\r\n\r\n", BareLf),
        bad("extension with cr", "5;a\rb\r\n12345\r\n0\r\n\r\n", BareCr),
        bad("extension with nul", "5;\0\r\n12345\r\n0\r\n\r\n", ChunkExtension),
        bad("extension without end", &format!("5;{}", "a".repeat(5000)), ChunkExtension),
        bad("many extensions", &format!("{}0\r\n\r\n", "1;aaaaaaaa\r\nx\r\n".repeat(600)), ChunkExtension),
        bad("size with lf", "5\n12345\r\n0\r\n\r\n", BareLf),
        bad("size with cr alone", "5\r12345\r\n0\r\n\r\n", BareCr),
        bad("size with cr cr lf", "5\r\r\n12345\r\n0\r\n\r\n", BareCr),
        bad("size with 0x", "0x5\r\n12345\r\n0\r\n\r\n", ChunkSize),
        bad("size with plus", "+5\r\n12345\r\n0\r\n\r\n", ChunkSize),
        bad("size negative", "-5\r\n12345\r\n0\r\n\r\n", ChunkSize),
        bad("size after a space", " 5\r\n12345\r\n0\r\n\r\n", ChunkSize),
        bad("size before a space", "5 \r\n12345\r\n0\r\n\r\n", ChunkSize),
        bad("size before a tab", "5\t;a\r\n12345\r\n0\r\n\r\n", ChunkSize),
        bad("size empty", "\r\n12345\r\n0\r\n\r\n", ChunkSize),
        bad("size only an extension", ";a\r\n\r\n", ChunkSize),
        bad("size not hexadecimal", "g\r\n", ChunkSize),
        bad("size with underscore", "1_0\r\n", ChunkSize),
        bad("seventeen digits", "00000000000000005\r\n12345\r\n0\r\n\r\n", ChunkSize),
        bad("size over 64 bits", "10000000000000005\r\n", ChunkSize),
        bad("data longer than its size", "4\r\n12345\r\n0\r\n\r\n", ChunkData),
        bad("data shorter than its size", "6\r\n12345\r\n0\r\n\r\n", ChunkData),
        bad("data ends with lf", "5\r\n12345\n0\r\n\r\n", ChunkData),
        bad("data ends with cr", "5\r\n12345\r0\r\n\r\n", ChunkData),
        bad("data without an end", "5\r\n123450\r\n\r\n", ChunkData),
        bad("two bytes for the end", "5\r\n12345xx0\r\n\r\n", ChunkData),
        bad("last chunk with lf", "0\n\n", BareLf),
        bad("empty line with lf", "0\r\n\n", BareLf),
        bad("empty line with cr", "0\r\n\rX", BareCr),
    ]
}

fn trailers() -> Vec<Vector> {
    let bad =
        |name, fields: &str, refusal| chunked(name, &format!("0\r\n{fields}\r\n"), Expect::Body(1, refusal));
    vec![
        chunked("a trailer", "5\r\n12345\r\n0\r\nX-Sum: 1\r\n\r\n", take(1)),
        chunked("trailers, then the next request", &format!("0\r\nX: 1\r\nY:\r\n\r\n{SMUGGLED}"), take(2)),
        bad("length as a trailer", "Content-Length: 5\r\n", Trailer),
        bad("encoding as a trailer", "transfer-encoding: chunked\r\n", Trailer),
        bad("host as a trailer", "HOST: b\r\n", Trailer),
        bad("folded trailer", "X: 1\r\n 2\r\n", LineFolding),
        bad("trailer with a space before its colon", "X : 1\r\n", SpaceBeforeColon),
        bad("trailer with lf", "X: 1\nY: 2\r\n", BareLf),
        bad("trailer with cr", "X: 1\rY: 2\r\n", BareCr),
        bad("trailer with nul", "X: \0\r\n", FieldValue),
        bad("trailer without a colon", "X\r\n", FieldWithoutColon),
        bad("trailer without a name", ": 1\r\n", FieldName),
        bad("trailer that is a request", "GET /admin HTTP/1.1\r\nHost: a\r\n", SpaceBeforeColon),
        bad("too many trailers", &"X: 1\r\n".repeat(101), TooManyFields),
        bad("too large a trailer", &format!("X: {}\r\n", "a".repeat(9000)), TrailersTooLarge),
    ]
}

fn pipelines() -> Vec<Vector> {
    vec![
        vector("two requests", format!("{SMUGGLED}{SMUGGLED}"), take(2)),
        vector("an empty line between", format!("{SMUGGLED}\r\n{SMUGGLED}"), take(2)),
        vector(
            "a good one, then a bad one",
            format!("{SMUGGLED}GET / HTTP/1.1\r\n\r\n"),
            Expect::Head(1, HostMissing),
        ),
        vector(
            "a bad one, then a good one",
            format!("GET / HTTP/1.1\r\n\r\n{SMUGGLED}"),
            refuse(HostMissing),
        ),
        vector(
            "junk after a body",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nabXYZ\r\n",
            Expect::Head(1, RequestLine),
        ),
        post("body left out", "Content-Length: 0\r\n", "12345\r\n\r\n", Expect::Head(1, RequestLine)),
        vector(
            "a good one, then a bad body",
            format!("{SMUGGLED}POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
            Expect::Body(2, ChunkSize),
        ),
    ]
}
