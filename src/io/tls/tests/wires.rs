//! TLS within a wire, over a stream that takes and gives as much as chance will have it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;

use rustls::ClientConnection;

use super::super::Tls;
use super::support::*;
use crate::io::stream::{ByteStream, Stream};
use crate::io::wire::Wire;
use crate::io::wire::sealed::Sealed;

/// Both directions of a stream. The kernel takes at most `room` bytes that the client has not fetched.
#[derive(Default)]
struct Network {
    to_server: VecDeque<u8>,
    to_client: Vec<u8>,
    room: usize,
    client_has_ended: bool,
    server_has_ended: bool,
}

struct End(Rc<RefCell<Network>>);

impl ByteStream for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut network = self.0.borrow_mut();
        let count = buffer.len().min(network.to_server.len());
        if count == 0 && !network.client_has_ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes = network.to_server.drain(..count);
        buffer
            .iter_mut()
            .zip(bytes)
            .for_each(|(place, byte)| *place = byte);
        Ok(count)
    }

    fn peek(&mut self) -> io::Result<usize> {
        self.0
            .borrow()
            .to_server
            .front()
            .map_or(Err(io::ErrorKind::WouldBlock.into()), |_| Ok(1))
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut network = self.0.borrow_mut();
        assert!(!network.server_has_ended);
        let before = network.to_client.len();
        for part in parts {
            let room = network.room.saturating_sub(network.to_client.len());
            network
                .to_client
                .extend_from_slice(&part[..part.len().min(room)]);
        }
        match network.to_client.len() - before {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.0.borrow_mut().server_has_ended = true;
        Ok(())
    }

    fn reset_on_drop(&mut self) {}

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn receive_capacity(&self) -> io::Result<usize> {
        Ok(self.0.borrow().to_server.len())
    }

    fn send_capacity(&self) -> io::Result<usize> {
        Ok(self.0.borrow().room)
    }
}

/// A wire after its handshake, of which the last answers are still to be sent.
fn connect_wire(
    tls: &Tls,
    mut client: ClientConnection,
) -> (Wire, ClientConnection, Rc<RefCell<Network>>) {
    let mut server = Connection::new(tls);
    while !server.is_open() {
        let bytes = flight(&mut client);
        server.receive(&bytes).unwrap();
        if !server.is_open() {
            answer(&mut server, &mut client).unwrap();
        }
    }
    let network = Rc::new(RefCell::new(Network {
        room: 1 << 20,
        ..Network::default()
    }));
    let stream = Stream::Simulated(Box::new(Box::new(End(network.clone()))));
    let sealed = Sealed::new(
        stream,
        server.seal.unwrap(),
        server.received,
        server.answers,
    );
    (Wire::Sealed(Box::new(sealed)), client, network)
}

/// Hands the client what has come for it. Returns its plaintext, and true if the server has ended its stream in TLS's words.
fn fetch(client: &mut ClientConnection, network: &RefCell<Network>) -> (Vec<u8>, bool) {
    let bytes = std::mem::take(&mut network.borrow_mut().to_client);
    let mut bytes = bytes.as_slice();
    let mut plain = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets().unwrap();
        let (more, has_ended) = read(client);
        plain.extend(more);
        if has_ended {
            return (plain, true);
        }
    }
    (plain, false)
}

/// Reads plaintext, past records that have none.
fn read_plain(wire: &mut Wire, plain: &mut [u8]) -> io::Result<usize> {
    loop {
        match wire.read(plain) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

fn is_blocked<T>(outcome: &io::Result<T>) -> bool {
    matches!(outcome, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn all_arrives_over_a_stream_that_takes_and_gives_in_pieces() {
    let authority = Authority::new("root");
    let tls = authority.tls();
    for seed in 1..=40 {
        let mut numbers = Numbers(seed);
        let version = VERSIONS[numbers.below(2)];
        let (mut wire, mut client, network) = connect_wire(&tls, authority.client(version));
        client.set_buffer_limit(None);
        network.borrow_mut().room = 1 + numbers.below(50_000);
        let (request, reply) = (numbers.bytes(200_000), numbers.bytes(200_000));
        let (mut requested, mut replied) = (0, 0);
        let (mut got_request, mut got_reply, mut on_the_way) = (Vec::new(), Vec::new(), Vec::new());
        let mut has_ended = false;
        while got_request.len() < request.len() || !has_ended {
            let count = numbers.below(30_000).min(request.len() - requested);
            on_the_way.extend(write(&mut client, &request[requested..requested + count]));
            requested += count;
            let count = numbers.below(on_the_way.len() + 1);
            network
                .borrow_mut()
                .to_server
                .extend(on_the_way.drain(..count));

            let mut plain = vec![0; 1 + numbers.below(40_000)];
            loop {
                let outcome = read_plain(&mut wire, &mut plain);
                if is_blocked(&outcome) {
                    break;
                }
                let count = outcome.unwrap();
                got_request.extend_from_slice(&plain[..count]);
                assert!(got_request.len() <= request.len());
                if wire.is_drained_by(count, plain.len()) {
                    break;
                }
            }

            let rest = &reply[replied..];
            let end = (wire.committed() + numbers.below(60_000)).min(rest.len());
            let (first, second) = rest[..end].split_at(numbers.below(end + 1));
            if replied < reply.len() {
                let outcome = wire.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]);
                if !is_blocked(&outcome) {
                    replied += outcome.unwrap();
                }
            } else if wire.has_end_to_say() {
                _ = is_blocked(&wire.say_end());
            }
            let (more, end) = fetch(&mut client, &network);
            got_reply.extend(more);
            has_ended |= end;
        }
        assert!(got_request == request && got_reply == reply, "seed {seed}");
        assert!(!wire.has_unsent());
        assert_eq!(wire.held(), 0);
    }
}

#[test]
fn an_end_without_close_notify_is_told_from_one_with_it() {
    let authority = Authority::new("root");
    let tls = authority.tls();
    for version in VERSIONS {
        for is_orderly in [true, false] {
            let (mut wire, mut client, network) = connect_wire(&tls, authority.client(version));
            wire.push_unsent().unwrap();
            fetch(&mut client, &network);
            let mut bytes = write(&mut client, b"last");
            if is_orderly {
                client.send_close_notify();
                bytes.extend(flight(&mut client));
            }
            network.borrow_mut().to_server.extend(bytes);
            network.borrow_mut().client_has_ended = true;
            let mut plain = [0; 100];
            assert_eq!(read_plain(&mut wire, &mut plain).unwrap(), 4);
            assert_eq!(read_plain(&mut wire, &mut plain).unwrap(), 0);
            assert_eq!(wire.was_cut_off(), !is_orderly);
            assert!(wire.tls().is_some());
        }
    }
}

#[test]
fn the_client_learns_why_it_is_refused() {
    let authority = Authority::new("root");
    let tls = authority.tls();
    for version in VERSIONS {
        let (mut wire, mut client, network) = connect_wire(&tls, authority.client(version));
        wire.push_unsent().unwrap();
        fetch(&mut client, &network);
        let mut bytes = write(&mut client, b"good");
        bytes.extend(write(&mut client, b"bad"));
        *bytes.last_mut().unwrap() ^= 1;
        network.borrow_mut().to_server.extend(bytes);
        let mut plain = [0; 100];
        assert_eq!(read_plain(&mut wire, &mut plain).unwrap(), 4);
        assert!(!wire.is_drained_by(4, 100));
        let error = read_plain(&mut wire, &mut plain).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let bytes = std::mem::take(&mut network.borrow_mut().to_client);
        client.read_tls(&mut bytes.as_slice()).unwrap();
        let expected = rustls::AlertDescription::BadRecordMac;
        let alert = client.process_new_packets().unwrap_err();
        assert_eq!(alert, rustls::Error::AlertReceived(expected));
    }
}
