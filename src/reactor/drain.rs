//! The drain of a server that shuts down: input that has arrived is answered, output is flushed, and a deadline bounds both.
//!
//! A connection is told of the end when its own input is answered. One that subscribes to topics is told later, so that it does
//! not miss what other connections publish in answer to theirs: once all connections of all workers have answered, and the mail
//! of that time is carried out. It waits for connections that are held back during the first half of the drain's time, and for
//! the others during three quarters; the rest of the time is for last words.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::connection::close_reason::Cause;
use crate::connection::due::Due;
use crate::connection::gate::Gate;
use crate::connection::id::ConnId;
use crate::connection::lag::Lag;
use crate::connection::{Connection, Draining};
use crate::shared::{LoopShared, current};

use super::Reactor;

/// Number of times that the workers wait for each other. After the first meeting the mail that answers have led to is carried
/// out, after each further one what that mail has led to in its turn.
const ROUNDS: usize = 8;

/// A drain that is under way.
pub(super) struct Drain {
    step: Step,
    /// The ticks at which half of its time, three quarters and all of it are over, in reverse order. Those that have come are removed.
    times: Vec<u64>,
    /// All workers of the server, which drain together.
    workers: Arc<[Arc<LoopShared>]>,
    /// The connections that answer what has arrived, by slot.
    targets: HashMap<u32, Target>,
    /// Number of those connections for which the others wait.
    awaited: usize,
    /// Connections that have answered, and may miss something if they are told now.
    waiting: Vec<ConnId>,
    /// Connections that are held back are waited for no longer.
    is_late: bool,
}

/// The steps of a drain, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The mail from before the drain is carried out.
    Mail,
    /// Connections answer what has arrived.
    Answering,
    /// The worker waits until all workers have come to this round.
    Meeting(usize),
    /// The mail is carried out that had been posted by then.
    Delivering(usize),
    /// Every connection is told as soon as it has answered.
    Telling,
}

/// The part of a connection's input that it answers before it is told.
struct Target {
    /// Count of received bytes at which the handler is told of the end. All that can have arrived when the drain began lies
    /// below it, so even a peer that never stops talking is ended.
    received: u64,
    /// Subscribers wait for this connection.
    is_awaited: bool,
}

impl Drain {
    /// The connection in a slot has answered, or has ended.
    fn remove_target(&mut self, slot: u32) {
        self.await_no_longer(slot);
        self.targets.remove(&slot);
    }

    /// Subscribers do not wait for the connection in a slot any more.
    fn await_no_longer(&mut self, slot: u32) {
        if let Some(target) = self.targets.get_mut(&slot) {
            self.awaited -= usize::from(target.is_awaited);
            target.is_awaited = false;
        }
    }

    /// True if the connection has not answered what had arrived.
    fn awaits_answers_of(&self, connection: &Connection) -> bool {
        let target = self.targets.get(&connection.id.slot);
        let is_behind = target.is_some_and(|target| {
            connection.received - (connection.kept() as u64) < target.received
        });
        is_held_back(connection) || (is_behind && connection.has_work())
    }

    /// True if the connection could miss publications if it was told now.
    fn must_wait(&self, connection: &Connection) -> bool {
        let extra = connection.extra.as_ref();
        let subscribes = extra.is_some_and(|extra| !extra.subscriptions.is_empty());
        // One that lags gets what waits for it when there is room, or when the patience with it is over.
        let lags = matches!(connection.lag(), Lag::Waiting(_));
        subscribes && (self.step != Step::Telling || lags)
    }
}

impl Reactor {
    /// Begins to drain, as all the `workers` do. Connections that are left after `deadline` are dropped.
    pub(crate) fn begin_drain(&mut self, deadline: Duration, workers: Arc<[Arc<LoopShared>]>) {
        if self.drain.is_some() {
            return;
        }
        let times = [deadline, deadline - deadline / 4, deadline / 2];
        for time in times {
            self.state.schedule(time, Due::Drain);
        }
        self.drain = Some(Drain {
            step: Step::Mail,
            times: times.map(|time| self.state.deadline(time)).into(),
            workers,
            targets: HashMap::new(),
            awaited: 0,
            waiting: Vec::new(),
            is_late: false,
        });
        self.begin_step(Step::Mail);
        self.advance_steps_of_drain();
    }

    /// Goes on with the drain as far as it can.
    pub(super) fn advance_steps_of_drain(&mut self) {
        while let Some(step) = self.next_step_of_drain() {
            self.begin_step(step);
        }
    }

    /// The next step of the drain, if the present one is done.
    fn next_step_of_drain(&self) -> Option<Step> {
        let drain = self.drain.as_ref()?;
        let has_mail = || self.services.iter().any(|it| it.service.has_noted_mail());
        let (is_done, next) = match drain.step {
            Step::Mail => (!has_mail(), Step::Answering),
            Step::Answering => (drain.awaited == 0, Step::Meeting(1)),
            Step::Meeting(round) => {
                let have_all_come = drain.workers.iter().all(|it| it.has_come_to(round));
                (have_all_come, Step::Delivering(round))
            }
            Step::Delivering(ROUNDS) => (!has_mail(), Step::Telling),
            Step::Delivering(round) => (!has_mail(), Step::Meeting(round + 1)),
            Step::Telling => return None,
        };
        is_done.then_some(next)
    }

    fn begin_step(&mut self, step: Step) {
        let Some(drain) = &mut self.drain else {
            return;
        };
        drain.step = step;
        match step {
            Step::Mail | Step::Delivering(_) => {
                for slot in &mut self.services {
                    slot.service.note_mail();
                }
            }
            Step::Answering => {
                for id in self.table.ids() {
                    self.drain_connection(id.slot);
                }
            }
            Step::Meeting(round) => self.state.shared.come_to(round, &drain.workers),
            Step::Telling => {
                // The drain may come here early, because its time is over.
                self.state.shared.come_to(ROUNDS, &drain.workers);
                for id in std::mem::take(&mut drain.waiting) {
                    if let Some(connection) = self.table.get(id) {
                        self.state.queue(connection);
                    }
                }
            }
        }
    }

    /// True once a drain has begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// True once a drain has ended: no connection is left, no mail from before, and no worker that may still send some.
    pub(crate) fn is_drained(&self) -> bool {
        let is_over = |drain: &Drain| drain.step == Step::Telling && self.table.len() == 0;
        self.drain.as_ref().is_some_and(is_over)
    }

    /// Lets a connection answer what has arrived.
    pub(super) fn drain_connection(&mut self, slot: u32) {
        let (Some(drain), Some(connection)) = (&mut self.drain, self.table.in_slot(slot)) else {
            return;
        };
        if !connection.life.is_active() || drain.step == Step::Mail {
            return;
        }
        let arrived = connection.output.wire().receive_capacity();
        let target = Target {
            received: connection.received.saturating_add(arrived as u64),
            is_awaited: drain.step == Step::Answering,
        };
        drain.awaited += usize::from(target.is_awaited);
        drain.targets.insert(slot, target);
        connection.draining = Draining::Answering;
        if matches!(connection.lag(), Lag::Waiting(_)) {
            // Its publishers must not miss their own time. Those who lag from now on are waited for as ever.
            let service = &mut self.services[connection.service as usize].service;
            service.wait_no_longer(connection, &mut self.state);
        }
        connection.readable = true;
        connection.drain_fully = true;
        self.state.queue(connection);
    }

    /// After a turn of a draining connection: tells its handler once all that has arrived is answered, and there is nothing that
    /// it could miss.
    pub(super) fn advance_drain(&mut self, slot: u32) {
        if current::posted() > 0 && self.has_answered(slot) {
            // What its callbacks have just posted comes first: closures that answer, or publish.
            self.after_callbacks(slot);
        }
        let (Some(drain), Some(connection)) = (&mut self.drain, self.table.in_slot(slot)) else {
            return;
        };
        let is_active = connection.life.is_active();
        let is_answering = is_active && connection.draining == Draining::Answering;
        if is_answering && drain.awaits_answers_of(connection) {
            if drain.is_late && connection.gate.has(Gate::LASTING) {
                drain.await_no_longer(slot);
            }
            return;
        }
        drain.remove_target(slot);
        let is_closing = connection.life.is_parting() || connection.is_finishing();
        let is_told = is_active && !is_closing;
        if is_told && drain.must_wait(connection) {
            if connection.draining == Draining::Answering && drain.step != Step::Telling {
                drain.waiting.push(connection.id);
            }
            connection.draining = Draining::Answered;
            return;
        }
        connection.draining = Draining::Told;
        if is_told {
            let service = &mut self.services[connection.service as usize].service;
            let begin = self.state.measures_time.then(Instant::now);
            service.shutdown(connection, &mut self.state);
            if let Some(begin) = begin {
                self.state.budget.charge_callbacks(begin.elapsed());
            }
            self.settle(slot);
        }
    }

    /// True if an open connection has answered what had arrived.
    fn has_answered(&mut self, slot: u32) -> bool {
        let (Some(drain), Some(connection)) = (&self.drain, self.table.in_slot(slot)) else {
            return false;
        };
        let is_answering = connection.draining == Draining::Answering;
        let is_behind = is_answering && drain.awaits_answers_of(connection);
        connection.life.is_active() && !is_behind
    }

    /// Shortens the drain after half of its time and after three quarters, and ends it after all of it.
    pub(super) fn keep_time_of_drain(&mut self) {
        while let Some(drain) = &mut self.drain {
            let is_over = |time: &u64| *time <= self.state.tick;
            if !drain.times.last().is_some_and(is_over) {
                break;
            }
            drain.times.pop();
            match drain.times.is_empty() {
                true => self.end_drain(),
                false => self.shorten_drain(),
            }
        }
    }

    /// Half of the drain's time is over, or three quarters: ends the wait for connections that are held back, then for all.
    fn shorten_drain(&mut self) {
        let Some(drain) = self.drain.as_mut().filter(|it| it.step != Step::Telling) else {
            return;
        };
        if drain.is_late {
            return self.begin_step(Step::Telling);
        }
        drain.is_late = true;
        let slots: Vec<u32> = drain.targets.keys().copied().collect();
        for slot in slots {
            let connection = self.table.in_slot(slot);
            if connection.is_some_and(|connection| connection.gate.has(Gate::LASTING)) {
                drain.await_no_longer(slot);
            }
        }
    }

    /// The deadline has passed.
    fn end_drain(&mut self) {
        self.begin_step(Step::Telling);
        for slot in &mut self.services {
            slot.service.give_up_mail(&mut self.table, &mut self.state);
        }
        for ConnId { slot, .. } in self.table.ids() {
            if let Some(connection) = self.table.in_slot(slot) {
                // Output that the kernel has is sent while the peer reads; if any is lost, the peer sees a reset.
                connection.end_now(Cause::Shutdown);
                self.settle(slot);
            }
        }
    }

    /// Checks that the drain waits for connections that live, and for no others.
    #[cfg(test)]
    pub(super) fn check_drain(&mut self) {
        use crate::connection::marks::Marks;
        let Some(drain) = &self.drain else {
            return;
        };
        let awaited = drain.targets.values().filter(|target| target.is_awaited);
        assert_eq!(
            awaited.count(),
            drain.awaited,
            "connections that are awaited"
        );
        let slots: Vec<u32> = drain.targets.keys().copied().collect();
        let is_telling = drain.step == Step::Telling;
        for slot in slots {
            let connection = self.table.in_slot(slot);
            let is_answering = connection.is_some_and(|it| it.draining == Draining::Answering);
            assert!(is_answering, "the drain waits for {slot}, which is gone");
        }
        for connection in self.table.iter_mut() {
            let is_forgotten = is_telling
                && connection.draining == Draining::Answered
                && !connection.marks.has(Marks::ON_READY_LIST)
                && !matches!(connection.lag(), Lag::Waiting(_));
            assert!(!is_forgotten, "a subscriber is not told of the drain");
        }
    }
}

/// True if the connection may have input behind a shut gate, which it answers when the gate opens, unless the deadline ends it
/// before. A handler that has paused reading has an answer to give, and resumes.
fn is_held_back(connection: &Connection) -> bool {
    let has_more = connection.input.is_some() || connection.readable;
    connection.gate.has(Gate::PAUSED) || (connection.gate.has(Gate::PASSING) && has_more)
}
