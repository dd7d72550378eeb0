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
            let listed = self.reactor.services[P::SERVICE].service.subscribers(name);
            let expected = self.book.open().subscribers(P::SERVICE, topic);
            let mut numbers: Vec<usize> = listed
                .iter()
                .map(|id| {
                    let peer = self.peers.iter().find(|peer| peer.id == *id);
                    peer.expect("a connection that is gone subscribes to nothing")
                        .number
                })
                .collect();
            numbers.sort_unstable();
            assert_eq!(numbers, expected, "the subscribers to {name}");
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

/// Checks a connection that has gone: it was closed once if it was open, and not before its time.
pub(super) fn check_departure(peer: &Peer, record: &Record, pipe: &Pipe, timeouts: &Timeouts) {
    let number = peer.number;
    assert_eq!(
        record.closed.is_some(),
        record.is_open,
        "{number}: one close for each open"
    );
    assert!(!record.is_open || record.opened == 1);
    let Some((cause, at)) = record.closed else {
        return;
    };
    let idle = timeouts.idle.unwrap_or_default();
    let is_early = match cause {
        // The orderly close has taken its time after the deadline.
        Cause::Timeout(_) if record.is_closed_in_order => false,
        Cause::Timeout(Timeout::Idle) => {
            let took_at = if record.sources > 0 {
                pipe.took_at
            } else {
                Duration::ZERO
            };
            at < pipe.heard_at.max(took_at) + idle
        }
        Cause::Timeout(Timeout::FirstMessage) => at < peer.adopted + FIRST_MESSAGE,
        Cause::Timeout(Timeout::Message) => {
            peer.begun.is_none_or(|(_, begun, _)| at < begun + MESSAGE)
        }
        Cause::Timeout(Timeout::WriteStall) => at < pipe.took_at + WRITE_STALL,
        Cause::Timeout(Timeout::Close) => {
            let since = peer.closing_since.into_iter().chain(peer.parting_since);
            since.max().is_none_or(|since| at < since + CLOSE)
        }
        Cause::Truncated => !record.is_cut,
        _ => false,
    };
    assert!(!is_early, "{number}: {cause:?} at {at:?} is too early");
    let is_silent = matches!(cause, Cause::Timeout(timeout) if timeout != Timeout::WriteStall && timeout != Timeout::Close);
    // Unread input counts if it was wanted as timers fired, or if an event has told of it.
    let is_known = peer.is_wanted || !pipe.readable;
    let has_spoken = is_known && !pipe.is_late && !pipe.to_server.is_empty();
    let is_silent = is_silent && !record.is_closed_in_order;
    assert!(
        !is_silent || !has_spoken,
        "{number}: {cause:?} although its input is unread"
    );
}

/// Counts the way in which a connection has ended.
pub(super) fn tally_end(tally: &mut Tally, peer: &Peer, record: &Record, now: Duration) {
    let Some((cause, _)) = record.closed else {
        return tally.count("never opened");
    };
    tally.count(name(cause));
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
        Cause::Timeout(Timeout::Close) => "Timeout(Close)",
        Cause::InputLimit => "InputLimit",
        Cause::OutputLimit => "OutputLimit",
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
    let is_whole = !pipe.reset && !pipe.dropped_with_reset;
    if is_whole {
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
                let may_arrive = fate == SendOutcome::Written;
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
