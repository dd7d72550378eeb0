//! A server that runs alone in a process, so that its resources are measured apart from those of its clients.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::ServerBuilder;
use support::{Child, Client, DEADLINE, TestServer};

use crate::tally::Counts;

/// The parent's end of a server in a child process.
pub(crate) struct Victim {
    child: Child,
    addresses: Vec<SocketAddr>,
}

/// Runs the server in the child process until the parent closes its input.
pub(crate) fn serve(builder: ServerBuilder, counts: &Counts) {
    serve_on(TestServer::spawn(builder), counts);
}

/// As [`serve`], with a server that was started already.
pub(crate) fn serve_on(server: TestServer, counts: &Counts) {
    let addresses = server.handle().local_addrs();
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    println!("\nserves on {}", addresses.join(" "));
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let stats = server.handle().stats();
    println!("\nhas accepted {} and shed {}", stats.accepted, stats.shed);
    counts.finish(server);
    println!("\nhas counted {}", counts.to_line());
}

impl Victim {
    /// Starts the test of this name again in a child process, where it calls [`serve`].
    #[track_caller]
    pub(crate) fn start(test: &str, descriptors: u32) -> Self {
        let mut child = Child::start(test, descriptors);
        let addresses = child.line("serves on ");
        let addresses = addresses
            .split(' ')
            .map(|address| address.parse().expect("an address"))
            .collect();
        Victim { child, addresses }
    }

    /// The address of the server's first listener.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr_of(0)
    }

    pub(crate) fn addr_of(&self, listener: usize) -> SocketAddr {
        self.addresses[listener]
    }

    /// Connects to the server's first listener.
    #[track_caller]
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.addr())
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }

    /// Starts watching the growth of the server's resident memory. Watch related steps together: freed memory may stay
    /// resident, and reusing it does not count as growth.
    #[track_caller]
    pub(crate) fn watch_memory(&self) -> MemoryWatch<'_> {
        // Resets the peak to the current size (proc(5), `clear_refs`).
        fs::write(self.proc("clear_refs"), "5").expect("our child process");
        MemoryWatch {
            victim: self,
            before: self.status("VmRSS:"),
            code_before: self.status("RssFile:"),
        }
    }

    /// A field of the server's `status` file that counts kibibytes, converted to bytes.
    #[track_caller]
    fn status(&self, key: &str) -> usize {
        let status = fs::read_to_string(self.proc("status")).expect("our child process");
        let value = status.lines().find_map(|line| line.strip_prefix(key));
        let kibibytes = value.expect(key).trim().trim_end_matches(" kB");
        kibibytes.parse::<usize>().expect("a number") * 1024
    }

    /// Processor time used by all threads of the server, in nanoseconds (`schedstat`).
    #[track_caller]
    pub(crate) fn processor_time(&self) -> Duration {
        let threads = fs::read_dir(self.proc("task")).expect("our child process");
        let used = threads.map(|thread| {
            let path = thread.expect("a thread").path().join("schedstat");
            let stat = fs::read_to_string(path).unwrap_or_default();
            let used = stat.split(' ').next().unwrap_or_default();
            used.parse().unwrap_or(0)
        });
        Duration::from_nanos(used.sum())
    }

    /// As [`processor_time`](Self::processor_time), after the server has become idle.
    #[track_caller]
    pub(crate) fn processor_time_at_rest(&self) -> Duration {
        let start = Instant::now();
        let mut last = self.processor_time();
        loop {
            thread::sleep(Duration::from_millis(20));
            let now = self.processor_time();
            if now == last {
                return now;
            }
            last = now;
            assert!(start.elapsed() < DEADLINE, "the server never becomes idle");
        }
    }

    /// Ends the server, checks its counts, and returns them with the numbers of connections accepted and shed.
    #[track_caller]
    pub(crate) fn end(mut self) -> (Counts, u64, u64) {
        self.child.close_input();
        let admission = self.child.line("has accepted ");
        let (accepted, shed) = admission.split_once(" and shed ").expect("two numbers");
        let counts = Counts::from_line(&self.child.line("has counted "));
        self.child.end();
        counts.assert_sound();
        let number = |text: &str| text.parse().expect("a number");
        (counts, number(accepted), number(shed))
    }
}

/// Watches the growth of a process's memory.
pub(crate) struct MemoryWatch<'a> {
    victim: &'a Victim,
    before: usize,
    /// Resident pages of files, which are the program's code.
    code_before: usize,
}

impl MemoryWatch<'_> {
    /// The highest growth since the watch began, in bytes. Code that was used for the first time does not count: a debug build
    /// has a mebibyte of it.
    #[track_caller]
    pub(crate) fn growth(&self) -> usize {
        let growth = self.victim.status("VmHWM:").saturating_sub(self.before);
        let of_code = self
            .victim
            .status("RssFile:")
            .saturating_sub(self.code_before);
        growth.saturating_sub(of_code)
    }
}
