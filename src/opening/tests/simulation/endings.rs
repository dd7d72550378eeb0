//! The checks of an opening that ends: it is open, or it has failed for a reason that its peer has given, or that the limits give.

use std::io;
use std::time::Duration;

use crate::io::wire::Wire;
use crate::io::wire::double::Receiver;

use super::model::{During, Model, Record, State};
use super::{Opened, Openings, RECEIVED_MAX};

/// Said by each connection that is open.
const WORDS: &[u8] = b"welcome";

impl Model {
    /// Takes notice of the end of an opening, if it has ended.
    pub(super) fn conclude(
        &mut self,
        number: usize,
        during: During,
        now: Duration,
        openings: &Openings,
    ) {
        let tick = self.clock.now(now);
        let is_open = openings.opened.iter().find(|it| number_of(it) == number);
        let record = &self.records[number];
        let is_dropped = record.line.borrow().is_dropped;
        match record.state {
            State::Opens if is_open.is_some() => {
                let is_drained = record.drained_by(self.drain_ends) <= tick;
                assert!(
                    !is_drained || during == During::Event,
                    "{number} opens behind the drain"
                );
                self.open(number, is_open.expect("it is open"));
            }
            State::Opens if record.is_refused => {
                self.stats.handshakes_failed += 1;
                self.tally.count("handshake failed");
                self.records[number].state = State::Parts;
                self.queue.retain(|it| *it != number);
                self.conclude(number, during, now, openings);
            }
            State::Opens if is_dropped => {
                let reason = self.reason(number, during, tick);
                self.tally.count(reason);
                self.count_out(number);
            }
            State::Parts => {
                self.note_parting(number, now);
                if is_dropped {
                    self.depart(number, during, tick);
                    self.count_out(number);
                }
            }
            _ => {}
        }
    }

    /// Counts a connection out that is gone.
    pub(super) fn count_out(&mut self, number: usize) {
        let record = &mut self.records[number];
        record.state = State::Gone;
        self.queue.retain(|it| *it != number);
        self.stats.connections -= 1;
        if let Some(ip) = record.counted.take() {
            *self.counts.entry(ip).or_default() -= 1;
        }
    }

    /// Checks a connection that its protocol may see.
    fn open(&mut self, number: usize, opened: &Opened) {
        let record = &mut self.records[number];
        let line = record.line.borrow();
        let at_hand = record.looked.unwrap_or(line.arrived);
        assert!(record.peer.is_open_with(at_hand), "{number} opens early");
        assert!(
            !record.is_crowded,
            "{number} opens although its client has too many"
        );
        assert_eq!(opened.service, record.service);
        assert_eq!(opened.header.is_some(), record.stages.has_header);
        let ip = record.peer.client.unwrap_or(record.ip);
        assert_eq!(opened.peer.ip(), Some(ip));
        if record.stages.is_sealed {
            assert!(opened.wire.has_received());
        } else {
            assert_eq!(line.read, record.peer.header, "{number} has lost bytes");
        }
        self.tally.count("opened");
        if record.looked.is_some() {
            self.tally.count("opened behind its deadline");
        }
        if line.has_ended {
            self.tally.count("opened with its end of stream");
        }
        drop(line);
        record.state = State::Open;
        self.opened += 1;
        self.queue.retain(|it| *it != number);
        if self.is_blocked(number) {
            self.tally.count("unsent at the end of the handshake");
        }
    }

    /// The reason for which an opening is gone, which is counted.
    fn reason(&mut self, number: usize, during: During, tick: u64) -> &'static str {
        let is_blocked = self.is_blocked(number);
        let record = &self.records[number];
        let line = record.line.borrow();
        let stats = &mut self.stats;
        match during {
            During::Begin => {
                assert!(line.was_reset);
                stats.openings_displaced += 1;
                "gave way"
            }
            During::Drain => {
                let has_said = line.arrived > 0 || line.has_ended || line.is_reset;
                assert!(!has_said && !line.was_reset, "{number} was not silent");
                self.dropped += 1;
                "dropped silent"
            }
            During::Stop => {
                assert!(!line.was_reset);
                self.dropped += 1;
                "stopped"
            }
            During::Event | During::Serve => {
                // One that its peer has left is closed; all others are reset.
                assert!(line.was_reset || is_abandoned(record), "{number} is gone");
                if record.is_crowded {
                    "address has too many"
                } else if record.peer.malformed.is_some_and(|at| at <= line.read) {
                    stats.headers_refused += 1;
                    "header refused"
                } else if record.has_panicked {
                    stats.handshakes_failed += 1;
                    "handshake panicked"
                } else if !line.was_reset {
                    stats.openings_abandoned += 1;
                    "abandoned"
                } else if is_too_long(record) && !record.wants_step && !is_blocked {
                    stats.handshakes_failed += 1;
                    "handshake too long"
                } else {
                    stats.openings_late += 1;
                    self.check_late(number, during, tick)
                }
            }
        }
    }

    /// Checks that an opening is late by the fault of its peer, or because a drain is over.
    fn check_late(&self, number: usize, during: During, tick: u64) -> &'static str {
        let record = &self.records[number];
        assert_eq!(during, During::Serve, "{number} is late at an event");
        if record.drained_by(self.drain_ends) <= tick {
            return "drain deadline";
        }
        assert!(tick >= record.deadline, "{number} is ended early");
        let at_hand = record.looked.unwrap_or(record.line.borrow().arrived);
        if !record.peer.is_open_with(at_hand) {
            return "late";
        }
        assert!(
            self.is_blocked(number),
            "{number} is late, and all has come in time"
        );
        "late although all has come"
    }

    /// Checks the end of one whose handshake has failed before.
    fn depart(&mut self, number: usize, during: During, tick: u64) {
        let record = &self.records[number];
        let line = record.line.borrow();
        assert!(!line.was_reset, "{number} may not read its last words");
        let is_over = tick >= record.ends_by(self.drain_ends);
        let is_left = line.is_reset || (line.has_ended && line.unread.is_empty());
        let is_flood = line.read >= RECEIVED_MAX;
        self.tally.count(match during {
            During::Begin => "gave way while it lingers",
            During::Stop => "stopped",
            _ if is_left => "linger ended by the peer",
            _ if is_flood => "flood behind a failed handshake",
            _ => {
                assert!(
                    during == During::Serve && is_over,
                    "{number} is ended early"
                );
                "linger ended"
            }
        });
        drop(line);
        if self.is_blocked(number) {
            let line = self.records[number].line.borrow();
            let may_be_cut =
                is_over || line.is_reset || matches!(during, During::Begin | During::Stop);
            assert!(may_be_cut, "{number}: its last words are lost");
            self.tally.count("last words cut off");
        } else if self.made(number) > 0 {
            self.tally.count("alert read");
        }
    }

    /// Uses a connection that is open, and closes it: all bytes of its peer come once and in order, and so do all of ours.
    pub(super) fn use_connection(&mut self, number: usize, mut opened: Opened) {
        let record = &self.records[number];
        let mut line = record.line.borrow_mut();
        let (arrived, is_reset) = (line.arrived, line.is_reset);
        let ends_early = record
            .peer
            .ends
            .is_some_and(|end| end < record.peer.input.len());
        if !line.has_ended && !is_reset {
            line.arrive(&record.peer.input[arrived..]);
        }
        line.give_room(usize::MAX);
        let is_cut = is_reset || (ends_early && line.has_ended);
        drop(line);
        let plain = read_all(&mut opened.wire);
        let expected = &record.peer.plain;
        assert!(
            expected.starts_with(&plain),
            "{number} receives other bytes"
        );
        assert!(
            is_cut || plain.len() == expected.len(),
            "{number} lacks bytes"
        );
        if !is_reset {
            say(&mut opened.wire);
            let line = record.line.borrow();
            let log = self.book.open();
            let rest = line.written.strip_prefix(&log.made[number][..]);
            let rest = rest.expect("the answers of the handshake come first");
            assert_eq!(heard(rest, record.stages.is_sealed), WORDS);
        }
    }
}

/// The number of a newcomer whose connection is open.
pub(super) fn number_of(opened: &Opened) -> usize {
    let address = opened.wire.local_addr().expect("a line has an address");
    usize::from(address.port())
}

/// True if its peer has left before it was open.
fn is_abandoned(record: &Record) -> bool {
    let line = record.line.borrow();
    let has_ended = line.has_ended && line.unread.is_empty();
    line.is_reset || (has_ended && !record.peer.is_open_with(line.arrived))
}

/// True if its handshake has received all that it may.
fn is_too_long(record: &Record) -> bool {
    record.stages.is_sealed && record.read_behind_header() == RECEIVED_MAX
}

fn read_all(wire: &mut Wire) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 1_000];
    loop {
        match wire.read(&mut buffer) {
            Ok(count @ 1..) => all.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return all,
        }
    }
}

/// Says the words, also where the wire takes them in pieces.
fn say(wire: &mut Wire) {
    let mut said = 0;
    while said < WORDS.len() || wire.has_unsent() {
        match wire.write(&WORDS[said..]) {
            Ok(count) => said += count,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
}

/// The plaintext that a peer hears.
fn heard(bytes: &[u8], is_sealed: bool) -> Vec<u8> {
    if !is_sealed {
        return bytes.to_vec();
    }
    let mut receiver = Receiver::default();
    receiver.receive(bytes);
    assert_eq!(receiver.fault, None);
    receiver.plain
}
