//! The protocol over real sockets, against a client that shares no code with it; and its halves at every cut.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use checked_frames::{CheckedConn, CheckedError, CheckedFrames};
use ringwheel::protocol::{Decode, Encode, Output, Protocol, UnpackContext, Unpacked};
use ringwheel::{CloseReason, Conn, Handler, Listen, RunningServer, Server};

const DEADLINE: Duration = Duration::from_secs(10);

/// An event of a connection, as the handler sees it.
#[derive(Debug, PartialEq)]
enum Event {
    Message {
        is_rtt_known: bool,
        frames_sent: u32,
    },
    Closed(Option<CheckedError>),
}

/// Pings once, echoes, and reports.
#[derive(Clone)]
struct Echo(Sender<Event>);

impl Handler for Echo {
    type Protocol = CheckedFrames;
    type Session = ();

    fn on_open(&mut self, conn: &mut Conn<'_, CheckedFrames>) {
        assert_eq!(conn.round_trip_time(), None);
        conn.ping();
    }

    fn on_message(
        &mut self,
        conn: &mut Conn<'_, CheckedFrames>,
        _session: &mut (),
        message: &[u8],
    ) {
        conn.send(message);
        let event = Event::Message {
            is_rtt_known: conn.round_trip_time().is_some(),
            frames_sent: conn.frames_sent(),
        };
        self.0.send(event).expect("the test listens");
    }

    fn on_close(
        &mut self,
        _conn: &Conn<'_, CheckedFrames>,
        _session: (),
        reason: CloseReason<CheckedError>,
    ) {
        let error = match reason {
            CloseReason::Protocol(error) => Some(error),
            _ => None,
        };
        // The test may have ended.
        let _ = self.0.send(Event::Closed(error));
    }
}

fn start() -> (RunningServer, SocketAddr, Receiver<Event>) {
    let (sender, events) = channel();
    let listen = Listen::with(CheckedFrames::new(), "127.0.0.1:0");
    let builder = Server::builder().workers(1);
    let builder = builder
        .listen_with(listen, Echo(sender))
        .expect("a free port");
    let address = builder.local_addr().expect("a listener");
    (builder.spawn().expect("the server starts"), address, events)
}

fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).expect("the server listens");
    client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    client
}

/// A frame as the layout has it.
fn frame(kind: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut content = vec![kind];
    content.extend_from_slice(&sequence.to_be_bytes());
    let mut checksum = 0x811c_9dc5_u32;
    for byte in content.iter().chain(payload) {
        checksum = (checksum ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    content.extend_from_slice(&checksum.to_be_bytes());
    content.extend_from_slice(payload);
    let mut frame = (content.len() as u32).to_be_bytes().to_vec();
    frame.append(&mut content);
    frame
}

fn expect(client: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    client.read_exact(&mut bytes).expect("the frame arrives");
    assert_eq!(bytes, expected);
}

#[test]
fn messages_and_pings_over_a_socket() {
    let (server, address, events) = start();
    let mut client = connect(address);
    expect(&mut client, &frame(1, 0, b""));
    let input = [frame(0, 0, b"first"), frame(2, 1, b""), frame(1, 2, b"")].concat();
    client.write_all(&input).expect("the server reads");
    expect(&mut client, &frame(0, 1, b"first"));
    expect(&mut client, &frame(2, 2, b""));
    client
        .write_all(&frame(0, 3, b"second"))
        .expect("the server reads");
    expect(&mut client, &frame(0, 3, b"second"));
    for (is_rtt_known, frames_sent) in [(false, 2), (true, 4)] {
        let event = Event::Message {
            is_rtt_known,
            frames_sent,
        };
        assert_eq!(events.recv_timeout(DEADLINE), Ok(event));
    }
    drop(client);
    assert_eq!(events.recv_timeout(DEADLINE), Ok(Event::Closed(None)));
    server.handle().stop();
    server.join().expect("the server ends well");
}

#[test]
fn a_wrong_frame_ends_its_connection() {
    let (server, address, events) = start();
    let mut damaged = frame(0, 0, b"message");
    *damaged.last_mut().expect("it is not empty") ^= 1;
    for (wrong, error) in [
        (damaged, CheckedError::Checksum),
        (frame(0, 1, b"message"), CheckedError::Sequence),
        (frame(9, 0, b"message"), CheckedError::Header),
        (b"\0\0\0\x02no".to_vec(), CheckedError::Header),
    ] {
        let mut client = connect(address);
        client.write_all(&wrong).expect("the server reads");
        // The server ends its stream, and then awaits the end of ours.
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).expect("the server closes");
        assert_eq!(rest, frame(1, 0, b""));
        drop(client);
        assert_eq!(
            events.recv_timeout(DEADLINE),
            Ok(Event::Closed(Some(error)))
        );
    }
    server.handle().stop();
    server.join().expect("the server ends well");
}

#[test]
fn every_cut_gives_the_same() {
    let (_, mut sender) = CheckedFrames::new().open();
    let mut output = Output::detached();
    sender.pack(b"a message", &mut output).expect("it is short");
    sender.pack(b"", &mut output).expect("it is short");
    let bytes = output.take();
    assert_eq!(
        bytes,
        [frame(0, 0, b"a message"), frame(0, 1, b"")].concat()
    );
    for cut in 0..=bytes.len() {
        let (mut decoder, mut encoder) = CheckedFrames::new().open();
        let mut context = UnpackContext::detached(&mut output, &mut encoder);
        let (mut messages, mut at) = (Vec::new(), 0);
        for end in [cut, bytes.len()] {
            while at < end {
                let mut input = bytes[at..end].to_vec();
                match decoder.unpack(&mut input, &mut context) {
                    Ok(Unpacked::Message { message, consumed }) => {
                        messages.push(message.to_vec());
                        at += consumed;
                    }
                    Ok(Unpacked::NeedMore { .. }) => break,
                    other => panic!("{other:?} at cut {cut}"),
                }
            }
        }
        assert_eq!(messages, [&b"a message"[..], b""], "cut at {cut}");
    }
}
