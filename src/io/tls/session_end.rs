//! The time at which a session ends, so that it cannot be resumed. rustls's unbuffered connections have no place for it, so it is
//! noted for the handshake that goes on on a thread.

use std::cell::Cell;

use rustls::pki_types::UnixTime;

use super::resumption::SESSION_LIFE;

thread_local! {
    /// `None` while there is no handshake.
    static NOTED: Cell<Option<Known>> = const { Cell::new(None) };
}

/// What a handshake knows of the end of its session.
#[derive(Clone, Copy)]
pub(super) enum Known {
    /// The session is new: it ends [`SESSION_LIFE`] after this handshake.
    New,
    /// The session ends then: an earlier one that goes on, or one of a client whose certificate expires.
    Ends(SessionEnd),
}

/// Seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SessionEnd(u64);

impl SessionEnd {
    /// The end of a session whose full handshake is at `now`, with a client whose certificate is good until `expiry`.
    pub(super) fn of_client(now: UnixTime, expiry: UnixTime) -> Self {
        SessionEnd::of_new(now).min(SessionEnd(expiry.as_secs()))
    }

    fn of_new(now: UnixTime) -> Self {
        SessionEnd(now.as_secs().saturating_add(SESSION_LIFE.as_secs()))
    }

    /// True if the session may be resumed at `now`. An end that is farther away than the life of a session is none of this clock:
    /// it was set back.
    pub(super) fn is_ahead_of(self, now: UnixTime) -> bool {
        let left = self.0.saturating_sub(now.as_secs());
        (1..=SESSION_LIFE.as_secs()).contains(&left)
    }

    pub(super) fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; 8]) -> Self {
        SessionEnd(u64::from_be_bytes(bytes))
    }
}

/// Lets a handshake go on, which knows this of the end of its session and may learn more.
pub(super) fn during<T>(known: &mut Known, go_on: impl FnOnce() -> T) -> T {
    NOTED.set(Some(*known));
    let outcome = go_on();
    if let Some(noted) = NOTED.take() {
        *known = noted;
    }
    outcome
}

/// Notes the end of the session of this thread's handshake.
pub(super) fn note(end: SessionEnd) {
    if NOTED.get().is_some() {
        NOTED.set(Some(Known::Ends(end)));
    }
}

/// The end of the session of this thread's handshake. `None` if it has passed, or if there is no handshake.
pub(super) fn of_handshake(now: UnixTime) -> Option<SessionEnd> {
    let end = match NOTED.get()? {
        Known::New => SessionEnd::of_new(now),
        Known::Ends(end) => end,
    };
    end.is_ahead_of(now).then_some(end)
}
