//! The state that all connections of one worker share.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringwheel_ringbuffer::{PoolConfig, RingPool};

use crate::connection::Connection;
use crate::connection::callback_time::CallbackTime;
use crate::connection::due::Due;
use crate::connection::memory::{Bounds, Memory};
use crate::connection::post_pace::PostPace;
use crate::connection::turn_lists::TurnLists;
use crate::protocol::TurnBudget;
use crate::shared::LoopShared;
use crate::wheel::{TickClock, TimerKey, Wheel};

/// The parts of a worker that callbacks reach: the time, the wheel, the rings and the lists of turns.
pub(crate) struct LoopState {
    pub(crate) shared: Arc<LoopShared>,
    pub(crate) clock: TickClock,
    /// Time since the loop started, as of this iteration.
    pub(crate) now: Duration,
    /// `now` in ticks of the wheel.
    pub(crate) tick: u64,
    /// True if the loop did not sleep before this iteration, because work was left or a timer was overdue: peers may have
    /// been kept waiting.
    pub(crate) was_behind: bool,
    /// The work that the current turn may still do.
    pub(crate) budget: TurnBudget,
    /// True if long turns are charged with the time that they take. The loop of a server switches it on; a simulation, whose
    /// outcome must not depend on the machine's speed, leaves it off.
    pub(crate) measures_time: bool,
    /// The number of letters after which a turn ends.
    pub(crate) post_pace: PostPace,
    /// The time of the mail that is being carried out.
    pub(crate) mail_time: CallbackTime,
    pub(crate) wheel: Wheel<Due>,
    pub(crate) pool: RingPool,
    pub(crate) memory: Memory,
    /// The connections that wait for a turn.
    pub(crate) turns: TurnLists,
    /// Mail that connections without room have held, and that is dropped at the end of the iteration.
    pub(crate) released: Vec<Arc<dyn Any + Send + Sync>>,
}

impl LoopState {
    pub(crate) fn new(
        shared: Arc<LoopShared>,
        clock: TickClock,
        pool: PoolConfig,
        bounds: Bounds,
        budget: usize,
    ) -> Self {
        LoopState {
            shared,
            clock,
            now: Duration::ZERO,
            tick: 0,
            was_behind: false,
            budget: TurnBudget::new(budget),
            measures_time: false,
            post_pace: PostPace::default(),
            mail_time: CallbackTime::ENDLESS,
            wheel: Wheel::new(),
            pool: RingPool::new(pool),
            memory: Memory::new(bounds),
            turns: TurnLists::default(),
            released: Vec::new(),
        }
    }

    /// Sets the loop's time, which never goes back.
    #[inline]
    pub(crate) fn set_now(&mut self, now: Duration) {
        if now > self.now {
            self.now = now;
            self.tick = self.clock.now(now);
        }
    }

    /// Charges the turn with the time since the clock was last looked at in it.
    #[cold]
    pub(crate) fn look_at_clock(&mut self) {
        let now = self.measures_time.then(Instant::now);
        self.budget.look(now);
    }

    /// Begins the time of callbacks that are no turn.
    pub(crate) fn begin_callbacks(&self) -> CallbackTime {
        CallbackTime::begin(self.measures_time)
    }

    /// Begins a turn of a connection.
    #[inline]
    pub(crate) fn begin_turn(&mut self) {
        self.budget.begin();
        if self.budget.is_late() {
            let now = self.measures_time.then(Instant::now);
            self.budget.cut(now);
        } else if self.budget.measures_next_call() {
            let now = self.measures_time.then(Instant::now);
            self.budget.begin_measuring(now);
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

    /// Has a connection wait for a turn, and charges it with what it holds by now: mail may reach many before the first of them has
    /// its turn.
    #[inline]
    pub(crate) fn queue(&mut self, connection: &mut Connection) {
        self.turns.add(connection);
        connection.charge_rings(self);
    }

    /// Has a connection wait for its next turn, because the last one has left work.
    #[cold]
    pub(crate) fn queue_unfinished(&mut self, connection: &mut Connection) {
        self.turns.add_unfinished(connection);
        connection.charge_rings(self);
    }

    /// Has a light connection wait for the next iteration, because the turns of others have filled this one.
    #[cold]
    pub(crate) fn defer(&mut self, connection: &mut Connection) {
        self.turns.add_deferred(connection);
    }

    /// Has a connection wait that is too new to be served at once.
    pub(crate) fn queue_unproven(&mut self, connection: &mut Connection) {
        self.turns.add_unproven(connection);
    }
}
