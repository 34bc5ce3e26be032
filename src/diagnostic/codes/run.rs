//! What can go wrong when files are read, ports are opened and state is kept.

use super::codes;

codes! { RUN:
    /// A file or folder that was named cannot be read.
    FILE_UNREADABLE = "file-unreadable";
    /// The cache folder is used by another instance.
    ///
    /// One folder belongs to one gateway: two would overwrite each other's answers. The lock goes with
    /// the process, however it ends, so the other one is running now. Stop it, or start this one with a
    /// folder of its own (`--state DIR`).
    CACHE_IN_USE = "cache-in-use";
    /// The cache folder cannot be made, locked, read or written.
    ///
    /// Without it the cache works in memory alone and forgets everything at the end. Make the folder
    /// writable for the user that runs the gateway, or choose another (`--state DIR`).
    CACHE_UNAVAILABLE = "cache-unavailable";
    /// What was stored on disk could not be read, or is of another format, and was given up.
    ///
    /// A cache may forget: nothing is lost but answers that are fetched again. After a power failure
    /// this is expected now and then; if it comes back without one, check the disk.
    CACHE_DAMAGED = "cache-damaged";
    /// The cache on disk takes longer to open than the start waits for it.
    ///
    /// The gateway serves from its first moment; what is stored joins when it is open, and the log says
    /// so. Until then a request for it is a miss.
    CACHE_OPENING = "cache-opening";
}
