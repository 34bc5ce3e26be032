//! What an API key looks like and how it is hashed.
//!
//! `gw_` + 8 characters that stay visible (the key's id) + `_` + 32 secret characters + 6 check characters,
//! all of base 62. The secret has 190 bits, so a fast hash is enough to store it; the hash is keyed with a
//! salt of the store, so that equal keys of two stores look different. The check characters let secret
//! scanners and people find a mistyped key.

use std::fmt;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const START: &str = "gw_";
const ID_LEN: usize = 8;
const SECRET_LEN: usize = 32;
const CHECK_LEN: usize = 6;
const LEN: usize = START.len() + ID_LEN + 1 + SECRET_LEN + CHECK_LEN;

/// Longer ones are refused unread.
pub const MAX_LEN: usize = 512;

/// A key in full: shown once, to whoever made it, and never kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A new key with random id and secret.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut text = format!("{START}{}_{}", random(ID_LEN)?, random(SECRET_LEN)?);
        text.push_str(&check(&text));
        Ok(Self(text))
    }

    /// The visible part that names the key in lists and logs.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0[START.len()..START.len() + ID_LEN]
    }

    /// The whole key, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// A secret must not reach a log by accident.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{START}{}_[redacted]", self.id())
    }
}

/// Whether `key` has the form of a generated key but not its check characters.
#[must_use]
pub fn is_mistyped(key: &[u8]) -> bool {
    let Some(text) = std::str::from_utf8(key).ok().filter(|text| text.starts_with(START)) else {
        return false;
    };
    let body = text.len().checked_sub(CHECK_LEN).and_then(|end| text.split_at_checked(end));
    text.len() == LEN && body.is_some_and(|(body, given)| check(body) != given)
}

/// The stored form of a key.
#[must_use]
pub fn hash(salt: &[u8; 32], key: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(salt, key).as_bytes()
}

fn check(body: &str) -> String {
    let mut rest = super::id(&["gatewright key check", body]);
    let mut digits = || {
        let digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
        char::from(digit)
    };
    (0..CHECK_LEN).map(|_| digits()).collect()
}

fn random(len: usize) -> Result<String, getrandom::Error> {
    let mut text = String::with_capacity(len);
    let mut bytes = [0; 64];
    while text.len() < len {
        getrandom::fill(&mut bytes)?;
        // 248 is the largest multiple of 62 in a byte: what lies above would favour the first digits.
        let digits = bytes.iter().filter(|b| **b < 248).map(|b| char::from(ALPHABET[usize::from(b % 62)]));
        text.extend(digits.take(len - text.len()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_has_its_form_and_two_differ() {
        let (a, b) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert_eq!(a.reveal().len(), LEN);
        assert!(a.reveal().starts_with(&format!("gw_{}_", a.id())));
        assert_ne!(a, b);
        assert!(!is_mistyped(a.reveal().as_bytes()));
        assert!(!format!("{a:?}").contains(&a.reveal()[LEN - 20..]));
    }

    #[test]
    fn one_wrong_character_is_noticed_and_a_foreign_key_is_not_judged() {
        let key = Secret::generate().unwrap();
        let mut wrong = key.reveal().as_bytes().to_vec();
        wrong[20] = if wrong[20] == b'x' { b'y' } else { b'x' };
        assert!(is_mistyped(&wrong));
        assert!(!is_mistyped(b"gw_short"));
        assert!(!is_mistyped(b"something-else-altogether"));
        assert!(!is_mistyped(&[b'\xff'; LEN]));
    }
}
