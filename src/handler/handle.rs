//! A handle to one connection, for any thread.

use std::fmt;
use std::sync::Arc;

use super::conn::Conn;
use super::letter::{Letter, Request};
use super::outbox::Outbox;
use crate::connection::completion::{Completion, SendOutcome};
use crate::connection::id::ConnId;
use crate::connection::send_error::SendError;
use crate::protocol::{OwnedOf, Protocol};
use crate::shared::control::{Control, Requests};

/// A handle to one connection, for any thread.
///
/// A message and a closure are a letter each in the mailbox of the connection's worker, which carries the letters of callbacks out in
/// order, and those of all other threads.
/// A [close](Self::close), an [abort](Self::abort) and a resumption ([of reading](Self::resume_reading),
/// [of sources](Self::resume_sources)) are no letters: they need no room in the mailbox.
/// An abort and a resumption overtake what waits there, a close only what was not put in through handles to the connection. After the connection has ended every call returns [`SendError::Closed`]; none
/// can reach a later connection.
///
/// ```
/// use std::thread;
/// use ringwheel::{Conn, protocol::Lines};
///
/// /// Answers a question that takes long to work out.
/// fn on_question(conn: &mut Conn<'_, Lines>, number: u64) {
///     let client = conn.handle();
///     thread::spawn(move || {
///         let answer: u64 = (1..=number).sum();
///         if client.send(answer.to_string()).is_err() {
///             println!("{} has gone, or its worker has too much mail", client.id());
///         }
///     });
/// }
/// ```
pub struct ConnHandle<P: Protocol> {
    id: ConnId,
    outbox: Arc<dyn Outbox<P>>,
    control: Arc<Control>,
}

impl<P: Protocol> ConnHandle<P> {
    pub(crate) fn new(id: ConnId, outbox: Arc<dyn Outbox<P>>, control: Arc<Control>) -> Self {
        ConnHandle {
            id,
            outbox,
            control,
        }
    }

    /// The connection's name.
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// False once the connection is over for its handler. (True may be out of date already.)
    pub fn is_alive(&self) -> bool {
        !self.control.has_ended()
    }

    /// Sends one message.
    ///
    /// # Errors
    /// [`SendError`], with the item, if the connection has ended or the mailbox is full. An `Ok` means that the
    /// worker has it; if the connection ends before it is sent, or its protocol cannot express it, only
    /// [`send_then`](Self::send_then) tells. Of the latter the log has a warning, too.
    pub fn send(&self, item: impl Into<OwnedOf<P>>) -> Result<(), SendError<OwnedOf<P>>> {
        self.send_item(item.into(), None)
    }

    /// Sends one message, and calls `done` with the outcome: on the worker's thread when all of it is with the kernel, or when
    /// it is certain that it will not be. If the worker does not take the message, `done` is called before this returns.
    ///
    /// # Errors
    /// As [`send`](Self::send); `done` is then called with [`SendOutcome::Lost`].
    pub fn send_then(
        &self,
        item: impl Into<OwnedOf<P>>,
        done: impl FnOnce(SendOutcome) + Send + 'static,
    ) -> Result<(), SendError<OwnedOf<P>>> {
        self.send_item(item.into(), Some(Completion::new(done)))
    }

    fn send_item(
        &self,
        item: OwnedOf<P>,
        done: Option<Completion>,
    ) -> Result<(), SendError<OwnedOf<P>>> {
        let returned = |request| match request {
            Request::Send(item, _) => item,
            _ => unreachable!("an item was put"),
        };
        self.request(Request::Send(item, done))
            .map_err(|error| error.map(returned))
    }

    /// Closes the connection in order, as [`Conn::close`], after all letters that were put in before through handles to it. It
    /// does not wait for other mail, such as what was published or sent by the connection's name: what is to arrive before the
    /// end goes through handles. Later letters come back as [`SendError::Closed`].
    ///
    /// # Errors
    /// [`SendError::Closed`] if the connection has ended.
    pub fn close(&self) -> Result<(), SendError<()>> {
        self.control(Requests::CLOSE)
    }

    /// Ends the connection with a reset, as [`Conn::abort`]. It overtakes all letters.
    ///
    /// # Errors
    /// [`SendError::Closed`] if the connection has ended.
    pub fn abort(&self) -> Result<(), SendError<()>> {
        self.control(Requests::ABORT)
    }

    /// Resumes the delivery of messages, as [`Conn::resume_reading`]. It overtakes all letters: to answer before the next message
    /// is delivered, send and resume in one closure.
    ///
    /// ```
    /// use std::thread;
    /// use ringwheel::{Conn, protocol::Lines};
    ///
    /// /// Hears nothing more of the client until its question is answered.
    /// fn on_question(conn: &mut Conn<'_, Lines>, number: u64) {
    ///     let client = conn.handle();
    ///     conn.pause_reading();
    ///     thread::spawn(move || {
    ///         let answer: u64 = (1..=number).sum();
    ///         let answered = client.run(move |conn| {
    ///             conn.send(&answer.to_string());
    ///             conn.resume_reading();
    ///         });
    ///         if answered.is_err() {
    ///             // The mailbox is full. There is no answer, but the client is heard again.
    ///             let _ = client.resume_reading();
    ///         }
    ///     });
    /// }
    /// ```
    ///
    /// # Errors
    /// [`SendError::Closed`] if the connection has ended.
    pub fn resume_reading(&self) -> Result<(), SendError<()>> {
        self.control(Requests::RESUME)
    }

    /// Has a [source](crate::Conn::send_from) called again that has answered [`SourceStep::Wait`](crate::SourceStep::Wait), as
    /// [`Conn::resume_sources`]; does nothing otherwise. It overtakes all letters, and reaches also a connection whose
    /// [close](crate::Conn::close) waits for its sources, unlike [`run`](Self::run).
    ///
    /// # Errors
    /// [`SendError::Closed`] if the connection has ended.
    pub fn resume_sources(&self) -> Result<(), SendError<()>> {
        self.control(Requests::DRAW)
    }

    fn control(&self, request: Requests) -> Result<(), SendError<()>> {
        match self.control.request(request) {
            true => Ok(()),
            false => Err(SendError::Closed(())),
        }
    }

    /// Runs a closure with the connection on its worker; not at all if the connection is not open any more.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn run(
        &self,
        job: impl FnOnce(&mut Conn<'_, P>) + Send + 'static,
    ) -> Result<(), SendError<()>> {
        self.request(Request::Run(Box::new(job)))
            .map_err(|error| error.map(drop))
    }

    /// Calls back once the mailboxes of the connection's worker are no more than a quarter full again, or the worker has ended.
    /// A sender that was refused with [`SendError::Full`] can wait with this instead of trying again and again. It must not
    /// block the worker's own thread, which then cannot make room.
    ///
    /// The callback runs on the worker's thread, on this one if there is room already, or on that of another sender that
    /// begins to wait just then; it must not block. It may send, be refused, and wait again.
    ///
    /// ```
    /// use ringwheel::{ConnHandle, SendError, protocol::Lines};
    ///
    /// /// Sends a line, and blocks while the worker has too much mail.
    /// fn send_patiently(client: &ConnHandle<Lines>, line: &str) -> Result<(), SendError<()>> {
    ///     loop {
    ///         match client.send(line) {
    ///             Err(SendError::Full(_)) => {}
    ///             outcome => return outcome.map_err(|_| SendError::Closed(())),
    ///         }
    ///         let (has_room, waits) = std::sync::mpsc::channel();
    ///         client.when_room(move || _ = has_room.send(()));
    ///         let _ = waits.recv();
    ///     }
    /// }
    /// ```
    pub fn when_room(&self, callback: impl FnOnce() + Send + 'static) {
        self.outbox.when_room(Box::new(callback));
    }

    fn request(&self, request: Request<P>) -> Result<(), SendError<Request<P>>> {
        if self.control.takes_no_letters() {
            return Err(SendError::Closed(request));
        }
        self.control.count_letter();
        let letter = Letter {
            to: self.id,
            request,
            control: Some(self.control.clone()),
        };
        self.outbox.send(letter).map_err(|error| {
            self.control.uncount_letter();
            error.map(|letter| letter.request)
        })
    }
}

impl<P: Protocol> Clone for ConnHandle<P> {
    fn clone(&self) -> Self {
        ConnHandle {
            id: self.id,
            outbox: self.outbox.clone(),
            control: self.control.clone(),
        }
    }
}

impl<P: Protocol> fmt::Debug for ConnHandle<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnHandle")
            .field("id", &self.id)
            .field("alive", &self.is_alive())
            .finish_non_exhaustive()
    }
}
