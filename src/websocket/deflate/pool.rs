//! What the engines work with, kept by each thread for the next message.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

use flate2::{Compress, Compression, Decompress};

/// Of each kind, a thread keeps so many that nobody uses.
///
/// A loop needs one at a time for messages that are whole, and one for each message that arrives in pieces.
const KEPT: usize = 4;

/// A buffer for frames that has grown beyond this is not kept.
const KEPT_BUFFER_CAPACITY: usize = 256 * 1024;

/// Inflated bytes are handed out in chunks of at most this.
pub(super) const SCRATCH_LENGTH: usize = 16 * 1024;

/// A value that goes back to the pool of the thread on which it is dropped.
pub(crate) struct Lease<T: Pooled> {
    /// `None` only while it is being dropped.
    value: Option<Box<T>>,
}

/// What a thread keeps for the next who needs it.
pub(crate) trait Pooled: Sized + 'static {
    fn pool() -> &'static LocalKey<RefCell<Pool<Self>>>;

    /// Whether it is worth its memory.
    fn is_worth_keeping(&self) -> bool {
        true
    }
}

/// Boxed, since it is the box that is passed around. The last is the most recently used. At most `KEPT`.
type Pool<T> = Vec<Box<T>>;

impl<T: Pooled> Lease<T> {
    /// The most recently used that `fits`, or a new one, and whether it is new.
    fn take(fits: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> (Self, bool) {
        let kept = T::pool().with_borrow_mut(|pool| {
            let index = pool.iter().rposition(|value| fits(value))?;
            Some(pool.remove(index))
        });
        let is_new = kept.is_none();
        let value = kept.unwrap_or_else(|| Box::new(make()));
        (Lease { value: Some(value) }, is_new)
    }
}

impl<T: Pooled> Drop for Lease<T> {
    fn drop(&mut self) {
        let Some(value) = self.value.take() else {
            return;
        };
        if !value.is_worth_keeping() {
            return;
        }
        // A thread that is ending has no pool any more; then the value is dropped with the closure.
        let _ = T::pool().try_with(|pool| {
            let mut pool = pool.borrow_mut();
            // The longest unused goes, so that what a few odd peers agreed on does not stay for good.
            if pool.len() == KEPT {
                pool.remove(0);
            }
            pool.push(value);
            debug_assert!(pool.len() <= KEPT);
        });
    }
}

impl<T: Pooled> Deref for Lease<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.value.as_deref().expect("held until it is dropped")
    }
}

impl<T: Pooled> DerefMut for Lease<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_deref_mut().expect("held until it is dropped")
    }
}

impl<T: Pooled + fmt::Debug> fmt::Debug for Lease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A raw deflate stream being written.
#[derive(Debug)]
pub(super) struct Compressor {
    pub(super) stream: Compress,
    /// Whether all that was put in has come out. zlib-rs 0.6 keeps a part of what has not through a reset, and panics over
    /// it later.
    pub(super) is_flushed: bool,
    level: u8,
    window_bits: u8,
}

/// A raw deflate stream being read, and what the message that it is read for has come to.
#[derive(Debug)]
pub(super) struct Decompressor {
    pub(super) stream: Decompress,
    /// Bytes of the message that were read.
    pub(super) compressed: u64,
    /// Bytes that they gave.
    pub(super) inflated: u64,
    /// Whether the last that was read is the end of a final block.
    pub(super) is_at_end: bool,
}

/// Where inflated bytes are put before they are handed out.
#[derive(Debug)]
pub(super) struct Scratch(pub(super) [u8; SCRATCH_LENGTH]);

/// A compressor that has seen nothing yet.
pub(super) fn compressor(level: u8, window_bits: u8) -> Lease<Compressor> {
    let (mut compressor, is_new) = Lease::take(
        |kept: &Compressor| kept.level == level && kept.window_bits == window_bits,
        || Compressor {
            stream: Compress::new_with_window_bits(
                Compression::new(level.into()),
                false,
                window_bits,
            ),
            is_flushed: true,
            level,
            window_bits,
        },
    );
    if !is_new {
        compressor.stream.reset();
    }
    compressor
}

/// A decompressor that has seen nothing yet. It has the largest window: that takes what was written with any, and the
/// smaller would not be smaller in memory.
pub(super) fn decompressor() -> Lease<Decompressor> {
    let (mut decompressor, is_new) = Lease::take(
        |_| true,
        || Decompressor {
            stream: Decompress::new(false),
            compressed: 0,
            inflated: 0,
            is_at_end: false,
        },
    );
    if !is_new {
        decompressor.stream.reset(false);
        decompressor.compressed = 0;
        decompressor.inflated = 0;
        decompressor.is_at_end = false;
    }
    decompressor
}

/// A scratch buffer with whatever the last left in it.
pub(super) fn scratch() -> Lease<Scratch> {
    Lease::take(|_| true, || Scratch([0; SCRATCH_LENGTH])).0
}

/// An empty buffer to build a frame in.
pub(crate) fn frame_buffer() -> Lease<Vec<u8>> {
    let (mut buffer, _) = Lease::take(|_| true, Vec::new);
    buffer.clear();
    buffer
}

macro_rules! thread_pool {
    ($kind:ty) => {
        fn pool() -> &'static LocalKey<RefCell<Pool<Self>>> {
            thread_local! {
                static POOL: RefCell<Pool<$kind>> = const { RefCell::new(Vec::new()) };
            }
            &POOL
        }
    };
}

impl Pooled for Compressor {
    thread_pool!(Compressor);

    fn is_worth_keeping(&self) -> bool {
        self.is_flushed
    }
}

impl Pooled for Decompressor {
    thread_pool!(Decompressor);
}

impl Pooled for Scratch {
    thread_pool!(Scratch);
}

impl Pooled for Vec<u8> {
    thread_pool!(Vec<u8>);

    fn is_worth_keeping(&self) -> bool {
        self.capacity() <= KEPT_BUFFER_CAPACITY
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// On a thread of its own, whose pools are empty.
    fn on_a_new_thread(test: impl FnOnce() + Send) {
        thread::scope(|scope| {
            let outcome = scope.spawn(test).join();
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
    }

    fn kept<T: Pooled>() -> usize {
        T::pool().with_borrow(Vec::len)
    }

    #[test]
    fn what_is_dropped_is_used_again() {
        on_a_new_thread(|| {
            let first = compressor(1, 15);
            let address: *const Compressor = &*first;
            assert_eq!(kept::<Compressor>(), 0);
            drop(first);
            assert_eq!(kept::<Compressor>(), 1);
            let again = compressor(1, 15);
            assert_eq!(address, &*again as *const Compressor);
            assert_eq!(kept::<Compressor>(), 0);
        });
    }

    #[test]
    fn a_compressor_is_only_used_for_its_level_and_window() {
        on_a_new_thread(|| {
            drop(compressor(1, 15));
            let others = [compressor(1, 14), compressor(2, 15)];
            assert_eq!(kept::<Compressor>(), 1);
            drop(others);
            assert_eq!(kept::<Compressor>(), 3);
            let first = compressor(1, 15);
            assert_eq!((first.level, first.window_bits), (1, 15));
            assert_eq!(kept::<Compressor>(), 2);
        });
    }

    #[test]
    fn no_more_than_the_bound_is_kept_and_the_longest_unused_goes() {
        on_a_new_thread(|| {
            for window_bits in 9..=15 {
                drop(compressor(1, window_bits));
            }
            let mut bits: Vec<u8> = Compressor::pool()
                .with_borrow(|pool| pool.iter().map(|kept| kept.window_bits).collect());
            bits.sort_unstable();
            assert_eq!(bits, [12, 13, 14, 15]);

            let many: Vec<_> = (0..3 * KEPT).map(|_| decompressor()).collect();
            drop(many);
            assert_eq!(kept::<Decompressor>(), KEPT);
        });
    }

    #[test]
    fn a_compressor_within_a_flush_is_not_kept() {
        on_a_new_thread(|| {
            let mut compressor = compressor(1, 15);
            compressor.is_flushed = false;
            drop(compressor);
            assert_eq!(kept::<Compressor>(), 0);
        });
    }

    #[test]
    fn a_frame_buffer_comes_empty_and_is_not_kept_when_large() {
        on_a_new_thread(|| {
            let mut buffer = frame_buffer();
            buffer.extend_from_slice(b"frame");
            drop(buffer);
            assert_eq!(kept::<Vec<u8>>(), 1);
            let mut buffer = frame_buffer();
            assert!(buffer.is_empty() && buffer.capacity() >= 5);
            buffer.reserve(KEPT_BUFFER_CAPACITY + 1);
            drop(buffer);
            assert_eq!(kept::<Vec<u8>>(), 0);
        });
    }

    #[test]
    fn what_is_dropped_as_a_thread_ends_is_simply_dropped() {
        thread_local! {
            static LATE: RefCell<Option<Lease<Compressor>>> = const { RefCell::new(None) };
        }
        on_a_new_thread(|| {
            LATE.set(Some(compressor(1, 9)));
            drop(compressor(1, 9));
        });
    }
}
