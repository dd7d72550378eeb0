//! Mail and requests: what other threads and other callbacks ask of the worker's connections.

use std::time::Instant;

use crate::connection::gate::Gate;
use crate::connection::victims::keep_bound;
use crate::shared::control::Requests;
use crate::shared::current;
use crate::shared::lane::Lane;

use super::Reactor;

/// Number of rounds in which mail that callbacks post, and what that leads to, is carried out before anything else happens.
const LOCAL_ROUNDS: usize = 16;

/// The bounds of the mail that one iteration carries out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MailBudget {
    /// Number of connections that the letters of one service may reach. The letter that passes it is still carried out.
    pub(crate) letters: usize,
    /// The cost of the publications that all services together may deliver: 32 for each visit to a subscriber, 1 for each
    /// message, 1 for each 256 bytes.
    pub(crate) publications: usize,
}

impl Default for MailBudget {
    fn default() -> Self {
        MailBudget {
            letters: 1024,
            // About a millisecond.
            publications: 16 * 1024,
        }
    }
}

impl Reactor {
    /// Carries out the mail that callbacks have just posted, and holds back the connection in `slot`, whose callbacks they were,
    /// if it posts faster than its mail is carried out.
    #[inline]
    pub(super) fn after_callbacks(&mut self, slot: u32) {
        if current::posted() > 0 {
            self.carry_out_posts(slot);
        }
    }

    #[cold]
    fn carry_out_posts(&mut self, slot: u32) {
        let begin = self.state.measures_time.then(Instant::now);
        let posted = current::posted();
        self.carry_out_local_mail();
        if let Some(begin) = begin {
            self.charge_posts(slot, posted, begin);
        }
        let mail = current::take_mail();
        self.tell_of_room();
        let is_crowded = mail.crowded.is_some();
        if is_crowded {
            self.crowded = mail.crowded;
        }
        let Some(connection) = self.table.in_slot(slot) else {
            return;
        };
        if !connection.life.takes_input() {
            return;
        }
        // A connection that posts is accounted for its mail from now on.
        let control = connection.control(&self.state.shared).clone();
        let limits = self.services[connection.service as usize]
            .limits
            .publications;
        if let Some(batch) = mail.batch {
            batch.belong_to(control.clone(), limits);
        }
        // Where a mailbox fills up each waits for its own mail, and not for that of the others, which may never end.
        if control.holds_poster(limits, is_crowded) {
            connection.hold_back(Gate::POSTED);
        }
        match mail.refused_by {
            Some(full) => {
                connection.hold_back(Gate::MAIL);
                let is_first = !std::mem::replace(&mut connection.extra_or_new().was_refused, true);
                if is_first {
                    let callback = Box::new(move || _ = control.request(Requests::MAIL_READ));
                    full.when_mail_was_read(callback);
                }
            }
            None if connection.extra_or_new().was_refused => {}
            None if connection.gate.has(Gate::MAIL) => {
                // It was shut for no longer than this turn, so the idle time goes on.
                connection.gate.open(Gate::MAIL);
                self.state.queue(connection);
            }
            None => {}
        }
    }

    /// Charges a connection with the time since `begin`, in which the mail was carried out that its callbacks have posted.
    fn charge_posts(&mut self, slot: u32, posted: u32, begin: Instant) {
        let now = Instant::now();
        let time = now.saturating_duration_since(begin);
        self.state.post_pace.note(posted, time, now);
        let is_slow = self.state.budget.charge_callbacks(time);
        if let Some(connection) = self.table.in_slot(slot).filter(|_| is_slow) {
            connection.note_slow_turn(&self.state);
        }
    }

    /// Carries out the mail that callbacks have posted to the worker itself, for no connection in particular.
    fn read_local_mail(&mut self) {
        self.carry_out_local_mail();
        self.tell_of_room();
    }

    /// Calls back senders that wait for room, if there is some. What they post is of no connection.
    fn tell_of_room(&self) {
        self.state.shared.tell_of_room();
        current::take_mail();
    }

    /// Lets every service carry out the mail that callbacks have posted to the worker itself.
    fn carry_out_local_mail(&mut self) {
        for round in 0..LOCAL_ROUNDS {
            if round > 0 && current::posted() == 0 {
                break;
            }
            current::take_posts();
            let Reactor {
                table,
                services,
                state,
                ..
            } = self;
            for (index, slot) in (0u16..).zip(services) {
                slot.service.read_local_mail(index, table, state);
            }
        }
        keep_bound(&mut self.table, &mut self.state);
        // A longer chain goes on later, so that mail which leads to more for ever does not hold up the loop.
        current::take_posts();
    }

    /// Does what other threads ask of connections through their controls.
    pub(super) fn obey_requests(&mut self) {
        while let Some(slot) = self.state.shared.take_request() {
            let Some(connection) = self.table.in_slot(slot) else {
                continue;
            };
            let control = connection
                .extra
                .as_ref()
                .and_then(|extra| extra.control.as_ref());
            let Some(requests) = control.map(|control| control.take()) else {
                continue;
            };
            let service = &mut self.services[connection.service as usize].service;
            service.obey(connection, &mut self.state, requests);
            if connection.set_overdue_timers(&mut self.state) {
                // They come before further input, which may have the connection slowed again.
                self.fired_at = u64::MAX;
            }
            self.read_posts();
        }
    }

    /// Lets every service carry out its mail and deliver its publications, within the budgets.
    pub(super) fn read_mail(&mut self) {
        self.read_local_mail();
        for index in 0..self.services.len() {
            // Before the lane of callbacks is read, so that it has all that they had posted by then.
            self.services[index].service.get_mail_ready(Lane::Threads);
            for lane in Lane::ALL {
                self.read_lane(index, lane);
            }
        }
        self.fan_out();
        self.read_posts();
        self.state.shared.tell_of_round();
        self.tell_of_room();
    }

    /// Lets a service carry out the mail of one lane, within the budget.
    fn read_lane(&mut self, index: usize, lane: Lane) {
        let mut left = self.mail.letters;
        self.state.mail_time = self.state.begin_callbacks();
        while left > 0 {
            let service = &mut self.services[index].service;
            if lane == Lane::Callbacks {
                service.get_mail_ready(lane);
            }
            let name = (index as u16, lane);
            left = service.read_mail(name, &mut self.table, &mut self.state, left);
            self.read_posts();
            if self.state.shared.has_requests() {
                self.obey_requests();
            }
        }
    }

    /// Carries out the mail that callbacks have posted, if there is any.
    pub(super) fn read_posts(&mut self) {
        if current::posted() > 0 {
            self.read_local_mail();
        }
    }

    /// Delivers publications. The services take turns at being the first, so that none takes all of the budget for ever.
    fn fan_out(&mut self) {
        let count = self.services.len();
        let mut left = self.mail.publications;
        for offset in 0..count {
            let index = (self.first_to_fan_out + offset) % count;
            let service = &mut self.services[index].service;
            left = service.fan_out(&mut self.table, &mut self.state, left);
        }
        self.first_to_fan_out = (self.first_to_fan_out + 1) % count.max(1);
    }
}
