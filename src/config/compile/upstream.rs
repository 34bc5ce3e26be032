//! Where a route's requests go: a configured upstream, an address, or the description's server.

use std::{collections::HashMap, sync::Arc, time::Duration};

use url::Url;

use crate::{
    config::{Model, Spanned, UpstreamRef, model},
    diagnostic::{Diagnostic, codes, suggest},
    upstream::UpstreamKey,
};

/// Requests under way at once to one endpoint, unless the upstream says otherwise.
const MAX_REQUESTS: usize = 1024;

/// The addresses behind a reference, and how to treat them.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub name: Option<String>,
    /// At least one.
    pub endpoints: Vec<Url>,
    pub preserve_host: bool,
    pub max_requests: usize,
}

impl Chosen {
    /// The first address as `--upstream` would have it: with its path only when it has one.
    #[must_use]
    pub fn address(&self) -> String {
        self.endpoints[0].as_str().trim_end_matches('/').to_owned()
    }
}

/// Looks a reference up.
pub fn choose(model: &Model, reference: &Spanned<UpstreamRef>) -> Result<Chosen, Diagnostic> {
    let name = match &reference.value {
        UpstreamRef::Url(url) => {
            return Ok(Chosen {
                name: None,
                endpoints: vec![url.clone()],
                preserve_host: false,
                max_requests: MAX_REQUESTS,
            });
        }
        UpstreamRef::Name(name) => name,
    };
    let defined = model.upstreams.iter().flat_map(|named| named.0.iter());
    match defined.clone().find(|(known, _)| known.value == *name) {
        Some((_, upstream)) => named(name, upstream),
        None => {
            let names: Vec<&str> = defined.map(|(known, _)| known.value.as_str()).collect();
            let list = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let help = match (suggest(name, names.iter().copied()), names.is_empty()) {
                (_, true) => "no upstreams are defined: add it under `upstreams:`, or write an address such as `http://127.0.0.1:9000`".to_owned(),
                (Some(near), _) => format!("did you mean `{near}`? upstreams defined here: {list}"),
                (None, _) => format!("upstreams defined here: {list}"),
            };
            Err(Diagnostic::error(codes::UNKNOWN_UPSTREAM, format!("no upstream is called `{name}`"))
                .at((*reference.place).clone())
                .label("no upstream has this name")
                .help(help))
        }
    }
}

fn named(name: &str, upstream: &model::Upstream) -> Result<Chosen, Diagnostic> {
    let endpoints: Vec<Url> = upstream.endpoints.iter().map(|url| url.value.0.clone()).collect();
    let first = upstream.endpoints.first().ok_or_else(|| {
        Diagnostic::error(codes::VALUE_INVALID, format!("the upstream `{name}` has no endpoints"))
            .at((*upstream.place).clone())
    })?;
    if let Some(other) = upstream.endpoints.iter().find(|url| url.value.0.path() != first.value.0.path()) {
        return Err(Diagnostic::error(
            codes::VALUE_INVALID,
            format!("the endpoints of `{name}` have different paths"),
        )
        .at((*other.place).clone())
        .help(
            "endpoints of one upstream serve the same API: give them the same path, or make two upstreams",
        ));
    }
    Ok(Chosen {
        name: Some(name.to_owned()),
        endpoints,
        preserve_host: upstream.preserve_host.unwrap_or(false),
        max_requests: upstream.max_requests.unwrap_or(MAX_REQUESTS),
    })
}

/// Hands out one key per upstream, so that routes share it.
#[derive(Debug, Default)]
pub struct Keys(HashMap<UpstreamKey, Arc<UpstreamKey>>);

impl Keys {
    /// The key of `chosen`, or of the single address `url` where the route has none.
    pub fn key(
        &mut self,
        chosen: Option<&Chosen>,
        url: &Url,
        connect_timeout: Duration,
        own_host: bool,
    ) -> Arc<UpstreamKey> {
        let key = UpstreamKey {
            name: chosen
                .and_then(|chosen| chosen.name.as_deref())
                .map_or_else(|| authority(url), str::to_owned)
                .into(),
            endpoints: match chosen {
                Some(chosen) => chosen.endpoints.iter().map(origin).collect(),
                None => vec![origin(url)],
            },
            connect_timeout,
            max_requests: chosen.map_or(MAX_REQUESTS, |chosen| chosen.max_requests),
            own_host: own_host || chosen.is_some_and(|chosen| chosen.preserve_host),
        };
        match self.0.get(&key) {
            Some(known) => Arc::clone(known),
            None => Arc::clone(self.0.entry(key.clone()).or_insert_with(|| Arc::new(key))),
        }
    }
}

fn origin(url: &Url) -> Url {
    let mut origin = url.clone();
    origin.set_path("/");
    origin.set_query(None);
    origin.set_fragment(None);
    origin
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
