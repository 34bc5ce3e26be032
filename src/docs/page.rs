//! The HTML of the pages: index, reference, problems.
//!
//! Every text from outside goes through [`escape`]; there are no inline scripts or styles.

use std::fmt::Write;

use http_body::Body as _;

use super::{DocsApi, assets::address};
use crate::{
    exchange::Body,
    problem::{self, Blame, Kind, Problem},
};

/// For pages without a script.
pub(super) const CSP: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";
/// For the reference: its script makes styles of its own and sends requests to this origin only.
pub(super) const REFERENCE_CSP: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; \
    style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// A gate, drawn in the accent colour; `#` stands as `%23` in the address.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect \
    width='32' height='32' rx='7' fill='%230b7a6f'/%3E%3Cpath d='M8 25V15a8 8 0 0 1 16 0v10M13 25V16m6 9v-9M6 25h20' \
    fill='none' stroke='%23fff' stroke-width='2.4' stroke-linecap='round'/%3E%3C/svg%3E";

/// Longer summaries are cut in the index.
const MAX_SUMMARY: usize = 220;

/// All APIs of the gateway.
pub(super) fn index<'a>(prefix: &str, apis: impl Iterator<Item = &'a DocsApi>) -> String {
    let mut body = String::from("<h1>APIs</h1>\n");
    let mut count = 0;
    let mut list = String::new();
    for api in apis {
        count += 1;
        let (slug, title) = (&api.slug, escape(&api.title));
        let _ = writeln!(
            list,
            "<li class=card><h2><a href=\"{prefix}/{slug}\">{title}</a> <span class=tag>{}</span></h2>\n<p>{}</p>\n\
             <p class=meta><span>{} {}</span> <a href=\"{prefix}/{slug}/openapi.json\" aria-label=\"openapi.json of {title}\">openapi.json</a></p></li>",
            escape(&api.release),
            escape(&summary(&api.summary)),
            api.operations,
            if api.operations == 1 { "operation" } else { "operations" },
        );
    }
    if count == 0 {
        body.push_str("<p class=lead>This gateway serves no described API yet.</p>\n");
    } else {
        let _ = writeln!(
            body,
            "<p class=lead>{count} APIs behind this gateway. Each page lets you try the calls.</p>"
        );
        let _ = writeln!(body, "<ul class=cards>\n{list}</ul>");
    }
    let _ = writeln!(
        body,
        "<p class=meta>An answer with <code>application/problem+json</code>? See <a href=\"{prefix}/problems\">all problems</a>.</p>"
    );
    page(prefix, "APIs", &body)
}

/// One API in the reference.
pub(super) fn reference(prefix: &str, api: &DocsApi, several: bool) -> String {
    let title = escape(&api.title);
    let all = if several { format!("<a href=\"{prefix}\">All APIs</a>") } else { String::new() };
    format!(
        "{}<script src=\"{}\" defer></script>\n<script src=\"{}\" defer></script>\n</head>\n<body class=reference>\n\
         <header class=bar><span class=mark><img src=\"{ICON}\" alt=\"\" width=22 height=22> <b>{title}</b></span>\n\
         <nav aria-label=Documentation>{all}<a href=\"{prefix}/problems\">Problems</a><a href=\"{prefix}/{slug}/openapi.json\">openapi.json</a></nav></header>\n\
         <main id=reference data-description=\"{prefix}/{slug}/openapi.json\"><p class=wait role=status>Loading the reference …</p></main>\n\
         <noscript><p class=wait>The reference needs JavaScript. The description itself is at \
         <a href=\"{prefix}/{slug}/openapi.json\">{prefix}/{slug}/openapi.json</a>.</p></noscript>\n</body>\n</html>\n",
        head(prefix, &title),
        address(prefix, "boot.js"),
        address(prefix, "scalar.js"),
        slug = api.slug,
    )
}

/// Every problem type of the gateway.
pub(super) fn problems(prefix: &str) -> String {
    let mut body = String::from(
        "<h1>Problems</h1>\n<p class=lead>When the gateway itself refuses a request or cannot reach an upstream, it answers with \
         <code>application/problem+json</code> (RFC 9457) and <code>Proxy-Status</code> (RFC 9209). Errors of the API behind \
         it pass through untouched.</p>\n\
         <div class=scroll><table>\n<thead><tr><th scope=col>Status</th><th scope=col>Code</th><th scope=col>Meaning</th><th scope=col>Whose turn</th></tr></thead>\n<tbody>\n",
    );
    for kind in problem::ALL {
        let _ = writeln!(
            body,
            "<tr><td><span class=\"status {}\">{}</span></td><td><a href=\"{prefix}/problems/{slug}\"><code>{slug}</code></a></td><td>{}</td><td>{}</td></tr>",
            class(kind),
            kind.status.as_u16(),
            escape(kind.title),
            whose(kind.blame),
            slug = kind.slug,
        );
    }
    body.push_str("</tbody></table></div>\n");
    page(prefix, "Problems", &body)
}

/// The page behind the `type` of a problem document.
pub(super) fn problem(prefix: &str, kind: &'static Kind) -> String {
    let reason = kind.status.canonical_reason().unwrap_or_default();
    let body = format!(
        "<p class=meta><a href=\"{prefix}/problems\">All problems</a></p>\n<h1>{}</h1>\n\
         <p class=lead><span class=\"status {}\">{}</span> {} &middot; <code>{}</code></p>\n\
         <h2>What to do</h2>\n<p>{}</p>\n\
         <h2>Whose turn</h2>\n<p>{}</p>\n\
         <h2>How it looks</h2>\n<pre><code>{}</code></pre>\n\
         <p class=meta><code>request_id</code> joins the answer with the gateway's access log. <code>Proxy-Status</code> says <code>error={}</code>.</p>\n",
        capital(&escape(kind.title)),
        class(kind),
        kind.status.as_u16(),
        escape(reason),
        kind.slug,
        code(&escape(kind.help)),
        match kind.blame {
            Blame::Client => "The caller's: the request has to change, or to come later.",
            Blame::Upstream =>
                "The API's operator's: the gateway did its part, the server behind it did not answer as it should.",
            Blame::Gateway => "The gateway's operator's: a setting, a limit or a fault of the gateway.",
        },
        escape(&example(prefix, kind)),
        escape(kind.proxy_error),
    );
    page(prefix, kind.title, &body)
}

/// What the real writer makes of the row, so that the page cannot differ from the answers.
fn example(prefix: &str, kind: &'static Kind) -> String {
    let problem = Problem::new(kind, "what was wrong with this very request");
    let response =
        problem.into_response(&format!("https://api.example.com{prefix}/problems/"), "01J9ZKEXAMPLE");
    let mut text = format!("HTTP/1.1 {}\n", kind.status);
    for (name, value) in response.headers() {
        let _ = writeln!(text, "{name}: {}", value.to_str().unwrap_or_default());
    }
    debug_assert!(response.body().size_hint().exact().is_some());
    if let Body::Full(bytes) = response.body()
        && let Ok(document) = serde_json::from_slice::<serde_json::Value>(bytes)
    {
        let _ = write!(text, "\n{document:#}");
    }
    text
}

fn page(prefix: &str, title: &str, body: &str) -> String {
    format!(
        "{}</head>\n<body>\n<header class=bar><a class=mark href=\"{prefix}/\"><img src=\"{ICON}\" alt=\"\" width=22 height=22> <b>Gatewright</b></a>\n\
         <nav aria-label=Documentation><a href=\"{prefix}/\">APIs</a><a href=\"{prefix}/problems\">Problems</a></nav></header>\n<main class=page>\n{body}</main>\n</body>\n</html>\n",
        head(prefix, &escape(title)),
    )
}

fn head(prefix: &str, title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n<meta name=viewport content=\"width=device-width, initial-scale=1\">\n\
         <meta name=color-scheme content=\"light dark\">\n<title>{title}</title>\n<link rel=icon href=\"{ICON}\">\n<link rel=stylesheet href=\"{}\">\n",
        address(prefix, "style.css"),
    )
}

fn class(kind: &Kind) -> &'static str {
    if kind.status.is_server_error() { "server" } else { "client" }
}

fn whose(blame: Blame) -> &'static str {
    match blame {
        Blame::Client => "caller",
        Blame::Upstream => "upstream",
        Blame::Gateway => "gateway",
    }
}

/// Text as HTML text or attribute value.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && !c.is_whitespace() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Backticks of our own texts become `<code>`; the text is escaped already.
fn code(escaped: &str) -> String {
    let mut out = String::new();
    for (index, part) in escaped.split('`').enumerate() {
        let _ = if index % 2 == 1 { write!(out, "<code>{part}</code>") } else { write!(out, "{part}") };
    }
    out
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// The first paragraph, without the marks of Markdown that only disturb, shortened at a word.
fn summary(text: &str) -> String {
    let paragraph = text.trim_start().split("\n\n").next().unwrap_or_default();
    let words = paragraph.split_whitespace().map(|word| word.trim_matches(['#', '*', '`', '_']));
    let mut out = String::new();
    for word in words.filter(|word| !word.is_empty()) {
        if out.len() + word.len() >= MAX_SUMMARY {
            out.push('…');
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}
