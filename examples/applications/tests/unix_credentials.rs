//! The server that lets in only users that it knows.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use support::{DEADLINE, Example};

const SERVER: &str = env!("CARGO_BIN_EXE_unix_credentials");

/// A user who runs nothing: the last number before the one that stands for nobody.
const NOBODY_HERE: &str = "4294967293";

/// A running server. It is killed at the end, and the file that it leaves then is removed.
struct Server {
    _process: Example,
    path: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Starts a server at a path of its own, and connects to it. Returns also the user who runs this test.
fn connect(name: &str, options: &[&str]) -> (Server, BufReader<UnixStream>, u32) {
    let path = std::env::temp_dir().join(format!("ringwheel-{}-{name}", std::process::id()));
    let text = path.to_str().expect("a temporary path is text");
    let process = Example::start(SERVER, &[&[text], options].concat());
    assert_eq!(process.next_line(), format!("listening on unix:{text}"));
    let client = UnixStream::connect(&path).expect("the server listens");
    let is_set = client.set_read_timeout(Some(DEADLINE));
    is_set.expect("it can be set");
    let user = fs::metadata(&path).expect("the socket's file").uid();
    let server = Server {
        _process: process,
        path,
    };
    (server, BufReader::new(client), user)
}

fn next_line(client: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    client.read_line(&mut line).expect("a line in time");
    line
}

#[test]
fn the_user_who_runs_the_server_is_let_in() {
    let (_server, mut client, user) = connect("known", &[]);
    assert_eq!(next_line(&mut client), format!("welcome, user {user}\n"));
    client
        .get_mut()
        .write_all(b"hello\n")
        .expect("it is let in");
    assert_eq!(next_line(&mut client), format!("{user}: hello\n"));
}

#[test]
fn another_user_is_turned_away() {
    let (_server, mut client, user) = connect("unknown", &["--user", NOBODY_HERE]);
    assert_eq!(
        next_line(&mut client),
        format!("user {user} is not let in\n")
    );
    assert_eq!(next_line(&mut client), "", "the end");
}
