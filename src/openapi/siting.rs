//! Where an operation is served and where its requests go: mount, base path, server in force, overrides.
//!
//! Served at mount + base path of the server in force + template, so that a client changes only the host.
//! The server in force is the first usable one; where none is, the first one still gives its base path.
//! `--server` and `--upstream` replace the document's servers; those of path items and operations stay
//! unless `all_servers` is set.

use super::{Api, Operation, Server, path};

/// What the user chose for one API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Siting {
    /// Path prefix in front of the base path, `""` or `/name`.
    pub mount: String,
    /// Leaves the base path out of the served path; it still goes to the upstream.
    pub strip_base: bool,
    /// Takes this one of the document's servers, counted from 0.
    pub server: Option<usize>,
    /// Replaces scheme, host and port of the server, and its base path when the URL has a path of its own.
    pub upstream: Option<String>,
    /// Lets `server` and `upstream` replace the servers of path items and operations too.
    pub all_servers: bool,
}

/// Where one operation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The template that requests are matched with: canonical, starts with `/`.
    pub served: String,
    /// The same for people: mount, base path and template as written.
    pub listed: String,
    /// Scheme, host, port and base path that requests are sent to, no slash at its end.
    pub upstream: Option<String>,
    /// The base path in `served`, as a canonical template: what `strip_base` left out is not in it.
    pub prefix: String,
}

/// Decides for one operation.
#[must_use]
pub fn site(api: &Api, operation: &Operation, siting: &Siting) -> Site {
    let replaceable = operation.servers_of_document || siting.all_servers;
    let (upstream, base) = in_force(api, &operation.servers, replaceable, siting);
    let mount = siting.mount.trim_end_matches('/');
    let shown = if siting.strip_base { "" } else { base.as_str() };
    let separator = if mount.is_empty() { "" } else { slash(shown) };
    let prefix = prefix(siting, &base);
    Site {
        served: format!("{prefix}{}", operation.template),
        listed: format!("{mount}{separator}{shown}{}", operation.written),
        upstream,
        prefix,
    }
}

/// What stands in front of the templates of operations that have the document's servers.
#[must_use]
pub fn document_prefix(api: &Api, siting: &Siting) -> String {
    prefix(siting, &in_force(api, &api.servers, true, siting).1)
}

fn prefix(siting: &Siting, base: &str) -> String {
    let mount = siting.mount.trim_end_matches('/');
    let shown = if siting.strip_base { "" } else { base };
    format!("{}{mount}{}{}", slash(mount), slash(shown), template(shown))
}

/// The slash that a path lacks at its start.
fn slash(path: &str) -> &'static str {
    if path.is_empty() || path.starts_with('/') { "" } else { "/" }
}

/// Whether `siting.server` names a server that is there.
#[must_use]
pub fn server_exists(api: &Api, siting: &Siting) -> bool {
    siting.server.is_none_or(|number| number < api.servers.len())
}

/// The upstream and the base path that count for an operation with these servers.
fn in_force(api: &Api, servers: &[Server], replaceable: bool, siting: &Siting) -> (Option<String>, String) {
    let numbered = siting.server.filter(|_| replaceable).and_then(|number| api.servers.get(number));
    let server = numbered.or_else(|| first(servers));
    let base = server.map_or("", |s| s.base_path.as_str());
    let Some(own) = siting.upstream.as_deref().filter(|_| replaceable) else {
        return (server.and_then(|s| s.usable.clone()), base.to_owned());
    };
    let own = own.trim_end_matches('/');
    let path = own.find("://").and_then(|i| own[i + 3..].find('/').map(|slash| &own[i + 3 + slash..]));
    match path {
        Some(path) => (Some(own.to_owned()), path.to_owned()),
        None => (Some(format!("{own}{}{}", slash(base), escaped(base))), base.to_owned()),
    }
}

/// The first usable server, else the first.
fn first(servers: &[Server]) -> Option<&Server> {
    servers.iter().find(|s| s.usable.is_some()).or_else(|| servers.first())
}

/// A base path as canonical template: a variable that is not defined is a parameter.
fn template(base: &str) -> String {
    path::PathKey::parse(base).map_or_else(|_| escaped(base), |path| path.template)
}

fn escaped(base: &str) -> String {
    let mut out = String::with_capacity(base.len());
    path::canonical(base, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use crate::openapi::{NoLoader, Options, import};

    use super::*;

    fn api(servers: &str) -> Api {
        let text = format!(
            "openapi: 3.0.0\ninfo: {{}}\nservers: {servers}\npaths:\n  /a/{{x}}: {{ get: {{}} }}\n  /own: {{ get: {{ servers: [{{ url: http://own/o }}] }} }}\n"
        );
        import(text.as_bytes(), &Options::default(), &NoLoader).0.unwrap()
    }

    fn all(api: &Api, siting: &Siting) -> Vec<(String, Option<String>)> {
        api.operations.iter().map(|o| site(api, o, siting)).map(|s| (s.served, s.upstream)).collect()
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn operations_are_served_behind_the_base_path_of_their_server() {
        let api = api("[{ url: /rel }, { url: https://h/v1/ }]");
        let found = all(&api, &Siting::default());
        assert_eq!(
            found,
            [("/v1/a/{x}".into(), some("https://h/v1")), ("/o/own".into(), some("http://own/o"))]
        );
        let mounted = Siting { mount: "/pets".into(), strip_base: true, ..Siting::default() };
        let found = all(&api, &mounted);
        assert_eq!(
            found,
            [("/pets/a/{x}".into(), some("https://h/v1")), ("/pets/own".into(), some("http://own/o"))]
        );
    }

    #[test]
    fn an_upstream_replaces_the_servers_of_the_document_only() {
        let api = api("[{ url: https://h/v1/ }, { url: https://i/v2 }]");
        let upstream = Siting { upstream: some("http://u:9/"), ..Siting::default() };
        assert_eq!(all(&api, &upstream)[0], ("/v1/a/{x}".into(), some("http://u:9/v1")));
        assert_eq!(all(&api, &upstream)[1].1, some("http://own/o"));
        let with_path = Siting {
            upstream: some("http://u/api"),
            all_servers: true,
            server: Some(1),
            ..Siting::default()
        };
        assert_eq!(all(&api, &with_path)[0], ("/api/a/{x}".into(), some("http://u/api")));
        assert_eq!(all(&api, &with_path)[1], ("/api/own".into(), some("http://u/api")));
        let second = Siting { server: Some(1), ..Siting::default() };
        assert_eq!(all(&api, &second)[0], ("/v2/a/{x}".into(), some("https://i/v2")));
        assert!(
            server_exists(&api, &second)
                && !server_exists(&api, &Siting { server: Some(2), ..second.clone() })
        );
    }

    #[test]
    fn without_a_usable_server_the_first_one_gives_the_base_path() {
        let found = all(&api("[{ url: 'https://{host}/{v}/x' }]"), &Siting::default());
        assert_eq!(found[0], ("/{v}/x/a/{x}".into(), None));
        let api = api("[{ url: Your API URL }]");
        assert_eq!(all(&api, &Siting::default())[0], ("/Your/a/{x}".into(), None));
        assert_eq!(site(&api, &api.operations[0], &Siting::default()).listed, "Your/a/{x}");
    }
}
