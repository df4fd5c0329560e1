//! The ledger on a store in memory: what it shows, what survives a power cut, what it refuses.

use quorate_crypto::{Domain, Hash, MultiSignature};

use super::*;
use crate::approval::ProposedChange;
use crate::certificate::{CheckpointCertificate, CommitCertificate, CommitPayload};
use crate::fixtures::{GENESIS_TIME, account, chain, key, validators};
use crate::operation::Operation;
use crate::parameters::Parameters;
use crate::primitives::{Account, Amount, View};
use crate::store::MemoryStore;
use crate::transaction::{Payload, Transaction};
use crate::{Epoch, EpochRecord, Header, Outcome, StoreError};

mod crash;
pub(crate) mod epochs;
mod reading;

/// A chain of blocks, made as validators would make them, beside the ledgers they are given to.
pub(crate) struct Chain {
    pub(crate) genesis: GenesisState,
    tip: Tip,
    nonce: u64,
}

impl Chain {
    pub(crate) fn new() -> Self {
        Self::with(Parameters { log_window: 4, ..Parameters::default() })
    }

    pub(crate) fn with(parameters: Parameters) -> Self {
        let genesis = GenesisState {
            chain: chain(),
            time: GENESIS_TIME,
            validators: validators(),
            parameters,
            accounts: vec![(account(1), 1_000), (account(2), 500), (account(3), 0)],
        };
        let tip = genesis.tip(genesis.checkpoint().expect("a sound genesis"));
        Self { genesis, tip, nonce: 0 }
    }

    pub(crate) fn open<S: Store>(&self, store: S) -> Ledger<S> {
        Ledger::open(store, &self.genesis).expect("a sound store")
    }

    /// A transaction of account 1 that expires `lifetime` ms after the tip.
    pub(crate) fn transaction(&mut self, lifetime: u64, operations: Vec<Operation>) -> Arc<Transaction> {
        self.sent_by(1, 1, lifetime, operations)
    }

    /// The same of any account, for a fee.
    fn sent_by(
        &mut self,
        sender: u16,
        fee: Amount,
        lifetime: u64,
        operations: Vec<Operation>,
    ) -> Arc<Transaction> {
        self.nonce += 1;
        let payload = Payload {
            version: Payload::VERSION,
            chain: chain(),
            sender: account(sender),
            nonce: self.nonce,
            expires_at: self.tip.time.plus_millis(lifetime),
            fee,
            operations,
        };
        Arc::new(Transaction::sign(payload, &key(sender)))
    }

    /// The next block, in which these validators approve of a change.
    pub(crate) fn approving(&mut self, senders: &[u16], change: &ProposedChange) -> Delivered {
        let approve = || vec![Operation::Approve { change: change.clone() }];
        let transactions = senders.iter().map(|sender| self.sent_by(*sender, 0, 1_000, approve())).collect();
        self.block(transactions, true)
    }

    /// The epoch of the next block.
    fn epoch(&self) -> Epoch {
        let Epoch(number) = self.tip.outcome.checkpoint.epoch;
        let ended = self.tip.outcome.epoch_ends == Some(self.tip.height);
        Epoch(number + u64::from(ended))
    }

    /// The next block, 100 ms later, anchored at the tip, with or without a certificate of its own.
    pub(crate) fn block(&self, transactions: Vec<Arc<Transaction>>, certified: bool) -> Delivered {
        self.block_above((self.tip.height, self.tip.hash, self.tip.time), transactions, certified)
    }

    /// The same on another parent than the tip.
    fn block_above(
        &self,
        (height, parent, time): (Height, Hash, UnixMillis),
        transactions: Vec<Arc<Transaction>>,
        certified: bool,
    ) -> Delivered {
        let hashes: Vec<Hash> = transactions.iter().map(|transaction| transaction.hash()).collect();
        let header = Header {
            version: Header::VERSION,
            chain: chain(),
            epoch: self.epoch(),
            height: height.next(),
            parent,
            transactions_root: Block::transactions_root(&hashes),
            time: time.plus_millis(100),
            proposer: account(0),
            anchor: self.tip.outcome.checkpoint.anchor(),
        };
        let block = Arc::new(Block::new(header, transactions));
        let certificate = certified.then(|| {
            let epoch = block.header().epoch;
            let payload = CommitPayload { epoch, view: View(0), height: block.height(), block: block.hash() };
            CommitCertificate { payload, signatures: votes(Domain::Commit, &payload) }
        });
        Delivered { block, certificate }
    }

    /// Gives a ledger the next block and takes its tip as the chain's.
    pub(crate) fn extend<S: Store>(
        &mut self,
        ledger: &mut Ledger<S>,
        delivered: Delivered,
    ) -> ExecutionOutcome {
        let outcomes = ledger.apply(&[delivered]).expect("a block of the chain");
        self.tip = ledger.tip();
        assert_eq!(outcomes, [self.tip.outcome]);
        outcomes[0]
    }

    /// `count` blocks: each moves a coin to account 3 and sets one key of its own and one that all set. They come in pairs,
    /// the first of a pair without a certificate of its own; one that is left over has one.
    pub(crate) fn grow<S: Store>(&mut self, ledger: &mut Ledger<S>, count: u64) {
        let last = self.tip.height.plus(count);
        while self.tip.height < last {
            let mut place = (self.tip.height, self.tip.hash, self.tip.time);
            let mut batch = Vec::new();
            for height in [place.0.next(), place.0.plus(2)].into_iter().filter(|it| *it <= last) {
                let put = |key: String| Operation::Put { key: key.into(), value: height.to_string().into() };
                let transfer = Operation::Transfer { to: account(3), amount: 1 };
                let operations = vec![transfer, put(format!("key-{height}")), put("shared".to_owned())];
                let transaction = self.transaction(1_000, operations);
                let certified = batch.len() == 1 || height == last;
                let delivered = self.block_above(place, vec![transaction], certified);
                place = (height, delivered.block.hash(), delivered.block.time());
                batch.push(delivered);
            }
            ledger.apply(&batch).expect("blocks of the chain");
            self.tip = ledger.tip();
        }
    }

    pub(crate) fn checkpoint(&self) -> CheckpointCertificate {
        certify(self.tip.outcome.checkpoint)
    }
}

fn certify(payload: CheckpointPayload) -> CheckpointCertificate {
    CheckpointCertificate { payload, signatures: votes(Domain::Checkpoint, &payload) }
}

/// Three of four votes. The keys of the tests are not sorted as the set is; nobody verifies these here.
fn votes<T: borsh::BorshSerialize>(domain: Domain, payload: &T) -> MultiSignature {
    let vote = |number: u16| (usize::from(number), key(number).sign(domain, &chain(), payload));
    MultiSignature::from_votes(4, (0..3).map(vote))
}

fn balance(reader: &Reader, account: Account) -> Option<Amount> {
    reader.account(&account).expect("memory reads").1
}

#[test]
fn the_genesis_is_height_0_and_its_hash_the_chain_id() {
    let chain_made = Chain::new();
    let ledger = chain_made.open(MemoryStore::new());
    let tip = ledger.tip();
    assert_eq!((tip.height, tip.hash, tip.time), (Height(0), chain(), GENESIS_TIME));
    assert_eq!(tip.outcome.checkpoint, chain_made.genesis.checkpoint().expect("sound"));
    assert_eq!((tip.base, tip.base_height, tip.stable_certificate), (None, Height(0), None));
    assert_eq!(tip.stable, tip.anchor);
    let reader = ledger.reader();
    assert_eq!(balance(&reader, account(1)), Some(1_000));
    assert_eq!(reader.account(&account(3)).expect("reads"), (Height(0), None), "nothing is no record");
    assert_eq!(reader.height_of(&chain()).expect("reads"), Some(Height(0)));
    assert_eq!(reader.block(Height(0)).expect("reads"), None, "the genesis is not a block");
    assert_eq!(reader.validators(Height(7)), chain_made.genesis.validators);
}

#[test]
fn a_genesis_that_names_an_account_twice_or_makes_too_many_coins_is_refused() {
    let mut genesis = Chain::new().genesis;
    genesis.accounts = vec![(account(1), Amount::MAX), (account(2), 0)];
    assert!(genesis.checkpoint().is_ok(), "as many coins as there can be");
    genesis.accounts[1].1 = 1;
    assert_eq!(genesis.checkpoint(), Err(GenesisStateError::TooManyCoins));
    genesis.accounts = vec![(account(1), 1), (account(1), 1)];
    assert_eq!(genesis.checkpoint(), Err(GenesisStateError::DuplicateAccount { account: account(1) }));
}

#[test]
fn applying_executes_and_shows_everything_at_once() {
    let mut chain = Chain::new();
    let mut ledger = chain.open(MemoryStore::new());
    let reader = ledger.reader();
    let transaction = chain.transaction(1_000, vec![Operation::Transfer { to: account(3), amount: 10 }]);
    let delivered = chain.block(vec![transaction.clone()], true);
    let outcome = chain.extend(&mut ledger, delivered.clone());

    let tip = ledger.tip();
    assert_eq!((tip.base.clone(), tip.base_height), (delivered.certificate.clone(), Height(1)));
    assert_eq!(reader.tip(), (Height(1), delivered.block.hash(), delivered.block.time()));
    assert_eq!(reader.full_tip(), tip);
    assert_eq!((balance(&reader, account(1)), balance(&reader, account(3))), (Some(989), Some(10)));
    assert_eq!(balance(&reader, account(0)), Some(1), "the proposer has the fee");
    let stored = reader.block(Height(1)).expect("reads").expect("is there");
    assert_eq!((stored.block, stored.certificate), (delivered.block.clone(), delivered.certificate));
    assert_eq!(stored.outcome, outcome);
    assert_eq!(receipts_root(&stored.receipts), outcome.checkpoint.receipts_root);
    let place = reader.transaction(&transaction.id()).expect("reads").expect("is there");
    assert_eq!((place.height, place.index, &place.receipt), (Height(1), 0, &stored.receipts[0]));
    assert_eq!(place.receipt.outcome, Outcome::Ok);
    assert_eq!(reader.height_of(&delivered.block.hash()).expect("reads"), Some(Height(1)));
    assert_eq!(reader.header(Height(1)).expect("reads").expect("is there").transactions, 1);
    assert_eq!(reader.header(Height(2)).expect("reads"), None);
}

#[test]
fn a_batch_gives_what_its_blocks_give_one_by_one() {
    let mut chain = Chain::new();
    let mut single = chain.open(MemoryStore::new());
    chain.grow(&mut single, 9);
    let blocks: Vec<Delivered> = (1..=9)
        .map(|height| single.reader().block(Height(height)).expect("reads").expect("is there"))
        .map(|stored| Delivered { block: stored.block, certificate: stored.certificate })
        .collect();
    let mut batched = chain.open(MemoryStore::new());
    let outcomes: Vec<_> =
        blocks.chunks(4).flat_map(|batch| batched.apply(batch).expect("the same chain")).collect();
    assert_eq!(outcomes.len(), 9);
    assert_eq!(batched.tip(), single.tip());
}

#[test]
#[should_panic(expected = "the block after the tip")]
fn a_block_that_does_not_follow_the_tip_is_a_fault_of_ours() {
    let chain = Chain::new();
    let mut ledger = chain.open(MemoryStore::new());
    let delivered = chain.block(Vec::new(), true);
    let _ = ledger.apply(&[delivered.clone(), delivered]);
}

/// > The highest block that a ledger has synced has a commit certificate of its own.
#[test]
#[should_panic(expected = "a batch ends with a certified block")]
fn a_batch_that_ends_without_a_certificate_is_a_fault_of_ours() {
    let mut chain = Chain::new();
    let mut ledger = chain.open(MemoryStore::new());
    chain.grow(&mut ledger, 2);
    let _ = ledger.apply(&[chain.block(Vec::new(), false)]);
}

#[test]
fn an_anchor_that_contradicts_execution_stops_the_ledger() {
    let mut chain = Chain::new();
    let store = MemoryStore::new();
    let mut ledger = chain.open(store.clone());
    chain.grow(&mut ledger, 3);
    let before = ledger.tip();
    let Delivered { block, certificate } = chain.block(Vec::new(), true);
    let mut header = block.header().clone();
    header.anchor.state_root = Hash::of(b"another state");
    let wrong = Delivered { block: Arc::new(Block::new(header, Vec::new())), certificate };
    let error = ledger.apply(&[wrong]).expect_err("a contradiction");
    assert!(matches!(error, LedgerError::Diverged { height: Height(3), what: "state root", .. }), "{error}");
    assert!(matches!(ledger.apply(&[]), Err(LedgerError::Stopped)));
    drop(ledger);
    assert_eq!(chain.open(store).tip(), before, "nothing of it was stored");
}

#[test]
fn the_highest_checkpoint_certificate_is_the_stable_one() {
    let mut chain = Chain::new();
    let store = MemoryStore::new();
    let mut ledger = chain.open(store.clone());
    chain.grow(&mut ledger, 1);
    let first = chain.checkpoint();
    chain.grow(&mut ledger, 1);
    let second = chain.checkpoint();
    ledger.stable(&second).expect("as executed");
    ledger.stable(&first).expect("late, and stored all the same");
    assert_eq!(ledger.tip().stable, second.payload.anchor());
    assert_eq!(ledger.reader().checkpoint(Height(1)).expect("reads"), Some(first));
    ledger.flush().expect("memory");
    drop(ledger);
    store.power_cut();
    let mut ledger = chain.open(store);
    assert_eq!(ledger.tip().stable_certificate, Some(second.clone()));

    let lie = certify(CheckpointPayload { receipts_root: Hash::of(b"others"), ..second.payload });
    let error = ledger.stable(&lie).expect_err("a contradiction");
    assert!(matches!(error, LedgerError::Diverged { height: Height(2), what: "checkpoint", .. }), "{error}");
    assert!(matches!(ledger.stable(&second), Err(LedgerError::Stopped)));
}

#[test]
fn a_failed_write_shows_nothing_and_stops_the_ledger() {
    let mut chain = Chain::new();
    let store = MemoryStore::new();
    let mut ledger = chain.open(store.clone());
    chain.grow(&mut ledger, 2);
    let before = ledger.tip();
    store.fail_after(Some(0));
    let delivered = chain.block(Vec::new(), true);
    let error = ledger.apply(std::slice::from_ref(&delivered)).expect_err("the disk is full");
    assert!(matches!(error, LedgerError::Store(StoreError::Io { .. })), "{error}");
    assert_eq!(ledger.tip(), before);
    store.fail_after(None);
    assert!(matches!(ledger.apply(&[delivered]), Err(LedgerError::Stopped)), "a mended disk changes nothing");
    assert!(matches!(ledger.flush(), Err(LedgerError::Stopped)));
}

#[test]
fn another_genesis_is_refused_by_name() {
    let chain = Chain::new();
    let store = MemoryStore::new();
    drop(chain.open(store.clone()));
    let other = GenesisState { chain: Hash::of(b"another"), ..chain.genesis.clone() };
    let error = Ledger::open(store, &other).expect_err("refused");
    assert!(matches!(error, LedgerError::WrongGenesis { .. }));
    for id in [chain.genesis.chain, other.chain] {
        assert!(error.to_string().contains(&id.to_string()), "{error}");
    }
}

#[test]
fn records_are_shown_by_kind() {
    let mut chain = Chain::new();
    let mut ledger = chain.open(MemoryStore::new());
    chain.grow(&mut ledger, 1);
    let (height, record) = ledger.reader().record(&RecordKey::Epoch).expect("reads");
    assert_eq!(height, Height(1));
    let epoch = Record::Epoch(EpochRecord { number: Epoch(0), start: Height(0), ends: None });
    assert_eq!(record.as_deref(), Some(&epoch));
}
