//! Announcements: what binds a validator's key to a node of the network.
//!
//! A validator says "my node is this one, reachable at these addresses". Both keys sign: the validator's, so that
//! nobody else can speak for it, and the node's, so that a validator cannot claim somebody else's node (the frames
//! of that node would then be taken for the claimer's). The sequence is a time in Unix milliseconds; of two
//! announcements of one validator the one with the higher sequence counts, and one that is ahead of the clock by
//! more than the permitted drift does not count yet, so that no announcement can be valid for ever. Sequences are at least
//! a step apart, so that a validator cannot keep the others busy with announcements.
//!
//! Everything here is pure: the clock is an argument. Invariants of a [`Book`]: only validators of the current set
//! are bound, each to one peer; no peer is bound to two validators; the sequence of a binding only grows.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use borsh::{BorshDeserialize, BorshSerialize};
use libp2p::{Multiaddr, PeerId, identity::ed25519, multiaddr::Protocol};
use quorate_crypto::{Domain, Hash, PublicKey, SecretKey, Signature, codec::bounded_list, verify};

use crate::limits::{ADDRESS_BYTES_MAX, ADDRESSES_MAX, ANNOUNCE_STEP_MS, VALIDATORS_MAX};

/// What a validator says about itself.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Announcement {
    /// The validator's key.
    pub validator: PublicKey,
    /// The node's key; the peer id follows from it.
    pub node: PublicKey,
    /// Where the node listens: multiaddresses in their binary form, at most [`ADDRESSES_MAX`], each of at most
    /// [`ADDRESS_BYTES_MAX`].
    #[borsh(deserialize_with = "read_addresses")]
    pub addresses: Vec<Vec<u8>>,
    /// Unix milliseconds when it was made, or a little more so that it exceeds the last.
    pub sequence: u64,
}

/// An announcement with the signatures of both keys under [`Domain::Announcement`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedAnnouncement {
    /// What is signed.
    pub announcement: Announcement,
    /// By the validator's key.
    pub validator_signature: Signature,
    /// By the node's key.
    pub node_signature: Signature,
}

/// What two nodes exchange: all that one of them knows, at most [`VALIDATORS_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Exchange(#[borsh(deserialize_with = "read_exchange")] pub(crate) Vec<SignedAnnouncement>);

fn read_addresses<R: io::Read>(reader: &mut R) -> io::Result<Vec<Vec<u8>>> {
    let address = |reader: &mut R| {
        bounded_list(reader, ADDRESS_BYTES_MAX, "bytes of an address", u8::deserialize_reader)
    };
    bounded_list(reader, ADDRESSES_MAX, "addresses", address)
}

fn read_exchange<R: io::Read>(reader: &mut R) -> io::Result<Vec<SignedAnnouncement>> {
    bounded_list(reader, VALIDATORS_MAX, "announcements", SignedAnnouncement::deserialize_reader)
}

/// A checked announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The validator's key.
    pub validator: PublicKey,
    /// The node it is bound to.
    pub peer: PeerId,
    /// Where that node listens.
    pub addresses: Vec<Multiaddr>,
    /// See [`Announcement::sequence`].
    pub sequence: u64,
    /// The announcement as it is passed on.
    pub signed: SignedAnnouncement,
}

/// Why an announcement is not taken up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The key is not of the current validator set. Sets differ between nodes for a moment when an epoch ends.
    #[error("{0} is not a validator of the current set")]
    NotAValidator(PublicKey),
    /// Known already, or a newer one is.
    #[error("sequence {sequence} is not newer than {known}")]
    NotNewer {
        /// Its sequence.
        sequence: u64,
        /// The sequence that is known.
        known: u64,
    },
    /// Newer than what is known, but too little to be told from a flood.
    #[error("sequence {sequence} is less than {ANNOUNCE_STEP_MS} above {known}")]
    TooSoon {
        /// Its sequence.
        sequence: u64,
        /// The sequence that is known.
        known: u64,
    },
    /// From the future. Clocks differ, so this is no proof of a fault.
    #[error("sequence {sequence} is ahead of the clock ({now_ms}) by more than the drift allows")]
    Ahead {
        /// Its sequence.
        sequence: u64,
        /// This machine's clock.
        now_ms: u64,
    },
    /// The peer is bound to another validator by a newer announcement, which the peer signed, too.
    #[error("its node is bound to {0} by a newer announcement")]
    PeerTaken(PublicKey),
    /// It announces this node's own validator key.
    #[error("it announces our own validator key for the node {0}")]
    OurKey(PeerId),
    /// Not well-formed.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// Not signed by the validator's key.
    #[error("the validator's signature does not verify")]
    ValidatorSignature,
    /// Not signed by the node's key.
    #[error("the node's signature does not verify")]
    NodeSignature,
}

impl Refusal {
    /// Whether no honest node would have passed this on.
    pub fn is_fault(&self) -> bool {
        match self {
            Refusal::Malformed(_) | Refusal::ValidatorSignature | Refusal::NodeSignature => true,
            Refusal::NotAValidator(_)
            | Refusal::NotNewer { .. }
            | Refusal::TooSoon { .. }
            | Refusal::Ahead { .. }
            | Refusal::PeerTaken(_)
            | Refusal::OurKey(_) => false,
        }
    }
}

impl SignedAnnouncement {
    /// Signs for a validator and its node. Addresses beyond [`ADDRESSES_MAX`] or longer than [`ADDRESS_BYTES_MAX`]
    /// are left out.
    pub fn sign(
        chain: &Hash,
        validator: &SecretKey,
        node: &SecretKey,
        addresses: &[Multiaddr],
        sequence: u64,
    ) -> Self {
        let addresses = addresses
            .iter()
            .map(Multiaddr::to_vec)
            .filter(|bytes| bytes.len() <= ADDRESS_BYTES_MAX)
            .take(ADDRESSES_MAX)
            .collect();
        let announcement =
            Announcement { validator: validator.public(), node: node.public(), addresses, sequence };
        Self {
            validator_signature: validator.sign(Domain::Announcement, chain, &announcement),
            node_signature: node.sign(Domain::Announcement, chain, &announcement),
            announcement,
        }
    }

    /// Checks form and signatures.
    ///
    /// # Errors
    /// [`Refusal::Malformed`], [`Refusal::ValidatorSignature`], [`Refusal::NodeSignature`].
    pub fn check(self, chain: &Hash) -> Result<Binding, Refusal> {
        let Announcement { validator, node, addresses, sequence } = &self.announcement;
        let peer = peer_id(node).ok_or(Refusal::Malformed("the node's key is no key"))?;
        let addresses = parse_addresses(addresses, &peer)?;
        let message = Domain::Announcement.message(chain, &self.announcement);
        if !verify(validator, &message, &self.validator_signature) {
            return Err(Refusal::ValidatorSignature);
        }
        if !verify(node, &message, &self.node_signature) {
            return Err(Refusal::NodeSignature);
        }
        Ok(Binding { validator: *validator, peer, addresses, sequence: *sequence, signed: self })
    }
}

fn parse_addresses(addresses: &[Vec<u8>], peer: &PeerId) -> Result<Vec<Multiaddr>, Refusal> {
    if addresses.len() > ADDRESSES_MAX {
        return Err(Refusal::Malformed("too many addresses"));
    }
    let parse = |bytes: &Vec<u8>| {
        if bytes.len() > ADDRESS_BYTES_MAX {
            return Err(Refusal::Malformed("an address is too long"));
        }
        let address = Multiaddr::try_from(bytes.clone())
            .map_err(|_| Refusal::Malformed("an address is no multiaddress"))?;
        let names_other = |part: Protocol<'_>| matches!(part, Protocol::P2p(other) if other != *peer);
        if address.iter().any(names_other) {
            return Err(Refusal::Malformed("an address names another peer"));
        }
        Ok(address)
    };
    addresses.iter().map(parse).collect()
}

/// The peer id of a node's key: ed25519 keys are short enough to be their own multihash.
pub(crate) fn peer_id(node: &PublicKey) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(node.as_bytes()).ok()?;
    Some(libp2p::identity::PublicKey::from(key).to_peer_id())
}

/// What taking up an announcement changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// What is bound now.
    pub binding: Binding,
    /// What was bound to the same validator before.
    pub previous: Option<Binding>,
    /// Another validator that the peer was bound to before by an older announcement, and is no longer.
    pub displaced: Option<Binding>,
}

/// How far a sequence may be ahead of this machine's clock: a parameter of the chain, which later epochs may change. Clones
/// are the same one.
#[derive(Clone, Debug)]
pub struct ClockDrift(Arc<AtomicU64>);

impl ClockDrift {
    /// So many milliseconds, to begin with.
    pub fn new(max_ms: u64) -> Self {
        Self(Arc::new(AtomicU64::new(max_ms)))
    }

    /// So many milliseconds from now on.
    pub fn set(&self, max_ms: u64) {
        self.0.store(max_ms, Ordering::Relaxed);
    }

    /// Whether a sequence is ahead of the clock by more.
    pub fn is_ahead(&self, sequence: u64, now_ms: u64) -> bool {
        sequence > now_ms.saturating_add(self.0.load(Ordering::Relaxed))
    }
}

/// The announcements in force.
#[derive(Debug)]
pub struct Book {
    chain: Hash,
    drift: ClockDrift,
    /// The node that this process is, and the validator key it signs with.
    own: Option<(PublicKey, PeerId)>,
    validators: BTreeSet<PublicKey>,
    bindings: BTreeMap<PublicKey, Binding>,
    by_peer: HashMap<PeerId, PublicKey>,
}

impl Book {
    /// An empty book of a chain. `own` is this process's validator key and peer id, if it is a validator.
    pub fn new(chain: Hash, drift: ClockDrift, own: Option<(PublicKey, PeerId)>) -> Self {
        Self {
            chain,
            drift,
            own,
            validators: BTreeSet::new(),
            bindings: BTreeMap::new(),
            by_peer: HashMap::new(),
        }
    }

    /// Sets the current validators and returns the bindings of those that are no longer among them.
    pub fn set_validators(&mut self, validators: BTreeSet<PublicKey>) -> Vec<Binding> {
        self.validators = validators;
        let gone: Vec<_> =
            self.bindings.keys().filter(|validator| !self.validators.contains(*validator)).copied().collect();
        gone.iter().filter_map(|validator| self.unbind(validator)).collect()
    }

    /// Takes up an announcement. Cheap checks come first, so that what is known already costs no signature check.
    ///
    /// # Errors
    /// Why it is not taken up; [`Refusal::is_fault`] says whether its sender is to blame.
    pub fn merge(&mut self, signed: SignedAnnouncement, now_ms: u64) -> Result<Merged, Refusal> {
        let validator = signed.announcement.validator;
        let sequence = signed.announcement.sequence;
        if !self.validators.contains(&validator) {
            return Err(Refusal::NotAValidator(validator));
        }
        if let Some(Binding { sequence: known, .. }) = self.bindings.get(&validator)
            && sequence < known.saturating_add(ANNOUNCE_STEP_MS)
        {
            let known = *known;
            return Err(if sequence <= known {
                Refusal::NotNewer { sequence, known }
            } else {
                Refusal::TooSoon { sequence, known }
            });
        }
        if self.drift.is_ahead(sequence, now_ms) {
            return Err(Refusal::Ahead { sequence, now_ms });
        }
        let binding = signed.check(&self.chain)?;
        if let Some((own, own_peer)) = self.own
            && own == validator
            && own_peer != binding.peer
        {
            return Err(Refusal::OurKey(binding.peer));
        }
        let displaced = self.displace(&binding)?;
        let previous = self.unbind(&validator);
        self.by_peer.insert(binding.peer, validator);
        self.bindings.insert(validator, binding.clone());
        Ok(Merged { binding, previous, displaced })
    }

    /// A peer serves one validator: the newest announcement that it signed says which.
    fn displace(&mut self, binding: &Binding) -> Result<Option<Binding>, Refusal> {
        let Some(other) =
            self.by_peer.get(&binding.peer).copied().filter(|other| *other != binding.validator)
        else {
            return Ok(None);
        };
        if self.bindings[&other].sequence >= binding.sequence {
            return Err(Refusal::PeerTaken(other));
        }
        Ok(self.unbind(&other))
    }

    fn unbind(&mut self, validator: &PublicKey) -> Option<Binding> {
        let binding = self.bindings.remove(validator)?;
        let bound = self.by_peer.remove(&binding.peer);
        assert_eq!(bound, Some(*validator), "both maps say the same");
        Some(binding)
    }

    /// The binding of a validator.
    pub fn binding(&self, validator: &PublicKey) -> Option<&Binding> {
        self.bindings.get(validator)
    }

    /// The validator that a peer is bound to.
    pub fn validator_of(&self, peer: &PeerId) -> Option<PublicKey> {
        self.by_peer.get(peer).copied()
    }

    /// All bindings, by validator key.
    pub fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.bindings.values()
    }

    /// Whether every validator of the set is bound.
    pub fn is_complete(&self) -> bool {
        self.bindings.len() == self.validators.len()
    }

    /// Whether this key is of the current set.
    pub fn is_validator(&self, key: &PublicKey) -> bool {
        self.validators.contains(key)
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
