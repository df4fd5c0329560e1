//! Who says that it has more, and who of them is asked next.
//!
//! Anybody may claim any height, so heights choose nobody. Validators and those that delivered when last asked come first;
//! of equals the one that was asked longest ago. A claim of a stranger never takes the place of a validator's, and who let
//! this node wait in vain is left alone for longer each time. So strangers cannot keep a node from catching up, however
//! many they are, and a silent validator costs less and less.

use std::{
    cmp::Reverse,
    collections::VecDeque,
    time::{Duration, Instant},
};

use quorate_ledger::Height;

/// Nodes whose claims are remembered; beyond it the one that would be asked last goes.
pub(super) const CLAIMS_MAX: usize = 64;
/// Nodes that were asked and are remembered; beyond it the one that was asked longest ago is forgotten.
pub(super) const ASKED_MAX: usize = 256;
/// How long a node that did not deliver is not asked.
const COOL_DOWN: Duration = Duration::from_secs(3);
/// How often that doubles with each request in a row that failed.
const COOL_DOWN_DOUBLINGS_MAX: u32 = 4;

/// Whether a claimant is one of few or one of any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// A peer of no known key.
    Stranger,
    /// A validator, or the peer that its announcement names.
    Validator,
}

/// What somebody claims.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<S> {
    pub(super) source: S,
    pub(super) standing: Standing,
    pub(super) height: Height,
    /// Not to be followed before.
    pub(super) from: Instant,
    /// Whether nobody has claimed anything: a new peer is asked on the chance.
    pub(super) guess: bool,
    /// Whether blocks have come from there since it claimed more than this node has.
    pub(super) delivers: bool,
}

/// What is remembered of a node that was asked.
#[derive(Clone, Copy, Debug)]
struct Asked<S> {
    source: S,
    delivered: bool,
    /// Requests in a row that failed.
    failures: u32,
    /// Not listened to before.
    until: Option<Instant>,
}

/// The claims, and what became of earlier ones.
#[derive(Debug)]
pub(super) struct Claims<S> {
    claims: Vec<Claim<S>>,
    /// The one asked longest ago first.
    asked: VecDeque<Asked<S>>,
}

impl<S: Copy + PartialEq> Claims<S> {
    pub(super) fn new() -> Self {
        Self { claims: Vec::new(), asked: VecDeque::new() }
    }

    /// The claim of a source, if it has one.
    pub(super) fn of(&mut self, source: S) -> Option<&mut Claim<S>> {
        self.claims.iter_mut().find(|claim| claim.source == source)
    }

    /// Whether a source has been asked in vain a short time ago.
    pub(super) fn is_cooling(&self, source: S, now: Instant) -> bool {
        self.record(source).and_then(|asked| asked.until).is_some_and(|until| until > now)
    }

    /// Takes the claim of a source that has none.
    pub(super) fn add(&mut self, claim: Claim<S>) {
        self.claims.push(claim);
        if self.claims.len() > CLAIMS_MAX {
            let worth =
                |claim: &Claim<S>| (claim.standing, self.delivered(claim.source), self.waits(claim.source));
            // Of equals the newest goes.
            let least = (0..self.claims.len()).min_by_key(|at| (worth(&self.claims[*at]), Reverse(*at)));
            self.claims.remove(least.expect("a full list is not empty"));
        }
    }

    /// Forgets the claims that are met.
    pub(super) fn met(&mut self, reached: Height) {
        self.claims.retain(|claim| claim.height > reached);
    }

    pub(super) fn remove(&mut self, source: S) {
        self.claims.retain(|claim| claim.source != source);
    }

    /// The highest claim of those that deliver.
    pub(super) fn best(&self) -> Option<Height> {
        self.claims.iter().filter(|claim| claim.delivers).map(|claim| claim.height).max()
    }

    /// Whom to ask now.
    pub(super) fn next(&self, now: Instant) -> Option<S> {
        // Backwards, since the last of several greatest is taken: of those never asked the first that claimed.
        let ready = self.claims.iter().rev().filter(|claim| claim.from <= now);
        let place = |claim: &&Claim<S>| {
            let trusted = claim.standing == Standing::Validator || self.delivered(claim.source);
            (trusted, self.waits(claim.source))
        };
        ready.max_by_key(place).map(|claim| claim.source)
    }

    /// When the first claim may be followed.
    pub(super) fn next_from(&self) -> Option<Instant> {
        self.claims.iter().map(|claim| claim.from).min()
    }

    /// It was asked and delivered; it goes behind its equals.
    pub(super) fn delivered_now(&mut self, source: S) {
        self.remember(Asked { source, delivered: true, failures: 0, until: None });
        if let Some(claim) = self.of(source) {
            claim.delivers = true;
        }
    }

    /// It was asked and said at once that it has nothing.
    pub(super) fn had_nothing(&mut self, source: S, now: Instant) {
        let failures = self.record(source).map_or(0, |asked| asked.failures);
        self.remember(Asked { source, delivered: false, failures, until: Some(now + COOL_DOWN) });
        self.remove(source);
    }

    /// It was asked and did not answer, or not the truth.
    pub(super) fn failed(&mut self, source: S, now: Instant) {
        let before = self.record(source).map_or(0, |asked| asked.failures);
        let until = now + COOL_DOWN * (1 << before.min(COOL_DOWN_DOUBLINGS_MAX));
        self.remember(Asked {
            source,
            delivered: false,
            failures: before.saturating_add(1),
            until: Some(until),
        });
        self.remove(source);
    }

    fn remember(&mut self, asked: Asked<S>) {
        self.asked.retain(|one| one.source != asked.source);
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(asked);
    }

    fn record(&self, source: S) -> Option<&Asked<S>> {
        self.asked.iter().find(|asked| asked.source == source)
    }

    fn delivered(&self, source: S) -> bool {
        self.record(source).is_some_and(|asked| asked.delivered)
    }

    /// Greater the longer ago it was asked.
    fn waits(&self, source: S) -> usize {
        let place = self.asked.iter().position(|asked| asked.source == source);
        place.map_or(usize::MAX, |place| self.asked.len() - place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(source: u32, standing: Standing, height: u64, now: Instant) -> Claim<u32> {
        Claim { source, standing, height: Height(height), from: now, guess: false, delivers: false }
    }

    #[test]
    fn strangers_with_high_claims_neither_precede_nor_displace_a_validator() {
        let now = Instant::now();
        let mut claims = Claims::new();
        claims.add(claim(0, Standing::Validator, 5, now));
        for liar in 1..=2 * CLAIMS_MAX as u32 {
            claims.add(claim(liar, Standing::Stranger, u64::MAX, now));
        }
        assert_eq!(claims.claims.len(), CLAIMS_MAX);
        assert_eq!(claims.next(now), Some(0));
        claims.add(claim(999, Standing::Validator, 1, now));
        assert_eq!(claims.claims.len(), CLAIMS_MAX);
        assert!(claims.of(999).is_some(), "a stranger makes room");
    }

    #[test]
    fn of_equals_the_one_asked_longest_ago_is_next() {
        let now = Instant::now();
        let mut claims = Claims::new();
        for source in [1, 2] {
            claims.add(claim(source, Standing::Validator, 9, now));
        }
        claims.delivered_now(2);
        assert_eq!(claims.next(now), Some(1));
        claims.delivered_now(1);
        assert_eq!(claims.next(now), Some(2));
    }

    #[test]
    fn a_stranger_that_delivered_precedes_others_until_it_fails() {
        let now = Instant::now();
        let mut claims = Claims::new();
        for source in [1, 2] {
            claims.add(claim(source, Standing::Stranger, 9, now));
        }
        claims.delivered_now(1);
        assert_eq!(claims.next(now), Some(1));
        assert_eq!(claims.best(), Some(Height(9)));
        claims.failed(1, now);
        claims.add(claim(1, Standing::Stranger, 9, now));
        assert_eq!(claims.next(now), Some(2));
    }

    #[test]
    fn who_lets_wait_in_vain_is_left_alone_for_longer_up_to_a_bound() {
        let now = Instant::now();
        let mut claims: Claims<u32> = Claims::new();
        let mut cool_down = COOL_DOWN;
        for _ in 0..=COOL_DOWN_DOUBLINGS_MAX {
            claims.failed(1, now);
            assert!(claims.is_cooling(1, now + cool_down - Duration::from_millis(1)));
            assert!(!claims.is_cooling(1, now + cool_down));
            cool_down *= 2;
        }
        claims.failed(1, now);
        assert!(!claims.is_cooling(1, now + cool_down / 2), "it doubles no more");
        claims.delivered_now(1);
        claims.had_nothing(1, now);
        assert!(!claims.is_cooling(1, now + COOL_DOWN), "an answer makes up for it");
    }

    #[test]
    fn a_claim_is_followed_when_its_time_has_come_and_forgotten_when_met() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut claims = Claims::new();
        claims.add(claim(1, Standing::Validator, 9, later));
        assert_eq!((claims.next(now), claims.next_from()), (None, Some(later)));
        assert_eq!(claims.next(later), Some(1));
        claims.met(Height(8));
        assert_eq!(claims.next(later), Some(1));
        claims.met(Height(9));
        assert_eq!(claims.next(later), None);
    }

    #[test]
    fn the_one_asked_longest_ago_is_forgotten_first() {
        let mut claims: Claims<u32> = Claims::new();
        for source in 0..=ASKED_MAX as u32 {
            claims.delivered_now(source);
        }
        assert_eq!(claims.asked.len(), ASKED_MAX);
        assert!(!claims.delivered(0));
        assert!(claims.delivered(1));
    }
}
