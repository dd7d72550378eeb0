use super::*;
use crate::io::stream::ByteStream;
use std::cell::RefCell;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::rc::Rc;

/// Takes everything, and keeps it.
struct Sink(Rc<RefCell<Vec<u8>>>);

impl ByteStream for Sink {
    fn send_capacity(&self) -> io::Result<usize> {
        Ok(0)
    }

    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn peek(&mut self) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let before = self.0.borrow().len();
        parts
            .iter()
            .for_each(|part| self.0.borrow_mut().extend_from_slice(part));
        Ok(self.0.borrow().len() - before)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reset_on_drop(&mut self) {}

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn receive_capacity(&self) -> io::Result<usize> {
        Ok(0)
    }
}

fn attached(pool: &mut RingPool, limit: usize) -> (Output, Rc<RefCell<Vec<u8>>>) {
    let taken = Rc::new(RefCell::new(Vec::new()));
    let mut output = Output::new(Stream::Simulated(Box::new(Box::new(Sink(taken.clone())))).into());
    output.borrow_ring(pool, limit);
    (output, taken)
}

#[test]
fn nothing_leaves_while_any_field_is_to_be_patched() {
    let mut pool = RingPool::new(Default::default());
    let (mut output, taken) = attached(&mut pool, 1 << 20);
    output.begin();
    let outer = output.reserve_patch(4);
    let inner = output.reserve_patch(2);
    output.patch(inner, &[1, 2]);
    output.put_slice(&[9; DIRECT_WRITE_MIN]);
    assert!(taken.borrow().is_empty());
    output.patch(outer, &[3, 4, 5, 6]);
    assert_eq!(output.finish(), Packed::Whole);
    output.flush();
    assert_eq!(taken.borrow()[..6], [3, 4, 5, 6, 1, 2]);
    assert_eq!(taken.borrow().len(), 6 + DIRECT_WRITE_MIN);
}

#[test]
fn a_large_slice_leaves_at_once_behind_what_is_pending() {
    let mut pool = RingPool::new(Default::default());
    let (mut output, taken) = attached(&mut pool, 1 << 20);
    output.put_slice(b"header");
    output.put_slice(&[7; DIRECT_WRITE_MIN]);
    assert!(output.is_empty());
    assert_eq!(&taken.borrow()[..6], b"header");
    assert_eq!(taken.borrow().len(), 6 + DIRECT_WRITE_MIN);
}

#[test]
fn what_does_not_fit_is_taken_back_and_nothing_of_it_has_left() {
    let mut pool = RingPool::new(Default::default());
    let (mut output, taken) = attached(&mut pool, 2 * DIRECT_WRITE_MIN);
    output.put_slice(b"before");
    output.begin();
    output.put_parts(&[&[1; DIRECT_WRITE_MIN], &[2; DIRECT_WRITE_MIN + 1]]);
    assert_eq!(output.finish(), Packed::Overflowed);
    assert_eq!(*taken.borrow(), b"before");
    assert!(output.is_empty());
}

/// A message was refused although it would have fitted once the socket had taken the messages before it.
#[test]
fn the_messages_before_leave_when_one_does_not_fit_behind_them() {
    const LIMIT: usize = 2 * DIRECT_WRITE_MIN;
    type Put = fn(&mut Output);
    let ways: [(usize, Put); 4] = [
        (LIMIT, |output| output.put_slice(&[2; LIMIT])),
        (LIMIT, |output| {
            (0..LIMIT / 64).for_each(|_| output.put_slice(&[2; 64]));
        }),
        (LIMIT, |output| {
            output.put_parts(&[&[2; LIMIT / 2], &[2; LIMIT / 2]]);
        }),
        (LIMIT, |output| {
            let field = output.reserve_patch(2);
            (0..LIMIT / 2 - 1).for_each(|_| output.put_slice(&[2; 2]));
            output.patch(field, &[2; 2]);
        }),
    ];
    for (length, put) in ways {
        let mut pool = RingPool::new(Default::default());
        let (mut output, taken) = attached(&mut pool, LIMIT);
        (0..100).for_each(|_| output.put_slice(&[1; 60]));
        output.begin();
        put(&mut output);
        assert!(!output.overfills());
        assert_eq!(output.finish(), Packed::Whole);
        output.flush();
        let expected = [vec![1; 6_000], vec![2; length]].concat();
        assert!(*taken.borrow() == expected);
    }
}

#[test]
fn nothing_leaves_once_the_output_is_shut() {
    let mut pool = RingPool::new(Default::default());
    let (mut output, taken) = attached(&mut pool, 1 << 20);
    output.put_slice(b"pending");
    output.shut();
    output.flush();
    output.try_again();
    output.unblock();
    output.flush();
    output.put_slice(&[7; DIRECT_WRITE_MIN]);
    assert!(!output.send_off(&mut pool) || output.is_empty());
    assert!(taken.borrow().is_empty() && !output.has_overflowed() && !output.has_failed());
}

#[test]
fn a_reply_within_which_the_protocol_panics_is_removed() {
    let mut pool = RingPool::new(Default::default());
    let (mut output, taken) = attached(&mut pool, 1 << 20);
    output.begin();
    output.put_slice(b"message");
    assert_eq!(output.finish(), Packed::Whole);
    let mut reply = Reply::new(&mut output);
    reply.output().put_slice(b"whole");
    reply.end();
    output.set_mark();
    let mut reply = Reply::new(&mut output);
    reply.output().put_slice(b"hal");
    drop(reply);
    assert_eq!(output.abandon(), Packed::Overflowed);
    output.flush();
    assert_eq!(*taken.borrow(), b"messagewhole");
    // Once part of it has left, the stream is spoilt.
    let mut reply = Reply::new(&mut output);
    reply.output().put_slice(&[7; DIRECT_WRITE_MIN]);
    drop(reply);
    assert_eq!(output.abandon(), Packed::Torn);
}

#[test]
fn last_words_have_room_that_nothing_else_can_use_up() {
    let mut pool = RingPool::new(Default::default());
    let (mut output, _) = attached(&mut pool, 1_000);
    output.outlet.block();
    output.begin();
    output.put_slice(&[1; 1_000]);
    assert!(!output.overfills());
    assert_eq!(output.finish(), Packed::Whole);
    output.put_slice(&[2; OWN_ROOM]);
    assert!(!output.has_overflowed());
    output.begin_last_words();
    output.put_slice(&[3; LAST_WORDS_ROOM]);
    assert_eq!(output.finish(), Packed::Whole);
    output.begin();
    output.put_slice(&[4; 1]);
    assert_eq!(output.finish(), Packed::Overflowed);
}
