//! The input of one connection: a walk along the received ring, compared as it is read.

use std::io::{self, ErrorKind, Read};

use super::deflate::{Answers, Stop};
use super::wire::{Expected, Ring};
use super::{Framing, LoadError, WireImage, frames};

pub(crate) struct Incoming {
    connection: usize,
    walk: Walk,
    /// Bytes received in total.
    received: u64,
}

/// The position of a connection in its expected input.
enum Walk {
    Bytes(ByteWalk),
    Documents(Answers),
}

/// Invariant: `partial` is less than the length of a message, and `cursor` is that far into one.
struct ByteWalk {
    /// Position of the next byte in the received ring.
    cursor: usize,
    /// Received bytes of the message that is arriving.
    partial: usize,
}

impl Incoming {
    /// `connection` names it in errors; `walk` is the number of its walk along the ring.
    pub(crate) fn new(connection: usize, walk: usize, image: &WireImage) -> Self {
        let walk = match image.expected() {
            Expected::Bytes(ring) => Walk::Bytes(ByteWalk {
                cursor: ring.start(walk),
                partial: 0,
            }),
            Expected::Documents(_) => Walk::Documents(Answers::from(image.sent().first(walk))),
        };
        Self {
            connection,
            walk,
            received: 0,
        }
    }

    /// Reads until the stream is drained, and returns how many messages were completed, of at most `owed`. A short read
    /// counts as drained, so the buffer should hold a whole burst of answers: see [`super::wire::SLICE`].
    #[inline]
    pub(crate) fn receive(
        &mut self,
        stream: &mut impl Read,
        image: &WireImage,
        buffer: &mut [u8],
        verify: bool,
        owed: usize,
    ) -> Result<usize, LoadError> {
        let mut messages = 0;
        loop {
            let length = match stream.read(buffer) {
                Ok(0) => return Err(self.closed(owed)),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failure("receive", owed, error)),
            };
            messages += self.take(image, &buffer[..length], verify, owed - messages)?;
            self.received += length as u64;
            if length < buffer.len() {
                break;
            }
        }
        Ok(messages)
    }

    /// Takes received bytes, and returns how many messages they complete.
    #[inline]
    fn take(
        &mut self,
        image: &WireImage,
        found: &[u8],
        verify: bool,
        owed: usize,
    ) -> Result<usize, LoadError> {
        match (&mut self.walk, image.expected()) {
            (Walk::Bytes(walk), Expected::Bytes(ring)) => {
                // At most as long as one slice of the ring, because the read buffer is.
                let expected = ring.slice(walk.cursor, found.len() as u64);
                if verify && found != expected {
                    return Err(self.wrong_byte(image, expected, found));
                }
                walk.take(ring, found.len(), owed)
                    .map_err(|bytes| self.surplus(bytes))
            }
            (Walk::Documents(answers), Expected::Documents(documents)) => {
                let taken = answers.take(documents, found, verify, owed);
                taken.map_err(|stop| self.stopped(stop))
            }
            _ => unreachable!("a connection stays with its image"),
        }
    }

    #[cold]
    fn surplus(&self, bytes: usize) -> LoadError {
        LoadError::Surplus {
            connection: self.connection,
            bytes: bytes as u64,
        }
    }

    #[cold]
    fn stopped(&self, stop: Stop) -> LoadError {
        match stop {
            Stop::Wrong(message, cause) => LoadError::WrongAnswer {
                connection: self.connection,
                message,
                cause,
            },
            Stop::Close(frame) => self.close_frame(&frame),
            Stop::Surplus(bytes) => self.surplus(bytes),
        }
    }

    #[cold]
    fn close_frame(&self, frame: &[u8]) -> LoadError {
        let (code, reason) = frames::close_reason(frame);
        LoadError::CloseFrame {
            connection: self.connection,
            code,
            reason,
        }
    }

    #[cold]
    fn wrong_byte(&self, image: &WireImage, expected: &[u8], found: &[u8]) -> LoadError {
        let differs = expected
            .iter()
            .zip(found)
            .position(|(sent, back)| sent != back);
        let offset = differs.expect("called with slices that differ");
        let between_messages = match (&self.walk, image.expected()) {
            (Walk::Bytes(walk), Expected::Bytes(ring)) => {
                (walk.cursor + offset) % ring.frame() == 0
            }
            _ => false,
        };
        if image.framing() == Framing::WebSocket
            && between_messages
            && found[offset] == frames::CLOSE
        {
            return self.close_frame(&found[offset..]);
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

    /// Converts the error of a call on this connection's socket.
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

impl ByteWalk {
    /// Advances by `bytes`, and returns how many messages they complete; the error is the number of bytes beyond the
    /// messages that are expected.
    #[inline]
    fn take(&mut self, ring: &Ring, bytes: usize, owed: usize) -> Result<usize, usize> {
        self.cursor = ring.advance(self.cursor, bytes);
        let total = self.partial + bytes;
        let messages = total / ring.frame();
        self.partial = total % ring.frame();
        debug_assert_eq!(self.cursor % ring.frame(), self.partial);
        if messages > owed || (messages == owed && self.partial > 0) {
            return Err((messages - owed) * ring.frame() + self.partial);
        }
        Ok(messages)
    }
}
