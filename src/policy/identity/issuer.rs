//! Issuers of tokens: from configuration to what [`Tokens`] verifies with.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::Algorithm;

use super::{
    claims::Rules,
    jwk::{self, Keys, VerifyKey},
    keyset::{KeySet, KeySets, Source},
    token::Tokens,
};
use crate::{
    diagnostic::{Diagnostic, codes},
    policy::Fault,
};

/// Clocks that differ by more are broken.
const MAX_LEEWAY: Duration = Duration::from_mins(10);

/// An issuer as configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// The exact value of `iss`.
    pub issuer: String,
    /// Accepted values of `aud`. Empty accepts every audience, with a warning.
    pub audience: Vec<String>,
    pub keys: KeySource,
    /// Accepted algorithms, such as `ES256`. Empty: all that a key is fit for.
    pub algorithms: Vec<String>,
    /// How far clocks may differ. Default: 60 s; at most ten minutes.
    pub leeway: Duration,
    /// Whether tokens without `exp` are refused. Default: yes.
    pub require_exp: bool,
    /// The `typ` that tokens must have, such as `at+jwt` (RFC 9068), so that an ID token opens nothing.
    pub typ: Option<String>,
}

/// Where an issuer's keys come from.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    Jwks(Source),
    /// A public key in PEM.
    PublicKey(String),
    /// A secret shared with the issuer, for HS256, HS384 and HS512.
    Secret(String),
}

impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Jwks(source) => write!(f, "Jwks({source})"),
            Self::PublicKey(_) => f.write_str("PublicKey"),
            Self::Secret(_) => f.write_str("Secret([redacted])"),
        }
    }
}

impl Config {
    /// An issuer with everything else by default.
    #[must_use]
    pub fn new(issuer: &str, keys: KeySource) -> Self {
        Self {
            issuer: issuer.to_owned(),
            audience: Vec::new(),
            keys,
            algorithms: Vec::new(),
            leeway: Duration::from_mins(1),
            require_exp: true,
            typ: None,
        }
    }
}

/// A compiled issuer.
#[derive(Debug)]
pub(super) struct Issuer {
    pub name: Arc<str>,
    pub rules: Rules,
    pub keys: IssuerKeys,
    /// Empty: all that a key is fit for.
    pub algorithms: Vec<Algorithm>,
    /// Lower case, without `application/`.
    pub typ: Option<String>,
}

#[derive(Debug)]
pub(super) enum IssuerKeys {
    Fixed(Keys),
    Set(Arc<KeySet>),
}

impl Tokens {
    /// Compiles the issuers; `None` when there are none. Key sets begin to load in `sets`.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn compile(
        configs: &[Config],
        sets: &KeySets,
    ) -> Result<(Option<Self>, Vec<Diagnostic>), Vec<Fault>> {
        let (mut issuers, mut warnings, mut faults) = (Vec::<Issuer>::new(), Vec::new(), Vec::new());
        for (index, config) in configs.iter().enumerate() {
            warnings.extend(config.warnings(index));
            if issuers.iter().any(|issuer| *issuer.name == *config.issuer) {
                faults.push(fault(index, "/issuer", format!("the issuer `{}` stands twice", config.issuer)));
                continue;
            }
            match Issuer::compile(config, index, sets) {
                Ok(issuer) => issuers.push(issuer),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(((!issuers.is_empty()).then(|| Self::new(issuers)), warnings))
    }
}

impl Issuer {
    fn compile(config: &Config, index: usize, sets: &KeySets) -> Result<Self, Fault> {
        if config.issuer.is_empty() {
            return Err(fault(
                index,
                "/issuer",
                "an issuer's name is the exact value of `iss` in its tokens",
            ));
        }
        if config.leeway > MAX_LEEWAY {
            return Err(fault(index, "/leeway", "`leeway` is at most ten minutes"));
        }
        let algorithms = config.algorithms.iter().enumerate();
        let algorithms = algorithms
            .map(|(i, name)| {
                jwk::algorithm(name).map_err(|why| fault(index, &format!("/algorithms/{i}"), why))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let fixed = |key: Result<VerifyKey, &'static str>, field: &str| {
            let mut key = key.map_err(|why| fault(index, field, why))?;
            if !algorithms.is_empty() && !key.restrict(&algorithms) {
                return Err(fault(index, "/algorithms", "the key is fit for none of the `algorithms`"));
            }
            Ok(IssuerKeys::Fixed(Keys::of(key)))
        };
        let keys = match &config.keys {
            KeySource::PublicKey(pem) => fixed(VerifyKey::from_pem(pem), "/public_key")?,
            KeySource::Secret(secret) => fixed(VerifyKey::from_secret(secret.as_bytes()), "/secret")?,
            KeySource::Jwks(source) => {
                if let Source::Url(url) = source
                    && !is_http(url)
                {
                    return Err(fault(index, "/jwks", "`jwks` is an `https` URL or a file"));
                }
                IssuerKeys::Set(sets.get(source))
            }
        };
        let typ = config.typ.as_ref().map(|typ| {
            let typ = typ.to_ascii_lowercase();
            typ.strip_prefix("application/").map_or_else(|| typ.clone(), str::to_owned)
        });
        let rules = Rules {
            audience: config.audience.clone(),
            leeway: config.leeway.as_secs_f64(),
            require_exp: config.require_exp,
        };
        Ok(Self { name: config.issuer.as_str().into(), rules, keys, algorithms, typ })
    }
}

impl Config {
    fn warnings(&self, index: usize) -> Vec<Diagnostic> {
        let mut warnings = Vec::new();
        let issuer = &self.issuer;
        let mut warn = |code, pointer: &str, title: String, help: &str| {
            let mut warning = Diagnostic::warning(code, title).help(help);
            warning.place.pointer = format!("/{index}{pointer}");
            warnings.push(warning);
        };
        if self.audience.is_empty() {
            let title = format!("tokens that `{issuer}` made for other services are accepted too");
            warn(
                codes::ISSUER_WITHOUT_AUDIENCE,
                "",
                title,
                "name who the tokens are for: `audience: [my-api]`",
            );
        }
        if let KeySource::Jwks(Source::Url(url)) = &self.keys
            && !is_private(url)
        {
            let title = format!("the keys of `{issuer}` are fetched without encryption");
            warn(
                codes::ISSUER_PLAINTEXT,
                "/jwks",
                title,
                "use an `https` URL: who changes the keys signs tokens",
            );
        }
        warnings
    }
}

fn is_http(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Whether nobody on the way can change what is fetched.
fn is_private(url: &str) -> bool {
    let Ok(url) = url::Url::parse(url) else { return false };
    let loopback = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || loopback
}

fn fault(index: usize, pointer: &str, title: impl Into<String>) -> Fault {
    let mut fault = Diagnostic::error(codes::ISSUER_INVALID, title).help(
        "for example\n- name: my-issuer\n  issuer: https://issuer.example.com\n  audience: [my-api]\n  \
         jwks: https://issuer.example.com/.well-known/jwks.json",
    );
    fault.place.pointer = format!("/{index}{pointer}");
    Box::new(fault)
}
