//! The memory of messages that arrive in parts counts towards the worker's.

use ringwheel::websocket::WebSocket;
use support::websocket::{Frame, Peer, from_client};
use support::{TestServer, eventually, listen};

use crate::probe::Probe;

const PART: usize = 100_000;

#[test]
fn a_message_that_arrives_in_parts_counts_until_it_is_delivered() {
    let (probe, reports) = Probe::new();
    let probe = probe.on_message(|conn, message| _ = conn.send(message));
    let server = TestServer::start(listen(WebSocket::new()), probe);
    let held = || server.handle().memory_per_worker()[0];
    let mut peer = Peer::open(&server);

    peer.send(Frame::binary([1; PART]).fragment());
    eventually("a fragment counts", || held() >= PART);
    peer.send(Frame::continuation([2; PART]).fragment());
    eventually("another counts, too", || held() >= 2 * PART);
    peer.send(Frame::continuation([3; PART]));
    peer.expect(Frame::binary([[1; PART], [2; PART], [3; PART]].concat()));
    eventually("a whole message does not", || held() == 0);

    let frame = from_client(&[Frame::binary([4; 2 * PART])]);
    let (front, back) = frame.split_at(PART);
    peer.client.send(front);
    eventually("a part of a frame counts", || held() >= PART - 1000);
    peer.client.send(back);
    peer.expect(Frame::binary([4; 2 * PART]));
    eventually("a whole frame does not", || held() == 0);

    peer.send(Frame::binary([1; PART]).fragment());
    eventually("a fragment counts again", || held() >= PART);
    drop(peer);
    eventually("a connection that has ended does not", || held() == 0);
    reports.finish(server);
}
