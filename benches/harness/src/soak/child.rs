//! The server's process: this program again, with a hidden command.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::reading::Counts;
use super::server::Addresses;
use crate::process::wait;

/// The hidden command, which calls [`serve`](super::serve).
pub(super) const COMMAND: &str = "soak-server";
/// Longest time for the server to end.
const END_PATIENCE: Duration = Duration::from_secs(30);

/// The server of a soak. Dropping it kills the process.
pub(super) struct ServerChild {
    process: Child,
    /// The server answers each line written here with its counts.
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    addresses: Addresses,
}

impl ServerChild {
    pub(super) fn start() -> io::Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (questions, answers) = (process.stdin.take(), process.stdout.take());
        let mut server = ServerChild {
            process,
            questions,
            answers: BufReader::new(answers.expect("it is piped")),
            addresses: Addresses::default(),
        };
        server.addresses = serde_json::from_str(&server.answer()?)?;
        Ok(server)
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    pub(super) fn counts(&mut self) -> io::Result<Counts> {
        if let Some(questions) = &mut self.questions {
            writeln!(questions)?;
        }
        Ok(serde_json::from_str(&self.answer()?)?)
    }

    fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line)? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server has ended",
            )),
            _ => Ok(line),
        }
    }

    /// Ends the server in order.
    pub(super) fn end(mut self) -> io::Result<()> {
        drop(self.questions.take());
        let status = wait(&mut self.process, END_PATIENCE)?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(status.to_string())),
        }
    }
}

impl Drop for ServerChild {
    fn drop(&mut self) {
        // Both fail only if the process has already been reaped.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
