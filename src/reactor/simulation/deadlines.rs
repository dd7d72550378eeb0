//! The checks of deadlines: none is late, and none comes before its time.

use crate::connection::gate::Gate;
use crate::connection::lifecycle::Stage;
use crate::connection::limits::Timeouts;
use crate::connection::marks::Marks;
use crate::connection::{Connection, Draining};

use super::ledger::{Pending, Record, ticks, ticks_up};
use super::network::Pipe;
use super::peer::Peer;
use super::*;

/// Checks that the timers of the handler and of the protocol are not late.
pub(super) fn check_deadlines(connection: &Connection, record: &mut Record, now: Duration) {
    if !connection.life.is_active() {
        return;
    }
    let is_slowed = connection.gate.has(Gate::SLOWED);
    if std::mem::replace(&mut record.is_slowed, is_slowed) && !is_slowed {
        record.let_go_at = now;
    }
    let are_told = !connection.is_finishing() && !is_slowed;
    let timers = record.timers.iter().filter(|_| are_told);
    let last_tick = |pending: &Pending| pending.last_tick().max(ticks(record.let_go_at) + 1);
    let pending = timers.map(|(_, pending, _)| (pending, last_tick(pending)));
    let of_protocol = record.deadline.iter();
    for (pending, last_tick) in pending.chain(of_protocol.map(|it| (it, it.last_tick()))) {
        assert!(
            last_tick > ticks(now),
            "a timer is late at {now:?}: {pending:?}"
        );
    }
    let extra = connection.extra.as_ref();
    let waits = extra.is_some_and(|extra| !extra.overdue.is_empty());
    assert!(is_slowed || !waits, "a timer waits for nothing");
}

/// Notes the beginning of the message that a connection is within.
pub(super) fn note_message(
    peer: &mut Peer,
    connection: &Connection,
    is_within: bool,
    now: Duration,
) {
    if connection.marks.has(Marks::HELD_BACK) {
        peer.shut_at = Some(now);
    }
    let count = connection.messages_in;
    peer.begun = match peer.begun.filter(|(before, ..)| *before == count) {
        _ if !is_within => None,
        Some((_, begun, _))
            if connection.has_unheard_input() || connection.marks.has(Marks::HELD_BACK) =>
        {
            Some((count, begun, now))
        }
        Some(begun) => Some(begun),
        None => Some((count, now, now)),
    };
}

/// The latest time at which the time of a close began. It begins once more if the loop was held up when it was over.
fn counted_since(
    since: Duration,
    renewed: &mut Option<Duration>,
    was_behind: bool,
    (now, longest_sleep): (Duration, Duration),
) -> Duration {
    if was_behind && now + longest_sleep >= since + CLOSE {
        renewed.get_or_insert(now);
    }
    // The deadline passes within one sleep, and the renewal is seen within another.
    renewed.map_or(since, |at| at + 2 * longest_sleep)
}

/// Checks that a close does not last for longer than its output makes progress.
fn check_flushing(
    peer: &mut Peer,
    connection: &Connection,
    pipe: &Pipe,
    timeouts: &Timeouts,
    has_own_end: bool,
    (now, longest_sleep): (Duration, Duration),
) {
    let checked_at = std::mem::replace(&mut peer.checked_at, now);
    if matches!(connection.life.stage(), Stage::Open | Stage::Closed) {
        return;
    }
    let pending = connection.output.left();
    let has_just_sent = pipe.took_at >= checked_at;
    let (least, _) = peer.flushing.unwrap_or((usize::MAX, now));
    if pending < least && (pending > 0 || has_just_sent || peer.flushing.is_some()) {
        peer.flushing = Some((pending, now));
    }
    let Some((_, since)) = peer.flushing else {
        return;
    };
    // The progress has come at the beginning of one time, which led to another, and the loop was late at its end. The wait for
    // an answer and the flushing have such times of their own.
    let since = since.max(peer.closing_since.unwrap_or_default());
    let most = 3 * CLOSE + 4 * longest_sleep + Duration::from_millis(1);
    let most = match may_linger(connection) {
        true => most + longest_linger(timeouts, pipe),
        false => most,
    };
    assert!(
        !has_own_end || now < since + most,
        "{} closes for longer than its output makes progress",
        peer.number
    );
}

/// Checks that a close does not wait for a source that sends nothing, or that nobody reads from.
fn check_finishing(
    peer: &mut Peer,
    connection: &Connection,
    (now, longest_sleep): (Duration, Duration),
) {
    let written = connection.output.progress();
    if !connection.awaits_sources() || connection.draining != Draining::No {
        peer.finishing = None;
        return;
    }
    let before = peer.finishing.filter(|(before, _)| *before == written);
    let (_, since) = *peer.finishing.insert(before.unwrap_or((written, now)));
    // The last progress has led to another time, which a loop that was held up has given twice.
    let most = 3 * CLOSE + 4 * longest_sleep + Duration::from_millis(1);
    assert!(
        now < since + most,
        "{} waits for a source that sends nothing",
        peer.number
    );
}

/// Checks that a peer takes its output at the least rate.
fn check_progress(
    peer: &mut Peer,
    connection: &Connection,
    stayed_at: Duration,
    timeouts: &Timeouts,
    now: Duration,
) {
    let pending = connection.output.left();
    let written = connection.output.progress();
    let has_stayed = peer.slow.front().is_some_and(|(at, ..)| *at <= stayed_at);
    // A close, and one that waits for sources, has a time of its own.
    let is_ending = connection.life.is_parting() || connection.awaits_sources();
    if pending == 0 || is_ending || has_stayed {
        return peer.slow.clear();
    }
    peer.slow.push_back((now, written, pending));
    // From any time on the timer fires once, which may be too early to judge, and once more.
    let look_after = |time: Duration| {
        let due = time + WRITE_STALL + Duration::from_millis(1);
        let mut later = peer.slow.iter().map(|(at, ..)| *at);
        later.find(|at| *at >= due)
    };
    let (since, before, _) = peer.slow[0];
    if look_after(since).and_then(look_after).is_none() {
        return;
    }
    let least_pending = peer.slow.iter().map(|(_, _, pending)| *pending).min();
    let needed = least(timeouts, WRITE_STALL).min(least_pending.unwrap_or_default());
    assert!(
        written - before >= needed as u64,
        "{} takes its output too slowly: {} bytes since {since:?}",
        peer.number,
        written - before
    );
    peer.slow.pop_front();
}

/// Checks that the deadlines of the connection itself are not late.
pub(super) fn check_timeouts(
    peer: &mut Peer,
    connection: &Connection,
    record: &Record,
    pipe: &Pipe,
    timeouts: &Timeouts,
    was_behind: bool,
    (now, longest_sleep): (Duration, Duration),
) {
    let has_own_end = connection.draining == Draining::No;
    let time = (now, longest_sleep);
    check_flushing(peer, connection, pipe, timeouts, has_own_end, time);
    check_finishing(peer, connection, time);
    let is_ending = !connection.life.takes_input() && !connection.life.is_closed();
    if connection.life.is_parting() || is_ending {
        // While output leaves, the time of a close begins anew.
        let has_own_end = has_own_end && peer.flushing.is_none();
        let longest = longest_close(connection, pipe, timeouts, longest_sleep);
        check_close_time(peer, connection, (has_own_end, was_behind), longest, time);
    }
    if connection.life.takes_input() {
        let stayed_at = record.stayed_at.unwrap_or_default();
        check_write_stall(peer, connection, stayed_at, time);
        check_progress(peer, connection, stayed_at, timeouts, now);
        check_message_timeouts(peer, connection, record, timeouts, time);
        check_idle_time(peer, connection, record, pipe, timeouts, time);
    }
}

/// True if so much time has passed since then, in the ticks of the loop's clock.
fn is_past(now: Duration, since: Duration, after: Duration) -> bool {
    ticks(now) >= ticks_up(since + after)
}

/// True if all output has left. The seal's own end may not have.
fn may_linger(connection: &Connection) -> bool {
    match connection.life.stage() {
        Stage::Lingering => true,
        stage => stage == Stage::Flushing && connection.output.is_empty(),
    }
}

/// The longest time for which a connection may be closing.
fn longest_close(
    connection: &Connection,
    pipe: &Pipe,
    timeouts: &Timeouts,
    longest_sleep: Duration,
) -> Duration {
    let is_lingering = may_linger(connection) || connection.life.is_closed();
    match longest_linger(timeouts, pipe) {
        // One that is closed is removed in the next iteration, if it was closed late in this one.
        linger if is_lingering && linger > CLOSE => {
            linger + 2 * longest_sleep + Duration::from_millis(2)
        }
        _ => CLOSE,
    }
}

/// Checks that neither the wait for the peer's answer nor the close after it outlasts its time.
fn check_close_time(
    peer: &mut Peer,
    connection: &Connection,
    (has_own_end, was_behind): (bool, bool),
    longest: Duration,
    time: (Duration, Duration),
) {
    let (number, now) = (peer.number, time.0);
    if connection.life.is_parting() {
        let since = *peer.parting_since.get_or_insert(now);
        let since = counted_since(since, &mut peer.parting_renewed, was_behind, time);
        assert!(
            !has_own_end || !is_past(now, since, CLOSE),
            "{number} is parting for longer than the close timeout"
        );
    }
    // The time of a close that begins outside a turn is set in the turn that comes next.
    let awaits_turn =
        connection.marks.has(Marks::ON_READY_LIST) && !connection.marks.has(Marks::CLOSE_LIMITED);
    let has_begun = peer.closing_since.is_some() || !awaits_turn;
    if !connection.life.takes_input() && has_begun {
        let since = *peer.closing_since.get_or_insert(now);
        let since = counted_since(since, &mut peer.closing_renewed, was_behind, time);
        assert!(
            !has_own_end || !is_past(now, since, longest),
            "{number} is closing for longer than the close timeout"
        );
    }
}

/// Checks that output which does not move has a timer, and that this ends the connection.
fn check_write_stall(
    peer: &mut Peer,
    connection: &Connection,
    stayed_at: Duration,
    (now, longest_sleep): (Duration, Duration),
) {
    let number = peer.number;
    let is_moving = connection.output.is_empty() || peer.stuck.0 != connection.output.progress();
    if is_moving || stayed_at > peer.stuck.1 {
        peer.stuck = (connection.output.progress(), now);
    }
    let is_watched = connection.timers.write.is_some()
        || connection.output.is_empty()
        || connection.marks.has(Marks::ON_READY_LIST);
    assert!(
        is_watched || connection.draining != Draining::No,
        "{number} has output, but no timer for a write stall"
    );
    // The timer may have been set just before the last progress, and is set anew when it fires.
    let most = 2 * WRITE_STALL + 2 * longest_sleep + Duration::from_millis(1);
    assert!(
        !is_past(now, peer.stuck.1, most) || connection.life.is_parting(),
        "{number} outlasts its write stall"
    );
}

/// The last time at which records of the peer were read, if its stream is sealed: those that a turn has no time for put a deadline
/// off, also where they have no plaintext.
fn records_read_at(peer: &Peer) -> Duration {
    match peer.tap {
        Some(_) => peer.pipe.borrow().read_at,
        None => Duration::ZERO,
    }
}

/// Checks that neither the first message nor a later one that has begun is awaited for too long.
fn check_message_timeouts(
    peer: &Peer,
    connection: &Connection,
    record: &Record,
    timeouts: &Timeouts,
    (now, longest_sleep): (Duration, Duration),
) {
    let number = peer.number;
    let stayed_at = record.stayed_at.unwrap_or_default();
    let first = timeouts
        .first_message
        .filter(|_| connection.messages_in == 0);
    // The wait begins anew when it is over if reading was held back meanwhile.
    let renewed = peer.shut_at.map(|at| at + longest_sleep);
    let heard = peer
        .adopted
        .max(peer.unheard_at)
        .max(stayed_at)
        .max(records_read_at(peer))
        .max(renewed.unwrap_or_default());
    let is_parting = connection.life.is_parting();
    assert!(
        is_parting || first.is_none_or(|first| !is_past(now, heard, first)),
        "{number} outlasts its first-message timeout"
    );
    let message = record.message_timeout.or(timeouts.message);
    let is_within = peer.begun.is_some() && message.is_some() && record.is_open;
    let is_timed = connection.timers.message.is_some();
    assert!(
        is_timed || is_parting || !(is_within || first.is_some()),
        "{number} is within a message, but has no timer for it"
    );
    // The timer may have been set just before the message began.
    let most = message.map(|after| 2 * after + 2 * longest_sleep);
    if let (Some(most), Some((_, _, since))) = (most, peer.begun) {
        let since = since.max(stayed_at).max(records_read_at(peer));
        let is_first = timeouts.first_message.is_some() && connection.messages_in == 0;
        let is_excused = is_first || !record.is_open || is_parting;
        assert!(
            is_excused || !is_past(now, since, most + Duration::from_millis(1)),
            "{number} outlasts its message timeout"
        );
    }
}

/// Checks that a silent peer does not outlast the idle timeout.
fn check_idle_time(
    peer: &mut Peer,
    connection: &Connection,
    record: &Record,
    pipe: &Pipe,
    timeouts: &Timeouts,
    (now, longest_sleep): (Duration, Duration),
) {
    let Some(idle) = timeouts.idle else {
        return;
    };
    if !connection.gate.is_open() {
        peer.held_at = now;
    }
    // The gate was opened in the iteration after the one in which it was last seen to be shut.
    // Records without plaintext are no sign of life, but those that a turn has no time for may put the end off.
    let heard = pipe.heard_at.max(pipe.read_at);
    let heard = heard.max(peer.unheard_at).max(record.touched_at);
    let heard = heard.max(peer.held_at + longest_sleep);
    let taken = if record.drawn_at.is_some() {
        pipe.took_at
    } else {
        Duration::ZERO
    };
    let stayed_at = record.stayed_at.unwrap_or_default();
    let heard = heard.max(stayed_at).max(taken);
    let heard = Duration::from_millis(ticks(heard) + 1);
    assert!(
        connection.life.is_parting() || !is_past(now, heard, idle),
        "{} outlasts its idle timeout",
        peer.number
    );
}
