//! The victims of a worker whose memory passes its bound: the connections that hold most are ended.
//!
//! First the unused parts of all rings are freed; often that is enough. Then the connection that holds most ends, then the
//! next, until the worker is an eighth below its bound. So whoever brings about a search has filled an eighth of the bound
//! since the last one, and a connection within its [share](super::memory::Memory::share) is never ended.

use std::collections::BinaryHeap;

use super::close_reason::Cause;
use super::loop_state::LoopState;
use super::table::ConnTable;

/// Ends connections if the worker holds more than its bound. [`Memory::victims`](super::memory::Memory::victims) gets their
/// slots.
#[inline]
pub(crate) fn keep_bound(table: &mut ConnTable, state: &mut LoopState) {
    if state.memory.exceeds_bound() {
        end_largest(table, state);
    }
}

#[cold]
fn end_largest(table: &mut ConnTable, state: &mut LoopState) {
    let mut holders = trim(table, state);
    #[cfg(test)]
    note_search(table, state);
    let before = state.memory.victims.len();
    while !state.memory.is_relieved() {
        let Some((_, slot)) = holders.pop() else {
            break;
        };
        if let Some(connection) = table.in_slot(slot) {
            connection.abort(Cause::WorkerMemory);
            connection.release_memory(state);
            state.memory.victims.push(slot);
        }
    }
    let ended = state.memory.victims.len() - before;
    if ended > 0 {
        log::warn!(
            "worker {}: its memory has passed the bound, {ended} connections were ended",
            state.shared.worker
        );
    }
}

/// Notes for the simulation what each connection holds, from the connections themselves.
#[cfg(test)]
fn note_search(table: &ConnTable, state: &mut LoopState) {
    let live = table.iter().filter(|it| !it.life.is_closed());
    let held = live.map(|it| (it.id, it.charge.units())).collect();
    state.memory.searches.push(super::memory::Search { held });
}

/// Frees what no connection needs: the rings of those that are over, and the unused parts of all others. Returns what is held
/// then, with the slots.
pub(crate) fn trim(table: &mut ConnTable, state: &mut LoopState) -> BinaryHeap<(u64, u32)> {
    let mut holders = Vec::new();
    let connections = table.len();
    for connection in table.iter_mut() {
        if connection.charge.is_nothing() {
            continue;
        }
        if connection.life.is_closed() {
            connection.release_memory(state);
            continue;
        }
        connection.trim_rings(state);
        connection.keep_share(state, connections);
        holders.push((connection.charge.units(), connection.id.slot));
    }
    holders.into()
}
