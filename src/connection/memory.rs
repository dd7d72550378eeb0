//! The memory that peers make a worker hold: an account of all its connections, kept up to date turn by turn, with one bound.
//!
//! A connection holds memory between two turns if input is not a whole message, in a ring or in its decoder, or if output is
//! pending, with the completions that wait for it; and if it subscribes to topics. Counted is the memory itself: the capacity of
//! the rings that it has borrowed, the [completions](super::completion::Completions), and
//! [`Decode::held`](crate::protocol::Decode::held). A subscription counts as much as one in a topic of its own may take
//! ([`SUBSCRIPTION_BYTES`]), and the name, since the other subscribers may leave.
//!
//! Each connection remembers how much it was last charged with, so a change costs one addition, and a connection that holds
//! nothing before and after its turn is not looked at. Its subscriptions are charged when they begin and end, so that a
//! connection which has some and nothing else takes the fast path all the same.
//!
//! | worker's memory | state | meaning |
//! | --- | --- | --- |
//! | up to 3/4 of the bound | calm | nobody is slowed |
//! | above 3/4 | slowed, until 5/8 or for the [patience](Bounds::patience) | connections with more than their [share](Memory::share) are not read |
//! | the same, and the patience is over | patience lost, until 5/8 | everybody is read again, so that messages can end |
//! | above the bound | | the connections that hold most [are ended](super::victims), until 7/8 |

use std::time::Duration;

use super::Connection;
use super::burdens::Burdens;
use super::gate::Gate;
use super::lifecycle::Stage;
use super::loop_state::LoopState;
use super::topics::SUBSCRIPTION_BYTES;
use crate::shared::sync::atomic::Ordering;
use crate::wheel::TimerKey;

/// Bytes in a unit of the account: small beside the least ring, and 2^32 units are more than a connection can hold.
pub(crate) const UNIT: usize = 64;

/// The bound on a worker's memory, and the time for which it slows connections down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes; `usize::MAX` for no bound.
    pub(crate) bytes: usize,
    /// The longest time for which connections are not read because the worker's memory is short. A message that is not
    /// read cannot end, so without this one that waits could wait for ever.
    pub(crate) patience: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            bytes: 1024 * 1024 * 1024,
            patience: Duration::from_secs(5),
        }
    }
}

/// The units with which a connection is charged for a subscription to a topic whose name has this many bytes.
fn subscription_units(name: usize) -> u32 {
    units(name.saturating_add(SUBSCRIPTION_BYTES))
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// The memory with which one connection is charged for its buffers, in units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charge {
    /// Its rings, for input and output, and its completions.
    rings: u32,
    /// Its decoder's, beside the rings.
    decoder: u32,
}

impl Charge {
    #[inline]
    pub(crate) fn is_nothing(self) -> bool {
        self.rings | self.decoder == 0
    }

    /// All of it, in units.
    fn units(self) -> u64 {
        u64::from(self.rings) + u64::from(self.decoder)
    }
}

/// The state of a worker whose memory is, or was, short.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Course {
    Calm,
    /// Connections with more than their share are not read, until the timer.
    Slowed(TimerKey),
    PatienceLost,
}

/// See the [module](self).
pub(crate) struct Memory {
    /// Units with which all connections together are charged.
    held: u64,
    bound: u64,
    patience: Duration,
    pub(crate) course: Course,
    /// Slots of connections that were ended because the bound was passed, to be moved on by the reactor.
    pub(crate) victims: Vec<u32>,
    /// The memory of completions of ended connections is no longer counted, so all of these are called at the end of the iteration.
    pub(crate) awaits_ends: bool,
    /// The searches for victims since the simulation has looked.
    #[cfg(test)]
    pub(crate) searches: Vec<Search>,
    /// The connections that were held back since the simulation has looked.
    #[cfg(test)]
    pub(crate) held_back: Vec<super::id::ConnId>,
}

/// A search for victims, as the simulation checks it: what each connection held, in units.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) held: Vec<(super::id::ConnId, u64)>,
}

impl Memory {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Memory {
            held: 0,
            bound: (bounds.bytes / UNIT) as u64,
            patience: bounds.patience,
            course: Course::Calm,
            victims: Vec::new(),
            awaits_ends: false,
            #[cfg(test)]
            searches: Vec::new(),
            #[cfg(test)]
            held_back: Vec::new(),
        }
    }

    /// Units with which all connections together are charged.
    #[cfg(test)]
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// True if connections must be ended.
    #[inline]
    pub(crate) fn exceeds_bound(&self) -> bool {
        self.held > self.bound
    }

    /// True if enough connections were ended. The eighth that a newcomer has to fill again pays for the next search.
    pub(crate) fn is_relieved(&self) -> bool {
        self.held <= self.bound - self.bound / 8
    }

    /// True if connections must be slowed, and are not.
    #[inline]
    pub(crate) fn must_slow(&self) -> bool {
        self.held > self.bound - self.bound / 4 && matches!(self.course, Course::Calm)
    }

    /// True if the worker's memory was short and is not any more.
    #[inline]
    pub(crate) fn has_calmed(&self) -> bool {
        !matches!(self.course, Course::Calm) && self.is_ample()
    }

    /// True if nobody need be slowed. The mark lies below the one from which on connections are slowed, so that what is
    /// received in between pays for the walks over all connections.
    pub(crate) fn is_ample(&self) -> bool {
        self.held <= self.bound / 8 * 5
    }

    #[inline]
    pub(crate) fn is_slowed(&self) -> bool {
        matches!(self.course, Course::Slowed(_))
    }

    /// The units that a connection may hold without being slowed or ended: half of the part that each of `connections` would
    /// have of the bound. All that stay within theirs hold half of the bound together, so above that others must hold more.
    pub(crate) fn share(&self, connections: usize) -> u64 {
        self.bound / 2 / connections.max(1) as u64
    }

    /// Replaces a part of a connection's charge, in units. True if that has changed anything.
    fn replace(&mut self, part: &mut u32, units: u32) -> bool {
        let before = std::mem::replace(part, units);
        self.held = self.held + u64::from(units) - u64::from(before);
        units != before
    }
}

impl LoopState {
    /// Shows the worker's memory to other threads.
    fn show_memory(&self) {
        let bytes = self.memory.held.saturating_mul(UNIT as u64);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.shared.held.store(bytes, Ordering::Relaxed);
    }
}

impl Connection {
    /// Bytes of the rings that the connection has borrowed, and of the completions that wait for its output.
    pub(crate) fn ring_bytes(&self) -> usize {
        let input = self.input.as_ref().map_or(0, |ring| ring.capacity());
        input + self.output.capacity() + self.completion_bytes()
    }

    /// Bytes of the completions that wait for output, or for their turn at the end of the connection.
    fn completion_bytes(&self) -> usize {
        // Only a connection that has some is looked at closely.
        if !self.burdens.has(Burdens::COMPLETING) {
            return 0;
        }
        let extra = self.extra.as_ref();
        extra.map_or(0, |extra| extra.completions.bytes())
    }

    /// Charges the connection with the rings and completions that it has now.
    pub(crate) fn charge_rings(&mut self, state: &mut LoopState) {
        let bytes = self.ring_bytes();
        if state.memory.replace(&mut self.charge.rings, units(bytes)) {
            state.show_memory();
        }
    }

    /// Charges the connection with the bytes that its decoder holds now.
    #[cold]
    pub(crate) fn charge_decoder(&mut self, state: &mut LoopState, bytes: usize) {
        if state.memory.replace(&mut self.charge.decoder, units(bytes)) {
            state.show_memory();
        }
    }

    /// Charges the connection with a subscription that has begun, to a topic whose name has this many bytes. The end of the turn
    /// compares the sum with the bound.
    pub(crate) fn charge_subscription(&mut self, state: &mut LoopState, name: usize) {
        let units = self.subscribed().saturating_add(subscription_units(name));
        self.replace_subscribed(state, units);
        self.burdens.set(Burdens::COMPLETING, true);
    }

    /// Gives back what [`charge_subscription`](Self::charge_subscription) has charged for this name.
    pub(crate) fn uncharge_subscription(&mut self, state: &mut LoopState, name: usize) {
        let units = self.subscribed().saturating_sub(subscription_units(name));
        self.replace_subscribed(state, units);
        self.burdens.set(Burdens::COMPLETING, true);
    }

    /// Charges the connection with no subscription any more: they have ended, or are about to.
    pub(crate) fn uncharge_all_subscriptions(&mut self, state: &mut LoopState) {
        self.replace_subscribed(state, 0);
    }

    fn replace_subscribed(&mut self, state: &mut LoopState, units: u32) {
        if let Some(extra) = &mut self.extra {
            if state.memory.replace(&mut extra.subscribed, units) {
                state.show_memory();
            }
        }
    }

    /// Units with which the connection is charged for its subscriptions.
    fn subscribed(&self) -> u32 {
        self.extra.as_ref().map_or(0, |extra| extra.subscribed)
    }

    /// All that the connection is charged with, in units.
    pub(crate) fn units(&self) -> u64 {
        self.charge.units() + u64::from(self.subscribed())
    }

    /// True if the decoder is charged for.
    #[inline]
    pub(crate) fn has_decoder_charge(&self) -> bool {
        self.charge.decoder > 0
    }

    /// Gives the rings back, and charges the connection with nothing more: it is over. Its completions are called at the end of the
    /// iteration, whatever time they take, so that a [victim](super::victims) frees all that it was charged with.
    pub(crate) fn release_memory(&mut self, state: &mut LoopState) {
        if self.completion_bytes() > 0 {
            self.burdens.set(Burdens::COMPLETING, false);
            state.memory.awaits_ends = true;
        }
        self.uncharge_all_subscriptions(state);
        if let Some(ring) = self.input.take() {
            state.pool.give_back(ring);
        }
        self.output.release(&mut state.pool);
        if !self.charge.is_nothing() {
            self.charge_decoder(state, 0);
            self.charge_rings(state);
        }
    }

    /// While the worker slows connections: holds input back if this one has more than its share, and only then. An end that
    /// is under way frees memory, so nothing slows it.
    pub(crate) fn keep_share(&mut self, state: &mut LoopState, connections: usize) {
        if !state.memory.is_slowed() {
            return;
        }
        let share = state.memory.share(connections);
        if self.units() > share && !self.life.is_closed() {
            // The pool may have lent a ring that is larger than what is kept in it.
            self.trim_rings(state);
        }
        let is_large = self.units() > share;
        if is_large && self.life.stage() == Stage::Open {
            self.hold_back(Gate::MEMORY);
            #[cfg(test)]
            state.memory.held_back.push(self.id);
        } else if self.gate.has(Gate::MEMORY) {
            self.listen_again(Gate::MEMORY, state.tick);
            state.queue(self);
        }
    }

    /// Hands pending output to the socket, and gives the unused part of the rings back to the allocator.
    pub(crate) fn trim_rings(&mut self, state: &mut LoopState) {
        if !self.life.has_sent_end() {
            self.output.flush();
        }
        self.output.return_ring(&mut state.pool);
        if let Some(ring) = &mut self.input {
            ring.shrink_to(TRIMMED);
        }
        self.output.trim(TRIMMED);
        self.charge_rings(state);
    }
}

/// The capacity below which a ring is not trimmed.
const TRIMMED: usize = 512;
