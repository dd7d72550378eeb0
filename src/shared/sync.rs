//! The atomics and locks of state that threads share with a loop: std's, or loom's in the model checks, which run every
//! interleaving.

#[cfg(all(test, loom))]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};
