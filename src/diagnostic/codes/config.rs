//! What the reader and the compiler of `gatewright.yaml` can say.

use super::codes;

codes! { CONFIG:
    /// A key that the configuration does not have.
    ///
    /// Nothing in a configuration is ignored in silence: correct the key or take it out.
    UNKNOWN_KEY = "unknown-key";
    /// The name of a virtual host is not one.
    ///
    /// Write a host name, `*.` and a name for everything below it, or `*` for every other host. Ports play no part.
    HOST_INVALID = "host-invalid";
    /// Two APIs of one host claim the same route; the first one answers.
    ///
    /// Give one of them a `mount` (a path prefix) or a `host` of its own.
    ROUTE_TAKEN = "route-taken";
}
