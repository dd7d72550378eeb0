//! Clients over real sockets: one that works with single frames, and one that uses the crate's client codec.

use std::collections::VecDeque;
use std::io::ErrorKind;

use ringwheel::protocol::Farewell;
use ringwheel::websocket::{Message, WebSocketClient};
use ringwheel::{Handler, Listen};

use super::endpoint::{ANSWER, Endpoint, Found, REQUEST};
use super::frames::{Frame, KEY};
use crate::{Client, TestServer};

/// A client that answers nothing by itself, neither pings nor close frames.
pub struct Peer {
    pub client: Client,
    /// Bytes that have arrived; the first `taken` of them were already returned.
    pending: Vec<u8>,
    taken: usize,
}

impl Peer {
    /// Connects and completes the handshake.
    #[track_caller]
    pub fn open(server: &TestServer) -> Self {
        Self::open_over(server.connect())
    }

    /// Completes the handshake with a server that starts only after the request and `words` were sent, as
    /// [`TestServer::start_late`]: they come before any deadline, however slow the machine is.
    #[track_caller]
    pub fn open_early<H: Handler + Clone + Send>(
        listen: Listen<H::Protocol>,
        handler: H,
        words: &[u8],
    ) -> (TestServer, Self) {
        let (server, client) = TestServer::start_late(listen, handler, &[REQUEST, words].concat());
        let mut peer = Peer::around(client);
        peer.expect_bytes(ANSWER);
        (server, peer)
    }

    #[track_caller]
    pub fn open_over(mut client: Client) -> Self {
        client.send(REQUEST);
        let mut peer = Peer::around(client);
        peer.expect_bytes(ANSWER);
        peer
    }

    /// Wraps a connection whose handshake the test does.
    pub fn around(client: Client) -> Self {
        Peer {
            client,
            pending: Vec::new(),
            taken: 0,
        }
    }

    /// Sends a frame, masked.
    #[track_caller]
    pub fn send(&mut self, frame: Frame) {
        self.client.send(&frame.masked(KEY).bytes());
    }

    /// Bytes that have arrived and were not returned yet.
    fn rest(&self) -> &[u8] {
        &self.pending[self.taken..]
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let taken = self.rest()[..count].to_vec();
        self.taken += count;
        taken
    }

    #[track_caller]
    fn read_more(&mut self) {
        let more = self.client.receive_some(16 * 1024);
        assert!(!more.is_empty(), "the stream has ended: {:?}", self.rest());
        self.pending.drain(..self.taken);
        self.taken = 0;
        self.pending.extend_from_slice(&more);
    }

    /// Expects exactly these bytes next.
    #[track_caller]
    pub fn expect_bytes(&mut self, bytes: &[u8]) {
        while self.rest().len() < bytes.len() {
            self.read_more();
        }
        let got = self.take(bytes.len());
        assert_eq!(
            got.escape_ascii().to_string(),
            bytes.escape_ascii().to_string()
        );
    }

    /// The head of an HTTP answer.
    #[track_caller]
    pub fn head(&mut self) -> String {
        loop {
            let mut ends = self.rest().windows(4);
            if let Some(end) = ends.position(|window| window == b"\r\n\r\n") {
                return String::from_utf8(self.take(end + 4)).expect("a head is text");
            }
            self.read_more();
        }
    }

    /// The next frame.
    #[track_caller]
    pub fn next_frame(&mut self) -> Frame {
        loop {
            if let Some((frame, size)) = Frame::parse(self.rest()) {
                self.taken += size;
                assert_eq!(frame.key, None, "a server does not mask");
                return frame;
            }
            self.read_more();
        }
    }

    #[track_caller]
    pub fn expect(&mut self, frame: Frame) {
        assert_eq!(self.next_frame(), frame);
    }

    /// Waits until the server has processed everything sent so far. Control frames may come between fragments, so a message
    /// may be unfinished.
    #[track_caller]
    pub fn confirm(&mut self) {
        self.send(Frame::ping("all?"));
        self.expect(Frame::pong("all?"));
    }

    /// Expects the server's end of stream, with nothing before it.
    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(self.rest(), b"");
        self.client.expect_eof();
    }

    /// Checks that the server echoes.
    #[track_caller]
    pub fn check_echo(&mut self) {
        self.send(Frame::text("echo"));
        self.expect(Frame::text("echo"));
    }

    /// Asserts that the server has not ended its stream yet.
    #[track_caller]
    pub fn assert_not_ended(&mut self) {
        let stream = self.client.stream();
        stream.set_nonblocking(true).expect("a socket");
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).expect("a socket");
        match peeked {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("{other:?} instead of nothing"),
        }
    }
}

/// A client with the crate's own codec over a blocking stream.
pub struct CodecPeer {
    endpoint: Endpoint<WebSocketClient>,
    client: Client,
    found: VecDeque<Found>,
}

impl CodecPeer {
    /// Connects and completes the handshake.
    #[track_caller]
    pub fn open(server: &TestServer, protocol: &WebSocketClient) -> Self {
        Self::open_over(server.connect(), protocol)
    }

    #[track_caller]
    pub fn open_over(client: Client, protocol: &WebSocketClient) -> Self {
        let mut peer = CodecPeer {
            endpoint: Endpoint::new(protocol),
            client,
            found: VecDeque::new(),
        };
        let request = peer.endpoint.greet();
        peer.client.send(&request);
        assert_eq!(peer.next_found(), Found::Opened);
        peer
    }

    #[track_caller]
    pub fn send(&mut self, message: Message<'_>) {
        assert!(self.endpoint.send(message));
        self.flush();
    }

    #[track_caller]
    pub fn close(&mut self) {
        self.endpoint.farewell(Farewell::Closed);
        self.flush();
    }

    #[track_caller]
    fn flush(&mut self) {
        let said = self.endpoint.take_said();
        self.client.send(&said);
    }

    /// Waits for the codec's next result.
    #[track_caller]
    pub fn next_found(&mut self) -> Found {
        loop {
            if let Some(found) = self.found.pop_front() {
                return found;
            }
            let bytes = self.client.receive_some(16 * 1024);
            assert!(!bytes.is_empty(), "the stream has ended");
            self.endpoint.receive(&bytes);
            assert_eq!(self.endpoint.failure, None);
            self.found.extend(self.endpoint.take_found());
            self.flush();
        }
    }

    /// Expects the server's end of stream, with nothing before it.
    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(self.endpoint.input, b"");
        self.client.expect_eof();
    }
}
