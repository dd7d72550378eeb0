//! The server: its listeners, its handler, and the signals that it obeys.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Parser;
use ringwheel::protocol::Lines;
use ringwheel::{Address, Conn, Handler, Listen, Server, ServerHandle};
use ringwheel_applications::arguments::{ServerArgs, seconds};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::inherited::Inherited;
use crate::successor::{self, READY};

/// Echoes lines. SIGHUP or SIGUSR2 replaces the server by a new process, SIGTERM or SIGINT ends it; a second one ends it at
/// once.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Path of a Unix socket to listen on, too.
    #[arg(long)]
    unix: Option<PathBuf>,
    /// Program to start as the successor, with the same arguments [default: this one].
    #[arg(long)]
    program: Option<PathBuf>,
    /// Seconds in which the successor must be ready.
    #[arg(long, value_parser = seconds, default_value = "10")]
    patience: Duration,
    /// Seconds until connections that are left are dropped.
    #[arg(long, value_parser = seconds, default_value = "10")]
    deadline: Duration,
}

#[derive(Clone)]
struct Echo;

impl Handler for Echo {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), line: &str) {
        conn.send(line);
    }

    /// A line of the client may be on its way, so the connection is not closed here: lines are answered until the client
    /// ends, or the deadline has passed.
    fn on_shutdown(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut ()) {
        conn.send("the server goes: connect again");
    }
}

pub(crate) fn run() -> io::Result<()> {
    let inherited = Inherited::take()?;
    let args = Args::parse();
    let server = build(&args, inherited.listeners)?;
    obey_signals(server.handle(), server.duplicate_listeners()?, args)?;
    for address in server.local_addrs() {
        println!("listening on {address}");
    }
    if let Some(mut predecessor) = inherited.predecessor {
        // Clients who connect from now on wait until the server runs. A predecessor that has ended meanwhile needs no word.
        let _ = predecessor.write_all(READY);
    }
    server.run()?;
    println!("all connections are closed");
    Ok(())
}

/// Builds a server on the listeners that were passed, or on new ones if there are none.
fn build(args: &Args, passed: Vec<OwnedFd>) -> io::Result<Server> {
    let mut builder = args.server.builder();
    if passed.is_empty() {
        builder = builder.listen(args.server.addr, Echo)?;
        if let Some(path) = &args.unix {
            builder = builder.listen_with(Listen::unix(path), Echo)?;
        }
    }
    for descriptor in passed {
        builder = builder.listen_with(Listen::adopt(descriptor), Echo)?;
    }
    builder.build()
}

/// Waits for signals on a thread of its own.
fn obey_signals(
    server: ServerHandle,
    listeners: Vec<(Address, OwnedFd)>,
    args: Args,
) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGUSR2, SIGINT, SIGTERM])?;
    let listeners: Vec<_> = listeners
        .into_iter()
        .map(|(_, descriptor)| descriptor)
        .collect();
    let wait = move || {
        let mut signals = signals.forever();
        let is_to_end = |signal: &i32| matches!(*signal, SIGINT | SIGTERM);
        for signal in signals.by_ref() {
            if is_to_end(&signal) {
                println!("draining");
                // A duplicate would keep the addresses open.
                drop(listeners);
                server.shutdown(args.deadline);
                break;
            }
            match successor::start(&program(&args), &listeners, args.patience) {
                Ok(process) => {
                    println!("process {process} serves: draining");
                    drop(listeners);
                    server.retire(args.deadline);
                    break;
                }
                Err(error) => eprintln!("there is no successor, serving on: {error}"),
            }
        }
        if signals.any(|signal| is_to_end(&signal)) {
            println!("stopping at once");
            server.stop();
        }
    };
    let thread = thread::Builder::new().name("signals".into());
    thread.spawn(wait).map(drop)
}

/// The program of the successor: by default the file that this one was started from, of which there may be a new version.
fn program(args: &Args) -> OsString {
    let this_one = || env::args_os().next().unwrap_or_default();
    let given = args.program.as_ref().map(|path| path.clone().into());
    given.unwrap_or_else(this_one)
}
