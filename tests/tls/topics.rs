//! Publications to many subscribers, each of which has a seal of its own.

use ringwheel::Server;
use ringwheel::protocol::LengthPrefixed;
use support::tls::{TlsClient, VERSIONS, client_config, server_tls};
use support::{Recorder, TestServer, listen, pattern};

fn frame(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes()[..], message].concat()
}

#[test]
fn publications_reach_all_subscribers_in_order() {
    const MESSAGES: u64 = 200;
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let room = recorder.on_message(|conn, message| match message {
        b"in" => {
            conn.subscribe("room").unwrap();
            conn.send(b"ok");
        }
        message => conn.publish("room", message.to_vec()).unwrap(),
    });
    let listen = listen(LengthPrefixed::u32_be()).tls(server_tls());
    let server = TestServer::start_on(Server::builder().workers(2), listen, room);
    let configs = VERSIONS.map(|version| client_config(&[version]));
    let mut clients: Vec<TlsClient> = (0..24)
        .map(|index| TlsClient::open_with(server.addr(), &configs[index % 2]))
        .collect();
    for client in &mut clients {
        client.send(&frame(b"in"));
        assert_eq!(client.receive(6), frame(b"ok"));
    }
    let messages = (0..MESSAGES).map(|number| frame(&pattern(number, 1 + number as usize * 37)));
    let messages = messages.collect::<Vec<_>>().concat();
    clients[0].send(&messages);
    for client in &mut clients {
        assert!(client.receive(messages.len()) == messages);
    }
    server.finish(&events);
}
