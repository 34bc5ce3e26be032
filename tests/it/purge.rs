//! Purges and the commands around them: every scope, hard and soft, over restarts and crashes; `PURGE`; what
//! is listed and shown; warming.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::harness::{Call, Folder, Gateway, Origin, cli, eventually, gateway::Output};

const PETS: &str = "
openapi: 3.1.0
info: { title: Pets, version: '1' }
servers: [{ url: http://127.0.0.1:9/v1 }]
paths:
  /pets:
    get: { operationId: listPets, parameters: [{ name: limit, in: query, schema: { type: integer } }], responses: { '200': { description: fine } } }
  /pets/{petId}:
    get: { operationId: getPet, responses: { '200': { description: fine } } }
    put: { operationId: putPet, responses: { '200': { description: fine } } }
  /pets/{petId}/photos:
    get: { operationId: getPhotos, responses: { '200': { description: fine } } }
";

const USERS: &str = "
openapi: 3.1.0
info: { title: Users, version: '1' }
servers: [{ url: http://127.0.0.1:9 }]
paths:
  /users/{id}:
    get: { operationId: getUser, responses: { '200': { description: fine } } }
";

/// All that is stored before a purge.
const TARGETS: [&str; 8] = [
    "/v1/pets",
    "/v1/pets?limit=1",
    "/v1/pets?limit=2",
    "/v1/pets/7",
    "/v1/pets/8",
    "/v1/pets/7/photos",
    "/users/7",
    "/users/8",
];

/// Answers every path with the number of the call, tagged by the ids in it; a condition with 304.
fn origin() -> (Origin, Arc<AtomicUsize>) {
    let validations = Arc::new(AtomicUsize::new(0));
    let (count, validated) = (AtomicUsize::new(0), Arc::clone(&validations));
    let origin = Origin::start(move |call: &mut Call| {
        call.read_body();
        if !call.seen.values("if-none-match").is_empty() {
            validated.fetch_add(1, Ordering::SeqCst);
            call.send("HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=600\r\nETag: \"e\"\r\n\r\n");
            return;
        }
        let number = count.fetch_add(1, Ordering::SeqCst);
        let path = call.path();
        let tag = path.split('/').find(|part| part.parse::<u32>().is_ok()).unwrap_or("list");
        let kind = if path.contains("pets") { "pet" } else { "user" };
        let fields = format!(
            "Cache-Control: max-age=600\r\nETag: \"e\"\r\nCache-Tag: all, {kind}-{tag}\r\nSurrogate-Key: sk-{tag}\r\n"
        );
        call.ok(&fields, format!("answer {number}"));
    });
    (origin, validations)
}

/// A gateway before `origin` that serves both APIs.
fn gateway(origin: &Origin, pets: &str) -> Gateway {
    let folder = Folder::new();
    folder.write("pets.yaml", PETS);
    folder.write("users.yaml", USERS);
    let url = origin.url();
    let config = format!(
        "apis:\n  - {{ spec: pets.yaml, name: pets, upstream: \"{url}\"{pets} }}\n  - {{ spec: users.yaml, name: users, upstream: \"{url}\" }}\n"
    );
    let file = folder.write("gatewright.yaml", config);
    Gateway::start(folder, &[file.as_str()], &[])
}

fn command(gateway: &Gateway, words: &[&str]) -> Output {
    let connect = gateway.connect();
    cli(words.iter().copied().chain(connect.iter().map(String::as_str)))
}

fn stats(gateway: &Gateway) -> serde_json::Value {
    command(gateway, &["cache", "stats", "--format", "json"]).fine().json()
}

/// Stores all targets, on disk too.
fn store_all(gateway: &Gateway) {
    for target in TARGETS {
        assert_eq!(gateway.get(target).status, 200, "{target}");
    }
    eventually("all is on disk", || stats(gateway)["disk"]["entries"] == TARGETS.len());
    for target in TARGETS {
        assert!(gateway.get(target).is_hit(), "{target}");
    }
}

/// The targets that are not answered from the store now; asking stores them again.
fn gone(gateway: &Gateway) -> Vec<&'static str> {
    TARGETS.into_iter().filter(|target| !gateway.get(target).is_hit()).collect()
}

/// Each scope as words of the command line, and what it covers.
fn scopes(gateway: &Gateway) -> Vec<(Vec<String>, Vec<&'static str>)> {
    let url = |target: &str| format!("http://{}{target}", gateway.address);
    let list = vec!["/v1/pets", "/v1/pets?limit=1", "/v1/pets?limit=2"];
    let pets: Vec<&str> = TARGETS[..6].to_vec();
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    vec![
        (vec![url("/v1/pets?limit=1")], vec!["/v1/pets?limit=1"]),
        (vec![url("/v1/pets")], list.clone()),
        (words(&["/v1/pets/7"]), vec!["/v1/pets/7"]),
        (vec!["--prefix".into(), url("/v1/pets/7")], vec!["/v1/pets/7", "/v1/pets/7/photos"]),
        (words(&["--prefix", "/users/"]), vec!["/users/7", "/users/8"]),
        (words(&["--template", "/v1/pets/{x}"]), vec!["/v1/pets/7", "/v1/pets/8"]),
        (words(&["--operation", "listPets"]), list),
        (words(&["--operation", "getPet", "--param", "petId=7"]), vec!["/v1/pets/7"]),
        (words(&["--operation", "getUser", "--api", "users", "--param", "id=8"]), vec!["/users/8"]),
        (words(&["--api", "pets"]), pets),
        (words(&["--tag", "PET-7"]), vec!["/v1/pets/7", "/v1/pets/7/photos"]),
        (words(&["--tag", "sk-8", "--tag", "user-7"]), vec!["/v1/pets/8", "/users/7", "/users/8"]),
        (words(&["--all"]), TARGETS.to_vec()),
    ]
}

fn purge(gateway: &Gateway, scope: &[String], more: &[&str]) -> Output {
    let words: Vec<&str> = ["cache", "purge"].into_iter().chain(scope.iter().map(String::as_str)).collect();
    command(gateway, &[&words[..], more].concat())
}

#[test]
fn an_acknowledged_purge_in_every_scope_survives_a_crash() {
    let (origin, _) = origin();
    let mut gateway = gateway(&origin, "");
    for (scope, expected) in scopes(&gateway) {
        store_all(&gateway);
        let said = purge(&gateway, &scope, &[]).fine().stdout;
        assert!(said.contains("purged"), "{said}");
        gateway.crash();
        gateway.restart();
        gateway.await_cache();
        assert_eq!(gone(&gateway), expected, "after a crash: {scope:?}");
    }
    let counts = &stats(&gateway)["purges"];
    assert_eq!(counts["hard"], 0, "counts begin with the process: {counts}");
}

#[test]
fn a_purge_in_every_scope_holds_at_once_and_after_a_restart() {
    let (origin, _) = origin();
    let mut gateway = gateway(&origin, "");
    let all = scopes(&gateway);
    for (scope, expected) in &all {
        store_all(&gateway);
        let would = purge(&gateway, scope, &["--dry-run"]).fine().stdout;
        let answers = if expected.len() == 1 { "answer" } else { "answers" };
        assert_eq!(would, format!("would purge {} {answers}\n", expected.len()), "{scope:?}");
        let would = purge(&gateway, scope, &["--dry-run", "--format", "json"]).fine().json();
        assert_eq!(would["answers"], expected.len(), "{scope:?}");
        purge(&gateway, scope, &[]).fine();
        assert_eq!(gone(&gateway), *expected, "{scope:?}");
    }
    let metrics = gateway.admin_get("/metrics").text();
    let purges = format!("gatewright_cache_purges_total {}\n", all.len());
    assert!(metrics.contains(&purges), "no {purges} in {metrics}");
    let (scope, expected) = &all[all.len() - 3];
    purge(&gateway, scope, &[]).fine();
    assert_eq!(gateway.stop(), Some(0));
    gateway.restart();
    gateway.await_cache();
    assert_eq!(gone(&gateway), *expected, "after a restart: {scope:?}");
}

#[test]
fn a_soft_purge_asks_the_upstream_whether_it_has_changed_also_after_a_crash() {
    let (origin, validations) = origin();
    let mut gateway = gateway(&origin, "");
    store_all(&gateway);
    let before = origin.calls();
    for scope in [vec!["--tag", "all"], vec!["/v1/pets/7"]] {
        let scope: Vec<String> = scope.into_iter().map(str::to_owned).collect();
        let said = purge(&gateway, &scope, &["--soft"]).fine().stdout;
        assert!(said.contains("made stale"), "{said}");
    }
    gateway.crash();
    gateway.restart();
    gateway.await_cache();
    let shown = command(&gateway, &["cache", "show", "/v1/pets/8"]).fine().stdout;
    assert!(shown.contains("is validated before it is served: stale for"), "{shown}");
    for target in TARGETS {
        let answer = gateway.get(target);
        assert!(answer.cache().contains("fwd=stale; fwd-status=304"), "{target}: {}", answer.cache());
        assert!(gateway.get(target).is_hit(), "{target}: validated, so fresh again");
    }
    assert_eq!(validations.load(Ordering::SeqCst), TARGETS.len());
    assert_eq!(origin.calls(), before + TARGETS.len());
}

#[test]
fn a_soft_purge_leaves_what_may_be_used_stale() {
    let origin = Origin::start(|call| {
        if call.seen.values("if-none-match").is_empty() {
            call.ok("Cache-Control: max-age=600, stale-if-error=600\r\nETag: \"e\"\r\n", "old");
        } else {
            call.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let gateway = Gateway::proxy(&origin.url());
    gateway.get("/a");
    purge(&gateway, &["/a".to_owned()], &["--soft"]).fine();
    let answer = gateway.get("/a");
    assert_eq!((answer.status, answer.text().as_str()), (200, "old"));
    assert!(answer.cache().contains("stale-if-error"), "{}", answer.cache());
    purge(&gateway, &["/a".to_owned()], &[]).fine();
    assert!(!gateway.get("/a").cache().contains("stale"), "a hard one leaves nothing");
}

#[test]
fn what_cannot_be_meant_is_refused_and_purges_nothing() {
    let (origin, _) = origin();
    let gateway = gateway(&origin, "");
    store_all(&gateway);
    let refused = |words: &[&str], says: &[&str]| {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        purge(&gateway, &words, &[]).refused(2, "usage", says);
    };
    refused(&["--operation", "getPat"], &["no operation is called `getPat`", "did you mean `getPet`"]);
    refused(
        &["--operation", "getPet", "--param", "id=7"],
        &["no path parameter `id`", "its path has `petId`"],
    );
    refused(&["--operation", "getPet", "--param", "petId=a/../b"], &["cannot stand in a path"]);
    refused(&["--api", "pet"], &["no API is called `pet`", "did you mean `pets`"]);
    refused(&["--api", "pets", "--operation", "getUser"], &["no operation is called `getUser`"]);
    refused(&["ftp://a/b"], &["only `http` and `https`"]);
    refused(&["a/b"], &["it has no scheme"]);
    refused(&["/v1/pets?limit=1"], &["has a query, but no host"]);
    refused(&["--template", "/v1/{"], &["is no template"]);
    refused(&["--prefix", "/v1?x"], &["has a query"]);
    refused(&["--tag", " "], &["1 to 1024 bytes"]);
    for words in
        [vec!["--all", "--api", "pets"], vec![], vec!["/a", "--tag", "t"], vec!["/a", "--param", "a=b"]]
    {
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        assert_eq!(purge(&gateway, &words, &[]).code, Some(2), "{words:?}");
    }
    assert!(gone(&gateway).is_empty());
}

#[test]
fn purge_is_a_method_like_any_other_where_nobody_may_use_it() {
    let (origin, _) = origin();
    let described = gateway(&origin, "");
    let key = format!("X-API-Key: {}\r\n", described.add_key("ada"));
    described.get("/v1/pets/7");
    for fields in ["", key.as_str()] {
        described.send("PURGE", "/v1/pets/7", fields, "").problem(405, "method-not-allowed");
        described.send("PURGE", "/nowhere", fields, "").problem(404, "route-not-found");
    }
    assert!(described.get("/v1/pets/7").is_hit());
    let proxy = Gateway::proxy(&origin.url());
    assert_eq!(proxy.send("PURGE", "/x", "", "").status, 200, "passed on, as ever");
    assert_eq!(origin.seen().last().unwrap().method(), "PURGE");
}

#[test]
fn purge_is_for_the_consumers_that_are_named_and_goes_to_no_upstream() {
    let (origin, _) = origin();
    let mut gateway = gateway(&origin, ", cache: { purge: [deploy, nightly] }");
    let key = |name: &str| format!("X-API-Key: {}\r\n", gateway.add_key(name));
    let (deploy, stranger) = (key("deploy"), key("stranger"));
    store_all(&gateway);
    let send = |target: &str, fields: &str| gateway.send("PURGE", target, fields, "");
    let missing = send("/v1/pets", "");
    missing.problem(401, "credentials-missing");
    assert!(!missing.values("www-authenticate").is_empty());
    send("/v1/pets", "X-API-Key: gw_nobody_0123456789\r\n").problem(401, "credentials-invalid");
    send("/v1/pets", &stranger).problem(403, "forbidden");
    assert!(gone(&gateway).is_empty(), "nothing was purged");

    let done = send("/v1/pets", &deploy);
    assert_eq!((done.status, done.text().as_str()), (200, "{\"answers\":3}\n"));
    assert_eq!(
        (done.value("content-type"), done.value("cache-control")),
        ("application/json".into(), "no-store".into())
    );
    assert_eq!(gone(&gateway), TARGETS[..3], "the path with any query");
    let bearer = deploy.replace("X-API-Key:", "Authorization: Bearer");
    assert_eq!(send("/v1/pets?limit=1", &bearer).text(), "{\"answers\":1}\n");
    assert_eq!(gone(&gateway), ["/v1/pets?limit=1"], "one query alone");
    assert_eq!(send("/v1/pets/999", &deploy).text(), "{\"answers\":0}\n");

    // The other API names nobody.
    send("/users/7", &deploy).problem(405, "method-not-allowed");
    send("/nowhere", &deploy).problem(404, "route-not-found");
    assert!(origin.seen().iter().all(|seen| seen.method() == "GET"), "no PURGE went upstream");

    send("/v1/pets/7", &deploy);
    gateway.crash();
    gateway.restart();
    gateway.await_cache();
    assert_eq!(gone(&gateway), ["/v1/pets/7"], "after a crash");
}

#[test]
fn purge_reaches_every_variant_and_principal() {
    let origin = Origin::start(|call| {
        call.ok("Cache-Control: max-age=600\r\nVary: Accept-Language\r\n", "x");
    });
    let config = format!(
        "routes:\n  - {{ path: /**, upstream: \"{}\", security: gateway, cache: {{ purge: ada }} }}\n",
        origin.url()
    );
    let gateway = Gateway::config(&config);
    let keys = ["ada", "bob"].map(|name| format!("X-API-Key: {}\r\n", gateway.add_key(name)));
    let asks: Vec<String> = keys
        .iter()
        .flat_map(|key| ["de", "en"].map(|language| format!("{key}Accept-Language: {language}\r\n")))
        .collect();
    let hits = || asks.iter().filter(|fields| gateway.get_with("/a", fields).is_hit()).count();
    assert_eq!((hits(), hits()), (0, 4));
    assert_eq!(gateway.send("PURGE", "/a", &keys[0], "").text(), "{\"answers\":4}\n");
    assert_eq!(hits(), 0);
    gateway.send("PURGE", "/a", &keys[1], "").problem(403, "forbidden");
    assert_eq!(hits(), 4);
    assert!(origin.seen().iter().all(|seen| seen.method() == "GET"));
}

#[test]
fn the_state_of_the_cache_reads_well_and_as_json() {
    let (origin, _) = origin();
    let gateway = gateway(&origin, "");
    store_all(&gateway);
    gateway.send("PUT", "/v1/pets/9", "", "x");
    let value = stats(&gateway);
    assert_eq!(value["enabled"], true);
    assert_eq!(value["memory"]["entries"], 8);
    assert_eq!(value["memory"]["max_bytes"], 64 << 20);
    assert_eq!((&value["disk"]["entries"], &value["disk"]["working"]), (&8.into(), &true.into()));
    assert_eq!(value["disk"]["max_bytes"], 1 << 30);
    assert_eq!((&value["lookups"]["hits_memory"], &value["lookups"]["misses"]), (&8.into(), &8.into()));
    assert_eq!(value["lookups"]["hit_ratio"], 0.5);
    assert_eq!((&value["stores"]["stored"], &value["purges"]["invalidations"]), (&8.into(), &1.into()));
    let text = command(&gateway, &["cache", "stats"]).fine().stdout;
    assert_eq!(value["memory"]["evictions"], 0);
    for words in [
        "hit ratio  50.0 %",
        "8 from memory",
        "8 misses",
        "of 64.0 MiB",
        "of 1.0 GiB",
        "8 answers",
        "0 of the disk",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    let off =
        Gateway::config(&format!("cache: off\nroutes: [{{ path: /**, upstream: \"{}\" }}]\n", origin.url()));
    assert_eq!(command(&off, &["cache", "stats"]).fine().stdout, "the cache is off\n");
    purge(&off, &["--all".to_owned()], &[]).refused(1, "cache-off", &["the cache is off"]);
}

#[test]
fn stored_answers_are_listed_from_both_tiers_to_who_has_the_token() {
    let (origin, _) = origin();
    let mut gateway = gateway(&origin, "");
    store_all(&gateway);
    gateway.admin_get("/cache/entries").problem(401, "credentials-missing");
    gateway.admin_get("/cache/entry?url=/v1/pets").problem(401, "credentials-missing");
    gateway.stop();
    gateway.restart();
    gateway.await_cache();
    gateway.get("/v1/pets/7");
    gateway.get("/v1/new?key=hidden");
    let list = |words: &[&str]| command(&gateway, &[&["cache", "list"], words].concat()).fine();
    let json = |words: &[&str]| list(&[words, &["--format", "json"]].concat()).json();
    let all = json(&[]);
    assert_eq!(all.as_array().unwrap().len(), TARGETS.len());
    let one = json(&["--tag", "pet-7", "--limit", "10"]);
    let mut tiers: Vec<_> = one
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["url"].as_str().unwrap(), row["in_memory"] == true, row["on_disk"] == true))
        .collect();
    tiers.sort_unstable();
    let (pet, photos) = ("http://127.0.0.1/v1/pets/7", "http://127.0.0.1/v1/pets/7/photos");
    assert_eq!(tiers, [(pet, true, true), (photos, false, true)]);
    let row = one.as_array().unwrap().iter().find(|row| row["url"] == pet).unwrap();
    assert_eq!(
        (&row["status"], &row["api"], &row["operation"]),
        (&200.into(), &"pets".into(), &"getPet".into())
    );
    assert_eq!(row["tags"], serde_json::json!(["all", "pet-7", "sk-7"]));
    assert!(row["ttl_seconds"].as_i64().unwrap() > 500, "{row}");
    for (words, count) in [
        (vec!["--api", "users"], 2),
        (vec!["--operation", "listPets"], 3),
        (vec!["--prefix", "/v1/pets/"], 3),
        (vec!["--limit", "5"], 5),
        (vec!["--limit", "0"], 0),
        (vec!["--tag", "none"], 0),
    ] {
        assert_eq!(json(&words).as_array().unwrap().len(), count, "{words:?}");
    }
    let text = list(&["--limit", "3"]).stdout;
    assert!(text.starts_with("STATUS") && text.contains("there may be more"), "{text}");
    assert_eq!(text.lines().count(), 5, "{text}");
}

#[test]
fn credentials_in_a_query_are_masked_where_it_is_listed() {
    let origin =
        Origin::fixed(b"HTTP/1.1 200 OK\r\nCache-Control: public, max-age=600\r\nContent-Length: 0\r\n\r\n");
    let gateway = Gateway::proxy(&origin.url());
    gateway.get("/a?api_key=s3cret&b=1");
    for words in [["cache", "list"].as_slice(), &["cache", "show", "/a"]] {
        let text = command(&gateway, words).fine().stdout;
        assert!(text.contains("/a?api_key=***&b=1") && !text.contains("s3cret"), "{text}");
    }
}

#[test]
fn one_address_is_shown_with_its_variants_and_what_would_become_of_them() {
    let origin = Origin::start(|call| {
        let language = call.seen.value("accept-language");
        call.ok(
            &format!("Cache-Control: max-age=600\r\nVary: Accept-Language\r\nX-Lang: {language}\r\n"),
            "x",
        );
    });
    let gateway = Gateway::proxy(&origin.url());
    let show = |url: &str| command(&gateway, &["cache", "show", url]).fine().stdout;
    assert_eq!(show("/a"), "nothing is stored for /a\n");
    for language in ["de", "en"] {
        gateway.get_with("/a?x=1", &format!("Accept-Language: {language}\r\n"));
    }
    gateway.get("/a?x=2");
    for text in [show(&format!("http://{}/a?x=1", gateway.address)), show("/a")] {
        for words in [
            "http://127.0.0.1/a?x=1\n",
            "verdict     is served as it is: fresh for another",
            "asked with  accept-language: de\n",
            "asked with  accept-language: en\n",
            "    x-lang: en\n",
            "freshness   600 s of life - ",
        ] {
            assert!(text.contains(words), "no {words:?} in\n{text}");
        }
    }
    assert!(!show(&format!("http://{}/a?x=1", gateway.address)).contains("x=2"));
    assert!(show("/a").contains("x=2") && show("/a").contains("asked with  no accept-language"));
}

#[test]
fn an_answer_of_an_operation_that_is_no_more_is_not_used_and_the_verdict_says_so() {
    let (origin, _) = origin();
    let mut gateway = gateway(&origin, "");
    store_all(&gateway);
    assert_eq!(gateway.stop(), Some(0));
    gateway.folder.write("users.yaml", USERS.replace("getUser", "readUser"));
    gateway.restart();
    gateway.await_cache();
    let shown = command(&gateway, &["cache", "show", "/users/7"]).fine().stdout;
    assert!(shown.contains("leads to `readUser` of `users` now"), "{shown}");
    assert_eq!(gone(&gateway), ["/users/7", "/users/8"]);
}

#[test]
fn a_list_of_addresses_is_warmed_and_what_was_not_is_told() {
    let count = AtomicUsize::new(0);
    let origin = Origin::start(move |call| {
        count.fetch_add(1, Ordering::SeqCst);
        match call.path().as_str() {
            "/private" => call.ok("Cache-Control: private\r\n", "x"),
            "/broken" => {
                call.send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
            }
            _ => call.ok("Cache-Control: max-age=600\r\nVary: X-Kind\r\n", "x".repeat(10_000)),
        }
    });
    let gateway = Gateway::proxy(&origin.url());
    let good: String = (0..40).map(|i| format!("/{i}\n")).collect();
    let good =
        gateway.folder.write("good.txt", format!("# paths\n\n{good}http://other.test:81/virtual?x=1\n"));
    let warm = |words: &[&str]| command(&gateway, &[&["cache", "warm"], words].concat());
    let first = warm(&[&good, "--jobs", "4", "--header", "X-Kind: a"]).fine().stdout;
    assert!(
        first.starts_with("41 addresses in ") && first.contains(": 0 hit, 41 stored, 0 not stored, 0 failed"),
        "{first}"
    );
    let second = warm(&[&good, "--header", "X-Kind: a"]).fine().stdout;
    assert!(second.contains(": 41 hit, 0 stored"), "{second}");
    assert!(
        gateway.get_with("/7", "X-Kind: a\r\n").is_hit() && !gateway.get_with("/7", "X-Kind: b\r\n").is_hit()
    );
    let hosts = origin.seen().iter().filter(|seen| seen.target() == "/virtual?x=1").count();
    assert_eq!(hosts, 1);
    let stored = command(&gateway, &["cache", "list", "--prefix", "http://other.test/"]).fine().stdout;
    assert!(stored.contains("http://other.test/virtual?x=1"), "{stored}");

    let mixed = gateway.folder.write("mixed.txt", "/7\n/private\n/broken\nno address\n/new\n");
    let output = warm(&[&mixed, "--header", "X-Kind: a"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    for words in [
        ": 1 hit, 1 stored, 1 not stored, 2 failed\n",
        "not stored: 1 private, such as /private\n",
        "failed: 1 500, such as /broken\n",
        "failed: 1 not an address: the request target does not begin with `/`, such as no address\n",
    ] {
        assert!(output.stdout.contains(words), "no {words:?} in\n{}", output.stdout);
    }
    let json = warm(&[&mixed, "--header", "X-Kind: a", "--format", "json"]).json();
    assert_eq!((&json["hit"], &json["failed"][0]["first"]), (&2.into(), &"/broken".into()));
    warm(&["nothing.txt"]).refused(1, "file-unreadable", &["nothing.txt"]);
    warm(&[&good, "--header", "nonsense"]).refused(2, "usage", &["is no field"]);
}
