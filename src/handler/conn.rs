//! A connection as callbacks see it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::handle::ConnHandle;
use super::link::Link;
use super::stats::ConnStats;
use crate::connection::Connection;
use crate::connection::gate::Gate;
use crate::connection::id::ConnId;
use crate::connection::loop_state::LoopState;
use crate::io::address::Address;
use crate::io::proxy_header::ProxyHeader;
#[cfg(feature = "tls")]
use crate::io::tls::session::TlsSession;
use crate::protocol::Protocol;
use crate::shared::control::Control;

/// One connection, lent to a callback.
///
/// Messages that are sent collect in the output and leave in one write after the callbacks of this turn; large messages, and
/// output beyond 64 KiB, leave earlier. Closing is carried out after the callback has returned.
///
/// ```
/// use ringwheel::{Conn, protocol::Lines};
///
/// /// Answers one line, as a handler's `on_message` does.
/// fn answer(conn: &mut Conn<'_, Lines>, line: &str) {
///     match line {
///         "who am i" => _ = conn.send(&conn.peer_addr().to_string()),
///         "stats" => _ = conn.send(&format!("{:?}", conn.stats())),
///         "join" => match conn.subscribe("news") {
///             Ok(_) => _ = conn.send("welcome"),
///             Err(error) => _ = conn.send(&error.to_string()),
///         },
///         "quit" => {
///             conn.send("bye");
///             conn.close(); // After "bye" has left.
///         }
///         _ => _ = conn.send("who am i, stats, join or quit"),
///     }
/// }
/// ```
pub struct Conn<'a, P: Protocol> {
    pub(crate) encoder: &'a mut P::Encoder,
    pub(crate) connection: &'a mut Connection,
    pub(crate) state: &'a mut LoopState,
    pub(crate) link: &'a Link<P>,
    /// Bytes of input that are not part of a delivered message yet.
    pub(crate) unread: usize,
    /// The stamp of the last publication that comes before what is sent now.
    pub(crate) horizon: u64,
    /// Bytes of output that had left when this turn of the connection's code began.
    pub(crate) written_before: u64,
    /// Work of the messages that were sent since it was [taken](Self::take_work), in the unit of a received byte.
    pub(crate) work: usize,
    /// All such work of this turn.
    pub(crate) all_work: u64,
}

impl<P: Protocol> Conn<'_, P> {
    /// Stops the delivery of messages, including those that have arrived already, until
    /// [`resume_reading`](Self::resume_reading). Nothing is read meanwhile, so the peer's TCP window fills up and slows it down.
    ///
    /// A peer that is held back is not silent: the idle time and the deadlines of messages do not count against it, and start
    /// anew when reading resumes. So only the handler ends the pause. If it may take too long, set a timer for it; output
    /// that is pending meanwhile has [`Listen::write_stall_timeout`](crate::Listen::write_stall_timeout).
    pub fn pause_reading(&mut self) {
        if !self.connection.life.is_parting() {
            self.connection.hold_back(Gate::PAUSED);
        }
    }

    /// Resumes the delivery of messages after [`pause_reading`](Self::pause_reading).
    pub fn resume_reading(&mut self) {
        self.connection.listen_again(Gate::PAUSED, self.state.tick);
        self.state.queue(self.connection);
    }

    /// Changes the connection's decoder before it unpacks the next message: a larger limit after a login, another mode. (Not
    /// at once, because the message being handled may borrow from the decoder.) Input that waits for the end of a message is
    /// unpacked again by the changed decoder. [`Limits::input`](crate::Limits::input) bounds a message whatever the decoder
    /// allows.
    ///
    /// Several changes are made in the order in which they were asked for; none is made if the callback panics behind it.
    ///
    /// ```
    /// use ringwheel::{Conn, protocol::LengthPrefixed};
    ///
    /// /// A user that has logged in may send messages of up to 8 MiB.
    /// fn on_login(conn: &mut Conn<'_, LengthPrefixed>) {
    ///     conn.update_decoder(|decoder| *decoder = decoder.max_length(8 << 20));
    /// }
    /// ```
    pub fn update_decoder(&mut self, change: impl FnOnce(&mut P::Decoder) + 'static) {
        self.link
            .decoder_changes
            .borrow_mut()
            .push(Box::new(change));
        self.connection.gate.shut(Gate::DECODER);
    }

    /// A handle to this connection, for other threads and for the callbacks of other connections.
    pub fn handle(&mut self) -> ConnHandle<P> {
        let control = self.control();
        ConnHandle::new(self.connection.id, self.link.outbox.clone(), control)
    }

    /// The part of the connection that other threads reach, made by the first call.
    pub(crate) fn control(&mut self) -> Arc<Control> {
        self.connection.control(&self.state.shared).clone()
    }

    /// The writing half of the connection's protocol, in which the state lives that both halves share.
    ///
    /// With this and the next two methods a protocol gets methods of its own on `Conn`, by a trait if it is in another crate;
    /// `examples/checked_frames` has a whole one.
    ///
    /// ```
    /// use ringwheel::Conn;
    /// use ringwheel::protocol::FixedLength;
    ///
    /// trait RecordConn {
    ///     /// Bytes in each record of this connection.
    ///     fn record_length(&self) -> usize;
    /// }
    ///
    /// impl RecordConn for Conn<'_, FixedLength> {
    ///     fn record_length(&self) -> usize {
    ///         self.encoder().length()
    ///     }
    /// }
    /// ```
    pub fn encoder(&self) -> &P::Encoder {
        self.encoder
    }

    /// The writing half of the connection's protocol, to be changed. Bytes are written with
    /// [`encode_with`](Self::encode_with).
    pub fn encoder_mut(&mut self) -> &mut P::Encoder {
        self.encoder
    }

    /// The connection's name, unique for the life of the server.
    pub fn id(&self) -> ConnId {
        self.connection.id
    }

    /// The address of the peer's end, or of the client, if a proxy has told it by a
    /// [PROXY header](crate::Listen::proxy_protocol). The peer of a Unix socket has one only if it was bound to one; it can be any that the
    /// peer could bind, and says nothing of who the peer is.
    pub fn peer_addr(&self) -> &Address {
        &self.connection.peer
    }

    /// The header with which a proxy has begun the connection: it tells whose connection the proxy passes on, and more about it,
    /// such as the host name that the client has asked for. `None` unless the listener takes such headers; see
    /// [`Listen::proxy_protocol`](crate::Listen::proxy_protocol).
    ///
    /// ```
    /// use ringwheel::{Conn, ProxyHeader, protocol::Lines};
    ///
    /// /// The host name that the client has asked the proxy for.
    /// fn host<'a>(conn: &'a Conn<'_, Lines>) -> Option<&'a str> {
    ///     conn.proxy_header().and_then(ProxyHeader::authority)
    /// }
    /// ```
    pub fn proxy_header(&self) -> Option<&ProxyHeader> {
        self.connection.extra.as_ref()?.proxy_header.as_deref()
    }

    /// The address of our end. For TCP the kernel is asked each time; for a Unix socket it is the listener's.
    ///
    /// # Errors
    /// The kernel's error, for example when the connection was reset.
    pub fn local_addr(&self) -> io::Result<Address> {
        match &self.link.unix_address {
            Some(address) => Ok(address.clone()),
            None => self.connection.output.local_addr().map(Address::Ip),
        }
    }

    /// The TLS session of the connection; `None` if it does not use TLS.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
    pub fn tls(&self) -> Option<TlsSession<'_>> {
        self.connection.output.tls()
    }

    /// Bytes that have arrived and are not part of a delivered message yet.
    pub fn read_buffer_len(&self) -> usize {
        self.unread
    }

    /// Bytes that were sent and are not with the kernel yet.
    pub fn write_buffer_len(&self) -> usize {
        self.connection.output.len()
    }

    /// True while messages can be sent.
    pub fn is_open(&self) -> bool {
        self.connection.life.accepts_sends()
    }

    /// The connection's counters.
    pub fn stats(&self) -> ConnStats {
        ConnStats {
            bytes_in: self.connection.received,
            bytes_out: self.connection.output.written(),
            messages_in: self.connection.messages_in,
            messages_out: self.connection.messages_out,
            dropped: self
                .connection
                .extra
                .as_ref()
                .map_or(0, |extra| extra.dropped),
        }
    }

    /// The time at which the loop's current iteration began, counted from the start of the worker's loop: the clock of
    /// [`UnpackContext::now`](crate::protocol::UnpackContext::now). It never goes back and costs no system call. Each worker
    /// has a clock of its own.
    ///
    /// ```
    /// # use ringwheel::{Conn, protocol::Lines};
    /// # use std::time::Duration;
    /// fn is_too_soon(conn: &Conn<'_, Lines>, last_request: Duration) -> bool {
    ///     conn.now() < last_request + Duration::from_millis(100)
    /// }
    /// ```
    pub fn now(&self) -> Duration {
        self.state.now
    }

    /// Time since the last sign of life of the peer, in whole ticks. Sending to it is none. A peer whose input was held back
    /// counts as alive until then.
    pub fn idle_for(&self) -> Duration {
        self.state
            .clock
            .begin(self.state.tick - self.connection.active_at)
    }

    /// Counts as a sign of life: the idle time starts anew.
    pub fn touch(&mut self) {
        self.connection.active_at = self.state.tick;
    }
}

impl<P: Protocol> fmt::Debug for Conn<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn")
            .field("id", &self.connection.id)
            .field("peer", &self.connection.peer)
            .field("stage", &self.connection.life.stage())
            .finish_non_exhaustive()
    }
}
