//! What the importer of OpenAPI descriptions can say.

use super::codes;

codes! { IMPORT:
    /// The description names no server, so the gateway does not know where to send requests.
    ///
    /// Name the upstream yourself: `--upstream http://127.0.0.1:9000`, or `upstream:` in the configuration.
    NO_SERVER = "no-server";
}
