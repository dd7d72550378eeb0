//! Connections are spread over the workers.
//!
//! A thousand connections with both ends in this process need more descriptors than a process may have by default, so
//! the tests run in child processes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use ringwheel::balance::{Balance, LeastConnections, RoundRobin, SourceHash, Workers};
use ringwheel::protocol::Raw;
use ringwheel::{Address, Server};
use support::{Child, Client, Events, Recorder, TestServer, eventually, listen};

const CONNECTIONS: usize = 1000;
const DESCRIPTORS: u32 = 4096;

/// The worker of each connection, by the client's address.
type Owners = Arc<Mutex<HashMap<Address, usize>>>;

fn start(workers: usize, balance: impl Balance) -> (TestServer, Events, Owners) {
    let (recorder, events) = Recorder::<Raw>::new();
    let owners = Owners::default();
    let note = owners.clone();
    let recorder = recorder
        .on_open(move |conn| {
            note.lock()
                .unwrap()
                .insert(conn.peer_addr().clone(), conn.id().worker());
        })
        .on_message(|conn, bytes| {
            conn.send(bytes);
        });
    // A worker that has not run for a while still has room for its share. Without room its neighbour would get more.
    let builder = Server::builder()
        .workers(workers)
        .balance(balance)
        .handover_limit(CONNECTIONS);
    (
        TestServer::start_on(builder, listen(Raw), recorder),
        events,
        owners,
    )
}

/// Checks that no worker has more than the mean number of connections and this many hundredths of it.
#[track_caller]
fn assert_even(server: &TestServer, hundredths: usize) {
    let counts = server.handle().connections_per_worker();
    let (sum, max) = (counts.iter().sum::<usize>(), *counts.iter().max().unwrap());
    assert!(
        max * counts.len() * 100 <= sum * (100 + hundredths),
        "{counts:?}"
    );
}

#[track_caller]
fn eventually_connected(server: &TestServer, count: usize) {
    eventually("all connections are handed over", || {
        server
            .handle()
            .connections_per_worker()
            .iter()
            .sum::<usize>()
            == count
    });
}

fn spread_a_thousand(
    balance: impl Balance,
    hundredths: usize,
    connect: impl Fn(usize, SocketAddr) -> Client,
) {
    let (server, events, _) = start(2, balance);
    let mut clients: Vec<Client> = (0..CONNECTIONS)
        .map(|index| connect(index, server.addr()))
        .collect();
    eventually_connected(&server, CONNECTIONS);
    assert_even(&server, hundredths);
    clients.iter_mut().for_each(Client::ping);
    assert_even(&server, hundredths);
    drop(clients);
    eventually_connected(&server, 0);
    server.finish(&events);
}

#[test]
fn round_robin_spreads_a_thousand_evenly() {
    if !Child::is_here() {
        return Child::pass(
            "balance::round_robin_spreads_a_thousand_evenly",
            DESCRIPTORS,
        );
    }
    spread_a_thousand(RoundRobin::default(), 5, |_, address| {
        Client::connect(address)
    });
}

#[test]
fn least_connections_spreads_a_thousand_evenly() {
    if !Child::is_here() {
        return Child::pass(
            "balance::least_connections_spreads_a_thousand_evenly",
            DESCRIPTORS,
        );
    }
    spread_a_thousand(LeastConnections, 5, |_, address| Client::connect(address));
}

#[test]
fn source_hash_spreads_a_thousand_addresses_evenly() {
    if !Child::is_here() {
        return Child::pass(
            "balance::source_hash_spreads_a_thousand_addresses_evenly",
            DESCRIPTORS,
        );
    }
    // Eight standard deviations of a fair coin, since the key is random.
    spread_a_thousand(SourceHash::default(), 25, |index, address| {
        let source = Ipv4Addr::new(127, 0, (1 + index / 250) as u8, (1 + index % 250) as u8);
        Client::connect_from(IpAddr::V4(source), address)
    });
}

#[test]
fn source_hash_always_picks_the_same_worker_for_an_address() {
    let (server, events, owners) = start(4, SourceHash::default());
    let sources: Vec<IpAddr> = (1..=8)
        .map(|host| IpAddr::V4(Ipv4Addr::new(127, 0, 7, host)))
        .collect();
    let connect = |source: &IpAddr| Client::connect_from(*source, server.addr());
    let mut clients: Vec<Client> = (0..5).flat_map(|_| sources.iter().map(connect)).collect();
    clients.iter_mut().for_each(Client::ping);
    let owners = owners.lock().unwrap();
    for source in sources {
        let of_source: Vec<usize> = owners
            .iter()
            .filter(|(peer, _)| peer.ip() == Some(source))
            .map(|(_, worker)| *worker)
            .collect();
        assert_eq!(of_source, vec![of_source[0]; 5]);
    }
    drop(owners);
    server.finish(&events);
}

#[test]
fn least_connections_evens_out_after_closes() {
    let (server, events, owners) = start(2, LeastConnections);
    let mut clients: Vec<Client> = (0..80).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(Client::ping);
    assert_eq!(server.handle().connections_per_worker(), [40, 40]);
    clients.retain(|client| owners.lock().unwrap()[&client.addr().into()] == 1);
    eventually("the connections of one worker have ended", || {
        server.handle().connections_per_worker() == [0, 40]
    });
    let mut new: Vec<Client> = (0..40).map(|_| server.connect()).collect();
    new.iter_mut().for_each(Client::ping);
    assert_eq!(server.handle().connections_per_worker(), [40, 40]);
    server.finish(&events);
}

#[test]
fn round_robin_takes_turns() {
    let (server, events, owners) = start(3, RoundRobin::default());
    let mut clients: Vec<Client> = (0..9).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(Client::ping);
    let owners = owners.lock().unwrap();
    let turns: Vec<usize> = clients
        .iter()
        .map(|client| owners[&client.addr().into()])
        .collect();
    assert_eq!(turns, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    drop(owners);
    server.finish(&events);
}

#[test]
fn a_closure_balances_and_sees_peers_and_counts() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = seen.clone();
    let balance = move |peer: &Address, workers: Workers<'_>| {
        let counts: Vec<usize> = (0..workers.len())
            .map(|worker| workers.connections(worker))
            .collect();
        note.lock().unwrap().push((peer.clone(), counts));
        // An index out of range wraps around: this is the last worker.
        2 * workers.len() - 1
    };
    let (server, events, _) = start(3, balance);
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(Client::ping);
    assert_eq!(server.handle().connections_per_worker(), [0, 0, 4]);
    let expected: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(index, client)| (client.addr().into(), vec![0, 0, index]))
        .collect();
    assert_eq!(*seen.lock().unwrap(), expected);
    server.finish(&events);
}
