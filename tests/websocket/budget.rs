//! The work that a compressed message causes is charged to its turn, and a turn may end within the message.

use ringwheel::protocol::TurnBudget;
use ringwheel::websocket::{AcceptAll, Deflate, Message, Pieces, WebSocket};
use support::websocket::{
    Endpoint, Found, Frame, RSV1, Subject, connect, from_client, plain_client,
};

/// The default of `ServerBuilder::read_budget`.
const BUDGET: usize = 256 * 1024;
const MIB: usize = 1024 * 1024;

fn deflate() -> Deflate {
    Deflate::new()
        .level(9)
        .max_size(u32::MAX)
        .max_ratio(u32::MAX)
        .client_context_takeover(true)
}

/// Both ends of a connection whose server has a budget for each turn.
fn open<P: Subject>(
    protocol: &P,
) -> (Endpoint<ringwheel::websocket::WebSocketClient>, Endpoint<P>) {
    let client = plain_client().deflate(deflate());
    let (client, mut server) = connect(&client, protocol);
    server.budget = TurnBudget::new(BUDGET);
    (client, server)
}

/// Gives the server turns until it has no input left. Returns their number.
fn finish<P: Subject>(server: &mut Endpoint<P>, input: &[u8]) -> usize {
    server.receive(input);
    let mut turns = 1;
    while !server.input.is_empty() && server.failure.is_none() {
        let before = server.input.len();
        server.receive(b"");
        assert!(server.input.len() < before, "each turn goes on");
        turns += 1;
    }
    assert_eq!(server.failure, None);
    turns
}

fn text(length: usize) -> String {
    let records = (0_u32..).map(|number| {
        let score = number.wrapping_mul(2_654_435_761) >> 20;
        format!("{{\"id\":{number},\"score\":{score},\"name\":\"\u{e9}\u{4e2d}\"}},")
    });
    let mut text = String::new();
    for record in records {
        if text.len() + record.len() > length {
            return text;
        }
        text.push_str(&record);
    }
    unreachable!("the records have no end")
}

#[test]
fn a_message_that_inflates_a_thousandfold_takes_many_turns() {
    let (mut client, mut server) = open(&WebSocket::new().deflate(deflate()));
    let zeros = vec![0; MIB];
    for _ in 0..3 {
        assert!(client.send(Message::Binary(&zeros)));
        let frame = client.take_said();
        assert!(frame.len() < 1200);
        let turns = finish(&mut server, &frame);
        assert!((16..=64).contains(&turns), "{turns}");
        assert_eq!(server.take_found(), [Found::binary(&zeros[..])]);
    }
}

#[test]
fn a_turn_ends_between_two_compressed_messages() {
    let (mut client, mut server) = open(&WebSocket::new().deflate(deflate()));
    let zeros = vec![0; 20_000];
    for _ in 0..20 {
        assert!(client.send(Message::Binary(&zeros)));
    }
    server.receive(&client.take_said());
    assert!((1..4).contains(&server.take_found().len()));
    assert!(server.input.len() > 100);
}

/// A final block of two bytes makes the inflater begin anew, which costs more than some kilobytes of other input.
#[test]
fn empty_final_blocks_take_many_turns() {
    const BLOCKS: usize = 50_000;
    let finals = Frame::binary([3, 0].repeat(BLOCKS)).reserved(RSV1);
    let finals = from_client(&[finals]);
    let (mut client, mut server) = open(&WebSocket::new().deflate(deflate()));
    let turns = finish(&mut server, &finals);
    assert!(turns > 40, "{turns}");
    assert_eq!(server.take_found(), [Found::binary(b"")]);
    // With a full window they cost more.
    let fill = text(40_000);
    assert!(client.send(Message::Text(&fill)));
    finish(&mut server, &client.take_said());
    assert_eq!(server.take_found(), [Found::text(&fill)]);
    let more = finish(&mut server, &finals);
    assert!(more > 10 * turns, "{more} after {turns}");
}

/// The bytes for which the budget does not last are masked again, and text may be cut within a character.
#[test]
fn a_message_that_takes_many_turns_is_the_same_however_it_comes() {
    let whole = text(900_000);
    for chunk in [usize::MAX, 40_000, 997] {
        let (mut client, mut server) = open(&WebSocket::new().deflate(deflate()));
        assert!(client.send(Message::Text(&whole)));
        let frame = client.take_said();
        let mut turns = 0;
        for part in frame.chunks(chunk.min(frame.len())) {
            turns += finish(&mut server, part);
        }
        assert!(turns > 20, "{turns}");
        assert!(server.take_found() == [Found::text(&whole)], "{chunk}");
    }
}

/// Short requests may have answers that cost much to compress.
#[test]
fn the_compression_of_answers_is_work_too() {
    let (_, mut server) = open(&WebSocket::new().deflate(deflate()));
    assert!(server.send(Message::Text("too short to be compressed")));
    assert_eq!(server.take_work(), 0);
    let answer = text(1000);
    assert!(server.send(Message::Text(&answer)));
    let one = server.take_work();
    assert!((10_000..100_000).contains(&one), "{one}");
    for _ in 0..3 {
        assert!(server.send(Message::Text(&answer)));
    }
    assert_eq!(server.take_work(), 3 * one);
    assert_eq!(server.take_work(), 0, "it is taken once");
}

#[test]
fn pieces_are_charged_too() {
    let protocol = WebSocket::<AcceptAll, Pieces>::default().deflate(deflate());
    let (mut client, mut server) = open(&protocol);
    let zeros = vec![0; MIB];
    assert!(client.send(Message::Binary(&zeros)));
    let turns = finish(&mut server, &client.take_said());
    assert!(turns >= 4, "{turns}");
    let bytes: usize = server.take_found().iter().map(length).sum();
    assert_eq!(bytes, MIB);
}

fn length(found: &Found) -> usize {
    match found {
        Found::Piece { bytes, .. } => bytes.len(),
        _ => 0,
    }
}
