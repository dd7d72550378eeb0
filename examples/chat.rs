//! A chat over lines. Whoever comes first says a name; then everybody reads what the others write, on whichever worker
//! they are. `/who` lists who is here and `/quit` leaves. Who does not read what comes is dropped, so that nobody else
//! waits and no memory fills up.
//!
//! Try it: `cargo run --release --example chat`, then `nc 127.0.0.1 1833` in a few terminals.

mod support;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use clap::Parser;
use ringwheel::protocol::{Lines, LinesError};
use ringwheel::{
    CloseReason, Conn, ConnId, Connections, Handler, Limits, Listen, Overflow, SendError,
};
use support::ServerArgs;

/// A chat server: lines from one go to all others.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
}

const LONGEST_NAME: usize = 16;
const LONGEST_LINE: usize = 1024;

/// What the handlers of all workers share.
#[derive(Default)]
struct Room {
    /// Everybody who is connected; known once the server is built.
    clients: OnceLock<Connections<Chat>>,
    /// The names of those who have said theirs. Locked when somebody comes or goes or asks, not to pass on a line.
    names: Mutex<BTreeSet<Arc<str>>>,
}

impl Room {
    fn names(&self) -> MutexGuard<'_, BTreeSet<Arc<str>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a line to everybody who has said a name, except one.
    fn tell_others(&self, except: ConnId, line: String) -> Result<(), SendError<()>> {
        let Some(clients) = self.clients.get() else {
            return Ok(());
        };
        clients.broadcast_if(line, move |conn, name| {
            name.is_some() && conn.id() != except
        })
    }
}

#[derive(Clone)]
struct Chat {
    room: Arc<Room>,
}

impl Chat {
    fn join(&self, conn: &mut Conn<'_, Lines>, name: &str) -> Option<Arc<str>> {
        let is_name = (1..=LONGEST_NAME).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_name {
            conn.send("* letters and digits please, at most 16");
            return None;
        }
        let name: Arc<str> = name.into();
        if !self.room.names().insert(name.clone()) {
            conn.send("* that name is taken");
            return None;
        }
        conn.send("* welcome; /who tells who is here, /quit leaves");
        self.tell_others(conn, format!("* {name} has joined"));
        Some(name)
    }

    fn tell_others(&self, conn: &mut Conn<'_, Lines>, line: String) {
        if let Err(error) = self.room.tell_others(conn.id(), line) {
            conn.send(&format!("* not everybody got that: {error}"));
        }
    }

    fn send_names(&self, conn: &mut Conn<'_, Lines>) {
        for name in self.room.names().iter() {
            conn.send(name);
        }
    }
}

impl Handler for Chat {
    type Protocol = Lines;
    /// The name, once it was said.
    type Session = Option<Arc<str>>;

    fn on_open(&mut self, conn: &mut Conn<'_, Lines>) -> Option<Arc<str>> {
        conn.send("* what is your name?");
        None
    }

    fn on_message(
        &mut self,
        conn: &mut Conn<'_, Lines>,
        session: &mut Option<Arc<str>>,
        line: &str,
    ) {
        let Some(name) = session else {
            *session = self.join(conn, line);
            return;
        };
        match line {
            "/who" => self.send_names(conn),
            "/quit" => {
                conn.send("* bye");
                conn.close();
            }
            // The others' terminals would obey control characters.
            _ if line.len() > LONGEST_LINE || line.chars().any(char::is_control) => {
                conn.send("* plain text please, at most 1024 bytes");
            }
            _ => self.tell_others(conn, format!("{name}: {line}")),
        }
    }

    fn on_close(
        &mut self,
        conn: &Conn<'_, Lines>,
        name: Option<Arc<str>>,
        reason: CloseReason<LinesError>,
    ) {
        let Some(name) = name else { return };
        self.room.names().remove(&name);
        let notice = match reason {
            CloseReason::Peer | CloseReason::Local => format!("* {name} has left"),
            CloseReason::OutputLimit => format!("* {name} was too slow and was dropped"),
            _ => format!("* {name} was lost: {reason}"),
        };
        if let Err(error) = self.room.tell_others(conn.id(), notice) {
            eprintln!("not everybody heard that {name} is gone: {error}");
        }
    }
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    let room = Arc::new(Room::default());
    // So much may wait for a slow reader, besides what the kernel buffers; then the reader is dropped.
    let limits = Limits::default()
        .output(1024 * 1024)
        .overflow(Overflow::Close);
    let listen = Listen::on(args.server.addr).limits(limits);
    let chat = Chat { room: room.clone() };
    let server = args.server.builder().listen_with(listen, chat)?.build()?;
    room.clients
        .get_or_init(|| server.handle().connections_of());
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
