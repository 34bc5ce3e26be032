//! What can go wrong when files are read, ports are opened and state is kept.

use super::codes;

codes! { RUN:
    /// A file or folder that was named cannot be read.
    FILE_UNREADABLE = "file-unreadable";
    /// The token of the admin API cannot be written into the state directory.
    ///
    /// Calls that change something need the text of `admin.token`. Make the state directory writable for the
    /// user that runs gatewright, or name another with `--state DIR`.
    ADMIN_TOKEN = "admin-token";
}
