//! Files that change: a good one takes over whole, a bad one changes nothing and says so.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crate::harness::{Folder, Gateway, Origin, cli, eventually};

fn api(path: &str) -> String {
    format!(
        "openapi: 3.0.3\ninfo: {{ title: Changing, version: '1' }}\nservers: [{{ url: http://127.0.0.1:9 }}]\n\
         paths:\n  {path}: {{ get: {{ responses: {{ '200': {{ description: fine }} }} }} }}\n"
    )
}

#[test]
fn a_changed_description_takes_over() {
    let origin = Origin::plain();
    let gateway = Gateway::description(&api("/old"), &["--upstream", &origin.url()]);
    assert_eq!(gateway.get("/old").status, 200);
    gateway.folder.replace("api.yaml", api("/new"));
    eventually("the new description is served", || gateway.get("/new").status == 200);
    assert_eq!(gateway.get("/old").status, 404, "the swap is whole");
    // Written in place, as some editors do, it is seen too.
    gateway.folder.write("api.yaml", api("/newer"));
    eventually("the newer description is served", || gateway.get("/newer").status == 200);
}

#[test]
fn a_bad_file_changes_nothing_and_is_told() {
    let origin = Origin::plain();
    let gateway = Gateway::description(&api("/old"), &["--upstream", &origin.url()]);
    let before = gateway.admin_get("/health").text();
    gateway.folder.replace("api.yaml", "openapi: 3.0.3\npaths:\n\tbroken\n");
    gateway.await_log("api.yaml:3:");
    assert_eq!((gateway.get("/old").status, gateway.admin_get("/ready").status), (200, 200));
    assert!(!before.is_empty());
    let connect = gateway.connect();
    let reload = || cli(["reload".to_owned()].into_iter().chain(connect.clone()));
    let output = reload();
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("api.yaml"), "{output:?}");
    gateway.folder.replace("api.yaml", api("/new"));
    eventually("the mended description is served", || gateway.get("/new").status == 200);
    reload().fine();
}

#[test]
fn a_configuration_that_changes_keeps_what_goes_on() {
    let origin = Origin::fixed("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok");
    let config = |limit: u32, extra: &str| {
        format!(
            "routes:\n  - {{ path: /limited, upstream: u, rate_limit: {{ limit: {limit}, window: 10m, per: address }} }}\n  \
             - {{ path: /cached, upstream: u }}\n{extra}upstreams:\n  u: {{ endpoints: ['{}'] }}\n",
            origin.url()
        )
    };
    let gateway = Gateway::config(&config(3, ""));
    let status = || gateway.get("/limited").status;
    assert_eq!([status(), status(), status(), status()], [200, 200, 200, 429]);
    gateway.get("/cached");
    gateway.folder.replace("gatewright.yaml", config(5, "  - { path: /added, upstream: u }\n"));
    eventually("the new route is served", || gateway.get("/added").status == 200);
    assert!(gateway.get("/cached").is_hit(), "the cache lives on");
    assert_eq!([status(), status(), status()], [200, 200, 429], "a changed limit keeps its usage");
}

#[test]
fn no_request_fails_while_generations_change() {
    let origin = Origin::plain();
    let gateway =
        Gateway::description(&api("/steady"), &["--upstream", &origin.url(), "--access-log", "off"]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let callers = [(); 4].map(|()| {
            scope.spawn(|| {
                let mut client = gateway.client();
                let mut calls = 0;
                while !done.load(Ordering::Relaxed) {
                    let answer = client.exchange("GET /steady HTTP/1.1\r\nHost: h\r\n\r\n");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    // A connection of its own now and then: the sockets stay open across generations.
                    if calls % 20 == 0 {
                        client = gateway.client();
                    }
                    calls += 1;
                }
                calls
            })
        });
        for turn in 0..5 {
            let two = api("/steady")
                + &format!("  /v{turn}: {{ get: {{ responses: {{ '200': {{ description: fine }} }} }} }}\n");
            gateway.folder.replace("api.yaml", two);
            eventually("the next generation", || gateway.get(&format!("/v{turn}")).status == 200);
        }
        done.store(true, Ordering::Relaxed);
        for caller in callers {
            assert!(caller.join().unwrap() > 0);
        }
    });
}

#[test]
fn a_request_under_way_ends_on_the_generation_it_began_on() {
    let origin = Origin::start(|call| {
        call.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
        call.pause(Duration::from_millis(1500));
        call.send("-last");
    });
    let gateway = Gateway::description(&api("/old"), &["--upstream", &origin.url()]);
    let mut client = gateway.client();
    client.send("GET /old HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut answer = client.head();
    gateway.folder.replace("api.yaml", api("/new"));
    eventually("the new description is in force", || gateway.get("/old").status == 404);
    client.body("GET", &mut answer);
    assert_eq!(answer.text(), "first-last");
}

#[test]
fn a_file_of_a_split_description_is_watched_too() {
    let origin = Origin::plain();
    let folder = Folder::new();
    let root = "openapi: 3.0.3\ninfo: { title: Split, version: '1' }\nservers: [{ url: http://127.0.0.1:9 }]\n\
                paths:\n  /a: { $ref: 'paths/a.yaml' }\n";
    let item = |method: &str| format!("{method}: {{ responses: {{ '200': {{ description: fine }} }} }}\n");
    let file = folder.write("root.yaml", root);
    folder.write("paths/a.yaml", item("get"));
    let gateway = Gateway::start(folder, &[&file, "--upstream", &origin.url()], &[]);
    assert_eq!((gateway.get("/a").status, gateway.send("PUT", "/a", "", "").status), (200, 405));
    gateway.folder.replace("paths/a.yaml", item("put"));
    eventually("the changed part is in force", || gateway.send("PUT", "/a", "", "").status == 200);
}
