//! cache (stub)
#[derive(Clone, Debug)]
pub struct Cache;
#[derive(Clone, Debug, Default)]
pub struct RouteCacheOptions;
