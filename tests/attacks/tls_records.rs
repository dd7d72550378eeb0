//! Records of TLS on open connections: tiny ones, key updates, and peers that do not read.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::Raw;
use ringwheel::{Limits, Overflow, Server};
use support::scale::{KIB, is_full, milliseconds, report, sized};
use support::tls::{TlsClient, VERSIONS, careless_client, connect, server_tls};
use support::{Child, listen};

use crate::tally::Counts;
use crate::tls_handshakes::Times;
use crate::victim::{Victim, serve};

const CAP: usize = 64 * KIB;

fn serve_echo() {
    let counts = Counts::default();
    let limits = Limits::default()
        .low_water(8 * KIB)
        .high_water(CAP / 2)
        .output(CAP)
        .overflow(Overflow::DropMessage);
    let listen = listen(Raw).tls(server_tls()).limits(limits);
    let builder = Server::builder().workers(1);
    let listen = listen.send_buffer_size(16 * KIB);
    serve(builder.listen_with(listen, counts.echo()).unwrap(), &counts);
}

#[test]
fn records_of_one_byte_are_paid_for_by_their_sender() {
    const NAME: &str = "tls_records::records_of_one_byte_are_paid_for_by_their_sender";
    if Child::is_here() {
        return serve_echo();
    }
    let victim = Victim::start(NAME, 1024);
    let config = careless_client(&VERSIONS);
    let mut bystander = TlsClient::open_with(victim.addr(), &config);
    let questions = sized(100, 5_000);
    let before = Times::of(&mut bystander, |asked| asked < questions);
    let count = sized(5_000, 400_000);
    let flooders = sized(2, 8);
    let is_over = AtomicBool::new(false);
    let start = Instant::now();
    let during = thread::scope(|scope| {
        let flooding: Vec<_> = (0..flooders)
            .map(|_| {
                let mut client = TlsClient::open_with(victim.addr(), &config);
                let mut stream = client.stream.try_clone().unwrap();
                let mut records = Vec::new();
                for _ in 0..count {
                    records.extend(client.seal(b"x"));
                }
                scope.spawn(move || {
                    thread::scope(|scope| {
                        scope.spawn(|| stream.write_all(&records).unwrap());
                        assert_eq!(client.receive(count), vec![b'x'; count]);
                    });
                })
            })
            .collect();
        scope.spawn(|| {
            for flood in flooding {
                flood.join().unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
        });
        Times::of(&mut bystander, |asked| {
            asked < questions || !is_over.load(Ordering::Relaxed)
        })
    });
    let rate = (flooders * count) as f64 / start.elapsed().as_secs_f64();
    drop(bystander);
    victim.end();
    report(
        NAME,
        format_args!(
            "{flooders} senders of {count} records: {rate:.0} a second; a bystander was answered in {before}; beside them {during}"
        ),
    );
    assert!(
        !is_full() || during.at(99) < Duration::from_millis(50),
        "{during}"
    );
}

#[test]
fn a_flood_of_key_updates_is_refused() {
    const NAME: &str = "tls_records::a_flood_of_key_updates_is_refused";
    if Child::is_here() {
        return serve_echo();
    }
    let victim = Victim::start(NAME, 1024);
    let config = careless_client(&VERSIONS[1..]);
    let mut bystander = TlsClient::open_with(victim.addr(), &config);
    bystander.ping();
    let watch = victim.watch_memory();
    let (floods, updates) = (sized(20, 500), 10_000);
    let (mut sent, mut ended) = (0, 0);
    let start = Instant::now();
    for _ in 0..floods {
        let mut client = TlsClient::open_with(victim.addr(), &config);
        let mut records = Vec::new();
        for _ in 0..100 {
            client.tls.refresh_traffic_keys().unwrap();
            records.extend(client.records());
        }
        let mut left = updates / 100;
        while left > 0 && client.stream.write_all(&records).is_ok() {
            sent += 100;
            left -= 1;
            // Each key is used once: the records must be made anew.
            records.clear();
            for _ in 0..100 {
                client.tls.refresh_traffic_keys().unwrap();
                records.extend(client.records());
            }
        }
        ended += usize::from(client.try_receive_rest().is_err());
        bystander.ping();
    }
    let growth = watch.growth();
    let lasted = start.elapsed();
    drop(bystander);
    let (counts, ..) = victim.end();
    assert_eq!(ended, floods, "each is ended");
    assert_eq!(counts.ended("Io("), floods as u64);
    report(
        NAME,
        format_args!(
            "{floods} connections that send nothing but key updates are ended, after {} sent at most on average; the process grew by {growth} bytes in {}",
            sent / floods,
            milliseconds(lasted)
        ),
    );
}

#[test]
fn stalled_readers_hold_no_more_than_the_limit_and_a_piece() {
    const NAME: &str = "tls_records::stalled_readers_hold_no_more_than_the_limit_and_a_piece";
    if Child::is_here() {
        return serve_echo();
    }
    let count = sized(50, 1_000);
    let victim = Victim::start(NAME, 2_048);
    let config = careless_client(&VERSIONS);
    let mut bystander = TlsClient::open_with(victim.addr(), &config);
    bystander.ping();
    let mut stalled: Vec<TlsClient> = (0..count)
        .map(|_| TlsClient::open_over(connect(victim.addr(), true), &config))
        .collect();
    let watch = victim.watch_memory();
    let question = [b'?'; 16 * KIB];
    let mut sent = 0;
    for client in &mut stalled {
        // As much as the server takes.
        client.stream.set_nonblocking(true).unwrap();
        let records: Vec<u8> = (0..16).flat_map(|_| client.seal(&question)).collect();
        let mut rest = &records[..];
        while let Ok(count) = client.stream.write(rest) {
            sent += count;
            rest = &rest[count..];
            if rest.is_empty() {
                break;
            }
        }
        bystander.ping();
    }
    bystander.ping();
    let growth = watch.growth();
    drop((stalled, bystander));
    let (counts, ..) = victim.end();
    assert_eq!(counts.closed(), count as u64 + 1);
    report(
        NAME,
        format_args!(
            "{count} readers that have sent {} bytes each: {} bytes for each at a limit of {CAP}",
            sent / count,
            growth / count
        ),
    );
    // The output, a piece that is sealed, and what has arrived of the next message.
    assert!(growth / count < 2 * CAP + 64 * KIB, "{growth} bytes");
}
