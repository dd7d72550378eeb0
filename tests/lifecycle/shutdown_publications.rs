//! The end of a server with topics: a subscriber does not miss what others publish in answer to input that had arrived.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringwheel::protocol::Lines;
use ringwheel::{ConnHandle, Server, ServerBuilder};
use support::{
    Client, DEADLINE, Events, Grip, Hold, Recorder, TestServer, eventually, listen, text,
};

/// More lines than one turn publishes.
const LINES: usize = 3_000;

/// A server whose connections subscribe, pause, hold their worker up or publish, as each line says.
fn start(builder: ServerBuilder) -> (TestServer, Events, Grip) {
    let (hold, grip) = Hold::new();
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder
        .without_messages()
        .on_message(move |conn, line| match text(line) {
            "subscribe" => {
                conn.subscribe("topic").unwrap();
                conn.send("subscribed");
            }
            "pause" => {
                conn.pause_reading();
                conn.send("paused");
            }
            "hold" => hold.enter(),
            line => conn.publish("topic", line).unwrap(),
        })
        .on_shutdown(|conn| {
            conn.send("bye");
        });
    let server = TestServer::start_on(builder, listen(Lines::new()), recorder);
    (server, events, grip)
}

fn subscribe(server: &TestServer) -> Client {
    let mut client = server.connect();
    client.send(b"subscribe\n");
    assert_eq!(client.receive(11), b"subscribed\n");
    client
}

fn pause(server: &TestServer) -> Client {
    let mut client = server.connect();
    client.send(b"pause\n");
    assert_eq!(client.receive(7), b"paused\n");
    client
}

/// The lines that a publisher sends, which name it.
fn lines(publisher: usize) -> Vec<String> {
    (0..LINES)
        .map(|number| format!("{publisher}: {number}"))
        .collect()
}

/// A publisher that holds up its worker while its lines arrive.
fn publish_under_hold(server: &TestServer, grip: &Grip, number: usize) -> Client {
    let mut publisher = server.connect();
    publisher.send(b"hold\n");
    grip.wait();
    publisher.send((lines(number).join("\n") + "\n").as_bytes());
    publisher
}

/// Checks that the subscriber has got all lines of the publishers, each of them in order, before its last word.
#[track_caller]
fn assert_hears_all(subscriber: &mut Client, publishers: usize) {
    let heard = String::from_utf8(subscriber.receive_rest()).unwrap();
    let heard: Vec<&str> = heard.lines().collect();
    for publisher in 0..publishers {
        let prefix = format!("{publisher}: ");
        let of_publisher = heard.iter().filter(|line| line.starts_with(&prefix));
        assert!(
            of_publisher.eq(&lines(publisher)),
            "{} lines, not {LINES}",
            heard.len()
        );
    }
    assert_eq!(heard.len(), publishers * LINES + 1);
    assert_eq!(heard.last(), Some(&"bye"));
}

/// A subscriber was told of the end when its own input was answered, and missed what others published after that.
#[track_caller]
fn assert_subscribers_miss_nothing(workers: usize) {
    let (server, events, grip) = start(Server::builder().workers(workers));
    // As many of each as workers, so that the balancer gives each worker one.
    let mut subscribers: Vec<Client> = (0..workers).map(|_| subscribe(&server)).collect();
    let mut publishers: Vec<Client> = (0..workers)
        .map(|number| publish_under_hold(&server, &grip, number))
        .collect();
    server.handle().shutdown(DEADLINE);
    if workers > 1 {
        // One worker is told directly, several by the acceptor.
        server.wait_until_draining();
    }
    publishers.iter().for_each(|_| grip.release());
    for subscriber in &mut subscribers {
        assert_hears_all(subscriber, workers);
    }
    for publisher in &mut publishers {
        assert_eq!(publisher.receive_rest(), b"bye\n");
    }
    drop((subscribers, publishers));
    server.join();
    events.assert_lifecycles();
}

#[test]
fn a_subscriber_hears_what_is_published_in_a_shutdown() {
    assert_subscribers_miss_nothing(1);
}

#[test]
fn a_subscriber_hears_what_other_workers_publish_in_a_shutdown() {
    assert_subscribers_miss_nothing(2);
}

#[test]
fn a_connection_that_subscribes_in_a_shutdown_hears_what_follows() {
    let (server, events, grip) = start(Server::builder().workers(1));
    let mut late = server.connect();
    eventually("it is accepted", || server.handle().stats().accepted == 1);
    let publisher = publish_under_hold(&server, &grip, 0);
    late.send(b"subscribe\n");
    server.handle().shutdown(DEADLINE);
    grip.release();
    let heard = String::from_utf8(late.receive_rest()).unwrap();
    let last = format!("{}\nbye\n", lines(0)[LINES - 1]);
    assert!(heard.ends_with(&last), "{} bytes", heard.len());
    drop((late, publisher));
    server.join();
    events.assert_lifecycles();
}

/// The subscriber waits for the paused connection for half of the time. Without a bound it would not be told at all.
#[track_caller]
fn assert_paused_holds_up_for_half(workers: usize) {
    const TIME: Duration = Duration::from_millis(1_600);
    let (server, events, _grip) = start(Server::builder().workers(workers));
    let mut paused = pause(&server);
    let mut subscriber = subscribe(&server);
    let begin = Instant::now();
    server.handle().shutdown(TIME);
    assert_eq!(subscriber.receive(4), b"bye\n");
    assert!(begin.elapsed() >= TIME / 2, "it has not waited");
    drop(subscriber);
    paused.expect_eof();
    server.join();
    events.assert_lifecycles();
}

#[test]
fn a_paused_connection_holds_a_subscriber_up_for_half_of_the_time() {
    assert_paused_holds_up_for_half(1);
}

#[test]
fn a_paused_connection_of_another_worker_holds_a_subscriber_up_for_half_of_the_time() {
    assert_paused_holds_up_for_half(2);
}

#[test]
fn a_paused_connection_holds_nobody_up_who_subscribes_to_nothing() {
    let (server, events, _grip) = start(Server::builder().workers(2));
    let paused = pause(&server);
    let mut others: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    server.handle().shutdown(Duration::from_secs(3600));
    for other in &mut others {
        assert_eq!(other.receive_rest(), b"bye\n");
    }
    drop((others, paused));
    server.finish(&events);
}

#[test]
fn subscribers_of_an_idle_server_are_told_at_once() {
    for workers in [1, 4] {
        let (server, events, _grip) = start(Server::builder().workers(workers));
        let mut subscribers: Vec<Client> = (0..20).map(|_| subscribe(&server)).collect();
        server.handle().shutdown(Duration::from_secs(3600));
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.receive_rest(), b"bye\n");
        }
        drop(subscribers);
        server.join();
        events.assert_lifecycles();
    }
}

/// The mail of the answers is carried out before anybody is told, and what that mails in its turn.
#[test]
fn a_subscriber_hears_what_closures_on_other_workers_publish_in_a_shutdown() {
    const ERRANDS: usize = 300;
    let relays: Arc<Mutex<Vec<ConnHandle<Lines>>>> = Arc::default();
    let (hold, grip) = Hold::new();
    let (recorder, events) = Recorder::<Lines>::new();
    let lent = relays.clone();
    let recorder = recorder.on_message(move |conn, line| match text(line) {
        "subscribe" => {
            conn.subscribe("topic").unwrap();
            lent.lock().unwrap().push(conn.handle());
            conn.send("subscribed");
        }
        "hold" => hold.enter(),
        _ => {
            for relay in &*lent.lock().unwrap() {
                relay
                    .run(|conn| conn.publish("topic", "errand").unwrap())
                    .unwrap();
            }
        }
    });
    let builder = Server::builder().workers(2);
    let server = TestServer::start_on(builder, listen(Lines::new()), recorder);
    let mut subscribers = [subscribe(&server), subscribe(&server)];
    let mut publisher = server.connect();
    publisher.send(b"hold\n");
    grip.wait();
    publisher.send(&b"go\n".repeat(ERRANDS));
    server.handle().shutdown(DEADLINE);
    server.wait_until_draining();
    grip.release();
    for subscriber in &mut subscribers {
        let heard = String::from_utf8(subscriber.receive_rest()).unwrap();
        assert_eq!(heard.lines().count(), 2 * ERRANDS);
    }
    drop((subscribers, publisher));
    relays.lock().unwrap().clear();
    server.join();
    events.assert_lifecycles();
}

/// Sends a closure through handles, one hop after another, which publishes at the last of them.
fn pass_on(mut hops: Vec<ConnHandle<Lines>>) {
    if let Some(next) = hops.pop() {
        let run = next.run(move |conn| match hops.is_empty() {
            true => conn.publish("topic", "errand").unwrap(),
            false => pass_on(hops),
        });
        run.unwrap();
    }
}

/// A chain of closures from worker to worker was cut after its first.
#[test]
fn a_subscriber_hears_what_a_chain_of_closures_publishes_in_a_shutdown() {
    const ERRANDS: usize = 100;
    const HOPS: usize = 6;
    let relays: Arc<Mutex<Vec<ConnHandle<Lines>>>> = Arc::default();
    let (hold, grip) = Hold::new();
    let (recorder, events) = Recorder::<Lines>::new();
    let lent = relays.clone();
    let recorder = recorder.on_message(move |conn, line| match text(line) {
        "subscribe" => {
            conn.subscribe("topic").unwrap();
            lent.lock().unwrap().push(conn.handle());
            conn.send("subscribed");
        }
        "hold" => hold.enter(),
        _ => pass_on(
            lent.lock()
                .unwrap()
                .iter()
                .cycle()
                .take(HOPS)
                .cloned()
                .collect(),
        ),
    });
    let builder = Server::builder().workers(2);
    let server = TestServer::start_on(builder, listen(Lines::new()), recorder);
    let mut subscribers = [subscribe(&server), subscribe(&server)];
    let mut publisher = server.connect();
    publisher.send(b"hold\n");
    grip.wait();
    publisher.send(&b"go\n".repeat(ERRANDS));
    server.handle().shutdown(DEADLINE);
    server.wait_until_draining();
    grip.release();
    for subscriber in &mut subscribers {
        let heard = String::from_utf8(subscriber.receive_rest()).unwrap();
        assert_eq!(heard.lines().count(), ERRANDS);
    }
    drop((subscribers, publisher));
    relays.lock().unwrap().clear();
    server.join();
    events.assert_lifecycles();
}

/// The closures of the last turn were overtaken by the end.
#[test]
fn answers_by_closures_come_before_the_last_word() {
    let (hold, grip) = Hold::new();
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder
        .on_message(move |conn, line| match text(line) {
            "hold" => hold.enter(),
            _ => {
                let answer = |conn: &mut ringwheel::Conn<'_, Lines>| _ = conn.send("answer");
                conn.handle().run(answer).unwrap();
            }
        })
        .on_shutdown(|conn| {
            conn.send("bye");
        });
    let server = TestServer::start_on(Server::builder().workers(1), listen(Lines::new()), recorder);
    let mut client = server.connect();
    client.send(b"hold\n");
    grip.wait();
    client.send(&b"question\n".repeat(1_000));
    server.handle().shutdown(DEADLINE);
    grip.release();
    let heard = String::from_utf8(client.receive_rest()).unwrap();
    let answers = heard.lines().take_while(|line| *line == "answer").count();
    assert_eq!((answers, heard.lines().last()), (1_000, Some("bye")));
    drop(client);
    server.join();
    events.assert_lifecycles();
}
