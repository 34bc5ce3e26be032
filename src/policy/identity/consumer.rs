//! Consumers: the named callers of one generation, from the configuration and from the key store.

use std::{collections::HashMap, sync::Arc};

use super::{
    Caller, id,
    key::{self, MAX_LEN},
    keystore::{KeyRefusal, KeyStore},
};
use crate::{
    diagnostic::{Diagnostic, codes},
    policy::Fault,
};

/// Shorter keys can be guessed.
const MIN_KEY_LEN: usize = 16;

/// A named caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    pub name: Arc<str>,
    pub groups: Vec<String>,
    /// Tells this consumer from all others.
    pub id: u128,
}

impl Consumer {
    /// A consumer that has only a name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), groups: Vec::new(), id: id(&["consumer", name]) }
    }
}

/// A consumer as configured.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub name: String,
    pub groups: Vec<String>,
    /// Keys beside those of the key store, in full (from the environment or a file).
    pub keys: Vec<String>,
    pub subjects: Vec<Subject>,
}

/// A token's subject (`sub`) or client (`client_id`, `azp`) that is a consumer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// Needed where several issuers are configured: a subject is unique only with its issuer.
    pub issuer: Option<String>,
    pub subject: String,
}

/// All consumers of a generation.
#[derive(Debug)]
pub struct Consumers {
    store: Arc<KeyStore>,
    salt: [u8; 32],
    by_name: HashMap<Arc<str>, Arc<Consumer>>,
    by_key: HashMap<[u8; 32], Caller>,
    by_subject: HashMap<Subject, Arc<Consumer>>,
}

impl Consumers {
    /// Checks the configured consumers and joins them with those of the store, which stay live.
    ///
    /// # Errors
    /// All that is wrong: names, keys and subjects must be unique and sane.
    pub fn compile(configs: &[Config], store: &Arc<KeyStore>) -> Result<Self, Vec<Fault>> {
        let mut consumers = Self {
            store: Arc::clone(store),
            salt: store.salt(),
            by_name: HashMap::new(),
            by_key: HashMap::new(),
            by_subject: HashMap::new(),
        };
        let mut faults = Vec::new();
        for (index, config) in configs.iter().enumerate() {
            consumers.add(index, config, &mut faults);
        }
        if faults.is_empty() { Ok(consumers) } else { Err(faults) }
    }

    fn add(&mut self, index: usize, config: &Config, faults: &mut Vec<Fault>) {
        let mut fault = |pointer: String, title: String| {
            let mut fault = Diagnostic::error(codes::CONSUMER_INVALID, title);
            fault.place.pointer = pointer;
            faults.push(Box::new(fault));
        };
        if let Err(why) = check_name(&config.name) {
            return fault(format!("/{index}/name"), why);
        }
        let name = config.name.as_str();
        let consumer = Arc::new(Consumer { groups: config.groups.clone(), ..Consumer::named(name) });
        if self.by_name.insert(Arc::clone(&consumer.name), Arc::clone(&consumer)).is_some() {
            fault(format!("/{index}/name"), format!("two consumers have the name `{name}`"));
        }
        for (i, text) in config.keys.iter().enumerate() {
            let at = format!("/{index}/keys/{i}");
            if !(MIN_KEY_LEN..=MAX_LEN).contains(&text.len()) {
                fault(at, format!("a key has {MIN_KEY_LEN} to {MAX_LEN} characters"));
                continue;
            }
            let hash = key::hash(&self.salt, text.as_bytes());
            let credential =
                u128::from_le_bytes(*hash.first_chunk().expect("invariant: a hash has 32 bytes"));
            if self.by_key.insert(hash, Caller { credential, ..caller(&consumer) }).is_some() {
                fault(at, String::from("the same key stands twice"));
            }
        }
        for (i, subject) in config.subjects.iter().enumerate() {
            let at = format!("/{index}/subjects/{i}");
            if subject.subject.is_empty() {
                fault(at, String::from("a subject is not empty"));
            } else if self.by_subject.insert(subject.clone(), Arc::clone(&consumer)).is_some() {
                fault(at, format!("the subject `{}` stands twice", subject.subject));
            }
        }
    }

    /// Whose key this is.
    ///
    /// # Errors
    /// Why it is nobody's.
    pub fn by_key(&self, presented: &[u8], now_ms: u64) -> Result<Caller, KeyRefusal> {
        if presented.len() > MAX_LEN {
            return Err(KeyRefusal::Unknown);
        }
        match self.store.find(presented, now_ms) {
            Ok(key) => {
                // Groups stand in the configuration, where the consumer of a stored key may be named too.
                let consumer = self.by_name.get(&key.consumer.name).unwrap_or(&key.consumer);
                Ok(Caller { credential: key.credential, ..caller(consumer) })
            }
            Err(refusal) if self.by_key.is_empty() => Err(refusal),
            Err(refusal) => self.by_key.get(&key::hash(&self.salt, presented)).cloned().ok_or(refusal),
        }
    }

    /// The consumer that a token's subject or client is. `alone`: no other issuer is configured.
    #[must_use]
    pub fn by_subject(&self, issuer: &str, subject: &str, alone: bool) -> Option<&Arc<Consumer>> {
        if self.by_subject.is_empty() {
            return None;
        }
        let key =
            |issuer: Option<&str>| Subject { issuer: issuer.map(str::to_owned), subject: subject.to_owned() };
        let exact = self.by_subject.get(&key(Some(issuer)));
        exact.or_else(|| alone.then(|| self.by_subject.get(&key(None))).flatten())
    }
}

fn caller(consumer: &Arc<Consumer>) -> Caller {
    Caller {
        consumer: Some(Arc::clone(consumer)),
        name: Arc::clone(&consumer.name),
        partition: consumer.id,
        credential: consumer.id,
    }
}

/// A name stands in logs, lists and header fields.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > 128 {
        return Err(String::from("a consumer's name has 1 to 128 characters"));
    }
    if name.chars().any(|c| c.is_control() || c == ':') || name.trim() != name {
        return Err(String::from("a consumer's name has no colon, control character or outer space"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::identity::keystore::NewKey;

    fn config(name: &str, keys: &[&str]) -> Config {
        Config {
            name: name.into(),
            keys: keys.iter().map(|k| (*k).to_owned()).collect(),
            ..Config::default()
        }
    }

    fn store() -> (tempfile::TempDir, Arc<KeyStore>) {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(KeyStore::open(dir.path()).unwrap());
        (dir, store)
    }

    #[test]
    fn keys_of_the_configuration_and_of_the_store_lead_to_one_consumer() {
        let (_dir, store) = store();
        let mut written = config("app", &["a-key-of-some-length"]);
        written.groups = vec!["gold".into()];
        let consumers = Consumers::compile(&[written], &store).unwrap();
        let (_, secret) = store.add("app", NewKey::default(), 1).unwrap();
        let one = consumers.by_key(b"a-key-of-some-length", 2).unwrap();
        let two = consumers.by_key(secret.reveal().as_bytes(), 2).unwrap();
        assert_eq!(one.partition, two.partition);
        assert_ne!(one.credential, two.credential);
        assert_eq!(two.consumer.unwrap().groups, ["gold"]);
        assert_eq!(consumers.by_key(b"another-key-altogether", 2).unwrap_err(), KeyRefusal::Unknown);
    }

    #[test]
    fn what_is_ambiguous_or_weak_is_refused_with_its_place() {
        let (_dir, store) = store();
        let configs = [
            config("a", &["short"]),
            config("a", &["a-key-of-some-length"]),
            config("b", &["a-key-of-some-length"]),
            config("", &[]),
            config("a:b", &[]),
        ];
        let faults = Consumers::compile(&configs, &store).unwrap_err();
        let places: Vec<_> = faults.iter().map(|fault| fault.place.pointer.as_str()).collect();
        assert_eq!(places, ["/0/keys/0", "/1/name", "/2/keys/0", "/3/name", "/4/name"]);
    }

    #[test]
    fn a_subject_counts_for_its_issuer_alone() {
        let (_dir, store) = store();
        let subject = |issuer: Option<&str>, subject: &str| Subject {
            issuer: issuer.map(str::to_owned),
            subject: subject.to_owned(),
        };
        let subjects = vec![subject(Some("https://a"), "bound"), subject(None, "free")];
        let consumers = Consumers::compile(&[Config { subjects, ..config("app", &[]) }], &store).unwrap();
        assert!(consumers.by_subject("https://a", "bound", false).is_some());
        assert!(consumers.by_subject("https://b", "bound", true).is_none());
        assert!(consumers.by_subject("https://b", "free", true).is_some());
        assert!(consumers.by_subject("https://b", "free", false).is_none());
    }
}
