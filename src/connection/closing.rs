//! Ending a connection: each way to end sets the cause and moves the life cycle on together.

use std::io;

use super::close_reason::Cause;
use super::gate::Gate;
use super::marks::Marks;
use super::{Connection, Draining};

impl Connection {
    /// Begins an orderly close: last words, flush, end of stream, linger. Only the first cause counts.
    pub(crate) fn close(&mut self, cause: Cause) {
        let has_own_words = matches!(cause, Cause::Peer | Cause::Protocol | Cause::InputLimit);
        if self.sources() > 0 && !has_own_words {
            // The peer must not take what it has for all that the sources had to send.
            return self.abort(cause);
        }
        if self.life.close() {
            self.close_begins(cause);
        }
    }

    /// Begins an orderly close whose last words are in the output already.
    pub(crate) fn close_concluded(&mut self, cause: Cause) {
        self.life.conclude();
        self.close_begins(cause);
    }

    fn close_begins(&mut self, cause: Cause) {
        self.set_cause(cause);
        self.gate.shut(Gate::CLOSING);
        // Flushing has its time of its own after the wait for an answer.
        self.marks.set(Marks::CLOSE_LIMITED, false);
    }

    /// Lets the sources send all that they have, and nothing else; then the connection closes.
    pub(crate) fn finish(&mut self) {
        if self.life.finish() {
            self.hold_back(Gate::FINISHING);
        }
    }

    /// The sources are done: the close that has waited for them begins.
    pub(crate) fn stop_finishing(&mut self) {
        self.gate.open(Gate::FINISHING);
        self.life.stop_finishing();
        self.marks.set(Marks::CLOSE_LIMITED, false);
    }

    /// True while a close waits for the sources.
    pub(crate) fn is_finishing(&self) -> bool {
        self.gate.has(Gate::FINISHING)
    }

    /// The last words were said, and the peer's answer to them is awaited: nothing more is sent, and input goes to the
    /// protocol only.
    pub(crate) fn part(&mut self, cause: Cause) {
        self.set_cause(cause);
        self.life.part();
        self.gate.open(Gate::PAUSED);
    }

    /// Keeps the first cause. A close by the handler counts for what led to it: the end of the peer, or of the server.
    fn set_cause(&mut self, cause: Cause) {
        self.cause.get_or_insert(match cause {
            Cause::Local if self.output.wire().was_cut_off() => Cause::Truncated,
            Cause::Local if self.life.peer_has_ended() => Cause::Peer,
            Cause::Local if self.draining != Draining::No => Cause::Shutdown,
            cause => cause,
        });
    }

    /// Ends the connection at once with a reset; pending output is lost.
    pub(crate) fn abort(&mut self, cause: Cause) {
        if !self.life.is_closed() {
            self.output.wire().reset_on_drop();
            self.end_at_once(cause, false);
        }
    }

    /// Ends the connection because the socket failed.
    pub(crate) fn fail(&mut self, error: io::Error) {
        self.output.fail(error);
        self.end_now(Cause::Io);
    }

    /// Ends the connection without a further byte of its own. An orderly cause gives way if output is lost.
    pub(crate) fn end_now(&mut self, cause: Cause) {
        self.end_at_once(cause, true);
    }

    /// Ends the connection. Unless something is lost, the seal may say its end: not after an abort, whatever its cause, since the
    /// peer would take a stream that was cut for a whole one.
    fn end_at_once(&mut self, cause: Cause, may_say_end: bool) {
        if self.life.is_closed() {
            return;
        }
        let is_output_lost = self.loses_output() || self.sources() > 0;
        if self
            .cause
            .is_none_or(|first| is_output_lost && first.is_orderly())
        {
            self.cause = Some(cause);
        }
        if is_output_lost && !self.output.has_failed() {
            // The peer must not take a stream that was cut for a whole one.
            self.output.wire().reset_on_drop();
        } else if may_say_end && self.cause.is_some_and(Cause::is_orderly) {
            // As far as the kernel takes it at once: the stream is whole.
            self.output.say_end();
        }
        self.life.end();
        self.output.shut();
        self.gate.shut(Gate::CLOSING);
    }
}
