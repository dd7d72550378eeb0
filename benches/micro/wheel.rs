//! The timing wheel compared with a `BinaryHeap` and tokio-util's `DelayQueue`, with a thousand to a million live
//! timers.
//!
//! Deadlines are spread evenly over the next minute, in ticks of a millisecond. The time is per timer:
//! - `insert_cancel`: arms a new timer and cancels the one armed 64 before, like timeouts that do not fire.
//! - `replace`: cancels a random live timer and arms a new one instead. No entry is in the cache.
//! - `rearm`: moves a random live timer to a new deadline.
//! - `expire`: moves the clock on until about 64 timers are due, pops them, and arms as many new ones.
//!
//! The heap deletes lazily, as heaps usually do: a cancelled timer stays until it comes up, or until more than half of
//! the heap is stale and all stale entries are removed. The `DelayQueue` runs in a tokio runtime with a paused clock,
//! which `expire` moves on once per 64 timers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hint::black_box;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use ringwheel::internal::{TimerKey, Wheel};
use tokio::runtime::{Builder, EnterGuard, Runtime};
use tokio_util::time::{DelayQueue, delay_queue};

const LIVE: [u64; 3] = [1_000, 100_000, 1_000_000];
/// Ticks over which the deadlines are spread.
const HORIZON: u64 = 60_000;
/// Timers that are due at each step of `expire`, on average.
const DUE: u64 = 64;
/// Number of timers between arming and cancelling in `insert_cancel`.
const IN_FLIGHT: usize = 64;

/// The compared interface. A timer's value is a `u64`, like a connection's token.
trait Timers {
    const NAME: &str;
    type Key: Copy;

    fn new() -> Self;
    fn now(&self) -> u64;
    fn insert(&mut self, deadline: u64, value: u64) -> Self::Key;
    fn cancel(&mut self, key: Self::Key) -> u64;
    fn rearm(&mut self, key: Self::Key, deadline: u64);
    /// Moves the clock on by `ticks`, and pushes the value of each timer that is due.
    fn advance(&mut self, ticks: u64, due: &mut Vec<u64>);
}

impl Timers for Wheel<u64> {
    const NAME: &str = "wheel";
    type Key = TimerKey;

    fn new() -> Self {
        Self::new()
    }

    fn now(&self) -> u64 {
        self.now()
    }

    fn insert(&mut self, deadline: u64, value: u64) -> TimerKey {
        self.insert(deadline, value)
    }

    fn cancel(&mut self, key: TimerKey) -> u64 {
        self.cancel(key).expect("the timer is live")
    }

    fn rearm(&mut self, key: TimerKey, deadline: u64) {
        assert!(self.rearm(key, deadline));
    }

    fn advance(&mut self, ticks: u64, due: &mut Vec<u64>) {
        let now = self.now() + ticks;
        while let Some((_, value)) = self.pop_expired(now) {
            due.push(value);
        }
    }
}

/// A heap of (deadline, index, arming). An entry is stale if its arming is not the timer's current one.
struct Heap {
    heap: BinaryHeap<Reverse<(u64, u32, u32)>>,
    timers: Vec<HeapTimer>,
    free: Vec<u32>,
    stale: usize,
    now: u64,
}

#[derive(Clone, Copy)]
struct HeapTimer {
    arming: u32,
    value: u64,
}

impl Heap {
    fn push(&mut self, deadline: u64, index: u32) {
        self.heap.push(Reverse((
            deadline,
            index,
            self.timers[index as usize].arming,
        )));
    }

    /// Makes the timer's current entry in the heap stale.
    fn disarm(&mut self, index: u32) -> u64 {
        let timer = &mut self.timers[index as usize];
        timer.arming = timer.arming.wrapping_add(1);
        timer.value
    }

    fn sweep(&mut self) {
        self.stale += 1;
        if self.stale > self.heap.len() / 2 {
            self.heap.retain(|&Reverse((_, index, arming))| {
                self.timers[index as usize].arming == arming
            });
            self.stale = 0;
        }
    }
}

impl Timers for Heap {
    const NAME: &str = "binary_heap";
    type Key = u32;

    fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            timers: Vec::new(),
            free: Vec::new(),
            stale: 0,
            now: 0,
        }
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn insert(&mut self, deadline: u64, value: u64) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.timers.push(HeapTimer { arming: 0, value });
            self.timers.len() as u32 - 1
        });
        self.timers[index as usize].value = value;
        self.push(deadline, index);
        index
    }

    fn cancel(&mut self, index: u32) -> u64 {
        let value = self.disarm(index);
        self.free.push(index);
        self.sweep();
        value
    }

    fn rearm(&mut self, index: u32, deadline: u64) {
        self.disarm(index);
        self.push(deadline, index);
        self.sweep();
    }

    fn advance(&mut self, ticks: u64, due: &mut Vec<u64>) {
        self.now += ticks;
        while let Some(&Reverse((deadline, index, arming))) = self.heap.peek() {
            if deadline > self.now {
                break;
            }
            self.heap.pop();
            if self.timers[index as usize].arming == arming {
                due.push(self.disarm(index));
                self.free.push(index);
            } else {
                self.stale -= 1;
            }
        }
    }
}

struct Tokio {
    queue: DelayQueue<u64>,
    runtime: &'static Runtime,
    /// Stays entered, since entering costs as much as an operation.
    _entered: EnterGuard<'static>,
    start: tokio::time::Instant,
    now: u64,
}

impl Tokio {
    fn instant(&self, tick: u64) -> tokio::time::Instant {
        self.start + Duration::from_millis(tick)
    }
}

impl Timers for Tokio {
    const NAME: &str = "delay_queue";
    type Key = delay_queue::Key;

    fn new() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let runtime: &Runtime = Box::leak(Box::new(runtime.expect("a runtime without I/O")));
        let _entered = runtime.enter();
        let start = tokio::time::Instant::now();
        Self {
            queue: DelayQueue::new(),
            runtime,
            _entered,
            start,
            now: 0,
        }
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn insert(&mut self, deadline: u64, value: u64) -> delay_queue::Key {
        let instant = self.instant(deadline);
        self.queue.insert_at(value, instant)
    }

    fn cancel(&mut self, key: delay_queue::Key) -> u64 {
        self.queue.remove(&key).into_inner()
    }

    fn rearm(&mut self, key: delay_queue::Key, deadline: u64) {
        let instant = self.instant(deadline);
        self.queue.reset_at(&key, instant);
    }

    fn advance(&mut self, ticks: u64, due: &mut Vec<u64>) {
        self.now += ticks;
        self.runtime
            .block_on(tokio::time::advance(Duration::from_millis(ticks)));
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(expired)) = self.queue.poll_expired(&mut context) {
            due.push(expired.into_inner());
        }
    }
}

/// A constant number of live timers, and their keys in no particular order.
struct Population<T: Timers> {
    timers: T,
    keys: Vec<T::Key>,
    random: u64,
}

impl<T: Timers> Population<T> {
    /// Makes `live` timers, and moves the clock on until all of the first ones have fired.
    fn new(live: u64) -> Self {
        let mut population = Self {
            timers: T::new(),
            keys: Vec::new(),
            random: 1,
        };
        for _ in 0..live {
            population.insert();
        }
        while population.timers.now() <= HORIZON {
            population.expire(live);
        }
        population
    }

    /// xorshift: cheap compared with the measured operations.
    fn random(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((u128::from(self.random) * u128::from(bound)) >> 64) as u64
    }

    fn deadline(&mut self) -> u64 {
        self.timers.now() + 1 + self.random(HORIZON)
    }

    /// A timer's value is the position of its key in the list.
    fn insert(&mut self) {
        let deadline = self.deadline();
        let key = self.timers.insert(deadline, self.keys.len() as u64);
        self.keys.push(key);
    }

    fn insert_cancel(&mut self, in_flight: &mut VecDeque<T::Key>) {
        let deadline = self.deadline();
        in_flight.push_back(self.timers.insert(deadline, 0));
        if in_flight.len() > IN_FLIGHT {
            let oldest = in_flight.pop_front().expect("not empty");
            assert_eq!(self.timers.cancel(oldest), 0);
        }
    }

    fn replace(&mut self) {
        let place = self.random(self.keys.len() as u64);
        let deadline = self.deadline();
        assert_eq!(self.timers.cancel(self.keys[place as usize]), place);
        self.keys[place as usize] = self.timers.insert(deadline, place);
    }

    fn rearm(&mut self) {
        let place = self.random(self.keys.len() as u64);
        let deadline = self.deadline();
        self.timers.rearm(self.keys[place as usize], deadline);
    }

    /// Advances the clock by one step. Returns how many timers fired.
    fn expire(&mut self, live: u64) -> u64 {
        let mut due = Vec::with_capacity(2 * DUE as usize);
        self.timers
            .advance((HORIZON * DUE / 2 / live).max(1), &mut due);
        for &place in &due {
            let deadline = self.deadline();
            self.keys[place as usize] = self.timers.insert(deadline, place);
        }
        due.len() as u64
    }
}

fn bench<T: Timers>(criterion: &mut Criterion, live: u64) {
    let mut population = Population::<T>::new(live);
    let mut group = criterion.benchmark_group("expire");
    group.bench_function(BenchmarkId::new(T::NAME, live), |bencher| {
        bencher.iter_custom(|timers| {
            let (start, mut fired) = (Instant::now(), 0);
            while fired < timers {
                fired += black_box(population.expire(live));
            }
            start.elapsed().mul_f64(timers as f64 / fired as f64)
        });
    });
    group.finish();
    let mut group = criterion.benchmark_group("rearm");
    group.bench_function(BenchmarkId::new(T::NAME, live), |bencher| {
        bencher.iter(|| population.rearm());
    });
    group.finish();
    let mut group = criterion.benchmark_group("replace");
    group.bench_function(BenchmarkId::new(T::NAME, live), |bencher| {
        bencher.iter(|| population.replace());
    });
    group.finish();
    let mut in_flight = VecDeque::new();
    let mut group = criterion.benchmark_group("insert_cancel");
    group.bench_function(BenchmarkId::new(T::NAME, live), |bencher| {
        bencher.iter(|| population.insert_cancel(&mut in_flight));
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for live in LIVE {
        bench::<Wheel<u64>>(&mut criterion, live);
        bench::<Heap>(&mut criterion, live);
        bench::<Tokio>(&mut criterion, live);
    }
    criterion.final_summary();
}
