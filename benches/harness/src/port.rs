//! A loopback port that is reserved for one server.
//!
//! A port is free for everybody until its server listens, so two harnesses could give the same port to two servers. Each reservation
//! therefore also binds a name that all harnesses check.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net;
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports for servers, below Linux's ephemeral range (from 32768), from which the load's own connections get theirs.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port that no other harness in this network namespace chooses until it is dropped.
#[derive(Debug)]
pub(crate) struct Port {
    address: SocketAddr,
    /// Abstract Unix address with the port's number in its name, which the kernel gives to one holder at a time and
    /// takes back when that ends in whatever way.
    _name: net::UnixDatagram,
}

impl Port {
    /// Reserves a port on which nothing listens now.
    ///
    /// # Errors
    /// Fails if all ports from 20000 to 32000 are taken.
    pub(crate) fn reserve() -> io::Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Processes with neighbouring numbers start far apart, so that they seldom meet.
        let first = (std::process::id() as u16).wrapping_mul(7919);
        for _ in PORTS {
            let step = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
            if let Some(port) = Self::try_reserve(PORTS.start + step % PORTS.len() as u16)? {
                return Ok(port);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "no free port from 20000 to 32000",
        ))
    }

    /// The port as a loopback address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reserves port `number`, unless it is reserved already or something listens on it.
    fn try_reserve(number: u16) -> io::Result<Option<Self>> {
        let name = format!("ringwheel-harness/port-{number}");
        let name = net::SocketAddr::from_abstract_name(name)?;
        let name = match net::UnixDatagram::bind_addr(&name) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Ok(None),
            result => result?,
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, number));
        let is_free = TcpListener::bind(address).is_ok();
        Ok(is_free.then_some(Self {
            address,
            _name: name,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_port_is_reserved_once_until_it_is_dropped() {
        let port = Port::reserve().unwrap();
        let number = port.address().port();
        assert!(Port::try_reserve(number).unwrap().is_none());
        assert_ne!(Port::reserve().unwrap().address(), port.address());
        drop(port);
        // A process that another test starts just now shares the name until it executes its program.
        let deadline = Instant::now() + Duration::from_secs(60);
        let again = loop {
            assert!(Instant::now() < deadline, "the name is still taken");
            if let Some(port) = Port::try_reserve(number).unwrap() {
                break port;
            }
            thread::yield_now();
        };
        assert_eq!(again.address().port(), number);
    }

    #[test]
    fn a_port_on_which_another_listens_is_not_reserved() {
        let port = Port::reserve().unwrap();
        let address = port.address();
        drop(port);
        let _listener = TcpListener::bind(address).unwrap();
        assert!(Port::try_reserve(address.port()).unwrap().is_none());
    }
}
