//! Closed-loop echo: every connection keeps a number of messages in flight and sends the next for each answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::connection::Connection;
use super::descriptors::allow_descriptors;
use super::poller::Poller;
use super::window::Window;
use super::wire::SLICE;
use super::{LoadError, LoadReport, Observer, Traffic, Until, WireImage};

/// The longest wait for answers before the phase and the server's silence are checked.
const TURN: Duration = Duration::from_millis(50);

/// A closed-loop echo load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EchoLoad {
    /// The messages and the connections.
    pub traffic: Traffic,
    /// Messages in flight per connection.
    pub in_flight: usize,
    /// Time before the window opens.
    pub warm_up: Duration,
    /// The end of the window.
    pub until: Until,
}

/// Runs the load to its end. A window of a number of operations is exact: exactly these messages are sent and answered
/// in it.
///
/// # Errors
/// The first failure ends the run: no server, a connection closed, wrong bytes, no answer in time.
pub fn echo(load: &EchoLoad, observer: &mut dyn Observer) -> Result<LoadReport, LoadError> {
    load.check()?;
    let image = WireImage::new(load.traffic.framing, load.traffic.size)?;
    let poller = Poller::new()?;
    echo_beside(load, &image, poller, |_| {}, observer)
}

impl EchoLoad {
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        if self.traffic.connections == 0 || self.in_flight == 0 {
            return Err(LoadError::Options(
                "at least one connection and one message in flight are needed".into(),
            ));
        }
        Ok(())
    }
}

/// Like [`echo`], with further sockets that are already in `poller`: `others` is called with their keys when they are
/// ready. Keys below the number of connections belong to the load.
pub(crate) fn echo_beside(
    load: &EchoLoad,
    image: &WireImage,
    mut poller: Poller,
    mut others: impl FnMut(usize),
    observer: &mut dyn Observer,
) -> Result<LoadReport, LoadError> {
    let traffic = &load.traffic;
    let mut connections = open_all(traffic, image, &poller)?;
    let clock = Clock::start();
    let mut buffer = vec![0; SLICE];
    let mut window = Window::new(clock, load.warm_up, load.until, observer).exact();
    let mut outstanding = 0;

    while window.turn(outstanding)? {
        if outstanding == 0 {
            for connection in &mut connections {
                let messages = window.permits(outstanding).min(load.in_flight as u64);
                connection.enqueue(image, messages as usize, clock.now());
                connection.flush(image)?;
                outstanding += messages;
            }
        }
        for event in 0..poller.wait(TURN)? {
            let key = poller.key(event);
            let Some(connection) = connections.get_mut(key) else {
                others(key);
                continue;
            };
            let answered = connection.receive(image, &mut buffer, traffic.verify)?;
            if answered > 0 {
                let now = clock.now();
                connection
                    .settle(answered)
                    .for_each(|sent| window.record(sent, now));
                window.answered((answered * traffic.size) as u64, now);
                outstanding -= answered as u64;
                let messages = window.permits(outstanding).min(answered as u64);
                connection.enqueue(image, messages as usize, now);
                outstanding += messages;
            }
            connection.flush(image)?;
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
    allow_descriptors(traffic.connections)?;
    let tls = traffic.client()?;
    let mut connections = Vec::with_capacity(traffic.connections);
    for index in 0..traffic.connections {
        let connection = Connection::open(traffic.address, index, image, tls.as_ref())?;
        poller.add(connection.stream(), index)?;
        connections.push(connection);
    }
    Ok(connections)
}
