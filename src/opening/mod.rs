//! Connections before their protocol sees them: PROXY header and handshake, within a deadline and limits.

mod failure;
mod origins;
mod queue;
pub(crate) mod room;
mod stages;
pub(crate) mod terms;
#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

use crate::accept::admission::Admission;
use crate::io::address::Address;
use crate::io::stream::Stream;
use crate::panics::contain_drop;
use crate::shared::LoopShared;
use crate::shared::arrival::Arrival;
use crate::shared::token::{OpeningName, Token};
use crate::wheel::{TickClock, TimerKey, Wheel};

use failure::OpeningFailure;
use origins::{Origin, Origins};
pub(crate) use stages::Opened;
use stages::{Newcomer, Next, Opening};
use terms::OpeningTerms;

/// The time after which no further step of a handshake is begun in an iteration of a loop, during which open connections wait. A step
/// takes some microseconds where it has a part of a message, 0.2 ms where it signs with ECDSA, over 1 ms where it signs with RSA, and
/// up to 7 ms where it verifies a client's certificate.
const HANDSHAKE_TIME: Duration = Duration::from_millis(2);
/// The longest wait for the end of a peer whose handshake has failed, once all was said to it.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes that are received at a time.
const SCRATCH: usize = 16 * 1024;

/// The openings of one worker. As the reactor it has no poll and no clock: events and the time are handed in.
///
/// | limit | default | beyond it |
/// | --- | --- | --- |
/// | the time for all stages | 10 s | a last look at what has arrived, then a reset |
/// | openings at a time | 1,024 | of the [origin](Origin) with the most, the one that has made no progress for longest gives way, with a reset |
/// | bytes before the handshake ends | 64 KiB | a reset |
/// | steps of handshakes in an iteration | as many as begin within 2 ms | the others wait: origins take turns, and of an origin the first come first |
pub(crate) struct Openings {
    /// The terms of each service. `None` if its connections open without stages.
    terms: Vec<Option<Arc<OpeningTerms>>>,
    limit: usize,
    clock: TickClock,
    shared: Arc<LoopShared>,
    admission: Arc<Admission>,
    entries: Slab<Entry>,
    wheel: Wheel<OpeningName>,
    /// The order in which openings have their steps, and in which they give way.
    origins: Origins,
    /// Counts the openings.
    generation: u32,
    /// Connections that are open, and that the loop has not taken.
    opened: Vec<Opened>,
    /// The tick at which a drain drops what is left.
    drain_ends: Option<u64>,
    scratch: Box<[u8]>,
}

struct Entry {
    opening: Opening,
    name: OpeningName,
    /// `u64::MAX` if no deadline is left, because the last one has passed.
    deadline: u64,
    timer: TimerKey,
    /// Its group among the origins.
    group: u32,
    /// True if its handshake can go on, and waits for its turn.
    is_due: bool,
    /// True if the deadline has passed. Then all that had arrived was received, and nothing more is: the handshake has only the
    /// steps left for which that suffices.
    is_overdue: bool,
}

impl Openings {
    pub(crate) fn new(
        terms: Vec<Option<Arc<OpeningTerms>>>,
        limit: usize,
        clock: TickClock,
        shared: Arc<LoopShared>,
        admission: Arc<Admission>,
    ) -> Self {
        let mut openings = Openings {
            terms: Vec::new(),
            limit,
            clock,
            shared,
            admission,
            entries: Slab::new(),
            wheel: Wheel::new(),
            origins: Origins::default(),
            generation: 0,
            opened: Vec::new(),
            drain_ends: None,
            scratch: Box::default(),
        };
        for terms in terms {
            openings.add_service(terms);
        }
        openings
    }

    /// Adds the stages of a service, behind those of the others.
    pub(crate) fn add_service(&mut self, terms: Option<Arc<OpeningTerms>>) {
        if terms.is_some() && self.scratch.is_empty() {
            self.scratch = vec![0; SCRATCH].into_boxed_slice();
        }
        self.terms.push(terms);
    }

    /// True if connections of this service open in stages.
    #[inline]
    pub(crate) fn has_stages(&self, service: u16) -> bool {
        matches!(self.terms.get(usize::from(service)), Some(Some(_)))
    }

    /// True if no connection is opening, and none waits to be [taken](Self::take_opened).
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        self.entries.is_empty() && self.opened.is_empty()
    }

    /// The time until [`serve`](Self::serve) has something to do; `None` until an event comes.
    pub(crate) fn timeout(&self, now: impl FnOnce() -> Duration) -> Option<Duration> {
        if self.origins.has_due() || !self.opened.is_empty() {
            return Some(Duration::ZERO);
        }
        let tick = self.wheel.next_expiry()?;
        Some(self.clock.until(tick, now()))
    }

    /// Begins to open a connection, whose service [has stages](Self::has_stages). `register` asks for its events.
    pub(crate) fn begin(
        &mut self,
        arrival: Arrival,
        now: Duration,
        register: impl FnOnce(&mut Stream, OpeningName) -> io::Result<()>,
    ) {
        self.begin_with(arrival.into(), now, register);
    }

    fn begin_with(
        &mut self,
        newcomer: Newcomer,
        now: Duration,
        register: impl FnOnce(&mut Stream, OpeningName) -> io::Result<()>,
    ) {
        let terms = self.terms[usize::from(newcomer.service)].clone();
        let terms = terms.expect("the service has stages");
        let timeout = terms.timeout;
        let mut opening = Opening::new(newcomer, terms);
        if !opening.is_trusted() {
            return self.refuse(opening, &OpeningFailure::Untrusted);
        }
        // First, so that the newcomer counts when one of the origin with the most gives way.
        let group = self.origins.count_in(self.origin_of(&opening));
        if self.entries.len() >= self.limit {
            self.make_room();
        }
        let name = self.next_name();
        if let Err(error) = register(opening.stream_mut(), name) {
            let peer = &opening.peer;
            log::error!("a connection from {peer} could not be registered: {error}");
            self.origins.count_out(group);
            return self.discard(opening);
        }
        let deadline = self.clock.deadline(now.saturating_add(timeout));
        let deadline = deadline.min(self.drain_ends.unwrap_or(u64::MAX));
        self.entries.insert(Entry {
            opening,
            name,
            deadline,
            timer: self.wheel.insert(deadline, name),
            group,
            is_due: false,
            is_overdue: false,
        });
        self.origins.enter(group, name.slot.into());
    }

    /// The origin of an opening that is known, or of the next one.
    fn origin_of(&self, opening: &Opening) -> Origin {
        match opening.awaits_header() {
            true => Origin::Unknown(self.generation.wrapping_add(1)),
            false => Origin::Peers {
                service: opening.service,
                network: opening.peer.ip().map(|ip| self.admission.network(ip)),
            },
        }
    }

    /// The name of the opening that is inserted next.
    fn next_name(&mut self) -> OpeningName {
        self.generation = self.generation.wrapping_add(1);
        let slot = u16::try_from(self.entries.vacant_key());
        OpeningName {
            slot: slot.expect("a worker has at most 2^16 openings"),
            generation: self.generation,
        }
    }

    /// Has an opening give way, which may be one that waits for this loop: a flood whose steps are always due must not keep its
    /// places before peers whose answers are on their way.
    fn make_room(&mut self) {
        let slot = self.origins.first_to_give_way();
        let entry = slot.and_then(|slot| self.entries.get(slot as usize));
        if let Some(name) = entry.map(|entry| entry.name) {
            self.fail(name, &OpeningFailure::GaveWay);
        }
    }

    /// Handles an event. One that comes after the opening has gone is ignored.
    pub(crate) fn on_event(&mut self, event: OpeningName, is_readable: bool, now: Duration) {
        let is_meant = |it: &&Entry| it.name == event || !Token::KEEPS_GENERATIONS;
        let entry = self.entries.get(usize::from(event.slot));
        if let Some(entry) = entry.filter(is_meant) {
            // The peer must not gain time by bytes that come too late.
            if !entry.is_overdue || entry.opening.is_parting() {
                self.go_on(entry.name, is_readable, now);
            }
        }
    }

    /// Lets an opening go on as far as its stream allows.
    fn go_on(&mut self, name: OpeningName, is_readable: bool, now: Duration) {
        let Openings {
            entries,
            admission,
            scratch,
            ..
        } = self;
        if let Some(entry) = find(entries, name) {
            let awaited_header = entry.opening.awaits_header();
            let outcome = entry.opening.go_on(is_readable, admission, scratch);
            if entry.opening.awaits_header() != awaited_header {
                self.move_to_client(name);
            }
            self.obey(name, outcome, now);
        }
    }

    /// Counts an opening to the client that its PROXY header names. That a header has come is progress.
    fn move_to_client(&mut self, name: OpeningName) {
        let slot = usize::from(name.slot);
        let client = self.origin_of(&self.entries[slot].opening);
        let entry = &mut self.entries[slot];
        self.origins.leave(entry.group, name.slot.into(), false);
        entry.group = self.origins.count_in(client);
        self.origins.enter(entry.group, name.slot.into());
    }

    /// Ends the openings whose time is over, and lets handshakes go on within the budget of an iteration. `now` is the time of `clock` at
    /// the begin.
    pub(crate) fn serve(&mut self, now: Duration, clock: impl Fn() -> Duration) {
        let tick = self.clock.now(now);
        while let Some((_, name)) = self.wheel.pop_expired(tick) {
            self.meet_deadline(name, now);
        }
        let end = now.saturating_add(HANDSHAKE_TIME);
        while let Some(slot) = self.origins.next_due() {
            let entry = &mut self.entries[slot as usize];
            entry.is_due = false;
            let (name, outcome) = (entry.name, entry.opening.step());
            if entry.opening.has_progressed() {
                self.origins.note_progress(entry.group, slot);
            }
            self.obey(name, outcome, now);
            if clock() >= end {
                break;
            }
        }
    }

    /// Lets an opening whose time is over go on once more with what has arrived, and ends it if that does not suffice: the loop may
    /// have been late, and then the peer is not to blame. The deadlines of a drain and of a peer that lingers are absolute.
    fn meet_deadline(&mut self, name: OpeningName, now: Duration) {
        let tick = self.clock.now(now);
        let is_drained = self.drain_ends.is_some_and(|end| end <= tick);
        let Some(entry) = find(&mut self.entries, name) else {
            return;
        };
        if is_drained || entry.is_overdue || entry.opening.is_parting() {
            return self.fail(name, &OpeningFailure::Late);
        }
        entry.is_overdue = true;
        entry.deadline = u64::MAX;
        if let Some(end) = self.drain_ends {
            self.set_deadline(name, end);
        }
        self.go_on(name, true, now);
    }

    /// The connections that are open since the last call.
    pub(crate) fn take_opened(&mut self) -> Vec<Opened> {
        std::mem::take(&mut self.opened)
    }

    /// Drops the openings of which nothing was received. The others may go on until the deadline of the drain.
    pub(crate) fn begin_drain(&mut self, deadline: Duration, now: Duration) {
        let end = self.clock.deadline(now.saturating_add(deadline));
        self.drain_ends = Some(end);
        let names: Vec<OpeningName> = self.entries.iter().map(|(_, entry)| entry.name).collect();
        for name in names {
            let Some(entry) = find(&mut self.entries, name) else {
                continue;
            };
            if !entry.opening.has_heard() {
                self.remove(name);
            } else {
                self.set_deadline(name, end);
            }
        }
    }

    /// Drops all openings, and the connections that nobody has taken.
    pub(crate) fn stop(&mut self) {
        for opened in self.take_opened() {
            self.count_out(opened.peer.ip());
            contain_drop(opened);
        }
        let names: Vec<OpeningName> = self.entries.iter().map(|(_, entry)| entry.name).collect();
        for name in names {
            self.remove(name);
        }
    }

    /// Does what the outcome of a step demands.
    fn obey(&mut self, name: OpeningName, outcome: Result<Next, OpeningFailure>, now: Duration) {
        match outcome {
            Ok(Next::Waits) => self.await_peer(name, now),
            Ok(Next::WantsStep) => self.queue(name),
            Ok(Next::Done) => self.finish(name),
            Ok(Next::Lingers) => self.linger(name, now),
            Ok(Next::Gone) => self.remove(name),
            Err(failure @ OpeningFailure::Handshake(_)) => self.part(name, &failure, now),
            Err(failure) => self.fail(name, &failure),
        }
    }

    /// Leaves the next step to the peer, unless the time for it is over. Last words still have the time of a peer that lingers.
    fn await_peer(&mut self, name: OpeningName, now: Duration) {
        match find(&mut self.entries, name) {
            Some(entry) if !entry.is_overdue => {}
            Some(entry) if entry.opening.is_parting() => self.linger(name, now),
            _ => self.fail(name, &OpeningFailure::Late),
        }
    }

    /// Waits a short time for the peer's end.
    fn linger(&mut self, name: OpeningName, now: Duration) {
        let end = self.clock.deadline(now.saturating_add(LINGER));
        self.set_deadline(name, end);
    }

    fn queue(&mut self, name: OpeningName) {
        if let Some(entry) = find(&mut self.entries, name) {
            if !std::mem::replace(&mut entry.is_due, true) {
                self.origins.add_due(entry.group, name.slot.into());
            }
        }
    }

    /// Gives the connection out.
    fn finish(&mut self, name: OpeningName) {
        let Some(opening) = self.take(name) else {
            return;
        };
        let (peer, counted) = (opening.peer.clone(), opening.counted);
        match opening.finish() {
            Ok(opened) => self.opened.push(opened),
            Err(failure) => {
                report(&self.admission, &peer, &failure);
                self.count_out(counted);
            }
        }
    }

    /// Begins the end of an opening whose handshake has failed.
    fn part(&mut self, name: OpeningName, failure: &OpeningFailure, now: Duration) {
        let Openings {
            entries,
            scratch,
            admission,
            ..
        } = self;
        if let Some(entry) = find(entries, name) {
            // First, so that a peer that has read the last words finds itself counted.
            report(admission, &entry.opening.peer, failure);
            let next = entry.opening.begin_parting(scratch);
            self.obey(name, Ok(next), now);
        }
    }

    /// Ends an opening that has failed: resets the connection, or closes it if the peer has left. One that only lingers has failed
    /// before, and is counted.
    fn fail(&mut self, name: OpeningName, failure: &OpeningFailure) {
        match self.take(name) {
            Some(opening) if opening.is_parting() => self.discard(opening),
            Some(opening) => self.refuse(opening, failure),
            None => {}
        }
    }

    fn refuse(&mut self, mut opening: Opening, failure: &OpeningFailure) {
        if !matches!(failure, OpeningFailure::Abandoned(_)) {
            opening.stream_mut().reset_on_drop();
        }
        report(&self.admission, &opening.peer, failure);
        self.discard(opening);
    }

    /// Moves the deadline of an opening forward.
    fn set_deadline(&mut self, name: OpeningName, deadline: u64) {
        if let Some(entry) = find(&mut self.entries, name) {
            if deadline < entry.deadline {
                self.wheel.cancel(entry.timer);
                entry.deadline = deadline;
                entry.timer = self.wheel.insert(deadline, name);
            }
        }
    }

    fn remove(&mut self, name: OpeningName) {
        if let Some(opening) = self.take(name) {
            self.discard(opening);
        }
    }

    /// Takes an opening out of the table and the queues.
    fn take(&mut self, name: OpeningName) -> Option<Opening> {
        find(&mut self.entries, name)?;
        let entry = self.entries.remove(usize::from(name.slot));
        self.wheel.cancel(entry.timer);
        self.origins
            .leave(entry.group, name.slot.into(), entry.is_due);
        Some(entry.opening)
    }

    /// Drops a connection and counts it out. The drop may run code of the user.
    fn discard(&mut self, opening: Opening) {
        let counted = opening.counted;
        contain_drop(opening);
        self.count_out(counted);
    }

    fn count_out(&mut self, counted: Option<IpAddr>) {
        self.shared.uncount_connection();
        self.admission.release(counted);
    }
}

/// Logs and counts a failure.
fn report(admission: &Admission, peer: &Address, failure: &OpeningFailure) {
    log::debug!("a connection from {peer} does not open: {failure}");
    if let Some(counter) = failure.counter() {
        admission.count_failed_opening(counter);
    }
}

/// The opening with a name, unless it has gone.
fn find(entries: &mut Slab<Entry>, name: OpeningName) -> Option<&mut Entry> {
    let entry = entries.get_mut(usize::from(name.slot))?;
    (entry.name == name).then_some(entry)
}
