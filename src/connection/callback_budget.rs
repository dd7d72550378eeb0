//! The time and the number of callbacks that an iteration of the loop may still call.

use super::callback_time::CallbackTime;

/// The callbacks that an iteration may still call: a time and a number. Callbacks that give way to each other share one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallbackBudget {
    time: CallbackTime,
    callbacks: usize,
}

impl CallbackBudget {
    /// A budget that is never spent.
    pub(crate) const ENDLESS: CallbackBudget =
        CallbackBudget::new(CallbackTime::ENDLESS, usize::MAX);

    pub(crate) const fn new(time: CallbackTime, callbacks: usize) -> Self {
        CallbackBudget { time, callbacks }
    }

    /// Counts a callback that was called. True if the next one must wait for another iteration.
    pub(crate) fn count(&mut self) -> bool {
        self.callbacks = self.callbacks.saturating_sub(1);
        self.is_spent()
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.callbacks == 0 || self.time.is_over()
    }
}
