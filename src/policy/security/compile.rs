//! From a mode and a description's requirements to the rule of one operation, and the warnings about what
//! the rule cannot do.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderName, header};

use super::{Check, Place, Rule, Security};
use crate::{
    diagnostic::{Diagnostic, codes},
    policy::{
        identity::{Consumers, Tokens},
        strip::Strip,
    },
};

/// The header in which *gateway* mode reads keys, unless configured otherwise.
pub const OWN_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What `security` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The caller's credentials go to the upstream unchecked.
    Pass,
    /// The description's security requirements are checked here.
    Enforce,
    /// The gateway's own keys or tokens are asked for, whatever the description says.
    Gateway,
}

impl Mode {
    pub const ALL: &'static [Self] = &[Self::Pass, Self::Enforce, Self::Gateway];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Enforce => "enforce",
            Self::Gateway => "gateway",
        }
    }
}

/// All that must hold at once; empty asks for nothing.
pub type Requirement = Vec<Demand>;

/// One scheme of a requirement, looked up in the description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The scheme's name in the description.
    pub name: String,
    pub scheme: Scheme,
    /// Scopes that a token must have; roles of other schemes are not checked.
    pub scopes: Vec<String>,
}

/// A security scheme as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `apiKey`, with a place and name that can be read.
    ApiKey(Place),
    Basic,
    Bearer,
    OAuth2,
    /// With the URL of the discovery document.
    OpenIdConnect(String),
    /// Another kind (`http digest`, `mutualTLS` …), in the words of the warning.
    Other(String),
    /// Named by a requirement, defined nowhere.
    Undefined,
}

/// What one operation's rule is compiled from.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    pub mode: Mode,
    /// The mode stands in the configuration; a *pass* that is only a default still closes what names
    /// an undefined scheme.
    pub explicit: bool,
    /// `public: true`: no credentials are needed, whatever the mode.
    pub public: bool,
    /// Credentials checked here go to the upstream all the same.
    pub forward_credentials: bool,
    /// `None`: the description states nothing. Empty: none needed. Else alternatives.
    pub requirements: Option<&'a [Requirement]>,
    /// Where *gateway* mode reads keys beside `Authorization: Bearer`. Empty: the header `X-API-Key`.
    pub own_keys: &'a [Place],
    /// Names the protected space in challenges: the API's name.
    pub realm: &'a str,
    pub consumers: &'a Arc<Consumers>,
    /// `None` where no issuer is configured.
    pub tokens: Option<&'a Arc<Tokens>>,
}

/// The outcome for one operation.
#[derive(Debug)]
pub struct Compiled {
    /// `None`: everyone is let in and nothing is removed.
    pub policy: Option<Security>,
    /// Schemes that cannot be checked.
    pub gaps: Vec<Gap>,
}

/// A scheme of one operation that cannot be checked here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub name: String,
    pub scheme: Scheme,
    /// No other alternative is left: the operation is closed.
    pub closes: bool,
}

impl Security {
    /// Compiles the rule of one operation.
    #[must_use]
    pub fn compile(config: Config<'_>) -> Compiled {
        let requirements = config.requirements.unwrap_or_default();
        let optional = requirements.iter().any(Vec::is_empty);
        if config.public || (config.mode == Mode::Pass && config.explicit) {
            return Compiled { policy: None, gaps: Vec::new() };
        }
        let cannot = |demand: &&Demand| match config.mode {
            Mode::Enforce => !demand.scheme.can_be_checked(config.tokens.is_some()),
            Mode::Pass | Mode::Gateway => demand.scheme == Scheme::Undefined,
        };
        let is_blocked = |requirement: &Requirement| requirement.iter().any(|demand| cannot(&demand));
        let closes = !requirements.is_empty() && requirements.iter().all(is_blocked);
        let gaps = requirements.iter().flatten().filter(cannot);
        let gap = |demand: &Demand| Gap { name: demand.name.clone(), scheme: demand.scheme.clone(), closes };
        let gaps: Vec<Gap> = gaps.map(gap).collect();
        let rule = match (closes, config.mode) {
            (true, _) => Rule::Closed { scheme: gaps.first().map(|g| g.name.clone()).unwrap_or_default() },
            (false, Mode::Pass) => return Compiled { policy: None, gaps: Vec::new() },
            (false, Mode::Gateway) => {
                let check = Check::Own(own_places(config.own_keys));
                Rule::AnyOf { alternatives: vec![vec![check]], optional: false }
            }
            (false, Mode::Enforce) if requirements.is_empty() => return Compiled { policy: None, gaps },
            (false, Mode::Enforce) => {
                let checks = |requirement: &Requirement| {
                    requirement.iter().map(|demand| Check::of(demand, cannot(&demand))).collect()
                };
                let stated = requirements.iter().filter(|requirement| !requirement.is_empty());
                Rule::AnyOf { alternatives: stated.map(checks).collect(), optional }
            }
        };
        let gaps = if config.mode == Mode::Gateway && !closes { Vec::new() } else { gaps };
        Compiled { policy: Some(Self::with(rule, config)), gaps }
    }

    fn with(rule: Rule, config: Config<'_>) -> Self {
        Self {
            mode: config.mode,
            realm: config.realm.to_owned(),
            reads: Arc::new(rule.reads()),
            forward: config.forward_credentials,
            rule,
            consumers: Arc::clone(config.consumers),
            tokens: config.tokens.cloned(),
        }
    }
}

impl Scheme {
    fn can_be_checked(&self, with_issuers: bool) -> bool {
        match self {
            Self::ApiKey(_) | Self::Basic => true,
            Self::Bearer | Self::OAuth2 | Self::OpenIdConnect(_) => with_issuers,
            Self::Other(_) | Self::Undefined => false,
        }
    }

    fn kind(&self) -> &str {
        match self {
            Self::ApiKey(_) => "apiKey",
            Self::Basic => "http basic",
            Self::Bearer => "http bearer",
            Self::OAuth2 => "oauth2",
            Self::OpenIdConnect(_) => "openIdConnect",
            Self::Other(kind) => kind,
            Self::Undefined => "not defined",
        }
    }
}

impl Check {
    fn of(demand: &Demand, never: bool) -> Self {
        match &demand.scheme {
            _ if never => Self::Never,
            Scheme::ApiKey(place) => Self::Key(place.clone()),
            Scheme::Basic => Self::Basic,
            Scheme::Bearer | Scheme::OAuth2 | Scheme::OpenIdConnect(_) => {
                Self::Token { scopes: demand.scopes.clone() }
            }
            Scheme::Other(_) | Scheme::Undefined => Self::Never,
        }
    }
}

impl Rule {
    /// Every place at which the rule reads credentials.
    fn reads(&self) -> Strip {
        let mut strip = Strip::default();
        let Self::AnyOf { alternatives, .. } = self else { return strip };
        for check in alternatives.iter().flatten() {
            match check {
                Check::Key(place) => place.add_to(&mut strip),
                Check::Basic | Check::Token { .. } => Place::Header(header::AUTHORIZATION).add_to(&mut strip),
                Check::Own(places) => {
                    Place::Header(header::AUTHORIZATION).add_to(&mut strip);
                    places.iter().for_each(|place| place.add_to(&mut strip));
                }
                Check::Never => {}
            }
        }
        strip
    }
}

impl Place {
    fn add_to(&self, strip: &mut Strip) {
        match self {
            Self::Header(name) if !strip.headers.contains(name) => strip.headers.push(name.clone()),
            Self::Query(name) if !strip.query.iter().any(|n| **n == **name) => {
                strip.query.push(name.as_str().into());
            }
            Self::Cookie(name) if !strip.cookies.iter().any(|n| **n == **name) => {
                strip.cookies.push(name.as_str().into());
            }
            _ => {}
        }
    }
}

/// One warning per scheme over all operations of an API, each with the lines that would help.
#[must_use]
pub fn warnings<'a>(gaps: impl IntoIterator<Item = (&'a str, &'a Gap)>) -> Vec<Diagnostic> {
    let mut by_scheme: BTreeMap<&str, (&Gap, Vec<&str>, usize)> = BTreeMap::new();
    for (operation, gap) in gaps {
        let (_, closed, partly) = by_scheme.entry(&gap.name).or_insert((gap, Vec::new(), 0));
        if gap.closes { closed.push(operation) } else { *partly += 1 }
    }
    by_scheme.into_values().map(|(gap, closed, partly)| warning(gap, &closed, partly)).collect()
}

fn warning(gap: &Gap, closed: &[&str], partly: usize) -> Diagnostic {
    let plural = |n: usize| if n == 1 { "1 operation".to_owned() } else { format!("{n} operations") };
    let effect = match (closed, partly) {
        ([], n) => format!("{} can be called by the other alternatives only", plural(n)),
        ([one], 0) => format!("`{one}` is closed"),
        ([one, ..], 0) => format!("{} are closed, such as `{one}`", plural(closed.len())),
        (closed, n) => format!("{} closed, {} open to the other alternatives only", closed.len(), plural(n)),
    };
    let (name, kind) = (&gap.name, gap.scheme.kind());
    if gap.scheme == Scheme::Undefined {
        return Diagnostic::warning(
            codes::SECURITY_UNDEFINED,
            format!("the security scheme `{name}` is not defined: {effect}"),
        )
        .help(
            "correct the name in the description, or set `security: pass` to leave the check to the upstream",
        );
    }
    let title = format!("the security scheme `{name}` ({kind}) cannot be checked here: {effect}");
    Diagnostic::warning(codes::SECURITY_UNSUPPORTED, title).help(gap.scheme.remedy())
}

impl Scheme {
    /// The lines that would make the scheme checkable.
    fn remedy(&self) -> String {
        let pass = "or leave the check to the upstream: `security: pass`";
        let issuer = match self {
            Self::OpenIdConnect(url) => {
                url.strip_suffix("/.well-known/openid-configuration").unwrap_or("https://issuer.example.com")
            }
            Self::Bearer | Self::OAuth2 => "https://issuer.example.com",
            _ => {
                return format!("ask for the gateway's own keys: `security: gateway`\n{pass}");
            }
        };
        format!(
            "name who issues the tokens in gatewright.yaml:\nissuers:\n  - name: my-issuer\n    issuer: {issuer}\n    \
             audience: [my-api]\n    jwks: {issuer}/.well-known/jwks.json\n{pass}"
        )
    }
}

fn own_places(configured: &[Place]) -> Vec<Place> {
    match configured {
        [] => vec![Place::Header(OWN_KEY)],
        places => places.to_vec(),
    }
}
