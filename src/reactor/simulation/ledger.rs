//! What the simulation knows, and what it has found wrong.
//!
//! Callbacks run where panics are contained, so an assertion there would go unheard: they write down what is wrong
//! instead, and it is looked at after each step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::connection::close_reason::Cause;
use crate::connection::completion::SendOutcome;
use crate::handler::publication::Published;
use crate::handler::timers::TimerId;

/// A handle to the ledger, for whoever takes part.
#[derive(Clone, Default)]
pub(super) struct Book(Arc<Mutex<Ledger>>);

impl Book {
    pub(super) fn open(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
pub(super) struct Ledger {
    pub(super) now: Duration,
    /// By the number of the connection, which is also its peer's port.
    pub(super) records: Vec<Record>,
    /// All that was mailed, in order.
    pub(super) mail: Vec<Mailing>,
    /// Completions that are still to be called.
    pub(super) completions: usize,
    pub(super) tasks: Vec<Errand>,
    pub(super) output_limit: usize,
    /// When the handlers of the services are to be called next.
    pub(super) ticks: [Option<Pending>; 2],
    /// The reactor is stopped: mail is thrown away unread.
    pub(super) is_over: bool,
    /// How often what has happened.
    pub(super) tally: Tally,
    /// The first thing that was found wrong.
    pub(super) violation: Option<String>,
}

/// How often what has happened: a simulation that does not reach something cannot find anything wrong there.
#[derive(Default, Debug)]
pub(super) struct Tally(pub(super) BTreeMap<&'static str, u64>);

impl Tally {
    pub(super) fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Tally) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }
}

/// A connection, as its callbacks and its protocol know it.
#[derive(Default)]
pub(super) struct Record {
    pub(super) service: usize,
    /// Calls of `on_open`, and whether it has returned.
    pub(super) opened: usize,
    pub(super) is_open: bool,
    pub(super) closed: Option<(Cause, Duration)>,
    /// It has left the reactor.
    pub(super) is_gone: bool,
    /// The protocol has found the end of the handshake.
    pub(super) has_shaken_hands: bool,
    /// The next message that the handler is to hear.
    pub(super) heard: u32,
    /// Messages of the handler's own that were taken.
    pub(super) said: u32,
    /// As many of them were reported as written.
    pub(super) written: u32,
    /// Messages and empty messages that have arrived whole, and whether something is behind them.
    pub(super) arrived: u32,
    pub(super) is_cut: bool,
    pub(super) pongs: u32,
    pub(super) half_closed: bool,
    pub(super) farewells: usize,
    /// There was room for the last words.
    pub(super) must_part: bool,
    pub(super) has_asked_for_end: bool,
    pub(super) has_shut_write: bool,
    /// When the handler has put idleness off.
    pub(super) touched_at: Duration,
    /// When the handler has let it stay although a deadline had passed.
    pub(super) stayed_at: Option<Duration>,
    /// The handler has let an orderly close follow a deadline, during which the peer may go on.
    pub(super) is_closed_in_order: bool,
    /// The handler has refused it.
    pub(super) is_refused: bool,
    /// Timers that are set, with when they are due, and the period of those that repeat.
    pub(super) timers: Vec<(TimerId, Pending, Option<Duration>)>,
    /// When the protocol is to be called.
    pub(super) deadline: Option<Pending>,
    pub(super) topics: BTreeSet<usize>,
}

/// Something that is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) due: Duration,
    pub(super) set: Duration,
}

impl Pending {
    /// The tick that must not end without it: that in which it is due, or the one after it was set.
    pub(super) fn last_tick(self) -> u64 {
        ticks_up(self.due).max(ticks(self.set) + 1)
    }
}

/// Ticks are milliseconds here. Written apart from the clock that is tested.
pub(super) fn ticks(time: Duration) -> u64 {
    (time.as_micros() / 1_000) as u64
}

pub(super) fn ticks_up(time: Duration) -> u64 {
    time.as_micros().div_ceil(1_000) as u64
}

/// A scheduled task.
pub(super) struct Errand {
    pub(super) pending: Pending,
    pub(super) every: Option<Duration>,
    pub(super) is_cancelled: bool,
    pub(super) is_done: bool,
}

/// For whom something was mailed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    One(usize),
    Topic { service: usize, topic: usize },
    All { service: usize },
}

/// A message that was mailed.
pub(super) struct Mailing {
    pub(super) to: Address,
    /// The mailbox did not take it.
    pub(super) is_refused: bool,
    /// The connection that has published it to the others.
    pub(super) except: Option<usize>,
    /// The subscribers when it was read.
    pub(super) subscribers: Option<Vec<usize>>,
    /// Those of them that could be sent to at the end of that iteration, and so at the time.
    pub(super) sure: Option<Vec<usize>>,
    pub(super) published: Option<Published>,
    /// What its completion was told.
    pub(super) fate: Option<SendOutcome>,
    pub(super) arrived_at: Vec<usize>,
}

impl Ledger {
    /// Notes that something is wrong unless `holds`.
    pub(super) fn claim(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(what());
        }
    }

    pub(super) fn pending(&self, due: Duration) -> Pending {
        Pending { due, set: self.now }
    }

    /// Numbers a new mailing.
    pub(super) fn post(&mut self, to: Address) -> usize {
        self.mail.push(Mailing {
            to,
            is_refused: false,
            except: None,
            subscribers: None,
            sure: None,
            published: None,
            fate: None,
            arrived_at: Vec::new(),
        });
        self.mail.len() - 1
    }

    /// A completion is called.
    pub(super) fn complete(&mut self, number: usize, delivery: SendOutcome) {
        self.completions = self.completions.saturating_sub(1);
        self.tally.count(match delivery {
            SendOutcome::Written => "letter written",
            SendOutcome::Refused(_) => "letter refused",
            SendOutcome::Lost => "letter lost",
        });
        let is_first = self.mail[number].fate.replace(delivery).is_none();
        self.claim(is_first, || format!("completion {number} is called twice"));
    }

    /// A publication was read, handed out, and dropped.
    pub(super) fn read(&mut self, number: usize) {
        let Address::Topic { service, topic } = self.mail[number].to else {
            return;
        };
        if self.is_over {
            return;
        }
        let except = self.mail[number].except;
        let mut subscribers = self.subscribers(service, topic);
        subscribers.retain(|number| Some(*number) != except);
        self.mail[number].subscribers = Some(subscribers);
    }

    /// The connections that subscribe to a topic.
    pub(super) fn subscribers(&self, service: usize, topic: usize) -> Vec<usize> {
        let subscribes = |record: &Record| {
            record.service == service && !record.is_gone && record.topics.contains(&topic)
        };
        (0..self.records.len())
            .filter(|number| subscribes(&self.records[*number]))
            .collect()
    }
}
