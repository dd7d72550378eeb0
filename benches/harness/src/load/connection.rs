//! One connection of an echo load: what it may still send, what it has got back, and when each answer was due.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{LoadError, PATIENCE, WireImage};

/// Invariants: `unsent` plus the bytes on their way is what the answers in `due` still lack; `partial` is below the
/// length of a message.
pub(crate) struct Connection {
    socket: TcpStream,
    index: usize,
    /// Where on the wire image the next byte to send, and the next to receive, lies.
    send_cursor: usize,
    receive_cursor: usize,
    /// Bytes that may be sent and that the socket has not taken yet.
    unsent: u64,
    /// Bytes that have come of the message that is arriving.
    partial: usize,
    received: u64,
    /// For each answer owed, when its message was, or should have been, sent.
    due: VecDeque<u64>,
}

impl Connection {
    /// Connects, within [`PATIENCE`]; the socket is non-blocking and without Nagle's delay.
    pub(crate) fn open(
        address: SocketAddr,
        index: usize,
        image: &WireImage,
    ) -> Result<Self, LoadError> {
        let refused = |source| connect_error(address, index, source);
        let socket = TcpStream::connect_timeout(&address, PATIENCE).map_err(refused)?;
        socket.set_nodelay(true).map_err(refused)?;
        socket.set_nonblocking(true).map_err(refused)?;
        let start = image.start(index);
        Ok(Self {
            socket,
            index,
            send_cursor: start,
            receive_cursor: start,
            unsent: 0,
            partial: 0,
            received: 0,
            due: VecDeque::new(),
        })
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Permits `messages` more to be sent; their latency counts from `at`.
    #[inline]
    pub(crate) fn enqueue(&mut self, image: &WireImage, messages: usize, at: u64) {
        self.unsent += (messages * image.frame()) as u64;
        self.due.extend(std::iter::repeat_n(at, messages));
    }

    /// Sends until all is sent or the socket is full.
    #[inline]
    pub(crate) fn flush(&mut self, image: &WireImage) -> Result<(), LoadError> {
        while self.unsent > 0 {
            let slice = image.slice(self.send_cursor, self.unsent);
            match self.socket.write(slice) {
                Ok(length) => {
                    let full = length < slice.len();
                    self.send_cursor = image.advance(self.send_cursor, length);
                    self.unsent -= length as u64;
                    if full {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failure("send", error)),
            }
        }
        Ok(())
    }

    /// Reads until the socket is drained; answers how many messages came whole. A short read counts as drained, so
    /// the buffer should take a whole burst of answers: see [`super::wire::SLICE`].
    #[inline]
    pub(crate) fn receive(
        &mut self,
        image: &WireImage,
        buffer: &mut [u8],
        verify: bool,
    ) -> Result<usize, LoadError> {
        let mut bytes = 0;
        loop {
            let length = match self.socket.read(buffer) {
                Ok(0) => {
                    return Err(LoadError::Closed {
                        connection: self.index,
                        outstanding: self.due.len(),
                    });
                }
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.failure("receive", error)),
            };
            if verify {
                self.check(image, &buffer[..length])?;
            }
            self.receive_cursor = image.advance(self.receive_cursor, length);
            self.received += length as u64;
            bytes += length;
            if length < buffer.len() {
                break;
            }
        }
        let total = self.partial + bytes;
        let messages = total / image.frame();
        self.partial = total % image.frame();
        let owed = self.due.len();
        if messages > owed || (messages == owed && self.partial > 0) {
            let bytes = (messages - owed) * image.frame() + self.partial;
            return Err(LoadError::Surplus {
                connection: self.index,
                bytes: bytes as u64,
            });
        }
        Ok(messages)
    }

    /// The times from which the latencies of the next `messages` answers count.
    #[inline]
    pub(crate) fn settle(&mut self, messages: usize) -> impl Iterator<Item = u64> {
        self.due.drain(..messages)
    }

    /// `found` is at most one slice of the image long, as the buffer to read into is.
    #[inline]
    fn check(&self, image: &WireImage, found: &[u8]) -> Result<(), LoadError> {
        let expected = image.slice(self.receive_cursor, found.len() as u64);
        if found == expected {
            Ok(())
        } else {
            Err(self.wrong_byte(expected, found))
        }
    }

    #[cold]
    fn wrong_byte(&self, expected: &[u8], found: &[u8]) -> LoadError {
        let differs = expected
            .iter()
            .zip(found)
            .position(|(sent, back)| sent != back);
        let offset = differs.expect("called with slices that differ");
        LoadError::WrongByte {
            connection: self.index,
            position: self.received + offset as u64,
            expected: expected[offset],
            found: found[offset],
        }
    }

    #[cold]
    fn failure(&self, doing: &'static str, source: std::io::Error) -> LoadError {
        match source.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => LoadError::Closed {
                connection: self.index,
                outstanding: self.due.len(),
            },
            _ => LoadError::Io { doing, source },
        }
    }
}

/// Names the failure of a connect.
pub(crate) fn connect_error(
    address: SocketAddr,
    connection: usize,
    source: std::io::Error,
) -> LoadError {
    match source.kind() {
        ErrorKind::AddrNotAvailable | ErrorKind::AddrInUse => LoadError::OutOfPorts { address },
        _ => LoadError::Connect {
            address,
            connection,
            source,
        },
    }
}
