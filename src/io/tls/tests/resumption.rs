use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::Tls;
use super::super::builder::TlsBuilder;
use super::support::*;
use rcgen::date_time_ymd;
use rustls::HandshakeKind::{self, Full, Resumed};
use rustls::client::{Resumption, Tls12Resumption};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS12;
use rustls::{AlertDescription, ClientConfig, Error};

const HOUR: u64 = 60 * 60;
/// The first second of 2030.
const YEAR_2030: u64 = 1_893_456_000;

/// The server's clock.
#[derive(Debug)]
struct Clock(AtomicU64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.0.load(Ordering::Relaxed);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// A server, and a client that resumes its sessions. The client's own clock stands still, so it thinks that all tickets are good.
struct Case {
    tls: Tls,
    clock: Arc<Clock>,
    config: Arc<ClientConfig>,
}

impl Case {
    fn new(builder: TlsBuilder, config: ClientConfig) -> Self {
        let clock = Arc::new(Clock(AtomicU64::new(YEAR_2030 - HOUR)));
        Case {
            tls: Tls::from_builder(builder, clock.clone()).unwrap(),
            clock,
            config: Arc::new(config),
        }
    }

    fn pass(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds, Ordering::Relaxed);
    }

    fn handshake(&self) -> Result<HandshakeKind, Error> {
        let mut client = client(&self.config, "a.test");
        let mut server = Connection::new(&self.tls);
        match talk(&mut server, &mut client) {
            Ok(()) => Ok(client.handshake_kind().unwrap()),
            Err(_) => Err(client.process_new_packets().unwrap_err()),
        }
    }

    /// The kind of the handshake of a client that comes after so many seconds.
    fn after(&self, seconds: u64) -> HandshakeKind {
        self.pass(seconds);
        self.handshake().unwrap()
    }
}

/// For each way to resume, a client of its own.
fn client_configs(authority: &Authority, identity: Option<&Issued>) -> Vec<ClientConfig> {
    let mut by_cache = authority.client_config(&TLS12, identity);
    by_cache.resumption =
        Resumption::in_memory_sessions(8).tls12_resumption(Tls12Resumption::SessionIdOnly);
    let by_ticket = VERSIONS.map(|version| authority.client_config(version, identity));
    by_ticket.into_iter().chain([by_cache]).collect()
}

#[test]
fn a_session_ends_12_hours_after_its_full_handshake() {
    let authority = Authority::new("root");
    for config in client_configs(&authority, None) {
        let case = Case::new(authority.builder(), config);
        assert_eq!(case.after(0), Full);
        assert_eq!(case.after(12 * HOUR - 1), Resumed);
        assert_eq!(case.after(1), Full, "it was resumed in between");
        assert_eq!(case.after(12 * HOUR), Full, "nobody came in between");
        assert_eq!(case.after(500 * HOUR), Full);
        for _ in 0..3 {
            assert_eq!(case.after(4 * HOUR - 1), Resumed);
        }
        assert_eq!(case.after(4 * HOUR), Full, "it was resumed often");
        assert_eq!(case.after(4 * HOUR), Resumed);
    }
}

#[test]
fn a_reload_does_not_lengthen_the_life_of_a_session() {
    let authority = Authority::new("root");
    for config in client_configs(&authority, None) {
        let case = Case::new(authority.builder(), config);
        assert_eq!(case.after(0), Full);
        case.tls.reload().unwrap();
        assert_eq!(case.after(8 * HOUR), Resumed);
        case.tls.reload().unwrap();
        assert_eq!(case.after(4 * HOUR), Full);
    }
}

#[test]
fn a_session_is_not_resumed_by_a_clock_that_was_set_back() {
    let authority = Authority::new("root");
    for config in client_configs(&authority, None) {
        let case = Case::new(authority.builder(), config);
        assert_eq!(case.after(0), Full);
        case.clock.0.fetch_sub(100 * HOUR, Ordering::Relaxed);
        assert_eq!(case.after(0), Full);
        assert_eq!(case.after(0), Resumed);
    }
}

#[test]
fn a_session_ends_with_the_clients_certificate() {
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let identity = clients.issue_with(&["client"], 2, |params| {
        params.not_after = date_time_ymd(2030, 1, 1);
    });
    for config in client_configs(&authority, Some(&identity)) {
        let builder = authority.builder();
        let case = Case::new(builder.require_client_certificates(clients.root()), config);
        assert_eq!(case.after(0), Full);
        assert_eq!(case.after(HOUR / 2), Resumed);
        assert_eq!(case.after(HOUR / 2 - 1), Resumed);
        case.pass(2);
        let expired = Error::AlertReceived(AlertDescription::CertificateExpired);
        assert_eq!(case.handshake(), Err(expired));
    }
}
