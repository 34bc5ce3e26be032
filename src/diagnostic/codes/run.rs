//! What can go wrong when files are read, ports are opened and state is kept.

use super::codes;

codes! { RUN:
    /// A file or folder that was named cannot be read.
    FILE_UNREADABLE = "file-unreadable";
<<<<<<< HEAD
    /// The description's address did not give one.
    ///
    /// The address must answer with the description itself within 30 seconds and 80 MB.
    FETCH_FAILED = "fetch-failed";
    /// The state directory cannot be used.
    ///
    /// It holds the cache, the keys and the admin token. It must be writable, and one gateway at a time may use it.
    STATE_UNUSABLE = "state-unusable";
    /// A secret stands on the command line, where every user of the machine can read it.
    ///
    /// Take it from the environment (`env:NAME`) or from a file (`@file`).
    SECRET_ON_COMMAND_LINE = "secret-on-command-line";
    /// A description that came from the network names an upstream inside this machine or network.
    ///
    /// Whoever wrote the description can make the gateway call that address. Name the upstream yourself with
    /// `--upstream` if it is right.
    UPSTREAM_INTERNAL = "upstream-internal";
    /// No running gateway answers on the admin listener.
    ///
    /// Name it with `--admin`, or the gateway's state directory with `--state`.
    GATEWAY_UNREACHABLE = "gateway-unreachable";
    /// What was typed cannot be understood.
    ///
    /// `gatewright --help` and `gatewright COMMAND --help` show what there is.
    USAGE = "usage";
    /// Another process listens on the address. Two gateways could share a port without noticing, each
    /// getting a part of the requests, so the start looks for that and stops. Stop the other process or
    /// listen elsewhere with `--listen`.
    ADDRESS_IN_USE = "address-in-use";
    /// The system does not let this user listen on the port; ports below 1024 need a capability.
    ADDRESS_FORBIDDEN = "address-forbidden";
    /// No interface of this machine has the address, or the system cannot use it.
    ADDRESS_NOT_AVAILABLE = "address-not-available";
=======
    /// The token of the admin API cannot be written into the state directory.
    ///
    /// Calls that change something need the text of `admin.token`. Make the state directory writable for the
    /// user that runs gatewright, or name another with `--state DIR`.
    ADMIN_TOKEN = "admin-token";
>>>>>>> telemetry
    /// A running gateway refused what was asked of its admin API.
    ///
    /// The message is the gateway's own. Changing calls need the token in its state directory.
    GATEWAY_REFUSED = "gateway-refused";
}
