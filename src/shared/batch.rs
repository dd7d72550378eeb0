//! The mail that the callbacks of one connection post in one turn, for as long as any of it is on its way.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::control::Control;

/// The letters that a connection's callbacks have posted in one turn. Each letter holds it until the letter is carried out; with
/// the last of them they are counted out of the connection's mail.
///
/// The connection is not known where a letter is posted. So it is [told](Self::belong_to) after the turn.
#[derive(Default)]
pub(crate) struct Batch {
    /// Places that the letters have in mailboxes, together.
    letters: AtomicUsize,
    /// Bytes of the letters.
    bytes: AtomicUsize,
    poster: OnceLock<Poster>,
}

/// The connection whose callbacks have posted the letters.
struct Poster {
    control: Arc<Control>,
    /// Limits of the number and the bytes of its mail on its way.
    limits: (usize, usize),
}

impl Batch {
    /// Counts a letter. Only the thread that has made the batch does so, before it tells the connection.
    pub(crate) fn add(&self, letters: usize, bytes: usize) {
        self.letters.fetch_add(letters, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Number of the letters that were counted, and of their bytes.
    pub(crate) fn mail(&self) -> (usize, usize) {
        (
            self.letters.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }

    /// Counts the letters among the mail of a connection, until the last of them is carried out.
    pub(crate) fn belong_to(&self, control: Arc<Control>, limits: (usize, usize)) {
        let (letters, bytes) = (&self.letters, &self.bytes);
        control.count_mail(
            letters.load(Ordering::Relaxed),
            bytes.load(Ordering::Relaxed),
        );
        let told = self.poster.set(Poster { control, limits });
        debug_assert!(told.is_ok(), "a batch belongs to one connection");
    }

    /// True if a connection is held back while too many such letters are on their way.
    pub(crate) fn has_poster(&self) -> bool {
        self.poster.get().is_some()
    }

    /// The connection whose callbacks have posted the letters, once it was told, and the limits of its mail.
    pub(crate) fn poster(&self) -> Option<(&Control, (usize, usize))> {
        let poster = self.poster.get();
        poster.map(|poster| (&*poster.control, poster.limits))
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(Poster { control, limits }) = self.poster.take() {
            control.uncount_mail(*self.letters.get_mut(), *self.bytes.get_mut(), limits);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::shared::LoopShared;
    use crate::shared::control::Requests;

    const LIMITS: (usize, usize) = (10, 1_000);

    fn control() -> (Arc<LoopShared>, Arc<Control>) {
        let (shared, _commands) = LoopShared::new(0, Box::new(|| Ok(())), (1, 1));
        let control = Arc::new(Control::new(shared.clone(), 0));
        (shared, control)
    }

    /// A batch of a connection, with this many letters of 10 bytes, of which one is on its way.
    fn batch(control: &Arc<Control>, letters: usize) -> Arc<Batch> {
        let batch = Arc::new(Batch::default());
        batch.add(letters, 10 * letters);
        batch.belong_to(control.clone(), LIMITS);
        batch
    }

    fn is_let_go(shared: &LoopShared, control: &Control) -> bool {
        shared.take_request().is_some() && control.take().has(Requests::POSTED)
    }

    #[test]
    fn mail_counts_until_the_last_letter_is_carried_out() {
        let (shared, control) = control();
        let first = batch(&control, 11);
        assert!(first.mail() == (11, 110) && control.holds_poster(LIMITS, false));
        let letters = [first.clone(), first];
        let [one, other] = letters;
        drop(one);
        assert!(!is_let_go(&shared, &control));
        drop(other);
        assert!(is_let_go(&shared, &control));
        assert!(!control.has_mail_on_its_way());
    }

    #[test]
    fn bytes_count_as_letters_do() {
        let (shared, control) = control();
        let large = Arc::new(Batch::default());
        large.add(1, 1_001);
        large.belong_to(control.clone(), LIMITS);
        assert!(control.holds_poster(LIMITS, false));
        drop(large);
        assert!(is_let_go(&shared, &control));
    }

    #[test]
    fn a_poster_goes_on_when_half_of_its_limits_is_left() {
        let (shared, control) = control();
        let [first, second, third] = [5, 1, 5].map(|letters| batch(&control, letters));
        assert!(control.holds_poster(LIMITS, false));
        drop(second);
        assert!(!is_let_go(&shared, &control), "10 are left");
        drop(first);
        assert!(is_let_go(&shared, &control), "5 are left");
        drop(third);
        assert!(!is_let_go(&shared, &control), "it goes on already");
    }

    #[test]
    fn a_publication_that_waits_for_slow_subscribers_counts_an_eighth() {
        let (shared, control) = control();
        control.count_mail(11, 110);
        assert!(control.holds_poster(LIMITS, false));
        (0..6).for_each(|_| control.uncount_most(LIMITS));
        assert!(!is_let_go(&shared, &control), "5.75 are left, of 10");
        control.uncount_most(LIMITS);
        assert!(is_let_go(&shared, &control), "4.875 are left");
        control.count_mail(5, 50);
        assert!(
            !control.holds_poster(LIMITS, false),
            "9.875 are on their way"
        );
        control.count_mail(1, 10);
        assert!(control.holds_poster(LIMITS, true));
        (0..7).for_each(|_| control.uncount_rest(10, LIMITS));
        (0..9).for_each(|_| control.uncount_mail(1, 10, LIMITS));
        assert!(!is_let_go(&shared, &control), "1 is left");
        control.uncount_mail(1, 10, LIMITS);
        assert!(is_let_go(&shared, &control));
        assert!(!control.exceeds((0, 0)));
    }

    #[test]
    fn where_a_mailbox_fills_up_a_poster_waits_for_all_of_its_mail() {
        let (shared, control) = control();
        assert!(!control.holds_poster(LIMITS, true), "it has no mail");
        let [first, second] = [1, 1].map(|letters| batch(&control, letters));
        assert!(!control.holds_poster(LIMITS, false));
        assert!(control.holds_poster(LIMITS, true));
        drop(first);
        assert!(!is_let_go(&shared, &control), "1 is left");
        drop(second);
        assert!(is_let_go(&shared, &control));
    }

    #[test]
    fn a_poster_waits_for_all_of_its_mail_while_some_of_it_holds_it() {
        let (shared, control) = control();
        let [first, second] = [1, 1].map(|letters| batch(&control, letters));
        assert!(!control.holds_poster(LIMITS, false));
        control.count_holding();
        assert!(control.holds_poster(LIMITS, false));
        control.uncount_holding();
        drop(first);
        assert!(!is_let_go(&shared, &control), "1 is left");
        drop(second);
        assert!(is_let_go(&shared, &control));
        let _third = batch(&control, 1);
        assert!(!control.holds_poster(LIMITS, false));
    }

    #[test]
    fn a_batch_of_nobody_counts_nowhere() {
        let batch = Batch::default();
        batch.add(1, 1);
        drop(batch);
    }
}
