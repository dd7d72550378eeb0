//! Measures the resources of this process, and percentiles of times.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use support::Child;
use support::scale::FIGURE;

/// Runs the test of this name in its own process, because the resources of a whole process are measured. The test must
/// print one figure.
#[track_caller]
pub(crate) fn in_child(test: &str, descriptors: u32, body: impl FnOnce()) {
    if Child::is_here() {
        return body();
    }
    let mut child = Child::start(test, descriptors);
    let figure = child.line(FIGURE);
    child.end();
    println!("\n{FIGURE}{figure}");
}

/// The number of descriptors that this process has open.
pub(crate) fn open_descriptors() -> usize {
    // The listing itself holds one open.
    let listing = fs::read_dir("/proc/self/fd").expect("procfs");
    listing.count() - 1
}

/// Processor time that this process has used (proc(5): `utime` and `stime`, in hundredths of a second).
pub(crate) fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("procfs");
    let fields: Vec<&str> = stat[stat.rfind(')').expect("a name")..]
        .split(' ')
        .collect();
    let ticks = |index: usize| fields[index].parse::<u64>().expect("a number");
    Duration::from_millis(10 * (ticks(12) + ticks(13)))
}

/// Processor time that this thread has used (proc(5): the first number of `schedstat`, in nanoseconds).
pub(crate) fn thread_processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("procfs");
    let running = stat.split(' ').next().expect("three numbers");
    Duration::from_nanos(running.parse().expect("a number"))
}

/// A loopback address for the connection with this number. Closed connections hold their ports for a minute, and each
/// address has its own ports.
pub(crate) fn source(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, (number % 250) as u8 + 1)
}

/// Collected times, for percentiles.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn append(&mut self, mut other: Times) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that `percent` percent of the times do not exceed.
    pub(crate) fn percentile(&mut self, percent: f64) -> Duration {
        self.0.sort_unstable();
        let last = self.0.len().checked_sub(1).expect("some times");
        self.0[(last as f64 * percent / 100.0).ceil() as usize]
    }
}
