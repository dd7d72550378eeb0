//! The publications that a worker has to deliver, as publishers on all threads see them.

use crate::shared::sync::atomic::{AtomicUsize, Ordering};

/// See the [module](self).
pub(crate) struct Backlog {
    /// Number of publications that wait for nothing but slow subscribers. The loop sleeps beside them.
    pub(crate) resting: AtomicUsize,
    /// Number of services with [too many](Lateness::is_late) deliveries before them.
    late: AtomicUsize,
}

impl Backlog {
    pub(crate) fn new() -> Self {
        Backlog {
            resting: AtomicUsize::new(0),
            late: AtomicUsize::new(0),
        }
    }

    /// True if so many deliveries wait that whoever publishes should wait for its own.
    pub(crate) fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed) > 0
    }
}

/// Number of publications up to which those that wait are never too many: they fill one write to each subscriber.
const FEW: usize = if cfg!(test) { 3 } else { 64 };
/// Number of deliveries up to which those that wait are never too many: some 30 ms of a worker's time.
const SOON: usize = if cfg!(test) { 9 } else { 32 * 1024 };

/// The deliveries that the topics of one service have before them.
#[derive(Default)]
pub(crate) struct Lateness {
    /// Publications that no round has delivered.
    publications: usize,
    /// Subscribers of these, at the time of each publication.
    deliveries: usize,
    is_late: bool,
}

impl Lateness {
    /// Counts in a publication to so many subscribers.
    pub(crate) fn add(&mut self, subscribers: usize, backlog: &Backlog) {
        self.publications += 1;
        self.deliveries += subscribers;
        self.tell(backlog);
    }

    /// Counts out publications that had so many subscribers together.
    pub(crate) fn remove(&mut self, publications: usize, subscribers: usize, backlog: &Backlog) {
        self.publications -= publications;
        self.deliveries -= subscribers;
        self.tell(backlog);
    }

    /// Counts all publications out.
    pub(crate) fn clear(&mut self, backlog: &Backlog) {
        (self.publications, self.deliveries) = (0, 0);
        self.tell(backlog);
    }

    /// True if so many deliveries wait that a publisher which sends on only makes others late.
    fn is_late(&self) -> bool {
        self.publications > FEW && self.deliveries > SOON
    }

    fn tell(&mut self, backlog: &Backlog) {
        let is_late = self.is_late();
        if std::mem::replace(&mut self.is_late, is_late) == is_late {
            return;
        }
        match is_late {
            true => backlog.late.fetch_add(1, Ordering::Relaxed),
            false => backlog.late.fetch_sub(1, Ordering::Relaxed),
        };
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_late_with_many_publications_to_many() {
        let backlog = Backlog::new();
        let [mut one, mut other] = [(); 2].map(|()| Lateness::default());
        (0..FEW).for_each(|_| one.add(SOON, &backlog));
        assert!(!backlog.is_late(), "they fill one write");
        one.add(0, &backlog);
        assert!(backlog.is_late());
        (0..=FEW).for_each(|_| other.add(SOON, &backlog));
        one.remove(1, 0, &backlog);
        assert!(backlog.is_late(), "the other service is");
        other.remove(FEW, FEW * SOON, &backlog);
        assert!(!backlog.is_late());
        (0..100 * FEW).for_each(|_| other.add(0, &backlog));
        assert!(!backlog.is_late(), "few deliveries");
    }
}
