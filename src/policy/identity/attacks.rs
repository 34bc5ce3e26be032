//! Attacks on tokens, each variant a row, tried through the whole `security` policy; lawful variants beside
//! them, so that no row can pass by refusing everything.
//!
//! Classes 20 to 22 (rotation, cache partition, claims as headers) are tested where they belong.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use jsonwebtoken::{Algorithm, EncodingKey, crypto, jwk::Jwk};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::{
    Consumers, KeySets, KeyStore, Tokens, consumer,
    issuer::{Config, KeySource},
    keyset::{Fetch, FetchKeys, Source},
};
use crate::policy::{
    Context, Findings, Verdict,
    security::{self, Demand, Mode, Scheme, Security},
};

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://issuer.test";
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/", $name))
    };
}

fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_pem(fixture!("rsa.pem").as_bytes()).unwrap()
}

fn stranger() -> EncodingKey {
    EncodingKey::from_rsa_pem(fixture!("rsa-other.pem").as_bytes()).unwrap()
}

fn p256() -> EncodingKey {
    EncodingKey::from_ec_pem(fixture!("p256.pem").as_bytes()).unwrap()
}

fn p384() -> EncodingKey {
    EncodingKey::from_ec_pem(fixture!("p384.pem").as_bytes()).unwrap()
}

fn ed25519() -> EncodingKey {
    EncodingKey::from_ed_pem(fixture!("ed25519.pem").as_bytes()).unwrap()
}

fn secret() -> EncodingKey {
    EncodingKey::from_secret(SECRET.as_bytes())
}

/// A public key as a set would hold it.
fn jwk(key: &EncodingKey, algorithm: Algorithm, kid: &str, alg: Option<&str>) -> Value {
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(key, algorithm).unwrap()).unwrap();
    let members = jwk.as_object_mut().unwrap();
    members.remove("alg");
    members.insert("kid".into(), kid.into());
    if let Some(alg) = alg {
        members.insert("alg".into(), alg.into());
    }
    jwk
}

/// The issuer's key set, or another one after a rotation. Fails the test when anything but the issuer's
/// own URL is asked for.
#[derive(Debug, Default)]
struct Published(Mutex<Option<Value>>);

impl FetchKeys for Published {
    fn fetch<'a>(&'a self, url: &'a str) -> Fetch<'a> {
        assert_eq!(url, "https://issuer.test/jwks", "a request left for another host");
        let first = || {
            json!({ "keys": [
                jwk(&rsa(), Algorithm::RS256, "rsa", None),
                jwk(&rsa(), Algorithm::RS256, "only-ps", Some("PS256")),
                jwk(&p256(), Algorithm::ES256, "p256", None),
                jwk(&p384(), Algorithm::ES384, "p384", Some("ES384")),
                jwk(&ed25519(), Algorithm::EdDSA, "ed", None),
                jwk(&rsa(), Algorithm::RS256, "twice", None),
                jwk(&stranger(), Algorithm::RS256, "twice", None),
                { "kty": "oct", "kid": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET) },
            ]})
        };
        let keys = self.0.lock().unwrap().clone().unwrap_or_else(first);
        Box::pin(async move { Ok(Bytes::from(keys.to_string())) })
    }
}

struct Gate {
    security: Security,
    published: Arc<Published>,
}

impl Gate {
    fn new() -> Self {
        Self::with_mode(Mode::Enforce)
    }

    fn with_mode(mode: Mode) -> Self {
        let published = Arc::<Published>::default();
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(KeyStore::open(dir.path()).unwrap());
        let subject = consumer::Subject { issuer: Some(ISSUER.into()), subject: "ann".into() };
        let ann = consumer::Config { name: "Ann".into(), subjects: vec![subject], ..Default::default() };
        let consumers = Arc::new(Consumers::compile(&[ann], &store).unwrap());
        let sets = KeySets::new(Arc::clone(&published) as _, Some(Handle::current()));
        let jwks = KeySource::Jwks(Source::Url("https://issuer.test/jwks".into()));
        let audience = vec!["pets".to_owned(), "shop".to_owned()];
        let config = |issuer: &str, keys: KeySource| Config {
            audience: audience.clone(),
            ..Config::new(issuer, keys)
        };
        let issuers = [
            config(ISSUER, jwks),
            config("pem", KeySource::PublicKey(fixture!("rsa.pub.pem").into())),
            config("pem-ec", KeySource::PublicKey(fixture!("p256.pub.pem").into())),
            config("pem-ed", KeySource::PublicKey(fixture!("ed25519.pub.pem").into())),
            config("secret", KeySource::Secret(SECRET.into())),
            Config {
                algorithms: vec!["PS256".into()],
                ..config("ps", KeySource::PublicKey(fixture!("rsa.pub.pem").into()))
            },
            Config {
                typ: Some("at+jwt".into()),
                ..config("typed", KeySource::PublicKey(fixture!("rsa.pub.pem").into()))
            },
        ];
        let (tokens, warnings) = Tokens::compile(&issuers, &sets).unwrap();
        assert!(warnings.is_empty());
        let scheme = Demand { name: "login".into(), scheme: Scheme::OAuth2, scopes: vec!["read".into()] };
        let compiled = Security::compile(security::Config {
            mode,
            explicit: true,
            public: false,
            forward_credentials: false,
            requirements: Some(&[vec![scheme]]),
            own_keys: &[],
            realm: "pets",
            consumers: &consumers,
            tokens: tokens.map(Arc::new).as_ref(),
        });
        Self { security: compiled.policy.unwrap(), published }
    }

    /// The status and `WWW-Authenticate` for the values of `Authorization`, and whom it found.
    async fn ask(&self, fields: &[&str], query: Option<&str>) -> (u16, String, Findings) {
        self.ask_at(NOW, fields, query).await
    }

    async fn ask_at(&self, now: u64, fields: &[&str], query: Option<&str>) -> (u16, String, Findings) {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(field.as_bytes()).unwrap());
        }
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let found = Findings::default();
        let mut cx = Context { query, headers: &headers, client, now_ms: now * 1000, found };
        match self.security.apply(&mut cx).await {
            Verdict::Refuse(problem) => {
                let challenges = problem.headers.iter().filter(|(name, _)| name == header::WWW_AUTHENTICATE);
                let challenges: Vec<_> = challenges.map(|(_, value)| value.to_str().unwrap()).collect();
                (problem.kind.status.as_u16(), challenges.join("; "), cx.found)
            }
            _ => (200, String::new(), cx.found),
        }
    }

    async fn bearer(&self, token: &str) -> (u16, String, Findings) {
        self.ask(&[&format!("Bearer {token}")], None).await
    }

    async fn refuses(&self, rows: Vec<(&str, String)>) {
        for (title, token) in rows {
            let (status, challenge, found) = self.bearer(&token).await;
            assert_eq!(status, 401, "{title}: {token:.200}");
            assert!(
                challenge.contains("Bearer realm=\"pets\", error=\"invalid_token\""),
                "{title}: {challenge}"
            );
            assert!(found.caller.is_none(), "{title}");
        }
    }

    async fn accepts(&self, rows: Vec<(&str, String)>) {
        for (title, token) in rows {
            let (status, challenge, _) = self.bearer(&token).await;
            assert_eq!((status, challenge.as_str()), (200, ""), "{title}: {token}");
        }
    }
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "sub": "ann", "aud": "pets", "scope": "read", "iat": NOW, "exp": NOW + 300 })
}

#[expect(clippy::needless_pass_by_value, reason = "rows read better without `&`")]
fn with(changes: Value) -> String {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims.to_string()
}

fn of(issuer: &str) -> String {
    with(json!({ "iss": issuer }))
}

fn part(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// Header and claims as text, signed.
fn mint(header: &str, claims: &str, algorithm: Algorithm, key: &EncodingKey) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let signature = crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

fn es256(claims: &str) -> String {
    mint(r#"{"alg":"ES256","kid":"p256"}"#, claims, Algorithm::ES256, &p256())
}

fn rs256(header: &str) -> String {
    mint(header, &claims().to_string(), Algorithm::RS256, &rsa())
}

/// A valid ES256 token with its 64 signature bytes changed.
fn forged(change: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let token = es256(&claims().to_string());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    format!("{message}.{}", part(change(&signature)))
}

#[tokio::test]
async fn every_algorithm_that_a_key_is_fit_for_is_accepted() {
    use Algorithm::*;
    let gate = Gate::new();
    let mut rows = Vec::new();
    for (name, algorithm) in [
        ("RS256", RS256),
        ("RS384", RS384),
        ("RS512", RS512),
        ("PS256", PS256),
        ("PS384", PS384),
        ("PS512", PS512),
    ] {
        let header = format!(r#"{{"alg":"{name}","kid":"rsa"}}"#);
        rows.push((name, mint(&header, &claims().to_string(), algorithm, &rsa())));
        rows.push((name, mint(&header, &of("pem"), algorithm, &rsa())));
    }
    for (name, algorithm) in [("HS256", HS256), ("HS384", HS384), ("HS512", HS512)] {
        rows.push((name, mint(&format!(r#"{{"alg":"{name}"}}"#), &of("secret"), algorithm, &secret())));
    }
    let own = claims().to_string();
    rows.extend([
        ("ES256", es256(&own)),
        ("ES384", mint(r#"{"alg":"ES384","kid":"p384"}"#, &own, ES384, &p384())),
        ("EdDSA", mint(r#"{"alg":"EdDSA","kid":"ed"}"#, &own, EdDSA, &ed25519())),
        ("PS256 alone", mint(r#"{"alg":"PS256","kid":"only-ps"}"#, &own, PS256, &rsa())),
        ("PS256 alone, by list", mint(r#"{"alg":"PS256"}"#, &of("ps"), PS256, &rsa())),
        ("ES256 by PEM", mint(r#"{"alg":"ES256"}"#, &of("pem-ec"), ES256, &p256())),
        ("EdDSA by PEM", mint(r#"{"alg":"EdDSA"}"#, &of("pem-ed"), EdDSA, &ed25519())),
    ]);
    gate.accepts(rows).await;
}

#[tokio::test]
async fn class_1_and_2_no_algorithm_and_no_signature() {
    let gate = Gate::new();
    let payload = part(claims().to_string());
    let mut rows = Vec::new();
    for alg in [
        r#""none""#,
        r#""None""#,
        r#""NONE""#,
        r#""nOnE""#,
        r#""""#,
        "null",
        r#"["RS256"]"#,
        "1",
        r#""rs256""#,
    ] {
        let header = format!(r#"{{"alg":{alg},"kid":"rsa"}}"#);
        let signed = rs256(&header);
        let signature = signed.rsplit_once('.').unwrap().1.to_owned();
        rows.push(("1 signed", signed));
        rows.push(("1 with a dot", format!("{}.{payload}.", part(&header))));
        rows.push(("1 without a dot", format!("{}.{payload}", part(&header))));
        rows.push(("1 any signature", format!("{}.{payload}.{signature}", part(&header))));
    }
    rows.push(("1 absent", rs256(r#"{"kid":"rsa"}"#)));
    let header = part(r#"{"alg":"RS256","kid":"rsa"}"#);
    rows.push(("2 with the last dot", format!("{header}.{payload}.")));
    rows.push(("2 without the last dot", format!("{header}.{payload}")));
    rows.push(("2 one part", header.clone()));
    rows.push(("2 four parts", format!("{header}.{payload}.AAAA.AAAA")));
    rows.push(("2 dots alone", "..".into()));
    rows.push((
        "2 of another key",
        mint(r#"{"alg":"RS256","kid":"rsa"}"#, &claims().to_string(), Algorithm::RS256, &stranger()),
    ));
    gate.refuses(rows).await;
}

#[tokio::test]
async fn class_3_a_public_key_is_no_secret() {
    let gate = Gate::new();
    let mut rows = Vec::new();
    for (pem, kid, issuer) in [
        (fixture!("rsa.pub.pem"), "rsa", "pem"),
        (fixture!("p256.pub.pem"), "p256", "pem-ec"),
        (fixture!("ed25519.pub.pem"), "ed", "pem-ed"),
    ] {
        let body: String = pem.lines().filter(|line| !line.starts_with("--")).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
        let jwk = jwk(&rsa(), Algorithm::RS256, "rsa", None).to_string();
        for known in [pem.as_bytes(), pem.trim_end().as_bytes(), &der, jwk.as_bytes()] {
            let key = EncodingKey::from_secret(known);
            let header = format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#);
            rows.push(("3 key set", mint(&header, &claims().to_string(), Algorithm::HS256, &key)));
            rows.push(("3 PEM", mint(&header, &of(issuer), Algorithm::HS256, &key)));
        }
    }
    // A secret in a published set is not a secret.
    rows.push((
        "3 oct",
        mint(r#"{"alg":"HS256","kid":"oct"}"#, &claims().to_string(), Algorithm::HS256, &secret()),
    ));
    rows.push((
        "3 empty",
        mint(r#"{"alg":"HS256"}"#, &of("secret"), Algorithm::HS256, &EncodingKey::from_secret(b"")),
    ));
    gate.refuses(rows).await;
}

#[tokio::test]
async fn class_4_and_5_the_key_chooses_the_algorithm() {
    use Algorithm::*;
    let gate = Gate::new();
    let own = claims().to_string();
    gate.refuses(vec![
        ("4 ES256 names the RSA key", mint(r#"{"alg":"ES256","kid":"rsa"}"#, &own, ES256, &p256())),
        ("4 RS256 names the EC key", mint(r#"{"alg":"RS256","kid":"p256"}"#, &own, RS256, &rsa())),
        ("4 EdDSA names the EC key", mint(r#"{"alg":"EdDSA","kid":"p256"}"#, &own, EdDSA, &ed25519())),
        ("4 HS256 for a PEM", mint(r#"{"alg":"HS256"}"#, &of("pem"), HS256, &secret())),
        ("4 RS256 for a secret", mint(r#"{"alg":"RS256"}"#, &of("secret"), RS256, &rsa())),
        ("4 says RS256, is PS256", mint(r#"{"alg":"RS256","kid":"rsa"}"#, &own, PS256, &rsa())),
        ("4 says RS512, is RS256", mint(r#"{"alg":"RS512","kid":"rsa"}"#, &own, RS256, &rsa())),
        ("5 RS256 under a PS256 key", mint(r#"{"alg":"RS256","kid":"only-ps"}"#, &own, RS256, &rsa())),
        ("5 PS384 under a PS256 key", mint(r#"{"alg":"PS384","kid":"only-ps"}"#, &own, PS384, &rsa())),
        ("5 RS256 under a PS256 list", mint(r#"{"alg":"RS256"}"#, &of("ps"), RS256, &rsa())),
        ("5 ES256 under P-384", mint(r#"{"alg":"ES256","kid":"p384"}"#, &own, ES256, &p256())),
        ("5 ES384 under P-256", mint(r#"{"alg":"ES384","kid":"p256"}"#, &own, ES384, &p384())),
        ("5 ES512", mint(r#"{"alg":"ES512","kid":"p256"}"#, &own, ES256, &p256())),
        ("5 ES256K", mint(r#"{"alg":"ES256K","kid":"p256"}"#, &own, ES256, &p256())),
    ])
    .await;
}

#[tokio::test]
async fn class_6_and_7_keys_in_or_named_by_the_header_are_not_used() {
    let gate = Gate::new();
    let own = claims().to_string();
    let foreign = jwk(&stranger(), Algorithm::RS256, "mine", None);
    let header = |kid: Option<&str>, name: &str, value: &Value| {
        let mut header = json!({ "alg": "RS256", name: value });
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        header.to_string()
    };
    let url = json!("https://attacker.test/jwks");
    let mut rows = Vec::new();
    for kid in [None, Some("mine"), Some("rsa")] {
        rows.push(("6 jwk", mint(&header(kid, "jwk", &foreign), &own, Algorithm::RS256, &stranger())));
        rows.push((
            "6 x5c",
            mint(&header(kid, "x5c", &json!(["MIIB"])), &own, Algorithm::RS256, &stranger()),
        ));
        for name in ["jku", "x5u"] {
            rows.push(("7", mint(&header(kid, name, &url), &own, Algorithm::RS256, &stranger())));
        }
    }
    gate.refuses(rows).await;
    // The issuer may send them; they change nothing.
    gate.accepts(vec![("7", mint(&header(Some("rsa"), "jku", &url), &own, Algorithm::RS256, &rsa()))]).await;
}

#[tokio::test]
async fn class_8_key_ids() {
    let gate = Gate::new();
    let kids = [
        r#""../../../../dev/null""#,
        r#""/etc/passwd""#,
        r#""' OR 1=1 --""#,
        r#""$(id)""#,
        r#""rsa|id""#,
        r#""rsa\u0000""#,
        r#""\u0000""#,
        r#""RSA""#,
        r#""""#,
        r#""https://attacker.test/key""#,
        "1",
        "null",
        r#"["rsa"]"#,
        r#"{"kid":"rsa"}"#,
        r#""twice""#,
    ];
    let mut rows: Vec<_> =
        kids.iter().map(|kid| ("8", rs256(&format!(r#"{{"alg":"RS256","kid":{kid}}}"#)))).collect();
    rows.push(("8 64 KiB", rs256(&format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(65_536)))));
    rows.push(("8 absent with several keys", rs256(r#"{"alg":"RS256"}"#)));
    let lone = mint(r#"{"alg":"ES384"}"#, &claims().to_string(), Algorithm::ES384, &p384());
    rows.push(("8 absent with one key of several that would fit", lone));
    rows.push(("8 twice in the header", rs256(r#"{"alg":"RS256","kid":"rsa","kid":"rsa"}"#)));
    gate.refuses(rows).await;
    // A lone key needs no id, and a fixed key takes any.
    gate.accepts(vec![
        ("8", mint(r#"{"alg":"RS256"}"#, &of("pem"), Algorithm::RS256, &rsa())),
        ("8", mint(r#"{"alg":"RS256","kid":"any"}"#, &of("pem"), Algorithm::RS256, &rsa())),
    ])
    .await;
}

#[tokio::test]
async fn class_9_and_10_critical_extensions_and_unencoded_payloads() {
    let gate = Gate::new();
    let mut rows = Vec::new();
    for crit in
        [r#"["x"]"#, "[]", r#""x""#, "null", "{}", r#"["alg"]"#, r#"["kid"]"#, r#"["exp"]"#, r#"["b64"]"#]
    {
        rows.push(("9", rs256(&format!(r#"{{"alg":"RS256","kid":"rsa","crit":{crit},"x":1}}"#))));
    }
    for b64 in [r#""b64":false"#, r#""b64":true"#, r#""b64":false,"crit":["b64"]"#] {
        rows.push(("10", rs256(&format!(r#"{{"alg":"RS256","kid":"rsa",{b64}}}"#))));
    }
    let raw = format!("{}.{}", part(r#"{"alg":"RS256","kid":"rsa","b64":false,"crit":["b64"]}"#), claims());
    let signature = crypto::sign(raw.as_bytes(), &rsa(), Algorithm::RS256).unwrap();
    rows.push(("10 raw payload", format!("{raw}.{signature}")));
    gate.refuses(rows).await;
}

#[tokio::test]
async fn class_11_signatures_out_of_range() {
    let order: [u8; 32] = [
        0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xBC, 0xE6, 0xFA,
        0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
    ];
    let zero = [0; 32];
    let der = |s: &[u8]| {
        let integer = |half: &[u8]| {
            let sign = usize::from(half[0] >= 0x80);
            [&[2, (half.len() + sign) as u8][..], &[0][..sign], half].concat()
        };
        let body = [integer(&s[..32]), integer(&s[32..])].concat();
        [&[0x30, body.len() as u8], &body[..]].concat()
    };
    let gate = Gate::new();
    gate.refuses(vec![
        ("11 both zero", forged(|_| [zero, zero].concat())),
        ("11 r zero", forged(|s| [&zero, &s[32..]].concat())),
        ("11 s zero", forged(|s| [&s[..32], &zero].concat())),
        ("11 s is the order", forged(|s| [&s[..32], &order].concat())),
        ("11 r is the order", forged(|s| [&order, &s[32..]].concat())),
        ("11 both the order", forged(|_| [order, order].concat())),
        ("11 all ones", forged(|_| vec![0xFF; 64])),
        ("11 one, one", forged(|_| [[&zero[..31], &[1]].concat(), [&zero[..31], &[1]].concat()].concat())),
        ("11 DER", forged(der)),
        ("11 short", forged(|s| s[..63].to_vec())),
        ("11 long", forged(|s| [s, &[0]].concat())),
        ("11 padded halves", forged(|s| [&[0], &s[..32], &[0], &s[32..]].concat())),
        ("11 swapped", forged(|s| [&s[32..], &s[..32]].concat())),
        ("11 96 bytes", forged(|s| [s, &s[..32]].concat())),
    ])
    .await;
}

#[tokio::test]
async fn class_12_one_text_per_token() {
    let gate = Gate::new();
    let token = es256(&claims().to_string());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    // 64 bytes leave four unused bits in the last character.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = alphabet.find(signature.chars().last().unwrap()).unwrap();
    let kept = &signature[..signature.len() - 1];
    let mut rows: Vec<(&str, String)> = (1..16)
        .map(|bits| ("12 stray bits", format!("{message}.{kept}{}", &alphabet[last + bits..=last + bits])))
        .collect();
    for end in ["=", "==", "%3D", " ", "A", "AA", ".", "\t"] {
        rows.push(("12 after the end", format!("{token}{end}x")));
        rows.push((
            "12 at the end",
            format!("{token}{}", end.trim_end_matches([' ', '\t']).to_owned() + "="),
        ));
        rows.push(("12 within", format!("{message}.{}{end}{}", &signature[..10], &signature[10..])));
        rows.push(("12 in the header", format!("{header}{end}.{payload}.{signature}")));
        rows.push(("12 in the payload", format!("{header}.{payload}{end}.{signature}")));
    }
    // The other alphabet, of a token that has its characters.
    let foreign = (0..).find_map(|id| {
        let token = es256(&with(json!({ "jti": id })));
        let signature = token.rsplit_once('.').unwrap().1;
        (signature.contains('-') && signature.contains('_')).then_some(token)
    });
    let foreign = foreign.unwrap();
    rows.push(("12 alphabet", foreign.replace('-', "+")));
    rows.push(("12 alphabet", foreign.replace('_', "/")));
    gate.refuses(rows).await;
    gate.accepts(vec![("12", token.clone()), ("12", foreign)]).await;
}

#[tokio::test]
async fn class_13_json_with_one_reading() {
    let gate = Gate::new();
    let good = claims().to_string();
    let header = r#"{"alg":"ES256","kid":"p256"}"#;
    let sign = |header: &[u8], claims: &[u8]| {
        let message = format!("{}.{}", part(header), part(claims));
        let signature = crypto::sign(message.as_bytes(), &p256(), Algorithm::ES256).unwrap();
        format!("{message}.{signature}")
    };
    let deep = format!("{}1{}", "[".repeat(3000), "]".repeat(3000));
    let joined = |extra: &str| format!("{},{extra}}}", &good[..good.len() - 1]);
    let mut rows = Vec::new();
    for claims in [
        joined(r#""sub":"bob""#),
        joined(r#""\u0073ub":"bob""#),
        joined(r#""x":{"a":1,"a":2}"#),
        joined(&format!(r#""x":{deep}"#)),
        joined(r#""x":1e400"#),
        joined(r#""x":"\ud800""#),
        "[]".into(),
        "null".into(),
        format!("\"{}\"", good.escape_default()),
        format!("[{good}]"),
        format!("\u{feff}{good}"),
        format!("{good}x"),
        format!("{good}{good}"),
        format!("{good}\0"),
        good[..good.len() - 1].into(),
        String::new(),
    ] {
        rows.push(("13 claims", sign(header.as_bytes(), claims.as_bytes())));
    }
    for header in [
        r#"{"alg":"ES256","alg":"none","kid":"p256"}"#,
        r#"{"alg":"none","alg":"ES256","kid":"p256"}"#,
        r#"{"alg":"ES256","kid":"x","kid":"p256"}"#,
        r#"["ES256"]"#,
        "\u{feff}{\"alg\":\"ES256\",\"kid\":\"p256\"}",
        r#"{"alg":"ES256","kid":"p256"} x"#,
        "",
    ] {
        rows.push(("13 header", sign(header.as_bytes(), good.as_bytes())));
    }
    let mut invalid = joined(r#""x":"?""#).into_bytes();
    let place = invalid.iter().position(|b| *b == b'?').unwrap();
    invalid[place] = 0xFF;
    rows.push(("13 UTF-8", sign(header.as_bytes(), &invalid)));
    gate.refuses(rows).await;
    gate.accepts(vec![(
        "13 space",
        sign(b" {\"alg\" : \"ES256\",\n\"kid\":\"p256\"} ", format!("\n{good}\n").as_bytes()),
    )])
    .await;
}

#[tokio::test]
async fn class_14_encrypted_and_compressed_tokens() {
    let gate = Gate::new();
    let jwe = |header: &str| format!("{}.AAAA.AAAA.AAAA.AAAA", part(header));
    let pbes = r#"{"alg":"PBES2-HS512+A256KW","enc":"A256GCM","p2c":2147483648,"p2s":"AAAA"}"#;
    gate.refuses(vec![
        ("14 JWE", jwe(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#)),
        ("14 JWE dir", jwe(r#"{"alg":"dir","enc":"A256GCM","zip":"DEF"}"#)),
        ("14 PBES2", jwe(pbes)),
        ("14 PBES2 in three parts", rs256(pbes)),
        ("14 enc", rs256(r#"{"alg":"RS256","kid":"rsa","enc":"A256GCM"}"#)),
        ("14 zip", rs256(r#"{"alg":"RS256","kid":"rsa","zip":"DEF"}"#)),
        ("14 p2c", rs256(r#"{"alg":"RS256","kid":"rsa","p2c":2147483648}"#)),
    ])
    .await;
}

#[tokio::test]
async fn class_15_times() {
    let gate = Gate::new();
    let rows =
        |all: &[Value]| all.iter().map(|changes| ("15", es256(&with(changes.clone())))).collect::<Vec<_>>();
    let raw = |exp: &str| es256(&with(json!({ "exp": 12345 })).replace("12345", exp));
    let mut refused = rows(&[
        json!({ "exp": NOW - 300 }),
        json!({ "exp": NOW - 60 }),
        json!({ "exp": NOW as f64 - 60.5 }),
        json!({ "exp": null }),
        json!({ "exp": (NOW + 300).to_string() }),
        json!({ "exp": -1 }),
        json!({ "exp": -1.5e300 }),
        json!({ "exp": 0 }),
        json!({ "exp": [NOW + 300] }),
        json!({ "exp": true }),
        json!({ "nbf": NOW + 61 }),
        json!({ "nbf": (NOW - 1).to_string() }),
        json!({ "nbf": -1 }),
        json!({ "iat": NOW + 61 }),
        json!({ "iat": {} }),
    ]);
    refused.push(("15 1e400", raw("1e400")));
    refused.push(("15 -1e400", raw("-1e400")));
    refused.push(("15 NaN", raw("NaN")));
    refused.push(("15 null", raw("null")));
    gate.refuses(refused).await;
    gate.accepts(rows(&[
        json!({ "exp": NOW - 59 }),
        json!({ "exp": NOW as f64 - 59.5 }),
        json!({ "exp": NOW as f64 + 300.25 }),
        json!({ "exp": 1e300 }),
        json!({ "nbf": NOW + 60 }),
        json!({ "nbf": NOW as f64 + 0.5 }),
        json!({ "iat": NOW + 60 }),
        json!({ "iat": null }),
    ]))
    .await;
    let (_, challenge, _) = gate.bearer(&es256(&with(json!({ "exp": NOW - 300 })))).await;
    assert!(challenge.contains("`exp`"), "{challenge}");
    let (_, challenge, _) = gate.bearer(&es256(&with(json!({ "nbf": NOW + 300 })))).await;
    assert!(challenge.contains("`nbf`"), "{challenge}");
}

#[tokio::test]
async fn class_16_and_17_audience_issuer_and_type() {
    let gate = Gate::new();
    let rows =
        |all: &[Value]| all.iter().map(|changes| ("16", es256(&with(changes.clone())))).collect::<Vec<_>>();
    gate.refuses(rows(&[
        json!({ "aud": null }),
        json!({ "aud": "Pets" }),
        json!({ "aud": "other" }),
        json!({ "aud": "pets " }),
        json!({ "aud": [] }),
        json!({ "aud": ["other"] }),
        json!({ "aud": ["pets", 1] }),
        json!({ "aud": { "pets": 1 } }),
        json!({ "aud": 1 }),
        json!({ "iss": null }),
        json!({ "iss": "" }),
        json!({ "iss": "https://issuer.test/" }),
        json!({ "iss": "https://ISSUER.test" }),
        json!({ "iss": [ISSUER] }),
        json!({ "iss": "secret" }),
        json!({ "sub": 1 }),
        json!({ "sub": ["ann"] }),
        json!({ "scope": 1 }),
    ]))
    .await;
    gate.accepts(rows(&[
        json!({ "aud": ["other", "shop"] }),
        json!({ "aud": ["pets"] }),
        json!({ "sub": null }),
    ]))
    .await;
    let typed = |typ: &str| format!(r#"{{"alg":"RS256","kid":"rsa",{typ}}}"#);
    let mut refused: Vec<_> = ["dpop+jwt", "logout+jwt", "secevent+jwt", "JWE", "", "jose", "jwt+x"]
        .iter()
        .map(|typ| ("17 typ", rs256(&typed(&format!(r#""typ":"{typ}""#)))))
        .collect();
    for cty in ["JWT", "jwt", "application/jwt", "at+jwt"] {
        refused.push(("17 cty", rs256(&typed(&format!(r#""cty":"{cty}""#)))));
    }
    refused.push(("17 typ is no text", rs256(&typed(r#""typ":["JWT"]"#))));
    for header in [r#"{"alg":"RS256"}"#, r#"{"alg":"RS256","typ":"JWT"}"#] {
        refused.push(("17 not an access token", mint(header, &of("typed"), Algorithm::RS256, &rsa())));
    }
    gate.refuses(refused).await;
    let access =
        mint(r#"{"alg":"RS256","typ":"application/AT+jwt"}"#, &of("typed"), Algorithm::RS256, &rsa());
    gate.accepts(vec![
        ("17", rs256(&typed(r#""typ":"JWT""#))),
        ("17", rs256(&typed(r#""typ":"at+jwt""#))),
        ("17", access),
    ])
    .await;
}

#[tokio::test]
async fn class_18_large_tokens() {
    let gate = Gate::new();
    let sized = |size: usize| es256(&with(json!({ "pad": "x".repeat(size * 3 / 4) })));
    gate.refuses([8 << 10, 64 << 10, 1 << 20].map(|size| ("18", sized(size))).into()).await;
    gate.accepts(vec![("18", sized(7 << 10))]).await;
}

#[tokio::test]
async fn class_19_one_token_per_request() {
    let gate = Gate::new();
    let token = es256(&claims().to_string());
    let bearer = format!("Bearer {token}");
    let other = format!("Bearer {}", es256(&with(json!({ "sub": "bob" }))));
    let query = format!("a=1&access_token={token}");
    let invalid: [(&[&str], Option<&str>); 7] = [
        (&[&bearer, &bearer], None),
        (&[&bearer, &other], None),
        (&[&bearer, "Basic eDp5"], None),
        (&[&bearer], Some(&query)),
        (&[&bearer], Some("access%5Ftoken=x")),
        (&[&format!("Bearer\t{token}")], None),
        (&[&format!("Bearer {token}, Bearer {token}")], None),
    ];
    for (fields, query) in invalid {
        let (status, challenge, _) = gate.ask(fields, query).await;
        assert_eq!(status, 401, "{fields:?} {query:?}");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    }
    // Nothing that is a token: no error is told (RFC 6750, section 3.1).
    for (fields, query) in
        [(&["Basic eDp5"][..], None), (&[], None), (&[], Some(query.as_str())), (&["Bearerx"], None)]
    {
        let (status, challenge, _) = gate.ask(fields, query).await;
        assert_eq!((status, challenge.as_str()), (401, "Bearer realm=\"pets\""), "{fields:?} {query:?}");
    }
    for lawful in [format!("bearer {token}"), format!("BEARER   {token}"), format!("Bearer  {token}")] {
        assert_eq!(gate.ask(&[&lawful], None).await.0, 200, "{lawful}");
    }
}

#[tokio::test]
async fn class_20_a_remembered_token_ends_with_its_time_and_with_its_key() {
    let gate = Gate::new();
    let bearer = format!("Bearer {}", es256(&claims().to_string()));
    for (later, status) in [(0, 200), (359, 200), (360, 401)] {
        assert_eq!(gate.ask_at(NOW + later, &[&bearer], None).await.0, status, "{later}");
    }
    // The issuer takes the key away and publishes another one.
    let keys = json!({ "keys": [jwk(&p256(), Algorithm::ES256, "next", None)] });
    *gate.published.0.lock().unwrap() = Some(keys);
    assert_eq!(gate.ask(&[&bearer], None).await.0, 200, "nobody has looked yet");
    let next = mint(r#"{"alg":"ES256","kid":"next"}"#, &claims().to_string(), Algorithm::ES256, &p256());
    gate.accepts(vec![("20 the new key is fetched", next)]).await;
    assert_eq!(gate.ask(&[&bearer], None).await.0, 401);
}

#[tokio::test]
async fn gateway_mode_takes_tokens_of_the_issuers_too() {
    let gate = Gate::with_mode(Mode::Gateway);
    gate.accepts(vec![("no scope is demanded", es256(&with(json!({ "scope": null }))))]).await;
    gate.refuses(vec![
        ("expired", es256(&with(json!({ "exp": 1 })))),
        ("no key and no token", "nonsense".into()),
    ])
    .await;
}

#[tokio::test]
async fn scopes_are_demanded_and_callers_are_told_apart() {
    let gate = Gate::new();
    for scope in [json!({ "scope": "write" }), json!({ "scope": null }), json!({ "scope": "readonly" })] {
        let (status, challenge, _) = gate.bearer(&es256(&with(scope))).await;
        assert_eq!(status, 403);
        assert_eq!(challenge, "Bearer realm=\"pets\", error=\"insufficient_scope\", scope=\"read\"");
    }
    for scope in [
        json!({ "scope": "write  read" }),
        json!({ "scope": null, "scp": ["read"] }),
        json!({ "scp": "read" }),
    ] {
        assert_eq!(gate.bearer(&es256(&with(scope))).await.0, 200);
    }
    let caller = async |claims: String| gate.bearer(&es256(&claims)).await.2.caller.unwrap();
    let ann = caller(with(json!({ "jti": "1" }))).await;
    let again = caller(with(json!({ "jti": "2" }))).await;
    let bob = caller(with(json!({ "sub": "bob" }))).await;
    let (nobody, no_one) =
        (caller(with(json!({ "sub": null, "jti": 1 }))).await, caller(with(json!({ "sub": null }))).await);
    assert_eq!((&*ann.name, ann.consumer.is_some()), ("Ann", true));
    assert_eq!((&*bob.name, bob.consumer.is_some()), ("bob", false));
    assert_eq!(ann.partition, again.partition);
    let mut apart = vec![ann.partition, bob.partition, nobody.partition, no_one.partition];
    apart.sort_unstable();
    apart.dedup();
    assert_eq!(apart.len(), 4, "the cache must not join two callers");
    // The same `sub` of another issuer is somebody else.
    let other = mint(r#"{"alg":"RS256"}"#, &of("pem"), Algorithm::RS256, &rsa());
    let other = gate.bearer(&other).await.2.caller.unwrap();
    assert!(other.consumer.is_none());
    assert_ne!(other.partition, ann.partition);
}

#[tokio::test]
async fn what_cannot_verify_tokens_is_refused_at_start() {
    let sets = KeySets::new(Arc::<Published>::default(), None);
    let pem = |pem: &str| KeySource::PublicKey(pem.into());
    let algorithm = |name: &str| Config {
        algorithms: vec![name.into()],
        ..Config::new("a", pem(fixture!("rsa.pub.pem")))
    };
    let url = |url: &str| KeySource::Jwks(Source::Url(url.into()));
    let rows = [
        (Config::new("a", pem(fixture!("p521.pub.pem"))), "/0/public_key", "ES512"),
        (Config::new("a", pem(fixture!("ed448.pub.pem"))), "/0/public_key", "Ed25519"),
        (Config::new("a", pem(fixture!("rsa-1024.pub.pem"))), "/0/public_key", "too weak"),
        (Config::new("a", pem(fixture!("rsa.pem"))), "/0/public_key", "public key"),
        (Config::new("a", pem("nothing")), "/0/public_key", "public key"),
        (Config::new("a", KeySource::Secret("short".into())), "/0/secret", "too short"),
        (Config::new("", pem(fixture!("rsa.pub.pem"))), "/0/issuer", "`iss`"),
        (algorithm("ES512"), "/0/algorithms/0", "ES384"),
        (algorithm("Ed448"), "/0/algorithms/0", "Ed25519"),
        (algorithm("none"), "/0/algorithms/0", "proves nothing"),
        (algorithm("ES256"), "/0/algorithms", "fit for none"),
        (Config::new("a", url("ftp://a.test/jwks")), "/0/jwks", "URL"),
        (Config::new("a", url("jwks")), "/0/jwks", "URL"),
    ];
    for (config, pointer, words) in rows {
        let faults = Tokens::compile(&[config], &sets).unwrap_err();
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].place.pointer, pointer, "{}", faults[0].title);
        assert!(faults[0].title.contains(words), "{}", faults[0].title);
    }
    let twice = Config::new("a", KeySource::Secret(SECRET.into()));
    assert_eq!(
        Tokens::compile(&[twice.clone(), twice.clone()], &sets).unwrap_err()[0].place.pointer,
        "/1/issuer"
    );
    let open = Config::new("b", url("http://a.test/jwks"));
    let (_, warnings) = Tokens::compile(&[twice, open], &sets).unwrap();
    let slugs: Vec<_> = warnings.iter().map(|warning| warning.code.slug).collect();
    assert_eq!(slugs, ["issuer-without-audience", "issuer-without-audience", "issuer-plaintext"]);
}
