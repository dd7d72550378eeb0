//! The requests to the kernel, and the identification of their completions.
#![allow(
    unsafe_code,
    reason = "a request carries addresses that the kernel uses later"
)]

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, Fixed};
use io_uring::{SubmissionQueue, Submitter, opcode};

use crate::buffers::GROUP;

/// The request to which a completion belongs. Connections are named by their direct descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Accept,
    Receive(u32),
    Send(u32),
    /// A request whose result does not matter.
    Other,
}

impl Request {
    fn to_user_data(self) -> u64 {
        let (kind, index) = match self {
            Request::Accept => (0, 0),
            Request::Receive(index) => (1, index),
            Request::Send(index) => (2, index),
            Request::Other => (3, 0),
        };
        (kind << 32) | u64::from(index)
    }

    pub(crate) fn from_user_data(data: u64) -> Self {
        let index = data as u32;
        match data >> 32 {
            0 => Request::Accept,
            1 => Request::Receive(index),
            2 => Request::Send(index),
            _ => Request::Other,
        }
    }
}

/// The queue of requests to the kernel.
pub(crate) struct Requests<'ring> {
    submitter: Submitter<'ring>,
    queue: SubmissionQueue<'ring>,
    listener: RawFd,
}

impl<'ring> Requests<'ring> {
    /// Takes the listener, which must stay open.
    pub(crate) fn new(
        listener: &'ring TcpListener,
        submitter: Submitter<'ring>,
        queue: SubmissionQueue<'ring>,
    ) -> Self {
        Requests {
            submitter,
            queue,
            listener: listener.as_raw_fd(),
        }
    }

    /// Submits the queued requests and waits for a completion.
    pub(crate) fn submit_and_wait(&mut self) -> io::Result<()> {
        self.queue.sync();
        let submitted = self.submitter.submit_and_wait(1);
        self.queue.sync();
        match submitted.map_err(|error| (error.raw_os_error(), error)) {
            // A signal came; or waiting completions must be handled first.
            Ok(_) | Err((Some(libc::EINTR | libc::EBUSY | libc::EAGAIN), _)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }

    /// The number of requests that fit before the next submission.
    pub(crate) fn room(&self) -> usize {
        self.queue.capacity() - self.queue.len()
    }

    /// Accepts connections, each into a free direct descriptor, until a completion says that it was the last.
    pub(crate) fn accept(&mut self) {
        let entry = opcode::AcceptMulti::new(Fd(self.listener)).allocate_file_index(true);
        self.push(entry.build(), Request::Accept);
    }

    /// Receives into the kernel's buffers until a completion says that it was the last.
    pub(crate) fn receive(&mut self, index: u32) {
        let entry = opcode::RecvMulti::new(Fixed(index), GROUP);
        self.push(entry.build(), Request::Receive(index));
    }

    /// Sends `bytes`, which must neither move nor change until the completion. Only a part may be sent.
    pub(crate) fn send(&mut self, index: u32, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(Fixed(index), bytes.as_ptr(), length)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL);
        self.push(entry.build(), Request::Send(index));
    }

    /// Stops receiving; the last completion is still to come.
    pub(crate) fn stop_receiving(&mut self, index: u32) {
        let entry = opcode::AsyncCancel::new(Request::Receive(index).to_user_data());
        self.push(entry.build().flags(Flags::SKIP_SUCCESS), Request::Other);
    }

    /// Closes the connection and frees its descriptor. No other request may be in progress on it.
    pub(crate) fn close(&mut self, index: u32) {
        let entry = opcode::Close::new(Fixed(index));
        self.push(entry.build().flags(Flags::SKIP_SUCCESS), Request::Other);
    }

    fn push(&mut self, entry: Entry, request: Request) {
        let entry = entry.user_data(request.to_user_data());
        // SAFETY: only a send carries an address. Its bytes are held, unchanged and unmoved, in `Connection::sending`
        // until its completion has been seen, and a server that ends meanwhile is not dropped.
        let pushed = unsafe { self.queue.push(&entry) };
        pushed.expect("the server handles no more completions than there is room for");
    }
}
