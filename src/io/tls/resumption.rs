//! The resumption of sessions, by tickets and by the cache of TLS 1.2, and the time after which there is none.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use rustls::time_provider::TimeProvider;

use super::client_auth::LoadedClientAuth;
use super::session_end::{self, SessionEnd};

/// Sessions that the server itself remembers, for clients of TLS 1.2 that cannot keep a ticket.
const CACHED_SESSIONS: usize = 256;

/// The time after a full handshake in which its session can be resumed, by however many tickets in a row.
pub(super) const SESSION_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// The keys of tickets and the remembered sessions, with the terms under which they were made.
///
/// A resumed session is not verified again: the client's certificate is the one in the ticket. So sessions must not survive a change
/// of the roots, of the revocation lists, or of the demand for certificates. A new certificate of the server does not concern them.
pub(super) struct Resumption {
    pub(super) ticketer: Arc<dyn ProducesTickets>,
    pub(super) sessions: Arc<dyn StoresServerSessions>,
    pub(super) clock: Arc<dyn TimeProvider>,
    clients: LoadedClientAuth,
}

impl Resumption {
    pub(super) fn new(
        clients: LoadedClientAuth,
        clock: Arc<dyn TimeProvider>,
    ) -> Result<Self, rustls::Error> {
        let tickets = ring::Ticketer::new()?;
        let sessions = ServerSessionMemoryCache::new(CACHED_SESSIONS);
        Ok(Resumption {
            ticketer: Arc::new(Ending(tickets, clock.clone())),
            sessions: Arc::new(Ending(sessions, clock.clone())),
            clock,
            clients,
        })
    }

    /// True if its sessions were made under these terms.
    pub(super) fn suits(&self, clients: &LoadedClientAuth) -> bool {
        self.clients == *clients
    }
}

/// Tickets or a cache whose sessions end: in front of what rustls keeps of each stands the time of its end.
///
/// rustls itself writes into a new ticket of a resumed session neither the time of the full handshake nor the end of the old ticket,
/// and its ticket keys change only when a client comes.
struct Ending<T>(T, Arc<dyn TimeProvider>);

impl<T> Ending<T> {
    /// The session with the end of this thread's handshake. `None` if it must not be resumed.
    fn with_end(&self, session: &[u8]) -> Option<Vec<u8>> {
        let now = self.1.current_time()?;
        let end = session_end::of_handshake(now)?;
        Some([&end.to_bytes(), session].concat())
    }

    /// The session, whose end is that of this thread's handshake from now on. `None` if the end has passed.
    fn before_end(&self, kept: &[u8]) -> Option<Vec<u8>> {
        let (end, session) = kept.split_first_chunk()?;
        let end = SessionEnd::from_bytes(*end);
        if !end.is_ahead_of(self.1.current_time()?) {
            return None;
        }
        session_end::note(end);
        Some(session.to_vec())
    }
}

impl<T> fmt::Debug for Ending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ending").finish_non_exhaustive()
    }
}

impl ProducesTickets for Ending<Arc<dyn ProducesTickets>> {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(&self.with_end(session)?)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.before_end(&self.0.decrypt(ticket)?)
    }
}

impl StoresServerSessions for Ending<Arc<ServerSessionMemoryCache>> {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        let kept = self.with_end(&session);
        kept.is_some_and(|kept| self.0.put(id, kept))
    }

    fn get(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.before_end(&self.0.get(id)?)
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        self.before_end(&self.0.take(id)?)
    }

    fn can_cache(&self) -> bool {
        self.0.can_cache()
    }
}
