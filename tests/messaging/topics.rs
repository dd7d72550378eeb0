//! Publish and subscribe, across all workers.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use ringwheel::protocol::Lines;
use ringwheel::{
    Conn, Handler, Limits, Listen, Overflow, Published, Server, ServerBuilder, SubscribeError,
};
use support::{Client, DEADLINE, TestServer, eventually, listen};

/// Obeys: `sub NAME`, `unsub NAME`, `pub NAME TEXT`, `others NAME TEXT`, `names`, `count NAME`; and says how it went.
#[derive(Clone)]
struct Board;

impl Handler for Board {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), line: &str) {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let answer = match command {
            "sub" => match conn.subscribe(rest) {
                Ok(true) => "new",
                Ok(false) => "old",
                Err(SubscribeError::Count) => "too many",
                Err(_) => "too long",
            },
            "unsub" => match conn.unsubscribe(rest) {
                true => "gone",
                false => "none",
            },
            "pub" => {
                let (name, text) = rest.split_once(' ').expect("a name and a text");
                conn.publish(name, text).expect("the mailbox has room");
                return;
            }
            "others" => {
                let (name, text) = rest.split_once(' ').expect("a name and a text");
                conn.publish_to_others(name, text)
                    .expect("the mailbox has room");
                return;
            }
            "count" => {
                conn.send(&conn.local_subscribers(rest).to_string());
                return;
            }
            "names" => {
                let mut names = conn.subscriptions();
                names.sort();
                conn.send(&names.join(","));
                return;
            }
            other => panic!("{other} is no command"),
        };
        conn.send(answer);
    }
}

fn start_on(builder: ServerBuilder, listen: Listen<Lines>) -> TestServer {
    TestServer::start_on(builder, listen, Board)
}

fn start(workers: usize) -> TestServer {
    start_on(Server::builder().workers(workers), listen(Lines::new()))
}

/// Sends a command and awaits the answer.
#[track_caller]
fn command(client: &mut Client, line: &str, answer: &str) {
    client.send(format!("{line}\n").as_bytes());
    expect(client, answer);
}

#[track_caller]
fn expect(client: &mut Client, line: &str) {
    let received = client.receive(line.len() + 1);
    assert_eq!(String::from_utf8_lossy(&received), format!("{line}\n"));
}

/// Publishes from this thread, and waits for the counts of the publication.
fn publish(server: &TestServer, topic: &str, text: &str) -> Published {
    let (done, counts): (_, Receiver<Published>) = channel();
    let connections = server.handle().connections_of::<Board>().unwrap();
    connections
        .publish_then(topic, text, move |published| done.send(published).unwrap())
        .expect("the mailboxes have room");
    counts
        .recv_timeout(DEADLINE)
        .expect("the completion is called in time")
}

#[test]
fn a_publication_reaches_the_subscribers_on_all_workers_and_nobody_else() {
    let server = start(3);
    let mut subscribers: Vec<Client> = (0..6).map(|_| server.connect()).collect();
    let mut stranger = server.connect();
    for client in &mut subscribers {
        command(client, "sub news", "new");
    }
    command(&mut stranger, "sub sports", "new");
    let published = publish(&server, "news", "from a thread");
    assert_eq!((published.delivered, published.dropped), (6, 0));
    for client in &mut subscribers {
        expect(client, "from a thread");
    }
    subscribers[0].send(b"pub news from a callback\n");
    for client in &mut subscribers {
        expect(client, "from a callback");
    }
    command(&mut stranger, "names", "sports");
    assert_eq!(publish(&server, "nobody's", "x"), Published::default());
}

#[test]
fn a_callback_reaches_itself_in_the_order_of_its_calls() {
    let server = start(1);
    let mut client = server.connect();
    command(&mut client, "sub a", "new");
    client.send(b"pub a one\nsub b\npub b two\n");
    expect(&mut client, "one");
    expect(&mut client, "new");
    expect(&mut client, "two");
}

#[test]
fn publications_of_one_publisher_arrive_in_order() {
    let server = start(2);
    let mut clients = [server.connect(), server.connect(), server.connect()];
    for client in &mut clients {
        command(client, "sub count", "new");
    }
    let all = server.handle().connections_of::<Board>().unwrap();
    let mut expected = String::new();
    for number in 0..5_000 {
        all.publish("count", number.to_string()).unwrap();
        expected.push_str(&format!("{number}\n"));
    }
    for client in &mut clients {
        assert!(client.receive(expected.len()) == expected.as_bytes());
    }
}

#[test]
fn a_subscription_is_made_once_and_ends_when_it_is_given_up() {
    let server = start(1);
    let mut client = server.connect();
    command(&mut client, "sub a", "new");
    command(&mut client, "sub a", "old");
    command(&mut client, "sub b", "new");
    command(&mut client, "names", "a,b");
    assert_eq!(publish(&server, "a", "once").delivered, 1);
    expect(&mut client, "once");
    command(&mut client, "unsub a", "gone");
    command(&mut client, "unsub a", "none");
    assert_eq!(publish(&server, "a", "never").delivered, 0);
    command(&mut client, "names", "b");
}

#[test]
fn subscriptions_end_with_the_connection() {
    let server = start(2);
    let mut clients: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    for client in &mut clients {
        command(client, "sub a", "new");
    }
    clients.truncate(3);
    eventually("the closed connections are no longer counted", || {
        publish(&server, "a", "x").delivered == 3
    });
}

#[test]
fn limits_are_on_number_and_length() {
    let limits = Limits::default().subscriptions(2).topic_name(5);
    let server = start_on(
        Server::builder().workers(1),
        listen(Lines::new()).limits(limits),
    );
    let mut client = server.connect();
    command(&mut client, "sub abcdef", "too long");
    command(&mut client, "sub abcde", "new");
    command(&mut client, "sub b", "new");
    command(&mut client, "sub c", "too many");
    command(&mut client, "sub b", "old");
    command(&mut client, "unsub b", "gone");
    command(&mut client, "sub c", "new");
}

#[test]
fn a_subscriber_that_does_not_read_misses_messages_and_delays_nobody() {
    let limits = Limits::default()
        .low_water(16 * 1024)
        .high_water(32 * 1024)
        .output(64 * 1024)
        .overflow(Overflow::DropMessage);
    let listen = listen(Lines::new())
        .limits(limits)
        .send_buffer_size(16 * 1024);
    let server = start_on(Server::builder().workers(1), listen);
    let mut reader = server.connect();
    let mut sleeper = Client::connect_narrow(server.addr());
    command(&mut reader, "sub a", "new");
    command(&mut sleeper, "sub a", "new");
    let line = "x".repeat(8 * 1024);
    let mut dropped = 0;
    // Until the kernel takes no more for the sleeper, and some messages longer.
    for _ in 0..10_000 {
        let published = publish(&server, "a", &line);
        expect(&mut reader, &line);
        assert_eq!(published.delivered + published.dropped, 2);
        dropped += published.dropped;
        if dropped == 10 {
            break;
        }
    }
    assert_eq!(dropped, 10, "the sleeper has missed some");
}

#[test]
fn workers_with_full_mailboxes_are_counted() {
    let server = start_on(
        Server::builder().workers(2).mailbox_limit(0),
        listen(Lines::new()),
    );
    let (done, counts) = channel();
    let connections = server.handle().connections_of::<Board>().unwrap();
    let outcome =
        connections.publish_then("a", "x", move |published| done.send(published).unwrap());
    assert!(outcome.is_err());
    let published = counts
        .recv_timeout(DEADLINE)
        .expect("the completion is called");
    assert_eq!((published.delivered, published.unreached_workers), (0, 2));
}

#[test]
fn the_completion_of_a_publication_is_called_even_if_the_server_ends() {
    let server = start(2);
    let connections = server.handle().connections_of::<Board>().unwrap();
    let (done, counts) = channel();
    let done = Arc::new(done);
    server.handle().stop();
    for _ in 0..100 {
        let done = done.clone();
        // The completion is called whether or not the publication is accepted.
        let _ = connections.publish_then("a", "x", move |published| done.send(published).unwrap());
    }
    for _ in 0..100 {
        counts
            .recv_timeout(DEADLINE)
            .expect("the completion is called");
    }
    server.join();
}

/// Counts the subscribers from this thread.
fn count(server: &TestServer, topic: &str) -> usize {
    let (done, counts) = channel();
    let all = server.handle().connections_of::<Board>().unwrap();
    all.count_subscribers(topic, move |count| done.send(count).unwrap())
        .expect("the mailboxes have room");
    counts.recv_timeout(DEADLINE).expect("it comes in time")
}

#[test]
fn all_others_get_what_the_publisher_does_not() {
    let server = start(2);
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for client in &mut clients[..3] {
        command(client, "sub room", "new");
    }
    // Everybody but the first, then everybody but the second, then all.
    clients[0].send(b"others room from the first\n");
    expect(&mut clients[1], "from the first");
    expect(&mut clients[2], "from the first");
    clients[1].send(b"others room from the second\n");
    expect(&mut clients[0], "from the second");
    expect(&mut clients[2], "from the second");
    // One that does not subscribe leaves nobody out.
    clients[3].send(b"others room from outside\n");
    for client in &mut clients[..3] {
        expect(client, "from outside");
    }
    command(&mut clients[3], "names", "");
}

#[test]
fn publications_to_all_and_to_others_keep_their_order() {
    let server = start(2);
    let mut clients = [server.connect(), server.connect(), server.connect()];
    for client in &mut clients {
        command(client, "sub a", "new");
    }
    let mut orders = String::new();
    let (mut own, mut others) = (String::new(), String::new());
    for number in 0..500 {
        // Runs of different lengths, so that publications are delivered together and one by one.
        let kind = if number % 7 < 3 { "pub" } else { "others" };
        orders += &format!("{kind} a {number}\n");
        others += &format!("{number}\n");
        if kind == "pub" {
            own += &format!("{number}\n");
        }
    }
    clients[0].send(orders.as_bytes());
    assert!(clients[0].receive(own.len()) == own.as_bytes());
    for client in &mut clients[1..] {
        assert!(client.receive(others.len()) == others.as_bytes());
    }
    command(&mut clients[0], "names", "a");
}

#[test]
fn two_publishers_each_leave_out_themselves() {
    const EACH: usize = 300;
    let server = start(1);
    let mut clients = [server.connect(), server.connect(), server.connect()];
    for client in &mut clients {
        command(client, "sub a", "new");
    }
    for (index, client) in clients[..2].iter_mut().enumerate() {
        let orders = format!("others a {index}\n").repeat(EACH);
        client.send(orders.as_bytes());
    }
    assert_eq!(clients[0].receive(2 * EACH), b"1\n".repeat(EACH));
    assert_eq!(clients[1].receive(2 * EACH), b"0\n".repeat(EACH));
    let both = clients[2].receive(4 * EACH);
    assert_eq!(both.iter().filter(|byte| **byte == b'0').count(), EACH);
    assert_eq!(both.iter().filter(|byte| **byte == b'1').count(), EACH);
}

#[test]
fn subscribers_are_counted_over_all_workers_and_listeners() {
    let builder = Server::builder().workers(2);
    let builder = builder.listen_with(listen(Lines::new()), Board).unwrap();
    let server = TestServer::spawn(builder.listen_with(listen(Lines::new()), Board).unwrap());
    assert_eq!(count(&server, "a"), 0);
    let mut clients: Vec<Client> = (0..6)
        .map(|index| Client::connect(server.addr_of(index % 2)))
        .collect();
    for (index, client) in clients.iter_mut().enumerate() {
        command(client, "sub a", "new");
        assert_eq!(count(&server, "a"), index + 1);
    }
    command(&mut clients[0], "sub b", "new");
    command(&mut clients[1], "unsub a", "gone");
    assert_eq!((count(&server, "a"), count(&server, "b")), (5, 1));
    clients.truncate(2);
    eventually("the others are counted out", || count(&server, "a") == 1);
}

#[test]
fn a_connection_counts_those_of_its_own_listener() {
    let builder = Server::builder().workers(1);
    let builder = builder.listen_with(listen(Lines::new()), Board).unwrap();
    let server = TestServer::spawn(builder.listen_with(listen(Lines::new()), Board).unwrap());
    let mut first = [server.connect(), server.connect()];
    let mut second = Client::connect(server.addr_of(1));
    for client in first.iter_mut().chain([&mut second]) {
        command(client, "sub a", "new");
    }
    command(&mut first[0], "count a", "2");
    command(&mut first[0], "count b", "0");
    command(&mut second, "count a", "1");
    command(&mut second, "unsub a", "gone");
    command(&mut second, "count a", "0");
    assert_eq!(count(&server, "a"), 2);
}

#[test]
fn the_count_is_told_on_a_worker_or_here_if_one_could_not_be_asked() {
    let server = start(2);
    let all = server.handle().connections_of::<Board>().unwrap();
    for _ in 0..100 {
        let (done, counts) = channel();
        all.count_subscribers("a", move |count| {
            done.send((count, ringwheel::current_worker())).unwrap();
        })
        .unwrap();
        let (count, worker) = counts.recv_timeout(DEADLINE).unwrap();
        assert!(count == 0 && worker.is_some(), "not on this thread");
    }
    server.handle().stop();
    server.join();
    let (done, counts) = channel();
    let outcome = all.count_subscribers("a", move |count| {
        done.send((count, ringwheel::current_worker())).unwrap();
    });
    assert_eq!(outcome, Err(ringwheel::SendError::Closed(())));
    assert_eq!(counts.try_recv(), Ok((0, None)));
}

#[test]
fn a_count_whose_callback_panics_ends_no_worker() {
    let server = start(2);
    let mut client = server.connect();
    let all = server.handle().connections_of::<Board>().unwrap();
    for _ in 0..10 {
        all.count_subscribers("a", |_| support::deliberate_panic())
            .unwrap();
    }
    command(&mut client, "sub a", "new");
    assert_eq!(count(&server, "a"), 1);
}
