//! Serves a Unix socket, and lets in only users that it knows: the kernel tells who is at the other end.
//!
//! Try it: `cargo run --release -p ringwheel-applications --bin unix_credentials -- /tmp/known.sock`, then
//! `nc -U /tmp/known.sock`. Without `--user` only the user who runs the server is let in.

#[cfg(unix)]
fn main() -> std::io::Result<()> {
    serve::main()
}

#[cfg(not(unix))]
fn main() {
    eprintln!("Unix sockets are only on Unix");
}

#[cfg(unix)]
mod serve {
    use std::io;
    use std::os::fd::BorrowedFd;
    use std::path::PathBuf;

    use clap::Parser;
    use ringwheel::{Conn, Handler, Listen, Server, protocol::Lines};

    /// Serves a Unix socket, and lets in only users that it knows.
    #[derive(Parser)]
    struct Options {
        /// Path of the socket
        path: PathBuf,
        /// Number of a user who is let in; may be given several times [default: the user who runs this]
        #[arg(long = "user")]
        users: Vec<u32>,
    }

    #[derive(Clone)]
    struct Known {
        users: Vec<u32>,
    }

    /// The user at the other end.
    #[derive(Default)]
    struct Peer {
        user: u32,
    }

    impl Handler for Known {
        type Protocol = Lines;
        type Session = Peer;

        fn on_open(&mut self, conn: &mut Conn<'_, Lines>) -> Peer {
            match conn.socket().map(user_of) {
                Some(Ok(user)) if self.users.contains(&user) => {
                    conn.send(&format!("welcome, user {user}"));
                    Peer { user }
                }
                Some(Ok(user)) => {
                    conn.send(&format!("user {user} is not let in"));
                    conn.close();
                    Peer { user }
                }
                unknown => {
                    eprintln!("cannot tell who connects: {unknown:?}");
                    conn.abort();
                    Peer::default()
                }
            }
        }

        fn on_message(&mut self, conn: &mut Conn<'_, Lines>, peer: &mut Peer, line: &str) {
            conn.send(&format!("{}: {line}", peer.user));
        }
    }

    /// The user who has connected the other end of a Unix socket, as the kernel noted it then.
    fn user_of(socket: BorrowedFd<'_>) -> io::Result<u32> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let user =
            nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::PeerCredentials)?
                .uid();
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let user = nix::unistd::getpeereid(socket)?.0.as_raw();
        Ok(user)
    }

    pub(crate) fn main() -> io::Result<()> {
        let Options { path, mut users } = Options::parse();
        if users.is_empty() {
            users.push(nix::unistd::geteuid().as_raw());
        }
        // Everybody may connect to the socket: the handler decides.
        let listen = Listen::unix(&path).mode(0o666);
        let server = Server::builder()
            .listen_with(listen, Known { users })?
            .build()?;
        println!("listening on {}", server.local_addrs()[0]);
        server.run()
    }
}
