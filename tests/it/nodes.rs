//! Several gateways that share a Redis: a purge of one reaches all, also those that were away, and whoever purges
//! is told the truth about it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::harness::{Gateway, Origin, Redis, cli, eventually, gateway::Output};

/// Answers that may be stored for long, each with a number of its own.
pub fn origin() -> Origin {
    let count = AtomicUsize::new(0);
    Origin::start(move |call| {
        call.read_body();
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        call.ok("Cache-Control: max-age=6000\r\n", format!("answer {number}"));
    })
}

pub fn config(origin: &Origin, redis: &str) -> String {
    format!(
        "{redis}routes: [{{ path: /**, upstream: u }}]\nupstreams: {{ u: {{ endpoints: ['{}'] }} }}\n",
        origin.url()
    )
}

pub fn node(origin: &Origin, redis: &Redis) -> Gateway {
    let gateway = Gateway::config(&config(origin, &format!("redis: {}\n", redis.url())));
    await_state(&gateway, "up");
    gateway
}

pub fn state(gateway: &Gateway) -> serde_json::Value {
    gateway.admin_get("/redis").json()
}

#[track_caller]
pub fn await_state(gateway: &Gateway, wanted: &str) {
    eventually(wanted, || state(gateway)["state"] == wanted);
}

/// Waits until a node has carried out what is in the log.
#[track_caller]
pub fn await_sequence(gateway: &Gateway, sequence: u64) {
    eventually("the node follows", || state(gateway)["purges"]["sequence"] == sequence);
}

pub fn purge(gateway: &Gateway, words: &[&str]) -> Output {
    let connect = gateway.connect();
    cli(["cache", "purge"]
        .iter()
        .copied()
        .chain(words.iter().copied())
        .chain(connect.iter().map(String::as_str)))
}

/// The call itself, with its status and document.
fn purge_call(gateway: &Gateway) -> (u16, serde_json::Value) {
    let token = std::fs::read_to_string(gateway.folder.path("state/admin.token")).unwrap();
    let fields = format!(
        "Host: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
        gateway.admin,
        token.trim()
    );
    let mut client = crate::harness::Client::connect(gateway.admin);
    let answer = client.exchange(format!(
        "POST /cache/purge HTTP/1.1\r\nContent-Length: 12\r\n{fields}\r\n{{\"all\":true}}"
    ));
    (answer.status, answer.json())
}

/// Fetches until it is stored.
#[track_caller]
pub fn fill(gateways: &[&Gateway], path: &str) {
    for gateway in gateways {
        eventually("it is stored", || gateway.get(path).is_hit());
    }
}

#[test]
fn a_purge_of_one_node_reaches_the_others_within_a_second() {
    let (origin, redis) = (origin(), Redis::start());
    let nodes = [(); 3].map(|()| node(&origin, &redis));
    let all: Vec<&Gateway> = nodes.iter().collect();
    for (purger, other) in [(0, 1), (1, 2), (2, 0)] {
        fill(&all, "/pets/1");
        fill(&all, "/shops/1");
        let prefix = format!("http://{}/pets/", nodes[purger].address);
        let started = Instant::now();
        let done = purge(&nodes[purger], &["--prefix", &prefix]).fine();
        assert!(done.stdout.contains("every other node does the same"), "{done:?}");
        let purged = Instant::now();
        while nodes[other].get("/pets/1").is_hit() {
            assert!(purged.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        }
        assert!(nodes[other].get("/shops/1").is_hit(), "it was about other paths");
        purge(&nodes[purger], &["--all"]).fine();
        for node in &nodes {
            eventually("it is purged everywhere", || !node.get("/shops/1").is_hit());
        }
    }
    await_sequence(&nodes[0], 7);
    let state = state(&nodes[0]);
    // Two purges of each node, behind the beginning of the log; own ones are not carried out again.
    assert_eq!(
        (&state["purges"]["sequence"], &state["purges"]["applied"]),
        (&7.into(), &4.into()),
        "{state}"
    );
    let metrics = nodes[0].admin_get("/metrics").text();
    let gauge = format!("gatewright_purge_log_sequence{{server=\"{}\"}} 7.0", redis.url());
    assert!(metrics.contains(&gauge), "{metrics}");
    let connect = nodes[0].connect();
    let stats = cli(["cache", "stats"].into_iter().chain(connect.iter().map(String::as_str))).fine();
    assert!(
        stats
            .stdout
            .contains(&format!("redis      {}, up; 7 of 7 in the nodes' log holds here", redis.url())),
        "{stats:?}"
    );
}

#[test]
fn a_purge_of_a_host_and_path_reaches_that_of_others() {
    let (origin, redis) = (origin(), Redis::start());
    let nodes = [(); 2].map(|()| node(&origin, &redis));
    let get = |node: &Gateway, path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        crate::harness::Client::connect(node.address).exchange(head)
    };
    for node in &nodes {
        for path in ["/a", "/b"] {
            eventually("it is stored", || get(node, path).is_hit());
        }
    }
    purge(&nodes[0], &["http://shop.test/a"]).fine();
    await_sequence(&nodes[1], 2);
    for node in &nodes {
        assert!(!get(node, "/a").is_hit() && get(node, "/b").is_hit());
    }
}

#[test]
fn a_node_that_was_away_does_not_serve_what_was_purged_meanwhile() {
    let (origin, redis) = (origin(), Redis::start());
    let (one, mut two) = (node(&origin, &redis), node(&origin, &redis));
    for how in ["stopped", "killed"] {
        fill(&[&one, &two], "/kept");
        fill(&[&one, &two], "/gone");
        // What is stored must be on disk, and how far the log was read too.
        std::thread::sleep(Duration::from_millis(1500));
        match how {
            "stopped" => assert_eq!(two.stop(), Some(0)),
            _ => two.crash(),
        }
        let url = format!("http://{}/gone", two.address);
        assert!(purge(&one, &[&url]).fine().stdout.contains("every other node does the same"));
        let calls = origin.calls();
        two.restart();
        // The very first answers count.
        assert!(!two.get("/gone").is_hit(), "{how}");
        assert!(two.get("/kept").is_hit(), "{how}: only what was purged is gone");
        assert_eq!(origin.calls(), calls + 1, "{how}");
    }
    assert!(!two.log().contains("everything is purged"), "{}", two.log());
}

#[test]
fn a_node_that_cannot_reach_redis_at_its_start_asks_before_it_uses_what_it_has_and_follows_later() {
    let validations = Arc::new(AtomicUsize::new(0));
    let validated = Arc::clone(&validations);
    let origin = Origin::start(move |call| {
        if call.seen.values("if-none-match").is_empty() {
            call.ok("Cache-Control: max-age=6000\r\nETag: \"e\"\r\n", "answer");
        } else {
            validated.fetch_add(1, Ordering::SeqCst);
            call.send("HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=6000\r\nETag: \"e\"\r\n\r\n");
        }
    });
    let mut redis = Redis::durable();
    let (one, mut two) = (node(&origin, &redis), node(&origin, &redis));
    fill(&[&two], "/kept");
    fill(&[&two], "/gone");
    std::thread::sleep(Duration::from_millis(1500));
    two.crash();
    purge(&one, &[&format!("http://{}/gone", two.address)]).fine();
    redis.crash();
    await_state(&one, "down");
    let (started, fetches) = (Instant::now(), origin.calls());
    two.restart();
    assert!(started.elapsed() < Duration::from_secs(10));
    for (count, path) in [(1, "/kept"), (2, "/gone")] {
        assert_eq!(two.get(path).status, 200);
        let asked = (validations.load(Ordering::SeqCst), origin.calls() - fetches);
        assert_eq!(asked, (count, count), "{path} is not used unasked");
    }
    assert!(two.get("/kept").is_hit(), "what was confirmed is used again");
    let log = two.log();
    assert!(log.contains("a purge reaches this node alone; what is stored counts as stale"), "{log}");
    assert_eq!(state(&two)["purges"]["doubted"], 1);
    redis.restart();
    eventually("it follows when Redis is back", || !two.get("/gone").is_hit());
    assert!(two.get("/kept").is_hit(), "the log was kept: {}", two.log());
    assert!(!two.log().contains("everything is purged"), "{}", two.log());
}

#[test]
fn who_purges_while_redis_is_away_is_told_that_it_was_this_node_alone() {
    let (origin, mut redis) = (origin(), Redis::start());
    let nodes = [(); 2].map(|()| node(&origin, &redis));
    fill(&[&nodes[0], &nodes[1]], "/x");
    redis.crash();
    await_state(&nodes[0], "down");
    let output = purge(&nodes[0], &["--all"]);
    output.refused(1, "gateway-refused", &["only this node was purged", "the connection was"]);
    assert!(!nodes[0].get("/x").is_hit() && nodes[1].get("/x").is_hit());
    let (status, document) = purge_call(&nodes[0]);
    assert_eq!((status, document["code"].as_str()), (503, Some("purge-incomplete")), "{document}");
    assert_eq!((&document["reach"], &document["answers"]), (&"here_only".into(), &1.into()), "{document}");
    assert_eq!(state(&nodes[0])["purges"]["unspread"], 2);
    redis.restart();
    await_state(&nodes[0], "up");
    let (status, document) = purge_call(&nodes[0]);
    assert_eq!((status, &document["reach"]), (200, &"everywhere".into()), "{document}");
    eventually("the other follows", || !nodes[1].get("/x").is_hit());
}

#[test]
fn what_is_purged_while_redis_is_away_is_told_to_the_others_when_it_is_back() {
    let (origin, mut redis) = (origin(), Redis::durable());
    let nodes = [(); 2].map(|()| node(&origin, &redis));
    let all = [&nodes[0], &nodes[1]];
    ["/x", "/y", "/kept"].into_iter().for_each(|path| fill(&all, path));
    redis.crash();
    nodes.iter().for_each(|node| await_state(node, "down"));
    purge(&nodes[0], &[&format!("http://{}/x", nodes[1].address)]).refused(
        1,
        "gateway-refused",
        &["is passed on"],
    );
    assert_eq!(nodes[0].send("POST", "/y", "", "change").status, 200);
    assert!(nodes[1].get("/x").is_hit() && nodes[1].get("/y").is_hit(), "nobody told it");
    eventually("both wait", || state(&nodes[0])["purges"]["waiting"] == 2);
    let stats =
        cli(["cache", "stats"].into_iter().chain(nodes[0].connect().iter().map(String::as_str))).fine();
    assert!(stats.stdout.contains("AWAY") && stats.stdout.contains("2 wait here"), "{stats:?}");
    redis.restart();
    eventually("it is told", || !nodes[1].get("/x").is_hit());
    eventually("of the change too", || state(&nodes[1])["purges"]["changed"] == 1);
    assert!(!nodes[1].get("/y").is_hit() && nodes[1].get("/kept").is_hit());
    assert_eq!(state(&nodes[0])["purges"]["waiting"], 0);
    nodes[0].await_log("what waited here is told to other nodes");
}

#[test]
fn the_purge_method_and_a_soft_purge_reach_the_others() {
    let (origin, mut redis) = (origin(), Redis::start());
    let start = || {
        let (origin, redis) = (origin.url(), redis.url());
        let gateway = Gateway::config(&format!(
            "redis: {redis}\nroutes: [{{ path: /**, upstream: '{origin}', security: gateway, cache: {{ purge: ada }} }}]\n"
        ));
        await_state(&gateway, "up");
        let key = format!("X-API-Key: {}\r\n", gateway.add_key("ada"));
        (gateway, key)
    };
    let nodes = [(); 2].map(|()| start());
    let get = |at: usize, path: &str| nodes[at].0.get_with(path, &nodes[at].1);
    let fill = || {
        for (at, path) in [(0, "/a"), (0, "/b"), (1, "/a"), (1, "/b")] {
            eventually("it is stored", || get(at, path).is_hit());
        }
    };
    fill();
    let done = nodes[0].0.send("PURGE", "/a", &nodes[0].1, "");
    let wanted = r#"{"answers":1,"reach":"everywhere","sequence":2}"#;
    assert_eq!((done.status, done.text().trim()), (200, wanted));
    await_sequence(&nodes[1].0, 2);
    assert!(!get(1, "/a").is_hit() && get(1, "/b").is_hit());

    fill();
    let soft = purge(&nodes[0].0, &["--all", "--soft"]).fine();
    assert!(soft.stdout.contains("every other node does the same (number 3"), "{soft:?}");
    await_sequence(&nodes[1].0, 3);
    let listed = nodes[1].0.connect();
    let list = ["cache", "list", "--format", "json"].into_iter().chain(listed.iter().map(String::as_str));
    let list = cli(list).fine().json();
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
    assert!(
        list.as_array().unwrap().iter().all(|answer| answer["ttl_seconds"].as_i64() <= Some(0)),
        "{list}"
    );

    redis.crash();
    await_state(&nodes[0].0, "down");
    let refused = nodes[0].0.send("PURGE", "/a", &nodes[0].1, "");
    refused.problem(503, "purge-incomplete");
    assert!(
        refused.json()["detail"].as_str().unwrap().contains("purge again to be sure"),
        "{}",
        refused.text()
    );
}

#[test]
fn what_unsafe_methods_change_reaches_the_others_also_those_that_were_away() {
    let (origin, redis) = (origin(), Redis::start());
    let (one, mut two) = (node(&origin, &redis), node(&origin, &redis));
    for path in ["/pets/1", "/pets/2", "/kept"] {
        fill(&[&one, &two], path);
    }
    assert_eq!(one.send("PUT", "/pets/1", "", "new").status, 200);
    eventually("the other follows", || state(&two)["purges"]["changed"] == 1);
    assert!(!two.get("/pets/1").is_hit() && two.get("/kept").is_hit());
    // Many at once are few messages.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(two.stop(), Some(0));
    let before = state(&one)["purges"]["sequence"].as_u64().unwrap();
    for number in 0..200 {
        assert_eq!(one.send("DELETE", &format!("/pets/{number}"), "", "").status, 200);
    }
    eventually("all is told", || state(&one)["purges"]["waiting"] == 0);
    two.restart();
    assert!(!two.get("/pets/2").is_hit(), "the very first answer counts");
    assert!(two.get("/kept").is_hit());
    eventually("it has read all", || state(&two)["purges"]["changed"] == 200);
    let messages = state(&one)["purges"]["sequence"].as_u64().unwrap() - before;
    assert!((1..20).contains(&messages), "{messages}");
    // What is told last leaves with a node that stops.
    fill(&[&one, &two], "/pets/3");
    let mut one = one;
    assert_eq!(one.send("PUT", "/pets/3", "", "new").status, 200);
    assert_eq!(one.send("PUT", "/kept", "", "new").status, 200);
    assert_eq!(one.stop(), Some(0));
    eventually("the other follows", || state(&two)["purges"]["changed"] == 202);
    assert!(!two.get("/pets/3").is_hit() && !two.get("/kept").is_hit());
}

#[test]
fn a_node_that_was_away_for_longer_than_the_log_reaches_back_drops_all_it_has() {
    let (origin, redis) = (origin(), Redis::start());
    let (one, mut two) = (node(&origin, &redis), node(&origin, &redis));
    fill(&[&one, &two], "/x");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(two.stop(), Some(0));
    for path in ["/a", "/b", "/c"] {
        purge(&one, &[&format!("http://{}{path}", one.address)]).fine();
    }
    // As if ten thousand had followed.
    redis.command("XTRIM {gatewright}:purges MAXLEN 1");
    two.restart();
    assert!(!two.get("/x").is_hit());
    two.await_log("the log no longer reaches back to what was read last");
    assert_eq!(state(&two)["purges"]["missed"], 1);
    assert!(one.get("/x").is_hit(), "it missed nothing");
    purge(&one, &["--all"]).fine();
    assert!(!one.get("/x").is_hit());
    await_sequence(&two, 5);
}

#[test]
fn a_redis_that_hangs_keeps_nobody_waiting() {
    let (origin, redis) = (origin(), Redis::start());
    let nodes = [(); 2].map(|()| node(&origin, &redis));
    fill(&[&nodes[0], &nodes[1]], "/x");
    redis.signal(Signal::STOP);
    let started = Instant::now();
    let (status, document) = purge_call(&nodes[0]);
    let waited = started.elapsed();
    assert_eq!((status, document["code"].as_str()), (503, Some("purge-incomplete")), "{document}");
    assert!(document["detail"].as_str().unwrap().contains("no reply within 1s"), "{document}");
    assert!(waited < Duration::from_secs(5), "{waited:?}");
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(purge_call(&nodes[0]).0, 503);
        // The data plane never asks Redis.
        nodes[0].get("/x");
    }
    assert!(started.elapsed() < Duration::from_secs(10), "only the first waits: {:?}", started.elapsed());
    redis.signal(Signal::CONT);
    eventually("it goes on by itself", || purge_call(&nodes[0]).0 == 200);
    eventually("the other follows", || !nodes[1].get("/x").is_hit());
    await_state(&nodes[1], "up");
}

#[test]
fn when_redis_forgets_everything_every_node_purges_everything() {
    let (origin, mut redis) = (origin(), Redis::start());
    let (one, mut two) = (node(&origin, &redis), node(&origin, &redis));
    purge(&one, &["--all"]).fine();
    for how in ["FLUSHALL", "crash"] {
        await_sequence(&one, 2);
        await_sequence(&two, 2);
        fill(&[&one, &two], "/x");
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(two.stop(), Some(0));
        match how {
            "FLUSHALL" => assert_eq!(redis.command("FLUSHALL"), "+OK\r\n"),
            _ => {
                redis.crash();
                redis.restart();
            }
        }
        eventually("the one that was there", || !one.get("/x").is_hit());
        two.restart();
        assert!(!two.get("/x").is_hit(), "{how}: the one that was away");
        one.await_log("everything is purged");
        // One of them has told the log; it is said once.
        eventually("both go on", || state(&one)["purges"]["lag"] == 0 && state(&two)["purges"]["lag"] == 0);
        assert_eq!(state(&two)["purges"]["sequence"], 2, "{how}");
    }
    assert_eq!((&state(&one)["purges"]["missed"], &state(&two)["purges"]["missed"]), (&2.into(), &1.into()));
}

#[test]
fn what_redis_lost_is_told_to_those_who_were_away_then() {
    let (origin, mut redis) = (origin(), Redis::start());
    let (one, mut two) = (node(&origin, &redis), node(&origin, &redis));
    fill(&[&two], "/x");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(two.stop(), Some(0));
    assert_eq!(redis.command("SAVE"), "+OK\r\n");
    // In the log and acknowledged, then lost: the snapshot is older.
    purge(&one, &["--all"]).fine();
    await_sequence(&one, 2);
    redis.crash();
    redis.restart();
    one.await_log("everything is purged");
    two.restart();
    assert!(!two.get("/x").is_hit());
}

#[test]
fn a_redis_with_persistence_may_crash() {
    let (origin, mut redis) = (origin(), Redis::durable());
    let nodes = [(); 2].map(|()| node(&origin, &redis));
    fill(&[&nodes[0], &nodes[1]], "/x");
    redis.crash();
    redis.restart();
    for node in &nodes {
        eventually("it is connected again", || state(node)["connects"] == 2);
        assert!(node.get("/x").is_hit(), "nothing was missed");
    }
    purge(&nodes[0], &["--all"]).fine();
    eventually("the other follows", || !nodes[1].get("/x").is_hit());
    assert_eq!(state(&nodes[1])["purges"]["missed"], 0);
}

#[test]
fn a_purge_of_a_newer_release_purges_what_may_be_meant() {
    let (origin, redis) = (origin(), Redis::start());
    let gateway = node(&origin, &redis);
    let get = |host: &str| {
        let head = format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        crate::harness::Client::connect(gateway.address).exchange(head)
    };
    let stored = || {
        for host in ["a.test", "b.test"] {
            eventually("it is stored", || get(host).is_hit());
        }
    };
    stored();
    let key = "{gatewright}:purges";
    redis.command(&format!(
        r#"XADD {key} 2-0 n f m "{{\"v\":1,\"purge\":{{\"host\":\"a.test\",\"scope\":{{\"mood\":1}}}}}}""#
    ));
    await_sequence(&gateway, 2);
    assert!(!get("a.test").is_hit() && get("b.test").is_hit());
    stored();
    redis.command(&format!(r#"XADD {key} 3-0 n f m "{{\"v\":2,\"wish\":\"b.test\"}}""#));
    await_sequence(&gateway, 3);
    assert!(!get("a.test").is_hit() && !get("b.test").is_hit());
    gateway.await_log("all of `a.test` is purged");
    gateway.await_log("it may be newer: everything is purged");
}

#[test]
fn a_node_that_joins_purges_only_what_was_purged_before() {
    let (origin, redis) = (origin(), Redis::start());
    let one = node(&origin, &redis);
    let two = Gateway::config(&config(&origin, ""));
    fill(&[&one, &two], "/kept");
    fill(&[&one, &two], "/gone");
    assert_eq!(state(&two)["state"], "off");
    assert_eq!(purge_call(&two).1["reach"], "alone");
    fill(&[&two], "/kept");
    fill(&[&two], "/gone");
    purge(&one, &[&format!("http://{}/gone", two.address)]).fine();
    two.folder.replace("gatewright.yaml", config(&origin, &format!("redis: {}\n", redis.url())));
    await_state(&two, "up");
    await_sequence(&two, 2);
    assert!(!two.get("/gone").is_hit() && two.get("/kept").is_hit());
    // Taken out again, it is alone again.
    two.folder.replace("gatewright.yaml", config(&origin, ""));
    await_state(&two, "off");
    purge(&one, &["--all"]).fine();
    assert!(two.get("/kept").is_hit());
}
