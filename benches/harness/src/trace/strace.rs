//! `strace -c -f`, attached for the length of the window.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// The strace process of one server.
pub(super) struct Strace {
    pid: u32,
    running: Option<Running>,
    summary: String,
}

struct Running {
    child: Child,
    errors: BufReader<ChildStderr>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Strace {
    /// Makes sure that strace may attach to process `pid`, and detaches again.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let mut strace = Self {
            pid,
            running: None,
            summary: String::new(),
        };
        strace.begin()?;
        strace.end()?;
        strace.summary.clear();
        Ok(strace)
    }

    /// Starts counting; strace has attached when this returns.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        let mut child = Command::new("strace")
            .args(["-c", "-f", "-p", &self.pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    io::Error::new(ErrorKind::NotFound, "strace is not installed")
                }
                _ => error,
            })?;
        let errors = BufReader::new(child.stderr.take().expect("its standard error is piped"));
        let mut running = Running { child, errors };
        // strace prints one line when it has attached; otherwise it prints the reason and ends.
        let mut said = String::new();
        running.errors.read_line(&mut said)?;
        if !said.contains("attached") {
            let hint = "as root, or with kernel.yama.ptrace_scope=0, it may attach";
            return Err(io::Error::other(format!("{} ({hint})", said.trim())));
        }
        self.running = Some(running);
        Ok(())
    }

    /// Detaches from the server.
    pub(super) fn end(&mut self) -> io::Result<()> {
        let Some(mut running) = self.running.take() else {
            return Ok(());
        };
        kill_process(Pid::from_child(&running.child), Signal::INT)?;
        running.errors.read_to_string(&mut self.summary)?;
        Ok(())
    }

    /// Name and number of calls.
    pub(super) fn finish(self) -> io::Result<Vec<(String, u64)>> {
        let calls = parse_summary(&self.summary);
        if calls.is_empty() {
            let said = self.summary.trim();
            return Err(io::Error::other(format!("strace counted nothing: {said}")));
        }
        Ok(calls)
    }
}

/// Name and number of calls from the table that `strace -c` prints.
fn parse_summary(summary: &str) -> Vec<(String, u64)> {
    summary.lines().filter_map(parse_row).collect()
}

/// `% time  seconds  usecs/call  calls  [errors]  syscall`
fn parse_row(row: &str) -> Option<(String, u64)> {
    let fields: Vec<&str> = row.split_ascii_whitespace().collect();
    let (name, calls) = match fields[..] {
        [share, _, _, calls, name] | [share, _, _, calls, _, name]
            if share.parse::<f64>().is_ok() =>
        {
            (name, calls)
        }
        _ => return None,
    };
    (name != "total").then_some((name.to_owned(), calls.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace() {
        let summary = "\
strace: Process 4242 detached
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.10    0.120000           2     20000           sendto
 39.80    0.080000           3     20100       100 recvfrom
  0.10    0.000100           1       200           epoll_wait
------ ----------- ----------- --------- --------- ----------------
100.00    0.200100           2     40300       100 total
";
        let expected = [
            ("sendto", 20_000),
            ("recvfrom", 20_100),
            ("epoll_wait", 200),
        ];
        assert_eq!(
            parse_summary(summary),
            expected.map(|(name, calls)| (name.to_owned(), calls))
        );
    }

    #[test]
    fn text_without_a_table_counts_nothing() {
        assert_eq!(
            parse_summary("strace: attach: ptrace(PTRACE_SEIZE, 1): Operation not permitted\n"),
            []
        );
    }
}
