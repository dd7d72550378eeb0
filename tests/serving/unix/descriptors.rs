//! Servers without descriptors turn connections over Unix sockets away, and recover.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use ringwheel::{Listen, Server};
use support::{Child, TestServer, eventually, raw_echo};

use super::{Directory, connect, ping};

const DESCRIPTORS: u32 = 40;

fn is_served(client: &mut UnixStream) -> bool {
    client.write_all(b"ping").is_ok() && client.read_exact(&mut [0; 4]).is_ok()
}

fn shed_and_recover(test: &str, workers: usize) {
    if Child::is_here() {
        let directory = Directory::new();
        let (echo, events) = raw_echo();
        let builder = Server::builder().workers(workers);
        let listen = Listen::unix(directory.socket());
        let server = TestServer::start_on(builder, listen, echo.without_messages());
        println!("\nserves on {}", directory.socket().display());
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        println!("\nhas shed {}", server.handle().stats().shed);
        return server.finish(&events);
    }
    let mut child = Child::start(test, DESCRIPTORS);
    let path = PathBuf::from(child.line("serves on "));
    let mut clients = Vec::new();
    let mut turned_away = 0;
    while turned_away < 5 {
        assert!(clients.len() < DESCRIPTORS as usize);
        let mut client = connect(&path);
        // A shed connection is closed, and does not hang.
        match is_served(&mut client) {
            true => clients.push(client),
            false => turned_away += 1,
        }
    }
    clients.iter_mut().for_each(ping);
    clients.truncate(clients.len() / 2);
    eventually("new clients are served again", || {
        is_served(&mut connect(&path))
    });
    clients.iter_mut().for_each(ping);
    drop(clients);
    child.close_input();
    assert!(child.line("has shed ").parse::<u64>().unwrap() >= 5);
    child.end();
}

#[test]
fn an_acceptor_without_descriptors_sheds_and_recovers() {
    let test = "unix::descriptors::an_acceptor_without_descriptors_sheds_and_recovers";
    shed_and_recover(test, 2);
}

#[test]
fn a_worker_without_descriptors_sheds_and_recovers() {
    let test = "unix::descriptors::a_worker_without_descriptors_sheds_and_recovers";
    shed_and_recover(test, 1);
}
