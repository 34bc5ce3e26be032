//! A token's form: the JWS compact serialisation (RFC 7515, section 7.1), read strictly.
//!
//! Reads and refuses; trusts nothing of what it read. Names of keys and addresses in the header (`jku`,
//! `x5u`, `jwk`, `x5c`) are never followed or used. No cryptography here.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::{json, token::TokenRefusal};

/// A token must be shorter; larger ones are refused unread.
pub const MAX_LEN: usize = 8 * 1024;

/// A token whose form is right and whose content is not yet believed.
#[derive(Debug)]
pub struct Jws<'a> {
    pub algorithm: Algorithm,
    pub kid: Option<String>,
    /// Lower case, without `application/`.
    pub typ: Option<String>,
    pub claims: Map<String, Value>,
    /// What is signed: header, dot, payload.
    pub message: &'a str,
    /// In base64url.
    pub signature: &'a str,
}

impl<'a> Jws<'a> {
    /// Reads a token.
    ///
    /// # Errors
    /// What is wrong with its form.
    pub fn read(token: &'a [u8]) -> Result<Self, TokenRefusal> {
        if token.len() >= MAX_LEN {
            return Err(TokenRefusal::TooLarge);
        }
        let token = std::str::from_utf8(token).map_err(|_| TokenRefusal::Form)?;
        let mut parts = token.split('.');
        // Five parts would be a JWE.
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenRefusal::Form);
        };
        let header = json::object(&decode(header)?).ok_or(TokenRefusal::Json)?;
        let (algorithm, kid, typ) = read_header(&header)?;
        if decode(signature)?.is_empty() {
            return Err(TokenRefusal::Signature);
        }
        let claims = json::object(&decode(payload)?).ok_or(TokenRefusal::Json)?;
        let message = &token[..token.len() - signature.len() - 1];
        Ok(Self { algorithm, kid, typ, claims, message, signature })
    }
}

type Header = (Algorithm, Option<String>, Option<String>);

fn read_header(header: &Map<String, Value>) -> Result<Header, TokenRefusal> {
    let text = |name: &str| match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(TokenRefusal::Header),
    };
    // No extension is understood, so none may be critical (RFC 7515, section 4.1.11); an unencoded payload
    // (RFC 7797), compression and encryption are extensions that some readers take without `crit`.
    if ["crit", "b64", "zip", "enc", "p2c"].iter().any(|name| header.contains_key(*name)) {
        return Err(TokenRefusal::Header);
    }
    let algorithm = text("alg").map_err(|_| TokenRefusal::Algorithm)?.ok_or(TokenRefusal::Algorithm)?;
    let algorithm = algorithm.parse().map_err(|_| TokenRefusal::Algorithm)?;
    let media = |text: String| {
        let text = text.to_ascii_lowercase();
        text.strip_prefix("application/").map_or_else(|| text.clone(), str::to_owned)
    };
    let typ = text("typ")?.map(media);
    // A token of another kind that the same issuer signs (RFC 8725, section 3.11), or a nested one.
    let nested = text("cty")?.map(media).is_some_and(|cty| cty == "jwt" || cty.ends_with("+jwt"));
    if nested || !matches!(typ.as_deref(), None | Some("jwt" | "at+jwt")) {
        return Err(TokenRefusal::Type);
    }
    Ok((algorithm, text("kid")?, typ))
}

/// base64url without padding and without stray bits: one text per value.
fn decode(part: &str) -> Result<Vec<u8>, TokenRefusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefusal::Encoding)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(token in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Jws::read(&token);
        }

        #[test]
        fn no_parts_make_the_reader_panic(header in r#"\{("[a-z]{2,4}":("[A-Z0-9]{0,5}"|[0-9]|null),?){0,4}\}"#, rest in "\\PC{0,20}") {
            let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
            let _ = Jws::read(format!("{}.{}.{}", part(&header), part(&rest), part("x")).as_bytes());
        }
    }
}
