//! Rotation, and issuers that are down, slow, huge or wrong.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;

/// An issuer whose answer the test changes.
#[derive(Debug)]
struct Fake {
    answer: Mutex<Result<String, String>>,
    calls: AtomicUsize,
}

impl Fake {
    fn new(kid: &str) -> Arc<Self> {
        Arc::new(Self { answer: Mutex::new(Ok(set(kid))), calls: AtomicUsize::new(0) })
    }

    fn answers(&self, answer: Result<String, String>) {
        *self.answer.lock().unwrap() = answer;
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl FetchKeys for Fake {
    fn fetch<'a>(&'a self, _: &'a str) -> Fetch<'a> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let answer = self.answer.lock().unwrap().clone();
        Box::pin(async { answer.map(Bytes::from) })
    }
}

/// A set of one key that is well formed; whether it verifies anything does not matter here.
fn set(kid: &str) -> String {
    let x = "A".repeat(43);
    format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"{kid}","x":"{x}","y":"{x}"}}]}}"#)
}

fn source() -> Source {
    Source::Url("https://issuer.test/jwks".into())
}

fn has(set: &KeySet, kid: &str) -> bool {
    set.load().keys.usable.iter().any(|key| key.kid.as_deref() == Some(kid))
}

#[tokio::test]
async fn a_new_key_id_costs_the_issuer_one_call_and_a_flood_of_them_no_more() {
    let fake = Fake::new("old");
    let sets = KeySets::new(Arc::clone(&fake) as _, Some(Handle::current()));
    let set = sets.get(&source());
    assert!(set.refreshed().await, "the first load is waited for");
    assert!(has(&set, "old"));
    fake.answers(Ok(super::tests::set("new")));
    let many = futures_util::future::join_all((0..50).map(|_| set.refreshed())).await;
    assert!(many.iter().all(|refreshed| *refreshed));
    assert!(has(&set, "new"));
    assert_eq!(fake.calls(), 2);
    for _ in 0..50 {
        assert!(!set.refreshed().await);
    }
    assert_eq!(fake.calls(), 2);
}

#[tokio::test]
async fn known_keys_stay_while_the_issuer_fails() {
    for answer in [Err("down".into()), Ok("<html>".into()), Ok("{}".into()), Ok("{\"keys\":1}".into())] {
        let fake = Fake::new("known");
        let sets = KeySets::new(Arc::clone(&fake) as _, Some(Handle::current()));
        let set = sets.get(&source());
        set.refreshed().await;
        fake.answers(answer.clone());
        set.refreshed().await;
        assert_eq!(fake.calls(), 2);
        assert!(has(&set, "known"), "{answer:?}");
        assert_eq!(set.load().version, 1);
    }
}

#[tokio::test]
async fn two_generations_share_a_set_and_the_last_one_ends_it() {
    let fake = Fake::new("k");
    let sets = KeySets::new(Arc::clone(&fake) as _, Some(Handle::current()));
    let (one, two) = (sets.get(&source()), sets.get(&source()));
    assert!(Arc::ptr_eq(&one, &two));
    one.refreshed().await;
    assert_eq!(fake.calls(), 1);
    drop((one, two));
    // The task lets go of the fetcher when it ends: the registry and the test are left.
    while Arc::strong_count(&fake) > 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_file_is_read_again_when_a_key_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    std::fs::write(&path, set("old")).unwrap();
    let sets = KeySets::new(Fake::new("unused"), Some(Handle::current()));
    let file = sets.get(&Source::File(path.clone()));
    file.refreshed().await;
    assert!(has(&file, "old"));
    std::fs::write(&path, set("new")).unwrap();
    assert!(file.refreshed().await);
    assert!(has(&file, "new"));
}

#[tokio::test]
async fn a_file_that_is_replaced_written_over_or_gone_for_a_while_is_noticed_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    std::fs::write(&path, set("first")).unwrap();
    let sets = KeySets::new(Fake::new("unused"), Some(Handle::current()));
    let file = sets.get(&Source::File(path.clone()));
    file.refreshed().await;
    // Well before it is old enough to be read unasked.
    let noticed = async |kid: &str| {
        let start = Instant::now();
        while !has(&file, kid) {
            assert!(start.elapsed() < FRESH_FILE / 3, "`{kid}` is not noticed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let draft = dir.path().join("draft");
    std::fs::write(&draft, set("moved")).unwrap();
    std::fs::rename(&draft, &path).unwrap();
    noticed("moved").await;
    std::fs::write(&path, set("overwritten")).unwrap();
    noticed("overwritten").await;
    std::fs::remove_file(&path).unwrap();
    tokio::time::sleep(LOOK * 3).await;
    assert!(has(&file, "overwritten"), "known keys stay");
    std::fs::write(&path, set("back")).unwrap();
    noticed("back").await;
}

#[tokio::test]
async fn nobody_waits_for_a_set_that_failed_to_load_just_now() {
    let fake = Fake::new("k");
    fake.answers(Err("down".into()));
    let sets = KeySets::new(Arc::clone(&fake) as _, Some(Handle::current()));
    let set = sets.get(&source());
    set.refreshed().await;
    set.refreshed().await;
    assert!(!set.refreshed().await);
    assert_eq!(set.load().version, 0);
}

/// Answers each connection with `answer`, raw; an empty one is never answered.
fn origin(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            if answer.is_empty() {
                silent.push(stream);
                continue;
            }
            let _ = stream.write_all(&answer);
            let _ = stream.shutdown(Shutdown::Write);
        }
    });
    url
}

fn http(deadline: Duration) -> HttpFetch {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.unwrap().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    HttpFetch::with_deadline(tls, deadline).unwrap()
}

#[tokio::test]
async fn a_fetch_is_bounded_and_follows_nothing() {
    let target = origin(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"keys\":[]}".to_vec());
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n");
    let mut huge = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    huge.resize(MAX_BYTES + 100, b' ');
    let http = http(Duration::from_secs(60));
    assert_eq!(&http.fetch(&target).await.unwrap()[..], b"{\"keys\":[]}");
    let rows = [
        (redirect.into_bytes(), "redirects are not followed"),
        (huge, "larger than 1024 KB"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec(), "404"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec(), "error"),
    ];
    for (answer, why) in rows {
        let error = http.fetch(&origin(answer)).await.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn an_issuer_that_never_answers_is_given_up() {
    let error = http(Duration::from_millis(50)).fetch(&origin(Vec::new())).await.unwrap_err();
    assert!(error.contains("error"), "{error}");
}
