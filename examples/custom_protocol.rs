//! A u32 is answered by its square. Try it: `cargo run --example custom_protocol`, `printf "\0\0\0\7" | nc -N 127.0.0.1 1833 | xxd`.

use ringwheel::protocol::{Decode, Encode, Output, PackError, Protocol, UnpackContext, Unpacked};
use ringwheel::{Conn, Handler, Server};
use std::io::{self, Result};

#[derive(Clone, Default)]
struct Squares; // Protocol, decoder, encoder and handler: here none of them has any state.

impl Protocol for Squares {
    type Decoder = Squares;
    type Encoder = Squares;
    fn open(&self) -> (Squares, Squares) {
        (Squares, Squares)
    }
}

impl Decode for Squares {
    type Encoder = Squares;
    type Message<'a> = u32;
    type Error = io::Error;
    fn unpack(&mut self, input: &mut [u8], _: &mut UnpackContext<Self>) -> Result<Unpacked<u32>> {
        let (consumed, at_least) = (4, 4_usize.saturating_sub(input.len()));
        match input.first_chunk().copied().map(u32::from_be_bytes) {
            Some(u32::MAX) => Err(io::Error::other("this number is reserved")),
            Some(message) => Ok(Unpacked::Message { message, consumed }),
            None => Ok(Unpacked::NeedMore { at_least }),
        }
    }
}

impl Encode for Squares {
    type Item<'a> = u64;
    type Owned = u64;
    fn borrow(owned: &u64) -> u64 {
        *owned
    }

    fn owned_size(owned: &u64) -> usize {
        size_of_val(owned)
    }
    fn pack(&mut self, item: u64, output: &mut Output) -> std::result::Result<(), PackError> {
        output.put_u64_be(item);
        Ok(())
    }
}

impl Handler for Squares {
    type Protocol = Squares;
    type Session = ();
    fn on_open(&mut self, _conn: &mut Conn<'_, Squares>) {}
    fn on_message(&mut self, conn: &mut Conn<'_, Squares>, _session: &mut (), number: u32) {
        conn.send(u64::from(number) * u64::from(number));
    }
}

fn main() -> Result<()> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or("127.0.0.1:1833".into());
    let server = Server::builder().listen(address, Squares)?.build()?;
    println!("listening on {}", server.local_addrs()[0]);
    server.run()
}
