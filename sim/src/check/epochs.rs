//! Who decides which block, by a second reading of the approvals in the blocks below it (`docs/pbft.md` §7).
//!
//! It knows approvals that are alone in their transactions and pay no fee, as the simulated operators send them.

use std::collections::{BTreeMap, VecDeque};

use borsh::BorshSerialize;
use quorate_crypto::{Hash, MultiSignature, PublicKey, SecretKey, Signature, encode, verify};
use quorate_ledger::{Block, Epoch, Height, Operation, Parameters, ProposedChange, ProposedValidator};

use super::Violation;
use super::formats::{set_hash, tagged};
use crate::machine::Chain;
use crate::observe::Vote;

const EPOCHS: &str = "who decides a block follows from the approvals in the blocks below it";
/// So many headers below a block may anchor the checkpoint that a statement of readiness in it names.
const READY_HEADERS: usize = 1_000;

/// What an epoch may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Validators(Vec<PublicKey>),
    Parameters(Parameters),
}

/// One epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Its first height.
    pub(crate) start: Height,
    /// Who votes, in order.
    pub(crate) validators: Vec<PublicKey>,
    pub(crate) parameters: Parameters,
}

impl Span {
    pub(crate) fn has(&self, key: &PublicKey) -> bool {
        self.validators.contains(key)
    }

    /// The name of the set, as a CHECKPOINT has it.
    fn name(&self) -> Hash {
        set_hash(&self.validators)
    }
}

/// What follows from the blocks so far.
#[derive(Debug)]
pub(crate) struct EpochCheck {
    chain: Hash,
    /// The members' keys, in their order.
    members: Vec<PublicKey>,
    /// All epochs that are decided on, the first one first; of the last block of the others it is known that it is in.
    spans: Vec<Span>,
    /// The approvals that count now.
    open: BTreeMap<PublicKey, Wanted>,
    /// How the newest epoch ends, once that is decided.
    end: Option<(Height, Wanted)>,
    /// What was ever decided, oldest first.
    decided: Vec<Wanted>,
    /// What the headers so far anchor, the newest last.
    anchors: VecDeque<Hash>,
    /// Approvals that came to nothing by themselves.
    failed: u64,
}

/// What is to come of executing a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    epoch: Epoch,
    ends: Option<Height>,
    next_validators: Hash,
}

impl Expected {
    /// Whether an outcome says so.
    pub(crate) fn agrees(&self, outcome: &quorate_ledger::ExecutionOutcome) -> bool {
        let checkpoint = &outcome.checkpoint;
        (self.epoch, self.ends, self.next_validators)
            == (checkpoint.epoch, outcome.epoch_ends, checkpoint.next_validators)
    }
}

impl EpochCheck {
    pub(crate) fn new(chain: &Chain) -> Self {
        let mut validators = chain.genesis.validators.keys().to_vec();
        validators.sort_unstable();
        let parameters = chain.genesis.parameters.clone();
        Self {
            chain: chain.genesis.chain,
            members: chain.keys.iter().map(SecretKey::public).collect(),
            spans: vec![Span { start: Height(0), validators, parameters }],
            open: BTreeMap::new(),
            end: None,
            decided: Vec::new(),
            anchors: VecDeque::new(),
            failed: 0,
        }
    }

    /// All epochs so far.
    pub(crate) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The epoch of the next block.
    pub(crate) fn newest(&self) -> &Span {
        &self.spans[self.spans.len() - 1]
    }

    /// Its number.
    pub(crate) fn number(&self) -> Epoch {
        Epoch(self.spans.len() as u64 - 1)
    }

    /// The epoch of a height.
    pub(crate) fn at(&self, height: Height) -> (Epoch, &Span) {
        let after = self.spans.partition_point(|span| span.start <= height);
        (Epoch(after as u64 - 1), &self.spans[after - 1])
    }

    /// Whether a member votes in the newest epoch.
    pub(crate) fn votes(&self, member: usize) -> bool {
        self.newest().validators.contains(&self.members[member])
    }

    /// Whether the end of the newest epoch is decided, and what follows.
    pub(crate) fn ending(&self) -> Option<&Wanted> {
        self.end.as_ref().map(|(_, wanted)| wanted)
    }

    /// What was ever decided.
    pub(crate) fn decided(&self) -> &[Wanted] {
        &self.decided
    }

    /// What a member approves of now.
    pub(crate) fn approval(&self, member: usize) -> Option<&Wanted> {
        self.open.get(&self.members[member])
    }

    /// How many approvals came to nothing by themselves.
    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// A set of members, as an approval of it counts.
    pub(crate) fn set(&self, members: &[usize]) -> Wanted {
        let mut keys: Vec<PublicKey> = members.iter().map(|member| self.members[*member]).collect();
        keys.sort_unstable();
        Wanted::Validators(keys)
    }

    /// Whose key this is.
    pub(crate) fn member(&self, key: &PublicKey) -> Option<usize> {
        self.members.iter().position(|it| it == key)
    }

    /// Which member has signed a vote, if it is of an epoch that there is and of a validator of it.
    pub(crate) fn signer(&self, vote: &Vote) -> Option<usize> {
        let span = self.spans.get(usize::try_from(vote.slot.epoch.0).ok()?)?;
        let key = span.validators.get(vote.signer.as_usize())?;
        self.member(key)
    }

    /// Takes in the next block.
    pub(crate) fn apply(&mut self, block: &Block) -> Result<Expected, Violation> {
        let (header, height) = (block.header(), block.height());
        if header.epoch != self.number() {
            let detail = format!("block {height} is of epoch {}, not {}", header.epoch, self.number());
            return Err(Violation::new(EPOCHS, detail));
        }
        let first = height == self.newest().start;
        if first && header.anchor.height.next() != height {
            let detail = format!("block {height} begins an epoch and anchors {}", header.anchor.height);
            return Err(Violation::new(EPOCHS, detail));
        }
        if first {
            self.decide_if_wanted(height);
        }
        for transaction in block.transactions() {
            let sender = transaction.sender().0;
            for operation in &transaction.payload().operations {
                if let Operation::Approve { change } = operation {
                    self.approve(height, &sender, change);
                }
            }
        }
        self.anchors.push_back(header.anchor.checkpoint);
        if self.anchors.len() > READY_HEADERS {
            self.anchors.pop_front();
        }
        let (epoch, ends) = (self.number(), self.end.as_ref().map(|(last, _)| *last));
        if ends == Some(height) {
            self.go_over(height);
        }
        Ok(Expected { epoch, ends, next_validators: self.newest().name() })
    }

    fn approve(&mut self, height: Height, sender: &PublicKey, change: &ProposedChange) {
        let wanted = match change {
            ProposedChange::Parameters(parameters) => Wanted::Parameters((**parameters).clone()),
            ProposedChange::Validators(validators) => {
                if !validators.iter().all(|it| self.is_known(it) || self.is_ready(it)) {
                    self.failed += 1;
                    return;
                }
                let mut keys: Vec<PublicKey> = validators.iter().map(|it| it.key).collect();
                keys.sort_unstable();
                Wanted::Validators(keys)
            }
        };
        if !self.newest().has(sender) {
            self.failed += 1;
            return;
        }
        self.open.insert(*sender, wanted);
        if self.end.is_none() {
            self.decide_if_wanted(height);
        }
    }

    /// Whether a key is of the set in force, or once an end is decided of the set that follows.
    fn is_known(&self, validator: &ProposedValidator) -> bool {
        match &self.end {
            Some((_, Wanted::Validators(next))) => next.contains(&validator.key),
            Some((_, Wanted::Parameters(_))) | None => self.newest().has(&validator.key),
        }
    }

    /// Whether a new key has signed, for this epoch, a checkpoint that a recent header anchors.
    fn is_ready(&self, validator: &ProposedValidator) -> bool {
        let Some(readiness) = &validator.readiness else { return false };
        let said = encode(&(self.number(), readiness.checkpoint));
        let message = tagged("readiness", &[self.chain.as_bytes(), &said]);
        self.anchors.contains(&readiness.checkpoint) && verify(&validator.key, &message, &readiness.signature)
    }

    /// Decides what a quorum of the newest epoch's validators wants, if there is such a thing.
    fn decide_if_wanted(&mut self, height: Height) {
        let span = &self.spans[self.spans.len() - 1];
        let wishes: Vec<&Wanted> = span.validators.iter().filter_map(|key| self.open.get(key)).collect();
        let count = |wanted: &Wanted| wishes.iter().filter(|it| **it == wanted).count();
        let wanted = wishes.iter().find(|wanted| count(wanted) >= quorum(span.validators.len()));
        if let Some(wanted) = wanted.map(|it| (*it).clone()) {
            let last = Height(height.0 + u64::from(span.parameters.window));
            self.decided.push(wanted.clone());
            self.end = Some((last, wanted));
            self.open.clear();
        }
    }

    /// The newest epoch has had its last block.
    fn go_over(&mut self, last: Height) {
        let Some((_, wanted)) = self.end.take() else { return };
        let mut span = Span { start: last.next(), ..self.newest().clone() };
        match wanted {
            Wanted::Validators(keys) => span.validators = keys,
            Wanted::Parameters(parameters) => span.parameters = parameters,
        }
        self.open.retain(|key, _| span.validators.contains(key));
        self.spans.push(span);
    }

    /// Whether a quorum of an epoch's validators has signed this payload under a tag: told by keys and signatures alone.
    pub(crate) fn is_certified<T: BorshSerialize>(
        &self,
        epoch: Epoch,
        tag: &str,
        payload: &T,
        signatures: &MultiSignature,
    ) -> bool {
        let message = tagged(tag, &[self.chain.as_bytes(), &encode(payload)]);
        self.is_signed(epoch, &message, |place| signatures.of(place).copied())
    }

    /// How many validators of an epoch decide; of one that nobody knows, nobody does.
    pub(super) fn quorum_of(&self, epoch: Epoch) -> usize {
        let span = usize::try_from(epoch.0).ok().and_then(|number| self.spans.get(number));
        span.map_or(usize::MAX, |span| quorum(span.validators.len()))
    }

    fn is_signed(
        &self,
        epoch: Epoch,
        message: &[u8],
        signature: impl Fn(usize) -> Option<Signature>,
    ) -> bool {
        let Some(span) = usize::try_from(epoch.0).ok().and_then(|number| self.spans.get(number)) else {
            return false;
        };
        let signed = span
            .validators
            .iter()
            .enumerate()
            .filter(|(place, key)| signature(*place).is_some_and(|it| verify(key, message, &it)));
        signed.count() >= quorum(span.validators.len())
    }
}

/// The least number of validators of `n` such that any two such groups share a correct one (`docs/pbft.md` §1): counted
/// up, not computed by the formula that is under test.
pub(crate) fn quorum(n: usize) -> usize {
    let faulty = (0..n).take_while(|faulty| 3 * faulty < n).last().unwrap_or_default();
    (1..=n).find(|size| 2 * size > n + faulty).unwrap_or(n)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_ledger::{Account, Anchor, Header, Payload, Readiness, Transaction, UnixMillis};

    use super::*;
    use crate::scenario::{Approvers, Change, Scenario};

    /// A window of 2, four validators, and a fifth member.
    fn chain() -> Arc<Chain> {
        let parameters = Parameters { window: 2, ..Parameters::default() };
        let set = Change::Validators(vec![0, 1, 2, 3, 4]);
        Scenario::new("", 4, 1).parameters(parameters).change(0, set, Approvers::All).chain()
    }

    fn block(chain: &Chain, epoch: u64, height: u64, approvals: &[(usize, ProposedChange)]) -> Block {
        let transactions: Vec<_> = approvals
            .iter()
            .map(|(member, change)| {
                let payload = Payload {
                    version: Payload::VERSION,
                    chain: chain.genesis.chain,
                    sender: Account(chain.keys[*member].public()),
                    nonce: height,
                    expires_at: UnixMillis(0),
                    fee: 0,
                    operations: vec![Operation::Approve { change: change.clone() }],
                };
                Arc::new(Transaction::sign(payload, &chain.keys[*member]))
            })
            .collect();
        let header = Header {
            version: Header::VERSION,
            chain: chain.genesis.chain,
            epoch: Epoch(epoch),
            height: Height(height),
            parent: Hash::ZERO,
            transactions_root: Hash::ZERO,
            time: UnixMillis(height),
            proposer: Account(chain.keys[0].public()),
            anchor: Anchor {
                height: Height(height - 1),
                state_root: Hash::ZERO,
                checkpoint: Hash::of(&height.to_le_bytes()),
            },
        };
        Block::new(header, transactions)
    }

    /// The set of these members; the fifth says in some epoch that it has caught up with what block 1 anchors.
    fn set(chain: &Chain, members: &[usize], ready_in: u64) -> ProposedChange {
        let proposed = members.iter().map(|member| {
            let (name, anchored) = (&chain.genesis.chain, Hash::of(&1u64.to_le_bytes()));
            let key = &chain.keys[*member];
            let statement = || Readiness::sign(name, Epoch(ready_in), anchored, key);
            ProposedValidator { key: key.public(), readiness: (*member == 4).then(statement) }
        });
        ProposedChange::Validators(proposed.collect())
    }

    fn approve(members: &[usize], change: &ProposedChange) -> Vec<(usize, ProposedChange)> {
        members.iter().map(|member| (*member, change.clone())).collect()
    }

    #[test]
    fn a_quorum_of_approvals_ends_the_epoch_a_window_later() {
        let chain = chain();
        let mut check = EpochCheck::new(&chain);
        let five = set(&chain, &[4, 3, 2, 1, 0], 0);
        let ends = |expected: Expected| expected.ends;
        assert_eq!(check.apply(&block(&chain, 0, 1, &[])).map(ends), Ok(None));
        let two = approve(&[0, 1], &five);
        assert_eq!(check.apply(&block(&chain, 0, 2, &two)).map(ends), Ok(None), "two of four are no quorum");
        let third = approve(&[3], &five);
        assert_eq!(check.apply(&block(&chain, 0, 3, &third)).map(ends), Ok(Some(Height(5))));
        assert_eq!(
            (check.apply(&block(&chain, 0, 4, &[])).map(ends), check.number()),
            (Ok(Some(Height(5))), Epoch(0))
        );
        let last = check.apply(&block(&chain, 0, 5, &[])).expect("of its epoch");
        assert_eq!(
            (check.number(), check.newest().start, check.newest().validators.len()),
            (Epoch(1), Height(6), 5)
        );
        assert_eq!(last.next_validators, check.newest().name());
        assert!(check.votes(4) && check.at(Height(5)).0 == Epoch(0));
    }

    #[test]
    fn a_block_of_another_epoch_than_the_approvals_say_is_caught() {
        let chain = chain();
        let mut check = EpochCheck::new(&chain);
        assert!(check.apply(&block(&chain, 1, 1, &[])).is_err());
        let three = approve(&[0, 1, 2], &set(&chain, &[0, 1, 2], 0));
        check.apply(&block(&chain, 0, 1, &three)).expect("of its epoch");
        for height in 2..=3 {
            check.apply(&block(&chain, 0, height, &[])).expect("of its epoch");
        }
        assert!(check.apply(&block(&chain, 0, 4, &[])).is_err(), "the epoch ended with block 3");
        assert!(check.apply(&block(&chain, 1, 4, &[])).is_ok());
    }

    #[test]
    fn approvals_that_are_not_fit_do_not_count() {
        let chain = chain();
        let mut check = EpochCheck::new(&chain);
        check.apply(&block(&chain, 0, 1, &[])).expect("of its epoch");
        let strange = approve(&[4], &set(&chain, &[0, 1, 2], 0));
        let too_late = approve(&[0, 1, 2], &set(&chain, &[0, 1, 2, 3, 4], 1));
        for (height, approvals) in (2..).zip([strange, too_late]) {
            check.apply(&block(&chain, 0, height, &approvals)).expect("of its epoch");
        }
        assert_eq!((check.failed(), check.ending()), (4, None));
    }

    #[test]
    fn signatures_of_a_set_that_is_over_are_none_of_the_next() {
        let chain = chain();
        let mut check = EpochCheck::new(&chain);
        let pair = approve(&[0, 1, 2], &set(&chain, &[2, 3], 0));
        for height in 1..=3 {
            let approvals = if height == 1 { pair.as_slice() } else { &[] };
            check.apply(&block(&chain, 0, height, approvals)).expect("of its epoch");
        }
        let signed_by = |members: &'static [usize]| {
            let chain = Arc::clone(&chain);
            move |place: usize| members.get(place).map(|member| chain.keys[*member].sign_bytes(b"it"))
        };
        assert!(check.is_signed(Epoch(0), b"it", signed_by(&[0, 1, 2])));
        assert!(!check.is_signed(Epoch(0), b"it", signed_by(&[0, 1])));
        assert!(!check.is_signed(Epoch(1), b"it", signed_by(&[0, 1, 2])));
        assert!(check.is_signed(Epoch(1), b"it", signed_by(&[2, 3])), "in the order of their keys");
        assert!(!check.is_signed(Epoch(2), b"it", signed_by(&[2, 3])));
    }

    #[test]
    fn quorums_are_those_of_the_paper_and_right_between() {
        assert_eq!([1, 4, 5, 6, 7, 10].map(quorum), [1, 3, 4, 4, 5, 7]);
    }
}
