//! A blocking client of `typed_frames_server`: no reactor, only a socket of the standard library and the protocol's two
//! halves, which know nothing of where the bytes come from.
//!
//! Try it: `cargo run --release -p ringwheel-applications --bin typed_frames_server`, then
//! `cargo run --release -p ringwheel-applications --bin typed_frames_client -- --name Ada 1 2 3`.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use clap::Parser;
use prost::{Message, Name};
use ringwheel::protocol::{
    Decode, Encode, Output, Protocol, TypedFrame, TypedFrames, UnpackContext, Unpacked,
};
use ringwheel_applications::messages::{Add, Failure, Hello, Sum, Welcome};

/// Says hello to a typed frames server, and has it add numbers.
#[derive(Parser)]
struct Args {
    /// Address of the server.
    #[arg(long, default_value = "127.0.0.1:1833")]
    addr: SocketAddr,
    /// Who says hello.
    #[arg(long, default_value = "world")]
    name: String,
    /// What to add up.
    #[arg(allow_negative_numbers = true)]
    numbers: Vec<i64>,
}

struct Client {
    stream: TcpStream,
    decoder: <TypedFrames as Protocol>::Decoder,
    encoder: <TypedFrames as Protocol>::Encoder,
    /// Bytes that have arrived and are not decoded yet.
    input: Vec<u8>,
    output: Output,
}

impl Client {
    fn connect(addr: SocketAddr) -> std::io::Result<Client> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        let (decoder, encoder) = TypedFrames::new().open();
        Ok(Client {
            stream,
            decoder,
            encoder,
            input: Vec::new(),
            output: Output::detached(),
        })
    }

    /// Sends a request and waits for its answer.
    fn call<Request, Answer>(&mut self, request: &Request) -> Result<Answer, Box<dyn Error>>
    where
        Request: Message + Name,
        Answer: Message + Name + Default,
    {
        let frame = TypedFrame {
            type_name: Request::NAME,
            data: &request.encode_to_vec(),
        };
        self.encoder.pack(frame, &mut self.output)?;
        self.stream.write_all(&self.output.take())?;
        loop {
            // A decoder is never asked about nothing.
            if !self.input.is_empty() {
                let context = &mut UnpackContext::detached(&mut self.output, &mut self.encoder);
                match self.decoder.unpack(&mut self.input, context)? {
                    Unpacked::Message { message, consumed } => {
                        let answer = decode(message);
                        self.input.drain(..consumed);
                        return answer;
                    }
                    Unpacked::NeedMore { .. } => {}
                    other => unreachable!("frames are all there is: {other:?}"),
                }
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> std::io::Result<()> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.input.extend_from_slice(&chunk[..count]);
                Ok(())
            }
        }
    }
}

fn decode<Answer: Message + Name + Default>(
    frame: TypedFrame<'_>,
) -> Result<Answer, Box<dyn Error>> {
    if frame.type_name == Answer::NAME {
        Ok(Answer::decode(frame.data)?)
    } else if frame.type_name == Failure::NAME {
        Err(Failure::decode(frame.data)?.reason.into())
    } else {
        Err(format!("expected {}, not {:?}", Answer::NAME, frame.type_name).into())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let Args {
        addr,
        name,
        numbers,
    } = Args::parse();
    let mut client = Client::connect(addr)?;
    let welcome: Welcome = client.call(&Hello { name })?;
    println!("{}", welcome.text);
    let sum: Sum = client.call(&Add { numbers })?;
    println!("the sum is {}", sum.value);
    Ok(())
}
