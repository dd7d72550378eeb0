//! Opening requests whose head never ends.

use std::thread;
use std::time::Duration;

use ringwheel::Server;
use ringwheel::websocket::WebSocket;
use support::scale::{MIB, is_full, milliseconds, report, sized};
use support::{Child, Client, listen};

use crate::tally::Counts;
use crate::victim::{Victim, serve};

const NAME: &str = "heads::an_endless_head_is_refused_at_the_limit";
/// The default of [`WebSocket::max_head`].
const LIMIT: usize = 8 * 1024;
/// Highest processor time for refusing one head.
const ALLOWED: Duration = Duration::from_millis(10);

/// `start` followed by copies of `more`, cut to `size` bytes.
fn endless(start: &[u8], more: &[u8], size: usize) -> Vec<u8> {
    let bytes = start.iter().chain(more.iter().cycle());
    bytes.take(size).copied().collect()
}

/// Sends all of `head` even if the server stops reading, and reads the answer meanwhile.
#[track_caller]
fn send_in_one_piece(mut client: Client, head: Vec<u8>) -> Vec<u8> {
    let mut writer = client.second_half();
    let writing = thread::spawn(move || {
        let _ = writer.try_send(&head);
        let _ = writer.stream().shutdown(std::net::Shutdown::Write);
    });
    let answer = client.receive_rest();
    writing.join().unwrap();
    answer
}

#[test]
fn an_endless_head_is_refused_at_the_limit() {
    if Child::is_here() {
        let counts = Counts::default();
        let listen = listen(WebSocket::new());
        let builder = Server::builder().workers(1);
        return serve(builder.listen_with(listen, counts.echo()).unwrap(), &counts);
    }
    let size = sized(MIB, 20 * MIB);
    let heads = [
        ("target", endless(b"GET /", b"a", size), "414"),
        (
            "value",
            endless(b"GET / HTTP/1.1\r\nX: ", b"a", size),
            "431",
        ),
        ("name", endless(b"GET / HTTP/1.1\r\n", b"a", size), "431"),
        (
            "fields",
            endless(b"GET / HTTP/1.1\r\n", b"a: b\r\n", size),
            "431",
        ),
    ];
    let victim = Victim::start(NAME, 64);
    // The first connection costs more, so it is not measured.
    let warm = endless(b"GET /", b"a", 2 * LIMIT);
    send_in_one_piece(victim.connect(), warm);
    let memory = victim.watch_memory();
    for (what, head, status) in heads {
        let expected = format!("HTTP/1.1 {status} ");
        // The lowest of several measurements, because other work on the machine adds to the time.
        let at_once = (0..sized(1, 3)).map(|_| {
            let before = victim.processor_time_at_rest();
            let answer = send_in_one_piece(victim.connect(), head.clone());
            assert!(answer.starts_with(expected.as_bytes()), "{what}");
            victim.processor_time_at_rest() - before
        });
        let at_once = at_once.min().expect("at least one measurement");

        let before = victim.processor_time_at_rest();
        let mut client = victim.connect();
        for byte in &head[..LIMIT] {
            client.send(&[*byte]);
        }
        assert!(
            client.receive_rest().starts_with(expected.as_bytes()),
            "{what}"
        );
        let bytewise = victim.processor_time() - before;
        // The client sends the rest, but the server has stopped reading.
        let _ = client.try_send(&head[LIMIT..]);
        drop(client);
        let growth = memory.growth();
        assert!(growth < MIB, "{growth} bytes");
        report(
            NAME,
            format_args!(
                "{size} bytes of {what}: {} of CPU in one piece, {} byte by byte; {growth} bytes of memory",
                milliseconds(at_once),
                milliseconds(bytewise)
            ),
        );
        if is_full() {
            assert!(at_once < ALLOWED, "{at_once:?}");
            assert!(bytewise < ALLOWED, "{bytewise:?}");
        }
    }
    let (counts, ..) = victim.end();
    assert_eq!(counts.opened(), 0, "no connection was opened");
}
