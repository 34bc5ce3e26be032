//! What users get wrong: each gets an error that says where and what to do, and the exit code that fits.
//!
//! 0 fine, 1 found something wrong, 2 could not begin (usage, unreadable).

use std::{
    net::TcpListener,
    process::{Command, Stdio},
};

use crate::harness::{Folder, Gateway, cli, files::sample};

/// Starts `gatewright run FILE` on ports of its own choice; it must refuse.
fn run(file: &str, flags: &[&str]) -> crate::harness::gateway::Output {
    let folder = Folder::new();
    let state = folder.arg("state");
    let given = |flag| flags.contains(&flag);
    let mut arguments = vec!["run", file];
    for (flag, value) in [("--listen", "127.0.0.1:0"), ("--admin", "127.0.0.1:0"), ("--state", &state)] {
        if !given(flag) {
            arguments.extend([flag, value]);
        }
    }
    cli(arguments.into_iter().chain(flags.iter().copied()))
}

#[test]
fn no_arguments_show_the_help() {
    let output = cli::<&str>([]);
    assert_eq!(output.code, Some(2));
    for word in ["Usage:", "run", "demo", "check", "routes"] {
        assert!(output.stderr.contains(word), "{output:?}");
    }
    assert!(cli(["--help"]).fine().stdout.contains("Usage:"));
    assert!(cli(["--version"]).fine().stdout.starts_with("gatewright "));
}

#[test]
fn a_wrong_flag_is_named_with_what_was_meant() {
    let output = cli(["run", "--upstraem", "http://127.0.0.1:1", "x.yaml"]);
    assert_eq!(output.code, Some(2));
    for word in ["--upstraem", "--upstream"] {
        assert!(output.stderr.contains(word), "{output:?}");
    }
    for arguments in [
        &["run", "x.yaml", "--listen", "nonsense"][..],
        &["run", "x.yaml", "--workers", "many"],
        &["run", "x.yaml", "--workers", "0"],
        &["run", "x.yaml", "--security", "lax"],
        &["run", "x.yaml", "--drain-delay", "5 parsecs"],
        &["run", "x.yaml", "--rate-limit", "lots"],
        &["run", "x.yaml", "--server-variable", "novalue"],
        &["run", "--proxy", "http://127.0.0.1:1", "x.yaml"],
        &["run"],
        &["frobnicate"],
    ] {
        let output = cli(arguments.iter().copied());
        assert_eq!(output.code, Some(2), "{arguments:?}: {output:?}");
        assert!(
            output.stderr.contains("error") && !output.stderr.contains("panicked"),
            "{arguments:?}: {output:?}"
        );
    }
}

#[test]
fn an_address_to_proxy_that_is_none_is_refused() {
    for address in ["not a url", "ftp://127.0.0.1/", "http://", "http://127.0.0.1:99999"] {
        let output = cli(["run", "--proxy", address, "--listen", "127.0.0.1:0", "--admin", "off"]);
        assert!(matches!(output.code, Some(1 | 2)), "{address}: {output:?}");
        assert!(output.stderr.contains("error[") && output.stderr.contains(address), "{address}: {output:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = Folder::new();
    let missing = folder.arg("petstore.yaml");
    for command in [vec!["check", &missing], vec!["routes", &missing], vec!["import", &missing]] {
        cli(&command).refused(2, "file-unreadable", &["petstore.yaml", "help:"]);
    }
    run(&missing, &[]).refused(2, "file-unreadable", &["petstore.yaml"]);
    let empty_folder = folder.arg("empty");
    std::fs::create_dir(&empty_folder).unwrap();
    let output = cli(["check", &empty_folder]);
    assert_eq!(output.code, Some(2), "{output:?}");
}

/// What is wrong, the file's name and bytes, words that the error must hold.
const NOT_DESCRIPTIONS: &[(&str, &str, &[u8], &[&str])] = &[
    ("empty", "api.yaml", b"", &["empty"]),
    ("blanks only", "api.yaml", b" \n\n", &["empty"]),
    ("HTML", "api.json", b"<!DOCTYPE html>\n<html><body>Please log in</body></html>\n", &["HTML"]),
    ("truncated JSON", "api.json", b"{\"openapi\": \"3.0.0\", \"info\": {\"title\":", &["api.json:1:"]),
    ("broken YAML", "api.yaml", b"openapi: 3.0.0\ninfo:\n\ttitle: tabs\n", &["api.yaml:3:"]),
    (
        "Latin-1",
        "api.yaml",
        b"openapi: 3.0.0\ninfo: { title: Caf\xe9 }\npaths: {}\n",
        &["UTF-8", "api.yaml:2:"],
    ),
    ("version 1.2", "api.json", b"{\"swaggerVersion\": \"1.2\", \"apis\": []}", &["1.2"]),
    ("AsyncAPI", "api.yaml", b"asyncapi: 3.0.0\ninfo: { title: Events, version: '1' }\n", &["AsyncAPI"]),
    ("OpenAPI 4", "api.yaml", b"openapi: 4.0.0\ninfo: { title: T, version: '1' }\npaths: {}\n", &["4.0.0"]),
    ("a list", "api.yaml", b"- openapi\n- 3.0.0\n", &["api.yaml"]),
    ("a text", "api.yaml", b"hello\n", &["api.yaml"]),
    ("something else", "api.json", b"{\"name\": \"left-pad\", \"version\": \"1.0.0\"}", &["openapi"]),
    (
        "duplicate keys",
        "api.json",
        b"{\"openapi\":\"3.0.0\",\"paths\":{\"/a\":{},\"/a\":{}}}",
        &["/a", "api.json:1:"],
    ),
    ("binary", "api.yaml", b"\x7fELF\x02\x01\x01\0\0\0", &["api.yaml"]),
];

#[test]
fn what_is_no_description_is_refused_with_its_place() {
    for (what, name, bytes, words) in NOT_DESCRIPTIONS {
        let folder = Folder::new();
        let file = folder.write(name, bytes);
        for output in [cli(["check", &file]), cli(["routes", &file]), run(&file, &[])] {
            assert!(matches!(output.code, Some(1 | 2)), "{what}: {output:?}");
            assert!(
                output.stderr.contains("error[") && !output.stderr.contains("panicked"),
                "{what}: {output:?}"
            );
            for word in *words {
                assert!(output.stderr.contains(word), "{what}: no `{word}` in\n{}", output.stderr);
            }
        }
    }
}

#[test]
fn check_tells_programs_what_it_tells_people() {
    let folder = Folder::new();
    let file = folder
        .write("api.yaml", "openapi: 3.0.0\ninfo: { title: T, version: '1' }\npaths:\n  /a: { get: 7 }\n");
    let output = cli(["check", &file, "--format", "json"]);
    let report = output.json();
    let counts = (report["errors"].as_u64().unwrap(), report["warnings"].as_u64().unwrap());
    let rows = report["diagnostics"].as_array().unwrap();
    assert_eq!(counts.0 + counts.1, rows.len() as u64);
    let broken = rows.iter().find(|row| row["code"] == "operation-broken").expect("the broken operation");
    assert_eq!((&broken["line"], &broken["pointer"]), (&4.into(), &"/paths/~1a/get".into()), "{broken}");
    for row in rows {
        for member in ["code", "severity", "file", "line", "column", "pointer", "message", "help"] {
            assert!(row.get(member).is_some(), "no `{member}` in {row}");
        }
    }
}

#[test]
fn check_has_an_exit_code_for_each_outcome() {
    let folder = Folder::new();
    let fine = "openapi: 3.0.0\ninfo: { title: T, version: '1' }\nservers: [{ url: http://127.0.0.1:9 }]\n\
                paths: { /a: { get: { responses: { '200': { description: fine } } } } }\n";
    let clean = folder.write("clean.yaml", fine);
    let warned = folder.write("warned.yaml", fine.replace("servers: [{ url: http://127.0.0.1:9 }]\n", ""));
    let wrong = folder.write("wrong.json", "{\"openapi\": ");
    assert_eq!(cli(["check", &clean, "--deny-warnings"]).code, Some(0));
    assert_eq!(cli(["check", &warned]).code, Some(0));
    assert_eq!(cli(["check", &warned, "--deny-warnings"]).code, Some(1));
    assert!(cli(["check", &warned]).stderr.contains("warning[no-server]"));
    assert_eq!(cli(["check", &wrong]).code, Some(1));
    assert_eq!(cli(["check", &folder.arg("missing.yaml")]).code, Some(2));
    // What is a warning for `check` keeps `run` from starting: there is nowhere to send requests.
    run(&warned, &[]).refused(1, "no-upstream", &["--upstream"]);
}

#[test]
fn a_port_in_use_is_named_with_a_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--admin"] {
        let output = run(&sample("bookshop.yaml"), &[flag, &address]);
        output.refused(1, "address-in-use", &[&address, flag]);
    }
}

#[test]
fn a_port_of_another_gatewright_is_in_use_too() {
    let gateway = Gateway::run(&[&sample("bookshop.yaml")]);
    let address = gateway.address.to_string();
    run(&sample("bookshop.yaml"), &["--listen", &address]).refused(1, "address-in-use", &[&address]);
    assert_eq!(gateway.admin_get("/ready").status, 200, "the first one is not disturbed");
}

#[test]
fn a_state_directory_that_cannot_be_used_is_named() {
    let gateway = Gateway::run(&[&sample("bookshop.yaml")]);
    let used = gateway.folder.arg("state");
    run(&sample("bookshop.yaml"), &["--state", &used]).refused(
        1,
        "state-unusable",
        &["another gatewright", "--state"],
    );
    let folder = Folder::new();
    let file = folder.write("a-file", "");
    run(&sample("bookshop.yaml"), &["--state", &file]).refused(1, "state-unusable", &["a-file"]);
    run(&sample("bookshop.yaml"), &["--state", &format!("{file}/below")]).refused(
        1,
        "state-unusable",
        &["--state"],
    );
    run(&sample("bookshop.yaml"), &["--state", "/proc/gatewright"]).refused(
        1,
        "state-unusable",
        &["--state"],
    );
}

#[test]
fn a_configuration_names_what_is_wrong_in_it() {
    let folder = Folder::new();
    let wrong = [
        (
            "routes:\n  - { path: /a, upstraem: http://127.0.0.1:1 }\n",
            "unknown-key",
            &["upstraem", "`upstream`", ":2:"][..],
        ),
        ("routs: []\n", "unknown-key", &["routs", "`routes`", ":1:"]),
        (
            "routes:\n  - { path: /a, upstream: petz }\nupstreams:\n  pets: { endpoints: [http://127.0.0.1:1] }\n",
            "unknown-upstream",
            &["petz", "`pets`", ":2:"],
        ),
        (
            "routes:\n  - { path: /a, upstream: http://127.0.0.1:1, timeouts: { idle: 30 } }\n",
            "value-invalid",
            &["30s", ":2:"],
        ),
        ("apis:\n  - { spec: missing.yaml }\n", "file-unreadable", &["missing.yaml"]),
    ];
    for (text, code, words) in wrong {
        let file = folder.write("gatewright.yaml", text);
        let output = cli(["check", &file]);
        assert!(matches!(output.code, Some(1 | 2)), "{text}: {output:?}");
        assert!(output.stderr.contains(&format!("error[{code}]")), "{text}\n{}", output.stderr);
        for word in words {
            assert!(output.stderr.contains(word), "{text}: no `{word}` in\n{}", output.stderr);
        }
    }
}

#[test]
fn a_value_for_a_server_variable_that_no_server_has_is_warned_of() {
    const UNUSED: &str = "warning[server-variable-unused]";
    let (parcels, bookshop) = (sample("parcels-3.0.yaml"), sample("bookshop.yaml"));
    let check = |arguments: &[&str]| cli(["check"].iter().chain(arguments)).fine().stderr;
    let said = check(&[&parcels, "--server-variable", "regoin=us"]);
    for word in [UNUSED, "`regoin`", "did you mean `region`?", "`--server-variable`"] {
        assert!(said.contains(word), "no {word} in {said}");
    }
    let said = check(&[&bookshop, "--server-variable", "region=us"]);
    assert!(said.contains(UNUSED) && said.contains("--upstream"), "{said}");
    let said = check(&[&parcels, "--server-variable", "region=us"]);
    assert!(!said.contains(UNUSED), "{said}");
    let said = check(&[&bookshop, &parcels, "--server-variable", "region=us"]);
    assert!(!said.contains(UNUSED), "one of the two has it: {said}");
    // In a configuration each API has its own.
    let folder = Folder::new();
    let variables = "server_variables: { region: us }";
    let config = format!(
        "apis:\n  - {{ spec: {parcels}, {variables} }}\n  - {{ spec: {bookshop}, mount: /b, {variables} }}\n"
    );
    let said = check(&[&folder.write("gatewright.yaml", config)]);
    assert!(said.matches(UNUSED).count() == 1 && said.contains("gatewright.yaml:3:"), "{said}");
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let folder = Folder::new();
    let file = folder.write(
        "gatewright.yaml",
        "nonsense: 1\nroutes:\n  - { path: /a, upstraem: x }\n  - { path: b, upstream: http://127.0.0.1:1 }\n",
    );
    let report = cli(["check", &file, "--format", "json"]).json();
    assert!(report["errors"].as_u64().unwrap() >= 3, "{report}");
}

#[test]
fn a_secret_on_the_command_line_is_warned_of_and_not_repeated() {
    let gateway =
        Gateway::run(&[&sample("bookshop.yaml"), "--upstream-header", "Authorization: Bearer s3cr3t-t0ken"]);
    gateway.await_log("secret-on-command-line");
    assert!(!gateway.log().contains("s3cr3t-t0ken"), "{}", gateway.log());
}

#[test]
fn every_code_can_be_explained() {
    for code in ["no-server", "address-in-use", "state-unusable", "rate-limited", "upstream-timeout"] {
        let text = cli(["explain", code]).fine().stdout;
        assert!(text.contains(code) && text.len() > 60, "{code}: {text}");
    }
    let output = cli(["explain", "no-sever"]);
    assert_ne!(output.code, Some(0));
    assert!(output.stderr.contains("no-server"), "{output:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    // `gatewright routes … | head -1` in effect
    let mut child = Command::new(env!("CARGO_BIN_EXE_gatewright"))
        .args(["explain"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
}
