//! Decides if a peer's silence counts: it does not while we have left its input unread.

use super::Connection;
use super::gate::Gate;
use super::marks::Marks;

impl Connection {
    /// Shuts the gate for input, which excuses the peer from the message that is awaited.
    pub(crate) fn hold_back(&mut self, reason: Gate) {
        self.gate.shut(reason);
        self.marks.set(Marks::HELD_BACK, true);
    }

    /// Takes back a reason to hold input back. If it was the last one, the idle time starts anew: until now the peer could not
    /// be heard.
    pub(crate) fn listen_again(&mut self, reason: Gate, tick: u64) {
        let was_open = self.gate.is_open();
        self.gate.open(reason);
        if self.gate.is_open() && !was_open {
            self.active_at = tick;
        }
    }

    /// Asks the socket whether input waits, where reading is held back, or completions come first: a socket that was not drained
    /// need not have any.
    pub(crate) fn recheck_readable(&mut self) {
        let is_held_back = !self.gate.is_open() || self.has_due_completions();
        if self.readable && is_held_back && !self.output.wire().has_news() {
            self.readable = false;
            self.drain_fully = false;
        }
    }

    /// True if the peer may have sent something that was not looked at: unread in the socket, or held back by the gate.
    pub(crate) fn has_unheard_input(&self) -> bool {
        (self.readable && !self.life.peer_has_ended()) || self.kept() >= self.needed as usize
    }

    /// The wait for a message begins.
    pub(crate) fn begin_message_wait(&mut self) {
        self.marks.set(Marks::HELD_BACK, !self.gate.is_open());
    }

    /// Starts the wait for a message anew. True if the past one was unfair: reading was held back for part of it, or
    /// input is still unread.
    pub(crate) fn restart_message_wait(&mut self) -> bool {
        let was_held_back = self.marks.has(Marks::HELD_BACK);
        self.begin_message_wait();
        self.recheck_readable();
        was_held_back || self.has_unheard_input()
    }
}

#[cfg(test)]
mod tests {
    use ringwheel_ringbuffer::RingBuffer;

    use super::*;
    use crate::connection::burdens::Burdens;
    use crate::connection::completion::Completion;
    use crate::connection::id::ConnId;
    use crate::io::address::Address;
    use crate::io::stream::Stream;

    fn connection() -> Connection {
        let id = ConnId::in_slot(0);
        Connection::new(id, 0, Stream::Detached.into(), Address::Unix(None), 0)
    }

    #[test]
    fn input_that_was_not_looked_at_is_unheard() {
        let mut connection = connection();
        assert!(!connection.has_unheard_input());
        connection.readable = true;
        assert!(connection.has_unheard_input(), "unread in the socket");
        connection.readable = false;
        let mut ring = RingBuffer::with_limit(100);
        ring.extend_from_slice(&[0; 10]).unwrap();
        connection.input = Some(Box::new(ring));
        connection.needed = 11;
        assert!(!connection.has_unheard_input(), "a part of a message");
        connection.needed = 10;
        assert!(connection.has_unheard_input(), "a whole message");
    }

    /// Completions that take long do not excuse a peer that has sent nothing.
    #[test]
    fn a_socket_that_completions_kept_from_being_read_is_asked_for_input() {
        let mut connection = connection();
        let completions = &mut connection.extra_or_new().completions;
        completions.push(0, Completion::new(|_| {}));
        connection.burdens.set(Burdens::COMPLETING, true);
        connection.readable = true;
        assert!(!connection.restart_message_wait());
    }
}
