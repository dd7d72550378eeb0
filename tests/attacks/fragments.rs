//! Messages whose fragments never end.

use ringwheel::Server;
use ringwheel::websocket::{WebSocket, WebSocketError};
use support::scale::{KIB, MIB, report, sized};
use support::websocket::{Frame, Peer, from_client};
use support::{Child, Client, listen};

use crate::tally::Counts;
use crate::victim::{Victim, serve};

const NAME: &str = "fragments::fragments_without_end_pin_at_most_twice_their_payload";
/// Bytes on the wire of a fragment with one byte of payload: header, key and payload.
const FRAGMENT: usize = 2 + 4 + 1;
/// Memory growth for other reasons: the kernel counts resident pages per processor, so the figure is inexact.
const SLACK: usize = 512 * KIB;

fn protocols() -> [WebSocket; 3] {
    let patient = WebSocket::new().fragment_overhead(usize::MAX);
    [
        // Ten megabytes of fragments are within all limits of this one.
        patient.clone().max_message(2 * MIB),
        // The message limit ends the same fragments early on this one.
        patient.max_message(64 * KIB),
        // The overhead limit ends the same fragments early on this one.
        WebSocket::new(),
    ]
}

/// Opens a connection and sends the first fragment of a message.
#[track_caller]
fn begin(victim: &Victim, listener: usize, first: Frame) -> Peer {
    let mut peer = Peer::open_over(Client::connect(victim.addr_of(listener)));
    peer.send(first.fragment());
    peer
}

fn fragments(count: usize) -> Vec<u8> {
    from_client(&[Frame::continuation("x").fragment()]).repeat(count)
}

#[test]
fn fragments_without_end_pin_at_most_twice_their_payload() {
    if Child::is_here() {
        let counts = Counts::default();
        let builder =
            protocols()
                .into_iter()
                .fold(Server::builder().workers(1), |builder, protocol| {
                    builder
                        .listen_with(listen(protocol), counts.silent())
                        .unwrap()
                });
        return serve(builder, &counts);
    }
    let wire = sized(MIB, 10 * 1000 * 1000);
    let count = wire / FRAGMENT;
    let victim = Victim::start(NAME, 64);
    let mut peer = begin(&victim, 0, Frame::binary(""));
    peer.client.send(&fragments(1000));
    peer.confirm();
    drop(peer);

    let memory = victim.watch_memory();
    for first in [Frame::binary(""), Frame::text("")] {
        let mut peer = begin(&victim, 0, first);
        let batch = fragments(1000);
        for _ in 0..count / 1000 {
            peer.client.send(&batch);
        }
        peer.confirm();
        let (growth, payload) = (memory.growth(), count / 1000 * 1000);
        assert!(growth <= 2 * payload + SLACK, "{growth} of {payload}");
        report(
            NAME,
            format_args!("{wire} bytes on the wire, {payload} of payload, growth {growth} bytes"),
        );
        // The message is delivered once the peer ends it.
        peer.send(Frame::continuation(""));
        peer.confirm();
    }

    let (too_long, too_many) = (
        WebSocketError::MessageTooBig,
        WebSocketError::TooManyFragments,
    );
    for (listener, error) in [(1, too_long), (2, too_many)] {
        let mut peer = begin(&victim, listener, Frame::binary(""));
        // More than either limit allows.
        peer.client
            .send(&fragments((2 * MIB / FRAGMENT).max(count)));
        peer.expect(Frame::close(1009, error.to_string()));
        peer.expect_end();
        report(NAME, format_args!("{error}"));
    }
    // The other two connections reuse memory that the first has freed, so the growth is measured once, for all.
    let growth = memory.growth();
    assert!(growth <= 2 * count + SLACK, "{growth}");
    let (counts, ..) = victim.end();
    assert_eq!(counts.messages(), 2, "{counts:?}");
    assert_eq!(counts.ended("Protocol("), 2, "{counts:?}");
}

/// Empty fragments never reach the message limit; the overhead limit must end them.
#[test]
fn empty_fragments_without_end_are_refused() {
    const NAME: &str = "fragments::empty_fragments_without_end_are_refused";
    if Child::is_here() {
        let counts = Counts::default();
        let builder = Server::builder().workers(1);
        let builder = builder.listen_with(listen(WebSocket::new()), counts.echo());
        return serve(builder.unwrap(), &counts);
    }
    let rounds = sized(1, 20);
    let victim = Victim::start(NAME, 64);
    let mut peer = Peer::open_over(victim.connect());
    peer.check_echo();
    let memory = victim.watch_memory();
    let empty = from_client(&[Frame::continuation("").fragment()]).repeat(2 * MIB / 6);
    for _ in 0..rounds {
        let mut peer = begin(&victim, 0, Frame::text(""));
        peer.client.send(&empty);
        let error = WebSocketError::TooManyFragments;
        peer.expect(Frame::close(1009, error.to_string()));
        peer.expect_end();
    }
    let growth = memory.growth();
    assert!(growth <= SLACK, "{growth}");
    peer.check_echo();
    drop(peer);
    let (counts, ..) = victim.end();
    assert_eq!(counts.ended("Protocol(TooManyFragments)"), rounds);
    report(NAME, format_args!("{rounds} rounds, growth {growth} bytes"));
}
