//! The server that lets a successor take its place, restarted while clients come and talk.
#![cfg(unix)]

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use support::{Client, DEADLINE, Example};

const SERVER: &str = env!("CARGO_BIN_EXE_hot_restart");
/// The line with which a server asks its clients to come again.
const GOODBYE: &str = "the server goes: connect again";

/// A file in the directory for temporary files, which is removed at the end.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        let name = format!("ringwheel-{}-{name}", process::id());
        Temporary(std::env::temp_dir().join(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A process that the server has started. It is killed if the test fails.
struct Successor(String);

impl Successor {
    /// Reads the lines of a restart: the successor's listeners, then the word of its predecessor.
    #[track_caller]
    fn announced_by(server: &Example) -> Self {
        loop {
            let line = server.next_line();
            let process = line.strip_prefix("process ");
            if let Some(process) = process.and_then(|rest| rest.strip_suffix(" serves: draining")) {
                return Successor(process.to_owned());
            }
            assert!(line.starts_with("listening on "), "{line}");
        }
    }

    fn signal(&self, name: &str) -> bool {
        let kill = format!("kill -{name} {} 2>&-", self.0);
        let status = Command::new("sh").args(["-c", &kill]).status();
        status.is_ok_and(|status| status.success())
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if thread::panicking() {
            self.signal("KILL");
        }
    }
}

/// A client of either family.
trait Socket: Read + Write {}
impl<S: Read + Write> Socket for S {}

/// One of the addresses of the server.
#[derive(Clone, Copy)]
enum Target<'a> {
    Tcp(SocketAddr),
    Unix(&'a Path),
}

impl Target<'_> {
    fn connect(self) -> io::Result<BufReader<Box<dyn Socket>>> {
        let socket: Box<dyn Socket> = match self {
            Target::Tcp(address) => {
                let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
                stream.set_read_timeout(Some(DEADLINE))?;
                Box::new(stream)
            }
            Target::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(DEADLINE))?;
                Box::new(stream)
            }
        };
        Ok(BufReader::new(socket))
    }
}

/// Sends a line, and reads until it is answered. True if the server wants the client to come again.
fn ask(client: &mut BufReader<Box<dyn Socket>>, question: usize) -> io::Result<bool> {
    client
        .get_mut()
        .write_all(format!("{question}\n").as_bytes())?;
    let mut is_told = false;
    loop {
        let mut line = String::new();
        if client.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            GOODBYE => is_told = true,
            answer => {
                assert_eq!(answer, question.to_string());
                return Ok(is_told);
            }
        }
    }
}

/// Clients that come and go, and clients that stay until they are told to come again, until the test ends them.
struct Crowd {
    is_over: AtomicBool,
    /// Questions that were answered.
    answers: AtomicUsize,
    /// Clients that were told to come again, and did.
    returned: AtomicUsize,
}

impl Crowd {
    fn new() -> Self {
        Crowd {
            is_over: AtomicBool::new(false),
            answers: AtomicUsize::new(0),
            returned: AtomicUsize::new(0),
        }
    }

    /// Connects for each question.
    fn come_and_go(&self, target: Target<'_>) {
        self.ask_until_over(|question| ask(&mut target.connect()?, question).map(drop));
    }

    /// Asks on one connection, and connects again when it is told to.
    fn stay(&self, target: Target<'_>) {
        let mut client = target.connect().expect("the server accepts");
        self.ask_until_over(|question| {
            if ask(&mut client, question)? {
                client = target.connect()?;
                self.returned.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }

    fn ask_until_over(&self, mut ask: impl FnMut(usize) -> io::Result<()>) {
        let start = Instant::now();
        for question in 0.. {
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            if let Err(error) = ask(question) {
                panic!("question {question} is lost: {error}");
            }
            self.answers.fetch_add(1, Ordering::Relaxed);
            assert!(start.elapsed() < Example::DEADLINE, "the test does not end");
        }
    }

    /// Waits until so many more questions are answered.
    #[track_caller]
    fn go_on(&self, answers: usize) {
        let goal = self.answers.load(Ordering::Relaxed) + answers;
        let has_come = || self.answers.load(Ordering::Relaxed) >= goal;
        support::eventually("more questions are answered", has_come);
    }
}

/// Ends the crowd also if the test fails.
struct End<'a>(&'a Crowd);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

#[test]
fn two_restarts_refuse_nobody_and_lose_no_answer() {
    for workers in ["--workers=1", "--workers=2"] {
        let path = Temporary::new("hot-restart");
        let unix = format!("--unix={}", path.0.display());
        let (server, address) = Example::serve(SERVER, &[workers, &unix]);
        assert_eq!(
            server.next_line(),
            format!("listening on unix:{}", path.0.display())
        );
        let crowd = &Crowd::new();
        let last = thread::scope(|scope| {
            let end = End(crowd);
            for target in [Target::Tcp(address), Target::Unix(&path.0)] {
                scope.spawn(move || crowd.come_and_go(target));
                for _ in 0..4 {
                    scope.spawn(move || crowd.stay(target));
                }
            }
            crowd.go_on(100);
            server.signal("HUP");
            let second = Successor::announced_by(&server);
            assert_eq!(server.next_line(), "all connections are closed");
            crowd.go_on(100);
            assert!(second.signal("USR2"));
            let third = Successor::announced_by(&server);
            assert_eq!(server.next_line(), "all connections are closed");
            crowd.go_on(100);
            drop(end);
            third
        });
        assert!(
            crowd.returned.load(Ordering::Relaxed) >= 8,
            "those who stayed were told"
        );
        assert!(last.signal("TERM"));
        server.ends_after(&["draining", "all connections are closed"]);
        // The last server has adopted the socket, whose file it leaves.
        assert!(path.0.exists());
    }
}

#[test]
fn a_server_without_a_successor_serves_on() {
    let sleeper = Temporary::new("sleeper");
    fs::write(&sleeper.0, "#!/bin/sh\nexec sleep 60\n").unwrap();
    fs::set_permissions(&sleeper.0, fs::Permissions::from_mode(0o700)).unwrap();
    let sleeper = sleeper.0.display().to_string();
    for (program, patience, reason) in [
        ("false", "10", "it has ended before it was ready"),
        (&sleeper, "0.1", "it is not ready after 100ms"),
        ("/nowhere/at-all", "10", "No such file or directory"),
    ] {
        let options = [
            &format!("--program={program}"),
            &format!("--patience={patience}"),
            "--workers=1",
        ];
        let (server, address) = Example::serve(SERVER, &options);
        let mut client = Client::connect(address);
        client.ping();
        for _ in 0..2 {
            server.signal("HUP");
            let line = server.next_error_line();
            assert!(
                line.starts_with("there is no successor, serving on: "),
                "{line}"
            );
            assert!(line.contains(reason), "{line}");
            client.ping();
            Client::connect(address).ping();
        }
        drop(client);
        server.signal("TERM");
        server.ends_after(&["draining", "all connections are closed"]);
    }
}
