//! Rings that outlive their borrowers.

use std::sync::Arc;

use crate::RingBuffer;
use crate::shelf::Shelf;

/// The bounds of a [`RingPool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// The capacity of a ring that the pool allocates, in bytes. Default: 4 KiB.
    pub initial_capacity: usize,
    /// The highest capacity that an idle ring keeps, in bytes; of a ring that comes back larger the
    /// pool keeps the storage apart, for the next ring that grows to about its size, and the ring
    /// starts again with `initial_capacity`. Less than `initial_capacity` counts as
    /// `initial_capacity`. Default: 64 KiB.
    pub keep_capacity: usize,
    /// The highest number of large storages that are kept; the oldest makes way for a new one.
    /// Default: 8.
    pub max_large: usize,
    /// The highest number of bytes of all large storages that are kept; the oldest make way for a
    /// new one, and one that is larger by itself is freed. 0 keeps none. Default: 8 MiB.
    pub large_bytes: usize,
    /// The highest number of idle rings in the pool; a ring that comes back beyond it is freed.
    /// Default: 64.
    pub max_idle: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            initial_capacity: 4 * 1024,
            keep_capacity: 64 * 1024,
            max_large: 8,
            large_bytes: 8 * 1024 * 1024,
            max_idle: 64,
        }
    }
}

/// A bounded pool that lends rings.
///
/// A connection needs a ring only while it has something left to read or to write, so many
/// connections can share a few rings. The ring given back last is lent first: it is the one whose
/// memory is most likely still in the processor's cache.
///
/// The pool bounds the idle rings, not the lent ones: a lender that must bound those too counts its
/// borrowers.
///
/// A ring that grows beyond `keep_capacity` takes its storage from those that earlier rings of this
/// size have left, if there is one of at most twice the bytes that it needs: so that large messages
/// do not pay for allocating and zeroing each time.
///
/// Invariants: at most `max_idle` rings are idle, each of them empty and of at most `keep_capacity`
/// bytes, and at most `max_large` storages of together at most `large_bytes` are kept. The pool
/// therefore never holds more than `max_idle * keep_capacity + large_bytes` bytes.
///
/// ```
/// use ringwheel_ringbuffer::{PoolConfig, RingPool};
///
/// let mut pool = RingPool::new(PoolConfig::default());
/// let mut ring = pool.lend(1024 * 1024);
/// ring.extend_from_slice(b"not yet sent").unwrap();
/// pool.give_back(ring);
/// assert_eq!(pool.idle(), 1);
/// assert!(pool.lend(1024).is_empty());
/// ```
#[derive(Debug)]
pub struct RingPool {
    #[expect(
        clippy::vec_box,
        reason = "rings are lent boxed: unboxed here, each loan would allocate"
    )]
    idle: Vec<Box<RingBuffer>>,
    shelf: Arc<Shelf>,
    config: PoolConfig,
}

impl RingPool {
    /// A pool that holds no ring yet.
    pub fn new(config: PoolConfig) -> Self {
        let keep_capacity = config.keep_capacity.max(config.initial_capacity);
        Self {
            idle: Vec::new(),
            shelf: Arc::new(Shelf::new(
                keep_capacity,
                config.max_large,
                config.large_bytes,
            )),
            config: PoolConfig {
                keep_capacity,
                ..config
            },
        }
    }

    /// An empty ring with room for at most `limit` bytes: the one given back last, or a new one.
    #[inline]
    pub fn lend(&mut self, limit: usize) -> Box<RingBuffer> {
        let mut ring = match self.idle.pop() {
            Some(ring) => ring,
            None => self.allocate(),
        };
        ring.set_limit(limit);
        ring
    }

    /// Takes a ring back and clears it. Keeps it for the next loan if the bounds of the pool's
    /// [`PoolConfig`] allow.
    #[inline(always)]
    pub fn give_back(&mut self, mut ring: Box<RingBuffer>) {
        ring.clear();
        if ring.capacity() > self.config.keep_capacity {
            self.shrink(&mut ring);
        }
        if self.idle.len() < self.config.max_idle {
            self.idle.push(ring);
        } else {
            free(ring);
        }
        self.debug_check();
    }

    /// The number of idle rings.
    #[inline]
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    /// The large storages that are kept, together, in bytes.
    pub fn large_bytes(&self) -> usize {
        self.shelf.bytes()
    }

    /// The capacity of all idle rings together, in bytes.
    pub fn idle_bytes(&self) -> usize {
        self.idle.iter().map(|ring| ring.capacity()).sum()
    }

    #[cold]
    fn allocate(&self) -> Box<RingBuffer> {
        let mut ring = RingBuffer::with_capacity(self.config.initial_capacity);
        ring.set_shelf(&self.shelf);
        Box::new(ring)
    }

    /// Takes the storage of a large ring, which is empty, and gives it a small one.
    #[cold]
    fn shrink(&self, ring: &mut RingBuffer) {
        ring.set_shelf(&self.shelf);
        let small = vec![0; self.config.initial_capacity];
        self.shelf.put(ring.replace_storage(small));
    }

    #[inline]
    fn debug_check(&self) {
        debug_assert!(self.idle.len() <= self.config.max_idle);
        debug_assert!(self.idle.last().is_none_or(|ring| {
            ring.is_empty() && ring.capacity() <= self.config.keep_capacity
        }));
    }
}

/// Frees a ring for which there is no room.
// Out of line, so that giving a ring back is short.
#[cold]
fn free(ring: Box<RingBuffer>) {
    drop(ring);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small_pool() -> RingPool {
        RingPool::new(PoolConfig {
            initial_capacity: 16,
            keep_capacity: 64,
            max_large: 2,
            large_bytes: 1_000,
            max_idle: 2,
        })
    }

    #[test]
    fn a_new_pool_holds_nothing_and_lends_its_initial_capacity() {
        let mut pool = small_pool();
        assert_eq!((pool.idle(), pool.idle_bytes()), (0, 0));
        let ring = pool.lend(1000);
        assert_eq!((ring.capacity(), ring.limit()), (16, 1000));
        assert!(ring.is_empty());
    }

    #[test]
    fn the_ring_given_back_last_is_lent_first_and_empty() {
        let mut pool = small_pool();
        let (mut first, mut second) = (pool.lend(100), pool.lend(100));
        first.extend_from_slice(b"first").unwrap();
        second.extend_from_slice(b"second").unwrap();
        let hottest: *const RingBuffer = &*second;
        pool.give_back(first);
        pool.give_back(second);
        assert_eq!((pool.idle(), pool.idle_bytes()), (2, 32));
        let again = pool.lend(7);
        assert!(std::ptr::eq(&*again, hottest));
        assert_eq!((again.len(), again.limit(), pool.idle()), (0, 7, 1));
    }

    #[test]
    fn rings_beyond_max_idle_are_freed() {
        let mut pool = small_pool();
        let lent: Vec<_> = (0..5).map(|_| pool.lend(100)).collect();
        lent.into_iter().for_each(|ring| pool.give_back(ring));
        assert_eq!((pool.idle(), pool.idle_bytes()), (2, 32));
    }

    #[test]
    fn a_ring_that_was_large_is_shrunk() {
        let mut pool = small_pool();
        for (held, kept) in [(64, 64), (65, 16), (1000, 16)] {
            let mut ring = Box::new(RingBuffer::with_capacity(held));
            ring.extend_from_slice(&vec![1; held]).unwrap();
            pool.give_back(ring);
            assert_eq!(pool.lend(100).capacity(), kept, "held {held}");
        }
    }

    #[test]
    fn a_ring_that_grows_takes_the_storage_of_a_large_one() {
        let mut pool = small_pool();
        let mut large = pool.lend(1_000);
        large.extend_from_slice(&[7; 600]).unwrap();
        pool.give_back(large);
        assert_eq!((pool.large_bytes(), pool.idle_bytes()), (600, 16));
        let mut ring = pool.lend(1_000);
        ring.extend_from_slice(b"beginning").unwrap();
        ring.reserve(391).unwrap();
        assert_eq!((ring.capacity(), pool.large_bytes()), (600, 0));
        assert_eq!(ring.contiguous(), b"beginning");
        // A large storage that it outgrows is kept for others.
        ring.reserve(700).unwrap();
        assert_eq!((ring.capacity(), pool.large_bytes()), (1_000, 600));
        // One that is larger than the ring may be is not lent.
        let mut small = pool.lend(550);
        small.reserve(199).unwrap();
        assert_eq!((small.capacity(), pool.large_bytes()), (512, 600));
    }

    #[test]
    fn keep_capacity_is_at_least_initial_capacity() {
        let mut pool = RingPool::new(PoolConfig {
            initial_capacity: 16,
            keep_capacity: 0,
            max_idle: 1,
            ..PoolConfig::default()
        });
        let ring = pool.lend(100);
        pool.give_back(ring);
        assert_eq!(pool.idle_bytes(), 16);
    }

    #[test]
    fn a_pool_without_idle_rings_frees_each_ring() {
        let mut pool = RingPool::new(PoolConfig {
            max_idle: 0,
            ..PoolConfig::default()
        });
        let ring = pool.lend(100);
        pool.give_back(ring);
        assert_eq!(pool.idle(), 0);
        assert_eq!(pool.lend(100).capacity(), 4096);
    }
}
