//! A reminder: timers of a connection, once or repeatedly.
//!
//! Try it: `cargo run --release --example timers`, then `nc 127.0.0.1 1833`, and type
//! - `in 3 tea`, to read `tea` after three seconds,
//! - `every 1 tick`, to read `tick` every second,
//! - `stop`, which cancels all of them.
//!
//! An argument is the address to listen on.

use std::collections::HashMap;
use std::time::Duration;

use ringwheel::protocol::Lines;
use ringwheel::{Conn, Handler, Server, TimerId};

/// The texts of one connection's timers.
#[derive(Default)]
struct Reminders {
    once: HashMap<TimerId, String>,
    repeated: HashMap<TimerId, String>,
}

#[derive(Clone)]
struct Clock;

impl Handler for Clock {
    type Protocol = Lines;
    type Session = Reminders;

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) -> Reminders {
        Reminders::default()
    }

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, reminders: &mut Reminders, line: &str) {
        if line == "stop" {
            let once = reminders.once.drain();
            for (timer, _) in once.chain(reminders.repeated.drain()) {
                conn.cancel_timer(timer);
            }
            conn.send("stopped");
            return;
        }
        let Some((command, time, text)) = parse(line) else {
            conn.send("in SECONDS TEXT, every SECONDS TEXT, or stop");
            return;
        };
        // The last argument comes back in `on_timer`, for handlers with timers of several kinds.
        let (set, texts) = match command {
            "every" => (conn.set_interval(time, 0), &mut reminders.repeated),
            _ => (conn.set_timer(time, 0), &mut reminders.once),
        };
        match set {
            Ok(timer) => _ = texts.insert(timer, text.to_owned()),
            Err(error) => _ = conn.send(&error.to_string()),
        }
    }

    fn on_timer(
        &mut self,
        conn: &mut Conn<'_, Lines>,
        reminders: &mut Reminders,
        timer: TimerId,
        _token: u64,
    ) {
        if let Some(text) = reminders.once.remove(&timer) {
            conn.send(&text);
        } else if let Some(text) = reminders.repeated.get(&timer) {
            conn.send(text);
        }
    }
}

/// The command, its time and its text.
fn parse(line: &str) -> Option<(&str, Duration, &str)> {
    let (command, rest) = line.split_once(' ')?;
    let (seconds, text) = rest.split_once(' ')?;
    let time = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
    matches!(command, "in" | "every").then_some((command, time, text))
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or("127.0.0.1:1833".into());
    let server = Server::builder().listen(address, Clock)?.build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
