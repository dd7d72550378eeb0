use std::collections::HashSet;

use super::*;
use crate::peers::PEERS;

fn all_prepared() -> Vec<Prepared> {
    PEERS.iter().map(Prepared::started_by_its_name).collect()
}

fn check(scenarios: &[Scenario]) {
    let ids: HashSet<_> = scenarios.iter().map(|scenario| &scenario.id).collect();
    assert_eq!(ids.len(), scenarios.len(), "ids are unique");
    for scenario in scenarios {
        let id = &scenario.id;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        assert!(id.bytes().all(plain), "{id}");
        assert!(scenario.rounds > 0, "{id}");
        let needs_none = matches!(scenario.section, Section::Workers | Section::Timers)
            || id.contains("deflate")
            || id.contains("wss");
        assert_eq!(scenario.floor.is_none(), needs_none, "{id}");
    }
}

#[test]
fn every_scenario_has_its_servers_and_its_floor() {
    let prepared = all_prepared();
    check(&quick(&prepared, 5));
    let full = full(&prepared, 5);
    check(&full);
    let sections: HashSet<_> = full.iter().map(|scenario| scenario.section).collect();
    assert_eq!(sections.len(), Section::ALL.len(), "no section is left out");
    for peer in PEERS {
        let takes_part = |scenario: &Scenario| {
            let mut servers = scenario.servers.iter();
            servers.any(|server| server.name == peer.name)
        };
        assert!(full.iter().any(takes_part), "{}", peer.name);
    }
}

#[test]
fn full_measures_deflate_with_the_peers_that_support_it() {
    let prepared = all_prepared();
    let is_deflated = |scenario: &&Scenario| scenario.id == "websocket-deflate-1024-1";
    assert!(quick(&prepared, 5).iter().find(is_deflated).is_none());
    let full = full(&prepared, 5);
    let scenario = full.iter().find(is_deflated).unwrap();
    let names: Vec<_> = scenario.servers.iter().map(|it| it.name.as_str()).collect();
    let expected = [
        "ringwheel",
        "uwebsockets",
        "gws",
        "nbio-websocket",
        "gorilla",
        "ws",
    ];
    assert_eq!(names, expected);
    for server in &scenario.servers {
        let asked = server.command.contains("--framing websocket-deflate");
        assert!(asked, "{}", server.command);
    }
}

#[test]
fn the_plan_covers_both_broadcasts_and_subscribers_that_stop_reading() {
    let full = full(&all_prepared(), 5);
    for id in [
        "broadcast-64-100",
        "broadcast-128-5000",
        "broadcast-stalled-1024-1000",
    ] {
        let scenario = full.iter().find(|scenario| scenario.id == id).unwrap();
        assert_eq!(scenario.servers.len(), 10, "{id}");
        for server in &scenario.servers {
            assert!(server.command.contains("--broadcast"), "{}", server.command);
        }
    }
}

#[test]
fn without_peers_nothing_is_planned() {
    assert!(quick(&[], 5).is_empty());
    assert!(full(&[], 5).is_empty());
}

#[test]
fn full_measures_tls_with_the_peers_that_speak_it() {
    let full = full(&all_prepared(), 5);
    let servers = |id: &str| {
        let scenario = full.iter().find(|scenario| scenario.id == id).unwrap();
        for server in &scenario.servers {
            let command = &server.command;
            assert!(command.contains("--tls-cert"), "{id}: {command}");
            let rsa = command.contains("{rsa-cert}");
            assert_eq!(rsa, id.contains("rsa"), "{id}: {command}");
        }
        let mut names: Vec<_> = scenario.servers.iter().map(|it| it.name.as_str()).collect();
        // Ringwheel speaks TLS as soon as the library does.
        names.retain(|name| *name != "ringwheel");
        names
    };
    for id in [
        "tls-echo-64-1",
        "tls-echo-64-16",
        "tls-echo-16384-1",
        "handshakes-ecdsa-50",
        "handshakes-rsa-50",
        "handshakes-resumed-50",
        "memory-tls-10000",
    ] {
        let expected = [
            "mio-tls",
            "mio-tls-unbuffered",
            "epoll-openssl",
            "tokio-tls",
            "go-tls",
        ];
        assert_eq!(servers(id), expected, "{id}");
    }
    for id in ["wss-echo-64-1", "wss-echo-64-16", "wss-broadcast-64-100"] {
        assert_eq!(servers(id), ["uwebsockets-tls"], "{id}");
    }
}
