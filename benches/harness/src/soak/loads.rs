//! The loads of a soak, each on its own thread, in rounds.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::server::{Addresses, FIRST_MESSAGE};
use crate::load::{
    BroadcastLoad, ChurnLoad, EchoLoad, FaultLoad, Framing, LoadError, SlowReadersLoad, Traffic,
    Until, broadcast, churn, echo, faults, slow_readers,
};

/// Length of a round; most loads then start again, with new connections.
const ROUND: Duration = Duration::from_secs(5);
/// The broadcast has one round: a message of one round might reach a subscriber of the next.
const ALL: Duration = Duration::MAX;
/// Tolerance beyond the time after which a silent connection is ended, because a busy machine is late.
const SLACK: Duration = Duration::from_secs(1);

/// The results of the loads.
#[derive(Default)]
pub(super) struct Done {
    pub(super) operations: u64,
    pub(super) faults: u64,
    pub(super) errors: Vec<String>,
}

#[derive(Default)]
struct Progress {
    operations: AtomicU64,
    faults: AtomicU64,
    errors: Mutex<Vec<String>>,
}

impl Progress {
    fn errors(&self) -> MutexGuard<'_, Vec<String>> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of the load whose operations are faults.
const FAULTS: &str = "faults";

/// Runs one round of a load, given the addresses, the round's number and its length. Returns the number of operations.
type Round = fn(&Addresses, u64, Duration) -> Result<u64, LoadError>;

/// The names of the loads, their rounds, and the length of a round.
const LOADS: [(&str, Round, Duration); 7] = [
    (
        "echo",
        |to, _, length| echo_round(to.plain, Framing::Raw, 64, length),
        ROUND,
    ),
    (
        "WebSocket echo",
        |to, _, length| echo_round(to.websocket, Framing::WebSocket, 700, length),
        ROUND,
    ),
    (
        "deflated echo",
        |to, _, length| echo_round(to.deflated, Framing::WebSocketDeflate, 1024, length),
        ROUND,
    ),
    (
        "broadcast",
        |to, _, length| {
            let load = BroadcastLoad {
                address: to.broadcast,
                subscribers: 100,
                stalled: 5,
                size: 200,
                rate: 100,
                verify: true,
                tls: None,
                warm_up: Duration::ZERO,
                until: Until::Elapsed(length),
            };
            Ok(broadcast(&load, &mut ())?.operations)
        },
        ALL,
    ),
    (
        "churn",
        |to, _, length| {
            let load = ChurnLoad {
                address: to.plain,
                concurrency: 16,
                framing: Framing::Raw,
                handshakes: None,
                warm_up: Duration::ZERO,
                until: Until::Elapsed(length),
            };
            Ok(churn(&load, &mut ())?.operations)
        },
        ROUND,
    ),
    (
        "slow readers",
        |to, _, length| {
            let load = SlowReadersLoad {
                traffic: traffic(to.plain, Framing::Raw, 4096, 10),
                in_flight: 2,
                slow: 10,
                warm_up: Duration::ZERO,
                until: Until::Elapsed(length),
            };
            Ok(slow_readers(&load, &mut ())?.operations)
        },
        ROUND,
    ),
    (
        FAULTS,
        |to, round, length| {
            faults(&FaultLoad {
                plain: to.plain,
                websocket: to.websocket,
                silence: FIRST_MESSAGE + SLACK,
                seed: round,
                length,
            })
        },
        ROUND,
    ),
];

fn traffic(address: SocketAddr, framing: Framing, size: usize, connections: usize) -> Traffic {
    Traffic {
        address,
        connections,
        size,
        framing,
        verify: true,
        tls: None,
    }
}

fn echo_round(
    address: SocketAddr,
    framing: Framing,
    size: usize,
    length: Duration,
) -> Result<u64, LoadError> {
    let load = EchoLoad {
        traffic: traffic(address, framing, size, 50),
        in_flight: 4,
        warm_up: Duration::ZERO,
        until: Until::Elapsed(length),
    };
    Ok(echo(&load, &mut ())?.operations)
}

/// Loads that are running.
pub(super) struct Loads {
    progress: Arc<Progress>,
    threads: Vec<JoinHandle<()>>,
    /// The channel ends when all threads have ended.
    running: Receiver<()>,
}

impl Loads {
    /// Starts all loads, for `length`.
    pub(super) fn start(addresses: Addresses, length: Duration) -> Self {
        let progress = Arc::new(Progress::default());
        let end = Instant::now() + length;
        let (alive, running) = channel();
        let threads = LOADS.map(|(name, round, length)| {
            let (to, progress, alive) = (addresses.clone(), progress.clone(), alive.clone());
            let run = move |number, left: Duration| round(&to, number, left.min(length));
            thread::spawn(move || run_rounds(name, run, &progress, end, alive))
        });
        Loads {
            progress,
            threads: threads.into(),
            running,
        }
    }

    /// Waits for `wait`; returns false as soon as all loads have ended.
    pub(super) fn are_running(&self, wait: Duration) -> bool {
        self.running.recv_timeout(wait) == Err(RecvTimeoutError::Timeout)
    }

    /// Operations of all loads so far, counted at the end of each round.
    pub(super) fn operations(&self) -> u64 {
        self.progress.operations.load(Ordering::Relaxed)
    }

    /// The number of rounds that ended with an error.
    pub(super) fn errors(&self) -> usize {
        self.progress.errors().len()
    }

    /// Waits until all loads have ended.
    pub(super) fn join(self) -> Done {
        for thread in self.threads {
            if thread.join().is_err() {
                self.progress.errors().push("a load panicked".to_owned());
            }
        }
        Done {
            operations: self.progress.operations.load(Ordering::Relaxed),
            faults: self.progress.faults.load(Ordering::Relaxed),
            errors: std::mem::take(&mut self.progress.errors()),
        }
    }
}

fn run_rounds(
    name: &str,
    round: impl Fn(u64, Duration) -> Result<u64, LoadError>,
    progress: &Progress,
    end: Instant,
    _alive: Sender<()>,
) {
    for number in 0.. {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match round(number, left) {
            Ok(operations) => {
                progress.operations.fetch_add(operations, Ordering::Relaxed);
                if name == FAULTS {
                    progress.faults.fetch_add(operations, Ordering::Relaxed);
                }
            }
            Err(error) => progress
                .errors()
                .push(format!("{name}, round {number}: {error}")),
        }
    }
}
