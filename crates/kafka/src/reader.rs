//! Stub.
//!
//! Not here: anything.
use std::sync::Arc;
pub(crate) fn open_reader(_client: &Arc<crate::client::Client>) -> tapedeck_log::Result<Box<dyn tapedeck_log::Reader>> {
    Err(tapedeck_log::LogError::Fatal("no reader".into()))
}
