//! What can go wrong when files are read, ports are opened and state is kept.

use super::codes;

codes! { RUN:
    /// A file or folder that was named cannot be read.
    FILE_UNREADABLE = "file-unreadable";
    /// Another process listens on the address. Two gateways could share a port without noticing, each
    /// getting a part of the requests, so the start looks for that and stops. Stop the other process or
    /// listen elsewhere with `--listen`.
    ADDRESS_IN_USE = "address-in-use";
    /// The system does not let this user listen on the port; ports below 1024 need a capability.
    ADDRESS_FORBIDDEN = "address-forbidden";
    /// No interface of this machine has the address, or the system cannot use it.
    ADDRESS_NOT_AVAILABLE = "address-not-available";
}
