//! What the system says of this process.
//!
//! Not here: limits, which are the config's.

/// Bytes of memory that the process holds now; none where the system does not
/// tell (it does on Linux).
pub(crate) fn resident_bytes() -> Option<u64> {
    resident_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// The line `VmRSS:  1234 kB` of proc(5), in bytes.
fn resident_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident_in("Name:\ttapedeck\nVmRSS:\t  2048 kB\nThreads: 3\n"), Some(2 << 20));
        assert_eq!(resident_in("Name:\ttapedeck\n"), None);
    }
}
