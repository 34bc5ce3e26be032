//! Which dialect a document is written in, and what differs between them in one place each.

use super::{
    Version,
    document::{At, Document},
    report::{Context, short},
    value::Node,
};
use crate::diagnostic::{Code, Diagnostic, codes};

/// The version of a root document, or why it is no description.
pub fn detect(document: &Document) -> Result<Version, Box<Diagnostic>> {
    let root = document.tree.root();
    let refuse = |code: Code, at: At<'_>, title: String, help: &str| {
        Err(Box::new(Diagnostic::error(code, title).at(document.place(at)).help(help)))
    };
    if !root.is_object() {
        let title = format!("this is {}, not an OpenAPI description", root.describe());
        return refuse(codes::NOT_OPENAPI, At::Value(root), title, ROOT_HELP);
    }
    if let Some((key, stated)) = stated(root) {
        let text = stated.scalar().unwrap_or("?");
        return family(text).map_or_else(
            || {
                let title = format!("version `{}` of `{key}` cannot be read", short(text));
                let help = "versions 2.0 to 3.2 are read; convert the description to one of them";
                refuse(codes::VERSION_UNSUPPORTED, At::Key(root, key), title, help)
            },
            Ok,
        );
    }
    if let Some(version) = root.get("swaggerVersion") {
        let title = format!("Swagger {} cannot be read", short(version.scalar().unwrap_or("1.x")));
        let help = "convert it to OpenAPI 3 first, for example with `api-spec-converter`";
        return refuse(codes::VERSION_UNSUPPORTED, At::Key(root, "swaggerVersion"), title, help);
    }
    if let Some((key, name)) = FOREIGN.iter().find(|(key, _)| root.get(key).is_some()) {
        let title = format!("this is {name}, not an OpenAPI description");
        return refuse(
            codes::NOT_OPENAPI,
            At::Key(root, key),
            title,
            "name the OpenAPI description of the API",
        );
    }
    if root.get("paths").is_some_and(Node::is_object) {
        let help = "add the version as the first line, such as `openapi: 3.0.3` or `swagger: \"2.0\"`";
        let title = "the description does not state its version".to_owned();
        return refuse(codes::VERSION_UNSUPPORTED, At::Value(root), title, help);
    }
    refuse(codes::NOT_OPENAPI, At::Value(root), "this is not an OpenAPI description".to_owned(), ROOT_HELP)
}

const ROOT_HELP: &str = "an OpenAPI description starts with `openapi: 3.…` or `swagger: \"2.0\"`; \
                         of a split description, name the root file";

/// Whether a file looks like the root of a description, so that of a folder the parts of split descriptions
/// are left alone: it states a version at its top level. Cheap, and not a promise that it can be read.
#[must_use]
pub fn is_root(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)) else {
        return false;
    };
    let states = |line: &str| {
        let line = line.trim_start_matches(['"', '\'']);
        let rest = line.strip_prefix("openapi").or_else(|| line.strip_prefix("swagger"));
        rest.is_some_and(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(':'))
    };
    if !text.trim_start().starts_with('{') {
        return text.lines().any(states);
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => {
                if !quoted && depth == 1 && states(&text[i..]) {
                    return true;
                }
                quoted = !quoted;
            }
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Documents that are mistaken for descriptions, by the key they have.
const FOREIGN: &[(&str, &str)] = &[
    ("asyncapi", "an AsyncAPI document"),
    ("arazzo", "an Arazzo document"),
    ("overlay", "an OpenAPI Overlay"),
    ("raml", "a RAML document"),
    ("discoveryVersion", "a Google discovery document"),
    ("apiVersion", "a Kubernetes object"),
    ("_format_version", "a Kong configuration"),
    ("$schema", "a JSON Schema"),
];

fn stated(root: Node<'_>) -> Option<(&'static str, Node<'_>)> {
    ["openapi", "swagger"].into_iter().find_map(|key| Some((key, root.some(key)?)))
}

/// By the first two numbers; a later 3.x is read as the newest one known.
fn family(text: &str) -> Option<Version> {
    let text = text.trim().trim_start_matches(['v', 'V']);
    let mut parts = text.split(['.', '-', '+']);
    let number = |part: Option<&str>| part.and_then(|p| p.parse::<u32>().ok());
    match (number(parts.next())?, number(parts.next()).unwrap_or(0)) {
        (2, 0) => Some(Version::V2_0),
        (3, 0) => Some(Version::V3_0),
        (3, 1) => Some(Version::V3_1),
        (3, 2..) => Some(Version::V3_2),
        _ => None,
    }
}

/// Says when the version is not written as the specification has it.
pub fn check_version(cx: &mut Context<'_>, root: Node<'_>) {
    let Some((key, node)) = stated(root) else { return };
    let text = node.scalar().unwrap_or_default();
    let numbers: Vec<&str> = text.split('.').collect();
    let digits = numbers.iter().all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let usual = match cx.version {
        Version::V2_0 => key == "swagger" && text == "2.0",
        _ => key == "openapi" && digits && numbers.len() == 3 && matches!(numbers[1], "0" | "1" | "2"),
    };
    // `swagger: 2.0` without quotes is a number in YAML; nobody is misled by it.
    if usual {
        return;
    }
    let title = format!("the version is written `{key}: {text}`; it is read as {}", cx.version.as_str());
    let help = match cx.version {
        Version::V2_0 => "write `swagger: \"2.0\"`",
        _ => "write the full version in quotes, such as `openapi: \"3.0.3\"`",
    };
    cx.warn(codes::VERSION_ODD, At::Key(root, key), title, help);
}

impl Version {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2_0 => "2.0",
            Self::V3_0 => "3.0",
            Self::V3_1 => "3.1",
            Self::V3_2 => "3.2",
        }
    }

    /// The keys of a path item that are operations, in lower case.
    pub(super) fn methods(self) -> &'static [&'static str] {
        const ALL: &[&str] = &["get", "put", "post", "delete", "options", "head", "patch", "trace", "query"];
        match self {
            Self::V2_0 => &ALL[..7],
            Self::V3_0 | Self::V3_1 => &ALL[..8],
            Self::V3_2 => ALL,
        }
    }

    /// Where security schemes are defined.
    pub(super) fn security_schemes(self, root: Node<'_>) -> Option<Node<'_>> {
        match self {
            Self::V2_0 => root.get("securityDefinitions"),
            _ => root.get("components")?.get("securitySchemes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_told_from_parts_and_other_documents() {
        for root in [
            "# x\nopenapi: 3.0.0\n",
            "\u{feff}\"swagger\" : '2.0'",
            r#"{"a": {"b": "}"}, "openapi": "3.1.0"}"#,
        ] {
            assert!(is_root(root.as_bytes()), "{root}");
        }
        for part in [
            "get:\n  openapi: 3\n",
            r#"{"x": {"openapi": "3.1.0"}, "y": "openapi"}"#,
            "openapis: 1",
            "",
            "\u{1f}",
        ] {
            assert!(!is_root(part.as_bytes()), "{part}");
        }
    }

    #[test]
    fn versions_are_read_by_their_first_two_numbers() {
        assert_eq!(family("3.0.0-rc1"), Some(Version::V3_0));
        assert_eq!(family("3.1"), Some(Version::V3_1));
        assert_eq!(family("3"), Some(Version::V3_0));
        for unknown in ["1.2", "4.0.0", "2.1", "x"] {
            assert_eq!(family(unknown), None, "{unknown}");
        }
    }
}
