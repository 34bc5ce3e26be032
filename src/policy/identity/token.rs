//! Bearer tokens: which issuers are believed, and whether a token is theirs (RFC 7519, RFC 8725).
//!
//! Verification is `jsonwebtoken`'s; form ([`jws`]), keys ([`jwk`], [`keyset`]) and claims ([`claims`]) are
//! judged by stricter rules of our own. The algorithm comes from the key and the issuer's allow-list. A
//! token that was accepted is remembered by its hash until it expires or the issuer's keys change.
//!
//! [`jws`]: super::jws
//! [`jwk`]: super::jwk
//! [`keyset`]: super::keyset
//! [`claims`]: super::claims

use std::{collections::HashMap, sync::Arc};

use jsonwebtoken::crypto;
use quick_cache::sync::Cache;

use super::{
    claims,
    issuer::{Issuer, IssuerKeys},
    jwk::{Keys, Selection},
    jws::Jws,
};

/// Tokens remembered at most: about 5 MB.
const REMEMBERED: usize = 10_000;

/// A token that was accepted.
#[derive(Debug)]
pub struct Verified {
    pub issuer: Arc<str>,
    pub subject: Option<Arc<str>>,
    /// `client_id` or `azp`.
    pub client: Option<Arc<str>>,
    pub scopes: Vec<String>,
    /// Tells subjects of all issuers apart.
    pub credential: u128,
    /// Milliseconds since the epoch from which the token is refused.
    until_ms: u64,
    /// The version of the issuer's key set that verified it.
    version: u64,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    TooLarge,
    Form,
    Encoding,
    Json,
    Algorithm,
    Header,
    Type,
    Issuer,
    Key,
    Signature,
    Expired,
    /// `nbf` or `iat`.
    NotYet(&'static str),
    Missing(&'static str),
    Claim(&'static str),
    Audience,
    /// The issuer's keys were never read: nothing is known about the token.
    KeysUnavailable,
}

impl TokenRefusal {
    /// What the caller may read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "the token is too large",
            Self::Form => "the token does not have the three parts of a signed JWT",
            Self::Encoding => "a part of the token is not base64url",
            Self::Json => "a part of the token is not one unambiguous JSON object",
            Self::Algorithm => "the token's `alg` is not accepted",
            Self::Header => "the token's header asks for what is not supported",
            Self::Type => "the token is of another type (`typ`, `cty`)",
            Self::Issuer => "the token's issuer (`iss`) is not accepted",
            Self::Key => "no key of the issuer fits the token (`kid`, `alg`)",
            Self::Signature => "the token's signature does not fit",
            Self::Expired => "the token has expired (`exp`)",
            Self::NotYet("nbf") => "the token is not valid yet (`nbf`)",
            Self::NotYet(_) => "the token was issued in the future (`iat`)",
            Self::Missing("exp") => "the token has no expiry (`exp`)",
            Self::Missing("iss") => "the token has no issuer (`iss`)",
            Self::Missing(_) => "the token has no audience (`aud`)",
            Self::Claim("exp") => "the token's `exp` is not a time",
            Self::Claim("nbf") => "the token's `nbf` is not a time",
            Self::Claim("iat") => "the token's `iat` is not a time",
            Self::Claim(_) => "a claim of the token has the wrong form",
            Self::Audience => "the token is meant for another audience (`aud`)",
            Self::KeysUnavailable => "the keys of the token's issuer cannot be had",
        }
    }
}

/// The issuers that are believed.
#[derive(Debug)]
pub struct Tokens {
    issuers: HashMap<Arc<str>, Issuer>,
    remembered: Cache<[u8; 32], Arc<Verified>>,
}

impl Tokens {
    pub(super) fn new(issuers: impl IntoIterator<Item = Issuer>) -> Self {
        let issuers = issuers.into_iter().map(|issuer| (Arc::clone(&issuer.name), issuer)).collect();
        Self { issuers, remembered: Cache::new(REMEMBERED) }
    }

    /// Whether subjects need no issuer beside them to be told apart.
    #[must_use]
    pub fn has_one_issuer(&self) -> bool {
        self.issuers.len() == 1
    }

    /// Judges a token at `now_ms`. Waits a bounded time when a newer key set may have its key.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn verify(&self, token: &[u8], now_ms: u64) -> Result<Arc<Verified>, TokenRefusal> {
        let hash = *blake3::hash(token).as_bytes();
        if let Some(known) = self.remembered.get(&hash)
            && now_ms < known.until_ms
            && self.issuers.get(&known.issuer).is_some_and(|issuer| issuer.version() == known.version)
        {
            return Ok(known);
        }
        let jws = Jws::read(token)?;
        let issuer = self.issuers.get(claims::issuer(&jws.claims)?).ok_or(TokenRefusal::Issuer)?;
        if issuer.typ.is_some() && issuer.typ != jws.typ {
            return Err(TokenRefusal::Type);
        }
        let version = issuer.verify(&jws).await?;
        let claims = issuer.rules.check(&jws.claims, now_ms as f64 / 1000.0)?;
        let who = claims.subject.as_deref().or(claims.client.as_deref());
        let credential = match who {
            Some(who) => super::id(&["subject", &issuer.name, who]),
            None => u128::from_le_bytes(*hash.first_chunk().expect("invariant: a hash has 32 bytes")),
        };
        let verified = Arc::new(Verified {
            issuer: Arc::clone(&issuer.name),
            subject: claims.subject.map(Into::into),
            client: claims.client.map(Into::into),
            scopes: claims.scopes,
            credential,
            until_ms: (claims.until * 1000.0) as u64,
            version,
        });
        self.remembered.insert(hash, Arc::clone(&verified));
        Ok(verified)
    }
}

impl Issuer {
    /// The version of the keys that a token would be verified with.
    fn version(&self) -> u64 {
        match &self.keys {
            IssuerKeys::Fixed(_) => 1,
            IssuerKeys::Set(set) => set.load().version,
        }
    }

    /// Verifies the signature; the version of the keys that did it.
    async fn verify(&self, jws: &Jws<'_>) -> Result<u64, TokenRefusal> {
        if !self.algorithms.is_empty() && !self.algorithms.contains(&jws.algorithm) {
            return Err(TokenRefusal::Algorithm);
        }
        let set = match &self.keys {
            IssuerKeys::Fixed(keys) => {
                return verify_with(keys, jws).unwrap_or(Err(TokenRefusal::Key)).map(|()| 1);
            }
            IssuerKeys::Set(set) => set,
        };
        {
            let loaded = set.load();
            if let Some(outcome) = verify_with(&loaded.keys, jws) {
                return outcome.map(|()| loaded.version);
            }
        }
        set.refreshed().await;
        let loaded = set.load();
        match verify_with(&loaded.keys, jws) {
            Some(outcome) => outcome.map(|()| loaded.version),
            None if loaded.version == 0 => Err(TokenRefusal::KeysUnavailable),
            None => Err(TokenRefusal::Key),
        }
    }
}

/// `None` when a newer set may know the key.
fn verify_with(keys: &Keys, jws: &Jws<'_>) -> Option<Result<(), TokenRefusal>> {
    let key = match keys.select(jws.kid.as_deref(), jws.algorithm) {
        Selection::Found(key) => key,
        Selection::Unfit => return Some(Err(TokenRefusal::Key)),
        Selection::Unknown => return None,
    };
    match crypto::verify(jws.signature, jws.message.as_bytes(), &key.key, jws.algorithm) {
        Ok(true) => Some(Ok(())),
        Ok(false) | Err(_) => Some(Err(TokenRefusal::Signature)),
    }
}
