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
use super::window::Window;
use super::wire::SLICE;
use super::{LoadError, LoadReport, Observer, Traffic, Until, WireImage};

/// Messages sent at most before answers are read, when the schedule is behind.
const BURST: usize = 64;
/// The generator sleeps only when the next message is further away than this; epoll rounds up to milliseconds.
const SPIN: Duration = Duration::from_millis(3);
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
    let mut schedule = Schedule {
        start: clock.now(),
        rate: load.rate,
        sent: 0,
    };
    let mut window = Window::new(clock, load.warm_up, load.until, observer);
    let mut answered_in_all = 0;

    while window.turn(schedule.sent - answered_in_all)? {
        for _ in 0..BURST {
            let Some(due) = schedule.take(clock.now()) else {
                break;
            };
            let turn = (schedule.sent % traffic.connections as u64) as usize;
            connections[turn].enqueue(&image, 1, due);
            connections[turn].flush(&image)?;
        }
        let outstanding = schedule.sent - answered_in_all;
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

/// When each message should leave. Message `n` is due `n / rate` seconds after the start, computed from `n`, so that no
/// rounding adds up.
struct Schedule {
    start: u64,
    rate: u64,
    sent: u64,
}

impl Schedule {
    fn next(&self) -> u64 {
        self.start + (u128::from(self.sent) * 1_000_000_000 / u128::from(self.rate)) as u64
    }

    /// The time at which the next message was due, if that has come.
    fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.next();
        (due <= now).then(|| {
            self.sent += 1;
            due
        })
    }

    /// How long to sleep: not at all when the next message is near.
    fn idle(&self, now: u64) -> Duration {
        let gap = Duration::from_nanos(self.next().saturating_sub(now));
        if gap > SPIN {
            gap - SPIN / 2
        } else {
            Duration::ZERO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_even_and_exact() {
        let mut schedule = Schedule {
            start: 1_000,
            rate: 3,
            sent: 0,
        };
        assert_eq!(schedule.take(999), None);
        assert_eq!(schedule.take(1_000), Some(1_000));
        assert_eq!(schedule.take(333_334_332), None);
        assert_eq!(schedule.take(2_000_001_000), Some(333_334_333));
        assert_eq!(schedule.take(2_000_001_000), Some(666_667_666));
        assert_eq!(schedule.take(2_000_001_000), Some(1_000_001_000));
    }

    #[test]
    fn it_sleeps_only_when_the_next_message_is_far() {
        let schedule = Schedule {
            start: 0,
            rate: 1,
            sent: 1,
        };
        assert_eq!(schedule.idle(999_000_000), Duration::ZERO);
        assert!(schedule.idle(0) > Duration::from_millis(990));
        assert!(schedule.idle(0) < Duration::from_secs(1));
    }
}
