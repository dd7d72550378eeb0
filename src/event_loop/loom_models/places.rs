//! The mailbox limit holds, and no place is lost.

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::model;
use crate::shared::places::Places;

/// Threads take a place each, and give it back, if they get one: no more than the limit may have one at a time.
fn no_more_than_the_limit<P: Send + Sync + 'static, C: 'static>(
    threads: usize,
    limit: usize,
    new: fn(usize) -> P,
    reserve: fn(&P) -> Option<C>,
    release: fn(&P, C),
) {
    model(move || {
        let places = Arc::new((new(limit), AtomicUsize::new(0)));
        let take_one = move |(places, occupied): &(P, AtomicUsize)| {
            let charge = reserve(places);
            let admitted = charge.is_some();
            if let Some(charge) = charge {
                assert!(
                    occupied.fetch_add(1, Ordering::Relaxed) < limit,
                    "past the limit"
                );
                occupied.fetch_sub(1, Ordering::Relaxed);
                release(places, charge);
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
        let free: Vec<_> = (0..limit).map_while(|_| reserve(&places.0)).collect();
        assert_eq!(free.len(), limit, "a place was lost");
        assert!(reserve(&places.0).is_none(), "a place too many");
    });
}

#[test]
fn the_mailbox_limit_holds_and_no_place_is_lost() {
    for (threads, limit) in [(3, 1), (3, 2)] {
        let new = |limit| Places::new(limit, usize::MAX);
        let reserve = |places: &Places| places.reserve_beside(1, 1, (0, 0));
        no_more_than_the_limit(threads, limit, new, reserve, Places::release);
    }
}

#[test]
fn the_share_of_a_source_is_kept_and_given_back() {
    // Any source may have the only place, since it is the first of that source; but one at a time.
    let new = |limit| Places::new(limit, usize::MAX);
    let reserve = |places: &Places| places.reserve(1, 1, 1);
    no_more_than_the_limit(2, 1, new, reserve, Places::release);
}

#[test]
#[should_panic(expected = "past the limit")]
fn a_limit_that_is_looked_at_and_then_counted_is_found() {
    let new = |limit| (AtomicUsize::new(0), limit);
    let reserve = |(taken, limit): &(AtomicUsize, usize)| {
        let has_room = taken.load(Ordering::Relaxed) < *limit;
        has_room.then(|| _ = taken.fetch_add(1, Ordering::Relaxed))
    };
    no_more_than_the_limit(2, 1, new, reserve, |(taken, _), ()| {
        taken.fetch_sub(1, Ordering::Relaxed);
    });
}
