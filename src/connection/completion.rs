//! Callbacks for what became of one message.

use std::fmt;

use crate::connection::send_status::Refusal;
use crate::panics::contain_call;

/// What became of a message that was sent with a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendOutcome {
    /// All of it was handed to the kernel, which sends it as long as the peer reads.
    Written,
    /// Nothing of it was sent, and why.
    Refused(Refusal),
    /// The connection ended before all of it was sent.
    Lost,
}

/// Called exactly once: when dropped without a word, it says [`SendOutcome::Lost`].
pub(crate) struct Completion(Option<Box<dyn FnOnce(SendOutcome) + Send>>);

impl Completion {
    pub(crate) fn new(callback: impl FnOnce(SendOutcome) + Send + 'static) -> Self {
        Completion(Some(Box::new(callback)))
    }

    pub(crate) fn complete(mut self, delivery: SendOutcome) {
        if let Some(callback) = self.0.take() {
            callback(delivery);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(callback) = self.0.take() {
            // It may be dropped because something else panics; a second panic would end the process.
            contain_call(move || callback(SendOutcome::Lost));
        }
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completion")
    }
}
