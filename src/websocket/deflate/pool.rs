//! Pools of the memory that the engines work with: each thread keeps some of it for the next message.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

use flate2::{Compress, Compression, Decompress};

/// The most unused values of each kind that a thread keeps.
///
/// A loop needs one at a time for whole messages, and one for each message that arrives in pieces.
const KEPT: usize = 4;

/// The largest capacity of a frame buffer that is kept.
const KEPT_BUFFER_CAPACITY: usize = 256 * 1024;

/// The largest chunk in which inflated bytes are handed out.
pub(super) const SCRATCH_LENGTH: usize = 16 * 1024;

/// A value that returns to the pool of the thread on which it is dropped.
pub(crate) struct Lease<T: Pooled> {
    /// `None` only while the lease is being dropped.
    value: Option<Box<T>>,
}

/// A kind of value that threads keep in a pool.
pub(crate) trait Pooled: Sized + 'static {
    fn pool() -> &'static LocalKey<RefCell<Pool<Self>>>;

    /// True if the value is worth its memory while unused.
    fn is_worth_keeping(&self) -> bool {
        true
    }
}

/// At most `KEPT` values, of which the last is the most recently used. They stay boxed, since leases pass the box around.
type Pool<T> = Vec<Box<T>>;

impl<T: Pooled> Lease<T> {
    /// The most recently used value that `fits`, or a new one. The flag is true if it is new.
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
        // A thread that is ending has no pool any more: the value is then dropped with the closure.
        let _ = T::pool().try_with(|pool| {
            let mut pool = pool.borrow_mut();
            // The longest unused value goes, so that compressors with rare parameters do not stay for ever.
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
    /// True if all input has come out. zlib-rs 0.6 keeps a part of pending output through a reset, and panics over it later.
    pub(super) is_flushed: bool,
    level: u8,
    window_bits: u8,
}

/// A raw deflate stream being read, and counts of the message that it is read for.
#[derive(Debug)]
pub(super) struct Decompressor {
    pub(super) stream: Decompress,
    /// Compressed bytes of the message so far.
    pub(super) compressed: u64,
    /// Inflated bytes of the message so far.
    pub(super) inflated: u64,
    /// True if the last byte that was read ended a final block.
    pub(super) is_at_end: bool,
}

/// The buffer of inflated bytes before they are handed out.
#[derive(Debug)]
pub(super) struct Scratch(pub(super) [u8; SCRATCH_LENGTH]);

/// A compressor without a context.
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

/// A decompressor without a context. It has the largest window, which reads streams of any window; a smaller one would not take
/// less memory.
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

/// A scratch buffer with any content.
pub(super) fn scratch() -> Lease<Scratch> {
    Lease::take(|_| true, || Scratch([0; SCRATCH_LENGTH])).0
}

/// An empty buffer for the payload of a frame.
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
