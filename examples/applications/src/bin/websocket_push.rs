//! A feed of stock prices: each symbol is a topic, and its subscribers get its quotes. A client that does not keep up misses
//! some quotes and holds up nobody: an old price is of no use.
//!
//! Try it: `cargo run --release -p ringwheel-applications --bin websocket_push -- --stats`, then connect with any
//! WebSocket client to `ws://127.0.0.1:1833` and send `{"subscribe":"ACME"}`. `{"unsubscribe":"ACME"}` ends it.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use ringwheel::websocket::{CloseCode, Message, WebSocket};
use ringwheel::{Conn, Connections, Handler, Limits, Listen, Overflow, Published};
use ringwheel_applications::arguments::{ServerArgs, seconds};
use serde::{Deserialize, Serialize};

/// Pushes random stock prices to subscribers.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// How often in a second each symbol has a new price.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Seed of the random prices: the same seed gives the same prices.
    #[arg(long, default_value_t = 1833)]
    seed: u64,
    /// Print at this interval how many quotes were delivered and dropped [without a value: 5].
    #[arg(long, value_name = "SECONDS", value_parser = seconds, num_args = 0..=1, require_equals = true, default_missing_value = "5")]
    stats: Option<Duration>,
}

const SYMBOLS: [&str; 5] = ["ACME", "GLOBEX", "HOOLI", "INITECH", "UMBRELLA"];
/// Bytes that may wait for a slow reader: here, and in the kernel, which would otherwise buffer megabytes of quotes that
/// are old when they are read.
const BACKLOG: usize = 4 * 1024;
const KERNEL_BACKLOG: usize = 16 * 1024;
const LONGEST_COMMAND: usize = 1024;

/// A message of a client.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Command<'a> {
    Subscribe(#[serde(borrow)] Cow<'a, str>),
    Unsubscribe(#[serde(borrow)] Cow<'a, str>),
}

/// A message to a client.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Event<'a> {
    Subscribed(&'a str),
    Unsubscribed(&'a str),
    Error(&'a str),
    Quote(Quote),
}

#[derive(Serialize)]
struct Quote {
    symbol: &'static str,
    price: f64,
    /// Counts the quotes of this symbol, so that a client sees a gap where it missed one.
    number: u64,
}

impl Event<'_> {
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and prices are valid JSON")
    }
}

#[derive(Clone)]
struct Feed;

impl Handler for Feed {
    type Protocol = WebSocket;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, WebSocket>) {}

    fn on_message(
        &mut self,
        conn: &mut Conn<'_, WebSocket>,
        _session: &mut (),
        message: Message<'_>,
    ) {
        let Ok(command) = serde_json::from_slice(message.as_bytes()) else {
            return conn.close_with(CloseCode::POLICY, "that is no command");
        };
        let (Command::Subscribe(symbol) | Command::Unsubscribe(symbol)) = &command;
        let symbol: &str = symbol;
        let answer = match command {
            // Only known symbols: otherwise clients could create any number of topics.
            _ if !SYMBOLS.contains(&symbol) => Event::Error("there is no such symbol"),
            Command::Subscribe(_) => match conn.subscribe(symbol) {
                Ok(_) => Event::Subscribed(symbol),
                Err(_) => Event::Error("no more subscriptions, please"),
            },
            Command::Unsubscribe(_) => {
                conn.unsubscribe(symbol);
                Event::Unsubscribed(symbol)
            }
        };
        conn.send_text(&answer.to_json());
    }
}

/// A stock whose price wanders.
struct Stock {
    symbol: &'static str,
    cents: u64,
    number: u64,
}

impl Stock {
    /// The next quote: the price moves by up to half a per cent, and never below a dollar.
    fn next_quote(&mut self, random: u64) -> Quote {
        let most = self.cents / 200 + 1;
        self.cents = (self.cents + random % (2 * most + 1))
            .saturating_sub(most)
            .max(100);
        self.number += 1;
        Quote {
            symbol: self.symbol,
            price: self.cents as f64 / 100.0,
            number: self.number,
        }
    }
}

/// The next number of a seeded generator (splitmix64).
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Quotes delivered and dropped since the last print.
#[derive(Default)]
struct Counts {
    delivered: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    fn add(&self, published: Published) {
        self.delivered
            .fetch_add(published.delivered, Ordering::Relaxed);
        self.dropped.fetch_add(published.dropped, Ordering::Relaxed);
    }

    fn print(&self) {
        let delivered = self.delivered.swap(0, Ordering::Relaxed);
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        println!("delivered {delivered}, dropped {dropped}");
    }
}

/// One round: each symbol gets a new price, which is published to its subscribers.
fn publish_round(
    clients: &Connections<Feed>,
    stocks: &mut [Stock],
    random: &mut u64,
    counts: &Arc<Counts>,
) {
    for stock in stocks {
        let quote = Event::Quote(stock.next_quote(next_random(random)));
        let counts = counts.clone();
        // Encoded once for all subscribers. The counts are known when all workers are done with it.
        let outcome = clients.publish_then(stock.symbol, quote.to_json(), move |published| {
            counts.add(published);
        });
        if let Err(error) = outcome {
            eprintln!(
                "a quote of {} did not reach all workers: {error}",
                stock.symbol
            );
        }
    }
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    let limits = Limits::default()
        .low_water(BACKLOG / 4)
        .high_water(BACKLOG)
        .output(BACKLOG)
        .overflow(Overflow::DropMessage);
    let protocol = WebSocket::new().max_message(LONGEST_COMMAND);
    let listen = Listen::with(protocol, args.server.addr)
        .limits(limits)
        .send_buffer_size(KERNEL_BACKLOG);
    let server = args.server.builder().listen_with(listen, Feed)?.build()?;

    let handle = server.handle();
    let (clients, counts) = (handle.connections_of()?, Arc::new(Counts::default()));
    let mut stocks = SYMBOLS.map(|symbol| Stock {
        symbol,
        cents: 10_000,
        number: 0,
    });
    let (mut random, counted) = (args.seed, counts.clone());
    handle.run_every(Duration::from_secs(1) / args.rate, move || {
        publish_round(&clients, &mut stocks, &mut random, &counted);
    });
    if let Some(every) = args.stats {
        handle.run_every(every, move || counts.print());
    }

    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
