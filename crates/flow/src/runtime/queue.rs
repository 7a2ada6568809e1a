//! Deliveries that wait, in their order, and how many bytes their records have.
//!
//! Not here: which partition they are of.

use std::collections::VecDeque;

use crate::{Delivery, budget::bytes_of};

/// Deliveries in their order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Delivery>,
    bytes: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes of their records.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, index: usize) -> Option<&Delivery> {
        self.waiting.get(index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.waiting.iter()
    }

    pub(super) fn push_back(&mut self, delivery: Delivery) {
        self.bytes += bytes_of(&delivery.record);
        self.waiting.push_back(delivery);
    }

    pub(super) fn push_front(&mut self, delivery: Delivery) {
        self.bytes += bytes_of(&delivery.record);
        self.waiting.push_front(delivery);
    }

    pub(super) fn pop_front(&mut self) -> Option<Delivery> {
        let delivery = self.waiting.pop_front()?;
        self.bytes -= bytes_of(&delivery.record);
        Some(delivery)
    }

    /// The first `size`, or fewer where they do not lie side by side: after
    /// [`Queue::join`] all do, and taking some out keeps it so.
    pub(super) fn first(&self, size: usize) -> &[Delivery] {
        let side_by_side = self.waiting.as_slices().0;
        &side_by_side[..size.min(side_by_side.len())]
    }

    /// Lets all lie side by side.
    pub(super) fn join(&mut self) {
        self.waiting.make_contiguous();
    }

    pub(super) fn drop_first(&mut self, size: usize) {
        for delivery in self.waiting.drain(..size) {
            self.bytes -= bytes_of(&delivery.record);
        }
    }

    pub(super) fn remove(&mut self, index: usize) -> Option<Delivery> {
        let delivery = self.waiting.remove(index)?;
        self.bytes -= bytes_of(&delivery.record);
        self.join();
        Some(delivery)
    }

    /// All of them, in their order.
    pub(super) fn into_all(self) -> impl DoubleEndedIterator<Item = Delivery> {
        self.waiting.into_iter()
    }

    /// Takes those out that match, in their order.
    pub(super) fn take(&mut self, matches: impl Fn(&Delivery) -> bool) -> Vec<Delivery> {
        if !self.waiting.iter().any(&matches) {
            return Vec::new();
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        for delivery in std::mem::take(&mut self.waiting) {
            if matches(&delivery) {
                bytes += bytes_of(&delivery.record);
                taken.push(delivery);
            } else {
                self.waiting.push_back(delivery);
            }
        }
        self.bytes -= bytes;
        taken
    }
}
