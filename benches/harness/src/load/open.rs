//! Open-loop echo: messages are sent on a fixed schedule, whether answers come or not.
//!
//! Latency counts from the moment when a message *should* have been sent, so that a stall of the server counts for all
//! messages that pile up meanwhile (no coordinated omission). The generator spins between two messages, because a sleep
//! would send them in bursts and let the server batch. Its CPU share is therefore always near 1 and means nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::echo::open_all;
use super::poller::Poller;
use super::schedule::Schedule;
use super::window::Window;
use super::wire::SLICE;
use super::{LoadError, LoadReport, Observer, Traffic, Until, WireImage};

/// The most messages sent before answers are read, if the schedule is late.
const BURST: usize = 64;
/// Missing answers at which the run is given up, because the rate cannot be held.
const MAX_OUTSTANDING: u64 = 1_000_000;

/// An open-loop echo load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenLoad {
    /// The messages and the connections, which take turns.
    pub traffic: Traffic,
    /// Messages per second over all connections.
    pub rate: u64,
    /// Time before the window opens.
    pub warm_up: Duration,
    /// The end of the window.
    pub until: Until,
}

/// Runs the load to its end.
///
/// # Errors
/// As for [`super::echo`]; also [`LoadError::Overrun`] if a million answers are missing.
pub fn open(load: &OpenLoad, observer: &mut dyn Observer) -> Result<LoadReport, LoadError> {
    let traffic = &load.traffic;
    if traffic.connections == 0 || load.rate == 0 {
        return Err(LoadError::Options(
            "at least one connection and one message per second are needed".into(),
        ));
    }
    let image = WireImage::new(traffic.framing, traffic.size)?;
    let mut poller = Poller::new()?;
    let mut connections = open_all(traffic, &image, &poller)?;
    let clock = Clock::start();
    let mut buffer = vec![0; SLICE];
    let mut schedule = Schedule::new(clock.now(), load.rate);
    let mut window = Window::new(clock, load.warm_up, load.until, observer);
    let mut answered_in_all = 0;

    while window.turn(schedule.sent() - answered_in_all)? {
        for _ in 0..BURST {
            let Some(due) = schedule.take(clock.now()) else {
                break;
            };
            let turn = (schedule.sent() % traffic.connections as u64) as usize;
            connections[turn].enqueue(&image, 1, due);
            connections[turn].flush(&image)?;
        }
        let outstanding = schedule.sent() - answered_in_all;
        if outstanding > MAX_OUTSTANDING {
            return Err(LoadError::Overrun {
                rate: load.rate,
                outstanding,
            });
        }
        for event in 0..poller.wait(schedule.idle(clock.now()))? {
            let connection = &mut connections[poller.key(event)];
            let answered = connection.receive(&image, &mut buffer, traffic.verify)?;
            if answered > 0 {
                let now = clock.now();
                for due in connection.settle(answered) {
                    if window.covers(due) {
                        window.record(due, now);
                    }
                }
                answered_in_all += answered as u64;
                window.answered((answered * traffic.size) as u64, now);
            }
            connection.flush(&image)?;
        }
    }
    Ok(window.into_report())
}
