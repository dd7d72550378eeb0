//! What reaches the connections of a service from outside of their own callbacks: letters, jobs, publications.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;

use crate::connection::send_error::SendError;
use crate::connection::send_status::{Refusal, SendStatus};
use crate::handler::conn::Conn;
use crate::handler::connections::Connections;
use crate::handler::handle::ConnHandle;
use crate::protocol::{Decode, Encode, LengthPrefixed, Protocol};

use super::courtesy::{Courtesy, UNENCODABLE, UNSPEAKABLE};
use super::ledger::{Address, Book};
use super::puppet::Puppet;
use super::{Random, TOPIC_NAME_LIMIT, TOPICS, quiet_panic};

/// A protocol whose messages are bytes.
pub(super) trait Dialect:
    Protocol<
        Decoder: for<'a> Decode<Message<'a> = &'a [u8]>,
        Encoder: for<'a> Encode<Item<'a> = &'a [u8], Owned = Bytes>,
    >
{
    /// The index of the service that speaks it.
    const SERVICE: usize;
}

impl Dialect for LengthPrefixed {
    const SERVICE: usize = 0;
}

impl Dialect for Courtesy {
    const SERVICE: usize = 1;
}

/// Who has sent a message: the connection's own handler, or whoever has mailed it.
pub(super) const OWN: u8 = b'o';
pub(super) const MAILED: u8 = b'm';
/// The least length of a message: its source and its number among those of the source.
pub(super) const NUMBERED: usize = 5;

/// A message that can be told from every other.
pub(super) fn message(source: u8, number: u32, length: usize) -> Vec<u8> {
    let mut body = vec![number as u8; length.max(NUMBERED)];
    body[0] = source;
    body[1..NUMBERED].copy_from_slice(&number.to_be_bytes());
    body
}

/// Sends the next message of the connection's own.
pub(super) fn say<P: Dialect>(book: &Book, conn: &mut Conn<'_, P>, length: usize) -> SendStatus {
    let number = number_of(conn);
    let next = book.open().records[number].said;
    let status = conn.send(&message(OWN, next, length));
    note_said(book, number, length, status);
    status
}

pub(super) fn note_said(book: &Book, number: usize, length: usize, status: SendStatus) {
    let mut ledger = book.open();
    let is_queued = status.is_queued();
    ledger.records[number].said += u32::from(is_queued);
    let record = &ledger.records[number];
    let may_speak = !record.has_asked_for_end && !record.has_shut_write;
    let is_unencodable = matches!(status, SendStatus::Refused(Refusal::Pack(_)));
    ledger.claim(may_speak || !is_queued, || {
        format!("{number} was told {status:?} behind its end")
    });
    ledger.claim(is_unencodable <= (length == UNENCODABLE), || {
        format!("{number}: {length} bytes cannot be expressed")
    });
}

/// The connection's number: nobody else has its peer's port.
pub(super) fn number_of<P: Dialect>(conn: &Conn<'_, P>) -> usize {
    let port = conn.peer_addr().port();
    usize::from(port.expect("every peer has an IP address"))
}

/// Subscribes, and compares with what is known.
pub(super) fn subscribe<P: Dialect>(book: &Book, conn: &mut Conn<'_, P>, topic: usize) {
    let outcome = conn.subscribe(TOPICS[topic]);
    let mut ledger = book.open();
    let topics = &mut ledger.records[number_of(conn)].topics;
    let expected = match () {
        () if TOPICS[topic].len() > TOPIC_NAME_LIMIT => Err(()),
        () if topics.contains(&topic) => Ok(false),
        () if topics.len() >= super::SUBSCRIPTIONS => Err(()),
        () => Ok(topics.insert(topic)),
    };
    ledger.claim(outcome.map_err(drop) == expected, || {
        format!("subscribing gives {outcome:?}, not {expected:?}")
    });
}

pub(super) fn unsubscribe<P: Dialect>(book: &Book, conn: &mut Conn<'_, P>, topic: usize) {
    let was_there = conn.unsubscribe(TOPICS[topic]);
    let mut ledger = book.open();
    let topics = &mut ledger.records[number_of(conn)].topics;
    let is_right = topics.remove(&topic) == was_there;
    let mut names: Vec<_> = topics.iter().map(|topic| TOPICS[*topic]).collect();
    names.sort_unstable();
    let mut listed = conn.subscriptions();
    listed.sort_unstable();
    ledger.claim(is_right && listed == names, || {
        format!("subscribes to {listed:?}, not {names:?}")
    });
}

/// A payload that tells when the last who had it is done with it.
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

/// Handles to connections, with their numbers; also to those that are gone.
type Remotes<P> = Rc<RefCell<Vec<(usize, ConnHandle<P>)>>>;

/// The connections of one service, as other threads and other connections reach them.
pub(super) struct Society<P: Dialect> {
    book: Book,
    remotes: Remotes<P>,
    clients: Connections<Puppet<P>>,
}

impl<P: Dialect> Clone for Society<P> {
    fn clone(&self) -> Self {
        Society {
            book: self.book.clone(),
            remotes: self.remotes.clone(),
            clients: self.clients.clone(),
        }
    }
}

impl<P: Dialect> Society<P> {
    pub(super) fn new(book: Book, clients: Connections<Puppet<P>>) -> Self {
        Society {
            book,
            remotes: Rc::default(),
            clients,
        }
    }

    pub(super) fn meet(&self, number: usize, remote: ConnHandle<P>) {
        self.remotes.borrow_mut().push((number, remote));
    }

    /// Does something to somebody.
    pub(super) fn act(&self, random: &mut Random) {
        match random.below(16) {
            0..=3 => self.write(random),
            4..=9 => self.publish(random),
            10 => self.broadcast(),
            11..=12 => self.run(random),
            13 => _ = self.somebody(random).map(|(_, remote)| remote.close()),
            14 if random.one_in(3) => self.run_with_handler(random),
            14 if random.one_in(4) => {
                _ = self.somebody(random).map(|(_, remote)| remote.abort());
            }
            _ => self.visit(random.below(TOPICS.len())),
        }
    }

    /// Runs something with the handler: for one connection, or for all.
    fn run_with_handler(&self, random: &mut Random) {
        let Some((to, remote)) = self.somebody(random) else {
            return;
        };
        let (book, id) = (self.book.clone(), remote.id());
        if random.one_in(2) {
            // A full mailbox, or a connection that has ended, changes nothing that is expected.
            let _ = self.clients.run(id, move |_handler, conn, session| {
                let is_here = number_of(conn) == to && session.number == to;
                book.open()
                    .claim(is_here, || "a job with the handler of somebody else".into());
                say(&book, conn, 35);
            });
            return;
        }
        // A worker whose mailbox is full is passed over, which changes nothing that is expected.
        let _ = self.clients.on_each_worker(move |_handler, connections| {
            let known = connections.with(id, |conn, _| number_of(conn));
            book.open().tally.count("job with the handler");
            book.open()
                .claim(known.is_none_or(|number| number == to), || {
                    "another connection has the name".into()
                });
        });
    }

    fn somebody(&self, random: &mut Random) -> Option<(usize, ConnHandle<P>)> {
        let remotes = self.remotes.borrow();
        remotes.get(random.below(remotes.len())).cloned()
    }

    /// What is to be claimed of every attempt to reach a connection.
    fn judge<T>(&self, to: usize, remote: &ConnHandle<P>, outcome: &Result<T, SendError<T>>) {
        let mut ledger = self.book.open();
        if matches!(outcome, Err(SendError::Full(_))) {
            ledger.tally.count("mailbox full");
        }
        let is_gone = ledger.records[to].is_gone;
        let knows = !remote.is_alive() && matches!(outcome, Err(SendError::Closed(_)));
        ledger.claim(!is_gone || knows, || {
            format!("{to} is gone, and its handle does not know")
        });
    }

    pub(super) fn write(&self, random: &mut Random) {
        let Some((to, remote)) = self.somebody(random) else {
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

    fn payload(&self, to: Address, length: usize) -> (usize, Bytes) {
        let number = self.book.open().post(to);
        let payload = Payload {
            body: message(MAILED, number as u32, length),
            number,
            book: self.book.clone(),
        };
        (number, Bytes::from_owner(payload))
    }

    pub(super) fn publish(&self, random: &mut Random) {
        let topic = random.below(TOPICS.len());
        for _ in 0..1 + random.below(3) {
            let most = if random.one_in(3) { 1_500 } else { 100 };
            let length = random.below(most);
            let (number, item) = self.payload(topic_of::<P>(topic), length);
            let book = self.book.clone();
            let outcome = self
                .clients
                .publish_then(TOPICS[topic], item, move |published| {
                    let mut ledger = book.open();
                    let is_first = ledger.mail[number].published.replace(published).is_none();
                    ledger.claim(is_first, || "published twice".into());
                });
            self.book.open().mail[number].is_refused = outcome.is_err();
        }
    }

    /// Publishes as callbacks can, without being told what becomes of it.
    pub(super) fn publish_from(&self, conn: &mut Conn<'_, P>, topic: usize, length: usize) {
        let (number, item) = self.payload(topic_of::<P>(topic), length);
        let outcome = if length % 2 == 0 {
            conn.publish(TOPICS[topic], item)
        } else {
            self.book.open().mail[number].except = Some(number_of(conn));
            conn.publish_to_others(TOPICS[topic], item)
        };
        self.book.open().mail[number].is_refused = outcome.is_err();
    }

    pub(super) fn broadcast(&self) {
        let to = Address::All {
            service: P::SERVICE,
        };
        let (number, item) = self.payload(to, 20);
        self.book.open().mail[number].is_refused = self.clients.broadcast(item).is_err();
    }

    /// Has every connection subscribe.
    fn visit(&self, topic: usize) {
        let book = self.book.clone();
        // A worker whose mailbox is full is not visited, which changes nothing that is expected.
        let _ = self.clients.visit(move |conn, session| {
            let number = number_of(conn);
            book.open()
                .claim(session.number == number, || "a foreign session".into());
            subscribe(&book, conn, topic);
        });
    }

    /// Runs something on a connection's worker.
    pub(super) fn run(&self, random: &mut Random) {
        let Some((to, remote)) = self.somebody(random) else {
            return;
        };
        let (choice, topic) = (random.below(20), random.below(TOPICS.len()));
        let book = self.book.clone();
        let outcome = remote.run(move |conn| {
            let is_here = number_of(conn) == to;
            book.open()
                .claim(is_here, || "a job for somebody else".into());
            match choice {
                0 => quiet_panic(),
                1 => end(&book, conn, false),
                2 => end(&book, conn, true),
                3..=9 => subscribe(&book, conn, topic),
                10..=12 => unsubscribe(&book, conn, topic),
                13 => _ = say(&book, conn, UNSPEAKABLE),
                _ => _ = say(&book, conn, 30),
            }
        });
        self.judge(to, &remote, &outcome);
    }
}

fn topic_of<P: Dialect>(topic: usize) -> Address {
    Address::Topic {
        service: P::SERVICE,
        topic,
    }
}

/// Closes or aborts, and sometimes tries to go on.
pub(super) fn end<P: Dialect>(book: &Book, conn: &mut Conn<'_, P>, abruptly: bool) {
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
