//! The write side of a connection: a ring that collects, and the socket it drains to.

use std::io::{self, IoSlice};

use ringwheel_ringbuffer::{RingBuffer, RingPool};

use crate::io::transport::{SHORT_MEANS_DRAINED, Socket};

/// From this many bytes on, a slice is handed to the socket from where it lies instead of being copied into the ring
/// first: the copy would cost more than a system call saves.
const DIRECT_WRITE_MIN: usize = 8 * 1024;

/// Room beyond the limit that is kept for what the protocol says by itself, in bytes: a peer that is slow to read is
/// pinged all the same, and told of the end.
pub(crate) const OWN_ROOM: usize = 512;

/// Where a protocol writes: the output of one connection.
///
/// Small pieces collect in a ring, and everything that a burst of messages answers leaves in one write. A large slice
/// goes to the socket at once, behind what the ring holds, and only what the socket does not take is copied.
///
/// What is pending never exceeds the connection's hard limit, but by 512 bytes of what the protocol says by itself. A
/// message that would is taken back whole, and [`Conn::send`](crate::Conn::send) reports it.
#[derive(Debug)]
pub struct Output {
    /// Lent by the worker's pool while there is something to say. Its limit is the connection's output limit and
    /// [`OWN_ROOM`].
    ring: Option<Box<RingBuffer>>,
    socket: Socket,
    /// Bytes that the socket has taken since the connection opened.
    written: u64,
    /// Bytes that were pending before the message that is being packed.
    mark: u32,
    /// The socket takes nothing more until it says that it is writable.
    blocked: bool,
    state: State,
    /// Length fields that are still to be patched: while there are any, nothing may leave.
    open_patches: u8,
    /// How the socket failed; what is put from now on is refused once it needs more room.
    failure: Option<io::Error>,
}

/// A field that was reserved in the output, to be filled in once its value is known.
#[derive(Debug)]
#[must_use = "a reserved field that is never patched is sent as zeros"]
pub struct Patch(Option<ringwheel_ringbuffer::Patch>);

/// What is going on with the message that is being packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State(u8);

impl State {
    const IDLE: State = State(0);
    /// A message has begun and can be taken back to the mark.
    const PACKING: State = State(1);
    /// Part of the message has left.
    const TORN: State = State(2);
    /// Something did not fit.
    const OVERFLOWED: State = State(4);

    #[inline]
    fn has(self, flag: State) -> bool {
        self.0 & flag.0 != 0
    }

    fn add(&mut self, flag: State) {
        self.0 |= flag.0;
    }
}

/// What became of the message that was packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packed {
    Whole,
    /// It did not fit below the hard limit and was taken back.
    Overflowed,
    /// It did not fit, and part of it has left already: the stream is spoilt.
    Torn,
}

impl Output {
    pub(crate) fn new(socket: Socket) -> Self {
        Output {
            ring: None,
            socket,
            written: 0,
            mark: 0,
            blocked: false,
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
        Output::new(Socket::Detached)
    }

    /// Bytes that are pending: packed, and not yet taken by the socket.
    #[inline]
    pub fn len(&self) -> usize {
        self.ring.as_ref().map_or(0, |ring| ring.len())
    }

    /// Whether nothing is pending.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all that a [`detached`](Self::detached) output has collected; from a connection's output nothing.
    pub fn take(&mut self) -> Vec<u8> {
        let Some(ring) = self.ring.as_mut().filter(|_| !self.socket.is_attached()) else {
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
            self.put_unusual(bytes);
        }
    }

    /// Says that the current message is `bytes` long in all. If that does not fit, nothing of it leaves: without this a
    /// message that is put in several large slices can be found not to fit when its beginning has gone out, and then
    /// the connection must end.
    #[inline]
    pub fn announce(&mut self, bytes: usize) {
        let limit = self.limit();
        if bytes > limit.saturating_sub(self.len()) {
            self.state.add(State::OVERFLOWED);
        }
    }

    /// What may be pending now: a message leaves the protocol's own room alone.
    fn limit(&self) -> usize {
        let limit = self.ring.as_ref().map_or(usize::MAX, |ring| ring.limit());
        if self.state.has(State::PACKING) {
            limit - OWN_ROOM.min(limit)
        } else {
            limit
        }
    }

    /// Whether more is pending than may be.
    #[inline]
    pub(crate) fn exceeds_limit(&self) -> bool {
        self.len() > self.limit()
    }

    /// True if the current message, as far as it is written, does not fit below the limit: it will be taken back. An encoder
    /// that compresses against earlier messages must then forget this one.
    pub fn is_overfull(&self) -> bool {
        self.state.has(State::OVERFLOWED) || self.exceeds_limit()
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
        let patch = self.ring_or_own().reserve_patch(width).ok();
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

    /// No ring yet, or no room.
    #[cold]
    fn put_unusual(&mut self, bytes: &[u8]) {
        if self.failure.is_some() {
            // So that a callback which sends until it is told to hold back is told.
            self.state.add(State::OVERFLOWED);
            return;
        }
        if self.ring_or_own().extend_from_slice(bytes).is_err() {
            self.state.add(State::OVERFLOWED);
        }
    }

    /// The ring; a detached output, to which no pool lends one, gets its own.
    fn ring_or_own(&mut self) -> &mut RingBuffer {
        debug_assert!(self.ring.is_some() || !self.socket.is_attached());
        self.ring
            .get_or_insert_with(|| Box::new(RingBuffer::with_limit(usize::MAX)))
    }

    /// Hands what is pending and `bytes` to the socket, and keeps what it does not take.
    fn put_large(&mut self, bytes: &[u8]) {
        let must_wait = self.open_patches > 0 || self.state.has(State::OVERFLOWED);
        let cannot_leave = self.blocked || must_wait || !self.socket.is_attached();
        let limit = self.limit();
        let Some(ring) = self.ring.as_mut().filter(|_| !cannot_leave) else {
            return self.put_unusual(bytes);
        };
        let pending = ring.len();
        if pending.saturating_add(bytes.len()) > limit {
            self.state.add(State::OVERFLOWED);
            return;
        }
        let (front, back) = ring.as_slices();
        let outcome = if pending == 0 {
            self.socket.write(bytes)
        } else {
            let parts = [IoSlice::new(front), IoSlice::new(back), IoSlice::new(bytes)];
            self.socket.write_vectored(&parts)
        };
        match outcome {
            Ok(count) => {
                self.written += count as u64;
                if count > self.mark as usize {
                    self.state.add(State::TORN);
                }
                self.mark = self
                    .mark
                    .saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
                let from_ring = count.min(pending);
                ring.consume(from_ring);
                let rest = &bytes[count - from_ring..];
                if !rest.is_empty() {
                    self.blocked = SHORT_MEANS_DRAINED;
                    self.put_unusual(rest);
                }
            }
            Err(error) => {
                // What is lost stays pending, too, so that it can be seen that something was.
                self.put_unusual(bytes);
                self.cannot_write(error);
            }
        }
    }

    /// Hands all that is pending to the socket, until it is empty or takes no more.
    #[inline]
    pub(crate) fn flush(&mut self) {
        while self.flush_once() {}
    }

    /// One write of what is pending. True when another may help.
    #[inline]
    fn flush_once(&mut self) -> bool {
        let Some(ring) = self.ring.as_mut().filter(|ring| !ring.is_empty()) else {
            return false;
        };
        if self.blocked || self.failure.is_some() {
            return false;
        }
        let (front, back) = ring.as_slices();
        let outcome = if back.is_empty() {
            self.socket.write(front)
        } else {
            let parts = [IoSlice::new(front), IoSlice::new(back)];
            self.socket.write_vectored(&parts)
        };
        match outcome {
            Ok(count) => {
                self.written += count as u64;
                ring.consume(count);
                let is_cut = !ring.is_empty();
                self.blocked = SHORT_MEANS_DRAINED && is_cut;
                !SHORT_MEANS_DRAINED && is_cut
            }
            Err(error) => {
                self.cannot_write(error);
                false
            }
        }
    }

    /// Tries the socket although it has not said that it takes more.
    pub(crate) fn try_again(&mut self) {
        self.blocked = false;
        self.flush();
    }

    /// Hands all that is pending to the socket in one write, and gives the ring back. False if that did not do, so that
    /// something is pending still.
    #[inline]
    pub(crate) fn send_off(&mut self, pool: &mut RingPool) -> bool {
        let Some(ring) = &mut self.ring else {
            return true;
        };
        let (front, back) = ring.as_slices();
        if !front.is_empty() {
            if self.blocked || !back.is_empty() || self.failure.is_some() {
                return false;
            }
            match self.socket.write(front) {
                Ok(count) if count == front.len() => self.written += count as u64,
                outcome => {
                    self.wrote_part(outcome);
                    return false;
                }
            }
        }
        if let Some(ring) = self.ring.take() {
            pool.give_back(ring);
        }
        true
    }

    /// A write has taken less than there was.
    #[cold]
    fn wrote_part(&mut self, outcome: io::Result<usize>) {
        match (outcome, &mut self.ring) {
            (Ok(count), Some(ring)) => {
                self.written += count as u64;
                ring.consume(count);
                self.blocked = SHORT_MEANS_DRAINED;
            }
            (Err(error), _) => self.cannot_write(error),
            (Ok(_), None) => {}
        }
    }

    #[cold]
    fn cannot_write(&mut self, error: io::Error) {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.blocked = true;
        } else {
            self.fail(error);
        }
    }

    /// The socket is of no more use; the first failure is the one to tell.
    pub(crate) fn fail(&mut self, error: io::Error) {
        self.failure.get_or_insert(error);
    }

    /// Begins a message, so that it can be taken back.
    #[inline]
    pub(crate) fn begin(&mut self) {
        // No output limit reaches 4 GiB.
        self.mark = self.len() as u32;
        self.state = State::PACKING;
        self.open_patches = 0;
    }

    /// Ends the message that was begun, which is [within the limit](Self::exceeds_limit) unless it is the protocol's own.
    #[inline]
    pub(crate) fn finish(&mut self) -> Packed {
        if self.state.has(State::OVERFLOWED) {
            return self.take_back();
        }
        self.state = State::IDLE;
        Packed::Whole
    }

    /// Removes what the current message has put.
    #[cold]
    pub(crate) fn take_back(&mut self) -> Packed {
        let torn = self.state.has(State::TORN);
        self.state = State::IDLE;
        if torn {
            return Packed::Torn;
        }
        if let Some(ring) = &mut self.ring {
            ring.truncate(self.mark as usize);
        }
        Packed::Overflowed
    }

    /// Removes what a message has put whose packing panicked.
    pub(crate) fn abandon(&mut self) -> Packed {
        if self.state.has(State::PACKING) {
            self.take_back()
        } else {
            Packed::Whole
        }
    }

    /// Whether a protocol's own reply did not fit, for another reason than that the socket has failed.
    #[inline]
    pub(crate) fn has_overflowed(&self) -> bool {
        self.state.has(State::OVERFLOWED) && self.failure.is_none()
    }

    /// Makes sure that there is a ring to write into, which takes `limit` bytes of messages.
    #[inline]
    pub(crate) fn borrow_ring(&mut self, pool: &mut RingPool, limit: usize) {
        if self.ring.is_none() {
            self.ring = Some(pool.lend(limit + OWN_ROOM));
        }
    }

    /// The message that is being packed does not fit after all.
    pub(crate) fn refuse(&mut self) {
        self.state.add(State::OVERFLOWED);
    }

    /// Whether there is a ring, so that something is, or may become, pending.
    #[inline]
    pub(crate) fn has_ring(&self) -> bool {
        self.ring.is_some()
    }

    /// Gives an empty ring back.
    #[inline]
    pub(crate) fn return_ring(&mut self, pool: &mut RingPool) {
        if let Some(ring) = self.ring.take_if(|ring| ring.is_empty()) {
            pool.give_back(ring);
        }
    }

    /// Discards what is pending and gives the ring back.
    pub(crate) fn discard(&mut self, pool: &mut RingPool) {
        if let Some(ring) = self.ring.take() {
            pool.give_back(ring);
        }
    }

    #[inline]
    pub(crate) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    pub(crate) fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.socket.local_addr()
    }

    #[inline]
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The socket said that it is writable.
    #[inline]
    pub(crate) fn unblock(&mut self) {
        self.blocked = false;
    }

    #[inline]
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    pub(crate) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }
}

impl Default for Output {
    fn default() -> Self {
        Output::detached()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::transport::Transport;
    use std::cell::RefCell;
    use std::net::SocketAddr;
    use std::rc::Rc;

    /// Takes everything, and keeps it.
    struct Sink(Rc<RefCell<Vec<u8>>>);

    impl Transport for Sink {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn peek(&mut self) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
            let before = self.0.borrow().len();
            parts
                .iter()
                .for_each(|part| self.0.borrow_mut().extend_from_slice(part));
            Ok(self.0.borrow().len() - before)
        }

        fn shutdown_write(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn reset_on_drop(&mut self) {}

        fn take_error(&mut self) -> io::Result<Option<io::Error>> {
            Ok(None)
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Err(io::ErrorKind::NotConnected.into())
        }

        fn receive_capacity(&self) -> io::Result<usize> {
            Ok(0)
        }
    }

    fn attached(pool: &mut RingPool, limit: usize) -> (Output, Rc<RefCell<Vec<u8>>>) {
        let taken = Rc::new(RefCell::new(Vec::new()));
        let mut output = Output::new(Socket::Simulated(Box::new(Sink(taken.clone()))));
        output.borrow_ring(pool, limit);
        (output, taken)
    }

    #[test]
    fn nothing_leaves_while_any_field_is_to_be_patched() {
        let mut pool = RingPool::new(Default::default());
        let (mut output, taken) = attached(&mut pool, 1 << 20);
        output.begin();
        let outer = output.reserve_patch(4);
        let inner = output.reserve_patch(2);
        output.patch(inner, &[1, 2]);
        output.put_slice(&[9; DIRECT_WRITE_MIN]);
        assert!(taken.borrow().is_empty());
        output.patch(outer, &[3, 4, 5, 6]);
        assert_eq!(output.finish(), Packed::Whole);
        output.flush();
        assert_eq!(taken.borrow()[..6], [3, 4, 5, 6, 1, 2]);
        assert_eq!(taken.borrow().len(), 6 + DIRECT_WRITE_MIN);
    }

    #[test]
    fn a_large_slice_leaves_at_once_behind_what_is_pending() {
        let mut pool = RingPool::new(Default::default());
        let (mut output, taken) = attached(&mut pool, 1 << 20);
        output.put_slice(b"header");
        output.put_slice(&[7; DIRECT_WRITE_MIN]);
        assert!(output.is_empty());
        assert_eq!(&taken.borrow()[..6], b"header");
        assert_eq!(taken.borrow().len(), 6 + DIRECT_WRITE_MIN);
    }

    #[test]
    fn what_does_not_fit_is_taken_back_and_nothing_of_it_has_left() {
        let mut pool = RingPool::new(Default::default());
        let (mut output, taken) = attached(&mut pool, 2 * DIRECT_WRITE_MIN);
        output.put_slice(b"before");
        output.begin();
        output.put_parts(&[&[1; DIRECT_WRITE_MIN], &[2; DIRECT_WRITE_MIN]]);
        assert_eq!(output.finish(), Packed::Overflowed);
        assert!(taken.borrow().is_empty());
        assert_eq!(output.len(), 6);
    }
}
