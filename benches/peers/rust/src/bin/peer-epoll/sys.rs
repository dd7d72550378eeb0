//! The system calls that the standard library lacks: epoll, and an accept that makes its socket non-blocking.
#![allow(
    unsafe_code,
    reason = "the calls themselves are what this floor measures"
)]

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

/// An epoll instance, edge-triggered throughout.
pub(crate) struct Epoll(OwnedFd);

/// The events to wait for.
#[derive(Clone, Copy)]
pub(crate) enum Interest {
    Readable,
    /// Readable, writable, and the peer's end of stream.
    Both,
}

/// An event that has happened.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Event(libc::epoll_event);

impl Event {
    /// An empty slot for an event.
    pub(crate) const EMPTY: Event = Event(libc::epoll_event { events: 0, u64: 0 });

    #[inline]
    pub(crate) fn key(&self) -> u64 {
        self.0.u64
    }

    #[inline]
    pub(crate) fn is_readable(&self) -> bool {
        self.has(libc::EPOLLIN)
    }

    /// True if the peer has ended, or the connection has failed.
    #[inline]
    pub(crate) fn is_read_closed(&self) -> bool {
        self.has(libc::EPOLLRDHUP | libc::EPOLLHUP)
    }

    #[inline]
    fn has(&self, any: i32) -> bool {
        self.0.events & any as u32 != 0
    }
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointer.
        let fd = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the call has just made this descriptor, and nothing else owns it.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches `source` until it is closed; its events carry `key`.
    pub(crate) fn add(&self, source: &impl AsFd, key: u64, interest: Interest) -> io::Result<()> {
        let events = match interest {
            Interest::Readable => libc::EPOLLIN,
            Interest::Both => libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP,
        };
        let mut event = libc::epoll_event {
            events: (events | libc::EPOLLET) as u32,
            u64: key,
        };
        let (epoll, source) = (self.0.as_raw_fd(), source.as_fd().as_raw_fd());
        // SAFETY: both descriptors are open, and the kernel only reads `event`, which outlives the call.
        checked(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, source, &raw mut event) })?;
        Ok(())
    }

    /// Waits for events. Returns none if a signal came instead.
    pub(crate) fn wait<'a>(&self, room: &'a mut [Event]) -> io::Result<&'a [Event]> {
        let capacity = i32::try_from(room.len()).unwrap_or(i32::MAX);
        // SAFETY: `Event` has the layout of `epoll_event`, and the kernel writes at most `capacity` of them into `room`.
        let count =
            unsafe { libc::epoll_wait(self.0.as_raw_fd(), room.as_mut_ptr().cast(), capacity, -1) };
        match checked(count) {
            Ok(count) => Ok(&room[..count as usize]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(&[]),
            Err(error) => Err(error),
        }
    }
}

/// Accepts one connection, which is non-blocking from the start.
pub(crate) fn accept_nonblocking(listener: &TcpListener) -> io::Result<TcpStream> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the listener is open, and null pointers mean that the peer's address is not needed.
    let fd = checked(unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            ptr::null_mut(),
            ptr::null_mut(),
            flags,
        )
    })?;
    // SAFETY: the call has just made this descriptor, a TCP socket, and nothing else owns it.
    Ok(unsafe { TcpStream::from_raw_fd(fd) })
}

/// Converts a negative result to the error in `errno`.
fn checked(result: i32) -> io::Result<i32> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
