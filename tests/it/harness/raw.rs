//! A client that writes bytes as they are given and reads answers strictly (RFC 9112).
//!
//! Anything a lenient reader would forgive (bare LF, two lengths, a field without a colon) fails the test.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::PATIENCE;

pub type Fields = Vec<(String, Vec<u8>)>;

/// One connection to the gateway.
pub struct Client {
    pub stream: BufReader<TcpStream>,
}

/// An answer as it came over the wire.
#[derive(Clone, Debug, Default)]
pub struct Response {
    pub status: u16,
    /// Names as sent, values as bytes, in order.
    pub fields: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends and reads one exchange; the method is taken from the bytes.
    #[track_caller]
    pub fn exchange(&mut self, bytes: impl AsRef<[u8]>) -> Response {
        let bytes = bytes.as_ref();
        let method = String::from_utf8_lossy(bytes.split(|b| *b == b' ').next().unwrap()).into_owned();
        self.send(bytes);
        self.response(&method)
    }

    /// The next final answer, its body read to the end as its framing says for an answer to `method`.
    #[track_caller]
    pub fn response(&mut self, method: &str) -> Response {
        let mut response = self.head();
        while response.status < 200 && response.status != 101 {
            response = self.head();
        }
        self.body(method, &mut response);
        response
    }

    /// The next status line and fields, an interim answer's too.
    #[track_caller]
    pub fn head(&mut self) -> Response {
        let line = text(self.line());
        let mut parts = line.splitn(3, ' ');
        let version = parts.next().unwrap_or_default().to_owned();
        let status = parts.next().unwrap_or_default();
        assert!(matches!(version.as_str(), "HTTP/1.1" | "HTTP/1.0"), "no status line: {line:?}");
        assert!(status.len() == 3, "no status line: {line:?}");
        assert!(parts.next().is_some(), "no blank before the reason: {line:?}");
        Response { status: status.parse().unwrap(), fields: self.fields(), ..Response::default() }
    }

    #[track_caller]
    pub fn body(&mut self, method: &str, response: &mut Response) {
        let lengths = response.values("content-length");
        let codings = response.values("transfer-encoding");
        assert!(lengths.len() + codings.len() <= 1, "ambiguous framing: {:?}", response.fields);
        if method == "HEAD" || response.status < 200 || matches!(response.status, 204 | 304) {
            return;
        }
        if let Some(coding) = codings.first() {
            assert_eq!(*coding, b"chunked");
            (response.body, response.trailers) = self.chunks();
        } else if let Some(length) = lengths.first() {
            let length = std::str::from_utf8(length).unwrap().parse().unwrap();
            response.body = self.bytes(length);
        } else {
            self.stream.read_to_end(&mut response.body).unwrap();
        }
    }

    /// All chunks and the trailers behind them.
    #[track_caller]
    pub fn chunks(&mut self) -> (Vec<u8>, Fields) {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk();
            if chunk.is_empty() {
                return (body, self.fields());
            }
            body.extend(chunk);
        }
    }

    /// The data of one chunk; empty for the last, whose trailers are left to read.
    #[track_caller]
    pub fn chunk(&mut self) -> Vec<u8> {
        let size = text(self.line());
        let size = usize::from_str_radix(size.split(';').next().unwrap(), 16).expect("a chunk size");
        let data = self.bytes(size);
        if size > 0 {
            assert_eq!(self.bytes(2), b"\r\n", "behind a chunk of {size}");
        }
        data
    }

    #[track_caller]
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).unwrap_or_else(|error| panic!("in {count} bytes: {error}"));
        bytes
    }

    /// Whether the peer closes, in order or by reset, without sending more.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => rest.is_empty(),
            Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        }
    }

    #[track_caller]
    fn fields(&mut self) -> Fields {
        let mut fields = Fields::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                return fields;
            }
            let colon = line.iter().position(|b| *b == b':').expect("a field has a colon");
            let name = String::from_utf8(line[..colon].to_vec()).expect("a field name is ASCII");
            let token = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
            assert!(token && !name.is_empty(), "no field name: {name:?}");
            fields.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
    }

    /// One line without its CRLF, which must be one.
    #[track_caller]
    fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        let read = self.stream.read_until(b'\n', &mut line).expect("a line");
        assert!(read > 0, "the connection was closed where a line was due");
        assert!(line.ends_with(b"\r\n"), "no CRLF: {:?}", String::from_utf8_lossy(&line));
        line.truncate(line.len() - 2);
        assert!(!line.contains(&b'\r') && !line.contains(&0), "a control character in {line:?}");
        line
    }
}

fn text(line: Vec<u8>) -> String {
    String::from_utf8(line).expect("ASCII")
}

impl Response {
    /// Every value of a field, in order.
    pub fn values(&self, name: &str) -> Vec<&[u8]> {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_slice()).collect()
    }

    /// The value of a field that stands once; empty when it is absent.
    #[track_caller]
    pub fn value(&self, name: &str) -> String {
        let values = self.values(name);
        assert!(values.len() <= 1, "`{name}` stands {} times", values.len());
        values.first().map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Asserts that this is the gateway's own refusal `code` (RFC 9457, RFC 9209), and gives it back.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> serde_json::Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.value("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()));
        assert!(self.value("proxy-status").contains("error="), "{:?}", self.fields);
        for member in ["type", "title", "detail", "request_id"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "`{member}`: {problem}");
        }
        problem
    }

    /// What the cache did: the word behind the cache's name in `Cache-Status` (RFC 9211).
    #[track_caller]
    pub fn cache(&self) -> String {
        self.value("cache-status").split_once(';').map(|(_, rest)| rest.trim().to_owned()).unwrap_or_default()
    }

    #[track_caller]
    pub fn is_hit(&self) -> bool {
        self.cache().split(';').any(|word| word.trim() == "hit")
    }
}
