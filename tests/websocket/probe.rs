//! A handler that reports every event to the test, and runs the actions that the test has set.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ringwheel::websocket::{Accept, AcceptAll, Message, WebSocket, WebSocketError};
use ringwheel::{CloseReason, Conn, ConnId, Handler, SendStatus};
use support::websocket::Found;
use support::{DEADLINE, TestServer};

/// An event of a handler.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Open,
    Message(Found),
    Drained,
    HalfClose,
    Shutdown,
    Close(Ending),
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ending {
    /// The `Debug` text of the `CloseReason`.
    pub(crate) reason: String,
    /// The code and the reason of the peer's close frame.
    pub(crate) peer_close: Option<(Option<u16>, String)>,
    pub(crate) round_trip_time: Option<Duration>,
}

impl Ending {
    /// The code and the reason of the peer's close frame.
    pub(crate) fn words(&self) -> Option<(Option<u16>, &str)> {
        let (code, reason) = self.peer_close.as_ref()?;
        Some((*code, reason))
    }
}

pub(crate) type WsConn<'a, A = AcceptAll> = Conn<'a, WebSocket<A>>;
type Action<A> = Arc<dyn Fn(&mut WsConn<'_, A>) + Send + Sync>;
type MessageAction<A> = Arc<dyn Fn(&mut WsConn<'_, A>, Message<'_>) + Send + Sync>;

/// A handler that sends every event over a channel. By default it only does that, and closes when the peer or the
/// server ends.
pub(crate) struct Probe<A: Accept = AcceptAll> {
    events: Sender<(ConnId, Event)>,
    open: Action<A>,
    message: MessageAction<A>,
    drained: Action<A>,
    half_close: Action<A>,
    shutdown: Action<A>,
}

impl<A: Accept> Probe<A> {
    pub(crate) fn new() -> (Self, Reports) {
        let (events, receiver) = channel();
        let probe = Probe {
            events,
            open: Arc::new(|_| {}),
            message: Arc::new(|_, _| {}),
            drained: Arc::new(|_| {}),
            half_close: Arc::new(|conn| conn.close()),
            shutdown: Arc::new(|conn| conn.close()),
        };
        let seen = RefCell::default();
        (probe, Reports { receiver, seen })
    }

    /// A probe that echoes every message.
    pub(crate) fn echo() -> (Self, Reports) {
        let (probe, reports) = Self::new();
        let probe = probe.on_message(|conn, message| {
            conn.send(message);
        });
        (probe, reports)
    }

    pub(crate) fn on_open(
        mut self,
        action: impl Fn(&mut WsConn<'_, A>) + Send + Sync + 'static,
    ) -> Self {
        self.open = Arc::new(action);
        self
    }

    pub(crate) fn on_message(
        mut self,
        action: impl Fn(&mut WsConn<'_, A>, Message<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.message = Arc::new(action);
        self
    }

    pub(crate) fn on_drained(
        mut self,
        action: impl Fn(&mut WsConn<'_, A>) + Send + Sync + 'static,
    ) -> Self {
        self.drained = Arc::new(action);
        self
    }

    /// Replaces the default action, which closes.
    pub(crate) fn on_half_close(
        mut self,
        action: impl Fn(&mut WsConn<'_, A>) + Send + Sync + 'static,
    ) -> Self {
        self.half_close = Arc::new(action);
        self
    }

    /// Replaces the default action, which closes.
    pub(crate) fn on_shutdown(
        mut self,
        action: impl Fn(&mut WsConn<'_, A>) + Send + Sync + 'static,
    ) -> Self {
        self.shutdown = Arc::new(action);
        self
    }

    fn report(&self, conn: &WsConn<'_, A>, event: Event) {
        // The test may have dropped the receiver.
        let _ = self.events.send((conn.id(), event));
    }
}

impl<A: Accept> Clone for Probe<A> {
    fn clone(&self) -> Self {
        Probe {
            events: self.events.clone(),
            open: self.open.clone(),
            message: self.message.clone(),
            drained: self.drained.clone(),
            half_close: self.half_close.clone(),
            shutdown: self.shutdown.clone(),
        }
    }
}

impl<A: Accept> Handler for Probe<A> {
    type Protocol = WebSocket<A>;
    type Session = ();

    fn on_open(&mut self, conn: &mut WsConn<'_, A>) {
        (self.open)(conn);
        // Reported after the action: if that panics, the connection has not opened and gets no close.
        self.report(conn, Event::Open);
    }

    fn on_message(&mut self, conn: &mut WsConn<'_, A>, _session: &mut (), message: Message<'_>) {
        self.report(conn, Event::Message(message.into()));
        (self.message)(conn, message);
    }

    fn on_close(
        &mut self,
        conn: &WsConn<'_, A>,
        _session: (),
        reason: CloseReason<WebSocketError>,
    ) {
        let words = conn.peer_close().map(|frame| {
            let code = frame.code.map(|code| code.get());
            (code, frame.reason.to_string())
        });
        let ending = Ending {
            reason: format!("{reason:?}"),
            peer_close: words,
            round_trip_time: conn.round_trip_time(),
        };
        self.report(conn, Event::Close(ending));
    }

    fn on_drained(&mut self, conn: &mut WsConn<'_, A>, _session: &mut ()) {
        self.report(conn, Event::Drained);
        (self.drained)(conn);
    }

    fn on_half_close(&mut self, conn: &mut WsConn<'_, A>, _session: &mut ()) {
        self.report(conn, Event::HalfClose);
        (self.half_close)(conn);
    }

    fn on_shutdown(&mut self, conn: &mut WsConn<'_, A>, _session: &mut ()) {
        self.report(conn, Event::Shutdown);
        (self.shutdown)(conn);
    }
}

/// Sends until not even an empty message is accepted, and returns the number of accepted messages.
pub(crate) fn fill<A: Accept>(conn: &mut WsConn<'_, A>) -> usize {
    let mut count = 0;
    for length in [4096, 0] {
        while !matches!(conn.send_binary(&vec![7; length]), SendStatus::Refused(_)) {
            count += 1;
        }
    }
    count
}

/// The test's end of a [`Probe`].
pub(crate) struct Reports {
    receiver: Receiver<(ConnId, Event)>,
    seen: RefCell<Vec<(ConnId, Event)>>,
}

impl Reports {
    /// The next event.
    #[track_caller]
    pub(crate) fn next(&self) -> Event {
        match self.receiver.recv_timeout(DEADLINE) {
            Ok((conn, event)) => {
                self.seen.borrow_mut().push((conn, event.clone()));
                event
            }
            Err(error) => panic!("no further event: {error}; so far: {:?}", self.seen),
        }
    }

    /// Skips events until a message comes.
    #[track_caller]
    pub(crate) fn message(&self) -> Found {
        loop {
            if let Event::Message(message) = self.next() {
                return message;
            }
        }
    }

    /// Skips events until a connection ends.
    #[track_caller]
    pub(crate) fn close(&self) -> Ending {
        loop {
            if let Event::Close(ending) = self.next() {
                return ending;
            }
        }
    }

    /// Skips events until this one.
    #[track_caller]
    pub(crate) fn wait_for(&self, event: &Event) {
        while self.next() != *event {}
    }

    /// All events reported so far, oldest first. Does not wait.
    pub(crate) fn so_far(&self) -> Vec<(ConnId, Event)> {
        self.seen.borrow_mut().extend(self.receiver.try_iter());
        self.seen.borrow().clone()
    }

    /// All messages reported so far.
    pub(crate) fn messages(&self) -> Vec<Found> {
        let messages = self
            .so_far()
            .into_iter()
            .filter_map(|(_, event)| match event {
                Event::Message(message) => Some(message),
                _ => None,
            });
        messages.collect()
    }

    /// Stops the server, and checks that every open was closed exactly once, with nothing before or after.
    #[track_caller]
    pub(crate) fn finish(&self, server: TestServer) {
        server.handle().stop();
        server.join();
        self.assert_lifecycles();
    }

    #[track_caller]
    pub(crate) fn assert_lifecycles(&self) {
        let mut is_open: HashMap<ConnId, bool> = HashMap::new();
        for (conn, event) in self.so_far() {
            let before = match event {
                Event::Open => is_open.insert(conn, true),
                Event::Close(_) => is_open.insert(conn, false),
                _ => is_open.get(&conn).copied(),
            };
            let expected = if event == Event::Open {
                None
            } else {
                Some(true)
            };
            assert_eq!(before, expected, "{conn} had {event:?} out of turn");
        }
        assert!(is_open.values().all(|open| !open), "each open has a close");
    }
}
