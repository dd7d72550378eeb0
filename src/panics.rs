//! Catches panics of the user's code where no connection can answer for them: drops, last calls, scheduled tasks.
//!
//! Panics can be caught only where they unwind: a program that is built with `panic = "abort"` ends at the first.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The text of a panic; a payload that is not text has none.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}

/// Drops a value of the user's code; a panic in its `Drop` is logged.
pub(crate) fn contain_drop<T>(value: T) {
    contain_call(|| drop(value));
}

/// Calls the user's code; a panic is logged.
pub(crate) fn contain_call(code: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(code)) {
        log::error!(
            "code outside of any connection panicked: {}",
            panic_text(&*panic)
        );
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            // The payload's own drop panicked. Dropping the new payload might panic for ever, so it is leaked.
            std::mem::forget(again);
        }
    }
}
