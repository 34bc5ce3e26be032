//! Parts of answers: stored, served, completed (RFC 9111, sections 3.3 and 3.4; RFC 9110, section 14).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::harness::{Call, Gateway, Origin};

fn text() -> String {
    (0..2000).map(|i| format!("{i:04} ")).collect()
}

/// An origin that knows ranges and `If-Range`. Its version is what a test says.
fn origin(version: &Arc<AtomicU64>, pause: Duration) -> Origin {
    let version = version.clone();
    Origin::start(move |call| {
        call.pause(pause);
        let etag = format!("\"v{}\"", version.load(Ordering::SeqCst));
        let fields = format!("Cache-Control: max-age=600\r\nETag: {etag}\r\nAccept-Ranges: bytes\r\n");
        let condition = call.seen.value("if-range");
        let asked = part(call).filter(|_| condition.is_empty() || condition == etag);
        match asked {
            None => call.ok(&fields, text()),
            Some((start, end)) => {
                let body = &text()[start..end];
                let range = format!("Content-Range: bytes {start}-{}/{}\r\n", end - 1, text().len());
                let length = format!("Content-Length: {}\r\n", body.len());
                call.send(format!("HTTP/1.1 206 Partial Content\r\n{length}{range}{fields}\r\n"));
                call.send(body);
            }
        }
    })
}

fn part(call: &Call) -> Option<(usize, usize)> {
    let range = call.seen.value("range");
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let length = text().len();
    match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => Some((first, (last + 1).min(length))),
        (Ok(first), Err(_)) => Some((first, length)),
        (Err(_), Ok(count)) => Some((length - count, length)),
        (Err(_), Err(_)) => None,
    }
}

/// Asks for a range, checks the bytes, gives what the cache said of it.
#[track_caller]
fn range(gateway: &Gateway, range: &str, start: usize, end: usize) -> String {
    let answer = gateway.get_with("/", &format!("Range: bytes={range}\r\n"));
    assert_eq!(answer.status, 206, "{range}");
    assert_eq!(answer.value("content-range"), format!("bytes {start}-{}/{}", end - 1, text().len()));
    assert_eq!(answer.text(), text()[start..end], "{range}");
    answer.cache()
}

#[test]
fn ranges_are_stored_and_only_what_is_missing_is_asked_for() {
    let version = Arc::new(AtomicU64::new(1));
    let origin = origin(&version, Duration::ZERO);
    let mut gateway = Gateway::proxy(&origin.url());
    let first = range(&gateway, "0-99", 0, 100);
    assert!(first.contains("fwd=uri-miss; fwd-status=206; stored"), "{first}");
    assert!(range(&gateway, "20-29", 20, 30).starts_with("hit"));
    assert!(range(&gateway, "-100", 9900, 10_000).contains("fwd=partial"));
    assert!(range(&gateway, "9950-", 9950, 10_000).starts_with("hit"));
    let crossing = range(&gateway, "50-199", 50, 200);
    assert!(crossing.contains("fwd=partial; fwd-status=206; stored"), "{crossing}");
    assert_eq!(origin.seen().last().unwrap().value("range"), "bytes=100-199");
    let whole = gateway.get("/");
    assert_eq!((whole.status, whole.text()), (200, text()));
    let last = origin.seen().last().unwrap().clone();
    assert_eq!((last.value("range"), last.value("if-range")), ("bytes=200-9899".into(), "\"v1\"".into()));
    assert_eq!(origin.calls(), 4);
    // Complete now, it is stored like any other.
    assert!(gateway.get("/").is_hit());
    assert_eq!(gateway.stop(), Some(0));
    gateway.restart();
    gateway.await_cache();
    assert!(gateway.get("/").is_hit());
    assert!(range(&gateway, "5000-5009", 5000, 5010).starts_with("hit"));
    assert_eq!(origin.calls(), 4);
}

#[test]
fn parts_of_two_versions_are_never_mixed() {
    let version = Arc::new(AtomicU64::new(1));
    let origin = origin(&version, Duration::ZERO);
    let gateway = Gateway::proxy(&origin.url());
    range(&gateway, "0-99", 0, 100);
    version.store(2, Ordering::SeqCst);
    let whole = gateway.get("/");
    assert_eq!((whole.status, whole.text(), whole.value("etag")), (200, text(), "\"v2\"".into()));
    assert_eq!(origin.seen().last().unwrap().value("if-range"), "\"v1\"");
    let hit = gateway.get_with("/", "Range: bytes=0-9\r\n");
    assert_eq!((hit.is_hit(), hit.value("etag")), (true, "\"v2\"".into()));
    assert_eq!(origin.calls(), 2);
}

#[test]
fn an_answer_that_is_not_the_missing_part_is_asked_for_again() {
    let origin = Origin::start(|call| {
        let fields = "Cache-Control: max-age=600\r\nETag: \"a\"\r\n";
        match call.seen.value("range").as_str() {
            "bytes=0-4" => call.send(format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/10\r\n{fields}\r\n01234"
            )),
            "" => {
                call.ok(fields, "0123456789");
                true
            }
            // Not what was asked for.
            _ => call.send(format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\nContent-Range: bytes 8-9/10\r\n{fields}\r\n89"
            )),
        };
    });
    let gateway = Gateway::proxy(&origin.url());
    assert_eq!(gateway.get_with("/", "Range: bytes=0-4\r\n").text(), "01234");
    let whole = gateway.get("/");
    assert_eq!((whole.status, whole.text().as_str()), (200, "0123456789"));
    let ranges: Vec<_> = origin.seen().iter().map(|seen| seen.value("range")).collect();
    assert_eq!(ranges, ["bytes=0-4", "bytes=5-", ""]);
}

#[test]
fn many_who_want_the_whole_of_a_part_make_one_call_for_the_rest() {
    let version = Arc::new(AtomicU64::new(1));
    let origin = origin(&version, Duration::from_millis(200));
    let gateway = Gateway::run(&["--proxy", &origin.url(), "--workers", "2"]);
    range(&gateway, "0-4999", 0, 5000);
    std::thread::scope(|scope| {
        let calls = [(); 16].map(|()| scope.spawn(|| gateway.get("/")));
        for call in calls {
            let answer = call.join().unwrap();
            assert_eq!((answer.status, answer.text()), (200, text()));
            assert!(answer.cache().contains("fwd=partial"), "{}", answer.cache());
        }
    });
    let ranges: Vec<_> = origin.seen().iter().map(|seen| seen.value("range")).collect();
    assert_eq!(ranges, ["bytes=0-4999", "bytes=5000-"]);
}

#[test]
fn an_upstream_that_breaks_off_in_the_missing_part_does_not_look_complete() {
    let origin = Origin::start(|call| {
        let fields = "Cache-Control: max-age=600\r\nETag: \"a\"\r\n";
        if call.seen.value("range") == "bytes=0-4" {
            let range = "Content-Length: 5\r\nContent-Range: bytes 0-4/10\r\n";
            call.send(format!("HTTP/1.1 206 Partial Content\r\n{range}{fields}\r\n01234"));
        } else {
            let range = "Content-Length: 5\r\nContent-Range: bytes 5-9/10\r\n";
            call.send(format!("HTTP/1.1 206 Partial Content\r\n{range}{fields}\r\n56"));
            call.close();
        }
    });
    let gateway = Gateway::proxy(&origin.url());
    gateway.get_with("/", "Range: bytes=0-4\r\n");
    let mut client = gateway.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.address));
    let head = client.head();
    assert_eq!((head.status, head.value("content-length")), (200, "10".to_owned()));
    assert_eq!(client.bytes(7), b"0123456");
    assert!(client.is_closed());
    // What was there is still there.
    assert!(gateway.get_with("/", "Range: bytes=1-2\r\n").is_hit());
}
