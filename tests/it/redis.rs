//! The connection to Redis: how it is configured, who may use it, and that it can be changed.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::{
    harness::{Folder, Gateway, Redis, cli, eventually},
    nodes::{await_state, config, fill, node, origin, purge, state},
};

#[test]
fn a_reload_takes_another_server() {
    let (origin, first, second) = (origin(), Redis::start(), Redis::start());
    let nodes = [(); 2].map(|()| node(&origin, &first));
    for node in &nodes {
        node.folder.replace(
            "gatewright.yaml",
            config(&origin, &format!("redis: {{ url: '{}/3' }}\n", second.url())),
        );
        eventually("it is connected to the other", || {
            let state = state(node);
            state["state"] == "up" && state["server"] == format!("{}/3", second.url())
        });
    }
    for node in &nodes {
        eventually("it has found its place", || state(node)["purges"]["lag"] == 0);
    }
    drop(first);
    fill(&[&nodes[0], &nodes[1]], "/x");
    purge(&nodes[0], &["--all"]).fine();
    eventually("the other follows", || !nodes[1].get("/x").is_hit());
}

#[test]
fn passwords_come_from_outside_and_are_never_told() {
    let redis = Redis::start();
    redis.command("ACL SETUSER gate on >hunter2 ~{gatewright}:* &{gatewright}:* +@all");
    redis.command("ACL SETUSER default off");
    let origin = origin();
    let folder = Folder::new();
    folder.write("secret", "hunter2\n");
    let url = redis.url();
    let text = config(
        &origin,
        &format!("redis: {{ url: '{url}', username: gate, password: '${{file:secret}}' }}\n"),
    );
    let file = folder.write("gatewright.yaml", text);
    let gateway = Gateway::start(folder, &[&file], &[("GATEWRIGHT_LOG", "debug"), ("REDIS", &redis.url())]);
    await_state(&gateway, "up");
    purge(&gateway, &["--all"]).fine();
    // The same within the address, from the environment.
    let whole = url.replacen("://", "://gate:hunter2@", 1);
    gateway.folder.replace("gatewright.yaml", config(&origin, &format!("redis: '{whole}/1'\n")));
    eventually("it is connected", || state(&gateway)["server"] == format!("{url}/1"));
    await_state(&gateway, "up");
    // A changed password is one more way to be away.
    gateway.folder.replace("secret", "wrong-hunter2");
    gateway.folder.replace(
        "gatewright.yaml",
        config(
            &origin,
            &format!("redis: {{ url: '{url}', username: gate, password: '${{file:secret}}' }}\n"),
        ),
    );
    await_state(&gateway, "down");
    assert_eq!(state(&gateway)["why"], "user or password was not accepted");
    let told = [gateway.log(), state(&gateway).to_string(), gateway.admin_get("/metrics").text()];
    assert!(told.iter().all(|text| !text.contains("hunter2")), "{told:?}");
}

#[test]
fn a_wrong_section_is_told_before_anything_starts() {
    let folder = Folder::new();
    let check = |redis: &str| {
        let text = format!("redis: {redis}\nroutes: [{{ path: /, upstream: 'http://127.0.0.1:9' }}]\n");
        cli(["check", &folder.write("gatewright.yaml", text)])
    };
    check("redis://127.0.0.1:1").fine();
    for (redis, code, word) in [
        ("127.0.0.1:6379", "value-invalid", "`rediss://` for TLS"),
        ("http://127.0.0.1", "value-invalid", "`rediss` for TLS"),
        ("'rediss://h#insecure'", "value-invalid", "from `?` or `#` on"),
        ("'redis://:hunter2@h:x'", "value-invalid", "found something else"),
        ("{ password: '${NOT_SET_ANYWHERE}' }", "key-missing", "`url` is missing"),
        ("{ url: 'redis://h', password: '${NOT_SET_ANYWHERE}' }", "reference-invalid", "NOT_SET_ANYWHERE"),
        ("{ url: 'redis://a:b@h', password: hunter2 }", "keys-conflict", "the password stands in `url`"),
        ("{ url: 'redis://h', username: gate }", "keys-conflict", "without a password"),
        ("{ url: 'redis://h', prefix: 'a b' }", "value-invalid", "make a prefix"),
        ("{ url: 'redis://h', reply_timeout: 0s }", "value-invalid", "`reply_timeout` is out of bounds"),
        ("{ url: 'redis://h', connect_timeout: 2m }", "value-invalid", "`connect_timeout` is out of bounds"),
        ("{ url: 'redis://h', cluster: true }", "unknown-key", "`cluster` is no key here"),
    ] {
        let output = check(redis);
        output.refused(1, code, &["gatewright.yaml:1:", word]);
        assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
    }
}

#[test]
fn redis_is_reached_through_tls_when_its_certificate_is_right() {
    let authority = || {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (trusted, other) = (authority(), authority());
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &trusted).unwrap();
    let folder = Folder::new();
    let cert = folder.write("cert.pem", certificate.pem());
    let key = folder.write("key.pem", key.serialize_pem());
    let ca = folder.write("ca.pem", trusted.pem());
    let other = folder.write("other.pem", other.pem());
    let port = crate::harness::free_port().to_string();
    let tls =
        ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let redis = Redis::with(folder, &[&["--save", "", "--tls-auth-clients", "no"], &tls[..]].concat());
    let origin = origin();
    let start = |roots: &str, host: &str| {
        let folder = Folder::new();
        let text = config(&origin, &format!("redis: rediss://{host}:{port}\n"));
        let file = folder.write("gatewright.yaml", text);
        Gateway::start(folder, &[&file], &[("SSL_CERT_FILE", roots)])
    };
    for host in ["127.0.0.1", "localhost"] {
        let gateway = start(&ca, host);
        await_state(&gateway, "up");
        purge(&gateway, &["--all"]).fine();
    }
    for (roots, host, why) in
        [(&other, "127.0.0.1", "invalid peer certificate"), (&ca, "127.0.0.2", "certificate")]
    {
        let gateway = start(roots, host);
        await_state(&gateway, "down");
        let told = state(&gateway)["why"].as_str().unwrap().to_owned();
        assert!(told.contains(why) || host == "127.0.0.2", "{told}");
    }
    drop(redis);
}
