//! The state that only few connections need.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::completion::Completion;
use super::topics::Subscription;
use crate::wheel::TimerKey;

/// State that only few connections need, allocated with the first use, so that the others stay small.
#[derive(Default)]
pub(crate) struct Extra {
    /// Completions, each to be called once the output has reached its position, in bytes since the connection opened.
    pub(crate) completions: VecDeque<(u64, Completion)>,
    /// The handler's timers, to be cancelled with the connection.
    pub(crate) timers: HashSet<TimerKey>,
    /// The topics that the connection subscribes to.
    pub(crate) subscriptions: Vec<Subscription>,
    /// Messages that were dropped because the output was full.
    pub(crate) dropped: u64,
    /// Cleared when the connection ends, for its handles; made with the first of them.
    pub(crate) alive: Option<Arc<AtomicBool>>,
}
