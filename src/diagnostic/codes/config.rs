//! What the reader and the compiler of `gatewright.yaml` can say.

use super::codes;

codes! { CONFIG:
    /// A key that the configuration does not have.
    ///
    /// Nothing in a configuration is ignored in silence: correct the key or take it out.
    UNKNOWN_KEY = "unknown-key";
}
