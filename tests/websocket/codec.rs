//! The codec without sockets, section by section of RFC 6455: framing, control frames, text, and limits.

use std::time::Duration;

use ringwheel::protocol::Protocol;
use ringwheel::websocket::{
    CloseCode, Message, MessageBuf, Violation, WebSocket, WebSocketClient, WebSocketError,
};
use support::websocket::{
    Endpoint, Found, Frame, KEY, RSV1, Subject, connect, from_client, open_server, plain_client,
};

/// Lets a server read a client's stream.
fn read(stream: &[u8]) -> Endpoint<WebSocket> {
    read_by(WebSocket::new(), stream)
}

fn read_by(server: WebSocket, stream: &[u8]) -> Endpoint<WebSocket> {
    let mut server = open_server(&server);
    server.receive(stream);
    server
}

/// Asserts that the end has failed with this error, and that its very last frame was the matching close frame.
#[track_caller]
fn assert_refused<P: Subject>(end: &mut Endpoint<P>, error: WebSocketError) {
    assert_eq!(end.failure, Some(error));
    let said = Frame::parse_all(&end.take_said());
    let (code, reason) = said.last().and_then(Frame::close_words).expect("a close");
    assert_eq!(Some(code), error.close_code().map(CloseCode::get));
    assert_eq!(reason, error.to_string());
    assert_eq!(
        said.iter().filter(|frame| frame.opcode() == 0x8).count(),
        1,
        "one close frame"
    );
    assert!(
        !end.send(Message::Text("late")),
        "nothing follows a close frame"
    );
}

#[track_caller]
fn assert_violation(stream: &[u8], violation: Violation) {
    let mut server = read(stream);
    assert_eq!(server.found, []);
    assert_refused(&mut server, violation.into());
}

/// The client's end of an open connection.
fn open_client() -> Endpoint<WebSocketClient> {
    connect(&plain_client(), &WebSocket::new()).0
}

#[test]
fn section_5_1_a_server_refuses_frames_without_a_mask() {
    for frame in [
        Frame::text("hello"),
        Frame::binary(""),
        Frame::ping(""),
        Frame::close(1000, ""),
        Frame::text("he").fragment(),
    ] {
        assert_violation(&frame.bytes(), Violation::Unmasked);
        // The second byte of the header is enough.
        assert_violation(&frame.bytes()[..2], Violation::Unmasked);
    }
}

#[test]
fn section_5_1_a_client_refuses_frames_with_a_mask() {
    for frame in [
        Frame::text("hello"),
        Frame::ping(""),
        Frame::close(1000, ""),
    ] {
        let mut client = open_client();
        client.receive(&frame.clone().masked(KEY).bytes()[..2]);
        assert_eq!(client.failure, Some(Violation::Masked.into()));
        let said = Frame::parse_all(&client.take_said());
        assert!(
            said[0].key.is_some(),
            "the client's close frame is masked too"
        );
        assert_eq!(said[0].close_words().map(|(code, _)| code), Some(1002));
    }
}

#[test]
fn section_5_1_a_client_masks_and_a_server_does_not() {
    let (mut client, mut server) = connect(&plain_client(), &WebSocket::new());
    let long = "x".repeat(10_000);
    let mut keys = Vec::new();
    for message in [
        Message::Text(""),
        Message::Text("hello"),
        Message::Binary(b"\0\xff"),
        Message::Text(&long),
    ] {
        assert!(client.send(message) && server.send(message));
        let masked = client.take_said();
        let frame = Frame::parse_all(&masked).remove(0);
        assert_eq!(frame.payload, message.as_bytes());
        keys.push(frame.key.expect("a mask"));
        let plain = server.take_said();
        assert_eq!(Frame::parse_all(&plain)[0].key, None);
        server.receive(&masked);
        client.receive(&plain);
        assert_eq!(server.take_found(), [Found::from(message)]);
        assert_eq!(client.take_found(), [Found::from(message)]);
    }
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 4, "section 5.3: a fresh key for each frame");
}

#[test]
fn section_5_2_reserved_bits_are_refused() {
    for frame in [
        Frame::text("a"),
        Frame::binary("a"),
        Frame::text("a").fragment(),
        Frame::ping("a"),
        Frame::close(1000, ""),
    ] {
        for bits in [0x40, 0x20, 0x10, 0x70] {
            let stream = from_client(&[frame.clone().reserved(bits)]);
            assert_violation(&stream, Violation::ReservedBit);
            assert_violation(&stream[..1], Violation::ReservedBit);
        }
    }
    let fragments = [
        Frame::text("a").fragment(),
        Frame::continuation("b").reserved(RSV1),
    ];
    assert_violation(&from_client(&fragments), Violation::ReservedBit);
}

#[test]
fn section_5_2_opcodes_that_are_not_assigned_are_refused() {
    for opcode in (0x3..=0x7).chain(0xB..=0xF) {
        let stream = from_client(&[Frame::new(opcode, "")]);
        assert_violation(&stream, Violation::UnknownOpcode);
        assert_violation(&stream[..1], Violation::UnknownOpcode);
    }
}

#[test]
fn section_5_2_every_form_of_the_length_is_read_and_written_in_its_shortest() {
    for length in [0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 200_000] {
        let payload: Vec<u8> = (0..length).map(|index: usize| index as u8).collect();
        let frame = Frame::binary(&payload);
        let mut server = read(&from_client(std::slice::from_ref(&frame)));
        assert_eq!(server.take_found(), [Found::binary(&*payload)]);
        assert!(server.send(Message::Binary(&payload)));
        assert_eq!(server.take_said(), frame.bytes(), "{length}");
        assert!(server.send_owned(&MessageBuf::binary(payload.clone())));
        assert_eq!(server.take_said(), frame.bytes(), "{length}, owned");
        let (front, back) = payload.split_at(length / 3);
        assert!(server.send_parts(&[front, b"", back]));
        assert_eq!(server.take_said(), frame.bytes(), "{length}, in parts");
    }
}

#[test]
fn section_5_2_longer_forms_of_the_length_are_refused() {
    for (length, form) in [(0, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65535, 8)] {
        let frame = Frame::binary("").masked(KEY);
        // The length alone is refused, without key or payload.
        let header = frame.bytes_with_length(length, form);
        assert_violation(&header[..2 + form], Violation::LengthNotMinimal);
    }
}

#[test]
fn section_5_2_a_length_has_63_bits() {
    for length in [1 << 63, u64::MAX] {
        let header = Frame::binary("").masked(KEY).bytes_with_length(length, 8);
        assert_violation(&header[..10], Violation::LengthTooLarge);
    }
}

#[test]
fn section_5_4_fragments_make_one_message() {
    let fragments = [
        Frame::text("one ").fragment(),
        Frame::continuation("").fragment(),
        Frame::continuation("two ").fragment(),
        Frame::continuation("three"),
        Frame::binary("").fragment(),
        Frame::continuation(""),
        Frame::text("").fragment(),
        Frame::continuation("late"),
    ];
    let server = read(&from_client(&fragments));
    assert_eq!(server.failure, None);
    assert_eq!(
        server.found,
        [
            Found::text("one two three"),
            Found::binary(""),
            Found::text("late")
        ]
    );
}

#[test]
fn section_5_4_control_frames_come_between_fragments() {
    let frames = [
        Frame::ping("1"),
        Frame::text("he").fragment(),
        Frame::ping("2"),
        Frame::pong("unsolicited"),
        Frame::continuation("ll").fragment(),
        Frame::ping("3"),
        Frame::continuation("o"),
        Frame::ping("4"),
    ];
    let mut server = read(&from_client(&frames));
    assert_eq!(server.take_found(), [Found::text("hello")]);
    let pongs = ["1", "2", "3", "4"].map(Frame::pong);
    assert_eq!(Frame::parse_all(&server.take_said()), pongs);
}

#[test]
fn section_5_4_a_close_frame_ends_an_unfinished_message() {
    let frames = [Frame::text("he").fragment(), Frame::close(1001, "")];
    let server = read(&from_client(&frames));
    assert_eq!(server.found, [Found::End]);
}

#[test]
fn section_5_4_a_continuation_without_a_message_is_refused() {
    let stray = from_client(&[Frame::continuation("x")]);
    assert_violation(&stray, Violation::StrayContinuation);
    let open = from_client(&[Frame::continuation("x").fragment()]);
    assert_violation(&open, Violation::StrayContinuation);

    let after_whole = from_client(&[Frame::text("a"), Frame::continuation("x")]);
    let mut server = read(&after_whole);
    assert_eq!(server.take_found(), [Found::text("a")]);
    assert_refused(&mut server, Violation::StrayContinuation.into());

    let after_last = [
        Frame::text("a").fragment(),
        Frame::continuation("b"),
        Frame::continuation("x"),
    ];
    let mut server = read(&from_client(&after_last));
    assert_eq!(server.take_found(), [Found::text("ab")]);
    assert_refused(&mut server, Violation::StrayContinuation.into());
}

#[test]
fn section_5_4_messages_are_not_interleaved() {
    for second in [
        Frame::text("b"),
        Frame::binary("b"),
        Frame::text("b").fragment(),
    ] {
        let frames = [Frame::text("a").fragment(), second];
        assert_violation(&from_client(&frames), Violation::UnfinishedMessage);
    }
}

#[test]
fn section_5_5_control_frames_are_whole_and_short() {
    for opcode in [0x8, 0x9, 0xA] {
        let fragment = from_client(&[Frame::new(opcode, "").fragment()]);
        assert_violation(&fragment[..1], Violation::FragmentedControl);
        let long = from_client(&[Frame::new(opcode, [0x20; 126])]);
        assert_violation(&long[..2], Violation::LongControl);
        let header = Frame::new(opcode, "").masked(KEY);
        assert_violation(
            &header.bytes_with_length(70_000, 8)[..2],
            Violation::LongControl,
        );
    }
}

#[test]
fn section_5_5_2_a_ping_is_answered_with_its_payload() {
    for length in [0, 1, 8, 124, 125] {
        let payload: Vec<u8> = (0..length).map(|index| 0xFF - index).collect();
        let mut server = read(&from_client(&[Frame::ping(&payload)]));
        assert_eq!(server.found, []);
        assert_eq!(server.take_said(), Frame::pong(&payload).bytes());

        let mut client = open_client();
        client.receive(&Frame::ping(&payload).bytes());
        let said = Frame::parse_all(&client.take_said());
        assert_eq!(said[0].first, 0x8A);
        assert_eq!(said[0].payload, payload);
        assert!(said[0].key.is_some());
    }
}

#[test]
fn section_5_5_3_a_pong_is_not_answered() {
    let frames = [
        Frame::pong(""),
        Frame::pong("unsolicited"),
        Frame::text("x"),
    ];
    let mut server = read(&from_client(&frames));
    assert_eq!(server.take_found(), [Found::text("x")]);
    assert_eq!(server.take_said(), b"");
}

/// Invalid texts, each with the number of bytes after which this is certain.
const INVALID: [(&[u8], usize); 12] = [
    (b"\x80", 1),
    (b"\xbf", 1),
    (b"\xc0\x80", 1),
    (b"\xc1\xbf", 1),
    (b"\xc3\x28", 2),
    (b"\xe0\x9f\xbf", 2),
    (b"\xed\xa0\x80", 2),
    (b"\xe4\xb8\x41", 3),
    (b"\xf0\x8f\xbf\xbf", 2),
    (b"\xf4\x90\x80\x80", 2),
    (b"\xf5\x80\x80\x80", 1),
    (b"\xff", 1),
];

/// Sends `stream` byte by byte, and asserts that it is refused exactly at byte `at`.
#[track_caller]
fn assert_invalid_at(server: WebSocket, stream: &[u8], at: usize) {
    let mut server = open_server(&server);
    for (index, byte) in stream.iter().enumerate() {
        assert_eq!(
            server.failure, None,
            "refused before byte {index}, not {at}"
        );
        server.receive(&[*byte]);
        if index == at {
            assert_eq!(server.found, []);
            return assert_refused(&mut server, WebSocketError::InvalidUtf8);
        }
    }
    panic!("the stream has no byte {at}");
}

#[test]
fn section_8_1_invalid_text_is_refused_at_its_first_bad_byte() {
    for (invalid, bad) in INVALID {
        for before in [0, 1, 3, 7, 60] {
            let text = ["é".repeat(before).as_bytes(), invalid, &[b'x'; 200]].concat();
            let first_bad = 2 * before + bad - 1;
            // In one frame, which stays in the input until it is whole.
            let frame = from_client(&[Frame::text(&text)]);
            let header = frame.len() - text.len();
            assert_invalid_at(WebSocket::new(), &frame, header + first_bad);
            // In fragments, which are collected.
            let fragments = [Frame::text("").fragment(), Frame::continuation(&text)];
            let stream = from_client(&fragments);
            let headers = stream.len() - text.len();
            assert_invalid_at(WebSocket::new(), &stream, headers + first_bad);
        }
    }
}

/// A frame that is too long to stay in the input is collected as it arrives.
#[test]
fn section_8_1_invalid_text_is_refused_in_the_middle_of_a_long_frame() {
    for (invalid, bad) in INVALID {
        let text = [&[b'x'; 40], invalid, &[b'x'; 70_000]].concat();
        let frame = from_client(&[Frame::text(&text)]);
        let header = frame.len() - text.len();
        assert_invalid_at(WebSocket::new(), &frame, header + 40 + bad - 1);
    }
}

#[test]
fn section_8_1_invalid_text_is_refused_at_every_offset() {
    let text = "aé中𝄞".repeat(6);
    for offset in 0..text.len() {
        let mut bad = text.as_bytes().to_vec();
        bad[offset] = 0xFF;
        let frame = from_client(&[Frame::text(&bad)]);
        let header = frame.len() - bad.len();
        assert_invalid_at(WebSocket::new(), &frame, header + offset);
        // The same in one piece.
        let mut server = read(&frame);
        assert_refused(&mut server, WebSocketError::InvalidUtf8);
        // The same with a cut into fragments anywhere before.
        for cut in 0..=offset {
            let fragments = [
                Frame::text(&bad[..cut]).fragment(),
                Frame::continuation(&bad[cut..]),
            ];
            let mut server = read(&from_client(&fragments));
            assert_refused(&mut server, WebSocketError::InvalidUtf8);
        }
    }
}

#[test]
fn section_8_1_a_text_does_not_end_within_a_character() {
    for cut in ["é", "中", "𝄞"] {
        for length in 1..cut.len() {
            let text = [b"ok", &cut.as_bytes()[..length]].concat();
            let mut server = read(&from_client(&[Frame::text(&text)]));
            assert_refused(&mut server, WebSocketError::InvalidUtf8);
            let fragments = [Frame::text(&text).fragment(), Frame::continuation("")];
            let mut server = read(&from_client(&fragments));
            assert_refused(&mut server, WebSocketError::InvalidUtf8);
            // A fragment may end within a character.
            let fragments = [
                Frame::text(&text).fragment(),
                Frame::continuation(&cut.as_bytes()[length..]),
            ];
            let server = read(&from_client(&fragments));
            assert_eq!(server.found, [Found::text(format!("ok{cut}"))]);
        }
    }
}

#[test]
fn section_8_1_only_text_is_checked() {
    let frames = [
        Frame::binary(b"\xff\xfe"),
        Frame::ping(b"\xff"),
        Frame::pong(b"\x80"),
    ];
    let server = read(&from_client(&frames));
    assert_eq!(server.found, [Found::binary(b"\xff\xfe")]);
    assert_eq!(server.failure, None);
}

#[test]
fn a_message_is_too_big_by_its_header_alone() {
    let server = || WebSocket::new().max_message(1000);
    for opcode in [0x1, 0x2] {
        let exact = read_by(server(), &from_client(&[Frame::new(opcode, [b'x'; 1000])]));
        assert_eq!((exact.found.len(), exact.failure), (1, None));
        for length in [1001, 65_536, 1 << 40, (1 << 63) - 1] {
            let form = if length < 65_536 { 2 } else { 8 };
            let header = Frame::new(opcode, "")
                .masked(KEY)
                .bytes_with_length(length, form);
            let mut server = read_by(server(), &header);
            assert_refused(&mut server, WebSocketError::MessageTooBig);
        }
    }
    // A length that fits a short header takes another path through the decoder.
    let mut server = read_by(
        WebSocket::new().max_message(5),
        &from_client(&[Frame::text("12345"), Frame::text("123456")]),
    );
    assert_eq!(server.take_found(), [Found::text("12345")]);
    assert_refused(&mut server, WebSocketError::MessageTooBig);
}

#[test]
fn fragments_are_too_big_as_soon_as_a_header_exceeds_the_limit() {
    let server = || WebSocket::new().max_message(1000);
    let fitting = [
        Frame::binary([0; 600]).fragment(),
        Frame::continuation([0; 400]).fragment(),
        Frame::continuation(""),
    ];
    let whole = read_by(server(), &from_client(&fitting));
    assert_eq!((whole.found.len(), whole.failure), (1, None));

    let mut stream = from_client(&fitting[..2]);
    stream.extend(Frame::continuation("").masked(KEY).bytes_with_length(1, 0));
    let mut server = read_by(server(), &stream);
    assert_refused(&mut server, WebSocketError::MessageTooBig);
}

/// If memory were allocated for the announced length, half of the address space, the process would end.
#[test]
fn nothing_is_allocated_for_an_announced_length() {
    for opcode in [0x1, 0x2] {
        for is_final in [true, false] {
            let mut frame = Frame::new(opcode, "").masked([0; 4]);
            if !is_final {
                frame = frame.fragment();
            }
            let header = frame.bytes_with_length((1 << 63) - 1, 8);
            let mut server = read_by(WebSocket::new().max_message(usize::MAX), &header);
            server.receive(b"a beginning");
            assert_eq!(server.failure, None);
            assert_eq!(server.found, []);
            assert_eq!(server.input, b"", "the payload is collected as it arrives");
        }
    }
}

#[test]
fn headers_of_fragments_are_limited() {
    // A masked header without payload has 6 bytes, and a message's first header is free.
    let server = || WebSocket::new().fragment_overhead(60);
    let fragments = |count: usize| {
        let mut frames = vec![Frame::text("").fragment()];
        frames.extend(vec![Frame::continuation("").fragment(); count - 1]);
        frames.push(Frame::continuation("end"));
        from_client(&frames)
    };
    let mut fitting = read_by(server(), &fragments(10));
    assert_eq!(fitting.take_found(), [Found::text("end")]);
    // The count starts again with each message.
    fitting.receive(&fragments(10));
    assert_eq!(fitting.take_found(), [Found::text("end")]);
    assert_eq!(fitting.failure, None);

    let mut server = read_by(server(), &fragments(11));
    assert_refused(&mut server, WebSocketError::TooManyFragments);
}

/// The same headers count, with and without a payload in the first fragment.
#[test]
fn the_first_header_of_a_message_is_not_counted() {
    for first in ["", "payload"] {
        let server = WebSocket::new().fragment_overhead(6);
        let frames = [Frame::text(first).fragment(), Frame::continuation("end")];
        let server = read_by(server, &from_client(&frames));
        assert_eq!(server.found, [Found::text(format!("{first}end"))]);
    }
}

#[test]
fn control_frames_are_limited_per_second() {
    let mut server = open_server(&WebSocket::new().control_rate(3));
    let ping = from_client(&[Frame::ping("")]);
    let pong = from_client(&[Frame::pong("")]);
    for second in [0, 1, 2, 65_535, 65_536, 70_000] {
        // Control frames count whenever in the second they arrive.
        for (millisecond, frame) in [(0, &ping), (500, &pong), (999, &ping)] {
            server.now = Duration::from_millis(second * 1000 + millisecond);
            server.receive(frame);
        }
        // Messages do not count.
        server.receive(&from_client(&[Frame::text("x")]));
        assert_eq!(server.failure, None);
        assert_eq!(server.take_found(), [Found::text("x")]);
    }
    server.receive(&pong);
    assert_refused(&mut server, WebSocketError::TooManyControlFrames);
}

#[test]
fn messages_are_limited_per_second_if_a_limit_is_set() {
    let mut server = open_server(&WebSocket::new().message_rate(3));
    let whole = from_client(&[Frame::text("short")]);
    let long = from_client(&[Frame::text("x".repeat(3_000))]);
    let fragments = [
        Frame::binary("1").fragment(),
        Frame::continuation("2").fragment(),
    ];
    let fragments =
        from_client(&[&fragments[..], &[Frame::ping(""), Frame::continuation("3")]].concat());
    for second in 0..4 {
        // However a message comes, it counts once.
        for (millisecond, frames) in [(0, &whole), (500, &long), (999, &fragments)] {
            server.now = Duration::from_millis(second * 1000 + millisecond);
            for byte in frames.chunks(700) {
                server.receive(byte);
            }
        }
        assert_eq!(server.failure, None);
        assert_eq!(server.take_found().len(), 3);
    }
    server.take_said();
    for frames in [&whole, &long, &fragments] {
        let mut other = open_server(&WebSocket::new().message_rate(1));
        other.receive(&whole);
        other.receive(frames);
        assert_eq!(other.take_found(), [Found::text("short")]);
        assert_refused(&mut other, WebSocketError::TooManyMessages);
    }
}

#[test]
fn messages_are_not_limited_by_default() {
    let mut server = read(&from_client(&vec![Frame::text(""); 70_000]));
    assert_eq!(server.failure, None);
    assert_eq!(server.take_found().len(), 70_000);
}

#[test]
fn control_frames_within_one_arrival_are_limited() {
    let frames = vec![Frame::ping("x"); 1001];
    let mut server = read(&from_client(&frames[..1000]));
    assert_eq!(server.failure, None);
    assert_eq!(Frame::parse_all(&server.take_said()).len(), 1000);
    server.receive(&from_client(&frames[1000..]));
    assert_refused(&mut server, WebSocketError::TooManyControlFrames);
}

#[test]
fn sends_before_the_connection_is_open_are_refused() {
    let mut server = Endpoint::new(&WebSocket::new());
    assert!(!server.send(Message::Text("early")));
    assert!(!server.send_owned(&MessageBuf::text("early")));
    assert!(!server.send_parts(&[b"early"]));
    assert_eq!(server.take_said(), b"");
    let mut client = Endpoint::new(&plain_client());
    assert!(!client.send(Message::Text("early")));
    assert_eq!(client.take_said(), b"");
}

/// The halves of connections are independent: connections of one protocol value share only settings.
#[test]
fn connections_of_one_protocol_do_not_mix() {
    let protocol = WebSocket::new();
    let (mut one, mut two) = (open_server(&protocol), open_server(&protocol));
    one.receive(&from_client(&[Frame::text("he").fragment()]));
    two.receive(&from_client(&[Frame::binary("wor").fragment()]));
    one.receive(&from_client(&[Frame::continuation("llo")]));
    two.receive(&from_client(&[Frame::continuation("ld")]));
    assert_eq!(one.found, [Found::text("hello")]);
    assert_eq!(two.found, [Found::binary("world")]);
    let (decoder, encoder) = protocol.open();
    let shown = format!("{decoder:?} {encoder:?}");
    assert!(shown.contains("opening"), "{shown}");
}
