//! Values that are one text each: what they may be, and what is said when they are not.

use std::{net::SocketAddr, num::NonZeroU64, time::Duration};

use http::{HeaderName, HeaderValue, Method};
use url::Url;

use super::{
    read::{FromNode, Reader},
    record::Shape,
    span::Node,
    value::{
        HostName, KeyPrefix, Language, Location, Pem, Percent, Prefix, Range, Secret, ServerUrl, Size,
        UpstreamRef,
    },
};
use crate::{
    diagnostic::suggest,
    gateway::{Network, route::EncodedSlash},
    policy::{rate_limit::Per, security::Mode},
    route::{Template, normalise},
    shared::{self, Address},
};

impl FromNode for String {
    const WHAT: &'static str = "a text";

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, |text| {
            if text.is_empty() { Err("it must not be empty".to_owned()) } else { Ok(text.to_owned()) }
        })
    }
}

impl FromNode for Secret {
    const WHAT: &'static str = "a secret such as `${NAME}` or `${file:PATH}`";

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let help = || "it must not be empty".to_owned();
        reader.scalar(
            Self::WHAT,
            node,
            |text| if text.is_empty() { Err(help()) } else { Ok(Self(text.to_owned())) },
        )
    }
}

impl FromNode for bool {
    const WHAT: &'static str = "`true` or `false`";
    const SHAPE: Shape = Shape::Bool;

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(String::new()),
        })
    }
}

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl FromNode for $ty {
            const WHAT: &'static str = "a whole number";
            const SHAPE: Shape = Shape::Number;

            fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
                reader.scalar(Self::WHAT, node, |text| {
                    let (least, most) = (<$ty>::MIN, <$ty>::MAX);
                    text.parse().map_err(|_| format!("from {least} to {most}, in digits alone"))
                })
            }
        }
    )*};
}
integers!(u32, u64, usize, NonZeroU64);

impl FromNode for Duration {
    const WHAT: &'static str = "a duration such as `30s`";
    const SHAPE: Shape = Shape::Form(Self::WHAT, "^([0-9]+(ms|s|m|h|d))+$");

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, |text| {
            duration(text).ok_or_else(|| {
                "write a whole number and `ms`, `s`, `m`, `h` or `d`, such as `1h30m`".to_owned()
            })
        })
    }
}

/// `250ms`, `1h30m`: at most ten thousand days.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
        let (unit, after) = after.split_at(after.bytes().take_while(u8::is_ascii_alphabetic).count());
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let part = digits.parse::<u64>().ok()?.checked_mul(millis)?;
        total = total.checked_add(Duration::from_millis(part))?;
        rest = after;
    }
    (!text.is_empty() && total <= Duration::from_hours(240_000)).then_some(total)
}

impl FromNode for Size {
    const WHAT: &'static str = "a size such as `64KiB`, `10MB` or `1048576`";
    const SHAPE: Shape = Shape::Size;

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, |text| {
            size(text).ok_or_else(|| {
                "write a whole number, in bytes or with `KB`, `MB`, `GB`, `KiB`, `MiB` or `GiB`".to_owned()
            })
        })
    }
}

impl FromNode for Percent {
    const WHAT: &'static str = "a share such as `50%`";

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, |text| {
            let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
            number
                .filter(|number| (1..=100).contains(number))
                .map(Self)
                .ok_or_else(|| "write a whole number from 1 to 100 with `%`".to_owned())
        })
    }
}

fn size(text: &str) -> Option<Size> {
    let (digits, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor).map(Size)
}

impl FromNode for SocketAddr {
    const WHAT: &'static str = "an address such as `127.0.0.1:8080`";
    const SHAPE: Shape = Shape::Form(Self::WHAT, ":[0-9]+$");

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, |text| {
            let text =
                text.strip_prefix("localhost:").map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
            text.parse().map_err(|_| {
                let port = text.trim_start_matches(':').trim_start_matches("*:");
                match port.parse::<u16>() {
                    Ok(port) => format!(
                        "did you mean `127.0.0.1:{port}` (this machine) or `0.0.0.0:{port}` (all networks)?"
                    ),
                    Err(_) => {
                        "write an IP address and a port; IPv6 in brackets, such as `[::]:8080`".to_owned()
                    }
                }
            })
        })
    }
}

impl FromNode for Range {
    const WHAT: &'static str = "an address range such as `10.0.0.0/8`";

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, |text| {
            let network = Network::parse(text).ok_or_else(String::new)?;
            Ok(Self { text: text.to_owned(), network })
        })
    }
}

impl FromNode for ServerUrl {
    const WHAT: &'static str = "an address such as `http://10.0.0.5:8000`";
    const SHAPE: Shape = Shape::Form(Self::WHAT, "^[Hh][Tt][Tt][Pp][Ss]?://");

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, |text| server_url(text).map(Self))
    }
}

impl FromNode for UpstreamRef {
    const WHAT: &'static str = "the name of an upstream, or an address such as `http://10.0.0.5:8000`";

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, |text| match text {
            "" => Err(String::new()),
            _ if text.contains("://") => server_url(text).map(Self::Url),
            _ => Ok(Self::Name(text.to_owned())),
        })
    }
}

fn server_url(text: &str) -> Result<Url, String> {
    if !text.contains("://") {
        return Err(format!("did you mean `http://{text}`?"));
    }
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        Err("only `http` and `https` can be called".into())
    } else if !url.username().is_empty() || url.password().is_some() {
        Err("take the credentials out and write them under `credentials`".into())
    } else if url.query().is_some() || url.fragment().is_some() {
        Err("take out what stands from `?` or `#` on".into())
    } else {
        Ok(url)
    }
}

impl FromNode for Address {
    const WHAT: &'static str = "an address such as `redis://127.0.0.1:6379`";

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, Self::parse)
    }
}

impl FromNode for KeyPrefix {
    const WHAT: &'static str = "a prefix of keys such as `gatewright`";

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, |text| shared::check_prefix(text).map(|()| Self(text.to_owned())))
    }
}

impl FromNode for Location {
    const WHAT: &'static str = "a file or an address such as `https://idp.example/jwks.json`";

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, |text| match text {
            "" => Err(String::new()),
            _ if text.contains("://") => {
                let url = Url::parse(text).map_err(|error| error.to_string())?;
                let http = matches!(url.scheme(), "http" | "https");
                if http { Ok(Self::Url(url)) } else { Err("only `http` and `https` can be called".into()) }
            }
            _ => Ok(Self::File(text.to_owned())),
        })
    }
}

impl FromNode for Pem {
    const WHAT: &'static str = "a public key in PEM form, or the file that holds it";

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, |text| match text {
            "" => Err(String::new()),
            _ if text.contains("-----BEGIN") => Ok(Self::Text(Secret(text.to_owned()))),
            _ if text.contains('\n') => Err("the text does not begin with `-----BEGIN`".into()),
            _ => Ok(Self::File(text.to_owned())),
        })
    }
}

impl FromNode for HostName {
    const WHAT: &'static str = "a host name such as `api.example.com` or `*.example.com`";

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, |text| {
            let (stars, name) = match text.strip_prefix("*.") {
                Some(name) => ("*.", name),
                None => ("", text),
            };
            let port = name.contains(':') && !name.starts_with('[') || name.contains("]:");
            match normalise(name) {
                _ if text == "*" => Ok(Self("*".into())),
                _ if port => Err("leave the port out: it is the listener's".into()),
                Ok(host) if !host.is_empty() => Ok(Self(format!("{stars}{host}"))),
                Ok(_) => Err(String::new()),
                Err(error) => Err(error.as_str().into()),
            }
        })
    }
}

impl FromNode for Prefix {
    const WHAT: &'static str = "a path such as `/petstore`";
    const SHAPE: Shape = Shape::Form(Self::WHAT, "^/");

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, |text| {
            let text = text.trim_end_matches('/');
            let template = Template::parse(if text.is_empty() { "/" } else { text });
            match template.map_err(|error| error.as_str().to_owned())? {
                template if !template.is_literal() => Err("parameters cannot stand here".into()),
                _ if text.is_empty() => Ok(Self::default()),
                template => Ok(Self(template.to_string())),
            }
        })
    }
}

impl FromNode for Template {
    const WHAT: &'static str = "a path such as `/legacy/**` or `/users/{id}`";
    const SHAPE: Shape = Shape::Form(Self::WHAT, "^/");

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, |text| {
            Self::parse_with_tail(text).map_err(|error| error.as_str().to_owned())
        })
    }
}

impl FromNode for Method {
    const WHAT: &'static str = "a method such as `GET`";

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, |text| match text.to_ascii_uppercase() {
            upper if upper != text => Err(format!("did you mean `{upper}`? methods are case-sensitive")),
            upper if upper == "CONNECT" => Err("CONNECT is not served".into()),
            upper => Self::from_bytes(upper.as_bytes()).map_err(|_| String::new()),
        })
    }
}

impl FromNode for HeaderName {
    const WHAT: &'static str = "the name of a header field";

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, header_name)
    }
}

impl FromNode for Language {
    const WHAT: &'static str = "a language such as `de` or `pt-BR`";

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, |text| {
            let subtag =
                |tag: &str| (1..=8).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric());
            match HeaderValue::from_str(text) {
                Ok(value) if text.split('-').all(subtag) => Ok(Self(value)),
                _ => Err("letters and digits, with `-` between the parts, make a language".into()),
            }
        })
    }
}

/// Fields that the gateway itself must be right about cannot be written by hand.
pub(super) fn header_name(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::try_from(text).map_err(|_| "letters, digits and `-` make a name".to_owned())?;
    let own = [
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    if own.contains(&name.as_str()) { Err("the gateway sets this field itself".into()) } else { Ok(name) }
}

impl FromNode for HeaderValue {
    const WHAT: &'static str = "the value of a header field";

    fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        reader.scalar(Self::WHAT, node, |text| {
            let mut value = Self::try_from(text)
                .map_err(|_| "line breaks and control characters cannot be sent".to_owned())?;
            value.set_sensitive(true);
            Ok(value)
        })
    }
}

/// A closed set of words, read with a suggestion for what is none of them.
macro_rules! words {
    ($Name:ty: $first:literal => $value:expr $(, $word:literal => $other:expr)* $(,)?) => {
        impl FromNode for $Name {
            const WHAT: &'static str = concat!("one of `", $first, "`" $(, ", `", $word, "`")*);
            const SHAPE: Shape = Shape::Words(&[$first $(, $word)*]);

            fn from_node(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
                reader.scalar(Self::WHAT, node, |text| match text {
                    $first => Ok($value),
                    $($word => Ok($other),)*
                    _ => Err(suggest(text, [$first $(, $word)*]).map_or_else(String::new, |near| format!("did you mean `{near}`?"))),
                })
            }
        }
    };
}
pub(super) use words;

words!(Mode: "pass" => Self::Pass, "enforce" => Self::Enforce, "gateway" => Self::Gateway);
words!(EncodedSlash: "refuse" => Self::Refuse, "keep" => Self::Keep, "unambiguous" => Self::Unambiguous);
words!(
    Per: "consumer" => Self::Consumer, "key" => Self::Key, "address" => Self::Address, "api" => Self::Api,
    "operation" => Self::Operation, "global" => Self::Global
);
