//! The request path.
mod body;
mod hop;
