//! Limits and flow control over real sockets: floods, slow peers, and peers that have gone.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::websocket::{WebSocket, WebSocketError};
use ringwheel::{ConnHandle, Limits, Overflow, SendStatus};
use socket2::SockRef;
use support::websocket::{ANSWER, Found, Frame, Peer, REQUEST, from_client};
use support::{Client, DEADLINE, TestServer, eventually, listen};

use crate::probe::{Event, Probe, fill};

/// A million pings would work too, but take longer.
const FLOOD: u32 = 50_000;

#[test]
fn a_flood_of_pings_is_too_many_control_frames() {
    let (probe, reports) = Probe::echo();
    let server = TestServer::start(listen(WebSocket::new()), probe);
    let mut peer = Peer::open(&server);
    let flood = from_client(&vec![Frame::ping(""); FLOOD as usize]);
    let _ = peer.client.try_send(&flood);
    let mut pongs = 0;
    let close = loop {
        match peer.next_frame() {
            frame if frame.opcode() == 0xA => pongs += 1,
            frame => break frame,
        }
    };
    let error = WebSocketError::TooManyControlFrames;
    assert_eq!(close, Frame::close(1008, error.to_string()));
    assert!((1000..FLOOD).contains(&pongs), "{pongs}");
    peer.expect_end();
    drop(peer);
    assert_eq!(reports.close().reason, "Protocol(TooManyControlFrames)");
    reports.finish(server);
}

/// If the rate allows so many, a peer that does not read the pongs is not read either, and the high-water mark limits
/// its pending output.
#[test]
fn a_flood_of_pings_without_reading_is_held_back() {
    const LOW_WATER: usize = 4 * 1024;
    const HIGH_WATER: usize = 16 * 1024;
    const PAYLOAD: usize = 125;
    let (probe, reports) = Probe::echo();
    let protocol = WebSocket::new().control_rate(u16::MAX);
    let listen = listen(protocol)
        .limits(
            Limits::default()
                .low_water(LOW_WATER)
                .high_water(HIGH_WATER),
        )
        .send_buffer_size(16 * 1024)
        .receive_buffer_size(64 * 1024);
    let server = TestServer::start(listen, probe);
    let mut peer = Peer::open_over(Client::connect_narrow(server.addr()));
    let ping = |number: u32| Frame::ping([&number.to_be_bytes()[..], &[0; PAYLOAD - 4]].concat());
    let flood: Vec<Frame> = (0..FLOOD).map(ping).collect();
    let flood = from_client(&flood);
    let mut writer = peer.client.second_half();
    let writing = thread::spawn(move || writer.send(&flood));

    let largest = Arc::new(AtomicUsize::new(0));
    let look = || {
        let largest = largest.clone();
        let (told, asked) = channel();
        let told = Mutex::new(told);
        let visit = server
            .handle()
            .connections_of::<Probe>()
            .unwrap()
            .visit(move |conn, _| {
                largest.fetch_max(conn.write_buffer_len(), Ordering::Relaxed);
                let _ = told.lock().unwrap().send(conn.write_buffer_len());
            });
        visit.unwrap();
        asked.recv_timeout(DEADLINE).unwrap()
    };
    eventually("the kernel takes no more", || look() > LOW_WATER);
    for _ in 0..100 {
        look();
    }
    assert!(
        !writing.is_finished(),
        "the server stops reading from a peer that does not read"
    );

    // The peer reads at last, with a larger window, because the kernel stalls on such a small one.
    let socket = SockRef::from(peer.client.stream());
    socket.set_recv_buffer_size(256 * 1024).expect("a socket");
    for number in 0..FLOOD {
        let pong = peer.next_frame();
        assert_eq!(pong.first, 0x8A);
        assert_eq!(pong.payload[..4], number.to_be_bytes());
        if number % 5000 == 0 {
            look();
        }
    }
    writing.join().unwrap();
    // The pong that exceeds the mark is still sent.
    let most = HIGH_WATER + 2 + PAYLOAD;
    let largest = largest.load(Ordering::Relaxed);
    assert!((LOW_WATER + 1..=most).contains(&largest), "{largest}");
    reports.wait_for(&Event::Drained);
    peer.check_echo();
    reports.finish(server);
}

#[test]
fn the_high_water_mark_is_reported_when_exceeded_and_when_drained() {
    const PART: usize = 10_000;
    let (counts, sent) = channel();
    let (probe, reports) = Probe::new();
    let probe = probe
        .on_message(move |conn, _| {
            let mut count = 0;
            loop {
                count += 1;
                match conn.send_binary(&[7; PART]) {
                    SendStatus::Queued => {}
                    SendStatus::AboveHighWater => break,
                    refused => panic!("{refused:?}"),
                }
            }
            counts.send(count).unwrap();
        })
        .on_drained(|conn| {
            conn.send_text("drained");
        });
    let listen = listen(WebSocket::new())
        .limits(Limits::default().low_water(16 * 1024).high_water(64 * 1024))
        .send_buffer_size(32 * 1024);
    let server = TestServer::start(listen, probe);
    let mut peer = Peer::open_over(Client::connect_narrow(server.addr()));
    for _ in 0..3 {
        peer.send(Frame::text("go"));
        let count = sent.recv_timeout(DEADLINE).unwrap();
        for _ in 0..count {
            peer.expect(Frame::binary([7; PART]));
        }
        peer.expect(Frame::text("drained"));
        reports.wait_for(&Event::Drained);
    }
    reports.finish(server);
}

/// A message that is held back above the high-water mark is delivered once the peer has read.
#[test]
fn a_slow_reader_is_answered_once_it_reads() {
    let (probe, reports) = Probe::echo();
    let listen = listen(WebSocket::new())
        .limits(Limits::default().low_water(4 * 1024).high_water(16 * 1024))
        .send_buffer_size(16 * 1024);
    let server = TestServer::start(listen, probe);
    let mut peer = Peer::open_over(Client::connect_narrow(server.addr()));
    let questions: Vec<Frame> = (0..2000)
        .map(|number| Frame::text(format!("{number}: ").repeat(100)))
        .collect();
    let mut writer = peer.client.second_half();
    let stream = from_client(&questions);
    let writing = thread::spawn(move || writer.send(&stream));
    for question in questions {
        peer.expect(question);
    }
    writing.join().unwrap();
    reports.finish(server);
}

#[test]
fn peers_are_pinged_and_those_that_answer_stay() {
    let (probe, reports) = Probe::echo();
    let protocol = WebSocket::new()
        .ping_every(Duration::from_millis(10))
        .pong_timeout(DEADLINE);
    let server = TestServer::start(listen(protocol), probe);
    let mut peer = Peer::open(&server);
    for _ in 0..5 {
        let ping = peer.next_frame();
        assert_eq!(ping.first, 0x89);
        peer.send(Frame::pong(ping.payload));
    }
    drop(peer);
    assert!(reports.close().round_trip_time.is_some());
    reports.finish(server);
}

#[test]
fn peers_that_do_not_answer_pings_are_closed() {
    let (probe, reports) = Probe::echo();
    let protocol = WebSocket::new()
        .ping_every(Duration::from_millis(10))
        .pong_timeout(Duration::from_millis(100));
    let (server, mut peer) = Peer::open_early(listen(protocol), probe, b"");
    // The peer keeps its connection open, but sends nothing.
    let silent_since = Instant::now();
    let close = loop {
        assert!(
            silent_since.elapsed() < DEADLINE,
            "the connection is never closed"
        );
        match peer.next_frame() {
            frame if frame.opcode() == 0x9 => {}
            frame => break frame,
        }
    };
    let error = WebSocketError::PongTimeout;
    assert_eq!(close, Frame::close(1008, error.to_string()));
    peer.expect_end();
    drop(peer);
    assert_eq!(reports.close().reason, "Protocol(PongTimeout)");
    reports.finish(server);
}

/// The awaited pong may be among the input that the paused handler has not read.
#[test]
fn a_handler_that_pauses_does_not_lose_its_peer() {
    const PINGS: u32 = 30;
    let (probe, reports) = Probe::new();
    let (pause, paused) = channel();
    let probe = probe.on_message(move |conn, message| match message.as_text() {
        Some("pause") => {
            conn.pause_reading();
            pause.send(conn.handle()).unwrap();
        }
        _ => _ = conn.send(message),
    });
    let every = Duration::from_millis(10);
    let protocol = WebSocket::new()
        .ping_every(every)
        .pong_timeout(every * PINGS / 2);
    let words = [Frame::text("pause"), Frame::pong(""), Frame::text("behind")];
    let (server, mut peer) = Peer::open_early(listen(protocol), probe, &from_client(&words));
    // A ping is only sent to a peer that is not considered dead.
    for _ in 0..PINGS {
        assert_eq!(peer.next_frame().opcode(), 0x9);
    }
    let handle = paused.recv_timeout(DEADLINE).unwrap();
    handle.run(|conn| conn.resume_reading()).unwrap();
    let echo = loop {
        match peer.next_frame() {
            frame if frame.opcode() == 0x9 => {}
            frame => break frame,
        }
    };
    assert_eq!(echo, Frame::text("behind"));
    drop(peer);
    reports.finish(server);
}

/// True if the server has not begun to close the connection.
fn is_open(handle: &ConnHandle<WebSocket>) -> bool {
    let (told, asked) = channel();
    let asking = handle.run(move |conn| told.send(conn.is_open()).unwrap());
    asking.is_ok() && asked.recv_timeout(DEADLINE) == Ok(true)
}

/// Limits far above the kernel's buffers.
fn large_output() -> Limits {
    Limits::default()
        .output(256 * 1024)
        .low_water(4 * 1024)
        .high_water(64 * 1024)
        .overflow(Overflow::DropMessage)
}

/// A peer was closed for a missing pong although the ping was still behind output that the peer was slow to read.
#[test]
fn a_slow_reader_is_not_overdue_before_it_can_have_seen_the_ping() {
    let (probe, reports) = Probe::new();
    let (opened, has_opened) = channel();
    let probe = probe.on_open(move |conn| {
        let count = fill(conn);
        opened.send((conn.handle(), count)).unwrap();
    });
    let every = Duration::from_millis(10);
    let protocol = WebSocket::new().ping_every(every).pong_timeout(2 * every);
    let listen = listen(protocol)
        .limits(large_output())
        .send_buffer_size(16 * 1024);
    let (server, client) = TestServer::start_late(listen, probe, REQUEST);
    let (handle, count) = has_opened.recv_timeout(DEADLINE).unwrap();
    server.let_pass(10 * every);
    assert!(is_open(&handle));
    let mut peer = Peer::around(client);
    peer.expect_bytes(ANSWER);
    (0..count).for_each(|_| assert_eq!(peer.next_frame().opcode(), 0x2));
    assert_eq!(peer.next_frame().opcode(), 0x9);
    reports.finish(server);
}

/// A peer was evicted as idle although it had sent a message: the output was above the high-water mark, so it was not
/// read.
#[test]
fn a_slow_reader_that_has_sent_a_message_is_not_idle() {
    let (probe, reports) = Probe::new();
    let (opened, has_opened) = channel();
    let probe = probe.on_open(move |conn| {
        let count = fill(conn);
        opened.send((conn.handle(), count)).unwrap();
    });
    let idle = Duration::from_millis(50);
    let listen = listen(WebSocket::new())
        .idle_timeout(idle)
        .limits(large_output())
        .send_buffer_size(16 * 1024);
    let words = [REQUEST, &from_client(&[Frame::text("I am here")])].concat();
    let (server, client) = TestServer::start_late(listen, probe, &words);
    let (handle, count) = has_opened.recv_timeout(DEADLINE).unwrap();
    server.let_pass(4 * idle);
    assert!(is_open(&handle));
    let mut peer = Peer::around(client);
    peer.expect_bytes(ANSWER);
    (0..count).for_each(|_| assert_eq!(peer.next_frame().opcode(), 0x2));
    assert_eq!(reports.message(), Found::text("I am here"));
    reports.finish(server);
}

/// An automatic ping that did not fit ended the connection, although the policy is to drop messages that do not fit.
#[test]
fn a_ping_has_room_in_an_output_that_messages_keep_full() {
    const LIMIT: usize = 64 * 1024;
    let (probe, reports) = Probe::new();
    let (opened, has_opened) = channel();
    let refills = Arc::new(AtomicBool::new(true));
    let is_refilled = refills.clone();
    let probe = probe
        .on_open(move |conn| {
            fill(conn);
            opened.send(conn.handle()).unwrap();
        })
        .on_drained(move |conn| {
            if is_refilled.load(Ordering::Relaxed) {
                fill(conn);
            }
        });
    let every = Duration::from_millis(10);
    // The handler refills the output whenever the kernel takes some.
    let limits = Limits::default()
        .output(LIMIT)
        .low_water(LIMIT - 3)
        .high_water(LIMIT - 2)
        .overflow(Overflow::DropMessage);
    let listen = listen(WebSocket::new().ping_every(every))
        .limits(limits)
        .send_buffer_size(16 * 1024);
    let (server, client) = TestServer::start_late(listen, probe, REQUEST);
    let handle = has_opened.recv_timeout(DEADLINE).unwrap();
    server.let_pass(10 * every);
    assert!(is_open(&handle));
    refills.store(false, Ordering::Relaxed);
    let mut peer = Peer::around(client);
    peer.expect_bytes(ANSWER);
    let ping = loop {
        match peer.next_frame() {
            frame if frame.opcode() == 0x2 => {}
            frame => break frame,
        }
    };
    assert_eq!(ping.opcode(), 0x9);
    reports.finish(server);
}

#[test]
fn a_handler_measures_the_round_trip() {
    let (probe, reports) = Probe::new();
    let probe = probe.on_message(|conn, message| match message.as_text() {
        Some("ping") => {
            assert_eq!(conn.round_trip_time(), None);
            conn.ping();
        }
        _ => {
            let measured = conn.round_trip_time().is_some();
            conn.send_text(&measured.to_string());
        }
    });
    let server = TestServer::start(listen(WebSocket::new()), probe);
    let mut peer = Peer::open(&server);
    peer.send(Frame::text("ping"));
    let ping = peer.next_frame();
    assert_eq!(ping.first, 0x89);
    peer.send(Frame::text("measured?"));
    peer.expect(Frame::text("false"));
    peer.send(Frame::pong("another"));
    peer.send(Frame::text("measured?"));
    peer.expect(Frame::text("false"));
    peer.send(Frame::pong(ping.payload));
    peer.send(Frame::text("measured?"));
    peer.expect(Frame::text("true"));
    reports.finish(server);
}

/// A message that does not fit is dropped after it was compressed: later messages must not refer to it.
#[cfg(feature = "deflate")]
#[test]
fn no_message_refers_to_a_dropped_one() {
    use ringwheel::Refusal;
    use ringwheel::websocket::{Deflate, Message};

    use support::Random;
    use support::websocket::CodecPeer;
    use support::websocket::plain_client;

    /// Compresses to half its length, and has nothing in common with other texts.
    fn text(random: &mut Random) -> String {
        (0..500)
            .map(|_| format!("{:016x}", random.next_number()))
            .collect()
    }

    let (counts, dropped_after) = channel();
    let (probe, reports) = Probe::new();
    let probe = probe
        .on_message(move |conn, _| {
            let mut random = Random::new(1);
            let mut count = 0;
            let dropped = loop {
                let text = text(&mut random);
                match conn.send_text(&text) {
                    SendStatus::Refused(Refusal::Dropped) => break text,
                    SendStatus::Refused(refusal) => panic!("{refusal:?}"),
                    _ => count += 1,
                }
            };
            // If it referred to the dropped message, it would be short enough to fit.
            let status = conn.send_text(&dropped);
            assert_eq!(status, SendStatus::Refused(Refusal::Dropped));
            counts.send(count).unwrap();
        })
        .on_drained(|conn| {
            conn.send_text(&text(&mut Random::new(2)));
        });
    let deflate = Deflate::new().min_size(0).server_context_takeover(true);
    let limits = Limits::default()
        .low_water(4 * 1024)
        .high_water(16 * 1024)
        .output(64 * 1024)
        .overflow(Overflow::DropMessage);
    let listen = listen(WebSocket::new().deflate(deflate))
        .limits(limits)
        .send_buffer_size(16 * 1024);
    let server = TestServer::start(listen, probe);
    let client = Client::connect_narrow(server.addr());
    let mut peer = CodecPeer::open_over(client, &plain_client().deflate(deflate));
    peer.send(Message::Text("go"));
    let count = dropped_after.recv_timeout(DEADLINE).unwrap();
    let mut random = Random::new(1);
    for _ in 0..count {
        assert_eq!(peer.next_found(), Found::text(text(&mut random)));
    }
    assert_eq!(peer.next_found(), Found::text(text(&mut Random::new(2))));
    reports.finish(server);
}
