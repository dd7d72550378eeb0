//! The closing handshake without sockets: sections 5.5.1 and 7 of RFC 6455.

use ringwheel::protocol::{Farewell, Parting};
use ringwheel::websocket::{CloseCode, Message, Violation, WebSocket, WebSocketError};
use support::websocket::{
    Endpoint, Found, Frame, KEY, connect, from_client, open_server, plain_client,
};

fn read(frames: &[Frame]) -> Endpoint<WebSocket> {
    let mut server = open_server(&WebSocket::new());
    server.receive(&from_client(frames));
    server
}

/// Asserts that the output is one close frame with this code.
#[track_caller]
fn assert_sent_close(said: &[u8], code: u16) {
    let said = Frame::parse_all(said);
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].first, 0x88);
    assert_eq!(said[0].close_words().map(|(code, _)| code), Some(code));
}

/// True if a close frame may carry this code, by section 7.4 and the IANA registry.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[test]
fn section_5_5_1_a_close_frame_is_answered_with_its_code() {
    for code in (0..=u16::MAX).filter(|code| may_be_sent(*code)) {
        let mut server = read(&[Frame::close(code, "because")]);
        assert_eq!(server.found, [Found::End], "{code}");
        assert_sent_close(&server.take_said(), code);
        assert!(CloseCode::new(code).is_some());
    }
}

#[test]
fn section_7_4_codes_that_must_not_be_sent_are_refused() {
    let forbidden = (0..3000).filter(|code| !may_be_sent(*code));
    for code in forbidden.chain([5000, 5001, 0x8000, u16::MAX]) {
        let mut server = read(&[Frame::close(code, "")]);
        let violation = Violation::CloseCode.into();
        assert_eq!(server.failure, Some(violation), "{code}");
        assert_eq!(server.found, []);
        assert_sent_close(&server.take_said(), 1002);
        assert!(CloseCode::new(code).is_none());
    }
}

#[test]
fn section_7_1_5_a_close_frame_without_a_code_is_answered_without() {
    let mut server = read(&[Frame::close_without_code()]);
    assert_eq!(server.found, [Found::End]);
    assert_eq!(server.take_said(), Frame::close_without_code().bytes());
}

#[test]
fn section_5_5_1_half_a_code_is_refused() {
    let mut server = read(&[Frame::new(0x8, "\x03")]);
    assert_eq!(server.failure, Some(Violation::CloseLength.into()));
    assert_sent_close(&server.take_said(), 1002);
}

#[test]
fn section_7_1_6_a_reason_is_utf_8() {
    let longest = "é".repeat(61) + "x";
    assert_eq!(longest.len(), 123);
    let server = read(&[Frame::close(1000, longest)]);
    assert_eq!(server.found, [Found::End]);
    for reason in [&b"\xff"[..], b"cut \xe4\xb8", b"\xed\xa0\x80"] {
        let mut server = read(&[Frame::close(1000, reason)]);
        assert_eq!(server.failure, Some(WebSocketError::InvalidUtf8));
        assert_sent_close(&server.take_said(), 1007);
    }
}

#[test]
fn section_1_4_bytes_behind_a_close_frame_are_ignored() {
    let mut behind = from_client(&[Frame::text("late"), Frame::ping("late")]);
    behind.extend_from_slice(b"\xff\xff garbage");
    let mut server = open_server(&WebSocket::new());
    server.receive(&[from_client(&[Frame::close(1000, "")]), behind.clone()].concat());
    assert_eq!(server.found, [Found::End]);
    assert_eq!(server.failure, None);
    assert_eq!(
        server.input, behind,
        "the end consumes the close frame only"
    );
    assert_sent_close(&server.take_said(), 1000);
}

#[test]
fn section_5_5_1_nothing_is_sent_behind_a_close_frame() {
    let mut server = read(&[Frame::close(1000, "")]);
    assert_sent_close(&server.take_said(), 1000);
    assert!(!server.send(Message::Text("late")));
    assert!(!server.send_owned(&"late".into()));
    assert!(!server.send_parts(&[b"late"]));
    assert_eq!(server.farewell(Farewell::Closed), Parting::AtOnce);
    assert_eq!(server.take_said(), b"");
}

#[test]
fn section_7_1_2_a_farewell_is_a_close_frame_and_awaits_the_answer() {
    for (why, code, parting) in [
        (Farewell::Closed, 1000, Parting::AwaitAnswer),
        (Farewell::Shutdown, 1001, Parting::AwaitAnswer),
        (Farewell::InputLimit, 1009, Parting::AtOnce),
        (Farewell::Panic, 1011, Parting::AtOnce),
    ] {
        let mut server = open_server(&WebSocket::new());
        assert_eq!(server.farewell(why), parting, "{why:?}");
        assert_sent_close(&server.take_said(), code);
        // The close frame is sent only once.
        assert_eq!(server.farewell(why), Parting::AtOnce);
        assert_eq!(server.take_said(), b"");
    }
}

#[test]
fn section_7_1_1_a_peer_that_has_ended_its_stream_gets_no_close_frame() {
    for why in [Farewell::PeerEnded, Farewell::Refused] {
        let mut server = open_server(&WebSocket::new());
        assert_eq!(server.farewell(why), Parting::AtOnce);
        assert_eq!(server.take_said(), b"");
    }
}

#[test]
fn there_is_no_close_frame_before_the_connection_is_open() {
    for why in [Farewell::Closed, Farewell::Shutdown, Farewell::Panic] {
        let mut server = Endpoint::new(&WebSocket::new());
        assert_eq!(server.farewell(why), Parting::AtOnce);
        assert_eq!(server.take_said(), b"");
    }
}

#[test]
fn section_7_1_3_an_answer_to_a_close_frame_is_not_answered() {
    for answer in [
        Frame::close(1000, ""),
        Frame::close(4000, "why"),
        Frame::close_without_code(),
    ] {
        let mut server = open_server(&WebSocket::new());
        server.farewell(Farewell::Closed);
        assert_sent_close(&server.take_said(), 1000);
        // Messages that were already on their way are unpacked; pings are no longer answered (section 5.5.2).
        server.receive(&from_client(&[
            Frame::text("on its way"),
            Frame::ping("x"),
            answer,
        ]));
        assert_eq!(server.found, [Found::text("on its way"), Found::End]);
        assert_eq!(server.take_said(), b"");
    }
}

#[test]
fn section_7_1_7_a_violation_during_the_close_is_an_error_without_a_close_frame() {
    let mut server = open_server(&WebSocket::new());
    server.farewell(Farewell::Closed);
    server.take_said();
    server.receive(&from_client(&[Frame::continuation("x")]));
    assert_eq!(server.failure, Some(Violation::StrayContinuation.into()));
    assert_eq!(server.take_said(), b"");
}

#[test]
fn section_7_1_4_a_client_closes_as_a_server_does() {
    let (mut client, mut server) = connect(&plain_client(), &WebSocket::new());
    assert_eq!(client.farewell(Farewell::Closed), Parting::AwaitAnswer);
    let close = client.take_said();
    let frame = Frame::parse_all(&close).remove(0);
    assert!(frame.key.is_some());
    assert_eq!(frame.close_words(), Some((1000, "")));
    server.receive(&close);
    client.receive(&server.take_said());
    assert_eq!(server.found, [Found::End]);
    assert_eq!(client.found, [Found::End]);
    assert_eq!(client.take_said(), b"");
}

/// Both sides close at the same time: each takes the other's close frame for the answer.
#[test]
fn section_7_1_3_both_sides_may_close_at_once() {
    let (mut client, mut server) = connect(&plain_client(), &WebSocket::new());
    client.farewell(Farewell::Closed);
    server.farewell(Farewell::Shutdown);
    let (from_client, from_server) = (client.take_said(), server.take_said());
    client.receive(&from_server);
    server.receive(&from_client);
    assert_eq!(server.found, [Found::End]);
    assert_eq!(client.found, [Found::End]);
    assert_eq!((client.take_said(), server.take_said()), (vec![], vec![]));
}

/// A close frame is answered once it is whole, wherever it is cut.
#[test]
fn a_close_frame_in_parts() {
    let stream = Frame::close(3999, "reason é").masked(KEY).bytes();
    for cut in 1..stream.len() {
        let mut server = open_server(&WebSocket::new());
        server.receive(&stream[..cut]);
        assert_eq!(server.found, []);
        assert_eq!(server.take_said(), b"");
        assert!(cut + server.missing <= stream.len(), "the decoder stalls");
        server.receive(&stream[cut..]);
        assert_eq!(server.found, [Found::End]);
        assert_sent_close(&server.take_said(), 3999);
    }
}
