//! A stream under a seal: records that are not whole yet, plaintext that is still inside, and records that the kernel has not
//! taken.

use std::cell::RefCell;
use std::io::{self, IoSlice};

use super::seal::{Rest, Seal, SealedPiece};
use crate::io::stream::{SHORT_MEANS_DRAINED, Stream};
#[cfg(feature = "tls")]
use crate::io::tls::session::TlsSession;

/// Bytes of plaintext that are sealed at a time, and that a stream may be committed to: two of the largest records of TLS.
pub(crate) const PIECE: usize = 32 * 1024;
/// Bytes of plaintext that are gathered from several parts into one record: the largest record of TLS.
const GATHER: usize = 16 * 1024;
/// Room beside a piece for what its records add, and for words of the seal itself that leave first.
pub(super) const SEAL_ROOM: usize = 8 * 1024;
/// Received bytes beyond the room for plaintext that one read asks for, so that a record that fills the room comes whole.
const RECORD_ROOM: usize = 512;
/// Most bytes that are held of records or of a seal's own messages that are not whole. TLS allows messages of 64 KiB, and a record
/// behind them.
pub(super) const HELD_MAX: usize = 96 * 1024;
/// Most bytes of the seal's own answers that a peer may leave unread. All that an honest one can cause are far fewer.
pub(super) const ANSWERS_MAX: usize = 64 * 1024;
/// The work of opening a record, as a number of received bytes: so a peer that sends records of one byte spends its turn early.
pub(super) const RECORD_COST: usize = 512;

thread_local! {
    /// The buffers that all sealed streams of a worker use for the length of a call.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// See [`SCRATCH`]. Empty until the thread meets the first sealed stream.
#[derive(Default)]
struct Scratch {
    received: Box<[u8]>,
    sealed: Box<[u8]>,
    gathered: Vec<u8>,
}

impl Scratch {
    fn with<T>(call: impl FnOnce(&mut Scratch) -> T) -> T {
        SCRATCH.with_borrow_mut(|scratch| {
            if scratch.received.is_empty() {
                scratch.received = vec![0; HELD_MAX + PIECE + RECORD_ROOM].into_boxed_slice();
                scratch.sealed = vec![0; PIECE + SEAL_ROOM].into_boxed_slice();
            }
            call(scratch)
        })
    }
}

/// See the [module](self). Between two turns of an idle connection all buffers are empty and have no memory.
pub(crate) struct Sealed {
    stream: Stream,
    seal: Box<dyn Seal>,
    /// Received bytes that are not a whole record, or wait behind plaintext that had no room.
    held: Vec<u8>,
    /// Records that the kernel has not taken, from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
    /// Bytes of records that the kernel has taken in all.
    taken: u64,
    /// Bytes of plaintext, not yet reported as written, that are sealed within `unsent`.
    committed: usize,
    /// Work of the records that the last read has opened.
    work: usize,
    incoming: Incoming,
    /// The last read of the stream has found all that there was.
    is_drained: bool,
    /// Our end is sealed.
    has_said_end: bool,
    /// Our end of the stream is sent: nothing leaves any more.
    is_shut: bool,
}

/// The state of the peer's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Incoming {
    /// The next bytes come from the stream.
    Open,
    /// Plaintext may be at hand: the seal is asked before the stream.
    AtHand,
    /// The peer has ended its stream in the words of the seal.
    Ended,
    /// The stream has ended without those words.
    CutOff,
}

impl Sealed {
    /// A stream whose handshake is done. `received` are bytes that came behind it, and `unsent` is what it has still to send.
    pub(crate) fn new(
        stream: Stream,
        seal: Box<dyn Seal>,
        received: Vec<u8>,
        unsent: Vec<u8>,
    ) -> Self {
        Sealed {
            stream,
            seal,
            // The seal may have opened records already that it did not give out.
            incoming: Incoming::AtHand,
            held: received,
            unsent,
            sent: 0,
            taken: 0,
            committed: 0,
            work: 0,
            is_drained: false,
            has_said_end: false,
            is_shut: false,
        }
    }

    /// Reads the stream at most once, so that a flood of records without plaintext comes to its end with the caller's budget.
    #[inline(never)]
    pub(super) fn read(&mut self, plain: &mut [u8]) -> io::Result<usize> {
        self.work = 0;
        // An event may have come since the stream was read, and no further one comes for the same bytes.
        self.is_drained = false;
        if matches!(self.incoming, Incoming::Ended | Incoming::CutOff) {
            return Ok(0);
        }
        Scratch::with(|scratch| {
            let received = self.receive(&mut scratch.received, plain.len())?;
            if self.incoming == Incoming::CutOff {
                return Ok(0);
            }
            let count = self.open(&mut scratch.received[..received], plain)?;
            if count > 0 || self.incoming == Incoming::Ended {
                return Ok(count);
            }
            self.work = self.work.max(received);
            Err(io::ErrorKind::Interrupted.into())
        })
    }

    /// Puts what is held, and what the stream has, into `buffer`. Returns the number of bytes.
    fn receive(&mut self, buffer: &mut [u8], plain_room: usize) -> io::Result<usize> {
        let held = self.held.len();
        let mut count = 0;
        if self.incoming == Incoming::Open {
            let room = buffer.len() - held;
            let room = room.min(plain_room.saturating_add(RECORD_ROOM));
            count = self.stream.read(&mut buffer[held..held + room])?;
            self.is_drained = self.stream.is_drained_by(count, room);
            if count == 0 {
                self.incoming = Incoming::CutOff;
                self.held = Vec::new();
                return Ok(0);
            }
        }
        buffer[..held].copy_from_slice(&self.held);
        Ok(held + count)
    }

    /// Opens what was received, and holds the rest of it.
    fn open(&mut self, received: &mut [u8], plain: &mut [u8]) -> io::Result<usize> {
        let before = self.unsent.len();
        let outcome = self.seal.unseal(received, plain, &mut self.unsent);
        if self.has_said_end {
            // Nothing may follow our end.
            self.unsent.truncate(before);
        }
        let opened = match outcome {
            Ok(opened) => opened,
            Err(error) => {
                self.refuse();
                return Err(error);
            }
        };
        let has_progressed = opened.consumed + opened.written + opened.records > 0;
        if opened.rest == Rest::Perhaps && !has_progressed {
            return Err(io::Error::other("the seal makes no progress"));
        }
        self.work = opened.records * self.seal.record_cost();
        self.incoming = match opened.rest {
            Rest::Nothing => Incoming::Open,
            Rest::Perhaps => Incoming::AtHand,
            Rest::Ended => Incoming::Ended,
        };
        let rest = &received[opened.consumed..];
        if rest.len() > HELD_MAX || self.unsent.len() - self.sent > ANSWERS_MAX + PIECE + SEAL_ROOM
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the peer's records need more memory than is allowed",
            ));
        }
        self.hold(opened.rest, rest);
        if self.unsent.is_empty() {
            self.forget_unsent();
        }
        Ok(opened.written)
    }

    fn hold(&mut self, state: Rest, rest: &[u8]) {
        if rest.is_empty() || state == Rest::Ended {
            self.held = Vec::new();
        } else {
            self.held.clear();
            self.held.extend_from_slice(rest);
        }
    }

    /// Sends the last words to a peer whose bytes are refused, and reads away what has arrived: with unread bytes the kernel would
    /// send a reset instead, which can overtake the words.
    fn refuse(&mut self) {
        self.held = Vec::new();
        if self.is_shut {
            return;
        }
        let words_left = self.push_unsent().is_ok();
        if words_left && self.stream.shutdown_write().is_ok() {
            self.is_shut = true;
            let mut discarded = [0; 4096];
            for _ in 0..16 {
                if !matches!(self.stream.read(&mut discarded), Ok(1..)) {
                    break;
                }
            }
        }
    }

    pub(super) fn is_drained(&self) -> bool {
        self.is_drained && self.incoming == Incoming::Open
    }

    pub(super) fn has_news(&mut self) -> bool {
        self.incoming != Incoming::Open || self.stream.has_news()
    }

    pub(super) fn has_received(&self) -> bool {
        self.incoming != Incoming::Open
    }

    pub(super) fn was_cut_off(&self) -> bool {
        self.incoming == Incoming::CutOff
    }

    pub(super) fn work_of_read(&self) -> usize {
        self.work
    }

    /// As [`write`](Self::write), for one slice.
    #[inline(never)]
    pub(super) fn write_one(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write(&[IoSlice::new(bytes)])
    }

    /// Seals and sends `parts`, which begin with the committed bytes.
    pub(super) fn write(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        debug_assert!(!self.has_said_end, "a write behind the end");
        self.push_unsent()?;
        let mut taken = std::mem::take(&mut self.committed);
        let total: usize = parts.iter().map(|part| part.len()).sum();
        debug_assert!(taken <= total, "a write does not begin with what is sealed");
        Scratch::with(|scratch| {
            while taken < total {
                let plain = piece(parts, taken, &mut scratch.gathered);
                let sealed = self.seal.seal(plain, &mut scratch.sealed)?;
                let SealedPiece {
                    taken: more,
                    written,
                } = sealed;
                if more == 0 && written == 0 {
                    return Err(io::Error::other("the seal makes no progress"));
                }
                match self.send(&scratch.sealed[..written]) {
                    Ok(()) => taken += more,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.committed = more;
                        return match taken {
                            0 => Err(error),
                            _ => Ok(taken),
                        };
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(taken)
        })
    }

    /// Hands `records` to the kernel, and keeps what it does not take.
    fn send(&mut self, records: &[u8]) -> io::Result<()> {
        debug_assert!(self.unsent.is_empty());
        let mut sent = 0;
        while sent < records.len() {
            match self.stream.write(&records[sent..]) {
                Ok(count) => {
                    sent += count;
                    self.taken += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unsent.extend_from_slice(&records[sent..]);
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
            if sent < records.len() && SHORT_MEANS_DRAINED {
                self.unsent.extend_from_slice(&records[sent..]);
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        Ok(())
    }

    pub(super) fn committed(&self) -> usize {
        self.committed
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn gone(&self) -> usize {
        // A record is never shorter than its plaintext.
        let unsent = self.unsent.len() - self.sent;
        self.committed.saturating_sub(unsent)
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    pub(super) fn push_unsent(&mut self) -> io::Result<()> {
        while self.sent < self.unsent.len() {
            let count = match self.stream.write(&self.unsent[self.sent..]) {
                Ok(count) => count,
                Err(error) => {
                    self.drop_sent();
                    return Err(error);
                }
            };
            self.sent += count;
            self.taken += count as u64;
            if self.sent < self.unsent.len() && SHORT_MEANS_DRAINED {
                self.drop_sent();
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        self.forget_unsent();
        Ok(())
    }

    /// Drops the sent bytes once they are the larger part. A peer that causes answers while it reads slowly would otherwise make
    /// the buffer grow for ever.
    fn drop_sent(&mut self) {
        if self.sent > self.unsent.len() / 2 {
            self.unsent.drain(..self.sent);
            self.sent = 0;
        }
    }

    fn forget_unsent(&mut self) {
        if self.unsent.capacity() > 0 {
            self.unsent = Vec::new();
            self.sent = 0;
        }
    }

    pub(super) fn has_said_end(&self) -> bool {
        self.has_said_end
    }

    pub(super) fn has_end_to_say(&self) -> bool {
        !self.is_shut && (!self.has_said_end || self.has_unsent())
    }

    pub(super) fn say_end(&mut self) -> io::Result<()> {
        if !self.has_said_end {
            self.has_said_end = true;
            self.seal.end(&mut self.unsent);
        }
        self.push_unsent()
    }

    pub(super) fn shutdown_write(&mut self) -> io::Result<()> {
        self.is_shut = true;
        self.stream.shutdown_write()
    }

    pub(super) fn held(&self) -> usize {
        self.held.capacity() + self.unsent.capacity() + self.seal.held()
    }

    pub(super) fn release(&mut self) {
        self.held = Vec::new();
        self.forget_unsent();
        self.committed = 0;
    }

    pub(super) fn receive_capacity(&self) -> usize {
        // Opened records never have more plaintext than they are long.
        self.stream.receive_capacity() + self.held.len() + PIECE
    }

    #[cfg(feature = "tls")]
    pub(super) fn tls(&self) -> Option<TlsSession<'_>> {
        self.seal.tls()
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn stream_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }
}

/// The bytes from `at` on that are sealed next: a part of one slice where that is long, else what is gathered from several.
fn piece<'a>(parts: &'a [IoSlice<'_>], mut at: usize, gathered: &'a mut Vec<u8>) -> &'a [u8] {
    let mut index = 0;
    while at >= parts[index].len() {
        at -= parts[index].len();
        index += 1;
    }
    let (first, rest) = (&parts[index][at..], &parts[index + 1..]);
    if first.len() >= GATHER || rest.iter().all(|part| part.is_empty()) {
        return &first[..first.len().min(PIECE)];
    }
    gathered.clear();
    gathered.extend_from_slice(first);
    for part in rest {
        let room = GATHER - gathered.len();
        gathered.extend_from_slice(&part[..part.len().min(room)]);
    }
    gathered
}
