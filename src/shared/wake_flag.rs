//! Whether a loop needs to be woken.

use crate::shared::sync::atomic::{AtomicBool, Ordering, fence};

/// Coalesces wake-ups: none while the loop is awake, at most one for each time that it goes to sleep, and none too few.
///
/// That rests on an order on either side. Who has something for the loop counts it as waiting and then [notifies]; the
/// loop [lowers the flag] and then looks whether anything waits.
///
/// [notifies]: WakeFlag::notify
/// [lowers the flag]: WakeFlag::prepare_to_sleep
pub(crate) struct WakeFlag {
    /// The loop is running, or was woken, and will look at what waits before it sleeps.
    awake: AtomicBool,
}

impl WakeFlag {
    /// The flag of a loop that may be asleep.
    pub(crate) fn new() -> Self {
        WakeFlag {
            awake: AtomicBool::new(false),
        }
    }

    /// Calls `wake` unless the loop is awake, or being woken, already.
    #[inline]
    pub(crate) fn notify(&self, wake: impl FnOnce()) {
        // Pairs with the fence in `prepare_to_sleep`: either the loop sees what was just counted as waiting, or this
        // sees that the loop no longer counts as awake.
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

    /// From here on a notification wakes the loop. Returns whether something waits already, so that it must not sleep.
    #[inline]
    pub(crate) fn prepare_to_sleep(&self, something_waits: impl FnOnce() -> bool) -> bool {
        self.awake.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        something_waits()
    }

    /// The loop runs again.
    #[inline]
    pub(crate) fn woke_up(&self) {
        self.awake.store(true, Ordering::Relaxed);
    }
}
