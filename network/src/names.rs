//! Protocol names and gossip topics. All carry the chain id, so that nodes of different chains have nothing to say
//! to each other even if they meet.

use libp2p::{StreamProtocol, gossipsub::IdentTopic};
use quorate_crypto::Hash;

/// What travels by gossip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Bundles of transactions.
    Transactions,
    /// Announcements of committed blocks.
    Blocks,
}

impl Topic {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Topic::Transactions => "transactions",
            Topic::Blocks => "blocks",
        }
    }
}

/// The names of one chain.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// What a peer says it speaks when it identifies itself, and the prefix of all names.
    pub(crate) version: String,
    pub(crate) frames: StreamProtocol,
    pub(crate) requests: StreamProtocol,
    pub(crate) announcements: StreamProtocol,
    pub(crate) routing: StreamProtocol,
    pub(crate) transactions_topic: IdentTopic,
    pub(crate) blocks_topic: IdentTopic,
    pub(crate) announcements_topic: IdentTopic,
}

/// Prefix of every name, whatever the chain.
const FAMILY: &str = "/quorate/1/";

impl Names {
    pub(crate) fn new(chain: &Hash) -> Self {
        let version = format!("{FAMILY}{chain}");
        let protocol = |name: &str| {
            StreamProtocol::try_from_owned(format!("{version}/{name}")).expect("the name starts with a slash")
        };
        let topic = |name: &str| IdentTopic::new(format!("{version}/{name}"));
        Self {
            frames: protocol("frames"),
            requests: protocol("requests"),
            announcements: protocol("announcements"),
            routing: protocol("routing"),
            transactions_topic: topic(Topic::Transactions.name()),
            blocks_topic: topic(Topic::Blocks.name()),
            announcements_topic: topic("announcements"),
            version,
        }
    }

    /// Every topic there is.
    pub(crate) fn topics(&self) -> [&IdentTopic; 3] {
        [&self.transactions_topic, &self.blocks_topic, &self.announcements_topic]
    }

    pub(crate) fn topic(&self, topic: Topic) -> &IdentTopic {
        match topic {
            Topic::Transactions => &self.transactions_topic,
            Topic::Blocks => &self.blocks_topic,
        }
    }

    /// Why a peer that speaks these protocols is none of ours; `None` if it is one.
    pub(crate) fn stranger(&self, version: &str, protocols: &[StreamProtocol]) -> Option<String> {
        if version == self.version
            && [&self.requests, &self.announcements].iter().all(|name| protocols.contains(name))
        {
            return None;
        }
        let said = crate::peer::printable(version, 2 * crate::limits::AGENT_CHARS_MAX);
        Some(if version == self.version {
            format!("it says {said} but lacks that protocol")
        } else if version.starts_with(FAMILY) {
            format!("it is of another chain: it says {said}, we say {}", self.version)
        } else {
            format!("it is no node of this kind: it says {said}, we say {}", self.version)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_carry_the_chain_id() {
        let chain = Hash::of(b"chain");
        let names = Names::new(&chain);
        let id = chain.to_string();
        for name in [&names.frames, &names.requests, &names.announcements, &names.routing] {
            assert!(name.as_ref().contains(&id), "{name}");
        }
        for topic in names.topics() {
            assert!(topic.to_string().contains(&id), "{topic}");
        }
    }

    #[test]
    fn stranger_is_told_from_our_own() {
        let ours = Names::new(&Hash::of(b"ours"));
        let theirs = Names::new(&Hash::of(b"theirs"));
        let protocols = [ours.requests.clone(), ours.announcements.clone()];
        assert_eq!(ours.stranger(&ours.version, &protocols), None);
        let reason = ours.stranger(&theirs.version, &protocols).expect("refused");
        assert!(reason.contains("another chain"), "{reason}");
        let reason = ours.stranger("ipfs/0.1.0", &protocols).expect("refused");
        assert!(reason.contains("no node of this kind"), "{reason}");
        let reason = ours.stranger(&ours.version, &protocols[..1]).expect("refused");
        assert!(reason.contains("lacks"), "{reason}");
    }
}
