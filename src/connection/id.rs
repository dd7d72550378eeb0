//! The names of connections, which outlive them.

use std::fmt;

/// Names one connection of a server. Slots are reused, but no later connection has the same name before its worker has
/// had 2^32 of them. Servers do not know one another's names: a name of another server may lead to any connection.
///
/// Shown as `worker/slot#serial`.
///
/// ```
/// use std::collections::HashMap;
/// use ringwheel::{Conn, ConnId, protocol::Lines};
///
/// /// A handler that finds players by their names.
/// struct Game {
///     players: HashMap<String, ConnId>,
/// }
///
/// impl Game {
///     fn whisper(&self, conn: &mut Conn<'_, Lines>, to: &str, text: &str) {
///         match self.players.get(to) {
///             Some(player) => _ = conn.send_to(*player, text),
///             None => _ = conn.send("no such player"),
///         }
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    pub(crate) worker: u16,
    /// Index of the service, which is that of the listener.
    pub(crate) service: u16,
    pub(crate) slot: u32,
    /// Counts the connections of the worker, so two that share a slot differ. It wraps after 2^32 connections; a handle
    /// would have to be kept that long, and hit the very same slot, to be mistaken.
    pub(crate) serial: u32,
}

impl ConnId {
    /// The index of the worker that owns the connection.
    pub fn worker(&self) -> usize {
        usize::from(self.worker)
    }

    /// The token for the poll: the slot, and the serial where a `usize` has room for it. Where it has not, only the
    /// removal at the end of an iteration keeps a late event from a connection that has taken the slot over.
    #[inline]
    pub(crate) fn token(&self) -> usize {
        ((u64::from(self.serial) << 32) | u64::from(self.slot)) as usize
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}#{}", self.worker, self.slot, self.serial)
    }
}

/// Names for unit tests.
#[cfg(test)]
impl ConnId {
    /// The name of the first connection of worker 0 in a slot.
    pub(crate) fn in_slot(slot: u32) -> Self {
        ConnId {
            worker: 0,
            service: 0,
            slot,
            serial: 0,
        }
    }
}
