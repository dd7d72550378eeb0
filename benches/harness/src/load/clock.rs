//! The clocks of the generator: nanoseconds since it started, and the CPU time of its thread.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the run began; a `u64` is half the size of an `Instant` in the queues of due answers.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    #[inline]
    pub(crate) fn now(self) -> u64 {
        // 584 years fit.
        self.origin.elapsed().as_nanos() as u64
    }
}

/// CPU time that the calling thread has used, exact to the nanosecond.
pub fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
