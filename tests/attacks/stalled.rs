//! Readers that stop reading while many messages are published to them.

use std::io::{ErrorKind, Read};
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};

use ringwheel::protocol::LengthPrefixed;
use ringwheel::{Conn, Limits, Overflow};
use support::scale::{KIB, report, sized};
use support::{Client, DEADLINE, TestServer, listen};

use crate::tally::{Counts, Tally};

type Reader = Tally<LengthPrefixed>;

const CAP: usize = 64 * KIB;
const MESSAGE: usize = KIB;
/// Messages published before the healthy readers must have received them.
const BATCH: u32 = 16;
/// More messages than the cap and the kernel's buffers of a connection hold.
const PUBLISHED: u32 = 512;

/// Message `number`: the number, then a filling that depends on it.
fn message(number: u32) -> Vec<u8> {
    let mut message = vec![number as u8; MESSAGE];
    message[..4].copy_from_slice(&number.to_be_bytes());
    message
}

/// The numbers of the messages in a stream, which may end in the middle of one. Checks that each is intact.
#[track_caller]
fn numbers(mut stream: &[u8]) -> Vec<u32> {
    let mut numbers = Vec::new();
    while let Some((frame, rest)) = stream.split_at_checked(4 + MESSAGE) {
        assert_eq!(frame[..4], (MESSAGE as u32).to_be_bytes());
        let number = u32::from_be_bytes(frame[4..8].try_into().unwrap());
        assert_eq!(frame[4..], message(number));
        numbers.push(number);
        stream = rest;
    }
    numbers
}

/// The highest number of pending output bytes of any connection.
fn most_held(server: &TestServer) -> usize {
    let (looked, looks) = channel();
    let looked = Mutex::new(looked);
    let look = move |conn: &mut Conn<'_, LengthPrefixed>, _: &mut ()| {
        let _ = looked.lock().unwrap().send(conn.write_buffer_len());
    };
    server
        .handle()
        .connections_of::<Reader>()
        .unwrap()
        .visit(look)
        .unwrap();
    let mut most = 0;
    loop {
        match looks.recv_timeout(DEADLINE) {
            Ok(held) => most = most.max(held),
            // All connections were visited, so the closure and its sender were dropped.
            Err(RecvTimeoutError::Disconnected) => return most,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Reads until the end of the stream, or a reset.
fn read_to_any_end(client: &Client) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut source = client.stream();
    match source.read_to_end(&mut stream) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    stream
}

struct Scene {
    server: TestServer,
    counts: Counts,
    healthy: Vec<Client>,
    stalled: Vec<Client>,
}

impl Scene {
    fn set(overflow: Overflow) -> Self {
        let counts = Counts::default();
        let limits = Limits::default()
            .low_water(8 * KIB)
            .high_water(32 * KIB)
            .output(CAP)
            .overflow(overflow);
        let listen = listen(LengthPrefixed::u32_be())
            .limits(limits)
            .send_buffer_size(16 * KIB);
        let server = TestServer::start(listen, counts.echo());
        let stalled = (0..sized(50, 1000)).map(|_| Client::connect_narrow(server.addr()));
        let stalled: Vec<Client> = stalled.collect();
        let mut healthy: Vec<Client> = (0..10).map(|_| server.connect()).collect();
        // These connections were accepted last, so all connections are accepted once they are served.
        for client in &mut healthy {
            assert_eq!(client.ask(b"\0\0\0\x01x"), b"\0\0\0\x01x");
        }
        Scene {
            server,
            counts,
            healthy,
            stalled,
        }
    }

    /// Publishes to all at the pace of the healthy readers; returns the most bytes pending for one connection
    /// meanwhile.
    fn publish(&mut self) -> usize {
        let mut most = 0;
        for first in (0..PUBLISHED).step_by(BATCH as usize) {
            for number in first..first + BATCH {
                let everyone = self.server.handle().connections_of::<Reader>().unwrap();
                everyone.broadcast(message(number)).unwrap();
            }
            for client in &mut self.healthy {
                let got = numbers(&client.receive(BATCH as usize * (4 + MESSAGE)));
                assert!(got.into_iter().eq(first..first + BATCH));
            }
            most = most.max(most_held(&self.server));
        }
        most
    }
}

#[test]
fn stalled_readers_are_cut_off_at_the_cap() {
    let mut scene = Scene::set(Overflow::Close);
    let most = scene.publish();
    assert!((1..=CAP).contains(&most), "{most}");
    let stalled = scene.stalled.len() as u64;
    assert_eq!(scene.counts.ended("OutputLimit"), stalled);
    for client in &scene.stalled {
        let got = numbers(&read_to_any_end(client));
        assert!(
            got.iter().copied().eq(0..got.len() as u32),
            "a gap in {got:?}"
        );
        assert!(got.len() < PUBLISHED as usize);
    }
    scene.counts.finish(scene.server);
    report(
        "stalled_readers_are_cut_off_at_the_cap",
        format_args!("{stalled} readers, {most} bytes pending for one at most, limit {CAP}"),
    );
}

#[test]
fn with_the_drop_policy_stalled_readers_miss_only_whole_messages() {
    let mut scene = Scene::set(Overflow::DropMessage);
    let most = scene.publish();
    assert!((1..=CAP).contains(&most), "{most}");
    assert_eq!(scene.counts.closed(), 0);
    let stalled = scene.stalled.len();
    // The stalled readers start to read, and take the bytes that are there for them.
    let mut missed = 0;
    for client in &mut scene.stalled {
        client.finish();
        let got = numbers(&client.receive_rest());
        assert!(got.is_sorted_by(|one, next| one < next), "{got:?}");
        let kept = got.iter().zip(0..).take_while(|(got, due)| *got == due);
        assert_eq!(kept.count(), got.len(), "the first messages are kept");
        missed += u64::from(PUBLISHED) - got.len() as u64;
    }
    scene.counts.finish(scene.server);
    assert!(missed > 0);
    assert_eq!(
        scene.counts.dropped(),
        missed,
        "every missing message was counted as dropped"
    );
    report(
        "with_the_drop_policy_stalled_readers_miss_only_whole_messages",
        format_args!(
            "{stalled} readers, {most} bytes pending for one at most, limit {CAP}; {missed} of {} messages dropped",
            stalled * PUBLISHED as usize
        ),
    );
}
