//! Atomics and locks of what threads share with a loop: those of std, and in the model checks those of loom, which runs
//! every interleaving of them.

#[cfg(all(test, loom))]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};
