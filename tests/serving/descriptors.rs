//! A server that runs out of descriptors serves its connections, sheds new ones, and recovers, also where it cannot open
//! files any more. A server that has ended holds none.
//!
//! The server runs alone in a child process with few descriptors, so that its clients do not compete for them.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::Raw;
use ringwheel::{Conn, Server};
use support::{Child, Client, DEADLINE, Recorder, TestServer, eventually, listen};

const DESCRIPTORS: u32 = 40;
const KNOCKS: usize = 300;

/// Runs a server until the parent closes our input, and reports its statistics.
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

/// Changes the root directory to one that is empty, as daemons do. False if this process may not.
fn enter_jail() -> bool {
    let jail = std::env::temp_dir().join(format!("ringwheel-jail-{}", std::process::id()));
    fs::create_dir_all(&jail).unwrap();
    let outcome = std::os::unix::fs::chroot(&jail);
    // It goes with the process.
    let _ = fs::remove_dir(&jail);
    outcome.is_ok()
}

fn is_served(client: &mut Client) -> bool {
    client.try_send(b"ping").is_ok() && client.try_receive(4).is_ok()
}

/// Connects until a connection is shed, and returns the connections that are served.
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

/// The number of times that the threads of a process have gone to sleep (proc(5): `voluntary_ctxt_switches`).
fn sleeps(process: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let of_thread = |thread: fs::DirEntry| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap();
        let count = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.unwrap().trim().parse::<u64>().unwrap()
    };
    threads.map(|thread| of_thread(thread.unwrap())).sum()
}

/// Checks that the only worker of an idle server sleeps until it is asked something. A worker that spins never sleeps, and
/// one that wakes up by itself sleeps more often than it is asked. Neither depends on the time that it gets.
fn assert_sleeps_between_pings(process: u32, client: &mut Client) {
    const SLEEPS: u64 = 200;
    let (start, before) = (Instant::now(), sleeps(process));
    let mut pings = 0;
    let mut slept = 0;
    while slept < SLEEPS {
        assert!(
            start.elapsed() < DEADLINE,
            "{slept} sleeps within {pings} pings"
        );
        client.ping();
        pings += 1;
        // The worker may go to sleep now.
        thread::sleep(Duration::from_millis(2));
        slept = sleeps(process) - before;
    }
    assert!(
        slept <= pings + SLEEPS / 4,
        "{slept} sleeps within {pings} pings"
    );
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
        // A shed connection is closed, and does not hang.
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

    // Each further connection is shed, even if no other follows it.
    for _ in 0..KNOCKS {
        Client::connect(address).expect_ended();
    }

    // Descriptors stay scarce. The server must not spin, however many connections it has shed.
    assert_sleeps_between_pings(child.id(), &mut clients[0]);

    // Several clients connect while the worker is held up, so that one event stands for all of them, and no other
    // follows.
    clients[0].send(b"slow");
    let mut knocking: Vec<Client> = (0..5).map(|_| Client::connect(address)).collect();
    knocking.iter_mut().for_each(Client::expect_ended);
    assert_eq!(clients[0].receive(4), b"slow");

    // Half of the connections close, so descriptors become free.
    clients.truncate(clients.len() / 2);
    eventually("new clients are served again", || {
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

/// True if a process has all the descriptors that it may have. Inherited ones above the limit do not count.
fn has_all_descriptors(process: u32) -> bool {
    (0..DESCRIPTORS)
        .all(|number| fs::symlink_metadata(format!("/proc/{process}/fd/{number}")).is_ok())
}

/// Changes the limit on the descriptors of a running process (prlimit(1)); the limit can be raised again.
fn limit_descriptors(process: u32, limit: u32) {
    let outcome = Command::new("prlimit")
        .args(["--pid", &process.to_string()])
        .arg(format!("--nofile={limit}:"))
        .status();
    assert!(outcome.expect("util-linux").success());
}

/// The spare descriptor was lost for good if it could not be reopened at once, for example because another file was
/// opened first. The next free descriptor then went to one more connection, and later connections hung in the backlog.
fn lose_the_spare(test: &str, reuse_port: bool) {
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
    eventually(
        "all descriptors are in use, one of them as the spare",
        has_all,
    );
    // Even returned descriptors cannot be opened again.
    limit_descriptors(child.id(), 3);
    let mut knocking = vec![Client::connect(address)];
    eventually("the spare is lost", || !has_all());
    limit_descriptors(child.id(), DESCRIPTORS);
    knocking.extend((0..5).map(|_| Client::connect(address)));
    knocking.iter_mut().for_each(Client::expect_ended);
    clients.iter_mut().for_each(Client::ping);
    eventually("there is a spare again", has_all);
    child.end();
}

#[test]
#[cfg_attr(
    mio_unsupported_force_poll_poll,
    ignore = "poll(2) fails where the limit is below what it polls"
)]
fn an_acceptor_that_has_lost_its_spare_reopens_it() {
    lose_the_spare(
        "descriptors::an_acceptor_that_has_lost_its_spare_reopens_it",
        false,
    );
}

#[test]
#[cfg_attr(
    mio_unsupported_force_poll_poll,
    ignore = "poll(2) fails where the limit is below what it polls"
)]
fn a_worker_that_has_lost_its_spare_reopens_it() {
    lose_the_spare(
        "descriptors::a_worker_that_has_lost_its_spare_reopens_it",
        true,
    );
}

/// Workers that shared a port each had a spare descriptor, and took it from one another.
#[test]
fn workers_that_share_a_port_do_not_take_each_others_spare() {
    let test = "descriptors::workers_that_share_a_port_do_not_take_each_others_spare";
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

/// The spare was the file `/dev/null`: once it had to be opened again in another root directory, every peer was shed for
/// good.
#[test]
fn a_server_in_a_jail_sheds_and_recovers() {
    let test = "descriptors::a_server_in_a_jail_sheds_and_recovers";
    if Child::is_here() {
        let builder = Server::builder().workers(1);
        let (recorder, events) = support::raw_echo();
        let server = TestServer::start_on(builder, listen(Raw), recorder.without_messages());
        println!("\nis jailed: {}", enter_jail());
        println!("\nserves on {}", server.addr());
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return server.finish(&events);
    }
    let mut child = Child::start(test, DESCRIPTORS);
    if child.line("is jailed: ") == "false" {
        return eprintln!("skipped: only root may change its root directory");
    }
    let address = child.line("serves on ").parse().unwrap();
    let mut clients = use_descriptors_up(address);
    for _ in 0..KNOCKS / 10 {
        Client::connect(address).expect_ended();
    }
    clients.iter_mut().for_each(Client::ping);
    clients.truncate(clients.len() / 2);
    eventually("new clients are served again", || {
        is_served(&mut Client::connect(address))
    });
    child.end();
}

/// Handles kept the event descriptors of a server that had ended.
#[test]
fn handles_of_a_server_that_has_ended_hold_no_descriptor() {
    let test = "descriptors::handles_of_a_server_that_has_ended_hold_no_descriptor";
    if !Child::is_here() {
        return Child::pass(test, 1024);
    }
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let mut kept = Vec::new();
    for (workers, reuse_port) in [(1, false), (2, false), (2, true)] {
        for runs in [true, false] {
            let (recorder, events) = support::raw_echo();
            let (recorder, lent) = support::lending(recorder);
            let builder = Server::builder().workers(workers);
            let builder = builder.listen_with(listen(Raw).reuse_port(reuse_port), recorder);
            let server = builder.unwrap().build().unwrap();
            let handle = server.handle();
            let task = handle.run_after(Duration::from_secs(3600), || {});
            let everyone = handle.connections_of::<Recorder<Raw>>().unwrap();
            let mut connection = None;
            if runs {
                let server = TestServer::adopt(server.spawn().unwrap());
                server.connect().ping();
                connection = Some(support::take(&lent));
                assert!(open() > before);
                server.finish(&events);
            } else {
                drop(server);
            }
            // They do nothing, and say so.
            handle.stop();
            handle.shutdown(Duration::ZERO);
            assert!(everyone.broadcast("anybody").is_err());
            assert!(connection.as_ref().is_none_or(|it| it.send("you").is_err()));
            assert!(task.cancel());
            kept.push((handle, task, everyone, connection));
        }
    }
    eventually("all descriptors are closed", || open() == before);
}
