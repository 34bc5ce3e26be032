//! A description's security requirements in the words of the policy that checks them.

use http::HeaderName;

use crate::{
    openapi::{self, Location, SecurityScheme},
    policy::security::{Demand, Place, Requirement, Scheme},
};

/// The requirements of one operation, each scheme looked up.
pub fn requirements(api: &openapi::Api, operation: &openapi::Operation) -> Option<Vec<Requirement>> {
    let demand = |(name, scopes): &(String, Vec<String>)| Demand {
        name: name.clone(),
        scheme: scheme(api, name),
        scopes: scopes.clone(),
    };
    let one = |requirement: &openapi::Requirement| requirement.iter().map(demand).collect();
    operation.security.as_ref().map(|all| all.iter().map(one).collect())
}

fn scheme(api: &openapi::Api, name: &str) -> Scheme {
    let Some((_, scheme)) = api.security_schemes.iter().find(|(known, _)| known == name) else {
        return Scheme::Undefined;
    };
    match scheme {
        SecurityScheme::ApiKey { name, location } => match place(name, *location) {
            Some(place) => Scheme::ApiKey(place),
            None => Scheme::Other(format!("apiKey at no place: `{name}`")),
        },
        SecurityScheme::Http { scheme } if scheme == "basic" => Scheme::Basic,
        SecurityScheme::Http { scheme } if scheme == "bearer" => Scheme::Bearer,
        SecurityScheme::Http { scheme } => Scheme::Other(format!("http {scheme}")),
        SecurityScheme::OAuth2 { .. } => Scheme::OAuth2,
        SecurityScheme::OpenIdConnect { url } => Scheme::OpenIdConnect(url.clone()),
        SecurityScheme::MutualTls => Scheme::Other("mutualTLS".to_owned()),
        SecurityScheme::Unknown { kind } => Scheme::Other(kind.clone()),
    }
}

fn place(name: &str, location: Location) -> Option<Place> {
    match location {
        Location::Header => name.parse::<HeaderName>().ok().map(Place::Header),
        Location::Query => Some(Place::Query(name.to_owned())),
        Location::Cookie => Some(Place::Cookie(name.to_owned())),
        _ => None,
    }
}

/// The API keys that the description defines, by where they are sent.
#[derive(Debug, Default)]
pub struct Secrets {
    pub headers: Vec<HeaderName>,
    pub params: Vec<String>,
    pub cookies: Vec<Box<str>>,
}

impl Secrets {
    pub fn of(api: &openapi::Api) -> Self {
        let mut found = Self::default();
        for (_, scheme) in &api.security_schemes {
            let SecurityScheme::ApiKey { name, location } = scheme else { continue };
            match location {
                Location::Header => found.headers.extend(name.parse::<HeaderName>().ok()),
                Location::Query => found.params.push(name.clone()),
                Location::Cookie => found.cookies.push(name.as_str().into()),
                _ => {}
            }
        }
        found
    }
}
