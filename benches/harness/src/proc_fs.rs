//! Parsers of files in Linux's `/proc`: pure functions of text.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Unit of the CPU times in `/proc/*/stat`: USER_HZ, fixed at 100 per second for user space on every common architecture.
pub const TICK: Duration = Duration::from_millis(10);

/// CPU time of a process in ticks: too coarse for short runs, but separate for user and system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
}

/// User and system ticks from `/proc/PID/stat`.
pub fn process_ticks(stat: &str) -> Option<Ticks> {
    // The second field, the command's name, may itself contain spaces and brackets.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user = fields.next()?.parse().ok()?;
    let system = fields.next()?.parse().ok()?;
    Some(Ticks { user, system })
}

/// The scheduler's statistics of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedStat {
    /// Time spent on a CPU.
    pub running: Duration,
    /// Time spent ready to run while others did.
    pub waiting: Duration,
}

/// Run and wait time from `/proc/PID/task/TID/schedstat`.
pub fn sched_stat(schedstat: &str) -> Option<SchedStat> {
    let mut fields = schedstat
        .split_ascii_whitespace()
        .map(|field| field.parse().ok().map(Duration::from_nanos));
    Some(SchedStat {
        running: fields.next()??,
        waiting: fields.next()??,
    })
}

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// All resident memory (`VmRSS`).
    pub resident: u64,
    /// Of that, anonymous memory: heap and stacks (`RssAnon`).
    pub anonymous: u64,
}

/// Resident memory from `/proc/PID/status`.
pub fn memory(status: &str) -> Option<Memory> {
    Some(Memory {
        resident: kibibytes(status, "VmRSS")? * 1024,
        anonymous: kibibytes(status, "RssAnon")? * 1024,
    })
}

/// The value of the line `NAME:  VALUE kB`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim_end().parse().ok()
}

/// The kernel's memory for the whole machine, in bytes. Stacks and page tables are left out: they belong to threads and
/// processes, not to connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelMemory {
    /// The slabs (`Slab` in `/proc/meminfo`), which hold sockets, their files and inodes, and epoll registrations. They
    /// also hold everything else that the kernel allocates, so the machine should be quiet, and few connections should
    /// have closed within the last minute (TIME_WAIT).
    pub slab: u64,
    /// Pages that TCP has charged for data in its queues (`mem` of `TCP` in `/proc/net/sockstat`).
    pub sockets: u64,
}

/// The kernel's memory from `/proc/meminfo` and `/proc/net/sockstat`, on a machine with pages of `page` bytes.
pub fn kernel_memory(meminfo: &str, sockstat: &str, page: u64) -> Option<KernelMemory> {
    let tcp = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP:"))?;
    let mut fields = tcp.split_ascii_whitespace();
    fields.find(|&field| field == "mem")?;
    let pages: u64 = fields.next()?.parse().ok()?;
    Some(KernelMemory {
        slab: kibibytes(meminfo, "Slab")? * 1024,
        sockets: pages * page,
    })
}

/// Ticks of one CPU since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTicks {
    /// Spent on anything except idling: user, nice, system, interrupts.
    pub busy: u64,
    /// Taken by the hypervisor while this machine wanted to run.
    pub steal: u64,
}

/// Ticks of CPU number `cpu` from `/proc/stat`.
pub fn cpu_ticks(stat: &str, cpu: usize) -> Option<CpuTicks> {
    let name = format!("cpu{cpu}");
    let line = stat
        .lines()
        .find(|line| line.split_ascii_whitespace().next() == Some(&name))?;
    let fields: Vec<u64> = line
        .split_ascii_whitespace()
        .skip(1)
        .map_while(|field| field.parse().ok())
        .collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = fields[..] else {
        return None;
    };
    Some(CpuTicks {
        busy: user + nice + system + irq + softirq,
        steal,
    })
}

/// The CPU's model from `/proc/cpuinfo`.
pub fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_a_process_whose_name_has_brackets_and_spaces() {
        let stat = "4335 (a) b (c d) R 4257 4257 3074 0 -1 4194304 2889 6558 8 0 53 7 4 9 20 0 1 0 72466 16961536";
        assert_eq!(
            process_ticks(stat),
            Some(Ticks {
                user: 53,
                system: 7
            })
        );
        assert_eq!(process_ticks("4335 (cut"), None);
        assert_eq!(process_ticks("1 (short) R 1 2 3"), None);
    }

    #[test]
    fn run_and_wait_time_of_a_thread() {
        let expected = SchedStat {
            running: Duration::from_nanos(546_871_877),
            waiting: Duration::from_nanos(339_109),
        };
        assert_eq!(sched_stat("546871877 339109 77\n"), Some(expected));
        assert_eq!(sched_stat(""), None);
        assert_eq!(sched_stat("12 x 3"), None);
    }

    #[test]
    fn resident_memory() {
        let status =
            "Name:\techo\nVmRSS:\t    1932 kB\nRssAnon:\t     144 kB\nRssFile:\t    1788 kB\n";
        assert_eq!(
            memory(status),
            Some(Memory {
                resident: 1932 * 1024,
                anonymous: 144 * 1024
            })
        );
        // A zombie has no memory lines.
        assert_eq!(memory("Name:\techo\nState:\tZ (zombie)\n"), None);
    }

    #[test]
    fn memory_of_the_kernel() {
        let meminfo = "MemTotal:       24684084 kB\nKReclaimable:     513336 kB\nSlab:             563448 kB\n\
                       SReclaimable:     513336 kB\nHugePages_Total:       0\n";
        let sockstat =
            "sockets: used 18\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 7\nUDP: inuse 0 mem 3\n";
        assert_eq!(
            kernel_memory(meminfo, sockstat, 4096),
            Some(KernelMemory {
                slab: 563_448 * 1024,
                sockets: 7 * 4096
            })
        );
        assert_eq!(kernel_memory("MemTotal: 1 kB\n", sockstat, 4096), None);
        assert_eq!(kernel_memory(meminfo, "UDP: inuse 0 mem 3\n", 4096), None);
        assert_eq!(kernel_memory(meminfo, "TCP: inuse 1 mem\n", 4096), None);
    }

    #[test]
    fn ticks_of_each_cpu() {
        let stat = "cpu  2164 0 1454 140334 424 0 38 12 0 0\n\
                    cpu1 1676 1 1059 68975 412 2 33 10 0 0\n\
                    cpu10 9 9 9 9 9 9 9 9 0 0\nintr 1 2 3\n";
        assert_eq!(
            cpu_ticks(stat, 1),
            Some(CpuTicks {
                busy: 1676 + 1 + 1059 + 2 + 33,
                steal: 10
            })
        );
        assert_eq!(cpu_ticks(stat, 10), Some(CpuTicks { busy: 45, steal: 9 }));
        assert_eq!(cpu_ticks(stat, 2), None);
    }

    #[test]
    fn model_of_the_cpu() {
        assert_eq!(
            cpu_model("processor\t: 0\nmodel name\t: A CPU @ 2 GHz\nflags\t: a b\n"),
            Some("A CPU @ 2 GHz")
        );
        assert_eq!(cpu_model("processor\t: 0\n"), None);
    }
}
