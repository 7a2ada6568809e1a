//! Stub.
//!
//! Not here: anything.
use std::sync::Arc;
pub(crate) fn join(
    _client: &Arc<crate::client::Client>,
    _group: &str,
    _member: &str,
    _topics: &[Arc<str>],
) -> tapedeck_log::Result<Box<dyn tapedeck_log::Member>> {
    Err(tapedeck_log::LogError::Fatal("no member".into()))
}
