//! A stream yields the same results however it is cut, each result as soon as it is complete.

use ringwheel::websocket::{WebSocket, WebSocketClient};
use support::websocket::{
    Endpoint, Found, Frame, KEY, Subject, connect, open_server, plain_client,
};

/// A stream and its expected results.
struct Script {
    frames: Vec<Frame>,
    stream: Vec<u8>,
    /// The position at which each frame ends.
    ends: Vec<usize>,
    /// Each expected result, with the number of bytes that complete it.
    found: Vec<(usize, Found)>,
    /// Each ping's payload, with the number of bytes that complete the ping.
    pings: Vec<(usize, Vec<u8>)>,
}

impl Script {
    /// A script of `frames`, all masked if they are a client's.
    fn new(frames: Vec<Frame>, from_client: bool) -> Self {
        let mut script = Script {
            frames: Vec::new(),
            stream: Vec::new(),
            ends: Vec::new(),
            found: Vec::new(),
            pings: Vec::new(),
        };
        let mut open: Option<Frame> = None;
        for mut frame in frames {
            if from_client {
                frame.key = Some(KEY);
            }
            script.stream.extend(frame.bytes());
            let end = script.stream.len();
            script.ends.push(end);
            match frame.opcode() {
                0x0 => open
                    .as_mut()
                    .unwrap()
                    .payload
                    .extend_from_slice(&frame.payload),
                0x1 | 0x2 => open = Some(frame.clone()),
                0x8 => script.found.push((end, Found::End)),
                0x9 => script.pings.push((end, frame.payload.clone())),
                _ => {}
            }
            if frame.opcode() < 0x8 && frame.is_final() {
                let whole = open.take().unwrap();
                let found = match whole.opcode() {
                    0x1 => Found::text(String::from_utf8(whole.payload).unwrap()),
                    _ => Found::binary(whole.payload),
                };
                script.found.push((end, found));
            }
            script.frames.push(frame);
        }
        script
    }

    /// All kinds of frames.
    fn of_all_kinds() -> Vec<Frame> {
        vec![
            Frame::text("hello"),
            Frame::text(""),
            Frame::ping("are you there?"),
            Frame::binary([0xFF; 125]),
            Frame::text("é中𝄞".repeat(15)),
            Frame::pong(""),
            Frame::text("é中𝄞".as_bytes().split_at(1).0).fragment(),
            Frame::ping(""),
            Frame::continuation("").fragment(),
            Frame::continuation("é中𝄞".as_bytes().split_at(1).1),
            Frame::binary([1; 126]).fragment(),
            Frame::pong("unsolicited"),
            Frame::continuation([2; 200]).fragment(),
            Frame::continuation([3; 3]),
            Frame::binary(""),
            Frame::text("").fragment(),
            Frame::continuation(""),
            Frame::ping([0x55; 125]),
            Frame::close(1000, "bye"),
        ]
    }

    /// Frames around the length above which a frame is collected instead of staying in the input.
    fn of_long_frames() -> Vec<Frame> {
        vec![
            Frame::binary([1; 16 * 1024 - 8]),
            Frame::text("x".repeat(16 * 1024 - 4)),
            Frame::ping("p"),
            Frame::text("é".repeat(20_000)),
            Frame::binary(vec![2; 70_000]).fragment(),
            Frame::ping("q"),
            Frame::continuation(vec![3; 66_000]),
            Frame::text("short"),
            Frame::close_without_code(),
        ]
    }

    /// Feeds `pieces`. Asserts after each piece that exactly the complete results were found and the complete pings
    /// answered, and that the decoder asks for no more bytes than complete the current frame.
    fn assert_read<'a, P: Subject>(
        &self,
        end: &mut Endpoint<P>,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) {
        let (mut arrived, mut found, mut pings) = (0, 0, 0);
        let mut said = Vec::new();
        for piece in pieces {
            end.receive(piece);
            arrived += piece.len();
            assert_eq!(end.failure, None, "after {arrived} bytes");
            for seen in take_found_but_end(end) {
                let (complete, expected) = &self.found[found];
                assert!(*complete <= arrived && seen == *expected, "at {arrived}");
                found += 1;
            }
            assert!(
                self.found.get(found).is_none_or(|(at, _)| *at > arrived),
                "a result is late after {arrived} bytes"
            );
            if let Some(frame_end) = self.ends.iter().find(|end| **end > arrived) {
                assert!(
                    arrived + end.missing <= *frame_end,
                    "the decoder waits for {} bytes after {arrived}, but the frame ends at {frame_end}",
                    end.missing
                );
            }
            said.extend(end.take_said());
            let answers = Frame::parse_all(&said);
            let pongs = answers.iter().filter(|frame| frame.opcode() == 0xA);
            let pongs: Vec<_> = pongs.map(|frame| &frame.payload).collect();
            while self.pings.get(pings).is_some_and(|(at, _)| *at <= arrived) {
                pings += 1;
            }
            let answered: Vec<_> = self.pings[..pings].iter().map(|(_, ping)| ping).collect();
            assert_eq!(pongs, answered, "after {arrived} bytes");
        }
        assert_eq!(arrived, self.stream.len());
        assert_eq!(found, self.found.len());
        assert!(end.input.is_empty());
        let last = Frame::parse_all(&said).pop().expect("a close frame");
        let close = self.frames.last().expect("a close frame");
        assert_eq!(
            last.close_words().map(|(code, _)| code),
            close.close_words().map(|(code, _)| code)
        );
    }
}

/// Takes the results found, but leaves an end in place, so that nothing is unpacked after it.
fn take_found_but_end<P: Subject>(end: &mut Endpoint<P>) -> Vec<Found> {
    let found = end.take_found();
    if found.last() == Some(&Found::End) {
        end.found.push(Found::End);
    }
    found
}

fn server() -> Endpoint<WebSocket> {
    open_server(&WebSocket::new())
}

fn client() -> Endpoint<WebSocketClient> {
    connect(&plain_client(), &WebSocket::new()).0
}

/// Tests all cuts into two pieces, some cuts into three, and single bytes.
fn assert_every_cut<P: Subject>(script: &Script, open: impl Fn() -> Endpoint<P>) {
    let stream = &*script.stream;
    for cut in 1..stream.len() {
        script.assert_read(&mut open(), [&stream[..cut], &stream[cut..]]);
    }
    for first in (1..stream.len()).step_by(7) {
        for second in (first + 1..stream.len()).step_by(31) {
            let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
            script.assert_read(&mut open(), pieces);
        }
    }
    script.assert_read(&mut open(), [stream]);
    for size in 1..20 {
        script.assert_read(&mut open(), stream.chunks(size));
    }
}

#[test]
fn a_servers_input_at_every_cut() {
    assert_every_cut(&Script::new(Script::of_all_kinds(), true), server);
}

#[test]
fn a_clients_input_at_every_cut() {
    assert_every_cut(&Script::new(Script::of_all_kinds(), false), client);
}

/// Tests cuts around the ends of frames and headers, and around the length at which collecting begins.
fn assert_critical_cuts<P: Subject>(script: &Script, open: impl Fn() -> Endpoint<P>) {
    let stream = &*script.stream;
    let mut telling: Vec<usize> = vec![];
    let mut begin = 0;
    for end in &script.ends {
        telling.extend(begin + 1..begin + 18);
        telling.extend((begin + 16 * 1024 - 10..begin + 16 * 1024 + 10).step_by(3));
        telling.extend(end.saturating_sub(5)..*end);
        begin = *end;
    }
    telling.retain(|cut| (1..stream.len()).contains(cut));
    for cut in telling {
        script.assert_read(&mut open(), [&stream[..cut], &stream[cut..]]);
    }
    for size in [997, 4096, 16 * 1024, 32 * 1024] {
        script.assert_read(&mut open(), stream.chunks(size));
    }
}

#[test]
fn long_frames_at_critical_cuts() {
    assert_critical_cuts(&Script::new(Script::of_long_frames(), true), server);
    assert_critical_cuts(&Script::new(Script::of_long_frames(), false), client);
}

/// A frame that arrives slowly costs time in proportion to its length: if each byte cost the whole, this would not end.
#[test]
fn a_mebibyte_can_arrive_byte_by_byte() {
    const LENGTH: usize = 1024 * 1024;
    for frame in [
        Frame::text("é".repeat(LENGTH / 2)),
        Frame::binary(vec![1; LENGTH]),
    ] {
        let mut server = server();
        for byte in frame.masked(KEY).bytes() {
            server.receive(&[byte]);
        }
        assert_eq!(server.failure, None);
        assert_eq!(server.found.len(), 1);
        assert_eq!(server.found[0].as_message().len(), LENGTH);
    }
}
