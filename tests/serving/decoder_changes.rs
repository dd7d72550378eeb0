//! Changes of a connection's decoder, from all callbacks that can ask for one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringwheel::protocol::{FixedLength, LengthPrefixed};
use ringwheel::{Conn, Limits};
use support::{
    Client, Event, Events, Recorder, TestServer, deliberate_panic, eventually, lending, listen,
    pattern, take,
};

/// Messages of a length that each of them changes: its first byte is the length of those that follow.
fn self_changing() -> (Recorder<FixedLength>, Events) {
    let (recorder, events) = Recorder::<FixedLength>::new();
    let recorder = recorder.on_message(|conn, message| {
        let length = usize::from(message[0] - b'0');
        conn.update_decoder(move |decoder| *decoder = FixedLength::new(length));
    });
    (recorder, events)
}

/// Frames with a length of two bytes; `up` and `down` change the limit.
fn limited() -> LengthPrefixed {
    LengthPrefixed::u16_be().max_length(8)
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a short payload");
    [&length.to_be_bytes(), payload].concat()
}

fn set_limit(conn: &mut Conn<'_, LengthPrefixed>, limit: usize) {
    conn.update_decoder(move |decoder| *decoder = decoder.max_length(limit));
}

#[test]
fn a_change_takes_effect_for_the_very_next_message_of_the_same_read() {
    let (recorder, events) = self_changing();
    let (server, mut client) =
        TestServer::start_late(listen(FixedLength::new(3)), recorder, b"2xx1x44xxx9xxx");
    for expected in [&b"2xx"[..], b"1x", b"4", b"4xxx"] {
        assert_eq!(events.message(), expected);
    }
    // A byte less than the nine that the last has asked for.
    client.send(b"........");
    client.finish();
    client.expect_eof();
    assert_eq!(events.close_reason(), "Truncated");
    assert_eq!(events.messages().last().unwrap(), b"9xxx");
    server.finish(&events);
}

#[test]
fn a_change_takes_effect_however_the_input_is_cut() {
    let input = b"2xx1x44xxx4xxx1...3";
    for cut in 1..input.len() {
        let (recorder, events) = self_changing();
        let server = TestServer::start(listen(FixedLength::new(3)), recorder);
        let mut client = server.connect();
        for piece in input.chunks(cut) {
            client.send(piece);
        }
        for expected in [&b"2xx"[..], b"1x", b"4", b"4xxx", b"4xxx", b"1...", b"3"] {
            assert_eq!(events.message(), expected, "cut at {cut}");
        }
        server.finish(&events);
    }
}

#[test]
fn the_message_before_has_the_old_limit_and_the_one_behind_the_new() {
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let recorder = recorder.on_message(|conn, message| match message {
        b"up" => set_limit(conn, 1000),
        b"down" => set_limit(conn, 4),
        _ => {}
    });
    let server = TestServer::start(listen(limited()), recorder);
    let mut client = server.connect();
    let long = [b'x'; 1000];
    client.send(&[frame(b"up"), frame(&long), frame(b"down"), frame(b"1234")].concat());
    for expected in [&b"up"[..], &long, b"down", b"1234"] {
        assert_eq!(events.message(), expected);
    }
    client.send(&frame(b"12345"));
    client.expect_ended();
    drop(client);
    assert!(events.close_reason().starts_with("Protocol"));
    let mut other = server.connect();
    other.send(&frame(&long));
    other.expect_ended();
    drop(other);
    assert!(
        events.close_reason().starts_with("Protocol"),
        "it has its own decoder"
    );
    server.finish(&events);
}

#[test]
fn all_changes_of_one_callback_are_made_in_their_order() {
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let recorder = recorder.on_message(|conn, message| {
        if message == b"go" {
            for limit in [2, 3000, 5] {
                set_limit(conn, limit);
            }
        }
    });
    let server = TestServer::start(listen(limited()), recorder);
    let mut client = server.connect();
    client.send(&[frame(b"go"), frame(b"12345"), frame(b"123456")].concat());
    client.expect_ended();
    drop(client);
    assert!(events.close_reason().starts_with("Protocol"));
    assert_eq!(events.messages(), [&b"go"[..], b"12345"]);
    server.finish(&events);
}

#[test]
fn a_decoder_may_be_changed_in_on_open_and_admit() {
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let recorder = recorder
        .admit(|conn| {
            set_limit(conn, 2000);
            true
        })
        .on_open(|conn| {
            conn.update_decoder(|decoder| {
                // The change of `admit` need not be made yet, but is made before this one.
                *decoder = decoder.max_length(1000);
            })
        });
    let server = TestServer::start(listen(limited()), recorder);
    let mut client = server.connect();
    client.send(&frame(&[b'x'; 1000]));
    assert_eq!(events.message().len(), 1000);
    client.send(&frame(&[b'x'; 1001]));
    client.expect_ended();
    drop(client);
    assert!(events.close_reason().starts_with("Protocol"));
    server.finish(&events);
}

#[test]
fn a_change_from_a_timer_delivers_what_waits_for_more() {
    let (recorder, events) = Recorder::<FixedLength>::new();
    let recorder = recorder
        .on_open(|conn| _ = conn.set_timer(Duration::from_millis(50), 0).unwrap())
        .on_timer(|conn, _| conn.update_decoder(|decoder| *decoder = FixedLength::new(2)));
    let server = TestServer::start(listen(FixedLength::new(1000)), recorder);
    let mut client = server.connect();
    client.send(b"1122334");
    assert_eq!(events.timer(), 0);
    for expected in [b"11", b"22", b"33"] {
        assert_eq!(events.message(), expected);
    }
    client.send(b"4");
    assert_eq!(events.message(), b"44");
    server.finish(&events);
}

#[test]
fn a_change_from_another_thread_delivers_what_waits_for_more() {
    let (recorder, events) = Recorder::<FixedLength>::new();
    let (recorder, lent) = lending(recorder);
    let server = TestServer::start(listen(FixedLength::new(100_000)), recorder);
    let mut client = server.connect();
    let handle = take(&lent);
    let payload = pattern(1, 90_000);
    client.send(&payload);
    let (told, unread) = channel();
    eventually("all has arrived", || {
        let told = told.clone();
        handle
            .run(move |conn| told.send(conn.read_buffer_len()).unwrap())
            .unwrap();
        take(&unread) == payload.len()
    });
    handle
        .run(|conn| conn.update_decoder(|decoder| *decoder = FixedLength::new(30_000)))
        .unwrap();
    for chunk in payload.chunks(30_000) {
        assert!(events.message() == chunk);
    }
    server.finish(&events);
}

#[test]
fn a_change_from_a_visit_or_a_tick_of_the_handler_is_made_there() {
    let (recorder, events) = Recorder::<FixedLength>::new();
    let server = TestServer::start(listen(FixedLength::new(100)), recorder);
    let connections = server
        .handle()
        .connections_of::<Recorder<FixedLength>>()
        .unwrap();
    let mut clients = [server.connect(), server.connect()];
    let first = events.open();
    events.open();
    connections
        .on_each_worker(move |_, local| {
            local.for_each(|conn, _| {
                if conn.id() == first {
                    conn.update_decoder(|decoder| *decoder = FixedLength::new(2));
                }
            });
        })
        .unwrap();
    clients[0].send(b"12");
    assert_eq!(events.message(), b"12");
    clients[1].send(&[b'x'; 100]);
    assert_eq!(
        events.message().len(),
        100,
        "the other has kept its decoder"
    );
    server.finish(&events);
}

#[test]
fn a_paused_connection_is_changed_at_once_and_delivers_when_it_resumes() {
    let (recorder, events) = Recorder::<FixedLength>::new();
    let (recorder, lent) = lending(recorder);
    let recorder = recorder.on_message(|conn, message| {
        if message == b"pause" {
            conn.pause_reading();
        }
    });
    let server = TestServer::start(listen(FixedLength::new(5)), recorder);
    let mut client = server.connect();
    let handle = take(&lent);
    client.send(b"pause1122");
    assert_eq!(events.message(), b"pause");
    let (told, changed) = channel();
    handle
        .run(move |conn| {
            conn.update_decoder(move |decoder| {
                *decoder = FixedLength::new(2);
                told.send(()).unwrap();
            })
        })
        .unwrap();
    take(&changed);
    assert_eq!(events.messages().len(), 1);
    handle.run(|conn| conn.resume_reading()).unwrap();
    assert_eq!(events.message(), b"11");
    assert_eq!(events.message(), b"22");
    server.finish(&events);
}

#[test]
fn a_panic_behind_the_question_forgets_it_and_changes_no_other_connection() {
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let changes = Arc::new(AtomicUsize::new(0));
    let count = changes.clone();
    let recorder = recorder.on_message(move |conn, message| {
        if message == b"panic" {
            let count = count.clone();
            conn.update_decoder(move |_| _ = count.fetch_add(1, Ordering::Relaxed));
            deliberate_panic();
        }
        conn.update_decoder(|_| {});
        conn.send(message);
    });
    let server = TestServer::start(listen(limited()), recorder);
    let mut panics = server.connect();
    let mut other = server.connect();
    for _ in 0..2 {
        other.ask_frame(b"before");
    }
    panics.send(&frame(b"panic"));
    panics.expect_ended();
    drop(panics);
    assert_eq!(events.close_reason(), "Panic");
    other.ask_frame(b"behind");
    assert_eq!(changes.load(Ordering::Relaxed), 0);
    server.finish(&events);
}

/// Asks in frames.
trait AskFrame {
    fn ask_frame(&mut self, payload: &[u8]);
}

impl AskFrame for Client {
    #[track_caller]
    fn ask_frame(&mut self, payload: &[u8]) {
        let frame = frame(payload);
        assert_eq!(self.ask(&frame), frame);
    }
}

/// Panics when it is dropped.
struct Trap;

impl Drop for Trap {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            deliberate_panic();
        }
    }
}

#[test]
fn a_change_that_panics_itself_or_when_it_is_forgotten_ends_one_connection() {
    let (recorder, events) = Recorder::<LengthPrefixed>::new();
    let recorder = recorder.on_message(|conn, message| {
        conn.send(message);
        match message {
            b"itself" => conn.update_decoder(|_| deliberate_panic()),
            b"drop" => {
                let trap = Trap;
                conn.update_decoder(move |_| drop(trap));
                deliberate_panic();
            }
            b"called" => {
                let trap = Trap;
                conn.update_decoder(move |_| _ = &trap);
            }
            _ => {}
        }
    });
    let server = TestServer::start(listen(limited()), recorder);
    let mut other = server.connect();
    for trap in [&b"itself"[..], b"drop", b"called"] {
        let mut client = server.connect();
        client.send(&[frame(trap), frame(b"behind")].concat());
        assert_eq!(client.receive_rest(), frame(trap), "{trap:?}");
        drop(client);
        assert_eq!(events.close_reason(), "Panic");
        other.ask_frame(b"alive");
    }
    assert!(!events.messages().contains(&b"behind".to_vec()));
    server.finish(&events);
}

#[test]
fn the_limit_on_input_bounds_what_a_changed_decoder_allows() {
    let (recorder, events) = Recorder::<FixedLength>::new();
    let (recorder, lent) = lending(recorder);
    let limits = Limits::default().input(64 * 1024);
    let server = TestServer::start(listen(FixedLength::new(10)).limits(limits), recorder);
    let mut client = server.connect();
    let handle = take(&lent);
    handle
        .run(|conn| conn.update_decoder(|decoder| *decoder = FixedLength::new(1 << 20)))
        .unwrap();
    client.send(b"more");
    client.expect_ended();
    drop(client);
    assert_eq!(events.close_reason(), "InputLimit");
    server.finish(&events);
}

#[test]
fn a_connection_that_closes_asks_in_vain_and_does_no_harm() {
    let (recorder, events) = Recorder::<FixedLength>::new();
    let changes = Arc::new(Mutex::new(Vec::new()));
    let made = changes.clone();
    let recorder = recorder.on_message(move |conn, message| {
        match message {
            b"abort" => conn.abort(),
            _ => conn.close(),
        }
        let made = made.clone();
        conn.update_decoder(move |decoder| {
            made.lock().unwrap().push(decoder.length());
            *decoder = FixedLength::new(1);
        });
    });
    let server = TestServer::start(listen(FixedLength::new(5)), recorder);
    for (word, reason) in [(b"close", "Local"), (b"abort", "Aborted")] {
        let mut client = server.connect();
        client.send(&[&word[..], b"xxxxxxxxx"].concat());
        client.expect_ended();
        drop(client);
        assert_eq!(events.close_reason(), reason);
    }
    assert_eq!(events.count(|event| matches!(event, Event::Message(..))), 2);
    assert_eq!(*changes.lock().unwrap(), [5, 5]);
    server.finish(&events);
}
