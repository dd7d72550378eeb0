//! More clients than the server has descriptors.

use std::time::{Duration, Instant};

use ringwheel::Server;
use ringwheel::protocol::Raw;
use support::scale::{is_full, milliseconds, report, sized};
use support::{Child, Client, eventually, listen};

use crate::tally::Counts;
use crate::victim::{Victim, serve};

const NAME: &str = "crowd::a_crowd_without_descriptors_is_shed_and_then_served";
const DESCRIPTORS: u32 = 64;
const CLIENTS: usize = 200;

fn is_served(client: &mut Client) -> bool {
    client.try_send(b"ping").is_ok() && client.try_receive(4).is_ok()
}

#[test]
fn a_crowd_without_descriptors_is_shed_and_then_served() {
    if Child::is_here() {
        let counts = Counts::default();
        let builder = Server::builder().workers(1);
        let builder = builder.listen_with(listen(Raw), counts.echo());
        return serve(builder.unwrap(), &counts);
    }
    let victim = Victim::start(NAME, DESCRIPTORS);
    let start = Instant::now();
    let crowd: Vec<Client> = (0..CLIENTS).map(|_| victim.connect()).collect();
    let (mut served, mut shed) = (Vec::new(), 0);
    for mut client in crowd {
        match is_served(&mut client) {
            true => served.push(client),
            false => shed += 1,
        }
    }
    let shedding = start.elapsed();
    assert!((30..DESCRIPTORS as usize).contains(&served.len()));

    // Descriptors stay scarce while more clients connect. The server must not spin meanwhile.
    let (start, before) = (Instant::now(), victim.processor_time());
    let during = Duration::from_millis(sized(500, 5000));
    let mut knocks = 0u32;
    while start.elapsed() < during {
        victim.connect().expect_ended();
        knocks += 1;
        assert!(is_served(&mut served[0]), "connected clients are served");
    }
    let lasted = start.elapsed().as_secs_f64();
    let busy = (victim.processor_time() - before).as_secs_f64() / lasted;
    let rate = f64::from(knocks) / lasted;

    // Half of the connections close, so descriptors become free.
    served.truncate(served.len() / 2);
    let start = Instant::now();
    eventually("new clients are served again", || {
        is_served(&mut victim.connect())
    });
    let recovery = start.elapsed();
    assert!(
        served.iter_mut().all(is_served),
        "connected clients are served"
    );
    let inside = served.len();
    drop(served);
    let (counts, accepted, told_shed) = victim.end();
    assert_eq!(counts.opened(), accepted);
    assert!(told_shed >= shed + u64::from(knocks));
    report(
        NAME,
        format_args!(
            "of {CLIENTS} clients {shed} shed in {}; then {:.1} % of a processor and {rate:.0} shed a second; {inside} connected ones served throughout, others {} after descriptors returned",
            milliseconds(shedding),
            busy * 100.0,
            milliseconds(recovery)
        ),
    );
    if is_full() {
        assert!(busy < 0.05, "{busy}");
        assert!(rate < 101.0, "{rate}");
        assert!(recovery < Duration::from_secs(1), "{recovery:?}");
    }
}
