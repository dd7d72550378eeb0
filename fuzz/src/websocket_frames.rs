//! A client's frames after the handshake, whole and in pieces: both give the same messages, error and replies.
//!
//! Input: the settings, the lengths of the pieces, and the frames.

use ringwheel::websocket::{AcceptAll, WebSocket, WebSocketError};
use support::websocket::{CLOSE, Frame, PING, PONG};

use crate::endpoint::{Event, assert_cut_alike};
use crate::input::Input;
use crate::websocket::{Kept, are_alike, deflate, open_server};

/// The settings at the start of the input.
pub(crate) struct Settings {
    pub(crate) bits: u8,
    pub(crate) max_message: usize,
}

impl Settings {
    pub(crate) fn read(input: &mut Input<'_>) -> Self {
        let bits = input.byte();
        let max_message = match bits >> 1 & 3 {
            0 => 1024 * 1024,
            1 => 5,
            2 => 200,
            _ => 20_000,
        };
        Settings { bits, max_message }
    }

    pub(crate) fn protocol<D: ringwheel::websocket::Delivery>(&self) -> WebSocket<AcceptAll, D> {
        let protocol = WebSocket::accepting(AcceptAll).max_message(self.max_message);
        let protocol = match self.bits & 8 {
            0 => protocol,
            _ => protocol.fragment_overhead(20).control_rate(3),
        };
        protocol.deflate(deflate(self.bits >> 4, 15 - 9))
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.bits & 1 != 0
    }

    /// The extension that the client offers.
    pub(crate) fn offer(&self) -> &'static str {
        match self.is_compressed() {
            false => "",
            true => "permessage-deflate; client_max_window_bits",
        }
    }
}

/// The fuzz target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let settings = Settings::read(&mut input);
    let lengths = input.lengths();
    let stream = input.rest();
    let protocol: WebSocket = settings.protocol();
    let open = |calling| open_server(&protocol, settings.offer(), calling);
    let alike =
        |a: &WebSocketError, b: &WebSocketError| settings.is_compressed() && are_alike(a, b);
    let whole = assert_cut_alike(open, stream, &lengths, alike);
    for Kept { is_text, bytes } in whole.messages() {
        assert!(bytes.len() <= settings.max_message);
        assert!(!is_text || std::str::from_utf8(&bytes).is_ok());
    }
    // Once more, to check the replies themselves.
    let mut again = open_server(
        &protocol,
        settings.offer(),
        crate::endpoint::Calling::Always,
    );
    if !stream.is_empty() {
        again.receive(stream);
    }
    let is_over = again.events.last() == Some(&Event::End) || again.failure.is_some();
    check_replies(&again.take_said(), stream.len(), is_over);
}

/// Checks that the replies are only pongs, and a close frame exactly at the end of the connection.
pub(crate) fn check_replies(said: &[u8], received: usize, is_over: bool) {
    assert!(
        said.len() <= received + 2 + 125,
        "there are more replies than received bytes allow"
    );
    let mut is_closed = false;
    for frame in Frame::parse_all(said) {
        assert!(frame.key.is_none() && !is_closed);
        assert!([CLOSE, PONG].contains(&frame.opcode()) && frame.opcode() != PING);
        assert!(frame.payload.len() <= 125);
        is_closed = frame.opcode() == CLOSE;
    }
    assert_eq!(is_closed, is_over);
}
