//! The checks of sealed streams: no record and no plaintext is left behind, and the ends are said.

use std::time::Duration;

use crate::connection::Connection;
use crate::connection::lifecycle::Stage;
use crate::connection::marks::Marks;

use super::Tally;
use super::ledger::Record;
use super::network::{Pipe, WINDOW};
use super::peer::Peer;

/// True if the stream is sealed, and a record of the peer was refused.
pub(super) fn is_refused(pipe: &Pipe) -> bool {
    let log = pipe.log.as_ref();
    log.is_some_and(|log| log.borrow().is_refused)
}

/// Checks that an event or the ready list will bring up what the wire holds, and that the connection knows of it.
pub(super) fn check_sealed(
    peer: &mut Peer,
    connection: &mut Connection,
    pipe: &Pipe,
    now: Duration,
    tally: &mut Tally,
) {
    let (Some(log), Some(tap)) = (&pipe.log, &mut peer.tap) else {
        return;
    };
    let log = log.borrow();
    let number = peer.number;
    let is_listed = connection.marks.has(Marks::ON_READY_LIST);
    let is_live = !connection.life.is_closed();
    let wants_input = connection.wants_input();
    let is_settled = connection.is_settled();
    let is_undisturbed = connection.is_undisturbed();
    let (pending, written) = (connection.output.len(), connection.output.written());
    let stage = connection.life.stage();
    let sends_end = connection.life.sends_end_next() && connection.sources() == 0;
    let has_failed = connection.output.has_failed();
    let wire = connection.output.wire();
    let has_received = wire.has_received() || log.is_at_hand;
    assert!(
        !has_received || !wants_input || is_listed || pipe.readable,
        "{number} has plaintext at hand that nothing will bring up"
    );
    if log.is_at_hand && !pipe.readable && pipe.to_server.is_empty() {
        tally.count("plaintext at hand");
    }
    let has_unsent = wire.has_unsent();
    let will_send = is_listed || pipe.wants_room || pipe.writable;
    assert!(
        !has_unsent || !is_live || will_send,
        "{number} has records that nothing will send"
    );
    // A failed stream has lost the records that it was given last, and is ended in its next turn, as is one that was closed.
    let has_lost = has_failed || !is_live;
    let is_known = has_lost || has_unsent == (log.made > pipe.sent_records);
    assert!(
        is_known || log.has_said_end || log.is_refused,
        "{number} has lost records, or does not know that all were sent"
    );
    if has_unsent {
        tally.count("records unsent");
    }
    let has_end_to_say = sends_end && pending == 0 && wire.has_end_to_say();
    assert!(
        !has_end_to_say || !is_live || will_send,
        "{number} will not say its end"
    );
    if has_end_to_say {
        tally.count("end of a sealed stream blocked");
    }
    tap.is_end_blocked = has_end_to_say || (stage == Stage::Flushing && has_unsent);
    if stage == Stage::Flushing && pending == 0 {
        tap.lacks_end_since.get_or_insert(now);
    }
    assert!(
        wire.committed() <= pending,
        "{number} has lost bytes that are sealed"
    );
    assert!(
        written + wire.gone() as u64 <= log.sealed,
        "{number} has sent more than is sealed"
    );
    let holds_something = has_unsent || has_received || wire.held() > 0;
    assert!(
        !is_undisturbed || !holds_something,
        "{number} would take the fast path, although its wire holds something"
    );
    assert!(
        !is_settled || !has_unsent,
        "{number} is settled, although its wire has something to send"
    );
    assert!(
        !pipe.server_ended || log.has_said_end || log.is_refused,
        "{number} ends its stream without a word"
    );
}

/// Checks a connection that is gone: a peer whose record was refused has its alert, if the kernel could take it.
pub(super) fn check_refusal(number: usize, pipe: &Pipe, tally: &mut Tally) {
    let Some(log) = &pipe.log else {
        return;
    };
    let log = log.borrow();
    if !log.is_refused {
        return;
    }
    tally.count("record refused");
    let has_room = pipe.fault_rarity == 0 && pipe.to_peer.len() < WINDOW && !pipe.reset;
    let has_alert = pipe.sent_records == log.made && pipe.server_ended;
    assert!(
        !has_room || has_alert || log.has_said_end,
        "{number} is refused without an alert"
    );
}

/// Checks that a peer which has received everything was told of the end, in the words of the seal.
pub(super) fn check_end_of_records(peer: &Peer, record: &Record, pipe: &Pipe) {
    let Some(tap) = &peer.tap else {
        return;
    };
    let (number, receiver) = (peer.number, &tap.receiver);
    let is_cut = receiver.is_within_record();
    assert!(
        !pipe.server_ended || receiver.has_ended && !is_cut,
        "{number} receives the end of the stream without a word of the seal"
    );
    let Some((cause, _)) = record.closed else {
        return;
    };
    let has_ended = pipe.peer_ended || pipe.peer_closed;
    // The words were said, and met a fault of the network.
    let log = pipe.log.as_ref();
    let has_met_fault = pipe.fault_rarity > 0 && log.is_some_and(|log| log.borrow().has_said_end);
    let is_excused = tap.is_end_blocked || has_met_fault || pipe.reset || pipe.aborted;
    assert!(
        !cause.is_orderly() || !has_ended || is_excused || receiver.has_ended,
        "{number}: {cause:?}, but the peer takes its stream for one that was cut"
    );
}
