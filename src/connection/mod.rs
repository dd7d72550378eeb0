//! The state of one connection, whatever its protocol.

pub(crate) mod close_reason;
pub(crate) mod completion;
pub(crate) mod id;
pub(crate) mod limits;
pub(crate) mod loop_state;
pub(crate) mod send_status;
pub(crate) mod table;
pub(crate) mod topics;

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ringwheel_ringbuffer::RingBuffer;

use crate::connection::close_reason::Cause;
use crate::connection::completion::Completion;
use crate::connection::id::ConnId;
use crate::connection::topics::Subscription;
use crate::io::address::Address;
use crate::io::output::Output;
use crate::io::transport::Socket;
use crate::wheel::TimerKey;

/// How far a connection's life has gone. It only moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Messages are delivered and output is taken.
    Open,
    /// An orderly close was asked for.
    Closing,
    /// It is under way and has a deadline: what is pending is flushed, then our end of stream is sent and the peer's is
    /// awaited, and what arrives meanwhile is discarded.
    Ending,
    /// Over.
    Closed,
    /// Listed for removal at the end of the iteration.
    Departing,
}

/// How far the peer's end of stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum PeerEnd {
    Awaited,
    /// It was read; messages before it may still be undelivered.
    Read,
    /// The handler was told, or there was none to tell.
    Announced,
}

/// How far our end of stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum OwnEnd {
    Open,
    /// The protocol has said its last words, and awaits the peer's answer to them.
    Parting,
    /// It has a deadline for that.
    PartingTimed,
    /// To be sent once the output is empty; a close lets the protocol say its last words before.
    Requested,
    /// The last words are said: to be sent once the output is empty.
    Concluded,
    Sent,
}

/// Why messages are not delivered. Open for delivery when no reason is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Gate(u8);

impl Gate {
    /// The handler paused reading.
    pub(crate) const PAUSED: Gate = Gate(1);
    /// The output is above its high-water mark.
    pub(crate) const PRESSURE: Gate = Gate(2);
    /// The connection is not [`Phase::Open`].
    pub(crate) const CLOSING: Gate = Gate(4);

    #[inline]
    pub(crate) fn is_open(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(crate) fn has(self, reason: Gate) -> bool {
        self.0 & reason.0 != 0
    }

    #[inline]
    pub(crate) fn add(&mut self, reason: Gate) {
        self.0 |= reason.0;
    }

    #[inline]
    pub(crate) fn remove(&mut self, reason: Gate) {
        self.0 &= !reason.0;
    }
}

/// What else is known of a connection, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Marks(u8);

impl Marks {
    /// In the ready list.
    pub(crate) const QUEUED: Marks = Marks(1);
    /// The gate was shut since the time of the message that is awaited began.
    pub(crate) const WAS_SHUT: Marks = Marks(2);

    #[inline]
    pub(crate) fn has(self, mark: Marks) -> bool {
        self.0 & mark.0 != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, mark: Marks, to: bool) {
        self.0 = if to {
            self.0 | mark.0
        } else {
            self.0 & !mark.0
        };
    }
}

/// What the end of the server means to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Draining {
    No,
    /// It answers what has arrived.
    Answering,
    /// Its handler was told, and closes it now or later.
    Told,
}

/// What only few connections need, kept out of the way of the others.
#[derive(Default)]
pub(crate) struct Extra {
    /// Called once the output has reached the position (in bytes since the connection opened).
    pub(crate) completions: VecDeque<(u64, Completion)>,
    /// The handler's timers, to be cancelled with the connection.
    pub(crate) timers: HashSet<TimerKey>,
    /// What it subscribes to.
    pub(crate) subscriptions: Vec<Subscription>,
    /// Messages that were dropped because the output was full.
    pub(crate) dropped: u64,
    /// What the connection's remotes look at; made with the first of them.
    pub(crate) alive: Option<Arc<AtomicBool>>,
}

/// One connection, as the loop keeps it.
///
/// Invariants:
/// - `gate` has `CLOSING` exactly when `phase` is not `Open`.
/// - `cause` is set when `phase` is not `Open`, and while it is [parting](Self::is_parting).
/// - `input` holds at least one byte when it is there, and fewer than `needed` unless the gate is shut.
/// - While it [is calm](Self::is_calm) and has no output ring, `write_timer` is not set.
///
/// The order is that of the declaration, so that what every turn looks at lies together, and first.
#[repr(C)]
pub(crate) struct Connection {
    pub(crate) id: ConnId,
    /// Which of the worker's services.
    pub(crate) service: u16,
    pub(crate) marks: Marks,
    /// Why it ends.
    pub(crate) cause: Option<Cause>,
    // Eight bytes that `is_calm` looks at as one word: nothing but bytes, all of them zero while nothing is going on.
    pub(crate) phase: Phase,
    pub(crate) gate: Gate,
    /// The kernel may have more for us: set by an event, cleared when a read found the end of it.
    pub(crate) readable: bool,
    /// Reads must go on until the socket says `WouldBlock` or end of stream: a short read proves nothing.
    pub(crate) drain_fully: bool,
    pub(crate) peer_end: PeerEnd,
    pub(crate) own_end: OwnEnd,
    pub(crate) draining: Draining,
    /// There are completions to call.
    pub(crate) completing: bool,
    /// The key in the service.
    pub(crate) key: u32,
    /// Bytes of input before the protocol is asked again. No input limit reaches `u32::MAX`.
    pub(crate) needed: u32,
    /// Input that is not consumed yet.
    pub(crate) input: Option<Box<RingBuffer>>,
    pub(crate) output: Output,
    pub(crate) received: u64,
    /// Messages that have come whole: of one that is delivered in pieces the last counts.
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    /// The tick of the last received byte.
    pub(crate) active_at: u64,
    pub(crate) peer: Address,
    pub(crate) idle_timer: Option<TimerKey>,
    /// For the first message, or for one that was begun after it.
    pub(crate) message_timer: Option<TimerKey>,
    /// Write stall while open, close deadline afterwards.
    pub(crate) write_timer: Option<TimerKey>,
    /// The protocol's own deadline.
    pub(crate) protocol_timer: Option<TimerKey>,
    pub(crate) extra: Option<Box<Extra>>,
}

impl Connection {
    pub(crate) fn new(id: ConnId, service: u16, socket: Socket, peer: Address, tick: u64) -> Self {
        Connection {
            id,
            service,
            marks: Marks::default(),
            cause: None,
            phase: Phase::Open,
            gate: Gate::default(),
            readable: false,
            drain_fully: false,
            peer_end: PeerEnd::Awaited,
            own_end: OwnEnd::Open,
            draining: Draining::No,
            completing: false,
            key: u32::MAX,
            needed: 1,
            input: None,
            output: Output::new(socket),
            received: 0,
            messages_in: 0,
            messages_out: 0,
            active_at: tick,
            peer,
            idle_timer: None,
            message_timer: None,
            write_timer: None,
            protocol_timer: None,
            extra: None,
        }
    }

    /// Whether it is open, undisturbed, and waits for input that is not there yet: the usual state between two turns.
    #[inline]
    pub(crate) fn is_calm(&self) -> bool {
        let word = [
            self.phase as u8,
            self.gate.0,
            u8::from(self.readable),
            u8::from(self.drain_fully),
            self.peer_end as u8,
            self.own_end as u8,
            self.draining as u8,
            u8::from(self.completing),
        ];
        u64::from_ne_bytes(word) == 0
    }

    /// Whether nothing is kept, neither input nor output: an event of input is all that can happen next.
    #[inline]
    pub(crate) fn only_awaits_input(&self) -> bool {
        let awaits = self.is_calm() && self.input.is_none() && !self.output.has_ring();
        debug_assert!(!awaits || self.write_timer.is_none());
        debug_assert!(!awaits || self.needed == 1);
        awaits
    }

    /// Asks for an orderly close: flush, end of stream, linger. Only the first cause counts.
    pub(crate) fn close(&mut self, cause: Cause) {
        if self.phase == Phase::Open {
            self.set_cause(cause);
            self.phase = Phase::Closing;
            self.own_end = match self.own_end {
                OwnEnd::Open | OwnEnd::Requested => OwnEnd::Requested,
                OwnEnd::Parting | OwnEnd::PartingTimed | OwnEnd::Concluded => OwnEnd::Concluded,
                OwnEnd::Sent => OwnEnd::Sent,
            };
            self.gate.add(Gate::CLOSING);
        }
    }

    /// The last words were said, and the peer's answer to them is awaited: nothing more is sent, and input goes only to
    /// the protocol.
    pub(crate) fn part(&mut self, cause: Cause) {
        debug_assert!(self.phase == Phase::Open && self.own_end == OwnEnd::Open);
        self.set_cause(cause);
        self.own_end = OwnEnd::Parting;
        self.gate.remove(Gate::PAUSED);
    }

    #[inline]
    pub(crate) fn is_parting(&self) -> bool {
        matches!(self.own_end, OwnEnd::Parting | OwnEnd::PartingTimed)
    }

    /// What came first is what ended the connection: the end of the peer, or of the server.
    fn set_cause(&mut self, cause: Cause) {
        self.cause.get_or_insert(match cause {
            Cause::Local if self.peer_has_ended() => Cause::Peer,
            Cause::Local if self.draining != Draining::No => Cause::Shutdown,
            cause => cause,
        });
    }

    /// Ends the connection at once with a reset; what is pending is lost.
    pub(crate) fn abort(&mut self, cause: Cause) {
        if self.phase < Phase::Closed {
            self.output.socket().reset_on_drop();
            self.end_now(cause);
        }
    }

    /// Ends the connection because the socket failed.
    pub(crate) fn fail(&mut self, error: io::Error) {
        self.output.fail(error);
        self.end_now(Cause::Io);
    }

    /// Ends the connection without a further byte. An orderly cause gives way when output is lost.
    pub(crate) fn end_now(&mut self, cause: Cause) {
        if self.phase >= Phase::Closed {
            return;
        }
        let lost = !self.output.is_empty();
        if self.cause.is_none_or(|first| lost && first.is_orderly()) {
            self.cause = Some(cause);
        }
        if lost && !self.output.has_failed() {
            // The peer must not take a stream that was cut for a whole one.
            self.output.socket().reset_on_drop();
        }
        self.phase = Phase::Closed;
        self.gate.add(Gate::CLOSING);
    }

    /// Input that is kept, in bytes.
    pub(crate) fn kept(&self) -> usize {
        self.input.as_ref().map_or(0, |ring| ring.len())
    }

    #[inline]
    pub(crate) fn peer_has_ended(&self) -> bool {
        self.peer_end != PeerEnd::Awaited
    }

    /// Asks the socket, where input is held back, whether there is any: that it was not drained does not say so.
    pub(crate) fn look_for_input(&mut self) {
        if self.readable && !self.gate.is_open() && !self.output.socket().has_news() {
            self.readable = false;
            self.drain_fully = false;
        }
    }

    /// Whether the peer may have sent something that was not looked at yet: unread in the socket, or held back by the gate.
    pub(crate) fn is_unheard(&self) -> bool {
        (self.readable && !self.peer_has_ended()) || self.kept() >= self.needed as usize
    }

    /// Shuts the gate for input.
    pub(crate) fn shut(&mut self, reason: Gate) {
        self.gate.add(reason);
        self.marks.set(Marks::WAS_SHUT, true);
    }

    /// The time of the message that is awaited begins.
    pub(crate) fn begin_message(&mut self) {
        self.marks.set(Marks::WAS_SHUT, !self.gate.is_open());
    }

    /// Whether the peer is excused if the message that is awaited has not come: not all of the time was it listened to. It
    /// is told once for each time.
    pub(crate) fn is_excused(&mut self) -> bool {
        let was_shut = self.marks.has(Marks::WAS_SHUT);
        self.begin_message();
        self.look_for_input();
        was_shut || self.is_unheard()
    }

    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_with(Box::default)
    }

    /// Whether bytes from the peer are of any use now: to deliver, or to discard on the way out.
    #[inline]
    pub(crate) fn wants_input(&self) -> bool {
        self.phase < Phase::Closed
            && !self.peer_has_ended()
            && (self.gate.is_open() || self.phase != Phase::Open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An idle connection costs its entry here and little else; what makes it larger wants a reason.
    #[test]
    #[cfg(all(target_pointer_width = "64", not(mio_unsupported_force_poll_poll)))]
    fn a_connection_stays_small() {
        assert!(
            size_of::<Connection>() <= 200,
            "{} bytes",
            size_of::<Connection>()
        );
    }
}
