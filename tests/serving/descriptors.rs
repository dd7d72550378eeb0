//! A server that runs out of descriptors serves those that it has, sheds those that come, and recovers.
//!
//! The server is alone in a child process with few descriptors, so that its clients do not compete for them.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::Raw;
use ringwheel::{Conn, Server};
use support::{Child, Client, Recorder, TestServer, eventually, listen};

const DESCRIPTORS: u32 = 40;
const KNOCKS: usize = 300;

/// Runs a server until the parent ends our input, and tells how it fared.
fn serve_as_child(workers: usize, reuse_port: bool) {
    let (recorder, events) = Recorder::<Raw>::new();
    let echo = |conn: &mut Conn<'_, Raw>, bytes: &[u8]| {
        if bytes == b"slow" {
            thread::sleep(Duration::from_millis(200));
        }
        conn.send(bytes);
    };
    let builder = Server::builder().workers(workers);
    let recorder = recorder.without_messages().on_message(echo);
    let server = TestServer::start_on(builder, listen(Raw).reuse_port(reuse_port), recorder);
    println!("\nserves on {}", server.addr());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    println!("\nhas shed {}", server.handle().stats().shed);
    server.finish(&events);
}

fn is_served(client: &mut Client) -> bool {
    client.try_send(b"ping").is_ok() && client.try_receive(4).is_ok()
}

/// Connects until somebody is turned away, and returns those who are served.
fn use_descriptors_up(address: SocketAddr) -> Vec<Client> {
    let mut clients = Vec::new();
    loop {
        assert!(
            clients.len() < DESCRIPTORS as usize,
            "more connections than descriptors"
        );
        let mut client = Client::connect(address);
        if !is_served(&mut client) {
            return clients;
        }
        clients.push(client);
    }
}

/// Processor time that a process has used, in hundredths of a second (proc(5): `utime` and `stime`, in clock ticks).
fn processor_time(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap()..].split(' ').collect();
    fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()
}

fn exhaust(test: &str, reuse_port: bool) {
    if Child::is_here() {
        return serve_as_child(1, reuse_port);
    }
    let mut child = Child::start(test, DESCRIPTORS);
    let address = child.line("serves on ").parse().unwrap();
    let mut clients = Vec::new();
    let mut turned_away = 0;
    while turned_away < 5 {
        assert!(
            clients.len() < DESCRIPTORS as usize,
            "more connections than descriptors"
        );
        let mut client = Client::connect(address);
        // One that is turned away is told so, and does not hang.
        if is_served(&mut client) {
            clients.push(client)
        } else {
            turned_away += 1
        }
    }
    assert!(
        clients.len() > 10,
        "most of the descriptors serve: {}",
        clients.len()
    );
    clients.iter_mut().for_each(Client::ping);

    // Each that knocks is turned away, also when nobody comes after it.
    for _ in 0..KNOCKS {
        Client::connect(address).expect_ended();
    }

    // The lack lasts. It must not keep the processor busy, however many have knocked.
    let (start, used_before) = (Instant::now(), processor_time(child.id()));
    while start.elapsed() < Duration::from_secs(2) {
        clients[0].ping();
        thread::sleep(Duration::from_millis(2));
    }
    let used = processor_time(child.id()) - used_before;
    // At most 5 % of the time, which includes serving the pings; a spin would take all of it.
    assert!(used < 10, "{used} hundredths of a second, of two seconds");

    // Several knock while the worker is held up, so that one event tells of all of them; and nobody comes after them.
    clients[0].send(b"slow");
    let mut knocking: Vec<Client> = (0..5).map(|_| Client::connect(address)).collect();
    knocking.iter_mut().for_each(Client::expect_ended);
    assert_eq!(clients[0].receive(4), b"slow");

    // Descriptors return, and with them room for others.
    clients.truncate(clients.len() / 2);
    eventually("others are served again", || {
        is_served(&mut Client::connect(address))
    });
    clients.iter_mut().for_each(Client::ping);
    drop(clients);
    child.close_input();
    let shed: u64 = child.line("has shed ").parse().unwrap();
    assert!(shed >= KNOCKS as u64, "{shed}");
    child.end();
}

#[test]
fn an_acceptor_without_descriptors_sheds_and_recovers() {
    exhaust(
        "descriptors::an_acceptor_without_descriptors_sheds_and_recovers",
        false,
    );
}

#[test]
fn a_worker_that_accepts_without_descriptors_sheds_and_recovers() {
    exhaust(
        "descriptors::a_worker_that_accepts_without_descriptors_sheds_and_recovers",
        true,
    );
}

/// Whether a process has all the descriptors that it may have; what it has inherited beyond them does not count.
fn has_all_descriptors(process: u32) -> bool {
    (0..DESCRIPTORS)
        .all(|number| fs::symlink_metadata(format!("/proc/{process}/fd/{number}")).is_ok())
}

/// Changes how many descriptors a running process may have (prlimit(1)); the limit can be raised again.
fn limit_descriptors(process: u32, limit: u32) {
    let outcome = Command::new("prlimit")
        .args(["--pid", &process.to_string()])
        .arg(format!("--nofile={limit}:"))
        .status();
    assert!(outcome.expect("util-linux").success());
}

/// The descriptor in reserve was lost for good when it could not be taken again at once, as when a file that is opened
/// elsewhere is quicker: when one was free it went to one more connection, and those who came after that hung in the
/// backlog.
fn lose_the_reserve(test: &str, reuse_port: bool) {
    if Child::is_here() {
        return serve_as_child(1, reuse_port);
    }
    if Command::new("prlimit").arg("--version").output().is_err() {
        return eprintln!("skipped: there is no prlimit (util-linux)");
    }
    let mut child = Child::start(test, DESCRIPTORS);
    let address = child.line("serves on ").parse().unwrap();
    let mut clients = use_descriptors_up(address);
    let has_all = || has_all_descriptors(child.id());
    eventually("all are in use, and one of them as the reserve", has_all);
    // Not even those that are returned may be taken again.
    limit_descriptors(child.id(), 3);
    let mut knocking = vec![Client::connect(address)];
    eventually("the reserve is lost", || !has_all());
    limit_descriptors(child.id(), DESCRIPTORS);
    knocking.extend((0..5).map(|_| Client::connect(address)));
    knocking.iter_mut().for_each(Client::expect_ended);
    clients.iter_mut().for_each(Client::ping);
    eventually("there is a reserve again", has_all);
    child.end();
}

#[test]
#[cfg_attr(
    mio_unsupported_force_poll_poll,
    ignore = "poll(2) fails where the limit is below what it polls"
)]
fn an_acceptor_that_has_lost_its_reserve_takes_it_again() {
    lose_the_reserve(
        "descriptors::an_acceptor_that_has_lost_its_reserve_takes_it_again",
        false,
    );
}

#[test]
#[cfg_attr(
    mio_unsupported_force_poll_poll,
    ignore = "poll(2) fails where the limit is below what it polls"
)]
fn a_worker_that_has_lost_its_reserve_takes_it_again() {
    lose_the_reserve(
        "descriptors::a_worker_that_has_lost_its_reserve_takes_it_again",
        true,
    );
}

/// Workers that share a port, and each had a reserve, robbed one another of it.
#[test]
fn workers_that_share_a_port_leave_one_another_the_reserve() {
    let test = "descriptors::workers_that_share_a_port_leave_one_another_the_reserve";
    if Child::is_here() {
        return serve_as_child(2, true);
    }
    let mut child = Child::start(test, DESCRIPTORS);
    let address = child.line("serves on ").parse().unwrap();
    let mut clients = use_descriptors_up(address);
    let mut knocking: Vec<Client> = (0..KNOCKS / 2).map(|_| Client::connect(address)).collect();
    knocking.iter_mut().for_each(Client::expect_ended);
    clients.iter_mut().for_each(Client::ping);
    drop((clients, knocking));
    child.end();
}
