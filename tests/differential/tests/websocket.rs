//! Compares the codec with another implementation, tungstenite, on random streams of frames, valid and invalid.
//!
//! Both read the same bytes, cut into different pieces. They must deliver the same messages in the same order, answer
//! the same pings, and end in the same way: waiting for more, closed by the peer with the same code, or refusing the
//! peer with the same code. Streams are padded so that their last frame is whole, because the two refuse at different
//! times: this codec as soon as a frame's header or the first bad byte of a text has arrived, tungstenite when the
//! whole frame has.
//!
//! All other differences are listed in [`Difference`] with their reasons, and each must occur.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};

use ringwheel::protocol::Farewell;
use ringwheel::websocket::{CloseCode, Message, Violation, WebSocket, WebSocketClient};
use support::Random;
use support::websocket::{Endpoint, Found, Frame, Subject, connect, open_server, plain_client};
use tungstenite::Error;
use tungstenite::protocol::frame::coding::CloseCode as TheirCode;
use tungstenite::protocol::{Message as Theirs, Role, WebSocket as Tungstenite, WebSocketConfig};

/// The limit on messages for both.
const MAX_MESSAGE: usize = 4000;

/// The state of a conversation after a stream was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// More input is possible.
    Open,
    /// The peer has closed, with this code or none.
    Closed(Option<u16>),
    /// The peer was refused with this close code.
    Refused(u16),
}

/// The results of one implementation for a stream.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    messages: Vec<Found>,
    pongs: Vec<Vec<u8>>,
    standing: Standing,
}

/// A known difference between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    /// Section 5.2: "the minimal number of bytes MUST be used to encode the length". tungstenite accepts every form.
    LengthForm,
    /// A frame is too long and also a violation. tungstenite checks the length first and closes with 1009; this codec
    /// checks the frame's kind first. A length of 2^63 or more is such a case: section 5.2 forbids it.
    TooLongAndWrong,
    /// Code 1014 was registered after the RFC, like 1012 and 1013, which both implementations know.
    CloseCode1014,
    /// A close frame with a forbidden code and a reason that is not UTF-8: the two report different errors.
    CloseCodeAndReason,
}

/// A stream to read from, and the bytes that were written back.
struct Pipe {
    input: Vec<u8>,
    taken: usize,
    /// Bytes that one read returns.
    piece: usize,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.input[self.taken..];
        if rest.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = rest.len().min(self.piece).min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn tungstenite(stream: &[u8], piece: usize, role: Role) -> Tungstenite<Pipe> {
    let pipe = Pipe {
        input: stream.to_vec(),
        taken: 0,
        piece,
        output: Vec::new(),
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    Tungstenite::from_raw_socket(pipe, role, Some(config))
}

/// Lets tungstenite read a stream.
fn read_theirs(stream: &[u8], piece: usize, role: Role) -> Reading {
    let mut theirs = tungstenite(stream, piece, role);
    let mut messages = Vec::new();
    let standing = loop {
        match theirs.read() {
            Ok(Theirs::Text(text)) => messages.push(Found::text(text.as_str())),
            Ok(Theirs::Binary(bytes)) => messages.push(Found::binary(&bytes[..])),
            Ok(Theirs::Ping(_) | Theirs::Pong(_)) => {}
            Ok(Theirs::Close(None)) => break Standing::Closed(None),
            // tungstenite answers forbidden codes with this frame.
            Ok(Theirs::Close(Some(frame)))
                if frame.code == TheirCode::Protocol && frame.reason == "Protocol violation" =>
            {
                break Standing::Refused(1002);
            }
            Ok(Theirs::Close(Some(frame))) => break Standing::Closed(Some(frame.code.into())),
            Ok(Theirs::Frame(frame)) => panic!("{frame:?} is not handed out"),
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                break Standing::Open;
            }
            Err(Error::Protocol(_)) => break Standing::Refused(1002),
            Err(Error::Utf8(_)) => break Standing::Refused(1007),
            Err(Error::Capacity(_)) => break Standing::Refused(1009),
            Err(error) => panic!("{error}"),
        }
    };
    // Sends pending replies.
    let _ = theirs.flush();
    Reading {
        messages,
        pongs: pongs(&theirs.get_ref().output),
        standing,
    }
}

fn pongs(said: &[u8]) -> Vec<Vec<u8>> {
    let frames = Frame::parse_all(said).into_iter();
    let pongs = frames.filter(|frame| frame.opcode() == 0xA);
    pongs.map(|pong| pong.payload).collect()
}

/// Lets this codec read a stream.
fn read_ours<P: Subject>(end: &mut Endpoint<P>, stream: &[u8], piece: usize) -> Reading {
    for part in stream.chunks(piece) {
        if end.is_over() {
            break;
        }
        end.receive(part);
    }
    let said = end.take_said();
    let close = Frame::parse_all(&said).pop();
    let close = close.filter(|frame| frame.opcode() == 0x8);
    let told = close.as_ref().and_then(Frame::close_words);
    let told = told.map(|(code, _)| code);
    let mut messages = end.take_found();
    let standing = match end.failure {
        Some(error) => {
            let code = error.close_code().map(CloseCode::get);
            assert_eq!(told, code, "the peer is told");
            Standing::Refused(code.expect("the connection was open"))
        }
        None if messages.last() == Some(&Found::End) => {
            messages.pop();
            assert!(close.is_some(), "a close is answered");
            Standing::Closed(told)
        }
        None => Standing::Open,
    };
    Reading {
        messages,
        pongs: pongs(&said),
        standing,
    }
}

/// Generates random streams.
struct Generator {
    random: Random,
    is_client: bool,
}

impl Generator {
    fn chance(&mut self, one_in: usize) -> bool {
        self.random.below(one_in) == 0
    }

    fn key(&mut self) -> Option<[u8; 4]> {
        let key = (self.random.next_number() as u32).to_be_bytes();
        self.is_client.then_some(key)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length)
            .map(|_| self.random.next_number() as u8)
            .collect()
    }

    fn length(&mut self) -> usize {
        match self.random.below(10) {
            0 => 0,
            1 => 124 + self.random.below(5),
            2 => self.random.below(1500),
            // A few messages are too long, in one frame or together.
            3 if self.chance(4) => MAX_MESSAGE - 3 + self.random.below(8),
            _ => self.random.below(40),
        }
    }

    /// Text with characters of all encoded lengths.
    fn text(&mut self) -> Vec<u8> {
        const CHARACTERS: [char; 8] = ['a', '\0', '\u{7f}', 'é', '\u{7ff}', '中', '\u{ffff}', '𝄞'];
        let length = self.length();
        let mut text = String::new();
        while text.len() < length {
            text.push(CHARACTERS[self.random.below(CHARACTERS.len())]);
        }
        text.into_bytes()
    }

    fn control(&mut self) -> Frame {
        let payload = self.random.below(126);
        let payload = self.bytes(payload);
        match self.random.below(2) {
            0 => Frame::ping(payload),
            _ => Frame::pong(payload),
        }
    }

    fn close(&mut self) -> Frame {
        const CODES: [u16; 22] = [
            0, 999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1011, 1012, 1013, 1014, 1015,
            1016, 2999, 3000, 3999, 4000, 4999, 5000,
        ];
        let code = CODES[self.random.below(CODES.len())];
        match self.random.below(8) {
            0 => Frame::close_without_code(),
            1 => Frame::new(0x8, [3]),
            2 => Frame::close(code, b"\xff"),
            3 => Frame::close(code, "x".repeat(123)),
            _ => Frame::close(code, "why é"),
        }
    }

    /// The frames of one message, with control frames between them.
    fn message(&mut self, frames: &mut Vec<Frame>) {
        let (opcode, payload) = match self.chance(3) {
            true => {
                let length = self.length();
                (0x2, self.bytes(length))
            }
            false => (0x1, self.text()),
        };
        let mut rest = &payload[..];
        let mut opcode = opcode;
        while self.chance(3) {
            let (part, after) = rest.split_at(self.random.below(rest.len() + 1));
            frames.push(Frame::new(opcode, part).fragment());
            if self.chance(3) {
                frames.push(self.control());
            }
            rest = after;
            opcode = 0x0;
        }
        frames.push(Frame::new(opcode, rest));
    }

    /// A stream of valid frames, except for the codes and reasons of close frames.
    fn valid(&mut self) -> Vec<u8> {
        let mut frames = Vec::new();
        for _ in 0..1 + self.random.below(5) {
            match self.random.below(6) {
                0 => frames.push(self.control()),
                _ => self.message(&mut frames),
            }
        }
        if self.chance(3) {
            frames.push(self.close());
        }
        let mut stream = Vec::new();
        for mut frame in frames {
            frame.key = self.key();
            stream.extend(frame.bytes());
        }
        stream
    }

    /// A stream with invalid frames among valid ones.
    fn invalid(&mut self) -> Vec<u8> {
        let mut stream = self.valid();
        if self.chance(2) {
            stream.extend(self.wrong_frame());
            stream.extend(self.valid());
        }
        while self.chance(2) {
            // Headers matter most, and the first one is at the front.
            let end = match self.chance(2) {
                true => stream.len().min(4),
                false => stream.len(),
            };
            let at = self.random.below(end);
            stream[at] ^= 1 << self.random.below(8);
        }
        if self.chance(4) {
            stream.truncate(1 + self.random.below(stream.len()));
        }
        stream
    }

    fn wrong_frame(&mut self) -> Vec<u8> {
        let payload = self.text();
        let mut frame = Frame::text(&payload);
        frame.key = self.key();
        match self.random.below(11) {
            0 => frame.key = self.key().xor(Some([1, 2, 3, 4])),
            1 => frame.first ^= 0x10 << self.random.below(3),
            2 => frame.first = 0x80 | self.random.below(16) as u8,
            3 => frame.first = self.random.below(16) as u8,
            4 => {
                let at = self.random.below(frame.payload.len() + 1);
                frame
                    .payload
                    .insert(at, 0x80 | self.random.next_number() as u8);
            }
            5 => frame.payload.extend_from_slice(&"𝄞".as_bytes()[..3]),
            6 => {
                let length = frame.payload.len() as u64;
                let form = if self.chance(2) { 2 } else { 8 };
                return frame.bytes_with_length(length, form);
            }
            7 => {
                let length = self.random.next_number() >> self.random.below(60);
                return frame.bytes_with_length(length, 8);
            }
            8 => frame.first = 0x80,
            9 => frame.first = 0x89,
            _ => frame.first = 0x01,
        }
        frame.bytes()
    }
}

/// The frame at which the two may differ: the last one that has begun, or the first that is too long.
struct Last {
    first: u8,
    length: u64,
    /// True if any frame of the stream has a longer form.
    has_longer_form: bool,
    payload: Vec<u8>,
}

/// Finds the frames of a stream, and pads it so that the last one is whole. Returns each frame's beginning.
fn pad(stream: &mut Vec<u8>) -> Vec<Last> {
    let mut frames = Vec::new();
    let mut at = 0;
    while at < stream.len() {
        if at + 2 > stream.len() {
            stream.push(0x80);
        }
        let (first, second) = (stream[at], stream[at + 1]);
        let form = match second & 0x7F {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let key = if second & 0x80 != 0 { 4 } else { 0 };
        let header = at + 2 + form + key;
        if stream.len() < header {
            stream.resize(header, 0);
        }
        let length = match form {
            0 => u64::from(second & 0x7F),
            _ => stream[at + 2..at + 2 + form]
                .iter()
                .fold(0, |length, byte| (length << 8) | u64::from(*byte)),
        };
        let shortest = match length {
            0..126 => 0,
            126..65536 => 2,
            _ => 8,
        };
        let mut last = Last {
            first,
            length,
            has_longer_form: form > shortest,
            payload: Vec::new(),
        };
        if length > MAX_MESSAGE as u64 {
            // Neither implementation waits for the rest of it.
            frames.push(last);
            break;
        }
        let end = header + length as usize;
        if stream.len() < end {
            stream.resize(end, 0);
        }
        let (frame, size) = Frame::parse(&stream[at..]).expect("the frame is whole now");
        last.payload = frame.payload;
        frames.push(last);
        at += size;
    }
    frames
}

/// The reason why the two readings differ, if it is a known one.
fn explain(
    ours: &Reading,
    theirs: &Reading,
    error: Option<Violation>,
    frames: &[Last],
) -> Option<Difference> {
    use Standing::{Closed, Refused};
    let same_so_far = ours.messages == theirs.messages && ours.pongs == theirs.pongs;
    let went_on =
        theirs.messages.starts_with(&ours.messages) && theirs.pongs.starts_with(&ours.pongs);
    let has_close = |what: fn(u16, &[u8]) -> bool| {
        frames.iter().any(|frame| {
            let (code, reason) = match &*frame.payload {
                [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
                _ => return false,
            };
            frame.first & 0xF == 0x8 && what(code, reason)
        })
    };
    match (ours.standing, theirs.standing, error) {
        (Refused(1002), _, Some(Violation::LengthNotMinimal)) => (went_on
            && frames.iter().any(|frame| frame.has_longer_form))
        .then_some(Difference::LengthForm),
        // A control frame whose length has a longer form is refused as too long, although it is not.
        (Refused(1002), _, Some(Violation::LongControl)) if went_on => frames
            .iter()
            .any(|frame| frame.first & 0x8 != 0 && frame.has_longer_form)
            .then_some(Difference::LengthForm)
            .or_else(|| too_long_and_wrong(same_so_far, theirs, frames)),
        (Refused(1002), Refused(1009), Some(_)) => too_long_and_wrong(same_so_far, theirs, frames),
        (Closed(Some(1014)), Refused(1002), None) if same_so_far => Some(Difference::CloseCode1014),
        (Refused(1002), Refused(1007), Some(Violation::CloseCode)) if same_so_far => {
            has_close(|_, reason| std::str::from_utf8(reason).is_err())
                .then_some(Difference::CloseCodeAndReason)
        }
        _ => None,
    }
}

fn too_long_and_wrong(same_so_far: bool, theirs: &Reading, frames: &[Last]) -> Option<Difference> {
    let is_too_long = frames
        .last()
        .is_some_and(|frame| frame.length > MAX_MESSAGE as u64);
    (same_so_far && is_too_long && theirs.standing == Standing::Refused(1009))
        .then_some(Difference::TooLongAndWrong)
}

/// Compares the readings of many streams. Returns how often each state and each difference occurred.
fn compare<P: Subject>(
    seed: u64,
    is_client: bool,
    open: impl Fn() -> Endpoint<P>,
) -> (BTreeMap<String, usize>, BTreeMap<Difference, usize>) {
    let role = if is_client {
        Role::Server
    } else {
        Role::Client
    };
    let mut generator = Generator {
        random: Random::new(seed),
        is_client,
    };
    let (mut standings, mut differences) = (BTreeMap::new(), BTreeMap::new());
    for number in 0..6000 {
        let mut stream = match number % 3 {
            0 => generator.valid(),
            _ => generator.invalid(),
        };
        let frames = pad(&mut stream);
        let pieces = [0, 1].map(|_| 1 + generator.random.below(200));
        let mut end = open();
        let ours = read_ours(&mut end, &stream, pieces[0]);
        let theirs = read_theirs(&stream, pieces[1], role);
        *standings.entry(format!("{:?}", ours.standing)).or_insert(0) += 1;
        if ours == theirs {
            continue;
        }
        let violation = match end.failure {
            Some(ringwheel::websocket::WebSocketError::Violation(violation)) => Some(violation),
            _ => None,
        };
        match explain(&ours, &theirs, violation, &frames) {
            Some(difference) => *differences.entry(difference).or_insert(0) += 1,
            None => panic!(
                "stream {number}: {stream:02x?}\nours: {ours:?} ({:?})\ntheirs: {theirs:?}",
                end.failure
            ),
        }
    }
    (standings, differences)
}

/// Asserts that the streams cover every state and every known difference.
fn assert_coverage(
    (standings, differences): (BTreeMap<String, usize>, BTreeMap<Difference, usize>),
) {
    for standing in [
        "Open",
        "Closed(None)",
        "Closed(Some(1000))",
        "Refused(1002)",
        "Refused(1007)",
        "Refused(1009)",
    ] {
        assert!(
            standings.get(standing).is_some_and(|count| *count >= 10),
            "{standing} in {standings:?}"
        );
    }
    assert_eq!(differences.len(), 4, "{differences:?}");
}

#[test]
fn a_clients_streams_are_read_as_tungstenite_reads_them() {
    let protocol = WebSocket::new()
        .max_message(MAX_MESSAGE)
        .control_rate(u16::MAX);
    assert_coverage(compare(1, true, || open_server(&protocol)));
}

#[test]
fn a_servers_streams_are_read_as_tungstenite_reads_them() {
    let client: WebSocketClient = plain_client().max_message(MAX_MESSAGE);
    let server = WebSocket::new();
    assert_coverage(compare(2, false, || connect(&client, &server).0));
}

/// Sends random messages from our end, and returns the bytes and the messages.
fn say<P: Subject>(end: &mut Endpoint<P>, random: &mut Random) -> (Vec<u8>, Vec<Found>) {
    let mut messages = Vec::new();
    for _ in 0..20 {
        let length = match random.below(4) {
            0 => random.below(MAX_MESSAGE + 1),
            _ => random.below(300),
        };
        let message = match random.below(2) {
            0 => Found::text("é".repeat(length / 2)),
            _ => Found::binary(vec![random.next_number() as u8; length]),
        };
        let borrowed: Message<'_> = message.as_message();
        assert!(end.send(borrowed));
        messages.push(message);
    }
    end.farewell(Farewell::Closed);
    (end.take_said(), messages)
}

#[test]
fn tungstenite_reads_our_output() {
    let mut random = Random::new(3);
    for piece in [1, 7, 100, 5000] {
        let (mut client, mut server) = connect(&plain_client(), &WebSocket::new());
        for (role, (stream, messages)) in [
            (Role::Server, say(&mut client, &mut random)),
            (Role::Client, say(&mut server, &mut random)),
        ] {
            let reading = read_theirs(&stream, piece, role);
            assert_eq!(reading.messages, messages);
            assert_eq!(reading.standing, Standing::Closed(Some(1000)));
        }
    }
}

#[test]
fn output_of_tungstenite_is_read() {
    let texts = ["", "hello", &"é中𝄞".repeat(300)];
    for (role, piece) in [(Role::Client, 3), (Role::Server, 50)] {
        let mut theirs = tungstenite(b"", 1, role);
        for text in texts {
            theirs.write(Theirs::text(text)).unwrap();
            theirs.write(Theirs::Ping("p".into())).unwrap();
            theirs
                .write(Theirs::binary(text.as_bytes().to_vec()))
                .unwrap();
        }
        theirs.close(None).unwrap();
        let stream = theirs.get_ref().output.clone();
        let (mut client, mut server) = connect(&plain_client(), &WebSocket::new());
        let reading = match role {
            Role::Client => read_ours(&mut server, &stream, piece),
            Role::Server => read_ours(&mut client, &stream, piece),
        };
        let expected = texts
            .iter()
            .flat_map(|text| [Found::text(*text), Found::binary(text.as_bytes())]);
        assert_eq!(reading.messages, expected.collect::<Vec<_>>());
        assert_eq!(reading.pongs, vec![b"p"; 3]);
        assert_eq!(reading.standing, Standing::Closed(None));
    }
}
