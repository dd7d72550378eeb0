//! The meaning of each timer on a worker's wheel.

use super::id::ConnId;
use super::pace::{ClosePace, Pace};

/// The action of a timer that fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Evict the connection if nothing was received for the idle time.
    Idle(ConnId),
    /// End the connection if its first message is not whole.
    FirstMessage(ConnId),
    /// End the connection if it is still within the message that follows the first `after` ones.
    Message { id: ConnId, after: u64 },
    /// End the connection if less of its output has left than the pace demands.
    WriteStall { id: ConnId, pace: Pace },
    /// End an orderly close that is not done, unless as much of its output has left as the pace demands.
    /// `extended`: it had a second term already, because the loop was late.
    Close {
        id: ConnId,
        extended: bool,
        pace: ClosePace,
    },
    /// End the connection, whose close waits for its sources, if less of its output has left than the pace
    /// demands. `extended` as in [`Close`](Self::Close).
    Sources {
        id: ConnId,
        extended: bool,
        pace: Pace,
    },
    /// Ask the connection's protocol for a deadline that has come.
    Protocol(ConnId),
    /// Look at a subscriber for which publications have waited.
    Lag(ConnId),
    /// Call the handler for one of its timers.
    Handler { id: ConnId, timer: u64 },
    /// Run a task that was scheduled through the server's handle.
    Task(usize),
    /// Call the handler of a service, by its index, at its fixed interval.
    Tick(u16),
    /// Read the connections again that were held back because the worker's memory is short.
    Memory,
    /// Shorten or end the drain: half of its time, three quarters or all of it are over.
    Drain,
}

impl Due {
    /// The connection whose timer it is.
    pub(crate) fn connection(&self) -> Option<ConnId> {
        match *self {
            Due::Idle(id) | Due::FirstMessage(id) | Due::Protocol(id) | Due::Lag(id) => Some(id),
            Due::Message { id, .. }
            | Due::WriteStall { id, .. }
            | Due::Close { id, .. }
            | Due::Sources { id, .. }
            | Due::Handler { id, .. } => Some(id),
            Due::Task(_) | Due::Tick(_) | Due::Drain | Due::Memory => None,
        }
    }
}
