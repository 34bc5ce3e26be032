//! What can go wrong when files are read, ports are opened and state is kept.

use super::codes;

codes! { RUN:
    /// A file or folder that was named cannot be read.
    FILE_UNREADABLE = "file-unreadable";
}
