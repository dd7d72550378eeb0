//! The checks of a connection that has ended, and of the whole run at its end.

use crate::connection::close_reason::{Cause, CloseReason, Timeout};
use crate::connection::completion::SendOutcome;
use crate::connection::limits::Timeouts;
use crate::protocol::LengthPrefixed;

use super::courtesy::Courtesy;
use super::ledger::{Address, Ledger, Record};
use super::mail::BytesProtocol;
use super::network::Pipe;
use super::peer::Peer;
use super::sealing::{check_end_of_records, is_refused};
use super::tap::Tap;
use super::world::World;
use super::*;

impl World {
    /// Compares the subscribers of every topic, as a publication would find them, with the ledger.
    pub(super) fn read_out_topics(&mut self) {
        while self.shared.has_mail() {
            self.iterate();
        }
        self.probe::<LengthPrefixed>();
        self.probe::<Courtesy>();
    }

    fn probe<P: BytesProtocol>(&mut self) {
        for (topic, name) in TOPICS.iter().enumerate() {
            let counted = self.reactor.services[P::SERVICE].service.subscribers(name);
            let expected = self.book.open().subscribers(P::SERVICE, topic);
            assert_eq!(counted, expected.len(), "the subscribers to {name}");
        }
    }

    /// Balances what was sent against what has arrived.
    pub(super) fn check_end(&mut self) {
        let stopped: Vec<Peer> = self.peers.drain(..).collect();
        let mut random = Random(0);
        for peer in &stopped {
            self.book.open().records[peer.number].is_gone = true;
        }
        self.departed.extend(stopped);
        let ledger = &mut *self.book.open();
        for peer in &mut self.departed {
            peer.read(true, ledger, &mut random);
        }
        if let Some(violation) = &ledger.violation {
            panic!("{violation}");
        }
        assert_eq!(ledger.completions, 0, "every completion is called once");
        let is_whole: Vec<bool> = self
            .departed
            .iter()
            .map(|peer| check_stream(peer, &ledger.records[peer.number]))
            .collect();
        let mut whole = vec![false; ledger.records.len()];
        for (peer, is_whole) in self.departed.iter().zip(is_whole) {
            whole[peer.number] = is_whole;
        }
        check_mailings(ledger, &whole);
    }
}

/// Checks a connection of whose end the handler was told in this iteration: not before its time.
pub(super) fn check_end_for_handler(
    peer: &Peer,
    record: &Record,
    pipe: &Pipe,
    timeouts: &Timeouts,
) {
    let number = peer.number;
    assert!(record.is_open && record.opened == 1);
    let Some((cause, at)) = record.closed else {
        return;
    };
    let idle = timeouts.idle.unwrap_or_default();
    let is_early = match cause {
        // The peer may have gone on in the same iteration.
        Cause::Timeout(_) if record.is_closed_in_order => false,
        Cause::Timeout(Timeout::Idle) => {
            let has_drawn = record.drawn_at.is_some_and(|at| at < pipe.took_at);
            let took_at = if record.sources > 0 && has_drawn {
                pipe.took_at
            } else {
                Duration::ZERO
            };
            at < pipe.heard_at.max(peer.held_at).max(took_at) + idle
        }
        Cause::Timeout(Timeout::FirstMessage) => {
            peer.is_excused || at < peer.adopted + FIRST_MESSAGE
        }
        Cause::Timeout(Timeout::Message) => {
            let is_early = |(_, begun, _)| at < begun + MESSAGE;
            peer.is_excused || peer.begun.is_none_or(is_early)
        }
        Cause::Timeout(Timeout::WriteStall) => {
            // While a close waits for sources, its time counts instead.
            let is_taken =
                |time: Duration| pipe.taken_after(at.saturating_sub(time)) >= least(timeouts, time);
            is_taken(WRITE_STALL) && (record.lost_sources == 0 || is_taken(CLOSE))
        }
        Cause::Timeout(Timeout::SourceStall) => pipe.taken_after(at.saturating_sub(CLOSE)) > 0,
        Cause::Truncated => !record.is_cut,
        _ => false,
    };
    assert!(!is_early, "{number}: {cause:?} at {at:?} is too early");
    let of_input = |timeout| !matches!(timeout, Timeout::WriteStall | Timeout::SourceStall);
    let is_silent = matches!(cause, Cause::Timeout(timeout) if of_input(timeout));
    // Unread input counts if it was wanted as timers fired, or if an event has told of it.
    let is_known = peer.is_wanted || !pipe.readable;
    let has_spoken = is_known && !pipe.is_late && !pipe.to_server.is_empty();
    let is_silent = is_silent && !record.is_closed_in_order;
    assert!(
        !is_silent || !has_spoken,
        "{number}: {cause:?} although its input is unread"
    );
}

/// The number of last callbacks, and of turns of new connections, in an iteration of a seed's run. It is of a generator of its own, so that the
/// runs without a bound do not depend on it.
pub(super) fn callback_limit(seed: u64) -> usize {
    let mut random = Random(seed ^ 0x1a57_ca11);
    [usize::MAX, usize::MAX, usize::MAX, 1, 2, 10][random.below(6)]
}

/// Checks that an orderly close was not cut short: the socket of a connection that is over for the handler lives on until all
/// is sent and the peer has ended, or for the time of a close.
pub(super) fn check_lingering(
    peer: &mut Peer,
    record: &Record,
    pipe: &Pipe,
    timeouts: &Timeouts,
    (now, is_drain_over): (Duration, bool),
) {
    let Some((cause, at)) = record.closed else {
        return;
    };
    let is_orderly = cause.is_orderly() || matches!(cause, Cause::Protocol | Cause::InputLimit);
    // Flushing after the wait for an answer has a time of its own.
    let flushing_since = peer.closing_since.filter(|_| peer.parting_since.is_some());
    let since = flushing_since.unwrap_or(at);
    let was_taken = pipe.taken_after(now.saturating_sub(CLOSE).max(since));
    let needed = least(timeouts, CLOSE);
    // A peer that has taken all of the output has a whole time for its end of stream.
    let is_slow = was_taken < needed && !(was_taken > 0 && pipe.server_ended);
    // The kernel may hold bytes, which a reset would lose.
    let holds_nothing = pipe.to_peer.is_empty() || pipe.aborted;
    let ended_at = pipe.ended_at.or(peer.parting_since).unwrap_or(at);
    let lacks_end_since = peer.tap.as_ref().and_then(|tap| tap.lacks_end_since);
    let lingers_since = lacks_end_since.unwrap_or(ended_at);
    // The seal may have sent its end just now, after the time for the rest was over.
    let sent_before = pipe.sent_bytes() - pipe.sent_at(now);
    let has_lingered = holds_nothing || now >= lingers_since + linger_behind(timeouts, sent_before);
    let has_had_its_time = now >= since + CLOSE && is_slow && has_lingered;
    let has_ended = pipe.peer_ended || pipe.peer_closed;
    let is_whole = has_ended && !pipe.aborted;
    // An end that does not wait for a source is no clean one.
    let has_cut_source = record.lost_sources > 0;
    let is_lost = pipe.reset || is_refused(pipe);
    let is_fair = is_lost || record.may_abort || is_drain_over || has_had_its_time || is_whole;
    let is_fair = is_fair || has_cut_source;
    let needed = (now - ended_at).as_micros() as u64 * linger_rate(timeouts) / 1_000_000;
    let is_excused = is_lost || pipe.aborted || record.may_abort || is_drain_over;
    let keeps_pace = pipe.ended_at.is_some() && pipe.read_since_end as u64 >= needed;
    peer.must_get_all = is_orderly && keeps_pace && !is_excused && !has_cut_source;
    assert!(
        is_fair || !is_orderly,
        "{}: {cause:?} at {at:?}, but the close is cut short at {now:?}",
        peer.number
    );
}

/// Counts the way in which a connection has ended.
pub(super) fn tally_end(
    tally: &mut Tally,
    peer: &Peer,
    record: &Record,
    pipe: &Pipe,
    now: Duration,
) {
    let Some((cause, at)) = record.closed else {
        return tally.count("never opened");
    };
    tally.count(name(cause));
    if cause == Cause::Truncated && peer.tap.as_ref().is_some_and(Tap::is_cut) {
        tally.count("sealed stream cut off");
    }
    if at < now && (pipe.peer_ended || pipe.peer_closed) {
        tally.count("linger ended by the peer");
    } else if at < now && pipe.aborted {
        tally.count("linger cut off");
    }
    let Some(since) = peer.parting_since.filter(|_| cause == Cause::Local) else {
        return;
    };
    tally.count(match peer.closing_since.map(|closing| closing - since) {
        Some(after) if after < Duration::from_millis(20) => "farewell answered",
        Some(_) => "farewell answered late",
        None if now >= since + CLOSE => "farewell unanswered",
        None => "farewell cut short",
    });
}

/// The cause of an end, as the handler was told of it.
pub(super) fn cause<E>(reason: &CloseReason<E>) -> Cause {
    match reason {
        CloseReason::Peer => Cause::Peer,
        CloseReason::Truncated => Cause::Truncated,
        CloseReason::Local => Cause::Local,
        CloseReason::Aborted => Cause::Aborted,
        CloseReason::Protocol(_) => Cause::Protocol,
        CloseReason::Io(_) => Cause::Io,
        CloseReason::Timeout(timeout) => Cause::Timeout(*timeout),
        CloseReason::InputLimit => Cause::InputLimit,
        CloseReason::OutputLimit => Cause::OutputLimit,
        CloseReason::WorkerMemory => Cause::WorkerMemory,
        CloseReason::Panic => Cause::Panic,
        CloseReason::Shutdown => Cause::Shutdown,
    }
}

fn name(cause: Cause) -> &'static str {
    match cause {
        Cause::Peer => "Peer",
        Cause::Truncated => "Truncated",
        Cause::Local => "Local",
        Cause::Aborted => "Aborted",
        Cause::Protocol => "Protocol",
        Cause::Io => "Io",
        Cause::Timeout(Timeout::Idle) => "Timeout(Idle)",
        Cause::Timeout(Timeout::FirstMessage) => "Timeout(FirstMessage)",
        Cause::Timeout(Timeout::Message) => "Timeout(Message)",
        Cause::Timeout(Timeout::WriteStall) => "Timeout(WriteStall)",
        Cause::Timeout(Timeout::SourceStall) => "Timeout(SourceStall)",
        Cause::InputLimit => "InputLimit",
        Cause::OutputLimit => "OutputLimit",
        Cause::WorkerMemory => "WorkerMemory",
        Cause::Panic => "Panic",
        Cause::Shutdown => "Shutdown",
    }
}

/// Checks all that a peer has received. True if it has received everything, which it must unless it sees a reset.
fn check_stream(peer: &Peer, record: &Record) -> bool {
    let number = peer.number;
    let pipe = peer.pipe.borrow();
    assert!(peer.own <= record.said);
    assert!(record.closed.is_some() == record.is_open);
    let is_whole = !pipe.reset && !pipe.dropped_with_reset && !is_refused(&pipe);
    if is_whole {
        check_end_of_records(peer, record, &pipe);
        let cause = record.closed;
        assert_eq!(
            peer.own, record.said,
            "{number}: {cause:?}, messages received"
        );
        // After our end of stream the protocol can answer no more pings.
        let are_all = peer.pongs == record.pongs;
        assert!(
            are_all || record.has_shut_write,
            "{number}: {cause:?}, a ping is not answered"
        );
        assert!(!peer.is_within_frame(), "{number}: {cause:?} cuts a frame");
        assert!(record.written <= peer.own);
        let was_local = matches!(cause, Some((Cause::Local, _)));
        let has_own_words = matches!(
            cause,
            Some((Cause::Peer | Cause::Protocol | Cause::InputLimit, _))
        );
        assert!(
            record.lost_sources == 0 || has_own_words,
            "{number}: {cause:?} loses a source, but the peer sees an orderly end"
        );
        let must_part = was_local && record.must_part;
        assert!(
            peer.heard_bye || !must_part,
            "{number} has received no farewell"
        );
    }
    is_whole
}

/// Checks that mail has arrived once at each of its recipients, and nowhere else.
fn check_mailings(ledger: &Ledger, whole: &[bool]) {
    for (number, mailing) in ledger.mail.iter().enumerate() {
        let arrived = &mailing.arrived_at;
        if mailing.is_refused {
            assert!(
                arrived.is_empty(),
                "mail {number} was refused, but has arrived"
            );
            continue;
        }
        match mailing.to {
            Address::One(to) => {
                let fate = mailing.fate.expect("every letter has a fate");
                let must_arrive = fate == SendOutcome::Written && whole[to];
                // The kernel may have a part of what was sealed together, with the whole message in it.
                let may_arrive = fate == SendOutcome::Written
                    || fate == SendOutcome::Lost && ledger.records[to].is_sealed;
                assert!(
                    arrived.len() <= usize::from(may_arrive)
                        && arrived.len() >= usize::from(must_arrive),
                    "mail {number} to {to}: {fate:?}, arrived at {arrived:?}"
                );
            }
            Address::Topic { .. } => {
                let sure = mailing.sure.iter().flatten();
                let surely = sure.filter(|number| whole[**number]).count();
                let Some(published) = mailing.published else {
                    continue;
                };
                let delivered = published.delivered as usize;
                assert!(
                    arrived.len() <= delivered
                        && arrived.len() + published.dropped as usize >= surely,
                    "mail {number}: {published:?}, arrived at {arrived:?}"
                );
            }
            Address::All { .. } => {}
        }
    }
}

/// True if a reset has ended a refused connection before the time of its close was over.
pub(super) fn loses_last_words(record: &Record, pipe: &Pipe, now: Duration) -> bool {
    let is_early = record.refused_at.is_some_and(|at| now < at + CLOSE);
    is_early && pipe.aborted && !pipe.reset
}
