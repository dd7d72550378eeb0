//! The mailbox limit holds, and no place is lost.

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::model;
use crate::shared::places::Places;

/// Threads take a place each, and give it back, if they get one: no more than the limit may have one at a time.
fn no_more_than_the_limit<P: Send + Sync + 'static>(
    threads: usize,
    limit: usize,
    new: fn(usize) -> P,
    reserve: fn(&P) -> bool,
    release: fn(&P),
) {
    model(move || {
        let places = Arc::new((new(limit), AtomicUsize::new(0)));
        let take_one = move |(places, occupied): &(P, AtomicUsize)| {
            let admitted = reserve(places);
            if admitted {
                assert!(
                    occupied.fetch_add(1, Ordering::Relaxed) < limit,
                    "past the limit"
                );
                occupied.fetch_sub(1, Ordering::Relaxed);
                release(places);
            }
            admitted
        };
        let takers: Vec<_> = (0..threads)
            .map(|_| {
                let places = places.clone();
                thread::spawn(move || take_one(&places))
            })
            .collect();
        let mut admitted = 0;
        for taker in takers {
            admitted += usize::from(taker.join().unwrap());
        }
        assert!(admitted >= limit.min(threads), "refused in spite of room");
        let is_free = (0..limit).all(|_| reserve(&places.0));
        assert!(is_free, "a place was lost");
        assert!(!reserve(&places.0), "a place too many");
    });
}

#[test]
fn the_mailbox_limit_holds_and_no_place_is_lost() {
    for (threads, limit) in [(3, 1), (3, 2)] {
        no_more_than_the_limit(threads, limit, Places::new, Places::reserve, |places| {
            places.release(1);
        });
    }
}

#[test]
#[should_panic(expected = "past the limit")]
fn a_limit_that_is_looked_at_and_then_counted_is_found() {
    let new = |limit| (AtomicUsize::new(0), limit);
    let reserve = |(taken, limit): &(AtomicUsize, usize)| {
        let has_room = taken.load(Ordering::Relaxed) < *limit;
        if has_room {
            taken.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    };
    no_more_than_the_limit(2, 1, new, reserve, |(taken, _)| {
        taken.fetch_sub(1, Ordering::Relaxed);
    });
}
