//! Findings as people should see them: one per cause, and in the words of what was typed.

use std::{collections::BTreeSet, net::SocketAddr};

use super::prepare::{COMMAND_LINE, Imported};
use crate::{
    config::{self, Model, Switch},
    diagnostic::{Code, Diagnostic, Place, codes, suggest},
};

/// Leaves one finding per cause. `homes` are the files of descriptions whose requests have an upstream that
/// somebody chose.
pub fn condense(found: &mut Vec<Diagnostic>, homes: &[&str]) {
    let homeless: Vec<String> = found
        .iter()
        .filter(|d| d.is_error() && d.code == codes::NO_UPSTREAM)
        .map(|d| d.place.file.clone())
        .collect();
    // That the description names no server is settled, or said again by an error.
    found.retain(|d| {
        d.code != codes::NO_SERVER
            || !(homes.contains(&d.place.file.as_str()) || homeless.contains(&d.place.file))
    });
    one_per_scheme(found);
    if found.iter().any(|d| d.place.file == COMMAND_LINE) {
        name_flags(found);
    }
}

/// Gives what is wrong with an issuer or a consumer the place of its entry: policies know only its number.
pub fn locate(found: &mut [Diagnostic], model: &Model) {
    for d in found.iter_mut().filter(|d| d.place.file.is_empty()) {
        let index = d.place.pointer.split('/').nth(1).and_then(|number| number.parse::<usize>().ok());
        let Some(index) = index else { continue };
        let entry = match d.code {
            codes::CONSUMER_INVALID => model.consumers.get(index).map(|consumer| &consumer.place),
            codes::ISSUER_INVALID | codes::ISSUER_WITHOUT_AUDIENCE | codes::ISSUER_PLAINTEXT => {
                model.issuers.get(index).map(|issuer| &issuer.place)
            }
            _ => None,
        };
        if let Some(place) = entry {
            d.place = (**place).clone();
        }
    }
}

/// The settings that only a new start obeys.
#[must_use]
pub fn needs_restart(first: &Model, now: &Model, file: &str) -> Option<Diagnostic> {
    let limits = |model: &Model| {
        (model.limits.as_ref().and_then(|limits| limits.connections), config::bounds::Head::of(model))
    };
    let clocks =
        |model: &Model| model.timeouts.as_ref().map(|timeouts| (timeouts.header_read, timeouts.keep_alive));
    let listen = |model: &Model| -> Vec<SocketAddr> {
        model.listen.iter().map(|listen| listen.address.value).collect()
    };
    let admin = |model: &Model| {
        model.admin.as_ref().map(|admin| match admin {
            Switch::Off => None,
            Switch::On(admin) => Some((
                admin.address.as_ref().map(|address| address.value),
                admin.hosts.clone(),
                admin.token.clone(),
            )),
        })
    };
    let cache = |model: &Model| {
        model.cache.as_ref().map(|cache| match cache {
            Switch::Off => None,
            Switch::On(store) => {
                let sizes = (store.memory, store.disk, store.object);
                Some((sizes, store.caller_share, store.caller_entries))
            }
        })
    };
    let drain = |model: &Model| model.drain.as_ref().map(|drain| (drain.delay, drain.timeout));
    let changed: Vec<&str> = [
        ("`listen`", listen(first) != listen(now)),
        ("`admin`", admin(first) != admin(now)),
        ("`state`", first.state != now.state),
        ("`workers`", first.workers != now.workers),
        ("`access_log`", first.access_log != now.access_log),
        ("`cache`", cache(first) != cache(now)),
        ("`drain`", drain(first) != drain(now)),
        ("`limits`", limits(first) != limits(now)),
        ("`timeouts`", clocks(first) != clocks(now)),
    ]
    .into_iter()
    .filter_map(|(key, changed)| changed.then_some(key))
    .collect();
    (!changed.is_empty()).then(|| {
        let verb = if changed.len() == 1 { "takes" } else { "take" };
        let title = format!("{} {verb} effect at the next start", changed.join(", "));
        Diagnostic::warning(codes::RESTART_NEEDED, title)
            .file(file)
            .help("the rest of the file is in force now; start the gateway again for these")
    })
}

/// Values for variables that no server has. A flag is meant for any of the descriptions that are named with it.
#[must_use]
pub fn unused_variables(model: &Model, sources: &[Imported]) -> Vec<Diagnostic> {
    let mut said = Vec::new();
    for (entry, api) in model.apis.iter().enumerate() {
        for (name, _) in api.server_variables.iter().flat_map(|named| &named.0) {
            let flag = name.place.file == COMMAND_LINE;
            let mine = |source: &&Imported| flag || source.entry == entry;
            let all_read =
                (0..model.apis.len()).all(|n| !flag && n != entry || sources.iter().any(|s| s.entry == n));
            let known: BTreeSet<&str> = sources
                .iter()
                .filter(mine)
                .flat_map(|source| source.description.api.server_variables.iter().map(String::as_str))
                .collect();
            if !all_read || known.contains(name.value.as_str()) {
                continue;
            }
            let list = known.iter().take(20).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let help = match (suggest(&name.value, known.iter().copied()), known.is_empty()) {
                (_, true) => {
                    "its servers have no variables; `--upstream URL` sends requests somewhere else".into()
                }
                (Some(near), _) => format!("did you mean `{near}`? variables here: {list}"),
                (None, _) => format!("variables here: {list}"),
            };
            let title = format!("no server of the description has a variable `{}`", name.value);
            let warning = Diagnostic::warning(codes::SERVER_VARIABLE_UNUSED, title);
            said.push(warning.at((*name.place).clone()).help(help));
        }
    }
    said
}

/// The importer knows where a scheme stands, the compiler what its want does: one finding of the two.
fn one_per_scheme(found: &mut Vec<Diagnostic>) {
    const ABOUT_SCHEMES: [Code; 2] = [codes::SECURITY_UNDEFINED, codes::SECURITY_UNSUPPORTED];
    let scheme = |d: &Diagnostic| d.title.split('`').nth(1).map(str::to_owned);
    let mut index = 0;
    while index < found.len() {
        let telling = &found[index];
        let twin = (ABOUT_SCHEMES.contains(&telling.code) && telling.place.line == 0)
            .then(|| {
                found.iter().position(|other| {
                    other.code == telling.code
                        && other.place.line > 0
                        && other.place.file == telling.place.file
                        && scheme(other) == scheme(telling)
                })
            })
            .flatten();
        match twin {
            Some(twin) => {
                let telling = found.remove(index);
                let twin = if twin > index { twin - 1 } else { twin };
                found[twin] = Diagnostic { place: found[twin].place.clone(), ..telling };
            }
            None => index += 1,
        }
    }
}

/// The flags that stand behind the keys of the configuration that the command line is read as.
const FLAGS: [(&str, &str); 8] = [
    ("upstream", "--upstream"),
    ("server", "--server"),
    ("server_variables", "--server-variable"),
    ("mount", "--mount"),
    ("rate_limit", "--rate-limit"),
    ("credentials", "--upstream-header"),
    ("security", "--security"),
    ("spec", "FILE"),
];

/// Nobody wrote the configuration that a command line stands for, so none of its lines is shown.
fn name_flags(found: &mut Vec<Diagnostic>) {
    let typed = |d: &Diagnostic| d.place.file == COMMAND_LINE;
    if found.iter().any(|d| typed(d) && d.code != codes::KEY_MISSING) {
        found.retain(|d| !(typed(d) && d.code == codes::KEY_MISSING));
    }
    let mut named: Vec<(String, Code)> = Vec::new();
    found.retain_mut(|d| {
        if !typed(d) {
            return true;
        }
        let mut parts = d.place.pointer.split('/').skip(1);
        let (list, key) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
        let flag = match (list, key) {
            ("routes", "upstream") => "--proxy",
            _ => FLAGS.iter().find(|(name, _)| *name == key).map_or("", |(_, flag)| flag),
        };
        if d.code == codes::UNKNOWN_UPSTREAM {
            let address = d.title.split('`').nth(1).unwrap_or_default();
            d.title = format!("`{flag} {address}` is no address");
            d.help = "write it with its scheme: `http://10.0.0.5:8000`".to_owned();
        }
        if d.code == codes::REFERENCE_INVALID && !d.title.ends_with("permission denied") {
            d.help = "set it, or name another; files are looked for from the folder you are in".to_owned();
        }
        let file =
            if flag.is_empty() { "command line".to_owned() } else { format!("command line, `{flag}`") };
        d.place = Place { file, ..Place::default() };
        d.label = String::new();
        // The same for each of several descriptions.
        let new = !named.contains(&(d.title.clone(), d.code));
        named.push((d.title.clone(), d.code));
        new
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(code: Code, title: &str, file: &str, line: u32, pointer: &str) -> Diagnostic {
        let place = Place { file: file.into(), line, pointer: pointer.into(), ..Place::default() };
        Diagnostic::warning(code, title).at(place)
    }

    #[test]
    fn a_wrong_flag_is_named_and_no_configuration_is_shown() {
        let title = "the upstream `x` is not defined";
        let one = |n| at(codes::UNKNOWN_UPSTREAM, title, COMMAND_LINE, 1, &format!("/apis/{n}/upstream"));
        let mut found =
            vec![at(codes::KEY_MISSING, "no `upstream`", COMMAND_LINE, 1, "/apis/0"), one(0), one(1)];
        condense(&mut found, &[]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].title.as_str(), found[0].place.line), ("`--upstream x` is no address", 0));
        assert_eq!(found[0].place.file, "command line, `--upstream`");
    }

    #[test]
    fn a_scheme_is_spoken_of_once_with_its_place_and_what_it_does() {
        let mut found = vec![
            at(codes::SECURITY_UNDEFINED, "the scheme `a` is closed", "s.yaml", 0, ""),
            at(codes::SECURITY_UNDEFINED, "the scheme `b` is closed", "s.yaml", 0, ""),
            at(codes::SECURITY_UNDEFINED, "the scheme `a` is not defined", "s.yaml", 7, "/paths"),
        ];
        condense(&mut found, &[]);
        let shown: Vec<_> = found.iter().map(|d| (d.title.as_str(), d.place.line)).collect();
        assert_eq!(shown, [("the scheme `b` is closed", 0), ("the scheme `a` is closed", 7)]);
    }

    #[test]
    fn a_missing_server_is_no_matter_where_an_upstream_was_named() {
        let no_server = |file| at(codes::NO_SERVER, "none", file, 1, "");
        let mut found = vec![no_server("a.yaml"), no_server("b.yaml")];
        condense(&mut found, &["a.yaml"]);
        assert_eq!(found, [no_server("b.yaml")]);
    }
}
