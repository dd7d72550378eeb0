//! The command line of the examples: options of the form `--name value` or `--name=value`.

use std::env;
use std::fmt::Display;
use std::net::SocketAddr;
use std::process;
use std::str::FromStr;
use std::time::Duration;

use ringwheel::{Server, ServerBuilder};

/// An option of a program: its name, its value, and what it is for.
pub(crate) type Known = (&'static str, &'static str, &'static str);

const OF_EVERY_SERVER: [Known; 2] = [
    (
        "--addr",
        "ADDRESS",
        "Address to listen on; port 0 takes a free one [default: 127.0.0.1:1833]",
    ),
    (
        "--workers",
        "COUNT",
        "Worker loops, each on a thread of its own [default: one per processor]",
    ),
];

/// The options that the user has given.
pub(crate) struct Options(Vec<(String, String)>);

impl Options {
    /// Reads the command line. `--help` prints `about` and all options, and ends the program; a wrong option ends it with
    /// status 2.
    pub(crate) fn read(about: &str, of_this_one: &[Known]) -> Options {
        let known = [of_this_one, &OF_EVERY_SERVER].concat();
        let mut given = Vec::new();
        let mut arguments = env::args().skip(1);
        while let Some(argument) = arguments.next() {
            if argument == "--help" {
                print_help(about, &known);
                process::exit(0);
            }
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (argument, arguments.next()),
            };
            match value {
                Some(value) if known.iter().any(|(known, ..)| *known == name) => {
                    given.push((name, value));
                }
                _ => fail(&name, "no such option, or no value; see --help"),
            }
        }
        Options(given)
    }

    /// The value of an option, if it is given. A value that cannot be read ends the program with status 2.
    pub(crate) fn get<T: FromStr<Err: Display>>(&self, name: &str) -> Option<T> {
        let (_, value) = self.0.iter().rev().find(|(given, _)| given == name)?;
        Some(value.parse().unwrap_or_else(|error| fail(name, error)))
    }

    /// The value of an option in seconds, such as `30` or `0.5`.
    #[allow(dead_code, reason = "not every example takes a duration")]
    pub(crate) fn seconds(&self, name: &str) -> Option<Duration> {
        let seconds = self.get(name)?;
        let duration = Duration::try_from_secs_f64(seconds);
        Some(duration.unwrap_or_else(|error| fail(name, error)))
    }

    /// The address to listen on.
    pub(crate) fn addr(&self) -> SocketAddr {
        let default = || SocketAddr::from(([127, 0, 0, 1], 1833));
        self.get("--addr").unwrap_or_else(default)
    }

    /// A server with as many workers as were asked for.
    pub(crate) fn builder(&self) -> ServerBuilder {
        match self.get("--workers") {
            Some(workers) => Server::builder().workers(workers),
            None => Server::builder(),
        }
    }
}

fn print_help(about: &str, known: &[Known]) {
    println!("{about}\n\nOptions:");
    for (name, value, what_for) in known {
        println!("  {:30} {what_for}", format!("{name} {value}"));
    }
}

fn fail(option: &str, error: impl Display) -> ! {
    eprintln!("{option}: {error}");
    process::exit(2)
}
