//! The state that the simulation expects, and the first violation of it.
//!
//! Panics in callbacks are contained, so an assertion there would go unheard. Callbacks note a violation in the ledger
//! instead, which is checked after each step.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::connection::close_reason::{Cause, Timeout};
use crate::connection::completion::SendOutcome;
use crate::connection::id::ConnId;
use crate::handler::publication::Published;
use crate::handler::timers::TimerId;

use super::courtesy::MOST_WORK;
use super::{BUDGET, CLOSE, FIRST_MESSAGE, IDLE, MESSAGE, Random, Tally, WRITE_STALL};

/// A shared handle to the ledger.
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
    /// Connections by their number, which is also the port of their peer.
    pub(super) records: Vec<Record>,
    /// All messages that were mailed, in order.
    pub(super) mail: Vec<Mailing>,
    /// Number of jobs that callbacks have posted and that have not run: they come before what is posted later, and say something.
    pub(super) jobs: usize,
    /// Number of messages to all that every connection has got.
    pub(super) visits: u64,
    /// Connections that were told of a message although much of their mail was on its way, each with that mail. The check after
    /// the iteration decides if a slow subscriber excuses it.
    pub(super) doubts: Vec<(usize, Vec<usize>)>,
    /// The time up to which subscribers wait for all connections in a drain, also for those that are held back.
    pub(super) drain_waits_until: Option<Duration>,
    /// Number of completions that are still to be called.
    pub(super) completions: usize,
    pub(super) tasks: Vec<ExpectedTask>,
    pub(super) output_limit: usize,
    /// The next tick of each service.
    pub(super) ticks: [Option<Pending>; 2],
    /// The connection whose callback for a message or a timer runs.
    pub(super) poster: Option<usize>,
    /// That callback answers a message.
    pub(super) answers: bool,
    /// Number of times that turns were counted anew.
    pub(super) round: u64,
    /// Turns that each connection may have before they are counted anew.
    pub(super) turns: usize,
    /// The reactor is stopped: mail is dropped unread.
    pub(super) is_over: bool,
    /// Number of occurrences of each event.
    pub(super) tally: Tally,
    /// The first violation.
    pub(super) violation: Option<String>,
}

/// A connection as its callbacks and its protocol know it.
#[derive(Default)]
pub(super) struct Record {
    pub(super) service: usize,
    pub(super) id: Option<ConnId>,
    pub(super) is_sealed: bool,
    /// Number of callbacks and jobs with the connection, and of letters to it that are done.
    pub(super) calls: u64,
    /// Number of calls of `on_open`.
    pub(super) opened: usize,
    /// `on_open` has returned.
    pub(super) is_open: bool,
    /// The reason and the time of `on_close`. The socket may live on.
    pub(super) closed: Option<(Cause, Duration)>,
    /// The reactor has removed it.
    pub(super) is_gone: bool,
    /// The protocol has found the end of the handshake.
    pub(super) has_shaken_hands: bool,
    /// Number of messages that the handler has heard, without the empty ones.
    pub(super) heard: u32,
    /// Number of all messages that the handler has heard.
    pub(super) messages: u64,
    /// Number of changes of the decoder that were asked for and are not made yet.
    pub(super) decoder_changes: usize,
    /// Number of messages that the handler has sent to its own connection.
    pub(super) said: u32,
    /// Number of those messages that were reported as written.
    pub(super) written: u32,
    /// Number of messages that have arrived whole, without the empty ones.
    pub(super) arrived: u32,
    /// Number of those messages that had arrived when the drain began, on a network without faults.
    pub(super) arrived_by_drain: u32,
    /// It has subscribed to something since the drain began, and may have waited for others before it was told.
    pub(super) may_wait_in_drain: bool,
    /// The topics to which it subscribed when it was told of the drain.
    pub(super) told: BTreeSet<usize>,
    /// Part of a frame has arrived behind them.
    pub(super) is_cut: bool,
    pub(super) pongs: u32,
    pub(super) half_closed: bool,
    pub(super) farewells: usize,
    /// The protocol has said its farewell, and the peer must hear it.
    pub(super) must_part: bool,
    pub(super) has_asked_for_end: bool,
    /// Another thread has asked for a reset.
    pub(super) may_abort: bool,
    pub(super) has_shut_write: bool,
    /// The time at which bytes were last received, as of the last look at the network.
    pub(super) heard_at: Duration,
    /// The time of the last `touch`, which starts the idle time anew.
    pub(super) touched_at: Duration,
    /// The time at which the handler last let it stay although a deadline had passed.
    pub(super) stayed_at: Option<Duration>,
    /// The same for each kind of deadline by itself.
    pub(super) stays: Vec<(Timeout, Duration)>,
    /// The handler has answered a deadline with an orderly close, during which the peer may go on.
    pub(super) is_closed_in_order: bool,
    /// The time at which the handler has refused it.
    pub(super) refused_at: Option<Duration>,
    /// Timers that are set: their name, their time, and the period of those that repeat.
    pub(super) timers: Vec<(TimerId, Pending, Option<Duration>)>,
    /// The timers wait because its mail is on its way, as of the last check.
    pub(super) is_slowed: bool,
    /// The time of the first check behind such a wait.
    pub(super) let_go_at: Duration,
    /// The protocol's next deadline.
    pub(super) deadline: Option<Pending>,
    pub(super) topics: BTreeSet<usize>,
    /// Number of iterations within which requests by handles must be carried out: to close, to abort, to resume reading,
    /// to draw from sources.
    pub(super) requests: [Option<u8>; 4],
    /// The time at which it has got a source, so that the taking of output is a sign of life from then on.
    pub(super) drawn_at: Option<Duration>,
    /// Number of sources that are not done, and whose connection has not ended.
    pub(super) sources: usize,
    /// The first source has answered that it waits, and was not resumed.
    pub(super) source_waits: bool,
    /// A source is being called.
    pub(super) is_drawing: bool,
    /// Number of sources of which something was lost.
    pub(super) lost_sources: usize,
    /// Broadcasts and publications that its `on_message` has posted and that are not done, each with the round.
    pub(super) posted: Vec<(usize, u64)>,
    /// Number of iterations for which it is held back because its mail was refused.
    pub(super) refused_for: u32,
    /// The round in which a mailbox has last refused mail of its `on_message`.
    pub(super) refused_mail_in: Option<u64>,
    /// A message was refused because the output was full, and the handler was not told of room since.
    pub(super) awaits_room: bool,
    /// The message timeout that the handler has set for this connection.
    pub(super) message_timeout: Option<Duration>,
    /// The work that it has caused since turns were last counted.
    pub(super) work: usize,
    /// Publications have waited for it.
    pub(super) has_lagged: bool,
}

impl Record {
    /// Notes that a timer was cancelled. Returns the time for which it was set.
    pub(super) fn forget_timer(&mut self, timer: TimerId) -> Option<Pending> {
        let index = self.timers.iter().position(|(id, ..)| *id == timer)?;
        Some(self.timers.swap_remove(index).1)
    }

    /// Notes that a timer has fired. Returns the time for which it was set.
    pub(super) fn note_fired(&mut self, timer: TimerId, now: Duration) -> Option<Pending> {
        let index = self.timers.iter().position(|(id, ..)| *id == timer)?;
        let (_, pending, repeat) = &mut self.timers[index];
        let fired = *pending;
        let Some(period) = *repeat else {
            self.timers.swap_remove(index);
            return Some(fired);
        };
        // Rounds that were missed are not made up for.
        while pending.due <= now {
            pending.due += period;
        }
        pending.set = now;
        Some(fired)
    }
}

/// An event that is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) due: Duration,
    pub(super) set: Duration,
}

impl Pending {
    /// The tick from which on the event is overdue: the one in which it is due, and at least the one after it was set.
    pub(super) fn last_tick(self) -> u64 {
        ticks_up(self.due).max(ticks(self.set) + 1)
    }
}

/// A time in ticks of a millisecond, rounded down; independent of the clock under test.
pub(super) fn ticks(time: Duration) -> u64 {
    (time.as_micros() / 1_000) as u64
}

/// A time in ticks of a millisecond, rounded up.
pub(super) fn ticks_up(time: Duration) -> u64 {
    time.as_micros().div_ceil(1_000) as u64
}

/// A scheduled task.
pub(super) struct ExpectedTask {
    pub(super) pending: Pending,
    pub(super) every: Option<Duration>,
    pub(super) is_cancelled: bool,
    pub(super) is_done: bool,
}

/// The recipients of a mailed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    One(usize),
    Topic { service: usize, topic: usize },
    All { service: usize },
}

/// A mailed message.
pub(super) struct Mailing {
    pub(super) to: Address,
    /// A callback has posted it, so that it comes in program order.
    pub(super) is_local: bool,
    /// The mailbox did not take it.
    pub(super) is_refused: bool,
    /// The publisher, if it has published to all others.
    pub(super) except: Option<usize>,
    /// The connections that may get it.
    pub(super) may: Vec<usize>,
    /// Those of them that subscribed all of the time until it was delivered.
    pub(super) must: Vec<usize>,
    /// Number of messages that each of the recipients had said to itself when a callback posted it.
    pub(super) said: Vec<(usize, u32)>,
    /// A job was waiting then, which may say more first.
    pub(super) is_behind_jobs: bool,
    /// It was delivered, and dropped.
    pub(super) is_done: bool,
    /// The subscribers that accepted messages at the end of that iteration, and so at the time of the delivery.
    pub(super) sure: Option<Vec<usize>>,
    pub(super) published: Option<Published>,
    /// The outcome that its completion was told.
    pub(super) fate: Option<SendOutcome>,
    pub(super) arrived_at: Vec<usize>,
}

impl Ledger {
    /// Notes a violation unless `holds`. Only the first one is kept.
    pub(super) fn claim(&mut self, holds: bool, violation: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(violation());
        }
    }

    /// Checks that a deadline which the handler has put off before has run for its whole time again.
    pub(super) fn claim_stay_is_over(&mut self, number: usize, timeout: Timeout) {
        let now = self.now;
        let time = match timeout {
            Timeout::Idle => IDLE,
            Timeout::FirstMessage => FIRST_MESSAGE,
            Timeout::Message => MESSAGE,
            Timeout::WriteStall => WRITE_STALL,
            Timeout::SourceStall => CLOSE,
        };
        let stays = &self.records[number].stays;
        let stayed = stays.iter().find(|(kind, _)| *kind == timeout);
        let is_over = stayed.is_none_or(|(_, at)| *at + time <= now);
        self.claim(is_over, || {
            format!("{number}: {timeout:?} again at {now:?}, too early after it was put off")
        });
    }

    /// Each connection may have this many turns until the next call.
    pub(super) fn begin_turns(&mut self, turns: usize) {
        self.turns = turns;
        self.round += 1;
        self.records.iter_mut().for_each(|record| record.work = 0);
    }

    /// Notes that a protocol is called with a message that causes this much work. A turn does no more than its budget and
    /// the work of one message.
    pub(super) fn note_work(&mut self, number: usize, work: usize) {
        let most = self.turns * (BUDGET + MOST_WORK) - MOST_WORK;
        let record = &mut self.records[number];
        let (before, after) = (record.work, record.work + work);
        record.work = after;
        if after >= BUDGET {
            self.tally.count("budget spent");
        }
        self.claim(before < most, || {
            format!("{number}: work of {work} is done although {before} was done before")
        });
    }

    pub(super) fn pending(&self, due: Duration) -> Pending {
        Pending { due, set: self.now }
    }

    /// Adds a mailing and returns its number.
    pub(super) fn post(&mut self, to: Address) -> usize {
        let is_local = crate::current_worker().is_some();
        let may = match to {
            Address::Topic { service, topic } => {
                self.claim_nobody_misses(service, topic);
                self.subscribers(service, topic)
            }
            Address::One(to) => vec![to],
            Address::All { .. } => Vec::new(),
        };
        let said = may
            .iter()
            .map(|number| (*number, self.records[*number].said))
            .collect();
        self.mail.push(Mailing {
            to,
            is_local,
            is_refused: false,
            except: None,
            must: may.clone(),
            may,
            said,
            is_behind_jobs: self.jobs > 0,
            is_done: false,
            sure: None,
            published: None,
            fate: None,
            arrived_at: Vec::new(),
        });
        self.mail.len() - 1
    }

    /// Notes that a connection subscribes, or does so no longer. What other threads have published and is still on its way may
    /// reach it or not; what callbacks have published is for the connections that subscribed then.
    pub(super) fn note_subscription(&mut self, number: usize, topic: usize, joins: bool) {
        let address = Address::Topic {
            service: self.records[number].service,
            topic,
        };
        let pending = |mailing: &&mut Mailing| {
            let is_exact = mailing.is_local && !mailing.is_behind_jobs;
            mailing.to == address && !mailing.is_done && !is_exact
        };
        for mailing in self.mail.iter_mut().filter(pending) {
            let has_left = !mailing.must.contains(&number);
            mailing.must.retain(|it| *it != number);
            // A job that was posted before the publication may subscribe anew, and both subscriptions get it.
            let gets_it_again = mailing.is_local && has_left;
            if joins && (gets_it_again || !mailing.may.contains(&number)) {
                mailing.may.push(number);
            }
        }
    }

    /// Notes the call of a completion.
    pub(super) fn complete(&mut self, number: usize, delivery: SendOutcome) {
        self.completions = self.completions.saturating_sub(1);
        self.tally.count(match delivery {
            SendOutcome::Written => "letter written",
            SendOutcome::Refused(_) => "letter refused",
            SendOutcome::Lost => "letter lost",
        });
        if let Address::One(to) = self.mail[number].to {
            self.records[to].calls += 1;
        }
        let is_first = self.mail[number].fate.replace(delivery).is_none();
        self.claim(is_first, || format!("completion {number} is called twice"));
    }

    /// Notes that a publication was delivered and dropped.
    pub(super) fn read(&mut self, number: usize) {
        if !self.is_over {
            self.mail[number].is_done = true;
            let is_to_all = matches!(self.mail[number].to, Address::All { .. });
            self.visits += u64::from(is_to_all);
        }
    }

    /// The number and the name of a random connection, which may be gone.
    pub(super) fn pick_name(&self, random: &mut Random) -> Option<(usize, ConnId)> {
        let number = random.below(self.records.len());
        Some((number, self.records.get(number)?.id?))
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
