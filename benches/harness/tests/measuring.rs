//! Tests of measurements that need a special server: exact windows, slow readers, memory, system calls, instructions.

#[allow(dead_code, reason = "servers of other tests, some of which misbehave")]
mod servers;

use std::env;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use ringwheel_harness::instructions;
use ringwheel_harness::load::{
    EchoLoad, Framing, IdleLoad, Observer, SlowReadersLoad, Traffic, Until, echo, idle,
    slow_readers,
};
use ringwheel_harness::machine::Cpus;
use ringwheel_harness::measure::{MeasureError, Mode, Workload};
use ringwheel_harness::peers::ServerSpec;
use ringwheel_harness::process::ServerProcess;
use ringwheel_harness::trace::{self, Trace, Tracer};
use rustix::process::Signal;
use servers::{Answer, Behaviour, Greeting, serve, serve_websocket};

const SIZE: usize = 64;
/// The most bytes that a slow reader writes.
const WRITTEN: u64 = 8 * 1024 * 1024;
const SLOW: usize = 3;

fn traffic(address: SocketAddr) -> Traffic {
    Traffic {
        address,
        connections: 3,
        size: SIZE,
        framing: Framing::Raw,
        verify: true,
        tls: None,
    }
}

/// Accepts connections, numbers them, and gives each its own thread.
fn accept_each(converse: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let converse = Arc::new(converse);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let converse = Arc::clone(&converse);
            thread::spawn(move || converse(number, stream));
        }
    });
    address
}

fn echo_back(mut stream: TcpStream, mut see: impl FnMut(u64)) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        see(length as u64);
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

// Exact windows.

/// The bytes that the server had received when the window opened, and when it closed.
struct Received {
    now: Arc<AtomicU64>,
    opened: u64,
    closed: u64,
}

impl Observer for Received {
    fn window_opens(&mut self) -> io::Result<()> {
        self.opened = self.now.load(Ordering::SeqCst);
        Ok(())
    }

    fn window_closes(&mut self) -> io::Result<()> {
        self.closed = self.now.load(Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn a_window_of_so_many_messages_holds_these_and_no_others() {
    // Fewer operations than messages in flight, as many, and more; with and without a warm-up.
    for (operations, warm_up) in [(5, 0), (12, 0), (501, 0), (501, 5)] {
        let now = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&now);
        let address = accept_each(move |_, stream| {
            echo_back(stream, |length| {
                seen.fetch_add(length, Ordering::SeqCst);
            });
        });
        let mut received = Received {
            now,
            opened: 0,
            closed: 0,
        };
        let load = EchoLoad {
            traffic: traffic(address),
            in_flight: 4,
            warm_up: Duration::from_millis(warm_up),
            until: Until::Operations(operations),
        };
        let report = echo(&load, &mut received).unwrap();
        assert_eq!(report.operations, operations);
        assert_eq!(report.bytes, operations * SIZE as u64);
        assert_eq!(report.latency.len(), operations);
        assert_eq!(
            received.closed - received.opened,
            operations * SIZE as u64,
            "{operations} operations after {warm_up} ms"
        );
    }
}

// Slow readers. They make the first `SLOW` connections that a server accepts.

fn slow_readers_load(address: SocketAddr) -> SlowReadersLoad {
    SlowReadersLoad {
        traffic: traffic(address),
        in_flight: 2,
        slow: SLOW,
        warm_up: Duration::ZERO,
        until: Until::Operations(300),
    }
}

#[test]
fn slow_readers_write_up_to_their_limit_beside_the_others() {
    // The server keeps unread output, and answers the healthy clients only when the slow ones have written everything.
    let written = Arc::new((Mutex::new([0; SLOW]), Condvar::new()));
    let (ended, endings) = mpsc::channel();
    let shared = Arc::clone(&written);
    let address = accept_each(move |number, stream| {
        let (counts, changed) = &*shared;
        if number < SLOW {
            let answers = stream.try_clone().unwrap();
            let sender = keep(answers);
            let mut stream = stream;
            let mut buffer = [0; 64 * 1024];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                // Fails if the client has gone.
                let _ = sender.send(buffer[..length].to_vec());
                counts.lock().unwrap()[number] += length as u64;
                changed.notify_all();
            }
            ended.send(()).unwrap();
        } else {
            let all_written = |counts: &mut [u64; SLOW]| counts.iter().all(|&n| n >= WRITTEN);
            drop(
                changed
                    .wait_while(counts.lock().unwrap(), |counts| !all_written(counts))
                    .unwrap(),
            );
            echo_back(stream, |_| {});
        }
    });
    let report = slow_readers(&slow_readers_load(address), &mut ()).unwrap();
    assert_eq!(report.operations, 300);
    for _ in 0..SLOW {
        endings.recv_timeout(Duration::from_secs(10)).unwrap();
    }
    assert_eq!(*written.0.lock().unwrap(), [WRITTEN; SLOW]);
}

/// Starts a thread that writes the received bytes as the client takes them, so that no other thread waits.
fn keep(mut stream: TcpStream) -> mpsc::Sender<Vec<u8>> {
    let (sender, answers) = mpsc::channel::<Vec<u8>>();
    thread::spawn(move || {
        for answer in answers {
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    });
    sender
}

#[test]
fn a_server_may_stop_reading_from_slow_readers() {
    let address = accept_each(|number, stream| {
        if number < SLOW {
            // Held until the test ends.
            thread::park();
        }
        echo_back(stream, |_| {});
    });
    let report = slow_readers(&slow_readers_load(address), &mut ()).unwrap();
    assert_eq!(report.operations, 300);
}

#[test]
fn a_server_may_close_slow_readers() {
    let address = accept_each(|number, mut stream| {
        if number < SLOW {
            // Unread input turns the close into a reset.
            let _ = stream.read(&mut [0; 10]);
            return;
        }
        echo_back(stream, |_| {});
    });
    let report = slow_readers(&slow_readers_load(address), &mut ()).unwrap();
    assert_eq!(report.operations, 300);
}

#[test]
fn slow_readers_of_websocket_shake_hands_first() {
    let mut load = slow_readers_load(serve_websocket(Greeting::Right, Answer::Echo));
    load.traffic.framing = Framing::WebSocket;
    let report = slow_readers(&load, &mut ()).unwrap();
    assert_eq!(report.operations, 300);
}

// Memory.

#[test]
fn connections_of_every_framing_are_held_and_used() {
    for framing in Framing::ALL {
        let address = match framing {
            Framing::WebSocket => serve_websocket(Greeting::Right, Answer::Echo),
            Framing::WebSocketDeflate => serve_websocket(Greeting::Deflate, Answer::Echo),
            _ => serve(Behaviour::Echo),
        };
        let load = IdleLoad {
            address,
            connections: 20,
            exchange: true,
            framing,
            tls: None,
            pid: std::process::id(),
            settle: Duration::from_millis(1),
        };
        let mut report = idle(&load).unwrap();
        assert_eq!(report.connections, 20);
        assert!(report.before.resident > 0);
        assert!(report.exchanged.is_some());
        assert!(report.connected_kernel.slab > 0);
        report.before_kernel.slab = 1_000;
        report.before_kernel.sockets = 500;
        let mut then = report.exchanged_kernel.unwrap();
        (then.slab, then.sockets) = (21_000, 4_500);
        assert_eq!(report.kernel_per_connection(&then), 1_200.0);
    }
}

// System calls and instructions are counted of a process: the echo server among the examples, which cargo builds for
// the tests. Each message costs it one `recv` and one `send`.

fn child() -> ServerSpec {
    let tests = env::current_exe().unwrap();
    let examples = tests.parent().unwrap().with_file_name("examples");
    ServerSpec {
        name: "child".into(),
        command: format!("'{}' {{addr}}", examples.join("plain_echo").display()),
    }
}

fn workload(operations: u64) -> Workload {
    Workload {
        mode: Mode::Echo { in_flight: 1 },
        connections: 4,
        size: SIZE,
        framing: Framing::Raw,
        verify: true,
        tls: None,
        warm_up: Duration::from_millis(20),
        until: Until::Operations(operations),
    }
}

const ANYWHERE: Cpus = Cpus {
    server: None,
    load: None,
};

fn is_installed(tool: &str) -> bool {
    let mut version = Command::new(tool);
    version
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

/// The trace, unless the tool is missing or not permitted here; then the error must say so.
fn traced(result: Result<Trace, MeasureError>) -> Option<Trace> {
    match result {
        Ok(trace) => Some(trace),
        Err(error) => {
            let error = error.to_string();
            let may_fail = ["not installed", "permi", "Permi", "may attach", "limited"];
            assert!(may_fail.iter().any(|part| error.contains(part)), "{error}");
            println!("skipped: {error}");
            None
        }
    }
}

fn calls_to(trace: &Trace, name: &str) -> u64 {
    let call = trace.calls.iter().find(|(call, _)| call == name);
    call.map_or(0, |&(_, count)| count)
}

#[test]
fn every_thread_is_traced_and_every_message_counted() {
    for tracer in [Tracer::Perf, Tracer::Strace] {
        let result = trace::trace_with(tracer, &child(), &workload(1_000), ANYWHERE);
        let Some(trace) = traced(result) else {
            continue;
        };
        assert_eq!((trace.tracer, trace.operations), (tracer, 1_000));
        // strace counts a call when it returns; the client may have received the last answers of each connection before
        // that.
        let late = if tracer == Tracer::Strace { 4 } else { 0 };
        assert!(calls_to(&trace, "sendto") <= 1_000, "{trace}");
        assert!(calls_to(&trace, "sendto") >= 1_000 - late, "{trace}");
        // Each thread waits in one call when the window opens, and perhaps in the next one when it closes.
        assert!(calls_to(&trace, "recvfrom").abs_diff(1_000) <= 4, "{trace}");
        assert!((1.99..2.02).contains(&trace.per_operation()), "{trace}");
    }
}

#[test]
fn whichever_tracer_there_is_is_used() {
    let Some(trace) = traced(trace::trace(&child(), &workload(100), ANYWHERE)) else {
        return;
    };
    assert!(calls_to(&trace, "sendto").abs_diff(100) <= 4, "{trace}");
}

#[test]
fn instructions_of_a_message_are_the_same_each_time() {
    if !is_installed("valgrind") {
        println!("skipped: valgrind is not installed");
        return;
    }
    let mut workload = workload(200);
    // One connection and one message at a time, so that the server does the same work for each.
    workload.connections = 1;
    let figures = [(); 2].map(|()| {
        let counted = instructions::count(&child(), &workload, ANYWHERE).unwrap();
        assert_eq!(counted.operations, 200);
        counted.per_operation()
    });
    assert!(figures[0] > 1.0, "{figures:?}");
    let difference = (figures[0] - figures[1]).abs() / figures[0];
    assert!(difference < 0.1, "{figures:?}");
}

#[test]
fn a_server_that_fails_under_valgrind_is_reported() {
    if !is_installed("valgrind") {
        println!("skipped: valgrind is not installed");
        return;
    }
    let spec = ServerSpec {
        name: "broken".into(),
        command: "false {addr}".into(),
    };
    let error = instructions::count(&spec, &workload(10), ANYWHERE).unwrap_err();
    let error = error.to_string();
    assert!(
        error.starts_with("broken: under valgrind: the server ended before it accepted"),
        "{error}"
    );
}

#[test]
fn instructions_are_not_counted_by_time() {
    let mut workload = workload(10);
    workload.until = Until::Elapsed(Duration::from_secs(1));
    let error = instructions::count(&child(), &workload, ANYWHERE).unwrap_err();
    assert!(
        error.to_string().contains("number of operations"),
        "{error}"
    );
}

// Processes.

/// The niceness of a process (proc(5)).
fn niceness(process: &str) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let behind_name = stat.rsplit_once(')').unwrap().1;
    // It is the 19th field; the first field behind the name is the third.
    let field = behind_name.split_ascii_whitespace().nth(16).unwrap();
    field.parse().unwrap()
}

#[test]
fn a_server_is_started_under_a_tool_and_ended_by_a_signal() {
    let patience = Duration::from_secs(10);
    let command = child().command;
    let mut server = ServerProcess::start_under("nice -n 1", patience, &command, None).unwrap();
    let expected = (niceness("self") + 1).min(19);
    assert_eq!(niceness(&server.pid().to_string()), expected);
    let status = server.end_by(Signal::ALARM, patience).unwrap();
    assert_eq!(status.signal(), Some(Signal::ALARM.as_raw()));
}

#[test]
fn a_server_that_stays_is_an_error() {
    let mut server = ServerProcess::start(&child().command, None).unwrap();
    let error = server.end_by(Signal::CONT, Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    TcpStream::connect(server.address()).unwrap();
}
