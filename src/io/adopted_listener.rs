//! A listening socket that another program, or another part of this one, has made: checked, then served like our own.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;

use mio::net::TcpListener;
use socket2::{Domain, SockRef, Socket, Type};

use crate::io::adopt_error::AdoptError;
use crate::io::listening_socket::ListeningSocket;
use crate::io::socket_options::SocketOptions;
use crate::io::unix_listener::UnixListener;

/// Takes over a descriptor that is bound and listens already.
pub(crate) fn adopt(descriptor: OwnedFd, options: &SocketOptions) -> io::Result<ListeningSocket> {
    let number = descriptor.as_raw_fd();
    let socket = socket_of(descriptor)?;
    let domain = domain_of_listener(&socket, number)?;
    let named = |error: io::Error| {
        let text = format!("descriptor {number} cannot be adopted: {error}");
        io::Error::new(error.kind(), text)
    };
    put_to_use(socket, domain, options).map_err(named)
}

/// The socket of a descriptor, if it is one.
fn socket_of(descriptor: OwnedFd) -> io::Result<Socket> {
    let number = descriptor.as_raw_fd();
    let file = File::from(descriptor);
    match file.metadata()?.file_type().is_socket() {
        true => Ok(OwnedFd::from(file).into()),
        false => Err(refusal(AdoptError::NoSocket(number))),
    }
}

/// Checks that a socket accepts connections that a server can serve. Returns its family.
fn domain_of_listener(socket: &Socket, number: RawFd) -> io::Result<Domain> {
    if socket.r#type()? != Type::STREAM {
        return Err(refusal(AdoptError::NoStream(number)));
    }
    let domain = socket.local_addr()?.domain();
    if ![Domain::IPV4, Domain::IPV6, Domain::UNIX].contains(&domain) {
        return Err(refusal(AdoptError::Family(number)));
    }
    if !is_listening(socket)? {
        return Err(refusal(AdoptError::NotListening(number)));
    }
    Ok(domain)
}

fn put_to_use(
    socket: Socket,
    domain: Domain,
    options: &SocketOptions,
) -> io::Result<ListeningSocket> {
    socket.set_nonblocking(true)?;
    // The giver has let it pass through its exec; it need not reach the programs that this one starts.
    socket.set_cloexec(true)?;
    if domain == Domain::UNIX {
        return UnixListener::adopted(socket).map(ListeningSocket::Unix);
    }
    options.apply_to_adopted(SockRef::from(&socket))?;
    Ok(ListeningSocket::Tcp(TcpListener::from_std(socket.into())))
}

/// True if the socket listens, or the system does not tell (`SO_ACCEPTCONN`).
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn is_listening(socket: &Socket) -> io::Result<bool> {
    socket.is_listener()
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn is_listening(_socket: &Socket) -> io::Result<bool> {
    Ok(true)
}

fn refusal(error: AdoptError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::address::Address;

    use std::net;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    fn adopted(descriptor: impl Into<OwnedFd>) -> io::Result<ListeningSocket> {
        adopt(descriptor.into(), &SocketOptions::default())
    }

    /// The error with which a descriptor is refused, and the number of the descriptor.
    #[track_caller]
    fn refused(descriptor: impl Into<OwnedFd>) -> (AdoptError, RawFd) {
        let descriptor = descriptor.into();
        let number = descriptor.as_raw_fd();
        let Err(error) = adopted(descriptor) else {
            panic!("the descriptor is adopted");
        };
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let text = error.to_string();
        assert!(text.contains(&format!("descriptor {number} ")), "{text}");
        let reason = error.get_ref().and_then(|error| error.downcast_ref());
        (*reason.expect("a typed error"), number)
    }

    #[test]
    fn a_descriptor_that_is_no_socket_is_refused() {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        let (error, number) = refused(file);
        assert_eq!(error, AdoptError::NoSocket(number));
    }

    #[test]
    fn a_datagram_socket_is_refused() {
        let (error, number) = refused(net::UdpSocket::bind("127.0.0.1:0").unwrap());
        assert_eq!(error, AdoptError::NoStream(number));
        let (error, number) = refused(UnixDatagram::unbound().unwrap());
        assert_eq!(error, AdoptError::NoStream(number));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_socket_of_another_family_is_refused() {
        let Ok(socket) = Socket::new(Domain::VSOCK, Type::STREAM, None) else {
            return eprintln!("inconclusive: this kernel has no other family of streams");
        };
        let (error, number) = refused(socket);
        assert_eq!(error, AdoptError::Family(number));
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    fn a_socket_that_does_not_listen_is_refused() {
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let address: net::SocketAddr = "127.0.0.1:0".parse().unwrap();
        bound.bind(&address.into()).unwrap();
        let (error, number) = refused(bound);
        assert_eq!(error, AdoptError::NotListening(number));
        let (one_end, _other_end) = UnixStream::pair().unwrap();
        let (error, number) = refused(one_end);
        assert_eq!(error, AdoptError::NotListening(number));
    }

    #[test]
    fn an_adopted_socket_does_not_block_and_has_the_options_of_the_listener() {
        let given = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = given.local_addr().unwrap();
        let other = given.try_clone().unwrap();
        SockRef::from(&other).set_tcp_nodelay(true).unwrap();
        let options = SocketOptions {
            nodelay: false,
            ..SocketOptions::default()
        };
        let adopted = adopt(given.into(), &options).unwrap();
        assert_eq!(adopted.local_addr().unwrap(), Address::Ip(address));
        assert!(!SockRef::from(&other).tcp_nodelay().unwrap());
        assert!(SockRef::from(&other).nonblocking().unwrap());
        let error = adopted.accept().map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
