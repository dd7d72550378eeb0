//! Messages that one side sends, fragmented, with pings in between and cut anywhere, are received by the other side.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use ringwheel::websocket::{MessageBuf, WebSocket, WebSocketClient};
use support::websocket::{Endpoint, Found, Frame, RSV1, Subject, connect, plain_client};

/// A configuration with a fixed seed, so that every run tests the same cases.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 256,
        rng_seed: RngSeed::Fixed(0x5EED),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Messages, some of which can be compressed.
fn messages() -> impl Strategy<Value = Vec<Found>> {
    let message = prop_oneof![
        4 => ".{0,200}".prop_map(Found::text),
        2 => vec(any::<u8>(), 0..400).prop_map(Found::binary),
        2 => ("[a-e]{1,8}", 1..600usize).prop_map(|(word, count)| Found::text(word.repeat(count))),
        1 => (any::<[u8; 3]>(), 1..9000usize)
            .prop_map(|(unit, count)| Found::binary(unit.repeat(count))),
    ];
    vec(message, 1..8)
}

/// A plan for taking a stream apart.
#[derive(Clone, Debug)]
struct Shredder {
    /// The positions at which each message, in turn, is cut into fragments.
    fragments: Vec<Vec<Index>>,
    /// A ping or none before each frame, in turn.
    pings: Vec<Option<Vec<u8>>>,
    keys: Vec<[u8; 4]>,
    /// The lengths of the pieces in which the stream arrives.
    pieces: Vec<usize>,
}

fn shredders() -> impl Strategy<Value = Shredder> {
    let ping = prop_oneof![3 => Just(None), 1 => vec(any::<u8>(), 0..126).prop_map(Some)];
    let piece = prop_oneof![3 => 1..5usize, 2 => 5..200usize, 1 => 200..30_000usize];
    (
        vec(vec(any::<Index>(), 0..4), 1..4),
        vec(ping, 1..8),
        vec(any::<[u8; 4]>(), 1..4),
        vec(piece, 1..12),
    )
        .prop_map(|(fragments, pings, keys, pieces)| Shredder {
            fragments,
            pings,
            keys,
            pieces,
        })
}

impl Shredder {
    /// Splits the messages of `frames` into fragments with pings in between; returns the frames, and the pings.
    fn fragment(&self, frames: Vec<Frame>) -> (Vec<Frame>, Vec<Vec<u8>>) {
        let (mut shreds, mut sent_pings) = (Vec::new(), Vec::new());
        let mut cuts = self.fragments.iter().cycle();
        let mut pings = self.pings.iter().cycle();
        for whole in frames {
            let payload = &whole.payload;
            let mut ends: Vec<usize> = cuts
                .by_ref()
                .take(1)
                .flatten()
                .map(|cut| cut.index(payload.len() + 1))
                .collect();
            ends.push(payload.len());
            ends.sort_unstable();
            let mut begin = 0;
            for (index, end) in ends.iter().enumerate() {
                if let Some(Some(ping)) = pings.next() {
                    shreds.push(Frame::ping(ping));
                    sent_pings.push(ping.clone());
                }
                let part = &payload[begin..*end];
                let frame = match index {
                    0 => Frame::new(whole.opcode(), part).reserved(whole.first & RSV1),
                    _ => Frame::continuation(part),
                };
                let is_last = index + 1 == ends.len();
                shreds.push(if is_last { frame } else { frame.fragment() });
                begin = *end;
            }
        }
        (shreds, sent_pings)
    }

    /// The bytes of `frames`, masked if they are a client's.
    fn stream(&self, frames: &[Frame], is_masked: bool) -> Vec<u8> {
        let keys = self.keys.iter().cycle();
        let bytes = frames.iter().zip(keys).map(|(frame, key)| match is_masked {
            true => frame.clone().masked(*key).bytes(),
            false => frame.bytes(),
        });
        bytes.collect::<Vec<_>>().concat()
    }

    fn feed<P: Subject>(&self, end: &mut Endpoint<P>, stream: &[u8]) {
        let mut rest = stream;
        for length in self.pieces.iter().cycle() {
            if rest.is_empty() {
                return;
            }
            let (piece, after) = rest.split_at((*length).min(rest.len()));
            end.receive(piece);
            rest = after;
        }
    }
}

/// The encoder's method by which a message is sent.
#[derive(Clone, Copy, Debug)]
enum Sending {
    Borrowed,
    Owned,
}

fn send<S: Subject>(from: &mut Endpoint<S>, message: &Found, sending: Sending) {
    let is_sent = match sending {
        Sending::Borrowed => from.send(message.as_message()),
        Sending::Owned => from.send_owned(&MessageBuf::from(message.as_message())),
    };
    assert!(is_sent);
}

/// Sends messages from one side, and compares them with those that arrive.
fn assert_delivered<S: Subject, R: Subject>(
    from: &mut Endpoint<S>,
    to: &mut Endpoint<R>,
    messages: &[Found],
    sendings: &[Sending],
    shredder: &Shredder,
    is_masked: bool,
) {
    for (message, sending) in messages.iter().zip(sendings.iter().cycle()) {
        send(from, message, *sending);
    }
    let frames = Frame::parse_all(&from.take_said());
    assert_eq!(frames.len(), messages.len(), "each message is one frame");
    assert!(frames.iter().all(|frame| frame.key.is_some() == is_masked));
    let (frames, pings) = shredder.fragment(frames);
    shredder.feed(to, &shredder.stream(&frames, is_masked));
    assert_eq!(to.failure, None);
    assert_eq!(to.take_found(), messages);
    assert!(to.input.is_empty());
    let pongs = Frame::parse_all(&to.take_said());
    let pongs: Vec<Vec<u8>> = pongs.into_iter().map(|pong| pong.payload).collect();
    assert_eq!(pongs, pings);
}

fn sendings() -> impl Strategy<Value = Vec<Sending>> {
    let sending = prop_oneof![Just(Sending::Borrowed), Just(Sending::Owned)];
    vec(sending, 1..4)
}

/// Sends messages in both directions several times, so that the compressors' windows are used.
fn assert_conversation(
    (client, server): (WebSocketClient, WebSocket),
    rounds: &[(Vec<Found>, Vec<Found>)],
    sendings: &[Sending],
    shredder: &Shredder,
) {
    let (mut client, mut server) = connect(&client, &server);
    for (questions, answers) in rounds {
        assert_delivered(
            &mut client,
            &mut server,
            questions,
            sendings,
            shredder,
            true,
        );
        assert_delivered(&mut server, &mut client, answers, sendings, shredder, false);
    }
}

fn rounds() -> impl Strategy<Value = Vec<(Vec<Found>, Vec<Found>)>> {
    vec((messages(), messages()), 1..3)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn messages_arrive_however_they_are_cut(rounds in rounds(), sendings in sendings(), shredder in shredders()) {
        assert_conversation((plain_client(), WebSocket::new()), &rounds, &sendings, &shredder);
    }

    /// Any bytes behind the handshake are answered or refused, and never cause a panic.
    #[test]
    fn garbage_never_panics(garbage in garbage(), shredder in shredders()) {
        let (mut client, mut server) = connect(&plain_client(), &WebSocket::new());
        shredder.feed(&mut client, &garbage);
        shredder.feed(&mut server, &garbage);
        for said in [client.take_said(), server.take_said()] {
            Frame::parse_all(&said);
        }
    }
}

/// Random bytes, and bytes with which frames begin.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let telling =
        prop::sample::select(&b"\x00\x01\x02\x7E\x7F\x80\x81\x82\x84\x88\x89\x8A\xFE\xFF\xC1"[..]);
    prop_oneof![vec(any::<u8>(), 0..400), vec(telling, 0..400)]
}

#[cfg(feature = "deflate")]
mod deflate {
    use ringwheel::websocket::Deflate;

    use super::*;

    /// The settings of one side: context takeover in both directions, and the largest windows.
    #[derive(Clone, Copy, Debug)]
    struct Settings {
        server_takeover: bool,
        client_takeover: bool,
        server_bits: u8,
        client_bits: u8,
        min_size: u32,
        level: u8,
    }

    impl Settings {
        fn deflate(self) -> Deflate {
            Deflate::new()
                .server_context_takeover(self.server_takeover)
                .client_context_takeover(self.client_takeover)
                .server_max_window_bits(self.server_bits)
                .client_max_window_bits(self.client_bits)
                .min_size(self.min_size)
                .level(self.level)
        }
    }

    fn settings() -> impl Strategy<Value = Settings> {
        let sizes = prop::sample::select(&[0, 40, 256][..]);
        (
            any::<bool>(),
            any::<bool>(),
            9..=15u8,
            9..=15u8,
            sizes,
            0..=9u8,
        )
            .prop_map(
                |(server_takeover, client_takeover, server_bits, client_bits, min_size, level)| {
                    Settings {
                        server_takeover,
                        client_takeover,
                        server_bits,
                        client_bits,
                        min_size,
                        level,
                    }
                },
            )
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn compressed_messages_arrive_however_they_are_cut(
            client in settings(),
            server in settings(),
            rounds in rounds(),
            sendings in sendings(),
            shredder in shredders(),
        ) {
            let sides = (
                plain_client().deflate(client.deflate()),
                WebSocket::new().deflate(server.deflate()),
            );
            assert_conversation(sides, &rounds, &sendings, &shredder);
        }

        /// One side does not compress, and the other would.
        #[test]
        fn a_side_without_compression_is_understood(settings in settings(), rounds in rounds(), sendings in sendings(), shredder in shredders()) {
            let plain_server = (plain_client().deflate(settings.deflate()), WebSocket::new());
            assert_conversation(plain_server, &rounds, &sendings, &shredder);
            let plain_client = (plain_client(), WebSocket::new().deflate(settings.deflate()));
            assert_conversation(plain_client, &rounds, &sendings, &shredder);
        }
    }

    /// All combinations of takeover on both sides, and their effect on the wire: a repeated message is shorter exactly
    /// if its sender may refer to the first.
    #[test]
    fn takeover_is_used_where_both_sides_want_it() {
        let message = Found::text("a message with nothing twice in it: 0123456789 ABCDEFGHIJ");
        for bits in 0..16 {
            let settings = |server_takeover, client_takeover| Settings {
                server_takeover,
                client_takeover,
                server_bits: 15,
                client_bits: 15,
                min_size: 0,
                level: 6,
            };
            let of_client = settings(bits & 1 != 0, bits & 2 != 0);
            let of_server = settings(bits & 4 != 0, bits & 8 != 0);
            let (mut client, mut server) = connect(
                &plain_client().deflate(of_client.deflate()),
                &WebSocket::new().deflate(of_server.deflate()),
            );
            let mut client_lengths = Vec::new();
            let mut server_lengths = Vec::new();
            for _ in 0..3 {
                send(&mut client, &message, Sending::Borrowed);
                send(&mut server, &message, Sending::Borrowed);
                let (sent, answered) = (client.take_said(), server.take_said());
                client_lengths.push(sent.len());
                server_lengths.push(answered.len());
                server.receive(&sent);
                client.receive(&answered);
                assert_eq!(server.take_found(), std::slice::from_ref(&message));
                assert_eq!(client.take_found(), std::slice::from_ref(&message));
            }
            let is_shorter = |lengths: &[usize]| lengths[1] < lengths[0] && lengths[2] < lengths[0];
            let both_wish_client = of_client.client_takeover && of_server.client_takeover;
            let both_wish_server = of_client.server_takeover && of_server.server_takeover;
            assert_eq!(
                is_shorter(&client_lengths),
                both_wish_client,
                "{of_client:?} {of_server:?} {client_lengths:?}"
            );
            assert_eq!(
                is_shorter(&server_lengths),
                both_wish_server,
                "{of_client:?} {of_server:?} {server_lengths:?}"
            );
        }
    }
}
