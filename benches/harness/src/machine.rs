//! The machine: its CPUs, pinning to them, and its description in a report.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use rustix::process::{setpriority_process, setsid};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

use crate::proc_fs;

/// The scheduling priority of this process's session; missing if the kernel does not support it.
const AUTOGROUP: &str = "/proc/self/autogroup";

/// The CPUs of a run. On a machine with a single CPU nothing is pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpus {
    /// The CPU of the server.
    pub server: Option<usize>,
    /// The CPU of the load.
    pub load: Option<usize>,
}

impl Cpus {
    /// The first CPU that this process may use is for the server, the second for the load.
    ///
    /// # Errors
    /// Fails if the system does not tell the CPUs.
    pub fn choose() -> io::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut allowed = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
        let pair = allowed.next().zip(allowed.next());
        Ok(Self {
            server: pair.map(|(first, _)| first),
            load: pair.map(|(_, second)| second),
        })
    }

    /// The same, with a server that may use every CPU.
    pub fn spread(self) -> Self {
        Self {
            server: None,
            ..self
        }
    }

    /// Both CPUs, if there are two.
    pub fn all(self) -> impl Iterator<Item = usize> {
        self.server.into_iter().chain(self.load)
    }
}

/// Pins the calling thread, and all threads and processes that it starts, to `cpu`.
fn pin(cpu: Option<usize>) -> io::Result<()> {
    let Some(cpu) = cpu else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// Sets the priority of the calling thread and of everything that it starts: -20 is the highest, 0 the default, 19 the
/// lowest. Below 0 a busy machine disturbs less.
///
/// Linux by default shares the CPUs among sessions first (`autogroup` in sched(7)), so the priority would count only
/// within our session. Therefore this process becomes its own session with that priority. A job of an interactive shell
/// cannot leave its session; its priority then counts within the session, whose other programs should not suffer.
///
/// # Errors
/// Fails if the user may not set a priority below 0.
pub fn set_nice(nice: i32) -> io::Result<()> {
    setpriority_process(None, nice).map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("nice {nice}: {error}"))
    })?;
    if setsid().is_ok() && Path::new(AUTOGROUP).exists() {
        fs::write(AUTOGROUP, nice.to_string())?;
    }
    Ok(())
}

/// Runs `work` on `cpu`, which processes that it starts inherit, and restores the thread's CPUs.
///
/// # Errors
/// Fails if there is no such CPU.
pub fn with_affinity<T>(cpu: Option<usize>, work: impl FnOnce() -> T) -> io::Result<T> {
    let before = sched_getaffinity(None)?;
    pin(cpu)?;
    let done = work();
    sched_setaffinity(None, &before)?;
    Ok(done)
}

/// Today's date, UTC: `2026-11-21`.
pub fn today() -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    now.split('T').next().unwrap_or(&now).to_owned()
}

/// The description of the machine in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The CPU's model.
    pub cpu: String,
    /// Number of CPUs that are online.
    pub cpus: usize,
    /// The kernel's release.
    pub kernel: String,
}

impl Machine {
    /// Describes this machine.
    pub fn describe() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            cpu: proc_fs::cpu_model(&cpuinfo).unwrap_or("unknown").to_owned(),
            cpus: cpuinfo
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_inherits_the_cpu_and_the_parent_returns() {
        let before = sched_getaffinity(None).unwrap();
        let cpu = (0..CpuSet::MAX_CPU)
            .find(|&cpu| before.is_set(cpu))
            .unwrap();
        let inside = with_affinity(Some(cpu), || sched_getaffinity(None))
            .unwrap()
            .unwrap();
        assert_eq!((inside.count(), inside.is_set(cpu)), (1, true));
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
