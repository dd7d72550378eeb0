//! Invalid bytes: every first byte of a frame, invalid text, and garbage.

use std::time::Duration;

use ringwheel::Server;
use ringwheel::protocol::{Delimited, FixedLength, LengthPrefixed, Lines, Raw, TypedFrames};
use ringwheel::websocket::{Deflate, WebSocket};
use support::scale::{report, sized};
use support::websocket::{Frame, KEY, Peer, RSV1};
use support::{Client, Random, TestServer, listen};

use crate::tally::Counts;

/// The reaction that RFC 6455, sections 5.1 to 5.5, requires to a connection's first frame, which is empty.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reaction {
    Violation,
    Echo,
    /// An echo when the message ends, because the frame is a first fragment.
    EchoAtEnd,
    Pong,
    Nothing,
    CloseAnswer,
}

fn required_reaction(first: u8, is_masked: bool, deflates: bool) -> Reaction {
    let (is_final, opcode) = (first & 0x80 != 0, first & 0xF);
    let allowed = match opcode {
        1 | 2 if deflates => RSV1,
        _ => 0,
    };
    if !is_masked || first & 0x70 & !allowed != 0 {
        return Reaction::Violation;
    }
    match (opcode, is_final) {
        (1 | 2, true) => Reaction::Echo,
        (1 | 2, false) => Reaction::EchoAtEnd,
        (8, true) => Reaction::CloseAnswer,
        (9, true) => Reaction::Pong,
        (10, true) => Reaction::Nothing,
        _ => Reaction::Violation,
    }
}

/// Opens a connection, with or without an offer of compression, which the server accepts.
#[track_caller]
fn open(server: &TestServer, deflates: bool) -> Peer {
    let client = server.connect();
    if !deflates {
        return Peer::open_over(client);
    }
    open_deflating(client, "permessage-deflate; client_no_context_takeover")
}

/// Opens a connection with this offer of extensions.
#[track_caller]
pub(crate) fn open_deflating(mut client: Client, offer: &str) -> Peer {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Extensions: {offer}\r\n\r\n"
    );
    client.send(request.as_bytes());
    let mut peer = Peer::around(client);
    let head = peer.head();
    let agreed = head.starts_with("HTTP/1.1 101 ") && head.contains("permessage-deflate");
    assert!(agreed, "{head}");
    peer
}

#[track_caller]
fn expect_close(peer: &mut Peer, code: u16, what: &str) {
    let close = peer.next_frame();
    assert_eq!(close.first, 0x88, "{what}: {close:?}");
    let said = close.close_words().map(|(code, _)| code);
    assert_eq!(said, Some(code), "{what}");
    peer.expect_end();
}

#[test]
fn every_first_byte_masked_or_not_gets_its_required_reaction() {
    let counts = Counts::default();
    let protocol = WebSocket::new().deflate(Deflate::new());
    let server = TestServer::start(listen(protocol), counts.echo());
    let (mut violations, mut connections) = (0, 0);
    for deflates in [false, true] {
        for (first, is_masked) in (0..=255).flat_map(|first| [(first, false), (first, true)]) {
            let what = format!("{first:#04x}, masked: {is_masked}, deflates: {deflates}");
            let mut peer = open(&server, deflates);
            connections += 1;
            let empty = Frame {
                first,
                key: is_masked.then_some(KEY),
                payload: Vec::new(),
            };
            peer.client.send(&empty.bytes());
            let echoed = Frame::new(first & 0xF, "");
            match required_reaction(first, is_masked, deflates) {
                Reaction::Violation => {
                    violations += 1;
                    expect_close(&mut peer, 1002, &what);
                    continue;
                }
                Reaction::CloseAnswer => {
                    peer.expect(Frame::close_without_code());
                    peer.expect_end();
                    continue;
                }
                Reaction::Echo => peer.expect(echoed),
                Reaction::EchoAtEnd => {
                    peer.send(Frame::continuation(""));
                    peer.expect(echoed);
                }
                Reaction::Pong => peer.expect(Frame::pong("")),
                Reaction::Nothing => {}
            }
            peer.check_echo();
        }
    }
    counts.finish(server);
    assert_eq!(counts.opened(), connections);
    assert_eq!(counts.ended("Protocol(Violation"), violations, "{counts:?}");
    report(
        "every_first_byte_masked_or_not_gets_its_required_reaction",
        format_args!("{connections} connections, {violations} closed with 1002, none otherwise"),
    );
}

/// Invalid sequences that are detected at different bytes (RFC 3629, section 3).
const NOT_UTF8: [&[u8]; 6] = [
    b"\xff",             // never a valid byte
    b"\x80",             // a continuation byte alone
    b"\xc0\xaf",         // overlong
    b"\xed\xa0\x80",     // a surrogate
    b"\xf4\x90\x80\x80", // beyond the last character
    b"\xe4\xb8",         // a truncated character
];

#[test]
fn invalid_utf_8_at_every_offset_is_refused() {
    let length = sized(60, 1200);
    let counts = Counts::default();
    let server = TestServer::start(listen(WebSocket::new()), counts.echo());
    let mut refused = 0;
    for offset in 0..=length {
        // Each invalid sequence is sent at every offset, in one of three kinds of delivery; each delivery occurs at
        // every offset.
        for (index, wrong) in NOT_UTF8.into_iter().enumerate() {
            let text = [&vec![b'x'; offset][..], wrong, &vec![b'x'; length - offset]].concat();
            let mut peer = Peer::open(&server);
            let what = format!("{wrong:x?} at {offset}");
            match (index + offset) % 3 {
                0 => peer.send(Frame::text(&text)),
                1 => {
                    let (front, back) = text.split_at(offset + wrong.len() / 2);
                    let frames = [Frame::text(front).fragment(), Frame::continuation(back)];
                    peer.client.send(&support::websocket::from_client(&frames));
                }
                // Two separate writes, which the kernel may still merge.
                _ => {
                    let frame = Frame::text(&text).masked(KEY).bytes();
                    let (front, back) = frame.split_at(frame.len() - length + offset - 1);
                    peer.client.send(front);
                    // The server may have closed already.
                    let _ = peer.client.try_send(back);
                }
            }
            expect_close(&mut peer, 1007, &what);
            refused += 1;
        }
    }
    let mut peer = Peer::open(&server);
    peer.check_echo();
    drop(peer);
    counts.finish(server);
    assert_eq!(counts.ended("Protocol(InvalidUtf8)"), refused, "{counts:?}");
    assert_eq!(counts.messages(), 1, "only the last message was delivered");
    report(
        "invalid_utf_8_at_every_offset_is_refused",
        format_args!("{refused} texts closed with 1007"),
    );
}

/// Random bytes, bytes that are special to the protocols, or a mixture of both.
fn garbage(random: &mut Random, length: usize) -> Vec<u8> {
    const SPECIAL: &[u8] =
        b"\0\x01\x02\x03\x04\x7e\x7f\x80\x81\x82\xfe\xff\r\n\r\n: GET / HTTP/1.1";
    let kind = random.below(3);
    let mut bytes = Vec::with_capacity(length);
    for _ in 0..length {
        let is_random = kind == 0 || (kind == 1 && random.below(2) == 0);
        bytes.push(match is_random {
            true => random.next_number() as u8,
            false => SPECIAL[random.below(SPECIAL.len())],
        });
    }
    bytes
}

/// The bytes that open a listener's stream before the garbage.
#[derive(Clone, Copy)]
enum Opening {
    Nothing,
    WebSocket,
    Compressed,
}

#[test]
fn garbage_on_every_protocol_does_not_affect_other_connections() {
    let counts = Counts::default();
    let deflate = Deflate::new().client_context_takeover(true);
    let websocket = WebSocket::new().max_message(8 * 1024);
    let builder = Server::builder().workers(1);
    macro_rules! listen_to {
        ($builder:expr, $($protocol:expr),+) => {
            $builder$(.listen_with(
                listen($protocol).close_timeout(Duration::from_secs(1)), counts.echo()).unwrap())+
        };
    }
    let builder = listen_to!(
        builder,
        websocket.clone(),
        websocket.clone(),
        websocket.deflate(deflate),
        Raw,
        Lines::new().max_length(100),
        Delimited::new(b"\r\n"),
        FixedLength::new(100),
        LengthPrefixed::u8(),
        LengthPrefixed::u16_le(),
        LengthPrefixed::u32_be(),
        LengthPrefixed::u64_be().max_length(usize::MAX),
        LengthPrefixed::u16_be().offset(3).adjustment(-5).strip(2),
        TypedFrames::new()
    );
    let server = TestServer::spawn(builder);
    let openings = [Opening::Nothing, Opening::WebSocket, Opening::Compressed];
    let mut random = Random::new(0x6761_7262_6167_6521);
    let (streams, mut bytes) = (sized(10, 1000), 0);
    let listeners = server.handle().local_addrs().len();
    for listener in 0..listeners {
        let opening = openings.get(listener).copied().unwrap_or(Opening::Nothing);
        for _ in 0..streams {
            let mut client = Client::connect(server.addr_of(listener));
            let length = 1 + random.below(16 * 1024);
            let mut stream = garbage(&mut random, length);
            match opening {
                Opening::Nothing => {}
                Opening::WebSocket => client = Peer::open_over(client).client,
                Opening::Compressed => {
                    client = open_deflating(client, "permessage-deflate").client;
                    // A valid frame with garbage as its content.
                    let frame = Frame::binary(&stream).reserved(RSV1).masked(KEY);
                    stream = frame.bytes();
                }
            }
            bytes += stream.len();
            // The server may end the connection earlier.
            if client.try_send(&stream).is_ok() {
                let _ = client.stream().shutdown(std::net::Shutdown::Write);
            }
            client.expect_ended();
        }
    }
    for listener in 0..3 {
        Peer::open_over(Client::connect(server.addr_of(listener))).check_echo();
    }
    counts.finish(server);
    report(
        "garbage_on_every_protocol_does_not_affect_other_connections",
        format_args!(
            "{} streams, {bytes} bytes to {listeners} listeners; {} refused by protocols",
            streams * listeners,
            counts.ended("Protocol(")
        ),
    );
}
