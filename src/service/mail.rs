//! Mail: the requests of other threads and other connections are carried out on the worker.

use std::sync::Arc;

use super::entry::Entry;
use super::hub::Hub;
use super::typed_table::TypedTable;
use crate::connection::Connection;
use crate::connection::id::ConnId;
use crate::connection::loop_state::LoopState;
use crate::connection::send_status::{Refusal, SendStatus};
use crate::connection::table::ConnTable;
use crate::connection::victims::keep_bound;
use crate::handler::Handler;
use crate::handler::letter::{Letter, Mail, Request, Visitor};
use crate::handler::local::{LocalAccess, LocalConnections, LocalVisitor};
use crate::handler::publication::Publication;
use crate::panics::{contain_call, contain_drop};

/// Number of publications to one topic that are delivered together at most, so that a subscriber gets them in one write.
const PUBLICATIONS_TOGETHER: usize = 64;

impl<H: Handler> Hub<H> {
    /// Carries out the mail that waits, until it has reached about `budget` connections.
    pub(super) fn carry_out_mail(
        &mut self,
        service: u16,
        table: &mut ConnTable,
        state: &mut LoopState,
        budget: usize,
    ) {
        let mut reached = 0;
        while reached < budget {
            let Some(mail) = self.next_mail() else {
                return;
            };
            reached += 1 + match mail {
                Mail::One(letter) => {
                    self.hand_letter(letter, table, state);
                    0
                }
                Mail::Each(visitor) => self.visit(visitor, service, table, state),
                Mail::Topic(publication) => self.deliver_publications(publication, table, state),
                Mail::Handler(job) => {
                    state.shared.release_places(1);
                    self.run_local(service, table, state, job)
                }
            };
        }
    }

    /// Drops the mail that waits now. Mail that comes meanwhile, from a completion that sends again, stays.
    pub(super) fn drop_mail(&mut self, state: &mut LoopState) {
        for _ in 0..state.shared.letters() {
            let Some(mail) = self.next_mail() else {
                return;
            };
            state.shared.release_places(1);
            contain_drop(mail);
        }
    }

    /// Takes the next piece of mail. Its place is released only when it is carried out, so that the loop does not sleep before.
    fn next_mail(&mut self) -> Option<Mail<H>> {
        let read_ahead = self.read_ahead.take();
        read_ahead.or_else(|| self.mail.try_recv().ok())
    }

    /// Does what a letter asks for.
    fn hand_letter(
        &mut self,
        letter: Letter<H::Protocol>,
        table: &mut ConnTable,
        state: &mut LoopState,
    ) {
        state.shared.release_places(1);
        keep_bound(table, state);
        let Letter { to, request } = letter;
        let Some(connection) = table.get(to) else {
            return contain_drop(request);
        };
        let is_in_time = match request {
            Request::Abort => !connection.life.is_closed(),
            _ => connection.life.is_active(),
        };
        if is_in_time {
            self.call(connection, state, |_, conn, _| match request {
                Request::Send(item, done) => conn.send_owned_with(&item, done),
                Request::Close => conn.close(),
                Request::Abort => conn.abort(),
                Request::Run(job) => job(conn),
            });
            state.queue(connection);
        } else {
            contain_drop(request);
        }
    }

    /// Runs a closure for each open connection of the service. Returns their number.
    fn visit(
        &mut self,
        visitor: Arc<Visitor<H>>,
        service: u16,
        table: &mut ConnTable,
        state: &mut LoopState,
    ) -> usize {
        state.shared.release_places(1);
        let visit = |_: &mut H, connections: &mut LocalConnections<'_, H>| {
            connections.for_each(|conn, session| visitor(conn, session));
        };
        let reached = self.run_local(service, table, state, visit);
        contain_drop(visitor);
        reached
    }

    /// Runs code with the handler and its connections on this worker. Returns the number of connections that it has reached.
    pub(super) fn run_local(
        &mut self,
        service: u16,
        table: &mut ConnTable,
        state: &mut LoopState,
        code: impl FnOnce(&mut H, &mut LocalConnections<'_, H>),
    ) -> usize {
        let mut access = Access {
            typed: &mut self.table,
            table,
            state,
            service,
            reached: 0,
        };
        let handler = &mut self.handler;
        contain_call(|| code(handler, &mut LocalConnections::new(&mut access)));
        access.reached
    }

    /// Delivers a publication, and those to the same topic that follow it. Returns the number of messages to subscribers.
    ///
    /// The output of each subscriber leaves at once and its ring goes on to the next, so that a publication to many takes
    /// the memory of one.
    fn deliver_publications(
        &mut self,
        first: Arc<Publication<H::Protocol>>,
        table: &mut ConnTable,
        state: &mut LoopState,
    ) -> usize {
        let mut subscribers = std::mem::take(&mut self.subscribers);
        self.table
            .link
            .topics
            .borrow()
            .list_subscribers(&first.topic, &mut subscribers);
        self.collect_publications(first);
        state.shared.release_places(self.publications.len());
        let count = subscribers.len() * self.publications.len();
        let except = self.publications[0].except;
        for id in subscribers.drain(..).filter(|id| Some(*id) != except) {
            self.deliver_to_subscriber(id, table, state);
        }
        self.subscribers = subscribers;
        for publication in self.publications.drain(..) {
            contain_drop(publication);
        }
        count
    }

    /// Collects the publications to the same topic that follow in the mailbox.
    fn collect_publications(&mut self, first: Arc<Publication<H::Protocol>>) {
        self.publications.push(first);
        while self.publications.len() < PUBLICATIONS_TOGETHER {
            match self.next_mail() {
                Some(Mail::Topic(next)) if next.is_alike(&self.publications[0]) => {
                    self.publications.push(next);
                }
                other => {
                    self.read_ahead = other;
                    return;
                }
            }
        }
    }

    /// Sends the collected publications to one subscriber.
    fn deliver_to_subscriber(&mut self, id: ConnId, table: &mut ConnTable, state: &mut LoopState) {
        keep_bound(table, state);
        let connection = table.get(id);
        let Some(connection) = connection.filter(|connection| connection.life.is_active()) else {
            return;
        };
        let publications = std::mem::take(&mut self.publications);
        let unread = connection.kept();
        self.table.enter(connection, state, unread, |entry| {
            publications
                .iter()
                .for_each(|publication| entry.send_published(publication));
        });
        self.publications = publications;
        if !finish_visit(connection, state) {
            state.queue(connection);
        }
    }
}

/// The connections of a service, for code that runs between their callbacks.
struct Access<'a, H: Handler> {
    typed: &'a mut TypedTable<H>,
    table: &'a mut ConnTable,
    state: &'a mut LoopState,
    /// Index of the service on its worker.
    service: u16,
    /// Number of connections that were visited.
    reached: usize,
}

impl<H: Handler> LocalAccess<H> for Access<'_, H> {
    fn worker(&self) -> usize {
        self.state.shared.worker
    }

    fn ids(&self) -> Vec<ConnId> {
        let open = self.table.iter().filter(|connection| {
            connection.service == self.service
                && connection.life.is_active()
                && self.typed.is_known(connection)
        });
        open.map(|connection| connection.id).collect()
    }

    fn subscribers(&self, topic: &str) -> usize {
        self.typed.link.topics.borrow().count(topic)
    }

    fn visit(&mut self, id: ConnId, visit: &mut LocalVisitor<'_, H>) {
        let Some((connection, state)) = self.call(id, visit) else {
            return;
        };
        // Output that was sent waits for the end of the iteration: another visit may add to it.
        let has_sent = !connection.output.is_empty();
        if has_sent || !finish_visit(connection, state) {
            state.queue(connection);
        }
    }

    fn visit_all(&mut self, ids: &[ConnId], visit: &mut LocalVisitor<'_, H>) {
        for id in ids {
            let visited = self.call(*id, visit);
            if let Some((connection, state)) = visited {
                if !finish_visit(connection, state) {
                    state.queue(connection);
                }
            }
        }
    }
}

impl<H: Handler> Access<'_, H> {
    /// Calls `visit` with a connection, if it is open and the handler knows it. Returns the connection.
    fn call(
        &mut self,
        id: ConnId,
        visit: &mut LocalVisitor<'_, H>,
    ) -> Option<(&mut Connection, &mut LoopState)> {
        keep_bound(self.table, self.state);
        let connection = self.table.get(id)?;
        if connection.service != self.service || !connection.life.is_active() {
            return None;
        }
        self.reached += 1;
        let unread = connection.kept();
        self.typed
            .enter(connection, self.state, unread, |entry| entry.call(visit));
        Some((connection, self.state))
    }
}

/// Sends what is pending and gives the ring back, so that a visit to many takes the memory of one. False if the connection
/// needs a turn of its own.
fn finish_visit(connection: &mut Connection, state: &mut LoopState) -> bool {
    connection.is_undisturbed() && connection.output.send_off(&mut state.pool)
}

impl<H: Handler> Entry<'_, H> {
    /// Sends one publication and counts what becomes of it.
    fn send_published(&mut self, publication: &Publication<H::Protocol>) {
        match self.conn.send_owned(&publication.item) {
            SendStatus::Queued | SendStatus::AboveHighWater => publication.count(1, 0),
            SendStatus::Refused(Refusal::Closing) => {}
            SendStatus::Refused(_) => publication.count(0, 1),
        }
    }
}
