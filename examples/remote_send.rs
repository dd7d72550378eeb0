//! Another thread works out answers that take long, and sends them through a `ConnHandle` when they are ready. Meanwhile the
//! workers serve everybody else.
//!
//! Try it: `cargo run --release --example remote_send`, then `nc 127.0.0.1 1833`, and type numbers up to ten million.

mod support;

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use ringwheel::protocol::Lines;
use ringwheel::{Conn, ConnHandle, Handler, SendOutcome, TimerId};
use support::Options;

const HIGHEST: u32 = 10_000_000;

/// A question for the calculator, and the connection that gets the answer.
struct Job {
    client: ConnHandle<Lines>,
    question: Question,
}

enum Question {
    PrimesBelow(u32),
    /// The client has asked its last question.
    NoMore,
}

#[derive(Clone)]
struct Primes {
    jobs: SyncSender<Job>,
}

impl Handler for Primes {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_, Lines>) {
        conn.send("primes below which number?");
    }

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), line: &str) {
        match line.trim().parse() {
            Ok(number) if number <= HIGHEST => {
                let (client, question) = (conn.handle(), Question::PrimesBelow(number));
                if self.jobs.try_send(Job { client, question }).is_err() {
                    conn.send("too many questions, ask again later");
                }
            }
            _ => {
                conn.send("not a number up to ten million");
            }
        }
    }

    /// A client that has shut down its side may still wait for answers, so it is not closed before they are sent.
    fn on_half_close(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut ()) {
        self.ask_no_more(conn);
    }

    fn on_timer(&mut self, conn: &mut Conn<'_, Lines>, _: &mut (), _: TimerId, _token: u64) {
        self.ask_no_more(conn);
    }
}

impl Primes {
    /// Has the client closed behind its last answer; tries again later if the queue is full.
    fn ask_no_more(&self, conn: &mut Conn<'_, Lines>) {
        let (client, question) = (conn.handle(), Question::NoMore);
        let is_full = self.jobs.try_send(Job { client, question }).is_err();
        if is_full && conn.set_timer(Duration::from_millis(50), 0).is_err() {
            conn.abort();
        }
    }
}

fn calculate(jobs: Receiver<Job>) {
    for Job { client, question } in jobs {
        let Question::PrimesBelow(number) = question else {
            // All earlier questions of this client are answered. A client that is gone needs no closing.
            let _ = client.close();
            continue;
        };
        if !client.is_alive() {
            nobody_waits(number);
            continue;
        }
        let answer = format!("primes below {number}: {}", primes_below(number));
        // The completion hears of the outcome in any case, so the result can be ignored.
        let _ = client.send_then(answer, move |delivery| {
            if delivery == SendOutcome::Lost {
                nobody_waits(number);
            }
        });
    }
}

fn nobody_waits(number: u32) {
    eprintln!("nobody waits for the primes below {number} any more");
}

fn primes_below(number: u32) -> usize {
    let is_prime = |n: &u32| (2..=n.isqrt()).all(|divisor| n % divisor != 0);
    (2..number).filter(is_prime).count()
}

fn main() -> io::Result<()> {
    let options = Options::read(
        "Counts the primes below a number, on a thread that is not a worker.",
        &[(
            "--queue",
            "COUNT",
            "Questions that may wait for their answer; one more is turned down [default: 100]",
        )],
    );
    let (jobs, queue) = sync_channel(options.get("--queue").unwrap_or(100));
    thread::Builder::new()
        .name("calculator".into())
        .spawn(move || calculate(queue))?;
    let server = options
        .builder()
        .listen(options.addr(), Primes { jobs })?
        .build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
