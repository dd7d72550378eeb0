//! The command line.

mod load;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub use load::{
    Load, LoadBroadcast, LoadChoice, LoadChurn, LoadEcho, LoadHandshakes, LoadIdle, LoadOpen,
    LoadSlowReaders, ModeName, Target,
};

use load::{Length, seconds};

use crate::campaign::Care;
use crate::load::Until;
use crate::measure::Workload;
use crate::plans;

/// Measures ringwheel and its peers side by side, or puts load on any server.
#[derive(Debug, Parser)]
#[command(name = "ringwheel-harness", version)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compare ringwheel with the floors and the Rust peers, in three minutes
    Quick(Campaign),
    /// Compare ringwheel with every peer in every mode, in up to an hour; resumes an interrupted run
    Full(Campaign),
    /// Start servers in turn, put one load on each, and compare
    Compare(Compare),
    /// Put load on a server that is running
    #[command(subcommand)]
    Load(Load),
    /// Count the system calls of servers per message, or per short connection
    Syscalls(Count),
    /// Count the instructions that servers execute in user mode per message, by callgrind
    Instructions(Count),
    /// Make the HTML report of a results.json again
    Report(Report),
    /// List the peers that come with the harness
    Peers(Peers),
    /// Put a mixed load with faults on ringwheel for minutes or hours, and check that no resource is leaked
    Soak(Soak),
    /// The server process that `soak` starts
    #[command(hide = true)]
    SoakServer,
}

/// `peers`
#[derive(Debug, Args)]
pub struct Peers {
    /// Build everything that can be built, and print versions and missing tools
    #[arg(long)]
    pub build: bool,
}

/// `soak`
#[derive(Debug, Args)]
pub struct Soak {
    /// Length of the soak; at most a day
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

impl Soak {
    /// Length of the soak.
    pub fn length(&self) -> Duration {
        seconds(self.minutes * 60.0)
    }
}

/// `quick` and `full`
#[derive(Debug, Args)]
pub struct Campaign {
    /// Folder for report.html, results.json and the journal [default: target/harness/quick or .../full]
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Start over, even if a journal of the same campaign could be resumed
    #[arg(long)]
    pub fresh: bool,
    /// Only these peers, besides ringwheel and the floors
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub peers: Vec<String>,
    /// Only scenarios whose id contains one of these
    #[arg(long, value_delimiter = ',', value_name = "PARTS")]
    pub only: Vec<String>,
    /// Rounds in which each server is measured once (scaling sections: at most 3)
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub rounds: u16,
    /// Print the plan without measuring
    #[arg(long)]
    pub list: bool,
    #[command(flatten)]
    surroundings: Surroundings,
    /// Print JSON instead of tables
    #[arg(long)]
    pub json: bool,
}

impl Campaign {
    /// The treatment of disturbances by other users of the machine.
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }
}

/// The treatment of disturbances by other users of the machine.
#[derive(Debug, Args)]
pub struct Surroundings {
    /// Most repetitions of a disturbed measurement
    #[arg(long, default_value_t = 3)]
    retries: usize,
    /// Seconds to wait for a quiet machine before each measurement
    #[arg(long, default_value_t = 5.0)]
    patience: f64,
    /// Priority of server and load; -20, if permitted, keeps most other programs from disturbing the measurement
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-20..=19))]
    pub nice: i32,
}

impl Surroundings {
    /// Converts to a campaign's settings; waiting and repeating take at most `budget` in total.
    pub fn care(&self, budget: Duration) -> Care {
        Care {
            retries: self.retries,
            patience: seconds(self.patience),
            budget,
        }
    }
}

/// `report`
#[derive(Debug, Args)]
pub struct Report {
    /// The results.json of a campaign
    pub results: PathBuf,
    /// File to write the HTML to
    #[arg(long, default_value = "report.html")]
    pub html: PathBuf,
}

/// `compare`
#[derive(Debug, Args)]
pub struct Compare {
    /// The load.
    #[command(flatten)]
    pub load: LoadChoice,
    #[command(flatten)]
    length: Length,
    /// Rounds in which each server is measured once
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    #[command(flatten)]
    surroundings: Surroundings,
    /// A server: name=command with {addr} in place of its address, or the name of a peer; may be repeated
    #[arg(long = "server", value_name = "SERVER")]
    pub servers: Vec<String>,
    /// The server that the others are compared with, given in the same way [default: mio; for WebSocket
    /// epoll-websocket; for TLS mio-tls-unbuffered; for WebSocket deflated or over TLS the first server]
    #[arg(long)]
    floor: Option<String>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// Write the HTML report to this file, too
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

impl Compare {
    /// The treatment of disturbances by other users of the machine.
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// The servers, beginning with the one that the others are compared with.
    pub fn contestants(&self) -> impl Iterator<Item = &str> {
        let floor = match &self.floor {
            Some(floor) => Some(floor.as_str()),
            None => plans::floor(&self.load.server_options()),
        };
        floor
            .into_iter()
            .chain(self.servers.iter().map(String::as_str))
    }

    /// The load that the options describe.
    pub fn workload(&self) -> Workload {
        self.load
            .workload(self.length.warm_up(), self.length.until())
    }
}

/// `syscalls` and `instructions`
#[derive(Debug, Args)]
pub struct Count {
    /// The load.
    #[command(flatten)]
    pub load: LoadChoice,
    /// Messages, or short connections, in the counted window
    #[arg(long, default_value_t = 20_000)]
    operations: u64,
    /// A server: name=command with {addr} in place of its address, or the name of a peer; may be repeated
    #[arg(long = "server", value_name = "SERVER", required = true)]
    pub servers: Vec<String>,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

impl Count {
    /// The load that the options describe.
    pub fn workload(&self) -> Workload {
        self.load
            .workload(crate::trace::WARM_UP, Until::Operations(self.operations))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_options_do_not_contradict_one_another() {
        Cli::command().debug_assert();
    }
}
