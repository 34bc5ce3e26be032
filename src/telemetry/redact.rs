//! Credentials in query strings, replaced before a query reaches any log.
//!
//! Errs on the side of hiding: a page token hidden costs a look elsewhere, a session token shown is a breach.

/// Names that carry credentials, in lower case without `-`, `_` and `.`.
const WHOLE: [&str; 16] = [
    "key",
    "auth",
    "authorization",
    "code",
    "jwt",
    "pass",
    "passwd",
    "passphrase",
    "pwd",
    "sid",
    "sig",
    "session",
    "sessionid",
    "jsessionid",
    "otp",
    "pin",
];
/// Parts that make any name one that carries credentials.
const PARTS: [&str; 8] =
    ["apikey", "accesskey", "token", "secret", "password", "signature", "credential", "privatekey"];
const MASK: &str = "***";
/// A longer name is none that anybody chose; it is not looked at but hidden.
const MAX_NAME: usize = 128;

/// Hands the query on in parts, with the values of secret parameters replaced. `more` names further ones.
pub(super) fn query(query: &str, more: &[String], mut part: impl FnMut(&str)) {
    // Most queries are handed on in one piece.
    let mut plain = 0;
    let mut start = 0;
    for pair in query.split(['&', ';']) {
        if let Some((name, value)) = pair.split_once('=')
            && !value.is_empty()
            && is_secret(name, more)
        {
            let value_at = start + name.len() + 1;
            part(&query[plain..value_at]);
            part(MASK);
            plain = value_at + value.len();
        }
        start += pair.len() + 1;
    }
    part(&query[plain..]);
}

fn is_secret(name: &str, more: &[String]) -> bool {
    if name.len() > MAX_NAME {
        return true;
    }
    // A server decodes the name before it compares, so this does too.
    let decoded: smallvec::SmallVec<[u8; 32]> = percent_encoding::percent_decode_str(name).collect();
    let bare = bare(&decoded);
    WHOLE.iter().any(|whole| bare[..] == *whole.as_bytes())
        || PARTS.iter().any(|part| memchr::memmem::find(&bare, part.as_bytes()).is_some())
        || more.iter().any(|other| other.as_bytes().eq_ignore_ascii_case(&decoded))
}

fn bare(name: &[u8]) -> smallvec::SmallVec<[u8; 32]> {
    name.iter().filter(|b| !matches!(b, b'-' | b'_' | b'.')).map(u8::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str, more: &[&str]) -> String {
        let more: Vec<String> = more.iter().map(ToString::to_string).collect();
        let mut out = String::new();
        query(text, &more, |part| out.push_str(part));
        out
    }

    #[test]
    fn values_of_secret_parameters_are_replaced() {
        for (given, expected) in [
            ("", ""),
            ("limit=5", "limit=5"),
            ("key=a&limit=5", "key=***&limit=5"),
            ("limit=5&access_token=a=b&x", "limit=5&access_token=***&x"),
            ("X-Api-Key=a;sig=b;c=d", "X-Api-Key=***;sig=***;c=d"),
            ("api%5Fkey=a&%6Bey=b", "api%5Fkey=***&%6Bey=***"),
            ("client_secret=a&X-Amz-Signature=b", "client_secret=***&X-Amz-Signature=***"),
            ("key=", "key="),
            ("key", "key"),
            ("keyboard=qwerty", "keyboard=qwerty"),
        ] {
            assert_eq!(redacted(given, &[]), expected);
        }
    }

    #[test]
    fn names_of_the_description_are_secret_too() {
        assert_eq!(redacted("appid=a&q=b", &["APPID"]), "appid=***&q=b");
    }

    #[test]
    fn an_endless_name_is_hidden() {
        let name = "a".repeat(MAX_NAME + 1);
        assert_eq!(redacted(&format!("{name}=b"), &[]), format!("{name}=***"));
    }
}
