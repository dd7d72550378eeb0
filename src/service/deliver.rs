//! The message loop: it unpacks what has arrived and calls the handler with each message.

use super::entry::Entry;
use super::hub::Hub;
use crate::connection::Connection;
use crate::connection::close_reason::Cause;
use crate::connection::gate::Gate;
use crate::connection::loop_state::LoopState;
use crate::connection::marks::Marks;
use crate::handler::Handler;
use crate::io::output::Reply;
use crate::protocol::{Decode, ErrorOf, UnpackContext, Unpacked};
use crate::shared::current;

/// Work that each call of the protocol is charged besides the bytes: handling many tiny messages costs more than their bytes.
const CALL_COST: usize = 16;

impl<H: Handler> Hub<H> {
    /// Delivers the messages at the front of `input` while the gate is open and the budget of the turn lasts, and watches over
    /// one that was begun. Returns the bytes consumed.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        connection: &mut Connection,
        state: &mut LoopState,
        input: &mut [u8],
    ) -> usize {
        let length = input.len();
        let Hub { handler, table, .. } = self;
        let outcome = table.enter(connection, state, length, |entry| {
            let consumed = entry.deliver_all(handler, input);
            entry.decoder.end_turn();
            let is_timed = entry.conn.connection.marks.has(Marks::TIMED);
            let is_within = is_timed && entry.decoder.is_within_message();
            (consumed, is_within)
        });
        // After a panic the connection closes, and its input with it.
        let (consumed, is_within) = outcome.unwrap_or((length, false));
        let is_within = is_within || consumed < length;
        // Most turns end between two messages, and begin there.
        let is_calm = !is_within && connection.timers.message.is_none();
        if connection.marks.has(Marks::TIMED) && !is_calm {
            self.watch_message(connection, state, is_within);
        }
        consumed
    }

    /// Forgets the deadline of the first message once that has come, and watches over another that was begun.
    fn watch_message(&self, connection: &mut Connection, state: &mut LoopState, is_within: bool) {
        let awaits_first = connection.marks.has(Marks::AWAITS_FIRST);
        if awaits_first && connection.messages_in > 0 {
            connection.marks.set(Marks::AWAITS_FIRST, false);
            connection.cancel_message_timer(state);
        }
        if let Some(timeout) = connection.message_timeout(self.timeouts.message) {
            let is_first = connection.messages_in == 0 && self.timeouts.first_message.is_some();
            if self.table.is_known(connection) && !is_first {
                connection.watch_message(state, is_within, timeout);
            }
        }
    }
}

/// The meaning of the bytes at the front of the input, without the message.
enum Found<E> {
    /// A message, or a piece of one, which the handler has.
    Message,
    /// Bytes that the protocol has dealt with by itself.
    Nothing,
    /// The end of the opening handshake.
    Opening,
    /// The end of the conversation, as the protocol has it.
    End,
    /// Part of a message.
    Part { at_least: usize },
    /// Bytes that the protocol refuses.
    Fault(E),
}

/// The meaning of the bytes at the front of the input, and how many are consumed; `None` for none, as more are needed.
type FoundBytes<H> = (Found<ErrorOf<<H as Handler>::Protocol>>, Option<usize>);

impl<H: Handler> Entry<'_, H> {
    /// Delivers until the input ends, more is needed, the gate shuts, or the budget of the turn is spent. Returns the bytes
    /// consumed.
    #[inline(always)]
    fn deliver_all(&mut self, handler: &mut H, input: &mut [u8]) -> usize {
        let mut consumed = 0;
        let mut written = self.conn.connection.output.written();
        self.conn.connection.needed = 1;
        // Work for mail and timers is not the turn's.
        let _ = self.conn.take_work();
        loop {
            while consumed < input.len() && self.may_deliver() {
                match self.deliver_next(handler, &mut input[consumed..]) {
                    Some(count) => consumed += count,
                    None => return consumed,
                }
                self.charge_turn(&mut written);
            }
            // A change that is asked for with the last message is made when the entry is left.
            if consumed == input.len() || !self.change_decoder() {
                return consumed;
            }
        }
    }

    /// True if another message may be delivered in this turn.
    #[inline(always)]
    fn may_deliver(&self) -> bool {
        self.conn.connection.gate.is_open() && !self.conn.state.budget.is_spent()
    }

    /// Unpacks at the front of the input and does what follows. Returns the bytes consumed; `None` ends the turn.
    #[inline(always)]
    fn deliver_next(&mut self, handler: &mut H, input: &mut [u8]) -> Option<usize> {
        let available = input.len();
        let (found, consumed) = self.unpack(handler, input)?;
        self.follow_up(handler, found, available);
        let work = self.conn.take_work();
        self.conn.state.budget.charge(work);
        consumed
    }

    /// Charges the turn with what the last message has caused besides: the bytes that the kernel has taken, of which `written`
    /// are charged already, and now and then the time.
    #[inline(always)]
    fn charge_turn(&mut self, written: &mut u64) {
        // Most answers leave at the end of the turn.
        if self.conn.connection.output.written() != *written {
            *written = self.charge_written(*written);
        }
        if self.conn.state.budget.count_call() {
            self.conn.state.look_at_clock();
        }
    }

    /// Charges the turn with the bytes that the kernel has taken since it had taken `before`. Returns how many it has taken now.
    #[cold]
    fn charge_written(&mut self, before: u64) -> u64 {
        let written = self.conn.connection.output.written();
        self.conn.state.budget.charge((written - before) as usize);
        written
    }

    /// Unpacks at the front of the input and hands a message to the handler. Returns also the bytes consumed; `None` if the
    /// connection has ended.
    #[inline(always)]
    fn unpack(&mut self, handler: &mut H, input: &mut [u8]) -> Option<FoundBytes<H>> {
        let available = input.len();
        let conn = &mut self.conn;
        let Connection { output, peer, .. } = &mut *conn.connection;
        let mut reply = Reply::new(output);
        let state = &mut *conn.state;
        state.budget.charge(CALL_COST);
        let (encoder, now) = (&mut *conn.encoder, state.now);
        let mut context =
            UnpackContext::new(reply.output(), encoder, now, peer).within(&mut state.budget);
        let unpacked = self.decoder.unpack(input, &mut context);
        reply.end();
        if conn.connection.output.has_overflowed() {
            // A reply of the protocol itself did not fit.
            conn.connection.abort(Cause::OutputLimit);
            return None;
        }
        let consumed = unpacked.as_ref().ok().and_then(Unpacked::consumed);
        if let Some(consumed) = consumed {
            assert!(
                consumed > 0 && consumed <= available,
                "a protocol consumes from 1 byte to all that there are"
            );
            conn.unread = available - consumed;
        }
        let found = match unpacked {
            Ok(Unpacked::Message { message, .. }) => {
                conn.connection.messages_in += 1;
                match self.session {
                    _ if conn.connection.life.is_parting() => {}
                    Some(session) => {
                        handler.on_message(conn, session, message);
                        if conn.state.post_pace.is_reached(current::posted()) {
                            conn.connection.hold_back(Gate::MAIL);
                        }
                    }
                    None => unreachable!("a message comes after the opening handshake"),
                }
                Found::Message
            }
            Ok(Unpacked::Skip { .. }) => Found::Nothing,
            Ok(Unpacked::Opened { .. }) => Found::Opening,
            Ok(Unpacked::End { .. }) => Found::End,
            Ok(Unpacked::NeedMore { at_least }) => Found::Part { at_least },
            Err(error) => Found::Fault(error),
        };
        Some((found, consumed))
    }

    /// Does what follows from the bytes at the front of the input, once no message borrows from the decoder any more.
    #[inline(always)]
    fn follow_up(&mut self, handler: &mut H, found: Found<ErrorOf<H::Protocol>>, available: usize) {
        match found {
            Found::Message => {
                if self.decoder.is_within_message() {
                    // A piece that is not the last is no whole message yet.
                    self.conn.connection.messages_in -= 1;
                }
            }
            Found::Nothing => self.limit_own_output(),
            Found::Opening => self.finish_handshake(handler),
            Found::End => self.conn.connection.close(Cause::Peer),
            Found::Part { at_least } => {
                let needed = available.saturating_add(at_least.max(1));
                self.conn.connection.needed = u32::try_from(needed).unwrap_or(u32::MAX);
            }
            Found::Fault(error) => self.refuse(error),
        }
    }

    /// The protocol's opening handshake is over: the handler meets the connection.
    fn finish_handshake(&mut self, handler: &mut H) {
        let is_opening = self.session.is_none() && !self.conn.connection.life.is_parting();
        assert!(is_opening, "a connection opens once");
        // The deadline of the handshake is met; another may follow.
        let conn = &mut self.conn;
        conn.connection.cancel_protocol_timer(conn.state);
        self.open(handler);
    }
}
