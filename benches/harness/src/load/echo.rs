//! Closed-loop echo: every connection keeps a number of messages in flight and sends the next for each answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::connection::Connection;
use super::poller::Poller;
use super::window::Window;
use super::wire::SLICE;
use super::{LoadError, LoadReport, Observer, Traffic, Until, WireImage};

/// How long one wait for answers may take before the phase and the server's silence are looked at.
const TURN: Duration = Duration::from_millis(50);

/// A closed-loop echo load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EchoLoad {
    /// What is sent, and where to.
    pub traffic: Traffic,
    /// Messages in flight per connection.
    pub in_flight: usize,
    /// Time before the window opens.
    pub warm_up: Duration,
    /// When the window closes.
    pub until: Until,
}

/// Runs the load to its end.
///
/// # Errors
/// The first failure ends the run: no server, a connection closed, wrong bytes, no answer in time.
pub fn echo(load: &EchoLoad, observer: &mut dyn Observer) -> Result<LoadReport, LoadError> {
    let traffic = &load.traffic;
    if traffic.connections == 0 || load.in_flight == 0 {
        return Err(LoadError::Options(
            "at least one connection and one message in flight are needed".into(),
        ));
    }
    let image = WireImage::new(traffic.framing, traffic.size)?;
    let mut poller = Poller::new()?;
    let mut connections = open_all(traffic, &image, &poller)?;
    let clock = Clock::start();
    let mut buffer = vec![0; SLICE];
    let mut window = Window::new(clock, load.warm_up, load.until, observer);

    for connection in &mut connections {
        connection.enqueue(&image, load.in_flight, clock.now());
        connection.flush(&image)?;
    }
    let outstanding = (traffic.connections * load.in_flight) as u64;
    while window.turn(outstanding)? {
        for event in 0..poller.wait(TURN)? {
            let connection = &mut connections[poller.key(event)];
            let answered = connection.receive(&image, &mut buffer, traffic.verify)?;
            if answered > 0 {
                let now = clock.now();
                connection
                    .settle(answered)
                    .for_each(|sent| window.record(sent, now));
                window.answered((answered * traffic.size) as u64, now);
                connection.enqueue(&image, answered, now);
            }
            connection.flush(&image)?;
        }
    }
    Ok(window.into_report())
}

/// Opens all connections and registers each under its number.
pub(crate) fn open_all(
    traffic: &Traffic,
    image: &WireImage,
    poller: &Poller,
) -> Result<Vec<Connection>, LoadError> {
    let mut connections = Vec::with_capacity(traffic.connections);
    for index in 0..traffic.connections {
        let connection = Connection::open(traffic.address, index, image)?;
        poller.add(connection.socket(), index)?;
        connections.push(connection);
    }
    Ok(connections)
}
