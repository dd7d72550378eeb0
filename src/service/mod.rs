//! Erases the types of a listener's handler and protocol: the reactor calls [`Service`], and [`Hub`](hub::Hub) implements
//! it for one handler.

pub(crate) mod contain;
mod deadlines;
mod deliver;
mod entry;
mod fan_out;
pub(crate) mod hub;
mod incoming;
mod local_access;
mod mail;
mod requests;
mod typed_table;
mod visit_cost;

use crate::connection::Connection;
use crate::connection::close_reason::Timeout;
use crate::connection::loop_state::LoopState;
use crate::connection::table::ConnTable;
use crate::handler::timeout::TimeoutDecision;
use crate::handler::timers::TimerId;
use crate::shared::control::Requests;
use crate::shared::lane::Lane;

/// A listener's connections on one worker. Its methods are the only virtual calls on the path of a message.
///
/// Every method contains the panics of the user's code: the connection then closes with
/// [`Cause::Panic`](crate::connection::close_reason::Cause::Panic).
pub(crate) trait Service {
    /// Makes the typed side of a new connection and tells the handler. False if that panicked before the handler knew the
    /// connection: there is then nothing to close.
    fn open(&mut self, connection: &mut Connection, state: &mut LoopState) -> bool;
    /// Delivers the messages at the front of `input` while the connection's gate is open and the budget of the turn lasts.
    /// Returns the bytes consumed.
    fn receive(
        &mut self,
        connection: &mut Connection,
        state: &mut LoopState,
        input: &mut [u8],
    ) -> usize;
    /// Asks the protocol if it has consumed the beginning of a message whose end has not come. A panic at the question
    /// closes the connection.
    fn check_within_message(&self, connection: &mut Connection) -> bool;
    /// The peer has ended its stream, and everything before it was delivered.
    fn half_close(&mut self, connection: &mut Connection, state: &mut LoopState);
    /// The output has fallen to the low-water mark.
    fn drained(&mut self, connection: &mut Connection, state: &mut LoopState);
    /// There is room for the next messages of the connection's first source.
    fn draw(&mut self, connection: &mut Connection, state: &mut LoopState);
    /// The connection closes without what its sources have left.
    fn drop_sources(&mut self, connection: &mut Connection);
    /// A timer of the handler is due.
    fn timer(
        &mut self,
        connection: &mut Connection,
        state: &mut LoopState,
        timer: TimerId,
        token: u64,
    );
    /// A deadline of the connection has passed: the handler decides what follows.
    fn timed_out(
        &mut self,
        connection: &mut Connection,
        state: &mut LoopState,
        timeout: Timeout,
    ) -> TimeoutDecision;
    /// The service's interval has passed. `service` is the index that the service has on its worker.
    fn tick(&mut self, service: u16, table: &mut ConnTable, state: &mut LoopState);
    /// The server drains, and the connection has answered what had arrived.
    fn shutdown(&mut self, connection: &mut Connection, state: &mut LoopState);
    /// The protocol's deadline may have come.
    fn deadline(&mut self, connection: &mut Connection, state: &mut LoopState);
    /// Our end of the stream is about to be sent: the protocol says its last words.
    fn farewell(&mut self, connection: &mut Connection, state: &mut LoopState);
    /// The connection is over: ends its subscriptions and sources.
    fn leave(&mut self, connection: &mut Connection, state: &mut LoopState);
    /// The connection is over for the handler, which gets its session back. The protocol may still have to read the answer to
    /// its last words.
    fn end(&mut self, connection: &mut Connection, state: &mut LoopState);
    /// The connection is gone: drops its typed side.
    fn forget(&mut self, connection: &Connection);

    /// Does what other threads ask of a connection through its control.
    fn obey(&mut self, connection: &mut Connection, state: &mut LoopState, requests: Requests);
    /// Lets the mail of a lane be read that waits now.
    fn get_mail_ready(&mut self, lane: Lane);
    /// Carries out the mail of a lane that is ready, until it has reached about `budget` connections, or something comes first:
    /// mail of the worker to itself, or a request. Returns what is left of the budget; 0 also if no mail is left. The name
    /// is the index that the service has on its worker, with the lane.
    fn read_mail(
        &mut self,
        name: (u16, Lane),
        table: &mut ConnTable,
        state: &mut LoopState,
        budget: usize,
    ) -> usize;
    /// Carries out the mail that the worker's own callbacks have posted.
    fn read_local_mail(&mut self, service: u16, table: &mut ConnTable, state: &mut LoopState);
    /// Delivers publications, until `budget` is spent. Returns what is left of it.
    fn fan_out(&mut self, table: &mut ConnTable, state: &mut LoopState, budget: usize) -> usize;
    /// Publications have waited for a connection for as long as the patience with it lasts.
    fn judge_lag(&mut self, connection: &mut Connection, state: &mut LoopState);
    /// Sends a connection the publications that wait for it, whatever room there is.
    fn wait_no_longer(&mut self, connection: &mut Connection, state: &mut LoopState);
    /// Notes the mail and the publications that wait at the beginning of a drain.
    fn note_mail(&mut self);
    /// True while mail or publications of that time are not carried out.
    fn has_noted_mail(&self) -> bool;
    /// Drops the mail that waits, at the deadline of a drain, and notes the connections that lose messages by it.
    fn give_up_mail(&mut self, table: &mut ConnTable, state: &mut LoopState);
    /// Drops the mail that waits now, and the publications that are not delivered.
    fn discard_mail(&mut self, state: &mut LoopState);
    /// Bytes that the connection's decoder holds.
    #[cfg(test)]
    fn held(&self, connection: &Connection) -> usize;
    /// The stamp of the oldest publication that waits for a connection.
    #[cfg(test)]
    fn oldest_waiting(&self, connection: &Connection) -> Option<u64>;
    /// Number of subscribers of a topic on this worker.
    #[cfg(test)]
    fn subscribers(&self, topic: &str) -> usize;
}
