//! The bound on the worker's memory in worlds where memory is short, and the checks that it is kept.

use std::time::Duration;

use ringwheel_ringbuffer::PoolConfig;

use crate::connection::Connection;
use crate::connection::burdens::Burdens;
use crate::connection::close_reason::Cause;
use crate::connection::gate::Gate;
use crate::connection::id::ConnId;
use crate::connection::lifecycle::Stage;
use crate::connection::marks::Marks;
use crate::connection::memory::{Bounds, Course, Search, UNIT};
use crate::wheel::TimerKey;

use super::ledger::{Ledger, ticks, ticks_up};
use super::world::{MAX_LIVE, World};
use super::{Random, TOPICS};

/// The longest time for which connections are slowed.
const PATIENCE: Duration = Duration::from_millis(15);
/// The bounds of the worlds in which memory is short.
const BOUNDS: [usize; 4] = [3_072, 4_096, 6_144, 10_240];

/// The memory of one world. Its choices are its own, so that they change nothing in the other worlds.
pub(super) struct Shortage {
    random: Random,
    /// Bytes; `None` if there is enough.
    bound: Option<usize>,
    slowed: Option<Slowed>,
    /// The number of connections at the last look.
    connections: usize,
    /// The number of connections that were ended for the bound.
    ended: usize,
}

/// A shortage that is going on.
struct Slowed {
    timer: TimerKey,
    /// The time at which it was first seen.
    since: Duration,
    /// The least number of connections since the look before.
    fewest: usize,
}

impl Shortage {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random(seed ^ 0x006d_656d_6f72_7900).fork();
        let is_short = random.one_in(3);
        let bound = BOUNDS[random.below(BOUNDS.len())];
        Shortage {
            random,
            bound: is_short.then_some(bound),
            slowed: None,
            connections: 0,
            ended: 0,
        }
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            bytes: self.bound.unwrap_or(usize::MAX),
            patience: PATIENCE,
        }
    }

    /// Small rings where memory is short, so that what peers send makes a difference.
    pub(super) fn pool(&self) -> PoolConfig {
        let usual = PoolConfig::default();
        match self.bound {
            Some(_) => PoolConfig {
                initial_capacity: 64,
                keep_capacity: 256,
                ..usual
            },
            None => usual,
        }
    }

    /// The choices of a new peer that has the server's decoder keep something.
    pub(super) fn parts(&mut self) -> Option<Random> {
        self.bound.map(|_| self.random.fork())
    }
}

impl World {
    /// Checks the account of the worker's memory. Returns the number of timers that slowing has set.
    pub(super) fn check_memory(&mut self) -> usize {
        let bound = self.shortage.bound.unwrap_or(usize::MAX) / UNIT;
        let bound = bound as u64;
        let reactor = &mut self.reactor;
        let units = |bytes: usize| bytes.div_ceil(UNIT) as u64;
        let mut sum = 0;
        let is_slowed = reactor.state.memory.is_slowed();
        let ledger = self.book.open();
        for connection in reactor.table.iter_mut() {
            let service = &reactor.services[connection.service as usize].service;
            let rings = units(held_by(connection));
            let decoder = units(service.held(connection));
            let peer = self.peers.iter().find(|peer| peer.id == connection.id);
            let topics = peer.map(|peer| &ledger.records[peer.number].topics);
            let names = topics.into_iter().flatten().map(|topic| TOPICS[*topic]);
            // What a subscription counts, and its name.
            let subscribed: u64 = names.map(|name| units(288 + name.len())).sum();
            let charged = connection.units();
            // A connection that is over may have given up its memory late in the iteration. Its decoder and its topics go in the
            // next one, which comes at once.
            let has_given_up = connection.life.is_closed() && charged == 0;
            let held = rings
                + if has_given_up {
                    0
                } else {
                    decoder + subscribed
                };
            // Mail may move what a wire holds once the connection is listed; its next turn, which comes at once, charges it.
            let is_sealed = peer.is_some_and(|peer| peer.tap.is_some());
            let is_charged_soon = is_sealed && connection.marks.has(Marks::ON_READY_LIST);
            let held = if is_charged_soon { charged } else { held };
            assert_eq!(held, charged, "{} is charged wrongly", connection.id);
            sum += held;
            let is_held_back = connection.gate.has(Gate::MEMORY);
            assert!(
                is_slowed || !is_held_back,
                "{} is held back although there is memory enough, or the patience is over",
                connection.id
            );
            // A job may have ended subscriptions; its next turn, which comes at once, opens the gate.
            let may_be_held_back =
                held > bound / 2 / MAX_LIVE as u64 || connection.marks.has(Marks::ON_READY_LIST);
            assert!(
                !is_held_back || may_be_held_back,
                "{} is held back within its share",
                connection.id
            );
        }
        drop(ledger);
        let has_turns_left = !reactor.state.turns.ready.is_empty();
        let memory = &mut reactor.state.memory;
        assert_eq!(memory.held(), sum, "the sum of what all connections hold");
        assert!(sum <= bound, "{sum} units are held, the bound is {bound}");
        let shown = self.shared.held.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(shown, sum as usize * UNIT, "what is shown to others");
        let is_calm = matches!(memory.course, Course::Calm);
        assert!(is_calm || sum > bound / 8 * 5, "a shortage has no end");
        // A connection that is queued with new output is charged at once, and slows others at the end of its turn.
        let must_slow = is_calm && !has_turns_left;
        assert!(
            !must_slow || sum <= bound - bound / 4,
            "{sum} units are held, the bound is {bound}, and nobody is slowed"
        );
        let searches = std::mem::take(&mut memory.searches);
        self.check_victims(&searches, bound);
        self.note_course()
    }

    /// Checks that the victims of each search are the connections that held most, and no more than were needed.
    fn check_victims(&mut self, searches: &[Search], bound: u64) {
        let ledger = self.book.open();
        let closed_for_memory = |record: &&super::ledger::Record| {
            matches!(record.closed, Some((Cause::WorkerMemory, _)))
        };
        // Victims whose handler will be told in a later iteration.
        let is_met = |id: ConnId| {
            ledger
                .records
                .iter()
                .any(|it| it.id == Some(id) && it.is_open)
        };
        let untold = self.reactor.table.iter().filter(|it| is_untold_victim(it));
        let untold: Vec<ConnId> = untold.map(|it| it.id).filter(|id| is_met(*id)).collect();
        let ended = ledger.records.iter().filter(closed_for_memory).count() + untold.len();
        let mut found = 0;
        for (index, search) in searches.iter().enumerate() {
            let later = searches.get(index + 1);
            let was_there_later =
                |id: ConnId| later.is_some_and(|later| later.held.iter().any(|(it, _)| *it == id));
            let (mut victims, mut survivors, mut sum, mut sure_sum) = (vec![], vec![], 0, 0);
            for (id, held) in &search.held {
                sum += held;
                let is_ending = self
                    .reactor
                    .table
                    .get(*id)
                    .is_some_and(|it| it.life.is_closed());
                if was_there_later(*id) || (self.reactor.table.get(*id).is_some() && !is_ending) {
                    survivors.push(*held);
                    sure_sum += held;
                } else if untold.contains(id) || is_victim(&ledger, *id) {
                    victims.push(*held);
                } else {
                    // Whether it would have ended in any case cannot be told.
                }
            }
            found += victims.len();
            let Some(least) = victims.iter().min() else {
                continue;
            };
            let most = survivors.iter().max().copied().unwrap_or(0);
            assert!(*least >= most, "{victims:?} end, {survivors:?} do not");
            let share = bound / 2 / search.held.len() as u64;
            assert!(
                *least > share,
                "a victim holds {least}, its share is {share}"
            );
            assert!(sum > bound - bound / 8, "nobody needed to end");
            let are_all_known = victims.len() + survivors.len() == search.held.len();
            assert!(
                !are_all_known || sure_sum + least > bound - bound / 8,
                "fewer victims were enough: {victims:?}"
            );
        }
        assert_eq!(
            self.shortage.ended + found,
            ended,
            "connections end for the bound without being searched for"
        );
        drop(ledger);
        self.shortage.ended = ended;
    }

    /// Follows the course of a shortage. Returns the number of timers that it has set.
    fn note_course(&mut self) -> usize {
        let now = self.now();
        let before = self.shortage.slowed.take();
        let connections = self.reactor.table.len();
        let connections_before = std::mem::replace(&mut self.shortage.connections, connections);
        let mut ledger = self.book.open();
        let Course::Slowed(timer) = self.reactor.state.memory.course else {
            if before.is_some() {
                ledger.tally.count(match self.reactor.state.memory.course {
                    Course::PatienceLost => "patience lost",
                    _ => "memory is ample again",
                });
            }
            return 0;
        };
        let slowed = match before.filter(|known| known.timer == timer) {
            Some(known) => Slowed {
                fewest: known.fewest.min(connections),
                ..known
            },
            None => {
                ledger.tally.count("memory is short");
                Slowed {
                    timer,
                    since: now,
                    // It may have begun between the last look and now, when another connection came.
                    fewest: connections.min(connections_before),
                }
            }
        };
        assert!(
            ticks(now) < ticks_up(slowed.since + PATIENCE).max(ticks(slowed.since) + 1),
            "connections are slowed for longer than the patience"
        );
        drop(ledger);
        self.check_shares(slowed.fewest);
        self.shortage.slowed = Some(slowed);
        1
    }

    /// Checks that connections with more than their share are held back during a shortage, in which there were never fewer
    /// connections than `fewest`.
    fn check_shares(&mut self, fewest: usize) {
        let state = &self.reactor.state;
        let share = state.memory.share(fewest);
        for connection in self.reactor.table.iter() {
            // The end of the turn that a connection is queued for will hold it back.
            let is_settled = !connection.marks.has(Marks::ON_READY_LIST);
            let must_wait =
                is_settled && connection.life.stage() == Stage::Open && connection.units() > share;
            assert!(
                !must_wait || connection.gate.has(Gate::MEMORY),
                "{} holds more than its share, and is not held back",
                connection.id
            );
        }
    }
}

/// Bytes of the rings and the completions of a connection, from these themselves. The completions of one that is over and has given up
/// its memory are called in the next iteration at the latest, and do not count.
fn held_by(connection: &Connection) -> usize {
    let input = connection.input.as_ref().map_or(0, |ring| ring.capacity());
    let has_given_up = connection.life.is_closed() && !connection.burdens.has(Burdens::COMPLETING);
    let extra = connection.extra.as_ref().filter(|_| !has_given_up);
    let completions = extra.map_or(0, |extra| extra.completions.added_up());
    input + connection.output.capacity() + completions
}

/// True if a connection was ended because the bound was passed, and its handler was not told yet.
fn is_untold_victim(connection: &Connection) -> bool {
    let is_victim = connection.life.is_closed() && connection.cause == Some(Cause::WorkerMemory);
    is_victim && !connection.marks.has(Marks::TOLD_OF_END)
}

/// True if a connection was ended because the bound was passed.
fn is_victim(ledger: &Ledger, id: ConnId) -> bool {
    let mut records = ledger.records.iter();
    let record = records.find(|record| record.id == Some(id));
    record.is_some_and(|record| matches!(record.closed, Some((Cause::WorkerMemory, _))))
}
