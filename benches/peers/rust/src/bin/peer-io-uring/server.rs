//! The server: handles each completion.

use std::io;
use std::net::TcpListener;

use io_uring::{CompletionQueue, SubmissionQueue, Submitter, cqueue};

use crate::buffers::Buffers;
use crate::connection::{Connection, Receiving, Sending};
use crate::requests::{Request, Requests};

/// Bytes that may wait behind the current send before receiving stops. Bytes that arrive until it has stopped are
/// added: at most the socket's receive buffer.
const HIGH_WATER: usize = 64 * 1024;
/// The most requests caused by one completion: to send, to stop or resume receiving, or to close and accept.
const REQUESTS_PER_COMPLETION: usize = 3;

/// All connections, and the queue of requests.
pub(crate) struct Server<'ring> {
    requests: Requests<'ring>,
    buffers: Buffers,
    /// The connections, by direct descriptor.
    connections: Vec<Option<Connection>>,
    /// The number of connections.
    open: usize,
    accepting: bool,
}

impl<'ring> Server<'ring> {
    /// Registers the buffers and starts to accept.
    pub(crate) fn new(
        listener: &'ring TcpListener,
        submitter: Submitter<'ring>,
        queue: SubmissionQueue<'ring>,
    ) -> io::Result<Self> {
        let buffers = Buffers::new(&submitter)?;
        let mut requests = Requests::new(listener, submitter, queue);
        requests.accept();
        Ok(Server {
            requests,
            buffers,
            connections: Vec::new(),
            open: 0,
            accepting: true,
        })
    }

    /// Serves until it cannot go on, and returns the reason.
    pub(crate) fn run(&mut self, mut completions: CompletionQueue<'_>) -> io::Error {
        loop {
            if let Err(error) = self.requests.submit_and_wait() {
                return error;
            }
            completions.sync();
            let turn = self.requests.room() / REQUESTS_PER_COMPLETION;
            for completion in completions.by_ref().take(turn) {
                let (result, flags) = (completion.result(), completion.flags());
                match Request::from_user_data(completion.user_data()) {
                    Request::Accept => self.on_accept(result, flags),
                    Request::Receive(index) => self.on_receive(index, result, flags),
                    Request::Send(index) => self.on_send(index, result),
                    Request::Other => {}
                }
            }
            completions.sync();
        }
    }

    fn on_accept(&mut self, result: i32, flags: u32) {
        self.accepting = cqueue::more(flags);
        match u32::try_from(result) {
            Ok(index) => self.open(index),
            Err(_) => {
                let error = io::Error::from_raw_os_error(-result);
                eprintln!("a connection could not be accepted: {error}");
            }
        }
        // After a failure, accepting is retried when a connection has closed, which may free what was missing.
        if !self.accepting && (result >= 0 || self.open == 0) {
            self.requests.accept();
            self.accepting = true;
        }
    }

    fn open(&mut self, index: u32) {
        let place = index as usize;
        if self.connections.len() <= place {
            self.connections.resize_with(place + 1, || None);
        }
        debug_assert!(self.connections[place].is_none());
        self.connections[place] = Some(Connection {
            receiving: Receiving::Armed,
            ..Connection::default()
        });
        self.open += 1;
        self.requests.receive(index);
    }

    fn on_receive(&mut self, index: u32, result: i32, flags: u32) {
        let connection = connection(&mut self.connections, index);
        if !cqueue::more(flags) {
            connection.receiving = Receiving::Stopped;
        }
        if let Some(id) = cqueue::buffer_select(flags) {
            let buffer = self.buffers.take(id, result.max(0) as usize);
            if connection.failed || buffer.bytes().is_empty() {
                self.buffers.give_back(buffer);
            } else if connection.sending.is_nothing() {
                self.requests.send(index, buffer.bytes());
                connection.sending = Sending::Received(buffer);
            } else {
                connection.unsent.extend_from_slice(buffer.bytes());
                self.buffers.give_back(buffer);
            }
        }
        match -result {
            0 => connection.ended = true,
            libc::ENOBUFS => self.buffers.relieve(),
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
            1.. => connection.failed = true,
            _ => {}
        }
        self.settle(index);
    }

    fn on_send(&mut self, index: u32, result: i32) {
        let connection = connection(&mut self.connections, index);
        match result {
            0.. => connection.sent += result as usize,
            _ if matches!(-result, libc::EINTR | libc::EAGAIN) => {}
            _ => connection.failed = true,
        }
        let rest = &connection.sending.bytes()[connection.sent..];
        if !connection.failed && !rest.is_empty() {
            self.requests.send(index, rest);
            return;
        }
        connection.sent = 0;
        let mut emptied = Vec::new();
        match std::mem::take(&mut connection.sending) {
            Sending::Nothing => {}
            Sending::Received(buffer) => self.buffers.give_back(buffer),
            Sending::Collected(bytes) => emptied = bytes,
        }
        if !connection.failed && !connection.unsent.is_empty() {
            emptied.clear();
            let bytes = std::mem::replace(&mut connection.unsent, emptied);
            self.requests.send(index, &bytes);
            connection.sending = Sending::Collected(bytes);
        } else {
            connection.unsent = Vec::new();
        }
        self.settle(index);
    }

    /// Starts or stops receiving, or closes, depending on the connection's state.
    fn settle(&mut self, index: u32) {
        let connection = connection(&mut self.connections, index);
        let full = connection.unsent.len() > HIGH_WATER;
        let over = connection.ended || connection.failed;
        match connection.receiving {
            Receiving::Armed if full || connection.failed => {
                connection.receiving = Receiving::Stopping;
                self.requests.stop_receiving(index);
            }
            Receiving::Stopped if over && connection.sending.is_nothing() => self.close(index),
            Receiving::Stopped if !over && !full => {
                connection.receiving = Receiving::Armed;
                self.requests.receive(index);
            }
            _ => {}
        }
    }

    fn close(&mut self, index: u32) {
        self.connections[index as usize] = None;
        self.open -= 1;
        self.requests.close(index);
        if !self.accepting {
            self.requests.accept();
            self.accepting = true;
        }
    }
}

/// The connection of a completion. It exists, because a connection is only closed when no request is in progress.
fn connection(connections: &mut [Option<Connection>], index: u32) -> &mut Connection {
    connections[index as usize]
        .as_mut()
        .expect("a connection outlives its requests")
}
