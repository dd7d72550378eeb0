//! A server process: spawned on its CPUs, waited for, read, and killed when dropped.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use crate::machine;
use crate::proc_fs::{self, Memory, SchedStat, Ticks};

/// How long a server may take until it accepts.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is tried meanwhile.
const START_RETRY: Duration = Duration::from_millis(5);
/// Ports handed out are below Linux's ephemeral range (from 32768), where the load's own connections get theirs.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A running server. Dropping it kills the process and reaps it.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    address: SocketAddr,
}

impl ServerProcess {
    /// Starts `command` by the shell, with every `{addr}` replaced by a free loopback address, on CPU `cpu` only, and
    /// waits until it accepts. Its standard output is discarded, its errors are shown.
    ///
    /// # Errors
    /// Fails when the command cannot be started, ends at once, or does not accept within 10 seconds.
    pub fn start(command: &str, cpu: Option<usize>) -> io::Result<Self> {
        let address = free_address()?;
        let line = format!("exec {}", command.replace("{addr}", &address.to_string()));
        let mut shell = Command::new("/bin/sh");
        shell
            .arg("-c")
            .arg(line)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = machine::with_affinity(cpu, || shell.spawn())?;
        let mut server = Self { child, address };
        server.wait_until_it_accepts()?;
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_accepts(&mut self) -> io::Result<()> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!(
                    "the server ended before it accepted ({status})"
                )));
            }
            match TcpStream::connect_timeout(&self.address, START_PATIENCE) {
                Ok(_) => return Ok(()),
                Err(error) if start.elapsed() > START_PATIENCE => {
                    let seconds = START_PATIENCE.as_secs();
                    return Err(io::Error::new(
                        error.kind(),
                        format!("no connection after {seconds} s: {error}"),
                    ));
                }
                Err(_) => std::thread::sleep(START_RETRY),
            }
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Both fail only when the process has already been reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback address on which nobody listens now.
fn free_address() -> io::Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Neighbouring processes start far apart, lest two that start at once agree on a port.
    let first = (std::process::id() as u16).wrapping_mul(7919);
    for _ in PORTS {
        let step = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let address =
            SocketAddr::from((Ipv4Addr::LOCALHOST, PORTS.start + step % PORTS.len() as u16));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        "no free port from 20000 to 32000",
    ))
}

/// CPU time of a process and all its threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    /// Exact run and wait times of its living threads.
    pub scheduled: SchedStat,
    /// The coarse split into user and system time.
    pub ticks: Ticks,
}

/// Reads the CPU time of process `pid`.
///
/// # Errors
/// Fails when there is no such process, or no `/proc`.
pub fn cpu_time(pid: u32) -> io::Result<CpuTime> {
    let mut scheduled = SchedStat::default();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread that ended since the directory was listed counts for nothing.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        let thread = proc_fs::sched_stat(&text).ok_or_else(|| unreadable("schedstat"))?;
        scheduled.running += thread.running;
        scheduled.waiting += thread.waiting;
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = proc_fs::process_ticks(&stat).ok_or_else(|| unreadable("stat"))?;
    Ok(CpuTime { scheduled, ticks })
}

/// Reads the resident memory of process `pid`.
///
/// # Errors
/// Fails when there is no such process, or no `/proc`.
pub fn memory(pid: u32) -> io::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    proc_fs::memory(&status).ok_or_else(|| unreadable("status"))
}

fn unreadable(file: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("/proc/PID/{file} is not as expected"),
    )
}
