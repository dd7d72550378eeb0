//! A server that runs out of descriptors serves those that it has, sheds those that come, and recovers.
//!
//! The server is alone in a child process with few descriptors, so that its clients do not compete for them.

#![cfg(target_os = "linux")]

mod support;

use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::Raw;
use ringwheel::{Conn, Server};
use support::{Child, Client, DEADLINE, Events, Recorder, TestServer, eventually, listen};

const DESCRIPTORS: u32 = 40;
const KNOCKS: usize = 300;

/// Runs a server until the parent ends our input, and tells how it fared.
fn serve_as_child(reuse_port: bool) {
    let (recorder, events) = Recorder::<Raw>::new();
    let echo = |conn: &mut Conn<'_, Raw>, bytes: &[u8]| {
        if bytes == b"slow" {
            thread::sleep(Duration::from_millis(200));
        }
        conn.send(bytes);
    };
    let recorder = recorder.without_messages().on_message(echo);
    serve_until_told(1, reuse_port, recorder, &events);
}

fn serve_until_told(workers: usize, reuse_port: bool, recorder: Recorder<Raw>, events: &Events) {
    let builder = Server::builder().workers(workers);
    let server = TestServer::start_on(builder, listen(Raw).reuse_port(reuse_port), recorder);
    println!("\nserves on {}", server.addr());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    println!("\nhas shed {}", server.handle().stats().shed);
    server.finish(events);
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
        return serve_as_child(reuse_port);
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
    exhaust("an_acceptor_without_descriptors_sheds_and_recovers", false);
}

#[test]
fn a_worker_that_accepts_without_descriptors_sheds_and_recovers() {
    exhaust(
        "a_worker_that_accepts_without_descriptors_sheds_and_recovers",
        true,
    );
}

/// Something else in the process that takes the first descriptor that is free.
#[derive(Clone, Default)]
struct Rival(Arc<Mutex<Want>>);

#[derive(Default)]
struct Want {
    is_there: bool,
    file: Option<File>,
}

impl Rival {
    fn begin(&self) {
        self.want().is_there = true;
        let rival = self.clone();
        thread::spawn(move || {
            let start = Instant::now();
            while start.elapsed() < DEADLINE {
                if let Ok(file) = File::open("/dev/null") {
                    let mut want = rival.want();
                    // It may not be wanted any more.
                    want.file = Some(file).filter(|_| want.is_there);
                    return;
                }
            }
        });
    }

    fn has_taken(&self) -> bool {
        self.want().file.is_some()
    }

    fn end(&self) {
        *self.want() = Want::default();
    }

    fn want(&self) -> MutexGuard<'_, Want> {
        self.0.lock().unwrap()
    }
}

fn serve_beside_a_rival(reuse_port: bool) {
    let (recorder, events) = Recorder::<Raw>::new();
    let rival = Rival::default();
    let recorder = recorder.without_messages().on_message(move |conn, bytes| {
        match bytes {
            b"take" => rival.begin(),
            b"give" => rival.end(),
            _ => {}
        }
        let is_yes = bytes == b"look" && rival.has_taken();
        conn.send(if is_yes { b"took" } else { bytes });
    });
    serve_until_told(1, reuse_port, recorder, &events);
}

/// The descriptor in reserve was lost for good when something else was quicker to take it as it was used: when it was free
/// again it went to one more connection, and those who came after that hung in the backlog.
fn lose_the_reserve(test: &str, reuse_port: bool) {
    if Child::is_here() {
        return serve_beside_a_rival(reuse_port);
    }
    let mut child = Child::start(test, DESCRIPTORS);
    let address = child.line("serves on ").parse().unwrap();
    let mut clients = use_descriptors_up(address);
    assert_eq!(clients[0].ask(b"take"), b"take");
    // Each that is shed is a chance for the rival; on one processor it may have none.
    let mut knocking = Vec::new();
    while knocking.len() < 100 && clients[0].ask(b"look") != b"took" {
        knocking.push(Client::connect(address));
        thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(clients[0].ask(b"give"), b"give");
    knocking.extend((0..5).map(|_| Client::connect(address)));
    knocking.iter_mut().for_each(Client::expect_ended);
    clients.iter_mut().for_each(Client::ping);
    let knocks = knocking.len() as u64;
    drop((clients, knocking));
    child.close_input();
    let shed: u64 = child.line("has shed ").parse().unwrap();
    assert!(shed >= knocks, "{shed} of {knocks}");
    child.end();
}

#[test]
fn an_acceptor_that_has_lost_its_reserve_takes_it_again() {
    lose_the_reserve(
        "an_acceptor_that_has_lost_its_reserve_takes_it_again",
        false,
    );
}

#[test]
fn a_worker_that_has_lost_its_reserve_takes_it_again() {
    lose_the_reserve("a_worker_that_has_lost_its_reserve_takes_it_again", true);
}

/// Workers that share a port, and each had a reserve, robbed one another of it.
#[test]
fn workers_that_share_a_port_leave_one_another_the_reserve() {
    let test = "workers_that_share_a_port_leave_one_another_the_reserve";
    if Child::is_here() {
        let (recorder, events) = Recorder::<Raw>::new();
        let echo = |conn: &mut Conn<'_, Raw>, bytes: &[u8]| {
            conn.send(bytes);
        };
        let recorder = recorder.without_messages().on_message(echo);
        return serve_until_told(2, true, recorder, &events);
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
