//! The beginning of a connection in the reactor: its service opens it, its first deadlines are set, and its first turns come behind
//! those of others.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::connection::Connection;
use crate::connection::callback_budget::CallbackBudget;
use crate::connection::close_reason::Cause;
use crate::connection::due::Due;
use crate::connection::id::ConnId;
use crate::connection::marks::Marks;
use crate::io::address::Address;
use crate::io::proxy_header::ProxyHeader;
use crate::io::stream::Stream;
use crate::io::wire::Wire;
use crate::shared::LoopShared;

use super::Reactor;

/// Most connections that may wait for a turn before newcomers are slowed to the pace at which others go.
const WAITING: usize = 1024;

/// Time between two newcomers while mailboxes are crowded.
const CROWD_STEP: Duration = Duration::from_millis(50);
/// Time between two looks at mailboxes that are crowded.
const CROWD_LOOK: Duration = Duration::from_millis(1);

impl Reactor {
    /// The budget of the newcomers in an iteration. A drain adopts all that come, to answer and close them.
    pub(crate) fn begin_newcomers(&self) -> CallbackBudget {
        match self.drain {
            None => CallbackBudget::new(self.begin_callbacks(), self.newcomers),
            Some(_) => CallbackBudget::ENDLESS,
        }
    }

    /// Time until the loop looks at waiting newcomers again.
    pub(crate) fn newcomers_pause(&self) -> Duration {
        match self.newcomers {
            0 => CROWD_LOOK,
            _ => Duration::ZERO,
        }
    }

    /// Sets the number of newcomers in the next iteration. While ends wait, or many connections wait for a turn, no more come than
    /// were removed, and one at least. Otherwise the waiting connections would become ever more, with a descriptor and input each, although
    /// their peers may be gone.
    pub(super) fn pace_newcomers(&mut self, removed: usize) {
        let waits = self.state.turns.postponed() > WAITING;
        self.newcomers = match self.ends.is_empty() && !waits {
            true => usize::MAX,
            false => removed.max(1),
        };
        if self.crowded.is_some() {
            self.pace_newcomers_in_crowd();
        }
    }

    /// Allows one newcomer each [`CROWD_STEP`] while mailboxes are crowded. A connection that stays open waits for its own mail before it posts
    /// more, but one that posts and leaves does not: a client that connects without pause would fill the mailboxes.
    #[cold]
    fn pace_newcomers_in_crowd(&mut self) {
        let now = self.state.now;
        let is_over = |it: &Arc<LoopShared>| it.has_mail_ended() || !it.is_crowded();
        if self.crowded.as_ref().is_some_and(is_over) {
            self.crowded = None;
        } else if now < self.next_despite_crowd {
            self.newcomers = 0;
        } else {
            self.newcomers = 1;
            self.next_despite_crowd = now + CROWD_STEP;
        }
    }

    /// Takes a new connection, which may have begun with a PROXY header. `register` asks for its events; a connection for which it fails
    /// is dropped.
    pub(crate) fn adopt(
        &mut self,
        service: u16,
        mut wire: Wire,
        peer: Address,
        header: Option<Box<ProxyHeader>>,
        register: impl FnOnce(&mut Stream, ConnId) -> io::Result<()>,
    ) {
        let slot = &mut self.services[service as usize];
        let (timeouts, tick) = (slot.timeouts, self.state.tick);
        let mut registered = Ok(());
        let id = self.table.insert(service, |id| {
            registered = register(wire.stream_mut(), id);
            Connection::new(id, service, wire, peer, tick)
        });
        let connection = self.table.get(id).expect("it was just inserted");
        if header.is_some() {
            connection.extra_or_new().proxy_header = header;
        }
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
        // The handler may have set an idle time of its own.
        if connection.timers.idle.is_none() {
            let idle = connection.idle_timeout(timeouts.idle);
            connection.timers.idle = idle.map(|after| self.state.schedule(after, Due::Idle(id)));
        }
        if let Some(after) = timeouts.first_message {
            let timer = self.state.schedule(after, Due::FirstMessage(id));
            connection.timers.message = Some(timer);
            connection.marks.set(Marks::AWAITS_FIRST, true);
        }
        if timeouts.first_message.is_some() || timeouts.message.is_some() {
            connection.marks.set(Marks::TIMED, true);
        }
        if connection.output.wire().has_received() {
            // It came with the end of the handshake, and no event will announce it.
            connection.readable = true;
            connection.drain_fully = true;
            self.state.queue_unproven(connection);
        }
        self.settle(id.slot);
        self.after_callbacks(id.slot);
        if self.drain.is_some() {
            self.drain_connection(id.slot);
        }
    }
}
