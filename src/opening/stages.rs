//! One connection in the stages before its protocol sees it: the PROXY header, then the handshake.

use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::accept::admission::Admission;
use crate::io::address::Address;
use crate::io::proxy_header::{ParsedProxyHeader, ProxyHeader};
use crate::io::stream::Stream;
use crate::io::wire::Wire;
use crate::io::wire::handshake::{Handshake, Progress};
use crate::io::wire::sealed::Sealed;
use crate::panics::{contain_drop, panic_text};
use crate::shared::arrival::Arrival;

use super::failure::OpeningFailure;
use super::terms::OpeningTerms;

/// Most bytes that are received before the handshake has ended. A message of TLS has at most 64 KiB.
pub(super) const RECEIVED_MAX: usize = 64 * 1024;
/// Most bytes that are read away once the handshake has failed.
const DISCARDED_MAX: usize = 64 * 1024;

/// A connection that was admitted and begins to open.
pub(super) struct Newcomer {
    pub(super) stream: Stream,
    pub(super) peer: Address,
    pub(super) counted: Option<IpAddr>,
    pub(super) service: u16,
}

impl From<Arrival> for Newcomer {
    fn from(arrival: Arrival) -> Self {
        Newcomer {
            stream: arrival.socket.into(),
            peer: arrival.peer,
            counted: arrival.counted,
            service: arrival.service,
        }
    }
}

/// A connection that is open: its protocol may see it.
pub(crate) struct Opened {
    pub(crate) wire: Wire,
    /// The client's address if a proxy has told it. Admission has counted this one.
    pub(crate) peer: Address,
    pub(crate) service: u16,
    /// The header that the connection began with.
    pub(crate) header: Option<Box<ProxyHeader>>,
    /// True if the poll knows its socket already, under the name of its opening.
    pub(crate) is_registered: bool,
}

/// A connection whose service has no stages is open as soon as it is there.
impl From<Arrival> for Opened {
    fn from(arrival: Arrival) -> Self {
        Opened {
            wire: Wire::Plain(arrival.socket.into()),
            peer: arrival.peer,
            service: arrival.service,
            header: None,
            is_registered: false,
        }
    }
}

/// The outcome of a step of an opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next step is the peer's, or needs room to write.
    Waits,
    /// The handshake can go on.
    WantsStep,
    /// All stages are done.
    Done,
    /// All was said to a peer whose handshake has failed, whose end is awaited.
    Lingers,
    /// Nothing is left to do: the stream can be closed.
    Gone,
}

/// See the [module](self). It knows neither the time nor the other openings.
pub(super) struct Opening {
    stream: Stream,
    pub(super) peer: Address,
    /// The IP address by which admission has counted the connection.
    pub(super) counted: Option<IpAddr>,
    pub(super) service: u16,
    terms: Arc<OpeningTerms>,
    header: Option<Box<ProxyHeader>>,
    stage: Stage,
    /// Bytes of the present stage that are not consumed.
    received: Vec<u8>,
    /// The number of further bytes that may be received before the handshake ends.
    room: usize,
    /// Answers that the kernel has not taken, from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
    /// The handshake has not seen all that was received, or has asked for another step.
    wants_step: bool,
    has_progressed: bool,
    peer_has_ended: bool,
}

enum Stage {
    ProxyHeader,
    /// `None` until the peer has sent something, so that silent peers cost little.
    Handshake(Option<Box<dyn Handshake>>),
    /// The handshake has failed, and the peer is to be told why.
    Parting {
        is_shut: bool,
        room: usize,
    },
}

impl Opening {
    /// Begins with the first stage of the terms.
    pub(super) fn new(newcomer: Newcomer, terms: Arc<OpeningTerms>) -> Self {
        Opening {
            stream: newcomer.stream,
            peer: newcomer.peer,
            counted: newcomer.counted,
            service: newcomer.service,
            header: None,
            stage: match terms.proxies {
                Some(_) => Stage::ProxyHeader,
                None => Stage::Handshake(None),
            },
            terms,
            received: Vec::new(),
            room: RECEIVED_MAX,
            unsent: Vec::new(),
            sent: 0,
            wants_step: false,
            has_progressed: false,
            peer_has_ended: false,
        }
    }

    /// True unless the peer is a stranger at a listener that is for proxies.
    pub(super) fn is_trusted(&self) -> bool {
        let proxies = self.terms.proxies.as_ref();
        proxies.is_none_or(|proxies| proxies.trusts(&self.peer))
    }

    /// True until the PROXY header has come, if there is to be one.
    pub(super) fn awaits_header(&self) -> bool {
        self.terms.proxies.is_some() && self.header.is_none()
    }

    pub(super) fn stream_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// True if the peer has sent anything, or has ended its stream.
    pub(super) fn has_heard(&mut self) -> bool {
        self.header.is_some()
            || self.room < RECEIVED_MAX
            || !self.received.is_empty()
            || self.peer_has_ended
            || self.stream.has_news()
    }

    /// True if the handshake has failed, so that only its last words are left.
    pub(super) fn is_parting(&self) -> bool {
        matches!(self.stage, Stage::Parting { .. })
    }

    /// Goes on as far as the stream allows, without a step of the handshake. `scratch` is room to receive into.
    pub(super) fn go_on(
        &mut self,
        is_readable: bool,
        admission: &Admission,
        scratch: &mut [u8],
    ) -> Result<Next, OpeningFailure> {
        if self.is_parting() {
            return Ok(self.part(scratch));
        }
        self.push_unsent()?;
        if is_readable && matches!(self.stage, Stage::ProxyHeader) {
            let Some(header) = self.receive_header()? else {
                return Ok(Next::Waits);
            };
            self.take_header(header, admission)?;
            if self.terms.seal.is_none() {
                return Ok(Next::Done);
            }
            self.stage = Stage::Handshake(None);
        }
        if is_readable {
            self.receive(scratch)?;
        }
        self.next()
    }

    /// Reads the header, and not a byte that follows it: a byte that is left in the kernel is announced to the connection.
    ///
    /// Each read asks for the bytes without which no header is whole. Looking ahead instead (`MSG_PEEK`) would leave the socket
    /// readable, which is announced no more where mio emulates edges.
    fn receive_header(&mut self) -> Result<Option<ProxyHeader>, OpeningFailure> {
        loop {
            let at_least =
                match ProxyHeader::parse(&self.received).map_err(OpeningFailure::Header)? {
                    ParsedProxyHeader::NeedMore { at_least } => at_least,
                    ParsedProxyHeader::Complete { header, consumed } => {
                        debug_assert_eq!(consumed, self.received.len());
                        self.received = Vec::new();
                        return Ok(Some(header));
                    }
                };
            let length = self.received.len();
            self.received.resize(length + at_least, 0);
            let outcome = self.stream.read(&mut self.received[length..]);
            self.received
                .truncate(length + *outcome.as_ref().unwrap_or(&0));
            match outcome {
                Ok(0) => return Err(OpeningFailure::Abandoned(None)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(OpeningFailure::Abandoned(Some(error))),
            }
        }
    }

    /// Makes the client that the header names the peer, and has it counted.
    fn take_header(
        &mut self,
        header: ProxyHeader,
        admission: &Admission,
    ) -> Result<(), OpeningFailure> {
        if let Some(client) = header.source() {
            self.peer = client.clone();
        }
        self.header = Some(Box::new(header));
        let ip = self.peer.ip();
        if !admission.count_address(ip) {
            return Err(OpeningFailure::TooManyOfClient);
        }
        self.counted = ip;
        Ok(())
    }

    /// Receives for the handshake, up to the limit.
    fn receive(&mut self, scratch: &mut [u8]) -> Result<(), OpeningFailure> {
        while self.room > 0 && !self.peer_has_ended {
            let most = scratch.len().min(self.room);
            match self.stream.read(&mut scratch[..most]) {
                Ok(0) => self.peer_has_ended = true,
                Ok(count) => {
                    self.received.extend_from_slice(&scratch[..count]);
                    self.room -= count;
                    self.wants_step = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(OpeningFailure::Abandoned(Some(error))),
            }
        }
        Ok(())
    }

    /// The next thing to do in a stage that is not done.
    fn next(&self) -> Result<Next, OpeningFailure> {
        // A further step could only add to the answers that wait.
        if !self.unsent.is_empty() {
            Ok(Next::Waits)
        } else if self.wants_step {
            Ok(Next::WantsStep)
        } else if self.peer_has_ended {
            Err(OpeningFailure::Abandoned(None))
        } else if self.room == 0 {
            Err(OpeningFailure::TooLong(RECEIVED_MAX))
        } else {
            Ok(Next::Waits)
        }
    }

    /// True if the last step of the handshake has taken a whole message of the peer, or answered one.
    pub(super) fn has_progressed(&self) -> bool {
        self.has_progressed
    }

    /// Lets the handshake do one step, which is expensive, and sends its answers.
    pub(super) fn step(&mut self) -> Result<Next, OpeningFailure> {
        self.has_progressed = false;
        let (Stage::Handshake(handshake), Some(source)) = (&mut self.stage, &self.terms.seal)
        else {
            return Ok(Next::Waits);
        };
        let before = (self.received.len(), self.unsent.len());
        let (received, answers) = (&mut self.received, &mut self.unsent);
        let advance = || {
            let handshake = match handshake {
                Some(handshake) => handshake,
                None => handshake.insert(source.begin()?),
            };
            handshake.advance(received, answers)
        };
        let progress = contain(advance)?.map_err(OpeningFailure::Handshake)?;
        // Parts of a message stay where they are.
        self.has_progressed = before != (self.received.len(), self.unsent.len());
        self.wants_step = progress == Progress::GoesOn;
        self.push_unsent()?;
        match progress {
            // The connection sends the rest of the answers.
            Progress::Done => Ok(Next::Done),
            Progress::AwaitsInput | Progress::GoesOn => self.next(),
        }
    }

    /// Hands the answers to the kernel, as far as it takes them.
    fn push_unsent(&mut self) -> Result<(), OpeningFailure> {
        while self.sent < self.unsent.len() {
            match self.stream.write(&self.unsent[self.sent..]) {
                Ok(count @ 1..) => self.sent += count,
                Ok(0) => return Err(OpeningFailure::Abandoned(None)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(OpeningFailure::Abandoned(Some(error))),
            }
        }
        self.unsent = Vec::new();
        self.sent = 0;
        Ok(())
    }

    /// Begins the end of a connection whose handshake has failed. Its last words are among the answers.
    pub(super) fn begin_parting(&mut self, scratch: &mut [u8]) -> Next {
        let parting = Stage::Parting {
            is_shut: false,
            room: DISCARDED_MAX,
        };
        contain_drop(std::mem::replace(&mut self.stage, parting));
        self.received = Vec::new();
        self.part(scratch)
    }

    /// Sends the last words and the end of stream, and reads away what has arrived: with unread bytes the kernel would answer the
    /// close with a reset, which can overtake the words.
    fn part(&mut self, scratch: &mut [u8]) -> Next {
        if self.push_unsent().is_err() {
            return Next::Gone;
        }
        let Stage::Parting { is_shut, room } = &mut self.stage else {
            return Next::Gone;
        };
        if !self.unsent.is_empty() {
            return Next::Waits;
        }
        if !*is_shut && self.stream.shutdown_write().is_err() {
            return Next::Gone;
        }
        *is_shut = true;
        while *room > 0 {
            let most = scratch.len().min(*room);
            match self.stream.read(&mut scratch[..most]) {
                Ok(count @ 1..) => *room -= count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Lingers,
                Ok(0) | Err(_) => return Next::Gone,
            }
        }
        Next::Gone
    }

    /// The connection, after [`Next::Done`].
    pub(super) fn finish(self) -> Result<Opened, OpeningFailure> {
        let wire = match self.stage {
            Stage::Handshake(Some(handshake)) => {
                let seal = contain(|| handshake.finish())?;
                let mut unsent = self.unsent;
                unsent.drain(..self.sent);
                Wire::Sealed(Box::new(Sealed::new(
                    self.stream,
                    seal,
                    self.received,
                    unsent,
                )))
            }
            _ => Wire::Plain(self.stream),
        };
        Ok(Opened {
            wire,
            peer: self.peer,
            service: self.service,
            header: self.header,
            is_registered: true,
        })
    }
}

/// Calls a handshake, in which code of the user may run and panic.
fn contain<T>(call: impl FnOnce() -> T) -> Result<T, OpeningFailure> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic_text(&*panic).to_owned();
        contain_drop(panic);
        OpeningFailure::Panic(text)
    })
}
