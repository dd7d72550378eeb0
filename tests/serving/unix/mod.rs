//! Unix sockets are served like TCP, and their files come and go as documented.

#[cfg(target_os = "linux")]
mod descriptors;
mod files;
mod service;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};

use ringwheel::protocol::Lines;
use support::{DEADLINE, Events, Recorder, text};

/// A directory of its own for a test. It is removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringwheel-{}-{number}", process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    /// The path at which the test's server listens.
    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }

    /// The names of all files, for tests that nothing is left.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        entries.map(|entry| name(entry.unwrap())).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A client with deadlines.
#[track_caller]
fn connect(path: &Path) -> UnixStream {
    with_deadlines(UnixStream::connect(path).expect("the server accepts"))
}

fn with_deadlines(client: UnixStream) -> UnixStream {
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.set_write_timeout(Some(DEADLINE)).unwrap();
    client
}

/// Sends bytes, and receives the same.
#[track_caller]
fn ping(client: &mut UnixStream) {
    client.write_all(b"ping").unwrap();
    assert_eq!(receive(client, 4), b"ping");
}

#[track_caller]
fn receive(client: &mut UnixStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    client.read_exact(&mut bytes).expect("an answer");
    bytes
}

#[track_caller]
fn receive_rest(client: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).expect("an end of stream");
    bytes
}

fn line_echo() -> (Recorder<Lines>, Events) {
    let (recorder, events) = Recorder::<Lines>::new();
    let recorder = recorder.on_message(|conn, line| {
        conn.send(text(line));
    });
    (recorder, events)
}
