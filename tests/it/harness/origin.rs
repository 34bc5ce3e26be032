//! An upstream over raw sockets: it records exactly the bytes that come and answers exactly what a test
//! says, however wrong.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{PATIENCE, eventually, raw::Fields};

/// A running origin; its threads end with the test process.
pub struct Origin {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    pub connections: Arc<AtomicUsize>,
}

/// One request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The head, each byte of it, with the empty line.
    pub head: Vec<u8>,
    /// The body as far as the origin read it, without its framing.
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// The connection ended before the body did.
    pub broken: bool,
}

/// One request in the hands of the test's answer.
pub struct Call {
    pub seen: Seen,
    stream: BufReader<TcpStream>,
    store: Arc<Mutex<Vec<Seen>>>,
    index: usize,
    open: bool,
}

impl Origin {
    /// Listens and answers each request with `answer`; a connection serves one request after the other.
    pub fn start(answer: impl Fn(&mut Call) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (store, count, answer) = (seen.clone(), connections.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let (store, answer) = (store.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, &store, &*answer));
            }
        });
        Self { address, seen, connections }
    }

    /// Answers everything with these bytes, after reading the request's body.
    pub fn fixed(answer: impl AsRef<[u8]>) -> Self {
        let answer = answer.as_ref().to_vec();
        Self::start(move |call| {
            call.read_body();
            call.send(&answer);
        })
    }

    /// Answers with 200 and a short text.
    pub fn plain() -> Self {
        Self::fixed("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n")
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The only request so far.
    #[track_caller]
    pub fn one(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.into_iter().next().unwrap()
    }

    /// The first request whose target begins so, once it has come.
    #[track_caller]
    pub fn await_call(&self, target: &str) -> Seen {
        let mut found = None;
        eventually(target, || {
            found = self.seen().into_iter().find(|seen| seen.target().starts_with(target));
            found.is_some()
        });
        found.unwrap()
    }
}

impl Seen {
    pub fn request_line(&self) -> String {
        String::from_utf8_lossy(self.head.split(|b| *b == b'\r').next().unwrap()).into_owned()
    }

    pub fn method(&self) -> String {
        self.request_line().split(' ').next().unwrap_or_default().to_owned()
    }

    /// The request target, byte for byte.
    pub fn target(&self) -> String {
        self.request_line().split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// Every value of a field, in order, as it came.
    pub fn values(&self, name: &str) -> Vec<Vec<u8>> {
        self.head
            .split(|b| *b == b'\n')
            .skip(1)
            .filter_map(|line| {
                let colon = line.iter().position(|b| *b == b':')?;
                line[..colon]
                    .eq_ignore_ascii_case(name.as_bytes())
                    .then(|| line[colon + 1..].trim_ascii().to_vec())
            })
            .collect()
    }

    /// The value of a field that stands once; empty when it is absent.
    #[track_caller]
    pub fn value(&self, name: &str) -> String {
        let values = self.values(name);
        assert!(values.len() <= 1, "`{name}` came {} times", values.len());
        values.first().map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    }
}

fn serve(stream: TcpStream, store: &Arc<Mutex<Vec<Seen>>>, answer: &(impl Fn(&mut Call) + ?Sized)) {
    stream.set_nodelay(true).unwrap();
    let mut stream = BufReader::new(stream);
    while let Some(head) = read_head(&mut stream) {
        let seen = Seen { head, ..Seen::default() };
        let index = {
            let mut store = store.lock().unwrap();
            store.push(seen.clone());
            store.len() - 1
        };
        let mut call = Call { seen, stream, store: store.clone(), index, open: true };
        answer(&mut call);
        if !call.open {
            return;
        }
        stream = call.stream;
    }
}

/// The bytes up to the empty line; `None` when the peer closed instead.
fn read_head(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_until(b'\n', &mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

impl Call {
    /// The path of the request target, without its query.
    pub fn path(&self) -> String {
        let target = self.seen.target();
        target.split('?').next().unwrap_or_default().to_owned()
    }

    /// Reads the body as its framing says, into what the origin has seen.
    pub fn read_body(&mut self) {
        if self.seen.value("transfer-encoding") == "chunked" {
            while self.read_chunk() {}
        } else if let Ok(length) = self.seen.value("content-length").parse::<usize>() {
            let mut body = vec![0; length];
            self.seen.broken = self.stream.read_exact(&mut body).is_err();
            self.seen.body = body;
        }
        self.record();
    }

    /// Reads one chunk; `false` behind the last, the trailers read, or where the peer broke off.
    pub fn read_chunk(&mut self) -> bool {
        let Some(size) = self.read_line().and_then(|line| usize::from_str_radix(&line, 16).ok()) else {
            self.seen.broken = true;
            return false;
        };
        if size == 0 {
            while let Some(line) = self.read_line().filter(|line| !line.is_empty()) {
                let (name, value) = line.split_once(':').unwrap();
                self.seen.trailers.push((name.to_owned(), value.trim().as_bytes().to_vec()));
            }
            return false;
        }
        let mut chunk = vec![0; size + 2];
        if self.stream.read_exact(&mut chunk).is_err() {
            self.seen.broken = true;
            return false;
        }
        chunk.truncate(size);
        self.seen.body.extend(chunk);
        self.record();
        true
    }

    fn read_line(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.stream.read_line(&mut line).ok()? > 0).then(|| line.trim_end_matches("\r\n").to_owned())
    }

    fn record(&self) {
        self.store.lock().unwrap()[self.index] = self.seen.clone();
    }

    /// Writes as much as the peer takes; whether it took all.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// A 200 with this body.
    pub fn ok(&mut self, fields: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        self.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{fields}\r\n", body.len()));
        self.send(body);
    }

    pub fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Closes in order.
    pub fn close(&mut self) {
        let _ = self.stream.get_ref().shutdown(Shutdown::Both);
        self.open = false;
    }

    /// Closes with a reset.
    pub fn reset(&mut self) {
        let socket = socket2::SockRef::from(self.stream.get_ref());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        self.open = false;
    }

    /// Waits until the peer closes or resets; `false` if it does not in time.
    pub fn peer_closes(&mut self) -> bool {
        self.stream.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(read) => read == 0,
            Err(error) => {
                !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
            }
        }
    }

    /// The socket itself, for what the helpers do not do.
    pub fn socket(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.stream
    }
}
