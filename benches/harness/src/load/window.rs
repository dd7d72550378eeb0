//! The phases of every run: warm-up, measured window, end.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::clock::{Clock, thread_cpu_time};
use super::{LoadError, LoadReport, Observer, PATIENCE, TENTHS, Until};

/// Longest latency that is recorded; longer ones count as this one.
const MAX_LATENCY_NS: u64 = 60_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measured,
    Over,
}

/// Follows a run through its phases and collects the results of the measured one.
pub(crate) struct Window<'a> {
    clock: Clock,
    observer: &'a mut dyn Observer,
    until: Until,
    /// True if a window of a number of operations contains exactly these operations.
    exact: bool,
    phase: Phase,
    /// The end of the warm-up, and then of the measured phase, in nanoseconds on `clock`.
    ends: u64,
    /// The next time when the observer is told that the measured phase goes on.
    next_look: u64,
    opened: u64,
    load_cpu: Duration,
    operations: u64,
    bytes: u64,
    latency: Histogram<u64>,
    /// The time of the last answer in any phase.
    last_answer: u64,
}

impl<'a> Window<'a> {
    pub(crate) fn new(
        clock: Clock,
        warm_up: Duration,
        until: Until,
        observer: &'a mut dyn Observer,
    ) -> Self {
        let now = clock.now();
        let latency =
            Histogram::new_with_bounds(1, MAX_LATENCY_NS, 3).expect("constant bounds are valid");
        Self {
            clock,
            observer,
            until,
            exact: false,
            phase: Phase::WarmUp,
            ends: now + warm_up.as_nanos() as u64,
            next_look: u64::MAX,
            opened: 0,
            load_cpu: Duration::ZERO,
            operations: 0,
            bytes: 0,
            latency,
            last_answer: now,
        }
    }

    /// Makes a window of a number of operations open and close when no answer is missing, so that it contains exactly
    /// these operations. The load calls [`Self::permits`] before it sends.
    pub(crate) fn exact(mut self) -> Self {
        self.exact = matches!(self.until, Until::Operations(_));
        self
    }

    /// The number of messages that may be sent now, if `outstanding` are sent and not answered.
    #[inline]
    pub(crate) fn permits(&self, outstanding: u64) -> u64 {
        match (self.phase, self.until) {
            _ if !self.exact => u64::MAX,
            (Phase::WarmUp, _) if self.clock.now() < self.ends => u64::MAX,
            (Phase::Measured, Until::Operations(count)) => {
                count.saturating_sub(self.operations + outstanding)
            }
            _ => 0,
        }
    }

    /// Counts one operation that began at `began` and was answered at `now`.
    #[inline]
    pub(crate) fn record(&mut self, began: u64, now: u64) {
        self.operations += 1;
        self.latency
            .saturating_record(now.saturating_sub(began).max(1));
    }

    /// Counts payload bytes, and records that the server is alive.
    #[inline]
    pub(crate) fn answered(&mut self, bytes: u64, now: u64) {
        self.bytes += bytes;
        self.last_answer = now;
    }

    /// True if operations that began at `began` belong to the measured phase.
    #[inline]
    pub(crate) fn covers(&self, began: u64) -> bool {
        self.phase == Phase::Measured && began >= self.opened
    }

    /// Enters the next phase when it is time. `Ok(false)` if the run is over.
    pub(crate) fn turn(&mut self, outstanding: u64) -> Result<bool, LoadError> {
        let now = self.clock.now();
        let silence = Duration::from_nanos(now.saturating_sub(self.last_answer));
        if outstanding > 0 && silence > PATIENCE {
            return Err(LoadError::Stalled {
                silence,
                outstanding,
            });
        }
        match self.phase {
            Phase::WarmUp if now >= self.ends && (!self.exact || outstanding == 0) => {
                self.open()?
            }
            Phase::Measured if self.is_complete(now) => self.close()?,
            Phase::Measured if now >= self.next_look => self.look()?,
            _ => {}
        }
        Ok(self.phase != Phase::Over)
    }

    fn is_complete(&self, now: u64) -> bool {
        match self.until {
            Until::Elapsed(_) => now >= self.ends,
            Until::Operations(count) => self.operations >= count,
        }
    }

    fn open(&mut self) -> Result<(), LoadError> {
        self.observer
            .window_opens()
            .map_err(LoadError::io("read the counters"))?;
        self.phase = Phase::Measured;
        self.operations = 0;
        self.bytes = 0;
        self.latency.reset();
        self.load_cpu = thread_cpu_time();
        self.opened = self.clock.now();
        self.last_answer = self.opened;
        if let Until::Elapsed(length) = self.until {
            self.ends = self.opened + length.as_nanos() as u64;
            self.next_look = self.opened + self.tenth();
        }
        Ok(())
    }

    /// A tenth of a window with a fixed length, in nanoseconds; not 0.
    fn tenth(&self) -> u64 {
        ((self.ends - self.opened) / u64::from(TENTHS)).max(1)
    }

    fn look(&mut self) -> Result<(), LoadError> {
        self.observer
            .window_goes_on()
            .map_err(LoadError::io("read the counters"))?;
        // Several overdue calls are merged into one.
        let tenths = (self.clock.now() - self.opened) / self.tenth() + 1;
        self.next_look = self.opened + tenths * self.tenth();
        Ok(())
    }

    fn close(&mut self) -> Result<(), LoadError> {
        // From here on the fields hold the window's totals instead of its start values.
        self.opened = self.clock.now() - self.opened;
        self.load_cpu = thread_cpu_time() - self.load_cpu;
        self.observer
            .window_closes()
            .map_err(LoadError::io("read the counters"))?;
        self.phase = Phase::Over;
        if self.operations == 0 {
            let window = Duration::from_nanos(self.opened);
            return Err(LoadError::NothingDone { window });
        }
        Ok(())
    }

    pub(crate) fn into_report(self) -> LoadReport {
        debug_assert_eq!(self.phase, Phase::Over);
        LoadReport {
            operations: self.operations,
            bytes: self.bytes,
            elapsed: Duration::from_nanos(self.opened),
            latency: self.latency,
            load_cpu: self.load_cpu,
        }
    }
}
