//! The order of what callbacks cause on their own worker: sends, letters, publications and subscriptions.

use std::sync::{Arc, Mutex};

use ringwheel::protocol::Lines;
use ringwheel::{Conn, ConnHandle, Connections, Handler, Limits, Server};
use support::{Client, TestServer, listen};

type Handles = Arc<Mutex<Vec<ConnHandle<Lines>>>>;

/// Obeys a script: each word of a line is a step. `self` and `first` are this connection and the one that was opened first.
struct Script {
    handles: Handles,
    all: Connections<Script>,
}

impl Handler for Script {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_, Lines>) {
        self.handles.lock().unwrap().push(conn.handle());
        conn.send("welcome");
    }

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), line: &str) {
        let first = self.handles.lock().unwrap()[0].clone();
        for (number, step) in (1..).zip(line.split(' ')) {
            let text = number.to_string();
            match step {
                "send" => assert!(conn.send(&text).is_queued()),
                "handle" => conn.handle().send(text).unwrap(),
                "name" => conn.send_to(conn.id(), text).unwrap(),
                "several" => {
                    let both = [first.id(), conn.id()];
                    self.all.send_to_all_of(&both, text).unwrap();
                }
                "publish" => conn.publish("t", text).unwrap(),
                "others" => conn.publish_to_others("t", text).unwrap(),
                "all" => self.all.publish("t", text).unwrap(),
                "other-topic" => conn.publish("u", text).unwrap(),
                "sub" => assert_eq!(conn.subscribe("t"), Ok(true)),
                "sub-other" => assert_eq!(conn.subscribe("u"), Ok(true)),
                "unsub" => assert!(conn.unsubscribe("t")),
                "close" => conn.close(),
                "end" => conn.shutdown_write(),
                "first" => first.send(text).unwrap(),
                "first-name" => conn.send_to(first.id(), text).unwrap(),
                "first-subs" => first.run(|conn| _ = conn.subscribe("t")).unwrap(),
                "first-unsubs" => first.run(|conn| _ = conn.unsubscribe("t")).unwrap(),
                "first-closes" => first.close().unwrap(),
                "first-says" => first.run(move |conn| _ = conn.send(&text)).unwrap(),
                "first-news" => first
                    .run(move |conn| {
                        conn.publish("t", text.clone() + "a").unwrap();
                        conn.send(&(text + "b"));
                    })
                    .unwrap(),
                other => panic!("{other} is no step"),
            }
        }
    }
}

fn start() -> TestServer {
    let handles = Handles::default();
    let builder = Server::builder()
        .workers(1)
        .listen_with_factory(listen(Lines::new()), move |start| Script {
            handles: handles.clone(),
            all: start.server().connections_of().unwrap(),
        })
        .unwrap();
    TestServer::spawn(builder)
}

fn connect(server: &TestServer) -> Client {
    let mut client = server.connect();
    expect(&mut client, "welcome");
    client
}

/// Receives these words, a line each.
#[track_caller]
fn expect(client: &mut Client, words: &str) {
    let expected: String = words
        .split_whitespace()
        .map(|it| it.to_owned() + "\n")
        .collect();
    let received = client.receive(expected.len());
    assert_eq!(String::from_utf8_lossy(&received), expected);
}

#[test]
fn a_callback_reaches_its_own_connection_in_the_order_of_its_calls() {
    let server = start();
    for (script, heard) in [
        ("sub publish send", "2 3"),
        ("send handle send", "1 2 3"),
        ("name send handle send", "1 2 3 4"),
        ("publish handle send all name send", "1 2 3 4 5 6"),
        ("all send publish", "1 2 3"),
        ("others send others all", "2 4"),
        ("several send several handle send", "1 2 3 4 5"),
        (
            "sub-other other-topic publish other-topic send all",
            "2 3 4 5 6",
        ),
    ] {
        let mut client = connect(&server);
        let joins = if script.contains("sub ") { "" } else { "sub " };
        if !joins.is_empty() {
            client.send(b"sub\n");
        }
        // The second line shows that nothing comes late.
        client.send(format!("{script}\nsend\n").as_bytes());
        expect(&mut client, &format!("{heard} 1"));
    }
}

#[test]
fn a_subscriber_hears_nothing_that_was_published_before() {
    let server = start();
    let mut client = connect(&server);
    client.send(b"publish all sub send publish\nsend\n");
    expect(&mut client, "4 5 1");
}

#[test]
fn what_was_published_before_is_heard_by_who_leaves() {
    let server = start();
    for (script, heard) in [
        ("sub publish unsub publish send", "2 5"),
        ("sub all unsub all send", "2 5"),
        ("sub publish handle close", "2 3"),
        ("sub all end", "2"),
        ("several close", "1"),
        ("sub several unsub send handle close", "2 4 5"),
    ] {
        let mut client = connect(&server);
        client.send(format!("{script}\n").as_bytes());
        expect(&mut client, heard);
        if script.ends_with(" close") || script.ends_with(" end") {
            client.expect_eof();
        }
    }
}

#[test]
fn another_connection_hears_the_calls_in_order() {
    for (script, heard) in [
        ("publish first", "1 2"),
        ("first publish first-name all", "1 2 3 4"),
        ("publish several first several", "1 2 3 4"),
        ("publish first-unsubs publish first", "1 4"),
        ("first-unsubs publish first-subs publish first", "4 5"),
        ("first-says first publish first-says", "1 2 3 4"),
        ("publish other-topic publish first", "1 3 4"),
    ] {
        let server = start();
        let mut first = connect(&server);
        first.send(b"sub send\n");
        expect(&mut first, "2");
        let mut client = connect(&server);
        client.send(format!("{script}\n").as_bytes());
        expect(&mut first, heard);
    }
}

/// A send takes publications ahead of a closure that was asked for before them. Those that it subscribes hear them all the same: they
/// were lost, without an error.
#[test]
fn a_closure_that_subscribes_hears_what_is_published_behind_it() {
    let server = start();
    let (mut member, mut client) = (connect(&server), connect(&server));
    // "1" comes before the closure, and "4" is taken early, to a topic without subscribers.
    client.send(b"publish first-subs send publish send publish first-name\n");
    expect(&mut client, "3 5");
    expect(&mut member, "4 6 7");
    // The same behind a subscriber who is there, and hears all.
    client.send(b"first-unsubs sub\n");
    client.send(b"publish first-subs send publish send first-name\n");
    expect(&mut client, "1 3 4 5");
    expect(&mut member, "4 6");
    client.send(b"publish first-unsubs publish send first-name\n");
    expect(&mut client, "1 3 4");
    expect(&mut member, "1 5");
}

/// A closure that publishes, and then sends to its own connection, takes its publication ahead of those that wait.
#[test]
fn publications_of_a_closure_and_of_its_callback_reach_all() {
    for (script, by_first, by_other) in [
        ("first-news publish", "1a 1b 2", "1a 2"),
        ("publish first-news", "1 2a 2b", "1 2a"),
        ("first-news publish first", "1a 1b 2 3", "1a 2"),
        (
            "first-news publish first-news first",
            "1a 1b 2 3a 3b 4",
            "1a 2 3a",
        ),
        ("first-news first publish", "1a 1b 2 3", "1a 3"),
        (
            "first-news publish first-unsubs publish",
            "1a 1b 2",
            "1a 2 4",
        ),
    ] {
        let server = start();
        let mut first = connect(&server);
        first.send(b"sub send\n");
        expect(&mut first, "2");
        let mut other = connect(&server);
        other.send(b"sub send\n");
        expect(&mut other, "2");
        let mut client = connect(&server);
        client.send(format!("{script}\n").as_bytes());
        expect(&mut first, by_first);
        expect(&mut other, by_other);
    }
}

#[test]
fn a_close_by_a_handle_comes_behind_the_letters_before_it() {
    let server = start();
    let mut first = connect(&server);
    first.send(b"sub send\n");
    expect(&mut first, "2");
    let mut client = connect(&server);
    client.send(b"publish first first-says first-closes\n");
    expect(&mut first, "1 2 3");
    first.expect_eof();
}

#[test]
fn each_of_several_messages_is_answered_before_the_next() {
    let server = start();
    let mut client = connect(&server);
    client.send(b"sub handle\npublish send\nname handle\nall send\n");
    expect(&mut client, "2 1 2 1 2 1 2");
}

#[test]
fn a_flood_of_publications_reaches_all_and_none_is_refused() {
    const MEMBERS: usize = 20;
    const MESSAGES: usize = 5_000;
    for workers in [1, 2] {
        let handles = Handles::default();
        // Far less room than the flood takes: the publisher is slowed down.
        let builder = Server::builder()
            .workers(workers)
            .mailbox_limit(500)
            .listen_with_factory(
                listen(Lines::new()).limits(Limits::default().publications(8, 1024)),
                move |start| Script {
                    handles: handles.clone(),
                    all: start.server().connections_of().unwrap(),
                },
            )
            .unwrap();
        let server = TestServer::spawn(builder);
        let mut members: Vec<Client> = (0..MEMBERS).map(|_| connect(&server)).collect();
        for member in &mut members {
            member.send(b"sub send\n");
            expect(member, "2");
        }
        let readers: Vec<_> = members
            .into_iter()
            .map(|mut member| {
                std::thread::spawn(move || {
                    // Every member publishes, too.
                    let mut writer = member.second_half();
                    let flood = "publish\n".repeat(MESSAGES / MEMBERS);
                    let writes = std::thread::spawn(move || writer.send(flood.as_bytes()));
                    let heard = member.receive(2 * MESSAGES);
                    writes.join().unwrap();
                    assert_eq!(heard, b"1\n".repeat(MESSAGES));
                })
            })
            .collect();
        readers
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
    }
}
