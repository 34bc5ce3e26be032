//! Servers: variables, what is wrong with them, which of them requests can be sent to.
//!
//! They are alternatives (sandbox, regions), never a pool. Which one is in force for an operation is
//! `siting`'s business.

use super::{Options, Server, Version, document::At, report::Context, value::Node};
use crate::diagnostic::codes;

/// The servers that `owner` (document, path item, operation) states; `None` when it states none.
pub fn stated(cx: &mut Context<'_>, owner: Node<'_>) -> Option<Vec<Server>> {
    let list = owner.some("servers")?;
    let single = list.is_object().then_some(list);
    let servers: Vec<Server> = list.items().chain(single).filter_map(|node| one(cx, node)).collect();
    (!servers.is_empty()).then_some(servers)
}

/// The document's servers, never empty: without any, the place the document came from.
pub fn of_document(cx: &mut Context<'_>, root: Node<'_>) -> (Vec<Server>, bool) {
    if cx.version == Version::V2_0 {
        return swagger(cx, root, root.some("schemes"));
    }
    match stated(cx, root) {
        Some(servers) => (servers, true),
        None => (vec![server("/".to_owned(), cx.options)], false),
    }
}

/// 2.0: `host`, `basePath` and `schemes`. The second value says whether a host is named.
pub fn swagger(cx: &mut Context<'_>, root: Node<'_>, schemes: Option<Node<'_>>) -> (Vec<Server>, bool) {
    let base = root.get("basePath").and_then(Node::scalar).unwrap_or_default().trim();
    let slash = if base.is_empty() || base.starts_with('/') { "" } else { "/" };
    let host = root.get("host").and_then(Node::scalar).unwrap_or_default();
    if host.is_empty() {
        let path = format!("{slash}{base}");
        let path = if path.is_empty() { "/".to_owned() } else { path };
        return (vec![server(path, cx.options)], false);
    }
    let single = schemes.and_then(Node::as_str);
    let list = schemes.into_iter().flat_map(Node::items).filter_map(Node::as_str).chain(single);
    let mut urls: Vec<String> = list.map(|scheme| format!("{scheme}://{host}{slash}{base}")).collect();
    if urls.is_empty() {
        urls.push(format!("//{host}{slash}{base}"));
    }
    let at = At::Key(root, "host");
    let servers = urls.into_iter().map(|url| {
        let server = server(url, cx.options);
        judge(cx, at, &server, Vec::new());
        server
    });
    (servers.collect(), true)
}

/// One Server Object.
fn one(cx: &mut Context<'_>, node: Node<'_>) -> Option<Server> {
    let Some(url) = node.get("url").and_then(Node::as_str).or_else(|| node.as_str()) else {
        let help = "write `url: https://…`, or remove it";
        cx.warn(codes::SERVER_UNUSABLE, At::Value(node), "a server has no `url` and is left out", help);
        return None;
    };
    let mut faults = Vec::new();
    let url = expand(cx, url, node.get("variables"), &mut faults);
    let server = server(url, cx.options);
    let at = node.get("url").map_or(At::Value(node), At::Value);
    judge(cx, at, &server, faults);
    Some(server)
}

/// Replaces `{name}` by the value given on the command line, else by the default.
fn expand(cx: &mut Context<'_>, url: &str, variables: Option<Node<'_>>, faults: &mut Vec<String>) -> String {
    let mut out = String::with_capacity(url.len());
    let mut rest = url;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((name, behind)) = after.split_once('}') else {
            out.push('{');
            rest = after;
            continue;
        };
        cx.has_variable(name);
        let variable = variables.and_then(|v| v.get(name));
        let given =
            cx.options.server_variables.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let default = variable.and_then(|v| v.get("default")).and_then(Node::scalar);
        match given.or(default) {
            Some(value) => {
                out.push_str(value);
                let mut allowed =
                    variable.and_then(|v| v.get("enum")).into_iter().flat_map(Node::items).peekable();
                if allowed.peek().is_some() && !allowed.any(|v| v.scalar() == Some(value)) {
                    faults.push(format!("`{value}` is not among the values of its variable `{name}`"));
                }
            }
            None => {
                let lacks = if variable.is_some() { "has no default" } else { "is not defined" };
                faults.push(format!("its variable `{name}` {lacks}"));
                out.push('{');
                out.push_str(name);
                out.push('}');
            }
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// A server from its URL with variables replaced.
pub fn server(url: String, options: &Options) -> Server {
    let base_path = |path: &str| path.trim_end_matches('/').to_owned();
    let usable = match (fault(&url), split(&url)) {
        (Some(_), _) => None,
        (None, Some(_)) => url::Url::parse(&url).ok(),
        (None, None) => options.base_url.as_ref().and_then(|base| {
            let joined = url::Url::parse(base).ok()?.join(&url).ok()?;
            matches!(joined.scheme(), "http" | "https").then_some(joined)
        }),
    };
    match usable {
        Some(parsed) => {
            let origin = &parsed[..url::Position::BeforePath];
            // The path as written: parsing would resolve escapes and dots, and that is not ours to do.
            let path = split(&url).map_or_else(|| base_path(parsed.path()), |(_, _, path)| base_path(path));
            Server { usable: Some(format!("{origin}{path}")), base_path: path, url }
        }
        None => {
            // What follows a blank is a remark, or a placeholder that was left in.
            let end = |c: char| c.is_whitespace() || matches!(c, '?' | '#');
            let path = base_path(path_of(&url).split(end).next().unwrap_or_default());
            Server { usable: None, base_path: path, url }
        }
    }
}

/// Scheme, authority and the rest of `scheme://authority/…`.
fn split(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '{' | '}' | '_');
    if scheme.is_empty() || !scheme.chars().all(letters) {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some((scheme, &rest[..end], &rest[end..]))
}

/// The path part of any server URL.
fn path_of(url: &str) -> &str {
    match (split(url), url.strip_prefix("//")) {
        (Some((_, _, path)), _) => path,
        (None, Some(rest)) => &rest[rest.find(['/', '?', '#']).unwrap_or(rest.len())..],
        (None, None) => url,
    }
}

/// What makes a URL useless whatever it is relative to.
fn fault(url: &str) -> Option<String> {
    if let Some(c) = url.chars().find(|c| c.is_whitespace()) {
        let what = if c == ' ' { "a blank" } else { "white space" };
        return Some(format!("it has {what}: is a placeholder left in it?"));
    }
    if let Some(c) =
        url.chars().find(|c| c.is_control() || matches!(c, '<' | '>' | '"' | '\\' | '^' | '`' | '|'))
    {
        return Some(format!("it has `{c}`: is a placeholder left in it?"));
    }
    if url.contains(['{', '}']) {
        return Some("it has a brace".to_owned());
    }
    if url.contains('?') {
        return Some("it has a query".to_owned());
    }
    if url.contains('#') {
        return Some("it has a fragment".to_owned());
    }
    let (scheme, authority, _) = split(url)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Some(format!("requests are sent by `http` and `https`, not by `{scheme}`"));
    }
    if authority.is_empty() || url::Url::parse(url).is_err() {
        return Some("it has no valid host and port".to_owned());
    }
    None
}

/// Says what is wrong with a server.
fn judge(cx: &mut Context<'_>, at: At<'_>, server: &Server, mut faults: Vec<String>) {
    let url = shown(&server.url);
    if faults.is_empty() {
        faults.extend(fault(&server.url));
    }
    if split(&server.url).is_none() && server.usable.is_none() {
        let bare_host = server.url.split(['/', ':']).next().is_some_and(|s| s == "localhost")
            || server
                .url
                .split_once(':')
                .is_some_and(|(_, port)| port.starts_with(|c: char| c.is_ascii_digit()));
        if server.url.starts_with("//") || bare_host {
            let title = format!("the server `{url}` has no scheme");
            let help = "write `https:` or `http://` in front of it, or give `--upstream URL`";
            cx.warn(codes::SERVER_WITHOUT_SCHEME, at, title, help);
        } else {
            let title = format!("the server `{url}` is relative to the address of the description");
            let help = "import the description from its URL, or give `--upstream URL`";
            cx.warn(codes::RELATIVE_SERVER, at, title, help);
        }
    }
    if let Some(fault) = faults.first() {
        let title = format!("requests cannot be sent to the server `{url}`: {fault}");
        let help = if fault.contains("variable") {
            "give it a value: `--server-variable NAME=VALUE`, or give `--upstream URL`"
        } else {
            "correct it, take another one with `--server N`, or give `--upstream URL`"
        };
        cx.warn(codes::SERVER_UNUSABLE, at, title, help);
    }
}

/// A URL for messages: credentials in it are not shown, and it is not endless.
fn shown(url: &str) -> String {
    let short: String = url.chars().take(120).collect();
    match split(&short) {
        Some((scheme, authority, path)) if authority.contains('@') => {
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://…@{host}{path}")
        }
        _ => short,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str, base: Option<&str>) -> (Option<String>, String) {
        let options = Options { base_url: base.map(str::to_owned), ..Options::default() };
        let server = server(url.to_owned(), &options);
        (server.usable, server.base_path)
    }

    #[test]
    fn absolute_servers_are_usable_as_written() {
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(of("https://a.example/v1/", None), (some("https://a.example/v1"), "/v1".into()));
        assert_eq!(of("HTTP://a.example:80", None), (some("http://a.example"), String::new()));
        assert_eq!(of("http://a/%7e/i('x')", None).1, "/%7e/i('x')");
    }

    #[test]
    fn relative_servers_need_the_address_of_the_document() {
        let base = Some("https://h:1/spec/openapi.json");
        assert_eq!(of("/v1", None), (None, "/v1".into()));
        assert_eq!(of("/v1/", base), (Some("https://h:1/v1".into()), "/v1".into()));
        assert_eq!(of("../v2", base).0, Some("https://h:1/v2".into()));
        assert_eq!(of("//other/v3", base).0, Some("https://other/v3".into()));
    }

    #[test]
    fn what_no_request_can_be_sent_to_is_not_usable() {
        for url in
            ["ws://a", "http://", "http://a b", "<host>", "http://{h}/x", "http://a/?q=1", "http://a:x/"]
        {
            assert_eq!(of(url, None).0, None, "{url}");
            assert!(fault(url).is_some(), "{url}");
        }
        assert_eq!(of("https://{host}/v1", None).1, "/v1");
        assert_eq!(of("Your API URL", None).1, "Your");
        assert_eq!(of("https://h/v1 (production)", None), (None, "/v1".into()));
    }
}
