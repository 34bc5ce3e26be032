//! `Accept-Language` brought to one of the languages that an upstream has, so that few variants are stored
//! (RFC 9110, 12.5.4; matching by RFC 4647, 3.3.1 and 3.4).

use http::{HeaderMap, HeaderValue, header, request::Parts};

/// More ranges than this are not looked at.
const MAX_RANGES: usize = 32;

/// The request as cache and upstream shall see it: it asks for the best of `languages`, or for none when it
/// takes none of them.
#[must_use]
pub fn normalised(head: &Parts, languages: &[HeaderValue]) -> Parts {
    let mut head = head.clone();
    let best = best(&head.headers, languages).cloned();
    head.headers.remove(header::ACCEPT_LANGUAGE);
    if let Some(best) = best {
        head.headers.insert(header::ACCEPT_LANGUAGE, best);
    }
    head
}

/// The language of `languages` that the request likes best; among equals the one it names first.
fn best<'a>(headers: &HeaderMap, languages: &'a [HeaderValue]) -> Option<&'a HeaderValue> {
    let lines = headers.get_all(header::ACCEPT_LANGUAGE).iter().filter_map(|line| line.to_str().ok());
    let mut ranges: Vec<(&str, u16)> =
        lines.flat_map(|line| line.split(',')).take(MAX_RANGES).filter_map(range).collect();
    ranges.sort_by_key(|(_, quality)| std::cmp::Reverse(*quality));
    let refused = |language: &HeaderValue| {
        ranges.iter().any(|(range, quality)| *quality == 0 && same(range, language.as_bytes()))
    };
    let wanted = ranges.iter().filter(|(_, quality)| *quality > 0);
    wanted.map(|(range, _)| range).find_map(|range| {
        let mut found = languages.iter().filter(|language| !refused(language));
        match *range {
            "*" => found.next(),
            range => {
                let at =
                    |end: usize| languages.iter().find(|l| same(&range[..end], l.as_bytes()) && !refused(l));
                // `de-AT` is served by `de` (look-up), and `de` by `de-AT` (filtering).
                let ends = std::iter::once(range.len()).chain(range.rmatch_indices('-').map(|(at, _)| at));
                ends.map(at).find_map(|found| found).or_else(|| found.find(|l| within(range, l.as_bytes())))
            }
        }
    })
}

/// A language range with its quality in thousandths.
fn range(item: &str) -> Option<(&str, u16)> {
    let (range, parameters) = item.split_once(';').map_or((item, ""), |(range, rest)| (range, rest));
    let range = range.trim();
    let quality = match parameters.trim().strip_prefix("q=").or(parameters.trim().strip_prefix("Q=")) {
        Some(quality) => (quality.trim().parse::<f32>().ok()?.clamp(0.0, 1.0) * 1000.0) as u16,
        None => 1000,
    };
    (!range.is_empty()).then_some((range, quality))
}

fn same(range: &str, language: &[u8]) -> bool {
    range.as_bytes().eq_ignore_ascii_case(language)
}

/// Whether the language is the range and further subtags.
fn within(range: &str, language: &[u8]) -> bool {
    language.len() > range.len() && language[range.len()] == b'-' && same(range, &language[..range.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(accept: &str) -> Option<String> {
        let languages = ["en", "de", "pt-BR"].map(HeaderValue::from_static);
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_str(accept).unwrap());
        best(&headers, &languages).map(|best| best.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_best_language_that_there_is() {
        for (accept, language) in [
            ("de", Some("de")),
            ("DE-at, en;q=0.9", Some("de")),
            ("en;q=0.4, de;q=0.5", Some("de")),
            ("fr, *;q=0.1", Some("en")),
            ("pt", Some("pt-BR")),
            ("pt-br", Some("pt-BR")),
            ("pt-PT", None),
            ("fr", None),
            ("en;q=0, *", Some("de")),
            ("de;q=0", None),
            ("", None),
            ("de;q=x, en", Some("en")),
            ("*", Some("en")),
            ("zh-Hant-TW, de-DE-1996;q=0.5", Some("de")),
        ] {
            assert_eq!(asked(accept).as_deref(), language, "{accept}");
        }
    }

    #[test]
    fn the_request_asks_for_it_and_for_nothing_else() {
        let request = http::Request::get("/").header("accept-language", "fr;q=0.1, de-CH");
        let head = request.header("accept-language", "en;q=0.3").body(()).unwrap().into_parts().0;
        let languages = ["de", "en"].map(HeaderValue::from_static);
        let normal = normalised(&head, &languages);
        assert_eq!(normal.headers.get_all("accept-language").iter().collect::<Vec<_>>(), ["de"]);
        assert!(normalised(&head, &["it"].map(HeaderValue::from_static)).headers.is_empty());
    }
}
