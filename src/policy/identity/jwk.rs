//! Keys that verify tokens: JSON Web Key Sets (RFC 7517, RFC 7518 section 6, RFC 8037), PEM, secrets.
//!
//! A key brings its algorithms with it; a token only chooses among them. Keys that are weak, private,
//! meant for encryption or of an algorithm that cannot be verified here are left out and named.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, jwk::Jwk};
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::json;

/// More keys than any issuer has at once.
const MAX_KEYS: usize = 100;

/// A public key or secret, and what it may verify.
#[derive(Clone, Debug)]
pub struct VerifyKey {
    pub kid: Option<String>,
    pub algorithms: SmallVec<[Algorithm; 6]>,
    pub key: DecodingKey,
}

/// The usable keys of a set, and why the others are not.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    pub usable: Vec<VerifyKey>,
    /// For the log: a sentence per key that was left out.
    pub left_out: Vec<String>,
    /// Tells one content of a set from another.
    pub fingerprint: Option<blake3::Hash>,
}

/// The outcome of looking for a token's key.
#[derive(Debug)]
pub enum Selection<'a> {
    Found(&'a VerifyKey),
    /// A newer set may have it.
    Unknown,
    /// None fits, or more than one does.
    Unfit,
}

impl Keys {
    /// Reads a key set.
    ///
    /// # Errors
    /// The text is no key set at all.
    pub fn from_jwks(text: &[u8]) -> Result<Self, String> {
        let set = json::object(text).ok_or_else(|| {
            let html = text.trim_ascii_start().first() == Some(&b'<');
            let what = if html { "HTML or XML" } else { "not a JSON object, or one that is ambiguous" };
            format!("expected a JSON Web Key Set, found what is {what}")
        })?;
        let Some(Value::Array(all)) = set.get("keys") else {
            return Err(String::from("expected a JSON Web Key Set: it has no array `keys`"));
        };
        let mut keys = Self { fingerprint: Some(blake3::hash(text)), ..Self::default() };
        for (index, jwk) in all.iter().take(MAX_KEYS).enumerate() {
            match jwk.as_object().ok_or("it is not an object").and_then(VerifyKey::from_jwk) {
                Ok(key) => keys.usable.push(key),
                Err(why) => keys.left_out.push(format!("key {index} is not used: {why}")),
            }
        }
        if all.len() > MAX_KEYS {
            keys.left_out.push(format!("keys after the first {MAX_KEYS} are not used"));
        }
        Ok(keys)
    }

    /// One key that does not change.
    #[must_use]
    pub fn of(key: VerifyKey) -> Self {
        Self { usable: vec![key], ..Self::default() }
    }

    /// The key for a token with this `kid` and algorithm; a key without `kid` fits every `kid` that no key has.
    #[must_use]
    pub fn select(&self, kid: Option<&str>, algorithm: Algorithm) -> Selection<'_> {
        let named = |key: &&VerifyKey| key.kid.is_some() && key.kid.as_deref() == kid;
        let mut candidates: SmallVec<[&VerifyKey; 4]> = self.usable.iter().filter(named).collect();
        if candidates.is_empty() {
            // Without `kid` only a lone key is beyond doubt.
            let alone = self.usable.len() == 1;
            let fits = |key: &&VerifyKey| key.kid.is_none() || (kid.is_none() && alone);
            candidates = self.usable.iter().filter(fits).collect();
            if candidates.is_empty() && (kid.is_some() || self.usable.is_empty()) {
                return Selection::Unknown;
            }
        }
        let mut fitting = candidates.into_iter().filter(|key| key.algorithms.contains(&algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Selection::Found(key),
            _ => Selection::Unfit,
        }
    }
}

impl VerifyKey {
    /// A shared secret, for the HMAC algorithms whose hash is not longer (RFC 7518, section 3.2).
    ///
    /// # Errors
    /// The secret is too short.
    pub fn from_secret(secret: &[u8]) -> Result<Self, &'static str> {
        let all = [(32, Algorithm::HS256), (48, Algorithm::HS384), (64, Algorithm::HS512)];
        let fitting = all.into_iter().filter(|(len, _)| secret.len() >= *len).map(|(_, algorithm)| algorithm);
        let algorithms: SmallVec<[Algorithm; 6]> = fitting.collect();
        if algorithms.is_empty() {
            return Err("the secret is too short: HS256 needs at least 32 bytes");
        }
        Ok(Self { kid: None, algorithms, key: DecodingKey::from_secret(secret) })
    }

    /// A public key in PEM.
    ///
    /// # Errors
    /// It is not a public key, or not one that can be used.
    pub fn from_pem(pem: &str) -> Result<Self, &'static str> {
        if !["BEGIN PUBLIC KEY", "BEGIN RSA PUBLIC KEY"].iter().any(|start| pem.contains(start)) {
            return Err("expected a public key in PEM (`-----BEGIN PUBLIC KEY-----`)");
        }
        let pem = pem.as_bytes();
        let key = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem))
            .map_err(|_| "the public key is neither RSA nor EC nor Ed25519")?;
        // The same checks as for a key of a set.
        let jwk = Jwk::from_decoding_key(&key, None).map_err(|_| UNSUPPORTED_CURVE)?;
        let jwk = serde_json::to_value(jwk).map_err(|_| "the public key cannot be read")?;
        Self::from_jwk(jwk.as_object().ok_or("the public key cannot be read")?)
    }

    /// Leaves only algorithms that are in `allowed`; false when none is left.
    pub fn restrict(&mut self, allowed: &[Algorithm]) -> bool {
        self.algorithms.retain(|algorithm| allowed.contains(algorithm));
        !self.algorithms.is_empty()
    }

    fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, &'static str> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"].iter().any(|name| jwk.contains_key(*name)) {
            return Err("it holds a private or secret key, which must not be published");
        }
        if jwk.get("use").is_some_and(|u| u.as_str() != Some("sig")) {
            return Err("its `use` is not `sig`");
        }
        let verifies = |ops: &Vec<Value>| ops.iter().any(|op| op.as_str() == Some("verify"));
        if jwk.get("key_ops").is_some_and(|ops| !ops.as_array().is_some_and(verifies)) {
            return Err("its `key_ops` do not have `verify`");
        }
        let bytes = |name: &str| {
            let decoded = text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
            decoded.ok_or("a part of the key is missing or not base64url")
        };
        let mut key = match text("kty") {
            Some("RSA") => Self::rsa(&bytes("n")?, &bytes("e")?)?,
            Some("EC") => Self::ec(text("crv"), &bytes("x")?, &bytes("y")?)?,
            Some("OKP") if text("crv") == Some("Ed25519") => Self::ed25519(&bytes("x")?)?,
            Some("OKP") => return Err(UNSUPPORTED_CURVE),
            _ => return Err("its `kty` is not RSA, EC or OKP"),
        };
        match jwk.get("alg") {
            None => {}
            Some(alg) => {
                let alg = alg.as_str().and_then(|alg| alg.parse().ok()).ok_or(UNSUPPORTED_ALGORITHM)?;
                if !key.restrict(&[alg]) {
                    return Err("its `alg` does not fit its `kty`");
                }
            }
        }
        key.kid = match jwk.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err("its `kid` is not a string"),
        };
        Ok(key)
    }

    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, &'static str> {
        let n = &n[n.iter().take_while(|b| **b == 0).count()..];
        let bits = n.len() * 8 - n.first().map_or(0, |b| b.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err("the RSA key is too weak or too large: 2048 to 8192 bits are accepted");
        }
        let e = &e[e.iter().take_while(|b| **b == 0).count()..];
        let odd = n.last().is_some_and(|b| b % 2 == 1) && e.last().is_some_and(|b| b % 2 == 1);
        if !odd || e == [1] || e.len() > 4 {
            return Err("the RSA key's modulus or exponent is not sane");
        }
        let algorithms = AlgorithmFamily::Rsa.algorithms().into();
        Ok(Self { kid: None, algorithms, key: DecodingKey::from_rsa_raw_components(n, e) })
    }

    fn ec(curve: Option<&str>, x: &[u8], y: &[u8]) -> Result<Self, &'static str> {
        let (len, algorithm) = match curve {
            Some("P-256") => (32, Algorithm::ES256),
            Some("P-384") => (48, Algorithm::ES384),
            _ => return Err(UNSUPPORTED_CURVE),
        };
        if x.len() != len || y.len() != len {
            return Err("its coordinates have not the length of its curve");
        }
        let point = [&[4], x, y].concat();
        let algorithms = [algorithm].into_iter().collect();
        Ok(Self { kid: None, algorithms, key: DecodingKey::from_ec_der(&point) })
    }

    fn ed25519(x: &[u8]) -> Result<Self, &'static str> {
        if x.len() != 32 {
            return Err("an Ed25519 key has 32 bytes");
        }
        let algorithms = [Algorithm::EdDSA].into_iter().collect();
        Ok(Self { kid: None, algorithms, key: DecodingKey::from_ed_der(x) })
    }
}

/// Reads a configured algorithm.
///
/// # Errors
/// It cannot be verified here.
pub fn algorithm(name: &str) -> Result<Algorithm, String> {
    name.parse().map_err(|_| {
        let instead = match name {
            "ES512" => "; use ES256 or ES384",
            "Ed448" => "; use EdDSA with an Ed25519 key",
            "none" => "; a token without a signature proves nothing",
            _ => "",
        };
        format!("the algorithm `{}` cannot be verified here{instead}", name.escape_debug())
    })
}

const UNSUPPORTED_ALGORITHM: &str = "its `alg` cannot be verified here (RS, PS and ES256/384, EdDSA can)";
const UNSUPPORTED_CURVE: &str =
    "its curve cannot be used here (P-256, P-384 and Ed25519 can; ES512 and Ed448 cannot)";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn x(len: usize) -> String {
        URL_SAFE_NO_PAD.encode(vec![1; len])
    }

    fn ec(changes: &Value) -> Value {
        let mut jwk = json!({ "kty": "EC", "crv": "P-256", "kid": "a", "x": x(32), "y": x(32) });
        for (name, value) in changes.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    }

    fn read(keys: &Value) -> Keys {
        Keys::from_jwks(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_key_is_used_for_its_own_algorithms_alone() {
        use Algorithm::*;
        let rsa = json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode([255; 256]), "e": "AQAB", "use": "sig" });
        let ed = json!({ "kty": "OKP", "crv": "Ed25519", "x": x(32), "key_ops": ["verify"] });
        let rows = [
            (ec(&json!({})), vec![ES256]),
            (ec(&json!({ "alg": "ES256" })), vec![ES256]),
            (ec(&json!({ "crv": "P-384", "x": x(48), "y": x(48) })), vec![ES384]),
            (rsa, vec![RS256, RS384, RS512, PS256, PS384, PS512]),
            (ed, vec![EdDSA]),
        ];
        for (jwk, algorithms) in rows {
            let keys = read(&json!([jwk]));
            assert_eq!(keys.usable.len(), 1, "{:?}", keys.left_out);
            assert_eq!(keys.usable[0].algorithms.to_vec(), algorithms, "{jwk}");
        }
    }

    #[test]
    fn what_is_weak_private_or_foreign_is_left_out_and_the_rest_is_kept() {
        let rsa = |n: &[u8], e: &str| json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode(n), "e": e });
        let rows = [
            ec(&json!({ "d": x(32) })),
            json!({ "kty": "oct", "k": x(64) }),
            ec(&json!({ "use": "enc" })),
            ec(&json!({ "use": 1 })),
            ec(&json!({ "key_ops": ["sign"] })),
            ec(&json!({ "key_ops": "verify" })),
            ec(&json!({ "alg": "ES384" })),
            ec(&json!({ "alg": "RS256" })),
            ec(&json!({ "alg": "ES512" })),
            ec(&json!({ "alg": null })),
            ec(&json!({ "kid": 1 })),
            ec(&json!({ "crv": "P-521", "x": x(66), "y": x(66) })),
            ec(&json!({ "crv": "secp256k1" })),
            ec(&json!({ "x": x(31) })),
            ec(&json!({ "x": "+/==" })),
            ec(&json!({ "y": null })),
            json!({ "kty": "OKP", "crv": "Ed448", "x": x(57) }),
            json!({ "kty": "OKP", "crv": "X25519", "x": x(32) }),
            json!({ "kty": "OKP", "crv": "Ed25519", "x": x(31) }),
            rsa(&[255; 128], "AQAB"),
            rsa(&[[0; 128], [255; 128]].concat(), "AQAB"),
            rsa(&[255; 1025], "AQAB"),
            rsa(&[254; 256], "AQAB"),
            rsa(&[255; 256], "AQ"),
            rsa(&[255; 256], "Ag"),
            rsa(&[255; 256], ""),
            rsa(&[], "AQAB"),
            json!({}),
            json!("key"),
        ];
        for jwk in rows {
            let keys = read(&json!([jwk.clone(), ec(&json!({ "kid": "good" }))]));
            assert_eq!((keys.usable.len(), keys.left_out.len()), (1, 1), "{jwk}");
            assert_eq!(keys.usable[0].kid.as_deref(), Some("good"));
        }
    }

    #[test]
    fn what_is_no_key_set_is_an_error_that_says_what_was_found() {
        for (text, words) in [
            ("<!doctype html>", "HTML"),
            ("", "not a JSON object"),
            ("{\"keys\":[],\"keys\":[]}", "ambiguous"),
            ("{\"jwks\":[]}", "no array `keys`"),
            ("{\"keys\":{}}", "no array `keys`"),
        ] {
            let error = Keys::from_jwks(text.as_bytes()).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        let many = read(&Value::Array(vec![ec(&json!({})); 101]));
        assert_eq!((many.usable.len(), many.left_out.len()), (100, 1));
    }
}
