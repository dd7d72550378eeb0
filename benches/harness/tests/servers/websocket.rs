//! WebSocket servers in this process with one thread per connection: correct ones, and ones with one fault each.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use sha1::{Digest, Sha1};

/// The server's answer to the handshake.
#[derive(Clone, Copy)]
pub(crate) enum Greeting {
    /// The answer that RFC 6455 requires.
    Right,
    /// The same, one byte at a time; messages, too.
    Trickle,
    /// With permessage-deflate, which must have been offered; messages are then deflated.
    Deflate,
    /// With permessage-deflate and context takeover, although it was offered without.
    Takeover,
    /// With the accept value of another key.
    WrongAccept,
    /// An HTTP error.
    BadRequest,
    /// No answer.
    Silence,
    /// A head that does not end.
    Endless,
    /// Closes instead.
    Closes,
}

/// The server's action for the messages of each connection, which are counted from 0, as are connections.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// Echoes each.
    Echo,
    /// Echoes each, with all bits of one payload byte of one message inverted.
    Corrupt { message: usize, byte: usize },
    /// Echoes each message except the first as a text that is not deflated.
    Inflated,
    /// Echoes each masked, as only a client may.
    Masked,
    /// Sends a close frame in place of one message.
    Close {
        message: usize,
        code: u16,
        reason: &'static str,
    },
    /// Sends each to all connections.
    Broadcast,
    /// Sends each to all connections, except one message to one connection.
    Drop { message: usize, connection: usize },
    /// Sends each to all connections except one, which gets nothing.
    Forget { connection: usize },
    /// Sends each to all connections, and closes one connection in place of one message.
    HangUp { message: usize, connection: usize },
    /// Reads, and sends nothing.
    Silence,
}

/// All connections, in the order in which they were accepted.
type Audience = Arc<Mutex<Vec<TcpStream>>>;

/// Starts a server that lives as long as the test process, and returns its address.
pub(crate) fn serve_websocket(greeting: Greeting, answer: Answer) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let audience = Audience::default();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            stream.set_nodelay(true).unwrap();
            let audience = Arc::clone(&audience);
            thread::spawn(move || {
                // Ends when the client ends or fails.
                let _ = converse(stream, greeting, answer, &audience);
            });
        }
    });
    address
}

fn converse(
    mut stream: TcpStream,
    greeting: Greeting,
    answer: Answer,
    audience: &Audience,
) -> io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    let key = read_request(&mut input)?;
    // The client connects again only after it has its answer, so this is the client's order too.
    audience.lock().unwrap().push(stream.try_clone()?);
    greet(&mut stream, greeting, &key)?;
    let deflates = matches!(greeting, Greeting::Deflate);
    let opcode = if deflates { 0xc1 } else { 0x82 };
    for number in 0.. {
        let mut payload = read_message(&mut input, opcode)?;
        if deflates {
            payload = inflate(&payload);
        }
        match answer {
            Answer::Corrupt { message, byte } if message == number => {
                payload[byte] = !payload[byte];
                let payload = if deflates { deflate(&payload) } else { payload };
                stream.write_all(&frame(opcode, &payload))?;
            }
            Answer::Close {
                message,
                code,
                reason,
            } if message == number => {
                let body = [&code.to_be_bytes(), reason.as_bytes()].concat();
                stream.write_all(&frame(0x88, &body))?;
            }
            Answer::Masked => {
                let mut frame = frame(0x82, &payload);
                frame[1] |= 0x80;
                // With a mask of zeros the payload stays unchanged.
                frame.splice(2..2, [0; 4]);
                stream.write_all(&frame)?;
            }
            Answer::Inflated if number > 0 => stream.write_all(&frame(0x81, &payload))?,
            Answer::Echo | Answer::Corrupt { .. } | Answer::Close { .. } | Answer::Inflated => {
                let payload = if deflates { deflate(&payload) } else { payload };
                send(&mut stream, greeting, &frame(opcode, &payload))?;
            }
            Answer::Silence => {}
            Answer::Broadcast
            | Answer::Drop { .. }
            | Answer::Forget { .. }
            | Answer::HangUp { .. } => {
                let frame = frame(0x82, &payload);
                for (index, mut stream) in audience.lock().unwrap().iter().enumerate() {
                    match answer {
                        Answer::Forget { connection } if connection == index => {}
                        Answer::Drop {
                            message,
                            connection,
                        } if (message, connection) == (number, index) => {}
                        Answer::HangUp {
                            message,
                            connection,
                        } if (message, connection) == (number, index) => {
                            stream.write_all(&frame)?;
                            stream.shutdown(Shutdown::Write)?;
                        }
                        Answer::HangUp {
                            message,
                            connection,
                        } if number > message && connection == index => {}
                        _ => stream.write_all(&frame)?,
                    }
                }
            }
        }
    }
    Ok(())
}

/// The key in a request that follows RFC 6455, 4.1.
fn read_request(input: &mut impl BufRead) -> io::Result<String> {
    let lines = input
        .lines()
        .take_while(|line| line.as_ref().map_or(true, |line| !line.is_empty()))
        .collect::<io::Result<Vec<_>>>()?;
    assert_eq!(lines[0], "GET / HTTP/1.1");
    for line in [
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
    ] {
        assert!(lines.iter().any(|it| it == line), "{line}");
    }
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("Host: 127.0.0.1:"))
    );
    let key = lines
        .iter()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
        .unwrap();
    assert_eq!(BASE64.decode(key).unwrap().len(), 16);
    Ok(key.to_owned())
}

fn greet(stream: &mut TcpStream, greeting: Greeting, key: &str) -> io::Result<()> {
    let key = match greeting {
        Greeting::WrongAccept => "dGhlIHNhbXBsZSBub25jZQ==",
        _ => key,
    };
    let hash = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    let accept = BASE64.encode(hash);
    let head = match greeting {
        Greeting::Deflate | Greeting::Takeover => {
            let how = match greeting {
                Greeting::Deflate => "; server_no_context_takeover",
                _ => "",
            };
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\
                 Sec-WebSocket-Extensions: permessage-deflate{how}\r\n\r\n"
            )
        }
        Greeting::Right | Greeting::Trickle | Greeting::WrongAccept => format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        ),
        Greeting::BadRequest => "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".into(),
        Greeting::Silence => String::new(),
        Greeting::Endless => format!("HTTP/1.1 101 Yes\r\nX: {}", "x".repeat(1 << 20)),
        Greeting::Closes => return stream.shutdown(Shutdown::Both),
    };
    send(stream, greeting, head.as_bytes())
}

fn send(stream: &mut TcpStream, greeting: Greeting, bytes: &[u8]) -> io::Result<()> {
    match greeting {
        Greeting::Trickle => bytes.chunks(1).try_for_each(|byte| stream.write_all(byte)),
        _ => stream.write_all(bytes),
    }
}

/// Inflates a payload: RFC 7692, 7.2.2.
fn inflate(payload: &[u8]) -> Vec<u8> {
    let input = [payload, &[0, 0, 0xff, 0xff]].concat();
    let mut text = Vec::with_capacity(64 * 1024);
    Decompress::new(false)
        .decompress_vec(&input, &mut text, FlushDecompress::Sync)
        .unwrap();
    text
}

/// Deflates a payload: RFC 7692, 7.2.1.
fn deflate(text: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(64 * 1024);
    Compress::new(Compression::new(1), false)
        .compress_vec(text, &mut payload, FlushCompress::Sync)
        .unwrap();
    payload.truncate(payload.len() - 4);
    payload
}

/// The unmasked payload of a masked frame that begins with `first`, with its length in the shortest form.
fn read_message(input: &mut impl Read, first: u8) -> io::Result<Vec<u8>> {
    let [opcode, short] = read_array(input)?;
    assert_eq!((opcode, short & 0x80), (first, 0x80));
    let length = match short & 0x7f {
        126 => u64::from(u16::from_be_bytes(read_array(input)?)),
        127 => u64::from_be_bytes(read_array(input)?),
        length => u64::from(length),
    };
    let shortest = match length {
        0..=125 => length as u8,
        126..=0xffff => 126,
        _ => 127,
    };
    assert_eq!(short & 0x7f, shortest);
    let mask: [u8; 4] = read_array(input)?;
    let mut payload = vec![0; length as usize];
    input.read_exact(&mut payload)?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok(payload)
}

fn read_array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut array = [0; N];
    input.read_exact(&mut array)?;
    Ok(array)
}

/// An unmasked frame with its length in the shortest form.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut frame = vec![opcode];
    match length {
        0..=125 => frame.push(length as u8),
        126..=0xffff => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}
