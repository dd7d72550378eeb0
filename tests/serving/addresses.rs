//! Addresses that a listener is bound to: all of a name that the machine has, and errors that name the address at fault.

use std::io::ErrorKind;
use std::net::SocketAddr;

use ringwheel::protocol::Raw;
use ringwheel::{Listen, Server};
use support::{Client, LOCAL, Recorder, TestServer, listen, raw_echo};

#[test]
fn the_error_for_an_address_in_use_names_it() {
    let (echo, events) = raw_echo();
    let server = TestServer::start(listen(Raw), echo.clone());
    let address = server.addr();
    let refused = Server::builder().listen(address, echo.clone()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    assert!(
        refused.to_string().contains(&address.to_string()),
        "{refused}"
    );
    let refused = Server::builder()
        .listen_with(Listen::<Raw>::on("no address"), echo)
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    server.finish(&events);
}

#[test]
fn every_address_of_a_name_is_bound_to_one_port() {
    // As a name with several addresses; one comes twice, as from a resolver that knows several protocols.
    let hosts = ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.1:0"];
    let addresses = hosts.map(|host| host.parse::<SocketAddr>().unwrap());
    for reuse_port in [false, true] {
        let (echo, events) = raw_echo();
        let builder = Server::builder().workers(2);
        let terms = Listen::<Raw>::on(&addresses[..]).reuse_port(reuse_port);
        let server = TestServer::start_on(builder, terms, echo);
        let bound = server.handle().local_addrs();
        let ips = [bound[0].ip(), bound[1].ip()];
        assert_eq!(ips, [Some(addresses[0].ip()), Some(addresses[1].ip())]);
        assert_eq!(bound.len(), 2);
        assert_eq!(bound[0].port(), bound[1].port());
        let mut clients = [0, 1].map(|listener| Client::connect(server.addr_of(listener)));
        clients.iter_mut().for_each(Client::ping);
        // The handler is one.
        let everyone = server.handle().connections_of::<Recorder<Raw>>().unwrap();
        everyone.broadcast("all").unwrap();
        for client in &mut clients {
            assert_eq!(client.receive(3), b"all");
        }
        server.finish(&events);
    }
}

#[test]
fn an_address_that_the_machine_does_not_have_is_left_out() {
    let (echo, events) = raw_echo();
    // Addresses that belong to no machine (RFC 5737, section 3).
    let [strange, other, own] =
        ["198.51.100.1:0", "203.0.113.1:0", LOCAL].map(|address| address.parse().unwrap());
    let on = |addresses: &[SocketAddr]| Listen::<Raw>::on(addresses);
    let server = TestServer::start(on(&[strange, own]), echo.clone());
    assert_eq!(server.handle().local_addrs().len(), 1);
    server.connect().ping();
    let taken = server.addr();
    // Any other failure counts, and so does a name without any address of this machine.
    for (addresses, kind, named) in [
        ([own, taken], ErrorKind::AddrInUse, taken),
        ([strange, other], ErrorKind::AddrNotAvailable, strange),
    ] {
        let refused = Server::builder().listen_with(on(&addresses), echo.clone());
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), kind);
        assert!(
            refused.to_string().contains(&named.to_string()),
            "{refused}"
        );
    }
    server.finish(&events);
}

#[test]
fn the_error_for_a_host_that_cannot_be_resolved_names_it() {
    let (echo, _events) = raw_echo();
    // Longer than any name may be, so that no server is asked for it.
    let host = "x".repeat(300);
    let refused = Server::builder().listen((&*host, 80), echo).unwrap_err();
    assert!(refused.to_string().contains(&host), "{refused}");
}
