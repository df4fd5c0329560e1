//! The checkpoint certificates that a node must have to prove things to others: which one it lacks, and whom to ask for it.
//!
//! - Those that close epochs (`docs/pbft.md` §7): by them anyone walks from set to set.
//! - That of the newest block, once no other has come for a moment: by it anyone reads the state.
//!
//! A node gets a certificate by the votes of validators, or with blocks. Who follows may execute a block before a quorum has
//! signed what came of it, and who crashes may lose what was not synced. Nothing breaks by it here, but nobody could prove
//! anything with the help of this node alone: so what is missing is asked for, one at a time, until it is here.

use std::{
    collections::HashSet,
    hash::Hash,
    time::{Duration, Instant},
};

use quorate_ledger::{Epoch, Height};

/// How long validators may take to make one, and this node to store it, before anybody is asked.
const GRACE: Duration = Duration::from_secs(1);
/// After everybody was asked in vain: who had none may have it by then.
const ROUND_PAUSE: Duration = Duration::from_secs(5);

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// The epoch of the block.
    pub(super) epoch: Epoch,
    /// The block's height, which is executed here.
    pub(super) height: Height,
}

/// How far the line of epochs is whole here, and who was asked for what is missing.
#[derive(Debug)]
pub(super) struct Checkpoints<S> {
    /// The first epoch that is not known to have closed with a certificate that is here.
    open: Epoch,
    search: Option<Search<S>>,
}

/// The search for one certificate.
#[derive(Debug)]
struct Search<S> {
    gap: Gap,
    /// Asked in this round: no more than there are peers.
    asked: HashSet<S>,
    /// Nobody is asked before.
    from: Instant,
}

impl<S: Copy + Eq + Hash> Checkpoints<S> {
    pub(super) fn new() -> Self {
        Self { open: Epoch(0), search: None }
    }

    /// Looks what is missing by now. `last` is the last height of an epoch, if the next has begun here; `tip` the newest
    /// block; `stored` says whether the certificate of a height is here.
    pub(super) fn look(
        &mut self,
        last: impl Fn(Epoch) -> Option<Height>,
        tip: Height,
        stored: impl Fn(Height) -> bool,
        now: Instant,
    ) {
        match self.missing(last, tip, stored) {
            None => self.search = None,
            Some(gap) if self.search.as_ref().is_some_and(|search| search.gap == gap) => {}
            Some(gap) => self.search = Some(Search { gap, asked: HashSet::new(), from: now + GRACE }),
        }
    }

    fn missing(
        &mut self,
        last: impl Fn(Epoch) -> Option<Height>,
        tip: Height,
        stored: impl Fn(Height) -> bool,
    ) -> Option<Gap> {
        while let Some(height) = last(self.open) {
            if !stored(height) {
                return Some(Gap { epoch: self.open, height });
            }
            self.open = self.open.next();
        }
        // The genesis needs none: everybody computes it.
        (tip > Height(0) && !stored(tip)).then_some(Gap { epoch: self.open, height: tip })
    }

    /// Whom to ask now, and for what. Each peer is asked once in a round.
    pub(super) fn next(&mut self, peers: &HashSet<S>, now: Instant) -> Option<(S, Gap)> {
        let search = self.search.as_mut().filter(|search| search.from <= now)?;
        let Some(peer) = peers.iter().find(|peer| !search.asked.contains(peer)).copied() else {
            search.asked.clear();
            search.from = now + ROUND_PAUSE;
            return None;
        };
        search.asked.insert(peer);
        Some((peer, search.gap))
    }

    /// When somebody may be asked next, if anything is missing.
    pub(super) fn next_from(&self) -> Option<Instant> {
        self.search.as_ref().map(|search| search.from)
    }

    /// What is looked for was told, and is being stored.
    pub(super) fn told(&mut self, now: Instant) {
        if let Some(search) = &mut self.search {
            search.from = now + GRACE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Epochs of ten blocks each, of which two have ended.
    fn last(epoch: Epoch) -> Option<Height> {
        (epoch.0 < 2).then(|| Height(10 * (epoch.0 + 1)))
    }

    const TIP: Height = Height(23);

    #[test]
    fn the_first_that_is_missing_is_asked_for_after_a_moment_and_then_the_next() {
        let mut now = Instant::now();
        let peers = HashSet::from([1]);
        let mut checkpoints = Checkpoints::new();
        checkpoints.look(last, TIP, |_| false, now);
        assert_eq!(checkpoints.next(&peers, now), None, "it may still come by itself");
        assert_eq!(checkpoints.next_from(), Some(now + GRACE));
        now += GRACE;
        let gap = |epoch, height| Gap { epoch: Epoch(epoch), height: Height(height) };
        assert_eq!(checkpoints.next(&peers, now), Some((1, gap(0, 10))));
        checkpoints.told(now);
        checkpoints.look(last, TIP, |height| height == Height(10), now);
        now += GRACE;
        assert_eq!(checkpoints.next(&peers, now), Some((1, gap(1, 20))));
        checkpoints.look(last, TIP, |height| height < TIP, now);
        now += GRACE;
        assert_eq!(checkpoints.next(&peers, now), Some((1, gap(2, TIP.0))));
        checkpoints.look(last, TIP, |_| true, now);
        assert_eq!((checkpoints.next(&peers, now), checkpoints.next_from()), (None, None), "all is here");
    }

    #[test]
    fn while_blocks_come_the_certificate_of_the_newest_is_not_asked_for() {
        let mut now = Instant::now();
        let peers = HashSet::from([1]);
        let mut checkpoints = Checkpoints::new();
        for tip in 30..40 {
            checkpoints.look(last, Height(tip), |height| height <= Height(20), now);
            now += GRACE / 2;
            assert_eq!(checkpoints.next(&peers, now), None);
        }
        now += GRACE / 2;
        assert!(checkpoints.next(&peers, now).is_some(), "no other has come");
    }

    #[test]
    fn every_peer_is_asked_once_and_after_a_pause_again() {
        let mut now = Instant::now();
        let peers = HashSet::from([1, 2, 3]);
        let mut checkpoints = Checkpoints::new();
        checkpoints.look(last, TIP, |_| false, now);
        for _ in 0..2 {
            now = checkpoints.next_from().expect("it is missing");
            let asked: HashSet<u32> =
                (0..3).filter_map(|_| checkpoints.next(&peers, now)).map(|(peer, _)| peer).collect();
            assert_eq!(asked, peers);
            checkpoints.look(last, TIP, |_| false, now);
            assert_eq!(checkpoints.next(&peers, now), None);
            assert_eq!(checkpoints.next_from(), Some(now + ROUND_PAUSE));
        }
    }

    #[test]
    fn with_nobody_to_ask_it_waits() {
        let mut checkpoints: Checkpoints<u32> = Checkpoints::new();
        let now = Instant::now();
        checkpoints.look(last, TIP, |_| false, now);
        assert_eq!(checkpoints.next(&HashSet::new(), now + GRACE), None);
        assert_eq!(checkpoints.next_from(), Some(now + GRACE + ROUND_PAUSE));
    }
}
