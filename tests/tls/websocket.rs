//! WebSocket over TLS (`wss`), with and without compression.

use ringwheel::websocket::{Deflate, Message, WebSocket, WebSocketClient};
use ringwheel::{Conn, Handler, Server};
use support::tls::{TlsClient, VERSIONS, client_config, server_tls};
use support::websocket::{ANSWER, Endpoint, Found, Frame, KEY, REQUEST, plain_client};
use support::{TestServer, listen, pattern};

#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    type Protocol = WebSocket;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, WebSocket>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, WebSocket>, _: &mut (), message: Message<'_>) {
        conn.send(message);
    }
}

/// The crate's own client codec, sealed.
struct Peer {
    endpoint: Endpoint<WebSocketClient>,
    client: TlsClient,
}

impl Peer {
    #[track_caller]
    fn open(client: TlsClient, protocol: &WebSocketClient) -> Self {
        let mut endpoint = Endpoint::new(protocol);
        let request = endpoint.greet();
        let mut peer = Peer { endpoint, client };
        peer.client.send(&request);
        assert_eq!(peer.next_found(), Found::Opened);
        peer
    }

    #[track_caller]
    fn next_found(&mut self) -> Found {
        while self.endpoint.found.is_empty() {
            let bytes = self.client.try_receive_some(16 * 1024).unwrap();
            assert!(!bytes.is_empty(), "the stream has ended");
            self.endpoint.receive(&bytes);
            assert_eq!(self.endpoint.failure, None);
        }
        self.endpoint.found.remove(0)
    }

    #[track_caller]
    fn send(&mut self, message: Message<'_>) {
        assert!(self.endpoint.send(message));
        let said = self.endpoint.take_said();
        self.client.send(&said);
    }
}

#[test]
fn wss_echoes_in_both_versions_and_closes_in_order() {
    for version in VERSIONS {
        let builder = Server::builder().workers(2);
        let protocol = listen(WebSocket::new()).tls(server_tls());
        let server = TestServer::start_on(builder, protocol, Echo);
        let config = client_config(&[version]);
        let mut client = TlsClient::open_with(server.addr(), &config);
        client.send(REQUEST);
        assert_eq!(client.receive(ANSWER.len()), ANSWER);
        let message = Frame::text("over TLS");
        client.send(&message.clone().masked(KEY).bytes());
        let answer = message.bytes();
        assert_eq!(client.receive(answer.len()), answer);
        client.send(&Frame::close(1000, "").masked(KEY).bytes());
        let close = Frame::close(1000, "").bytes();
        assert_eq!(client.receive_rest(), close);
        client.expect_eof();
    }
}

#[test]
fn messages_of_any_size_come_back_with_and_without_compression() {
    let websocket = WebSocket::new().deflate(Deflate::default());
    let server = TestServer::start(listen(websocket).tls(server_tls()), Echo);
    for protocol in [plain_client(), plain_client().deflate(Deflate::default())] {
        let mut peer = Peer::open(TlsClient::open(&server), &protocol);
        for length in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
            let bytes = pattern(3, length);
            peer.send(Message::Binary(&bytes));
            assert!(peer.next_found() == Found::Binary(bytes));
            let text = "again and again ".repeat(length / 64);
            peer.send(Message::Text(&text));
            assert!(peer.next_found() == Found::Text(text));
        }
    }
}
