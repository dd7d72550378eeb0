//! The output of one connection: protocols write into it, and the socket takes it.
//!
//! A ring collects what is written (here). A [message](message) goes into it whole or not at all, and what is pending
//! [leaves](drain) in few writes.

mod drain;
mod message;
mod outlet;
mod reply;

use std::io;

use ringwheel_ringbuffer::{RingBuffer, RingPool};

use crate::io::stream::Stream;
use crate::io::wire::Wire;
use message::State;
use outlet::Outlet;

pub(crate) use message::Packed;
pub(crate) use reply::Reply;

/// From this many bytes on, a slice is handed to the socket from where it lies instead of being copied into the ring
/// first: the copy would cost more than a system call saves.
const DIRECT_WRITE_MIN: usize = 8 * 1024;

/// Room beyond the limit for what the protocol says by itself, in bytes: a peer that is slow to read is pinged all the same,
/// and told of the end.
pub(crate) const OWN_ROOM: usize = 512;

/// Room beyond that for the last words of a protocol, in bytes: its other words cannot use it up, so a peer that is slow to read
/// is told of the end.
pub(crate) const LAST_WORDS_ROOM: usize = 512;

/// The output of one connection, into which its protocol writes.
///
/// Small pieces collect in a ring, and everything that a burst of messages answers leaves in one write. A large slice
/// goes to the socket at once, behind what the ring holds, and only what the socket does not take is copied.
///
/// Pending output never exceeds [`Limits::output`](crate::Limits::output), except by 512 bytes of what the protocol says by
/// itself and 512 bytes of its last words. Before a message is found not to fit, the socket is offered what is pending. A
/// message that does not fit is taken back whole, and [`Conn::send`](crate::Conn::send) reports it.
#[derive(Debug)]
pub struct Output {
    /// Lent by the worker's pool while there is output. Its limit is the connection's output limit and [`OWN_ROOM`].
    ring: Option<Box<RingBuffer>>,
    wire: Wire,
    /// Bytes that the socket has taken since the connection opened.
    written: u64,
    /// Pending bytes that belong to earlier messages, at most all of them: the end of a whole message. A direct write lowers
    /// it; a write beyond it has torn the message that follows.
    mark: u32,
    outlet: Outlet,
    state: State,
    /// Length fields that are still to be patched: while there are any, nothing may leave.
    open_patches: u8,
    /// The first failure of the socket; from then on writes are refused once they need more room.
    failure: Option<io::Error>,
}

/// A field that was reserved in the output, to be filled in once its value is known.
#[derive(Debug)]
#[must_use = "a reserved field that is never patched is sent as zeros"]
pub struct Patch(Option<ringwheel_ringbuffer::Patch>);

impl Output {
    pub(crate) fn new(wire: Wire) -> Self {
        Output {
            ring: None,
            wire,
            written: 0,
            mark: 0,
            outlet: Outlet::Open,
            state: State::IDLE,
            open_patches: 0,
            failure: None,
        }
    }

    /// An output that only collects, to try a protocol without a connection.
    ///
    /// ```
    /// use ringwheel::protocol::{Encode, LengthPrefixed, Output, Protocol};
    ///
    /// let (_decoder, mut encoder) = LengthPrefixed::u32_be().open();
    /// let mut output = Output::detached();
    /// encoder.pack(b"hello", &mut output).unwrap();
    /// assert_eq!(output.take(), b"\0\0\0\x05hello");
    /// ```
    pub fn detached() -> Self {
        Output::new(Stream::Detached.into())
    }

    /// Bytes that are pending: packed, and not yet taken by the socket.
    #[inline]
    pub fn len(&self) -> usize {
        self.ring.as_ref().map_or(0, |ring| ring.len())
    }

    /// True if nothing is pending.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all that a [`detached`](Self::detached) output has collected; from a connection's output nothing.
    pub fn take(&mut self) -> Vec<u8> {
        let Some(ring) = self.ring.as_mut().filter(|_| !self.wire.is_attached()) else {
            return Vec::new();
        };
        let taken = ring.contiguous().to_vec();
        ring.clear();
        taken
    }

    /// Appends bytes.
    #[inline]
    pub fn put_slice(&mut self, bytes: &[u8]) {
        if bytes.len() >= DIRECT_WRITE_MIN {
            return self.put_large(bytes);
        }
        let put = self
            .ring
            .as_mut()
            .is_some_and(|ring| ring.extend_from_slice(bytes).is_ok());
        if !put {
            self.put_slowly(bytes);
        }
    }

    /// Says that the current message is `bytes` long in all. If that does not fit, nothing of it leaves: without this a
    /// message that is put in several large slices can be found not to fit when its beginning has gone out, and then
    /// the connection must end.
    #[inline]
    pub fn announce(&mut self, bytes: usize) {
        if !self.has_room(bytes) && !self.make_room(bytes) {
            self.state.add(State::OVERFLOWED);
        }
    }

    /// Appends all parts of a message, [announced](Self::announce) together.
    pub fn put_parts(&mut self, parts: &[&[u8]]) {
        self.announce(
            parts
                .iter()
                .fold(0, |total: usize, part| total.saturating_add(part.len())),
        );
        for part in parts {
            self.put_slice(part);
        }
    }

    /// Appends two parts of a message, [announced](Self::announce) together: as [`put_parts`](Self::put_parts), but cheaper.
    #[inline]
    pub fn put_pair(&mut self, front: &[u8], back: &[u8]) {
        // No two slices together fill the address space.
        let is_small = front.len() + back.len() < DIRECT_WRITE_MIN;
        let put = is_small
            && self
                .ring
                .as_mut()
                .is_some_and(|ring| ring.extend_from_pair(front, back).is_ok());
        if !put {
            self.put_pair_apart(front, back);
        }
    }

    #[cold]
    fn put_pair_apart(&mut self, front: &[u8], back: &[u8]) {
        self.put_parts(&[front, back]);
    }

    /// Appends one byte.
    #[inline]
    pub fn put_u8(&mut self, value: u8) {
        self.put_slice(&[value]);
    }

    /// Appends a big-endian u16.
    #[inline]
    pub fn put_u16_be(&mut self, value: u16) {
        self.put_slice(&value.to_be_bytes());
    }

    /// Appends a big-endian u32.
    #[inline]
    pub fn put_u32_be(&mut self, value: u32) {
        self.put_slice(&value.to_be_bytes());
    }

    /// Appends a big-endian u64.
    #[inline]
    pub fn put_u64_be(&mut self, value: u64) {
        self.put_slice(&value.to_be_bytes());
    }

    /// Appends a field of `width` zeros for a value that is known only after what follows it; fill it in with
    /// [`patch`](Self::patch). Nothing leaves before that.
    ///
    /// ```
    /// use ringwheel::protocol::Output;
    ///
    /// let mut output = Output::detached();
    /// let length = output.reserve_patch(2);
    /// output.put_slice(b"body");
    /// output.patch(length, &4u16.to_be_bytes());
    /// assert_eq!(output.take(), b"\0\x04body");
    /// ```
    pub fn reserve_patch(&mut self, width: usize) -> Patch {
        self.open_patches = self.open_patches.saturating_add(1);
        let mut patch = self.ring_or_own().reserve_patch(width).ok();
        if patch.is_none() && self.make_room(width) {
            patch = self.ring_or_own().reserve_patch(width).ok();
        }
        if patch.is_none() {
            self.state.add(State::OVERFLOWED);
        }
        Patch(patch)
    }

    /// Fills in a reserved field.
    ///
    /// # Panics
    /// If `bytes` is not as long as the field.
    pub fn patch(&mut self, patch: Patch, bytes: &[u8]) {
        self.open_patches = self.open_patches.saturating_sub(1);
        if let (Some(patch), Some(ring)) = (patch.0, &mut self.ring) {
            ring.patch(patch, bytes);
        }
    }

    /// The slow path of [`put_slice`](Self::put_slice): there is no ring yet, or no room.
    #[cold]
    fn put_slowly(&mut self, bytes: &[u8]) {
        if self.failure.is_some() {
            // So that a callback which sends until it is told to hold back is told.
            self.state.add(State::OVERFLOWED);
            return;
        }
        if self.outlet == Outlet::Shut || self.wire.has_said_end() {
            return self.clear();
        }
        let put = self.ring_or_own().extend_from_slice(bytes).is_ok();
        let put = put
            || (self.make_room(bytes.len()) && self.ring_or_own().extend_from_slice(bytes).is_ok());
        if !put {
            self.state.add(State::OVERFLOWED);
        }
    }

    /// Drops what is pending, which cannot leave any more.
    fn clear(&mut self) {
        self.mark = 0;
        if let Some(ring) = &mut self.ring {
            ring.clear();
        }
    }

    /// The ring; a detached output, to which no pool lends one, gets its own.
    fn ring_or_own(&mut self) -> &mut RingBuffer {
        debug_assert!(self.ring.is_some() || !self.wire.is_attached());
        self.ring
            .get_or_insert_with(|| Box::new(RingBuffer::with_limit(usize::MAX)))
    }

    /// Borrows a ring to write into, unless there is one; it takes `limit` bytes of messages.
    #[inline]
    pub(crate) fn borrow_ring(&mut self, pool: &mut RingPool, limit: usize) {
        if self.ring.is_none() {
            self.ring = Some(pool.lend(limit + OWN_ROOM));
        }
    }

    /// True if there is a ring, so that output is, or may become, pending.
    #[cfg(test)]
    pub(crate) fn has_ring(&self) -> bool {
        self.ring.is_some()
    }

    /// Bytes of memory that the output and the wire hold.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.ring.as_ref().map_or(0, |ring| ring.capacity()) + self.wire.held()
    }

    /// True if neither the output nor the wire holds memory.
    #[inline]
    pub(crate) fn holds_nothing(&self) -> bool {
        self.ring.is_none() && self.wire.held() == 0
    }

    /// Gives what is unused of the ring back to the allocator, except for `kept` bytes.
    pub(crate) fn trim(&mut self, kept: usize) {
        if let Some(ring) = &mut self.ring {
            ring.shrink_to(kept);
        }
    }

    /// Gives an empty ring back.
    #[inline]
    pub(crate) fn return_ring(&mut self, pool: &mut RingPool) {
        if let Some(ring) = self.ring.take_if(|ring| ring.is_empty()) {
            pool.give_back(ring);
        }
    }

    /// Discards all that the output and the wire hold, because the connection has ended.
    pub(crate) fn release(&mut self, pool: &mut RingPool) {
        self.discard(pool);
        self.wire.release();
    }

    /// Discards the pending output and gives the ring back.
    pub(crate) fn discard(&mut self, pool: &mut RingPool) {
        self.mark = 0;
        if let Some(ring) = self.ring.take() {
            pool.give_back(ring);
        }
    }
}

impl Default for Output {
    fn default() -> Self {
        Output::detached()
    }
}

#[cfg(test)]
mod tests;
