//! Where configuration comes from: files, folders, URLs. Providers do the I/O that `config` and `openapi` must not.

pub mod description;
pub mod fetch;
pub mod source;
pub mod watch;
