//! The simulated network: lines that cut, block, interrupt, end and reset.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use crate::io::stream::{ByteStream, Stream};
use crate::seeds::Random;

/// The two directions between a peer and the worker, as the kernel keeps them.
pub(super) struct Line {
    /// Bytes of the peer that the worker has not read.
    pub(super) unread: VecDeque<u8>,
    /// Number of bytes that have arrived, and that the worker has read.
    pub(super) arrived: usize,
    pub(super) read: usize,
    pub(super) has_ended: bool,
    /// The peer has reset the connection.
    pub(super) is_reset: bool,
    /// Bytes that the worker has written.
    pub(super) written: Vec<u8>,
    /// Bytes that writes still take.
    pub(super) room: usize,
    /// A write found too little room, so that an event follows once there is more.
    wants_room: bool,
    /// Events that the next poll reports.
    pub(super) is_readable: bool,
    pub(super) is_writable: bool,
    /// The worker has sent its end of stream.
    pub(super) is_shut: bool,
    pub(super) is_dropped: bool,
    /// The worker has asked for a reset.
    pub(super) was_reset: bool,
    faults: Random,
}

impl Line {
    /// A line, and the worker's end of it. The number is the port of its local address.
    pub(super) fn new(number: usize, room: usize, faults: Random) -> (Rc<RefCell<Line>>, Stream) {
        let line = Rc::new(RefCell::new(Line {
            unread: VecDeque::new(),
            arrived: 0,
            read: 0,
            has_ended: false,
            is_reset: false,
            written: Vec::new(),
            room,
            wants_room: false,
            is_readable: false,
            is_writable: true,
            is_shut: false,
            is_dropped: false,
            was_reset: false,
            faults,
        }));
        let end = LineEnd {
            line: line.clone(),
            number: u16::try_from(number).expect("a run has few newcomers"),
        };
        (line, Stream::Simulated(Box::new(Box::new(end))))
    }

    pub(super) fn arrive(&mut self, bytes: &[u8]) {
        self.unread.extend(bytes);
        self.arrived += bytes.len();
        self.is_readable = true;
    }

    pub(super) fn end(&mut self) {
        self.has_ended = true;
        self.is_readable = true;
    }

    pub(super) fn reset(&mut self) {
        self.is_reset = true;
        self.is_readable = true;
        self.is_writable = true;
    }

    pub(super) fn give_room(&mut self, room: usize) {
        self.room = self.room.saturating_add(room);
        self.is_writable |= room > 0 && std::mem::take(&mut self.wants_room);
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.faults.one_in(12) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.unread.is_empty() {
            return match (self.is_reset, self.has_ended) {
                (true, _) => Err(io::ErrorKind::ConnectionReset.into()),
                (_, true) => Ok(0),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let mut count = buffer.len().min(self.unread.len());
        if self.faults.one_in(6) {
            count = 1 + self.faults.below(count);
            count = count.min(buffer.len()).min(self.unread.len());
        }
        let (front, back) = self.unread.as_slices();
        let middle = count.min(front.len());
        buffer[..middle].copy_from_slice(&front[..middle]);
        buffer[middle..count].copy_from_slice(&back[..count - middle]);
        self.unread.drain(..count);
        self.read += count;
        Ok(count)
    }

    fn write(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.faults.one_in(12) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        assert!(!self.is_shut, "a write behind our end of stream");
        if self.is_reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
        let count = bytes.len().min(self.room);
        self.wants_room |= count < bytes.len();
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room -= count;
        self.written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }
}

/// The worker's end of a line.
struct LineEnd {
    line: Rc<RefCell<Line>>,
    number: u16,
}

impl ByteStream for LineEnd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.line.borrow_mut().read(buffer)
    }

    fn peek(&mut self) -> io::Result<usize> {
        let line = self.line.borrow();
        match line.unread.is_empty() && !line.has_ended && !line.is_reset {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(line.unread.len().min(1)),
        }
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.line.borrow_mut().write(parts)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        let mut line = self.line.borrow_mut();
        let is_second = std::mem::replace(&mut line.is_shut, true);
        assert!(!is_second, "our end of stream is sent twice");
        match line.is_reset {
            true => Err(io::ErrorKind::NotConnected.into()),
            false => Ok(()),
        }
    }

    fn reset_on_drop(&mut self) {
        self.line.borrow_mut().was_reset = true;
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok((Ipv4Addr::LOCALHOST, self.number).into())
    }

    fn receive_capacity(&self) -> io::Result<usize> {
        Ok(self.line.borrow().unread.len())
    }

    fn send_capacity(&self) -> io::Result<usize> {
        Ok(0)
    }
}

impl Drop for LineEnd {
    fn drop(&mut self) {
        self.line.borrow_mut().is_dropped = true;
    }
}
