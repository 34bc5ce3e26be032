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
    /// A key that is planned but does nothing yet.
    ///
    /// Starting without what it asks for could be dangerous (`tls`, `validate`), so it is an error, not a
    /// warning. Take it out until a version supports it.
    NOT_SUPPORTED_YET = "not-supported-yet";
    /// A value is not of the kind that its key needs.
    ///
    /// The message names what was expected and what was found. Durations and sizes need a unit where a bare
    /// number could be read in two ways: `30s`, `10MB`.
    VALUE_INVALID = "value-invalid";
    /// A route's bound on the head of a request is wider than the whole gateway's.
    ///
    /// The listener judges a head before it is known which route the request takes, so the wider bound would never be
    /// reached. Raise the one at the root of gatewright.yaml, and narrow it for the routes that need less.
    BOUND_WITHOUT_EFFECT = "bound-without-effect";
    /// A key that must be there is not.
    KEY_MISSING = "key-missing";
    /// Two keys exclude one another, or one of the two is needed.
    KEYS_CONFLICT = "keys-conflict";
    /// Two things have one name, so nothing could tell them apart.
    NAME_TWICE = "name-twice";
    /// The configuration is no YAML or JSON that can be read.
    ///
    /// The message names the first place that cannot be read. A configuration has at most 4 MB, 64 levels
    /// and 100,000 values.
    CONFIG_SYNTAX = "config-syntax";
    /// A mapping of the configuration holds the same key twice.
    ///
    /// Readers disagree on which of the two counts. Remove or rename one of them.
    CONFIG_DUPLICATE_KEY = "config-duplicate-key";
    /// `${…}` stands for something that cannot be had.
    ///
    /// `${NAME}` is an environment variable, `${NAME:-default}` one with a default for when it is not set or
    /// empty, `${file:PATH}` the text of a file, `$${` the characters `${`. In a description they are not
    /// allowed: it comes from elsewhere and must not read variables or files.
    REFERENCE_INVALID = "reference-invalid";
    /// A route sends to an upstream that is not defined.
    ///
    /// Define it under `upstreams:`, or write its address in place of the name:
    /// `upstream: http://10.0.0.5:8000`.
    UNKNOWN_UPSTREAM = "unknown-upstream";
    /// `--server N` counts the description's servers from 0, and there are not so many.
    NO_SUCH_SERVER = "no-such-server";
    /// Nothing says where the requests of some operations should go: the description names no server that
    /// can be used, or only ones relative to where it came from.
    ///
    /// Name the upstream: `--upstream http://127.0.0.1:9000`, or `upstream:` in gatewright.yaml.
    NO_UPSTREAM = "no-upstream";
    /// A description that was fetched from the network carries `x-gatewright` keys. They are not obeyed:
    /// whoever can change that document could change what this gateway does.
    ///
    /// Download it and run the file, or write the keys into gatewright.yaml.
    EXTENSION_IGNORED = "extension-ignored";
}
