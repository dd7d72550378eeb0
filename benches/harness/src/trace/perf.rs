//! `perf stat` on the tracepoints of system calls, attached before the load begins and switched on and off by command.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::process::{is_ready, wait};

/// Counts every system call.
const ALL: &str = "raw_syscalls:sys_enter";
/// The beginning of the tracepoint's name of a single system call.
const ONE: &str = "syscalls:sys_enter_";
/// The system calls that are counted separately: those that servers make while they answer.
const NAMED: &[&str] = &[
    "accept",
    "accept4",
    "clock_nanosleep",
    "close",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "fcntl",
    "futex",
    "getpeername",
    "getsockname",
    "io_uring_enter",
    "ioctl",
    "nanosleep",
    "poll",
    "read",
    "readv",
    "recvfrom",
    "recvmsg",
    "sched_yield",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "timerfd_settime",
    "write",
    "writev",
];
/// The folders in which the kernel lists its tracepoints.
const TRACEPOINTS: [&str; 2] = [
    "/sys/kernel/tracing/events/syscalls",
    "/sys/kernel/debug/tracing/events/syscalls",
];
/// Longest time for perf to attach, to obey a command, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// The perf process of one server. Dropping it ends perf.
pub(super) struct Perf {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    errors: ChildStderr,
}

impl Drop for Perf {
    fn drop(&mut self) {
        // Both fail only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Perf {
    /// Attaches to all threads of process `pid`, and those that they start, without counting yet.
    pub(super) fn attach(pid: u32) -> io::Result<Self> {
        mount_tracepoints();
        // perf takes commands from its standard input and acknowledges them on its standard output; the counts come
        // last, on its standard error.
        let mut command = Command::new("perf");
        command.args(["stat", "-x,", "--delay=-1", "--control=fd:0,1", "-e", ALL]);
        for name in NAMED.iter().filter(|name| is_tracepoint(name)) {
            command.args(["-e", &format!("{ONE}{name}")]);
        }
        let mut child = command
            .args(["-p", &pid.to_string()])
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => io::Error::new(ErrorKind::NotFound, "perf is not installed"),
                _ => error,
            })?;
        let mut perf = Self {
            commands: child.stdin.take().expect("its standard input is piped"),
            answers: BufReader::new(child.stdout.take().expect("its standard output is piped")),
            errors: child.stderr.take().expect("its standard error is piped"),
            child,
        };
        // perf does not count yet, but its answer shows that it has attached.
        perf.disable()?;
        Ok(perf)
    }

    /// Starts counting; perf counts when this returns.
    pub(super) fn enable(&mut self) -> io::Result<()> {
        self.obey("enable")
    }

    /// Stops counting; perf no longer counts when this returns.
    pub(super) fn disable(&mut self) -> io::Result<()> {
        self.obey("disable")
    }

    fn obey(&mut self, command: &str) -> io::Result<()> {
        // A perf that has ended takes no command; its missing answer is the error.
        let _ = writeln!(self.commands, "{command}");
        if !is_ready(self.answers.get_ref(), PATIENCE)? {
            let seconds = PATIENCE.as_secs();
            return Err(io::Error::new(
                ErrorKind::TimedOut,
                format!("perf has not answered for {seconds} s"),
            ));
        }
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        if answer.contains("ack") {
            return Ok(());
        }
        let said = self.final_output()?;
        Err(io::Error::other(format!("perf: {}", reason(&said))))
    }

    /// Name and number of the calls while it was enabled.
    pub(super) fn finish(mut self) -> io::Result<Vec<(String, u64)>> {
        kill_process(Pid::from_child(&self.child), Signal::INT)?;
        let said = self.final_output()?;
        let calls = parse_counts(&said);
        if calls.is_empty() {
            let said = said.trim();
            return Err(io::Error::other(format!("perf counted nothing: {said}")));
        }
        Ok(calls)
    }

    /// The text that perf prints at its end, which is less than a pipe holds.
    fn final_output(&mut self) -> io::Result<String> {
        wait(&mut self.child, PATIENCE)?;
        let mut said = String::new();
        self.errors.read_to_string(&mut said)?;
        Ok(said)
    }
}

/// Has perf mount the file system of the tracepoints, which it does itself when it is asked for one: on a machine where perf
/// has not run before none would be found. If that fails, attaching fails too, and says why.
fn mount_tracepoints() {
    if !is_tracepoint("close") {
        let mut perf = Command::new("perf");
        let _ = perf.args(["stat", "-e", ALL, "true"]).output();
    }
}

fn is_tracepoint(name: &str) -> bool {
    TRACEPOINTS
        .iter()
        .any(|folder| Path::new(folder).join(format!("sys_enter_{name}")).exists())
}

/// The line of perf's output that explains a failure: the first one behind `Error:`, if there is one.
fn reason(said: &str) -> &str {
    let said = said.split_once("Error:").map_or(said, |(_, behind)| behind);
    said.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("it ended without an explanation")
}

/// Name and number of calls from the lines `COUNT,UNIT,EVENT,...` of `perf stat -x,`. Calls without their own
/// tracepoint are counted as `other`; calls that were not made are left out.
fn parse_counts(said: &str) -> Vec<(String, u64)> {
    let mut all = 0;
    let mut calls = Vec::new();
    for (event, count) in said.lines().filter_map(parse_count) {
        if event == ALL {
            all = count;
        } else if let Some(name) = event.strip_prefix(ONE) {
            calls.push((name.to_owned(), count));
        }
    }
    let named: u64 = calls.iter().map(|(_, count)| count).sum();
    // The counters are switched one after the other, so the parts may add up to a few more than the total.
    calls.push(("other".to_owned(), all.saturating_sub(named)));
    calls.retain(|&(_, count)| count > 0);
    calls
}

fn parse_count(line: &str) -> Option<(&str, u64)> {
    let mut fields = line.split(',');
    let (count, _unit, event) = (fields.next()?, fields.next()?, fields.next()?);
    // perf prints `<not counted>` for events that have not happened.
    Some((event, count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_name_and_the_rest() {
        let said = "\
Events disabled
Events enabled
Events disabled
40260,,raw_syscalls:sys_enter,8123456,100.00,,
20000,,syscalls:sys_enter_recvfrom,8123456,100.00,,
20000,,syscalls:sys_enter_sendto,8123456,100.00,,
<not counted>,,syscalls:sys_enter_accept4,0,100.00,,
0,,syscalls:sys_enter_epoll_ctl,8123456,100.00,,
250,,syscalls:sys_enter_epoll_wait,8123456,100.00,,
";
        let expected = [
            ("recvfrom", 20_000),
            ("sendto", 20_000),
            ("epoll_wait", 250),
            ("other", 10),
        ];
        assert_eq!(
            parse_counts(said),
            expected.map(|(name, calls)| (name.to_owned(), calls))
        );
    }

    #[test]
    fn parts_that_exceed_the_whole_leave_no_rest() {
        let said = "9,,raw_syscalls:sys_enter,1,100.00,,\n10,,syscalls:sys_enter_read,1,100.00,,\n";
        assert_eq!(parse_counts(said), [("read".to_owned(), 10)]);
    }

    #[test]
    fn text_without_counts_counts_nothing() {
        let said = "<not counted>,,raw_syscalls:sys_enter,0,100.00,,\nEvents disabled\n\n,,\n12\n";
        assert_eq!(parse_counts(said), []);
    }

    #[test]
    fn the_reason_is_found_in_the_output() {
        let said = "event syntax error: 'raw_syscalls:sys_enter'\n   \\___ can't access trace events\n\n\
                    Error:\tNo permissions to read /sys/kernel/tracing/events/raw_syscalls/sys_enter\n\
                    Hint:\tTry 'sudo mount'\n";
        assert_eq!(
            reason(said),
            "No permissions to read /sys/kernel/tracing/events/raw_syscalls/sys_enter"
        );
        assert_eq!(
            reason("Error:\nAccess is limited.\nConsider\n"),
            "Access is limited."
        );
        assert_eq!(
            reason("perf: not for this kernel\n"),
            "perf: not for this kernel"
        );
        assert_eq!(reason("\n\n"), "it ended without an explanation");
    }
}
