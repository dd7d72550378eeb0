//! The message being packed: it goes into the output whole, or is taken back.

use super::{OWN_ROOM, Output};

/// The state of the current message, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State(u8);

impl State {
    pub(super) const IDLE: State = State(0);
    /// A message has begun and can be taken back to the mark.
    pub(super) const PACKING: State = State(1);
    /// Part of the message has left.
    pub(super) const TORN: State = State(2);
    /// Something did not fit.
    pub(super) const OVERFLOWED: State = State(4);

    #[inline]
    pub(super) fn has(self, flag: State) -> bool {
        self.0 & flag.0 != 0
    }

    pub(super) fn add(&mut self, flag: State) {
        self.0 |= flag.0;
    }
}

/// The outcome of packing a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packed {
    /// The message is in the output, or has left.
    Whole,
    /// It did not fit below the hard limit and was taken back.
    Overflowed,
    /// It did not fit, and part of it has left already: the stream is spoilt.
    Torn,
}

impl Output {
    /// Bytes that may be pending now: a message leaves the protocol's own room alone.
    pub(super) fn limit(&self) -> usize {
        let limit = self.ring.as_ref().map_or(usize::MAX, |ring| ring.limit());
        if self.state.has(State::PACKING) {
            limit - OWN_ROOM.min(limit)
        } else {
            limit
        }
    }

    /// True if more is pending than the limit allows.
    #[inline]
    pub(crate) fn exceeds_limit(&self) -> bool {
        self.len() > self.limit()
    }

    /// True if the current message, as far as it is written, does not fit below the limit: it will be taken back. An encoder
    /// that compresses against earlier messages must then forget this one.
    pub fn is_overfull(&self) -> bool {
        self.state.has(State::OVERFLOWED) || self.exceeds_limit()
    }

    /// Begins a message, so that it can be taken back.
    #[inline]
    pub(crate) fn begin(&mut self) {
        // No output limit reaches 4 GiB.
        self.mark = self.len() as u32;
        self.state = State::PACKING;
        self.open_patches = 0;
    }

    /// Ends the message that was begun. The caller has checked [the limit](Self::exceeds_limit), except for the protocol's own
    /// words.
    #[inline]
    pub(crate) fn finish(&mut self) -> Packed {
        if self.state.has(State::OVERFLOWED) {
            return self.take_back();
        }
        self.state = State::IDLE;
        Packed::Whole
    }

    /// Removes the current message from the output.
    #[cold]
    pub(crate) fn take_back(&mut self) -> Packed {
        let torn = self.state.has(State::TORN);
        self.state = State::IDLE;
        if torn {
            return Packed::Torn;
        }
        if let Some(ring) = &mut self.ring {
            ring.truncate(self.mark as usize);
            // With nothing pending no event need come before the next write is tried.
            self.blocked &= !ring.is_empty();
        }
        Packed::Overflowed
    }

    /// Removes a message whose packing panicked.
    pub(crate) fn abandon(&mut self) -> Packed {
        if self.state.has(State::PACKING) {
            self.take_back()
        } else {
            Packed::Whole
        }
    }

    /// True if a protocol's own reply did not fit, for another reason than that the socket has failed.
    #[inline]
    pub(crate) fn has_overflowed(&self) -> bool {
        self.state.has(State::OVERFLOWED) && self.failure.is_none()
    }

    /// The current message does not fit after all.
    pub(crate) fn mark_overflowed(&mut self) {
        self.state.add(State::OVERFLOWED);
    }
}
