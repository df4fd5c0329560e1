//! What a committed block must be by itself and beside its parent, by a second reading of `docs/formats.md` §7 and §8 and of
//! `docs/pbft.md` §3.1: header, limits, transactions with their signatures, anchor.
//!
//! Whether a key may be used at all and whether a signature holds is asked of `crypto`: of the curve there is one reading.

use std::collections::BTreeSet;

use quorate_crypto::{Hash, PublicKey, verify};
use quorate_ledger::{
    Anchor, Block, CheckpointPayload, Condition, Epoch, EpochRecord, GenesisState, Height, Operation,
    Parameters, ProposedChange, Record, RecordKey, Transaction, UnixMillis,
};

use super::formats::{Named, header_hash, merkle_root, result_hash, set_hash};
use super::proofs::state_root;

/// The least and the greatest value of each parameter (`docs/formats.md` §4), in its order.
const BOUNDS: [(u128, u128); 21] = [
    (1_024, 16_777_216),
    (1, 65_536),
    (0, 10_000),
    (1_024, 1_048_576),
    (1, 1_024),
    (1, 4_096),
    (1, 1_048_576),
    (1_000, 3_600_000),
    (0, 10u128.pow(30)),
    (0, 10u128.pow(30)),
    (1, 128),
    (2, 4_096),
    (1, 600_000),
    (0, 604_800_000),
    (0, 1_000_000_000),
    (0, 604_800_000),
    (10, 60_000),
    (10, 3_600_000),
    (10, 3_600_000),
    (10, 60_000),
    (1_000, 604_800_000),
];

/// What a block stands on, and whose rules it is under.
pub(super) struct Below<'a> {
    pub(super) chain: Hash,
    pub(super) height: Height,
    pub(super) hash: Hash,
    pub(super) time: UnixMillis,
    pub(super) anchor: Anchor,
    /// The parameters of the block's epoch.
    pub(super) parameters: &'a Parameters,
    /// Who decides it.
    pub(super) validators: &'a [PublicKey],
}

impl Below<'_> {
    /// Whether a block stands on this one.
    pub(super) fn carries(&self, block: &Block) -> bool {
        let header = block.header();
        (header.parent, header.height) == (self.hash, self.height.next()) && header.time > self.time
    }

    /// What is wrong with a block that stands here, if something is. `named` are its transactions.
    pub(super) fn wrong(&self, block: &Block, named: &[Named]) -> Option<String> {
        let (header, parameters) = (block.header(), self.parameters);
        let hash = header_hash(header);
        let leaves: Vec<Hash> = named.iter().map(|it| it.hash).collect();
        let bytes: usize = named.iter().map(|it| it.size).sum();
        let rules = [
            ("is of another version", header.version != 1),
            ("is of another chain", header.chain != self.chain),
            ("is named by another hash", hash != block.hash()),
            ("has a proposer that is no validator", !self.validators.contains(&header.proposer.0)),
            ("has another root", merkle_root(&leaves) != header.transactions_root),
            ("holds too many transactions", leaves.len() > parameters.block_transactions_max as usize),
            ("holds too many bytes", bytes > parameters.block_bytes_max as usize),
            ("anchors what is not below it", header.anchor.height >= header.height),
            ("goes back with its anchor", header.anchor.height < self.anchor.height),
            (
                "anchors something else where its parent does",
                header.anchor.height == self.anchor.height && header.anchor != self.anchor,
            ),
        ];
        if let Some((what, _)) = rules.into_iter().find(|(_, broken)| *broken) {
            return Some(format!("it {what}: {header:?}"));
        }
        let (mut free, mut stating) = (BTreeSet::new(), BTreeSet::new());
        for (transaction, named) in block.transactions().iter().zip(named) {
            let sender = transaction.payload().sender.0;
            let unfit = self.unfit(transaction, named, header.time);
            let again = (self.is_free(transaction, named) && !free.insert(sender))
                .then_some("is the second free one of its sender");
            let stated = (carries_statements(transaction) && !stating.insert(sender))
                .then_some("is the second with statements of its sender");
            if let Some(what) = unfit.or(again).or(stated) {
                let time = header.time;
                return Some(format!("at {time} it holds what {what}: {:?}", transaction.payload()));
            }
        }
        None
    }

    /// What keeps a transaction out of a block of this time.
    fn unfit(&self, transaction: &Transaction, named: &Named, time: UnixMillis) -> Option<&'static str> {
        let (payload, parameters) = (transaction.payload(), self.parameters);
        let operations = payload.operations.len();
        let latest = time.0 + parameters.transaction_lifetime_max_ms;
        let rules = [
            ("is of another version", payload.version != 1),
            ("is of another chain", payload.chain != self.chain),
            ("is too large", named.size > parameters.transaction_bytes_max as usize),
            ("does nothing", operations == 0),
            ("does too much", operations > parameters.operations_max as usize),
            ("has expired", payload.expires_at <= time),
            ("expires too late", payload.expires_at.0 > latest),
            ("pays too little", payload.fee < self.fee(named) && !self.is_free(transaction, named)),
            ("is of a key that nobody can own", payload.sender.0.check().is_err()),
            ("nobody signed", !verify(&payload.sender.0, &named.message, transaction.signature())),
        ];
        let broken = rules.into_iter().find(|(_, broken)| *broken).map(|(what, _)| what);
        broken.or_else(|| payload.operations.iter().find_map(|it| self.unfit_operation(it)))
    }

    fn unfit_operation(&self, operation: &Operation) -> Option<&'static str> {
        let (key, value): (&[u8], &[u8]) = match operation {
            Operation::Transfer { .. } => return None,
            Operation::Approve { change } => return self.unfit_change(change),
            Operation::Put { key, value } => (key, value),
            Operation::Delete { key } => (key, &[]),
            Operation::Check(
                Condition::KeyAbsent { key }
                | Condition::KeyPresent { key }
                | Condition::KeyAtVersion { key, .. },
            ) => (key, &[]),
            Operation::Check(Condition::KeyEquals { key, value }) => (key, value),
        };
        if key.is_empty() || key.len() > self.parameters.key_bytes_max as usize {
            Some("names a key that is empty or too long")
        } else if value.len() > self.parameters.value_bytes_max as usize {
            Some("names a value that is too long")
        } else {
            None
        }
    }

    fn unfit_change(&self, change: &ProposedChange) -> Option<&'static str> {
        match change {
            ProposedChange::Validators(proposed) => {
                let keys: BTreeSet<PublicKey> = proposed.iter().map(|it| it.key).collect();
                let usable = keys.iter().all(|key| key.check().is_ok());
                let set = (1..=200).contains(&proposed.len()) && keys.len() == proposed.len() && usable;
                (!set).then_some("approves of what is no set")
            }
            ProposedChange::Parameters(proposed) => {
                let same =
                    proposed.transaction_lifetime_max_ms == self.parameters.transaction_lifetime_max_ms;
                (!same || !are_allowed(proposed)).then_some("approves of parameters that no chain may have")
            }
        }
    }

    /// What everybody has to pay.
    fn fee(&self, named: &Named) -> u128 {
        self.parameters.fee_base + self.parameters.fee_per_byte * named.size as u128
    }

    /// Whether it is let in as one of the free ones.
    fn is_free(&self, transaction: &Transaction, named: &Named) -> bool {
        let payload = transaction.payload();
        let approves = matches!(payload.operations[..], [Operation::Approve { .. }]);
        payload.fee == 0 && self.fee(named) > 0 && approves && self.validators.contains(&payload.sender.0)
    }
}

/// Whether it has statements that whoever executes it checks.
fn carries_statements(transaction: &Transaction) -> bool {
    transaction.payload().operations.iter().any(|operation| match operation {
        Operation::Approve { change: ProposedChange::Validators(proposed) } => {
            proposed.iter().any(|it| it.readiness.is_some())
        }
        Operation::Approve { change: ProposedChange::Parameters(_) }
        | Operation::Transfer { .. }
        | Operation::Put { .. }
        | Operation::Delete { .. }
        | Operation::Check(_) => false,
    })
}

/// Whether parameters are within their bounds, and fit together.
fn are_allowed(it: &Parameters) -> bool {
    let within =
        it.values().into_iter().zip(BOUNDS).all(|(value, (least, most))| (least..=most).contains(&value));
    within
        && it.transaction_bytes_max <= it.block_bytes_max
        && it.key_bytes_max <= it.transaction_bytes_max
        && it.value_bytes_max <= it.transaction_bytes_max
        && it.log_window >= 2 * it.window
        && it.base_timeout_ms <= it.timeout_cap_ms
        && it.inclusion_timeout_ms <= it.transaction_lifetime_max_ms
}

/// The records that the chain begins with.
fn genesis_records(genesis: &GenesisState) -> Vec<(RecordKey, Record)> {
    let epoch = EpochRecord { number: Epoch(0), start: Height(0), ends: None };
    let accounts = genesis.accounts.iter().filter(|(_, balance)| *balance > 0);
    let accounts = accounts
        .map(|(account, balance)| (RecordKey::Account(*account), Record::Account { balance: *balance }));
    let others = [
        (RecordKey::Validators, Record::Validators(genesis.validators.clone())),
        (RecordKey::Parameters, Record::Parameters(Box::new(genesis.parameters.clone()))),
        (RecordKey::Epoch, Record::Epoch(epoch)),
    ];
    accounts.chain(others).collect()
}

/// What block 1 may anchor: what everybody computes of the genesis (`docs/formats.md` §9).
pub(super) fn genesis_anchor(genesis: &GenesisState) -> Anchor {
    let records = genesis_records(genesis);
    let state_root = state_root(&records);
    let next_validators = set_hash(genesis.validators.keys());
    let payload = CheckpointPayload {
        epoch: Epoch(0),
        height: Height(0),
        block: genesis.chain,
        state_root,
        receipts_root: merkle_root(&[]),
        next_validators,
    };
    Anchor { height: Height(0), state_root, checkpoint: result_hash(&payload) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_crypto::{SecretKey, Signature};
    use quorate_ledger::{Account, Header, Ledger, MemoryStore, Payload, ProposedValidator, Readiness};

    use super::*;
    use crate::scenario::Scenario;

    /// What is done to a header.
    type Spoil = fn(&mut Header);

    const TIME: UnixMillis = UnixMillis(1_000_000);
    /// Small limits, so that each is passed in a few bytes.
    const FEE: u128 = 1_000;

    fn parameters() -> Parameters {
        Parameters {
            block_bytes_max: 2_000,
            block_transactions_max: 4,
            transaction_bytes_max: 1_024,
            operations_max: 2,
            key_bytes_max: 8,
            value_bytes_max: 16,
            fee_base: FEE,
            ..Parameters::default()
        }
    }

    fn key(number: u8) -> SecretKey {
        SecretKey::from_seed([number; 32])
    }

    fn chain() -> Hash {
        Hash::of(b"chain")
    }

    fn anchor(height: u64) -> Anchor {
        Anchor { height: Height(height), state_root: Hash::of(b"state"), checkpoint: Hash::of(b"result") }
    }

    fn payload(operations: Vec<Operation>) -> Payload {
        Payload {
            version: 1,
            chain: chain(),
            sender: Account(key(9).public()),
            nonce: 0,
            expires_at: TIME.plus_millis(1),
            fee: FEE,
            operations,
        }
    }

    fn put(key: usize, value: usize) -> Operation {
        Operation::Put { key: vec![0; key], value: vec![0; value] }
    }

    fn signed(payload: Payload) -> Transaction {
        Transaction::sign(payload, &key(9))
    }

    fn plain() -> Transaction {
        signed(payload(vec![put(8, 16)]))
    }

    fn approval(change: ProposedChange) -> Vec<Operation> {
        vec![Operation::Approve { change }]
    }

    fn validators(keys: &[u8], ready: bool) -> ProposedChange {
        let proposed = keys.iter().map(|number| {
            let statement = || Readiness::sign(&chain(), Epoch(0), Hash::ZERO, &key(*number));
            ProposedValidator { key: key(*number).public(), readiness: ready.then(statement) }
        });
        ProposedChange::Validators(proposed.collect())
    }

    /// What is wrong with a block of these, after something was done to its header.
    fn wrong(transactions: Vec<Transaction>, change: impl FnOnce(&mut Header)) -> Option<String> {
        let (parameters, set) = (parameters(), [key(1).public(), key(9).public()]);
        let below = Below {
            chain: chain(),
            height: Height(7),
            hash: Hash::of(b"below"),
            time: UnixMillis(TIME.0 - 1),
            anchor: anchor(5),
            parameters: &parameters,
            validators: &set,
        };
        let named: Vec<Named> = transactions.iter().map(Named::of).collect();
        let leaves: Vec<Hash> = named.iter().map(|it| it.hash).collect();
        let mut header = Header {
            version: 1,
            chain: chain(),
            epoch: Epoch(0),
            height: Height(8),
            parent: Hash::of(b"below"),
            transactions_root: merkle_root(&leaves),
            time: TIME,
            proposer: Account(key(1).public()),
            anchor: anchor(7),
        };
        change(&mut header);
        let block = Block::new(header, transactions.into_iter().map(Arc::new).collect());
        assert!(below.carries(&block));
        below.wrong(&block, &named)
    }

    #[test]
    fn a_block_that_keeps_every_rule_is_none_that_is_caught() {
        let free = signed(Payload { fee: 0, ..payload(approval(validators(&[1, 9], true))) });
        assert_eq!(wrong(vec![plain(), free], |_| {}), None);
        assert_eq!(wrong(Vec::new(), |header| header.anchor = anchor(5)), None);
    }

    #[test]
    fn a_header_that_breaks_a_rule_is_caught() {
        let changes: [(&str, Spoil); 7] = [
            ("another version", |it| it.version = 2),
            ("another chain", |it| it.chain = Hash::ZERO),
            ("no validator", |it| it.proposer = Account(key(2).public())),
            ("another root", |it| it.transactions_root = Hash::ZERO),
            ("not below it", |it| it.anchor = anchor(8)),
            ("goes back", |it| it.anchor = anchor(4)),
            ("something else", |it| it.anchor = Anchor { state_root: Hash::ZERO, ..anchor(5) }),
        ];
        for (what, change) in changes {
            let wrong = wrong(vec![plain()], change).unwrap_or_else(|| panic!("{what}"));
            assert!(wrong.contains(what), "{what}: {wrong}");
        }
    }

    #[test]
    fn a_block_that_is_too_large_is_caught() {
        let many = |count| (0..count).map(|nonce| signed(Payload { nonce, ..payload(vec![put(1, 0)]) }));
        assert_eq!(wrong(many(4).collect(), |_| {}), None);
        assert!(wrong(many(5).collect(), |_| {}).is_some_and(|it| it.contains("too many transactions")));
        let large =
            |nonce| signed(Payload { nonce, ..payload(approval(validators(&[1, 2, 3, 4, 5, 6, 7], true))) });
        let wrong = wrong(vec![large(0), large(1), large(2)], |_| {});
        assert!(wrong.as_ref().is_some_and(|it| it.contains("too many bytes")), "{wrong:?}");
    }

    #[test]
    fn a_transaction_that_may_not_be_in_the_block_is_caught() {
        let usual = || payload(vec![put(1, 1)]);
        let small_order = Account(PublicKey::from_bytes(std::array::from_fn(|at| u8::from(at == 0))));
        let others_lifetime = Parameters { transaction_lifetime_max_ms: 1_000, ..parameters() };
        let odd = Parameters { inclusion_timeout_ms: 9, ..parameters() };
        let at_odds = Parameters { log_window: 15, ..parameters() };
        let changed = |it: Parameters| approval(ProposedChange::Parameters(Box::new(it)));
        let late = TIME.plus_millis(parameters().transaction_lifetime_max_ms + 1);
        let payloads = [
            ("another version", Payload { version: 2, ..usual() }),
            ("another chain", Payload { chain: Hash::ZERO, ..usual() }),
            ("too large", payload(approval(validators(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], true)))),
            ("does nothing", payload(Vec::new())),
            ("does too much", payload(vec![put(1, 1), put(1, 1), put(1, 1)])),
            ("has expired", Payload { expires_at: TIME, ..usual() }),
            ("expires too late", Payload { expires_at: late, ..usual() }),
            ("pays too little", Payload { fee: FEE - 1, ..usual() }),
            ("nobody can own", Payload { sender: small_order, ..usual() }),
            ("nobody signed", Payload { sender: Account(key(1).public()), ..usual() }),
            ("empty or too long", payload(vec![put(0, 1)])),
            ("empty or too long", payload(vec![Operation::Delete { key: vec![0; 9] }])),
            ("value that is too long", payload(vec![put(1, 17)])),
            ("no set", payload(approval(validators(&[], false)))),
            ("no set", payload(approval(validators(&[1, 1], false)))),
            ("no chain may have", payload(changed(others_lifetime))),
            ("no chain may have", payload(changed(odd))),
            ("no chain may have", payload(changed(at_odds))),
        ];
        for (what, payload) in payloads {
            let wrong = wrong(vec![signed(payload)], |_| {}).unwrap_or_else(|| panic!("{what}"));
            assert!(wrong.contains(what), "{what}: {wrong}");
        }
        let payload = usual();
        let forged = Transaction::new(payload, Signature::from_bytes([0; 64]));
        assert!(wrong(vec![forged], |_| {}).is_some_and(|it| it.contains("nobody signed")));
    }

    #[test]
    fn a_second_free_transaction_and_a_second_with_statements_are_caught() {
        let approve = |nonce, fee, ready| {
            signed(Payload { nonce, fee, ..payload(approval(validators(&[1, 9], ready))) })
        };
        assert_eq!(wrong(vec![approve(0, 0, false), approve(1, FEE, false)], |_| {}), None);
        let free = wrong(vec![approve(0, 0, false), approve(1, 0, false)], |_| {});
        assert!(free.is_some_and(|it| it.contains("second free")));
        let stating = wrong(vec![approve(0, FEE, true), approve(1, FEE, true)], |_| {});
        assert!(stating.is_some_and(|it| it.contains("with statements")));
    }

    #[test]
    fn its_own_anchor_of_the_genesis_is_that_of_the_ledger() {
        let chain = Scenario::new("", 4, 1).chain();
        let ledger = Ledger::open(MemoryStore::new(), &chain.genesis).expect("a genesis");
        assert_eq!(genesis_anchor(&chain.genesis), ledger.tip().anchor);
    }
}
