//! Echoes lines, and lets a new version of itself take its place: nobody who connects is refused, and no answer is lost.
//!
//! At SIGHUP or SIGUSR2 the server starts its successor and passes it the listening sockets. Once the successor is ready, the
//! old server stops accepting, tells its clients to connect again, and ends when they have gone or its deadline has passed.
//! If no successor becomes ready, it serves on. It obeys no further signal before that is known, which takes at most `--patience`.
//!
//! Try it: `cargo run --release -p ringwheel-applications --bin hot_restart`, then `nc 127.0.0.1 1833`, and
//! `pkill -HUP hot_restart`. A service manager can pass the first sockets:
//! `systemd-socket-activate -l 127.0.0.1:1833 target/release/hot_restart`.

#[cfg(unix)]
mod inherited;
#[cfg(unix)]
mod server;
#[cfg(unix)]
mod successor;

#[cfg(unix)]
fn main() -> std::io::Result<()> {
    server::run()
}

#[cfg(not(unix))]
fn main() {
    eprintln!("this application passes descriptors on, which needs Unix");
    std::process::exit(1);
}
