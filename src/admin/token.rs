//! The admin token: a random word in a file that only the gateway's user can read.
//!
//! It stays across restarts, so that a scraper can be given it; one that others could read is replaced.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::diagnostic::{Diagnostic, codes};

const NAME: &str = "admin.token";
const PREFIX: &str = "gwa_";
/// `gwa_` and 32 random bytes in base 64.
const LENGTH: usize = PREFIX.len() + 43;

/// The token, of which the gateway keeps only a hash.
#[derive(Clone)]
pub struct Token(blake3::Hash);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// Takes the token of the state directory, or makes one.
    ///
    /// # Errors
    /// When there is none and the file cannot be written.
    pub fn open(dir: &Path) -> Result<Self, Box<Diagnostic>> {
        if let Ok(text) = Self::read(dir) {
            return Ok(Self::of(&text));
        }
        let failed = |error: &dyn std::fmt::Display| {
            Box::new(
                Diagnostic::error(codes::ADMIN_TOKEN, format!("the admin token cannot be written: {error}"))
                    .file(dir.join(NAME).display().to_string())
                    .help("make the state directory writable, or name another with `--state DIR`"),
            )
        };
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|error| failed(&error))?;
        let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
        write(dir, &text).map_err(|error| failed(&error))?;
        Ok(Self::of(&text))
    }

    /// The token's text, for the commands that talk to a running gateway.
    ///
    /// # Errors
    /// When there is no such file, it is not a regular file of this user that only this user can read, or
    /// holds no token.
    pub fn read(dir: &Path) -> io::Result<String> {
        // A symbolic link could point at anything.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(dir.join(NAME))?;
        let known = file.metadata()?;
        let mine = known.uid() == rustix::process::geteuid().as_raw();
        if !known.is_file() || !mine || known.mode() & 0o077 != 0 {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others may know this token"));
        }
        let mut text = String::new();
        file.take(LENGTH as u64 + 2).read_to_string(&mut text)?;
        let text = text.trim_end();
        let fine =
            text.len() == LENGTH && text.starts_with(PREFIX) && text.bytes().all(|b| b.is_ascii_graphic());
        fine.then(|| text.to_owned()).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// A token that was chosen by the operator.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(blake3::hash(text.as_bytes()))
    }

    /// Compares in constant time: hashes do.
    pub(super) fn is(&self, given: &str) -> bool {
        self.0 == blake3::hash(given.as_bytes())
    }
}

/// Writes a draft and renames it, so that a reader sees a whole token or none.
fn write(dir: &Path, text: &str) -> io::Result<()> {
    let draft = dir.join(format!("{NAME}.new"));
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(format!("{text}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(draft, dir.join(NAME))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let made = Token::open(dir.path()).unwrap();
        let text = Token::read(dir.path()).unwrap();
        assert!(made.is(&text) && !made.is("") && !made.is(&text[1..]));
        assert_eq!(fs::metadata(dir.path().join(NAME)).unwrap().mode() & 0o777, 0o600);
        assert!(Token::open(dir.path()).unwrap().is(&text), "it stays");
    }

    #[test]
    fn a_token_that_others_could_read_or_that_is_none_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        Token::open(dir.path()).unwrap();
        let path = dir.path().join(NAME);
        let old = fs::read_to_string(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Token::read(dir.path()).is_err());
        assert!(!Token::open(dir.path()).unwrap().is(old.trim_end()));
        fs::write(&path, "short").unwrap();
        assert!(!Token::open(dir.path()).unwrap().is("short"));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(Token::open(dir.path()).is_ok());
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_with_its_name() {
        let error = Token::open(Path::new("/nonexistent/state")).unwrap_err();
        assert!(error.place.file.starts_with("/nonexistent/state"), "{error:?}");
    }
}
