//! One connection as its worker keeps it, whatever its protocol: its life cycle, deadlines, limits and buffers.

pub(crate) mod burdens;
pub(crate) mod callback_budget;
pub(crate) mod callback_time;
pub(crate) mod close_reason;
mod closing;
pub(crate) mod completion;
pub(crate) mod due;
pub(crate) mod extra;
pub(crate) mod fair_queue;
pub(crate) mod gate;
pub(crate) mod id;
pub(crate) mod lag;
pub(crate) mod lifecycle;
pub(crate) mod limits;
pub(crate) mod loop_state;
pub(crate) mod marks;
pub(crate) mod memory;
mod name_table;
pub(crate) mod pace;
pub(crate) mod post_pace;
mod pressure;
pub(crate) mod send_error;
pub(crate) mod send_status;
mod silence;
pub(crate) mod subscribe_error;
pub(crate) mod subscribers;
pub(crate) mod table;
pub(crate) mod timers;
mod topic_log;
pub(crate) mod topics;
pub(crate) mod turn_lists;
pub(crate) mod victims;
mod weight;

use std::sync::Arc;

use ringwheel_ringbuffer::RingBuffer;

use crate::connection::burdens::Burdens;
use crate::connection::close_reason::Cause;
use crate::connection::extra::Extra;
use crate::connection::gate::Gate;
use crate::connection::id::ConnId;
use crate::connection::lifecycle::{Lifecycle, Stage};
use crate::connection::marks::Marks;
use crate::connection::memory::Charge;
use crate::connection::timers::Timers;
use crate::io::address::Address;
use crate::io::output::Output;
use crate::io::wire::Wire;
use crate::shared::LoopShared;
use crate::shared::control::Control;

/// The progress of one connection in the drain of its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Draining {
    No = 0,
    /// It answers what has arrived.
    Answering,
    /// It has answered, and waits until it can miss nothing more.
    Answered,
    /// Its handler was told, and closes it now or later.
    Told,
}

impl Draining {
    /// True if the connection is to be told, and was not told yet.
    #[inline]
    pub(crate) fn is_under_way(self) -> bool {
        matches!(self, Draining::Answering | Draining::Answered)
    }
}

/// One connection.
///
/// Invariants:
/// - `gate` has `CLOSING` exactly when the connection does not [take input](Lifecycle::takes_input).
/// - `cause` is set when the connection is not [active](Lifecycle::is_active).
/// - `input` holds at least one byte when it is there, and fewer than `needed` unless the gate is shut or the connection is on
///   the ready list.
/// - While it [is undisturbed](Self::is_undisturbed) and has no output ring, `timers.write` is not set.
///
/// The order is that of the declaration, so that what every turn looks at lies together, and first.
#[repr(C)]
pub(crate) struct Connection {
    pub(crate) id: ConnId,
    /// Index of the service among the worker's.
    pub(crate) service: u16,
    pub(crate) marks: Marks,
    /// The reason of the end, once there is one.
    pub(crate) cause: Option<Cause>,
    // Eight bytes that `is_undisturbed` looks at as one word: nothing but bytes, all of them zero while nothing is going on.
    pub(crate) life: Lifecycle,
    pub(crate) gate: Gate,
    /// The kernel may have more for us: set by an event, cleared when a read found the end of it.
    pub(crate) readable: bool,
    /// Reads must go on until the socket says `WouldBlock` or end of stream: a short read proves nothing.
    pub(crate) drain_fully: bool,
    pub(crate) draining: Draining,
    pub(crate) burdens: Burdens,
    /// The key of the typed side in the service's table.
    pub(crate) key: u32,
    /// Bytes of input before the protocol is asked again. No input limit reaches `u32::MAX`.
    pub(crate) needed: u32,
    /// The memory that the connection's buffers held at the end of its last turn.
    pub(crate) charge: Charge,
    /// Input that is not consumed yet.
    pub(crate) input: Option<Box<RingBuffer>>,
    pub(crate) output: Output,
    /// Bytes received since the connection opened.
    pub(crate) received: u64,
    /// Messages that have come whole: of one that is delivered in pieces the last counts.
    pub(crate) messages_in: u64,
    /// Messages taken by `send`.
    pub(crate) messages_out: u64,
    /// The tick of the last received byte.
    pub(crate) active_at: u64,
    pub(crate) peer: Address,
    pub(crate) timers: Timers,
    pub(crate) extra: Option<Box<Extra>>,
}

impl Connection {
    pub(crate) fn new(id: ConnId, service: u16, wire: Wire, peer: Address, tick: u64) -> Self {
        Connection {
            id,
            service,
            marks: Marks::default(),
            cause: None,
            life: Lifecycle::new(),
            gate: Gate::default(),
            readable: false,
            drain_fully: false,
            draining: Draining::No,
            burdens: Burdens::default(),
            key: u32::MAX,
            needed: 1,
            charge: Charge::default(),
            input: None,
            output: Output::new(wire),
            received: 0,
            messages_in: 0,
            messages_out: 0,
            active_at: tick,
            peer,
            timers: Timers::default(),
            extra: None,
        }
    }

    /// True if the connection is open, nothing holds it back, nothing is under way, and its buffers held no memory at the end of
    /// its last turn: the state between most turns.
    ///
    /// It may hold input that is not a whole message, and output that the socket does not take, if both are of this turn.
    #[inline]
    pub(crate) fn is_undisturbed(&self) -> bool {
        let [stage, own, peer] = self.life.bytes();
        // Two halves, each of which the compiler reads at once.
        let first = u32::from_ne_bytes([stage, own, peer, self.gate.bits()]);
        let second = u32::from_ne_bytes([
            u8::from(self.readable),
            u8::from(self.drain_fully),
            self.draining as u8,
            self.burdens.bits(),
        ]);
        first == 0 && second == 0 && self.charge.is_nothing()
    }

    /// True if the connection is undisturbed and holds neither input nor output: only input can happen next.
    #[inline]
    pub(crate) fn only_awaits_input(&self) -> bool {
        let awaits = self.is_undisturbed();
        // Between two turns a connection that is charged with nothing has no ring, and its wire is empty.
        debug_assert!(!awaits || (self.input.is_none() && self.output.holds_nothing()));
        debug_assert!(!awaits || self.timers.write.is_none());
        debug_assert!(!awaits || self.needed == 1);
        awaits
    }

    /// True if nothing is pending and nothing is about to change, so that the end of a turn has nothing more to do.
    ///
    /// Unlike [`is_undisturbed`](Self::is_undisturbed) it leaves the input out of account.
    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        self.gate.is_open()
            && self.output.is_empty()
            && !self.output.has_unsent()
            && !self.output.has_failed()
            && !self.burdens.has(Burdens::COMPLETING)
            && self.timers.write.is_none()
            && self.life.accepts_sends()
            && !self.draining.is_under_way()
    }

    /// True if an end now would lose messages that were accepted for the connection.
    pub(crate) fn loses_output(&self) -> bool {
        !self.output.is_empty() || self.burdens.has(Burdens::OWES)
    }

    /// True if the connection neither holds buffers nor is charged for any.
    #[inline]
    pub(crate) fn holds_nothing(&self) -> bool {
        self.charge.is_nothing() && self.input.is_none() && self.output.holds_nothing()
    }

    /// True if a turn would find something to do that no event will announce.
    pub(crate) fn has_work(&self) -> bool {
        let end_unannounced = self.gate.is_open() && self.life.has_unannounced_end();
        (self.readable && self.wants_input())
            || self.has_deliverable()
            || end_unannounced
            || self.has_due_completions()
    }

    /// True if completions wait only for a turn: the budget of the last one was spent.
    pub(crate) fn has_due_completions(&self) -> bool {
        let extra = self.extra.as_ref();
        let extra =
            extra.filter(|_| self.burdens.has(Burdens::COMPLETING) && !self.life.is_closed());
        extra.is_some_and(|extra| extra.completions.is_due(self.output.written()))
    }

    /// True if completions wait, for output or for their turn.
    pub(crate) fn has_completions(&self) -> bool {
        let extra = self.extra.as_ref();
        extra.is_some_and(|extra| !extra.completions.is_empty())
    }

    /// True if the input that is kept can be delivered: a turn has ended between two messages, or the gate has opened.
    pub(crate) fn has_deliverable(&self) -> bool {
        self.gate.is_open() && self.kept() >= self.needed as usize
    }

    /// Number of sources that are not done.
    #[inline]
    pub(crate) fn sources(&self) -> usize {
        match &self.extra {
            Some(extra) => extra.sources.count,
            None => 0,
        }
    }

    /// True if the end of the connection waits for sources and for nothing else.
    pub(crate) fn awaits_sources(&self) -> bool {
        let is_asked_for = self.is_finishing() || self.life.awaits_own_end_only();
        is_asked_for && self.sources() > 0 && self.life.stage() == Stage::Open
    }

    /// True if the connection has ended before all that was sent, or was to be sent by its sources, was with the kernel.
    pub(crate) fn has_lost_output(&self) -> bool {
        let extra = self.extra.as_ref();
        self.loses_output() || extra.is_some_and(|extra| extra.sources.are_lost)
    }

    /// True if the first source may send something now.
    pub(crate) fn may_draw(&self, low_water: usize) -> bool {
        let sources = self.extra.as_ref().map(|extra| extra.sources);
        let has_more = sources.is_some_and(|sources| sources.count > 0 && !sources.is_waiting);
        has_more && self.life.stage() == Stage::Open && self.output.len() <= low_water
    }

    /// True if bytes from the peer are of any use now: to deliver, or to discard while closing.
    #[inline]
    pub(crate) fn wants_input(&self) -> bool {
        !self.life.is_closed()
            && !self.life.peer_has_ended()
            && (self.gate.is_open() || self.discards_input())
    }

    /// True if input is read only to be discarded. While the connection lingers long that is done at a slow pace.
    fn discards_input(&self) -> bool {
        let linger = self.extra.as_ref().and_then(|extra| extra.long_linger);
        !self.life.takes_input() && linger.is_none_or(|linger| self.received < linger.read_until)
    }

    /// Input that is kept, in bytes.
    pub(crate) fn kept(&self) -> usize {
        self.input.as_ref().map_or(0, |ring| ring.len())
    }

    /// The part that other threads reach, made by the first call.
    pub(crate) fn control(&mut self, worker: &Arc<LoopShared>) -> &Arc<Control> {
        let slot = self.id.slot;
        self.extra_or_new()
            .control
            .get_or_insert_with(|| Arc::new(Control::new(worker.clone(), slot)))
    }

    /// The rarely needed state, allocated by the first call.
    pub(crate) fn extra_or_new(&mut self) -> &mut Extra {
        self.extra.get_or_insert_with(Box::default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An idle connection costs its entry here and little else; what makes it larger wants a reason.
    #[test]
    #[cfg(all(target_pointer_width = "64", not(mio_unsupported_force_poll_poll)))]
    fn a_connection_stays_small() {
        // In debug builds mio keeps the name of its poll with each socket.
        let of_debug_builds = if cfg!(debug_assertions) { 8 } else { 0 };
        assert!(
            size_of::<Connection>() <= 200 + of_debug_builds,
            "{} bytes",
            size_of::<Connection>()
        );
    }
}
