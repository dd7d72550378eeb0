//! Mail for the connections of a service, from other threads and from callbacks: letters, jobs and publications.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;

use crate::connection::id::ConnId;
use crate::connection::send_error::SendError;
use crate::connection::send_status::{Refusal, SendStatus};
use crate::handler::conn::Conn;
use crate::handler::connections::Connections;
use crate::handler::handle::ConnHandle;
use crate::handler::local::LocalConnections;
use crate::protocol::{Decode, Encode, LengthPrefixed, Protocol};

use super::courtesy::{Courtesy, PANICKING, UNENCODABLE};
use super::handler::ScriptedHandler;
use super::ledger::{Address, Book};
use super::{Random, TOPIC_NAME_LIMIT, TOPICS, quiet_panic};

/// A protocol whose messages are bytes.
pub(super) trait BytesProtocol:
    Protocol<
        Decoder: for<'a> Decode<Message<'a> = &'a [u8]>,
        Encoder: for<'a> Encode<Item<'a> = &'a [u8], Owned = Bytes>,
    >
{
    /// The index of the service that speaks it.
    const SERVICE: usize;

    /// The number of the connection that a decoder belongs to, if the decoder knows it.
    fn number_in(decoder: &Self::Decoder) -> Option<usize>;
}

impl BytesProtocol for LengthPrefixed {
    const SERVICE: usize = 0;

    fn number_in(_decoder: &Self::Decoder) -> Option<usize> {
        None
    }
}

impl BytesProtocol for Courtesy {
    const SERVICE: usize = 1;

    fn number_in(decoder: &Self::Decoder) -> Option<usize> {
        Some(decoder.number)
    }
}

/// The source of a message that a handler has sent to its own connection.
pub(super) const OWN: u8 = b'o';
/// The source of a message that was mailed.
pub(super) const MAILED: u8 = b'm';
/// The least length of a message, in bytes: its source, and its number among the messages of that source.
pub(super) const NUMBERED: usize = 5;

/// Requests by handles.
pub(super) const CLOSE: usize = 0;
pub(super) const ABORT: usize = 1;
pub(super) const RESUME: usize = 2;
pub(super) const DRAW: usize = 3;

/// Makes a message that differs from all others of the run.
pub(super) fn message(source: u8, number: u32, length: usize) -> Vec<u8> {
    let mut body = vec![number as u8; length.max(NUMBERED)];
    body[0] = source;
    body[1..NUMBERED].copy_from_slice(&number.to_be_bytes());
    body
}

/// Sends the connection's next message of the source [`OWN`].
pub(super) fn say<P: BytesProtocol>(
    book: &Book,
    conn: &mut Conn<'_, P>,
    length: usize,
) -> SendStatus {
    let number = number_of(conn);
    let next = {
        let mut ledger = book.open();
        ledger.records[number].calls += 1;
        ledger.records[number].said
    };
    let status = conn.send(&message(OWN, next, length));
    note_said(book, number, length, status);
    let is_refused = matches!(
        status,
        SendStatus::Refused(Refusal::OutputLimit | Refusal::Dropped)
    );
    if is_refused && conn.write_buffer_len() > 0 && conn.is_open() {
        let mut ledger = book.open();
        ledger.records[number].awaits_room = true;
        ledger.tally.count("message without room");
    }
    status
}

pub(super) fn note_said(book: &Book, number: usize, length: usize, status: SendStatus) {
    let mut ledger = book.open();
    let is_queued = status.is_queued();
    ledger.records[number].said += u32::from(is_queued);
    let record = &ledger.records[number];
    let may_speak = record.is_drawing || !record.has_asked_for_end && !record.has_shut_write;
    let is_unencodable = matches!(status, SendStatus::Refused(Refusal::Pack(_)));
    ledger.claim(may_speak || !is_queued, || {
        format!("{number} is told {status:?} after its end")
    });
    ledger.claim(is_unencodable <= (length == UNENCODABLE), || {
        format!("{number}: a message of {length} bytes cannot be packed")
    });
}

/// The connection's number, which is the port of its peer.
pub(super) fn number_of<P: BytesProtocol>(conn: &Conn<'_, P>) -> usize {
    let port = conn.peer_addr().port();
    usize::from(port.expect("every peer has an IP address"))
}

/// Subscribes, and compares the outcome with the ledger.
pub(super) fn subscribe<P: BytesProtocol>(book: &Book, conn: &mut Conn<'_, P>, topic: usize) {
    let outcome = conn.subscribe(TOPICS[topic]);
    let mut ledger = book.open();
    let number = number_of(conn);
    ledger.records[number].calls += 1;
    let topics = &mut ledger.records[number].topics;
    let expected = match () {
        () if TOPICS[topic].len() > TOPIC_NAME_LIMIT => Err(()),
        () if topics.contains(&topic) => Ok(false),
        () if topics.len() >= super::SUBSCRIPTIONS => Err(()),
        () => Ok(topics.insert(topic)),
    };
    if expected == Ok(true) {
        ledger.records[number].may_wait_in_drain = true;
        ledger.note_subscription(number, topic, true);
    }
    ledger.claim(outcome.map_err(drop) == expected, || {
        format!("subscribing gives {outcome:?}, not {expected:?}")
    });
}

pub(super) fn unsubscribe<P: BytesProtocol>(book: &Book, conn: &mut Conn<'_, P>, topic: usize) {
    let was_there = conn.unsubscribe(TOPICS[topic]);
    let mut ledger = book.open();
    let number = number_of(conn);
    ledger.note_subscription(number, topic, false);
    let topics = &mut ledger.records[number].topics;
    let is_right = topics.remove(&topic) == was_there;
    let mut names: Vec<_> = topics.iter().map(|topic| TOPICS[*topic]).collect();
    names.sort_unstable();
    let mut listed = conn.subscriptions();
    listed.sort_unstable();
    ledger.claim(is_right && listed == names, || {
        format!("subscribes to {listed:?}, not {names:?}")
    });
}

/// The payload of a publication. Its drop tells the ledger that the publication was delivered.
struct Payload {
    body: Vec<u8>,
    number: usize,
    book: Book,
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        self.book.open().read(self.number);
    }
}

/// Makes a publication, or a message to all, and returns its number.
fn payload(book: &Book, to: Address, length: usize) -> (usize, Bytes) {
    let number = book.open().post(to);
    let payload = Payload {
        body: message(MAILED, number as u32, length),
        number,
        book: book.clone(),
    };
    (number, Bytes::from_owner(payload))
}

/// Publishes from a callback, to all or to all others, without a completion.
pub(super) fn publish_from<P: BytesProtocol>(
    book: &Book,
    conn: &mut Conn<'_, P>,
    topic: usize,
    length: usize,
) {
    let (number, item) = payload(book, topic_of::<P>(topic), length);
    let outcome = if length % 2 == 0 {
        conn.publish(TOPICS[topic], item)
    } else {
        book.open().mail[number].except = Some(number_of(conn));
        conn.publish_to_others(TOPICS[topic], item)
    };
    book.open().note_mailed(number, &outcome);
}

/// A job that a callback has posted and that has not run.
struct WaitingJob(Option<Book>);

impl WaitingJob {
    fn new(book: &Book) -> Self {
        let is_local = crate::current_worker().is_some();
        book.open().jobs += usize::from(is_local);
        WaitingJob(is_local.then(|| book.clone()))
    }
}

impl Drop for WaitingJob {
    fn drop(&mut self) {
        if let Some(book) = &self.0 {
            book.open().jobs -= 1;
        }
    }
}

/// Handles to connections with their numbers, also of those that are gone.
type Remotes<P> = Rc<RefCell<Vec<(usize, ConnHandle<P>)>>>;

/// The connections of one service, as other threads and other connections reach them.
pub(super) struct Mailer<P: BytesProtocol> {
    book: Book,
    remotes: Remotes<P>,
    clients: Connections<ScriptedHandler<P>>,
}

impl<P: BytesProtocol> Clone for Mailer<P> {
    fn clone(&self) -> Self {
        Mailer {
            book: self.book.clone(),
            remotes: self.remotes.clone(),
            clients: self.clients.clone(),
        }
    }
}

impl<P: BytesProtocol> Mailer<P> {
    pub(super) fn new(book: Book, clients: Connections<ScriptedHandler<P>>) -> Self {
        Mailer {
            book,
            remotes: Rc::default(),
            clients,
        }
    }

    pub(super) fn keep_handle(&self, number: usize, remote: ConnHandle<P>) {
        self.remotes.borrow_mut().push((number, remote));
    }

    /// Takes a random action.
    pub(super) fn act(&self, random: &mut Random) {
        match random.below(16) {
            0..=3 => self.write(random),
            4..=9 => self.publish(random),
            10 => self.broadcast(),
            11..=12 => self.run(random),
            13 => self.request(random),
            14 if random.one_in(3) => self.run_with_handler(random),
            _ => self.visit(random.below(TOPICS.len())),
        }
    }

    /// Runs a closure with the handler: for one connection, which may belong to the other service, or for all.
    fn run_with_handler(&self, random: &mut Random) {
        let Some((to, id)) = self.book.open().pick_name(random) else {
            return;
        };
        let book = self.book.clone();
        if random.one_in(2) {
            // A full mailbox, or a connection that has ended, changes no expectation.
            let waiting = WaitingJob::new(&book);
            let outcome = self.clients.run(id, move |_handler, conn, session| {
                drop(waiting);
                let is_here = number_of(conn) == to && session.number == to;
                book.open()
                    .claim(is_here, || "a job reaches another connection".into());
                say(&book, conn, 35);
            });
            self.book.open().note_posted(&outcome);
            let is_own = usize::from(id.service) == P::SERVICE;
            self.book.open().claim(is_own || outcome.is_err(), || {
                "a job for a connection of another service is taken".into()
            });
            return;
        }
        // A full mailbox changes no expectation.
        let waiting = WaitingJob::new(&book);
        let outcome = self.clients.on_each_worker(move |_handler, connections| {
            let _waiting = &waiting;
            book.open().tally.count("job with the handler");
            visit_by_name(&book, connections, to, id);
        });
        self.book.open().note_posted(&outcome);
    }

    /// Makes requests that no mailbox may hold up, often two at once.
    fn request(&self, random: &mut Random) {
        let Some((to, remote)) = self.pick_handle(random) else {
            return;
        };
        for _ in 0..1 + random.below(2) {
            self.request_of(to, &remote, random);
        }
    }

    fn request_of(&self, to: usize, remote: &ConnHandle<P>, random: &mut Random) {
        let choice = random.below(7);
        let outcome = match choice {
            0 => remote.abort(),
            1..=2 => remote.close(),
            3..=4 => remote.resume_reading(),
            _ => remote.resume_sources(),
        };
        self.judge(to, remote, &outcome);
        let mut ledger = self.book.open();
        ledger.tally.count("request by a handle");
        ledger.claim(!matches!(outcome, Err(SendError::Full(()))), || {
            format!("a request to {to} is refused")
        });
        // A callback may run behind the place of an iteration where requests are carried out.
        let within = if crate::current_worker().is_some() {
            2
        } else {
            1
        };
        let request = match choice {
            0 => ABORT,
            1..=2 => CLOSE,
            3..=4 => RESUME,
            _ => DRAW,
        };
        if outcome.is_ok() {
            ledger.records[to].requests[request] = Some(within);
            ledger.records[to].may_abort |= request == ABORT;
        }
    }

    fn pick_handle(&self, random: &mut Random) -> Option<(usize, ConnHandle<P>)> {
        let remotes = self.remotes.borrow();
        remotes.get(random.below(remotes.len())).cloned()
    }

    /// Checks the outcome of an attempt to reach a connection by its handle.
    fn judge<T>(&self, to: usize, remote: &ConnHandle<P>, outcome: &Result<T, SendError<T>>) {
        let mut ledger = self.book.open();
        ledger.note_posted(outcome);
        if matches!(outcome, Err(SendError::Full(_))) {
            ledger.tally.count("mailbox full");
        }
        let record = &ledger.records[to];
        let is_gone = record.is_gone || record.closed.is_some();
        let knows = !remote.is_alive() && matches!(outcome, Err(SendError::Closed(_)));
        ledger.claim(!is_gone || knows, || {
            format!("the handle of {to}, which has ended, says that it lives")
        });
    }

    pub(super) fn write(&self, random: &mut Random) {
        let Some((to, remote)) = self.pick_handle(random) else {
            return;
        };
        let number = self.book.open().post(Address::One(to));
        self.book.open().completions += 1;
        let book = self.book.clone();
        let body = Bytes::from(message(MAILED, number as u32, random.below(300)));
        let outcome = remote.send_then(body, move |delivery| {
            book.open().complete(number, delivery);
        });
        self.book.open().mail[number].is_refused = outcome.is_err();
        self.judge(to, &remote, &outcome.map(|()| Bytes::new()));
    }

    pub(super) fn publish(&self, random: &mut Random) {
        for _ in 0..1 + random.below(3) {
            let topic = random.below(TOPICS.len());
            let most = if random.one_in(3) { 1_500 } else { 100 };
            let length = random.below(most);
            let (number, item) = payload(&self.book, topic_of::<P>(topic), length);
            let book = self.book.clone();
            let outcome = self
                .clients
                .publish_then(TOPICS[topic], item, move |published| {
                    let mut ledger = book.open();
                    let is_first = ledger.mail[number].published.replace(published).is_none();
                    ledger.claim(is_first, || {
                        "the completion of a publication is called twice".into()
                    });
                });
            self.book.open().note_mailed(number, &outcome);
        }
    }

    /// Lets a connection join the topic that is flooded, or publish to it.
    pub(super) fn flood(&self, random: &mut Random) {
        let Some((to, remote)) = self.pick_handle(random) else {
            return;
        };
        let lengths: Vec<usize> = (0..random.below(4)).map(|_| random.below(900)).collect();
        let book = self.book.clone();
        let waiting = WaitingJob::new(&book);
        // A full mailbox, or a connection that has ended, changes no expectation.
        let _ = remote.run(move |conn| {
            drop(waiting);
            book.open().records[to].calls += 1;
            if lengths.is_empty() {
                subscribe(&book, conn, 0);
            }
            for length in lengths {
                publish_from(&book, conn, 0, length);
            }
        });
    }

    pub(super) fn broadcast(&self) {
        let to = Address::All {
            service: P::SERVICE,
        };
        let (number, item) = payload(&self.book, to, 20);
        let outcome = self.clients.broadcast(item);
        self.book.open().note_mailed(number, &outcome);
    }

    /// Subscribes every connection to a topic.
    fn visit(&self, topic: usize) {
        let book = self.book.clone();
        // A full mailbox changes no expectation.
        let outcome = self.clients.visit(move |conn, session| {
            let number = number_of(conn);
            book.open().claim(session.number == number, || {
                "a visit is given the session of another connection".into()
            });
            subscribe(&book, conn, topic);
        });
        self.book.open().note_posted(&outcome);
    }

    /// Runs a closure on a connection's worker.
    pub(super) fn run(&self, random: &mut Random) {
        let Some((to, remote)) = self.pick_handle(random) else {
            return;
        };
        let (choice, topic) = (random.below(20), random.below(TOPICS.len()));
        let book = self.book.clone();
        let waiting = WaitingJob::new(&book);
        let outcome = remote.run(move |conn| {
            drop(waiting);
            let is_here = number_of(conn) == to;
            book.open().records[to].calls += 1;
            book.open()
                .claim(is_here, || "a job reaches another connection".into());
            match choice {
                0 => quiet_panic(),
                1 => end(&book, conn, false),
                2 => end(&book, conn, true),
                3..=9 => subscribe(&book, conn, topic),
                10..=12 => unsubscribe(&book, conn, topic),
                13 => _ = say(&book, conn, PANICKING),
                _ => _ = say(&book, conn, 30),
            }
        });
        self.judge(to, &remote, &outcome);
    }
}

/// Visits a connection by its name, which may belong to another service or to a connection that is gone.
pub(super) fn visit_by_name<P: BytesProtocol>(
    book: &Book,
    connections: &mut LocalConnections<'_, ScriptedHandler<P>>,
    number: usize,
    id: ConnId,
) {
    let visited = connections.with(id, |conn, session| (number_of(conn), session.number));
    let is_own = usize::from(id.service) == P::SERVICE;
    let mut ledger = book.open();
    ledger.records[number].calls += 1;
    if !is_own && !ledger.records[number].is_gone {
        ledger.tally.count("name of another service");
    }
    let is_right = visited.is_none_or(|numbers| is_own && numbers == (number, number));
    ledger.claim(is_right, || {
        format!("the name of {number} leads to the connection and session {visited:?}")
    });
}

fn topic_of<P: BytesProtocol>(topic: usize) -> Address {
    Address::Topic {
        service: P::SERVICE,
        topic,
    }
}

/// Closes or aborts; some connections then try to send, which must be refused.
pub(super) fn end<P: BytesProtocol>(book: &Book, conn: &mut Conn<'_, P>, abruptly: bool) {
    if abruptly {
        conn.abort();
    } else {
        conn.close();
    }
    let number = number_of(conn);
    book.open().records[number].has_asked_for_end = true;
    if number % 2 == 0 {
        say(book, conn, 40);
        conn.close();
    }
}
