//! The documentation in a real browser: Debian's Chromium opens the demo's `/docs` and sends a request from it.

use std::process::Command;

use crate::{demo::Demo, harness::files::project};

#[test]
fn a_reader_sends_a_request_from_the_page_and_nothing_leaves_loopback() {
    let script = project("tests/browser/docs.mjs");
    let tools = project("tests/browser/node_modules/playwright-core");
    assert!(tools.is_dir(), "Playwright is not installed; `make test` installs what the tests need");
    let demo = Demo::start();
    let output = Command::new("node")
        .arg(script)
        .env("GATEWRIGHT_URL", format!("http://{}", demo.address))
        .env("DOCS_KEY", demo.key())
        .env("DOCS_OPERATION", "get /books")
        .env("DOCS_EXPECT", "Pride and Prejudice")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}
