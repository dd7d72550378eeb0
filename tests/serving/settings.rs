//! Settings of a server and of a listener: those that cannot be granted are refused by name.

use std::io::{self, ErrorKind};
use std::time::Duration;

use ringwheel::protocol::Raw;
use ringwheel::ringbuffer::PoolConfig;
use ringwheel::{Limits, Server, SettingError};
use support::{LOCAL, TestServer, listen, raw_echo};

#[test]
fn limits_that_contradict_one_another_are_refused() {
    let contradictions = [
        (
            Limits::default().low_water(2).high_water(1),
            "`Limits::low_water` is 2, and must not exceed `Limits::high_water`, which is 1",
        ),
        (
            Limits::default().low_water(1).high_water(10).output(9),
            "`Limits::high_water` is 10, and must not exceed `Limits::output`, which is 9",
        ),
        (
            Limits::default().input(0),
            "`Limits::input` is 0, and must be from 1 to 4294966271",
        ),
        (
            Limits::default().low_water(0).high_water(0).output(0),
            "`Limits::output` is 0, and must be from 1 to 4294966271",
        ),
        (
            Limits::default().input(1 << 32),
            "`Limits::input` is 4294967296, and must be from 1 to 4294966271",
        ),
    ];
    for (limits, text) in contradictions {
        let (echo, _events) = raw_echo();
        let refused = Server::builder().listen_with(listen(Raw).limits(limits), echo);
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert_eq!(refused.to_string(), text);
    }
}

#[test]
fn a_server_without_a_listener_is_refused() {
    let refused = Server::builder().workers(1).build().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert_eq!(refused.to_string(), "a server needs a listener");
}

#[test]
fn a_builder_can_move_to_another_thread() {
    let (echo, events) = raw_echo();
    let builder = Server::builder().listen_with(listen(Raw), echo).unwrap();
    let server = std::thread::spawn(|| TestServer::spawn(builder))
        .join()
        .unwrap();
    server.connect().ping();
    server.finish(&events);
}

/// A setting that no machine can grant made a worker panic.
#[test]
fn a_setting_out_of_its_range_is_refused_by_name() {
    let pool = |initial_capacity| PoolConfig {
        initial_capacity,
        ..PoolConfig::default()
    };
    let builders = [
        ("workers", Server::builder().workers(usize::MAX)),
        ("workers", Server::builder().workers(65_537)),
        (
            "receive_buffer",
            Server::builder().receive_buffer(usize::MAX),
        ),
        ("receive_buffer", Server::builder().receive_buffer(1 << 30)),
        (
            "ring_pool.initial_capacity",
            Server::builder().ring_pool(pool(usize::MAX)),
        ),
        ("mailbox_limit", Server::builder().mailbox_limit(1 << 24)),
        ("mailbox_bytes", Server::builder().mailbox_bytes(1 << 40)),
        ("tick", Server::builder().tick(Duration::ZERO)),
        ("tick", Server::builder().tick(Duration::MAX)),
        ("worker_memory", Server::builder().worker_memory(0)),
        (
            "worker_memory",
            Server::builder().worker_memory((1 << 20) - 1),
        ),
        ("ipv6_prefix", Server::builder().ipv6_prefix(0)),
        ("ipv6_prefix", Server::builder().ipv6_prefix(129)),
    ];
    for (setting, builder) in builders {
        let (echo, _events) = raw_echo();
        let refused = builder.listen(LOCAL, echo).unwrap().build().unwrap_err();
        assert_names(&refused, setting);
    }
    let terms = [
        ("keepalive", listen(Raw).keepalive(Duration::ZERO)),
        ("keepalive", listen(Raw).keepalive(Duration::MAX)),
        (
            "receive_buffer_size",
            listen(Raw).receive_buffer_size(usize::MAX),
        ),
        ("send_buffer_size", listen(Raw).send_buffer_size(1 << 31)),
    ];
    for (setting, terms) in terms {
        let (echo, _events) = raw_echo();
        let refused = Server::builder().listen_with(terms, echo).unwrap_err();
        assert_names(&refused, setting);
    }
}

#[track_caller]
fn assert_names(error: &io::Error, setting: &str) {
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let inner = error.get_ref().expect("a typed error");
    let inner = inner
        .downcast_ref::<SettingError>()
        .expect("a setting's error");
    assert_eq!(inner.setting(), setting, "{error}");
    assert!(error.to_string().contains(setting), "{error}");
}

/// No sum or product of the largest values wraps, on the way to a worker or on it.
#[test]
fn the_largest_settings_serve() {
    let (echo, events) = raw_echo();
    let builder = Server::builder()
        .workers(2)
        .max_connections(usize::MAX)
        .max_connections_per_ip(usize::MAX)
        .ipv6_prefix(128)
        .accept_burst(usize::MAX)
        .handover_limit(usize::MAX)
        .mailbox_limit((1 << 24) - 1)
        .mailbox_bytes((1 << 40) - 1)
        .read_budget(usize::MAX)
        .busy_poll(Duration::MAX)
        .ring_pool(PoolConfig {
            initial_capacity: 0,
            keep_capacity: usize::MAX,
            max_idle: usize::MAX,
            max_large: usize::MAX,
            large_bytes: usize::MAX,
        });
    let most = u32::MAX as usize - 1024;
    let limits = Limits::default()
        .input(most)
        .output(most)
        .high_water(most)
        .low_water(most)
        .timers(usize::MAX)
        .subscriptions(usize::MAX)
        .topic_name(usize::MAX);
    let terms = listen(Raw)
        .limits(limits)
        .backlog(u32::MAX)
        .idle_timeout(Duration::MAX)
        .first_message_timeout(Duration::MAX)
        .message_timeout(Duration::MAX)
        .write_stall_timeout(Some(Duration::MAX))
        .close_timeout(Duration::MAX)
        .tick_every(Duration::MAX)
        .keepalive(Duration::from_secs(32_767));
    let server = TestServer::start_on(builder, terms, echo);
    server.handle().run_every(Duration::MAX, || {});
    let mut client = server.connect();
    client.ping();
    client.ask(&vec![7; 100_000]);
    client.finish();
    client.expect_eof();
    server.finish(&events);
}
