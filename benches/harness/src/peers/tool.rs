//! Finds and runs the tools that build the peers.

use std::env;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::prepared::Failure;

/// Time after which the progress of a running tool is reported.
const QUIET: Duration = Duration::from_secs(3);
/// Interval between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(30);
/// Interval between two checks of a running tool.
const TICK: Duration = Duration::from_millis(10);
/// The number of last lines of a failed tool that are shown.
const LAST_LINES: usize = 20;
/// Messages of cargo, go and npm, in lower case, when they cannot reach a registry.
const UNREACHABLE: [&str; 13] = [
    // Messages of curl, printed by cargo.
    "could not resolve",
    "could not connect to",
    "couldn't connect to",
    "failed to connect to",
    "you're using offline mode",
    // Messages of go.
    "dial tcp",
    "no such host",
    "module lookup disabled by goproxy=off",
    // Messages of npm.
    "eai_again",
    "econnrefused",
    "enetunreach",
    "enotfound",
    "etimedout",
];

/// The folders in which programs are searched.
#[derive(Clone, Debug)]
pub(super) struct SearchPath(Vec<PathBuf>);

impl SearchPath {
    /// The folders of the environment's PATH.
    pub(super) fn from_environment() -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        Self(env::split_paths(&path).collect())
    }

    /// The executable file named `program`, which may be a path itself.
    pub(super) fn find(&self, program: impl AsRef<Path>) -> Option<PathBuf> {
        let is_executable = |path: &PathBuf| {
            path.metadata()
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        };
        let mut candidates = self.0.iter().map(|folder| folder.join(program.as_ref()));
        candidates.find(is_executable)
    }
}

impl<P: Into<PathBuf>> FromIterator<P> for SearchPath {
    fn from_iter<I: IntoIterator<Item = P>>(folders: I) -> Self {
        Self(folders.into_iter().map(Into::into).collect())
    }
}

/// A tool to run, and its purpose.
#[derive(Debug)]
pub(super) struct Job<'a> {
    /// The command, without its input and output.
    pub(super) command: Command,
    /// Its purpose, for messages: `building the Go peers`.
    pub(super) purpose: &'a str,
    /// The time after which it is killed. Processes that it has started are not.
    pub(super) deadline: Duration,
}

impl Job<'_> {
    /// Runs it to its end, silently except for a line of progress now and then, and returns its standard output.
    pub(super) fn run(mut self, tell: &mut dyn FnMut(&str)) -> Result<String, Failure> {
        let program = self.command.get_program().to_owned();
        let program = Path::new(&program)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        self.finish(tell).map_err(|(reason, output)| {
            let purpose = self.purpose;
            let lower = output.to_lowercase();
            let unreachable = UNREACHABLE.iter().any(|sign| lower.contains(sign));
            let reason = if unreachable {
                format!("{purpose} failed: {program} cannot reach its package registry")
            } else {
                format!("{purpose} failed: {program} {reason}")
            };
            Failure {
                reason,
                output: last_lines(&output),
            }
        })
    }

    /// Returns its standard output, or the failure and the text it printed.
    fn finish(&mut self, tell: &mut dyn FnMut(&str)) -> Result<String, (String, String)> {
        let cannot_run = |error: io::Error| (format!("cannot be run: {error}"), String::new());
        let start = Instant::now();
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(cannot_run)?;
        let output = Capture::of(child.stdout.take().expect("it is piped"));
        let errors = Capture::of(child.stderr.take().expect("it is piped"));
        // Standard error if there is any, otherwise standard output, to which some tools print their errors.
        let printed = |output: &Capture, errors: &Capture| {
            let errors = errors.text();
            if errors.trim().is_empty() {
                output.text()
            } else {
                errors
            }
        };

        let mut next_line = QUIET;
        loop {
            let ended = child.try_wait().map_err(cannot_run)?;
            match ended {
                Some(status) if output.is_complete() && errors.is_complete() => {
                    return if status.success() {
                        Ok(output.text())
                    } else {
                        Err((how_it_ended(status), printed(&output, &errors)))
                    };
                }
                _ if start.elapsed() > self.deadline => {
                    // Both fail only if it has ended meanwhile.
                    let _ = child.kill();
                    let _ = child.wait();
                    let minutes = self.deadline.as_secs() / 60;
                    let reason = format!("did not end within {minutes} minutes");
                    return Err((reason, printed(&output, &errors)));
                }
                _ => thread::sleep(TICK),
            }
            if start.elapsed() >= next_line {
                let seconds = start.elapsed().as_secs();
                tell(&format!("{} ({seconds} s)", self.purpose));
                next_line += PROGRESS;
            }
        }
    }
}

fn how_it_ended(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("ended with exit code {code}"),
        None => format!("was ended by a {status}"),
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

/// The output so far of a stream of a running program.
struct Capture {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Capture {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut piece = vec![0; 16 * 1024];
            loop {
                match stream.read(&mut piece) {
                    Ok(length @ 1..) => shared
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend_from_slice(&piece[..length]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(0) | Err(_) => return,
                }
            }
        });
        Self { bytes, reader }
    }

    /// True if the stream has been closed, by the program and by everything that it started.
    fn is_complete(&self) -> bool {
        self.reader.is_finished()
    }

    fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, deadline: Duration) -> Result<String, Failure> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let job = Job {
            command,
            purpose: "testing",
            deadline,
        };
        job.run(&mut |_| {})
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_program_is_found_in_the_folders_and_nowhere_else() {
        let nowhere = SearchPath::from_iter(["/nonexistent"]);
        assert_eq!(nowhere.find("sh"), None);
        let somewhere = SearchPath::from_iter(["/nonexistent", "/bin"]);
        assert_eq!(somewhere.find("sh"), Some("/bin/sh".into()));
        assert_eq!(nowhere.find("/bin/sh"), Some("/bin/sh".into()));
        // A folder is not a program, nor is a file without permission to execute.
        assert_eq!(SearchPath::from_iter(["/"]).find("bin"), None);
        assert_eq!(SearchPath::from_iter(["/etc"]).find("passwd"), None);
    }

    #[test]
    fn output_is_returned_and_errors_are_not() {
        assert_eq!(shell("echo out; echo err >&2", LONG).unwrap(), "out\n");
    }

    #[test]
    fn more_than_a_pipe_holds_is_read_from_both() {
        let script = "head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero";
        assert_eq!(shell(script, LONG).unwrap().len(), 1_000_000);
    }

    #[test]
    fn a_failure_shows_the_last_lines() {
        let script = "i=0; while [ $i -lt 50 ]; do echo line $i >&2; i=$((i+1)); done; exit 3";
        let failure = shell(script, LONG).unwrap_err();
        assert_eq!(failure.reason, "testing failed: sh ended with exit code 3");
        assert!(failure.output.starts_with("line 30\n"), "{failure:?}");
        assert!(failure.output.ends_with("\nline 49"), "{failure:?}");
    }

    #[test]
    fn complaints_on_standard_output_are_shown_where_there_are_no_others() {
        let failure = shell("echo this is wrong; exit 1", LONG).unwrap_err();
        assert_eq!(failure.output, "this is wrong");
    }

    #[test]
    fn a_tool_that_does_not_end_is_killed() {
        let failure = shell("echo begun >&2; exec sleep 1000", Duration::ZERO).unwrap_err();
        assert!(failure.reason.contains("did not end within"), "{failure:?}");
    }

    #[test]
    fn an_unreachable_registry_is_recognised() {
        for sign in [
            "dial tcp: lookup modules.example: no such host",
            "npm ERR! code ENOTFOUND",
            "[6] Could not resolve hostname (Could not resolve host: registry.example)",
        ] {
            let failure = shell(&format!("echo '{sign}' >&2; exit 1"), LONG).unwrap_err();
            let expected = "testing failed: sh cannot reach its package registry";
            assert_eq!(failure.reason, expected);
            assert_eq!(failure.output, sign);
        }
    }

    #[test]
    fn a_tool_that_cannot_be_run_fails() {
        let job = Job {
            command: Command::new("/nonexistent/tool"),
            purpose: "testing",
            deadline: LONG,
        };
        let failure = job.run(&mut |_| {}).unwrap_err();
        assert!(
            failure
                .reason
                .starts_with("testing failed: tool cannot be run: "),
            "{failure:?}"
        );
    }
}
