//! The buffers that the kernel receives into: it takes the next one when bytes have come, so that idle connections have
//! none.
#![allow(
    unsafe_code,
    reason = "the kernel and this process share the memory; the rules are in `Buffers`"
)]

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The name of the group of buffers.
pub(crate) const GROUP: u16 = 0;
/// Bytes of one buffer.
const BUFFER: usize = 16 * 1024;
/// Buffers that are added together: 4 MiB.
const CHUNK: usize = 256;
/// Places in the ring, and so buffers, at most: what the kernel allows.
const ENTRIES: u16 = 1 << 15;
/// Where the kernel wants the ring to begin.
const PAGE: usize = 4096;

/// All buffers, and the ring by which they are given to the kernel.
///
/// Invariant: a buffer belongs either to the kernel (it lies in the ring, or its completion has not been seen), or to the
/// one [`Buffer`] that names it. Nothing is ever freed.
pub(crate) struct Buffers {
    ring: NonNull<BufRingEntry>,
    /// How many were given, modulo 2^16.
    tail: u16,
    chunks: Vec<NonNull<u8>>,
    /// Buffers that belong to us.
    lent: usize,
}

/// A buffer that holds what was received.
#[derive(Debug)]
pub(crate) struct Buffer {
    id: u16,
    start: NonNull<u8>,
    length: usize,
}

impl Buffer {
    /// What was received.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the buffer is ours until it is given back, and the kernel has written this many bytes.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Buffers {
    /// Registers the ring and gives the first buffers.
    pub(crate) fn new(submitter: &Submitter<'_>) -> io::Result<Self> {
        let ring: NonNull<BufRingEntry> =
            allocate(usize::from(ENTRIES) * size_of::<BufRingEntry>()).cast();
        // SAFETY: the ring is aligned to a page, as long as its entries need, and never freed.
        unsafe {
            submitter.register_buf_ring_with_flags(ring.as_ptr() as u64, ENTRIES, GROUP, 0)?;
        }
        let mut buffers = Buffers {
            ring,
            tail: 0,
            chunks: Vec::new(),
            lent: 0,
        };
        buffers.grow();
        Ok(buffers)
    }

    /// The buffer that a completion names, with `length` bytes in it.
    pub(crate) fn take(&mut self, id: u16, length: usize) -> Buffer {
        debug_assert!(length <= BUFFER);
        self.lent += 1;
        Buffer {
            id,
            start: self.start(id),
            length,
        }
    }

    /// Gives a buffer back to the kernel.
    pub(crate) fn give_back(&mut self, buffer: Buffer) {
        self.lent -= 1;
        self.give(buffer.id);
    }

    /// The kernel had none left. If that is because connections hold them, there are more from now on; otherwise they
    /// come back with the completions that wait already.
    pub(crate) fn relieve(&mut self) {
        let count = self.chunks.len() * CHUNK;
        if self.lent * 2 > count && count < usize::from(ENTRIES) {
            self.grow();
        }
    }

    fn grow(&mut self) {
        let first = self.chunks.len() * CHUNK;
        self.chunks.push(allocate(CHUNK * BUFFER));
        for id in first..first + CHUNK {
            self.give(id as u16);
        }
    }

    fn start(&self, id: u16) -> NonNull<u8> {
        let (chunk, place) = (usize::from(id) / CHUNK, usize::from(id) % CHUNK);
        // SAFETY: the place is within the chunk.
        unsafe { self.chunks[chunk].add(place * BUFFER) }
    }

    fn give(&mut self, id: u16) {
        let address = self.start(id).as_ptr() as u64;
        let place = usize::from(self.tail % ENTRIES);
        // SAFETY: the place is within the ring, and the kernel does not look at it before the tail has passed it. The
        // fields are set one by one, because the tail lies in a field of the first entry that is not among them.
        unsafe {
            let entry = self.ring.add(place).as_mut();
            entry.set_addr(address);
            entry.set_len(BUFFER as u32);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the ring is valid and zeroed at first; the tail is aligned and both sides access it atomically.
        let tail =
            unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.ring.as_ptr()).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

/// Zeroed memory that begins with a page, for ever.
fn allocate(bytes: usize) -> NonNull<u8> {
    let layout = Layout::from_size_align(bytes, PAGE).expect("a length far below the limit");
    // SAFETY: the length is not zero.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}
