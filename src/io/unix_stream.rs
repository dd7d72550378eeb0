//! The byte stream of a Unix socket, which differs from TCP in its end, its buffers and its flags.

use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};

use mio::net::UnixStream;
use socket2::SockRef;

use crate::io::stream::{ByteStream, NO_SIGNAL};

/// Bytes that may have arrived at a Unix socket. The peer's send buffer bounds them, of which our end learns nothing; Linux
/// lets it have twice `net.core.wmem_max`, which is 8 MiB where that is raised to 4 MiB, and 416 KiB by default.
const ARRIVED_MAX: usize = 16 * 1024 * 1024;

impl ByteStream for UnixStream {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Descriptors that a peer passes along are not asked for, so the kernel closes them.
        Read::read(self, buffer)
    }

    fn peek(&mut self) -> io::Result<usize> {
        let mut byte = [MaybeUninit::uninit()];
        self.try_io(|| SockRef::from(&*self).peek(&mut byte))
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // std writes to a Unix socket without the flag in some of its versions.
        self.try_io(|| SockRef::from(&*self).send_with_flags(bytes, NO_SIGNAL))
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_io(|| SockRef::from(&*self).send_vectored_with_flags(parts, NO_SIGNAL))
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    /// Does nothing: no option makes a Unix socket reset. Its peer reads all that was written to it, and then, on Linux,
    /// `ECONNRESET` if we have left input unread; otherwise a clean end.
    fn reset_on_drop(&mut self) {}

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        UnixStream::take_error(self)
    }

    /// Fails: the kernel has the name to which the listener was bound first, which is not the one that it has now.
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a Unix socket has the address of its listener",
        ))
    }

    fn receive_capacity(&self) -> io::Result<usize> {
        Ok(ARRIVED_MAX)
    }

    /// None: a write puts the bytes into the peer's own queue, from which it reads them also after our end is closed.
    fn send_capacity(&self) -> io::Result<usize> {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Write};
    use std::os::unix::net;

    use crate::io::stream::Stream;

    /// Our end as a connection has it, and the peer's.
    fn pair() -> (Stream, net::UnixStream) {
        let (ours, peer) = net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (Stream::Unix(UnixStream::from_std(ours)), peer)
    }

    #[test]
    fn input_is_seen_without_being_consumed() {
        let (mut ours, mut peer) = pair();
        assert!(!ours.has_news());
        peer.write_all(b"news").unwrap();
        assert!(ours.has_news() && ours.has_news());
        let mut buffer = [0; 8];
        assert_eq!(ours.read(&mut buffer).unwrap(), 4);
        assert!(!ours.has_news());
        drop(peer);
        assert!(ours.has_news(), "the end of stream");
        assert_eq!(ours.read(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn slices_are_written_in_order_and_the_end_behind_them() {
        let (mut ours, mut peer) = pair();
        ours.write(b"<").unwrap();
        let parts = [IoSlice::new(b"bo"), IoSlice::new(b"dy>")];
        assert_eq!(ours.write_vectored(&parts).unwrap(), 5);
        ours.shutdown_write().unwrap();
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"<body>");
    }

    #[test]
    fn a_write_to_a_peer_that_has_gone_is_an_error() {
        let (mut ours, peer) = pair();
        drop(peer);
        assert_eq!(ours.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let parts = [IoSlice::new(b"x"), IoSlice::new(b"y")];
        let error = ours.write_vectored(&parts).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }

    /// The promise of RELIABILITY.md: an orderly close of a Unix socket need not wait for the peer to read.
    #[test]
    fn the_peer_reads_all_that_was_written_before_the_end() {
        let (mut ours, mut peer) = pair();
        peer.write_all(b"unread").unwrap();
        ours.write(&[7; 1000]).unwrap();
        ours.reset_on_drop();
        drop(ours);
        let mut all = Vec::new();
        let end = peer.read_to_end(&mut all);
        assert_eq!(all, [7; 1000]);
        if cfg!(any(target_os = "linux", target_os = "android")) {
            assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
    }

    #[test]
    fn a_drop_without_unread_input_is_a_clean_end() {
        let (mut ours, mut peer) = pair();
        ours.reset_on_drop();
        drop(ours);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    }
}
