//! The cache: what is stored and served (RFC 9111), what a hit says (RFC 9211), what survives.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use crate::harness::{Call, Gateway, Origin, cli, eventually};

/// An origin whose answers are numbered, with these fields.
fn numbered(fields: &'static str) -> Origin {
    let count = AtomicUsize::new(0);
    Origin::start(move |call: &mut Call| {
        call.read_body();
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        call.ok(fields, format!("answer {number}"));
    })
}

#[test]
fn a_second_call_is_a_hit() {
    let origin = numbered("Cache-Control: max-age=60\r\nETag: \"e\"\r\nX-Kept: 1\r\n");
    let gateway = Gateway::proxy(&origin.url());
    let miss = gateway.get("/a?x=1");
    assert!(!miss.is_hit() && miss.cache().contains("fwd=uri-miss"), "{}", miss.cache());
    let hit = gateway.get("/a?x=1");
    assert!(hit.is_hit() && hit.cache().contains("ttl="), "{}", hit.cache());
    assert_eq!(
        (hit.text(), hit.value("etag"), hit.value("x-kept")),
        (miss.text(), "\"e\"".into(), "1".into())
    );
    assert!(hit.value("age").parse::<u64>().unwrap() < 10);
    assert_eq!(origin.calls(), 1);
    for other in ["/a?x=2", "/a", "/A?x=1", "/a?x=1&"] {
        assert!(!gateway.get(other).is_hit(), "{other}");
    }
    let head = gateway.send("HEAD", "/a?x=1", "", "");
    assert!(head.is_hit() && head.body.is_empty(), "{head:?}");
}

#[test]
fn what_may_not_be_stored_is_not() {
    for (fields, request) in [
        ("Cache-Control: no-store\r\n", ""),
        ("Cache-Control: private, max-age=60\r\n", ""),
        ("Cache-Control: max-age=0\r\n", ""),
        ("Cache-Control: MAX-AGE=60, No-Store\r\n", ""),
        ("Cache-Control: no-cache\r\n", ""),
        ("Expires: 0\r\n", ""),
        ("Vary: *\r\nCache-Control: max-age=60\r\n", ""),
        ("Cache-Control: max-age=60\r\n", "Authorization: Basic eDp5\r\n"),
        ("Cache-Control: max-age=60\r\n", "Cache-Control: no-store\r\n"),
    ] {
        let origin = numbered(fields);
        let gateway = Gateway::proxy(&origin.url());
        for call in 1..=2 {
            let answer = gateway.get_with("/", request);
            assert_eq!(answer.text(), format!("answer {call}"), "{fields}{request}");
        }
    }
}

#[test]
fn what_shared_caches_may_store_for_authorized_callers_is_stored() {
    for fields in ["Cache-Control: public, max-age=60\r\n", "Cache-Control: s-maxage=60\r\n"] {
        let origin = numbered(fields);
        let gateway = Gateway::proxy(&origin.url());
        for _ in 0..2 {
            assert_eq!(gateway.get_with("/", "Authorization: Basic eDp5\r\n").text(), "answer 1", "{fields}");
        }
    }
}

#[test]
fn answers_that_vary_are_told_apart() {
    let origin = numbered("Cache-Control: max-age=60\r\nVary: Accept-Language, X-B\r\n");
    let gateway = Gateway::proxy(&origin.url());
    let ask = |fields: &str| gateway.get_with("/", fields).text();
    assert_eq!(ask("Accept-Language: de\r\n"), "answer 1");
    assert_eq!(ask("Accept-Language: en\r\n"), "answer 2");
    assert_eq!(ask("Accept-Language: de\r\nX-B: 1\r\n"), "answer 3");
    assert_eq!(ask("Accept-Language: de\r\nX-Other: 1\r\n"), "answer 1");
    assert_eq!(ask("accept-language: en\r\n"), "answer 2");
    assert_eq!(ask(""), "answer 4");
}

#[test]
fn a_hit_replays_nothing_that_was_for_one_caller() {
    let origin = numbered(
        "Cache-Control: max-age=60\r\nSet-Cookie: session=1\r\nRateLimit: \"x\";r=1\r\nRateLimit-Limit: 5\r\n\
         X-RateLimit-Remaining: 4\r\nConnection: X-Hop\r\nX-Hop: 1\r\n",
    );
    let gateway = Gateway::proxy(&origin.url());
    assert_eq!(gateway.get("/").value("set-cookie"), "session=1");
    let second = gateway.get("/");
    assert!(second.is_hit(), "{}", second.cache());
    for name in ["set-cookie", "ratelimit", "ratelimit-limit", "x-ratelimit-remaining", "x-hop"] {
        assert!(second.values(name).is_empty(), "{name} was replayed");
    }
}

#[test]
fn only_what_is_safe_and_asked_for_is_answered_from_the_store() {
    let origin = numbered("Cache-Control: max-age=60\r\n");
    let gateway = Gateway::proxy(&origin.url());
    gateway.get("/");
    gateway.get("/").is_hit().then_some(()).expect("a hit");
    assert_eq!(gateway.send("POST", "/other", "", "x").text(), "answer 2");
    assert_eq!(gateway.send("POST", "/other", "", "x").text(), "answer 3");
    let answer = gateway.get_with("/unknown", "Cache-Control: only-if-cached\r\n");
    answer.problem(504, "not-cached");
    assert!(gateway.get_with("/", "Cache-Control: only-if-cached\r\n").is_hit());
    // A change through the gateway makes what is stored of it stale (RFC 9111, section 4.4).
    assert_eq!(gateway.send("DELETE", "/", "", "").status, 200);
    assert!(!gateway.get("/").is_hit());
}

#[test]
fn requests_for_new_answers_are_heard_so_often_a_second() {
    let origin = numbered("Cache-Control: max-age=60\r\n");
    let config = |limit: u32| {
        format!(
            "routes:\n  - {{ path: /**, upstream: '{}', cache: {{ reload_limit: {limit} }} }}\n",
            origin.url()
        )
    };
    let gateway = Gateway::config(&config(5));
    let mut client = gateway.client();
    let begin = std::time::Instant::now();
    for _ in 0..100 {
        let answer = client.exchange("GET / HTTP/1.1\r\nHost: h\r\nCache-Control: no-cache\r\n\r\n");
        assert_eq!(answer.status, 200);
    }
    let seconds = begin.elapsed().as_secs() as usize + 2;
    let calls = origin.calls();
    assert!(calls > 1 && calls <= 1 + 5 * seconds, "{calls} calls in less than {seconds} seconds");
    gateway.folder.replace("gatewright.yaml", config(0));
    eventually("nobody is heard", || {
        let calls = origin.calls();
        gateway.get_with("/", "Cache-Control: no-cache\r\n").is_hit() && origin.calls() == calls && {
            std::thread::sleep(Duration::from_millis(1100));
            gateway.get_with("/", "Cache-Control: max-age=0\r\n").is_hit()
        }
    });
}

#[test]
fn an_upstream_that_is_taken_offline_is_not_asked() {
    let origin = Origin::start(|call: &mut Call| match call.seen.target().as_str() {
        "/must" => call.ok("Cache-Control: max-age=1, must-revalidate\r\nETag: \"a\"\r\n", "must"),
        _ => call.ok("Cache-Control: max-age=1, stale-while-revalidate=60\r\nETag: \"a\"\r\n", "may"),
    });
    let config = |offline: bool| {
        format!(
            "routes:\n  - {{ path: /**, upstream: u, cache: {{ offline: {offline} }} }}\n\
             upstreams:\n  u: {{ endpoints: ['{}'] }}\n",
            origin.url()
        )
    };
    let gateway = Gateway::config(&config(false));
    assert_eq!((gateway.get("/may").text(), gateway.get("/must").text()), ("may".into(), "must".into()));
    gateway.folder.replace("gatewright.yaml", config(true));
    eventually("the route is offline", || gateway.send("POST", "/other", "", "").status == 504);
    std::thread::sleep(Duration::from_millis(1500));
    let calls = origin.calls();
    let answer = gateway.get_with("/may", "Cache-Control: no-cache\r\n");
    assert_eq!(answer.text(), "may");
    assert!(answer.cache().starts_with("hit; ttl=-"), "{}", answer.cache());
    assert!(answer.cache().contains("detail=stale"), "{}", answer.cache());
    gateway.get("/must").problem(504, "not-cached");
    gateway.send("POST", "/may", "", "x").problem(504, "not-cached");
    gateway.send("GET", "/may", "", "x").problem(504, "not-cached");
    assert_eq!(origin.calls(), calls, "the upstream was asked");
}

#[test]
fn fields_for_all_caches_count_though_connection_lists_them() {
    let origin = numbered(
        "Cache-Control: no-store\r\nVary: Accept\r\nX-Hop: 1\r\nConnection: cache-control, vary, x-hop\r\n",
    );
    let gateway = Gateway::proxy(&origin.url());
    let first = gateway.get("/");
    assert_eq!((first.value("cache-control"), first.value("vary")), ("no-store".into(), "Accept".into()));
    assert!(first.values("x-hop").is_empty());
    assert_eq!(gateway.get("/").text(), "answer 2");
}

#[test]
fn a_change_by_a_route_without_a_cache_counts_too() {
    let origin = numbered("Cache-Control: max-age=60\r\n");
    let gateway = Gateway::config(&format!(
        "routes:\n  - {{ path: /a, methods: [GET], upstream: u }}\n  \
         - {{ path: /a, methods: [PUT, GET], host: other.test, upstream: u, cache: false }}\n  \
         - {{ path: /a, methods: [PUT], upstream: u, cache: false }}\nupstreams:\n  u: {{ endpoints: ['{}'] }}\n",
        origin.url()
    ));
    gateway.get("/a");
    assert!(gateway.get("/a").is_hit());
    let change = gateway.send("PUT", "/a", "", "x");
    assert_eq!((change.text(), change.cache()), ("answer 2".into(), String::new()));
    assert_eq!(gateway.get("/a").text(), "answer 3");
}

#[test]
fn an_answer_that_broke_off_is_not_stored() {
    let count = AtomicUsize::new(0);
    let origin = Origin::start(move |call| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            call.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 100\r\n\r\npart");
            call.close();
        } else {
            call.ok("Cache-Control: max-age=60\r\n", "whole");
        }
    });
    let gateway = Gateway::proxy(&origin.url());
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    client.head();
    drop(client);
    let mut text = String::new();
    eventually("a whole answer", || {
        text = gateway.get("/").text();
        !text.is_empty()
    });
    assert_eq!(text, "whole");
}

#[test]
fn what_is_stored_survives_a_restart_and_a_crash() {
    let origin = numbered("Cache-Control: max-age=600\r\n");
    let mut gateway = Gateway::proxy(&origin.url());
    gateway.get("/restart");
    assert_eq!(gateway.stop(), Some(0));
    gateway.restart();
    gateway.await_cache();
    assert!(gateway.get("/restart").is_hit(), "after a restart");
    gateway.get("/crash");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    gateway.crash();
    gateway.restart();
    gateway.await_cache();
    for path in ["/restart", "/crash"] {
        let answer = gateway.get(path);
        assert!(answer.is_hit(), "{path} after a crash: {}", answer.cache());
    }
    assert_eq!(origin.calls(), 2);
}

#[test]
fn a_damaged_store_starts_empty_and_says_so() {
    let origin = numbered("Cache-Control: max-age=600\r\n");
    let mut gateway = Gateway::proxy(&origin.url());
    gateway.get("/");
    assert_eq!(gateway.stop(), Some(0));
    let mut damaged = 0;
    let mut folders = vec![gateway.folder.path("state")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains("cache") {
                let length = entry.metadata().unwrap().len() as usize;
                std::fs::write(&path, vec![0xA5; length.max(512)]).unwrap();
                damaged += 1;
            }
        }
    }
    assert!(damaged > 0, "nothing of the cache lies in the state directory");
    gateway.restart();
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.text().as_str(), answer.is_hit()), (200, "answer 2", false));
    assert!(gateway.get("/").is_hit(), "the new store works");
    gateway.await_log("damaged");
}

#[test]
fn misses_that_meet_make_one_call() {
    let origin = Origin::start(|call| {
        call.pause(std::time::Duration::from_millis(300));
        call.ok("Cache-Control: max-age=60\r\n", "one");
    });
    let gateway = Gateway::proxy(&origin.url());
    std::thread::scope(|scope| {
        let calls = [(); 8].map(|()| scope.spawn(|| gateway.get("/").text()));
        for call in calls {
            assert_eq!(call.join().unwrap(), "one");
        }
    });
    assert_eq!(origin.calls(), 1);
}

#[test]
fn the_cache_can_be_looked_into_and_purged() {
    let origin = numbered("Cache-Control: max-age=60\r\n");
    let gateway = Gateway::proxy(&origin.url());
    gateway.get("/a/1");
    gateway.get("/b/1");
    let connect = gateway.connect();
    let command =
        |words: &[&str]| cli(words.iter().copied().chain(connect.iter().map(String::as_str))).fine().stdout;
    assert!(!command(&["cache", "stats"]).is_empty());
    let url = |path: &str| format!("http://{}{path}", gateway.address);
    command(&["cache", "purge", "--prefix", &url("/a/")]);
    assert!(!gateway.get("/a/1").is_hit() && gateway.get("/b/1").is_hit());
    command(&["cache", "purge", &url("/b/1")]);
    assert!(!gateway.get("/b/1").is_hit() && gateway.get("/a/1").is_hit());
    command(&["cache", "purge", "--all"]);
    assert!(!gateway.get("/a/1").is_hit() && !gateway.get("/b/1").is_hit());
}

#[test]
fn the_cache_can_be_switched_off() {
    let origin = numbered("Cache-Control: max-age=60\r\n");
    let gateway = Gateway::run(&["--proxy", &origin.url(), "--no-cache"]);
    assert_eq!([gateway.get("/").text(), gateway.get("/").text()], ["answer 1", "answer 2"]);
}

#[test]
fn a_guarded_answer_is_never_a_hit_for_someone_without_a_key() {
    let origin = numbered("Cache-Control: public, max-age=60\r\n");
    let gateway = Gateway::run(&["--proxy", &origin.url(), "--security", "gateway"]);
    let key = format!("X-API-Key: {}\r\n", gateway.add_key("ada"));
    assert_eq!(gateway.get_with("/", &key).text(), "answer 1");
    assert!(gateway.get_with("/", &key).is_hit());
    gateway.get("/").problem(401, "credentials-missing");
}
