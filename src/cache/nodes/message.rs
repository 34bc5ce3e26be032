//! A purge as it is written into the log that all nodes read. Pure.
//!
//! A message is JSON: `{"v":1,"purge":{…}}`, the purge in its own serde form. Nodes of different releases read one
//! log: what a reader does not understand to the last member it takes for the widest purge that may be meant.
//! So a release may add scopes and members under `purge` freely, as long as `host` narrows what it always did;
//! anything else takes a new `v`, which older readers take for a purge of everything.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cache::Purge;

/// The version that this release writes.
const VERSION: u64 = 1;

#[derive(Serialize, Deserialize)]
struct Message {
    v: u64,
    purge: Value,
}

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub purge: Purge,
    /// Whether it was understood in full; else the purge is wider than what was meant.
    pub understood: bool,
}

/// The message of a purge.
#[must_use]
pub fn write(purge: &Purge) -> Vec<u8> {
    let purge = serde_json::to_value(purge).expect("invariant: a purge has texts as keys");
    serde_json::to_vec(&Message { v: VERSION, purge }).expect("invariant: a purge has texts as keys")
}

/// Reads a message, whatever wrote it.
#[must_use]
pub fn read(message: &[u8]) -> Asked {
    let everything = Asked { purge: Purge::everything(), understood: false };
    let Ok(Message { v: VERSION, purge: written }) = serde_json::from_slice(message) else { return everything };
    if let Ok(purge) = Purge::deserialize(&written)
        // A member that was passed over may widen it.
        && serde_json::to_value(&purge).is_ok_and(|known| known == written)
    {
        return Asked { purge, understood: true };
    }
    match written.get("host") {
        None | Some(Value::Null) => everything,
        Some(Value::String(host)) => {
            let purge = Purge { host: Some(host.clone()), ..Purge::everything() };
            Asked { purge, understood: false }
        }
        Some(_) => everything,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Scope;

    #[test]
    fn a_purge_is_read_as_it_was_written() {
        let scopes = [Scope::All, Scope::Path("/pets/7".into()), Scope::Prefix("/ä\"/".into())];
        for scope in scopes {
            for host in [None, Some("a.test".to_owned())] {
                let purge = Purge { host, scope: scope.clone() };
                assert_eq!(read(&write(&purge)), Asked { purge, understood: true });
            }
        }
    }

    #[test]
    fn the_form_is_the_one_that_other_releases_read() {
        let purge = Purge { host: Some("a.test".into()), scope: Scope::Path("/x".into()) };
        let text = String::from_utf8(write(&purge)).unwrap();
        assert_eq!(text, r#"{"v":1,"purge":{"host":"a.test","scope":{"path":"/x"}}}"#);
        let text = String::from_utf8(write(&Purge::everything())).unwrap();
        assert_eq!(text, r#"{"v":1,"purge":{"scope":"all"}}"#);
    }

    #[test]
    fn what_is_not_understood_is_taken_for_the_widest_that_may_be_meant() {
        let of_host = Purge { host: Some("a.test".into()), ..Purge::everything() };
        for (text, purge) in [
            (r#"{"v":1,"purge":{"host":"a.test","scope":{"season":"winter"}}}"#, &of_host),
            (r#"{"v":1,"purge":{"host":"a.test","scope":{"path":"/x"},"also":["/y"]}}"#, &of_host),
            (r#"{"v":1,"purge":{"host":"a.test","scope":{"path":7}}}"#, &of_host),
            (r#"{"v":1,"purge":{"scope":{"season":"winter"}}}"#, &Purge::everything()),
            (r#"{"v":1,"purge":{"host":["a.test"],"scope":"all"}}"#, &Purge::everything()),
            (r#"{"v":2,"purge":{"host":"a.test","scope":{"path":"/x"}}}"#, &Purge::everything()),
            (r#"{"v":1}"#, &Purge::everything()),
            (r#"{"v":1,"purge":"#, &Purge::everything()),
            ("?", &Purge::everything()),
        ] {
            assert_eq!(read(text.as_bytes()), Asked { purge: purge.clone(), understood: false }, "{text}");
        }
    }
}
