//! `$ref`: where it leads, in this file or another one of the folder, and why it leads nowhere.
//!
//! Addresses are not fetched unless the user allows it: only what the loader finds in the description's
//! folder counts. A reference is relative to the file it stands in (RFC 3986, 5.2), its fragment a JSON pointer (RFC 6901)
//! or the name of an anchor; pointers are also tried inside the nearest schema with an `$id`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{
    document::{Document, Files},
    value::Node,
};

/// References to references beyond this are a circle.
const MAX_HOPS: usize = 64;

/// Why a reference leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Another host or a scheme that is not a file of the folder.
    Remote,
    /// `..` or `/` leads out of the description's folder.
    Outside,
    /// The file is not there or cannot be read.
    File(String),
    /// The file is there, the place in it is not.
    Pointer,
    /// It leads back to itself.
    Circle,
}

impl Lost {
    /// The fact, for a title: "leads to …".
    pub fn reason(&self) -> Cow<'static, str> {
        match self {
            Self::Remote => "leads to another host".into(),
            Self::Outside => "leads out of the folder of the description".into(),
            Self::File(reason) => format!("leads to a file that cannot be read ({reason})").into(),
            Self::Pointer => "leads to a place that is not there".into(),
            Self::Circle => "leads back to itself".into(),
        }
    }

    pub fn help(&self) -> &'static str {
        match self {
            Self::Remote => {
                "addresses are not fetched: download the document beside this one and refer to it there"
            }
            Self::Outside => {
                "only files of the description's folder are read: import the folder that holds both, \
                 or move the file into it"
            }
            Self::File(_) => "check the name: it is relative to the file in which the reference stands",
            Self::Pointer => "check the name after `#`; in a key `/` is written `~1` and `~` is written `~0`",
            Self::Circle => "let one of the references in the circle lead to the thing itself",
        }
    }
}

/// The reference of an object that is one.
pub fn reference<'a>(node: Node<'a>) -> Option<&'a str> {
    node.str("$ref")
}

/// Follows references until something that is none.
pub fn resolve<'a>(files: &'a Files<'_>, node: Node<'a>) -> Result<Node<'a>, Lost> {
    let mut node = node;
    for _ in 0..MAX_HOPS {
        let Some(text) = reference(node) else { return Ok(node) };
        let next = target(files, node, text)?;
        if next == node {
            return Err(Lost::Circle);
        }
        node = next;
    }
    Err(Lost::Circle)
}

/// Where the reference `text` in the object `from` leads, one step.
pub fn target<'a>(files: &'a Files<'_>, from: Node<'a>, text: &str) -> Result<Node<'a>, Lost> {
    let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
    let document = files.get(from.file() as usize);
    if address.is_empty() {
        return within(document.tree.root(), fragment)
            .or_else(|| within_schema(from, fragment))
            .ok_or(Lost::Pointer);
    }
    let root = match locate(files, document, address) {
        Ok(document) => document.tree.root(),
        Err(lost) => identified(document, address).ok_or(lost)?,
    };
    within(root, fragment).ok_or(Lost::Pointer)
}

/// Where a reference leads when all files stand in one: `holder` gives the pointer to a file's root there.
/// `None` when it leads to none of them.
pub fn relocate(
    documents: &[Document],
    from: u32,
    text: &str,
    holder: impl Fn(usize) -> String,
) -> Option<String> {
    let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
    let file = if address.is_empty() {
        from as usize
    } else {
        let path = path_of(&documents[from as usize].path, address).ok()?;
        documents.iter().position(|document| document.path == path)?
    };
    (fragment.is_empty() || fragment.starts_with('/')).then(|| format!("#{}{fragment}", holder(file)))
}

/// The file that an address without fragment names.
fn locate<'a>(files: &'a Files<'_>, from: &Document, address: &str) -> Result<&'a Document, Lost> {
    let own = files.root().tree.root().str("$self");
    if own.is_some_and(|own| own.split('#').next() == Some(address)) {
        return Ok(files.root());
    }
    let path = path_of(&from.path, address)?;
    if is_url(&path) && !files.remote {
        return Err(Lost::Remote);
    }
    files.load(&path).map_err(Lost::File)
}

/// The path in the folder, or the URL, that an address in the file `from` names.
fn path_of(from: &str, address: &str) -> Result<String, Lost> {
    if is_url(address) {
        return Ok(address.to_owned());
    }
    let is_scheme = |s: &str| s.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if address.split_once(':').is_some_and(|(scheme, _)| is_scheme(scheme)) {
        return Err(Lost::Remote);
    }
    if is_url(from) {
        return url::Url::parse(from)
            .and_then(|base| base.join(address))
            .map(Into::into)
            .map_err(|_| Lost::Remote);
    }
    if address.starts_with("//") {
        return Err(Lost::Remote);
    }
    let path = address.split('?').next().unwrap_or_default();
    let path = percent_decode_str(path).decode_utf8_lossy().replace('\\', "/");
    join(from, &path).ok_or(Lost::Outside)
}

/// Whether something is an address that can be fetched, when that is allowed.
pub fn is_url(text: &str) -> bool {
    let starts = |scheme: &str| text.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme));
    starts("http://") || starts("https://")
}

/// `address` relative to the folder of `base`, without `.` and `..`; `None` when it leaves the root.
fn join(base: &str, address: &str) -> Option<String> {
    if address.starts_with('/') || address.contains('\0') {
        return None;
    }
    let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in address.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The place that a fragment names under `root`.
fn within<'a>(root: Node<'a>, fragment: &str) -> Option<Node<'a>> {
    if fragment.is_empty() {
        return Some(root);
    }
    if !fragment.starts_with('/') {
        return anchor(root, fragment);
    }
    let walk = |pointer: &str| {
        pointer.split('/').skip(1).try_fold(root, |node, part| {
            if part.contains('~') {
                node.step(&part.replace("~1", "/").replace("~0", "~"))
            } else {
                node.step(part)
            }
        })
    };
    if !fragment.contains('%') {
        return walk(fragment);
    }
    walk(&percent_decode_str(fragment).decode_utf8_lossy()).or_else(|| walk(fragment))
}

/// Inside the schemas with an `$id` that enclose `from`, the nearest first.
fn within_schema<'a>(from: Node<'a>, fragment: &str) -> Option<Node<'a>> {
    let mut node = Some(from);
    while let Some(here) = node {
        if here.str("$id").is_some()
            && let Some(found) = within(here, fragment)
        {
            return Some(found);
        }
        node = here.parent();
    }
    None
}

/// The schema of this document that has `address` as its `$id`.
fn identified<'a>(document: &'a Document, address: &str) -> Option<Node<'a>> {
    document.tree.ids().get(address).map(|id| document.tree.node(*id))
}

fn anchor<'a>(root: Node<'a>, name: &str) -> Option<Node<'a>> {
    root.tree().anchors().get(name).map(|id| root.tree().node(*id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_files() {
        assert_eq!(path_of("a/b.yaml", "https://h/x.yaml"), Ok("https://h/x.yaml".into()));
        assert_eq!(path_of("https://h/a/b.yaml", "../x%20y.yaml"), Ok("https://h/x%20y.yaml".into()));
        assert_eq!(path_of("a/b.yaml", "x%20y.yaml?v=1"), Ok("a/x y.yaml".into()));
        for remote in ["file:///etc/passwd", "ftp://h/x", "//h/x", "urn:x"] {
            assert_eq!(path_of("a/b.yaml", remote), Err(Lost::Remote), "{remote}");
        }
    }

    #[test]
    fn relative_references_stay_in_the_folder() {
        assert_eq!(join("spec/root.yaml", "../common/./x.yaml").as_deref(), Some("common/x.yaml"));
        assert_eq!(join("root.yaml", "a//b.yaml").as_deref(), Some("a/b.yaml"));
        for outside in ["../x.yaml", "a/../../x.yaml", "/etc/passwd"] {
            assert_eq!(join("root.yaml", outside), None, "{outside}");
        }
    }
}
