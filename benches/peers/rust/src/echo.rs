//! The connection of a floor that waits for readiness: input is written directly from the read buffer, and only the
//! bytes that a full socket refuses are kept.

use std::io::{self, ErrorKind, Read, Write};

/// Length of the one buffer into which all connections of a floor read.
pub const READ_BUFFER: usize = 64 * 1024;

/// A non-blocking stream that is echoed, with edge-triggered readiness.
#[derive(Debug)]
pub struct EchoStream<S> {
    stream: S,
    /// Bytes that the socket refused, at most one read. Nothing is read while there are any.
    unsent: Vec<u8>,
}

impl<S: Read + Write> EchoStream<S> {
    /// Takes a stream.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            unsent: Vec::new(),
        }
    }

    /// Handles one readiness event. False if the connection is over, ended by the peer or by a failure.
    ///
    /// `ended` is true if the peer is known to have ended: an end that came with data is reported by this event only.
    #[inline]
    pub fn on_event(&mut self, readable: bool, ended: bool, buffer: &mut [u8]) -> bool {
        if !readable && self.unsent.is_empty() {
            return true;
        }
        matches!(self.echo(ended, buffer), Ok(true))
    }

    /// Echoes until the socket is drained, which a short read indicates. `Ok(false)` at the peer's end.
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

/// Writes until everything is written or the socket is full; returns the number of bytes written.
///
/// # Errors
/// Fails if the stream fails.
pub fn write_some(stream: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
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
