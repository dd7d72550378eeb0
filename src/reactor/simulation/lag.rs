//! The checks of subscribers that lag: none is driven past its output limit before the patience with it is over, and nothing
//! waits for one for longer.

use std::time::Duration;

use crate::connection::Connection;
use crate::connection::close_reason::Cause;
use crate::connection::gate::Gate;
use crate::connection::lag::Lag;
use crate::connection::marks::Marks;

use super::ledger::{Address, Ledger};
use super::mail::CLOSE;
use super::network::Pipe;
use super::world::World;
use super::{PATIENCE, Random, Tally};

/// A connection as a subscriber, as of the last check.
#[derive(Default)]
pub(super) struct Subscriber {
    /// The time from which on the patience with it counts, while it lags.
    since: Option<Duration>,
    /// Bytes that had left, and the time of that.
    moved: (u64, Duration),
    has_lost_patience: bool,
    has_ended: bool,
    /// The stamp of the oldest publication that waits for it, and the time at which it was first seen to be that.
    behind: Option<(u64, Duration)>,
    /// The time at which it was first seen to hold senders, and the number of times that it had let others go.
    holds_since: Option<(Duration, u64)>,
    /// Number of its callbacks, of bytes received, of messages dropped, and of visits to all.
    calls: u64,
    received: u64,
    dropped: u64,
    visits: u64,
}

impl Subscriber {
    /// Checks and notes the state of a connection after an iteration; `None` if it is gone.
    pub(super) fn check(
        &mut self,
        number: usize,
        connection: Option<&Connection>,
        (waits_since, gives_up): (Option<u64>, bool),
        (ledger, pipe): (&mut Ledger, &Pipe),
        longest_sleep: Duration,
    ) {
        let extra = connection.and_then(|connection| connection.extra.as_ref());
        let dropped = extra.map_or(self.dropped, |extra| extra.dropped);
        // It may be told of its end in a later iteration.
        let closed = ledger.records[number].closed.map(|(cause, _)| cause);
        let cause = connection
            .and_then(|connection| connection.cause)
            .or(closed);
        let is_new = !std::mem::replace(&mut self.has_ended, cause.is_some());
        let has_overflowed = is_new && cause == Some(Cause::OutputLimit);
        if has_overflowed || dropped > self.dropped {
            let is_fair = gives_up || self.may_overflow(number, ledger, pipe);
            assert!(
                is_fair,
                "{number} is driven past its output limit by publications"
            );
        }
        self.dropped = dropped;
        self.calls = ledger.records[number].calls;
        self.visits = ledger.visits;
        self.received = pipe.received;
        let sent = connection.map_or(pipe.sent, |connection| connection.output.progress());
        if self.moved.0 != sent {
            self.moved = (sent, ledger.now);
        }
        let Some(connection) = connection.filter(|connection| connection.life.is_active()) else {
            return;
        };
        self.note_lag(number, connection, ledger);
        let time = (ledger.now, longest_sleep);
        self.check_patience(number, connection, waits_since, time);
        self.check_senders(number, connection, &mut ledger.tally, time);
    }

    /// True if a message may have found no room since the last check: the patience was over, or something was sent by other
    /// means, in front of which all publications are sent.
    fn may_overflow(&self, number: usize, ledger: &Ledger, pipe: &Pipe) -> bool {
        let record = &ledger.records[number];
        // The patience counts in whole ticks.
        let tick = Duration::from_millis(1);
        let is_past = |since: Duration| since + PATIENCE <= ledger.now + tick;
        let was_over = self.since.is_some_and(is_past) || is_past(self.moved.1);
        let may_get = |to: Address| match to {
            Address::One(to) => to == number,
            Address::All { service } => service == record.service,
            Address::Topic { .. } => false,
        };
        let is_under_way = |it: &super::ledger::Mailing| {
            may_get(it.to) && !it.is_refused && !it.is_done && it.fate.is_none()
        };
        self.has_lost_patience
            || was_over
            || record.calls != self.calls
            || pipe.received != self.received
            || ledger.visits != self.visits
            || record.requests[CLOSE].is_some()
            || ledger.mail.iter().any(is_under_way)
    }

    fn note_lag(&mut self, number: usize, connection: &Connection, ledger: &mut Ledger) {
        let had_lost_patience = self.has_lost_patience;
        self.has_lost_patience = matches!(connection.lag(), Lag::PatienceLost);
        let may_recover = connection.gate.has(Gate::PRESSURE);
        assert!(
            may_recover || !self.has_lost_patience,
            "a subscriber with room is not waited for again"
        );
        if self.has_lost_patience && !had_lost_patience {
            ledger.tally.count("patience with a subscriber lost");
        }
        match connection.lag() {
            Lag::Waiting(_) if self.since.is_none() => {
                ledger.tally.count("subscriber lags");
                self.since = Some(self.moved.1);
                ledger.records[number].has_lagged = true;
            }
            Lag::Waiting(_) => {}
            Lag::PatienceLost => {
                self.since = None;
                ledger.records[number].has_lagged = true;
            }
            Lag::None => self.since = None,
        }
    }

    /// Checks that senders are held only by a connection without room, and for little longer than the patience lasts.
    fn check_senders(
        &mut self,
        number: usize,
        connection: &Connection,
        tally: &mut Tally,
        (now, longest_sleep): (Duration, Duration),
    ) {
        if !connection.holds_senders() {
            self.holds_since = None;
            return;
        }
        assert!(
            matches!(connection.lag(), Lag::Waiting(_)),
            "{number} holds senders, although it is not waited for"
        );
        let releases = connection.extra.as_ref().map_or(0, |extra| extra.releases);
        let before = self.holds_since.filter(|(_, before)| *before == releases);
        if before.is_none() {
            tally.count("sender held");
        }
        let (since, _) = *self.holds_since.insert(before.unwrap_or((now, releases)));
        let most = 2 * PATIENCE + 2 * longest_sleep + Duration::from_millis(1);
        assert!(now < since + most, "{number} holds senders since {since:?}");
    }

    /// Checks that publications wait only for a connection without room, and for little longer than the patience lasts.
    fn check_patience(
        &mut self,
        number: usize,
        connection: &Connection,
        waits_since: Option<u64>,
        (now, longest_sleep): (Duration, Duration),
    ) {
        let Some(stamp) = waits_since else {
            self.behind = None;
            return;
        };
        let is_listed = connection.marks.has(Marks::ON_READY_LIST);
        let has_room = !connection.gate.has(Gate::PRESSURE) || connection.output.is_empty();
        assert!(
            is_listed || !has_room,
            "publications wait for {number}, which has room"
        );
        let before = self.behind.filter(|(before, _)| *before == stamp);
        let (_, since) = *self.behind.insert(before.unwrap_or((stamp, now)));
        // It may have been published just after a look, and each look may be late by a sleep of the loop.
        let most = 2 * PATIENCE + 2 * longest_sleep + Duration::from_millis(1);
        assert!(
            now < since + most,
            "publications wait for {number}, which has no room, since {since:?}"
        );
    }
}

/// Decides if a topic is flooded in the run of a seed, and on what is published there. It is a generator of its own, so that
/// the other runs do not depend on it.
pub(super) fn flood(seed: u64) -> Option<Random> {
    let mut random = Random(seed ^ 0x000f_100d);
    random.one_in(4).then_some(random)
}

impl World {
    /// Lets everybody read until no publication waits, and checks that no publisher is held back then.
    pub(super) fn let_publishers_go(&mut self) {
        let mut rounds = 0;
        // A subscriber may hold the sender of a publication that it has got, until there is room.
        let holds = |world: &World| world.reactor.table.iter().any(Connection::holds_senders);
        while self.shared.letters() > 0 || self.shared.has_requests() || holds(self) {
            self.pass(Duration::from_millis(1));
            self.peers_read(true);
            self.iterate();
            rounds += 1;
            assert!(rounds < 1_000, "publications wait although everybody reads");
        }
        for peer in &self.peers {
            let connection = self.reactor.table.get(peer.id);
            let is_held = connection.as_ref().is_some_and(|connection| {
                connection.life.is_active() && connection.gate.has(Gate::POSTED)
            });
            assert!(
                !is_held,
                "{} is held back although its publications are done",
                peer.number
            );
            let extra = connection.and_then(|connection| connection.extra.as_ref());
            let control = extra.and_then(|extra| extra.control.as_ref());
            assert!(
                control.is_none_or(|control| !control.exceeds((0, 0)) && !control.is_holding()),
                "mail of {} counts although it is done",
                peer.number
            );
        }
    }
}
