//! The connections of a worker, by slot.

use slab::Slab;

use crate::connection::Connection;
use crate::connection::id::ConnId;

/// Number of connections for which a worker reserves address space from the start. Allocators map a block of this size on
/// its own and grow it in place, so a growing table copies nothing and leaves no garbage behind; memory that is not used is
/// not touched.
const INITIAL_CAPACITY: usize = 1024;

/// The connections of one worker.
pub(crate) struct ConnTable {
    connections: Slab<Connection>,
    worker: u16,
    next_serial: u32,
}

impl ConnTable {
    pub(crate) fn new(worker: u16) -> Self {
        ConnTable {
            connections: Slab::with_capacity(INITIAL_CAPACITY),
            worker,
            next_serial: 0,
        }
    }

    /// Inserts the connection that `make` builds for the id that it will have.
    pub(crate) fn insert(
        &mut self,
        service: u16,
        make: impl FnOnce(ConnId) -> Connection,
    ) -> ConnId {
        let entry = self.connections.vacant_entry();
        let slot = u32::try_from(entry.key()).expect("a process has fewer than 2^32 descriptors");
        let id = ConnId {
            worker: self.worker,
            service,
            slot,
            serial: self.next_serial,
        };
        self.next_serial = self.next_serial.wrapping_add(1);
        entry.insert(make(id));
        id
    }

    /// The connection that an event's token was made for.
    #[inline]
    pub(crate) fn by_token(&mut self, token: usize) -> Option<&mut Connection> {
        let connection = self.in_slot(token as u32)?;
        (connection.id.token() == token).then_some(connection)
    }

    /// The connection in a slot, whatever its serial.
    #[inline]
    pub(crate) fn in_slot(&mut self, slot: u32) -> Option<&mut Connection> {
        self.connections.get_mut(slot as usize)
    }

    /// The connection with this name; `None` if it is gone.
    #[inline]
    pub(crate) fn get(&mut self, id: ConnId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(id.slot as usize)?;
        (connection.id == id).then_some(connection)
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<Connection> {
        self.connections.try_remove(slot as usize)
    }

    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// All connections.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().map(|(_, connection)| connection)
    }

    /// All connections, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.connections
            .iter_mut()
            .map(|(_, connection)| connection)
    }

    /// The names of all connections, for a walk during which the table may change.
    pub(crate) fn ids(&self) -> Vec<ConnId> {
        self.iter().map(|connection| connection.id).collect()
    }
}
