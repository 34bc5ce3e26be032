//! Bearer tokens (RFC 6750, RFC 7519): keys from a file, from an address, rotated without a restart.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::harness::{Call, Folder, Gateway, Origin, files::project};

fn pem(name: &str) -> Vec<u8> {
    std::fs::read(project("tests/fixtures/keys").join(name)).unwrap()
}

/// A token of `https://idp.example` for `orders` that is valid for five minutes, with these claims changed.
fn token(key: &EncodingKey, algorithm: Algorithm, kid: &str, changes: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({ "iss": "https://idp.example", "aud": "orders", "sub": "ada", "exp": now + 300 });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = match value {
            Value::Number(offset) => json!(now.wrapping_add_signed(offset.as_i64().unwrap())),
            value => value.clone(),
        };
    }
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) };
    format!("Authorization: Bearer {}\r\n", encode(&header, &claims, key).unwrap())
}

fn ed25519() -> EncodingKey {
    EncodingKey::from_ed_pem(&pem("ed25519.pem")).unwrap()
}

fn p256() -> EncodingKey {
    EncodingKey::from_ec_pem(&pem("p256.pem")).unwrap()
}

/// The last bytes of a public key in DER: the key itself for the curves used here.
fn public(name: &str, length: usize) -> Vec<u8> {
    let text = String::from_utf8(pem(name)).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(body).unwrap();
    der[der.len() - length..].to_vec()
}

fn jwks() -> [Value; 2] {
    let point = public("p256.pub.pem", 64);
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    [
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "old", "alg": "EdDSA", "use": "sig", "x": text(&public("ed25519.pub.pem", 32)) }),
        json!({ "kty": "EC", "crv": "P-256", "kid": "new", "alg": "ES256", "use": "sig", "x": text(&point[..32]), "y": text(&point[32..]) }),
    ]
}

fn config(origin: &Origin, jwks: &str) -> String {
    format!(
        "routes:
  - {{ path: /**, upstream: '{}', security: gateway }}
issuers:
  - {{ name: idp, issuer: https://idp.example, audience: orders, jwks: '{jwks}' }}
consumers:
  - {{ name: ada-lovelace, subjects: [ada] }}
",
        origin.url()
    )
}

#[test]
fn a_good_token_is_let_in_and_not_passed_on() {
    let origin = Origin::plain();
    let folder = Folder::new();
    folder.write("keys.json", json!({ "keys": jwks() }).to_string());
    let file = folder.write("gatewright.yaml", config(&origin, "keys.json"));
    let gateway = Gateway::start(folder, &[&file, "--access-log", "json"], &[]);
    let good = token(&ed25519(), Algorithm::EdDSA, "old", &json!({}));
    for fields in [
        good.clone(),
        good.replace("Bearer", "bearer"),
        good.replace("Bearer ", "Bearer   "),
        token(&p256(), Algorithm::ES256, "new", &json!({ "aud": ["other", "orders"], "nbf": -5 })),
        token(&ed25519(), Algorithm::EdDSA, "old", &json!({ "exp": -20 })),
    ] {
        assert_eq!(gateway.get_with("/", &fields).status, 200, "{fields}");
    }
    assert!(
        origin.seen().iter().all(|seen| seen.values("authorization").is_empty()),
        "a token went upstream"
    );
    assert_eq!(gateway.access_log(1)[0]["consumer"], "ada-lovelace");
}

#[test]
fn a_bad_token_is_refused_in_the_words_of_the_rfc() {
    let origin = Origin::plain();
    let folder = Folder::new();
    folder.write("keys.json", json!({ "keys": jwks() }).to_string());
    let file = folder.write("gatewright.yaml", config(&origin, "keys.json"));
    let gateway = Gateway::start(folder, &[&file], &[]);
    let good = token(&ed25519(), Algorithm::EdDSA, "old", &json!({}));
    let changed = |changes: Value| token(&ed25519(), Algorithm::EdDSA, "old", &changes);
    let none = format!(
        "Authorization: Bearer {}.{}.\r\n",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
        good.split('.').nth(1).unwrap()
    );
    let public_as_secret = EncodingKey::from_secret(&pem("p256.pub.pem"));
    for (what, fields) in [
        ("expired", changed(json!({ "exp": -120 }))),
        ("not yet valid", changed(json!({ "nbf": 120 }))),
        ("another audience", changed(json!({ "aud": "invoices" }))),
        ("another issuer", changed(json!({ "iss": "https://evil.example" }))),
        ("no expiry", changed(json!({ "exp": null }))),
        ("no signature", none),
        ("a changed signature", good.replace("\r\n", "AA\r\n")),
        ("another key's name", token(&ed25519(), Algorithm::EdDSA, "new", &json!({}))),
        ("a public key as secret", token(&public_as_secret, Algorithm::HS256, "new", &json!({}))),
        ("no token at all", "Authorization: Bearer\r\n".to_owned()),
        ("not a token", "Authorization: Bearer abc.def\r\n".to_owned()),
    ] {
        let answer = gateway.get_with("/", &fields);
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        let challenges = answer.values("www-authenticate");
        let challenge =
            challenges.iter().find(|value| value.starts_with(b"Bearer")).expect("a Bearer challenge");
        let challenge = String::from_utf8_lossy(challenge);
        assert!(
            challenge.contains("error=\"invalid_token\"") || what == "no token at all",
            "{what}: {challenge}"
        );
    }
    let answer = gateway.get_with("/", &(good.clone() + &good));
    assert!(matches!(answer.status, 400 | 401), "two tokens: {}", answer.status);
    let missing = gateway.get("/");
    missing.problem(401, "credentials-missing");
    let challenges = missing.values("www-authenticate").concat();
    assert!(!String::from_utf8_lossy(&challenges).contains("invalid_token"), "{:?}", missing.fields);
    assert_eq!(origin.calls(), 0);
}

#[test]
fn keys_that_an_issuer_rotates_are_fetched_without_a_restart() {
    let origin = Origin::plain();
    let rotated = Arc::new(AtomicBool::new(false));
    let state = rotated.clone();
    let issuer = Origin::start(move |call: &mut Call| {
        let [old, new] = jwks();
        let keys = if state.load(Ordering::SeqCst) { vec![new] } else { vec![old] };
        call.ok("Content-Type: application/json\r\n", json!({ "keys": keys }).to_string());
    });
    let gateway = Gateway::config(&config(&origin, &format!("{}/jwks.json", issuer.url())));
    let old = token(&ed25519(), Algorithm::EdDSA, "old", &json!({}));
    let new = token(&p256(), Algorithm::ES256, "new", &json!({}));
    assert_eq!((gateway.get_with("/", &old).status, gateway.get_with("/", &new).status), (200, 401));
    let before = issuer.calls();
    for _ in 0..20 {
        gateway.get_with("/", &new.replace("Bearer e", "Bearer f"));
        gateway.get_with("/", &token(&p256(), Algorithm::ES256, "unknown", &json!({})));
    }
    assert!(issuer.calls() <= before + 2, "unknown key names make {} calls", issuer.calls() - before);
    rotated.store(true, Ordering::SeqCst);
    crate::harness::eventually("the new key is known", || gateway.get_with("/", &new).status == 200);
}

#[test]
fn an_issuer_that_is_down_leaves_known_keys_in_force() {
    let origin = Origin::plain();
    let up = Arc::new(AtomicBool::new(true));
    let state = up.clone();
    let issuer = Origin::start(move |call: &mut Call| match state.load(Ordering::SeqCst) {
        true => call.ok("Cache-Control: max-age=1\r\n", json!({ "keys": jwks() }).to_string()),
        false => call.reset(),
    });
    let gateway = Gateway::config(&config(&origin, &format!("{}/jwks.json", issuer.url())));
    let good = token(&ed25519(), Algorithm::EdDSA, "old", &json!({}));
    assert_eq!(gateway.get_with("/", &good).status, 200);
    up.store(false, Ordering::SeqCst);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(gateway.get_with("/", &good).status, 200);
}
