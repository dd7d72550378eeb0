//! The victims of a worker whose memory passes its bound: the connections that hold most are ended.
//!
//! First all output is offered to the sockets, since mail may have put something there in this iteration, and the unused parts
//! of all rings are freed; often that is enough. Then the connection that holds most ends, then the next, until the worker is
//! an eighth below its bound. So an eighth of the bound must be filled again before the next search, and a
//! connection within its [share](super::memory::Memory::share) is never ended.

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
    let held = live.map(|it| (it.id, it.units())).collect();
    state.memory.searches.push(super::memory::Search { held });
}

/// Frees what no connection needs: the rings of those that are over, output that the sockets take, and the unused parts of
/// rings. Returns what is held then, with the slots.
pub(crate) fn trim(table: &mut ConnTable, state: &mut LoopState) -> BinaryHeap<(u64, u32)> {
    let mut holders = Vec::new();
    let connections = table.len();
    for connection in table.iter_mut() {
        if connection.units() == 0 {
            continue;
        }
        if connection.life.is_closed() {
            connection.release_memory(state);
            continue;
        }
        connection.trim_rings(state);
        connection.keep_share(state, connections);
        holders.push((connection.units(), connection.id.slot));
    }
    holders.into()
}

#[cfg(test)]
mod tests {
    use ringwheel_ringbuffer::PoolConfig;

    use crate::connection::Connection;
    use crate::connection::burdens::Burdens;
    use crate::connection::id::ConnId;
    use crate::connection::memory::Bounds;
    use crate::io::address::Address;
    use crate::io::stream::Stream;
    use crate::shared::LoopShared;
    use crate::wheel::TickClock;

    use super::*;

    const KIB: usize = 1024;

    fn worker(bytes: usize) -> (ConnTable, LoopState) {
        let (shared, _) = LoopShared::new(0, Box::new(|| Ok(())), (1, 1));
        let bounds = Bounds {
            bytes,
            ..Bounds::default()
        };
        let pool = PoolConfig::default();
        let state = LoopState::new(shared, TickClock::default(), pool, bounds, 1);
        (ConnTable::new(0), state)
    }

    /// Adds a connection that keeps input of `kept` bytes in a ring of `capacity` bytes or a little more.
    fn add(table: &mut ConnTable, state: &mut LoopState, kept: usize, capacity: usize) -> ConnId {
        let id = table.insert(0, |id| {
            Connection::new(id, 0, Stream::Detached.into(), Address::Unix(None), 0)
        });
        let connection = table.get(id).unwrap();
        let mut ring = state.pool.lend(usize::MAX);
        ring.reserve(capacity).unwrap();
        ring.extend_from_slice(&vec![0; kept]).unwrap();
        connection.input = Some(ring);
        connection.charge_rings(state);
        id
    }

    #[test]
    fn those_who_hold_most_are_ended_until_an_eighth_is_free() {
        let (mut table, mut state) = worker(800 * KIB);
        let sizes = [10, 300, 20, 100, 30, 200, 50, 110];
        let ids = sizes.map(|size| add(&mut table, &mut state, size * KIB, size * KIB));
        keep_bound(&mut table, &mut state);
        assert_eq!(state.memory.victims, [ids[1].slot]);
        for (id, size) in ids.iter().zip(sizes) {
            let connection = table.get(*id).unwrap();
            assert_eq!(connection.life.is_closed(), size == 300, "{size}");
            let cause = (size == 300).then_some(Cause::WorkerMemory);
            assert_eq!(
                (connection.cause, connection.input.is_none()),
                (cause, size == 300)
            );
        }
        let held = state.memory.held() as usize * crate::connection::memory::UNIT;
        assert!((500 * KIB..=700 * KIB).contains(&held), "{held}");
    }

    #[test]
    fn those_who_hold_subscriptions_alone_are_ended_too() {
        let (mut table, mut state) = worker(800 * KIB);
        let subscriptions = [10, 300, 2_000, 20, 500];
        let ids = subscriptions.map(|count| {
            let id = table.insert(0, |id| {
                Connection::new(id, 0, Stream::Detached.into(), Address::Unix(None), 0)
            });
            let connection = table.get(id).unwrap();
            connection.extra_or_new();
            for _ in 0..count {
                connection.charge_subscription(&mut state, 10);
            }
            assert_eq!(connection.units(), 5 * count);
            // Between two turns it takes the fast path.
            connection.burdens.set(Burdens::COMPLETING, false);
            assert!(connection.only_awaits_input());
            id
        });
        let held = |state: &LoopState| state.memory.held();
        assert!(held(&state) == 5 * 2_830 && state.memory.exceeds_bound());
        keep_bound(&mut table, &mut state);
        assert_eq!(state.memory.victims, [ids[2].slot]);
        assert_eq!(
            held(&state),
            5 * 830,
            "what the victim held is given back at once"
        );
        let other = table.get(ids[1]).unwrap();
        other.uncharge_subscription(&mut state, 10);
        other.uncharge_all_subscriptions(&mut state);
        assert_eq!((other.units(), held(&state)), (0, 5 * 530));
    }

    #[test]
    fn unused_memory_is_freed_before_anybody_is_ended() {
        let (mut table, mut state) = worker(800 * KIB);
        let hollow = add(&mut table, &mut state, 1, 700 * KIB);
        add(&mut table, &mut state, 200 * KIB, 200 * KIB);
        assert!(state.memory.exceeds_bound());
        keep_bound(&mut table, &mut state);
        assert!(state.memory.victims.is_empty());
        let hollow = table.get(hollow).unwrap();
        assert_eq!((hollow.kept(), hollow.ring_bytes()), (1, 512));
    }
}
