//! The connection of a floor on readiness: what arrives is written straight from the read buffer, and only what a full
//! socket refuses is kept.

use std::io::{self, ErrorKind, Read, Write};

/// Bytes of the one buffer into which all connections of a floor are read.
pub const READ_BUFFER: usize = 64 * 1024;

/// A non-blocking stream that is echoed, under edge-triggered readiness.
#[derive(Debug)]
pub struct EchoStream<S> {
    stream: S,
    /// What the socket refused; at most one read. Nothing is read while there is any.
    unsent: Vec<u8>,
}

impl<S: Read + Write> EchoStream<S> {
    /// Takes over a stream.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            unsent: Vec::new(),
        }
    }

    /// Handles one readiness event. False when the connection is over, by the peer or by a failure.
    ///
    /// `ended` says that the peer is known to have ended: the edge of an end that came with data is this one, and there
    /// will be no other.
    #[inline]
    pub fn on_event(&mut self, readable: bool, ended: bool, buffer: &mut [u8]) -> bool {
        if !readable && self.unsent.is_empty() {
            return true;
        }
        matches!(self.echo(ended, buffer), Ok(true))
    }

    /// Echoes until the socket is drained, which a short read tells. `Ok(false)` at the peer's end.
    fn echo(&mut self, ended: bool, buffer: &mut [u8]) -> io::Result<bool> {
        if !self.unsent.is_empty() {
            let written = write_some(&mut self.stream, &self.unsent)?;
            self.unsent.drain(..written);
            if !self.unsent.is_empty() {
                return Ok(true);
            }
            self.unsent = Vec::new();
        }
        loop {
            let length = match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            let written = write_some(&mut self.stream, &buffer[..length])?;
            if written < length {
                self.unsent.extend_from_slice(&buffer[written..length]);
                return Ok(true);
            }
            if length < buffer.len() && !ended {
                return Ok(true);
            }
        }
    }
}

/// Writes until all is written or the socket is full; says how much went.
fn write_some(stream: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(length) => written += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
