//! The simulated network: pipes that cut, delay, interrupt and reset.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crate::io::stream::ByteStream;
use crate::io::wire::double::Log;

use super::Random;
use super::ledger::Book;

/// Bytes that the kernel takes at most while the peer does not read.
pub(super) const WINDOW: usize = 1_500;

/// The two directions between a peer and the reactor, as the kernel keeps them.
pub(super) struct Pipe {
    pub(super) to_server: VecDeque<u8>,
    /// The bytes of `to_server` have not arrived yet; an event tells of their arrival.
    pub(super) is_late: bool,
    pub(super) peer_ended: bool,
    /// A record that says the end of the peer's stream has arrived.
    pub(super) peer_closed: bool,
    pub(super) reset: bool,
    /// Bytes that the peer has not read yet.
    pub(super) to_peer: VecDeque<u8>,
    pub(super) server_ended: bool,
    /// The time of our end of stream, and the bytes that the peer has read since.
    pub(super) ended_at: Option<Duration>,
    pub(super) read_since_end: usize,
    pub(super) dropped: bool,
    pub(super) dropped_with_reset: bool,
    /// The reactor asked for a reset.
    pub(super) aborted: bool,
    /// Bytes that the reactor has received and sent. Of a sealed stream these are bytes of plaintext.
    pub(super) received: u64,
    pub(super) sent: u64,
    /// The record of the seal's work, if the stream is sealed.
    pub(super) log: Option<Rc<RefCell<Log>>>,
    /// Bytes of records that the reactor has sent, if the stream is sealed.
    pub(super) sent_records: u64,
    /// Events that the next poll may report.
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// A write found no room, so an event follows once there is room.
    pub(super) wants_room: bool,
    /// The time at which the reactor last received bytes, and last sent bytes.
    pub(super) heard_at: Duration,
    pub(super) took_at: Duration,
    /// The time at which the reactor last read bytes, also such that were no plaintext.
    pub(super) read_at: Duration,
    /// The bytes of each write, with its time.
    taken: Vec<(Duration, usize)>,
    /// Faults are the rarer, the higher this is; at 0 there are none.
    pub(super) fault_rarity: usize,
    pub(super) faults: Random,
    pub(super) book: Book,
}

impl Pipe {
    pub(super) fn new(faults: Random, fault_rarity: usize, book: Book) -> Self {
        let now = book.open().now;
        Pipe {
            to_server: VecDeque::new(),
            is_late: false,
            peer_ended: false,
            peer_closed: false,
            reset: false,
            to_peer: VecDeque::new(),
            server_ended: false,
            ended_at: None,
            read_since_end: 0,
            dropped: false,
            dropped_with_reset: false,
            aborted: false,
            received: 0,
            sent: 0,
            log: None,
            sent_records: 0,
            readable: false,
            writable: true,
            wants_room: false,
            heard_at: now,
            took_at: now,
            read_at: now,
            taken: Vec::new(),
            fault_rarity,
            faults,
            book,
        }
    }

    fn fault(&mut self, one_in: usize) -> bool {
        self.fault_rarity > 0 && self.faults.one_in(one_in * self.fault_rarity)
    }

    /// The length of a random part of `whole` bytes, at least one byte.
    fn cut(&mut self, whole: usize) -> usize {
        1 + self.faults.below(whole.max(2) - 1)
    }

    /// Bytes that the reactor has sent since then; of a sealed stream, bytes of plaintext as far as that is sure.
    pub(super) fn taken_after(&self, time: Duration) -> usize {
        let later = self.taken.iter().rev().take_while(|(at, _)| *at > time);
        let taken: usize = later.map(|(_, count)| count).sum();
        let log = self.log.as_ref().map(|log| log.borrow());
        let hidden = log.map_or(0, |log| (log.made - log.sealed) as usize);
        taken.saturating_sub(hidden)
    }

    /// Bytes that the reactor has sent, also as records.
    pub(super) fn sent_bytes(&self) -> u64 {
        match self.log {
            Some(_) => self.sent_records,
            None => self.sent,
        }
    }

    /// Those of the bytes that were sent at this time.
    pub(super) fn sent_at(&self, time: Duration) -> u64 {
        let last = self.taken.iter().rev().take_while(|(at, _)| *at >= time);
        last.map(|(_, count)| *count as u64).sum()
    }

    /// True if a read by the reactor would find bytes, the end, or an error.
    pub(super) fn has_news(&self) -> bool {
        !self.to_server.is_empty() || self.peer_ended || self.reset
    }

    /// The kernel answers bytes for a socket that is closed with a reset, and what it had to send is lost.
    pub(super) fn answer_with_reset(&mut self) {
        self.dropped_with_reset = true;
        self.to_peer.clear();
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.fault(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.to_server.is_empty() {
            return match (self.reset, self.peer_ended) {
                (true, _) => Err(io::ErrorKind::ConnectionReset.into()),
                (_, true) => Ok(0),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        if self.fault(8) {
            // The bytes have not arrived after all; an event tells when they have.
            self.readable = true;
            self.is_late = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.is_late = false;
        let mut count = buffer.len().min(self.to_server.len());
        if count > 1 && self.fault(2) {
            // The rest arrives a moment later, with an event of its own.
            count = self.cut(count);
            self.readable = true;
            self.is_late = true;
        }
        let (front, back) = self.to_server.as_slices();
        let middle = count.min(front.len());
        buffer[..middle].copy_from_slice(&front[..middle]);
        buffer[middle..count].copy_from_slice(&back[..count - middle]);
        self.to_server.drain(..count);
        self.read_at = self.book.open().now;
        if self.log.is_none() {
            self.note_received(count);
        }
        Ok(count)
    }

    /// Notes that the reactor has received bytes. Of a sealed stream plaintext counts.
    pub(super) fn note_received(&mut self, count: usize) {
        if count > 0 {
            self.received += count as u64;
            self.heard_at = self.book.open().now;
        }
    }

    fn write(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.fault(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.server_ended {
            self.book
                .open()
                .claim(false, || "a write after our end of the stream".into());
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let offered = parts.iter().map(|part| part.len()).sum::<usize>();
        let mut count = offered.min(WINDOW - self.to_peer.len());
        if self.fault(8) {
            count = 0;
        } else if count > 1 && self.fault(3) {
            count = self.cut(count);
        }
        if count < offered {
            // A full window waits for the peer. Otherwise the kernel lacked memory for a moment, and an event follows.
            self.wants_room = self.to_peer.len() + count == WINDOW;
            self.writable |= !self.wants_room;
        }
        if count == 0 && offered > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut rest = count;
        for part in parts {
            let taken = rest.min(part.len());
            self.to_peer.extend(&part[..taken]);
            rest -= taken;
        }
        let before = self.sent;
        self.sent = match &self.log {
            None => before + count as u64,
            Some(log) => {
                self.sent_records += count as u64;
                log.borrow().sealed_within(self.sent_records)
            }
        };
        let now = self.book.open().now;
        if self.sent > before {
            self.took_at = now;
        }
        self.taken.push((now, count));
        Ok(count)
    }
}

/// The reactor's end of a pipe.
pub(super) struct PipeEnd {
    pub(super) pipe: Rc<RefCell<Pipe>>,
    pub(super) reset_on_drop: bool,
}

impl ByteStream for PipeEnd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pipe.borrow_mut().read(buffer)
    }

    fn peek(&mut self) -> io::Result<usize> {
        let pipe = self.pipe.borrow();
        match pipe.has_news() {
            true => Ok(pipe.to_server.len().min(1)),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.pipe.borrow_mut().write(parts)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        let mut pipe = self.pipe.borrow_mut();
        let is_first = !std::mem::replace(&mut pipe.server_ended, true);
        let now = pipe.book.open().now;
        pipe.ended_at.get_or_insert(now);
        pipe.book
            .open()
            .claim(is_first, || "our end of the stream is sent twice".into());
        if pipe.reset {
            return Err(io::ErrorKind::NotConnected.into());
        }
        Ok(())
    }

    fn reset_on_drop(&mut self) {
        self.reset_on_drop = true;
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        let has_error = self.pipe.borrow().reset;
        Ok(has_error.then(|| io::ErrorKind::ConnectionReset.into()))
    }

    fn receive_capacity(&self) -> io::Result<usize> {
        Ok(self.pipe.borrow().to_server.len())
    }

    fn send_capacity(&self) -> io::Result<usize> {
        Ok(WINDOW)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok((Ipv4Addr::LOCALHOST, 1).into())
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let mut pipe = self.pipe.borrow_mut();
        pipe.dropped = true;
        pipe.aborted = self.reset_on_drop;
        // Closing a socket that holds unread input resets the connection, as the kernel does.
        pipe.dropped_with_reset = self.reset_on_drop || !pipe.to_server.is_empty();
    }
}
