//! One connection together with its typed side, for the length of a call into the user's code.

use crate::connection::close_reason::Cause;
use crate::connection::gate::Gate;
use crate::handler::Handler;
use crate::handler::conn::Conn;
use crate::protocol::{Decode, ErrorOf, Protocol};

/// The typed side of a connection.
pub(super) struct Typed<H: Handler> {
    pub(super) decoder: <H::Protocol as Protocol>::Decoder,
    pub(super) encoder: <H::Protocol as Protocol>::Encoder,
    /// The handler's session, from `on_open` on.
    pub(super) session: Option<H::Session>,
    /// The protocol's reason to refuse the peer's bytes, for `on_close`.
    pub(super) error: Option<ErrorOf<H::Protocol>>,
}

/// The handler, a connection's typed side, and the connection as callbacks see it. Made by
/// [`Hub::enter`](super::hub::Hub::enter).
pub(super) struct Entry<'a, H: Handler> {
    pub(super) handler: &'a mut H,
    pub(super) decoder: &'a mut <H::Protocol as Protocol>::Decoder,
    pub(super) session: &'a mut Option<H::Session>,
    pub(super) error: &'a mut Option<ErrorOf<H::Protocol>>,
    pub(super) conn: Conn<'a, H::Protocol>,
}

impl<H: Handler> Entry<'_, H> {
    /// Calls the handler, if it knows the connection.
    #[inline]
    pub(super) fn call(
        &mut self,
        callback: impl FnOnce(&mut H, &mut Conn<'_, H::Protocol>, &mut H::Session),
    ) {
        if let Some(session) = self.session {
            callback(self.handler, &mut self.conn, session);
        }
    }

    /// Tells the handler of the connection.
    pub(super) fn open(&mut self) {
        *self.session = Some(self.handler.on_open(&mut self.conn));
    }

    /// The protocol refuses the peer's bytes, or its silence.
    pub(super) fn refuse(&mut self, error: ErrorOf<H::Protocol>) {
        *self.error = Some(error);
        self.conn.connection.close(Cause::Protocol);
    }

    /// Ends the connection if the protocol has put something by itself that does not fit.
    pub(super) fn end_if_overflowed(&mut self) {
        if self.conn.connection.output.has_overflowed() {
            self.conn.connection.abort(Cause::OutputLimit);
        }
    }

    /// Holds input back while the protocol's own answers are above the high-water mark.
    pub(super) fn limit_own_output(&mut self) {
        let connection = &mut *self.conn.connection;
        if connection.output.len() > self.conn.link.limits.high_water {
            connection.hold_back(Gate::PRESSURE);
        }
    }

    /// Sets the timer of the protocol's next deadline.
    #[inline]
    pub(super) fn arm_deadline(&mut self) {
        if <H::Protocol as Protocol>::Decoder::HAS_DEADLINES {
            let Conn {
                encoder,
                connection,
                state,
                ..
            } = &mut self.conn;
            if !connection.life.is_active() {
                return;
            }
            if let Some(deadline) = self.decoder.next_deadline(encoder, state.now) {
                connection.arm_protocol_timer(state, deadline);
            }
        }
    }
}
