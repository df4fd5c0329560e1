//! How fast one peer is answered, so that a few that ask without end cannot keep this node's disk and links from the others.
//!
//! Being answered is paid in time: a request costs [`REQUEST_COST`], and what is answered costs the time that
//! [`ANSWER_BYTES_PER_SECOND`] of it take. A peer may be in debt by [`CREDIT`]; beyond it its requests are held back until
//! it is not, and if that takes longer than [`DELAY_MAX`] its requests are refused. So whoever asks too fast is slowed to
//! the rate and not cut off. Validators have [`VALIDATORS_SHARE`] times as much: what they ask for moves consensus.
//!
//! It is pure: the time is an argument.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::PeerId;

use crate::limits::{ANSWER_BYTES_PER_SECOND, CREDIT, DELAY_MAX, REQUEST_COST, VALIDATORS_SHARE};

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A peer bound to a validator of the set.
    Validator,
    /// Any other.
    Stranger,
}

impl Asker {
    /// What something costs it.
    fn price(self, cost: Duration) -> Duration {
        match self {
            Self::Validator => cost / VALIDATORS_SHARE,
            Self::Stranger => cost,
        }
    }
}

/// When each peer will have paid for what it was answered.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    paid_at: HashMap<PeerId, Instant>,
}

impl Quota {
    /// Takes a request, and says for how long its answer is to be held back; nothing if it is to be refused.
    pub(crate) fn request(&mut self, peer: PeerId, asker: Asker, now: Instant) -> Option<Duration> {
        let debt = self.paid_at.get(&peer).map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let delay = debt.saturating_sub(CREDIT);
        if delay > DELAY_MAX {
            return None;
        }
        self.charge(peer, asker.price(REQUEST_COST), now);
        Some(delay)
    }

    /// Takes a request whose answer is not held back: whether it may be answered at once.
    pub(crate) fn request_at_once(&mut self, peer: PeerId, asker: Asker, now: Instant) -> bool {
        self.request(peer, asker, now).is_some_and(|delay| delay.is_zero())
    }

    /// Notes how many bytes a peer was answered.
    pub(crate) fn answered(&mut self, peer: PeerId, asker: Asker, bytes: usize, now: Instant) {
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / ANSWER_BYTES_PER_SECOND;
        self.charge(peer, asker.price(Duration::from_nanos(nanos)), now);
    }

    fn charge(&mut self, peer: PeerId, price: Duration, now: Instant) {
        let paid_at = self.paid_at.entry(peer).or_insert(now);
        *paid_at = (*paid_at).max(now) + price;
    }

    /// Forgets peers that owe nothing: also those that are gone, so that coming again clears no debt.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.paid_at.retain(|_, at| *at > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks until refused or held back longer than `delay`; how often it was not.
    fn asks(quota: &mut Quota, peer: PeerId, asker: Asker, delay: Duration, now: Instant) -> u32 {
        (0..).find(|_| quota.request(peer, asker, now).is_none_or(|held| held > delay)).expect("it ends")
    }

    #[test]
    fn requests_within_the_credit_are_not_held_back() {
        let (mut quota, peer, now) = (Quota::default(), PeerId::random(), Instant::now());
        let most = CREDIT.div_duration_f64(REQUEST_COST) as u32;
        assert_eq!(asks(&mut quota, peer, Asker::Stranger, Duration::ZERO, now), most + 1);
        let other = PeerId::random();
        assert_eq!(quota.request(other, Asker::Stranger, now), Some(Duration::ZERO), "each pays for itself");
    }

    #[test]
    fn who_asks_without_end_is_slowed_to_the_rate_then_refused() {
        let (mut quota, peer, now) = (Quota::default(), PeerId::random(), Instant::now());
        let most = (CREDIT + DELAY_MAX).div_duration_f64(REQUEST_COST) as u32;
        assert_eq!(asks(&mut quota, peer, Asker::Stranger, DELAY_MAX, now), most + 1);
        assert_eq!(quota.request(peer, Asker::Stranger, now), None);
        let later = now + REQUEST_COST;
        assert_eq!(
            quota.request(peer, Asker::Stranger, later),
            Some(DELAY_MAX),
            "one more each time it paid one"
        );
        assert_eq!(quota.request(peer, Asker::Stranger, later), None);
    }

    #[test]
    fn who_is_answered_at_once_or_not_at_all_is_refused_beyond_the_credit() {
        let (mut quota, peer, now) = (Quota::default(), PeerId::random(), Instant::now());
        let most = CREDIT.div_duration_f64(REQUEST_COST) as u32;
        let answered = (0..2 * most).filter(|_| quota.request_at_once(peer, Asker::Stranger, now)).count();
        assert_eq!(answered as u32, most + 1);
    }

    #[test]
    fn a_validator_is_given_its_share() {
        let (mut quota, now) = (Quota::default(), Instant::now());
        let of = |quota: &mut Quota, asker| asks(quota, PeerId::random(), asker, Duration::ZERO, now) - 1;
        let stranger = of(&mut quota, Asker::Stranger);
        assert_eq!(of(&mut quota, Asker::Validator), stranger * VALIDATORS_SHARE);
    }

    #[test]
    fn bytes_are_paid_for_after_they_were_sent() {
        let (mut quota, peer, now) = (Quota::default(), PeerId::random(), Instant::now());
        let second = usize::try_from(ANSWER_BYTES_PER_SECOND).expect("it fits");
        quota.answered(peer, Asker::Stranger, second, now);
        let held = Duration::from_secs(1).saturating_sub(CREDIT);
        assert_eq!(quota.request(peer, Asker::Stranger, now), Some(held));
        quota.answered(peer, Asker::Stranger, 60 * second, now);
        assert_eq!(quota.request(peer, Asker::Stranger, now), None);
        let later = now + Duration::from_secs(62);
        assert_eq!(quota.request(peer, Asker::Stranger, later), Some(Duration::ZERO), "all is paid");
    }

    #[test]
    fn only_who_owes_is_remembered() {
        let (mut quota, peer, now) = (Quota::default(), PeerId::random(), Instant::now());
        quota.request(peer, Asker::Stranger, now).expect("the first");
        quota.expire(now);
        assert_eq!(quota.paid_at.len(), 1);
        quota.expire(now + REQUEST_COST);
        assert_eq!(quota.paid_at.len(), 0);
    }
}
