//! Who goes first where threads want more cores than there are.
//!
//! Not here: which role is beside the trading path.

/// Lets all other threads go first: a role that reads a backlog would work on all cores,
/// and a decision over HTTP would wait for one. Threads that this one starts are alike.
pub(crate) fn let_others_first() {
    /// About a tenth of the share of a thread at 0, where both want a core.
    #[cfg(target_os = "linux")]
    const NICE: i32 = 10;
    // Elsewhere it would be the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!("a thread keeps its priority: {error}");
    }
}
