//! The roster: the people in each room.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;

use crate::door::Visitor;

/// The people in each room, with the number of their connections: several windows of one person count once.
#[derive(Default)]
pub(crate) struct Roster(HashMap<String, BTreeMap<String, usize>>);

impl Roster {
    /// Adds a connection. True if it is the first one of its person in the room; `None` if the room is full.
    pub(crate) fn enter(&mut self, visitor: &Visitor, room_size: NonZeroUsize) -> Option<bool> {
        let room = self.0.entry(visitor.room.clone()).or_default();
        let is_new = !room.contains_key(&visitor.name);
        if is_new && room.len() >= room_size.get() {
            return None;
        }
        *room.entry(visitor.name.clone()).or_default() += 1;
        Some(is_new)
    }

    /// Removes a connection. True if it was the last one of its person in the room.
    pub(crate) fn leave(&mut self, visitor: &Visitor) -> bool {
        let Some(room) = self.0.get_mut(&visitor.room) else {
            return false;
        };
        let windows = room.get_mut(&visitor.name).map(|windows| {
            *windows -= 1;
            *windows
        });
        if windows == Some(0) {
            room.remove(&visitor.name);
        }
        if room.is_empty() {
            self.0.remove(&visitor.room);
        }
        windows == Some(0)
    }

    pub(crate) fn people(&self, room: &str) -> Vec<&str> {
        let names = self.0.get(room).into_iter().flat_map(BTreeMap::keys);
        names.map(String::as_str).collect()
    }
}
