//! The WebSocket examples, driven by the crate's own client codec.

use std::io::{Read, Write};
use std::net::SocketAddr;

use ringwheel::protocol::{Decode, Encode, Output, Protocol, UnpackContext, Unpacked};
use ringwheel::websocket::{Message, WebSocketClient};
use support::{Client, Example};

#[test]
fn websocket_echo_sends_messages_back() {
    let (_server, addr) = Example::serve_simply("websocket_echo");
    let head = echo(addr, |client| client);
    assert!(!head.contains("Sec-WebSocket-Extensions"), "{head}");
}

#[test]
#[cfg(feature = "deflate")]
fn websocket_deflate_compresses() {
    use ringwheel::websocket::Deflate;

    let (_server, addr) = Example::serve("websocket_deflate", &["--workers=1"]);
    let head = echo(addr, |client| client.deflate(Deflate::new()));
    assert!(
        head.contains("\r\nSec-WebSocket-Extensions: permessage-deflate"),
        "{head}"
    );
}

/// Connects, opens a WebSocket, has a text and bytes sent back, and returns the head of the answer to the opening handshake.
#[track_caller]
fn echo(addr: SocketAddr, configure: impl FnOnce(WebSocketClient) -> WebSocketClient) -> String {
    let client = WebSocketClient::new(addr.to_string(), "/").expect("a target");
    echo_over(Client::connect(addr).stream(), &configure(client))
}

/// As [`echo`], over a stream that is connected.
#[track_caller]
pub(crate) fn echo_over(mut stream: impl Read + Write, client: &WebSocketClient) -> String {
    let (mut decoder, mut encoder) = client.open();
    let (mut output, mut input) = (Output::detached(), Vec::new());
    encoder.greet(&mut output);
    let text = "again and again, ".repeat(1000);
    let mut expected = [Message::Text(&text), Message::Binary(b"\0\xff")]
        .into_iter()
        .peekable();
    let mut head = String::new();
    while let Some(message) = expected.peek() {
        stream.write_all(&output.take()).expect("the server reads");
        let mut context = UnpackContext::detached(&mut output, &mut encoder);
        let unpacked = match input.is_empty() {
            true => Unpacked::NeedMore { at_least: 1 },
            false => decoder.unpack(&mut input, &mut context).expect("a frame"),
        };
        let consumed = unpacked.consumed();
        match unpacked {
            Unpacked::NeedMore { .. } => {
                let mut bytes = [0; 16 * 1024];
                let count = stream.read(&mut bytes).expect("something to read");
                assert!(count > 0, "the server has ended the stream");
                input.extend_from_slice(&bytes[..count]);
                continue;
            }
            Unpacked::Opened { consumed } => {
                head = String::from_utf8_lossy(&input[..consumed]).into_owned();
                encoder.pack(*message, &mut output).expect("it is open");
            }
            Unpacked::Message {
                message: echoed, ..
            } => {
                assert_eq!(echoed, *message);
                expected.next();
                if let Some(next) = expected.peek() {
                    encoder.pack(*next, &mut output).expect("it is open");
                }
            }
            other => panic!("{other:?} instead of a message"),
        }
        input.drain(..consumed.unwrap_or(0));
    }
    head
}
