mod deadlines;
mod doubles;
mod handshakes;
mod headers;
mod limits;
mod room;
mod served;
mod simulation;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::io::wire::handshake::SealSource;

use super::*;
use doubles::{Peer, Script};

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";
const CLIENT: &str = "192.0.2.7:56324";

/// The openings of a worker with a single service.
struct Worker {
    openings: Openings,
    now: Duration,
}

/// A connection that the test has made.
struct Made {
    peer: Peer,
    /// `None` if the connection was refused at once.
    name: Option<OpeningName>,
}

fn terms() -> OpeningTerms {
    OpeningTerms::default()
}

fn behind_proxies() -> OpeningTerms {
    OpeningTerms {
        proxies: Some(crate::TrustedNetworks::of(["10.0.0.0/8"]).unwrap()),
        ..terms()
    }
}

fn sealed(source: impl SealSource + 'static) -> OpeningTerms {
    OpeningTerms {
        seal: Some(Arc::new(source)),
        ..terms()
    }
}

impl Worker {
    fn new(terms: OpeningTerms) -> Self {
        Self::with_limits(terms, 1024, None)
    }

    fn with_limits(terms: OpeningTerms, limit: usize, per_ip: Option<usize>) -> Self {
        let (shared, _commands) = LoopShared::new(0, Box::new(|| Ok(())), (1, 1));
        let admission = Arc::new(Admission::new(10_000, per_ip, 64));
        let terms = vec![Some(Arc::new(terms))];
        let clock = TickClock::default();
        Worker {
            openings: Openings::new(terms, limit, clock, shared, admission),
            now: Duration::ZERO,
        }
    }

    fn connect(&mut self) -> Made {
        self.connect_from(PROXY)
    }

    fn connect_from(&mut self, ip: IpAddr) -> Made {
        self.connect_to(0, ip)
    }

    /// Admits a connection as a listener does, and begins to open it.
    fn connect_to(&mut self, service: u16, ip: IpAddr) -> Made {
        let terms = self.openings.terms[usize::from(service)].as_ref().unwrap();
        let counted = Some(ip).filter(|_| terms.proxies.is_none());
        assert!(self.openings.admission.admit(counted));
        self.openings.shared.count_connection();
        let (peer, stream) = Peer::new();
        let newcomer = Newcomer {
            stream,
            peer: SocketAddr::new(ip, 4711).into(),
            counted,
            service,
        };
        let mut name = None;
        self.openings.begin_with(newcomer, self.now, |_, it| {
            name = Some(it);
            Ok(())
        });
        Made { peer, name }
    }

    /// Sends bytes of a peer, and reports them.
    fn send(&mut self, from: &Made, bytes: &[u8]) {
        from.peer.send(bytes);
        self.event(from, true);
    }

    fn event(&mut self, of: &Made, is_readable: bool) {
        let name = of.name.expect("it was registered");
        self.openings.on_event(name, is_readable, self.now);
    }

    /// One iteration of the loop.
    fn iterate(&mut self) -> Vec<Opened> {
        self.openings.serve(self.now, || Duration::ZERO);
        self.openings.take_opened()
    }

    /// One iteration of the loop, which has the time for so many steps.
    fn iterate_with(&mut self, steps: u32) -> Vec<Opened> {
        let (now, done) = (self.now, std::cell::Cell::new(0));
        self.openings.serve(now, || {
            done.set(done.get() + 1);
            now + done.get() * HANDSHAKE_TIME / steps
        });
        self.openings.take_opened()
    }

    fn iterate_at(&mut self, now: Duration) -> Vec<Opened> {
        self.now = now;
        self.iterate()
    }

    /// The only connection that is open after an iteration.
    #[track_caller]
    fn opened(&mut self) -> Opened {
        let mut opened = self.iterate();
        assert_eq!(opened.len(), 1, "connections that are open");
        opened.remove(0)
    }

    fn stats(&self) -> crate::ServerStats {
        self.openings.admission.stats()
    }

    /// Checks that every connection was counted out, except so many that are open.
    #[track_caller]
    fn assert_left(&self, open: usize) {
        assert!(self.openings.is_quiet());
        assert_eq!(self.stats().connections, open);
        assert_eq!(self.openings.shared.connections(), open);
        assert_eq!(self.openings.wheel.len(), 0);
    }
}

fn read_all(opened: &mut Opened) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 1000];
    loop {
        match opened.wire.read(&mut buffer) {
            Ok(count @ 1..) => all.extend_from_slice(&buffer[..count]),
            // Records without plaintext.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return all,
        }
    }
}
