//! Writes the seeds that are made by hand into `corpus`: `cargo run --no-default-features --example seeds`.
//!
//! Other seeds, named `found-*`, are inputs that the fuzzer has found; `./distill` chooses them.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use ringwheel::protocol::{Encode, Output, Protocol};
use ringwheel::websocket::{AcceptAll, Deflate, Message, WebSocket, WebSocketClient};
use ringwheel::{Address, ProxyHeader, ProxyHeaderError};

fn main() -> io::Result<()> {
    framings()?;
    http_head()?;
    proxy_header()?;
    frames()?;
    deflate()?;
    wire()?;
    connection()
}

fn write(target: &str, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join(name), parts.concat())
}

/// Lines and binary headers, with bytes of the client's behind them.
fn proxy_header() -> io::Result<()> {
    let lines = [
        ("line-ipv4", "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443"),
        (
            "line-ipv6",
            "PROXY TCP6 2001:db8::7 1:2:3:4:5:6:7:8 1 65535",
        ),
        ("line-mapped", "PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2"),
        ("line-unknown", "PROXY UNKNOWN"),
        ("line-unknown-long", "PROXY UNKNOWN \r some \n text"),
    ];
    for (name, line) in lines {
        write("proxy_header", name, &[line.as_bytes(), b"\r\nGET /"])?;
    }
    for (name, header) in headers().map_err(io::Error::other)? {
        let mut output = Vec::new();
        header.encode_v2(&mut output);
        write("proxy_header", name, &[&output, b"GET /"])?;
    }
    let wrong_checksum = b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\x0B\x04\0\x01p\x03\0\x04....";
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x11\0\x10whatever it has.";
    write("proxy_header", "wrong-checksum", &[wrong_checksum])?;
    write("proxy_header", "local-with-block", &[local])
}

fn headers() -> Result<[(&'static str, ProxyHeader); 5], ProxyHeaderError> {
    let ipv4 = [7, 1].map(|byte| SocketAddr::from(([192, 0, 2, byte], 443)));
    let ipv6 = [7, 1].map(|byte| SocketAddr::from(([0x2001, 0xDB8, 0, 0, 0, 0, 0, byte], 443)));
    let path = Address::Unix(Some(Path::new("/run/a.sock").into()));
    let name = Address::Abstract(Box::from(*b"name"));
    let mut all = ProxyHeader::new(ipv4[0], ipv4[1])?;
    all.add_tlv(ProxyHeader::ALPN, b"h2")?;
    all.add_tlv(ProxyHeader::AUTHORITY, b"chat.example")?;
    all.add_tlv(ProxyHeader::UNIQUE_ID, b"7F000001:8F14")?;
    let tls =
        b"\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x05J\xC3\xB6rg\x23\0\x01c\x24\0\x01s\x25\0\x01k";
    all.add_tlv(ProxyHeader::TLS, tls)?;
    all.add_tlv(ProxyHeader::NETWORK_NAMESPACE, b"blue")?;
    all.add_tlv(0xEA, b"own")?;
    all.add_checksum()?;
    Ok([
        ("binary-ipv4", all),
        ("binary-ipv6", ProxyHeader::new(ipv6[0], ipv6[1])?),
        ("binary-unix", ProxyHeader::new(path, name)?),
        ("binary-unknown", ProxyHeader::unknown()),
        ("binary-local", ProxyHeader::local()),
    ])
}

/// A head of no choices, no early record and nothing unsent, and then operations of `src/io/wire/checked/plan.rs`.
fn wire() -> io::Result<()> {
    let (ask, arrive_all, read_all, takes, push) = (13, 26, 36, 51, 58);
    let head = [0; 4];
    // The stream takes nothing, until the answers are more than a peer may leave unread.
    let mut unread = [ask, 255].repeat(8);
    unread.extend([arrive_all, takes, 0]);
    unread.extend([read_all, 255, push, read_all, 255]);
    write("wire", "answers-unread", &[&head, &unread])?;
    // As many answers leave in each round as come, so that some are always left.
    let begin = [ask, 2, arrive_all, read_all, 200];
    let round = [ask, 1, arrive_all, read_all, 200, takes, 64, push].repeat(40);
    write("wire", "answers-read-slowly", &[&head, &begin, &round])?;
    // The same where a write that is cut short is followed by another.
    let round = [ask, 1, arrive_all, read_all, 200, takes, 64, takes, 0, push].repeat(40);
    write("wire", "answers-read-slowly-poll", &[&head, &begin, &round])
}

/// Protocol, limit, three bytes of settings, the lengths of pieces, and the stream.
fn framings() -> io::Result<()> {
    let seeds: [(&str, &[u8], &[u8]); 12] = [
        ("raw", &[0, 0, 0, 0, 0, 2, 3, 1], b"anything at all"),
        (
            "lines",
            &[1, 40, 0, 0, 0, 1, 5],
            b"one\r\n\ntwo\xC3\xA9\nthree",
        ),
        ("lines-crlf", &[1, 3, 1, 0, 0, 0], b"abc\r\nab\rc\nabcd\n"),
        ("lines-not-utf8", &[1, 40, 0, 0, 0, 1, 2], b"ok\nno\xC3\n"),
        (
            "delimited",
            &[2, 40, b'a', b'a', b'b', 1, 3],
            b"xaabaaabyaab",
        ),
        ("delimited-long", &[2, 2, 0, 0, 0, 0], b"ab\0abc\0"),
        ("fixed", &[3, 3, 0, 0, 0, 1, 3], b"abcdefghij"),
        (
            "u32-be",
            &[4, 40, 3, 0, 32, 1, 2],
            b"\0\0\0\x03abc\0\0\0\0\0\0\0\x01x\0\0\x01\0",
        ),
        (
            "u16-le-whole-frames",
            &[4, 40, 0x19, 252, 0, 1, 4],
            b"K\x04\0L\x06\0abM\x04\0",
        ),
        (
            "u64-le",
            &[4, 40, 0x0F, 0, 32, 0],
            b"\x02\0\0\0\0\0\0\0ab\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        ),
        (
            "typed",
            &[5, 40, 0, 0, 0, 1, 5],
            b"\0\0\0\x08\0\x04Pingab\0\0\0\x02\0\0",
        ),
        ("typed-overrun", &[5, 40, 0, 0, 0, 0], b"\0\0\0\x03\0\x02ab"),
    ];
    for (name, settings, stream) in seeds {
        write("framings", name, &[settings, stream])?;
    }
    Ok(())
}

/// Settings, limits, the lengths of pieces, and the head.
fn http_head() -> io::Result<()> {
    let upgrade = "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let requests = [
        (
            "accepted",
            0x00,
            format!("GET / HTTP/1.1\r\nHost: h\r\n{upgrade}\r\n"),
        ),
        (
            "origin",
            0x03,
            format!("GET / HTTP/1.1\r\nHost: a.b:80\r\n{upgrade}Origin: http://a.b\r\n\r\n"),
        ),
        (
            "origin-listed",
            0x05,
            format!("GET /x HTTP/1.1\r\nHost: h\r\n{upgrade}Origin: https://a.example\r\n\r\n"),
        ),
        (
            "subprotocol",
            0x01,
            format!(
                "GET /chat?x=y HTTP/1.1\r\nHost: h\r\n{upgrade}Sec-WebSocket-Protocol: a, b\r\n\r\n"
            ),
        ),
        (
            "deflate",
            0x30,
            format!(
                "GET / HTTP/1.1\r\nHost: h\r\n{upgrade}Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=\"10\", x;y=z\r\n\r\n"
            ),
        ),
        (
            "rejected",
            0x01,
            format!("GET /no HTTP/1.1\r\nHost: h\r\n{upgrade}\r\n"),
        ),
        (
            "page",
            0x01,
            "HEAD /page HTTP/1.1\r\nHost: [::1]:8080\r\nUser-Agent: x\r\n\r\n".to_owned(),
        ),
        (
            "absolute",
            0x01,
            "GET http://h:1/p?q HTTP/1.1\r\nHost: h:1\r\nContent-Length: 0\r\n\r\n".to_owned(),
        ),
        (
            "method",
            0x01,
            "POST / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "body",
            0x01,
            "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        ),
        ("old", 0x01, "GET / HTTP/1.0\r\n\r\n".to_owned()),
        (
            "old-upgrade",
            0x00,
            format!("GET / HTTP/1.0\r\nHost: h\r\n{upgrade}\r\n"),
        ),
        (
            "empty-lines",
            0x00,
            format!("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n{upgrade}\r\n"),
        ),
        (
            "options",
            0x01,
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "unknown-method",
            0x01,
            "BREW / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
        ),
        (
            "other-host",
            0x41,
            format!("GET / HTTP/1.1\r\nHost: evil:1\r\n{upgrade}\r\n"),
        ),
        (
            "known-host",
            0x42,
            format!("GET / HTTP/1.1\r\nHost: A.b:1\r\n{upgrade}Origin: http://a.b:1\r\n\r\n"),
        ),
        (
            "lists",
            0x10,
            format!(
                "GET / HTTP/1.1\r\nHost: h\r\n{upgrade}Upgrade: ,h2c/1 ,\r\nConnection: a,,b\r\nSec-WebSocket-Protocol: a,,b\r\nSec-WebSocket-Extensions: , x;a=\"\\b\";c = d ,\r\n\r\n"
            ),
        ),
        (
            "extensions-malformed",
            0x10,
            format!(
                "GET / HTTP/1.1\r\nHost: h\r\n{upgrade}Sec-WebSocket-Extensions: permessage-deflate; a=\"b c\"\r\n\r\n"
            ),
        ),
        (
            "too-many",
            0x08,
            format!("GET / HTTP/1.1\r\nHost: h\r\n{upgrade}A: b\r\nC: d\r\n\r\n"),
        ),
        (
            "too-long",
            0x08,
            format!("GET /{} HTTP/1.1\r\n", "x".repeat(100)),
        ),
    ];
    for (name, settings, head) in requests {
        let limits = if name == "too-many" { 0x20 } else { 0 };
        write(
            "http_head",
            name,
            &[&[settings, limits, 1, 7], head.as_bytes()],
        )?;
    }
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: @\r\n";
    let answers = [
        ("answer", 0x80, format!("{answer}\r\n")),
        (
            "answer-subprotocol",
            0x81,
            format!("{answer}Sec-WebSocket-Protocol: chat\r\n\r\n"),
        ),
        (
            "answer-deflate",
            0x86,
            format!(
                "{answer}Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10; client_no_context_takeover\r\n\r\n"
            ),
        ),
        (
            "answer-small-window",
            0x86,
            format!(
                "{answer}Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=8; server_no_context_takeover\r\n\r\n"
            ),
        ),
        (
            "answer-interim",
            0x80,
            format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103\r\nA: b\r\n\r\n{answer}\r\n"),
        ),
        (
            "answer-refused",
            0x80,
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_owned(),
        ),
    ];
    for (name, settings, head) in answers {
        write("http_head", name, &[&[settings, 0, 1, 9], head.as_bytes()])?;
    }
    Ok(())
}

/// A client's frame whose key is nothing, so that its payload can be read, and changed.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length @ 0..=125) => bytes.push(0x80 | length),
        _ => {
            bytes.push(0x80 | 126);
            bytes.extend((payload.len() as u16).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// Settings, the lengths of pieces, and the frames; for delivery of the whole and in pieces.
fn frames() -> io::Result<()> {
    let text = "h\u{e9}llo \u{1F980}".as_bytes();
    let compressed = compressed("well, well, well, well, well");
    let masked = [
        &b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"[..],
        &frame(0x82, b"\0\xFF"),
    ]
    .concat();
    let fragments = [
        frame(0x01, &text[..2]),
        frame(0x89, b"ping"),
        frame(0x00, &text[2..9]),
        frame(0x80, &text[9..]),
    ]
    .concat();
    let seeds = [
        ("masked", 0x00, masked),
        ("fragments", 0x00, fragments.clone()),
        ("fragments-limited", 0x08, fragments),
        ("medium", 0x00, frame(0x82, &[b'x'; 200])),
        (
            "too-big",
            0x02,
            [frame(0x81, b"12345"), frame(0x81, b"123456")].concat(),
        ),
        (
            "close",
            0x00,
            [
                frame(0x8A, b"pong"),
                frame(0x88, b"\x03\xE8bye"),
                frame(0x81, b"late"),
            ]
            .concat(),
        ),
        ("close-bad-code", 0x00, frame(0x88, b"\x03\xEE")),
        ("not-utf8", 0x00, frame(0x81, b"ab\xED\xA0\x80")),
        (
            "not-utf8-late",
            0x00,
            [frame(0x01, b"\xF0\x9F"), frame(0x80, b"\xA6")].concat(),
        ),
        ("unmasked", 0x00, b"\x81\x05Hello".to_vec()),
        ("not-minimal", 0x00, b"\x82\xFE\0\x05\0\0\0\0".to_vec()),
        (
            "huge",
            0x00,
            b"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0".to_vec(),
        ),
        ("stray", 0x00, frame(0x80, b"?")),
        ("compressed", 0x01, frame(0xC1, &compressed)),
        (
            "compressed-fragments",
            0x21,
            [
                frame(0x41, &compressed[..3]),
                frame(0x89, b""),
                frame(0x80, &compressed[3..]),
                frame(0xC1, &compressed),
            ]
            .concat(),
        ),
        ("pings", 0x08, frame(0x89, b"p").repeat(4)),
    ];
    for (name, settings, stream) in seeds {
        for target in ["websocket_frames", "websocket_pieces"] {
            write(target, name, &[&[settings, 2, 3, 4], &stream])?;
        }
    }
    Ok(())
}

/// The payload of the frame that a client makes of a text.
fn compressed(text: &str) -> Vec<u8> {
    compressed_all(Deflate::new(), &[text]).concat()
}

/// The payloads of the frames that a client makes of texts, one after the other.
fn compressed_all(deflate: Deflate, texts: &[&str]) -> Vec<Vec<u8>> {
    let deflate = deflate.min_size(0);
    let client = WebSocketClient::new("h", "/")
        .expect("they are right")
        .deflate(deflate);
    let server: WebSocket<AcceptAll> = WebSocket::new().deflate(deflate);
    let (mut decoder, mut encoder) = client.open();
    let (mut server_decoder, mut server_encoder) = server.open();
    let (mut said, mut answer) = (Output::detached(), Output::detached());
    encoder.greet(&mut said);
    open(
        &mut server_decoder,
        &mut server_encoder,
        &mut said.take(),
        &mut answer,
    );
    open(&mut decoder, &mut encoder, &mut answer.take(), &mut said);
    let payload = |text: &&str| {
        encoder
            .pack(Message::Text(text), &mut said)
            .expect("it is open");
        let frame = said.take();
        let header = if frame[1] & 0x7F == 126 { 4 } else { 2 };
        let (key, masked) = frame[header..].split_at(4);
        let bytes = masked.iter().zip(key.iter().cycle());
        bytes.map(|(byte, key)| byte ^ key).collect()
    };
    texts.iter().map(payload).collect()
}

fn open<D: ringwheel::protocol::Decode>(
    decoder: &mut D,
    encoder: &mut D::Encoder,
    input: &mut [u8],
    output: &mut Output,
) {
    use ringwheel::protocol::{UnpackContext, Unpacked};
    let opened = decoder.unpack(input, &mut UnpackContext::detached(output, encoder));
    assert!(matches!(opened, Ok(Unpacked::Opened { .. })));
}

/// Mode, windows, limit, the lengths of pieces; then messages with two bytes of length each.
fn deflate() -> io::Result<()> {
    let text = compressed("well, well, well, well, well");
    let sized = |high: u8, payload: &[u8]| [&[high, payload.len() as u8], payload].concat();
    // 64 KiB of one byte: a fixed block of one literal and matches of 258 bytes.
    let bomb =
        b"\xec\xc1\x01\x0d\0\0\0\xc2\xa0\xf7O\xed\xe1\x03\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let stored = b"\0\x05\0\xFA\xFFabcde\0";
    let last_block = [&text[..], b"\x03\0"].concat();
    let twice = [sized(0, &text), sized(0, &text)].concat();
    let in_fragments = [
        sized(0x40, &text[..4]),
        sized(0, &text[4..]),
        sized(0x80, b"plain"),
    ]
    .concat();
    // More than a window, so that what is referred to begins in the middle of it.
    let numbers: Vec<String> = (0..5)
        .map(|round| {
            (0..30)
                .map(|n| format!("{},", n * n * (7 + round % 2)))
                .collect()
        })
        .collect();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let small_window = Deflate::new()
        .client_context_takeover(true)
        .client_max_window_bits(9);
    let past_window = compressed_all(small_window, &numbers);
    let past_window: Vec<_> = past_window
        .iter()
        .map(|payload| sized(0, payload))
        .collect();
    let seeds: [(&str, [u8; 3], Vec<u8>); 9] = [
        ("past-the-window", [2, 0x15, 17], past_window.concat()),
        ("one", [0, 0, 17], sized(0, &text)),
        ("takeover", [3, 0x10, 17], twice.clone()),
        ("takeover-small-window", [3, 0x20, 17], twice.clone()),
        ("no-takeover", [0x23, 0x10, 17], twice),
        ("fragments", [2, 0x10, 17], in_fragments),
        ("limit", [0, 0, 3], sized(0, &text)),
        ("bomb", [0, 0, 17], sized(0, bomb)),
        (
            "stored-and-final",
            [2, 0, 17],
            [sized(0, stored), sized(0, &last_block)].concat(),
        ),
    ];
    // Wrong in two ways: which of them shows first depends on how it arrives.
    let wrong_and_too_big = b"\x00\xff\xff\x00\x11\xd1\x4a\x11\xd1\x4a\x45\x00\x02\x02";
    write("deflate", "wrong-and-too-big", &[wrong_and_too_big])?;
    let wrong_and_not_utf8 = b"\x01\x02\x03\x04\xc1\x8a\x00\x00\x00\xc1\x8a\x59\x47\x7a\x5c\x68\x5a\x52\x62\x4b\x2b\x78\x4f\x6f\x3d\x2a\x4f\x00\xc0\x4e\x02\x00";
    write(
        "websocket_frames",
        "wrong-and-not-utf8",
        &[wrong_and_not_utf8],
    )?;
    for (name, settings, messages) in seeds {
        write("deflate", name, &[&settings, &[1, 5], &messages])?;
    }
    Ok(())
}

/// A choice among so many, as `arbitrary` reads it.
fn choice(index: u64, count: u64) -> Vec<u8> {
    let value = (index << 32).div_ceil(count);
    (value as u32).to_le_bytes().to_vec()
}

/// Operations of the target, as `arbitrary` reads them.
fn connection() -> io::Result<()> {
    const SERVER: u64 = 0;
    const CLIENT: u64 = 1;
    const OPERATIONS: u64 = 9;
    let operation = |index: u64, side: u64, rest: &[u8]| {
        [&[1][..], &choice(index, OPERATIONS), &choice(side, 2), rest].concat()
    };
    // Text or not, size and pattern.
    let send = |side, content: &[u8]| operation(0, side, content);
    let send_owned = |side, content: &[u8]| operation(1, side, content);
    let deliver = |side, count: u8| operation(6, side, &[count]);
    let advance = |millis: u16| [&[1][..], &choice(7, OPERATIONS), &millis.to_le_bytes()].concat();
    let farewell = |side, why| operation(8, side, &choice(why, 6));

    let plain: &[u8] = &[0, 0];
    // Windows of 32 KiB and context takeover on both sides.
    let deflate: &[u8] = &[1, 15, 15, 0x61, 0];
    let pings: &[u8] = &[0, 1];
    let text: &[u8] = &[1, 150, 2];
    let binary: &[u8] = &[0, 100, 9];
    let large: &[u8] = &[0, 0xFF, 1];
    let fragments = operation(3, CLIENT, &[1, 90, 3, 7, 1]);
    type Seed<'a> = (&'a str, &'a [u8], Vec<Vec<u8>>);
    let seeds: [Seed<'_>; 7] = [
        (
            "both-ways",
            plain,
            vec![
                send(SERVER, text),
                send(CLIENT, large),
                deliver(SERVER, 9),
                deliver(CLIENT, 0),
            ],
        ),
        (
            "shared-and-not",
            deflate,
            vec![
                send(SERVER, text),
                send_owned(SERVER, &[1, 190, 0, 1]),
                send(SERVER, text),
                send(SERVER, &[1, 180, 4]),
                deliver(CLIENT, 0),
            ],
        ),
        (
            "clients-context",
            deflate,
            vec![
                send(CLIENT, text),
                send(CLIENT, binary),
                fragments.clone(),
                send(CLIENT, text),
                deliver(SERVER, 7),
            ],
        ),
        (
            "fragments",
            plain,
            vec![
                fragments,
                operation(4, CLIENT, &[5]),
                deliver(SERVER, 30),
                deliver(CLIENT, 0),
            ],
        ),
        (
            "parts",
            deflate,
            vec![
                operation(2, SERVER, &[0, 200, 3, 50]),
                operation(2, CLIENT, &[0, 90, 3, 50]),
                deliver(SERVER, 0),
            ],
        ),
        (
            "closed-by-both",
            plain,
            vec![
                send(SERVER, text),
                farewell(SERVER, 0),
                farewell(CLIENT, 1),
                deliver(SERVER, 0),
                send(CLIENT, text),
            ],
        ),
        (
            "not-answered",
            pings,
            vec![
                advance(10_000),
                deliver(CLIENT, 0),
                deliver(SERVER, 0),
                advance(65_000),
                advance(65_000),
                deliver(CLIENT, 0),
            ],
        ),
    ];
    for (name, settings, operations) in seeds {
        write("connection", name, &[settings, &operations.concat()])?;
    }
    Ok(())
}
