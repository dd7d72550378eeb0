//! Containing the panics of the user's code.
//!
//! It works where panics unwind. A program that is built with `panic = "abort"` ends at the first.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::connection::Connection;
use crate::connection::close_reason::Cause;
use crate::io::output::Packed;

/// Runs the user's code; a panic ends the connection, and nothing else.
#[inline]
pub(crate) fn contain<R>(
    connection: &mut Connection,
    code: impl FnOnce(&mut Connection) -> R,
) -> Option<R> {
    // What the panic leaves behind is a connection that closes, and a handler whose documentation says so.
    match catch_unwind(AssertUnwindSafe(|| code(connection))) {
        Ok(value) => Some(value),
        Err(panic) => {
            panicked(connection, panic);
            None
        }
    }
}

#[cold]
fn panicked(connection: &mut Connection, panic: Box<dyn Any + Send>) {
    log::error!(
        "connection {}: a callback panicked: {}",
        connection.id,
        panic_text(&*panic)
    );
    contain_drop(panic);
    match connection.output.abandon() {
        // Half of a message has left: the peer must not take it for the end of the stream.
        Packed::Torn => connection.abort(Cause::Panic),
        _ => connection.close(Cause::Panic),
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}

/// Drops what the user's code has made, and whose drop may panic.
pub(crate) fn contain_drop<T>(value: T) {
    contain_call(|| drop(value));
}

/// Calls the user's code where no connection can answer for its panic.
pub(crate) fn contain_call(code: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(code)) {
        log::error!("a drop or a last call panicked: {}", panic_text(&*panic));
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            // A payload whose drop panics cannot be told apart from one that does so for ever.
            std::mem::forget(again);
        }
    }
}
