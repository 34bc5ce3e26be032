//! Path items: what a key of `paths` stands for, and the methods it has.

use std::collections::HashSet;

use super::{
    Version,
    document::At,
    reference::{self, Lost},
    report::{Context, short},
    value::{Node, escape},
};
use crate::diagnostic::codes;

/// Path items may refer to path items this often.
const MAX_LAYERS: usize = 16;

/// A path item with everything it stands for: itself and what it refers to, itself first.
pub struct Item<'a> {
    pub key: &'a str,
    /// The object that holds all paths.
    paths: Node<'a>,
    /// Empty when it is no path item.
    pub layers: Vec<Node<'a>>,
}

/// One method of a path item.
pub struct Found<'a> {
    pub method: String,
    pub at: At<'a>,
    pub node: Node<'a>,
    pub pointer: String,
}

impl<'a> Item<'a> {
    /// Follows its `$ref`s.
    pub fn read(cx: &mut Context<'a>, paths: Node<'a>, key: &'a str, node: Node<'a>) -> Self {
        let mut item = Item { key, paths, layers: Vec::new() };
        if !node.is_object() {
            let title = format!("the path `{}` is {}, not a path item", short(key), node.describe());
            let help = "write its operations under it, or remove it";
            cx.warn(codes::PATH_ITEM_REF_UNRESOLVED, item.at(), title, help);
            return item;
        }
        item.layers.push(node);
        let mut node = node;
        while let Some(text) = reference::reference(node) {
            let fault = match reference::target(cx.files, node, text) {
                Ok(target) if item.layers.contains(&target) || item.layers.len() > MAX_LAYERS => {
                    Lost::Circle.reason()
                }
                Ok(target) if !target.is_object() => {
                    format!("leads to {}, not to a path item", target.describe()).into()
                }
                Ok(target) => {
                    item.layers.push(target);
                    node = target;
                    continue;
                }
                Err(lost) => lost.reason(),
            };
            let title = format!("the reference of the path `{}` {fault}", short(key));
            let help =
                "its operations are unknown and not routed: let it lead to a path item of this description";
            cx.warn(codes::PATH_ITEM_REF_UNRESOLVED, item.at(), title, help);
            break;
        }
        item
    }

    pub fn at(&self) -> At<'a> {
        At::Key(self.paths, self.key)
    }

    /// Its methods in the order of its keys; own ones hide those of what it refers to.
    pub fn methods(&self, cx: &mut Context<'a>) -> Vec<Found<'a>> {
        let mut all = Methods { found: Vec::new(), seen: HashSet::new(), own: true };
        let base = format!("/paths/{}", escape(self.key));
        for layer in &self.layers {
            for (key, node) in layer.members() {
                let at = At::Key(*layer, key);
                if cx.version.methods().contains(&key) {
                    all.add(key.to_ascii_uppercase(), at, node, || format!("{base}/{key}"));
                } else if key == "additionalOperations" && cx.version == Version::V3_2 {
                    for (method, operation) in node.members().filter(|(method, _)| !method.starts_with("x-"))
                    {
                        let at = At::Key(node, method);
                        if is_token(method) {
                            let pointer = || format!("{base}/{key}/{}", escape(method));
                            all.add(method.to_owned(), at, operation, pointer);
                        } else {
                            unknown(cx, at, method);
                        }
                    }
                } else if node.is_object() && !key.starts_with("x-") && !NO_METHODS.contains(&key) {
                    unknown(cx, at, key);
                }
            }
            all.own = false;
        }
        all.found
    }
}

struct Methods<'a> {
    found: Vec<Found<'a>>,
    seen: HashSet<String>,
    /// Whether they are the item's own, so that their pointer starts with its path.
    own: bool,
}

impl<'a> Methods<'a> {
    fn add(&mut self, method: String, at: At<'a>, node: Node<'a>, pointer: impl Fn() -> String) {
        if self.seen.insert(method.clone()) {
            let pointer = if self.own { pointer() } else { node.pointer() };
            self.found.push(Found { method, at, node, pointer });
        }
    }
}

/// Keys of a path item that are no methods.
const NO_METHODS: &[&str] = &["summary", "description", "servers", "parameters", "$ref"];

fn unknown(cx: &mut Context<'_>, at: At<'_>, key: &str) {
    let title = format!("`{}` is not a method of {}", short(key), cx.version.as_str());
    let near =
        crate::diagnostic::suggest(&short(&key.to_ascii_lowercase()), cx.version.methods().iter().copied());
    let help = near.map_or_else(
        || "it is left out; extensions start with `x-`, other methods stand under `additionalOperations` (3.2)".to_owned(),
        |near| format!("it is left out; did you mean `{near}`?"),
    );
    cx.warn(codes::METHOD_UNKNOWN, at, title, help);
}

/// RFC 9110, 5.6.2: what a method may be made of.
fn is_token(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.len() <= 64 && text.chars().all(fine)
}
