//! A test in a process of its own, for tests of the limits of a process and tests that may end it.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child as Process, Command, Stdio};

/// Environment variable that is set in the child.
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

    /// Starts the test of that name again, with a limit on its descriptors. Its standard output is the parent's to read,
    /// and the end of its standard input the parent's to bring about.
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

    /// Runs the test of that name to its end in a child, which must end well.
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

    /// Ends the child's input.
    pub fn close_input(&mut self) {
        drop(self.process.stdin.take());
    }

    /// Ends the child's input, and waits until it has passed.
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
        // It has ended already unless the test fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
