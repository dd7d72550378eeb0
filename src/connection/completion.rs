//! Completions: callbacks that tell the outcome of sending one message.

use std::fmt;

use crate::connection::send_status::Refusal;
use crate::shared::callback::{News, call_back};

/// The outcome of sending one message, as its completion is told.
///
/// ```
/// use ringwheel::{Conn, SendOutcome, protocol::Lines};
///
/// fn send_receipt(conn: &mut Conn<'_, Lines>, number: u64) {
///     conn.send_then(&format!("order {number} is placed"), move |outcome| match outcome {
///         SendOutcome::Written => println!("the kernel has the receipt of order {number}"),
///         other => println!("the receipt of order {number} was not sent: {other:?}"),
///     });
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendOutcome {
    /// All of it was handed to the kernel, which sends it as long as the peer reads.
    Written,
    /// Nothing of it was sent.
    Refused(Refusal),
    /// The connection ended before all of it was sent.
    Lost,
}

/// The callback of one message. It is called exactly once: dropping it uncalled tells [`SendOutcome::Lost`].
pub(crate) struct Completion(Option<Box<dyn FnOnce(SendOutcome) + Send>>);

impl Completion {
    pub(crate) fn new(callback: impl FnOnce(SendOutcome) + Send + 'static) -> Self {
        Completion(Some(Box::new(callback)))
    }

    pub(crate) fn complete(mut self, outcome: SendOutcome) {
        if let Some(callback) = self.0.take() {
            callback(outcome);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(callback) = self.0.take() {
            // It may be dropped because something else panics; a second panic would end the process.
            call_back(News::Refusal, move || callback(SendOutcome::Lost));
        }
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completion")
    }
}
