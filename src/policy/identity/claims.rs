//! What a token says once its signature is verified (RFC 7519, section 4.1; scopes RFC 8693, section 4.2).
//!
//! Pure. Times are seconds with fractions, as NumericDate allows.

use serde_json::{Map, Value};

use super::token::TokenRefusal;

/// What must hold of the claims.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Accepted values of `aud`; empty accepts any.
    pub audience: Vec<String>,
    /// How far clocks may differ, in seconds.
    pub leeway: f64,
    /// Whether a token without `exp` is refused.
    pub require_exp: bool,
}

/// What is used of the claims.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    pub subject: Option<String>,
    /// `client_id`, else `azp`.
    pub client: Option<String>,
    pub scopes: Vec<String>,
    /// Seconds since the epoch from which the token is refused, leeway included.
    pub until: f64,
}

impl Rules {
    /// Judges the claims at `now`, seconds since the epoch.
    ///
    /// # Errors
    /// Which claim is wrong.
    pub fn check(&self, claims: &Map<String, Value>, now: f64) -> Result<Claims, TokenRefusal> {
        let until = match time(claims, "exp")? {
            Some(exp) => exp + self.leeway,
            None if self.require_exp => return Err(TokenRefusal::Missing("exp")),
            None => f64::INFINITY,
        };
        if now >= until {
            return Err(TokenRefusal::Expired);
        }
        if time(claims, "nbf")?.is_some_and(|nbf| nbf > now + self.leeway) {
            return Err(TokenRefusal::NotYet("nbf"));
        }
        if time(claims, "iat")?.is_some_and(|iat| iat > now + self.leeway) {
            return Err(TokenRefusal::NotYet("iat"));
        }
        self.check_audience(claims)?;
        let client = text(claims, "client_id")?.or(text(claims, "azp")?);
        Ok(Claims { subject: text(claims, "sub")?, client, scopes: scopes(claims)?, until })
    }

    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), TokenRefusal> {
        let named = strings(claims, "aud")?;
        if self.audience.is_empty() || named.iter().any(|name| self.audience.iter().any(|a| a == name)) {
            return Ok(());
        }
        Err(if claims.contains_key("aud") { TokenRefusal::Audience } else { TokenRefusal::Missing("aud") })
    }
}

/// The `iss` of claims that are not verified yet: only to find whose rules they must meet.
pub fn issuer(claims: &Map<String, Value>) -> Result<&str, TokenRefusal> {
    match claims.get("iss") {
        None => Err(TokenRefusal::Missing("iss")),
        Some(Value::String(issuer)) => Ok(issuer),
        Some(_) => Err(TokenRefusal::Claim("iss")),
    }
}

fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<f64>, TokenRefusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => {
            let seconds = number.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
            seconds.map(Some).ok_or(TokenRefusal::Claim(name))
        }
        Some(_) => Err(TokenRefusal::Claim(name)),
    }
}

fn text(claims: &Map<String, Value>, name: &'static str) -> Result<Option<String>, TokenRefusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(TokenRefusal::Claim(name)),
    }
}

/// A string, or an array of strings.
fn strings<'a>(claims: &'a Map<String, Value>, name: &'static str) -> Result<Vec<&'a str>, TokenRefusal> {
    let wrong = TokenRefusal::Claim(name);
    match claims.get(name) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(all)) => all.iter().map(|one| one.as_str().ok_or(wrong)).collect(),
        Some(_) => Err(wrong),
    }
}

/// `scope` and `scp`, each a list divided by spaces or an array.
fn scopes(claims: &Map<String, Value>) -> Result<Vec<String>, TokenRefusal> {
    let mut scopes = Vec::new();
    for name in ["scope", "scp"] {
        let lists = strings(claims, name)?;
        scopes.extend(
            lists.into_iter().flat_map(|list| list.split(' ')).filter(|s| !s.is_empty()).map(str::to_owned),
        );
    }
    Ok(scopes)
}
