//! The application's side: the [`Handler`] that users implement, and everything through which it and other threads reach
//! connections.

mod closing;
pub(crate) mod conn;
pub(crate) mod connections;
pub(crate) mod count;
pub(crate) mod handle;
pub(crate) mod letter;
pub(crate) mod link;
pub(crate) mod local;
pub(crate) mod mailbox;
pub(crate) mod outbox;
pub(crate) mod publication;
mod sending;
#[cfg(unix)]
mod socket;
pub(crate) mod source;
pub(crate) mod stats;
pub(crate) mod subscribing;
pub(crate) mod timeout;
pub(crate) mod timers;
mod unsent;

use crate::connection::close_reason::{CloseReason, Timeout};
use crate::handler::conn::Conn;
use crate::handler::local::LocalConnections;
use crate::handler::timeout::TimeoutDecision;
use crate::handler::timers::TimerId;
use crate::protocol::{ErrorOf, MessageOf, Protocol};

/// The application: callbacks for the events of connections.
///
/// Each worker owns a handler value of its own, so every callback takes `&mut self` and needs no lock; state that workers
/// share goes into an `Arc` of the handler's own. All callbacks run on the worker's thread: a callback that blocks holds up
/// every connection of that worker.
///
/// A callback that panics ends its connection with [`CloseReason::Panic`]; the worker and its other connections go on,
/// with the handler as the panic left it.
///
/// Only `on_open` and `on_message` must be written. A connection meets its callbacks in this order, the ones in the middle
/// any number of times:
///
/// | callback | when | what may be done | what follows |
/// | --- | --- | --- | --- |
/// | [`admit`](Self::admit) | accepted, and the protocol's opening handshake is over | send a last word, return false | `on_open`, or the connection closes without another callback |
/// | [`on_open`](Self::on_open) | the same moment, if admitted | send, subscribe, set timers | messages are delivered |
/// | [`on_message`](Self::on_message) | a whole message has arrived | send, close, pause reading | the next message; replies leave in one write after the last |
/// | [`on_drained`](Self::on_drained) | output was above high water, or had no room for a message, and fell to low water | send on | reading resumes |
/// | [`on_timer`](Self::on_timer) | a timer of this connection is due | everything | an interval fires again |
/// | [`on_tick`](Self::on_tick) | [`Listen::tick_every`](crate::Listen::tick_every) has passed, for the whole worker | visit its connections | the next tick |
/// | [`on_timeout`](Self::on_timeout) | a deadline has passed | send a last word, let the peer stay | `on_close`, unless it stays |
/// | [`on_half_close`](Self::on_half_close) | the peer has ended its stream | answer, close later | by default the connection closes |
/// | [`on_shutdown`](Self::on_shutdown) | the server drains, and all that has arrived is answered | send a last word, close later | by default the connection closes |
/// | [`on_close`](Self::on_close) | the connection is over for the handler, for whatever reason | keep or drop the session, publish | nothing: it comes once, and last |
///
/// ```
/// use ringwheel::{Conn, Handler, protocol::Raw};
///
/// #[derive(Clone)]
/// struct Echo;
///
/// impl Handler for Echo {
///     type Protocol = Raw;
///     type Session = ();
///     fn on_open(&mut self, _conn: &mut Conn<'_, Raw>) {}
///     fn on_message(&mut self, conn: &mut Conn<'_, Raw>, _session: &mut (), bytes: &[u8]) {
///         conn.send(bytes);
///     }
/// }
/// ```
#[expect(
    unused_variables,
    reason = "the default bodies do nothing, and the names are documentation"
)]
pub trait Handler: Sized + 'static {
    /// The protocol, which turns bytes into messages and messages into bytes.
    type Protocol: Protocol;
    /// The handler's own state of one connection: made by [`on_open`](Self::on_open), given back to
    /// [`on_close`](Self::on_close).
    type Session: 'static;

    /// Decides on a connection before [`on_open`](Self::on_open): false refuses it. What was sent here is flushed, the
    /// connection closes in order, and no other callback is called for it. By default every connection is admitted.
    ///
    /// A refused peer counts as a connection until it has closed, or for [`Listen::close_timeout`](crate::Listen::close_timeout);
    /// [`Conn::abort`] here ends it at once.
    ///
    /// It is called when the protocol's opening handshake is over, if it has one. If it panics, the connection ends with no
    /// other callback, too.
    ///
    /// ```
    /// # use std::collections::HashSet;
    /// # use std::net::IpAddr;
    /// use ringwheel::{Conn, Handler, protocol::Lines};
    ///
    /// #[derive(Clone)]
    /// struct Guarded {
    ///     banned: HashSet<IpAddr>,
    /// }
    ///
    /// impl Handler for Guarded {
    ///     type Protocol = Lines;
    ///     type Session = ();
    ///     fn admit(&mut self, conn: &mut Conn<'_, Lines>) -> bool {
    ///         let is_banned = conn.peer_addr().ip().is_some_and(|ip| self.banned.contains(&ip));
    ///         if is_banned {
    ///             conn.send("you are banned");
    ///         }
    ///         !is_banned
    ///     }
    ///     fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}
    ///     fn on_message(&mut self, _conn: &mut Conn<'_, Lines>, _session: &mut (), _line: &str) {}
    /// }
    /// ```
    fn admit(&mut self, conn: &mut Conn<'_, Self::Protocol>) -> bool {
        true
    }

    /// The connection is open: its protocol's opening handshake is over, if it has one, and messages follow.
    fn on_open(&mut self, conn: &mut Conn<'_, Self::Protocol>) -> Self::Session;

    /// A message has arrived: a whole one, or a piece of one if the protocol delivers pieces. It may borrow from the receive
    /// buffer and is valid during this call.
    fn on_message(
        &mut self,
        conn: &mut Conn<'_, Self::Protocol>,
        session: &mut Self::Session,
        message: MessageOf<'_, Self::Protocol>,
    );

    /// The connection is over for the handler: called exactly once for each [`on_open`](Self::on_open) that returned, after all
    /// other callbacks.
    ///
    /// It is called at the end of the loop's iteration in which the connection has ended or has begun to close: by [`Conn::close`], by the
    /// peer's end, by a protocol error, a deadline or a panic. Where many connections end at once, or have many completions left, it
    /// may come some iterations later, since all these callbacks have 3 ms in each. The connection's timers and subscriptions have ended then, and its
    /// [`ConnHandle`](crate::ConnHandle)s say that it is closed. So a peer that is silent, or has gone without a word, is in
    /// the handler's tables no longer than the handler wants. One exception: a close that waits for
    /// [sources](Conn::send_from) begins when they are done, or are given up.
    ///
    /// Output that was sent before may still be on its way. The server goes on without the handler: it sends the output, awaits
    /// the protocol's answer to its last words, then the peer's end of stream, as
    /// [`Listen::close_timeout`](crate::Listen::close_timeout) allows. Until then the connection counts in
    /// [`ServerStats::connections`](crate::ServerStats) and against the limits, and a drain waits for it. Completions
    /// ([`Conn::send_then`]) come when the outcome is known, also after this call.
    ///
    /// `reason` is the cause of the end as it is known now. A failure afterwards does not change it:
    /// [`ServerStats::output_lost`](crate::ServerStats) counts it, and completions of messages that are lost tell
    /// [`SendOutcome::Lost`](crate::SendOutcome). A panic in this callback is logged and changes nothing.
    fn on_close(
        &mut self,
        conn: &Conn<'_, Self::Protocol>,
        session: Self::Session,
        reason: CloseReason<ErrorOf<Self::Protocol>>,
    ) {
    }

    /// The output has been above its high-water mark, or a message was refused or dropped because it did not fit, and the output
    /// is now at or below the low-water mark: there is room again, and reading resumes. After a message that was refused at or
    /// below the low-water mark the output is empty now.
    ///
    /// Called once for each time that the output was full, at the end of a turn, and not within a send.
    fn on_drained(&mut self, conn: &mut Conn<'_, Self::Protocol>, session: &mut Self::Session) {}

    /// A timer of [`Conn::set_timer`] or [`Conn::set_interval`] is due.
    fn on_timer(
        &mut self,
        conn: &mut Conn<'_, Self::Protocol>,
        session: &mut Self::Session,
        timer: TimerId,
        token: u64,
    ) {
    }

    /// A deadline of the listener has passed (idle, first message, message, write stall), and the connection is about to be
    /// evicted: the place for last words, which [`TimeoutDecision::Close`] sends, or for letting the peer stay.
    ///
    /// After `Close` and after `Evict` the connection ends with [`CloseReason::Timeout`]. A handler that closes or aborts the
    /// connection itself here has decided, whatever it returns, and its reason counts. When the write stall's deadline passes,
    /// the peer takes no output, so `Close` counts as `Evict`. Not called for a connection that the handler does not know
    /// yet, or that is closing already.
    ///
    /// ```
    /// use ringwheel::{Conn, Handler, Timeout, TimeoutDecision, protocol::Lines};
    ///
    /// #[derive(Clone)]
    /// struct Polite;
    ///
    /// impl Handler for Polite {
    ///     type Protocol = Lines;
    ///     type Session = ();
    ///     fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}
    ///     fn on_message(&mut self, _conn: &mut Conn<'_, Lines>, _session: &mut (), _line: &str) {}
    ///     fn on_timeout(
    ///         &mut self,
    ///         conn: &mut Conn<'_, Lines>,
    ///         _session: &mut (),
    ///         _timeout: Timeout,
    ///     ) -> TimeoutDecision {
    ///         conn.send("bye");
    ///         TimeoutDecision::Close
    ///     }
    /// }
    /// ```
    fn on_timeout(
        &mut self,
        conn: &mut Conn<'_, Self::Protocol>,
        session: &mut Self::Session,
        timeout: Timeout,
    ) -> TimeoutDecision {
        TimeoutDecision::Evict
    }

    /// Called on each worker every [`Listen::tick_every`](crate::Listen::tick_every), with the handler's connections there;
    /// never without that. It is called also when there are no connections, and while the server drains. Rounds that are missed while the worker is busy are not made up for.
    ///
    /// A panic here is logged, and the next round comes all the same.
    fn on_tick(&mut self, connections: &mut LocalConnections<'_, Self>) {}

    /// The peer has sent its end of stream and will send nothing more; every message before it was delivered.
    ///
    /// It may still be reading. By default what is pending is flushed and the connection closes with
    /// [`CloseReason::Peer`]; a handler that does otherwise must call [`Conn::close`] some time.
    fn on_half_close(&mut self, conn: &mut Conn<'_, Self::Protocol>, session: &mut Self::Session) {
        conn.close();
    }

    /// The server is draining, and all that had arrived from this peer is answered: the place for a last word.
    ///
    /// For a connection that subscribes to topics this comes when what had arrived from all others is answered, too, so that
    /// what they publish comes before; [`ServerHandle::shutdown`](crate::ServerHandle::shutdown) bounds the wait. Messages
    /// that come meanwhile are delivered.
    ///
    /// By default the connection now closes, with [`CloseReason::Shutdown`]. A handler with answers still to send may close it
    /// later; what is open when the drain's deadline passes is dropped.
    fn on_shutdown(&mut self, conn: &mut Conn<'_, Self::Protocol>, session: &mut Self::Session) {
        conn.close();
    }
}
