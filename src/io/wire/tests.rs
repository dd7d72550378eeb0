use std::cell::RefCell;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::rc::Rc;

use ringwheel_ringbuffer::RingPool;

use super::checked::check;
use super::double::{BAD, CLOSE, Choose, DATA, Double, HIDDEN, Log, Receiver, Sender, UPDATE};
use super::scripted::{Scripted, numbered};
use super::seal::{Rest, Seal, SealedPiece, Unsealed};
use super::sealed::{ANSWERS_MAX, HELD_MAX, PIECE, RECORD_COST};
use super::*;
use crate::io::output::{Output, Packed};
use crate::io::stream::SHORT_MEANS_DRAINED;

impl Scripted {
    fn takes(&self, takes: &[usize]) {
        self.0.borrow_mut().takes = takes.iter().copied().collect();
    }

    /// The plaintext that a peer reads from all that was sent.
    fn receiver(&self) -> Receiver {
        let mut receiver = Receiver::default();
        receiver.receive(&self.0.borrow().output);
        assert_eq!(receiver.fault, None);
        receiver
    }
}

/// Choices of a double that neither delays nor hides anything.
fn plainly() -> Choose {
    Box::new(|bound| if bound > 40 { bound - 1 } else { 0 })
}

/// Choices that differ from call to call, the same for each number.
fn varied(number: u64) -> Choose {
    let mut state = number;
    Box::new(move |bound| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound.max(1)
    })
}

fn sealed(choose: Choose) -> (Wire, Scripted) {
    let script = Scripted::default();
    let double = Double::new(choose, Rc::new(RefCell::new(Log::default())));
    let mut wire = with_seal(&script, Box::new(double));
    // The seal is asked first for what came with the handshake.
    assert_eq!(read_all(&mut wire, 1), (Vec::new(), false));
    (wire, script)
}

fn with_seal(script: &Scripted, seal: Box<dyn Seal>) -> Wire {
    let sealed = Sealed::new(script.stream(), seal, Vec::new(), Vec::new());
    Wire::Sealed(Box::new(sealed))
}

/// Reads until the stream has nothing, or has ended. Returns the bytes, and true if it has ended.
fn read_all(wire: &mut Wire, room: usize) -> (Vec<u8>, bool) {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; room]);
    loop {
        match wire.read(&mut buffer) {
            Ok(0) => return (bytes, true),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (bytes, false),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted),
        }
    }
}

#[test]
fn every_cut_of_the_input_and_every_room_give_the_same_bytes() {
    let mut sender = Sender::default();
    let plain = numbered(120);
    let mut records = Vec::new();
    for (kind, payload) in [
        (DATA, &plain[..5]),
        (UPDATE, &[][..]),
        (DATA, &[]),
        (DATA, &plain[5..100]),
        (HIDDEN, &[1, 2, 3]),
        (DATA, &plain[100..]),
        (CLOSE, &[]),
    ] {
        records.extend(sender.record(kind, payload));
    }
    for cut in 0..=records.len() {
        for room in [1, 2, 3, 7, 64, 100, 1_000] {
            let (mut wire, script) = sealed(varied((cut * room) as u64));
            if cut > 0 {
                script.brings(&records[..cut]);
            }
            let (mut bytes, has_ended) = read_all(&mut wire, room);
            assert_eq!(has_ended, cut == records.len());
            if cut < records.len() {
                script.brings(&records[cut..]);
                let (rest, has_ended) = read_all(&mut wire, room);
                assert!(has_ended);
                bytes.extend(rest);
            }
            assert!(bytes == plain, "cut at {cut}, room for {room}");
            assert!(!wire.was_cut_off());
            wire.push_unsent().unwrap();
            assert_eq!(script.receiver().answers, 1);
            assert_eq!(wire.held(), 0);
        }
    }
}

#[test]
fn an_end_without_a_word_is_a_cut() {
    let (mut wire, script) = sealed(plainly());
    let record = Sender::default().record(DATA, b"hello");
    script.brings(&record[..6]);
    script.0.borrow_mut().has_ended = true;
    assert_eq!(read_all(&mut wire, 100), (Vec::new(), true));
    assert!(wire.was_cut_off());
    assert_eq!(wire.held(), 0);
}

/// The event for new bytes came while plaintext was at hand, and nothing read these bytes any more.
#[test]
fn a_read_that_does_not_look_at_the_stream_proves_nothing_about_it() {
    let (mut wire, script) = sealed(plainly());
    let mut sender = Sender::default();
    script.brings(&sender.record(DATA, b"hello"));
    let mut buffer = [0; 3];
    assert_eq!(wire.read(&mut buffer).unwrap(), 3);
    assert!(!wire.is_drained_by(3, 3), "plaintext is at hand");
    script.brings(&sender.record(DATA, b"world"));
    let mut buffer = [0; 100];
    assert_eq!(wire.read(&mut buffer).unwrap(), 2);
    assert!(!wire.is_drained_by(2, 100));
    assert_eq!(wire.read(&mut buffer).unwrap(), 5);
    assert_eq!(wire.is_drained_by(5, 100), SHORT_MEANS_DRAINED);
}

#[test]
fn records_count_as_work_also_without_plaintext() {
    let (mut wire, script) = sealed(plainly());
    let mut sender = Sender::default();
    let records: Vec<u8> = (0..10).flat_map(|_| sender.record(DATA, b"x")).collect();
    script.brings(&records);
    assert_eq!(wire.read(&mut [0; 100]).unwrap(), 10);
    assert_eq!(wire.work_of_read(), 10 * RECORD_COST);
    let records: Vec<u8> = (0..10).flat_map(|_| sender.record(DATA, &[])).collect();
    script.brings(&records);
    script.brings(&sender.record(DATA, b"behind"));
    let error = wire.read(&mut [0; 100]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    assert_eq!(wire.work_of_read(), 10 * RECORD_COST);
    assert_eq!(wire.read(&mut [0; 100]).unwrap(), 6);
}

#[test]
fn whatever_a_write_takes_nothing_is_lost_or_sealed_twice() {
    let plain = numbered(2_000);
    for seed in 0..8 {
        for amount in [1, 7, 100, 999, 10_000] {
            let (mut wire, script) = sealed(varied(seed));
            let mut written = 0;
            while written < plain.len() {
                // Every other write of the stream takes nothing.
                script.takes(&[amount, 0]);
                let end = plain.len().min(written + 900);
                let middle = written + (end - written) / 3;
                let parts = [&plain[written..middle], &[], &plain[middle..end]];
                match wire.write_vectored(&parts.map(IoSlice::new)) {
                    Ok(count) => written += count,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
                let receiver = script.receiver();
                assert!(
                    receiver.plain.len() >= written,
                    "more is counted than has left"
                );
                let known = written + wire.committed();
                assert!(receiver.plain.len() <= known && known <= end);
                assert!(plain.starts_with(&receiver.plain));
            }
            assert!(!wire.has_unsent() && wire.committed() == 0 && wire.held() == 0);
            assert!(script.receiver().plain == plain);
        }
    }
}

#[test]
fn a_piece_is_sealed_at_a_time_from_where_it_lies() {
    let (mut wire, script) = sealed(plainly());
    let plain = numbered(3 * PIECE + 5);
    assert_eq!(wire.write(&plain).unwrap(), plain.len());
    assert!(script.receiver().plain == plain);
}

#[test]
fn a_large_message_that_blocks_in_the_middle_is_torn() {
    const LIMIT: usize = 20_000;
    let mut pool = RingPool::new(Default::default());
    let (wire, script) = sealed(plainly());
    let mut output = Output::new(wire);
    output.borrow_ring(&mut pool, LIMIT);
    // No byte of the message counts as written, but its record has begun to leave.
    script.takes(&[100, 0]);
    output.begin();
    output.put_slice(&numbered(9_000));
    assert_eq!(output.written(), 0);
    assert_eq!(output.len(), 9_000);
    output.put_slice(&[0; 15_000]);
    assert_eq!(output.finish(), Packed::Torn);
}

#[test]
fn a_message_that_does_not_fit_behind_sealed_ones_is_taken_back() {
    const LIMIT: usize = 20_000;
    for blocked in [0, 1, 50, 8_999, 9_003] {
        let mut pool = RingPool::new(Default::default());
        let (wire, script) = sealed(plainly());
        let mut output = Output::new(wire);
        output.borrow_ring(&mut pool, LIMIT);
        script.takes(&[blocked, 0]);
        output.begin();
        output.put_slice(&numbered(9_000));
        assert_eq!(output.finish(), Packed::Whole);
        output.begin();
        output.put_slice(&[0; 15_000]);
        assert_eq!(output.finish(), Packed::Overflowed, "blocked at {blocked}");
        assert_eq!((output.len(), output.written()), (9_000, 0));
        script.0.borrow_mut().takes.clear();
        output.try_again();
        assert_eq!((output.len(), output.written()), (0, 9_000));
        assert!(script.receiver().plain == numbered(9_000));
    }
}

#[test]
fn the_end_is_said_once_however_often_it_blocks_and_nothing_follows() {
    let mut pool = RingPool::new(Default::default());
    let (wire, script) = sealed(plainly());
    let mut output = Output::new(wire);
    output.borrow_ring(&mut pool, 1_000);
    output.put_slice(b"message");
    output.flush();
    for _ in 0..3 {
        // Where mio emulates edges, a write that is cut short is followed by another.
        script.takes(&[1, 0, 0, 0]);
        output.unblock();
        assert!(!output.say_end());
        assert!(output.has_unsent());
        output.put_slice(b"too late");
        output.try_again();
        output.put_slice(&[0; 9_000]);
        output.flush();
        assert!(output.is_empty());
        script.0.borrow_mut().takes.clear();
    }
    output.try_again();
    assert!(output.say_end() && !output.has_unsent());
    let receiver = script.receiver();
    assert!(receiver.has_ended && receiver.plain == b"message");
    output.shutdown_write().unwrap();
}

#[test]
fn a_refused_peer_is_told_unless_our_end_was_sent() {
    for is_shut in [false, true] {
        let (mut wire, script) = sealed(plainly());
        if is_shut {
            wire.say_end().unwrap();
            wire.shutdown_write().unwrap();
        }
        let mut sender = Sender::default();
        let mut records = sender.record(DATA, b"before");
        records.extend(sender.record(BAD, &[]));
        script.brings(&records);
        assert_eq!(wire.read(&mut [0; 100]).unwrap(), 6);
        let error = wire.read(&mut [0; 100]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(script.receiver().is_refused, !is_shut);
        assert!(script.0.borrow().is_shut);
    }
}

/// A seal that never finds a whole record.
struct Waiting;

impl Seal for Waiting {
    fn unseal(&mut self, _: &mut [u8], _: &mut [u8], _: &mut Vec<u8>) -> io::Result<Unsealed> {
        Ok(Unsealed {
            consumed: 0,
            written: 0,
            records: 0,
            rest: Rest::Nothing,
        })
    }

    fn seal(&mut self, _: &[u8], _: &mut [u8]) -> io::Result<SealedPiece> {
        Ok(SealedPiece {
            taken: 0,
            written: 0,
        })
    }

    fn end(&mut self, _: &mut Vec<u8>) {}
}

#[test]
fn a_record_that_never_ends_is_held_up_to_a_bound() {
    let script = Scripted::default();
    let mut wire = with_seal(&script, Box::new(Waiting));
    let mut arrived = 0;
    let error = loop {
        script.brings(&[0; 1_000]);
        arrived += 1_000;
        match wire.read(&mut [0; 4_096]).unwrap_err() {
            error if error.kind() != io::ErrorKind::Interrupted => break error,
            _ if arrived == 1_000 => script.0.borrow_mut().input.clear(),
            _ => assert!(wire.held() < 4 * HELD_MAX),
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(arrived > HELD_MAX && arrived <= HELD_MAX + 3_000);
    assert!(
        wire.write(b"message").is_err(),
        "the seal makes no progress"
    );
}

#[test]
fn a_peer_that_reads_no_answers_may_cause_so_many_and_one_that_reads_slowly_uses_no_more_memory() {
    // Of the 40 bytes of ten answers all but one leave, so that the wire never has all of them sent.
    for reads in [0, 39] {
        let (mut wire, script) = sealed(plainly());
        let mut sender = Sender::default();
        let mut answered = 0;
        let outcome = loop {
            let records: Vec<u8> = (0..10).flat_map(|_| sender.record(UPDATE, &[])).collect();
            answered += 10;
            script.brings(&records);
            // Where mio emulates edges, a write that is cut short is followed by another.
            script.takes(&[reads, 0]);
            let outcome = wire.read(&mut [0; 4_096]).unwrap_err().kind();
            if outcome != io::ErrorKind::Interrupted || answered == 100_000 {
                break outcome;
            }
            let _ = wire.push_unsent();
            assert!(wire.held() <= 4 * (ANSWERS_MAX + 2 * PIECE));
        };
        assert_eq!(outcome == io::ErrorKind::InvalidData, reads == 0);
        assert_eq!(answered == 100_000, reads > 0);
    }
}

/// The fuzz target `wire` in short. Its own runs are longer, and led by coverage.
#[test]
fn random_operations_agree_with_the_model() {
    for seed in 0..200 {
        let mut choose = varied(seed);
        let length = choose(300);
        let bytes: Vec<u8> = (0..length).map(|_| choose(256) as u8).collect();
        check_told(&bytes, &format!("the seed {seed}"));
    }
}

/// The replay in `fuzz/` cannot do this: only with `--cfg fuzzing`, or for its own tests, does the library have the model.
#[test]
fn seeds_of_the_fuzzer_agree_with_the_model() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    if !fuzz.exists() {
        // The package is published without it.
        return;
    }
    let seeds = fs::read_dir(fuzz.join("corpus/wire")).expect("the target has seeds");
    let mut count = 0;
    for seed in seeds {
        let path = seed.expect("the folder can be listed").path();
        let bytes = fs::read(&path).expect("the seed can be read");
        check_told(&bytes, &path.display().to_string());
        count += 1;
    }
    assert!(count > 0, "the target has no seeds");
}

/// Checks, and names the input that fails.
fn check_told(bytes: &[u8], name: &str) {
    let outcome = catch_unwind(|| check(bytes));
    assert!(outcome.is_ok(), "{name} fails");
}
