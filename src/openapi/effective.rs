//! The effective description: what the documentation shows, as JSON text in the order of the original.
//!
//! The same document with the gateway's own URL as server, only the operations that are routed, the
//! security schemes that the gateway checks, the answers it can give, and all files of a split description
//! in one. Configuration (`x-gatewright`) and backends of other gateways are left out: they are not for readers.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{
    Api, Operation, Version,
    reference::{self, relocate},
    siting::{self, Siting},
    value::{Kind, Node},
};

/// Where the other files of a split description stand.
const FILES: &str = "x-files";
const SECURITY: &str = "security";
/// Where 3.x has its security schemes, under `components`.
const SCHEMES: &str = "securitySchemes";
/// Aliases can make a short text long; what is beyond this many values is written as null.
const BUDGET: usize = 8_000_000;

/// What the gateway puts into it.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Scheme, host and port under which the gateway is called.
    pub origin: &'a str,
    pub siting: &'a Siting,
    /// The gateway's own schemes by name, and the requirement list that any of them meets.
    pub own: (&'a Map<String, Value>, &'a Value),
    /// What the API as a whole asks for.
    pub asks: Asks,
    /// How each of [`Api::operations`] is treated, in their order.
    pub operations: &'a [ShownOperation],
}

/// What a caller must show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asks {
    /// What the description says, whoever checks it.
    #[default]
    AsDescribed,
    /// [`Shown::own`].
    Own,
    Nothing,
}

/// What the gateway does about one operation.
#[derive(Clone, Debug, Default)]
pub struct ShownOperation {
    /// It is left out.
    pub hidden: bool,
    pub asks: Asks,
    /// Answers of the gateway itself, status and description, where the operation does not declare them.
    pub answers: Vec<(u16, &'static str)>,
}

/// Writes it.
#[must_use]
pub fn write(api: &Api, shown: &Shown<'_>) -> Vec<u8> {
    let routed = api.operations.iter().enumerate().filter_map(|(index, o)| {
        let manner = shown.operations.get(index);
        (!manner.is_some_and(|manner| manner.hidden))
            .then_some(((o.key.as_str(), o.method.as_str()), (o, manner)))
    });
    let routed: Routed<'_> = routed.collect();
    let used: Vec<Asks> = routed.values().filter_map(|(_, manner)| Some((*manner)?.asks)).collect();
    let mut writer = Writer {
        out: Vec::with_capacity(api.documents.iter().map(|d| d.tree.text().len()).sum()),
        api,
        shown,
        routed,
        own_schemes: shown.asks == Asks::Own || used.contains(&Asks::Own),
        described_schemes: shown.asks == Asks::AsDescribed || used.contains(&Asks::AsDescribed),
        prefix: siting::document_prefix(api, shown.siting),
        budget: BUDGET,
    };
    if let Some(root) = api.documents.first() {
        writer.root(root.tree.root());
    }
    writer.out
}

/// The operations that are shown, by path key and method.
type Routed<'w> = HashMap<(&'w str, &'w str), (&'w Operation, Option<&'w ShownOperation>)>;

struct Writer<'w> {
    out: Vec<u8>,
    api: &'w Api,
    shown: &'w Shown<'w>,
    routed: Routed<'w>,
    /// Which schemes any operation that is shown asks for.
    own_schemes: bool,
    described_schemes: bool,
    prefix: String,
    budget: usize,
}

impl<'w> Writer<'w> {
    fn root(&mut self, root: Node<'w>) {
        let swagger = self.api.version == Version::V2_0;
        let holder = if swagger { "securityDefinitions" } else { "components" };
        let mut open = self.open();
        for (key, value) in root.members().filter(|(key, _)| is_shown(key)) {
            match key {
                "servers" | "host" | "basePath" | "schemes" => {}
                SECURITY if self.shown.asks != Asks::AsDescribed => {}
                "paths" => {
                    self.key(&mut open, key);
                    self.paths(value);
                }
                "components" if !swagger => {
                    self.key(&mut open, key);
                    self.components(value);
                }
                key if key == holder && self.own_schemes => {}
                _ => self.member(&mut open, key, value),
            }
        }
        self.servers(&mut open, swagger);
        self.security(&mut open, self.shown.asks);
        if self.own_schemes && swagger {
            self.key(&mut open, holder);
            self.schemes(root.get(holder));
        } else if self.own_schemes && root.get(holder).is_none() {
            self.json(&mut open, holder, &serde_json::json!({ "securitySchemes": self.shown.own.0 }));
        }
        self.files(&mut open);
        self.out.push(b'}');
    }

    fn servers(&mut self, open: &mut bool, swagger: bool) {
        let url = format!("{}{}", self.shown.origin, self.prefix);
        if !swagger {
            return self.json(open, "servers", &serde_json::json!([{ "url": url }]));
        }
        let (scheme, host) = self.shown.origin.split_once("://").unwrap_or(("http", self.shown.origin));
        self.json(open, "host", &host.into());
        self.json(open, "schemes", &serde_json::json!([scheme]));
        let base = if self.prefix.is_empty() { "/" } else { &self.prefix };
        self.json(open, "basePath", &base.into());
    }

    fn components(&mut self, node: Node<'w>) {
        let mut open = self.open();
        for (key, value) in node.members().filter(|(key, _)| is_shown(key)) {
            if key != SCHEMES || !self.own_schemes {
                self.member(&mut open, key, value);
            }
        }
        if self.own_schemes {
            self.key(&mut open, SCHEMES);
            self.schemes(node.get(SCHEMES));
        }
        self.out.push(b'}');
    }

    /// The gateway's own schemes, behind the description's where some operation still asks for these.
    fn schemes(&mut self, described: Option<Node<'w>>) {
        let own = self.shown.own.0;
        let mut open = self.open();
        for (name, scheme) in described.into_iter().flat_map(Node::members) {
            if self.described_schemes && is_shown(name) && !own.contains_key(name) {
                self.member(&mut open, name, scheme);
            }
        }
        for (name, scheme) in own {
            self.json(&mut open, name, scheme);
        }
        self.out.push(b'}');
    }

    /// The requirements in the place of the description's own.
    fn security(&mut self, open: &mut bool, asks: Asks) {
        match asks {
            Asks::AsDescribed => {}
            Asks::Own => self.json(open, SECURITY, self.shown.own.1),
            Asks::Nothing => self.json(open, SECURITY, &Value::Array(Vec::new())),
        }
    }

    /// An operation's requirements, where they are other than those at the root: `described` are its own.
    fn security_of(&mut self, open: &mut bool, asks: Asks, described: Option<Node<'w>>) {
        let at_root = self.shown.asks;
        match asks {
            Asks::AsDescribed => {
                let root = self.api.documents.first().and_then(|root| root.tree.root().get(SECURITY));
                match described.or(root.filter(|_| at_root != Asks::AsDescribed)) {
                    Some(requirements) => self.member(open, SECURITY, requirements),
                    None if at_root != Asks::AsDescribed => self.security(open, Asks::Nothing),
                    None => {}
                }
            }
            _ if asks == at_root => {}
            _ => self.security(open, asks),
        }
    }

    fn paths(&mut self, node: Node<'w>) {
        let with_operations: HashSet<&str> = self.routed.keys().map(|(key, _)| *key).collect();
        let mut open = self.open();
        for (key, value) in node.members() {
            if key.starts_with("x-") {
                self.member(&mut open, key, value);
            } else if with_operations.contains(key) {
                self.key(&mut open, key);
                self.item(key, value);
            }
        }
        self.out.push(b'}');
    }

    /// A path item with what it refers to, own members first.
    fn item(&mut self, path: &str, node: Node<'w>) {
        let mut open = self.open();
        let mut written = HashSet::new();
        let mut layer = Some(node);
        for _ in 0..16 {
            let Some(node) = layer else { break };
            for (key, value) in
                node.members().filter(|(key, _)| is_shown(key) && !matches!(*key, "$ref" | "servers"))
            {
                if !written.insert(key) {
                    continue;
                }
                if key == "additionalOperations" {
                    self.key(&mut open, key);
                    self.additional(path, value);
                } else if self.api.version.methods().contains(&key) {
                    self.operation(&mut open, path, &key.to_ascii_uppercase(), key, value);
                } else {
                    self.member(&mut open, key, value);
                }
            }
            layer = reference::reference(node).and_then(|text| self.find(node, text));
        }
        self.out.push(b'}');
    }

    fn additional(&mut self, path: &str, node: Node<'w>) {
        let mut open = self.open();
        for (method, value) in node.members() {
            self.operation(&mut open, path, method, method, value);
        }
        self.out.push(b'}');
    }

    fn operation(&mut self, open: &mut bool, path: &str, method: &str, key: &str, node: Node<'w>) {
        let Some((operation, manner)) = self.routed.get(&(path, method)).copied() else { return };
        self.key(open, key);
        let node = reference::reference(node).and_then(|text| self.find(node, text)).unwrap_or(node);
        let mut open = self.open();
        for (key, value) in node.members().filter(|(key, _)| is_shown(key)) {
            match key {
                "servers" | "schemes" | "responses" | SECURITY => {}
                _ => self.member(&mut open, key, value),
            }
        }
        let asks = manner.map_or(self.shown.asks, |manner| manner.asks);
        self.security_of(&mut open, asks, node.get(SECURITY));
        self.key(&mut open, "responses");
        self.responses(node.get("responses"), manner.map(|manner| &*manner.answers).unwrap_or_default());
        let prefix = siting::site(self.api, operation, self.shown.siting).prefix;
        if prefix != self.prefix && self.api.version != Version::V2_0 {
            let url = format!("{}{prefix}", self.shown.origin);
            self.json(&mut open, "servers", &serde_json::json!([{ "url": url }]));
        }
        self.out.push(b'}');
    }

    fn responses(&mut self, node: Option<Node<'w>>, answers: &[(u16, &str)]) {
        let mut open = self.open();
        for (key, value) in node.into_iter().flat_map(Node::members).filter(|(key, _)| is_shown(key)) {
            self.member(&mut open, key, value);
        }
        for (status, description) in answers {
            let status = status.to_string();
            if node.is_none_or(|node| node.get(&status).is_none()) {
                let answer = if self.api.version == Version::V2_0 {
                    serde_json::json!({ "description": description })
                } else {
                    let content =
                        serde_json::json!({ "application/problem+json": { "schema": { "type": "object" } } });
                    serde_json::json!({ "description": description, "content": content })
                };
                self.json(&mut open, &status, &answer);
            }
        }
        self.out.push(b'}');
    }

    /// The other files, each under its number.
    fn files(&mut self, open: &mut bool) {
        if self.api.documents.len() < 2 {
            return;
        }
        self.key(open, FILES);
        let mut open = self.open();
        for (number, document) in self.api.documents.iter().enumerate().skip(1) {
            self.member(&mut open, &number.to_string(), document.tree.root());
        }
        self.out.push(b'}');
    }

    /// Where a reference leads, one step, among the files that were read.
    fn find(&self, from: Node<'w>, text: &str) -> Option<Node<'w>> {
        let pointer = relocate(&self.api.documents, from.file(), text, |file| format!("/{file}"))?;
        let pointer = percent_encoding::percent_decode_str(&pointer).decode_utf8_lossy().into_owned();
        let mut parts = pointer.split('/').skip(1);
        let file: usize = parts.next()?.parse().ok()?;
        parts.try_fold(self.api.documents[file].tree.root(), |node, part| {
            node.step(&part.replace("~1", "/").replace("~0", "~"))
        })
    }

    /// Any value as it is, references brought to where their targets stand now.
    fn value(&mut self, node: Node<'w>) {
        if self.budget == 0 {
            self.out.extend(b"null");
            return;
        }
        self.budget -= 1;
        match node.kind() {
            Kind::Null => self.out.extend(b"null"),
            Kind::Bool(value) => self.out.extend(if value { &b"true"[..] } else { b"false" }),
            Kind::Number(text) => self.out.extend(text.as_bytes()),
            Kind::String(text) => self.string(text),
            Kind::Array => {
                self.out.push(b'[');
                for (i, item) in node.items().enumerate() {
                    if i > 0 {
                        self.out.push(b',');
                    }
                    self.value(item);
                }
                self.out.push(b']');
            }
            Kind::Object => {
                let mut open = self.open();
                for (key, value) in node.members().filter(|(key, _)| is_shown(key)) {
                    self.member(&mut open, key, value);
                }
                self.out.push(b'}');
            }
        }
    }

    fn member(&mut self, open: &mut bool, key: &str, value: Node<'w>) {
        self.key(open, key);
        let holder = |file: usize| if file == 0 { String::new() } else { format!("/{FILES}/{file}") };
        let moved = value.as_str().filter(|_| key == "$ref");
        match moved.and_then(|text| relocate(&self.api.documents, value.file(), text, holder)) {
            Some(text) => self.string(&text),
            None => self.value(value),
        }
    }

    fn json(&mut self, open: &mut bool, key: &str, value: &Value) {
        self.key(open, key);
        self.out.extend(value.to_string().as_bytes());
    }

    fn open(&mut self) -> bool {
        self.out.push(b'{');
        false
    }

    fn key(&mut self, open: &mut bool, key: &str) {
        if std::mem::replace(open, true) {
            self.out.push(b',');
        }
        self.string(key);
        self.out.push(b':');
    }

    fn string(&mut self, text: &str) {
        serde_json::to_writer(&mut self.out, text).expect("invariant: writing to memory does not fail");
    }
}

/// Keys that readers of the documentation are shown.
fn is_shown(key: &str) -> bool {
    !["x-gatewright", "x-amazon-apigateway-", "x-kong", "x-google-backend"]
        .iter()
        .any(|start| key.starts_with(start))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::openapi::{Options, import};

    use super::*;

    fn effective(text: &str, shown: &Shown<'_>) -> (String, Value) {
        let other: Arc<[u8]> = b"item: { get: { x-gatewright: {}, responses: { '200': { $ref: '#/ok' } } } }\nok: { description: fine }\n"[..].into();
        let files = HashMap::from([("other.yaml".to_owned(), other)]);
        let api =
            import(text.as_bytes(), &Options { file: "root.yaml".into(), ..Options::default() }, &files)
                .0
                .unwrap();
        let text = String::from_utf8(write(&api, shown)).unwrap();
        let value = serde_json::from_str(&text).unwrap();
        (text, value)
    }

    const SITING: Siting =
        Siting { mount: String::new(), strip_base: false, server: None, upstream: None, all_servers: false };

    /// The gateway's own scheme and requirement.
    fn own() -> (Map<String, Value>, Value) {
        let schemes = serde_json::json!({ "key": { "type": "apiKey", "in": "header", "name": "X-API-Key" } });
        (schemes.as_object().unwrap().clone(), serde_json::json!([{ "key": [] }]))
    }

    #[test]
    fn it_has_the_gateway_as_server_and_its_answers() {
        let operations = [ShownOperation { answers: vec![(429, "slow down")], ..ShownOperation::default() }];
        let operations = [operations[0].clone(), operations[0].clone()];
        let own = own();
        let shown = Shown {
            origin: "http://gw:8080",
            siting: &SITING,
            own: (&own.0, &own.1),
            asks: Asks::AsDescribed,
            operations: &operations,
        };
        let (text, value) = effective(
            "openapi: 3.0.0\ninfo: {title: T, version: '1'}\nx-gatewright: {secret: 1}\nservers: [{url: 'https://h/v1'}]\npaths:\n  /z: {$ref: 'other.yaml#/item'}\n  /a: {servers: [{url: 'https://own/v2'}], get: {responses: {'429': {description: own}}}, put: 3}\n",
            &shown,
        );
        assert_eq!(value["servers"][0]["url"], "http://gw:8080/v1");
        assert_eq!(value["paths"]["/z"]["get"]["responses"]["429"]["description"], "slow down");
        assert_eq!(value["paths"]["/z"]["get"]["responses"]["200"]["$ref"], "#/x-files/1/ok");
        assert_eq!(value["x-files"]["1"]["ok"]["description"], "fine");
        assert_eq!(value["paths"]["/a"]["get"]["servers"][0]["url"], "http://gw:8080/v2");
        assert_eq!(value["paths"]["/a"]["get"]["responses"]["429"]["description"], "own");
        assert!(value["paths"]["/a"]["put"].is_null() && !text.contains("secret"));
        assert!(text.find("\"/z\"") < text.find("\"/a\""), "order is kept");
    }

    #[test]
    fn the_security_of_the_gateway_replaces_the_description_s_own() {
        let (schemes, list) = own();
        let shown = Shown {
            origin: "https://gw",
            siting: &SITING,
            own: (&schemes, &list),
            asks: Asks::Own,
            operations: &[],
        };
        let (_, value) = effective(
            "swagger: '2.0'\ninfo: {}\nhost: h\nbasePath: /b\nsecurity: [{old: []}]\nsecurityDefinitions: {old: {type: basic}}\npaths: {/a: {get: {security: [{old: []}], responses: {}}}}\n",
            &shown,
        );
        assert_eq!(value["securityDefinitions"], Value::Object(schemes));
        assert_eq!((&value["host"], &value["basePath"]), (&"gw".into(), &"/b".into()));
        assert_eq!(value["security"], list);
        assert!(value["paths"]["/a"]["get"]["security"].is_null());
    }
    #[test]
    fn each_operation_says_what_it_takes_where_that_is_other_than_for_the_whole() {
        let described = "openapi: 3.0.0\ninfo: {}\nservers: [{url: 'http://h'}]\nsecurity: [{old: []}]\ncomponents: {securitySchemes: {old: {type: http, scheme: basic}, key: {type: http, scheme: digest}}}\npaths:\n  /a: {get: {responses: {}}, put: {responses: {}}, post: {security: [{key: []}], responses: {}}, delete: {security: [], responses: {}}}\n";
        let (schemes, list) = own();
        let (old, none) = (serde_json::json!([{ "old": [] }]), serde_json::json!([]));
        let written = |asks: Asks, each: [Asks; 4]| {
            let operations = each.map(|asks| ShownOperation { asks, ..ShownOperation::default() });
            let own = (&schemes, &list);
            let shown = Shown { origin: "http://gw", siting: &SITING, own, asks, operations: &operations };
            effective(described, &shown).1
        };
        let of = |value: &Value| {
            ["get", "put", "post", "delete"].map(|m| value["paths"]["/a"][m]["security"].clone())
        };
        let names = |value: &Value| {
            let schemes = value["components"]["securitySchemes"].as_object().unwrap();
            schemes.keys().cloned().collect::<Vec<_>>()
        };

        let value =
            written(Asks::AsDescribed, [Asks::Own, Asks::Nothing, Asks::AsDescribed, Asks::AsDescribed]);
        assert_eq!(of(&value), [list.clone(), none.clone(), list.clone(), none.clone()]);
        assert_eq!(value["security"], old);
        assert_eq!(names(&value), ["key", "old"]);
        // The description's scheme of that name gives way: two cannot have it.
        assert_eq!(value["components"]["securitySchemes"]["key"]["type"], "apiKey");

        let value = written(Asks::Own, [Asks::AsDescribed, Asks::Nothing, Asks::Own, Asks::AsDescribed]);
        assert_eq!(of(&value), [old.clone(), none.clone(), Value::Null, none]);
        assert_eq!((&value["security"], names(&value)), (&list, vec!["key".to_owned(), "old".to_owned()]));

        let value = written(Asks::Own, [Asks::Own; 4]);
        assert_eq!((of(&value), names(&value)), ([const { Value::Null }; 4], vec!["key".to_owned()]));

        let value = written(Asks::AsDescribed, [Asks::AsDescribed; 4]);
        assert_eq!(value["components"]["securitySchemes"]["key"]["scheme"], "digest", "nothing is replaced");
    }
}
