//! Signals. SIGTERM under load: input that has arrived is answered, WebSocket peers get a close frame, and the process ends
//! in time. SIGPIPE: no peer can raise it.

use std::io::Read;
#[cfg(unix)]
use std::io::Write;
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringwheel::protocol::{ErrorOf, Lines, Raw};
use ringwheel::websocket::{Message, WebSocket};
use ringwheel::{CloseReason, Conn, Handler, Listen, Server};
use signal_hook::consts::{SIGPIPE, SIGTERM};
use signal_hook::iterator::Signals;
use support::scale::{is_full, report, sized};
use support::websocket::{Frame, KEY};
use support::{Child, Client, DEADLINE, Grip, Hold, Recorder, TestServer, listen, raw_echo};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";
/// Length in bytes of the server's answer to the request.
const ANSWER: usize = 129;
/// Messages of each client whose answers it reads only after the signal.
const QUESTIONS: usize = 3;
/// Connections that never stop sending questions.
const TALKERS: usize = 10;
/// Connections that never read, so that the drain lasts until its deadline. Only at full size, which asserts times.
const DEAF: usize = 5;
/// Length of a deaf client's question; its answer is larger than the kernel's buffers.
const DEAF_QUESTION: usize = 64 * 1024;

/// The server's deadline for draining.
fn deadline() -> Duration {
    sized(DEADLINE, Duration::from_secs(5))
}

/// Counts connections that open and close.
#[derive(Clone, Default)]
struct Counts {
    opened: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct LineEcho(Counts);

impl Handler for LineEcho {
    type Protocol = Lines;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
    }

    fn on_message(&mut self, conn: &mut Conn<'_, Lines>, _session: &mut (), line: &str) {
        // Long questions come from deaf clients, and get a hundredfold answer.
        let times = if line.len() > 1000 { 100 } else { 1 };
        for _ in 0..times {
            conn.send(line);
        }
    }

    fn on_close(&mut self, _: &Conn<'_, Lines>, _: (), _: CloseReason<ErrorOf<Lines>>) {
        self.0.closed.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone)]
struct WebEcho(Counts);

impl Handler for WebEcho {
    type Protocol = WebSocket;
    type Session = ();

    fn on_open(&mut self, _conn: &mut Conn<'_, WebSocket>) {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
    }

    fn on_message(
        &mut self,
        conn: &mut Conn<'_, WebSocket>,
        _session: &mut (),
        message: Message<'_>,
    ) {
        conn.send(message);
    }

    fn on_close(&mut self, _: &Conn<'_, WebSocket>, _: (), _: CloseReason<ErrorOf<WebSocket>>) {
        self.0.closed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Serves until SIGTERM arrives, and then shuts down in order.
fn serve_as_child() {
    let counts = Counts::default();
    let builder = Server::builder()
        .workers(2)
        .listen_with(
            listen(Lines::new()).close_timeout(deadline()),
            LineEcho(counts.clone()),
        )
        .and_then(|builder| {
            builder.listen_with(
                listen(WebSocket::new()).close_timeout(deadline()),
                WebEcho(counts.clone()),
            )
        })
        .expect("free ports");
    let server = TestServer::spawn(builder);
    let mut signals = Signals::new([SIGTERM]).expect("a signal");
    println!("\nserves on {} {}", server.addr_of(0), server.addr_of(1));
    signals.forever().next().expect("a signal");
    let start = Instant::now();
    server.handle().shutdown(deadline());
    server.join();
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    println!(
        "\nhas ended {} {} {}",
        start.elapsed().as_millis(),
        count(&counts.opened),
        count(&counts.closed)
    );
}

fn question(client: usize, number: usize) -> String {
    format!("question {number} of {client}")
}

fn connect_to_web(address: SocketAddr) -> Client {
    let mut client = Client::connect(address);
    client.send(REQUEST);
    client.receive(ANSWER);
    client
}

/// Asks until the server has ended the connection. All answers that have arrived by then must be right.
fn talk(client: Client) -> usize {
    let mut writer = client.second_half();
    let over = Arc::new(AtomicBool::new(false));
    let is_over = over.clone();
    let asking = thread::spawn(move || {
        let mut asked = 0_usize;
        let go_on = || !is_over.load(Ordering::Relaxed);
        while go_on() && writer.try_send(format!("{asked}\n").as_bytes()).is_ok() {
            asked += 1;
        }
    });
    let mut came = Vec::new();
    // A reset may destroy the answers to its last questions.
    let _ = client.stream().read_to_end(&mut came);
    over.store(true, Ordering::Relaxed);
    drop(client);
    asking.join().expect("it asks until it cannot");
    let text = String::from_utf8(came).expect("text");
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut answers = 0_usize;
    for line in whole.lines() {
        assert_eq!(line, answers.to_string());
        answers += 1;
    }
    answers
}

/// Reads a WebSocket client's answers and the server's close frame, and answers that.
#[track_caller]
fn read_web_answers(client: &mut Client, number: usize) {
    let mut expected = Vec::new();
    for question_number in 0..QUESTIONS {
        expected.extend(Frame::text(question(number, question_number)).bytes());
    }
    expected.extend(Frame::close(1001, "").bytes());
    let came = client.receive(expected.len());
    assert_eq!(
        came.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
    client.send(&Frame::close(1001, "").masked(KEY).bytes());
    client.expect_eof();
}

#[test]
fn sigterm_under_load_answers_all_and_ends_in_time() {
    if Child::is_here() {
        return serve_as_child();
    }
    let each = sized(150, 5000);
    let test = "signals::sigterm_under_load_answers_all_and_ends_in_time";
    let mut child = Child::start(test, sized(1024, 12_000));
    let addresses = child.line("serves on ");
    let (lines, web) = addresses.split_once(' ').expect("two addresses");
    let (lines, web): (SocketAddr, SocketAddr) = (lines.parse().unwrap(), web.parse().unwrap());

    let mut line_clients: Vec<Client> = (0..each).map(|_| Client::connect(lines)).collect();
    let mut web_clients: Vec<Client> = (0..each).map(|_| connect_to_web(web)).collect();
    let deaf: Vec<Client> = (0..sized(0, DEAF))
        .map(|_| {
            let mut client = Client::connect_narrow(lines);
            let mut line = vec![b'x'; DEAF_QUESTION - 1];
            line.push(b'\n');
            client.send(&line);
            client
        })
        .collect();
    let talkers: Vec<_> = (0..TALKERS)
        .map(|_| {
            let client = Client::connect(lines);
            thread::spawn(move || talk(client))
        })
        .collect();
    for (number, client) in line_clients.iter_mut().enumerate() {
        for question_number in 0..QUESTIONS {
            client.send(format!("{}\n", question(number, question_number)).as_bytes());
        }
    }
    for (number, client) in web_clients.iter_mut().enumerate() {
        for question_number in 0..QUESTIONS {
            let frame = Frame::text(question(number, question_number));
            client.send(&frame.masked(KEY).bytes());
        }
    }

    let start = Instant::now();
    let signal = Command::new("sh")
        .args(["-c", &format!("kill -TERM {}", child.id())])
        .status()
        .expect("a shell");
    assert!(signal.success());
    for (number, client) in web_clients.iter_mut().enumerate() {
        read_web_answers(client, number);
    }
    drop(web_clients);
    for (number, mut client) in line_clients.into_iter().enumerate() {
        let expected: String = (0..QUESTIONS)
            .map(|question_number| question(number, question_number) + "\n")
            .collect();
        assert_eq!(String::from_utf8(client.receive_rest()).unwrap(), expected);
    }
    let answered = start.elapsed();
    let end = child.line("has ended ");
    child.end();
    let deaf_ones = deaf.len();
    drop(deaf);
    let talked: usize = talkers
        .into_iter()
        .map(|talker| talker.join().expect("it gets what it asked for"))
        .sum();
    let figures: Vec<u64> = end
        .split(' ')
        .map(|figure| figure.parse().unwrap())
        .collect();
    let &[millis, opened, closed] = &figures[..] else {
        panic!("{end}");
    };
    let took = Duration::from_millis(millis);
    assert_eq!(opened, closed);
    assert_eq!(opened, (2 * each + TALKERS + deaf_ones) as u64);
    if is_full() {
        assert!(took <= deadline() + Duration::from_secs(1), "{took:?}");
    }
    report(
        "SIGTERM under load",
        format_args!(
            "{opened} live, all answers flushed and {each} WebSocket peers told 1001 within {answered:.1?}; {TALKERS} that \
             went on talking had {talked} answers; ended after {took:.2?} of {:?} + 1 s",
            deadline()
        ),
    );
}

/// Answers in one slice, in a slice behind pending output, and in a ring that goes round.
const ANSWERS: [fn(&mut Conn<'_, Raw>); 3] = [
    |conn| _ = conn.send(&[7; 20_000]),
    |conn| {
        conn.send(b"header");
        conn.send(&[7; 20_000]);
    },
    |conn| {
        for _ in 0..10 {
            conn.send(&[7; 1000]);
        }
    },
];

/// Checks that answers to a peer that has gone fail without a signal. `meet` lets a client ask, and has gone when it returns.
#[track_caller]
fn assert_no_signal(terms: impl Fn() -> Listen<Raw>, meet: impl Fn(&TestServer, &Grip)) {
    let is_raised = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGPIPE, is_raised.clone()).expect("a signal");
    for answer in ANSWERS {
        let (hold, grip) = Hold::new();
        let (recorder, events) = Recorder::<Raw>::new();
        let recorder = recorder.on_message(move |conn, _| {
            hold.enter();
            answer(conn);
        });
        let server = TestServer::start(terms(), recorder);
        meet(&server, &grip);
        grip.release();
        let reason = events.close_reason();
        assert!(reason.starts_with("Io("), "{reason}");
        server.finish(&events);
    }
    assert!(!is_raised.load(Ordering::Relaxed), "SIGPIPE was raised");
}

/// A server answers a peer that has ended its stream and then reset it, which fails with `EPIPE`. Programs may have put
/// SIGPIPE back to its default action, the end of the process; here a handler of it is installed, and must not be called.
#[test]
fn a_write_to_a_peer_that_has_reset_raises_no_signal() {
    let test = "signals::a_write_to_a_peer_that_has_reset_raises_no_signal";
    if !Child::is_here() {
        return Child::pass(test, 1024);
    }
    assert_no_signal(
        || listen(Raw),
        |server, grip| {
            let mut client = server.connect();
            client.send(b"x");
            grip.wait();
            client.finish();
            client.reset_and_arrive();
        },
    );
    // The process lives, and serves.
    let (echo, events) = raw_echo();
    let server = TestServer::start(listen(Raw), echo);
    server.connect().ping();
    server.finish(&events);
}

#[test]
#[cfg(unix)]
fn a_write_to_a_unix_peer_that_has_gone_raises_no_signal() {
    let test = "signals::a_write_to_a_unix_peer_that_has_gone_raises_no_signal";
    if !Child::is_here() {
        return Child::pass(test, 1024);
    }
    let path = std::env::temp_dir().join(format!("ringwheel-signals-{}", std::process::id()));
    assert_no_signal(
        || Listen::unix(&path),
        |_server, grip| {
            let mut client = UnixStream::connect(&path).expect("the server accepts");
            client.write_all(b"x").expect("the server reads");
            grip.wait();
        },
    );
}
