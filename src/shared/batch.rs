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
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(Poster { control, limits }) = self.poster.take() {
            control.uncount_mail(*self.letters.get_mut(), *self.bytes.get_mut(), limits);
        }
    }
}
