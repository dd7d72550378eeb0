//! What comes back on one connection: a walk along the received ring, compared as it is read.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;

use super::wire::Ring;
use super::{Framing, LoadError, WireImage, websocket};

/// Invariants: `partial` is below the length of a message, and as far into one as `cursor` is.
pub(crate) struct Incoming {
    connection: usize,
    /// Where on the received ring the next byte lies.
    cursor: usize,
    /// Bytes that have come of the message that is arriving.
    partial: usize,
    /// Bytes that have come in all.
    received: u64,
}

impl Incoming {
    /// `connection` names it in errors; `walk` is the number of its walk along the ring.
    pub(crate) fn new(connection: usize, walk: usize, image: &WireImage) -> Self {
        Self {
            connection,
            cursor: image.received().start(walk),
            partial: 0,
            received: 0,
        }
    }

    /// Reads until the socket is drained; answers how many messages came whole, of the `owed` that may. A short read
    /// counts as drained, so the buffer should take a whole burst of answers: see [`super::wire::SLICE`].
    #[inline]
    pub(crate) fn receive(
        &mut self,
        mut socket: &TcpStream,
        image: &WireImage,
        buffer: &mut [u8],
        verify: bool,
        owed: usize,
    ) -> Result<usize, LoadError> {
        let ring = image.received();
        let mut bytes = 0;
        loop {
            let length = match socket.read(buffer) {
                Ok(0) => return Err(self.closed(owed)),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failure("receive", owed, error)),
            };
            if verify {
                self.check(image, &buffer[..length])?;
            }
            self.cursor = ring.advance(self.cursor, length);
            self.received += length as u64;
            bytes += length;
            if length < buffer.len() {
                break;
            }
        }
        self.count(ring, bytes, owed)
    }

    /// Counts the messages that `bytes` more bytes make whole.
    #[inline]
    fn count(&mut self, ring: &Ring, bytes: usize, owed: usize) -> Result<usize, LoadError> {
        let total = self.partial + bytes;
        let messages = total / ring.frame();
        self.partial = total % ring.frame();
        debug_assert_eq!(self.cursor % ring.frame(), self.partial);
        if messages > owed || (messages == owed && self.partial > 0) {
            let bytes = (messages - owed) * ring.frame() + self.partial;
            return Err(LoadError::Surplus {
                connection: self.connection,
                bytes: bytes as u64,
            });
        }
        Ok(messages)
    }

    /// `found` is at most one slice of the ring long, as the buffer to read into is.
    #[inline]
    fn check(&self, image: &WireImage, found: &[u8]) -> Result<(), LoadError> {
        let expected = image.received().slice(self.cursor, found.len() as u64);
        if found == expected {
            Ok(())
        } else {
            Err(self.wrong_byte(image, expected, found))
        }
    }

    #[cold]
    fn wrong_byte(&self, image: &WireImage, expected: &[u8], found: &[u8]) -> LoadError {
        let differs = expected
            .iter()
            .zip(found)
            .position(|(sent, back)| sent != back);
        let offset = differs.expect("called with slices that differ");
        let between_messages = (self.cursor + offset) % image.received().frame() == 0;
        if image.framing() == Framing::WebSocket
            && between_messages
            && found[offset] == websocket::CLOSE
        {
            let (code, reason) = websocket::close_reason(&found[offset..]);
            return LoadError::CloseFrame {
                connection: self.connection,
                code,
                reason,
            };
        }
        LoadError::WrongByte {
            connection: self.connection,
            position: self.received + offset as u64,
            expected: expected[offset],
            found: found[offset],
        }
    }

    #[cold]
    fn closed(&self, outstanding: usize) -> LoadError {
        LoadError::Closed {
            connection: self.connection,
            outstanding,
        }
    }

    /// Names the failure of a call on this connection's socket.
    #[cold]
    pub(crate) fn failure(
        &self,
        doing: &'static str,
        outstanding: usize,
        source: io::Error,
    ) -> LoadError {
        match source.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => self.closed(outstanding),
            _ => LoadError::Io { doing, source },
        }
    }
}
