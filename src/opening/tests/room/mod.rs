//! The waiting room: turns, who gives way, and who was there for nothing.

mod simulation;

use crate::accept::admission::ServerStats;
use crate::io::wire::Wire;
use crate::opening::room::WaitingRoom;

use super::*;

/// A room, with what counts its connections.
struct Hall {
    room: WaitingRoom,
    shared: Arc<LoopShared>,
    admission: Arc<Admission>,
}

impl Hall {
    fn new(limit: usize) -> Self {
        let (shared, _commands) = LoopShared::new(0, Box::new(|| Ok(())), (1, 1));
        let admission = Arc::new(Admission::new(10_000, Some(10_000), 64));
        Hall {
            room: WaitingRoom::new(limit, shared.clone(), admission.clone()),
            shared,
            admission,
        }
    }

    /// Admits a connection from an address, and has it wait. Its port is its number.
    fn enter(&mut self, ip: IpAddr, number: u16) -> Peer {
        assert!(self.admission.admit(Some(ip)));
        self.shared.count_connection();
        let (peer, stream) = Peer::new();
        self.room.enter(Opened {
            wire: Wire::Plain(stream),
            peer: SocketAddr::new(ip, number).into(),
            service: 0,
            header: None,
            is_registered: false,
        });
        peer
    }

    /// Takes a connection that its peer has not reset, and returns its number.
    fn next(&mut self) -> Option<u16> {
        loop {
            let opened = self.room.take()?;
            if let Some(opened) = self.room.unless_abandoned(opened) {
                let number = opened.peer.port();
                self.close(opened);
                return number;
            }
        }
    }

    /// Ends a connection that was taken, as the reactor does in the end.
    fn close(&self, opened: Opened) {
        self.shared.uncount_connection();
        self.admission.release(opened.peer.ip());
    }

    fn all(&mut self) -> Vec<u16> {
        std::iter::from_fn(|| self.next()).collect()
    }

    fn stats(&self) -> ServerStats {
        self.admission.stats()
    }

    /// Checks that nobody waits, and that all were counted out.
    #[track_caller]
    fn assert_empty(&self) {
        assert!(self.room.is_empty() && !self.room.is_closed());
        assert_eq!(self.stats().connections, 0);
        assert_eq!(self.shared.connections(), 0);
    }
}

fn ip(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

#[test]
fn networks_take_turns_and_their_connections_keep_their_order() {
    let mut hall = Hall::new(100);
    for number in 0..5 {
        hall.enter(ip(1), number);
    }
    hall.enter(ip(2), 10);
    hall.enter("::ffff:192.0.2.2".parse().unwrap(), 11);
    hall.enter("2001:db8::1".parse().unwrap(), 20);
    hall.enter("2001:db8::2:1".parse().unwrap(), 21);
    assert_eq!(hall.all(), [0, 10, 20, 1, 11, 21, 2, 3, 4]);
    hall.assert_empty();
}

/// Others had to wait until all were adopted that had come before them.
#[test]
fn one_that_comes_later_waits_for_one_of_each_network() {
    let mut hall = Hall::new(1024);
    for number in 0..1000 {
        hall.enter(ip(1), number);
    }
    assert_eq!(hall.next(), Some(0));
    hall.enter(ip(2), 5000);
    assert_eq!([hall.next(), hall.next()], [Some(1), Some(5000)]);
}

#[test]
fn the_network_with_most_gives_way_with_the_one_that_has_waited_longest() {
    let mut hall = Hall::new(4);
    let many: Vec<Peer> = (0..3).map(|number| hall.enter(ip(1), number)).collect();
    let one = hall.enter(ip(2), 10);
    assert!(!hall.room.is_closed(), "another one may come in");
    let other = hall.enter(ip(3), 20);
    assert!(many[0].is_reset() && !many[1].line().is_dropped);
    let last = hall.enter(ip(1), 3);
    assert!(many[1].is_reset() && !many[2].line().is_dropped);
    assert_eq!(hall.stats().openings_displaced, 2);
    assert_eq!(hall.stats().connections, 4);
    assert!(!one.line().is_dropped && !other.line().is_dropped && !last.line().is_dropped);
    assert_eq!(hall.all(), [2, 10, 20, 3]);
    hall.assert_empty();
}

/// Nobody gains by a reset of one of them: all would be adopted in time, and the others wait in the backlog.
#[test]
fn a_crowd_from_many_addresses_loses_nobody() {
    let mut hall = Hall::new(8);
    let crowd: Vec<Peer> = (0..8).map(|last| hall.enter(ip(last), 0)).collect();
    assert!(hall.room.is_closed());
    let late = hall.enter(ip(9), 0);
    assert!(crowd.iter().all(|peer| !peer.line().is_dropped));
    assert!(!late.line().is_dropped, "it was accepted all the same");
    assert_eq!(hall.all().len(), 9);
    assert_eq!(hall.stats().openings_displaced, 0);
}

/// As behind a proxy, for which all clients have one address.
#[test]
fn a_crowd_that_is_alone_loses_nobody() {
    let mut hall = Hall::new(8);
    let crowd: Vec<Peer> = (0..8).map(|number| hall.enter(ip(1), number)).collect();
    assert!(hall.room.is_closed());
    assert_eq!(hall.next(), Some(0));
    assert!(!hall.room.is_closed());
    hall.enter(ip(1), 8);
    assert!(hall.room.is_closed());
    assert!(crowd[1..].iter().all(|peer| !peer.line().is_dropped));
    // Now somebody else is there, and the next one has a place.
    hall.enter(ip(2), 20);
    assert!(crowd[1].is_reset() && !hall.room.is_closed());
    assert_eq!(hall.all(), [2, 20, 3, 4, 5, 6, 7, 8]);
    hall.assert_empty();
}

/// A part of a large room is safe for each network.
#[test]
fn a_network_with_few_connections_loses_none() {
    let mut hall = Hall::new(256);
    for last in 0..64 {
        (0..4).for_each(|number| _ = hall.enter(ip(last), number));
    }
    assert!(hall.room.is_closed(), "each has a 64th");
    hall.enter(ip(0), 4);
    assert_eq!(hall.stats().openings_displaced, 1);
}

#[test]
fn those_that_were_reset_are_passed_over_and_do_not_count_as_displaced() {
    let mut hall = Hall::new(4);
    let gone: Vec<Peer> = (0..3).map(|number| hall.enter(ip(1), number)).collect();
    gone.iter().for_each(|peer| peer.line().has_failed = true);
    hall.enter(ip(2), 10);
    hall.enter(ip(3), 20);
    assert!(gone[0].is_closed());
    assert_eq!(hall.all(), [10, 20]);
    assert!(gone[1].is_closed() && gone[2].is_closed());
    assert_eq!(hall.stats().openings_abandoned, 3);
    assert_eq!(hall.stats().openings_displaced, 0);
    hall.assert_empty();
}

#[test]
fn the_end_counts_all_out() {
    let mut hall = Hall::new(4);
    let peers: Vec<Peer> = (0..4).map(|last| hall.enter(ip(last), 1)).collect();
    hall.room.stop();
    assert!(peers.iter().all(Peer::is_closed));
    hall.assert_empty();
}
