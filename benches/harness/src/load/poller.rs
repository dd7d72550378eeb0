//! A thin wrapper of epoll: edge-triggered, one key per socket.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use super::LoadError;

/// Events taken from the kernel in one call.
const BATCH: usize = 1024;

pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    pub(crate) fn new() -> Result<Self, LoadError> {
        let epoll =
            epoll::create(CreateFlags::CLOEXEC).map_err(LoadError::errno("epoll_create"))?;
        Ok(Self {
            epoll,
            events: Vec::with_capacity(BATCH),
        })
    }

    /// Registers a socket once, for both directions; the kernel removes it when it is closed.
    pub(crate) fn add(&self, socket: impl AsFd, key: usize) -> Result<(), LoadError> {
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(
            &self.epoll,
            socket,
            EventData::new_u64(key as u64),
            interest,
        )
        .map_err(LoadError::errno("epoll_ctl"))
    }

    /// Waits for at most `timeout` (whole milliseconds, rounded up), and returns the number of events.
    pub(crate) fn wait(&mut self, timeout: Duration) -> Result<usize, LoadError> {
        self.events.clear();
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            Some(&timeout),
        ) {
            Ok(count) => Ok(count),
            Err(Errno::INTR) => Ok(0),
            Err(error) => Err(LoadError::errno("epoll_wait")(error)),
        }
    }

    /// The key of an event of the last wait.
    #[inline]
    pub(crate) fn key(&self, event: usize) -> usize {
        self.events[event].data.u64() as usize
    }

    /// True if the peer had ended its direction, or the connection had failed, at an event of the last wait.
    #[inline]
    pub(crate) fn hung_up(&self, event: usize) -> bool {
        let flags = self.events[event].flags;
        flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR)
    }
}
