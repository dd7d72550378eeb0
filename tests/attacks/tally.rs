//! A handler that counts events, in memory that does not grow with the number of connections.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use ringwheel::protocol::{Decode, Encode, ErrorOf, MessageOf, Protocol};
use ringwheel::{CloseReason, Conn, Handler};
use support::TestServer;

const OPENED: &str = "opened";
const CLOSED: &str = "closed";
const MESSAGES: &str = "messages";
const DROPPED: &str = "dropped";

/// Counts by name, shared by clones. The end of a connection is counted under the `Debug` text of its `CloseReason`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Arc<Mutex<BTreeMap<String, u64>>>);

impl Counts {
    fn add(&self, what: &str, count: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(what.to_owned()).or_default() += count;
    }

    /// A handler that sends back every message.
    pub(crate) fn echo<P>(&self) -> Tally<P> {
        self.tally(true)
    }

    /// A handler that answers nothing.
    pub(crate) fn silent<P>(&self) -> Tally<P> {
        self.tally(false)
    }

    fn tally<P>(&self, answers: bool) -> Tally<P> {
        Tally {
            counts: self.clone(),
            answers,
            protocol: PhantomData,
        }
    }

    pub(crate) fn opened(&self) -> u64 {
        self.of(|what| what == OPENED)
    }

    pub(crate) fn closed(&self) -> u64 {
        self.of(|what| what == CLOSED)
    }

    /// Messages delivered on connections that are closed by now.
    pub(crate) fn messages(&self) -> u64 {
        self.of(|what| what == MESSAGES)
    }

    /// Messages dropped for lack of room, on connections that are closed by now.
    pub(crate) fn dropped(&self) -> u64 {
        self.of(|what| what == DROPPED)
    }

    /// Connections whose close reason begins with `reason`.
    pub(crate) fn ended(&self, reason: &str) -> u64 {
        self.of(|what| what.starts_with(reason))
    }

    fn of(&self, is_counted: impl Fn(&str) -> bool) -> u64 {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = counts.iter().filter(|(what, _)| is_counted(what));
        counted.map(|(_, count)| count).sum()
    }

    /// Checks that each open had its close and that nothing panicked. Call it after the server has ended.
    #[track_caller]
    pub(crate) fn assert_sound(&self) {
        assert_eq!(self.opened(), self.closed(), "each open has a close");
        assert_eq!(self.ended("Panic"), 0, "{self:?}");
    }

    /// Stops the server and checks its counts.
    #[track_caller]
    pub(crate) fn finish(&self, server: TestServer) {
        server.handle().stop();
        server.join();
        self.assert_sound();
    }

    /// The counts as one line, to be sent to another process.
    pub(crate) fn to_line(&self) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = counts.iter().map(|(what, count)| format!("{count} {what}"));
        entries.collect::<Vec<_>>().join("\t")
    }

    /// Parses a line that [`to_line`](Self::to_line) made.
    #[track_caller]
    pub(crate) fn from_line(line: &str) -> Self {
        let counts = Counts::default();
        for entry in line.split('\t').filter(|entry| !entry.is_empty()) {
            let (count, what) = entry.split_once(' ').expect("a count and its name");
            counts.add(what, count.parse().expect("a number"));
        }
        counts
    }
}

/// The handler: counts events, and echoes messages if it `answers`.
pub(crate) struct Tally<P> {
    counts: Counts,
    answers: bool,
    protocol: PhantomData<fn() -> P>,
}

impl<P> Clone for Tally<P> {
    fn clone(&self) -> Self {
        self.counts.tally(self.answers)
    }
}

impl<P> Handler for Tally<P>
where
    P: Protocol,
    P::Encoder: for<'a> Encode<Item<'a> = <P::Decoder as Decode>::Message<'a>>,
{
    type Protocol = P;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, P>) {
        self.counts.add(OPENED, 1);
    }

    fn on_message(&mut self, conn: &mut Conn<'_, P>, _session: &mut (), message: MessageOf<'_, P>) {
        if self.answers {
            conn.send(message);
        }
    }

    fn on_close(&mut self, conn: &Conn<'_, P>, _session: (), reason: CloseReason<ErrorOf<P>>) {
        let stats = conn.stats();
        self.counts.add(CLOSED, 1);
        self.counts.add(MESSAGES, stats.messages_in);
        self.counts.add(DROPPED, stats.dropped);
        self.counts.add(&format!("{reason:?}"), 1);
    }
}
