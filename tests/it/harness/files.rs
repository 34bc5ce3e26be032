//! Folders that go with their test, and the descriptions that tests run on.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::Once,
};

/// A temporary folder.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("gatewright-test-").tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The path as an argument.
    pub fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a file and gives its path back.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Puts a new content in the place of the old one at once, as editors and Kubernetes do.
    pub fn replace(&self, name: &str, content: impl AsRef<[u8]>) {
        let draft = self.write(&format!(".{name}.new"), content);
        std::fs::rename(draft, self.path(name)).unwrap();
    }
}

/// A file of the project.
pub fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// One of the project's own sample descriptions, as an argument.
pub fn sample(name: &str) -> String {
    project("openapi").join(name).to_str().unwrap().to_owned()
}

/// The collection of real descriptions: `GATEWRIGHT_SPECS`, else `../shared/specs`. Where it is absent the
/// tests run on the project's own samples and say so.
pub fn specs() -> Option<PathBuf> {
    static SAID: Once = Once::new();
    let folder =
        std::env::var_os("GATEWRIGHT_SPECS").map_or_else(|| project("../shared/specs"), PathBuf::from);
    if folder.join("expected.tsv").is_file() {
        return Some(folder);
    }
    SAID.call_once(|| {
        let folder = folder.display();
        let line = format!(
            "\n!!! NO REAL DESCRIPTIONS at {folder}: tests run on openapi/ alone (set GATEWRIGHT_SPECS)\n\n"
        );
        // not `eprintln!`: the test runner would keep that to itself
        let _ = std::io::stderr().write_all(line.as_bytes());
    });
    None
}

/// A real description, or the project's sample of the same kind where the collection is absent.
pub fn spec(real: &str, own: &str) -> PathBuf {
    specs().map_or_else(|| project("openapi").join(own), |folder| folder.join(real))
}

/// The text of a description, unpacked if its name ends in `.gz`.
pub fn read(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if path.extension().is_none_or(|extension| extension != "gz") {
        return bytes;
    }
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut text).unwrap();
    text
}
