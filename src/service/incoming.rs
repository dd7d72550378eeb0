//! The mail of one lane that a service has not carried out.

use crossbeam_channel::Receiver;

use super::mail::Walk;
use crate::handler::Handler;
use crate::handler::letter::Posted;

/// See the [module](self).
pub(super) struct Incoming<H: Handler> {
    mail: Receiver<Posted<H>>,
    /// The visit that is under way; the mail behind it waits.
    pub(super) walk: Option<Walk<H>>,
    /// Number of letters that were waiting when the drain began and are not carried out.
    noted: usize,
    /// Number of letters that may be taken in this iteration.
    ready: usize,
}

impl<H: Handler> Incoming<H> {
    pub(super) fn new(mail: Receiver<Posted<H>>) -> Self {
        Incoming {
            mail,
            walk: None,
            noted: 0,
            ready: 0,
        }
    }

    /// Lets the letters be taken that are there now.
    pub(super) fn get_ready(&mut self) {
        self.ready = self.mail.len();
    }

    /// Takes the next letter that is ready. True beside it if a drain [waits](Self::has_noted) for it.
    pub(super) fn take(&mut self) -> Option<(Posted<H>, bool)> {
        if self.ready == 0 {
            return None;
        }
        let posted = self.mail.try_recv().ok()?;
        self.ready -= 1;
        let is_noted = self.noted > 0;
        self.noted = self.noted.saturating_sub(1);
        Some((posted, is_noted))
    }

    /// Takes all letters that wait now. What comes meanwhile stays.
    pub(super) fn take_all(&self) -> impl Iterator<Item = Posted<H>> + '_ {
        let waiting = self.mail.len();
        std::iter::from_fn(|| self.mail.try_recv().ok()).take(waiting)
    }

    /// Notes the letters that wait at the beginning of a drain, which waits for them.
    pub(super) fn note(&mut self) {
        self.noted = self.mail.len();
    }

    /// True while letters that were noted, or a visit, are not carried out.
    pub(super) fn has_noted(&self) -> bool {
        self.noted > 0 || self.walk.is_some()
    }
}
