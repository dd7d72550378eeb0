//! Decides everything that a worker does with its connections, timers and mail. It has no poll and no clock:
//! [`event_loop`](crate::event_loop) waits, asks the clock, and hands events and `now` in. So the simulation can drive the
//! whole with a simulated network and a virtual clock.
//!
//! One iteration handles events, mail, due timers, the ready list, and some of the connections on the other
//! [lists](crate::connection::turn_lists), in this order. At its end come the last callbacks of connections that are over, and closed
//! connections are removed. A connection is heavy if its last turn did much work: its events only put it on a list, of which each
//! iteration serves a few, so that others wait for these few and not for all. Callbacks only state intents; nothing is removed while
//! something may still refer to it.
//!
//! Most turns are alike: input has come, whole messages take all of it, and the socket takes all that they answer. They have
//! a fast path, which does the same as the slow one with fewer questions; the simulation takes either at random.
//!
//! | fast path | slow path |
//! | --- | --- |
//! | `Reactor::on_plain_input` | `Reactor::on_event` |
//! | `read::fast_turn` | `Reactor::read`, `Reactor::settle` |
//! | `Output::send_off` | `Output::flush`, `Output::return_ring` |
//! | `Connection::is_settled` in `settle` | `flush::settle_slowly` |
//! | `Output::put_slice`, `put_pair` | `put_slowly`, `put_large`, `put_pair_apart` |

mod adopting;
mod beat;
mod closing;
mod drain;
mod drawing;
mod ends;
mod flush;
mod mail;
mod memory;
mod read;
#[cfg(test)]
mod simulation;
mod tasks;
mod timers;
mod turns;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ringwheel_ringbuffer::PoolConfig;
use slab::Slab;

use crate::connection::burdens::Burdens;
use crate::connection::close_reason::Cause;
use crate::connection::id::ConnId;
use crate::connection::limits::{Limits, Timeouts};
use crate::connection::loop_state::LoopState;
use crate::connection::marks::Marks;
use crate::connection::memory::Bounds;
use crate::connection::table::ConnTable;
use crate::io::address::Address;
use crate::panics::contain_drop;
use crate::service::Service;
use crate::shared::{LoopShared, current};
use crate::wheel::TickClock;

use drain::Drain;
use ends::{call_all_completions, release_handles};
pub(crate) use mail::MailBudget;
use tasks::ScheduledTask;
use turns::meet_error;

/// The settings of a worker besides its services.
#[derive(Clone, Debug)]
pub(crate) struct ReactorConfig {
    pub(crate) clock: TickClock,
    pub(crate) pool: PoolConfig,
    /// Bytes of the receive buffer.
    pub(crate) receive_buffer: usize,
    /// Work that one connection may cause before the others have their turn, in the unit of a received byte.
    pub(crate) read_budget: usize,
    /// The bounds of the mail that one iteration carries out.
    pub(crate) mail: MailBudget,
    /// Number of last callbacks of ended connections in an iteration, and number of turns of new ones. Both have their time besides, which
    /// the simulation does not measure.
    pub(crate) callback_limit: usize,
    /// The bound on the memory that the peers make the worker hold.
    pub(crate) memory: Bounds,
}

/// A service with the limits and deadlines of its connections.
pub(crate) struct ServiceEntry {
    pub(crate) service: Box<dyn Service>,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    /// Interval of [`Handler::on_tick`](crate::Handler::on_tick).
    pub(crate) tick: Option<Duration>,
    /// Time of the next `on_tick`, since the start of the loop.
    pub(crate) tick_due: Duration,
}

/// The readiness of a socket, as an event reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The end of the stream or an error is behind the data, or there is urgent data: a short read proves nothing.
    pub(crate) drain_fully: bool,
    pub(crate) error: bool,
}

/// A connection that was removed.
#[derive(Debug)]
pub(crate) struct Departed {
    /// The address of the peer, or of the client for which a proxy is the peer. Admission has counted this one.
    pub(crate) peer: Address,
    /// The kernel has not taken all of its output, or a source was not done.
    pub(crate) has_lost_output: bool,
}

/// See the [module](self).
pub(crate) struct Reactor {
    table: ConnTable,
    services: Vec<ServiceEntry>,
    state: LoopState,
    receive: Box<[u8]>,
    mail: MailBudget,
    /// The service whose publications are delivered first in this iteration.
    first_to_fan_out: usize,
    tasks: Slab<ScheduledTask>,
    /// The tick at which the timers were last all fired. Those that were set since are due later.
    fired_at: u64,
    /// Connections that are over, and whose last callbacks are to come.
    ends: VecDeque<ConnId>,
    /// Number of those callbacks that an iteration may call, and number of turns that it may give to new connections.
    callback_limit: usize,
    /// Number of connections that the next iteration may adopt.
    newcomers: usize,
    /// A worker whose mailboxes were crowded when a callback posted to them. Newcomers wait until they no longer are.
    crowded: Option<Arc<LoopShared>>,
    /// The time at which the next newcomer is adopted all the same.
    next_despite_crowd: Duration,
    /// Slots to remove at the end of the iteration.
    closed: Vec<u32>,
    /// Removed connections, for the admission's counts.
    departed: Vec<Departed>,
    drain: Option<Drain>,
    /// The ready list being worked off, while callbacks fill the next one.
    turn_list: Vec<u32>,
    /// The heavy connections that had a turn since the simulation has looked, and its work.
    #[cfg(test)]
    served: Vec<(ConnId, usize)>,
}

impl Reactor {
    pub(crate) fn new(
        config: &ReactorConfig,
        shared: Arc<LoopShared>,
        services: Vec<ServiceEntry>,
        now: Duration,
    ) -> Self {
        let worker = u16::try_from(shared.worker).expect("a server has at most 2^16 workers");
        let mut reactor = Reactor {
            table: ConnTable::new(worker),
            services,
            state: LoopState::new(
                shared,
                config.clock,
                config.pool,
                config.memory,
                config.read_budget,
            ),
            receive: vec![0; config.receive_buffer].into_boxed_slice(),
            mail: config.mail,
            first_to_fan_out: 0,
            tasks: Slab::new(),
            fired_at: 0,
            ends: VecDeque::new(),
            callback_limit: config.callback_limit,
            newcomers: usize::MAX,
            crowded: None,
            next_despite_crowd: Duration::ZERO,
            closed: Vec::new(),
            departed: Vec::new(),
            drain: None,
            turn_list: Vec::new(),
            #[cfg(test)]
            served: Vec::new(),
        };
        reactor.set_now(now);
        for service in 0..reactor.services.len() {
            reactor.schedule_tick(service as u16, now);
        }
        reactor
    }

    /// Adds a service behind the others.
    pub(crate) fn add_service(&mut self, service: ServiceEntry) {
        let index = self.services.len() as u16;
        self.services.push(service);
        self.schedule_tick(index, self.state.now);
    }

    /// Sets the time, as time since the start.
    #[inline]
    pub(crate) fn set_now(&mut self, now: Duration) {
        self.state.budget.begin_iteration();
        self.state.set_now(now);
    }

    /// Sets the time once more within an iteration, whose callbacks may have taken long.
    pub(crate) fn catch_up(&mut self, now: Duration) {
        let tick = self.state.tick;
        self.state.set_now(now);
        self.state.was_behind |= self.state.tick > tick;
    }

    /// Notes before a poll that it will not wait, because work is left or a timer is overdue.
    #[inline]
    pub(crate) fn set_behind(&mut self, is_behind: bool) {
        self.state.was_behind = is_behind;
    }

    /// Time for which the loop may sleep; `None` for ever. The clock is asked only if a timer is set.
    pub(crate) fn timeout(&self, now: impl FnOnce() -> Duration) -> Option<Duration> {
        let has_victims = !self.state.memory.victims.is_empty();
        if !self.state.turns.is_empty() || !self.ends.is_empty() || has_victims {
            return Some(Duration::ZERO);
        }
        let tick = self.state.wheel.next_expiry()?;
        Some(self.state.clock.until(tick, now()))
    }

    /// Handles an event that reports input and nothing else, if the connection only awaits input. False if it does not:
    /// nothing has happened then, and [`on_event`](Self::on_event) must handle the event.
    #[inline]
    pub(crate) fn on_plain_input(&mut self, token: usize) -> bool {
        let Reactor {
            table,
            services,
            state,
            receive,
            ..
        } = self;
        let Some(connection) = table
            .by_token(token)
            .filter(|_| !state.budget.is_iteration_full())
            .filter(|connection| !connection.is_unproven())
            .filter(|connection| !connection.marks.has(Marks::ON_READY_LIST))
            .filter(|connection| connection.only_awaits_input())
        else {
            return false;
        };
        let slot = connection.id.slot;
        let service = &mut services[connection.service as usize];
        if !read::fast_turn(connection, service, state, receive) {
            self.settle(slot);
        }
        self.after_callbacks(slot);
        true
    }

    /// Handles an event of the connection that `token` was made for. An event that comes after the connection has gone is
    /// ignored.
    pub(crate) fn on_event(&mut self, token: usize, readiness: Readiness) {
        let Some(connection) = self.table.by_token(token) else {
            return;
        };
        let slot = connection.id.slot;
        if readiness.readable {
            connection.readable = true;
            connection.drain_fully |= readiness.drain_fully;
        }
        if readiness.writable {
            connection.output.unblock();
        }
        if readiness.error {
            meet_error(connection);
        }
        if connection.burdens.has(Burdens::HEAVY) {
            return self.state.queue(connection);
        }
        if connection.is_unproven() {
            return self.state.queue_unproven(connection);
        }
        if self.state.budget.is_iteration_full() {
            return self.state.defer(connection);
        }
        self.turn(slot);
        if readiness.error {
            self.meet_late_error(token);
        }
    }

    /// Handles everything that waits besides events, and removes closed connections: the second half of an iteration.
    pub(crate) fn finish_iteration(&mut self) {
        if self.state.shared.has_requests() {
            self.obey_requests();
        }
        if self.state.shared.has_mail() {
            self.read_mail();
        }
        if self.drain.is_some() {
            self.advance_steps_of_drain();
        }
        if self.fired_at != self.state.tick && !self.state.wheel.is_empty() {
            self.fire_timers();
        }
        if !self.state.turns.ready.is_empty() {
            self.work_off_ready_list();
        }
        if !self.state.turns.deferred.is_empty() {
            self.serve_deferred();
        }
        if !self.state.turns.unproven.is_empty() {
            self.serve_unproven();
        }
        if self.state.turns.has_heavy() {
            self.serve_heavy();
        }
        if !self.state.released.is_empty() {
            self.let_senders_go();
        }
        if !self.state.memory.victims.is_empty() {
            self.close_victims();
        }
        if self.drain.is_some() {
            self.advance_steps_of_drain();
        }
        if !self.ends.is_empty() {
            self.finish_ends();
        }
        self.pace_newcomers(self.closed.len());
        if !self.closed.is_empty() {
            self.remove_closed();
        }
        if self.state.memory.has_calmed() {
            self.calm_down();
        }
    }

    /// Drops the mail that connections have held. Its senders are told by requests, which keep the loop awake.
    #[cold]
    fn let_senders_go(&mut self) {
        for mail in std::mem::take(&mut self.state.released) {
            contain_drop(mail);
        }
        self.read_posts();
    }

    fn remove_closed(&mut self) {
        for slot in std::mem::take(&mut self.closed) {
            let Some(connection) = self.table.in_slot(slot) else {
                continue;
            };
            debug_assert!(
                connection.life.is_closed() && connection.marks.has(Marks::ON_CLOSED_LIST)
            );
            debug_assert!(connection.marks.has(Marks::TOLD_OF_END));
            self.services[connection.service as usize]
                .service
                .forget(connection);
            self.depart(slot);
        }
        // What completions have posted is of no connection that is left.
        current::take_mail();
    }

    /// Removes a connection and returns all that it has borrowed.
    fn depart(&mut self, slot: u32) {
        let Some(mut connection) = self.table.remove(slot) else {
            return;
        };
        if connection.marks.has(Marks::ON_READY_LIST) {
            self.forget_turns_of_closed();
        }
        connection.cancel_timers(&mut self.state);
        release_handles(&mut connection);
        call_all_completions(&mut connection);
        self.departed.push(Departed {
            has_lost_output: connection.has_lost_output(),
            peer: connection.peer.clone(),
        });
        connection.release_memory(&mut self.state);
        debug_assert_eq!(
            connection.units(),
            0,
            "the account of a connection that is gone"
        );
    }

    /// True if connections were removed since the last call of [`departed`](Self::departed).
    #[inline]
    pub(crate) fn has_departed(&self) -> bool {
        !self.departed.is_empty()
    }

    /// The connections that were removed since the last call.
    pub(crate) fn departed(&mut self) -> impl Iterator<Item = Departed> + '_ {
        self.departed.drain(..)
    }

    /// Drops every connection, the waiting mail, the tasks and the services.
    pub(crate) fn stop(&mut self) {
        for ConnId { slot, .. } in self.table.ids() {
            if let Some(connection) = self.table.in_slot(slot) {
                connection.abort(Cause::Shutdown);
                self.settle(slot);
            }
        }
        self.finish_all_ends();
        self.remove_closed();
        self.let_senders_go();
        for slot in &mut self.services {
            // Mail that is put in later is dropped with the service, whose mailbox is then closed.
            slot.service.discard_mail(&mut self.state);
        }
        current::take_posts();
        current::take_mail();
        self.tasks.drain().for_each(contain_drop);
        self.services.drain(..).for_each(contain_drop);
    }
}
