//! A flood of pings from a peer that does not read.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::Server;
use ringwheel::websocket::WebSocket;
use support::scale::{KIB, MIB, report, sized};
use support::websocket::{Frame, Peer, from_client};
use support::{Child, Client, DEADLINE, listen};

use crate::tally::Counts;
use crate::victim::{Victim, serve};

const NAME: &str = "pings::a_million_pings_of_a_deaf_peer_hold_no_memory";
/// Lower than the rate that the test allows with [`WebSocket::control_rate`], so that only unread output holds the peer
/// back.
const PER_SECOND: u32 = 40_000;
const BATCH: u32 = 100;

/// The longest payload allowed, so that the kernel's buffers fill up soon.
fn payload(number: u32) -> [u8; 125] {
    let mut payload = [0; 125];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    payload
}

fn ping(number: u32) -> Frame {
    Frame::ping(payload(number))
}

#[test]
fn a_million_pings_of_a_deaf_peer_hold_no_memory() {
    if Child::is_here() {
        let counts = Counts::default();
        let listen = listen(WebSocket::new().control_rate(u16::MAX))
            .send_buffer_size(16 * KIB)
            .receive_buffer_size(16 * KIB);
        let builder = Server::builder().workers(1);
        return serve(builder.listen_with(listen, counts.echo()).unwrap(), &counts);
    }
    let pings: u32 = sized(60_000, 1_000_000);
    let victim = Victim::start(NAME, 64);
    let mut peer = Peer::open_over(Client::connect_narrow(victim.addr()));
    peer.send(ping(0));
    peer.expect(Frame::pong(payload(0)));
    let memory = victim.watch_memory();

    let mut writer = peer.client.second_half();
    let sent = AtomicU32::new(0);
    let held_back = thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            for first in (0..pings).step_by(BATCH as usize) {
                let batch: Vec<Frame> = (first..first + BATCH).map(ping).collect();
                writer.send(&from_client(&batch));
                sent.store(first + BATCH, Ordering::Relaxed);
                let due = Duration::from_secs(1) * (first / BATCH) / (PER_SECOND / BATCH);
                thread::sleep(due.saturating_sub(start.elapsed()));
            }
        });
        let held_back = until_stuck(&sent);
        assert!(
            held_back < pings,
            "the server stops reading from a peer that does not read"
        );
        // The peer reads at last, and every pong arrives.
        for number in 0..pings {
            peer.expect(Frame::pong(payload(number)));
        }
        held_back
    });
    let growth = memory.growth();
    assert!(growth < MIB, "{growth} bytes");
    peer.check_echo();
    drop(peer);
    let (counts, ..) = victim.end();
    assert_eq!(counts.ended("Protocol("), 0, "{counts:?}");
    report(
        NAME,
        format_args!(
            "held back after {held_back} pings until it reads, {pings} answered in all; growth {growth} bytes"
        ),
    );
}

/// Waits until the sender makes no more progress, and returns the number sent.
#[track_caller]
fn until_stuck(sent: &AtomicU32) -> u32 {
    let start = Instant::now();
    let mut last = (0, start);
    loop {
        thread::sleep(Duration::from_millis(10));
        let now = sent.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        }
        // A wait that is too short would not fail the test, but prove less.
        if now > 0 && last.1.elapsed() > Duration::from_millis(300) {
            return now;
        }
        assert!(
            start.elapsed() < 3 * DEADLINE,
            "the sender is never held back"
        );
    }
}

/// At the default rate the server closes the connection first.
#[test]
fn pings_of_a_deaf_peer_beyond_the_rate_end_its_connection() {
    const NAME: &str = "pings::pings_of_a_deaf_peer_beyond_the_rate_end_its_connection";
    if Child::is_here() {
        let counts = Counts::default();
        let builder = Server::builder().workers(1);
        let builder = builder.listen_with(listen(WebSocket::new()), counts.echo());
        return serve(builder.unwrap(), &counts);
    }
    let pings = sized(50_000, 1_000_000);
    let victim = Victim::start(NAME, 64);
    let mut peer = Peer::open_over(victim.connect());
    peer.check_echo();
    let memory = victim.watch_memory();
    let flood = from_client(&[Frame::ping([7; 125])]).repeat(pings);
    // The server may close the connection on the way.
    let _ = peer.client.try_send(&flood);
    let growth = memory.growth();
    assert!(growth < MIB, "{growth} bytes");
    let mut pongs = 0;
    let close = loop {
        match peer.next_frame() {
            frame if frame.opcode() == 0xA => pongs += 1,
            frame => break frame,
        }
    };
    assert_eq!(close.close_words().map(|(code, _)| code), Some(1008));
    drop(peer);
    let (counts, ..) = victim.end();
    assert_eq!(counts.ended("Protocol(TooManyControlFrames)"), 1);
    report(
        NAME,
        format_args!("{pings} pings, cut off after {pongs}; growth {growth} bytes"),
    );
}
