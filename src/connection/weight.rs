//! The weight of a connection: one whose turn did much work is heavy, and takes its turns behind those that do little. A new connection
//! counts as neither, and takes its turns between these and the heavy ones.

use std::time::Duration;

use super::Connection;
use super::burdens::Burdens;
use super::loop_state::LoopState;

/// The time for which a connection stays heavy after a turn with much work. Without it a peer could send one
/// short message between two floods, and have each flood handled among the light connections. The simulation has a shorter time.
const MEMORY: Duration = if cfg!(test) {
    Duration::from_millis(20)
} else {
    Duration::from_secs(10)
};

/// Number of messages after which a connection is known well enough to be served at once.
const PROVEN: u64 = 4;

impl Connection {
    /// True if the connection is too new to be known as light or heavy. It takes its turns behind those that are known: each of
    /// many new connections could have one long turn among the light ones, before it counts as heavy.
    #[inline]
    pub(crate) fn is_unproven(&self) -> bool {
        self.messages_in < PROVEN
    }

    /// Notes the work of the turn so far, and makes the connection heavy or light accordingly.
    pub(crate) fn note_turn(&mut self, state: &LoopState) {
        if state.budget.is_heavy() {
            return self.note_heavy_turn(state);
        }
        let extra = self.extra.as_ref();
        if extra.is_none_or(|extra| extra.heavy_until <= state.tick) {
            self.burdens.set(Burdens::HEAVY, false);
        }
    }

    /// Notes that a turn does much work.
    #[cold]
    pub(crate) fn note_heavy_turn(&mut self, state: &LoopState) {
        match state.budget.is_heavy_by_work() {
            true => self.become_heavy(state),
            false => self.note_slow_turn(state),
        }
    }

    /// Notes that a turn has taken long. One alone proves nothing: another program may have had the processor meanwhile. The second
    /// one makes the connection heavy.
    #[cold]
    pub(crate) fn note_slow_turn(&mut self, state: &LoopState) {
        let was_slow = self.extra_or_new().slow_until > state.tick;
        self.extra_or_new().slow_until = state.deadline(MEMORY);
        if was_slow {
            self.become_heavy(state);
        }
    }

    fn become_heavy(&mut self, state: &LoopState) {
        self.burdens.set(Burdens::HEAVY, true);
        self.extra_or_new().heavy_until = state.deadline(MEMORY);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ringwheel_ringbuffer::PoolConfig;

    use super::*;
    use crate::connection::id::ConnId;
    use crate::connection::memory::Bounds;
    use crate::io::address::Address;
    use crate::io::stream::Stream;
    use crate::shared::LoopShared;
    use crate::wheel::TickClock;

    const BUDGET: usize = 1_000;

    fn worker() -> (LoopState, Connection) {
        let (shared, _) = LoopShared::new(0, Box::new(|| Ok(())), (1, 1));
        let (clock, pool) = (TickClock::default(), PoolConfig::default());
        let state = LoopState::new(shared, clock, pool, Bounds::default(), BUDGET);
        let id = ConnId::in_slot(0);
        let stream = Stream::Detached.into();
        (
            state,
            Connection::new(id, 0, stream, Address::Unix(None), 0),
        )
    }

    /// A turn of one call that takes `time`, and does `work` besides.
    fn turn(
        state: &mut LoopState,
        connection: &mut Connection,
        time: Duration,
        work: usize,
    ) -> bool {
        let start = Instant::now();
        state.budget.begin();
        state.budget.begin_measuring(Some(start));
        state.budget.charge(work);
        state.budget.look(Some(start + time));
        connection.note_turn(state);
        connection.burdens.has(Burdens::HEAVY)
    }

    #[test]
    fn much_work_makes_heavy_at_once_and_time_with_the_second_turn() {
        let (mut state, mut connection) = worker();
        assert!(turn(
            &mut state,
            &mut connection,
            Duration::ZERO,
            BUDGET / 8 + 1
        ));
        let (mut state, mut connection) = worker();
        let slow = Duration::from_millis(1);
        assert!(!turn(&mut state, &mut connection, slow, 10));
        assert!(!turn(&mut state, &mut connection, Duration::ZERO, 10));
        assert!(turn(&mut state, &mut connection, slow, 10));
    }

    /// The program may have had no processor in both turns.
    #[test]
    fn slow_turns_that_are_far_apart_do_not_make_heavy() {
        let (mut state, mut connection) = worker();
        let slow = Duration::from_millis(1);
        assert!(!turn(&mut state, &mut connection, slow, 10));
        state.set_now(MEMORY + Duration::from_millis(1));
        assert!(!turn(&mut state, &mut connection, slow, 10));
        assert!(turn(&mut state, &mut connection, slow, 10));
    }
}
