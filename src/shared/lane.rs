//! The lanes of a mailbox: mail of callbacks does not wait behind that of threads.

use super::current;

/// The side from which mail of other threads comes. Each has a queue of its own, and a budget in each iteration.
///
/// What callbacks post is bounded by the limits of their connections, so their lane is short. A thread of the program is slowed by
/// nothing and may fill half of the mailboxes, which takes seconds to carry out on a busy worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Mail of callbacks on other workers, and visits that callbacks ask for.
    Callbacks,
    /// Mail of threads that run no worker.
    Threads,
}

impl Lane {
    /// In the order in which an iteration reads them: what a thread posts after it has heard of a callback's letter comes behind that
    /// letter, as long as the callbacks' lane fits into its budget.
    pub(crate) const ALL: [Lane; 2] = [Lane::Callbacks, Lane::Threads];

    /// The lane of what the current thread posts.
    pub(crate) fn of_current_thread() -> Self {
        match current::is_worker() {
            true => Lane::Callbacks,
            false => Lane::Threads,
        }
    }
}
