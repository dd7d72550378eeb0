//! Support for the integration tests and the fuzz targets: a handler that reports every event, a server that stops with
//! its test, clients with deadlines, examples and tests in their own processes, and models.
//!
//! A crate rather than a module of each test binary, so that it is compiled once and its unused parts are no dead code.

pub mod scale;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "websocket")]
pub mod websocket;
pub mod wheel;

mod child;
mod client;
mod example;
mod hold;
mod recorder;
mod server;
#[cfg(feature = "tls")]
mod tls_client;

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::{Protocol, Raw};
use ringwheel::{Conn, ConnHandle, Limits, Listen};

pub use child::Child;
pub use client::Client;
pub use example::Example;
pub use hold::{Grip, Hold};
pub use recorder::{Ending, Event, Events, Recorder};
pub use server::{TestServer, behind_an_acceptor, worker_of};
#[cfg(feature = "tls")]
pub use tls::TlsClient;

/// The address that tests listen on: the system chooses the port.
pub const LOCAL: &str = "127.0.0.1:0";

/// A listener for this protocol on a port chosen by the system.
pub fn listen<P: Protocol>(protocol: P) -> Listen<P> {
    Listen::with(protocol, LOCAL)
}

/// As [`listen`], with room for output of 8 MiB: more than the kernel takes.
pub fn listen_roomy<P: Protocol>(protocol: P) -> Listen<P> {
    listen(protocol).limits(Limits::default().output(8 << 20))
}

/// Upper bound of every wait in a test; reached only if the test fails.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Waits until a condition holds that no event announces. `what` names it in the failure message.
#[track_caller]
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Repeats an attempt in which the test must do something in time, until the machine has let it. An attempt that finds that
/// the test itself was held up too long returns false; after some of them nothing is shown, and the test passes.
pub fn unless_held_up(mut attempt: impl FnMut() -> bool) {
    if !(0..5).any(|_| attempt()) {
        eprintln!("inconclusive: the machine is too busy for this test");
    }
}

/// As [`eventually`], for a value that no event brings.
#[track_caller]
pub fn eventually_some<T>(what: &str, find: impl Fn() -> Option<T>) -> T {
    let found = RefCell::new(None);
    eventually(what, || {
        *found.borrow_mut() = find();
        found.borrow().is_some()
    });
    found.into_inner().expect("it was found")
}

/// Receives within the deadline.
#[track_caller]
pub fn take<T>(channel: &Receiver<T>) -> T {
    channel
        .recv_timeout(DEADLINE)
        .expect("a value arrives in time")
}

/// A recorder that echoes every message.
pub fn raw_echo() -> (Recorder<Raw>, Events) {
    let (recorder, events) = Recorder::<Raw>::new();
    let echo = |conn: &mut Conn<'_, Raw>, bytes: &[u8]| {
        conn.send(bytes);
    };
    (recorder.on_message(echo), events)
}

/// Makes a recorder send the test a handle to each connection that opens.
pub fn lending<P: Protocol>(recorder: Recorder<P>) -> (Recorder<P>, Receiver<ConnHandle<P>>) {
    let (handles, lent) = channel();
    (
        recorder.on_open(move |conn| handles.send(conn.handle()).unwrap()),
        lent,
    )
}

/// Panics on purpose, without a message on standard error.
pub fn deliberate_panic() -> ! {
    resume_unwind(Box::new("deliberate"))
}

/// Bytes that depend on the seed and do not repeat within any buffer.
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&random.next_number().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A line as text.
pub fn text(line: &[u8]) -> &str {
    std::str::from_utf8(line).expect("lines are text")
}

/// A random number generator with a seed (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next_number() % end as u64) as usize
    }
}
