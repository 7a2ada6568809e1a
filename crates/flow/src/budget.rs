//! What waits in the memory of a process's roles, and how much it may be: a cap
//! that all share, so that a slow store stops the reading and not the process.
//!
//! Not here: pausing, which the runtime does before its share is used.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tapedeck_log::LogRecord;

/// Bytes that all runtimes of a process may hold together.
#[derive(Debug)]
pub struct Budget {
    cap_bytes: usize,
    used_bytes: AtomicUsize,
    holders: AtomicUsize,
}

impl Budget {
    /// What `delivery.memory_cap_bytes` is by default: far more than the batches
    /// of all roles together, far less than a small machine has.
    pub const DEFAULT_BYTES: usize = 512 << 20;

    /// A cap.
    pub fn new(cap_bytes: usize) -> Self {
        Self { cap_bytes, used_bytes: AtomicUsize::new(0), holders: AtomicUsize::new(0) }
    }

    /// A share of it, given back when it is dropped.
    pub fn share(self: &Arc<Self>) -> Share {
        self.holders.fetch_add(1, Relaxed);
        Share { budget: Arc::clone(self), held_bytes: 0 }
    }

    /// What is held now.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Relaxed)
    }

    /// What may be held.
    pub fn cap_bytes(&self) -> usize {
        self.cap_bytes
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(Self::DEFAULT_BYTES)
    }
}

/// What one runtime holds of a budget.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    held_bytes: usize,
}

impl Share {
    /// Says what is held now: one step, so that nobody who looks meanwhile sees
    /// the old and the new together.
    pub fn set(&mut self, bytes: usize) {
        match bytes.checked_sub(self.held_bytes) {
            Some(more) => self.budget.used_bytes.fetch_add(more, Relaxed),
            None => self.budget.used_bytes.fetch_sub(self.held_bytes - bytes, Relaxed),
        };
        self.held_bytes = bytes;
    }

    /// What is held now.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// How much more may be taken. Each has an equal part, so that one whose store
    /// is away starves nobody; and who holds nothing may always take one record,
    /// so that nobody waits for ever.
    pub fn room_bytes(&self) -> usize {
        let part = self.budget.cap_bytes / self.budget.holders.load(Relaxed).max(1);
        let left = self.budget.cap_bytes.saturating_sub(self.budget.used_bytes());
        let room = part.saturating_sub(self.held_bytes).min(left);
        if self.held_bytes == 0 { room.max(1) } else { room }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
        self.budget.holders.fetch_sub(1, Relaxed);
    }
}

/// What a delivery holds beside its bytes. Measured with a counting allocator:
/// 312 itself, about 350 of its event on the heap; and the queue that it lies in
/// may be half empty.
pub const RECORD_BYTES: usize = 1_024;
/// How often a delivery holds the bytes of its record: once as they are, once
/// more in the fields of its event (an alert of 4,270 bytes holds 8,890, an
/// execution report of 677 holds 1,704).
pub const BYTES_FACTOR: usize = 2;

/// Bytes of a record as they lie in the log.
pub fn bytes_of(record: &LogRecord) -> usize {
    let len = |part: &Option<bytes::Bytes>| part.as_ref().map_or(0, bytes::Bytes::len);
    len(&record.key) + len(&record.value) + record.headers.as_bytes().len()
}

/// What so many deliveries of so many bytes hold of memory, about.
pub fn held_bytes(records: usize, bytes: usize) -> usize {
    records.saturating_mul(RECORD_BYTES).saturating_add(bytes.saturating_mul(BYTES_FACTOR))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_holds_nothing_may_take_one_record_even_where_nothing_is_left() {
        let budget = Arc::new(Budget::new(100));
        let (mut one, two) = (budget.share(), budget.share());
        one.set(500);
        assert_eq!((one.room_bytes(), two.room_bytes()), (0, 1));
        drop(one);
        assert_eq!((budget.used_bytes(), two.room_bytes()), (0, 100));
    }

    proptest! {
        #[test]
        fn whoever_takes_no_more_than_the_room_stays_below_the_cap(
            acts in prop::collection::vec((0_usize..4, 0_usize..200, any::<bool>()), 0..100),
        ) {
            let budget = Arc::new(Budget::new(1_000));
            let mut shares: Vec<Share> = (0..4).map(|_| budget.share()).collect();
            for (who, wanted, release) in acts {
                let share = &mut shares[who];
                let held = share.held_bytes();
                if release {
                    share.set(held.saturating_sub(wanted));
                } else {
                    share.set(held + wanted.min(share.room_bytes()));
                }
                let sum: usize = shares.iter().map(Share::held_bytes).sum();
                prop_assert_eq!(budget.used_bytes(), sum);
                prop_assert!(sum <= 1_000);
                prop_assert!(shares.iter().all(|share| share.held_bytes() <= 250));
            }
        }
    }
}
