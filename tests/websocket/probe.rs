//! A handler that tells the test of every event, and does what the test has scripted for it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use ringwheel::websocket::{Accept, AcceptAll, Message, WebSocket, WebSocketError};
use ringwheel::{CloseReason, Conn, ConnId, Handler, SendStatus};
use support::websocket::Found;
use support::{DEADLINE, TestServer};

/// What a handler was told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    Open,
    Message(Found),
    Drained,
    HalfClose,
    Shutdown,
    Close(Ending),
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ending {
    /// The `CloseReason`, as `Debug` writes it.
    pub(crate) reason: String,
    /// What the peer said: its code and reason.
    pub(crate) peer_close: Option<(Option<u16>, String)>,
    pub(crate) round_trip_time: Option<Duration>,
}

impl Ending {
    /// The peer's code and reason.
    pub(crate) fn words(&self) -> Option<(Option<u16>, &str)> {
        let (code, reason) = self.peer_close.as_ref()?;
        Some((*code, reason))
    }
}

pub(crate) type WsConn<'a, A = AcceptAll> = Conn<'a, WebSocket<A>>;
type Action<A> = Arc<dyn Fn(&mut WsConn<'_, A>) + Send + Sync>;
type MessageAction<A> = Arc<dyn Fn(&mut WsConn<'_, A>, Message<'_>) + Send + Sync>;

/// A handler that sends every event over a channel. By default it does nothing else, but closes when the peer or the
/// server ends.
pub(crate) struct Probe<A: Accept = AcceptAll> {
    told: Sender<(ConnId, Told)>,
    open: Action<A>,
    message: MessageAction<A>,
    drained: Action<A>,
    half_close: Action<A>,
    shutdown: Action<A>,
}

impl<A: Accept> Probe<A> {
    pub(crate) fn new() -> (Self, Reports) {
        let (told, receiver) = channel();
        let probe = Probe {
            told,
            open: Arc::new(|_| {}),
            message: Arc::new(|_, _| {}),
            drained: Arc::new(|_| {}),
            half_close: Arc::new(|conn| conn.close()),
            shutdown: Arc::new(|conn| conn.close()),
        };
        let seen = RefCell::default();
        (probe, Reports { receiver, seen })
    }

    /// One that sends every message back.
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

    /// Replaces the default, which closes.
    pub(crate) fn on_half_close(
        mut self,
        action: impl Fn(&mut WsConn<'_, A>) + Send + Sync + 'static,
    ) -> Self {
        self.half_close = Arc::new(action);
        self
    }

    /// Replaces the default, which closes.
    pub(crate) fn on_shutdown(
        mut self,
        action: impl Fn(&mut WsConn<'_, A>) + Send + Sync + 'static,
    ) -> Self {
        self.shutdown = Arc::new(action);
        self
    }

    fn tell(&self, conn: &WsConn<'_, A>, told: Told) {
        // The test may have seen enough.
        let _ = self.told.send((conn.id(), told));
    }
}

impl<A: Accept> Clone for Probe<A> {
    fn clone(&self) -> Self {
        Probe {
            told: self.told.clone(),
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
        // Only what returns is an open that is owed a close.
        self.tell(conn, Told::Open);
    }

    fn on_message(&mut self, conn: &mut WsConn<'_, A>, _session: &mut (), message: Message<'_>) {
        self.tell(conn, Told::Message(message.into()));
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
        self.tell(conn, Told::Close(ending));
    }

    fn on_drained(&mut self, conn: &mut WsConn<'_, A>, _session: &mut ()) {
        self.tell(conn, Told::Drained);
        (self.drained)(conn);
    }

    fn on_half_close(&mut self, conn: &mut WsConn<'_, A>, _session: &mut ()) {
        self.tell(conn, Told::HalfClose);
        (self.half_close)(conn);
    }

    fn on_shutdown(&mut self, conn: &mut WsConn<'_, A>, _session: &mut ()) {
        self.tell(conn, Told::Shutdown);
        (self.shutdown)(conn);
    }
}

/// Sends until not even an empty message is taken any more. Returns how many were.
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
    receiver: Receiver<(ConnId, Told)>,
    seen: RefCell<Vec<(ConnId, Told)>>,
}

impl Reports {
    /// The next event.
    #[track_caller]
    pub(crate) fn next(&self) -> Told {
        match self.receiver.recv_timeout(DEADLINE) {
            Ok((conn, told)) => {
                self.seen.borrow_mut().push((conn, told.clone()));
                told
            }
            Err(error) => panic!("nothing more is told: {error}; so far: {:?}", self.seen),
        }
    }

    /// Passes over events until a message comes.
    #[track_caller]
    pub(crate) fn message(&self) -> Found {
        loop {
            if let Told::Message(message) = self.next() {
                return message;
            }
        }
    }

    /// Passes over events until a connection ends.
    #[track_caller]
    pub(crate) fn close(&self) -> Ending {
        loop {
            if let Told::Close(ending) = self.next() {
                return ending;
            }
        }
    }

    /// Passes over events until this one.
    #[track_caller]
    pub(crate) fn wait_for(&self, told: &Told) {
        while self.next() != *told {}
    }

    /// All that was told so far, without waiting, oldest first.
    pub(crate) fn so_far(&self) -> Vec<(ConnId, Told)> {
        self.seen.borrow_mut().extend(self.receiver.try_iter());
        self.seen.borrow().clone()
    }

    /// The messages that were told so far.
    pub(crate) fn messages(&self) -> Vec<Found> {
        let messages = self
            .so_far()
            .into_iter()
            .filter_map(|(_, told)| match told {
                Told::Message(message) => Some(message),
                _ => None,
            });
        messages.collect()
    }

    /// Ends the server at once, and checks that every open was closed exactly once, with nothing before or after.
    #[track_caller]
    pub(crate) fn finish(&self, server: TestServer) {
        server.handle().stop();
        server.join();
        self.assert_lifecycles();
    }

    #[track_caller]
    pub(crate) fn assert_lifecycles(&self) {
        let mut is_open: HashMap<ConnId, bool> = HashMap::new();
        for (conn, told) in self.so_far() {
            let before = match told {
                Told::Open => is_open.insert(conn, true),
                Told::Close(_) => is_open.insert(conn, false),
                _ => is_open.get(&conn).copied(),
            };
            let expected = if told == Told::Open { None } else { Some(true) };
            assert_eq!(before, expected, "{conn} was told {told:?} out of turn");
        }
        assert!(is_open.values().all(|open| !open), "each open has a close");
    }
}
