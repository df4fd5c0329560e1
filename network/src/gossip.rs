//! Gossiped messages that wait for the application's verdict.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use libp2p::{PeerId, gossipsub::MessageId};

use crate::limits::{GOSSIP_PENDING_MAX, GOSSIP_PENDING_PER_PEER_MAX, GOSSIP_PENDING_TIME_MAX};

/// A message without a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) id: MessageId,
    pub(crate) source: PeerId,
    since: Instant,
}

/// All of them, within bounds for all and for each peer.
#[derive(Debug, Default)]
pub(crate) struct PendingGossip {
    next: u64,
    /// By number, hence by age.
    entries: BTreeMap<u64, Pending>,
    per_peer: HashMap<PeerId, usize>,
}

impl PendingGossip {
    /// Takes a message in and numbers it; `None` if there are too many already.
    pub(crate) fn admit(&mut self, id: MessageId, source: PeerId, now: Instant) -> Option<u64> {
        let of_peer = self.per_peer.get(&source).copied().unwrap_or_default();
        if self.entries.len() >= GOSSIP_PENDING_MAX || of_peer >= GOSSIP_PENDING_PER_PEER_MAX {
            return None;
        }
        self.per_peer.insert(source, of_peer + 1);
        let number = self.next;
        self.next += 1;
        self.entries.insert(number, Pending { id, source, since: now });
        Some(number)
    }

    /// Removes a message that got its verdict; `None` if it expired.
    pub(crate) fn settle(&mut self, number: u64) -> Option<Pending> {
        let pending = self.entries.remove(&number)?;
        let of_peer = self.per_peer.get_mut(&pending.source).expect("every entry is counted");
        *of_peer -= 1;
        if *of_peer == 0 {
            self.per_peer.remove(&pending.source);
        }
        Some(pending)
    }

    /// Removes the messages that have waited too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((number, pending)) = self.entries.first_key_value() {
            if now.duration_since(pending.since) <= GOSSIP_PENDING_TIME_MAX {
                break;
            }
            let number = *number;
            self.settle(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id(number: usize) -> MessageId {
        MessageId::new(&number.to_be_bytes())
    }

    #[test]
    fn each_peer_has_its_share() {
        let now = Instant::now();
        let mut gossip = PendingGossip::default();
        let greedy = PeerId::random();
        for number in 0..GOSSIP_PENDING_PER_PEER_MAX {
            assert!(gossip.admit(id(number), greedy, now).is_some(), "at the bound");
        }
        assert_eq!(gossip.admit(id(0), greedy, now), None, "one past it");
        let other = gossip.admit(id(1), PeerId::random(), now);
        assert!(other.is_some(), "others are not hindered");
        assert!(gossip.settle(0).is_some());
        assert!(gossip.admit(id(2), greedy, now).is_some(), "a verdict makes room");
    }

    #[test]
    fn all_peers_together_are_bounded() {
        let now = Instant::now();
        let mut gossip = PendingGossip::default();
        for number in 0..GOSSIP_PENDING_MAX {
            assert!(gossip.admit(id(number), PeerId::random(), now).is_some(), "at the bound");
        }
        assert_eq!(gossip.admit(id(0), PeerId::random(), now), None, "one past it");
    }

    #[test]
    fn messages_expire_and_are_settled_once() {
        let start = Instant::now();
        let mut gossip = PendingGossip::default();
        let source = PeerId::random();
        let first = gossip.admit(id(1), source, start).expect("room");
        let second = gossip.admit(id(2), source, start + Duration::from_millis(1)).expect("room");
        gossip.expire(start + GOSSIP_PENDING_TIME_MAX);
        gossip.expire(start + GOSSIP_PENDING_TIME_MAX + Duration::from_millis(1));
        assert_eq!(gossip.settle(first), None, "expired");
        assert_eq!(gossip.settle(second).map(|pending| pending.id), Some(id(2)));
        assert_eq!(gossip.settle(second), None, "settled");
        assert!(gossip.per_peer.is_empty());
    }
}
