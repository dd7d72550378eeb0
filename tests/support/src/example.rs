//! An example or an application, run as a user would run it: in a process of its own.
//!
//! `cargo test` builds the examples first and puts them next to the tests; `cargo test --test NAME` does not build them.
//! The programs of a package are always built for its tests.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// An example, or another program, that runs. It is killed when dropped.
pub struct Example {
    process: Process,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Example {
    /// Upper bound of every wait for an example, whose process must start and may have much to do. Reached only if the
    /// example hangs.
    pub const DEADLINE: Duration = Duration::from_secs(60);

    /// Starts an example by its name, or a program by its path.
    #[track_caller]
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        let mut command = match Path::new(program).is_absolute() {
            true => Command::new(program),
            false => Command::new(binary(program)),
        };
        command.args(arguments).stdin(Stdio::null());
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = piped.spawn().expect("the example starts");
        let stdout = lines_of(process.stdout.take().expect("it is piped"));
        let stderr = lines_of(process.stderr.take().expect("it is piped"));
        Example {
            process,
            stdout,
            stderr,
        }
    }

    /// Starts a server that takes an address as its argument, on a free port, and waits until it listens.
    #[track_caller]
    pub fn serve_simply(name: &str) -> (Self, SocketAddr) {
        let server = Example::start(name, &["127.0.0.1:0"]);
        let addr = server.next_address();
        (server, addr)
    }

    /// Starts a server that takes options, on a free port, and waits until it listens.
    #[track_caller]
    pub fn serve(program: &str, options: &[&str]) -> (Self, SocketAddr) {
        let arguments = [&["--addr=127.0.0.1:0"], options].concat();
        let server = Example::start(program, &arguments);
        let addr = server.next_address();
        (server, addr)
    }

    /// Runs a program that ends by itself.
    #[track_caller]
    pub fn run_to_end(program: &str, arguments: &[&str]) -> Output {
        let (status, stdout, stderr) = Example::start(program, arguments).end();
        Output {
            status,
            stdout: stdout.into(),
            stderr: stderr.into(),
        }
    }

    #[track_caller]
    pub fn next_line(&self) -> String {
        let line = self.stdout.recv_timeout(Self::DEADLINE);
        line.expect("the example prints a line")
    }

    #[track_caller]
    pub fn next_error_line(&self) -> String {
        let line = self.stderr.recv_timeout(Self::DEADLINE);
        line.expect("the example prints a line")
    }

    /// The address in the next line, `listening on ADDRESS`, which may continue.
    #[track_caller]
    pub fn next_address(&self) -> SocketAddr {
        let line = self.next_line();
        let address = line.strip_prefix("listening on ");
        let address = address.and_then(|rest| rest.split(' ').next()?.parse().ok());
        address.unwrap_or_else(|| panic!("no address: {line}"))
    }

    #[cfg(unix)]
    #[track_caller]
    pub fn signal(&self, name: &str) {
        // Every shell has a built-in `kill`; not every system has a separate program.
        let kill = format!("kill -{name} {}", self.process.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.expect("there is a shell").success(), "{kill}");
    }

    /// Waits for the end. The example must succeed, print these lines on standard output, and nothing on standard
    /// error.
    #[track_caller]
    pub fn ends_after(self, lines: &[&str]) {
        let (status, stdout, stderr) = self.end();
        assert_eq!(stdout.lines().collect::<Vec<_>>(), lines);
        assert_eq!(stderr, "");
        assert!(status.success(), "{status}");
    }

    /// Waits for the end and returns everything printed since the last call.
    #[track_caller]
    fn end(mut self) -> (ExitStatus, String, String) {
        let (stdout, stderr) = (rest_of(&self.stdout), rest_of(&self.stderr));
        // The example has closed its pipes, so it has ended or is about to.
        let status = self.process.wait().expect("it was not waited for before");
        (status, stdout, stderr)
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // Both fail harmlessly for a process that has already been waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The path of an example's program: this test is `target/PROFILE/deps/NAME`, the example is
/// `target/PROFILE/examples/NAME`.
#[track_caller]
fn binary(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test knows where it is");
    let profile = test.ancestors().nth(2);
    let profile = profile.expect("a test is in a profile's directory");
    let path = profile.join(format!("examples/{name}{}", env::consts::EXE_SUFFIX));
    assert!(
        path.exists(),
        "{} is missing: `cargo test` or `cargo build --examples` builds it",
        path.display()
    );
    path
}

/// The lines of a pipe as they arrive; the channel ends with the pipe.
fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            // After the test has dropped the channel, the pipe is still read, so that the example gets no broken pipe.
            let Ok(line) = line else { return };
            let _ = sender.send(line);
        }
    });
    receiver
}

/// All lines until a pipe ends.
#[track_caller]
fn rest_of(lines: &Receiver<String>) -> String {
    let mut rest = String::new();
    loop {
        match lines.recv_timeout(Example::DEADLINE) {
            Ok(line) => rest += &(line + "\n"),
            Err(RecvTimeoutError::Disconnected) => return rest,
            Err(RecvTimeoutError::Timeout) => panic!("the example does not end: {rest}"),
        }
    }
}
