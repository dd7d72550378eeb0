//! Measures how much others disturb a run: CPU time taken by the hypervisor and by other processes on the two CPUs.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::machine::Cpus;
use crate::proc_fs::{self, CpuTicks, TICK};

/// Largest share of a CPU's time that the hypervisor may take in an undisturbed run.
const MAX_STEAL: f64 = 0.02;
/// Largest share of a CPU's time that other processes may use in an undisturbed run.
const MAX_FOREIGN: f64 = 0.05;
/// Time for which the machine is observed to decide if it is quiet.
const LOOK: Duration = Duration::from_millis(250);

/// CPU time that others used during a window, as shares of one CPU's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Disturbance {
    /// Taken by the hypervisor.
    pub steal: f64,
    /// Used by other processes, and by interrupts outside of our processes.
    pub foreign: f64,
}

impl Disturbance {
    /// True if a run with this disturbance should be repeated.
    pub fn is_disturbed(&self) -> bool {
        self.steal > MAX_STEAL || self.foreign > MAX_FOREIGN
    }

    /// Orders runs from the least disturbed to the most.
    pub fn severity(&self) -> f64 {
        (self.steal / MAX_STEAL).max(self.foreign / MAX_FOREIGN)
    }
}

/// The counters of the run's CPUs at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    at: Instant,
    ticks: CpuTicks,
}

impl Counters {
    /// Reads the current counters.
    ///
    /// # Errors
    /// Fails when `/proc/stat` cannot be read.
    pub fn read(cpus: Cpus) -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        let ticks = cpus
            .all()
            .filter_map(|cpu| proc_fs::cpu_ticks(&stat, cpu))
            .fold(CpuTicks::default(), |sum, cpu| CpuTicks {
                busy: sum.busy + cpu.busy,
                steal: sum.steal + cpu.steal,
            });
        Ok(Self {
            at: Instant::now(),
            ticks,
        })
    }

    /// The time that others used between `self` and the `later` counters, if our processes used `own` CPU time.
    pub fn disturbance(&self, later: &Self, own: Duration) -> Disturbance {
        let elapsed = (later.at - self.at).as_secs_f64();
        let seconds = |ticks: u64| ticks as f64 * TICK.as_secs_f64();
        let busy = seconds(later.ticks.busy - self.ticks.busy);
        Disturbance {
            steal: seconds(later.ticks.steal - self.ticks.steal) / elapsed,
            foreign: ((busy - own.as_secs_f64()) / elapsed).max(0.0),
        }
    }
}

/// Waits until nobody else uses the CPUs, for at most `patience`.
///
/// # Errors
/// Fails when `/proc/stat` cannot be read.
pub fn wait_until_quiet(cpus: Cpus, patience: Duration) -> io::Result<()> {
    let start = Instant::now();
    let mut before = Counters::read(cpus)?;
    while start.elapsed() < patience {
        std::thread::sleep(LOOK);
        let now = Counters::read(cpus)?;
        if !before.disturbance(&now, Duration::ZERO).is_disturbed() {
            break;
        }
        before = now;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(at: Instant, busy: u64, steal: u64) -> Counters {
        Counters {
            at,
            ticks: CpuTicks { busy, steal },
        }
    }

    #[test]
    fn busy_time_that_is_not_ours_is_foreign() {
        let start = Instant::now();
        let before = counters(start, 1000, 10);
        let after = counters(start + Duration::from_secs(2), 1350, 13);
        let found = before.disturbance(&after, Duration::from_millis(3300));
        assert!((found.foreign - 0.1).abs() < 1e-9, "{found:?}");
        assert!((found.steal - 0.015).abs() < 1e-9, "{found:?}");
        assert!(found.is_disturbed());
        assert!((found.severity() - 2.0).abs() < 1e-6);
    }

    #[test]
    fn rounding_of_ticks_is_no_negative_disturbance() {
        let start = Instant::now();
        let before = counters(start, 0, 0);
        let after = counters(start + Duration::from_secs(1), 100, 0);
        let found = before.disturbance(&after, Duration::from_millis(1005));
        assert_eq!(found, Disturbance::default());
        assert!(!found.is_disturbed());
    }
}
