//! Coalesces the wake-ups of a loop.

use crate::shared::sync::atomic::{AtomicBool, Ordering, fence};

/// Says whether a loop needs a wake-up: none while it is awake, one at most for each time that it goes to sleep, and never
/// one too few.
///
/// Both sides keep an order. A sender first counts its item as waiting and then [notifies]; the loop first [lowers the
/// flag] and then checks whether items wait. So at least one of the two sees the other.
///
/// [notifies]: WakeFlag::notify
/// [lowers the flag]: WakeFlag::prepare_to_sleep
pub(crate) struct WakeFlag {
    /// True while the loop runs or was woken: it will check for waiting items before it sleeps.
    awake: AtomicBool,
}

impl WakeFlag {
    /// The flag of a loop that may be asleep.
    pub(crate) fn new() -> Self {
        WakeFlag {
            awake: AtomicBool::new(false),
        }
    }

    /// Calls `wake`, unless the loop is awake or being woken already.
    #[inline]
    pub(crate) fn notify(&self, wake: impl FnOnce()) {
        // Pairs with the fence in `prepare_to_sleep`: either the loop sees the item that was just counted as waiting, or
        // this call sees that the loop no longer counts as awake.
        fence(Ordering::SeqCst);
        if !self.awake.load(Ordering::Relaxed) && self.raise() {
            wake();
        }
    }

    /// Marks the loop as awake. False if it was already: then nothing is written.
    #[inline]
    fn raise(&self) -> bool {
        self.awake
            .compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Lowers the flag: from here on a notification wakes the loop. True if something waits already, so that the loop must
    /// not sleep.
    #[inline]
    pub(crate) fn prepare_to_sleep(&self, something_waits: impl FnOnce() -> bool) -> bool {
        self.awake.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        something_waits()
    }

    /// Raises the flag: the loop runs again.
    #[inline]
    pub(crate) fn woke_up(&self) {
        self.awake.store(true, Ordering::Relaxed);
    }
}
