//! Sources: what is too large for the output is drawn piece by piece while the peer reads.

use std::collections::{HashMap, VecDeque};

use super::conn::Conn;
use super::link::Link;
use crate::connection::Connection;
use crate::connection::burdens::Burdens;
use crate::connection::completion::{Completion, SendOutcome};
use crate::connection::send_status::{Refusal, SendStatus};
use crate::panics::contain_drop;
use crate::protocol::Protocol;

/// The answer of a [source](Conn::send_from) each time that it was asked for its next messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceStep {
    /// More follows: the source is called again when the peer has read. After a call that has sent nothing it counts as
    /// [`Wait`](Self::Wait), so that no source keeps the worker busy with nothing.
    More,
    /// There is nothing to send now. The source is called again after [`Conn::resume_sources`] or
    /// [`ConnHandle::resume_sources`](crate::ConnHandle::resume_sources).
    Wait,
    /// All is sent. The source is dropped.
    Done,
}

/// The function that sends the next messages.
type Draw<P> = dyn FnMut(&mut Conn<'_, P>) -> SourceStep;

/// A source with the completion of what it sends.
pub(crate) struct Source<P: Protocol> {
    draw: Box<Draw<P>>,
    done: Option<Completion>,
}

/// The sources of all connections of a service on one worker, by the connection's key. The first of a connection is drawn from.
pub(crate) struct Sources<P: Protocol>(HashMap<u32, VecDeque<Source<P>>>);

impl<P: Protocol> Default for Sources<P> {
    fn default() -> Self {
        Sources(HashMap::new())
    }
}

impl<P: Protocol> Sources<P> {
    /// Takes the first source of a connection out, for the length of a call.
    fn take_first(&mut self, key: u32) -> Option<Source<P>> {
        self.0.get_mut(&key)?.pop_front()
    }

    fn of(&mut self, key: u32) -> &mut VecDeque<Source<P>> {
        self.0.entry(key).or_default()
    }
}

impl<P: Protocol> Conn<'_, P> {
    /// Sends what `source` sends, piece by piece as the peer reads: for what is larger than
    /// [`Limits::output`](crate::Limits::output), or is to be made only when it is needed.
    ///
    /// The source is called on this worker, for the first time at the end of this turn, and again whenever the pending output
    /// has fallen to [`Limits::low_water`](crate::Limits::low_water). It sends with the ordinary calls: a message or a few, best
    /// about 64 KiB at a time, and at least until [`SendStatus::AboveHighWater`] tells that the peer is slower. It says
    /// [`SourceStep::Done`] with its last message. It must not block. What small calls send leaves together. In one
    /// turn it is called up to 256 times, within [`ServerBuilder::read_budget`](crate::ServerBuilder::read_budget): about 256 KiB are
    /// drawn, or 2.6 ms are used, so that a peer that reads fast does not keep the others waiting.
    ///
    /// **Order.** Several sources of a connection are drawn from one after the other, in the order in which they were given. An
    /// ordinary send waits for none of them: it goes out between two messages of a source. What must follow a source is sent
    /// by its last call, or by another source.
    ///
    /// **Input** is read and delivered meanwhile, unless the output is above its high-water mark. Use
    /// [`pause_reading`](Self::pause_reading) if the next request is to wait. A peer that reads is not idle.
    ///
    /// **The end.** [`close`](Self::close) and [`shutdown_write`](Self::shutdown_write) take effect behind the last message of
    /// the last source; meanwhile no message is delivered after `close`, and nothing else can be sent. A source that sends nothing
    /// for [`Listen::close_timeout`](crate::Listen::close_timeout) while a close waits for it, by default 10 s, ends the
    /// connection with a reset and [`Timeout::SourceStall`](crate::Timeout::SourceStall), and so does a peer that takes too little
    /// of it in that time, with [`Timeout::WriteStall`](crate::Timeout::WriteStall). The same holds behind `shutdown_write`
    /// once the peer has ended its stream. A peer that has ended its stream may wait for an answer that takes longer to make:
    /// then do not close before it is there ([`Handler::on_half_close`](crate::Handler::on_half_close)). Any other end loses what
    /// was not drawn: the peer sees a reset, unless the protocol has refused or ended the conversation with words of its own. A
    /// source that cannot go on calls [`abort`](Self::abort). A panic in a source ends the connection with a reset.
    ///
    /// Answers [`SendStatus::Queued`], or with [`Refusal::Sources`] beyond [`Limits::sources`](crate::Limits::sources), or with
    /// [`Refusal::Closing`]; a refused source is dropped and never called.
    ///
    /// ```
    /// use std::io::Read;
    /// use ringwheel::{Conn, SourceStep, protocol::Raw};
    ///
    /// /// Sends a file and closes.
    /// fn serve(conn: &mut Conn<'_, Raw>, mut file: std::fs::File) {
    ///     let mut piece = vec![0; 64 * 1024];
    ///     conn.send_from(move |conn| match file.read(&mut piece) {
    ///         Ok(0) => SourceStep::Done,
    ///         Ok(count) => {
    ///             conn.send(&piece[..count]);
    ///             SourceStep::More
    ///         }
    ///         Err(_) => {
    ///             // The peer must not take what it has for the whole file.
    ///             conn.abort();
    ///             SourceStep::Done
    ///         }
    ///     });
    ///     conn.close(); // Behind the file.
    /// }
    /// ```
    pub fn send_from(
        &mut self,
        source: impl FnMut(&mut Conn<'_, P>) -> SourceStep + 'static,
    ) -> SendStatus {
        self.add_source(Box::new(source), None)
    }

    /// As [`send_from`](Self::send_from), and calls `done` exactly once on this worker's thread: with
    /// [`SendOutcome::Written`] when all that the source has sent is with the kernel, with [`SendOutcome::Lost`] when the
    /// connection has ended before, and with [`SendOutcome::Refused`] when the source was refused.
    pub fn send_from_then(
        &mut self,
        source: impl FnMut(&mut Conn<'_, P>) -> SourceStep + 'static,
        done: impl FnOnce(SendOutcome) + Send + 'static,
    ) -> SendStatus {
        self.add_source(Box::new(source), Some(Completion::new(done)))
    }

    fn add_source(&mut self, draw: Box<Draw<P>>, done: Option<Completion>) -> SendStatus {
        let refusal = match self.connection.sources() {
            _ if !self.connection.life.accepts_sends() => Refusal::Closing,
            count if count >= self.link.limits.sources => Refusal::Sources,
            count => {
                self.connection.extra_or_new().sources.count = count + 1;
                self.connection.burdens.set(Burdens::COMPLETING, true);
                let key = self.connection.key;
                let mut sources = self.link.sources.borrow_mut();
                sources.of(key).push_back(Source { draw, done });
                return SendStatus::Queued;
            }
        };
        if let Some(done) = done {
            done.complete(SendOutcome::Refused(refusal));
        }
        SendStatus::Refused(refusal)
    }

    /// Has a source called again that has answered [`SourceStep::Wait`]; does nothing otherwise. Several resumptions before the source is
    /// called make one call, so a source sends all that it has.
    ///
    /// Within the source itself this does nothing, because the source has not answered yet. Another thread resumes it by
    /// [`ConnHandle::resume_sources`](crate::ConnHandle::resume_sources), which works within the source, too, and is the only way behind
    /// a [`close`](Self::close): no callback reaches the connection then.
    pub fn resume_sources(&mut self) {
        if self.connection.sources() > 0 {
            self.connection.extra_or_new().sources.is_waiting = false;
        }
    }

    /// Has the first source send its next messages.
    pub(crate) fn draw_from_source(&mut self) {
        let key = self.connection.key;
        let Some(mut source) = self.link.sources.borrow_mut().take_first(key) else {
            return;
        };
        let before = self.position();
        let own_side = self.connection.life.lend_to_source();
        let step = (source.draw)(self);
        self.connection.life.take_from_source(own_side);
        if step == SourceStep::Done {
            return self.end_source(source);
        }
        let has_sent = self.position() > before;
        let sources = &mut self.connection.extra_or_new().sources;
        sources.is_waiting = step == SourceStep::Wait || !has_sent;
        self.link.sources.borrow_mut().of(key).push_front(source);
    }

    /// All that a source sends is in the output; after the last one a close that was asked for begins.
    fn end_source(&mut self, source: Source<P>) {
        let sources = &mut self.connection.extra_or_new().sources;
        sources.count -= 1;
        sources.is_waiting = false;
        let is_last = sources.count == 0;
        self.complete_with(SendStatus::Queued, source.done);
        contain_drop(source.draw);
        if is_last {
            self.link
                .sources
                .borrow_mut()
                .0
                .remove(&self.connection.key);
            if self.connection.is_finishing() {
                self.connection.stop_finishing();
                self.close();
            }
        }
    }
}

impl<P: Protocol> Link<P> {
    /// Drops the sources of a connection, which thereby tell that what they had to send is lost.
    pub(crate) fn drop_sources(&self, connection: &mut Connection) {
        if connection.sources() == 0 {
            return;
        }
        let state = &mut connection.extra_or_new().sources;
        state.count = 0;
        state.are_lost = true;
        let sources = self.sources.borrow_mut().0.remove(&connection.key);
        for source in sources.into_iter().flatten() {
            contain_drop(source);
        }
    }
}
