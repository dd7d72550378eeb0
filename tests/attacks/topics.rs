//! Subscriptions as a hoard: topics that the peers name, each with one subscriber.

use ringwheel::protocol::Lines;
use ringwheel::{Conn, Handler, Server};
use support::scale::{KIB, MIB, report, sized};
use support::{Child, listen};

use crate::tally::Counts;
use crate::victim::{self, Victim};

/// Topics of a connection, as many as [`ringwheel::Limits::subscriptions`] allows by default.
const TOPICS: usize = 256;
/// What each of them counts: 288 bytes and the name, in multiples of 64.
const CHARGE: usize = 320;

/// Subscribes to `TOPICS` topics of its own for each line.
#[derive(Clone)]
struct Collector;

impl Handler for Collector {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), name: &str) {
        for topic in 0..TOPICS {
            conn.subscribe(&format!("{name}-{topic:04}")).unwrap();
        }
        conn.send("done");
    }
}

/// Each topic took 2.4 to 2.8 KB, which nobody counted.
#[test]
fn topics_take_no_more_than_their_connections_are_charged_with() {
    const NAME: &str = "topics::topics_take_no_more_than_their_connections_are_charged_with";
    if Child::is_here() {
        let builder = Server::builder().workers(1).worker_memory(256 * MIB);
        let builder = builder.listen_with(listen(Lines::new()), Collector);
        return victim::serve(builder.unwrap(), &Counts::default());
    }
    let connections = sized(40, 2_000);
    let victim = Victim::start(NAME, 4_096);
    let memory = victim.watch_memory();
    let clients: Vec<_> = (0..connections)
        .map(|number| {
            let mut client = victim.connect();
            client.send(format!("{number:05}\n").as_bytes());
            assert_eq!(client.receive(5), b"done\n");
            client
        })
        .collect();
    let growth = memory.growth();
    let charged = connections * TOPICS * CHARGE;
    // The connections themselves, rings, and the tables while they grow.
    let besides = MIB + connections * KIB;
    assert!(
        growth <= charged + besides,
        "{growth} bytes, charged are {charged}"
    );
    drop(clients);
    victim.end();
    report(
        NAME,
        format_args!(
            "{connections} connections with {TOPICS} topics each, growth {growth} bytes, charged {charged}"
        ),
    );
}
