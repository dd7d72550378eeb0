//! What all connections of one worker share.

use std::sync::Arc;
use std::time::Duration;

use ringwheel_ringbuffer::{PoolConfig, RingPool};

use crate::connection::Connection;
use crate::connection::due::Due;
use crate::connection::marks::Marks;
use crate::shared::LoopShared;
use crate::wheel::{TickClock, TimerKey, Wheel};

/// The parts of a worker that callbacks reach: its time, its wheel, its rings, its ready list.
pub(crate) struct LoopState {
    pub(crate) shared: Arc<LoopShared>,
    pub(crate) clock: TickClock,
    /// Time since the loop started, as of this iteration.
    pub(crate) now: Duration,
    /// The same in ticks.
    pub(crate) tick: u64,
    /// The loop had not slept before this iteration: it had work left, or was late for a timer.
    pub(crate) was_behind: bool,
    /// Messages, and pieces of such, that were delivered to any connection.
    pub(crate) delivered: u64,
    pub(crate) wheel: Wheel<Due>,
    pub(crate) pool: RingPool,
    /// Slots of connections that have work left which no event will announce.
    pub(crate) ready: Vec<u32>,
}

impl LoopState {
    pub(crate) fn new(shared: Arc<LoopShared>, clock: TickClock, pool: PoolConfig) -> Self {
        LoopState {
            shared,
            clock,
            now: Duration::ZERO,
            tick: 0,
            was_behind: false,
            delivered: 0,
            wheel: Wheel::new(),
            pool: RingPool::new(pool),
            ready: Vec::new(),
        }
    }

    /// Moves the loop's time; it never goes back.
    #[inline]
    pub(crate) fn set_now(&mut self, now: Duration) {
        if now > self.now {
            self.now = now;
            self.tick = self.clock.now(now);
        }
    }

    /// The first tick that lies `after` from now or later.
    pub(crate) fn deadline(&self, after: Duration) -> u64 {
        self.clock.deadline(self.now.saturating_add(after))
    }

    pub(crate) fn schedule(&mut self, after: Duration, due: Due) -> TimerKey {
        let deadline = self.deadline(after);
        self.wheel.insert(deadline, due)
    }

    /// Puts a connection on the ready list, once.
    #[inline]
    pub(crate) fn queue(&mut self, connection: &mut Connection) {
        if !connection.marks.has(Marks::QUEUED) {
            connection.marks.set(Marks::QUEUED, true);
            self.ready.push(connection.id.slot);
        }
    }
}
