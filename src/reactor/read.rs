//! Reading: input goes from the socket into the loop's receive buffer and through the protocol; a rest is kept in the
//! connection's ring.

use std::io;

use crate::connection::Connection;
use crate::connection::callback_time::CallbackTime;
use crate::connection::close_reason::Cause;
use crate::connection::loop_state::LoopState;
use crate::service::Service;

use super::{Reactor, ServiceEntry};

/// Kept input of at most this many bytes is copied to the front of the receive buffer, so that the next read continues it and
/// can be long. A larger rest stays in its ring, and the next read goes there.
const JOIN_MAX: usize = 4 * 1024;
/// The least room for a read into a connection's own ring.
const RING_READ_MIN: usize = 4 * 1024;
/// The multiple of the bytes that have arrived up to which the announced length of a message is believed.
const ANNOUNCED_MAX: usize = 4;

impl Reactor {
    /// Has long turns charged with the time that they take, from now on.
    pub(crate) fn measure_time(&mut self) {
        self.state.measures_time = true;
    }

    /// Begins the time of callbacks that are no turn.
    pub(crate) fn begin_callbacks(&self) -> CallbackTime {
        self.state.begin_callbacks()
    }

    /// Delivers what is kept, then reads until the socket is drained, the gate shuts, or the budget is spent.
    #[inline]
    pub(super) fn read(&mut self, slot: u32) {
        let Some(connection) = self.table.in_slot(slot) else {
            return;
        };
        let slot = &mut self.services[connection.service as usize];
        ReadTurn::new(connection, slot, &mut self.state, &mut self.receive).run();
    }
}

/// The fast path of a turn: no input is kept, the new input fits into the receive buffer, whole messages take all of it, and
/// the socket takes all that they answer. It does the same as [`Reactor::read`] and [`Reactor::settle`].
///
/// False if one of these conditions does not hold: the turn is done all the same, but the connection must be settled.
#[inline]
pub(super) fn fast_turn(
    connection: &mut Connection,
    slot: &mut ServiceEntry,
    state: &mut LoopState,
    buffer: &mut [u8],
) -> bool {
    state.begin_turn();
    let room = buffer.len();
    let wire = connection.output.wire();
    let outcome = wire.read(buffer);
    let count = match outcome {
        Ok(count) if count > 0 && wire.is_done_with(count, room, state.budget.light()) => count,
        _ => {
            connection.readable = true;
            ReadTurn::new(connection, slot, state, buffer).run_after_first_read(outcome, room);
            return false;
        }
    };
    connection.received += count as u64;
    connection.active_at = state.tick;
    let taken = slot
        .service
        .receive(connection, state, &mut buffer[..count]);
    if state.budget.is_heavy() {
        connection.note_heavy_turn(state);
    }
    if taken < count || !connection.is_undisturbed() {
        ReadTurn::new(connection, slot, state, buffer).run_after_delivery(count, taken);
        return false;
    }
    connection.output.send_off(&mut state.pool)
}

/// The bytes to make room for, in all, where `needed` were announced and `arrived` have come. A header may claim any length, so
/// the room is at most a multiple of what has really arrived.
fn believed(needed: usize, arrived: usize) -> usize {
    needed
        .min(arrived.saturating_mul(ANNOUNCED_MAX))
        .max(arrived)
}

struct ReadTurn<'a> {
    connection: &'a mut Connection,
    service: &'a mut dyn Service,
    state: &'a mut LoopState,
    /// The loop's receive buffer; its first `held` bytes are this connection's input that is not consumed yet.
    buffer: &'a mut [u8],
    held: usize,
    input_limit: usize,
}

impl<'a> ReadTurn<'a> {
    fn new(
        connection: &'a mut Connection,
        slot: &'a mut ServiceEntry,
        state: &'a mut LoopState,
        buffer: &'a mut [u8],
    ) -> Self {
        ReadTurn {
            service: &mut *slot.service,
            state,
            buffer,
            held: 0,
            input_limit: slot.limits.input,
            connection,
        }
    }

    fn run(mut self) {
        self.state.begin_turn();
        if self.connection.has_due_completions() {
            // The end of the turn calls them, and they may need all of its budget.
            return;
        }
        // Behind a shut gate the kept input stays where it is.
        let is_held_back = !self.connection.gate.is_open() && self.connection.life.takes_input();
        if self.connection.input.is_some() && !is_held_back {
            self.resume_kept_input();
        }
        self.read_on();
        self.end();
    }

    /// Goes on after a first read into the empty buffer, of at most `room` bytes.
    #[cold]
    fn run_after_first_read(mut self, outcome: io::Result<usize>, room: usize) {
        if let Ok(count) = outcome {
            self.held = count;
        }
        self.absorb_read(outcome, room);
        self.read_on();
        self.end();
    }

    /// Goes on after the first `taken` of `count` bytes in the buffer were consumed, and the socket was drained.
    #[cold]
    fn run_after_delivery(mut self, count: usize, taken: usize) {
        self.held = count;
        self.consume(taken);
        self.after_delivery();
        self.end();
    }

    /// Reads until the socket is drained, the gate shuts, or the budget is spent.
    fn read_on(&mut self) {
        while self.connection.readable && self.connection.wants_input() {
            if self.state.budget.is_spent() {
                self.connection.note_heavy_turn(self.state);
                self.state.queue_unfinished(self.connection);
                break;
            }
            let (outcome, room) = self.read_once();
            self.absorb_read(outcome, room);
        }
    }

    /// Handles the outcome of one read, which had room for `room` bytes.
    #[inline]
    fn absorb_read(&mut self, outcome: io::Result<usize>, room: usize) {
        match outcome {
            Ok(0) => {
                self.connection.readable = false;
                self.connection.life.note_peer_end();
            }
            Ok(count) => {
                self.connection.received += count as u64;
                self.connection.active_at = self.state.tick;
                let work = self.note_read(count, room);
                self.deliver();
                // The bytes are charged behind their delivery: a read that is allowed is also delivered.
                self.state.budget.charge(count + work);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.connection.readable = false;
                self.connection.drain_fully = false;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                let work = self.note_read(0, room);
                self.state.budget.charge(work);
            }
            Err(error) => {
                self.connection.readable = false;
                self.connection.fail(error);
            }
        }
    }

    /// Notes if a read has drained the socket. Returns the work of the read beyond that of its bytes.
    #[inline]
    fn note_read(&mut self, count: usize, room: usize) -> usize {
        let connection = &mut *self.connection;
        let wire = connection.output.wire();
        let work = wire.work_of_read();
        if wire.is_drained_by(count, room) && !connection.drain_fully {
            connection.readable = false;
        }
        work
    }

    /// Ends the turn: keeps the rest of the input, and announces the peer's end of stream behind it.
    fn end(&mut self) {
        if self.held > 0 {
            self.keep_input();
        }
        if self.state.budget.used() > 0 {
            self.connection.note_turn(self.state);
        }
        if self.connection.has_deliverable() {
            // The budget was spent between two messages.
            self.state.queue_unfinished(self.connection);
        } else if self.connection.life.has_unannounced_end() {
            self.announce_end();
        }
    }

    /// Begins with the input that an earlier turn has kept.
    fn resume_kept_input(&mut self) {
        let small = self
            .connection
            .input
            .take_if(|ring| ring.len() <= JOIN_MAX.min(self.buffer.len() / 2));
        if let Some(ring) = small {
            let (front, back) = ring.as_slices();
            self.held = front.len() + back.len();
            self.buffer[..front.len()].copy_from_slice(front);
            self.buffer[front.len()..self.held].copy_from_slice(back);
            self.state.pool.give_back(ring);
        }
        self.deliver();
    }

    /// Reads once, behind the input that is held already. Returns also the room that the read had.
    #[inline]
    fn read_once(&mut self) -> (io::Result<usize>, usize) {
        if self.connection.input.is_some() {
            return self.read_into_ring();
        }
        let room = &mut self.buffer[self.held..];
        let outcome = self.connection.output.wire().read(room);
        let room = room.len();
        if let Ok(count) = outcome {
            self.held += count;
        }
        (outcome, room)
    }

    /// Reads the rest of a large message into the ring that has its beginning.
    fn read_into_ring(&mut self) -> (io::Result<usize>, usize) {
        let Some(ring) = &mut self.connection.input else {
            return (Err(io::ErrorKind::WouldBlock.into()), 0);
        };
        let announced = believed(self.connection.needed as usize, ring.len());
        let room = (announced - ring.len())
            .max(RING_READ_MIN)
            .min(self.input_limit - ring.len());
        ring.reserve(room)
            .expect("a ring's limit is not below the input limit");
        let (spare, _) = ring.spare();
        let room = room.min(spare.len());
        let spare = &mut spare[..room];
        let outcome = self.connection.output.wire().read(spare);
        if let Ok(count) = outcome {
            ring.commit(count);
        }
        (outcome, room)
    }

    /// Hands the input to the protocol, if it is as much as the protocol needs.
    #[inline]
    fn deliver(&mut self) {
        if self.connection.input.is_some() {
            self.deliver_from_ring();
        } else if self.held >= self.connection.needed as usize && self.connection.gate.is_open() {
            let input = &mut self.buffer[..self.held];
            let taken = self.service.receive(self.connection, self.state, input);
            self.consume(taken);
        }
        self.after_delivery();
    }

    /// Removes the first `count` of the held bytes.
    #[inline]
    fn consume(&mut self, count: usize) {
        if count < self.held {
            self.buffer.copy_within(count..self.held, 0);
        }
        self.held -= count;
    }

    /// Decides on the rest of the input after a delivery.
    #[inline]
    fn after_delivery(&mut self) {
        if self.connection.needed > 1 {
            self.expect_more();
        }
        if !self.connection.life.takes_input() {
            self.discard();
        }
    }

    fn deliver_from_ring(&mut self) {
        let Some(mut ring) = self.connection.input.take() else {
            return;
        };
        if ring.len() >= self.connection.needed as usize && self.connection.gate.is_open() {
            let taken = self
                .service
                .receive(self.connection, self.state, ring.contiguous());
            ring.consume(taken);
        }
        if ring.is_empty() {
            self.state.pool.give_back(ring);
        } else {
            self.connection.input = Some(ring);
        }
    }

    /// The protocol needs more input: makes room for it, or closes if the input limit forbids it.
    fn expect_more(&mut self) {
        let needed = self.connection.needed as usize;
        if needed > self.input_limit {
            self.connection.close(Cause::InputLimit);
        } else if needed > self.buffer.len() && self.held > 0 {
            self.keep_input();
        }
    }

    /// Moves the rest of the input from the receive buffer to the connection's own ring.
    fn keep_input(&mut self) {
        if !self.connection.life.takes_input() {
            return self.discard();
        }
        // A shut gate may hold back several whole messages, which together exceed the limit of one.
        let mut ring = self
            .state
            .pool
            .lend(self.input_limit.max(self.buffer.len()));
        // Grown at once to what is to come: a ring that doubles copies what it has each time.
        let announced = believed(self.connection.needed as usize, self.held);
        ring.reserve(announced.min(ring.limit()))
            .expect("the limit is not below the buffer's size");
        ring.extend_from_slice(&self.buffer[..self.held])
            .expect("the limit is not below the buffer's size");
        self.connection.input = Some(ring);
        self.held = 0;
    }

    /// Discards the input of a connection that is closing.
    fn discard(&mut self) {
        self.held = 0;
        if let Some(ring) = self.connection.input.take() {
            self.state.pool.give_back(ring);
        }
    }

    /// Tells the handler of the peer's end of stream, once everything before it was delivered.
    fn announce_end(&mut self) {
        if !self.connection.life.takes_input() {
            self.connection.life.announce_peer_end();
        } else if self.connection.gate.is_open() {
            self.connection.life.announce_peer_end();
            if self.connection.input.is_some() || self.connection.output.wire().was_cut_off() {
                self.connection.close(Cause::Truncated);
            } else if self.connection.life.is_parting() {
                self.connection.close(Cause::Local);
            } else {
                self.service.half_close(self.connection, self.state);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announced_length_is_believed_as_far_as_bytes_have_come() {
        assert_eq!(believed(u32::MAX as usize, 10), 40);
        assert_eq!(believed(30, 10), 30);
        assert_eq!(believed(5, 10), 10);
        assert_eq!(believed(1, usize::MAX), usize::MAX);
    }
}
