//! The message being packed: it goes into the output whole, or is taken back.

use super::{LAST_WORDS_ROOM, OWN_ROOM, Output};

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
    /// The message is the protocol's last words.
    const LAST_WORDS: State = State(8);
    /// The protocol has panicked within a reply of its own.
    pub(super) const HALF_REPLY: State = State(16);

    #[inline]
    pub(super) fn has(self, flag: State) -> bool {
        self.0 & flag.0 != 0
    }

    pub(super) fn add(&mut self, flag: State) {
        self.0 |= flag.0;
    }

    pub(super) fn clear(&mut self, flag: State) {
        self.0 &= !flag.0;
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
        if self.state.has(State::PACKING) && !self.state.has(State::LAST_WORDS) {
            limit - OWN_ROOM.min(limit)
        } else {
            limit
        }
    }

    /// True if so many more bytes may be pending.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.len().saturating_add(bytes) <= self.limit()
    }

    /// Finds out if the current message, as far as it is written, does not fit below the limit, although the socket was offered
    /// the messages before it: it will be taken back. An encoder that compresses against earlier messages must then forget this
    /// one.
    pub fn overfills(&mut self) -> bool {
        if !self.has_room(0) && !self.make_room(0) {
            self.state.add(State::OVERFLOWED);
        }
        self.state.has(State::OVERFLOWED)
    }

    /// Begins a message, so that it can be taken back.
    #[inline]
    pub(crate) fn begin(&mut self) {
        // No output limit reaches 4 GiB.
        self.mark = self.len() as u32;
        self.state = State::PACKING;
        self.open_patches = 0;
    }

    /// Begins the protocol's last words, for which room is reserved.
    pub(crate) fn begin_last_words(&mut self) {
        self.begin();
        self.state.add(State::LAST_WORDS);
        if let Some(ring) = &mut self.ring {
            ring.set_limit(ring.limit() + LAST_WORDS_ROOM);
        }
    }

    /// True if more has happened to the current message than that it was written: part of it has left, or did not fit.
    #[inline]
    pub(crate) fn has_incident(&self) -> bool {
        self.state != State::PACKING
    }

    /// Ends the message that was begun. The caller has asked if it [overfills](Self::overfills) the output, except for the
    /// protocol's own words.
    #[inline]
    pub(crate) fn finish(&mut self) -> Packed {
        self.finish_at(self.len())
    }

    /// As [`finish`](Self::finish), where the caller knows how much is pending.
    #[inline]
    pub(crate) fn finish_at(&mut self, pending: usize) -> Packed {
        debug_assert_eq!(pending, self.len());
        if self.state.has(State::OVERFLOWED) {
            return self.take_back();
        }
        self.mark = pending as u32;
        self.state = State::IDLE;
        Packed::Whole
    }

    /// All that is pending is whole.
    #[inline]
    pub(crate) fn set_mark(&mut self) {
        self.mark = self.len() as u32;
        self.state = State::IDLE;
    }

    /// Ends a reply that a protocol has put by itself: it is sent even if the protocol panics afterwards. Without this a reply ends
    /// when the protocol returns, and a panic before that takes it back.
    pub fn end_reply(&mut self) {
        if !self.has_overflowed() {
            self.set_mark();
        }
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
            if ring.is_empty() {
                self.outlet.unblock();
            }
        }
        Packed::Overflowed
    }

    /// Removes a message, or a reply of the protocol itself, within which the protocol has panicked.
    pub(crate) fn abandon(&mut self) -> Packed {
        if self.state.has(State::PACKING) || self.state.has(State::HALF_REPLY) {
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
}
