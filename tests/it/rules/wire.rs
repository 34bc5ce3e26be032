//! One row between sockets: an origin that answers by the row, a client that asks by it.

use std::{
    collections::HashMap,
    io::{Read, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    Faults,
    table::{self, Answer, Case, Exchange, Fields, Outcome, Seen, Step},
};
use crate::harness::{Call, Origin, PATIENCE};

/// Rows that run at once; most of them wait.
const AT_ONCE: usize = 48;

/// Between two exchanges of a row, so that what is stored behind an answer is stored.
const PAUSE: Duration = Duration::from_millis(30);

/// What is not as the row says.
pub struct Fault {
    pub text: String,
    /// The origin was asked where that was not needed: no cache has to use what it has.
    pub asks: bool,
}

/// The origin of all rows, and what it saw.
pub struct Script {
    pub origin: Origin,
    /// The settings that rows ask for; a row's route is named by their place here.
    pub settings: Vec<Fields>,
    cases: Arc<Vec<Case>>,
    asked: Arc<Asked>,
}

/// The requests of one exchange and the status each was answered with, by its name.
type Asked = Mutex<HashMap<String, Vec<(Fields, Option<u16>)>>>;

impl Script {
    pub fn start(cases: &[Case]) -> Self {
        let mut settings: Vec<Fields> = vec![Fields::new()];
        for case in cases {
            if !settings.contains(&case.with) {
                settings.push(case.with.clone());
            }
        }
        let (cases, asked) = (Arc::new(cases.to_vec()), Arc::new(Asked::default()));
        let (script, seen) = (Arc::clone(&cases), Arc::clone(&asked));
        let origin = Origin::start(move |call| answer(call, &script, &seen));
        Self { origin, settings, cases, asked }
    }

    /// The path that a row's own begins with.
    fn base(&self, index: usize, round: &str) -> String {
        let route = self.settings.iter().position(|with| *with == self.cases[index].with).unwrap();
        format!("/o{route}/{round}{index}")
    }
}

/// Runs these rows through a cache.
pub fn run(
    script: &Script,
    indices: &[usize],
    through: SocketAddr,
    round: &str,
    skip: &(impl Fn(&str) -> bool + Sync),
) -> Faults {
    let (next, faults) = (AtomicUsize::new(0), Mutex::new(Faults::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(indices.len()) {
            scope.spawn(|| {
                while let Some(&index) = indices.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let fault = row(script, index, through, round, skip);
                    faults.lock().unwrap().insert(index, fault);
                }
            });
        }
    });
    faults.into_inner().unwrap()
}

fn row(
    script: &Script,
    index: usize,
    through: SocketAddr,
    round: &str,
    skip: &impl Fn(&str) -> bool,
) -> Option<Fault> {
    let base = script.base(index, round);
    let mut number = 0;
    for step in &script.cases[index].steps {
        let exchange = match step {
            Step::Wait(ms) => {
                std::thread::sleep(Duration::from_millis(*ms));
                continue;
            }
            Step::Exchange(exchange) => exchange,
        };
        number += 1;
        let seen = ask(script, exchange, through, &base, (index, number));
        if let Some(fault) = table::fault(exchange, &seen, skip) {
            let text = format!("exchange {number}: {fault}");
            let outcome = exchange.expected.as_ref().map(|expected| expected.outcome);
            let stored = matches!(outcome, Some(Outcome::Hit | Outcome::Stale | Outcome::Validated));
            return Some(Fault { text, asks: stored && seen.outcome == Outcome::Forwarded });
        }
        std::thread::sleep(PAUSE);
    }
    None
}

/// One exchange, and what became of it.
fn ask(
    script: &Script,
    exchange: &Exchange,
    through: SocketAddr,
    base: &str,
    (index, number): (usize, usize),
) -> Seen {
    let name = format!("{base} {number}");
    let (method, target) = (&exchange.method, &exchange.target);
    let mut request = format!(
        "{method} {base}{target} HTTP/1.1\r\nHost: {through}\r\nConnection: close\r\n\
         X-Row: {index}\r\nX-Exchange: {number}\r\nX-Base: {base}\r\n"
    );
    for (name, value) in &exchange.fields {
        let value = table::filled(value, now_ms(), base, &format!("http://{through}"));
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    let body = table::all(&exchange.fields, "content-length").and_then(|length| length.parse().ok());
    request += &"x".repeat(body.unwrap_or(0));
    let (status, fields, body) = exchanged(through, &request).unwrap_or_default();

    let asked = script.asked.lock().unwrap().get(&name).cloned().unwrap_or_default();
    let text = String::from_utf8_lossy(&body).into_owned();
    let answer = text.strip_prefix("answer ").and_then(|number| number.parse().ok());
    let answer = answer.or_else(|| table::all(&fields, "x-answer")?.parse().ok());
    let last = asked.last().map(|(_, status)| *status);
    let outcome = match (answer, last) {
        (Some(own), _) if own == number => Outcome::Forwarded,
        (Some(_), None) => Outcome::Hit,
        (Some(_), Some(Some(304))) => Outcome::Validated,
        (Some(_), Some(_)) => Outcome::Stale,
        (None, Some(Some(_))) if status == 304 => Outcome::Forwarded,
        (None, _) => Outcome::Refused,
    };
    let at_origin = asked.into_iter().next().map(|(fields, _)| fields);
    Seen { outcome, answer, status, fields, at_origin }
}

/// Sends a request and reads what comes until the connection ends.
fn exchanged(through: SocketAddr, request: &str) -> Option<(u16, Fields, Vec<u8>)> {
    let mut stream = TcpStream::connect(through).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    // An answer that breaks off ends with an error; what came of it counts.
    let _ = stream.read_to_end(&mut bytes);
    let mut rest = bytes.as_slice();
    loop {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 4..];
        let mut lines = head.split("\r\n");
        let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        if status < 200 {
            continue;
        }
        let fields: Fields = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let chunked = table::all(&fields, "transfer-encoding").is_some_and(|coding| coding == "chunked");
        let body = if chunked { unchunked(rest) } else { rest.to_vec() };
        return Some((status, fields, body));
    }
}

/// The data of the chunks that are whole.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size =
            std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(data) = size.filter(|size| *size > 0).and_then(|size| rest.get(end + 2..end + 2 + size))
        else {
            break;
        };
        body.extend_from_slice(data);
        rest = rest.get(end + 4 + data.len()..).unwrap_or_default();
    }
    body
}

/// The origin's part.
fn answer(call: &mut Call, cases: &[Case], asked: &Asked) {
    call.read_body();
    let [row, number, base] = ["x-row", "x-exchange", "x-base"]
        .map(|name| call.seen.values(name).first().cloned().unwrap_or_default());
    let parsed = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<usize>().ok());
    let (Some(row), Some(number)) = (parsed(&row), parsed(&number)) else {
        return call.ok("", "not of a row");
    };
    let base = String::from_utf8_lossy(&base).into_owned();
    let exchange = cases[row].exchanges().nth(number - 1).unwrap();
    let fields = listed(&call.seen.head);
    let conditional =
        ["if-none-match", "if-modified-since"].iter().any(|name| table::all(&fields, name).is_some());
    let status = match exchange.answer.status {
        Some(304) if !conditional => Some(200),
        status => status,
    };
    let name = format!("{base} {number}");
    asked.lock().unwrap().entry(name).or_default().push((fields.clone(), status));
    call.pause(Duration::from_millis(exchange.answer.delay_ms));
    match status {
        None => call.close(),
        Some(status) => {
            // A location is told in the words of the client's side.
            let host = table::all(&fields, "x-forwarded-host").or_else(|| table::all(&fields, "host"));
            let origin = format!("http://{}", host.unwrap_or_default());
            let fill = |value: &str| table::filled(value, now_ms(), &base, &origin);
            send(call, &exchange.answer, status, number, &fill);
        }
    }
}

fn send(call: &mut Call, answer: &Answer, status: u16, number: usize, fill: &impl Fn(&str) -> String) {
    let lines = |fields: &Fields| -> String {
        fields.iter().map(|(name, value)| format!("{name}: {}\r\n", fill(value))).collect()
    };
    for (status, fields) in &answer.interim {
        call.send(format!("HTTP/1.1 {status} Interim\r\n{}\r\n", lines(fields)));
    }
    let body = format!("answer {number}");
    let chunked = table::all(&answer.fields, "transfer-encoding").is_some();
    let mut head = format!("HTTP/1.1 {status} Answer\r\n{}", lines(&answer.fields));
    if status != 304 {
        head += &format!("x-answer: {number}\r\n");
    }
    let stated =
        chunked || matches!(status, 204 | 304) || table::all(&answer.fields, "content-length").is_some();
    if !stated {
        let length = if answer.cut { 100 } else { body.len() };
        head += &format!("content-length: {length}\r\n");
    }
    call.send(head + "\r\n");
    if matches!(status, 204 | 304) || call.seen.method() == "HEAD" {
        return;
    }
    if chunked {
        call.send(format!("{:x}\r\n{body}\r\n", body.len()));
        if !answer.cut {
            call.send(format!("0\r\n{}\r\n", lines(&answer.trailers)));
        }
    } else {
        call.send(body);
    }
    if answer.cut {
        call.close();
    }
}

fn listed(head: &[u8]) -> Fields {
    let text = String::from_utf8_lossy(head).into_owned();
    let lines = text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}
