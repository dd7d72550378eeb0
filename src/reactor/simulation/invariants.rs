//! The invariants that are checked after each iteration.

use crate::connection::burdens::Burdens;
use crate::connection::gate::Gate;
use crate::connection::lifecycle::Stage;
use crate::connection::loop_state::LoopState;
use crate::connection::marks::Marks;
use crate::connection::{Connection, Draining};
use crate::shared::sync::atomic::Ordering;

use super::deadlines::{check_deadlines, check_timeouts, note_message};
use super::endings::{check_end_for_handler, check_lingering, loses_last_words, tally_end};
use super::ledger::{Address, Record, ticks, ticks_up};
use super::mail::{ABORT, CLOSE as CLOSE_REQUEST, DRAW, RESUME};
use super::network::Pipe;
use super::peer::Peer;
use super::sealing::{check_refusal, check_sealed, is_refused};
use super::world::World;
use super::*;

impl World {
    /// Checks the invariants between two iterations.
    pub(super) fn check(&mut self) {
        let violation = self.book.open().violation.take();
        if let Some(violation) = violation {
            panic!("{violation}");
        }
        let now = self.now();
        let reads_mail = self.shared.has_mail() || self.shared.letters() == 0;
        let mut timers = 0;
        let held_back = std::mem::take(&mut self.reactor.state.memory.held_back);
        let gives_up = self.shared.given_up.swap(0, Ordering::Relaxed) > 0;
        if gives_up {
            self.book.open().tally.count("waited for nobody");
        }
        let mut index = 0;
        while index < self.peers.len() {
            let peer = &mut self.peers[index];
            let ledger = &mut *self.book.open();
            let pipe = peer.pipe.clone();
            let pipe = pipe.borrow();
            let connection = self.reactor.table.get(peer.id);
            let waits_since = connection.as_deref().and_then(|connection| {
                let service = &self.reactor.services[connection.service as usize].service;
                service.oldest_waiting(connection)
            });
            // A subscriber that lags when its drain begins is waited for no longer.
            let begins_to_drain = self.drain_due.is_some() && !peer.is_draining;
            peer.subscriber.check(
                peer.number,
                connection.as_deref(),
                (waits_since, gives_up || begins_to_drain),
                (ledger, &pipe),
                self.longest_sleep,
            );
            let record = &mut ledger.records[peer.number];
            let has_ended = record.closed.is_some() && !std::mem::replace(&mut peer.is_over, true);
            if has_ended && !peer.is_told_late {
                check_end_for_handler(peer, record, &pipe, &self.timeouts);
            }
            assert_eq!(
                connection.is_none(),
                pipe.dropped,
                "a connection lives exactly as long as its socket"
            );
            let Some(connection) = connection else {
                assert_eq!(
                    record.closed.is_some(),
                    record.is_open,
                    "{}: one close for each open",
                    peer.number
                );
                let is_drain_over = self.drain_due.is_some_and(|drain| drain.due <= now);
                let may_be_victim = !self.reactor.state.memory.searches.is_empty();
                if !may_be_victim && !peer.is_told_late {
                    check_lingering(peer, record, &pipe, &self.timeouts, (now, is_drain_over));
                }
                assert!(
                    is_drain_over
                        || may_be_victim
                        || peer.is_told_late
                        || !loses_last_words(record, &pipe, now),
                    "{}: the last words to a refused peer are lost",
                    peer.number
                );
                if !peer.is_told_late {
                    check_refusal(peer.number, &pipe, &mut ledger.tally);
                }
                record.is_gone = true;
                record.topics.clear();
                tally_end(
                    &mut ledger.tally,
                    peer,
                    &ledger.records[peer.number],
                    &pipe,
                    now,
                );
                drop(pipe);
                self.departed.push(self.peers.swap_remove(index));
                continue;
            };
            timers += count_timers(connection);
            // A connection may be held back for the memory and read again within one iteration.
            let was_held_back = held_back.contains(&peer.id);
            // A drain that begins late in an iteration has every socket read again.
            let is_draining = connection.draining != Draining::No;
            let begins_to_drain = is_draining && !std::mem::replace(&mut peer.is_draining, true);
            // The last look at the input before a deadline may find more than the budget of a turn allows.
            let has_more = connection.has_unheard_input();
            if was_held_back || begins_to_drain || has_more {
                peer.unheard_at = now;
            }
            let most = ledger.output_limit + OWN_ROOM + LAST_WORDS_ROOM;
            assert!(connection.output.len() <= most);
            let is_told = connection.marks.has(Marks::TOLD_OF_END);
            if is_told || connection.burdens.has(Burdens::ENDING) {
                // Also where there is no handler to be told.
                record.topics.clear();
            }
            check_state(connection, record);
            check_requests(connection, record, reads_mail, &mut ledger.tally);
            if !connection.life.is_closed() {
                // What a connection has given up at its end is not counted any more.
                check_counters(connection, record, &pipe);
            }
            check_close(peer, connection, record, &pipe);
            check_wakefulness(peer, connection, &pipe, &self.reactor.state);
            check_sealed(peer, connection, &pipe, now, &mut ledger.tally);
            check_deadlines(connection, record, now);
            let time = (now, self.longest_sleep);
            // One that lingers is given more time only if the loop has stood still.
            let ticks_of_gap = ticks(now) - ticks(now - self.last_gap);
            let is_held_up = ticks_of_gap >= ticks(CLOSE) / 8;
            let may_be_renewed = is_held_up || connection.life.stage() != Stage::Lingering;
            let was_behind = self.reactor.state.was_behind && may_be_renewed;
            let service = &self.reactor.services[connection.service as usize].service;
            let is_within = connection.kept() > 0 || service.check_within_message(connection);
            note_message(peer, connection, is_within, now);
            check_timeouts(
                peer,
                connection,
                record,
                &pipe,
                &self.timeouts,
                was_behind,
                time,
            );
            index += 1;
        }
        assert_eq!(self.reactor.table.len(), self.peers.len());
        self.book.open().check_doubts();
        self.check_ready_list();
        self.check_drain();
        let slowing = self.check_memory();
        self.check_timers(timers + slowing);
        self.check_mail();
    }

    /// Checks that the ready list has nothing but connections that live, each once: another may take the place of one that is
    /// gone, and would have its turns.
    fn check_ready_list(&mut self) {
        let reactor = &mut self.reactor;
        for (index, slot) in reactor.state.turns.ready.iter().enumerate() {
            let is_again = reactor.state.turns.ready[..index].contains(slot);
            let connection = reactor.table.in_slot(*slot);
            assert!(
                !is_again && connection.is_some(),
                "the ready list has the slot {slot} twice, or without a connection"
            );
        }
    }

    /// Notes, before an iteration, the connections that have ended already, and whose last callbacks are still to come.
    pub(super) fn note_late_ends(&mut self) {
        for peer in &mut self.peers {
            let connection = self.reactor.table.get(peer.id);
            if connection.is_some_and(|it| it.burdens.has(Burdens::ENDING)) {
                self.book.open().tally.count("last callbacks wait");
                peer.is_told_late = true;
            }
        }
    }

    /// Notes, before timers fire, the connections whose input was not looked at: their deadlines are put off.
    pub(super) fn note_unheard(&mut self) {
        let now = self.now();
        for peer in &mut self.peers {
            self.book.open().records[peer.number].heard_at = peer.pipe.borrow().heard_at;
            if let Some(connection) = self.reactor.table.get(peer.id) {
                peer.is_wanted = connection.gate.is_open();
                if connection.has_unheard_input() {
                    peer.unheard_at = now;
                }
                if !connection.gate.is_open() {
                    peer.held_at = now;
                }
                peer.is_excused = connection.marks.has(Marks::HELD_BACK);
            }
        }
    }

    /// Checks that no timer is left behind, and that none is late.
    fn check_timers(&mut self, of_connections: usize) {
        let now = self.now();
        let is_draining = self
            .drain_due
            .is_some_and(|pending| pending.last_tick() > ticks(now));
        let is_drained = self.drain_due.is_some() && !is_draining;
        let is_ending = |it: &Connection| it.burdens.has(Burdens::ENDING);
        assert!(
            !is_drained || self.reactor.table.iter().all(is_ending),
            "a drain outlasts its deadline"
        );
        let tasks = self.reactor.tasks.iter().count();
        let live = self.reactor.state.wheel.len();
        let ticks_set = self.book.open().ticks.iter().flatten().count();
        let expected = of_connections + tasks + ticks_set;
        assert!(
            live == expected || (self.drain_due.is_some() && live <= expected + 3),
            "{live} timers live, {expected} are known"
        );
        let ledger = self.book.open();
        for task in ledger.tasks.iter().filter(|task| !task.is_cancelled) {
            assert!(
                task.is_done || task.pending.last_tick() > ticks(now),
                "a task is late: {:?}",
                task.pending
            );
        }
        for pending in ledger.ticks.iter().flatten() {
            assert!(
                pending.last_tick() > ticks(now),
                "a tick is late: {pending:?}"
            );
        }
        // The loop sleeps no longer than until the next timer.
        let next = self.reactor.state.wheel.next_expiry();
        let sleep = self.reactor.timeout(|| now);
        assert!(
            next.is_none()
                || sleep.is_some_and(
                    |sleep| ticks_up(now + sleep) <= next.unwrap_or(0).max(ticks_up(now))
                )
        );
    }

    /// Checks the publications that were delivered in this iteration.
    fn check_mail(&mut self) {
        let mut ledger = self.book.open();
        let ledger = &mut *ledger;
        let (letters, bytes) = self.mailbox;
        assert!(self.shared.letters() <= letters && self.shared.letter_bytes() <= bytes);
        let resting = self.shared.backlog.resting.load(Ordering::Relaxed);
        let has_rest = self.shared.letters() > resting || self.shared.has_requests();
        assert!(
            self.sleeps || has_rest,
            "publications that wait for slow subscribers keep the loop awake"
        );
        let is_late = self.shared.backlog.is_late();
        if is_late {
            ledger.tally.count("worker is late");
        }
        assert!(
            !is_late || self.shared.letters() > resting,
            "the worker is late with nothing"
        );
        for mailing in &mut ledger.mail {
            let is_publication = matches!(mailing.to, Address::Topic { .. });
            if mailing.sure.is_some() || !mailing.is_done || !is_publication {
                continue;
            }
            let table = &mut self.reactor.table;
            let can_still_hear = |number: &usize| {
                let peer = self.peers.iter().find(|peer| peer.number == *number);
                peer.and_then(|peer| table.get(peer.id))
                    .is_some_and(|connection| is_open_to_sends(connection))
            };
            let is_addressed = |number: &usize| mailing.except != Some(*number);
            let subscribers: Vec<usize> =
                mailing.may.iter().copied().filter(is_addressed).collect();
            let must = mailing.must.iter().copied().filter(is_addressed);
            let sure: Vec<usize> = must.filter(can_still_hear).collect();
            if let Some(published) = mailing.published.filter(|_| !mailing.is_refused) {
                let reached = (published.delivered + published.dropped) as usize;
                assert!(
                    sure.len() <= reached && reached <= subscribers.len(),
                    "{published:?} to {:?} of the subscribers {subscribers:?}, at least {sure:?}, posted by a callback: {}",
                    mailing.to,
                    mailing.is_local
                );
                let too_late = subscribers.len() - reached;
                for (count, what) in [
                    (published.delivered, "publication delivered"),
                    (published.dropped, "publication dropped"),
                    (too_late as u64, "subscriber too late"),
                ] {
                    if count > 0 {
                        ledger.tally.count(what);
                    }
                }
            }
            mailing.sure = Some(sure);
        }
    }
}

/// Checks the state of a connection between iterations: its gate, its limits, its buffers.
fn check_state(connection: &Connection, record: &Record) {
    let stage = connection.life.stage();
    let is_over = stage != Stage::Open;
    let must_know = record.is_open && is_over;
    // Mail of an `on_close` may end another connection, whose turn is next. The last callbacks may have to wait, too.
    let is_ending = connection.burdens.has(Burdens::ENDING);
    let is_listed = connection.marks.has(Marks::ON_READY_LIST) || is_ending;
    assert!(
        record.closed.is_some() == must_know || (must_know && is_listed),
        "the handler is told of the end when it can hear no more, not before and not after"
    );
    assert!(
        !matches!(stage, Stage::Closing | Stage::Closed) || is_listed,
        "the stage between iterations is {stage:?}"
    );
    let has_sent_all = connection.output.is_empty();
    let is_done = match stage {
        Stage::Open => connection.life.is_over(),
        Stage::Flushing => has_sent_all && !connection.output.has_end_to_say(),
        Stage::Lingering => connection.life.peer_has_ended(),
        _ => false,
    };
    assert!(
        !is_done || connection.marks.has(Marks::ON_READY_LIST),
        "the stage {stage:?} is over, but not left"
    );
    let is_closing = !connection.life.takes_input();
    assert_eq!(connection.gate.has(Gate::CLOSING), is_closing);
    let is_above = connection.output.len() > HIGH_WATER;
    assert!(
        !is_above || is_closing || connection.gate.has(Gate::PRESSURE),
        "output is above the high-water mark, but input is not held back"
    );
    let is_told = connection.marks.has(Marks::ON_READY_LIST) || !connection.output.is_empty();
    assert!(
        !record.awaits_room || stage != Stage::Open || is_told || connection.is_finishing(),
        "a message was refused, but its sender is not told of room"
    );
    let sources = connection.sources();
    assert!(sources == record.sources || stage != Stage::Open && sources == 0);
    let is_forgotten = sources > 0 && !record.source_waits && !is_told;
    assert!(!is_forgotten, "a source has more, but is not drawn from");
    let is_active = connection.life.is_active();
    assert!(connection.cause.is_some() || is_active);
    assert!(connection.kept() <= INPUT_LIMIT.max(RECEIVE_BUFFER));
    assert!(
        connection
            .input
            .as_ref()
            .is_none_or(|ring| !ring.is_empty())
    );
    let keeps_ring = connection.output.has_ring() && connection.output.is_empty();
    assert!(
        !keeps_ring || connection.marks.has(Marks::ON_READY_LIST),
        "an empty ring is kept"
    );
    let extra = connection.extra.as_ref();
    let subscriptions = extra.map_or(0, |extra| extra.subscriptions.len());
    assert!(
        subscriptions == record.topics.len() && subscriptions <= SUBSCRIPTIONS,
        "{stage:?}: {subscriptions} subscriptions, {:?} are known",
        record.topics
    );
    let linger = extra.and_then(|extra| extra.long_linger);
    let most = linger.map(|linger| linger.read_until + RECEIVE_BUFFER as u64);
    assert!(
        most.is_none_or(|most| connection.received < most),
        "a connection that lingers long reads all that its peer sends"
    );
    let timers = extra.map_or(0, |extra| extra.timers.len());
    assert!(timers <= TIMERS);
    // A close that waits for sources, or for its turn, leaves timers to fire, but not to be told.
    let are_told = connection.life.is_active() && !connection.is_finishing();
    assert!(
        timers == record.timers.len() || !are_told,
        "the handler's timers"
    );
}

/// Checks that requests are carried out at once, and that nobody is held back without a reason that ends.
fn check_requests(
    connection: &Connection,
    record: &mut Record,
    reads_mail: bool,
    tally: &mut Tally,
) {
    let extra = connection.extra.as_ref();
    let control = extra.and_then(|extra| extra.control.as_ref());
    for within in record.requests.iter_mut().flatten() {
        *within = within.saturating_sub(1);
    }
    let is_due = |request: usize| record.requests[request] == Some(0);
    // A close may wait for sources.
    let is_open = connection.life.stage() == Stage::Open && !connection.is_finishing();
    let has_letters = control.is_some_and(|control| control.has_letters());
    let must_close = is_due(CLOSE_REQUEST) && !has_letters;
    assert!(!is_open || !must_close, "a close by a handle is lost");
    // One that is heavy, or new, is over at once, and goes with its next turn.
    let waits_for_others = connection.burdens.has(Burdens::HEAVY) || connection.is_unproven();
    let is_listed = waits_for_others || connection.burdens.has(Burdens::ENDING);
    let is_over = connection.life.is_closed() && is_listed;
    assert!(!is_due(ABORT) || is_over, "an abort by a handle is lost");
    let is_paused = connection.gate.has(Gate::PAUSED);
    assert!(
        !is_due(RESUME) || !is_paused,
        "a resumption by a handle is lost"
    );
    let may_draw = connection.sources() > 0 && connection.life.stage() == Stage::Open;
    let has_room = connection.output.len() <= LOW_WATER;
    let is_listed = connection.marks.has(Marks::ON_READY_LIST);
    assert!(
        !is_due(DRAW) || !may_draw || !has_room || is_listed,
        "a resumption of sources by a handle is lost"
    );
    for request in [RESUME, DRAW] {
        record.requests[request].take_if(|within| *within == 0);
    }
    if !connection.life.is_active() {
        return;
    }
    if connection.gate.has(Gate::POSTED) {
        tally.count("held back for its publications");
        assert!(control.is_some_and(|control| control.has_mail_on_its_way()));
    }
    // It waits until mail was read, which each iteration does unless all of it waits for slow subscribers, for whom there is a
    // check of its own. A timer may meet refusals, too, so it may begin to wait again.
    let was_refused = extra.is_some_and(|extra| extra.was_refused);
    record.refused_for = (record.refused_for + u32::from(reads_mail)) * u32::from(was_refused);
    assert!(record.refused_for <= 20, "held back after mail was read");
    if connection.gate.has(Gate::MAIL) {
        tally.count("held back for its mail");
        assert!(was_refused || connection.marks.has(Marks::ON_READY_LIST));
    }
}

/// Compares a connection's counters with those of the network and of the handler.
fn check_counters(connection: &Connection, record: &Record, pipe: &Pipe) {
    assert_eq!(connection.received, pipe.received, "bytes received");
    let written = connection.output.written();
    // A sealed stream may have more to send behind the bytes, and counts them once all of that has left.
    let is_behind = connection.output.has_unsent() && written < pipe.sent;
    assert!(
        written == pipe.sent || is_behind || is_refused(pipe),
        "{} bytes sent, {written} are counted",
        pipe.sent
    );
    if connection.life.stage() == Stage::Open {
        assert_eq!(connection.messages_in, record.messages, "messages");
    }
}

/// Checks that a close flushes only after the protocol's farewell, and lingers only after our end of stream.
fn check_close(peer: &Peer, connection: &Connection, record: &Record, pipe: &Pipe) {
    let number = peer.number;
    assert!(
        connection.life.stage() != Stage::Lingering || pipe.server_ended,
        "{number} lingers without having sent its end of stream"
    );
    let is_concluded = matches!(connection.life.stage(), Stage::Flushing | Stage::Lingering);
    let must_have_parted = is_concluded && peer.is_courteous && !record.has_shut_write;
    assert!(
        !must_have_parted || record.farewells == 1,
        "{number} closes with {} farewells",
        record.farewells
    );
}

/// Checks that an event or the ready list will bring up all work: a lost wake-up would leave it undone.
fn check_wakefulness(peer: &Peer, connection: &Connection, pipe: &Pipe, state: &LoopState) {
    let number = peer.number;
    let is_listed = state.turns.ready.contains(&connection.id.slot)
        || state.turns.deferred.contains(&connection.id)
        || state.turns.unproven.contains(&connection.id)
        || state.turns.heavy.contains(&connection.id)
        || state.turns.unfinished.contains(&connection.id);
    assert_eq!(
        connection.marks.has(Marks::ON_READY_LIST),
        is_listed,
        "{number} disagrees with the ready list"
    );
    assert!(
        is_listed || !connection.has_work(),
        "{number} has work that nothing will bring up"
    );
    assert!(
        is_listed || !connection.has_due_completions(),
        "{number} has completions to call that nothing will bring up"
    );
    let is_heard = is_listed || pipe.readable;
    let waits = pipe.has_news() && connection.wants_input();
    assert!(
        is_heard || !waits,
        "{number} has input that nothing will read"
    );
    let holds_back = connection.life.has_unannounced_end() && connection.gate.is_open();
    assert!(
        is_listed || !holds_back,
        "{number} will not announce the peer's end"
    );
    let can_send = pipe.wants_room || pipe.writable;
    assert!(
        is_listed || can_send || connection.output.is_empty() || connection.life.is_closed(),
        "{number} has output that nothing will send"
    );
}

/// True if the connection takes messages now, as far as there is room.
fn is_open_to_sends(connection: &Connection) -> bool {
    connection.life.accepts_sends()
}

fn count_timers(connection: &mut Connection) -> usize {
    let extra = connection.extra.as_ref();
    let of_handler = extra.map_or(0, |extra| {
        let are_set = extra.timers.values().filter(|timer| timer.key.is_some());
        are_set.count()
    });
    let of_lag = usize::from(connection.lag().timer().is_some());
    connection.timers.count() + of_handler + of_lag
}
