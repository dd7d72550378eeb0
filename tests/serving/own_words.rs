//! The words that a protocol says by itself: its greeting, its answers and its last words arrive whole, or the peer sees a reset.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::sync::mpsc::channel;

use bytes::Bytes;
use ringwheel::protocol::{
    Decode, Encode, Farewell, Output, PackError, Parting, Protocol, UnpackContext, Unpacked,
};
use ringwheel::{Limits, Overflow, Refusal, SendStatus};
use support::{
    Client, Event, Recorder, TestServer, deliberate_panic, eventually, lending, listen, take,
};

const LIMIT: usize = 4096;

/// A message is one byte. The protocol answers `p` with a pong by itself, and panics within its answer to `!`.
#[derive(Clone, Copy, Debug, Default)]
struct Talk {
    greeting: usize,
    farewell: usize,
    pong: usize,
}

fn put(output: &mut Output, byte: u8, count: usize) {
    for piece in vec![byte; count].chunks(1000) {
        output.put_slice(piece);
    }
}

impl Protocol for Talk {
    type Decoder = Talk;
    type Encoder = Talk;

    fn open(&self) -> (Talk, Talk) {
        (*self, *self)
    }
}

impl Decode for Talk {
    type Encoder = Talk;
    type Message<'a> = &'a [u8];
    type Error = Infallible;

    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        context: &mut UnpackContext<'_, Talk>,
    ) -> Result<Unpacked<&'a [u8]>, Infallible> {
        let consumed = 1;
        match input[0] {
            b'p' => put(context.output, b'P', self.pong),
            b'P' => context.output.put_slice(&vec![b'P'; self.pong]),
            b'!' => {
                put(context.output, b'!', 10);
                deliberate_panic()
            }
            _ => {
                let message = &input[..1];
                return Ok(Unpacked::Message { message, consumed });
            }
        }
        Ok(Unpacked::Skip { consumed })
    }
}

impl Encode for Talk {
    type Item<'a> = &'a [u8];
    type Owned = Bytes;

    fn borrow(owned: &Bytes) -> &[u8] {
        owned
    }

    fn owned_size(owned: &Bytes) -> usize {
        owned.len()
    }

    fn pack(&mut self, item: &[u8], output: &mut Output) -> Result<(), PackError> {
        output.put_slice(item);
        Ok(())
    }

    fn greet(&mut self, output: &mut Output) {
        put(output, b'G', self.greeting);
    }

    fn farewell(&mut self, _why: Farewell, output: &mut Output) -> Parting {
        put(output, b'F', self.farewell);
        Parting::AtOnce
    }
}

fn limits() -> Limits {
    Limits::default()
        .low_water(1_000)
        .high_water(LIMIT)
        .output(LIMIT)
        .overflow(Overflow::Refuse)
}

/// The handler met the connection although its greeting had a hole, and what it sent came behind the hole.
#[test]
fn a_greeting_that_does_not_fit_ends_the_connection_before_it_opens() {
    let (recorder, events) = Recorder::<Talk>::new();
    let recorder = recorder.on_open(|conn| _ = conn.send(b"hello"));
    let talk = Talk {
        greeting: LIMIT + 2000,
        ..Talk::default()
    };
    let server = TestServer::start(listen(talk).limits(limits()), recorder);
    // The reset may have come before the connection counts as made.
    match Client::try_connect(server.addr()) {
        Ok(mut client) => client.expect_reset(),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    eventually("the connection is gone", || {
        let stats = server.handle().stats();
        (stats.accepted, stats.connections) == (1, 0)
    });
    server.finish(&events);
    assert!(events.so_far().is_empty());
}

/// Last words that did not fit were left out, and the peer saw an orderly end.
#[test]
fn last_words_that_do_not_fit_end_in_a_reset() {
    let (recorder, events) = Recorder::<Talk>::new();
    let recorder = recorder.on_message(|conn, _| conn.close());
    let talk = Talk {
        farewell: 2 * LIMIT,
        ..Talk::default()
    };
    let server = TestServer::start(listen(talk).limits(limits()), recorder);
    let mut client = server.connect();
    client.send(b"x");
    client.expect_reset();
    assert_eq!(events.close_reason(), "OutputLimit");
    server.finish(&events);
}

/// Pongs had used up the room that was meant for the last words, which then were left out.
#[test]
fn last_words_have_room_behind_messages_and_answers() {
    let (recorder, events) = Recorder::<Talk>::new();
    let (filled, is_filled) = channel();
    let (recorder, handles) = lending(recorder.on_message(move |conn, _| {
        // Until the socket takes nothing more, and then to the last byte of the limit.
        while conn.write_buffer_len() < LIMIT {
            let room = LIMIT - conn.write_buffer_len();
            assert_eq!(conn.send(&vec![b'.'; room.min(1000)]), SendStatus::Queued);
            conn.flush();
        }
        filled.send(()).unwrap();
    }));
    let talk = Talk {
        pong: 512,
        farewell: 500,
        ..Talk::default()
    };
    let listen = listen(talk).limits(limits()).send_buffer_size(16 * 1024);
    let server = TestServer::start(listen, recorder);
    let mut client = Client::connect_narrow(server.addr());
    // The pong takes all the room that the protocol has beyond the limit.
    client.send(b"xp");
    take(&is_filled);
    take(&handles).close().unwrap();
    let received = client.receive_rest();
    let (front, last) = received.split_at(received.len() - 500);
    assert!(last.iter().all(|byte| *byte == b'F'));
    assert!(front.ends_with(&[b'P'; 512]));
    client.finish();
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

/// A large answer of the protocol went to the socket although our end of the stream was sent, and failed the connection.
#[test]
fn an_answer_behind_our_end_of_the_stream_is_dropped() {
    let (recorder, events) = Recorder::<Talk>::new();
    let recorder = recorder.on_message(|conn, message| match message {
        b"s" => conn.shutdown_write(),
        _ => conn.close(),
    });
    let talk = Talk {
        pong: 100_000,
        ..Talk::default()
    };
    let server = TestServer::start(listen(talk).limits(limits()), recorder);
    let mut client = server.connect();
    client.send(b"s");
    client.expect_eof();
    client.send(b"PPpP");
    client.send(b"x");
    client.finish();
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

/// The first half of an answer within which the protocol had panicked was sent in front of the last words.
#[test]
fn half_an_answer_is_not_sent_when_the_protocol_panics() {
    let (recorder, events) = Recorder::<Talk>::new();
    let recorder = recorder.on_message(|conn, message| _ = conn.send(message));
    let talk = Talk {
        pong: 3,
        farewell: 2,
        ..Talk::default()
    };
    let server = TestServer::start(listen(talk).limits(limits()), recorder);
    let mut client = server.connect();
    client.send(b"ap!");
    assert_eq!(client.receive_rest(), b"aPPPFF");
    client.finish();
    assert_eq!(events.close_reason(), "Panic");
    server.finish(&events);
}

/// The application was not told when there was room again for a message that had been refused below the high-water mark.
#[test]
fn a_refused_message_is_followed_by_one_call_of_on_drained() {
    for overflow in [Overflow::Refuse, Overflow::DropMessage] {
        let (recorder, events) = Recorder::<Talk>::new();
        let recorder = recorder
            .on_message(|conn, message| {
                if message == b"f" {
                    // The socket takes nothing more, and some is pending below the high-water mark.
                    while conn.write_buffer_len() == 0 {
                        assert_eq!(conn.send(&[b'.'; 1000]), SendStatus::Queued);
                        conn.flush();
                    }
                }
                let refusal = conn.send(&[b'r'; LIMIT]);
                assert!(matches!(
                    refusal,
                    SendStatus::Refused(Refusal::OutputLimit | Refusal::Dropped)
                ));
            })
            .on_drained(|conn| {
                assert_eq!(conn.write_buffer_len(), 0);
                assert_eq!(conn.send(&[b'r'; LIMIT]), SendStatus::Queued);
                // It would not even fit into an empty output, so nothing can come of waiting.
                assert!(!conn.send(&[b'r'; 2 * LIMIT]).is_queued());
                conn.close();
            });
        let listen = listen(Talk::default())
            .limits(limits().overflow(overflow))
            .send_buffer_size(16 * 1024);
        let server = TestServer::start(listen, recorder);
        let mut client = Client::connect_narrow(server.addr());
        client.send(b"f");
        assert!(client.receive_rest().ends_with(&[b'r'; LIMIT]));
        client.finish();
        assert_eq!(events.close_reason(), "Local");
        server.finish(&events);
        assert_eq!(events.count(|event| matches!(event, Event::Drained(..))), 1);
    }
}
