//! A hierarchical timing wheel: timers in integer ticks, `now` handed in.
//!
//! [`Wheel`] holds timers and knows no clock; [`TickClock`] converts between durations since a start
//! and ticks.
//!
//! ```text
//!  level    slots                       occupancy
//!    0     [#][ ][#][#] ... [ ]    0 ... 1 1 0 1    a slot is one tick
//!    1     [ ][#][ ][ ] ... [#]    1 ... 0 0 1 0    64 ticks
//!    2     [ ][ ][#][ ] ... [ ]    0 ... 0 1 0 0    4096 ticks
//!    :            │
//!   10            └─► timer ⇄ timer ⇄ timer         in the order of arming
//! ```
//!
//! A deadline is read as eleven digits of six bits. A timer lives on the level of the highest digit
//! in which its deadline differs from the wheel's cursor, in the slot that this digit names. So
//! every timer on a level is due before every timer on the levels above, and the lowest occupied
//! slot of the lowest occupied level is the next one to look at: two `trailing_zeros`, however many
//! timers there are and however far apart. When the cursor reaches a slot above level 0, its timers
//! cascade to the levels below, each at most once a level.
//!
//! Eleven levels span all of `u64`: no deadline is too far and none is rounded.

mod entries;
mod invariants;
mod key;
mod tick_clock;

use std::fmt;

pub use key::TimerKey;
pub use tick_clock::TickClock;

use entries::{Entries, Link};

/// Bits of a deadline that one level resolves.
const LEVEL_BITS: u32 = 6;
/// Slots on one level, one bit each in its occupancy word.
const SLOTS: u32 = 1 << LEVEL_BITS;
/// Levels, enough for every `u64`.
const LEVELS: u32 = u64::BITS.div_ceil(LEVEL_BITS);
/// The end of a list.
const NIL: u32 = u32::MAX;

/// A set of timers, each with a deadline in ticks and a value, which come out once `now` has
/// reached the deadline.
///
/// # Costs
/// [`insert`](Self::insert), [`cancel`](Self::cancel), [`rearm`](Self::rearm) and
/// [`next_expiry`](Self::next_expiry) take constant time. A timer that fires has been moved at most
/// once for each level between its first slot and level 0 (twice for a minute of milliseconds, five
/// times for two years). Empty slots cost nothing, however long the wheel was left alone. The wheel
/// takes about 6 KiB, and a timer `size_of::<Option<T>>() + 24` bytes, rounded up to the alignment.
/// The memory of past timers is reused but not given back; while unused it takes 8 bytes more.
///
/// # Order
/// Timers come out in the order of their deadlines, and those of one tick in the order in which
/// they were armed (by `insert` or `rearm`).
///
/// # Deadlines in the past
/// A timer armed with a deadline at or before [`now`](Self::now) gets the deadline `now + 1`. So a
/// timer armed while others are being popped never joins them: each round ends, even when every
/// callback arms a timer that is due at once.
///
/// # Example
/// ```
/// use ringwheel::internal::Wheel;
///
/// let mut wheel = Wheel::new();
/// let ping = wheel.insert(30, "ping");
/// wheel.insert(20, "handshake timeout");
/// assert_eq!(wheel.pop_expired(19), None);
/// assert_eq!(wheel.next_expiry(), Some(20));
/// assert_eq!(wheel.pop_expired(25).map(|(_, value)| value), Some("handshake timeout"));
/// assert_eq!(wheel.cancel(ping), Some("ping"));
/// assert_eq!(wheel.cancel(ping), None);
/// ```
//
// Invariants:
// - `cursor <= now`, and every live timer's deadline is at or after the cursor.
// - A live timer is linked in exactly the slot `slot_for(deadline)`, except that those in the
//   slot being cascaded may still be there.
// - While a slot is being cascaded, it is the cursor's own on its level, and not empty.
// - The bit of a slot is set if and only if its list is not empty; the bit of a level if and only
//   if one of its slots is.
// - An entry is linked if and only if it is live.
pub struct Wheel<T> {
    entries: Entries<T>,
    /// The last tick handed in.
    now: u64,
    /// The tick up to which the slots are worked off: behind `now` only while timers that are due wait to
    /// be popped.
    cursor: u64,
    /// The level of the slot that is being cascaded, 0 if none. That slot is the cursor's own on
    /// the level, and until it is empty it also takes the new timers of its range, which keeps the
    /// order of arming.
    cascading: u32,
    /// Bit `l` is set if a slot of level `l` is occupied.
    occupied_levels: u32,
    /// For each level, bit `s` is set if slot `s` is occupied.
    occupied: [u64; LEVELS as usize],
    lists: Box<[List; (LEVELS * SLOTS) as usize]>,
}

/// The timers of one slot, in the order of arming.
#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
}

impl List {
    const EMPTY: Self = Self {
        head: NIL,
        tail: NIL,
    };
}

impl<T> Wheel<T> {
    /// The last tick. A wheel's [`now`](Self::now) stops there, so a timer for [`u64::MAX`] never
    /// fires.
    pub const LAST_TICK: u64 = u64::MAX - 1;

    /// The most entries a wheel can have.
    pub const MAX_TIMERS: usize = NIL as usize;

    /// An empty wheel at tick 0. It allocates its slots at once, and room for timers as they come.
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// An empty wheel at tick 0 with room for `timers` timers, so that growing to that number never
    /// copies them.
    pub fn with_capacity(timers: usize) -> Self {
        Self {
            entries: Entries::with_capacity(timers),
            now: 0,
            cursor: 0,
            cascading: 0,
            occupied_levels: 0,
            occupied: [0; LEVELS as usize],
            lists: Box::new([List::EMPTY; (LEVELS * SLOTS) as usize]),
        }
    }

    /// The number of live timers.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.live()
    }

    /// True if no timer is live.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.occupied_levels == 0
    }

    /// The latest tick that was handed to [`pop_expired`](Self::pop_expired), 0 at first.
    #[inline]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Arms a timer which comes out with `value` once `deadline` is reached. A deadline at or
    /// before [`now`](Self::now) is taken as `now + 1`; [`u64::MAX`] is never reached.
    ///
    /// # Panics
    /// If there are [`MAX_TIMERS`](Self::MAX_TIMERS) entries and none is free.
    #[inline]
    pub fn insert(&mut self, deadline: u64, value: T) -> TimerKey {
        let key = self.entries.occupy(value);
        self.link(key.index, deadline.max(self.now + 1));
        key
    }

    /// Takes a timer out before it fires. `None` if the key is stale.
    #[inline]
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        self.entries.get(key)?;
        self.unlink(key.index);
        Some(self.entries.vacate(key.index))
    }

    /// Moves a timer to another deadline, with the same rule for the past as
    /// [`insert`](Self::insert). Its key stays valid, and within its tick it comes after the timers
    /// that were armed before. `false` if the key is stale.
    #[inline]
    pub fn rearm(&mut self, key: TimerKey, deadline: u64) -> bool {
        if self.entries.get(key).is_none() {
            return false;
        }
        self.unlink(key.index);
        self.link(key.index, deadline.max(self.now + 1));
        true
    }

    /// True if the timer is live: neither fired nor cancelled.
    #[inline]
    pub fn contains(&self, key: TimerKey) -> bool {
        self.entries.get(key).is_some()
    }

    /// The value of a timer. `None` if the key is stale.
    #[inline]
    pub fn peek(&self, key: TimerKey) -> Option<&T> {
        self.entries.get(key)?.value.as_ref()
    }

    /// The tick at which a timer fires: at least `now + 1` as it was when it was armed. `None` if
    /// the key is stale.
    #[inline]
    pub fn deadline(&self, key: TimerKey) -> Option<u64> {
        Some(self.entries.get(key)?.deadline)
    }

    /// The earliest tick at which [`pop_expired`](Self::pop_expired) has something to do, `None` if
    /// there is no timer.
    ///
    /// This tick is never later than the earliest deadline. It is earlier, at most once for each level,
    /// when that timer shares its slot with others and has to cascade first. It is at or before
    /// [`now`](Self::now) only if timers that may be due were left unpopped: poll without waiting
    /// and go on.
    #[inline]
    pub fn next_expiry(&self) -> Option<u64> {
        let (slot, start) = self.first_slot()?;
        let list = self.lists[usize::from(slot)];
        // An idle loop with one far timer need not wake up to cascade it.
        let alone = list.head == list.tail && self.cascading == 0;
        Some(if alone {
            self.entries[list.head].deadline
        } else {
            start
        })
    }

    /// Moves on to tick `now` and takes out the first timer that is due. `None` if none is (any
    /// more).
    ///
    /// A `now` before the wheel's own is taken as unchanged. One call can cascade a whole slot; see
    /// [`pop_expired_within`](Self::pop_expired_within) for a bound.
    #[inline]
    pub fn pop_expired(&mut self, now: u64) -> Option<(TimerKey, T)> {
        self.pop_expired_within(now, &mut { usize::MAX })
    }

    /// As [`pop_expired`](Self::pop_expired), with a bound on the work: each timer that is popped
    /// or moved by a cascade takes one from `budget`, and at 0 the answer is `None`.
    ///
    /// The wheel stops between any two timers, and goes on from there at the next call: a slot of a
    /// million timers that has to cascade need not stall the loop. After `None`,
    /// [`next_expiry`](Self::next_expiry) is at or before [`now`](Self::now) if there may be more
    /// to do.
    ///
    /// ```
    /// use ringwheel::internal::Wheel;
    ///
    /// let mut wheel = Wheel::new();
    /// for _ in 0..100 {
    ///     wheel.insert(10, ());
    /// }
    /// let mut budget = 64;
    /// let mut fired = 0;
    /// while let Some((_key, ())) = wheel.pop_expired_within(10, &mut budget) {
    ///     fired += 1;
    /// }
    /// assert_eq!(fired, 64);
    /// assert_eq!(wheel.next_expiry(), Some(10));
    /// ```
    pub fn pop_expired_within(&mut self, now: u64, budget: &mut usize) -> Option<(TimerKey, T)> {
        self.now = self.now.max(now.min(Self::LAST_TICK));
        while *budget > 0 {
            let due = self.first_slot().filter(|&(_, start)| start <= self.now);
            let Some((slot, start)) = due else {
                // No occupied slot begins in between, so every timer keeps its own.
                self.cursor = self.now;
                return None;
            };
            self.cursor = start;
            if u32::from(slot) < SLOTS {
                *budget -= 1;
                return Some(self.pop_front(slot));
            }
            self.cascade(slot, budget);
        }
        None
    }

    /// The next slot to look at and the first tick of its range.
    #[inline]
    fn first_slot(&self) -> Option<(u16, u64)> {
        if self.cascading != 0 {
            return Some((slot_at(self.cascading, self.cursor), self.cursor));
        }
        if self.occupied_levels == 0 {
            return None;
        }
        let level = self.occupied_levels.trailing_zeros();
        let digit = self.occupied[level as usize].trailing_zeros();
        let shift = level * LEVEL_BITS;
        // No wrap-around: a timer's digit on its level is above the cursor's, and the digits above
        // are the same.
        let above = (self.cursor >> shift) & !u64::from(SLOTS - 1);
        let start = (above | u64::from(digit)) << shift;
        Some(((level * SLOTS + digit) as u16, start))
    }

    /// Moves the timers of the cursor's slot on a level to the levels below, as far as the budget
    /// goes.
    fn cascade(&mut self, slot: u16, budget: &mut usize) {
        let mut index = self.lists[usize::from(slot)].head;
        self.cascading = 0;
        while index != NIL && *budget > 0 {
            *budget -= 1;
            let next = self.entries.links[index as usize].next;
            self.link(index, self.entries[index].deadline);
            index = next;
        }
        if index == NIL {
            self.lists[usize::from(slot)] = List::EMPTY;
            self.mark_empty(slot);
        } else {
            self.lists[usize::from(slot)].head = index;
            self.entries.links[index as usize].prev = NIL;
            self.cascading = u32::from(slot) / SLOTS;
        }
    }

    /// Takes out the first timer of the cursor's slot on level 0.
    #[inline]
    fn pop_front(&mut self, slot: u16) -> (TimerKey, T) {
        let index = self.lists[usize::from(slot)].head;
        let entry = &self.entries[index];
        debug_assert_eq!(
            entry.deadline, self.cursor,
            "a timer on level 0 fires at its own tick"
        );
        let key = TimerKey {
            index,
            generation: entry.generation,
        };
        self.unlink(index);
        (key, self.entries.vacate(index))
    }

    /// The slot of a deadline, as seen from the cursor.
    #[inline]
    fn slot_for(&self, deadline: u64) -> u16 {
        debug_assert!(deadline >= self.cursor, "no timer is armed in the past");
        slot_at(
            level_for(self.cursor, deadline).max(self.cascading),
            deadline,
        )
    }

    /// Appends an unlinked entry to the slot of its deadline.
    #[inline]
    fn link(&mut self, index: u32, deadline: u64) {
        let slot = self.slot_for(deadline);
        let list = &mut self.lists[usize::from(slot)];
        let prev = std::mem::replace(&mut list.tail, index);
        if prev == NIL {
            list.head = index;
            let level = u32::from(slot) / SLOTS;
            self.occupied[level as usize] |= 1 << (u32::from(slot) % SLOTS);
            self.occupied_levels |= 1 << level;
        } else {
            self.entries.links[prev as usize].next = index;
        }
        let entry = &mut self.entries[index];
        entry.deadline = deadline;
        entry.slot = slot;
        self.entries.links[index as usize] = Link { prev, next: NIL };
    }

    /// Takes a linked entry out of its slot.
    #[inline]
    fn unlink(&mut self, index: u32) {
        let slot = self.entries[index].slot;
        let Link { prev, next } = self.entries.links[index as usize];
        if prev == NIL {
            self.lists[usize::from(slot)].head = next;
        } else {
            self.entries.links[prev as usize].next = next;
        }
        if next == NIL {
            self.lists[usize::from(slot)].tail = prev;
        } else {
            self.entries.links[next as usize].prev = prev;
        }
        if prev == NIL && next == NIL {
            self.mark_empty(slot);
        }
    }

    /// Clears the bits of a slot whose last timer has left.
    #[inline]
    fn mark_empty(&mut self, slot: u16) {
        let level = u32::from(slot) / SLOTS;
        let occupied = &mut self.occupied[level as usize];
        *occupied &= !(1 << (u32::from(slot) % SLOTS));
        if *occupied == 0 {
            self.occupied_levels &= !(1 << level);
        }
        if slot == slot_at(self.cascading, self.cursor) {
            self.cascading = 0;
        }
    }
}

/// The level of the highest digit in which two ticks differ, 0 if they are the same.
#[inline]
fn level_for(cursor: u64, deadline: u64) -> u32 {
    ((cursor ^ deadline) | 1).ilog2() / LEVEL_BITS
}

/// The slot that a tick names on a level.
#[inline]
fn slot_at(level: u32, tick: u64) -> u16 {
    let digit = (tick >> (level * LEVEL_BITS)) as u32 & (SLOTS - 1);
    (level * SLOTS + digit) as u16
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Wheel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wheel")
            .field("len", &self.len())
            .field("now", &self.now)
            .field("next_expiry", &self.next_expiry())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
