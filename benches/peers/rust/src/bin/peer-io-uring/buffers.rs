//! The buffers into which the kernel receives. The kernel takes the next one only when bytes have come, so idle
//! connections hold none.
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

/// The number of the buffer group.
pub(crate) const GROUP: u16 = 0;
/// Length of one buffer.
const BUFFER: usize = 16 * 1024;
/// Number of buffers that are added together: 4 MiB.
const CHUNK: usize = 256;
/// Highest number of places in the ring, and so of buffers: the kernel's limit.
const ENTRIES: u16 = 1 << 15;
/// The alignment that the kernel requires of the ring.
const PAGE: usize = 4096;

/// All buffers, and the ring through which they are given to the kernel.
///
/// Invariant: a buffer belongs either to the kernel (it is in the ring, or its completion was not seen yet), or to the
/// one [`Buffer`] that names it. Nothing is ever freed.
pub(crate) struct Buffers {
    ring: NonNull<BufRingEntry>,
    /// Number of buffers given to the kernel, modulo 2^16.
    tail: u16,
    chunks: Vec<NonNull<u8>>,
    /// Number of buffers that belong to us.
    lent: usize,
}

/// A buffer with received bytes.
#[derive(Debug)]
pub(crate) struct Buffer {
    id: u16,
    start: NonNull<u8>,
    length: usize,
}

impl Buffer {
    /// The received bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the buffer is ours until it is given back, and the kernel has written this many bytes.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Buffers {
    /// Registers the ring and gives the first buffers to the kernel.
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

    /// Returns a buffer to the kernel.
    pub(crate) fn give_back(&mut self, buffer: Buffer) {
        self.lent -= 1;
        self.give(buffer.id);
    }

    /// Called when the kernel had no buffer left. If connections hold them, more are added; otherwise buffers return
    /// with the completions that are already waiting.
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
        // SAFETY: the place is within the ring, and the kernel does not read it before the tail has passed it. The
        // fields are set one by one, because the tail is stored in a field of the first entry that must not be
        // overwritten.
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

/// Zeroed memory, aligned to a page and never freed.
fn allocate(bytes: usize) -> NonNull<u8> {
    let layout = Layout::from_size_align(bytes, PAGE).expect("a length far below the limit");
    // SAFETY: the length is not zero.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}
