//! A server's answers as the client's codec takes them: interim responses before them, and the terms of compression.

use ringwheel::websocket::{ClientHandshakeError, WebSocket, WebSocketClient, WebSocketError};
use support::websocket::{Endpoint, Found, plain_client};

const INTERIM: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// A client that has asked, and the answer of a server without compression.
fn asked(client: &WebSocketClient) -> (Endpoint<WebSocketClient>, String) {
    let mut client = Endpoint::new(client);
    let mut server = Endpoint::new(&WebSocket::new());
    server.receive(&client.greet());
    let answer = String::from_utf8(server.take_said()).expect("an answer is text");
    (client, answer)
}

#[test]
fn rfc_9110_section_15_2_interim_answers_are_skipped() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
    for interim in [
        INTERIM.to_owned(),
        hints.to_owned(),
        format!("{INTERIM}HTTP/1.1 102\r\n\r\n{hints}"),
        INTERIM.repeat(8),
    ] {
        let length = interim.len() + asked(&plain_client()).1.len();
        for cut in 1..length {
            let (mut client, answer) = asked(&plain_client());
            let stream = format!("{interim}{answer}");
            client.receive(&stream.as_bytes()[..cut]);
            assert_eq!(client.found, [], "cut at {cut}");
            client.receive(&stream.as_bytes()[cut..]);
            assert_eq!(client.failure, None, "cut at {cut}");
            assert_eq!(client.found, [Found::Opened]);
            assert_eq!(client.input, b"");
        }
    }
}

#[test]
fn interim_answers_are_limited_in_number_and_length() {
    let long = format!("HTTP/1.1 103 {}\r\n\r\n", "x".repeat(8 * 1024));
    for (interim, error) in [
        (INTERIM.repeat(9), ClientHandshakeError::TooLong),
        (long, ClientHandshakeError::TooLong),
        (
            format!("{INTERIM}HTTP/1.1 503 Busy\r\n\r\n"),
            ClientHandshakeError::Status(503),
        ),
    ] {
        let (mut client, answer) = asked(&plain_client());
        client.receive(format!("{interim}{answer}").as_bytes());
        assert_eq!(client.failure, Some(WebSocketError::ClientHandshake(error)));
    }
}

#[cfg(feature = "deflate")]
mod compression {
    use ringwheel::websocket::{Deflate, Message};
    use support::websocket::{Frame, RSV1};

    use super::*;

    /// A client with these settings that has got this answer, and the error if it has refused it.
    fn answered(
        deflate: Deflate,
        extensions: &str,
    ) -> (Endpoint<WebSocketClient>, Option<WebSocketError>) {
        let (mut client, answer) = asked(&plain_client().deflate(deflate));
        let fields = format!("\r\nSec-WebSocket-Extensions: {extensions}\r\n\r\n");
        client.receive(answer.replace("\r\n\r\n", &fields).as_bytes());
        let failure = client.failure;
        (client, failure)
    }

    /// All answers to an offer that RFC 7692 section 7.1 allows, and some that it does not.
    #[test]
    fn rfc_7692_section_7_1_answers_to_an_offer() {
        let open = Deflate::new()
            .min_size(0)
            .server_context_takeover(true)
            .client_context_takeover(true);
        let windows = open.server_max_window_bits(10).client_max_window_bits(10);
        let closed = Deflate::new().min_size(0);
        for (deflate, extensions, is_allowed) in [
            (open, "permessage-deflate", true),
            (open, "permessage-deflate; server_no_context_takeover", true),
            (open, "permessage-deflate; client_no_context_takeover", true),
            (open, "permessage-deflate; server_max_window_bits=8", true),
            (open, "permessage-deflate; server_max_window_bits=15", true),
            (open, "permessage-deflate; client_max_window_bits=8", true),
            (
                open,
                "permessage-deflate; client_max_window_bits=\"8\"",
                true,
            ),
            (
                open,
                ", permessage-deflate;client_max_window_bits = 15,",
                true,
            ),
            (open, "permessage-deflate; client_max_window_bits", false),
            (open, "permessage-deflate; client_max_window_bits=7", false),
            (open, "permessage-deflate; server_max_window_bits=16", false),
            (open, "permessage-deflate; unknown", false),
            (open, "permessage-deflate;", false),
            (open, "permessage-deflate, permessage-deflate", false),
            (open, "x-other", false),
            (
                windows,
                "permessage-deflate; server_max_window_bits=10",
                true,
            ),
            (
                windows,
                "permessage-deflate; server_max_window_bits=8; client_max_window_bits=8",
                true,
            ),
            (windows, "permessage-deflate", false),
            (
                windows,
                "permessage-deflate; server_max_window_bits=11",
                false,
            ),
            (
                windows,
                "permessage-deflate; server_max_window_bits=9; client_max_window_bits=11",
                false,
            ),
            (
                closed,
                "permessage-deflate; server_no_context_takeover",
                true,
            ),
            (closed, "permessage-deflate", false),
        ] {
            let (_, failure) = answered(deflate, extensions);
            let error = WebSocketError::ClientHandshake(ClientHandshakeError::Extensions);
            let expected = (!is_allowed).then_some(error);
            assert_eq!(failure, expected, "{extensions}");
        }
    }

    #[test]
    fn a_window_that_is_too_small_to_compress_with_is_kept_by_not_compressing() {
        let deflate = Deflate::new()
            .min_size(0)
            .server_context_takeover(true)
            .client_context_takeover(true);
        let text = "a text with a text with a text in it".repeat(20);
        for (bits, is_compressed) in [(8, false), (9, true)] {
            let extensions = format!("permessage-deflate; client_max_window_bits={bits}");
            let (mut client, failure) = answered(deflate, &extensions);
            assert_eq!(failure, None);
            client.take_said();
            for _ in 0..3 {
                assert!(client.send(Message::Text(&text)));
                let (frame, _) = Frame::parse(&client.take_said()).expect("a frame");
                assert_eq!(frame.first & RSV1 != 0, is_compressed, "{bits} bits");
                if !is_compressed {
                    assert_eq!(frame.payload, text.as_bytes());
                }
            }
            // "Hello" as RFC 7692 section 7.2.3.1 has it.
            let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
            let frame = Frame {
                first: 0x81 | RSV1,
                ..Frame::text(hello)
            };
            client.receive(&frame.bytes());
            assert_eq!(client.found.last(), Some(&Found::text("Hello")));
        }
    }
}
