//! Messages to connections by their names, and the overflow policy of a single message.

use std::sync::mpsc::channel;

use ringwheel::protocol::{Lines, Raw};
use ringwheel::{Conn, ConnId, Limits, Overflow, Refusal, SendError, SendStatus, Server};
use support::{
    Client, Event, Events, Recorder, TestServer, deliberate_panic, eventually, listen, take, text,
};

/// Connects this many clients and learns their connections' names.
fn connect(server: &TestServer, events: &Events, count: usize) -> Vec<(Client, ConnId)> {
    let connected = (0..count).map(|_| (server.connect(), events.open()));
    connected.collect()
}

#[test]
fn a_name_is_enough_to_reach_a_connection_from_any_thread() {
    let (recorder, events) = Recorder::<Lines>::new();
    let server = TestServer::start_on(Server::builder().workers(2), listen(Lines::new()), recorder);
    let connections = server.handle().connections_of::<Recorder<Lines>>().unwrap();
    for (mut client, id) in connect(&server, &events, 4) {
        assert_eq!(connections.send_to(id, format!("to {id}")), Ok(()));
        let expected = format!("to {id}\n");
        assert_eq!(text(&client.receive(expected.len())), expected);
    }
    server.finish(&events);
}

#[test]
fn a_name_never_reaches_a_later_connection_in_the_same_place() {
    let (recorder, events) = Recorder::<Lines>::new();
    let server = TestServer::start(listen(Lines::new()), recorder);
    let connections = server.handle().connections_of::<Recorder<Lines>>().unwrap();
    let (client, gone) = connect(&server, &events, 1).remove(0);
    drop(client);
    events.close();
    let mut heir = connect(&server, &events, 1);
    let (heir, id) = &mut heir[0];
    assert_eq!(connections.send_to(gone, "for the first"), Ok(()));
    assert_eq!(connections.send_to_all_of(&[gone, *id], "for both"), Ok(()));
    assert_eq!(connections.send_to(*id, "for the second"), Ok(()));
    assert_eq!(heir.receive(24), b"for both\nfor the second\n");
    server.finish(&events);
}

#[test]
fn one_message_reaches_all_that_are_named_as_often_as_they_are() {
    let (recorder, events) = Recorder::<Lines>::new();
    let builder = Server::builder()
        .workers(2)
        .listen_with(listen(Lines::new()), recorder.clone())
        .unwrap();
    let server = TestServer::spawn(builder.listen_with(listen(Lines::new()), recorder).unwrap());
    let connections = server.handle().connections_of::<Recorder<Lines>>().unwrap();
    let mut clients = Vec::new();
    for index in 0..8 {
        let client = Client::connect(server.addr_of(index % 2));
        clients.push((client, events.open()));
    }
    let mut names: Vec<ConnId> = clients.iter().map(|(_, id)| *id).collect();
    let left_out = names.pop().unwrap();
    names.push(names[0]);
    connections.send_to_all_of(&names, "news").unwrap();
    connections.send_to_all_of(&[], "to nobody").unwrap();
    connections.broadcast("end").unwrap();
    for (index, (client, id)) in clients.iter_mut().enumerate() {
        let expected = match index {
            0 => "news\nnews\nend\n",
            _ if *id == left_out => "end\n",
            _ => "news\nend\n",
        };
        assert_eq!(text(&client.receive(expected.len())), expected);
    }
    server.finish(&events);
}

#[test]
fn what_a_callback_sends_by_name_comes_in_the_order_of_its_calls() {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_message(|conn, line| {
        let text = text(line);
        let to_itself = conn.send_to(conn.id(), format!("by name {text}"));
        assert_eq!(to_itself, Ok(()));
        assert!(conn.send(&format!("own {text}")).is_queued());
    });
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(b"one\n");
    assert_eq!(client.receive(20), b"by name one\nown one\n");
    server.finish(&events);
}

#[test]
fn connections_on_two_workers_send_to_each_other() {
    let (recorder, events) = Recorder::<Lines>::new();
    let names: std::sync::Arc<std::sync::Mutex<Vec<ConnId>>> = std::sync::Arc::default();
    let known = names.clone();
    let recorder = recorder.on_message(move |conn, line| {
        for id in known.lock().unwrap().iter().filter(|id| **id != conn.id()) {
            conn.send_to(*id, text(line)).unwrap();
        }
    });
    let server = TestServer::start_on(Server::builder().workers(2), listen(Lines::new()), recorder);
    let mut clients = connect(&server, &events, 4);
    names
        .lock()
        .unwrap()
        .extend(clients.iter().map(|(_, id)| *id));
    for from in 0..4 {
        let line = format!("from {from}\n");
        clients[from].0.send(line.as_bytes());
        for to in (0..4).filter(|to| *to != from) {
            assert_eq!(text(&clients[to].0.receive(line.len())), line);
        }
    }
    server.finish(&events);
}

#[test]
fn an_item_that_is_not_taken_comes_back() {
    let (recorder, events) = Recorder::<Lines>::new();
    let (outcomes, outcome) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        let sent = conn.send_to(conn.id(), "not taken");
        outcomes.send(sent).unwrap();
    });
    let builder = Server::builder().workers(2).mailbox_limit(0);
    let builder = builder.listen_with(listen(Lines::new()), recorder).unwrap();
    let (strange, strange_events) = Recorder::<Raw>::new();
    let server = TestServer::spawn(builder.listen_with(listen(Raw), strange).unwrap());
    let mut client = server.connect();
    let id = events.open();
    let _stranger = Client::connect(server.addr_of(1));
    let stranger = strange_events.open();
    let connections = server.handle().connections_of::<Recorder<Lines>>().unwrap();
    let full = Err(SendError::Full("mine".into()));
    assert_eq!(connections.send_to(id, "mine"), full);
    let closed = Err(SendError::Closed("mine".into()));
    assert_eq!(connections.send_to(stranger, "mine"), closed);
    let outcome_of_many = connections.send_to_all_of(&[id, stranger], "mine");
    assert_eq!(outcome_of_many, Err(SendError::Full(())));
    assert_eq!(connections.send_to_all_of(&[stranger], "mine"), Ok(()));
    client.send(b"go\n");
    assert_eq!(
        take(&outcome),
        Err(SendError::Full("not taken".into())),
        "a callback is refused, too"
    );
    server.finish(&events);
    assert_eq!(connections.send_to(id, "mine"), closed, "it has ended");
    strange_events.assert_lifecycles();
}

/// Fills the output up to its limit, and returns the message that does not fit any more.
fn fill(conn: &mut Conn<'_, Raw>) -> Vec<u8> {
    let message = vec![b'x'; 4096];
    for _ in 0..10_000 {
        if conn.send(&message) == SendStatus::Refused(Refusal::OutputLimit) {
            return message;
        }
    }
    panic!("the output has no limit");
}

fn narrow(overflow: Overflow) -> ringwheel::Listen<Raw> {
    let limits = Limits::default()
        .low_water(1024)
        .high_water(64 * 1024)
        .output(256 * 1024)
        .overflow(overflow);
    listen(Raw).limits(limits).send_buffer_size(16 * 1024)
}

#[test]
fn a_message_may_have_an_overflow_policy_of_its_own() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (told, status) = channel();
    let recorder = recorder.on_message(move |conn, _| {
        let message = fill(conn);
        let dropped = conn.send_or(&message, Overflow::DropMessage);
        let refused = conn.send_or(&message, Overflow::Refuse);
        let count = conn.stats().dropped;
        told.send((dropped, refused, count, conn.is_open()))
            .unwrap();
        let closed = conn.send_or(&message, Overflow::Close);
        told.send((closed, conn.send(b"x"), 0, conn.is_open()))
            .unwrap();
    });
    let server = TestServer::start(narrow(Overflow::Refuse), recorder);
    let mut client = Client::connect_narrow(server.addr());
    client.send(b"go");
    let dropped = SendStatus::Refused(Refusal::Dropped);
    let refused = SendStatus::Refused(Refusal::OutputLimit);
    let closing = SendStatus::Refused(Refusal::Closing);
    assert_eq!(take(&status), (dropped, refused, 1, true));
    assert_eq!(take(&status), (refused, closing, 0, false));
    client.expect_reset();
    assert_eq!(events.close_reason(), "OutputLimit");
    server.finish(&events);
}

#[test]
fn the_policy_of_a_message_is_not_that_of_the_next() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(move |conn, _| {
        let message = vec![b'x'; 4096];
        for _ in 0..10_000 {
            if conn.send_or(&message, Overflow::DropMessage)
                == SendStatus::Refused(Refusal::Dropped)
            {
                break;
            }
        }
        assert!(conn.is_open());
        conn.send(&message);
        assert!(!conn.is_open());
    });
    let server = TestServer::start(narrow(Overflow::Close), recorder);
    let mut client = Client::connect_narrow(server.addr());
    client.send(b"go");
    client.expect_reset();
    assert_eq!(events.close_reason(), "OutputLimit");
    server.finish(&events);
}

#[test]
fn a_message_that_fits_has_no_use_for_its_policy() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.on_message(|conn, _| {
        for policy in [Overflow::Close, Overflow::DropMessage, Overflow::Refuse] {
            assert_eq!(conn.send_or(b"fits", policy), SendStatus::Queued);
        }
        assert_eq!((conn.stats().messages_out, conn.stats().dropped), (3, 0));
        conn.close();
        let status = conn.send_or(b"late", Overflow::DropMessage);
        assert_eq!(status, SendStatus::Refused(Refusal::Closing));
        assert_eq!(conn.stats().dropped, 0);
    });
    let server = TestServer::start(narrow(Overflow::Close), recorder);
    let mut client = server.connect();
    client.send(b"go");
    assert_eq!(client.receive_rest(), b"fitsfitsfits");
    drop(client);
    assert_eq!(events.close_reason(), "Local");
    server.finish(&events);
}

#[test]
fn a_callback_that_panics_behind_a_send_to_another_has_sent_it() {
    let (recorder, events) = Recorder::<Lines>::new();
    let first: std::sync::Arc<std::sync::OnceLock<ConnId>> = std::sync::Arc::default();
    let to = first.clone();
    let recorder = recorder.on_message(move |conn, line| {
        conn.send_to(*to.get().unwrap(), text(line)).unwrap();
        deliberate_panic();
    });
    let server = TestServer::start(listen(Lines::new()), recorder);
    let mut clients = connect(&server, &events, 2);
    first.set(clients[0].1).unwrap();
    clients[1].0.send(b"sent\n");
    assert_eq!(clients[0].0.receive(5), b"sent\n");
    clients[1].0.expect_eof();
    clients.remove(1);
    assert_eq!(events.close_reason(), "Panic");
    eventually("it is counted out", || {
        server.handle().stats().connections == 1
    });
    assert_eq!(events.count(|event| matches!(event, Event::Close(..))), 1);
    server.finish(&events);
}
