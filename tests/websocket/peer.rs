//! Clients over real sockets: one that makes and reads frames by hand, and one that uses the client's codec.

use std::collections::VecDeque;
use std::io::ErrorKind;

use ringwheel::protocol::Farewell;
use ringwheel::websocket::{Message, WebSocketClient};

use crate::endpoint::{ANSWER, Endpoint, Found, REQUEST};
use crate::frames::{Frame, KEY};
use crate::support::{Client, TestServer};

/// A client that does nothing by itself: no pong, no answer to a close.
pub(crate) struct Peer {
    pub(crate) client: Client,
    /// What has come and is not looked at yet.
    pending: Vec<u8>,
}

impl Peer {
    /// Connects and opens.
    #[track_caller]
    pub(crate) fn open(server: &TestServer) -> Self {
        Self::open_over(server.connect())
    }

    #[track_caller]
    pub(crate) fn open_over(mut client: Client) -> Self {
        client.send(REQUEST);
        let mut peer = Peer::around(client);
        peer.expect_bytes(ANSWER);
        peer
    }

    /// Around a connection whose handshake the test does.
    pub(crate) fn around(client: Client) -> Self {
        Peer {
            client,
            pending: Vec::new(),
        }
    }

    /// Sends a frame, masked.
    #[track_caller]
    pub(crate) fn send(&mut self, frame: Frame) {
        self.client.send(&frame.masked(KEY).bytes());
    }

    /// Exactly these bytes come next.
    #[track_caller]
    pub(crate) fn expect_bytes(&mut self, bytes: &[u8]) {
        while self.pending.len() < bytes.len() {
            assert!(self.read_more(), "the stream has ended");
        }
        let got: Vec<u8> = self.pending.drain(..bytes.len()).collect();
        assert_eq!(
            got.escape_ascii().to_string(),
            bytes.escape_ascii().to_string()
        );
    }

    /// The head of an HTTP answer.
    #[track_caller]
    pub(crate) fn head(&mut self) -> String {
        loop {
            let mut ends = self.pending.windows(4);
            if let Some(end) = ends.position(|window| window == b"\r\n\r\n") {
                let head = self.pending.drain(..end + 4).collect();
                return String::from_utf8(head).expect("a head is text");
            }
            assert!(self.read_more(), "the stream has ended");
        }
    }

    fn read_more(&mut self) -> bool {
        let more = self.client.receive_some(64 * 1024);
        self.pending.extend_from_slice(&more);
        !more.is_empty()
    }

    /// The next frame.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Frame {
        loop {
            if let Some((frame, size)) = Frame::parse(&self.pending) {
                self.pending.drain(..size);
                assert_eq!(frame.key, None, "a server does not mask");
                return frame;
            }
            assert!(self.read_more(), "the stream has ended: {:?}", self.pending);
        }
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, frame: Frame) {
        assert_eq!(self.next(), frame);
    }

    /// The server's end of stream, with nothing before it.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        assert_eq!(self.pending, b"");
        self.client.expect_eof();
    }

    /// Checks that the server echoes.
    #[track_caller]
    pub(crate) fn check_echo(&mut self) {
        self.send(Frame::text("echo"));
        self.expect(Frame::text("echo"));
    }

    /// The server's end of stream is not there (yet).
    #[track_caller]
    pub(crate) fn assert_not_ended(&mut self) {
        let stream = self.client.stream();
        stream.set_nonblocking(true).expect("a socket");
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).expect("a socket");
        match peeked {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("{other:?} where nothing should be"),
        }
    }
}

/// A client that is the crate's own codec over a blocking stream.
pub(crate) struct CodecPeer {
    endpoint: Endpoint<WebSocketClient>,
    client: Client,
    found: VecDeque<Found>,
}

impl CodecPeer {
    /// Connects and opens.
    #[track_caller]
    pub(crate) fn open(server: &TestServer, protocol: &WebSocketClient) -> Self {
        Self::open_over(server.connect(), protocol)
    }

    #[track_caller]
    pub(crate) fn open_over(client: Client, protocol: &WebSocketClient) -> Self {
        let mut peer = CodecPeer {
            endpoint: Endpoint::new(protocol),
            client,
            found: VecDeque::new(),
        };
        let request = peer.endpoint.greet();
        peer.client.send(&request);
        assert_eq!(peer.next(), Found::Opened);
        peer
    }

    #[track_caller]
    pub(crate) fn send(&mut self, message: Message<'_>) {
        assert!(self.endpoint.send(message));
        self.flush();
    }

    #[track_caller]
    pub(crate) fn close(&mut self) {
        self.endpoint.farewell(Farewell::Closed);
        self.flush();
    }

    #[track_caller]
    fn flush(&mut self) {
        let said = self.endpoint.take_said();
        self.client.send(&said);
    }

    /// What is found next.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Found {
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

    /// The server's end of stream, with nothing before it.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        assert_eq!(self.endpoint.input, b"");
        self.client.expect_eof();
    }
}
