//! The mail that a connection's messages make its handler post: the connection is held back while much of it is on its way, and
//! when some of it was refused.

use crate::connection::send_error::SendError;

use super::PUBLICATIONS;
use super::ledger::Ledger;

impl Ledger {
    /// Notes that a callback for a message begins.
    pub(super) fn begin_posting(&mut self, number: usize) {
        self.poster = Some(number);
    }

    /// Checks that a connection may be told of a message, which may make its handler post more.
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
        let on_its_way = record.posted.iter().filter(earlier).count();
        let was_refused = record.refused_mail_in == Some(round);
        self.claim(on_its_way <= PUBLICATIONS, || {
            format!(
                "{number} is told of a message while {on_its_way} of its letters are on their way"
            )
        });
        self.claim(!was_refused, || {
            format!("{number} is told of a message in the turn in which its mail was refused")
        });
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
