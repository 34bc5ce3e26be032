//! Tokens (stub, filled next).

use std::sync::Arc;

/// A token that was accepted.
#[derive(Debug)]
pub struct Verified {
    pub issuer: Arc<str>,
    /// `sub`, else the client.
    pub subject: Option<Arc<str>>,
    pub client: Option<Arc<str>>,
    pub scopes: Vec<String>,
    pub claims: serde_json::Map<String, serde_json::Value>,
    pub credential: u128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    Malformed,
    KeysUnavailable,
}

impl TokenRefusal {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        "the token is not valid"
    }
}

#[derive(Debug)]
pub struct Tokens {
    _private: (),
}

impl Tokens {
    #[expect(clippy::unused_async)]
    pub async fn verify(&self, _token: &[u8], _now_ms: u64) -> Result<Arc<Verified>, TokenRefusal> {
        Err(TokenRefusal::Malformed)
    }

    #[must_use]
    pub fn has_one_issuer(&self) -> bool {
        true
    }
}
