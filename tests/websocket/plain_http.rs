//! Plain HTTP on the port of a WebSocket server, hosts and origins by default, and an application that panics; over sockets.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringwheel::Address;
use ringwheel::websocket::{
    Accept, Answer, Hosts, Origins, Request, Response, WebSocket, WebSocketError,
};
use support::websocket::{Frame, Peer};
use support::{DEADLINE, TestServer, deliberate_panic, eventually, listen};

use crate::opening::{Doors, request_with, status_of, without_date};
use crate::probe::{Probe, Reports};

fn start<A: Accept>(protocol: WebSocket<A>) -> (TestServer, Reports) {
    let (probe, reports) = Probe::<A>::new();
    (TestServer::start(listen(protocol), probe), reports)
}

/// Sends `request` and returns all that comes back; the server ends the stream.
#[track_caller]
fn ask(server: &TestServer, request: &[u8]) -> String {
    let mut client = server.connect();
    let _ = client.try_send(request);
    String::from_utf8(client.receive_rest()).expect("an answer is text")
}

#[track_caller]
fn finish(server: TestServer, reports: &Reports) {
    eventually("all are counted out", || {
        server.handle().stats().connections == 0
    });
    server.handle().stop();
    server.join();
    assert_eq!(reports.so_far(), []);
}

#[test]
fn health_checks_in_old_http_are_answered() {
    let (server, reports) = start(WebSocket::accepting(Doors));
    let page = ask(&server, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status_of(page.as_bytes()), 200);
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    ] {
        let answer = ask(&server, request.as_bytes());
        assert_eq!(without_date(&answer), without_date(&page), "{request:?}");
        let head = ask(&server, request.replace("GET", "HEAD").as_bytes());
        let body = "<p>hello";
        assert_eq!(
            Some(without_date(&head).as_str()),
            without_date(&page).strip_suffix(body)
        );
    }
    let options = ask(&server, b"OPTIONS * HTTP/1.0\r\n\r\n");
    assert_eq!(status_of(options.as_bytes()), 204);
    assert!(options.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"));
    let upgrade = request_with("HTTP/1.1", "HTTP/1.0");
    assert_eq!(status_of(ask(&server, &upgrade).as_bytes()), 426);
    finish(server, &reports);
}

/// The seconds since 1970 that a date stands for, by way of the year 2000: the tests run in this millennium.
fn seconds_of(date: &str) -> u64 {
    let parts: Vec<_> = date.split([' ', ':']).collect();
    let number = |index: usize| parts[index].parse::<u64>().expect("a number");
    let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = months.find(parts[2]).expect("a month") as u64 / 3;
    let year = number(3) - 2000;
    let days_before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let is_leap = year % 4 == 0 && month >= 2;
    let leap_days = year.div_ceil(4) + u64::from(is_leap);
    let days = 365 * year + leap_days + days_before[month as usize] + number(1) - 1;
    946_684_800 + ((days * 24 + number(4)) * 60 + number(5)) * 60 + number(6)
}

#[test]
fn answers_have_the_time_of_now() {
    let (server, reports) = start(WebSocket::accepting(Doors).handshake_timeout(DEADLINE));
    let now = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.expect("a clock").as_secs()
    };
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /none HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\0",
    ] {
        let before = now();
        let answer = ask(&server, request.as_bytes());
        let after = now();
        let (_, rest) = answer.split_once("\r\nDate: ").expect("a date");
        let seconds = seconds_of(rest.split_once("\r\n").expect("a line").0);
        assert!((before..=after).contains(&seconds), "{answer}");
    }
    finish(server, &reports);
}

#[test]
fn a_handshake_timeout_has_a_date() {
    let (server, reports) = start(WebSocket::new().handshake_timeout(Duration::from_millis(20)));
    let answer = ask(&server, b"\r\nGET / HT");
    assert_eq!(status_of(answer.as_bytes()), 408);
    without_date(&answer);
    finish(server, &reports);
}

/// Panics at some paths, and at every refusal of one host.
struct Fragile;

impl Accept for Fragile {
    type State = ();

    fn upgrade(&self, request: &Request<'_>) -> Answer<()> {
        match request.path() {
            "/panic" => deliberate_panic(),
            _ => Answer::accept(()),
        }
    }

    fn http(&self, request: &Request<'_>) -> Option<Response> {
        match request.path() {
            "/panic" => deliberate_panic(),
            _ => None,
        }
    }

    fn refused(&self, _: &Address, error: &WebSocketError) {
        if error.to_string().contains("only GET") {
            deliberate_panic()
        }
    }
}

#[test]
fn a_panic_in_the_handshake_is_a_500_and_ends_one_connection() {
    let (server, reports) = start(WebSocket::accepting(Fragile));
    let mut bystander = Peer::open(&server);
    let upgrade = request_with("GET /chat", "GET /panic");
    for request in [
        &upgrade[..],
        b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /panic HTTP/1.0\r\n\r\n",
    ] {
        let answer = ask(&server, request);
        assert_eq!(status_of(answer.as_bytes()), 500);
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nthe server failed\n"), "{answer}");
    }
    let head = ask(&server, b"HEAD /panic HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status_of(head.as_bytes()), 500);
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    // Frames that came with the request are for nobody.
    let frames = [&upgrade[..], &Frame::text("early").masked([0; 4]).bytes()].concat();
    assert_eq!(status_of(ask(&server, &frames).as_bytes()), 500);
    // The refusal is written before it is told.
    let answer = ask(&server, b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status_of(answer.as_bytes()), 405);
    bystander.send(Frame::ping("still there?"));
    bystander.expect(Frame::pong("still there?"));
    eventually("only one is left", || {
        server.handle().stats().connections == 1
    });
    drop(bystander);
    reports.finish(server);
}

/// True if the server accepts a request with these lines in place of its host.
#[track_caller]
fn status_with(server: &TestServer, host: &str) -> u16 {
    let mut client = server.connect();
    client.send(&request_with("Host: server.example.com", host));
    client.finish();
    let answer = client.receive_rest();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    status_of(&answer[..end.expect("a whole head") + 4])
}

#[test]
fn by_default_only_pages_of_the_same_host_are_let_in() {
    for (protocol, strangers) in [
        (WebSocket::new(), 403),
        (WebSocket::default(), 403),
        (WebSocket::new().origins(Origins::any()), 101),
    ] {
        let (probe, reports) = Probe::echo();
        let server = TestServer::start(listen(protocol), probe);
        for (lines, status) in [
            ("Host: a:1833", 101),
            ("Host: a:1833\r\nOrigin: http://a:1833", 101),
            ("Host: a:1833\r\nOrigin: http://a", strangers),
            ("Host: a:1833\r\nOrigin: http://b:1833", strangers),
            ("Host: a:1833\r\nOrigin: null", strangers),
            ("Host: a:1833\r\nOrigin:", strangers),
        ] {
            assert_eq!(status_with(&server, lines), status, "{lines:?}");
        }
        reports.finish(server);
    }
}

#[test]
fn a_rebound_name_is_refused_where_names_are_listed() {
    let rebound = "Host: evil.example:1833\r\nOrigin: http://evil.example:1833";
    let listed = || Hosts::list(["localhost", "chat.example.com"]);
    for (protocol, status) in [
        (WebSocket::new(), 101),
        (WebSocket::new().hosts(listed()), 421),
        (
            WebSocket::new().hosts(listed()).origins(Origins::any()),
            421,
        ),
    ] {
        let (probe, reports) = Probe::echo();
        let server = TestServer::start(listen(protocol), probe);
        assert_eq!(status_with(&server, rebound), status);
        for lines in [
            "Host: localhost:1833\r\nOrigin: http://localhost:1833",
            "Host: chat.example.com\r\nOrigin: https://chat.example.com",
            "Host: 127.0.0.1:1833",
        ] {
            assert_eq!(status_with(&server, lines), 101, "{lines:?}");
        }
        let plain = ask(&server, b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n");
        let refused = if status == 421 { 421 } else { 426 };
        assert_eq!(status_of(plain.as_bytes()), refused);
        reports.finish(server);
    }
}
