//! A server that stops with its test.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use ringwheel::balance::Workers;
use ringwheel::{Address, Handler, Listen, RunningServer, Server, ServerBuilder, ServerHandle};

use super::{Client, DEADLINE, Events, eventually};

/// A running server. It is stopped when dropped, also by a failing test.
pub struct TestServer {
    running: Option<RunningServer>,
    handle: ServerHandle,
}

impl TestServer {
    /// Starts a server with one worker and one listener.
    pub fn start<H: Handler + Clone + Send>(listen: Listen<H::Protocol>, handler: H) -> Self {
        Self::start_on(Server::builder().workers(1), listen, handler)
    }

    /// Starts a server from `builder`, with one listener.
    pub fn start_on<H: Handler + Clone + Send>(
        builder: ServerBuilder,
        listen: Listen<H::Protocol>,
        handler: H,
    ) -> Self {
        Self::spawn(builder.listen_with(listen, handler).expect("a free port"))
    }

    /// Connects a client and sends `words` before the server starts, so that the server finds both in its first
    /// iteration.
    pub fn start_late<H: Handler + Clone + Send>(
        listen: Listen<H::Protocol>,
        handler: H,
        words: &[u8],
    ) -> (Self, Client) {
        let builder = Server::builder().workers(1);
        let builder = builder.listen_with(listen, handler).expect("a free port");
        let mut client = Client::connect(builder.local_addr().expect("a listener"));
        client.send(words);
        (Self::spawn(builder), client)
    }

    pub fn spawn(builder: ServerBuilder) -> Self {
        Self::adopt(builder.spawn().expect("the server starts"))
    }

    pub fn adopt(running: RunningServer) -> Self {
        TestServer {
            handle: running.handle(),
            running: Some(running),
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr_of(0)
    }

    /// The address of a listener, by the order in which they were added.
    pub fn addr_of(&self, listener: usize) -> SocketAddr {
        let address = self.handle.local_addrs()[listener].socket_addr();
        address.expect("an IP address")
    }

    pub fn handle(&self) -> &ServerHandle {
        &self.handle
    }

    /// Connects a client to the first listener.
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::connect(self.addr())
    }

    /// Connects clients until one is served by the worker of this index, which [`worker_of`] tells, and returns that one.
    pub fn connect_to_worker(&self, worker: usize) -> Client {
        loop {
            let mut client = self.connect();
            if worker_of(&mut client) == worker {
                return client;
            }
        }
    }

    /// Waits until `time` has passed on the first worker, and all earlier timers have fired.
    #[track_caller]
    pub fn let_pass(&self, time: Duration) {
        let (done, has_passed) = channel();
        // The test may have dropped the receiver.
        self.handle.run_after(time, move || _ = done.send(()));
        has_passed
            .recv_timeout(DEADLINE)
            .expect("the task runs in time");
    }

    /// Waits until a draining server accepts no more connections; its workers are told right after that.
    #[track_caller]
    pub fn wait_until_draining(&self) {
        eventually("no connection is accepted", || {
            Client::try_connect(self.addr()).is_err()
        });
    }

    /// Waits until the server has ended, and returns its result.
    #[track_caller]
    pub fn outcome(mut self) -> io::Result<()> {
        let running = self.running.take().expect("a server ends once");
        let (done, ended) = channel();
        thread::spawn(move || done.send(running.join()));
        ended
            .recv_timeout(DEADLINE + DEADLINE)
            .expect("the server ends")
    }

    /// Waits until the server has ended without an error.
    #[track_caller]
    pub fn join(self) {
        self.outcome().expect("the server ends without an error");
    }

    /// Stops the server, and checks that every open was closed exactly once.
    #[track_caller]
    pub fn finish(self, events: &Events) {
        self.handle.stop();
        self.join();
        events.assert_lifecycles();
    }
}

/// Index of the worker that serves this client. The server answers the line `where` with the digit alone.
pub fn worker_of(client: &mut Client) -> usize {
    client.send(b"where\n");
    usize::from(client.receive(2)[0] - b'0')
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.handle.stop();
        }
    }
}

/// A server whose acceptor gives all connections to the first of two workers. It accepts even while that worker is held
/// up.
pub fn behind_an_acceptor() -> ServerBuilder {
    Server::builder()
        .workers(2)
        .balance(|_: &Address, _: Workers<'_>| 0)
}
