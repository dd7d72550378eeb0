//! Connections that publish without being read: from timers, much at a time, and one newcomer after another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::Lines;
use ringwheel::{Conn, Handler, Server, ServerBuilder, TimerId, current_worker};
use support::{Client, Grip, Hold, TestServer, behind_an_acceptor, eventually, listen, worker_of};

const BEAT: u64 = 1;
const TICK: u64 = 2;
const ALARM: u64 = 3;

#[derive(Default)]
struct Counts {
    opened: AtomicUsize,
    beats: AtomicUsize,
    ticks: AtomicUsize,
    taken: AtomicUsize,
    refused: AtomicUsize,
}

/// `beat` sets eight timers of a millisecond that publish ten words each, `tick` one that only counts, and `alarm` one that answers.
/// `much` publishes 2,000 words at once, and `where` asks for the worker's index. Anything else is published as a word.
#[derive(Clone, Default)]
struct Metronome {
    counts: Arc<Counts>,
}

impl Metronome {
    fn publish(&self, conn: &Conn<'_, Lines>, times: usize) {
        for _ in 0..times {
            let counter = match conn.publish("words", "word") {
                Ok(()) => &self.counts.taken,
                Err(_) => &self.counts.refused,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn refused(&self) -> usize {
        self.counts.refused.load(Ordering::Relaxed)
    }
}

impl Handler for Metronome {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {
        self.counts.opened.fetch_add(1, Ordering::Relaxed);
    }

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _: &mut (), line: &str) {
        const MILLISECOND: Duration = Duration::from_millis(1);
        match line {
            "beat" => (0..8).for_each(|_| _ = conn.set_interval(MILLISECOND, BEAT).unwrap()),
            "tick" => _ = conn.set_interval(MILLISECOND, TICK).unwrap(),
            "alarm" => _ = conn.set_timer(MILLISECOND, ALARM).unwrap(),
            "much" => self.publish(conn, 2_000),
            "where" => _ = conn.send(&current_worker().unwrap().to_string()),
            _ => self.publish(conn, 1),
        }
        if line != "where" && line != "word" {
            conn.send("done");
        }
    }

    fn on_timer(&mut self, conn: &mut Conn<'_, Lines>, _: &mut (), _: TimerId, token: u64) {
        match token {
            BEAT => {
                self.counts.beats.fetch_add(1, Ordering::Relaxed);
                self.publish(conn, 10);
            }
            TICK => _ = self.counts.ticks.fetch_add(1, Ordering::Relaxed),
            _ => {
                let words = self.counts.taken.load(Ordering::Relaxed);
                conn.send(&format!("rings {words:06}"));
            }
        }
    }
}

fn say(client: &mut Client, line: &str) {
    client.send(format!("{line}\n").as_bytes());
    assert_eq!(client.receive(5), b"done\n");
}

/// A server of two workers and two clients of the same worker. The other worker is held, so that publications stay on their way to it.
fn start_with_held_worker(
    builder: ServerBuilder,
    metronome: &Metronome,
) -> (TestServer, [Client; 2], Grip) {
    let server = TestServer::start_on(builder.workers(2), listen(Lines::new()), metronome.clone());
    let mut one = server.connect();
    let here = worker_of(&mut one);
    let other = server.connect_to_worker(here);
    let all = server.handle().connections_of::<Metronome>().unwrap();
    let grip = Hold::worker(&all, 1 - here);
    (server, [one, other], grip)
}

#[test]
fn timers_that_publish_wait_while_much_is_on_its_way() {
    let metronome = Metronome::default();
    let (_server, [mut noisy, mut calm], grip) =
        start_with_held_worker(Server::builder(), &metronome);
    let Counts { beats, ticks, .. } = &*metronome.counts;
    say(&mut noisy, "beat");
    say(&mut calm, "tick");
    eventually("the timer of the other connection fires on", || {
        ticks.load(Ordering::Relaxed) > 200
    });
    // `Limits::publications` are 64, and the beat that passes them is finished.
    let before = beats.load(Ordering::Relaxed);
    assert_eq!(before, 7, "times that timers have published");
    say(&mut calm, "a");
    grip.release();
    eventually("the timers go on", || beats.load(Ordering::Relaxed) > 100);
    assert_eq!(metronome.refused(), 0);
}

/// A timer that is due comes before further messages, so that a connection which publishes without pause has its timers all the same.
#[test]
fn the_timers_of_a_connection_that_is_slowed_fire() {
    const WORDS: usize = 50_000;
    let builder = Server::builder().workers(2);
    let server = TestServer::start_on(builder, listen(Lines::new()), Metronome::default());
    let mut client = server.connect();
    let mut writer = client.second_half();
    let lines = format!("alarm\n{}", "word\n".repeat(WORDS));
    let flooder = thread::spawn(move || writer.send(lines.as_bytes()));
    let answer = client.receive(18);
    let words: usize = std::str::from_utf8(&answer[11..17])
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        answer.starts_with(b"done\nrings ") && words < WORDS / 2,
        "{words}"
    );
    flooder.join().unwrap();
}

#[test]
fn a_callback_that_publishes_much_leaves_room_for_others() {
    let metronome = Metronome::default();
    let builder = Server::builder().mailbox_limit(1_000);
    let (_server, [mut noisy, mut calm], grip) = start_with_held_worker(builder, &metronome);
    say(&mut noisy, "much");
    let taken = metronome.counts.taken.load(Ordering::Relaxed);
    // As many as are left, without the letter that holds the other worker.
    assert!((400..=500).contains(&taken), "{taken} publications");
    let refused = metronome.refused();
    say(&mut calm, "a");
    assert_eq!(metronome.refused(), refused, "the word of the other");
    grip.release();
}

/// The mail of each connection is within its limits, so nothing else slows a client that connects again and again.
#[test]
fn newcomers_wait_while_the_mailboxes_are_crowded() {
    const WORDS: usize = 60;
    const LIMIT: usize = 6_000;
    // Time after which a newcomer is adopted all the same.
    const STEP: Duration = Duration::from_millis(50);
    let metronome = Metronome::default();
    let builder = behind_an_acceptor().mailbox_limit(LIMIT);
    let (server, [mut calm, _other], grip) = start_with_held_worker(builder, &metronome);
    let Counts { opened, taken, .. } = &*metronome.counts;
    let mut clients = Vec::new();
    while taken.load(Ordering::Relaxed) <= LIMIT / 2 {
        let mut client = server.connect();
        client.send("word\n".repeat(WORDS).as_bytes());
        clients.push(client);
        eventually("its words are on their way", || {
            let taken = taken.load(Ordering::Relaxed);
            taken == clients.len() * WORDS || taken > LIMIT / 2
        });
    }
    let (start, before) = (Instant::now(), opened.load(Ordering::Relaxed));
    clients.extend((0..20).map(|_| server.connect()));
    // Each answer takes an iteration, which would adopt all who wait.
    for _ in 0..100 {
        worker_of(&mut calm);
    }
    let adopted = opened.load(Ordering::Relaxed) - before;
    let steps = start.elapsed().div_duration_f64(STEP) as usize;
    assert!(adopted <= steps + 2, "{adopted} in {steps} steps");
    grip.release();
    eventually("all are adopted", || {
        opened.load(Ordering::Relaxed) == clients.len() + 2
    });
    assert_eq!(metronome.refused(), 0);
}
