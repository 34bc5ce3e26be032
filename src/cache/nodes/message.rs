//! What one node tells the others, as it is written into the log that all read. Pure.
//!
//! A message is JSON: `{"v":1,"purge":{…}}`, the purge in its own serde form, or `{"v":1,"changed":[["host",
//! "/path"],…]}`, the paths that unsafe methods changed. Nodes of different releases read one log: what a reader
//! does not understand to the last member it takes for the widest purge that may be meant. So a release may add
//! scopes and members under `purge` freely, as long as `host` narrows what it always did; anything else takes a
//! new `v`, which older readers take for a purge of everything.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{cache::Purge, shared::MAX_MESSAGE};

/// The version that this release writes.
const VERSION: u64 = 1;

/// Host and canonical path, all queries and variants of it.
pub type Place = (String, String);

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Purge(Purge),
    /// Unsafe methods changed what is there (RFC 9111, section 4.4).
    Changed(Vec<Place>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    v: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purge: Option<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changed: Vec<Place>,
}

/// What a message tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub news: News,
    /// Whether it was understood in full; else the purge is wider than what was meant.
    pub understood: bool,
}

impl News {
    /// Its message. One that would be larger than the log takes becomes a wider purge.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let message = match self {
            Self::Purge(purge) => {
                let written = serde_json::to_value(purge).expect("invariant: a purge has texts as keys");
                Message { v: VERSION, purge: Some(written), changed: Vec::new() }
            }
            Self::Changed(places) => Message { v: VERSION, purge: None, changed: places.clone() },
        };
        let text = serde_json::to_vec(&message).expect("invariant: a message has texts as keys");
        if text.len() <= MAX_MESSAGE { text } else { Self::Purge(self.widened()).write() }
    }

    /// The next wider purge.
    fn widened(&self) -> Purge {
        match self {
            Self::Purge(Purge { host: Some(host), scope, stale_at_ms })
                if host.len() < MAX_MESSAGE / 8 && *scope != Purge::everything().scope =>
            {
                Purge { host: Some(host.clone()), stale_at_ms: *stale_at_ms, ..Purge::everything() }
            }
            Self::Purge(_) | Self::Changed(_) => Purge::everything(),
        }
    }
}

/// Reads a message, whatever wrote it.
#[must_use]
pub fn read(message: &[u8]) -> Told {
    let wider = |purge| Told { news: News::Purge(purge), understood: false };
    let known = |news| Told { news, understood: true };
    match serde_json::from_slice(message) {
        Ok(Message { v: VERSION, purge: None, changed }) if !changed.is_empty() => {
            known(News::Changed(changed))
        }
        Ok(Message { v: VERSION, purge: Some(written), changed }) if changed.is_empty() => {
            if let Ok(purge) = Purge::deserialize(&written)
                // A member that was passed over may widen it.
                && serde_json::to_value(&purge).is_ok_and(|known| known == written)
            {
                return known(News::Purge(purge));
            }
            match written.get("host") {
                Some(Value::String(host)) => wider(Purge { host: Some(host.clone()), ..Purge::everything() }),
                _ => wider(Purge::everything()),
            }
        }
        _ => wider(Purge::everything()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Bound, Scope};

    fn understood(news: News) -> Told {
        Told { news, understood: true }
    }

    #[test]
    fn a_purge_is_read_as_it_was_written() {
        let bound = Bound {
            template: "/pets/{id}".into(),
            spans: vec!["id".into()],
            values: vec![("id".into(), "7%2F8".into())],
        };
        let scopes = [
            Scope::All,
            Scope::Url { path: "/pets".into(), query: u64::MAX },
            Scope::Path("/pets/7".into()),
            Scope::Prefix("/ä\"/".into()),
            Scope::Template("/pets/{id}".into()),
            Scope::Api("pets".into()),
            Scope::Operation { api: "pets".into(), operation: "get".into(), bound: None },
            Scope::Operation { api: "pets".into(), operation: "get".into(), bound: Some(bound) },
            Scope::Tags(vec!["a b".into(), "c".into()]),
        ];
        for scope in scopes {
            for host in [None, Some("a.test")] {
                let purge = Purge::hard(host, scope.clone());
                for purge in [purge.clone().softly(1_700_000_000_123), purge] {
                    assert_eq!(read(&News::Purge(purge.clone()).write()), understood(News::Purge(purge)));
                }
            }
        }
        let changed =
            News::Changed(vec![("a.test".into(), "/x".into()), ("b.test".into(), "/\u{7f}\"".into())]);
        assert_eq!(read(&changed.write()), understood(changed));
    }

    #[test]
    fn the_form_is_the_one_that_other_releases_read() {
        let text = |news: News| String::from_utf8(news.write()).unwrap();
        let purge = Purge::hard(Some("a.test"), Scope::Path("/x".into()));
        assert_eq!(
            text(News::Purge(purge.clone())),
            r#"{"v":1,"purge":{"host":"a.test","scope":{"path":"/x"}}}"#
        );
        assert_eq!(
            text(News::Purge(purge.softly(7))),
            r#"{"v":1,"purge":{"host":"a.test","scope":{"path":"/x"},"stale_at_ms":7}}"#
        );
        assert_eq!(text(News::Purge(Purge::everything())), r#"{"v":1,"purge":{"scope":"all"}}"#);
        let changed = News::Changed(vec![("a.test".into(), "/x".into())]);
        assert_eq!(text(changed), r#"{"v":1,"changed":[["a.test","/x"]]}"#);
    }

    #[test]
    fn what_is_too_large_is_told_as_a_wider_purge() {
        let tags = || Scope::Tags((0..MAX_MESSAGE / 8).map(|i| format!("tag-{i}")).collect());
        let long = "x".repeat(MAX_MESSAGE);
        for (purge, told) in [
            (Purge::hard(None, tags()), Purge::everything()),
            (
                Purge::hard(Some("a.test"), tags()).softly(7),
                Purge::hard(Some("a.test"), Scope::All).softly(7),
            ),
            (Purge::hard(Some(&long), Scope::All), Purge::everything()),
            (Purge::hard(Some(&long), tags()), Purge::everything()),
        ] {
            let message = News::Purge(purge).write();
            assert!(message.len() <= MAX_MESSAGE);
            assert_eq!(read(&message), understood(News::Purge(told)));
        }
        let changed = News::Changed(vec![("a.test".into(), long)]).write();
        assert_eq!(read(&changed), understood(News::Purge(Purge::everything())));
    }

    #[test]
    fn what_is_not_understood_is_taken_for_the_widest_that_may_be_meant() {
        let of_host = Purge::hard(Some("a.test"), Scope::All);
        for (text, purge) in [
            (r#"{"v":1,"purge":{"host":"a.test","scope":{"season":"winter"}}}"#, &of_host),
            (r#"{"v":1,"purge":{"host":"a.test","scope":{"path":"/x"},"also":["/y"]}}"#, &of_host),
            (r#"{"v":1,"purge":{"host":"a.test","scope":{"path":7}}}"#, &of_host),
            (r#"{"v":1,"purge":{"host":"a.test","scope":"all","stale_at_ms":-1}}"#, &of_host),
            (r#"{"v":1,"purge":{"scope":{"season":"winter"}}}"#, &Purge::everything()),
            (r#"{"v":1,"purge":{"host":["a.test"],"scope":"all"}}"#, &Purge::everything()),
            (r#"{"v":2,"purge":{"host":"a.test","scope":{"path":"/x"}}}"#, &Purge::everything()),
            (r#"{"v":1,"purge":{"host":"a.test","scope":{"path":"/x"}},"and":1}"#, &Purge::everything()),
            (r#"{"v":1,"purge":{"scope":"all"},"changed":[["a.test","/x"]]}"#, &Purge::everything()),
            (r#"{"v":1,"changed":[["a.test","/x","GET"]]}"#, &Purge::everything()),
            (r#"{"v":1,"changed":[["a.test"]]}"#, &Purge::everything()),
            (r#"{"v":1,"changed":[]}"#, &Purge::everything()),
            (r#"{"v":1}"#, &Purge::everything()),
            (r#"{"v":1,"purge":"#, &Purge::everything()),
            (r#""v""#, &Purge::everything()),
            ("?", &Purge::everything()),
        ] {
            let wide = Told { news: News::Purge(purge.clone()), understood: false };
            assert_eq!(read(text.as_bytes()), wide, "{text}");
        }
    }
}
