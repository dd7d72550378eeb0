//! Output leaves: pending bytes go to the socket, and large slices go there without being copied.

use std::io::{self, IoSlice};

use ringwheel_ringbuffer::RingPool;

use super::Output;
use super::message::State;
use super::outlet::Outlet;
use crate::io::wire::Wire;

impl Output {
    /// Hands the pending output and `bytes` to the socket, and keeps the rest that it does not take.
    pub(super) fn put_large(&mut self, bytes: &[u8]) {
        let must_wait = self.open_patches > 0 || self.state.has(State::OVERFLOWED);
        let fits = must_wait || self.has_room(bytes.len()) || self.make_room(bytes.len());
        let cannot_leave = !self.takes_messages() || must_wait || !fits;
        let Some(ring) = self.ring.as_mut().filter(|_| !cannot_leave) else {
            return self.put_slowly(bytes);
        };
        let pending = ring.len();
        let (front, back) = ring.as_slices();
        let outcome = if pending == 0 {
            self.wire.write(bytes)
        } else {
            let parts = [IoSlice::new(front), IoSlice::new(back), IoSlice::new(bytes)];
            self.wire.write_vectored(&parts)
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
                    self.outlet.note_short_write();
                    self.put_slowly(rest);
                }
            }
            Err(error) => {
                // Bytes that are lost stay pending, so that the loss can be seen.
                self.put_slowly(bytes);
                self.cannot_write(error);
            }
        }
        if self.wire.committed() > self.mark as usize {
            self.state.add(State::TORN);
        }
    }

    /// True if the socket may take something now.
    #[inline]
    fn can_leave(&self) -> bool {
        self.outlet == Outlet::Open && self.failure.is_none() && self.wire.is_attached()
    }

    /// True if messages may leave now: the seal has not said the end of the stream.
    #[inline]
    fn takes_messages(&self) -> bool {
        self.can_leave() && !self.wire.has_said_end()
    }

    /// Hands all that is pending, which is whole, to the socket, until it is empty or takes no more.
    #[inline]
    pub(crate) fn flush(&mut self) {
        debug_assert!(!self.state.has(State::PACKING));
        if self.wire.has_said_end() {
            // A protocol's own answers come too late.
            self.clear();
        }
        if self.ring.is_some() {
            while self.flush_once(usize::MAX) {}
            self.mark = self.len() as u32;
            self.state.clear(State::TORN);
        }
        if self.wire.has_unsent() {
            self.push_unsent();
        }
    }

    /// Hands records of the seal to the socket that no write has pushed on.
    #[cold]
    fn push_unsent(&mut self) {
        if self.can_leave() {
            if let Err(error) = self.wire.push_unsent() {
                self.cannot_write(error);
            }
        }
    }

    /// Offers the socket the messages before the current one, because that one does not fit behind them. True if `bytes` more
    /// fit then. On the way of a message that fits there is no further write.
    #[cold]
    pub(super) fn make_room(&mut self, bytes: usize) -> bool {
        let pending = self.len();
        // A sealed stream goes on with what it is committed to, and then the current message is torn already.
        let earlier = (self.mark as usize).max(self.wire.committed());
        while self.flush_once(earlier - (pending - self.len())) {}
        // The earlier messages are fewer than 4 GiB.
        self.mark = self.mark.saturating_sub((pending - self.len()) as u32);
        self.has_room(bytes)
    }

    /// One write of the first `most` bytes of what is pending. True when another may help.
    #[inline]
    fn flush_once(&mut self, most: usize) -> bool {
        let offered = self.len().min(most);
        if offered == 0 || !self.takes_messages() {
            return false;
        }
        let Some(ring) = &mut self.ring else {
            return false;
        };
        let (front, back) = ring.as_slices();
        let front = &front[..front.len().min(offered)];
        let back = &back[..offered - front.len()];
        let outcome = if back.is_empty() {
            self.wire.write(front)
        } else {
            let parts = [IoSlice::new(front), IoSlice::new(back)];
            self.wire.write_vectored(&parts)
        };
        match outcome {
            Ok(count) => {
                self.written += count as u64;
                ring.consume(count);
                let is_cut = count < offered;
                if is_cut {
                    self.outlet.note_short_write();
                }
                is_cut && self.outlet == Outlet::Open
            }
            Err(error) => {
                self.cannot_write(error);
                false
            }
        }
    }

    /// Tries the socket although it has not said that it takes more.
    pub(crate) fn try_again(&mut self) {
        self.outlet.unblock();
        self.flush();
    }

    /// Hands all that is pending to the socket in one write, and gives the ring back. False if output is still pending, or
    /// may be: [`flush`](Self::flush) knows.
    // A part of the fast path of a turn: a call of its own costs twenty instructions there.
    #[inline(always)]
    pub(crate) fn send_off(&mut self, pool: &mut RingPool) -> bool {
        let Some(ring) = &mut self.ring else {
            return true;
        };
        let (front, back) = ring.as_slices();
        if !front.is_empty() {
            if self.outlet != Outlet::Open || !back.is_empty() || self.failure.is_some() {
                return false;
            }
            match self.wire.write(front) {
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
        self.mark = 0;
        true
    }

    /// A write has taken less than all.
    #[cold]
    fn wrote_part(&mut self, outcome: io::Result<usize>) {
        match (outcome, &mut self.ring) {
            (Ok(count), Some(ring)) => {
                self.written += count as u64;
                ring.consume(count);
                self.outlet.note_short_write();
            }
            (Err(error), _) => self.cannot_write(error),
            (Ok(_), None) => {}
        }
    }

    #[cold]
    fn cannot_write(&mut self, error: io::Error) {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.outlet.block();
        } else {
            self.fail(error);
        }
    }

    /// Notes that the socket has failed; the first failure is the one to tell.
    pub(crate) fn fail(&mut self, error: io::Error) {
        self.failure.get_or_insert(error);
    }

    #[inline]
    pub(crate) fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// The socket, if there is one.
    #[cfg(unix)]
    pub(crate) fn socket(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.wire.stream().socket()
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Option<crate::io::tls::session::TlsSession<'_>> {
        self.wire.tls()
    }

    pub(crate) fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.wire.local_addr()
    }

    #[inline]
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Bytes that have left, of a record that has not left whole as many as are sure: so a peer that reads slowly is seen to read.
    #[inline]
    pub(crate) fn progress(&self) -> u64 {
        self.written + self.wire.gone() as u64
    }

    /// Bytes that the kernel has taken, with what a seal has added.
    pub(crate) fn taken(&self) -> u64 {
        self.wire.taken(self.written)
    }

    /// Bytes that have not left, in the measure of [`progress`](Self::progress). Records of the seal itself count as one byte.
    pub(crate) fn left(&self) -> usize {
        let of_seal = usize::from(self.wire.has_unsent());
        of_seal.max(self.len() - self.wire.gone())
    }

    /// The socket is writable again.
    #[inline]
    pub(crate) fn unblock(&mut self) {
        self.outlet.unblock();
    }

    /// Says the end in the words of the seal, if there is one, behind all that has left. True once that is with the kernel; until
    /// then it is to be called again.
    pub(crate) fn say_end(&mut self) -> bool {
        let has_said = !self.wire.has_end_to_say() || self.outlet == Outlet::Shut;
        if has_said || !self.can_leave() {
            return has_said;
        }
        match self.wire.say_end() {
            Ok(()) => true,
            Err(error) => {
                self.cannot_write(error);
                false
            }
        }
    }

    /// True if the end in the words of the seal was not all sent.
    #[cfg(test)]
    pub(crate) fn has_end_to_say(&self) -> bool {
        self.wire.has_end_to_say()
    }

    /// True if the seal has records of its own to send, such as answers to its peer.
    #[inline]
    pub(crate) fn has_unsent(&self) -> bool {
        self.wire.has_unsent()
    }

    /// Sends our end of the stream. Whatever is put into the output from now on is dropped.
    ///
    /// # Errors
    /// The socket's error.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        self.outlet = Outlet::Shut;
        self.wire.shutdown_write()
    }

    /// Lets nothing more leave, because the connection has ended.
    pub(crate) fn shut(&mut self) {
        self.outlet = Outlet::Shut;
    }

    #[inline]
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    pub(crate) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }
}
