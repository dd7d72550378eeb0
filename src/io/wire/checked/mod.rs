//! A sealed wire, driven by operations that bytes stand for, and compared with a model of both directions.
//!
//! The fuzz target `wire` calls [`check`] with bytes of the fuzzer; the unit tests call it with its seeds and with random bytes. It is
//! inside of the library because the wire and the [double](super::double) of a seal are no part of the public interface.

mod peer;
mod plan;

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::sync::OnceLock;

use self::peer::Peer;
use self::plan::{Operation, Plan};
use super::Wire;
use super::double::{Choose, Double, HIDDEN, Log, Receiver};
use super::scripted::{Scripted, numbered};
use super::sealed::{ANSWERS_MAX, HELD_MAX, PIECE, RECORD_COST, SEAL_ROOM, Sealed};

/// Bytes of plaintext in each direction; operations send no more.
const MAX_BYTES: usize = 256 * 1024;
/// Most bytes of records that may wait to be sent. A peer that causes more answers is refused.
const UNSENT_MAX: usize = ANSWERS_MAX + PIECE + SEAL_ROOM;

/// Carries out the plan that `data` stands for. With `FUZZ_PRINT` set the plan is printed, to explain a finding.
///
/// # Panics
/// If the wire violates its contract.
pub(crate) fn check(data: &[u8]) {
    let plan = Plan::decode(data);
    if std::env::var_os("FUZZ_PRINT").is_some() {
        eprintln!("{plan:#?}");
    }
    let mut checked = Checked::new(&plan);
    checked.compare();
    for operation in plan.operations {
        checked.apply(operation);
        if checked.is_over {
            break;
        }
        checked.compare();
    }
    checked.finish();
}

/// The plaintext of both directions.
fn plain() -> &'static [u8] {
    static PLAIN: OnceLock<Vec<u8>> = OnceLock::new();
    PLAIN.get_or_init(|| numbered(MAX_BYTES))
}

/// Choices that repeat. A choice of 255 is the highest number below each bound, as "one in n" demands.
fn repeating(choices: Vec<u8>) -> Choose {
    if choices.is_empty() {
        return Box::new(|bound| if bound > 40 { bound - 1 } else { 0 });
    }
    let mut next = choices.into_iter().cycle();
    Box::new(move |bound| usize::from(next.next().unwrap_or(0)) * bound / 256)
}

/// See the [module](self).
struct Checked {
    wire: Wire,
    script: Scripted,
    log: Rc<RefCell<Log>>,
    peer: Peer,
    /// An event has come, and no read has shown since that nothing is left: the mark by which a connection knows that it must read.
    is_readable: bool,
    /// Bytes of plaintext that reads have returned.
    received: usize,
    /// A read has returned the end.
    has_met_end: bool,
    /// Reads in a row that have brought nothing, neither bytes nor records.
    idle_reads: usize,
    /// Bytes of plaintext that writes have reported.
    written: usize,
    /// The peer, which opens what the stream has taken, up to `seen` bytes of it.
    receiver: Receiver,
    seen: usize,
    /// Bytes of plaintext of the receiver that were compared.
    compared: usize,
    /// Bytes of records that came with the handshake.
    came_early: usize,
    /// The most bytes that were held at a time since none was, and the same for those that were unsent.
    most_held: usize,
    most_unsent: usize,
    /// The wire has failed, as its peer or its stream deserves: the connection ends without further calls.
    is_over: bool,
}

impl Checked {
    fn new(plan: &Plan) -> Self {
        let script = Scripted::default();
        let log = Rc::new(RefCell::new(Log::default()));
        let mut double = Double::new(repeating(plan.choices.clone()), log.clone());
        let mut peer = Peer::default();
        let mut early = Vec::new();
        if plan.came_early.get() > 0 {
            peer.send(plain(), plan.came_early.get());
            early = peer.arrive(usize::MAX);
            let kept = early.len().saturating_sub(usize::from(plan.early_cut));
            peer.take_back(&early.split_off(kept));
            early.shrink_to_fit();
        }
        let unsent = match plan.has_unsent {
            true => double.make(HIDDEN, &[0; 9]),
            false => Vec::new(),
        };
        let came_early = early.len();
        let sealed = Sealed::new(script.stream(), Box::new(double), early, unsent);
        let wire = Wire::Sealed(Box::new(sealed));
        assert!(wire.has_received(), "nobody reads what came early");
        Checked {
            wire,
            script,
            log,
            peer,
            is_readable: true,
            received: 0,
            has_met_end: false,
            idle_reads: 0,
            written: 0,
            receiver: Receiver::default(),
            seen: 0,
            compared: 0,
            came_early,
            most_held: 0,
            most_unsent: 0,
            is_over: false,
        }
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::PeerSends(size) => self.peer.send(plain(), size.get()),
            Operation::PeerSendsTiny(count) => {
                (0..count).for_each(|number| self.peer.send(plain(), usize::from(number % 4)));
            }
            Operation::PeerHides(size) => self.peer.hide(size.get()),
            Operation::PeerUpdates(count) => {
                (0..16 * usize::from(count)).for_each(|_| self.peer.ask());
            }
            Operation::PeerCloses => self.peer.close(),
            Operation::PeerSpoils(spoil) => self.peer.spoil(spoil),
            Operation::PeerEnds => self.peer.has_ended = true,
            Operation::Arrive(size) => self.arrive(size.get()),
            Operation::ArriveAll => self.arrive(usize::MAX),
            Operation::ArriveLate => self.arrive(0),
            Operation::Read(room) => self.read(room.get().max(1)),
            Operation::ReadAll(room) => self.read_all(room.get().max(1)),
            Operation::Write(size) => self.write(&[size.get()]),
            Operation::WriteParts(sizes) => self.write(&sizes.map(|size| size.get())),
            Operation::StreamTakes(size) => {
                self.script.0.borrow_mut().takes.push_back(size.get());
            }
            Operation::PushUnsent => self.push_unsent(),
            Operation::SayEnd => self.say_end(),
            Operation::ShutDown => self.shut_down(),
            Operation::PeerResets => self.script.0.borrow_mut().is_reset = true,
        }
    }

    /// Lets bytes of the peer arrive, and its end behind the last. An event tells of them.
    fn arrive(&mut self, most: usize) {
        let bytes = self.peer.arrive(most);
        let is_late = most == 0;
        if is_late || !bytes.is_empty() {
            self.script.brings(&bytes);
            self.is_readable = true;
        }
        if self.peer.has_ended && self.peer.has_all_arrived() {
            self.script.0.borrow_mut().has_ended = true;
            self.is_readable = true;
        }
    }

    fn read_all(&mut self, room: usize) {
        while self.is_readable && !self.is_over {
            self.read(room);
        }
    }

    /// Reads once, and treats the outcome as a connection does.
    fn read(&mut self, room: usize) {
        let mut buffer = vec![0; room];
        let has_news = self.wire.has_news();
        let (misses, given) = self.reads();
        let outcome = self.wire.read(&mut buffer);
        let has_missed = self.reads().0 > misses;
        let is_blocked = is_blocked(&outcome);
        assert!(
            !is_blocked || has_missed,
            "it is not the stream that blocks"
        );
        assert_eq!(is_blocked, !has_news, "a look at the wire was wrong");
        let count = match outcome {
            Ok(0) => return self.meet_end(),
            Ok(count) => self.receive(&buffer[..count]),
            Err(_) if is_blocked => 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.note_idle_read(given),
            Err(error) => return self.end_by(&error),
        };
        if is_blocked || self.wire.is_drained_by(count, room) {
            self.is_readable = false;
        }
        // This event has come behind the read.
        self.is_readable |= self.script.take_event();
        self.compare_memory();
    }

    /// Notes a read without plaintext: it has taken bytes from the stream or opened records, or the next one does.
    fn note_idle_read(&mut self, given_before: usize) -> usize {
        let is_idle = self.wire.work_of_read() < RECORD_COST && self.reads().1 == given_before;
        self.idle_reads = if is_idle { self.idle_reads + 1 } else { 0 };
        assert!(self.idle_reads < 2, "reads bring nothing and go on");
        0
    }

    fn receive(&mut self, bytes: &[u8]) -> usize {
        self.idle_reads = 0;
        assert!(!self.has_met_end, "plaintext comes behind the end");
        let end = self.received + bytes.len();
        let arrived = self.peer.arrived().plain;
        assert!(end <= arrived, "more plaintext comes than was sent");
        assert!(
            bytes == &plain()[self.received..end],
            "other plaintext comes than was sent"
        );
        self.received = end;
        bytes.len()
    }

    /// A read has returned the end: all plaintext came before it.
    fn meet_end(&mut self) {
        self.is_readable = false;
        self.has_met_end = true;
        assert_eq!(self.received, self.peer.arrived().plain, "lost plaintext");
        let has_closed = self.peer.has_close_arrived();
        assert!(has_closed || self.script.0.borrow().has_ended);
        assert_eq!(self.wire.was_cut_off(), !has_closed);
    }

    /// The wire has failed: because the stream was reset, or because the peer deserves it.
    fn end_by(&mut self, error: &io::Error) {
        self.is_over = true;
        if error.kind() == io::ErrorKind::ConnectionReset {
            assert!(self.script.0.borrow().is_reset);
            return;
        }
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        if !self.log.borrow().is_refused {
            assert!(self.unsent() > UNSENT_MAX, "{error}");
            return;
        }
        assert!(self.peer.has_spoil_arrived(), "nothing is to be refused");
        assert_eq!(self.received, self.peer.arrived().plain, "lost plaintext");
        if self.script.0.borrow().is_reset {
            return;
        }
        self.compare_sent();
        let is_told = self.receiver.is_refused || self.wire.has_said_end();
        let has_ended = self.script.0.borrow().is_shut;
        assert_eq!(has_ended, !self.wire.has_unsent());
        assert!(is_told || !has_ended, "the peer is not told");
    }

    /// Writes parts of these lengths, and more if the wire is committed to more.
    fn write(&mut self, lengths: &[usize]) {
        if self.wire.has_said_end() {
            return;
        }
        let mut rest = &plain()[self.written..];
        let mut parts = Vec::new();
        let total: usize = lengths.iter().sum();
        let missing = self.wire.committed().saturating_sub(total);
        for &length in lengths.iter().chain([&missing]) {
            let (part, behind) = rest.split_at(length.min(rest.len()));
            parts.push(IoSlice::new(part));
            rest = behind;
        }
        let offered = plain().len() - self.written - rest.len();
        let refusals = self.refusals();
        let outcome = match &parts[..] {
            [one, last] if last.is_empty() => self.wire.write(one),
            parts => self.wire.write_vectored(parts),
        };
        let was_refused = self.refusals() > refusals;
        match outcome {
            Ok(count) => {
                assert!(count <= offered && (count > 0 || offered == 0));
                assert_eq!(count < offered, self.wire.has_unsent());
                assert!(count == offered || was_refused, "nothing was in the way");
                self.written += count;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                assert!(was_refused && self.wire.has_unsent());
            }
            Err(error) => self.end_by(&error),
        }
    }

    fn push_unsent(&mut self) {
        if !self.is_shut() {
            let refusals = self.refusals();
            let outcome = self.wire.push_unsent();
            self.note_push(outcome, refusals);
        }
    }

    fn say_end(&mut self) {
        if !self.is_shut() && self.wire.has_end_to_say() {
            let refusals = self.refusals();
            let outcome = self.wire.say_end();
            assert!(self.wire.has_said_end());
            self.note_push(outcome, refusals);
        }
    }

    /// Notes the outcome of a call that sends all records, unless the stream refuses some.
    fn note_push(&mut self, outcome: io::Result<()>, refusals_before: usize) {
        let was_refused = self.refusals() > refusals_before;
        match outcome {
            Ok(()) => assert!(!self.wire.has_unsent()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                assert!(was_refused && self.wire.has_unsent());
            }
            Err(error) => self.end_by(&error),
        }
    }

    /// Ends the stream, which a connection does only behind the end in the words of the seal.
    fn shut_down(&mut self) {
        if !self.is_shut() && !self.wire.has_end_to_say() {
            self.wire.shutdown_write().expect("the script allows it");
        }
    }

    /// The number of reads of the stream that found nothing, and the bytes that the others found.
    fn reads(&self) -> (usize, usize) {
        let script = self.script.0.borrow();
        (script.misses, script.given)
    }

    fn is_shut(&self) -> bool {
        self.script.0.borrow().is_shut
    }

    fn refusals(&self) -> usize {
        self.script.0.borrow().refusals
    }

    /// Bytes of records that were made and that the stream has not taken.
    fn unsent(&self) -> usize {
        self.log.borrow().made as usize - self.script.0.borrow().output.len()
    }

    /// Bytes of records that were received, and not opened.
    fn unopened(&self) -> usize {
        self.came_early + self.reads().1 - self.log.borrow().consumed as usize
    }

    /// Compares the wire with the model.
    fn compare(&mut self) {
        self.compare_sent();
        self.compare_received();
        self.compare_memory();
    }

    /// The peer has got all that was reported as written, in order, and nothing else but what the next write begins with.
    fn compare_sent(&mut self) {
        let script = self.script.0.borrow();
        self.receiver.receive(&script.output[self.seen..]);
        self.seen = script.output.len();
        assert_eq!(self.receiver.fault, None);
        let received = &self.receiver.plain;
        assert!(
            plain()[self.compared..].starts_with(&received[self.compared..]),
            "the peer gets other plaintext than was written"
        );
        self.compared = received.len();
        if self.is_over {
            return;
        }
        let (log, wire) = (self.log.borrow(), &self.wire);
        let sent = self.seen as u64;
        assert_eq!(wire.taken(self.written as u64), sent);
        assert!(self.written as u64 <= log.sealed_within(sent));
        assert_eq!(log.sealed, (self.written + wire.committed()) as u64);
        assert!(wire.gone() <= wire.committed() && wire.committed() <= PIECE);
        assert!(self.written + wire.gone() <= self.compared + self.receiver.begun());
        // Behind our end the answers of the seal are dropped.
        let has_unsent = wire.has_unsent();
        match wire.has_said_end() {
            true => assert_eq!(has_unsent, !self.receiver.has_ended),
            false => assert_eq!(has_unsent, log.made > sent),
        }
        let is_shut = self.script.0.borrow().is_shut;
        let has_end_to_say = !wire.has_said_end() || has_unsent;
        assert_eq!(wire.has_end_to_say(), has_end_to_say && !is_shut);
    }

    /// Nothing waits that no event and no mark will bring up.
    fn compare_received(&mut self) {
        let arrived = self.peer.arrived().plain;
        let (log, wire) = (self.log.borrow(), &self.wire);
        assert_eq!(log.opened, self.received as u64, "lost plaintext");
        assert!(arrived - self.received <= wire.receive_capacity());
        assert!(!log.is_at_hand || wire.has_received());
        assert!(self.has_met_end || !wire.was_cut_off());
        if self.is_readable || self.has_met_end {
            return;
        }
        assert!(self.script.0.borrow().is_exhausted(), "bytes are left");
        assert!(!wire.has_received(), "plaintext is left at hand");
        assert_eq!(self.received, arrived, "plaintext is left");
        assert!(!self.peer.has_close_arrived(), "the end is left");
        assert!(!self.peer.has_spoil_arrived(), "a bad record is left");
    }

    /// The wire holds no more than its limits allow, and nothing while it is idle.
    fn compare_memory(&mut self) {
        let (held, has_unsent) = (self.wire.held(), self.wire.has_unsent());
        let has_part = self.is_readable || self.peer.is_within_record();
        let is_idle = !has_unsent && (!has_part || self.has_met_end);
        assert!(!is_idle || held == 0, "an idle wire holds {held} bytes");
        if self.wire.has_said_end() {
            // The answers of a whole read were there before they were dropped.
            assert!(held <= 4 * (HELD_MAX + UNSENT_MAX));
            return;
        }
        let unsent = self.unsent();
        assert!(unsent <= UNSENT_MAX, "{unsent} bytes wait to be sent");
        let unopened = self.unopened();
        assert!(unopened <= HELD_MAX, "{unopened} bytes wait to be opened");
        let most = |most: usize, now: usize| if now == 0 { 0 } else { most.max(now) };
        self.most_held = most(self.most_held, unopened);
        self.most_unsent = most(self.most_unsent, unsent);
        // A vector has up to twice the memory that it needs, and sent bytes stay until they are the larger part.
        let allowed = 2 * self.most_held + 4 * self.most_unsent + 16;
        assert!(held <= allowed, "{held} bytes are held, {allowed} allowed");
    }

    /// Lets all arrive and leave that is on its way, and checks that nothing is missing.
    fn finish(mut self) {
        if !self.is_over {
            self.arrive(usize::MAX);
            self.read_all(4096);
        }
        if !self.is_over {
            self.compare();
            self.send_rest();
        }
        self.wire.release();
        assert_eq!(self.wire.held(), 0);
    }

    fn send_rest(&mut self) {
        self.script.0.borrow_mut().takes.clear();
        if self.script.0.borrow().is_reset {
            return;
        }
        let had_said_end = self.wire.has_said_end();
        self.write(&[1]);
        self.push_unsent();
        self.say_end();
        assert!(!self.is_over && !self.wire.has_end_to_say());
        self.shut_down();
        self.compare();
        let (receiver, log) = (&self.receiver, self.log.borrow());
        assert!(receiver.has_ended && !receiver.is_within_record());
        assert_eq!(receiver.plain.len() as u64, log.sealed);
        let answers = self.peer.arrived().answers;
        assert!(receiver.answers == answers || had_said_end && receiver.answers < answers);
    }
}

fn is_blocked<T>(outcome: &io::Result<T>) -> bool {
    let error = outcome.as_ref().err();
    error.is_some_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
