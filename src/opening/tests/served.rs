//! Servers with sealed listeners on real sockets.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use super::*;
use crate::protocol::Raw;
use crate::{Conn, Handler, Listen, RunningServer, Server};

const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    type Protocol = Raw;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Raw>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, Raw>, (): &mut (), bytes: &[u8]) {
        conn.send(bytes);
    }
}

fn start(workers: usize, listen: impl FnOnce(Listen<Raw>) -> Listen<Raw>) -> RunningServer {
    let mut sealed = Listen::on("127.0.0.1:0");
    sealed.opening.seal = Some(Arc::new(Script::default()));
    let builder = Server::builder().workers(workers);
    builder
        .listen_with(listen(sealed), Echo)
        .unwrap()
        .spawn()
        .unwrap()
}

fn connect(server: &RunningServer) -> TcpStream {
    let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client
}

fn ask(client: &mut TcpStream, bytes: &[u8], answer: &[u8]) {
    client.write_all(bytes).unwrap();
    let mut received = vec![0; answer.len()];
    client.read_exact(&mut received).unwrap();
    assert_eq!(received, answer);
}

#[test]
fn a_sealed_listener_echoes_on_every_way_to_a_worker() {
    for (workers, reuse_port) in [(1, false), (2, false), (2, cfg!(unix))] {
        let server = start(workers, |listen| listen.reuse_port(reuse_port));
        for _ in 0..8 {
            let mut client = connect(&server);
            // The message comes with the end of the handshake, and no event announces it to the connection.
            ask(&mut client, b"heyhello", b"okhello");
            ask(&mut client, b"again", b"again");
        }
        server.shutdown(DEADLINE).unwrap();
    }
}

#[test]
fn a_peer_that_fails_reads_the_last_words_and_the_end() {
    let server = start(1, |listen| listen);
    let mut client = connect(&server);
    client.write_all(b"bad and much more").unwrap();
    let mut words = Vec::new();
    client.read_to_end(&mut words).unwrap();
    assert_eq!(words, b"alert");
    assert_eq!(server.handle().stats().handshakes_failed, 1);
    server.shutdown(DEADLINE).unwrap();
}

#[test]
fn a_handshake_that_ends_during_the_drain_is_answered() {
    let server = start(2, |listen| listen);
    let (mut half, mut silent) = (connect(&server), connect(&server));
    half.write_all(b"he").unwrap();
    // One that is served afterwards shows that the worker has the others.
    while server.handle().stats().accepted < 2 {
        std::thread::yield_now();
    }
    let handle = server.handle();
    handle.shutdown(DEADLINE);
    assert_eq!(
        silent.read(&mut [0]).unwrap(),
        0,
        "the silent one is closed"
    );
    half.write_all(b"yhello").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    let mut all = Vec::new();
    half.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"okhello");
    server.join().unwrap();
    assert_eq!(handle.stats().connections, 0);
}

#[test]
fn a_stop_drops_openings_and_counts_them_out() {
    let server = start(2, |listen| listen);
    let mut client = connect(&server);
    client.write_all(b"he").unwrap();
    while server.handle().stats().accepted < 1 {
        std::thread::yield_now();
    }
    let handle = server.handle();
    handle.stop();
    server.join().unwrap();
    assert!(client.read(&mut [0]).is_ok_and(|count| count == 0) || cfg!(unix));
    assert_eq!(handle.stats().connections, 0);
    assert_eq!(handle.connections_per_worker(), [0, 0]);
}
