//! The topics of a service on one worker: their subscribers, and the publications that some subscribers have not got.

pub(crate) mod reading;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use crate::connection::id::ConnId;
use crate::connection::name_table::NameTable;
use crate::connection::subscribers::{List, Subscribers};
use crate::connection::topic_log::Log;
use crate::shared::backlog::{Backlog, Lateness};
use crate::shared::sync::atomic::Ordering;

use reading::Head;

/// Cost of the deliveries of a topic before the other topics have their turn: about 64 visits to subscribers.
const TURN: usize = 2048;

/// Bytes that a subscription takes at most besides the topic's name, in a topic of its own. Tables double, so that it is twice 40
/// for the place in the table of subscribers, twice 56 for the topic and twice 8 in the connection's own list, then 39 for the
/// hash of the name and 24 for what an allocator adds to the name: 271, and what is left covers small tables.
pub(crate) const SUBSCRIPTION_BYTES: usize = 288;

/// The topics of one service. A topic exists as long as it has subscribers, or entries in its log.
///
/// A topic is a log with a reader for each subscriber. A publication is appended, and reaches the subscribers of that time: a
/// later subscriber begins to read behind it. The log is delivered in rounds, from subscriber to subscriber, as far as the loop's budget
/// allows; and a connection that is about to be called gets all that was published before first, so that it never misses
/// the order of events. All entries have a stamp, by which a subscriber of several topics reads them in order.
///
/// A subscriber without room [lags](Self::lag): rounds pass it over, and the entries from its place on stay in the log until it
/// has read them. So an entry is done once all have it, and its publisher waits for slow subscribers. Entries that wait
/// for no others rest: the loop may sleep while there are such entries.
///
/// Peers choose names, so that topics with one subscriber are kept small.
pub(crate) struct Topics<T, S = RandomState> {
    topics: NameTable<Topic<T>, S>,
    subscribers: Subscribers,
    /// Topics with entries that a round has to deliver, or that are done, in the order of their turns.
    active: VecDeque<u32>,
    /// Cost of what the first of them has delivered in its turn.
    used: usize,
    /// Number of subscriptions that lag.
    lagging: usize,
    /// The entries that rounds have to deliver.
    lateness: Lateness,
    /// The memory of the last reading, empty.
    heads: Vec<Reverse<Head>>,
    /// The backlog of the worker; entries in the logs of topics that are not active rest there.
    backlog: Arc<Backlog>,
}

struct Topic<T> {
    subscribers: List,
    /// Number of the first entry in the log, counted since the topic exists.
    first: u64,
    /// Entries that some subscribers have not got; `None` if there are none.
    log: Option<Box<Log<T>>>,
}

/// A connection's place among the subscribers of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subscription {
    topic: u32,
    place: u32,
}

impl Subscription {
    /// True if it is a subscription to this topic, which [`Topics::find`] has found.
    pub(crate) fn is_to(&self, topic: u32) -> bool {
        self.topic == topic
    }
}

/// The next step of delivering what was published.
pub(crate) enum Step<T> {
    /// A subscriber gets all entries up to this stamp, and may get later ones. If there is a subscription, its others have none.
    Visit(ConnId, u64, Option<Subscription>),
    /// All subscribers have these.
    Done(Vec<T>),
}

/// Adds the topic of a log to the active ones, unless it is one.
fn activate<T>(topic: u32, log: &mut Log<T>, active: &mut VecDeque<u32>, backlog: &Backlog) {
    if !std::mem::replace(&mut log.is_active, true) {
        active.push_back(topic);
        backlog.resting.fetch_sub(log.len(), Ordering::Relaxed);
    }
}

impl<T, S: Default> Topics<T, S> {
    /// `backlog` is that of the worker.
    pub(crate) fn new(backlog: Arc<Backlog>) -> Self {
        Topics {
            topics: NameTable::default(),
            subscribers: Subscribers::default(),
            active: VecDeque::new(),
            used: 0,
            lagging: 0,
            lateness: Lateness::default(),
            heads: Vec::new(),
            backlog,
        }
    }
}

impl<T> Topic<T> {
    fn new() -> Self {
        Topic {
            subscribers: List::default(),
            first: 0,
            log: None,
        }
    }

    /// Number of the entry that comes next.
    fn end(&self) -> u64 {
        let length = self.log.as_ref().map_or(0, |log| log.len());
        self.first + length as u64
    }
}

impl<T, S: BuildHasher> Topics<T, S> {
    /// Adds a subscriber, which gets the entries that come.
    #[cfg(test)]
    pub(crate) fn join(&mut self, name: &str, id: ConnId) -> Subscription {
        self.join_behind(name, id, u64::MAX, u64::MAX)
    }

    /// Adds a subscriber in an event with the stamp `event`, `u64::MAX` for now. It gets the entries that come, and those behind the
    /// event, if it happens after later ones; these are known if the event has appended none itself, since the stamp `begun`. The
    /// caller makes sure that it does not subscribe twice.
    pub(crate) fn join_behind(
        &mut self,
        name: &str,
        id: ConnId,
        event: u64,
        begun: u64,
    ) -> Subscription {
        let key = self.topics.find_or_insert(name, Topic::new);
        let topic = &mut self.topics[key];
        let log = topic.log.as_ref();
        let log = log.filter(|log| log.last_stamp() <= begun);
        let later = log.map_or(0, |log| log.count_later(event));
        let next = topic.end() - later as u64;
        let place = self.subscribers.insert(&mut topic.subscribers, id, next);
        Subscription { topic: key, place }
    }

    /// Removes a subscriber, and the topic with the last one.
    pub(crate) fn leave(&mut self, subscription: Subscription) {
        let Some(topic) = self.topics.get_mut(subscription.topic) else {
            return;
        };
        let place = subscription.place;
        let lagging = self.subscribers.get(place).filter(|it| it.lags);
        let lagging = lagging.map(|subscriber| (subscriber.next - topic.first) as usize);
        let behind = self.subscribers.remove(&mut topic.subscribers, place);
        let Some(log) = &mut topic.log else {
            if topic.subscribers.is_empty() {
                self.topics.remove(subscription.topic);
            }
            return;
        };
        log.pass_over(place, behind);
        if let Some(position) = lagging {
            log.go_on_from(position);
            self.lagging -= 1;
            if log.is_first_done() {
                self.activate(subscription.topic);
            }
        }
    }

    /// The topic of this name, if it exists.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.topics.find(name)
    }

    /// The name of the topic of a subscription.
    pub(crate) fn name(&self, subscription: Subscription) -> Option<&str> {
        self.topics.name(subscription.topic)
    }

    /// Number of subscribers of a topic.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.find(name)
            .map_or(0, |topic| self.topics[topic].subscribers.len())
    }

    /// Appends to the log of a topic, and returns the stamp of the entry. It is a later one than `stamp` if the last entry is:
    /// stamps never fall within a log, since readers would pass over an entry that is older than one before it. Without
    /// subscribers the value comes back.
    pub(crate) fn append(&mut self, name: &str, stamp: u64, value: T) -> Result<u64, T> {
        let key = self.find(name);
        match key.filter(|key| !self.topics[*key].subscribers.is_empty()) {
            Some(key) => Ok(self.push(key, stamp, value)),
            None => Err(value),
        }
    }

    /// As [`append`](Self::append), also without subscribers: an earlier event that comes later may add one, which
    /// [joins](Self::join) with its own stamp as the horizon.
    pub(crate) fn append_early(&mut self, name: &str, stamp: u64, value: T) -> u64 {
        let key = self.topics.find_or_insert(name, Topic::new);
        self.push(key, stamp, value)
    }

    fn push(&mut self, key: u32, stamp: u64, value: T) -> u64 {
        let reach = self.topics[key].subscribers.len();
        self.lateness.add(reach, &self.backlog);
        self.activate(key).push(stamp, value, reach)
    }

    /// Lets a topic have its turn: it gets an entry to deliver, or has some that are done. Returns its log.
    fn activate(&mut self, key: u32) -> &mut Log<T> {
        let log = &mut self.topics[key].log;
        let log = log.get_or_insert_with(|| Box::new(Log::new()));
        activate(key, log, &mut self.active, &self.backlog);
        log
    }

    /// True if some subscriber has entries to read.
    pub(crate) fn has_entries(&self) -> bool {
        !self.active.is_empty() || self.lagging > 0
    }

    /// True if an entry that is older than `stamp` has not reached all subscribers that do not lag.
    pub(crate) fn has_entries_before(&self, stamp: u64) -> bool {
        let logs = self.active.iter();
        let mut logs = logs.filter_map(|key| self.topics[*key].log.as_ref());
        logs.any(|log| log.has_new_before(stamp))
    }

    /// Lets the entries that a connection with these subscriptions has not read wait for it: rounds pass it over until it has
    /// read them all. False if there are none.
    pub(crate) fn lag(&mut self, subscriptions: &[Subscription]) -> bool {
        let mut is_behind = false;
        for subscription in subscriptions {
            let topic = &mut self.topics[subscription.topic];
            let subscriber = self.subscribers.get_mut(subscription.place);
            let (Some(log), Some(subscriber)) = (&mut topic.log, subscriber) else {
                continue;
            };
            if !subscriber.lags {
                let position = subscriber.next.saturating_sub(topic.first);
                if !log.wait_at(position as usize) {
                    continue;
                }
                subscriber.next = topic.first + position;
                subscriber.lags = true;
                self.lagging += 1;
            }
            is_behind = true;
        }
        is_behind
    }

    /// True if one of these subscriptions lags.
    pub(crate) fn is_lagging(&self, subscriptions: &[Subscription]) -> bool {
        self.lagging > 0
            && subscriptions.iter().any(|subscription| {
                let subscriber = self.subscribers.get(subscription.place);
                subscriber.is_some_and(|subscriber| subscriber.lags)
            })
    }

    /// The oldest entry up to the stamp `horizon` that a subscription has not read, and true if there is another. The entry counts as
    /// read from now on.
    #[inline]
    fn read_by(&mut self, by: Subscription, horizon: u64) -> Option<(&T, bool)> {
        let topic = self.topics.get_mut(by.topic)?;
        let subscriber = self.subscribers.get_mut(by.place)?;
        let log = topic.log.as_mut()?;
        let position = subscriber.next.saturating_sub(topic.first) as usize;
        if log.get(position)?.stamp > horizon {
            return None;
        }
        subscriber.next = topic.first + position as u64 + 1;
        if subscriber.lags {
            log.go_on_from(position);
            if !log.wait_at(position + 1) {
                subscriber.lags = false;
                self.lagging -= 1;
            }
            if log.is_first_done() {
                activate(by.topic, log, &mut self.active, &self.backlog);
            }
        }
        let has_more = log
            .get(position + 1)
            .is_some_and(|next| next.stamp <= horizon);
        log.get(position).map(|entry| (&entry.value, has_more))
    }

    /// The key of the topic that all unread entries belong to, if there is only one.
    fn only_topic(&self) -> Option<u32> {
        (self.active.len() == 1 && self.lagging == 0).then(|| self.active[0])
    }

    /// True if one of these subscriptions, all of one connection, has entries to read.
    pub(crate) fn is_behind(&self, subscriptions: &[Subscription]) -> bool {
        subscriptions.iter().any(|subscription| {
            let topic = &self.topics[subscription.topic];
            let subscriber = self.subscribers.get(subscription.place);
            subscriber.is_some_and(|subscriber| subscriber.next < topic.end())
        })
    }

    /// The next step of delivering what was published; `None` if nothing is left but what waits for subscribers that lag.
    ///
    /// Each step of a topic's round is one subscriber. A connection that does not read in its step is passed over. At the end of
    /// a round, `delivered` is called with the entries that wait for nothing but subscribers that lag from then on, and with true if
    /// more than `most` bytes wait so in the topic. `size` is that of an entry.
    pub(crate) fn step(
        &mut self,
        most: usize,
        size: impl Fn(&T) -> usize,
        delivered: impl FnMut(&T, bool),
    ) -> Option<Step<T>> {
        let key = *self.active.front()?;
        let topic = &mut self.topics[key];
        let log = topic.log.as_mut()?;
        let round = log.round(topic.first, topic.subscribers.first());
        let next = round.and_then(|round| {
            let (place, id, behind) = self.subscribers.next_behind(round.place, round.until)?;
            round.place = behind;
            Some((place, id, round.horizon))
        });
        if let Some((place, id, horizon)) = next {
            let only = self.only_topic();
            let only = only.map(|topic| Subscription { topic, place });
            return Some(Step::Visit(id, horizon, only));
        }
        let (count, reach) = log.end_round(topic.first);
        self.lateness.remove(count, reach, &self.backlog);
        let done = log.take_done();
        log.note_last_delivered(count, most, size, delivered);
        topic.first += done.len() as u64;
        if log.has_new() {
            self.end_turn();
        } else {
            self.rest(key);
        }
        Some(Step::Done(done))
    }

    /// Charges the last step to the topic whose turn it is. Once its turn has cost enough, the next topic has its own.
    pub(crate) fn charge(&mut self, cost: usize) {
        self.used += cost;
        if self.used >= TURN && !self.active.is_empty() {
            self.end_turn();
        }
    }

    /// The topics of those subscriptions that lag.
    pub(crate) fn topics_behind(
        &self,
        subscriptions: &[Subscription],
    ) -> impl Iterator<Item = u32> {
        let lagging = subscriptions.iter().filter(|subscription| {
            let subscriber = self.subscribers.get(subscription.place);
            subscriber.is_some_and(|subscriber| subscriber.lags)
        });
        lagging.map(|subscription| subscription.topic)
    }

    /// The entries of a topic that wait for nothing but subscribers that lag.
    pub(crate) fn retained(&self, topic: u32) -> impl Iterator<Item = &T> {
        let log = self.topics[topic].log.as_ref();
        log.into_iter().flat_map(|log| log.delivered())
    }

    /// True if more than `most` bytes wait in a topic for nothing but subscribers that lag.
    pub(crate) fn has_waiting(&self, name: &str, most: usize) -> bool {
        let topic = self.find(name).filter(|_| self.lagging > 0);
        let log = topic.and_then(|topic| self.topics[topic].log.as_ref());
        log.is_some_and(|log| log.waiting() > most)
    }

    /// Number of subscriptions that lag.
    pub(crate) fn lagging(&self) -> usize {
        self.lagging
    }

    /// The first topic, whose entries are all delivered but to subscribers that lag, gives its turn up.
    fn rest(&mut self, key: u32) {
        self.active.pop_front();
        self.used = 0;
        let topic = &mut self.topics[key];
        match &mut topic.log {
            Some(log) if log.len() > 0 => {
                log.is_active = false;
                self.backlog.resting.fetch_add(log.len(), Ordering::Relaxed);
            }
            _ => {
                topic.log = None;
                if topic.subscribers.is_empty() {
                    self.topics.remove(key);
                }
            }
        }
    }

    /// The first topic goes behind all others.
    fn end_turn(&mut self) {
        self.used = 0;
        self.active.rotate_left(1);
    }

    /// Takes all entries out of the logs, delivered or not.
    pub(crate) fn clear_logs(&mut self) -> Vec<T> {
        let mut values = Vec::new();
        if !self.has_entries() {
            return values;
        }
        let mut empty = Vec::new();
        for (key, topic) in self.topics.iter_mut() {
            let end = topic.end();
            let Some(log) = topic.log.take() else {
                continue;
            };
            topic.first = end;
            if !log.is_active {
                self.backlog.resting.fetch_sub(log.len(), Ordering::Relaxed);
            }
            values.extend(log.into_values());
            if topic.subscribers.is_empty() {
                empty.push(key);
            }
        }
        empty.into_iter().for_each(|key| self.topics.remove(key));
        self.subscribers.end_lags();
        self.active.clear();
        self.used = 0;
        self.lagging = 0;
        self.lateness.clear(&self.backlog);
        values
    }

    /// Bytes of memory that the topics occupy, beside their logs.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.topics.memory() + self.subscribers.memory()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::connection::name_table::Named;
    use crate::connection::topic_log::ROUND;

    impl<T, S: Default> Default for Topics<T, S> {
        fn default() -> Self {
            Topics::new(Arc::new(Backlog::new()))
        }
    }

    impl<S: BuildHasher> Topics<u32, S> {
        /// The next step where any number of bytes may wait.
        fn next_step(&mut self) -> Option<Step<u32>> {
            self.step(usize::MAX, |_| 0, |_, _| ())
        }
    }

    /// Reads the next entry, and tells if there is another.
    fn read(
        topics: &mut Topics<u32>,
        subscriptions: &[Subscription],
        horizon: u64,
    ) -> Option<(u32, bool)> {
        let mut reading = topics.begin_reading(subscriptions, horizon, 0);
        let value = topics.read_next(&mut reading).copied()?;
        Some((value, !reading.is_done()))
    }

    /// Reads all that a connection has not read.
    fn read_all(topics: &mut Topics<u32>, subscriptions: &[Subscription]) -> Vec<u32> {
        std::iter::from_fn(|| read(topics, subscriptions, u64::MAX).map(|(it, _)| it)).collect()
    }

    #[test]
    fn a_topic_lives_as_long_as_somebody_subscribes() {
        let mut topics = Topics::<u32>::default();
        let first = topics.join("a", ConnId::in_slot(1));
        let second = topics.join("a", ConnId::in_slot(2));
        let other = topics.join("b", ConnId::in_slot(1));
        assert_eq!(topics.count("a"), 2);
        assert_eq!(topics.name(other), Some("b"));
        topics.leave(first);
        assert_eq!(topics.count("a"), 1);
        topics.leave(second);
        assert_eq!(topics.find("a"), None);
        assert_eq!(topics.count("b"), 1);
        topics.leave(other);
        assert!(topics.topics.is_empty());
    }

    /// The most that a subscription may take: what a connection is charged with.
    fn charged(subscriptions: usize, name: usize) -> usize {
        subscriptions * (SUBSCRIPTION_BYTES + name)
    }

    #[test]
    fn a_topic_with_one_subscriber_is_small() {
        assert!(size_of::<Named<Topic<u32>>>() <= 56 && size_of::<Subscription>() == 8);
        let mut topics = Topics::<u32>::default();
        for count in 1..=70_000_usize {
            topics.join(&format!("{count:010}"), ConnId::in_slot(count as u32));
            if count.is_power_of_two() || count % 1_000 == 0 {
                // The subscriptions in the connections' own lists.
                let held = topics.memory() + 16 * count;
                let small_tables = 2_048;
                let most = charged(count, 10) + small_tables;
                assert!(held <= most, "{count}: {held} bytes, charged are {most}");
            }
        }
    }

    #[test]
    fn a_large_topic_takes_no_more_for_each_whoever_stays() {
        let mut topics = Topics::<u32>::default();
        // In each topic the last of many subscribers stays.
        let mut stay = Vec::new();
        for topic in 0..64 {
            let name = format!("{topic:010}");
            let joined: Vec<_> = (0..100)
                .map(|slot| topics.join(&name, ConnId::in_slot(slot)))
                .collect();
            joined[..99].iter().for_each(|it| topics.leave(*it));
            stay.push(joined[99]);
        }
        let held = topics.memory();
        assert!(held <= charged(64, 10) + 8_192, "{held} bytes");
        stay.into_iter().for_each(|it| topics.leave(it));
    }

    #[test]
    fn memory_goes_down_when_all_have_left() {
        let mut topics = Topics::<u32>::default();
        let joined: Vec<_> = (0..20_000)
            .map(|slot| topics.join(&format!("{slot}"), ConnId::in_slot(slot)))
            .collect();
        let most = topics.memory();
        joined.into_iter().for_each(|it| topics.leave(it));
        let left = topics.memory();
        assert!(left < most / 50, "{left} of {most}");
    }

    #[test]
    fn a_round_goes_on_behind_a_subscriber_that_leaves() {
        let mut topics = Topics::<u32>::default();
        let joined = [1, 2, 3].map(|slot| topics.join("a", ConnId::in_slot(slot)));
        topics.append("a", 1, 1).unwrap();
        assert!(
            matches!(topics.next_step(), Some(Step::Visit(to, ..)) if to == ConnId::in_slot(1))
        );
        topics.leave(joined[0]);
        topics.leave(joined[1]);
        // Its place is taken by a subscriber of another topic.
        topics.join("b", ConnId::in_slot(4));
        assert!(
            matches!(topics.next_step(), Some(Step::Visit(to, ..)) if to == ConnId::in_slot(3))
        );
        assert!(matches!(topics.next_step(), Some(Step::Done(_))));
    }

    #[test]
    fn a_subscriber_reads_what_was_published_while_it_subscribes() {
        let mut topics = Topics::<u32>::default();
        assert_eq!(topics.append("a", 1, 10), Err(10), "nobody subscribes");
        let first = topics.join("a", ConnId::in_slot(1));
        assert_eq!(topics.append("a", 2, 20), Ok(2));
        let second = topics.join("a", ConnId::in_slot(2));
        assert_eq!(topics.append("a", 3, 30), Ok(3));
        assert_eq!(read_all(&mut topics, &[first]), [20, 30]);
        assert_eq!(read_all(&mut topics, &[second]), [30]);
        assert_eq!(read_all(&mut topics, &[second]), []);
    }

    #[test]
    fn several_topics_are_read_in_order_and_up_to_the_horizon() {
        let mut topics = Topics::<u32>::default();
        let both = [
            topics.join("a", ConnId::in_slot(1)),
            topics.join("b", ConnId::in_slot(1)),
        ];
        for (name, stamp) in [("b", 1), ("a", 2), ("a", 3), ("b", 4), ("a", 5)] {
            topics.append(name, stamp, stamp as u32).unwrap();
        }
        let horizon = 3;
        let early: Vec<_> =
            std::iter::from_fn(|| read(&mut topics, &both, horizon).map(|(it, _)| it)).collect();
        assert_eq!(early, [1, 2, 3]);
        assert_eq!(read_all(&mut topics, &both), [4, 5]);
    }

    #[test]
    fn some_later_entries_are_read_ahead() {
        let mut topics = Topics::<u32>::default();
        let both = [
            topics.join("a", ConnId::in_slot(1)),
            topics.join("b", ConnId::in_slot(1)),
        ];
        for (name, stamp) in [("b", 1), ("a", 2), ("a", 3), ("b", 4), ("a", 5), ("b", 6)] {
            topics.append(name, stamp, stamp as u32).unwrap();
        }
        let mut read = |ahead| {
            let mut reading = topics.begin_reading(&both, 3, ahead);
            let mut read = Vec::new();
            while !reading.is_done() {
                read.extend(topics.read_next(&mut reading).copied());
            }
            topics.end_reading(reading);
            read
        };
        assert_eq!(read(2), [1, 2, 3, 4, 5]);
        assert_eq!(read(0), []);
        assert_eq!(read(2), [6]);
    }

    #[test]
    fn rounds_visit_all_who_are_behind_and_topics_take_turns() {
        let mut topics = Topics::<u32>::default();
        let mut places = HashMap::new();
        for slot in 0..200 {
            let name = if slot < 150 { "large" } else { "small" };
            places.insert(slot, topics.join(name, ConnId::in_slot(slot)));
        }
        topics.append("large", 1, 1).unwrap();
        topics.append("large", 2, 2).unwrap();
        topics.append("small", 3, 3).unwrap();
        let mut visited = Vec::new();
        let mut done = Vec::new();
        while let Some(step) = topics.next_step() {
            match step {
                Step::Visit(id, horizon, _) => {
                    visited.push(id.slot);
                    let subscription = places[&id.slot];
                    let got: Vec<_> = std::iter::from_fn(|| {
                        read(&mut topics, &[subscription], horizon).map(|(it, _)| it)
                    })
                    .collect();
                    assert_eq!(got, if id.slot < 150 { vec![1, 2] } else { vec![3] });
                    topics.charge(TURN / 64);
                }
                Step::Done(values) => done.extend(values),
            }
        }
        assert_eq!(
            done,
            [3, 1, 2],
            "the small topic does not wait for the large one"
        );
        assert!(visited[64] >= 150, "it had its turn after 64 subscribers");
        visited.sort_unstable();
        assert_eq!(visited, (0..200).collect::<Vec<_>>());
        assert!(!topics.has_entries());
    }

    #[test]
    fn the_log_of_a_topic_without_subscribers_is_done() {
        let mut topics = Topics::<u32>::default();
        let only = topics.join("a", ConnId::in_slot(1));
        topics.append("a", 7, 70).unwrap();
        assert!(topics.has_entries_before(8) && !topics.has_entries_before(7));
        topics.leave(only);
        assert!(matches!(topics.next_step(), Some(Step::Done(done)) if done == [70]));
        assert!(topics.next_step().is_none() && topics.find("a").is_none());
    }

    #[test]
    fn a_subscriber_that_does_not_read_is_passed_over() {
        let mut topics = Topics::<u32>::default();
        topics.join("a", ConnId::in_slot(1));
        topics.append("a", 1, 1).unwrap();
        assert!(matches!(topics.next_step(), Some(Step::Visit(..))));
        assert!(matches!(topics.next_step(), Some(Step::Done(done)) if done == [1]));
        assert!(topics.next_step().is_none());
    }

    /// Delivers to all subscribers that do not lag, and returns the entries that are done.
    fn deliver(topics: &mut Topics<u32>, subscriptions: &[Subscription]) -> Vec<u32> {
        let mut done = Vec::new();
        while let Some(step) = topics.next_step() {
            match step {
                Step::Visit(id, ..) => drop(read_all(topics, &[subscriptions[id.slot as usize]])),
                Step::Done(values) => done.extend(values),
            }
        }
        done
    }

    fn resting(topics: &Topics<u32>) -> usize {
        topics.backlog.resting.load(Ordering::Relaxed)
    }

    #[test]
    fn entries_rest_until_those_who_lag_have_read_them() {
        let mut topics = Topics::<u32>::default();
        let both = [0, 1].map(|slot| topics.join("a", ConnId::in_slot(slot)));
        topics.append("a", 1, 1).unwrap();
        assert!(topics.lag(&both[..1]) && topics.is_lagging(&both[..1]));
        assert_eq!(deliver(&mut topics, &both), []);
        assert_eq!(read_all(&mut topics, &both[1..]), [], "the other has it");
        assert_eq!((resting(&topics), topics.has_entries()), (1, true));
        topics.append("a", 2, 2).unwrap();
        assert_eq!(resting(&topics), 0, "there is something to deliver");
        assert_eq!(deliver(&mut topics, &both), []);
        assert_eq!(resting(&topics), 2);
        assert_eq!(topics.peek(&both[..1]), Some((1, &1)));
        assert_eq!(read(&mut topics, &both[..1], 1), Some((1, false)));
        assert!(topics.is_lagging(&both[..1]), "it has not read all");
        assert_eq!(deliver(&mut topics, &both), [1]);
        assert_eq!(read_all(&mut topics, &both[..1]), [2]);
        assert!(!topics.is_lagging(&both[..1]));
        assert_eq!(deliver(&mut topics, &both), [2]);
        assert_eq!((resting(&topics), topics.has_entries()), (0, false));
    }

    /// Each entry has its value's number of bytes, and 10 bytes may wait.
    #[test]
    fn a_topic_is_crowded_while_many_bytes_wait() {
        let mut topics = Topics::<u32>::default();
        let both = [0, 1].map(|slot| topics.join("a", ConnId::in_slot(slot)));
        let mut publish = |stamp, bytes| {
            topics.append("a", stamp, bytes).unwrap();
            topics.lag(&both[..1]);
            let mut told = Vec::new();
            let size = |bytes: &u32| *bytes as usize;
            while let Some(step) = topics.step(10, size, |value, is_crowded| {
                told.push((*value, is_crowded))
            }) {
                if let Step::Visit(id, ..) = step {
                    read_all(&mut topics, &both[id.slot as usize..][..1]);
                }
            }
            told
        };
        assert_eq!(publish(1, 6), [(6, false)]);
        assert_eq!(publish(2, 4), [(4, false)]);
        assert_eq!(publish(3, 1), [(1, true)], "11 bytes wait");
        read(&mut topics, &both[..1], 1);
        assert_eq!(deliver(&mut topics, &both), [6]);
        let mut told = Vec::new();
        topics.append("a", 4, 5).unwrap();
        while topics
            .step(10, |it| *it as usize, |_, it| told.push(it))
            .is_some()
        {}
        assert_eq!(told, [false], "10 bytes wait");
    }

    #[test]
    fn nobody_lags_without_an_entry() {
        let mut topics = Topics::<u32>::default();
        let only = [topics.join("a", ConnId::in_slot(0))];
        assert!(!topics.lag(&only) && !topics.is_lagging(&only));
    }

    #[test]
    fn entries_do_not_wait_for_those_who_have_left() {
        let mut topics = Topics::<u32>::default();
        let both = [0, 1].map(|slot| topics.join("a", ConnId::in_slot(slot)));
        topics.append("a", 1, 1).unwrap();
        topics.append("a", 2, 2).unwrap();
        read(&mut topics, &both[1..], 1);
        assert!(topics.lag(&both[..1]) && topics.lag(&both[1..]));
        assert_eq!(deliver(&mut topics, &both), []);
        topics.leave(both[0]);
        assert_eq!(deliver(&mut topics, &both), [1]);
        topics.leave(both[1]);
        assert_eq!(deliver(&mut topics, &both), [2]);
        assert!(topics.find("a").is_none() && resting(&topics) == 0);
    }

    #[test]
    fn entries_that_rest_are_cleared() {
        let mut topics = Topics::<u32>::default();
        let both = [0, 1].map(|slot| topics.join("a", ConnId::in_slot(slot)));
        topics.append("a", 1, 1).unwrap();
        topics.lag(&both[..1]);
        assert_eq!(deliver(&mut topics, &both), []);
        assert!(!topics.has_entries_before(5), "a drain does not wait");
        assert!(topics.is_behind(&both[..1]), "it loses an entry");
        assert!(!topics.is_behind(&both[1..]));
        assert_eq!(topics.clear_logs(), [1]);
        assert_eq!((resting(&topics), topics.has_entries()), (0, false));
        both.into_iter().for_each(|it| topics.leave(it));
        assert!(topics.topics.is_empty());
    }

    #[test]
    fn a_round_is_bounded() {
        let mut topics = Topics::<u32>::default();
        let only = topics.join("a", ConnId::in_slot(1));
        for stamp in 0..100 {
            topics.append("a", stamp, stamp as u32).unwrap();
        }
        let Some(Step::Visit(_, horizon, _)) = topics.next_step() else {
            panic!("a subscriber is behind");
        };
        assert_eq!(horizon, ROUND as u64 - 1);
        while read(&mut topics, &[only], horizon).is_some() {}
        assert!(matches!(topics.next_step(), Some(Step::Done(done)) if done.len() == 64));
        assert_eq!(topics.clear_logs().len(), 36);
    }
}
