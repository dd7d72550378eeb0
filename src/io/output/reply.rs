//! A reply of the protocol itself: if the protocol panics within it, nothing of it is sent.

use super::Output;
use super::message::State;

/// The output while the protocol may reply by itself. Dropped by a panic, it notes that the output ends with half a reply; the
/// next [`Output::abandon`] removes that. [`end`](Self::end) costs nothing, so it can surround every message that is unpacked.
pub(crate) struct Reply<'a>(&'a mut Output);

impl<'a> Reply<'a> {
    #[inline]
    pub(crate) fn new(output: &'a mut Output) -> Self {
        Reply(output)
    }

    #[inline]
    pub(crate) fn output(&mut self) -> &mut Output {
        self.0
    }

    /// The protocol has returned: what it has put is whole.
    #[inline]
    pub(crate) fn end(self) {
        std::mem::forget(self);
    }
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        self.0.state.add(State::HALF_REPLY);
    }
}
