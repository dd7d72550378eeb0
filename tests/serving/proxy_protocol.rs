//! Listeners behind proxies: the PROXY header tells the client, and only trusted proxies may send one.

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ringwheel::protocol::Raw;
use ringwheel::{
    Address, Listen, ProxyHeader, Server, ServerBuilder, ServerStats, SettingError, TrustedNetworks,
};
use socket2::{Domain, Socket, Type};
use support::{
    Client, DEADLINE, Event, Events, Recorder, TestServer, eventually, listen, raw_echo, take,
};

const CLIENT: &str = "192.0.2.7:56324";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";

fn header() -> ProxyHeader {
    let client: SocketAddr = CLIENT.parse().unwrap();
    ProxyHeader::new(client, SocketAddr::from(([198, 51, 100, 1], 443))).unwrap()
}

fn v2(header: &ProxyHeader) -> Vec<u8> {
    let mut bytes = Vec::new();
    header.encode_v2(&mut bytes);
    bytes
}

/// A listener for proxies on this machine.
fn behind_proxies() -> Listen<Raw> {
    listen(Raw).proxy_protocol(TrustedNetworks::of(["127.0.0.1"]).unwrap())
}

/// The address of a client, and the host name that it has asked the proxy for.
type Told = (Address, Option<String>);

/// An echo that tells the test of each client.
fn telling_echo() -> (Recorder<Raw>, Events, Receiver<Told>) {
    let (recorder, events) = raw_echo();
    let (clients, told) = channel();
    let recorder = recorder.on_open(move |conn| {
        let host = conn.proxy_header().and_then(ProxyHeader::authority);
        let client = (conn.peer_addr().clone(), host.map(str::to_owned));
        clients.send(client).unwrap();
    });
    (recorder, events, told)
}

/// Ways from a listener to a worker: one that accepts itself, an acceptor, and workers that share a port.
fn ways() -> impl Iterator<Item = (ServerBuilder, Listen<Raw>)> {
    let ways = [(1, false), (2, false), (2, cfg!(unix))];
    ways.into_iter().map(|(workers, reuse_port)| {
        let builder = Server::builder().workers(workers);
        (builder, behind_proxies().reuse_port(reuse_port))
    })
}

/// Connects from an address that is not trusted. The reset may come before the connect has returned.
#[track_caller]
fn expect_refused(address: SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let stranger = SocketAddr::from(([127, 0, 0, 2], 0));
    socket.bind(&stranger.into()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let connected = socket.connect_timeout(&address.into(), DEADLINE);
    let end = connected.and_then(|()| (&socket).read(&mut [0]));
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[track_caller]
fn assert_stats(server: &TestServer, what: &str, reached: impl Fn(ServerStats) -> bool) {
    eventually(what, || reached(server.handle().stats()));
}

#[test]
fn the_client_is_the_one_that_the_header_names() {
    let mut with_host = header();
    with_host
        .add_tlv(ProxyHeader::AUTHORITY, b"chat.example")
        .unwrap();
    with_host.add_checksum().unwrap();
    for (builder, listen) in ways() {
        let (echo, events, told) = telling_echo();
        let server = TestServer::start_on(builder, listen, echo);
        for (header, host) in [(V1.to_vec(), None), (v2(&with_host), Some("chat.example"))] {
            let mut client = server.connect();
            client.send(&[&header[..], b"hello"].concat());
            assert_eq!(client.receive(5), b"hello");
            let (address, told_host) = take(&told);
            assert_eq!(address, CLIENT.parse::<SocketAddr>().unwrap());
            assert_eq!(told_host.as_deref(), host);
            client.ping();
        }
        server.finish(&events);
    }
}

#[test]
fn a_header_may_be_cut_anywhere() {
    let (echo, events, told) = telling_echo();
    let server = TestServer::start(behind_proxies(), echo);
    for header in [V1.to_vec(), v2(&header())] {
        let all = [&header[..], b"ping\n"].concat();
        for cut in 1..all.len() {
            let mut client = server.connect();
            client.send(&all[..cut]);
            // The pong of another connection shows that the server has seen the first piece.
            let mut other = server.connect();
            other.send(&header);
            other.ping();
            client.send(&all[cut..]);
            assert_eq!(client.receive(5), b"ping\n");
        }
        let mut client = server.connect();
        all.iter().for_each(|byte| client.send(&[*byte]));
        assert_eq!(client.receive(5), b"ping\n");
    }
    for (address, _) in told.try_iter() {
        assert_eq!(address, CLIENT.parse::<SocketAddr>().unwrap());
    }
    server.finish(&events);
}

#[test]
fn strangers_and_malformed_headers_are_reset_and_counted() {
    for (builder, listen) in ways() {
        let (echo, events) = raw_echo();
        let server = TestServer::start_on(builder, listen, echo);
        expect_refused(server.addr());
        for wrong in [&b"GET / HTTP/1.1\r\n"[..], b"PROXY TCP4 192.0.2.256 "] {
            let mut client = server.connect();
            client.send(wrong);
            client.expect_reset();
        }
        assert_stats(&server, "three are refused", |stats| {
            stats.headers_refused == 3 && stats.connections == 0
        });
        let mut client = server.connect();
        client.send(V1);
        client.ping();
        let opened = events.count(|event| matches!(event, Event::Open(_)));
        assert_eq!(opened, 1, "the handler meets only the last");
        server.finish(&events);
    }
}

#[test]
fn a_header_that_is_late_is_reset() {
    let (echo, events) = raw_echo();
    let listen = behind_proxies().opening_timeout(Duration::from_millis(30));
    let server = TestServer::start(listen, echo);
    let (mut silent, mut half) = (server.connect(), server.connect());
    half.send(&V1[..20]);
    silent.expect_reset();
    half.expect_reset();
    assert_stats(&server, "both are counted", |stats| {
        stats.openings_late == 2 && stats.connections == 0
    });
    server.finish(&events);
}

#[test]
fn a_peer_that_leaves_before_its_header_is_counted_apart() {
    let (echo, events) = raw_echo();
    let server = TestServer::start(behind_proxies(), echo);
    drop(server.connect());
    let mut half = server.connect();
    half.send(&V1[..20]);
    half.finish();
    half.expect_eof();
    assert_stats(&server, "both are counted", |stats| {
        stats.openings_abandoned == 2 && stats.connections == 0
    });
    server.finish(&events);
}

#[test]
fn a_health_check_of_the_proxy_keeps_its_own_address() {
    let (echo, events, told) = telling_echo();
    let server = TestServer::start(behind_proxies(), echo);
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), v2(&ProxyHeader::local())] {
        let mut client = server.connect();
        client.send(&header);
        client.ping();
        assert_eq!(take(&told).0, client.addr());
    }
    server.finish(&events);
}

#[test]
fn the_limit_per_address_is_on_clients_and_comes_back() {
    for (builder, listen) in ways() {
        let (echo, events) = raw_echo();
        let builder = builder.max_connections_per_ip(2);
        let server = TestServer::start_on(builder, listen, echo);
        for round in 1..=2 {
            let mut clients: Vec<Client> = (0..6).map(|_| server.connect()).collect();
            for (index, client) in clients.iter_mut().enumerate() {
                let header = format!("PROXY TCP4 192.0.2.{} 198.51.100.1 1 2\r\n", index / 2);
                client.send(header.as_bytes());
                client.ping();
            }
            let mut third = server.connect();
            third.send(b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n");
            third.expect_reset();
            assert_stats(&server, "one is refused", |stats| {
                stats.refused_per_ip == round && stats.connections == 6
            });
            drop(clients);
            assert_stats(&server, "all have gone", |stats| stats.connections == 0);
        }
        server.finish(&events);
    }
}

#[test]
fn a_flood_of_slow_headers_gives_way() {
    let (echo, events) = raw_echo();
    let builder = Server::builder().workers(1).opening_limit(8);
    let server = TestServer::start_on(builder, behind_proxies(), echo);
    let mut slow: Vec<Client> = Vec::new();
    for _ in 0..40 {
        let mut client = server.connect();
        client.send(b"PROXY");
        slow.push(client);
    }
    assert_stats(&server, "most have given way", |stats| {
        stats.openings_displaced == 32 && stats.connections == 8
    });
    slow.iter_mut().take(32).for_each(Client::expect_ended);
    let mut honest = server.connect();
    honest.send(V1);
    honest.ping();
    server.finish(&events);
}

#[test]
fn a_limit_of_openings_has_a_range() {
    for limit in [0, 65_537] {
        let builder = Server::builder().opening_limit(limit);
        let builder = builder.listen_with(behind_proxies(), raw_echo().0).unwrap();
        let error = builder.build().unwrap_err();
        let wrong = error.get_ref().and_then(|it| it.downcast_ref());
        assert_eq!(wrong.map(SettingError::setting), Some("opening_limit"));
    }
}

#[test]
fn a_drain_drops_silent_openings_and_answers_the_others() {
    for (builder, listen) in ways() {
        let (echo, events) = raw_echo();
        let server = TestServer::start_on(builder, listen, echo);
        let (mut silent, mut half) = (server.connect(), server.connect());
        half.send(&V1[..20]);
        assert_stats(&server, "both are accepted", |stats| stats.accepted == 2);
        server.handle().shutdown(DEADLINE);
        silent.expect_eof();
        half.send(&[&V1[20..], b"hello"].concat());
        assert_eq!(half.receive_rest(), b"hello");
        drop(half);
        events.close();
        let handle = server.handle().clone();
        server.join();
        assert_eq!(handle.stats().connections, 0);
        events.assert_lifecycles();
    }
}

#[test]
fn a_drain_ends_openings_at_its_deadline() {
    let (echo, events) = raw_echo();
    let server = TestServer::start(behind_proxies(), echo);
    let mut half = server.connect();
    half.send(&V1[..20]);
    assert_stats(&server, "it is accepted", |stats| stats.accepted == 1);
    server.handle().shutdown(Duration::from_millis(50));
    half.expect_reset();
    let handle = server.handle().clone();
    server.join();
    assert_eq!(handle.stats().connections, 0);
    events.assert_lifecycles();
}

#[test]
fn a_stop_counts_openings_out() {
    for (builder, listen) in ways() {
        let (echo, events) = raw_echo();
        let server = TestServer::start_on(builder, listen, echo);
        let (silent, mut half) = (server.connect(), server.connect());
        half.send(&V1[..20]);
        assert_stats(&server, "both are accepted", |stats| stats.accepted == 2);
        let handle = server.handle().clone();
        server.finish(&events);
        assert_eq!(handle.stats().connections, 0);
        let of_workers: usize = handle.connections_per_worker().iter().sum();
        assert_eq!(of_workers, 0);
        drop((silent, half));
    }
}

/// The header of a proxy that is trusted because it connects by a Unix socket.
#[test]
#[cfg(unix)]
fn proxies_may_come_by_a_unix_socket() {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    let path = std::env::temp_dir().join(format!("ringwheel-proxy-{}", std::process::id()));
    let connect = || {
        let client = UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client
    };
    for is_trusted in [true, false] {
        let (echo, events, told) = telling_echo();
        let proxies = match is_trusted {
            true => TrustedNetworks::none().with_unix_sockets(),
            false => TrustedNetworks::of(["127.0.0.1"]).unwrap(),
        };
        let listen = Listen::unix_with(Raw, &path).proxy_protocol(proxies);
        let builder = Server::builder().workers(1).max_connections_per_ip(1);
        let server = TestServer::start_on(builder, listen, echo);
        if !is_trusted {
            let end = connect().read(&mut [0]);
            assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
            assert_eq!(server.handle().stats().headers_refused, 1);
            return server.finish(&events);
        }
        let local = v2(&ProxyHeader::local());
        let clients = [V1, V1, b"PROXY UNKNOWN\r\n", &local].map(|header| {
            let mut client = connect();
            client.write_all(&[header, b"hello"].concat()).unwrap();
            let mut answer = Vec::new();
            let _ = (&client).take(5).read_to_end(&mut answer);
            (client, answer)
        });
        assert_eq!(clients[0].1, b"hello");
        assert_eq!(clients[1].1, b"", "the client has a connection already");
        assert_eq!(clients[2].1, b"hello");
        assert_eq!(clients[3].1, b"hello");
        assert_eq!(take(&told).0, CLIENT.parse::<SocketAddr>().unwrap());
        assert_eq!(
            [take(&told).0, take(&told).0],
            [Address::Unix(None), Address::Unix(None)]
        );
        server.finish(&events);
    }
}

#[test]
fn a_listener_for_proxies_can_be_added_while_the_server_serves() {
    for workers in [1, 2] {
        let builder = Server::builder().workers(workers);
        let server = TestServer::start_on(builder, listen(Raw), raw_echo().0);
        let (echo, _events, told) = telling_echo();
        let added = server.handle().listen(behind_proxies(), echo).unwrap();
        let mut client = Client::connect(added[0].socket_addr().unwrap());
        client.send(V1);
        client.ping();
        assert_eq!(take(&told).0, CLIENT.parse::<SocketAddr>().unwrap());
        let mut plain = server.connect();
        plain.ping();
    }
}
