//! Runs a connection's callbacks so that a panic in one closes this connection, and nothing else.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::connection::Connection;
use crate::connection::close_reason::Cause;
use crate::connection::id::ConnId;
use crate::io::output::Packed;
use crate::panics::{contain_drop, panic_text};

/// Runs the user's code; a panic ends the connection, and nothing else.
#[inline]
pub(crate) fn contain<R>(
    connection: &mut Connection,
    code: impl FnOnce(&mut Connection) -> R,
) -> Option<R> {
    // After a panic the connection only closes; the handler goes on as the panic left it, which its documentation says.
    match catch_unwind(AssertUnwindSafe(|| code(connection))) {
        Ok(value) => Some(value),
        Err(panic) => {
            panicked(connection, panic);
            None
        }
    }
}

/// Runs the last callback of a connection. A panic changes nothing, because the connection is over for the handler already.
pub(crate) fn contain_last(id: ConnId, code: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(code)) {
        report(id, panic);
    }
}

#[cold]
fn report(id: ConnId, panic: Box<dyn Any + Send>) {
    let text = panic_text(&*panic);
    log::error!("connection {id}: a callback panicked: {text}");
    contain_drop(panic);
}

#[cold]
fn panicked(connection: &mut Connection, panic: Box<dyn Any + Send>) {
    report(connection.id, panic);
    match connection.output.abandon() {
        // Half of a message has left: the peer must not take it for the end of the stream.
        Packed::Torn => connection.abort(Cause::Panic),
        _ => connection.close(Cause::Panic),
    }
}
