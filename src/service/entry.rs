//! One connection together with its typed side, for the length of a call into the user's code.

use crate::connection::Connection;
use crate::connection::close_reason::Cause;
use crate::connection::gate::Gate;
use crate::connection::lifecycle::Stage;
use crate::connection::loop_state::LoopState;
use crate::handler::Handler;
use crate::handler::conn::Conn;
use crate::handler::link::Link;
use crate::protocol::{Decode, ErrorOf, Protocol};

/// A connection's typed side, and the connection as callbacks see it. Made by
/// [`TypedTable::enter`](super::typed_table::TypedTable::enter).
pub(super) struct Entry<'a, H: Handler> {
    pub(super) decoder: &'a mut <H::Protocol as Protocol>::Decoder,
    pub(super) session: &'a mut Option<H::Session>,
    pub(super) error: &'a mut Option<ErrorOf<H::Protocol>>,
    pub(super) conn: Conn<'a, H::Protocol>,
}

impl<H: Handler> Entry<'_, H> {
    /// Runs a callback, if the handler knows the connection.
    #[inline]
    pub(super) fn call<R>(
        &mut self,
        callback: impl FnOnce(&mut Conn<'_, H::Protocol>, &mut H::Session) -> R,
    ) -> Option<R> {
        let session = self.session.as_mut()?;
        Some(callback(&mut self.conn, session))
    }

    /// Lets the handler meet the connection, unless it refuses it.
    pub(super) fn open(&mut self, handler: &mut H) {
        if handler.admit(&mut self.conn) {
            *self.session = Some(handler.on_open(&mut self.conn));
        } else {
            self.conn.close();
        }
    }

    /// Closes the connection because the protocol refuses the peer's bytes, or its silence.
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
        connection.output.set_mark();
        if connection.output.len() > self.conn.link.limits.high_water {
            connection.hold_back(Gate::PRESSURE);
        }
    }

    /// Makes the changes to the decoder that the handler has asked for, and watches over the message that it is within. True
    /// if the handler has asked for either.
    #[inline]
    pub(super) fn change_decoder(&mut self) -> bool {
        let is_asked_for = self.conn.connection.gate.has(Gate::DECODER);
        if is_asked_for {
            let conn = &mut self.conn;
            change_decoder::<H>(self.decoder, conn.connection, conn.state, conn.link);
        }
        is_asked_for
    }

    /// Charges the connection with what the decoder holds now, if it is anything or was.
    #[inline]
    pub(super) fn charge_decoder(&mut self) {
        let held = self.decoder.held();
        let Conn {
            connection, state, ..
        } = &mut self.conn;
        if held > 0 || connection.has_decoder_charge() {
            connection.charge_decoder(state, held);
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
            let is_armed = connection.timers.protocol.is_some();
            if is_armed && !self.decoder.has_new_deadline(encoder) {
                return;
            }
            arm_deadline(self.decoder, encoder, connection, state);
        }
    }
}

// Out of line, since most turns need it not.
#[inline(never)]
fn arm_deadline<D: Decode>(
    decoder: &mut D,
    encoder: &mut D::Encoder,
    connection: &mut Connection,
    state: &mut LoopState,
) {
    if connection.life.takes_input() {
        if let Some(deadline) = decoder.next_deadline(encoder, state.now) {
            connection.arm_protocol_timer(state, deadline);
        }
    }
}

// The parts, not the entry: so the fast path can keep those in registers.
#[cold]
fn change_decoder<H: Handler>(
    decoder: &mut <H::Protocol as Protocol>::Decoder,
    connection: &mut Connection,
    state: &mut LoopState,
    link: &Link<H::Protocol>,
) {
    connection.gate.open(Gate::DECODER);
    // The decoder is asked again about the input that is kept: it may need less than it said before.
    connection.needed = 1;
    if connection.input.is_some() {
        state.queue(connection);
    }
    for change in link.decoder_changes.take() {
        change(decoder);
    }
    let timeout = connection.message_timeout(None);
    let is_open = connection.life.stage() == Stage::Open;
    if let Some(timeout) = timeout.filter(|_| is_open) {
        // The handler may have set the timeout just now, within a message.
        if connection.input.is_some() || decoder.is_within_message() {
            connection.watch_message(state, true, timeout);
        }
    }
}
