//! The mail that a connection's messages make its handler post: the connection is held back while much of it is on its way, and
//! when some of it was refused.

use crate::connection::send_error::SendError;

use super::PUBLICATIONS;
use super::ledger::Ledger;

impl Ledger {
    /// Notes that a callback begins, which answers a message or is that of a timer.
    pub(super) fn begin_posting(&mut self, number: usize, answers: bool) {
        self.poster = Some(number);
        self.answers = answers;
    }

    /// Checks that a callback for a message or a timer may be called, which may post more.
    pub(super) fn claim_may_post(&mut self, number: usize) {
        let Ledger {
            records,
            mail,
            round,
            ..
        } = self;
        let (record, round) = (&mut records[number], *round);
        record.posted.retain(|(mailing, _)| !mail[*mailing].is_done);
        let earlier = |posted: &&(usize, u64)| posted.1 < round;
        let on_its_way = record.posted.iter().filter(earlier);
        let on_its_way: Vec<_> = on_its_way.map(|(mailing, _)| *mailing).collect();
        let was_refused = record.refused_mail_in == Some(round);
        if on_its_way.len() > PUBLICATIONS {
            self.doubts.push((number, on_its_way));
        }
        self.claim(!was_refused, || {
            format!("{number} is called back in the turn in which its mail was refused")
        });
    }

    /// Checks the mail that was on its way where connections were told of messages. A publication that waits for nothing but slow
    /// subscribers, or is only to be dropped because all others have ended, counts an eighth.
    pub(super) fn check_doubts(&mut self) {
        for (number, on_its_way) in std::mem::take(&mut self.doubts) {
            let may_wait = |mailing: &&usize| {
                let may = &self.mail[**mailing].may;
                let records = || may.iter().map(|number| &self.records[*number]);
                records().all(|it| it.closed.is_some()) || records().any(|it| it.has_lagged)
            };
            let waiting = on_its_way.iter().filter(may_wait).count();
            let parts = 8 * (on_its_way.len() - waiting) + waiting;
            self.claim(parts <= 8 * PUBLICATIONS, || {
                format!("{number} is called back while its letters {on_its_way:?} are on their way")
            });
        }
    }

    /// Notes the outcome of an attempt to post mail.
    pub(super) fn note_posted<T>(&mut self, outcome: &Result<T, SendError<T>>) {
        if let (Err(SendError::Full(_)), Some(poster)) = (outcome, self.poster) {
            self.records[poster].refused_mail_in = Some(self.round);
            self.records[poster].refused_for = 0;
            self.tally.count("mail of a message refused");
        }
    }

    /// Notes the outcome of an attempt to post a broadcast or a publication, by its number.
    pub(super) fn note_mailed(&mut self, number: usize, outcome: &Result<(), SendError<()>>) {
        self.note_posted(outcome);
        self.mail[number].is_refused = outcome.is_err();
        if let (Ok(()), Some(poster)) = (outcome, self.poster) {
            self.records[poster].posted.push((number, self.round));
        }
    }
}
