//! The place at which a listener is reached: IP addresses, the path of a Unix socket, an abstract name, or wherever a
//! descriptor listens that is adopted.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::fd::OwnedFd;
#[cfg(unix)]
use std::path::Path;

use crate::io::address::Address;
#[cfg(unix)]
use crate::io::adopted_listener::adopt;
use crate::io::listening_socket::ListeningSocket;
use crate::io::socket_options::SocketOptions;
#[cfg(unix)]
use crate::io::unix_listener::UnixListener;

/// The addresses of a listener, before they are bound.
#[derive(Debug)]
pub(crate) enum Place {
    /// IP addresses, or the error of their resolution.
    Ip(io::Result<Vec<SocketAddr>>),
    #[cfg(unix)]
    Path(Box<Path>),
    #[cfg(any(target_os = "linux", target_os = "android"))]
    Abstract(Box<[u8]>),
    /// A socket that listens already.
    #[cfg(unix)]
    Adopted(OwnedFd),
}

/// Attempts to find a port that is free at several addresses.
const SHARED_PORT_ATTEMPTS: usize = 16;
/// All permission bits that a file's owner, its group and others can have.
#[cfg(unix)]
const MODE_MAX: u32 = 0o777;

impl Place {
    /// Refuses options that the place cannot have.
    #[cfg(unix)]
    pub(super) fn check(&self, options: &SocketOptions) -> io::Result<()> {
        if options.mode.is_some() && !matches!(self, Place::Path(_)) {
            let text = "`mode` is of the file of a Unix socket, and the server makes none";
            return Err(invalid(text));
        }
        if options.reuse_port && matches!(self, Place::Adopted(_)) {
            let text = "`reuse_port` is not for a listener that is adopted: there is one socket";
            return Err(invalid(text));
        }
        let mode = options.mode.unwrap_or(0);
        let Some(address) = self.unix_address() else {
            return Ok(());
        };
        let wrong = if mode > MODE_MAX {
            format!("`mode` is {mode:#o}, and must be at most {MODE_MAX:#o}")
        } else if options.reuse_port {
            "`reuse_port` is not for Unix sockets".into()
        } else {
            return Ok(());
        };
        Err(named(&address, &invalid(wrong)))
    }

    #[cfg(not(unix))]
    pub(super) fn check(&self, _options: &SocketOptions) -> io::Result<()> {
        Ok(())
    }

    /// The address of a Unix socket that is to be bound; `None` for any other place.
    #[cfg(unix)]
    fn unix_address(&self) -> Option<Address> {
        match self {
            Place::Ip(_) | Place::Adopted(_) => None,
            Place::Path(path) => Some(Address::Unix(Some(path.clone()))),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Place::Abstract(name) => Some(Address::Abstract(name.clone())),
        }
    }

    /// Binds the addresses, and listens.
    pub(super) fn bind(self, options: &SocketOptions) -> io::Result<Vec<ListeningSocket>> {
        #[cfg(unix)]
        let address = self.unix_address();
        #[cfg(unix)]
        let listening = |outcome: io::Result<UnixListener>| match (outcome, address) {
            (Err(error), Some(address)) => Err(named(&address, &error)),
            (outcome, _) => Ok(vec![ListeningSocket::Unix(outcome?)]),
        };
        match self {
            Place::Ip(addresses) => bind_addresses(addresses?, options),
            #[cfg(unix)]
            Place::Path(path) => listening(UnixListener::at_path(&path, options)),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Place::Abstract(name) => listening(UnixListener::with_name(&name, options)),
            #[cfg(unix)]
            Place::Adopted(descriptor) => Ok(vec![adopt(descriptor, options)?]),
        }
    }
}

/// Binds all addresses, each once. If their port is 0, all get the same.
fn bind_addresses(
    mut addresses: Vec<SocketAddr>,
    options: &SocketOptions,
) -> io::Result<Vec<ListeningSocket>> {
    let mut seen = HashSet::new();
    addresses.retain(|address| seen.insert(*address));
    let must_share_port = addresses.len() > 1 && addresses[0].port() == 0;
    for _ in 1..SHARED_PORT_ATTEMPTS {
        match bind_all(options, &addresses) {
            // The port that was free at the first address is taken at another.
            Err(error) if must_share_port && error.kind() == io::ErrorKind::AddrInUse => {}
            outcome => return outcome,
        }
    }
    bind_all(options, &addresses)
}

/// Binds all addresses that the machine has, and at least one.
fn bind_all(options: &SocketOptions, addresses: &[SocketAddr]) -> io::Result<Vec<ListeningSocket>> {
    let mut listeners = Vec::new();
    let mut missing = None;
    let mut shared_port = 0;
    for mut address in addresses.iter().copied() {
        if address.port() == 0 {
            address.set_port(shared_port);
        }
        let named = |error| named(&Address::Ip(address), &error);
        match options.listen(address) {
            Ok(listener) => {
                if address.port() == 0 {
                    shared_port = listener.local_addr()?.port();
                }
                listeners.push(ListeningSocket::Tcp(listener));
            }
            Err(error) if is_of_no_interface(&error) => _ = missing.get_or_insert(named(error)),
            Err(error) => return Err(named(error)),
        }
    }
    match missing {
        Some(missing) if listeners.is_empty() => return Err(missing),
        Some(missing) => log::warn!("{missing}"),
        None => {}
    }
    if listeners.is_empty() {
        return Err(invalid("no address to listen on"));
    }
    Ok(listeners)
}

/// True if the machine does not have the address, or none of its family (EAFNOSUPPORT: 97 on Linux, 47 on macOS and the
/// BSDs, 10047 on Windows).
fn is_of_no_interface(error: &io::Error) -> bool {
    let no_family = if cfg!(any(target_os = "linux", target_os = "android")) {
        97
    } else if cfg!(windows) {
        10_047
    } else {
        47
    };
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(no_family)
}

/// An error that names the address.
fn named(address: &Address, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}

fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.into())
}
