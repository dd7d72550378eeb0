//! The least rate over many periods. Each of them forgives a step of the kernel, 192 KiB, which is here more than a peer must take in
//! one.

use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::Raw;
use ringwheel::{Conn, Limits, Listen, SourceStep, Timeout};
use support::{Client, Event, Events, Recorder, TestServer, eventually, listen, pattern};

/// A step is 188 ms at this rate.
const RATE: u32 = 1 << 20;
const PERIOD: Duration = Duration::from_millis(150);
/// Output for 3 s at the least rate, most of which is pending.
const BODY: usize = 3 << 20;
/// A tenth of the least rate: the time for a KiB.
const SLOW: Duration = Duration::from_millis(10);
/// The time after which a slow peer is cut off, with room for a busy machine. All of the output would take it 30 s.
const SOON: Duration = Duration::from_secs(6);

fn limited() -> Listen<Raw> {
    listen(Raw)
        .limits(Limits::default().output(2 * BODY))
        .send_buffer_size(16 * 1024)
        .min_send_rate(RATE)
        .write_stall_timeout(Some(PERIOD))
        .close_timeout(PERIOD)
}

/// A server that calls `answer` once it hears something, and a client with a small buffer.
fn start(
    listen: Listen<Raw>,
    answer: impl Fn(&mut Conn<'_, Raw>) + Send + Sync + 'static,
) -> (TestServer, Events, Client) {
    let (recorder, events) = Recorder::<Raw>::new();
    let server = TestServer::start(listen, recorder.on_message(move |conn, _| answer(conn)));
    let mut client = Client::connect_narrow(server.addr());
    eventually("the client is accepted", || {
        server.handle().stats().connections == 1
    });
    client.send(b"go");
    (server, events, client)
}

/// Reads a KiB after the other, with a pause before each, until the server has no connection any more or all is there. Returns the
/// number of bytes.
fn read_slowly(server: &TestServer, client: &mut Client, pause: Duration) -> usize {
    let start = Instant::now();
    let mut received = 0;
    while received < BODY && server.handle().stats().connections > 0 {
        assert!(start.elapsed() < SOON, "it is still there");
        // Late reads are made up for.
        let due = pause * u32::try_from(received / 1024).unwrap();
        thread::sleep(due.saturating_sub(start.elapsed()));
        match client.try_receive(1024) {
            Ok(bytes) => received += bytes.len(),
            Err(_) => break,
        }
    }
    received
}

fn send_and_close(conn: &mut Conn<'_, Raw>) {
    conn.send(&pattern(1, BODY));
    conn.close();
}

/// A byte in each period was enough to keep a connection that was closing.
#[test]
fn a_close_does_not_last_for_a_peer_that_takes_little_in_each_period() {
    let (server, events, mut client) = start(limited(), send_and_close);
    assert!(read_slowly(&server, &mut client, SLOW) < BODY / 2);
    eventually("the connection is gone", || {
        server.handle().stats().connections == 0
    });
    assert_eq!(server.handle().stats().output_lost, 1);
    server.finish(&events);
}

#[test]
fn a_close_lasts_for_a_peer_that_reads_faster_than_the_least_rate() {
    // A busy machine may hold the client up for half of this time.
    let listen = limited().close_timeout(Duration::from_secs(1));
    let (server, events, mut client) = start(listen, send_and_close);
    // Twice the rate.
    let pause = Duration::from_secs(1) * 1024 / (2 * RATE);
    assert_eq!(read_slowly(&server, &mut client, pause), BODY);
    client.expect_eof();
    drop(client);
    server.finish(&events);
}

/// Checks that the least rate ends the connection.
fn assert_stalled(server: TestServer, events: &Events, mut client: Client) {
    assert!(read_slowly(&server, &mut client, SLOW) < BODY / 2);
    assert_eq!(events.close_reason(), "Timeout(WriteStall)");
    server.finish(events);
}

/// A byte in each period was enough to keep the output of an open connection.
#[test]
fn a_peer_that_takes_little_in_each_period_is_stalled() {
    let (server, events, client) = start(limited(), |conn| _ = conn.send(&pattern(1, BODY)));
    assert_stalled(server, &events, client);
    let stalled = |event: &Event| matches!(event, Event::Timeout(_, Timeout::WriteStall));
    assert_eq!(events.count(stalled), 1);
}

/// A byte in each period was enough to have a close wait for a source.
#[test]
fn a_source_does_not_last_for_a_peer_that_takes_little_in_each_period() {
    let (server, events, client) = start(limited(), |conn| {
        conn.send_from(|conn: &mut Conn<'_, Raw>| {
            conn.send(&[1; 16 * 1024]);
            SourceStep::More
        });
        conn.close();
    });
    assert_stalled(server, &events, client);
}
