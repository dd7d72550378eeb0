//! The echo server of ringwheel itself, with its own protocols.

use std::io;
use std::marker::PhantomData;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ringwheel::protocol::{Decode, Delimited, Encode, LengthPrefixed, Protocol, Raw};
use ringwheel::{Conn, Handler, Limits, Listen, Server};
use ringwheel_peers::options::{Framing, TcpOptions, Threads, Timers};
use ringwheel_peers::{MAX_MESSAGE, start, timers};

/// How long what is pending at the client's FIN may take to leave.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// An echo server on ringwheel.
#[derive(Parser)]
#[command(name = "peer-ringwheel")]
struct Options {
    #[command(flatten)]
    tcp: TcpOptions,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    timers: Timers,
}

fn main() -> ExitCode {
    start::run(|options: Options| match options.tcp.framing {
        Framing::Raw => serve(&options, Raw),
        Framing::LengthPrefixed => {
            serve(&options, LengthPrefixed::u32_be().max_length(MAX_MESSAGE))
        }
        // `Lines` would take UTF-8 only.
        Framing::Lines => serve(&options, Delimited::new(b"\n").max_length(MAX_MESSAGE)),
    })
}

fn serve<P>(options: &Options, protocol: P) -> io::Result<()>
where
    P: Protocol,
    Echo<P>: Handler<Protocol = P>,
{
    // The water marks, which pause reading, stay at their defaults; the limits only let the largest message through.
    let limits = Limits::default()
        .input(2 * MAX_MESSAGE)
        .output(2 * MAX_MESSAGE);
    let listen = Listen::speaking(protocol, options.tcp.addr)
        .limits(limits)
        // A client may take as long as it likes to read.
        .write_stall_timeout(None)
        .close_timeout(CLOSE_TIMEOUT);
    let server = Server::builder()
        .workers(options.threads.workers.get())
        .listen_with(listen, Echo::<P>(PhantomData))?
        .build()?;
    for duration in timers::durations(options.timers.timers) {
        server.handle().run_every(duration, || {});
    }
    start::announce(server.local_addrs()[0])?;
    server.run()
}

/// Sends every message back.
struct Echo<P>(PhantomData<fn() -> P>);

impl<P> Clone for Echo<P> {
    fn clone(&self) -> Self {
        Echo(PhantomData)
    }
}

impl<P> Handler for Echo<P>
where
    P: Protocol,
    P::Decoder: for<'a> Decode<Message<'a> = &'a [u8]>,
    P::Encoder: for<'a> Encode<Item<'a> = &'a [u8]>,
{
    type Protocol = P;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, P>) {}

    fn on_message(&mut self, conn: &mut Conn<'_, P>, _session: &mut (), message: &[u8]) {
        conn.send(message);
    }
}
