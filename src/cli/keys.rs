//! `gatewright keys`: through the admin API while a gateway runs, on its key store otherwise.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::{
    args::{Connect, KeysAction},
    connect::{self, Target},
};
use crate::{
    diagnostic::Diagnostic,
    exchange::now_ms,
    policy::identity::{KeyStore, keyfile::Record, keystore::NewKey},
};

/// Runs one action; gives back what to print.
pub fn keys(action: &KeysAction, connect: &Connect) -> Result<String, Diagnostic> {
    match (connect::find(connect)?, action) {
        (Target::Running(gateway), KeysAction::Add { consumer, expires }) => {
            let expires_ms = expiry(*expires);
            let created = gateway.call(
                Method::POST,
                "/keys",
                Some(&json!({ "consumer": consumer, "expires_ms": expires_ms })),
            )?;
            Ok(created_text(created["secret"].as_str().unwrap_or_default(), consumer))
        }
        (Target::Running(gateway), KeysAction::List) => {
            let keys = gateway.call(Method::GET, "/keys", None)?;
            Ok(table(keys.as_array().map(Vec::as_slice).unwrap_or_default()))
        }
        (Target::Running(gateway), KeysAction::Revoke { key }) => {
            let gone = gateway.call(Method::DELETE, &format!("/keys/{}", escaped(key)), None)?;
            Ok(revoked_text(gone["id"].as_str().unwrap_or(key)))
        }
        (Target::Stopped(dir), action) => {
            let store = KeyStore::open(&dir).map_err(|fault| *fault)?;
            offline(&store, action)
        }
    }
}

fn offline(store: &KeyStore, action: &KeysAction) -> Result<String, Diagnostic> {
    match action {
        KeysAction::Add { consumer, expires } => {
            let new = NewKey { expires_ms: expiry(*expires) };
            let (_, secret) = store.add(consumer, new, now_ms()).map_err(|fault| *fault)?;
            Ok(created_text(secret.reveal(), consumer))
        }
        KeysAction::List => Ok(table(&store.list().iter().map(row).collect::<Vec<_>>())),
        KeysAction::Revoke { key } => {
            let gone = store.revoke(key, now_ms()).map_err(|fault| *fault)?;
            Ok(revoked_text(&gone.id))
        }
    }
}

fn row(record: &Record) -> Value {
    json!({
        "id": record.id,
        "consumer": record.consumer,
        "created_ms": record.created_ms,
        "expires_ms": record.expires_ms,
        "revoked_ms": record.revoked_ms,
        "last_used_ms": record.last_used_ms,
    })
}

fn expiry(after: Option<Duration>) -> Option<u64> {
    after.map(|after| now_ms().saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)))
}

fn created_text(secret: &str, consumer: &str) -> String {
    format!(
        "{secret}\n\nThe key of `{consumer}`, shown this once. Callers send it as `X-API-Key` or `Authorization: Bearer`;\nunder `security: enforce` where the API's description says.\n"
    )
}

fn revoked_text(id: &str) -> String {
    format!("revoked {id}\n")
}

fn table(keys: &[Value]) -> String {
    if keys.is_empty() {
        return "no keys yet; `gatewright keys add NAME` makes one\n".to_owned();
    }
    let mut text = format!("{:14} {:20} {:17} {:17} {}\n", "ID", "CONSUMER", "CREATED", "LAST USED", "STATE");
    let now = now_ms();
    for key in keys {
        let word = |name: &str| key[name].as_str().unwrap_or_default();
        let time = |name: &str| key[name].as_u64();
        let state = match (time("revoked_ms"), time("expires_ms")) {
            (Some(at), _) => format!("revoked {}", date(at)),
            (None, Some(at)) if at <= now => format!("expired {}", date(at)),
            (None, Some(at)) => format!("until {}", date(at)),
            (None, None) => "active".to_owned(),
        };
        let used = time("last_used_ms").map_or_else(|| "never".to_owned(), date);
        let created = time("created_ms").map_or_else(String::new, date);
        text.push_str(&format!("{:14} {:20} {created:17} {used:17} {state}\n", word("id"), word("consumer")));
    }
    text
}

/// `2026-01-31 12:00` in UTC.
fn date(ms: u64) -> String {
    let http = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_millis(ms));
    // `Sun, 06 Nov 1994 08:49:37 GMT`
    let mut words = http.split(' ').skip(1);
    let (day, month, year, clock) = (words.next(), words.next(), words.next(), words.next());
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let number = months.iter().position(|name| Some(*name) == month).map_or(0, |index| index + 1);
    let clock = clock.unwrap_or_default();
    format!(
        "{}-{number:02}-{} {}",
        year.unwrap_or_default(),
        day.unwrap_or_default(),
        clock.get(..5).unwrap_or(clock)
    )
}

fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_shown_in_utc_by_size_of_unit() {
        assert_eq!(date(784_111_777_000), "1994-11-06 08:49");
    }

    #[test]
    fn keys_can_be_managed_without_a_gateway() {
        let dir = tempfile::tempdir().unwrap();
        let store = KeyStore::open(dir.path()).unwrap();
        let add = KeysAction::Add { consumer: "ada".into(), expires: Some(Duration::from_secs(3600)) };
        let text = offline(&store, &add).unwrap();
        assert!(text.starts_with("gw_"), "{text}");
        let list = offline(&store, &KeysAction::List).unwrap();
        assert!(list.contains("ada") && list.contains("until"), "{list}");
        let id = store.list()[0].id.clone();
        offline(&store, &KeysAction::Revoke { key: id }).unwrap();
        assert!(offline(&store, &KeysAction::List).unwrap().contains("revoked"));
    }
}
