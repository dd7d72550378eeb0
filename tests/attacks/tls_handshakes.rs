//! Handshakes of TLS: many at a time, and slow ones.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::Raw;
use ringwheel::{Listen, Server};
use rustls::ClientConfig;
use support::scale::{KIB, is_full, milliseconds, report, sized};
use support::tls::{TlsClient, VERSIONS, careless_client, connect, server_tls};
use support::{Child, listen};

use crate::tally::Counts;
use crate::victim::{Victim, serve};

/// An echo over TLS, in this process until the parent ends it.
fn serve_echo(change: impl FnOnce(Listen<Raw>) -> Listen<Raw>) {
    let counts = Counts::default();
    let listen = change(listen(Raw).tls(server_tls()));
    let builder = Server::builder()
        .workers(1)
        .listen_with(listen, counts.echo());
    serve(builder.unwrap(), &counts);
}

/// The bytes of a client's first message, with which a handshake begins.
fn hello(config: &Arc<ClientConfig>) -> Vec<u8> {
    TlsClient::around(std::io::Cursor::new(Vec::new()), config).records()
}

/// Times of questions of one connection, sorted.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// Asks one question after the other while `goes_on`.
    pub(crate) fn of(client: &mut TlsClient, mut goes_on: impl FnMut(usize) -> bool) -> Self {
        let mut times = Vec::new();
        while goes_on(times.len()) {
            let start = Instant::now();
            client.ping();
            times.push(start.elapsed());
        }
        times.sort_unstable();
        Times(times)
    }

    pub(crate) fn at(&self, percent: usize) -> Duration {
        self.0[(self.0.len() - 1) * percent / 100]
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [half, most, last] = [50, 99, 100].map(|percent| milliseconds(self.at(percent)));
        write!(f, "p50 {half}, p99 {most}, at most {last}")
    }
}

/// Begins handshakes and leaves them, which costs the server a signature each and the flooder nothing. Returns their number.
fn flood(address: SocketAddr, hello: &[u8], is_over: &AtomicBool) -> u64 {
    let mut count = 0;
    while !is_over.load(Ordering::Relaxed) {
        let mut stream = connect(address, false);
        let sent = stream.write_all(hello);
        // A connection that gives way to others sees a reset.
        let answered = sent.and_then(|()| stream.read(&mut [0; 4 * KIB]));
        count += u64::from(answered.is_ok_and(|bytes| bytes > 0));
        let socket = socket2::SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
    count
}

#[test]
fn a_flood_of_handshakes_does_not_hold_up_open_connections() {
    const NAME: &str = "tls_handshakes::a_flood_of_handshakes_does_not_hold_up_open_connections";
    if Child::is_here() {
        return serve_echo(|listen| listen);
    }
    let victim = Victim::start(NAME, 1024);
    let config = careless_client(&VERSIONS);
    let mut bystander = TlsClient::open_with(victim.addr(), &config);
    let questions = sized(100, 5_000);
    let before = Times::of(&mut bystander, |asked| asked < questions);
    let (is_over, begun) = (AtomicBool::new(false), AtomicU64::new(0));
    let hello = hello(&config);
    let start = Instant::now();
    let (during, honest) = thread::scope(|scope| {
        for _ in 0..sized(4, 16) {
            scope.spawn(|| {
                let count = flood(victim.addr(), &hello, &is_over);
                begun.fetch_add(count, Ordering::Relaxed);
            });
        }
        let end = Duration::from_millis(sized(300, 5_000));
        let during = Times::of(&mut bystander, |asked| {
            asked < questions || start.elapsed() < end
        });
        let began = Instant::now();
        TlsClient::open_with(victim.addr(), &config).ping();
        let honest = began.elapsed();
        is_over.store(true, Ordering::Relaxed);
        (during, honest)
    });
    let rate = begun.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    drop(bystander);
    victim.end();
    report(
        NAME,
        format_args!(
            "{rate:.0} handshakes a second; a bystander was answered in {before}; beside them {during}; a new client was open in {}",
            milliseconds(honest)
        ),
    );
    if is_full() {
        assert!(during.at(50) < Duration::from_millis(5), "{during}");
        assert!(honest < Duration::from_secs(2), "{honest:?}");
    }
}

/// Sends a byte of each handshake in turn.
fn drip(slow: &mut Vec<(TcpStream, usize)>, hello: &[u8]) {
    slow.retain_mut(|(stream, sent)| {
        let byte = &hello[*sent..*sent + 1];
        *sent += 1;
        stream.write_all(byte).is_ok()
    });
}

#[test]
fn slow_handshakes_are_ended_in_time_and_hold_little() {
    const NAME: &str = "tls_handshakes::slow_handshakes_are_ended_in_time_and_hold_little";
    let timeout = Duration::from_millis(sized(1_500, 10_000));
    if Child::is_here() {
        return serve_echo(|listen| listen.opening_timeout(timeout));
    }
    let count = sized(200, 1_000);
    let victim = Victim::start(NAME, 2_048);
    let config = careless_client(&VERSIONS);
    let mut bystander = TlsClient::open_with(victim.addr(), &config);
    bystander.ping();
    let hello = hello(&config);
    let watch = victim.watch_memory();
    let before = victim.processor_time();
    let start = Instant::now();
    let mut slow: Vec<(TcpStream, usize)> = Vec::new();
    for number in 0..count {
        let mut stream = connect(victim.addr(), false);
        // Some are silent at once, others in the middle of their first message.
        let sent = number % 100;
        stream.write_all(&hello[..sent]).unwrap();
        slow.push((stream, sent));
    }
    let connected = start.elapsed();
    while start.elapsed() < connected + timeout / 2 && slow.iter().all(|(_, sent)| *sent < 180) {
        drip(&mut slow, &hello);
        bystander.ping();
        TlsClient::open_with(victim.addr(), &config).ping();
        thread::sleep(Duration::from_millis(20));
    }
    let growth = watch.growth();
    for (stream, _) in &mut slow {
        let end = stream.read(&mut [0]);
        assert!(end.is_err() || end.is_ok_and(|count| count == 0));
    }
    let lasted = start.elapsed();
    let busy = victim.processor_time() - before;
    bystander.ping();
    drop(bystander);
    victim.end();
    report(
        NAME,
        format_args!(
            "{count} handshakes of which a byte comes now and then: all ended {} after the last had connected, at a deadline of {}; {} bytes for each, {} of processor time",
            milliseconds(lasted - connected),
            milliseconds(timeout),
            growth / count,
            milliseconds(busy)
        ),
    );
    assert!(growth / count < 24 * KIB, "{growth} bytes");
    assert!(!is_full() || lasted < connected + timeout + Duration::from_secs(1));
}

/// The first message of a handshake, in records of one byte, of which the last does not come.
fn endless_message() -> Vec<u8> {
    let mut message = vec![1, 0, 0xff, 0xff];
    message.resize(10_500, 0);
    let records = message.iter().map(|byte| [22, 3, 1, 0, 1, *byte]);
    records.flatten().collect()
}

#[test]
fn messages_in_records_of_one_byte_cost_little() {
    const NAME: &str = "tls_handshakes::messages_in_records_of_one_byte_cost_little";
    if Child::is_here() {
        return serve_echo(|listen| listen);
    }
    let count = sized(8, 200);
    let victim = Victim::start(NAME, 1_024);
    let config = careless_client(&VERSIONS);
    let mut bystander = TlsClient::open_with(victim.addr(), &config);
    bystander.ping();
    let records = endless_message();
    let watch = victim.watch_memory();
    let before = victim.processor_time();
    let mut attackers: Vec<TcpStream> = Vec::new();
    for _ in 0..count {
        let mut stream = connect(victim.addr(), false);
        // It may be cut before it has sent all.
        let _ = stream.write_all(&records);
        attackers.push(stream);
    }
    let times = Times::of(&mut bystander, |asked| asked < sized(50, 1_000));
    let busy = victim.processor_time_at_rest() - before;
    let growth = watch.growth();
    drop((attackers, bystander));
    victim.end();
    report(
        NAME,
        format_args!(
            "{count} handshakes with {} bytes in records of one byte: {} of processor time and {} bytes for each; a bystander was answered in {times}",
            records.len(),
            milliseconds(busy / count as u32),
            growth / count
        ),
    );
    assert!(growth / count < 256 * KIB, "{growth} bytes");
}
