//! The lag of a subscriber: publications wait for it while its output is above the high-water mark, for as long as the
//! patience with it lasts.
//!
//! While they wait, their publishers are held back by [`Limits::publications`](super::limits::Limits::publications). So a
//! subscriber that reads is not driven past its output limit at once, and delays others for no longer than the patience with
//! each publication.
//!
//! A publication does not wait if it must keep its order with a message that is sent. It holds its publisher back all the same: the
//! subscriber without room keeps it counted until there is room, or the patience is over. The same holds for letters.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::Connection;
use super::due::Due;
use super::gate::Gate;
use super::limits::Limits;
use super::loop_state::LoopState;
use crate::shared::current;
use crate::wheel::TimerKey;

/// See the [module](self).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Lag {
    /// It gets each publication at once.
    #[default]
    None,
    /// Publications wait until its output has fallen to the low-water mark.
    Waiting(Patience),
    /// The patience is over: it gets each publication at once, even if that passes its output limit, until its output has fallen to the
    /// low-water mark.
    PatienceLost,
}

/// The last progress of a subscriber's output that was seen while some of it was pending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Bytes that had left; `u64::MAX` if none of it was ever seen to be pending.
    written: u64,
    /// The tick at which they were first seen to have left.
    tick: u64,
}

impl Default for Progress {
    fn default() -> Self {
        Progress {
            written: u64::MAX,
            tick: 0,
        }
    }
}

/// Number of times that a subscriber for which publications wait is looked at while the patience lasts.
const LOOKS: usize = 8;

/// The patience with a subscriber.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// The timer of the next look.
    timer: TimerKey,
    /// The last looks, in a ring.
    looks: [Look; LOOKS + 1],
    next: usize,
    /// The tick of the first look since which it holds senders.
    held_since: Option<u64>,
}

/// The time of a look at a subscriber, and a stamp of that time.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    tick: u64,
    /// 0 if there was no look.
    stamp: u64,
}

impl Patience {
    fn begin(timer: TimerKey, tick: u64) -> Self {
        let mut patience = Patience {
            timer,
            looks: [Look::default(); LOOKS + 1],
            next: 0,
            held_since: None,
        };
        patience.note(tick);
        patience
    }

    fn note(&mut self, tick: u64) {
        let stamp = current::next_stamp();
        self.looks[self.next] = Look { tick, stamp };
        self.next = (self.next + 1) % self.looks.len();
    }

    /// Notes a look, and the oldest publication that waits. True if that has waited for as long as the patience lasts, in ticks,
    /// or if a sender has been held for so long.
    pub(crate) fn look(
        &mut self,
        oldest: Option<u64>,
        holds_senders: bool,
        (tick, patience): (u64, u64),
    ) -> bool {
        let has_waited = self.has_waited(oldest, (tick, patience));
        self.note(tick);
        let held_since = holds_senders.then(|| self.held_since.unwrap_or(tick));
        self.held_since = held_since;
        has_waited || held_since.is_some_and(|since| since.saturating_add(patience) <= tick)
    }

    /// True if the oldest publication that waits was there at a look so many ticks ago.
    fn has_waited(&self, oldest: Option<u64>, (tick, time): (u64, u64)) -> bool {
        let past = self
            .looks
            .iter()
            .filter(|look| look.tick.saturating_add(time) <= tick);
        let stamp = past.map(|look| look.stamp).max().unwrap_or(0);
        oldest.is_some_and(|oldest| oldest <= stamp)
    }
}

impl Lag {
    /// True if the oldest publication that waits has waited for about an eighth of the patience, which has so many ticks.
    pub(crate) fn has_waited_for_long(
        &self,
        oldest: Option<u64>,
        (tick, patience): (u64, u64),
    ) -> bool {
        match self {
            Lag::Waiting(waiting) => waiting.has_waited(oldest, (tick, patience / LOOKS as u64)),
            _ => true,
        }
    }

    /// The timer of the term, if there is one.
    pub(crate) fn timer(&self) -> Option<TimerKey> {
        match self {
            Lag::Waiting(patience) => Some(patience.timer),
            _ => None,
        }
    }
}

impl Connection {
    /// The lag of the connection as a subscriber.
    pub(crate) fn lag(&self) -> Lag {
        self.extra.as_ref().map_or(Lag::None, |extra| extra.lag)
    }

    /// True if a publication has to wait: the output is above the high-water mark.
    pub(crate) fn must_lag(&self, limits: &Limits) -> bool {
        self.output.len() > limits.high_water
            && self.life.accepts_sends()
            && !matches!(self.lag(), Lag::PatienceLost)
            && !limits.patience.is_zero()
    }

    /// Notes the progress of the output of a subscriber, if some of it is pending.
    pub(crate) fn note_progress(&mut self, tick: u64) {
        if self.output.is_empty() {
            return;
        }
        let written = self.output.progress();
        if let Some(extra) = &mut self.extra {
            if extra.progress.written != written {
                extra.progress = Progress { written, tick };
            }
        }
    }

    /// Publications wait for the connection from now on, unless the socket takes its output after all, or its output has not moved
    /// for so long that the patience with it is over before it begins. True if they wait.
    ///
    /// The patience counts from the last progress: so subscribers that do not read, and come above the mark one after another,
    /// do not each stop a room for a whole patience.
    pub(crate) fn begin_lag(&mut self, state: &mut LoopState, limits: &Limits) -> bool {
        if !self.gate.has(Gate::PRESSURE) {
            self.hold_back(Gate::PRESSURE);
        }
        if !matches!(self.lag(), Lag::None) {
            return true;
        }
        // The kernel tells of room late, when much of its buffer is free.
        self.output.try_again();
        // A seal may hold more than before.
        self.charge_rings(state);
        self.note_progress(state.tick);
        if self.output.len() <= limits.high_water {
            return false;
        }
        if self.stuck_for(state) >= limits.patience {
            self.lose_patience(state);
            return false;
        }
        let patience = Patience::begin(self.next_look(state, limits), state.tick);
        self.extra_or_new().lag = Lag::Waiting(patience);
        true
    }

    /// Goes on waiting until the next look.
    pub(crate) fn wait_on(&mut self, state: &mut LoopState, limits: &Limits, patience: Patience) {
        let timer = self.next_look(state, limits);
        self.extra_or_new().lag = Lag::Waiting(Patience { timer, ..patience });
    }

    /// Keeps what a look has found.
    pub(crate) fn note_look(&mut self, found: Patience) {
        if let Lag::Waiting(patience) = &mut self.extra_or_new().lag {
            let timer = patience.timer;
            *patience = Patience { timer, ..found };
        }
    }

    fn next_look(&self, state: &mut LoopState, limits: &Limits) -> TimerKey {
        state.schedule(limits.patience / LOOKS as u32, Due::Lag(self.id))
    }

    /// The time since when the pending output was last seen to have moved.
    fn stuck_for(&mut self, state: &LoopState) -> Duration {
        let progress = self.extra_or_new().progress;
        state.clock.begin(state.tick - progress.tick)
    }

    /// True if the pending output has not moved for as long as the patience lasts.
    pub(crate) fn is_stuck(&mut self, state: &LoopState, limits: &Limits) -> bool {
        self.note_progress(state.tick);
        !self.output.is_empty() && self.stuck_for(state) >= limits.patience
    }

    /// Keeps what counts among the mail of its sender, until there is room or the patience is over.
    pub(crate) fn hold_sender(&mut self, mail: Arc<dyn Any + Send + Sync>) {
        let held = &mut self.extra_or_new().held_senders;
        if held.last().is_none_or(|last| !Arc::ptr_eq(last, &mail)) {
            held.push(mail);
        }
    }

    /// True if it holds senders.
    pub(crate) fn holds_senders(&self) -> bool {
        let extra = self.extra.as_ref();
        extra.is_some_and(|extra| !extra.held_senders.is_empty())
    }

    /// Lets the senders of mail go that has come without room for it: they go on when the mail is dropped, which may call back.
    pub(crate) fn release_senders(&mut self, state: &mut LoopState) {
        let Some(extra) = &mut self.extra else {
            return;
        };
        #[cfg(test)]
        {
            extra.releases += 1;
        }
        if !extra.held_senders.is_empty() {
            state.released.append(&mut extra.held_senders);
        }
    }

    /// Ends the patience with the connection, if it lags.
    pub(crate) fn lose_patience(&mut self, state: &mut LoopState) {
        self.set_lag(state, Lag::PatienceLost);
    }

    /// The connection has room, and has got all that was published.
    pub(crate) fn end_lag(&mut self, state: &mut LoopState) {
        self.set_lag(state, Lag::None);
    }

    fn set_lag(&mut self, state: &mut LoopState, lag: Lag) {
        if let Some(extra) = &mut self.extra {
            if let Some(timer) = std::mem::replace(&mut extra.lag, lag).timer() {
                state.wheel.cancel(timer);
            }
        }
        self.release_senders(state);
    }
}

#[cfg(test)]
mod tests {
    use ringwheel_ringbuffer::PoolConfig;

    use super::*;
    use crate::connection::id::ConnId;
    use crate::connection::memory::Bounds;
    use crate::io::address::Address;
    use crate::io::stream::Stream;
    use crate::shared::LoopShared;
    use crate::wheel::TickClock;

    fn worker() -> (Connection, LoopState) {
        let (shared, _) = LoopShared::new(0, Box::new(|| Ok(())), (1, 1));
        let (clock, bounds) = (TickClock::default(), Bounds::default());
        let mut state = LoopState::new(shared, clock, PoolConfig::default(), bounds, 1);
        let id = ConnId::in_slot(0);
        let mut connection =
            Connection::new(id, 0, Stream::Detached.into(), Address::Unix(None), 0);
        connection
            .output
            .borrow_ring(&mut state.pool, usize::MAX - 512);
        (connection, state)
    }

    fn limits() -> Limits {
        Limits::default().low_water(100).high_water(300)
    }

    #[test]
    fn it_is_there_above_the_high_water_mark() {
        let ((mut connection, mut state), limits) = (worker(), limits());
        connection.output.put_slice(&[0; 300]);
        assert!(!connection.must_lag(&limits));
        connection.output.put_slice(&[0]);
        assert!(connection.must_lag(&limits));
        assert!(!connection.must_lag(&limits.patience(Duration::ZERO)));
        connection.begin_lag(&mut state, &limits);
        assert!(connection.gate.has(Gate::PRESSURE) && state.wheel.len() == 1);
        connection.output.take();
        connection.output.put_slice(&[0; 300]);
        assert!(!connection.must_lag(&limits));
        connection.end_lag(&mut state);
        assert!(matches!(connection.lag(), Lag::None) && state.wheel.is_empty());
    }

    #[test]
    fn a_subscriber_with_which_the_patience_is_lost_does_not_lag() {
        let ((mut connection, mut state), limits) = (worker(), limits());
        connection.output.put_slice(&[0; 400]);
        connection.begin_lag(&mut state, &limits);
        connection.lose_patience(&mut state);
        assert!(!connection.must_lag(&limits) && state.wheel.is_empty());
    }

    #[test]
    fn the_patience_counts_from_the_last_progress() {
        let limits = limits();
        for (stuck_for, left) in [(0, 1_000), (600, 400), (1_000, 0), (5_000, 0)] {
            let (mut connection, mut state) = worker();
            connection.extra_or_new();
            state.set_now(Duration::from_millis(7));
            connection.output.put_slice(&[0; 400]);
            connection.note_progress(state.tick);
            state.set_now(Duration::from_millis(7 + stuck_for));
            connection.note_progress(state.tick);
            let waits = connection.begin_lag(&mut state, &limits);
            assert_eq!(waits, left > 0);
            assert_eq!(matches!(connection.lag(), Lag::PatienceLost), left == 0);
            let due = (left > 0).then_some(7 + stuck_for + 125);
            assert_eq!(state.wheel.next_expiry(), due);
        }
    }

    #[test]
    fn it_is_stuck_whose_output_has_not_moved_for_the_patience() {
        let ((mut connection, mut state), limits) = (worker(), limits());
        connection.output.put_slice(&[0; 400]);
        connection.begin_lag(&mut state, &limits);
        assert!(!connection.is_stuck(&state, &limits));
        state.set_now(limits.patience);
        assert!(connection.is_stuck(&state, &limits));
        connection.output.take();
        assert!(!connection.is_stuck(&state, &limits));
    }

    #[test]
    fn a_publication_is_late_that_has_waited_for_all_looks() {
        let ((mut connection, mut state), limits) = (worker(), limits());
        connection.output.put_slice(&[0; 400]);
        let published = current::next_stamp();
        connection.begin_lag(&mut state, &limits);
        let Lag::Waiting(mut patience) = connection.lag() else {
            panic!("it waits");
        };
        // The patience is 80 ticks.
        for tick in (10..80).step_by(10) {
            assert!(!patience.look(Some(published), false, (tick, 80)));
        }
        let later = current::next_stamp();
        assert!(patience.look(Some(published), false, (80, 80)));
        assert!(!patience.look(Some(later), false, (90, 80)));
        assert!(!patience.look(None, false, (1_000, 80)));
        let mut held = (1_000..).step_by(10);
        let is_late = |tick: &u64| patience.look(None, true, (*tick, 80));
        assert_eq!(held.find(is_late), Some(1_080));
    }

    #[test]
    fn senders_are_held_once_each_until_there_is_room() {
        let ((mut connection, mut state), limits) = (worker(), limits());
        connection.output.put_slice(&[0; 400]);
        connection.begin_lag(&mut state, &limits);
        let (first, other) = (Arc::new(1), Arc::new(2));
        for mail in [&first, &first, &other] {
            connection.hold_sender(mail.clone());
        }
        assert_eq!(
            (Arc::strong_count(&first), Arc::strong_count(&other)),
            (2, 2)
        );
        connection.end_lag(&mut state);
        state.released.clear();
        assert_eq!(
            (Arc::strong_count(&first), Arc::strong_count(&other)),
            (1, 1)
        );
        assert!(!connection.holds_senders());
    }
}
