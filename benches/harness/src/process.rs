//! A server process: started on its CPUs, awaited, read, and killed when dropped.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::certificates;
use crate::machine;
use crate::port::Port;
use crate::proc_fs::{self, KernelMemory, Memory, SchedStat, Ticks};

/// Longest time until a server accepts.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// Interval between two attempts to connect.
const START_RETRY: Duration = Duration::from_millis(5);

/// A running server. Dropping it kills the process and reaps it.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    port: Port,
}

impl ServerProcess {
    /// Starts `command` with the shell on CPU `cpu` only, with every `{addr}` replaced by a free loopback address, and
    /// the [placeholders](certificates::Key::placeholders) of certificates by their paths, and waits until it accepts. Its standard output is discarded; its errors are shown.
    ///
    /// # Errors
    /// Fails if the command cannot be started, ends at once, or does not accept within 10 seconds.
    pub fn start(command: &str, cpu: Option<usize>) -> io::Result<Self> {
        Self::start_under("", START_PATIENCE, command, cpu)
    }

    /// Like [`ServerProcess::start`], but under `tool`, the beginning of a command line such as `valgrind --tool=none`.
    /// The server may take up to `patience` until it accepts.
    ///
    /// # Errors
    /// Fails if the command cannot be started, ends at once, or does not accept in time.
    pub fn start_under(
        tool: &str,
        patience: Duration,
        command: &str,
        cpu: Option<usize>,
    ) -> io::Result<Self> {
        let port = Port::reserve()?;
        let command = command.replace("{addr}", &port.address().to_string());
        let command = certificates::fill_in(&command)?;
        let mut shell = Command::new("/bin/sh");
        shell
            .arg("-c")
            .arg(format!("exec {tool} {command}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = machine::with_affinity(cpu, || shell.spawn())??;
        let mut server = Self { child, port };
        server.wait_until_it_accepts(patience)?;
        Ok(server)
    }

    /// Sends `signal`, which is expected to end the process, and waits until it has ended.
    ///
    /// # Errors
    /// Fails if it has not ended after `patience`; it is then still running.
    pub fn end_by(&mut self, signal: Signal, patience: Duration) -> io::Result<ExitStatus> {
        kill_process(Pid::from_child(&self.child), signal)?;
        wait(&mut self.child, patience)
    }

    /// The server's address.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_it_accepts(&mut self, patience: Duration) -> io::Result<()> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!(
                    "the server ended before it accepted ({status})"
                )));
            }
            match TcpStream::connect_timeout(&self.address(), START_PATIENCE) {
                Ok(_) => return Ok(()),
                Err(error) if start.elapsed() > patience => {
                    let seconds = patience.as_secs();
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

/// Waits until `child` has ended, for at most `patience`.
///
/// # Errors
/// Fails if it has not ended by then.
pub(crate) fn wait(child: &mut Child, patience: Duration) -> io::Result<ExitStatus> {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    if !is_ready(&process, patience)? {
        let seconds = patience.as_secs();
        return Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("process {} has not ended after {seconds} s", child.id()),
        ));
    }
    child.wait()
}

/// Waits until `file` is readable or at its end, for at most `patience`. True if it is.
///
/// # Errors
/// Fails if the system call fails.
pub(crate) fn is_ready(file: impl AsFd, patience: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&file, PollFlags::IN)], Some(&timeout)) {
            Err(Errno::INTR) => {}
            result => return Ok(result? > 0),
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Both fail only if the process has already been reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
        // A thread that has ended since the directory was listed is ignored.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        let thread = proc_fs::sched_stat(&text).ok_or_else(|| unreadable("PID/schedstat"))?;
        scheduled.running += thread.running;
        scheduled.waiting += thread.waiting;
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = proc_fs::process_ticks(&stat).ok_or_else(|| unreadable("PID/stat"))?;
    Ok(CpuTime { scheduled, ticks })
}

/// Reads the resident memory of process `pid`.
///
/// # Errors
/// Fails when there is no such process, or no `/proc`.
pub fn memory(pid: u32) -> io::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    proc_fs::memory(&status).ok_or_else(|| unreadable("PID/status"))
}

/// Counts the open descriptors of process `pid`.
///
/// # Errors
/// Fails when there is no such process, or no `/proc`.
pub fn descriptors(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Reads the kernel's memory for the whole machine.
///
/// # Errors
/// Fails when there is no `/proc`.
pub fn kernel_memory() -> io::Result<KernelMemory> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let sockstat = fs::read_to_string("/proc/net/sockstat")?;
    let page = rustix::param::page_size() as u64;
    proc_fs::kernel_memory(&meminfo, &sockstat, page)
        .ok_or_else(|| unreadable("meminfo or /proc/net/sockstat"))
}

fn unreadable(file: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("/proc/{file} is not as expected"),
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_child_is_waited_for_as_long_as_patience_lasts() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let error = wait(&mut child, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(child.stdin.take());
        assert!(wait(&mut child, Duration::from_secs(10)).unwrap().success());
    }

    #[test]
    fn a_readable_file_and_an_ended_one_are_ready() {
        let (mut near, far) = UnixStream::pair().unwrap();
        assert!(!is_ready(&far, Duration::ZERO).unwrap());
        near.write_all(b"x").unwrap();
        assert!(is_ready(&far, Duration::ZERO).unwrap());
        drop(far);
        // A process that another test is just starting may hold a copy of the file for a moment.
        assert!(is_ready(&near, Duration::from_secs(10)).unwrap());
    }
}
