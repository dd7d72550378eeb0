//! A stream without a socket, for tests: a script tells it the bytes of each read, and how much each write takes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;

#[cfg(test)]
use super::double::{Choose, Double, Log, Sender, UPDATE};
#[cfg(test)]
use super::{Wire, sealed::Sealed};
use crate::io::stream::{ByteStream, Stream};

/// The script of a [`Scripted`] stream, and the record of its calls.
#[derive(Default)]
pub(super) struct Script {
    /// The bytes of each read; nothing more is there behind the last. An empty entry stands for bytes that are late: a read that
    /// meets it finds nothing, although more follows.
    pub(super) input: VecDeque<Vec<u8>>,
    pub(super) has_ended: bool,
    /// The peer has reset the stream: every further read and write fails.
    pub(super) is_reset: bool,
    /// The most bytes of each write, in order; a write behind the last takes all. A write of 0 bytes would block.
    pub(super) takes: VecDeque<usize>,
    pub(super) output: Vec<u8>,
    pub(super) is_shut: bool,
    /// An event has come that nobody has taken: something has arrived behind a read that did not fill its room.
    has_event: bool,
    /// Reads that found nothing.
    pub(super) misses: usize,
    /// Bytes that reads have given.
    pub(super) given: usize,
    /// Writes that were not taken whole.
    pub(super) refusals: usize,
}

/// See the [module](self).
#[derive(Clone, Default)]
pub(crate) struct Scripted(pub(super) Rc<RefCell<Script>>);

impl Scripted {
    pub(super) fn stream(&self) -> Stream {
        Stream::Simulated(Box::new(Box::new(self.clone())))
    }

    /// A sealed wire over the stream, which holds the answer to a record of the peer; the stream takes nothing before
    /// [`takes_all`](Self::takes_all) is called.
    #[cfg(test)]
    pub(crate) fn with_unsent_answer(&self) -> Wire {
        let plainly: Choose = Box::new(|bound| if bound > 40 { bound - 1 } else { 0 });
        let double = Double::new(plainly, Rc::new(RefCell::new(Log::default())));
        let sealed = Sealed::new(self.stream(), Box::new(double), Vec::new(), Vec::new());
        let mut wire = Wire::Sealed(Box::new(sealed));
        self.brings(&Sender::default().record(UPDATE, b""));
        self.0.borrow_mut().takes = vec![0; 8].into();
        // The first read is for what came with a handshake.
        assert!((0..2).all(|_| wire.read(&mut [0; 64]).is_err()));
        assert!(wire.push_unsent().is_err() && wire.has_unsent());
        wire
    }

    /// Every further write is taken whole.
    #[cfg(test)]
    pub(crate) fn takes_all(&self) {
        self.0.borrow_mut().takes.clear();
    }

    pub(super) fn brings(&self, bytes: &[u8]) {
        self.0.borrow_mut().input.push_back(bytes.to_vec());
    }

    /// True if an event has come since the last call.
    pub(super) fn take_event(&self) -> bool {
        std::mem::take(&mut self.0.borrow_mut().has_event)
    }
}

impl Script {
    fn miss(&mut self) -> io::Result<usize> {
        self.misses += 1;
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// True if nothing is left to read, not even the end.
    pub(super) fn is_exhausted(&self) -> bool {
        self.input.is_empty() && !self.has_ended
    }
}

impl ByteStream for Scripted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut script = self.0.borrow_mut();
        if script.is_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let Some(mut bytes) = script.input.pop_front() else {
            return match script.has_ended {
                true => Ok(0),
                false => script.miss(),
            };
        };
        let is_short = bytes.len() < buffer.len();
        if is_short && !script.is_exhausted() {
            script.has_event = true;
        }
        if bytes.is_empty() {
            return script.miss();
        }
        let rest = bytes.split_off(bytes.len().min(buffer.len()));
        buffer[..bytes.len()].copy_from_slice(&bytes);
        script.given += bytes.len();
        if !rest.is_empty() {
            script.input.push_front(rest);
        }
        Ok(bytes.len())
    }

    fn peek(&mut self) -> io::Result<usize> {
        let script = self.0.borrow();
        let has_news = match script.input.front() {
            Some(bytes) => !bytes.is_empty(),
            None => script.has_ended,
        };
        match has_news || script.is_reset {
            true => Ok(1),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut script = self.0.borrow_mut();
        assert!(!script.is_shut, "a write behind the end of the stream");
        if script.is_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let offered: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
        let most = script.takes.pop_front().unwrap_or(usize::MAX);
        let count = offered.len().min(most);
        script.output.extend_from_slice(&offered[..count]);
        script.refusals += usize::from(count < offered.len());
        if count == 0 && !offered.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(count)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.0.borrow_mut().is_shut = true;
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
        Ok(self.0.borrow().input.iter().map(Vec::len).sum())
    }

    fn send_capacity(&self) -> io::Result<usize> {
        Ok(0)
    }
}

/// Bytes of which neighbours differ, so that one that is lost, doubled or moved shows.
pub(super) fn numbered(length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| (index * 7 + index / 251) as u8)
        .collect()
}
