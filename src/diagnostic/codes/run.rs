//! What can go wrong when files are read, ports are opened and state is kept.

use super::codes;

codes! { RUN:
    /// A file or folder that was named cannot be read.
    FILE_UNREADABLE = "file-unreadable";
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
    /// A value was given for a server variable that no server of the description has.
    ///
    /// `--server-variable NAME=VALUE` and `server_variables` fill in the `{NAME}` of server addresses. This one fills
    /// in nothing: is it misspelt, or did the description change?
    SERVER_VARIABLE_UNUSED = "server-variable-unused";
    /// A setting of the process changed while it runs.
    ///
    /// APIs, routes, upstreams and policies change with the file; listeners, the admin listener, the state
    /// directory, workers, the cache's sizes, the access log, the limits and clocks of connections and the drain
    /// are taken at the start.
    RESTART_NEEDED = "restart-needed";
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
    /// The token of the admin API cannot be written into the state directory.
    ///
    /// Calls that change something need the text of `admin.token`. Make the state directory writable for the
    /// user that runs gatewright, or name another with `--state DIR`.
    ADMIN_TOKEN = "admin-token";
    /// A running gateway refused what was asked of its admin API.
    ///
    /// The message is the gateway's own. Changing calls need the token in its state directory.
    GATEWAY_REFUSED = "gateway-refused";
    /// The system does not give what a start needs: a thread, a runtime, a socket.
    ///
    /// The message names the system's own reason; limits on processes and open files are the usual ones.
    START_FAILED = "start-failed";
    /// The cache folder is used by another instance.
    ///
    /// One folder belongs to one gateway: two would overwrite each other's answers. The lock goes with
    /// the process, however it ends, so the other one is running now. Stop it, or start this one with a
    /// folder of its own (`--state DIR`).
    CACHE_IN_USE = "cache-in-use";
    /// The cache folder cannot be made, locked, read or written.
    ///
    /// Until it can be used the cache works in memory alone. It is tried again while requests are served, and
    /// the log says when it is open. Make room on the disk and the folder writable for the user that runs the
    /// gateway, or choose another (`--state DIR`).
    CACHE_UNAVAILABLE = "cache-unavailable";
    /// What was stored on disk could not be read, or is of another format, and was given up.
    ///
    /// A cache may forget: nothing is lost but answers that are fetched again. After a power failure
    /// this is expected now and then; if it comes back without one, check the disk.
    CACHE_DAMAGED = "cache-damaged";
    /// The gateway runs without a cache, so there is nothing to look into or to purge.
    ///
    /// Its configuration says `cache: off`.
    CACHE_OFF = "cache-off";
    /// What was purged does not answer any more, but the disk did not confirm it in time.
    ///
    /// After a crash it could come back: purge again. If it stays so, `gatewright cache stats` and the log say
    /// what is wrong with the disk.
    PURGE_UNCONFIRMED = "cache-unconfirmed";
    /// The cache on disk takes longer to open than the start waits for it.
    ///
    /// The gateway serves from its first moment; what is stored joins when it is open, and the log says
    /// so. Until then a request for it is a miss.
    CACHE_OPENING = "cache-opening";
}
