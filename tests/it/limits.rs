//! Rate limits: what is counted, what callers are told (RFC 9110, section 10.2.3; RateLimit fields).

use crate::harness::{Gateway, Origin, files::sample};

const API: &str = "
openapi: 3.1.0
info: { title: Limited, version: '1' }
servers: [{ url: http://127.0.0.1:9 }]
paths:
  /three:
    get:
      x-gatewright: { rate_limit: { limit: 3, window: 1m, per: address } }
      responses: { '200': { description: fine } }
  /mine:
    get:
      x-gatewright: { rate_limit: { limit: 2, window: 1m, per: consumer } }
      responses: { '200': { description: fine } }
  /free: { get: { responses: { '200': { description: fine } } } }
  /short:
    get:
      x-gatewright: { rate_limit: { limit: 2, window: 1s, per: address } }
      responses: { '200': { description: fine } }
";

#[test]
fn a_caller_beyond_the_limit_is_told_when_to_come_back() {
    let origin = Origin::plain();
    let gateway = Gateway::description(API, &["--upstream", &origin.url()]);
    for left in [2, 1, 0] {
        let answer = gateway.get("/three");
        assert_eq!(answer.status, 200);
        assert!(answer.value("ratelimit").contains(&format!("r={left}")), "{:?}", answer.fields);
        assert!(answer.value("ratelimit-policy").contains("q=3;w=60"), "{:?}", answer.fields);
    }
    let answer = gateway.get("/three");
    answer.problem(429, "rate-limited");
    let wait: u64 = answer.value("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(origin.calls(), 3);
    assert_eq!(gateway.get("/free").status, 200, "other operations are not limited");
}

#[test]
fn consumers_are_counted_apart() {
    let origin = Origin::plain();
    let gateway = Gateway::description(API, &["--upstream", &origin.url(), "--security", "gateway"]);
    let [ada, bob] = ["ada", "bob"].map(|name| format!("X-API-Key: {}\r\n", gateway.add_key(name)));
    let second_key = format!("X-API-Key: {}\r\n", gateway.add_key("ada"));
    let status = |fields: &str| gateway.get_with("/mine", fields).status;
    assert_eq!([status(&ada), status(&second_key), status(&ada)], [200, 200, 429], "two keys, one consumer");
    assert_eq!([status(&bob), status(&bob), status(&bob)], [200, 200, 429]);
    assert_eq!(status(""), 401, "callers without a key use up nobody's limit");
}

#[test]
fn a_limit_is_over_when_its_window_is() {
    let origin = Origin::plain();
    let gateway = Gateway::description(API, &["--upstream", &origin.url()]);
    let status = || gateway.get("/short").status;
    while status() == 200 {}
    crate::harness::eventually("the window is over", || status() == 200);
}

#[test]
fn a_limit_on_the_command_line_holds_for_all() {
    let origin = Origin::plain();
    let gateway =
        Gateway::run(&[&sample("bookshop.yaml"), "--upstream", &origin.url(), "--rate-limit", "4/m"]);
    let statuses =
        ["/books", "/slow", "/events", "/books/9780141439518", "/books"].map(|path| gateway.get(path).status);
    assert_eq!(statuses, [200, 200, 200, 200, 429]);
}

#[test]
fn answers_from_the_cache_count_too() {
    let origin = Origin::fixed("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 0\r\n\r\n");
    let gateway = Gateway::description(API, &["--upstream", &origin.url()]);
    let answers = [(); 4].map(|()| gateway.get("/three"));
    assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 200, 200, 429]);
    assert!(answers[1].is_hit() && answers[2].is_hit(), "{:?}", answers[1].fields);
    assert_eq!(origin.calls(), 1);
}
