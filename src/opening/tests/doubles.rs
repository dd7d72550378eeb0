//! Doubles: a stream whose other end is the test, and handshakes without cryptography.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::io::stream::{ByteStream, Stream};
use crate::io::wire::handshake::{Handshake, Progress, SealSource};
use crate::io::wire::seal::{Rest, Seal, SealedPiece, Unsealed};

/// The peer's end of a stream.
#[derive(Clone)]
pub(super) struct Peer(Rc<RefCell<Line>>);

pub(super) struct Line {
    /// Bytes that have arrived.
    pub(super) arrived: VecDeque<u8>,
    pub(super) has_ended: bool,
    /// The peer has reset the stream.
    pub(super) has_failed: bool,
    /// Bytes that were written.
    pub(super) written: Vec<u8>,
    /// Bytes that a write still takes.
    pub(super) room: usize,
    pub(super) is_shut: bool,
    pub(super) was_reset: bool,
    pub(super) is_dropped: bool,
}

struct Ours(Rc<RefCell<Line>>);

impl Peer {
    pub(super) fn new() -> (Peer, Stream) {
        let line = Rc::new(RefCell::new(Line {
            arrived: VecDeque::new(),
            has_ended: false,
            has_failed: false,
            written: Vec::new(),
            room: usize::MAX,
            is_shut: false,
            was_reset: false,
            is_dropped: false,
        }));
        let stream = Stream::Simulated(Box::new(Box::new(Ours(line.clone()))));
        (Peer(line), stream)
    }

    pub(super) fn line(&self) -> std::cell::RefMut<'_, Line> {
        self.0.borrow_mut()
    }

    pub(super) fn send(&self, bytes: &[u8]) {
        self.line().arrived.extend(bytes);
    }

    /// True if the stream is gone, and was reset.
    pub(super) fn is_reset(&self) -> bool {
        self.line().is_dropped && self.line().was_reset
    }

    /// True if the stream is gone, and was not reset.
    pub(super) fn is_closed(&self) -> bool {
        self.line().is_dropped && !self.line().was_reset
    }
}

impl ByteStream for Ours {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut line = self.0.borrow_mut();
        let count = buffer.len().min(line.arrived.len());
        if count == 0 && !line.has_ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (to, from) in buffer.iter_mut().zip(line.arrived.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }

    fn peek(&mut self) -> io::Result<usize> {
        let line = self.0.borrow();
        match line.arrived.len().min(1) {
            0 if !line.has_ended => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut line = self.0.borrow_mut();
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
        let count = bytes.len().min(line.room);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        line.room -= count;
        line.written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.0.borrow_mut().is_shut = true;
        Ok(())
    }

    fn reset_on_drop(&mut self) {
        self.0.borrow_mut().was_reset = true;
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        let has_failed = self.0.borrow().has_failed;
        Ok(has_failed.then(|| io::ErrorKind::ConnectionReset.into()))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn receive_capacity(&self) -> io::Result<usize> {
        Ok(0)
    }

    fn send_capacity(&self) -> io::Result<usize> {
        Ok(0)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.0.borrow_mut().is_dropped = true;
    }
}

/// A handshake that awaits the three bytes `hey`, and answers `ok`. It behaves differently as its fields say.
#[derive(Clone)]
pub(super) struct Script {
    /// The bytes of its answer.
    pub(super) answer: Vec<u8>,
    /// Steps that it takes once the three bytes are there.
    pub(super) steps: usize,
    /// It cannot begin.
    pub(super) does_not_begin: bool,
    /// It takes this many bytes before the three, one by one.
    pub(super) greedy: bool,
    /// The number of steps that all handshakes have done.
    pub(super) done: Arc<AtomicUsize>,
}

impl Default for Script {
    fn default() -> Self {
        Script {
            answer: b"ok".to_vec(),
            steps: 1,
            does_not_begin: false,
            greedy: false,
            done: Arc::default(),
        }
    }
}

impl SealSource for Script {
    fn begin(&self) -> io::Result<Box<dyn Handshake>> {
        match self.does_not_begin {
            true => Err(io::ErrorKind::Unsupported.into()),
            false => Ok(Box::new(self.clone())),
        }
    }
}

impl Handshake for Script {
    fn advance(&mut self, received: &mut Vec<u8>, answers: &mut Vec<u8>) -> io::Result<Progress> {
        self.done.fetch_add(1, Ordering::Relaxed);
        if self.greedy {
            received.clear();
            return Ok(Progress::AwaitsInput);
        }
        assert!(!received.starts_with(b"bug"), "deliberate panic");
        if received.starts_with(b"bad") {
            answers.extend_from_slice(b"alert");
            return Err(io::Error::new(io::ErrorKind::InvalidData, "bad words"));
        }
        if received.len() < 3 {
            return Ok(Progress::AwaitsInput);
        }
        self.steps -= 1;
        if self.steps > 0 {
            return Ok(Progress::GoesOn);
        }
        received.drain(..3);
        answers.extend_from_slice(&self.answer);
        Ok(Progress::Done)
    }

    fn finish(self: Box<Self>) -> Box<dyn Seal> {
        Box::new(NoSeal)
    }
}

/// A seal whose records are the plaintext.
struct NoSeal;

impl Seal for NoSeal {
    fn unseal(
        &mut self,
        input: &mut [u8],
        plain: &mut [u8],
        _answers: &mut Vec<u8>,
    ) -> io::Result<Unsealed> {
        let count = input.len().min(plain.len());
        plain[..count].copy_from_slice(&input[..count]);
        Ok(Unsealed {
            consumed: count,
            written: count,
            records: 1,
            rest: match count < input.len() {
                true => Rest::Perhaps,
                false => Rest::Nothing,
            },
        })
    }

    fn seal(&mut self, plain: &[u8], sealed: &mut [u8]) -> io::Result<SealedPiece> {
        let count = plain.len().min(sealed.len());
        sealed[..count].copy_from_slice(&plain[..count]);
        Ok(SealedPiece {
            taken: count,
            written: count,
        })
    }

    fn end(&mut self, _answers: &mut Vec<u8>) {}
}
