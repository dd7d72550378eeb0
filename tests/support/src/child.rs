//! Runs a test in its own process, for tests of a process's limits and tests that may end the process.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child as Process, Command, Stdio};

/// Environment variable that is set in the child process.
const MARK: &str = "RINGWHEEL_TEST_CHILD";

/// A child process that runs the current test again.
pub struct Child {
    process: Process,
}

impl Child {
    /// True in the child process.
    pub fn is_here() -> bool {
        env::var_os(MARK).is_some()
    }

    /// Starts the test of this name again with a limit on its descriptors. The parent reads the child's standard
    /// output, and closes its standard input.
    #[track_caller]
    pub fn start(test: &str, descriptors: u32) -> Self {
        let script = format!(
            "ulimit -n {descriptors} && exec \"$0\" --exact {test} --nocapture --test-threads=1"
        );
        let process = Command::new("sh")
            .args(["-c", &script])
            .arg(env::current_exe().expect("the test binary"))
            .env(MARK, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child process");
        Child { process }
    }

    /// Runs the test of this name in a child process, which must succeed.
    #[track_caller]
    pub fn pass(test: &str, descriptors: u32) {
        Self::start(test, descriptors).end();
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Reads the child's output up to the next line that contains `key`, and returns the rest of that line.
    #[track_caller]
    pub fn line(&mut self, key: &str) -> String {
        let mut output =
            BufReader::with_capacity(1, self.process.stdout.as_mut().expect("it is piped"));
        let mut line = String::new();
        loop {
            line.clear();
            assert!(
                output.read_line(&mut line).expect("text") > 0,
                "the child has ended without {key}"
            );
            if let Some(at) = line.find(key) {
                return line[at + key.len()..].trim().to_owned();
            }
        }
    }

    /// Closes the child's input.
    pub fn close_input(&mut self) {
        drop(self.process.stdin.take());
    }

    /// Closes the child's input, and waits until the child has succeeded.
    #[track_caller]
    pub fn end(mut self) {
        self.close_input();
        let mut output = String::new();
        if let Some(stdout) = &mut self.process.stdout {
            stdout.read_to_string(&mut output).expect("text");
        }
        let status = self.process.wait().expect("a child process");
        assert!(
            status.success() && output.contains("1 passed"),
            "{status}: {output}"
        );
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The child has already ended unless the test fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
