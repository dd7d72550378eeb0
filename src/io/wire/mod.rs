//! The wire of a connection: a stream, plain or sealed.

#[cfg(any(test, fuzzing))]
pub(crate) mod checked;
#[cfg(any(test, fuzzing))]
pub(crate) mod double;
pub(crate) mod handshake;
#[cfg(any(test, fuzzing))]
pub(crate) mod scripted;
pub(crate) mod seal;
pub(crate) mod sealed;

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;

use self::sealed::Sealed;
use crate::io::stream::Stream;
#[cfg(feature = "tls")]
use crate::io::tls::session::TlsSession;

/// See the [module](self).
///
/// A plain stream passes bytes on. A sealed one turns them into records, of which it may hold some in either direction: so only
/// the wire knows if it is drained, and bytes count as written when the kernel has taken the records that contain them.
pub(crate) enum Wire {
    Plain(Stream),
    Sealed(Box<Sealed>),
}

impl From<Stream> for Wire {
    fn from(stream: Stream) -> Self {
        Wire::Plain(stream)
    }
}

impl Wire {
    /// Receives bytes of the peer. `Ok(0)` is the end of its stream.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing now, or the failure of the stream. A sealed stream fails with
    /// [`InvalidData`](io::ErrorKind::InvalidData) if the peer's records are refused; the peer has been told then. It fails with
    /// [`Interrupted`](io::ErrorKind::Interrupted) if it has received records without plaintext or a part of a record: the caller
    /// charges the [work](Self::work_of_read), and reads again unless the stream [is drained](Self::is_drained_by).
    // Part of the fast path of a turn, as `write`: a call of its own costs more there than the plain stream's call itself.
    #[inline(always)]
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.read(buffer),
            Wire::Sealed(sealed) => sealed.read(buffer),
        }
    }

    /// True if the read that has just returned `count` bytes into `room` has left nothing behind that no event will announce.
    #[inline]
    pub(crate) fn is_drained_by(&self, count: usize, room: usize) -> bool {
        match self {
            Wire::Plain(stream) => stream.is_drained_by(count, room),
            Wire::Sealed(sealed) => sealed.is_drained(),
        }
    }

    /// True if the read that has just returned `count` bytes into `room` has [drained](Self::is_drained_by) the stream, has caused
    /// at most so much [work](Self::work_of_read), and has left nothing in the wire: no records to send, and no part of one.
    #[inline]
    pub(crate) fn is_done_with(&self, count: usize, room: usize, most_work: usize) -> bool {
        match self {
            Wire::Plain(stream) => stream.is_drained_by(count, room),
            Wire::Sealed(sealed) => {
                sealed.is_drained() && sealed.work_of_read() <= most_work && sealed.held() == 0
            }
        }
    }

    /// True if a read would find something: bytes, the end of stream, or an error.
    pub(crate) fn has_news(&mut self) -> bool {
        match self {
            Wire::Plain(stream) => stream.has_news(),
            Wire::Sealed(sealed) => sealed.has_news(),
        }
    }

    /// True if received bytes are at hand that no event will announce.
    pub(crate) fn has_received(&self) -> bool {
        match self {
            Wire::Plain(_) => false,
            Wire::Sealed(sealed) => sealed.has_received(),
        }
    }

    /// The work that the last read has caused beyond that of the bytes that it returned, in the unit of
    /// [`TurnBudget`](crate::protocol::TurnBudget).
    #[inline]
    pub(crate) fn work_of_read(&self) -> usize {
        match self {
            Wire::Plain(_) => 0,
            Wire::Sealed(sealed) => sealed.work_of_read(),
        }
    }

    /// True if the peer's stream has ended as an attacker could have ended it: sealed, and without the seal's own end.
    pub(crate) fn was_cut_off(&self) -> bool {
        match self {
            Wire::Plain(_) => false,
            Wire::Sealed(sealed) => sealed.was_cut_off(),
        }
    }

    /// Sends bytes; see [`write_vectored`](Self::write_vectored).
    #[inline(always)]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.write(bytes),
            Wire::Sealed(sealed) => sealed.write_one(bytes),
        }
    }

    /// Sends `parts` in order. Returns the bytes that are with the kernel. Fewer than all mean that it takes no more now.
    ///
    /// After an error `WouldBlock`, and after a part was taken, a sealed stream has [committed](Self::committed) itself to some of
    /// the bytes that follow: the next call must begin with them.
    pub(crate) fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.write_vectored(parts),
            Wire::Sealed(sealed) => sealed.write(parts),
        }
    }

    /// Bytes that are sealed although no write has taken them yet: the next write begins with them.
    #[inline]
    pub(crate) fn committed(&self) -> usize {
        match self {
            Wire::Plain(_) => 0,
            Wire::Sealed(sealed) => sealed.committed(),
        }
    }

    /// Bytes of those that are with the kernel for sure, although the whole record is not. They are no more than progress.
    #[inline]
    pub(crate) fn gone(&self) -> usize {
        match self {
            Wire::Plain(_) => 0,
            Wire::Sealed(sealed) => sealed.gone(),
        }
    }

    /// Bytes that the stream has taken, where `written` bytes of messages were written: records are longer than these.
    pub(crate) fn taken(&self, written: u64) -> u64 {
        match self {
            Wire::Plain(_) => written,
            Wire::Sealed(sealed) => sealed.taken(),
        }
    }

    /// True if records are sealed that the kernel has not taken, of messages or of the seal itself.
    #[inline]
    pub(crate) fn has_unsent(&self) -> bool {
        match self {
            Wire::Plain(_) => false,
            Wire::Sealed(sealed) => sealed.has_unsent(),
        }
    }

    /// Hands the unsent records to the kernel.
    ///
    /// # Errors
    /// `WouldBlock` if it has not taken all, or the failure of the stream.
    pub(crate) fn push_unsent(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(_) => Ok(()),
            Wire::Sealed(sealed) => sealed.push_unsent(),
        }
    }

    /// True if the seal's own end is sealed: nothing can be written behind it.
    #[inline]
    pub(crate) fn has_said_end(&self) -> bool {
        match self {
            Wire::Plain(_) => false,
            Wire::Sealed(sealed) => sealed.has_said_end(),
        }
    }

    /// True if the wire has words for its end that were not all sent.
    pub(crate) fn has_end_to_say(&self) -> bool {
        match self {
            Wire::Plain(_) => false,
            Wire::Sealed(sealed) => sealed.has_end_to_say(),
        }
    }

    /// Says the seal's own end, behind all that was written. To be called again after `WouldBlock`.
    ///
    /// # Errors
    /// As [`push_unsent`](Self::push_unsent).
    pub(crate) fn say_end(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(_) => Ok(()),
            Wire::Sealed(sealed) => sealed.say_end(),
        }
    }

    /// Sends the stream's end, behind all that is with the kernel.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(stream) => stream.shutdown_write(),
            Wire::Sealed(sealed) => sealed.shutdown_write(),
        }
    }

    /// Bytes of memory that the wire holds beyond what an idle one needs.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        match self {
            Wire::Plain(_) => 0,
            Wire::Sealed(sealed) => sealed.held(),
        }
    }

    /// Drops all that the wire holds, because the connection has ended.
    pub(crate) fn release(&mut self) {
        if let Wire::Sealed(sealed) = self {
            sealed.release();
        }
    }

    /// Upper bound of the bytes that may have arrived and wait to be read; 0 where that cannot be known.
    pub(crate) fn receive_capacity(&self) -> usize {
        match self {
            Wire::Plain(stream) => stream.receive_capacity(),
            Wire::Sealed(sealed) => sealed.receive_capacity(),
        }
    }

    /// The TLS session; `None` for a wire without TLS.
    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Option<TlsSession<'_>> {
        match self {
            Wire::Plain(_) => None,
            Wire::Sealed(sealed) => sealed.tls(),
        }
    }

    pub(crate) fn reset_on_drop(&mut self) {
        self.stream_mut().reset_on_drop();
    }

    pub(crate) fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        self.stream_mut().take_error()
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream().local_addr()
    }

    /// Upper bound of the bytes that may have been written and are not with the peer; `usize::MAX` where that cannot be known.
    pub(crate) fn send_capacity(&self) -> usize {
        self.stream().send_capacity()
    }

    /// True if bytes can leave at all.
    pub(crate) fn is_attached(&self) -> bool {
        self.stream().is_attached()
    }

    /// The stream below.
    pub(crate) fn stream(&self) -> &Stream {
        match self {
            Wire::Plain(stream) => stream,
            Wire::Sealed(sealed) => sealed.stream(),
        }
    }

    /// The stream below, to be registered with a poll.
    pub(crate) fn stream_mut(&mut self) -> &mut Stream {
        match self {
            Wire::Plain(stream) => stream,
            Wire::Sealed(sealed) => sealed.stream_mut(),
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wire::Plain(stream) => stream.fmt(f),
            Wire::Sealed(sealed) => write!(f, "Sealed({:?})", sealed.stream()),
        }
    }
}

#[cfg(test)]
mod tests;
