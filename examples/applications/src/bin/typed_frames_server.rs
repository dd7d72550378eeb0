//! Protobuf messages in typed frames: each frame names the type of the message that it carries.
//!
//! Try it: `cargo run --release -p ringwheel-applications --bin typed_frames_server`, then
//! `cargo run --release -p ringwheel-applications --bin typed_frames_client -- --name Ada 1 2 3`.

use std::io;

use clap::Parser;
use prost::{DecodeError, Message, Name};
use ringwheel::protocol::{TypedFrame, TypedFrames};
use ringwheel::{Conn, Handler};
use ringwheel_applications::arguments::ServerArgs;
use ringwheel_applications::messages::{Add, Failure, Hello, Sum, Welcome};

/// Answers protobuf messages in typed frames.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Default)]
struct Greeter {
    /// A buffer in which answers are encoded. The handler belongs to one worker, so one buffer is reused for all answers.
    scratch: Vec<u8>,
}

impl Greeter {
    fn answer(
        &mut self,
        conn: &mut Conn<'_, TypedFrames>,
        request: TypedFrame<'_>,
    ) -> Result<(), DecodeError> {
        match request.type_name {
            Hello::NAME => {
                let Hello { name } = Hello::decode(request.data)?;
                let text = format!("Hello, {name}!");
                self.send(conn, &Welcome { text });
            }
            Add::NAME => {
                let Add { numbers } = Add::decode(request.data)?;
                let value = numbers.into_iter().fold(0, i64::wrapping_add);
                self.send(conn, &Sum { value });
            }
            unknown => {
                let reason = format!("no request is called {unknown:?}");
                self.send(conn, &Failure { reason });
            }
        }
        Ok(())
    }

    fn send<M: Message + Name>(&mut self, conn: &mut Conn<'_, TypedFrames>, message: &M) {
        self.scratch.clear();
        message
            .encode(&mut self.scratch)
            .expect("a Vec has room for any message");
        conn.send(TypedFrame {
            type_name: M::NAME,
            data: &self.scratch,
        });
    }
}

impl Handler for Greeter {
    type Protocol = TypedFrames;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, TypedFrames>) {}

    fn on_message(
        &mut self,
        conn: &mut Conn<'_, TypedFrames>,
        _session: &mut (),
        request: TypedFrame<'_>,
    ) {
        if let Err(error) = self.answer(conn, request) {
            let reason = error.to_string();
            self.send(conn, &Failure { reason });
        }
    }
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    let server = args
        .server
        .builder()
        .listen(args.server.addr, Greeter::default())?
        .build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
