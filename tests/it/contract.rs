//! The routes contract over the real descriptions: verdict, number and methods of routes, warnings.

use std::{collections::BTreeMap, path::Path};

use crate::harness::{
    Folder, cli,
    files::{read, sample, specs},
};

/// The rows of a table with a heading, as maps from column to value.
fn table(path: &Path) -> Vec<BTreeMap<String, String>> {
    let text = String::from_utf8(read(path)).unwrap();
    let mut lines = text.lines().map(|line| line.split('\t').map(str::to_owned));
    let heading: Vec<String> = lines.next().unwrap().collect();
    lines.map(|line| heading.iter().cloned().zip(line).collect()).collect()
}

#[test]
fn every_real_description_gets_its_verdict_and_its_routes() {
    let Some(specs) = specs() else { return own_samples() };
    let documents = table(&specs.join("expected.tsv"));
    let operations = table(&specs.join("expected-ops.tsv"));
    let folder = Folder::new();
    let mut faults = String::new();
    for document in &documents {
        let name = &document["file"];
        let mut file = specs.join(name).to_str().unwrap().to_owned();
        if let Some(unpacked) = name.strip_suffix(".gz") {
            file = folder.write(unpacked, read(&specs.join(name)));
        }
        let output = cli(["routes", &file, "--format", "json"]);
        let routes = serde_json::from_str::<Vec<serde_json::Value>>(&output.stdout).unwrap_or_default();
        let method = |route: &serde_json::Value| route["method"].as_str().unwrap_or_default().to_owned();
        let mut got: Vec<String> = routes.iter().map(method).collect();
        let mut expected: Vec<String> = operations
            .iter()
            .filter(|row| &row["id"] == name && row["status"] == "route")
            .map(|row| row["method"].clone())
            .collect();
        if document["verdict"] == "refuse" {
            expected.clear();
            if output.code == Some(0) || !output.stderr.contains("error[") {
                faults += &format!("{name}: must be refused: {:?} {}\n", output.code, output.stderr);
            }
        } else if output.code != Some(0) {
            faults += &format!("{name}: {:?} {}\n", output.code, output.stderr);
        }
        got.sort_unstable();
        expected.sort_unstable();
        if got != expected {
            faults += &format!("{name}: {} routes, expected {}\n", got.len(), expected.len());
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

fn own_samples() {
    for (name, routes) in
        [("bookshop.yaml", 10), ("weather-2.0.json", 6), ("parcels-3.0.yaml", 9), ("library-3.2.yaml", 5)]
    {
        let listed = cli(["routes", &sample(name), "--format", "json"]).fine().json();
        assert_eq!(listed.as_array().unwrap().len(), routes, "{name}");
    }
}

#[test]
fn the_projects_own_samples_import_without_a_warning() {
    own_samples();
    for name in ["bookshop.yaml", "weather-2.0.json", "parcels-3.0.yaml", "library-3.2.yaml"] {
        let output = cli(["check", &sample(name), "--deny-warnings"]);
        assert_eq!(output.code, Some(0), "{name}: {}", output.stderr);
    }
}

#[test]
fn a_route_says_all_that_the_contract_promises() {
    let routes = cli(["routes", &sample("parcels-3.0.yaml"), "--format", "json"]).fine().json();
    let find = |id: &str| {
        routes.as_array().unwrap().iter().find(|route| route["operation_id"] == id).unwrap().clone()
    };
    let list = find("listParcels");
    assert_eq!((&list["method"], &list["path"]), (&"GET".into(), &"/api/parcels".into()));
    assert_eq!(
        list["servers"],
        serde_json::json!(["https://eu.parcels.example.com/api", "https://sandbox.parcels.example.com/api"])
    );
    assert_eq!(list["upstream"], "https://eu.parcels.example.com/api");
    assert_eq!(list["security"], serde_json::json!([{ "token": [] }, { "account": [], "secret": [] }]));
    assert_eq!(list["conditions"], serde_json::json!({}));
    assert!(list["api"].is_string());
    let status = find("status");
    assert_eq!((&status["path"], &status["security"]), (&"/status".into(), &serde_json::json!([])));
    assert_eq!(status["servers"], serde_json::json!(["https://status.parcels.example.com"]));
    let us =
        cli(["routes", &sample("parcels-3.0.yaml"), "--format", "json", "--server-variable", "region=us"]);
    assert_eq!(us.fine().json()[0]["upstream"], "https://us.parcels.example.com/api");
    let second =
        cli(["routes", &sample("parcels-3.0.yaml"), "--format", "json", "--server", "1"]).fine().json();
    assert_eq!(second[0]["upstream"], "https://sandbox.parcels.example.com/api");
    assert_eq!(
        second.as_array().unwrap().iter().filter(|r| r["path"] == "/status").count(),
        1,
        "its own server stays"
    );
}

#[test]
fn one_request_can_be_explained() {
    let file = sample("bookshop.yaml");
    let text = cli(["routes", &file, "--explain", "GET /quote"]).fine().stdout;
    for word in ["getQuote", "rate_limit", "3"] {
        assert!(text.contains(word), "no `{word}` in\n{text}");
    }
    let text = cli(["routes", &file, "--explain", "GET /nothing"]);
    assert!(text.stdout.contains("404") || text.stderr.contains("404"), "{text:?}");
}

#[test]
fn an_import_writes_down_what_run_would_use() {
    let folder = Folder::new();
    let file = folder.arg("gatewright.yaml");
    let description = sample("parcels-3.0.yaml");
    cli(["import", &description, "--mount", "/m", "-o", &file]).fine();
    let [direct, written] =
        [vec!["routes", &description, "--mount", "/m"], vec!["routes", &file]].map(|mut words| {
            words.extend(["--format", "json"]);
            let mut routes = cli(words).fine().json();
            for route in routes.as_array_mut().unwrap() {
                route.as_object_mut().unwrap().remove("api");
            }
            routes
        });
    assert_eq!(direct, written);
    let again = cli(["import", &description, "-o", &file]);
    assert!(again.code != Some(0) && again.stderr.contains("--force"), "{again:?}");
}

#[test]
fn a_folder_is_one_api_per_description() {
    let folder = Folder::new();
    for name in ["bookshop.yaml", "parcels-3.0.yaml"] {
        folder.write(&format!("apis/{name}"), read(Path::new(&sample(name))));
    }
    folder.write("apis/notes.txt", "nothing to see");
    let routes = cli(["routes", &folder.arg("apis"), "--format", "json"]).fine().json();
    assert_eq!(routes.as_array().unwrap().len(), 19);
    let apis: std::collections::BTreeSet<_> =
        routes.as_array().unwrap().iter().map(|r| r["api"].to_string()).collect();
    assert_eq!(apis.len(), 2, "{apis:?}");
}
