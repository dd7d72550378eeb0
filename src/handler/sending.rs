//! Sending: a message is packed into the output at once, and the answer tells what becomes of it.

use super::conn::Conn;
use crate::connection::Connection;
use crate::connection::burdens::Burdens;
use crate::connection::close_reason::Cause;
use crate::connection::completion::{Completion, SendOutcome};
use crate::connection::gate::Gate;
use crate::connection::limits::Overflow;
use crate::connection::send_status::{Refusal, SendStatus};
use crate::io::output::{Output, Packed};
use crate::protocol::{Encode, EncodeParts, ItemOf, OwnedOf, PackError, Protocol};

/// Bytes that may leave in one turn of a connection's code, with the work of encoding, before it is asked to let others have their
/// turns.
const SENT_AT_ONCE: u64 = 512 * 1024;
/// Work of encoding that counts as one such byte: 128 KiB that are compressed are as many as 512 KiB that are not.
const WORK_OF_BYTE: u64 = 8;

/// A connection whose output holds the beginning of a message. It takes the beginning back if encoding panics, so that a handler that
/// catches the panic sends no half of a message.
struct HalfMessage<'a>(&'a mut Connection);

impl Drop for HalfMessage<'_> {
    fn drop(&mut self) {
        if self.0.output.abandon() == Packed::Torn {
            self.0.abort(Cause::Panic);
        }
    }
}

impl<P: Protocol> Conn<'_, P> {
    /// Sends one message. It is packed at once and leaves together with everything else that this turn sends.
    #[inline]
    pub fn send(&mut self, item: ItemOf<'_, P>) -> SendStatus {
        self.encode_with(|encoder, output| encoder.pack(item, output))
    }

    /// Sends one message with an [`Overflow`] policy of its own, in place of [`Limits::overflow`](crate::Limits::overflow):
    /// a position that may be dropped, a trade that may not.
    ///
    /// ```
    /// use ringwheel::{Conn, Overflow, protocol::Lines};
    ///
    /// /// A peer that reads slowly misses some prices.
    /// fn send_price(conn: &mut Conn<'_, Lines>, price: &str) {
    ///     conn.send_or(price, Overflow::DropMessage);
    /// }
    /// ```
    #[inline]
    pub fn send_or(&mut self, item: ItemOf<'_, P>, overflow: Overflow) -> SendStatus {
        self.encode(Some(overflow), |encoder, output| encoder.pack(item, output))
    }

    /// Sends one message that several connections may share: as [`send`](Self::send), but the protocol can keep a costly
    /// encoding with the item.
    pub fn send_owned(&mut self, item: &OwnedOf<P>) -> SendStatus {
        self.encode_with(|encoder, output| encoder.pack_owned(item, output))
    }

    /// Sends one message, and calls `done` on this worker's thread with the outcome: when all of it is with the kernel, or
    /// when it is certain that it will not be.
    ///
    /// The time that `done` takes is charged to the connection. A turn that has sent 128 messages in this way
    /// ends after the current callback, whatever the [`read_budget`](crate::ServerBuilder::read_budget).
    pub fn send_then(
        &mut self,
        item: ItemOf<'_, P>,
        done: impl FnOnce(SendOutcome) + Send + 'static,
    ) -> SendStatus {
        // Made before the protocol packs: if that panics, dropping the completion tells that the message is lost.
        let done = Completion::new(done);
        let status = self.send(item);
        self.complete_with(status, Some(done));
        status
    }

    /// As [`send_owned`](Self::send_owned), for a message whose turn it is: mail of the callback to its own connection, which
    /// may wait, is not packed first.
    pub(crate) fn send_owned_now(&mut self, item: &OwnedOf<P>) -> SendStatus {
        let status = self.pack_now(item);
        self.log_unsent(status);
        status
    }

    fn pack_now(&mut self, item: &OwnedOf<P>) -> SendStatus {
        self.encode_now(None, |encoder, output| encoder.pack_owned(item, output))
    }

    /// Logs that the protocol could not express a message from elsewhere: the sender has got its answer before.
    #[inline]
    pub(super) fn log_unsent(&self, status: SendStatus) {
        if let SendStatus::Refused(Refusal::Pack(reason)) = status {
            self.link.unsent.note(self.id(), reason, self.state.now);
        }
    }

    /// As [`send_owned_now`](Self::send_owned_now), with a completion, which tells of a refusal in place of the log.
    pub(crate) fn send_owned_with(&mut self, item: &OwnedOf<P>, done: Option<Completion>) {
        let status = match done {
            Some(_) => self.pack_now(item),
            None => self.send_owned_now(item),
        };
        self.complete_with(status, done);
    }

    /// Calls the completion of a message that was refused, or keeps it until the message is with the kernel.
    pub(super) fn complete_with(&mut self, status: SendStatus, done: Option<Completion>) {
        match (status, done) {
            (_, None) => {}
            (SendStatus::Refused(refusal), Some(done)) => {
                done.complete(SendOutcome::Refused(refusal))
            }
            (_, Some(done)) => {
                let position = self.position();
                let completions = &mut self.connection.extra_or_new().completions;
                completions.push(position, done);
                self.state.budget.charge_completion();
                self.connection.burdens.set(Burdens::COMPLETING, true);
            }
        }
    }

    /// Bytes that were put into the output since the connection opened.
    pub(super) fn position(&self) -> u64 {
        self.connection.output.written() + self.connection.output.len() as u64
    }

    /// Sends one message whose payload is given in parts, without joining them first.
    ///
    /// ```
    /// use ringwheel::{Conn, protocol::LengthPrefixed};
    ///
    /// /// Sends one frame without joining its parts first.
    /// fn send_record(conn: &mut Conn<'_, LengthPrefixed>, header: &[u8], body: &[u8]) {
    ///     conn.send_vectored(&[header, body]);
    /// }
    /// ```
    pub fn send_vectored(&mut self, parts: &[&[u8]]) -> SendStatus
    where
        P::Encoder: EncodeParts,
    {
        self.encode_with(|encoder, output| encoder.pack_parts(parts, output))
    }

    /// Sends what `encode` writes as one message, as [`send`](Self::send) sends an item: the limits and the
    /// [`Overflow`] policy apply, it counts in [`ConnStats::messages_out`](crate::ConnStats::messages_out), and nothing is written if the connection is
    /// closing. For what a protocol sends besides its items, such as a ping.
    ///
    /// An error or a panic takes back all that `encode` has written. If a part of it has left already, the connection is reset.
    ///
    /// ```
    /// use ringwheel::protocol::Lines;
    /// use ringwheel::{Conn, SendStatus};
    ///
    /// trait LinesConn {
    ///     /// An empty line, by which the client knows that we are here.
    ///     fn send_sign_of_life(&mut self) -> SendStatus;
    /// }
    ///
    /// impl LinesConn for Conn<'_, Lines> {
    ///     fn send_sign_of_life(&mut self) -> SendStatus {
    ///         self.encode_with(|_encoder, output| {
    ///             output.put_slice(b"\r\n");
    ///             Ok(())
    ///         })
    ///     }
    /// }
    /// ```
    #[inline]
    pub fn encode_with(
        &mut self,
        encode: impl FnOnce(&mut P::Encoder, &mut Output) -> Result<(), PackError>,
    ) -> SendStatus {
        self.encode(None, encode)
    }

    /// Sends what `encode` writes as one message. `overflow` takes the place of the connection's policy, if it is given.
    // Inlined into each kind of send: a call of its own is a fifth of the instructions of a small message.
    #[inline(always)]
    fn encode(
        &mut self,
        overflow: Option<Overflow>,
        encode: impl FnOnce(&mut P::Encoder, &mut Output) -> Result<(), PackError>,
    ) -> SendStatus {
        self.pack_own_mail();
        self.encode_now(overflow, encode)
    }

    /// As [`encode`](Self::encode), for a message whose turn it is.
    #[inline(always)]
    fn encode_now(
        &mut self,
        overflow: Option<Overflow>,
        encode: impl FnOnce(&mut P::Encoder, &mut Output) -> Result<(), PackError>,
    ) -> SendStatus {
        let connection = &mut *self.connection;
        if !connection.life.accepts_sends() {
            return SendStatus::Refused(Refusal::Closing);
        }
        connection.output.begin();
        let half = HalfMessage(connection);
        let encoded = encode(self.encoder, &mut half.0.output);
        std::mem::forget(half);
        if let Err(reason) = encoded {
            return self.refuse(reason);
        }
        let pending = connection.output.len();
        // A large message has left already.
        if pending >= self.link.flush_at || connection.output.has_incident() {
            return self.finish_under_pressure(overflow);
        }
        match connection.output.finish_at(pending) {
            Packed::Whole => {}
            packed => return self.overflow(packed, overflow),
        }
        connection.messages_out += 1;
        match self.encoder.take_work() {
            0 => SendStatus::Queued,
            work => self.note_work(work),
        }
    }

    /// Notes the work that a message has been.
    #[cold]
    fn note_work(&mut self, work: usize) -> SendStatus {
        self.work += work;
        self.all_work += work as u64;
        if self.has_done_much() {
            self.connection.hold_back(Gate::PRESSURE);
            return SendStatus::AboveHighWater;
        }
        SendStatus::Queued
    }

    /// True if so much has left in this turn, or was encoded, that others should have theirs. A peer that reads fast never lets the
    /// high-water mark be reached, and code that sends until then would keep the worker.
    fn has_done_much(&self) -> bool {
        let sent = self.connection.output.written() - self.written_before;
        sent + self.all_work / WORK_OF_BYTE > SENT_AT_ONCE
    }

    /// Takes the work that messages have been since the last call.
    #[inline]
    pub(crate) fn take_work(&mut self) -> usize {
        std::mem::take(&mut self.work) + self.encoder.take_work()
    }

    /// Ends a message when much output is pending: applies the limit, tries the socket, then applies the high-water mark.
    #[cold]
    fn finish_under_pressure(&mut self, overflow: Option<Overflow>) -> SendStatus {
        // One that does not fit is taken back below.
        self.connection.output.overfills();
        match self.connection.output.finish() {
            Packed::Whole => {}
            packed => return self.overflow(packed, overflow),
        }
        self.connection.messages_out += 1;
        let work = self.encoder.take_work();
        let output = &mut self.connection.output;
        output.flush();
        let is_above = output.len() > self.link.limits.high_water;
        let status = self.note_work(work);
        if is_above {
            self.connection.hold_back(Gate::PRESSURE);
            return SendStatus::AboveHighWater;
        }
        status
    }

    #[cold]
    fn refuse(&mut self, reason: PackError) -> SendStatus {
        if self.connection.output.take_back() == Packed::Torn {
            self.connection.abort(Cause::OutputLimit);
        }
        SendStatus::Refused(Refusal::Pack(reason))
    }

    #[cold]
    fn overflow(&mut self, packed: Packed, policy: Option<Overflow>) -> SendStatus {
        if self.connection.output.has_failed() {
            return SendStatus::Refused(Refusal::Closing);
        }
        match policy.unwrap_or(self.link.limits.overflow) {
            Overflow::DropMessage if packed == Packed::Overflowed => {
                self.connection.extra_or_new().dropped += 1;
                self.connection.await_room(self.link.limits.low_water);
                SendStatus::Refused(Refusal::Dropped)
            }
            Overflow::Refuse if packed == Packed::Overflowed => {
                self.connection.await_room(self.link.limits.low_water);
                SendStatus::Refused(Refusal::OutputLimit)
            }
            // A reset, so that the peer does not take a stream with a hole for a whole one.
            _ => {
                self.connection.abort(Cause::OutputLimit);
                SendStatus::Refused(Refusal::OutputLimit)
            }
        }
    }

    /// Hands pending output to the kernel now, instead of at the end of this turn. Does nothing once the connection has ended.
    pub fn flush(&mut self) {
        self.connection.output.flush();
    }
}
