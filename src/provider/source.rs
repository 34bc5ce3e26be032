//! Reading descriptions from files and folders, and the files that a description refers to.

use std::{
    cell::RefCell,
    fs, io,
    io::Read,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use crate::{
    diagnostic::{Diagnostic, codes},
    openapi::Loader,
};

/// The largest description that is read.
pub const MAX_BYTES: u64 = 80 * 1024 * 1024;
/// How deep a folder is searched for descriptions, and how many files are looked at.
const MAX_DEPTH: usize = 8;
const MAX_FILES: usize = 10_000;

/// Reads a whole file within [`MAX_BYTES`].
pub fn read(path: &Path) -> Result<Vec<u8>, Diagnostic> {
    let refuse = |title: String, help: &str| {
        Err(Diagnostic::error(codes::FILE_UNREADABLE, title).file(path.display().to_string()).help(help))
    };
    match read_bounded(path) {
        Ok(bytes) if bytes.len() as u64 > MAX_BYTES => refuse(
            format!("the file is larger than {} MB", MAX_BYTES >> 20),
            "split the description, or remove examples from it",
        ),
        Ok(bytes) => Ok(bytes),
        Err(error) => refuse(format!("cannot read the file: {}", reason(&error)), advice(&error)),
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What to do about something that cannot be read.
#[must_use]
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "check the spelling; paths are relative to the folder you are in",
        io::ErrorKind::PermissionDenied => "let the user that runs gatewright read it",
        _ => "the operating system gave this reason; nothing was changed",
    }
}

/// The operating system's words without its error number.
#[must_use]
pub fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => "a file stands in the way".to_owned(),
        _ => error.to_string(),
    }
}

/// The files of a folder that may be descriptions, in the order of their names.
pub fn candidates(folder: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let mut found = Vec::new();
    let mut open = vec![(folder.to_owned(), 0)];
    while let Some((dir, depth)) = open.pop() {
        let entries = fs::read_dir(&dir).map_err(|error| {
            Diagnostic::error(codes::FILE_UNREADABLE, format!("cannot read the folder: {}", reason(&error)))
                .file(dir.display().to_string())
                .help(advice(&error))
        })?;
        for entry in entries.flatten() {
            let path = entry.path();
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !hidden && depth < MAX_DEPTH => open.push((path, depth + 1)),
                Ok(kind) if !kind.is_dir() && !hidden && is_description_name(&path) => found.push(path),
                _ => {}
            }
        }
        if found.len() > MAX_FILES {
            return Err(Diagnostic::error(
                codes::FILE_UNREADABLE,
                format!("the folder holds more than {MAX_FILES} files"),
            )
            .file(folder.display().to_string())
            .help("name the folder that holds the descriptions alone"));
        }
    }
    found.sort();
    Ok(found)
}

fn is_description_name(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    ["json", "yaml", "yml"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Lets a description read the other files of its folder, and nothing outside it.
#[derive(Debug)]
pub struct FolderLoader {
    /// References are relative to this folder, and nothing outside it is read.
    boundary: PathBuf,
    /// Every file handed out: a change to any of them is a change to the description.
    loaded: RefCell<Vec<PathBuf>>,
}

impl FolderLoader {
    /// `boundary` is the folder that may be read: the one the user named, or the document's own.
    #[must_use]
    pub fn within(boundary: &Path) -> Self {
        Self { boundary: boundary.to_owned(), loaded: RefCell::default() }
    }

    /// The files that were read.
    #[must_use]
    pub fn into_loaded(self) -> Vec<PathBuf> {
        self.loaded.into_inner()
    }
}

impl Loader for FolderLoader {
    fn load(&self, reference: &str) -> Result<Arc<[u8]>, String> {
        let relative = Path::new(reference);
        if relative.components().any(|part| matches!(part, Component::RootDir | Component::Prefix(_))) {
            return Err("it lies outside the description's folder".to_owned());
        }
        // Symbolic links count by where they lead, so the boundary is checked after resolving them.
        let boundary = self.boundary.canonicalize().map_err(|error| reason(&error))?;
        let path = boundary.join(relative).canonicalize().map_err(|error| reason(&error))?;
        if !path.starts_with(&boundary) {
            return Err("it lies outside the description's folder".to_owned());
        }
        let bytes = read_bounded(&path).map_err(|error| reason(&error))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(format!("it is larger than {} MB", MAX_BYTES >> 20));
        }
        self.loaded.borrow_mut().push(path);
        Ok(bytes.into())
    }
}

/// The folder of a file, `.` for a bare name.
#[must_use]
pub fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_reads_its_folder_and_nothing_outside_it() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("api");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("pet.json"), "{}").unwrap();
        fs::write(outer.path().join("secret.json"), "{}").unwrap();
        std::os::unix::fs::symlink(outer.path().join("secret.json"), inner.join("link.json")).unwrap();
        let loader = FolderLoader::within(&inner);
        assert!(loader.load("pet.json").is_ok());
        assert!(loader.load("./pet.json").is_ok());
        for outside in ["../secret.json", "link.json", "/etc/hostname", "../api/../secret.json"] {
            assert!(loader.load(outside).is_err(), "{outside}");
        }
        assert_eq!(loader.into_loaded().len(), 2);
    }
}
