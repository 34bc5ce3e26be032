//! Who calls: consumers, API keys and tokens, as far as several policies need to know.
//!
//! Owns the people and their proofs, not the rules: which proof an operation demands is `security.rs`.

pub mod claims;
pub mod consumer;
pub mod issuer;
pub mod json;
pub mod jwk;
pub mod jws;
pub mod key;
pub mod keyfile;
pub mod keyset;
pub mod keystore;
pub mod token;

#[cfg(test)]
mod attacks;

pub use consumer::{Consumer, Consumers};
pub use keyset::KeySets;
pub use keystore::KeyStore;
pub use token::Tokens;

use std::sync::Arc;

/// A caller whose credentials were accepted.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The consumer the credential belongs to; a token's subject need not be one.
    pub consumer: Option<Arc<Consumer>>,
    /// The name for the log: the consumer's, else the token's subject.
    pub name: Arc<str>,
    /// Tells callers apart, in limits and in the cache: the same for all credentials of a consumer.
    pub partition: u128,
    /// Tells credentials apart: one per API key, one per subject of an issuer.
    pub credential: u128,
}

/// The id of something that has a name: 128 bits of BLAKE3 over its parts, each with its length before it.
pub(crate) fn id(parts: &[&str]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    id_of(&hasher)
}

/// 128 bits of what was hashed.
pub(crate) fn id_of(hasher: &blake3::Hasher) -> u128 {
    let hash = hasher.finalize();
    u128::from_le_bytes(*hash.as_bytes().first_chunk().expect("invariant: a hash has 32 bytes"))
}
