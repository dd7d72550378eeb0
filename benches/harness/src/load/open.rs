//! Open-loop echo: messages leave on a fixed schedule, whether answers come or not.
//!
//! Latency counts from the moment a message *should* have left, so that a server which stalls is charged for all that
//! piled up meanwhile (no coordinated omission). Between two messages the generator spins, for a sleep would send them
//! in bursts and so let the server batch: its CPU share is always near 1 here and says nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::echo::open_all;
use super::poller::Poller;
use super::schedule::Schedule;
use super::window::Window;
use super::wire::SLICE;
use super::{LoadError, LoadReport, Observer, Traffic, Until, WireImage};

/// Messages sent at most before answers are read, when the schedule is behind.
const BURST: usize = 64;
/// Answers owed at which the run is given up: the rate cannot be held.
const MAX_OUTSTANDING: u64 = 1_000_000;

/// An open-loop echo load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenLoad {
    /// What is sent, and where to; the connections take turns.
    pub traffic: Traffic,
    /// Messages per second over all connections.
    pub rate: u64,
    /// Time before the window opens.
    pub warm_up: Duration,
    /// When the window closes.
    pub until: Until,
}

/// Runs the load to its end.
///
/// # Errors
/// As for [`super::echo`]; besides, [`LoadError::Overrun`] when a million answers are owed.
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
