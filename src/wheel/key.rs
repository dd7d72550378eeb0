//! The names of timers, which outlive them.

use std::num::NonZeroU32;

/// Names one timer of one [`Wheel`](super::Wheel), from [`insert`](super::Wheel::insert) until it fires or is cancelled.
///
/// A key that outlives its timer is stale and inert for good: no later timer is ever named by it,
/// although the memory is reused. A key takes 8 bytes, and so does an `Option<TimerKey>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimerKey {
    pub(super) index: u32,
    /// Counts the timers that have used the entry.
    pub(super) generation: NonZeroU32,
}
