//! A chat over lines. Each client first says a name; then all of them read what the others write, on whichever worker they
//! are. `/who` lists the names and `/quit` leaves. A client that does not read is dropped, so that no other client waits
//! and no memory fills up.
//!
//! Try it: `cargo run --release --example chat`, then `nc 127.0.0.1 1833` in a few terminals. An argument is the address to
//! listen on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringwheel::protocol::{Lines, LinesError};
use ringwheel::{CloseReason, Conn, Handler, Limits, Listen, Overflow, Server};

const LONGEST_NAME: usize = 16;
const LONGEST_LINE: usize = 1024;
/// The topic of all clients that have said their name.
const ROOM: &str = "room";

/// A clone of this serves the connections of each worker; all clones share the names.
#[derive(Clone, Default)]
struct Chat {
    /// Locked when a client comes, goes or asks who is here, and not to pass on a line.
    names: Arc<Mutex<BTreeSet<Arc<str>>>>,
}

impl Chat {
    fn names(&self) -> MutexGuard<'_, BTreeSet<Arc<str>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a client into the room. `None` if the name will not do.
    fn join(&self, conn: &mut Conn<'_, Lines>, name: &str) -> Option<Arc<str>> {
        let is_name = (1..=LONGEST_NAME).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_name {
            conn.send("* letters and digits please, at most 16");
            return None;
        }
        let name: Arc<str> = name.into();
        if !self.names().insert(name.clone()) {
            conn.send("* that name is taken");
            return None;
        }
        conn.subscribe(ROOM)
            .expect("one topic is within the limits");
        conn.send("* welcome; /who lists the names, /quit leaves");
        tell_others(conn, format!("* {name} has joined"));
        Some(name)
    }
}

/// Sends a line to all clients in the room but this one.
fn tell_others(conn: &mut Conn<'_, Lines>, line: String) {
    if let Err(error) = conn.publish_to_others(ROOM, line) {
        conn.send(&format!("* not everybody got that: {error}"));
    }
}

impl Handler for Chat {
    type Protocol = Lines;
    /// The client's name, once it is known.
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
            "/who" => {
                for name in self.names().iter() {
                    conn.send(name);
                }
            }
            "/quit" => {
                conn.send("* bye");
                conn.close();
            }
            // The others' terminals would obey control characters.
            _ if line.len() > LONGEST_LINE || line.chars().any(char::is_control) => {
                conn.send("* plain text please, at most 1024 bytes");
            }
            _ => tell_others(conn, format!("{name}: {line}")),
        }
    }

    fn on_close(
        &mut self,
        conn: &Conn<'_, Lines>,
        name: Option<Arc<str>>,
        reason: CloseReason<LinesError>,
    ) {
        let Some(name) = name else { return };
        self.names().remove(&name);
        let notice = match reason {
            CloseReason::Peer | CloseReason::Local => format!("* {name} has left"),
            CloseReason::OutputLimit => format!("* {name} was too slow and was dropped"),
            _ => format!("* {name} was lost: {reason}"),
        };
        if let Err(error) = conn.publish(ROOM, notice) {
            eprintln!("not everybody heard that {name} is gone: {error}");
        }
    }
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or("127.0.0.1:1833".into());
    // At most this much waits for a slow reader, besides what the kernel buffers; then the reader is dropped.
    let limits = Limits::default()
        .output(1024 * 1024)
        .overflow(Overflow::Close);
    let listen = Listen::on(address).limits(limits);
    let server = Server::builder()
        .listen_with(listen, Chat::default())?
        .build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
