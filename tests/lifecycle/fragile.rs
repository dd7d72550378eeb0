//! A protocol that fails at some words, and a handler that obeys others.

use std::fmt;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use ringwheel::ConnHandle;
use ringwheel::protocol::{Decode, Encode, Output, PackError, Protocol, UnpackContext, Unpacked};
use support::{Events, Recorder, deliberate_panic};

/// Raw bytes, except for some words that make the protocol fail.
#[derive(Clone, Copy)]
pub(crate) struct Fragile;

#[derive(Debug)]
pub(crate) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

impl Protocol for Fragile {
    type Decoder = Fragile;
    type Encoder = Fragile;

    fn open(&self) -> (Fragile, Fragile) {
        (Fragile, Fragile)
    }
}

impl Decode for Fragile {
    type Encoder = Fragile;
    type Message<'a> = &'a [u8];
    type Error = Refused;

    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        context: &mut UnpackContext<'_, Fragile>,
    ) -> Result<Unpacked<&'a [u8]>, Refused> {
        match &*input {
            b"panic in unpack" => deliberate_panic(),
            b"refuse" => {
                context.output.put_slice(b"farewell");
                Err(Refused)
            }
            _ => Ok(Unpacked::Message {
                consumed: input.len(),
                message: input,
            }),
        }
    }
}

impl Encode for Fragile {
    type Item<'a> = &'a [u8];
    type Owned = Bytes;

    fn borrow(owned: &Bytes) -> &[u8] {
        owned
    }

    fn owned_size(owned: &Bytes) -> usize {
        owned.len()
    }

    fn pack(&mut self, item: &[u8], output: &mut Output) -> Result<(), PackError> {
        output.put_slice(item);
        if item == b"panic in pack" {
            deliberate_panic();
        }
        Ok(())
    }
}

/// A handler that echoes, and obeys some words as commands.
pub(crate) fn obedient() -> (Recorder<Fragile>, Events) {
    let (recorder, events) = Recorder::<Fragile>::new();
    let recorder = recorder.on_message(|conn, bytes| match bytes {
        b"close" => conn.close(),
        b"abort" => conn.abort(),
        b"timer" => {
            conn.set_timer(Duration::ZERO, 7).unwrap();
        }
        b"panic" => deliberate_panic(),
        b"panic in completion" => {
            conn.send_then(b"x", |_| deliberate_panic());
        }
        bytes => {
            conn.send(bytes);
        }
    });
    (recorder, events)
}

/// A handler that echoes and sends the test a handle to each connection.
pub(crate) fn lending() -> (Recorder<Fragile>, Events, Receiver<ConnHandle<Fragile>>) {
    let (recorder, events) = obedient();
    let (handles, lent) = channel();
    (
        recorder.on_open(move |conn| handles.send(conn.handle()).unwrap()),
        events,
        lent,
    )
}
