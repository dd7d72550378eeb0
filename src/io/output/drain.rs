//! Output leaves: pending bytes go to the socket, and large slices go there without being copied.

use std::io::{self, IoSlice};

use ringwheel_ringbuffer::RingPool;

use super::Output;
use super::message::State;
use crate::io::stream::{SHORT_MEANS_DRAINED, Stream};

impl Output {
    /// Hands the pending output and `bytes` to the socket, and keeps the rest that it does not take.
    pub(super) fn put_large(&mut self, bytes: &[u8]) {
        let must_wait = self.open_patches > 0 || self.state.has(State::OVERFLOWED);
        let cannot_leave = self.blocked || must_wait || !self.stream.is_attached();
        let limit = self.limit();
        let Some(ring) = self.ring.as_mut().filter(|_| !cannot_leave) else {
            return self.put_slowly(bytes);
        };
        let pending = ring.len();
        if pending.saturating_add(bytes.len()) > limit {
            self.state.add(State::OVERFLOWED);
            return;
        }
        let (front, back) = ring.as_slices();
        let outcome = if pending == 0 {
            self.stream.write(bytes)
        } else {
            let parts = [IoSlice::new(front), IoSlice::new(back), IoSlice::new(bytes)];
            self.stream.write_vectored(&parts)
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
                    self.put_slowly(rest);
                }
            }
            Err(error) => {
                // Bytes that are lost stay pending, so that the loss can be seen.
                self.put_slowly(bytes);
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
            self.stream.write(front)
        } else {
            let parts = [IoSlice::new(front), IoSlice::new(back)];
            self.stream.write_vectored(&parts)
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
            if self.blocked || !back.is_empty() || self.failure.is_some() {
                return false;
            }
            match self.stream.write(front) {
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

    /// A write has taken less than all.
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

    /// Notes that the socket has failed; the first failure is the one to tell.
    pub(crate) fn fail(&mut self, error: io::Error) {
        self.failure.get_or_insert(error);
    }

    #[inline]
    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    pub(crate) fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.stream.local_addr()
    }

    #[inline]
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The socket is writable again.
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
