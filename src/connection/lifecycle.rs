//! The life of a connection: its stages, the two ends of its stream, and the only functions that move them on.
//!
//! ```text
//!                refusal, panic, limit            last words put           all sent: our end of stream
//!          ┌──────────────────────────► Closing ───────────────┐  ┌────────────────────────► Lingering
//!          │                                                    ▼  │                            │
//!        Open ──── close: last words put ───────────────────► Flushing                          │ the peer's
//!          │                                                    ▲  │                            │ end of stream
//!          └──────────────────────────► Parting ───────────────┘  └────────► Closed ◄──────────┘
//!            close: an answer is awaited     answer, peer's end     all sent, and the peer
//!                                                                   has ended already
//! ```
//!
//! A connection whose own side has ended already (half-close) goes from `Open` straight to `Lingering`. From every stage an
//! abort, a failure of the socket or a deadline leads to `Closed`. A test compares this table with the code:
//!
//! | from | event | to |
//! | --- | --- | --- |
//! | `Closing` | `conclude` | `Flushing` |
//! | `Closing` | `end` | `Closed` |
//! | `Flushing` | `all_sent` | `Closed` |
//! | `Flushing` | `all_sent` | `Lingering` |
//! | `Flushing` | `end` | `Closed` |
//! | `Lingering` | `end_lingering` | `Closed` |
//! | `Lingering` | `end` | `Closed` |
//! | `Open` | `close` | `Closing` |
//! | `Open` | `close` | `Lingering` |
//! | `Open` | `conclude` | `Flushing` |
//! | `Open` | `end` | `Closed` |
//! | `Open` | `part` | `Parting` |
//! | `Parting` | `close` | `Flushing` |
//! | `Parting` | `end` | `Closed` |
//!
//! A connection starts in `Open`. Steps below the protocol (connecting, a PROXY header, a TLS handshake) belong into a stage of
//! their own in front of it.

/// The stage of a connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Messages are delivered and output is accepted.
    Open = 0,
    /// The protocol has said its last words and awaits the peer's answer: input goes to the protocol only, and nothing
    /// more is sent.
    Parting,
    /// An orderly close was requested; the protocol has not said its last words.
    Closing,
    /// The last words are in the output, which is being written.
    Flushing,
    /// Our end of stream is sent. What arrives is discarded until the peer's end of stream.
    Lingering,
    /// Over: removed at the end of the loop's iteration.
    Closed,
}

/// Our end of the stream while the connection is [`Stage::Open`]; later stages imply it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum OwnSide {
    Open = 0,
    /// The end is to be sent as soon as all output is; nothing more is accepted, except from sources.
    EndRequested,
    Ended,
}

/// The peer's end of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum PeerSide {
    Open = 0,
    /// The end was read; messages before it may still be undelivered.
    Ended,
    /// The handler has been told, or there was none to tell.
    Announced,
}

/// See the [module](self). All zero while the connection is open in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Lifecycle {
    stage: Stage,
    own: OwnSide,
    peer: PeerSide,
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        Lifecycle {
            stage: Stage::Open,
            own: OwnSide::Open,
            peer: PeerSide::Open,
        }
    }

    /// The state as three bytes, all zero while the connection is open in both directions.
    // By reference: a copy would be read at once, and so apart from the bytes beside it that are compared with it.
    #[inline]
    pub(crate) fn bytes(&self) -> [u8; 3] {
        [self.stage as u8, self.own as u8, self.peer as u8]
    }

    #[inline]
    pub(crate) fn stage(self) -> Stage {
        self.stage
    }

    /// True while callbacks, mail and visits reach the connection: until a close begins. Afterwards only `on_close` and
    /// completions are called, whatever the protocol.
    #[inline]
    pub(crate) fn is_active(self) -> bool {
        self.stage == Stage::Open
    }

    /// True while input goes to the protocol: open, or parting.
    #[inline]
    pub(crate) fn takes_input(self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Parting)
    }

    #[inline]
    pub(crate) fn is_parting(self) -> bool {
        self.stage == Stage::Parting
    }

    #[inline]
    pub(crate) fn is_closed(self) -> bool {
        self.stage == Stage::Closed
    }

    /// True while messages can be sent.
    #[inline]
    pub(crate) fn accepts_sends(self) -> bool {
        self.stage == Stage::Open && self.own == OwnSide::Open
    }

    /// True once our end of stream is sent: whatever is put into the output later cannot leave.
    #[inline]
    pub(crate) fn has_sent_end(self) -> bool {
        self.own == OwnSide::Ended || self.stage == Stage::Lingering
    }

    #[inline]
    pub(crate) fn peer_has_ended(self) -> bool {
        self.peer != PeerSide::Open
    }

    /// True between reading the peer's end of stream and announcing it.
    #[inline]
    pub(crate) fn has_unannounced_end(self) -> bool {
        self.peer == PeerSide::Ended
    }

    /// The protocol has said its last words and awaits an answer to them.
    pub(crate) fn part(&mut self) {
        debug_assert!(self.accepts_sends());
        self.stage = Stage::Parting;
    }

    /// Our end of stream is to be sent once all output is.
    pub(crate) fn request_end(&mut self) {
        if self.accepts_sends() {
            self.own = OwnSide::EndRequested;
        }
    }

    /// A close is to begin once the sources are done. False if it is too late for that.
    pub(crate) fn finish(&mut self) -> bool {
        let may_finish = self.stage == Stage::Open && self.own != OwnSide::Ended;
        if may_finish {
            self.own = OwnSide::EndRequested;
        }
        may_finish
    }

    /// The sources are done, and the close that has waited for them begins.
    pub(crate) fn stop_finishing(&mut self) {
        if self.stage == Stage::Open && self.own == OwnSide::EndRequested {
            self.own = OwnSide::Open;
        }
    }

    /// Lets a source send for the length of a call, although nothing else may. Returns the state to give back.
    pub(crate) fn lend_to_source(&mut self) -> OwnSide {
        debug_assert!(self.own != OwnSide::Ended);
        std::mem::replace(&mut self.own, OwnSide::Open)
    }

    /// The call is over. An end that the source has asked for stands.
    pub(crate) fn take_from_source(&mut self, before: OwnSide) {
        if self.own == OwnSide::Open {
            self.own = before;
        }
    }

    /// Begins an orderly close. False if one is under way already.
    pub(crate) fn close(&mut self) -> bool {
        self.stage = match self.stage {
            Stage::Open if self.own == OwnSide::Ended => Stage::Lingering,
            Stage::Open => Stage::Closing,
            Stage::Parting => Stage::Flushing,
            _ => return false,
        };
        true
    }

    /// The protocol has said its last words, and awaits no answer.
    pub(crate) fn conclude(&mut self) {
        debug_assert!(matches!(self.stage, Stage::Open | Stage::Closing));
        self.stage = Stage::Flushing;
    }

    /// The peer's end of stream was read.
    pub(crate) fn note_peer_end(&mut self) {
        if self.peer == PeerSide::Open {
            self.peer = PeerSide::Ended;
        }
    }

    /// The peer's end of stream is known to the handler, or there is none to tell.
    pub(crate) fn announce_peer_end(&mut self) {
        debug_assert!(self.peer == PeerSide::Ended);
        self.peer = PeerSide::Announced;
    }

    /// True if our end is the next that leaves, once all output has.
    pub(crate) fn sends_end_next(self) -> bool {
        match self.stage {
            Stage::Open => self.own == OwnSide::EndRequested,
            stage => stage == Stage::Flushing,
        }
    }

    /// All output is with the kernel. True if our end of stream is to be sent now.
    pub(crate) fn on_all_sent(&mut self) -> bool {
        match self.stage {
            Stage::Open if self.own == OwnSide::EndRequested => self.own = OwnSide::Ended,
            Stage::Flushing if self.peer_has_ended() => {
                // Both sides are done: closing the socket tells the peer.
                self.stage = Stage::Closed;
                return false;
            }
            Stage::Flushing => self.stage = Stage::Lingering,
            _ => return false,
        }
        true
    }

    /// True if both sides have ended and the handler knows, so that an open connection is to be closed.
    pub(crate) fn is_over(self) -> bool {
        self.stage == Stage::Open && self.own == OwnSide::Ended && self.peer == PeerSide::Announced
    }

    /// True if the peer has ended its stream, and our end is to follow as soon as all is sent.
    pub(crate) fn awaits_own_end_only(self) -> bool {
        self.own == OwnSide::EndRequested && self.peer == PeerSide::Announced
    }

    /// Closes a lingering connection once the peer has ended its stream.
    pub(crate) fn end_lingering(&mut self) {
        if self.stage == Stage::Lingering && self.peer_has_ended() {
            self.stage = Stage::Closed;
        }
    }

    /// Ends at once, from any stage.
    pub(crate) fn end(&mut self) {
        self.stage = Stage::Closed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    type Event = (&'static str, fn(Lifecycle) -> bool, fn(&mut Lifecycle));

    /// All transitions, with the states in which the reactor may call them.
    const EVENTS: [Event; 11] = [
        ("part", Lifecycle::accepts_sends, Lifecycle::part),
        ("request_end", |_| true, Lifecycle::request_end),
        ("close", |_| true, |life| _ = life.close()),
        ("conclude", may_conclude, Lifecycle::conclude),
        ("note_peer_end", |_| true, Lifecycle::note_peer_end),
        (
            "announce_peer_end",
            Lifecycle::has_unannounced_end,
            Lifecycle::announce_peer_end,
        ),
        ("all_sent", |_| true, |life| _ = life.on_all_sent()),
        ("finish", |_| true, |life| _ = life.finish()),
        ("stop_finishing", |_| true, Lifecycle::stop_finishing),
        ("end_lingering", |_| true, Lifecycle::end_lingering),
        ("end", |_| true, Lifecycle::end),
    ];

    fn may_conclude(life: Lifecycle) -> bool {
        life.accepts_sends() || life.stage == Stage::Closing
    }

    /// All states that can be reached, and all transitions between two different ones.
    fn walk() -> (Vec<Lifecycle>, BTreeSet<String>) {
        let mut seen = vec![Lifecycle::new()];
        let mut transitions = BTreeSet::new();
        let mut next = 0;
        while let Some(&from) = seen.get(next) {
            next += 1;
            for (name, may_happen, happen) in EVENTS {
                let mut to = from;
                if may_happen(from) {
                    happen(&mut to);
                }
                if to != from {
                    transitions.insert(format!("{} --{name}--> {}", show(from), show(to)));
                }
                if !seen.contains(&to) {
                    seen.push(to);
                }
            }
        }
        (seen, transitions)
    }

    fn show(life: Lifecycle) -> String {
        match life.stage {
            Stage::Open => format!("Open(own {:?}, peer {:?})", life.own, life.peer),
            stage => format!("{stage:?}(peer {:?})", life.peer),
        }
    }

    /// The stages' transitions in the documentation are those of the code, all of them and no others.
    #[test]
    fn every_transition_is_in_the_table() {
        let transitions = walk().1;
        for transition in &transitions {
            println!("{transition}");
        }
        let stage = |text: &str| text.split('(').next().unwrap().to_owned();
        let mut found: BTreeSet<String> = BTreeSet::new();
        for transition in &transitions {
            let (from, rest) = transition.split_once(" --").unwrap();
            let (event, to) = rest.split_once("--> ").unwrap();
            if stage(from) != stage(to) {
                let (from, to) = (stage(from), stage(to));
                found.insert(format!("//! | `{from}` | `{event}` | `{to}` |"));
            }
        }
        let documented = include_str!("lifecycle.rs").lines();
        let documented: Vec<_> = documented
            .filter(|line| line.starts_with("//! | `"))
            .collect();
        assert_eq!(documented, Vec::from_iter(found));
    }

    #[test]
    fn a_life_only_moves_on_and_ends_for_good() {
        let rank = |stage| match stage {
            Stage::Open => 0,
            Stage::Parting | Stage::Closing => 1,
            Stage::Flushing => 2,
            Stage::Lingering => 3,
            Stage::Closed => 4,
        };
        for from in walk().0 {
            for (name, may_happen, happen) in EVENTS {
                let mut to = from;
                if may_happen(from) {
                    happen(&mut to);
                }
                assert!(
                    rank(to.stage) >= rank(from.stage),
                    "{name} leads back from {from:?}"
                );
                assert!(!from.is_closed() || to.is_closed(), "{name} revives");
            }
        }
    }

    #[test]
    fn our_end_is_sent_once_and_behind_the_last_words() {
        for from in walk().0 {
            let mut life = from;
            let sends_end = life.on_all_sent();
            assert!(!sends_end || !from.has_sent_end(), "twice from {from:?}");
            assert!(
                !sends_end || !matches!(from.stage, Stage::Closing | Stage::Parting),
                "before the last words from {from:?}"
            );
            assert!(!sends_end || life.has_sent_end());
            assert!(!life.on_all_sent(), "twice from {from:?}");
        }
    }
}
