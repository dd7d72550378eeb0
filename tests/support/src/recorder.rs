//! A handler that reports every event to the test, and runs the actions that the test has set.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use ringwheel::protocol::{Decode, ErrorOf, MessageOf, Protocol};
use ringwheel::{CloseReason, Conn, ConnId, ConnStats, Handler, Timeout, TimeoutDecision, TimerId};

use super::DEADLINE;

/// A call of a handler, as reported to the test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Open(ConnId),
    Message(ConnId, Vec<u8>),
    Drained(ConnId),
    HalfClose(ConnId),
    Timer(ConnId, u64),
    Timeout(ConnId, Timeout),
    Shutdown(ConnId),
    Close(ConnId, Ending),
}

/// The end of a connection: its reason and its counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The `Debug` text of the `CloseReason`.
    pub reason: String,
    pub stats: ConnStats,
}

type Action<P> = Arc<dyn Fn(&mut Conn<'_, P>) + Send + Sync>;
type MessageAction<P> = Arc<dyn Fn(&mut Conn<'_, P>, &[u8]) + Send + Sync>;
type TimerAction<P> = Arc<dyn Fn(&mut Conn<'_, P>, u64) + Send + Sync>;
type AdmitAction<P> = Arc<dyn Fn(&mut Conn<'_, P>) -> bool + Send + Sync>;
type TimeoutAction<P> = Arc<dyn Fn(&mut Conn<'_, P>, Timeout) -> TimeoutDecision + Send + Sync>;
type CloseAction<P> = Arc<dyn Fn(&Conn<'_, P>) + Send + Sync>;

/// A handler that sends every event over a channel. By default it only does that, and closes after the peer's end.
pub struct Recorder<P: Protocol> {
    events: Sender<Event>,
    messages: bool,
    stays: bool,
    admit: AdmitAction<P>,
    open: Action<P>,
    message: MessageAction<P>,
    drained: Action<P>,
    half_close: Action<P>,
    timer: TimerAction<P>,
    timeout: TimeoutAction<P>,
    shutdown: Action<P>,
    close: CloseAction<P>,
}

impl<P: Protocol> Recorder<P> {
    pub fn new() -> (Self, Events) {
        let (events, receiver) = channel();
        let recorder = Recorder {
            events,
            messages: true,
            stays: false,
            admit: Arc::new(|_| true),
            open: Arc::new(|_| {}),
            message: Arc::new(|_, _| {}),
            drained: Arc::new(|_| {}),
            half_close: Arc::new(|conn| conn.close()),
            timer: Arc::new(|_, _| {}),
            timeout: Arc::new(|_, _| TimeoutDecision::Evict),
            shutdown: Arc::new(|_| {}),
            close: Arc::new(|_| {}),
        };
        (recorder, Events::new(receiver))
    }

    /// Stops reporting messages, for tests with many of them.
    pub fn without_messages(mut self) -> Self {
        self.messages = false;
        self
    }

    /// Does not close its connections when the server drains.
    pub fn staying(mut self) -> Self {
        self.stays = true;
        self
    }

    /// Replaces the default, which admits every connection.
    pub fn admit(
        mut self,
        action: impl Fn(&mut Conn<'_, P>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.admit = Arc::new(action);
        self
    }

    pub fn on_open(mut self, action: impl Fn(&mut Conn<'_, P>) + Send + Sync + 'static) -> Self {
        self.open = Arc::new(action);
        self
    }

    pub fn on_message(
        mut self,
        action: impl Fn(&mut Conn<'_, P>, &[u8]) + Send + Sync + 'static,
    ) -> Self {
        self.message = Arc::new(action);
        self
    }

    pub fn on_drained(mut self, action: impl Fn(&mut Conn<'_, P>) + Send + Sync + 'static) -> Self {
        self.drained = Arc::new(action);
        self
    }

    /// Replaces the default action, which closes.
    pub fn on_half_close(
        mut self,
        action: impl Fn(&mut Conn<'_, P>) + Send + Sync + 'static,
    ) -> Self {
        self.half_close = Arc::new(action);
        self
    }

    pub fn on_timer(
        mut self,
        action: impl Fn(&mut Conn<'_, P>, u64) + Send + Sync + 'static,
    ) -> Self {
        self.timer = Arc::new(action);
        self
    }

    /// Replaces the default, which evicts.
    pub fn on_timeout(
        mut self,
        action: impl Fn(&mut Conn<'_, P>, Timeout) -> TimeoutDecision + Send + Sync + 'static,
    ) -> Self {
        self.timeout = Arc::new(action);
        self
    }

    pub fn on_shutdown(
        mut self,
        action: impl Fn(&mut Conn<'_, P>) + Send + Sync + 'static,
    ) -> Self {
        self.shutdown = Arc::new(action);
        self
    }

    pub fn on_close(mut self, action: impl Fn(&Conn<'_, P>) + Send + Sync + 'static) -> Self {
        self.close = Arc::new(action);
        self
    }

    fn report(&self, event: Event) {
        // The test may have dropped the receiver.
        let _ = self.events.send(event);
    }
}

impl<P: Protocol> Clone for Recorder<P> {
    fn clone(&self) -> Self {
        Recorder {
            events: self.events.clone(),
            messages: self.messages,
            stays: self.stays,
            admit: self.admit.clone(),
            open: self.open.clone(),
            message: self.message.clone(),
            drained: self.drained.clone(),
            half_close: self.half_close.clone(),
            timer: self.timer.clone(),
            timeout: self.timeout.clone(),
            shutdown: self.shutdown.clone(),
            close: self.close.clone(),
        }
    }
}

impl<P: Protocol> Handler for Recorder<P>
where
    for<'a> <P::Decoder as Decode>::Message<'a>: AsRef<[u8]>,
{
    type Protocol = P;
    /// Messages received so far.
    type Session = usize;

    fn admit(&mut self, conn: &mut Conn<'_, P>) -> bool {
        (self.admit)(conn)
    }

    fn on_open(&mut self, conn: &mut Conn<'_, P>) -> usize {
        (self.open)(conn);
        // Reported after the action: if that panics, the connection has not opened and gets no close.
        self.report(Event::Open(conn.id()));
        0
    }

    fn on_message(
        &mut self,
        conn: &mut Conn<'_, P>,
        session: &mut usize,
        message: MessageOf<'_, P>,
    ) {
        *session += 1;
        if self.messages {
            self.report(Event::Message(conn.id(), message.as_ref().to_vec()));
        }
        (self.message)(conn, message.as_ref());
    }

    fn on_close(&mut self, conn: &Conn<'_, P>, _session: usize, reason: CloseReason<ErrorOf<P>>) {
        let ending = Ending {
            reason: format!("{reason:?}"),
            stats: conn.stats(),
        };
        self.report(Event::Close(conn.id(), ending));
        (self.close)(conn);
    }

    fn on_drained(&mut self, conn: &mut Conn<'_, P>, _session: &mut usize) {
        self.report(Event::Drained(conn.id()));
        (self.drained)(conn);
    }

    fn on_timer(
        &mut self,
        conn: &mut Conn<'_, P>,
        _session: &mut usize,
        _timer: TimerId,
        token: u64,
    ) {
        self.report(Event::Timer(conn.id(), token));
        (self.timer)(conn, token);
    }

    fn on_timeout(
        &mut self,
        conn: &mut Conn<'_, P>,
        _session: &mut usize,
        timeout: Timeout,
    ) -> TimeoutDecision {
        self.report(Event::Timeout(conn.id(), timeout));
        (self.timeout)(conn, timeout)
    }

    fn on_half_close(&mut self, conn: &mut Conn<'_, P>, _session: &mut usize) {
        self.report(Event::HalfClose(conn.id()));
        (self.half_close)(conn);
    }

    fn on_shutdown(&mut self, conn: &mut Conn<'_, P>, _session: &mut usize) {
        self.report(Event::Shutdown(conn.id()));
        (self.shutdown)(conn);
        if !self.stays {
            conn.close();
        }
    }
}

/// The test's end of a [`Recorder`].
pub struct Events {
    receiver: Receiver<Event>,
    seen: RefCell<Vec<Event>>,
}

impl Events {
    fn new(receiver: Receiver<Event>) -> Self {
        Events {
            receiver,
            seen: RefCell::default(),
        }
    }

    /// The next event.
    #[track_caller]
    pub fn next(&self) -> Event {
        match self.receiver.recv_timeout(DEADLINE) {
            Ok(event) => {
                self.seen.borrow_mut().push(event.clone());
                event
            }
            Err(error) => panic!("no further event: {error}; seen: {:?}", self.seen_last(20)),
        }
    }

    fn seen_last(&self, count: usize) -> Vec<Event> {
        let seen = self.seen.borrow();
        seen[seen.len().saturating_sub(count)..].to_vec()
    }

    /// Skips events until `wanted` returns a value.
    #[track_caller]
    pub fn wait_for<T>(&self, wanted: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(&self.next()) {
                return found;
            }
        }
    }

    #[track_caller]
    pub fn open(&self) -> ConnId {
        self.wait_for(|event| match event {
            Event::Open(conn) => Some(*conn),
            _ => None,
        })
    }

    #[track_caller]
    pub fn message(&self) -> Vec<u8> {
        self.wait_for(|event| match event {
            Event::Message(_, bytes) => Some(bytes.clone()),
            _ => None,
        })
    }

    #[track_caller]
    pub fn drained(&self) {
        self.wait_for(|event| matches!(event, Event::Drained(_)).then_some(()));
    }

    #[track_caller]
    pub fn half_close(&self) {
        self.wait_for(|event| matches!(event, Event::HalfClose(_)).then_some(()));
    }

    #[track_caller]
    pub fn timer(&self) -> u64 {
        self.wait_for(|event| match event {
            Event::Timer(_, token) => Some(*token),
            _ => None,
        })
    }

    /// The next deadline that was reported to the handler.
    #[track_caller]
    pub fn timeout(&self) -> Timeout {
        self.wait_for(|event| match event {
            Event::Timeout(_, timeout) => Some(*timeout),
            _ => None,
        })
    }

    #[track_caller]
    pub fn close(&self) -> Ending {
        self.wait_for(|event| match event {
            Event::Close(_, ending) => Some(ending.clone()),
            _ => None,
        })
    }

    /// The reason of the next close of any connection.
    #[track_caller]
    pub fn close_reason(&self) -> String {
        self.close().reason
    }

    /// All events reported so far, oldest first. Does not wait.
    pub fn so_far(&self) -> Vec<Event> {
        self.seen.borrow_mut().extend(self.receiver.try_iter());
        self.seen.borrow().clone()
    }

    /// All messages reported so far.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        let messages = self.so_far().into_iter().filter_map(|event| match event {
            Event::Message(_, bytes) => Some(bytes),
            _ => None,
        });
        messages.collect()
    }

    /// Counts the events so far for which `wanted` is true.
    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.so_far().iter().filter(|event| wanted(event)).count()
    }

    /// Checks that every open had exactly one close, with nothing after it. Call it after the server has ended.
    #[track_caller]
    pub fn assert_lifecycles(&self) {
        let mut open: HashMap<ConnId, bool> = HashMap::new();
        for event in self.so_far() {
            match event {
                Event::Open(conn) => {
                    assert!(open.insert(conn, true).is_none(), "{conn} opened twice")
                }
                // Callbacks in an opening connection report before `Open` does.
                Event::Close(conn, _) => {
                    assert_eq!(
                        open.insert(conn, false),
                        Some(true),
                        "{conn} closed twice, or was never open"
                    );
                }
                Event::Message(conn, _)
                | Event::Drained(conn)
                | Event::HalfClose(conn)
                | Event::Timer(conn, _)
                | Event::Timeout(conn, _)
                | Event::Shutdown(conn) => {
                    assert_eq!(
                        open.get(&conn),
                        Some(&true),
                        "{conn} had an event while it was not open"
                    );
                }
            }
        }
        let left: Vec<_> = open.iter().filter(|(_, open)| **open).collect();
        assert!(left.is_empty(), "never closed: {left:?}");
    }
}
