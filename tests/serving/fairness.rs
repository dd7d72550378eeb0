//! One busy connection does not slow down its neighbours.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringwheel::protocol::{
    Decode, Encode, Lines, LinesDecoder, LinesError, Output, PackError, Protocol, Raw,
    UnpackContext, Unpacked,
};
use ringwheel::{Conn, Server, ServerBuilder};
use support::{Client, DEADLINE, Hold, Recorder, TestServer, eventually, listen};

/// A client that keeps writing until it is told to stop.
struct Flood {
    ended: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: thread::JoinHandle<()>,
}

impl Flood {
    fn start(mut client: Client, piece: Vec<u8>) -> Self {
        let (ended, written) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (is_ended, count) = (ended.clone(), written.clone());
        let thread = thread::spawn(move || {
            while !is_ended.load(Ordering::Relaxed) {
                client.send(&piece);
                count.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        });
        Flood {
            ended,
            written,
            thread,
        }
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn end(self) {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

#[test]
fn neighbours_are_served_while_one_floods() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.without_messages().on_message(|conn, bytes| {
        if bytes.len() < 100 {
            conn.send(bytes);
        }
    });
    let server = TestServer::start(listen(Raw), recorder);
    let mut neighbours: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    let flood = Flood::start(server.connect(), vec![0; 64 * 1024]);
    eventually("the flood has begun", || flood.written() > 1 << 20);
    for _ in 0..20 {
        neighbours.iter_mut().for_each(Client::ping);
    }
    let before = flood.written();
    eventually("the flood has continued meanwhile", || {
        flood.written() > before
    });
    flood.end();
    server.finish(&events);
}

#[test]
fn neighbours_are_served_while_one_is_flooded_and_does_not_read() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder.without_messages().on_message(|conn, bytes| {
        conn.send(bytes);
    });
    let server = TestServer::start(listen(Raw), recorder);
    let mut neighbours: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    let mut stalled = server.connect();
    while stalled.fill(&[0; 64 * 1024]) > 0 {}
    for _ in 0..20 {
        neighbours.iter_mut().for_each(Client::ping);
    }
    server.finish(&events);
}

/// The number of busy lines that are handled before the line of another connection.
fn lines_before_the_other(ordered: &Receiver<u8>) -> usize {
    (0..)
        .take_while(|_| ordered.recv_timeout(DEADLINE).unwrap() == b'b')
        .count()
}

#[test]
fn a_connection_with_work_for_many_turns_lets_others_in_between() {
    let (recorder, events) = Recorder::<Lines>::new();
    let (order, ordered) = channel();
    let recorder = recorder.without_messages().on_message(move |_, line| {
        // The test stops listening before the last lines.
        let _ = order.send(line[0]);
    });
    let builder = Server::builder()
        .workers(1)
        .receive_buffer(4096)
        .read_budget(4096);
    let server = TestServer::start_on(builder, listen(Lines::new()), recorder);
    let mut busy = server.connect();
    let mut other = server.connect();
    events.open();
    events.open();
    let mut writer = busy.second_half();
    let lines = b"busy\n".repeat(200_000);
    let writing = thread::spawn(move || {
        // Fails if the server stops first.
        let _ = writer.try_send(&lines);
    });
    assert_eq!(ordered.recv_timeout(DEADLINE), Ok(b'b'));
    other.send(b"other\n");
    let before = lines_before_the_other(&ordered);
    assert!(
        before < 200_000 - 1,
        "the other connection waited for the last line"
    );
    server.finish(&events);
    writing.join().unwrap();
    let _ = busy.try_send(b"");
}

/// Lines, each of which is work for more than a turn: to unpack if it is long, or to pack its answer.
#[derive(Clone, Default)]
struct CostlyLines;

struct CostlyDecoder(LinesDecoder);

#[derive(Default)]
struct CostlyEncoder {
    lines: Lines,
    work: usize,
}

/// More than the default budget of a turn.
const COST: usize = 1 << 20;

impl Protocol for CostlyLines {
    type Decoder = CostlyDecoder;
    type Encoder = CostlyEncoder;

    fn open(&self) -> (CostlyDecoder, CostlyEncoder) {
        (
            CostlyDecoder(Lines::new().open().0),
            CostlyEncoder::default(),
        )
    }
}

impl Decode for CostlyDecoder {
    type Encoder = CostlyEncoder;
    type Message<'a> = &'a [u8];
    type Error = LinesError;

    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        context: &mut UnpackContext<'_, CostlyEncoder>,
    ) -> Result<Unpacked<&'a [u8]>, LinesError> {
        let mut context = context.with_encoder(|encoder| &mut encoder.lines);
        let line = self.0.unpack(input, &mut context)?;
        if matches!(line, Unpacked::Message { message, .. } if message.len() > 4) {
            context.charge(COST);
        }
        Ok(line.map(str::as_bytes))
    }
}

impl Encode for CostlyEncoder {
    type Item<'a> = &'a str;
    type Owned = String;

    fn borrow(owned: &String) -> &str {
        owned
    }

    fn owned_size(owned: &String) -> usize {
        size_of_val(owned)
    }

    fn pack(&mut self, item: &str, output: &mut Output) -> Result<(), PackError> {
        self.work += COST;
        self.lines.pack(item, output)
    }

    fn take_work(&mut self) -> usize {
        std::mem::take(&mut self.work)
    }
}

/// The lines of one read were all handled in one turn, whatever work they caused.
#[test]
fn a_message_that_causes_much_work_ends_the_turn_of_its_connection() {
    for (name, busy_line) in [("unpacked", "busy-1\n"), ("answered", "busy\n")] {
        let (recorder, events) = Recorder::<CostlyLines>::new();
        let (order, ordered) = channel();
        let (go_on, may_go_on) = channel::<()>();
        let may_go_on = Mutex::new(may_go_on);
        let recorder = recorder.without_messages().on_message(move |conn, line| {
            order.send(line[0]).unwrap();
            if line == b"busy" {
                conn.send("yes");
            }
            // The first line takes until the other connection has sent its own.
            let _ = may_go_on.lock().unwrap().recv();
        });
        let builder = Server::builder().workers(1);
        let server = TestServer::start_on(builder, listen(CostlyLines), recorder);
        let (mut busy, mut other) = (server.connect(), server.connect());
        events.open();
        events.open();
        busy.send(busy_line.repeat(500).as_bytes());
        assert_eq!(ordered.recv_timeout(DEADLINE), Ok(b'b'));
        other.send(b"other\n");
        drop(go_on);
        let before = lines_before_the_other(&ordered);
        assert!(before < 100, "{name}: it waited for {before} lines");
        server.finish(&events);
    }
}

/// Connections that wait for many turns, and whose peers may be gone, came before one that needed a single turn for its large message.
#[test]
fn a_heavy_message_waits_for_few_of_the_connections_that_have_much_input_left() {
    const BUSY: usize = 200;
    const LINES: usize = 20;
    let (recorder, events) = Recorder::<CostlyLines>::new();
    let (order, ordered) = channel();
    let (go_on, may_go_on) = channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    let busy_lines = AtomicU64::new(0);
    let recorder = recorder.without_messages().on_message(move |_, line| {
        // The test stops listening before the last lines.
        let _ = order.send(line[0]);
        if line[0] == b'b' && busy_lines.fetch_add(1, Ordering::SeqCst) + 1 == 2 * BUSY as u64 {
            // All of them have had a turn. This one takes until the other connection has sent its line.
            let _ = may_go_on.lock().unwrap().recv();
        }
    });
    let builder = Server::builder().workers(1);
    let server = TestServer::start_on(builder, listen(CostlyLines), recorder);
    let mut other = server.connect();
    let mut all_busy: Vec<Client> = (0..BUSY).map(|_| server.connect()).collect();
    // New connections have a list of their own.
    for _ in 0..4 {
        other.send(b"other\n");
        assert_eq!(ordered.recv_timeout(DEADLINE), Ok(b'o'));
    }
    for busy in &mut all_busy {
        busy.send(&b"a\n".repeat(4));
        (0..4).for_each(|_| assert_eq!(ordered.recv_timeout(DEADLINE), Ok(b'a')));
    }
    for busy in &mut all_busy {
        busy.send(&b"busy-1\n".repeat(LINES));
    }
    for _ in 0..2 * BUSY {
        assert_eq!(ordered.recv_timeout(DEADLINE), Ok(b'b'));
    }
    other.send(b"other\n");
    drop(go_on);
    let before = lines_before_the_other(&ordered);
    assert!(before < 20, "it waited for {before} lines");
    server.finish(&events);
}

/// Has a worker find the lines of two connections in one iteration, and returns how many of one are delivered before the first
/// of the other. `on_line` is called with each until then.
fn lines_in_front(
    builder: ServerBuilder,
    lines: [&str; 2],
    on_line: impl Fn(&mut Conn<'_, Lines>) + Send + Sync + 'static,
) -> usize {
    let (recorder, events) = Recorder::<Lines>::new();
    let (hold, grip) = Hold::new();
    let (seen, in_front) = channel();
    // The lines of each connection that were delivered; `None` once both had one.
    let counts = Mutex::new(Some([0; 2]));
    let recorder = recorder.without_messages().on_message(move |conn, line| {
        if line == b"hold" {
            return hold.enter();
        }
        let mut delivered = counts.lock().unwrap();
        let Some(each) = delivered.as_mut() else {
            return;
        };
        each[usize::from(line[0] == b'b')] += 1;
        if each.contains(&0) {
            on_line(conn);
        } else {
            seen.send(each[0].max(each[1])).unwrap();
            *delivered = None;
        }
    });
    let server = TestServer::start_on(builder.workers(1), listen(Lines::new()), recorder);
    let mut clients = [server.connect(), server.connect()];
    let mut holder = server.connect();
    for _ in 0..3 {
        events.open();
    }
    holder.send(b"hold\n");
    grip.wait();
    for (client, lines) in clients.iter_mut().zip(lines) {
        client.send(lines.as_bytes());
    }
    grip.release();
    let in_front = in_front.recv_timeout(DEADLINE).unwrap();
    server.finish(&events);
    in_front
}

/// A turn had no bound in time: it delivered all that had arrived, however long the handler took for each message.
#[test]
fn a_handler_that_takes_long_for_each_message_ends_the_turn_of_its_connection() {
    let lines = ["a\n".repeat(5_000), "b\n".repeat(5_000)];
    let in_front = lines_in_front(Server::builder(), [&lines[0], &lines[1]], |_| {
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(200) {
            std::hint::spin_loop();
        }
    });
    assert!(in_front < 1_000, "one waited for {in_front} lines");
}

/// A turn had no bound in output: while the kernel takes the answers, small requests can ask for any number of bytes.
#[test]
fn large_answers_end_the_turn_of_their_connection() {
    let lines = ["a\n".repeat(3_000), "b\n".repeat(3_000)];
    let builder = Server::builder().read_budget(64 * 1024);
    let answer = "a".repeat(5_000);
    let in_front = lines_in_front(builder, [&lines[0], &lines[1]], move |conn| {
        conn.send(&answer);
    });
    assert!(in_front < 60, "one waited for {in_front} lines");
}

/// Raw bytes, with the number of messages that all connections together have sent.
#[derive(Clone, Default)]
struct Counted(Arc<AtomicU64>);

impl Protocol for Counted {
    type Decoder = Counted;
    type Encoder = Counted;

    fn open(&self) -> (Counted, Counted) {
        (self.clone(), self.clone())
    }
}

impl Decode for Counted {
    type Encoder = Counted;
    type Message<'a> = &'a [u8];
    type Error = Infallible;

    fn unpack<'a>(
        &'a mut self,
        input: &'a mut [u8],
        _context: &mut UnpackContext<'_, Counted>,
    ) -> Result<Unpacked<&'a [u8]>, Infallible> {
        Ok(Unpacked::Message {
            consumed: input.len(),
            message: input,
        })
    }
}

impl Encode for Counted {
    type Item<'a> = &'a [u8];
    type Owned = Bytes;

    fn borrow(owned: &Bytes) -> &[u8] {
        owned
    }

    fn owned_size(owned: &Bytes) -> usize {
        owned.len()
    }

    fn pack(&mut self, item: &[u8], output: &mut Output) -> Result<(), PackError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        output.put_slice(item);
        Ok(())
    }
}

/// An iteration delivered 16 MiB, which takes the kernel 7 to 40 ms.
#[test]
fn a_large_publication_to_many_is_divided_over_iterations() {
    const MEMBERS: usize = 60;
    const LENGTH: usize = 512 * 1024;
    let counted = Counted::default();
    let packed = counted.0.clone();
    let (recorder, events) = Recorder::<Counted>::new();
    let (hold, grip) = Hold::new();
    let (answers, answered) = channel();
    let recorder = recorder
        .without_messages()
        .on_open(|conn| _ = conn.subscribe("room").unwrap())
        .on_message(move |conn, word| match word {
            b"publish" => {
                conn.unsubscribe("room");
                conn.publish("room", Bytes::from(vec![b'x'; LENGTH]))
                    .unwrap();
                hold.enter();
            }
            _ => answers.send(packed.load(Ordering::Relaxed)).unwrap(),
        });
    let builder = Server::builder().workers(1);
    let server = TestServer::start_on(builder, listen(counted), recorder);
    let mut members: Vec<Client> = (0..MEMBERS).map(|_| server.connect()).collect();
    let (mut publisher, mut other) = (server.connect(), server.connect());
    for _ in 0..MEMBERS + 2 {
        events.open();
    }
    publisher.send(b"publish");
    grip.wait();
    other.send(b"?");
    grip.release();
    let before = answered.recv_timeout(DEADLINE).unwrap();
    println!("{before} deliveries came before the answer");
    assert!(before < 16, "an answer waited for {before} deliveries");
    for member in &mut members {
        assert_eq!(member.receive(LENGTH).len(), LENGTH);
    }
    server.finish(&events);
}

#[test]
fn mail_from_other_threads_does_not_starve_sockets() {
    let (recorder, events) = Recorder::<Raw>::new();
    let (handles, lent) = channel();
    let recorder = recorder
        .without_messages()
        .on_open(move |conn| handles.send(conn.handle()).unwrap())
        .on_message(|conn, bytes| {
            conn.send(bytes);
        });
    let server = TestServer::start(listen(Raw), recorder);
    let _target = server.connect();
    let handle = lent.recv_timeout(DEADLINE).unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let is_ended = ended.clone();
    let (begun, has_begun) = channel();
    let sending = thread::spawn(move || {
        while !is_ended.load(Ordering::Relaxed) {
            // A full mailbox is an expected answer here.
            if handle.run(|_| {}).is_ok() {
                let _ = begun.send(());
            }
        }
    });
    let mut neighbours: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    has_begun.recv_timeout(DEADLINE).expect("mail is sent");
    for _ in 0..20 {
        neighbours.iter_mut().for_each(Client::ping);
    }
    ended.store(true, Ordering::Relaxed);
    sending.join().unwrap();
    server.finish(&events);
}

#[test]
fn a_timer_that_is_always_due_does_not_starve_sockets() {
    let (recorder, events) = Recorder::<Raw>::new();
    let recorder = recorder
        .on_message(|conn, bytes| {
            conn.send(bytes);
        })
        .on_open(|conn| {
            conn.set_timer(Duration::ZERO, 0).unwrap();
        })
        .on_timer(|conn, _| {
            conn.set_timer(Duration::ZERO, 0).unwrap();
        });
    let server = TestServer::start(listen(Raw), recorder);
    let mut clients: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    for _ in 0..20 {
        clients.iter_mut().for_each(Client::ping);
    }
    server.finish(&events);
}
