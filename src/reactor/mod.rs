//! One worker's connections, timers and mail, without a poll: events and `now` are handed in.
//!
//! Everything that a worker decides is decided here; [`event_loop`](crate::event_loop) only waits, asks the clock, and
//! passes on. So the whole can be driven by a simulated network under a virtual clock.
//!
//! An iteration is: events, mail, due timers, the ready list, and at its end the removal of what has closed. Callbacks
//! only state intents; nothing is removed while something may still refer to it.

mod beat;
mod closing;
mod drain;
mod flush;
mod read;
#[cfg(test)]
mod simulation;
mod tasks;
mod timers;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ringwheel_ringbuffer::PoolConfig;
use slab::Slab;

use crate::connection::Connection;
use crate::connection::close_reason::Cause;
use crate::connection::due::Due;
use crate::connection::id::ConnId;
use crate::connection::limits::{Limits, Timeouts};
use crate::connection::loop_state::LoopState;
use crate::connection::marks::Marks;
use crate::connection::table::ConnTable;
use crate::io::address::Address;
use crate::io::transport::Socket;
use crate::panics::contain_drop;
use crate::service::Service;
use crate::shared::LoopShared;
use crate::wheel::TickClock;

use drain::Drain;
use tasks::ScheduledTask;

/// Connections that the mail of one service reaches in one iteration, about: another letter is not begun beyond.
const MAIL_BUDGET: usize = 1024;

/// What a worker needs to know besides its services.
#[derive(Clone, Debug)]
pub(crate) struct ReactorConfig {
    pub(crate) clock: TickClock,
    pub(crate) pool: PoolConfig,
    /// Bytes of the receive buffer.
    pub(crate) receive_buffer: usize,
    /// Bytes read from one connection before the others have their turn.
    pub(crate) read_budget: usize,
}

/// A service and what its connections may do.
pub(crate) struct ServiceSlot {
    pub(crate) service: Box<dyn Service>,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    /// Interval of [`Handler::on_tick`](crate::Handler::on_tick).
    pub(crate) tick: Option<Duration>,
    /// When the next of them is due, in the loop's time.
    pub(crate) tick_due: Duration,
}

/// What an event says of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The end of the stream or an error is behind the data, or there is urgent data: a short read proves nothing.
    pub(crate) drain_fully: bool,
    pub(crate) error: bool,
}

/// See the [module](self).
pub(crate) struct Reactor {
    table: ConnTable,
    services: Vec<ServiceSlot>,
    state: LoopState,
    receive: Box<[u8]>,
    read_budget: usize,
    tasks: Slab<ScheduledTask>,
    /// Slots to remove at the end of the iteration.
    closed: Vec<u32>,
    /// Peers of the connections that were removed, for who counts them.
    departed: Vec<Address>,
    drain: Option<Drain>,
    /// The ready list of the iteration before, being worked off.
    turn_list: Vec<u32>,
}

impl Reactor {
    pub(crate) fn new(
        config: &ReactorConfig,
        shared: Arc<LoopShared>,
        services: Vec<ServiceSlot>,
        now: Duration,
    ) -> Self {
        let worker = u16::try_from(shared.worker).expect("a server has at most 2^16 workers");
        let mut reactor = Reactor {
            table: ConnTable::new(worker),
            services,
            state: LoopState::new(shared, config.clock, config.pool),
            receive: vec![0; config.receive_buffer].into_boxed_slice(),
            read_budget: config.read_budget,
            tasks: Slab::new(),
            closed: Vec::new(),
            departed: Vec::new(),
            drain: None,
            turn_list: Vec::new(),
        };
        reactor.set_now(now);
        for service in 0..reactor.services.len() {
            let service = u16::try_from(service).expect("a server has at most 1,024 listeners");
            reactor.schedule_tick(service, now);
        }
        reactor
    }

    /// Tells the time, as time since the start.
    #[inline]
    pub(crate) fn set_now(&mut self, now: Duration) {
        self.state.set_now(now);
    }

    /// Tells the time once more within an iteration, whose callbacks may have taken long.
    pub(crate) fn catch_up(&mut self, now: Duration) {
        let tick = self.state.tick;
        self.state.set_now(now);
        self.state.was_behind |= self.state.tick > tick;
    }

    /// Says before a poll that it does not wait, because there is work left or a timer is overdue.
    #[inline]
    pub(crate) fn set_behind(&mut self, is_behind: bool) {
        self.state.was_behind = is_behind;
    }

    /// How long nothing will happen unless an event or mail comes; `None` for ever. The clock is asked only where there is
    /// a timer to wait for.
    pub(crate) fn timeout(&self, now: impl FnOnce() -> Duration) -> Option<Duration> {
        if !self.state.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let tick = self.state.wheel.next_expiry()?;
        Some(self.state.clock.until(tick, now()))
    }

    /// Takes a new connection. `register` asks for its events; a connection for which it fails is dropped.
    pub(crate) fn adopt(
        &mut self,
        service: u16,
        mut socket: Socket,
        peer: Address,
        register: impl FnOnce(&mut Socket, ConnId) -> io::Result<()>,
    ) {
        let slot = &mut self.services[service as usize];
        let (timeouts, tick) = (slot.timeouts, self.state.tick);
        let mut registered = Ok(());
        let id = self.table.insert(service, |id| {
            registered = register(&mut socket, id);
            Connection::new(id, service, socket, peer, tick)
        });
        let connection = self.table.get(id).expect("it was just inserted");
        if let Err(error) = &registered {
            log::error!(
                "a connection from {} could not be registered: {error}",
                connection.peer
            );
        }
        if registered.is_err() || !slot.service.open(connection, &mut self.state) {
            connection.end_now(Cause::Panic);
            self.depart(id.slot);
            return;
        }
        // The handler may have set another idle time, and its timer.
        if connection.timers.idle.is_none() {
            let idle = connection.idle_timeout(timeouts.idle);
            connection.timers.idle = idle.map(|after| self.state.schedule(after, Due::Idle(id)));
        }
        connection.timers.message = timeouts
            .first_message
            .map(|after| self.state.schedule(after, Due::FirstMessage(id)));
        self.settle(id.slot);
        if self.drain.is_some() {
            self.drain_connection(id.slot);
        }
    }

    /// An event that says of a connection that there is input, and nothing that would need a look. False, and nothing has
    /// happened, if the connection does: then [`on_event`](Self::on_event) is to be told.
    #[inline]
    pub(crate) fn on_plain_input(&mut self, token: usize) -> bool {
        let Reactor {
            table,
            services,
            state,
            receive,
            read_budget,
            ..
        } = self;
        let Some(connection) = table
            .by_token(token)
            .filter(|connection| connection.only_awaits_input())
        else {
            return false;
        };
        let slot = connection.id.slot;
        let service = &mut services[connection.service as usize];
        if !read::fast_turn(connection, service, state, receive, *read_budget) {
            self.settle(slot);
        }
        true
    }

    /// An event of the connection that `token` was made for; one that comes after it has gone is ignored.
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
        if readiness.error && !connection.wants_input() {
            // No read will meet the error.
            if let Ok(Some(error)) = connection.output.socket().take_error() {
                connection.fail(error);
            }
        }
        self.turn(slot);
    }

    /// Reads and answers, then sends and sees what has become of the connection.
    fn turn(&mut self, slot: u32) {
        self.read(slot);
        self.settle(slot);
    }

    /// Does all that waits besides events, and removes what has closed: the second half of an iteration.
    pub(crate) fn finish_iteration(&mut self) {
        if self.state.shared.has_mail() {
            self.read_mail(MAIL_BUDGET);
        }
        if !self.state.wheel.is_empty() {
            self.fire_timers();
        }
        if !self.state.ready.is_empty() {
            self.work_off_ready_list();
        }
        if !self.closed.is_empty() {
            self.remove_closed();
        }
    }

    fn work_off_ready_list(&mut self) {
        std::mem::swap(&mut self.state.ready, &mut self.turn_list);
        for index in 0..self.turn_list.len() {
            let slot = self.turn_list[index];
            if let Some(connection) = self.table.in_slot(slot) {
                connection.marks.set(Marks::QUEUED, false);
                self.turn(slot);
            }
        }
        self.turn_list.clear();
    }

    /// Lets every service carry out its mail, within a budget of connections that are reached.
    fn read_mail(&mut self, budget: usize) {
        let Reactor {
            table,
            services,
            state,
            ..
        } = self;
        for (index, slot) in (0u16..).zip(services) {
            slot.service.read_mail(index, table, state, budget);
        }
        state.shared.tell_of_room();
    }

    fn remove_closed(&mut self) {
        for slot in std::mem::take(&mut self.closed) {
            let Some(connection) = self.table.in_slot(slot) else {
                continue;
            };
            debug_assert!(connection.life.is_closed() && connection.marks.has(Marks::LISTED));
            connection.cancel_timers(&mut self.state);
            release_handles(connection);
            self.services[connection.service as usize]
                .service
                .close(connection, &mut self.state);
            self.depart(slot);
        }
    }

    /// Drops a connection, with all that it has borrowed.
    fn depart(&mut self, slot: u32) {
        let Some(mut connection) = self.table.remove(slot) else {
            return;
        };
        connection.cancel_timers(&mut self.state);
        release_handles(&mut connection);
        if let Some(ring) = connection.input.take() {
            self.state.pool.give_back(ring);
        }
        connection.output.discard(&mut self.state.pool);
        self.departed.push(connection.peer);
    }

    /// True if connections were removed since the last call of [`departed`](Self::departed).
    #[inline]
    pub(crate) fn has_departed(&self) -> bool {
        !self.departed.is_empty()
    }

    /// The peers of the connections that were removed since the last call.
    pub(crate) fn departed(&mut self) -> impl Iterator<Item = Address> + '_ {
        self.departed.drain(..)
    }

    /// Drops every connection, what mail is left, the tasks and the services.
    pub(crate) fn stop(&mut self) {
        for ConnId { slot, .. } in self.table.ids() {
            if let Some(connection) = self.table.in_slot(slot) {
                connection.abort(Cause::Shutdown);
                self.settle(slot);
            }
        }
        self.remove_closed();
        for slot in &mut self.services {
            // Mail that is put in later goes with the service, whose mailbox is then closed.
            slot.service.discard_mail(&mut self.state);
        }
        self.tasks.drain().for_each(contain_drop);
        self.services.drain(..).for_each(contain_drop);
    }
}

/// Tells a connection's handles that it has ended, and drops its completions, which thereby say that they are lost.
fn release_handles(connection: &mut Connection) {
    let Some(extra) = &mut connection.extra else {
        return;
    };
    if let Some(alive) = extra.alive.take() {
        alive.store(false, Ordering::Release);
    }
    for completion in std::mem::take(&mut extra.completions) {
        contain_drop(completion);
    }
}
