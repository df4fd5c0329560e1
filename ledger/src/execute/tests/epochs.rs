//! Approvals, decisions and the ends of epochs, one rule of `docs/pbft.md §7` at a time, then all of them against a
//! model that was written from those rules alone.

use quorate_crypto::{Hash, SecretKey};

use super::*;
use crate::anchors::READINESS_HEADERS;
use crate::approval::{ProposedChange, ProposedValidator, Readiness};
use crate::block::Anchor;
use crate::candidate::Parent;
use crate::epoch::{Approval, EpochChange, EpochEnd};
use crate::fixtures::header_on;
use crate::parameters::Parameters;
use crate::validators::ValidatorSet;

mod model;

/// A chain of executed blocks; keys 0 to 3 are the first validators, and the window is 3.
struct World {
    state: Memory,
    anchors: RecentAnchors,
    tip: Parent,
    epoch: Epoch,
    nonce: u64,
    /// What executing the last block gave.
    last: Execution,
}

const WINDOW: u32 = 3;

fn parameters() -> Parameters {
    Parameters { window: WINDOW, ..Parameters::default() }
}

fn set(numbers: &[u16]) -> ValidatorSet {
    ValidatorSet::new(numbers.iter().map(|number| key(*number).public()).collect()).expect("different keys")
}

/// A set of these keys without statements.
fn proposed(numbers: &[u16]) -> ProposedChange {
    let plain = |number: &u16| ProposedValidator { key: key(*number).public(), readiness: None };
    ProposedChange::Validators(numbers.iter().map(plain).collect())
}

fn approve(change: ProposedChange) -> Vec<Operation> {
    vec![Operation::Approve { change }]
}

/// What the block at a height anchors, in these tests: one of its own for each.
fn checkpoint(height: Height) -> Hash {
    Hash::of(&height.0.to_le_bytes())
}

impl World {
    fn new() -> Self {
        Self::with_validators(&[0, 1, 2, 3])
    }

    fn with_validators(numbers: &[u16]) -> Self {
        let mut state = Memory::with_balances(&[]);
        let validators = Record::Validators(set(numbers));
        state.0.insert(RecordKey::Validators, Arc::new(validators));
        state.0.insert(RecordKey::Parameters, Arc::new(Record::Parameters(Box::new(parameters()))));
        Self {
            state,
            anchors: RecentAnchors::default(),
            tip: genesis(),
            epoch: Epoch(0),
            nonce: 0,
            last: Execution::default(),
        }
    }

    /// Executes the next block and returns what became of its transactions.
    fn block(&mut self, votes: Vec<(u16, Vec<Operation>)>) -> Vec<Receipt> {
        let transactions: Vec<_> = votes
            .into_iter()
            .map(|(sender, operations)| {
                self.nonce += 1;
                transaction(sender, self.nonce, 0, operations)
            })
            .collect();
        let mut header = header_on(self.tip, &transactions);
        header.epoch = self.epoch;
        header.anchor = Anchor { checkpoint: checkpoint(header.height), ..header.anchor };
        let block = Block::new(header, transactions);
        let execution = execute(&self.state, &self.anchors, &block).expect("memory reads");
        self.state.take(&execution);
        self.anchors.push(block.header());
        self.tip = Parent::of(&block);
        if let Some(next) = &execution.next_epoch {
            self.epoch = next.number;
        }
        self.last = execution;
        self.last.receipts.clone()
    }

    /// One block in which these validators approve, all with success.
    fn approve(&mut self, senders: &[u16], change: &ProposedChange) {
        let votes = senders.iter().map(|sender| (*sender, approve(change.clone()))).collect();
        for receipt in self.block(votes) {
            assert_eq!(receipt.outcome, Outcome::Ok);
        }
    }

    /// One block with one approval.
    fn outcome(&mut self, sender: u16, change: ProposedChange) -> Outcome {
        self.block(vec![(sender, approve(change))]).remove(0).outcome
    }

    /// Empty blocks up to the end of the epoch, which is decided; the last height of it.
    fn finish_epoch(&mut self) -> Height {
        let last = self.ends().expect("decided").last;
        while self.tip.height < last {
            assert_eq!(self.last.next_epoch, None, "not before the last block");
            self.block(Vec::new());
            assert_eq!(self.last.epoch_ends, Some(last));
        }
        last
    }

    fn record(&self) -> EpochRecord {
        match self.state.0.get(&RecordKey::Epoch).map(|record| &**record) {
            Some(Record::Epoch(epoch)) => epoch.clone(),
            other => panic!("no epoch: {other:?}"),
        }
    }

    fn ends(&self) -> Option<EpochEnd> {
        self.record().ends
    }

    fn validators(&self) -> ValidatorSet {
        match self.state.0.get(&RecordKey::Validators).map(|record| &**record) {
            Some(Record::Validators(set)) => set.clone(),
            other => panic!("no validators: {other:?}"),
        }
    }

    fn approval(&self, number: u16) -> Option<Approval> {
        self.state.0.get(&RecordKey::Approval(account(number))).map(|record| {
            let Record::Approval(approval) = &**record else { panic!("no approval: {record:?}") };
            approval.clone()
        })
    }

    fn open(&self) -> Vec<u16> {
        (0..10).filter(|number| self.approval(*number).is_some()).collect()
    }

    /// The statement of a key for an approval in the next block.
    fn ready(&self, number: u16) -> ProposedValidator {
        let readiness = Readiness::sign(&chain(), self.epoch, checkpoint(self.tip.height), &key(number));
        ProposedValidator { key: key(number).public(), readiness: Some(readiness) }
    }

    /// A set of these keys, with statements of all of them.
    fn ready_set(&self, numbers: &[u16]) -> ProposedChange {
        ProposedChange::Validators(numbers.iter().map(|number| self.ready(*number)).collect())
    }
}

fn event(change: &EpochChange, validator: u16, approvals: u32) -> LedgerEvent {
    LedgerEvent::Approved { validator: account(validator), change: change.hash(), approvals }
}

#[test]
fn only_validators_approve() {
    let mut world = World::new();
    let before = world.state.clone();
    assert_eq!(world.outcome(9, proposed(&[0, 1, 2])), failed(0, Failure::NotValidator));
    assert_eq!(world.state, before);
}

/// > When Q of the validators approve of one change in block `h`, the epoch ends with block `h + W`
#[test]
fn the_approval_that_makes_a_quorum_ends_the_epoch_a_window_later() {
    let mut world = World::new();
    let change = EpochChange::Validators(set(&[0, 1, 2]));
    world.approve(&[0, 1], &proposed(&[0, 1, 2]));
    assert_eq!((world.ends(), world.last.epoch_ends), (None, None), "two of four are no quorum");
    let given = Version::new(Height(1), 1, 0);
    assert_eq!(world.approval(1), Some(Approval { change: change.clone(), given }));
    assert_eq!(world.last.receipts[1].events, [event(&change, 1, 2)]);

    let receipts = world.block(vec![(3, approve(proposed(&[0, 1, 2])))]);
    let last = Height(2 + u64::from(WINDOW));
    let ends = LedgerEvent::EpochEnds { last, change: change.hash() };
    assert_eq!(receipts[0].events, [event(&change, 3, 3), ends]);
    assert_eq!(
        world.record(),
        EpochRecord { number: Epoch(0), start: Height(0), ends: Some(EpochEnd { last, change }) }
    );
    assert_eq!(world.last.epoch_ends, Some(last));
    assert!(world.open().is_empty(), "what was open before is void");
}

#[test]
fn the_last_block_of_an_epoch_applies_its_change() {
    let mut world = World::new();
    world.approve(&[0, 1, 2], &proposed(&[0, 1, 2]));
    world.block(Vec::new());
    world.block(Vec::new());
    assert_eq!(world.validators(), set(&[0, 1, 2, 3]), "one block before, the old set is in force");
    assert_eq!(world.last.next_epoch, None);
    world.block(Vec::new());
    assert_eq!(world.validators(), set(&[0, 1, 2]));
    assert_eq!(world.record(), EpochRecord { number: Epoch(1), start: Height(5), ends: None });
    assert_eq!(world.last.epoch_ends, Some(Height(4)), "of the epoch that the block is of");
    let next = world.last.next_epoch.clone().expect("it begins");
    assert_eq!((next.number, next.start, next.base()), (Epoch(1), Height(5), (Height(4), world.tip.hash)));
    assert_eq!((next.validators, next.parameters), (set(&[0, 1, 2]), parameters()));
    assert_eq!(world.last.due, None);
    world.block(Vec::new());
    assert_eq!((world.last.epoch_ends, world.last.next_epoch.clone()), (None, None));
}

/// > Approvals count together when the set or the parameters they come to are equal, whatever statements they carry.
#[test]
fn order_and_statements_do_not_matter() {
    let mut world = World::new();
    world.block(Vec::new());
    let with_statements = world.ready_set(&[2, 0, 1]);
    world.approve(&[0], &proposed(&[0, 1, 2]));
    world.approve(&[1], &proposed(&[2, 1, 0]));
    world.approve(&[2], &with_statements);
    assert_eq!(world.ends().expect("decided").change, EpochChange::Validators(set(&[0, 1, 2])));
}

#[test]
fn sets_and_parameters_that_differ_do_not_count_together() {
    let mut world = World::new();
    world.approve(&[0], &proposed(&[0, 1, 2]));
    world.approve(&[1], &proposed(&[0, 1, 3]));
    world.approve(&[2], &proposed(&[0, 1]));
    world.approve(&[3], &ProposedChange::Parameters(Box::new(parameters())));
    assert_eq!((world.ends(), world.open()), (None, vec![0, 1, 2, 3]));
}

/// > Its newer approval takes the place of its open one.
#[test]
fn a_newer_approval_replaces_the_open_one() {
    let mut world = World::new();
    let (first, second) = (proposed(&[0, 1, 2]), proposed(&[1, 2, 3]));
    world.approve(&[0, 1], &first);
    world.approve(&[0], &second);
    world.approve(&[2], &first);
    assert_eq!(world.ends(), None, "the first has the approval of two");
    world.approve(&[0], &first);
    assert_eq!(world.ends().expect("decided").change, EpochChange::Validators(set(&[0, 1, 2])));
}

#[test]
fn a_validator_counts_once_however_often_it_approves() {
    let mut world = World::new();
    world.approve(&[0, 0, 0], &proposed(&[0, 1, 2]));
    world.approve(&[0, 1], &proposed(&[0, 1, 2]));
    assert_eq!(world.ends(), None);
}

/// > The approvals open till then are void; those that come later are for the next epoch, count there if their sender is
/// > still a validator, and may decide in its first block already
#[test]
fn approvals_that_come_after_the_decision_count_in_the_next_epoch() {
    let mut world = World::new();
    let (first, second) = (proposed(&[0, 1, 2, 3]), proposed(&[0, 1, 2]));
    world.approve(&[3], &second);
    // In the deciding block itself, and from then to the last of the epoch.
    let votes = [(0, &first), (1, &first), (2, &first), (0, &second)];
    world.block(votes.map(|(sender, change)| (sender, approve(change.clone()))).to_vec());
    assert_eq!(world.open(), [0], "that of 3 is from before");
    let last = world.ends().expect("decided").last;
    world.approve(&[1], &second);
    while world.tip.height.next() < last {
        world.block(Vec::new());
    }
    world.approve(&[2], &second);
    assert_eq!((world.tip.height, world.epoch), (last, Epoch(1)));
    assert_eq!(world.open(), [0, 1, 2], "a second change is not decided while one is pending");
    assert_eq!(world.record().ends, None);
    assert_eq!(world.last.due, Some(world.tip.time), "the next block is due: it decides");

    world.block(Vec::new());
    let end = EpochEnd {
        last: last.next().plus(u64::from(WINDOW)),
        change: EpochChange::Validators(set(&[0, 1, 2])),
    };
    assert_eq!(world.ends(), Some(end.clone()));
    assert_eq!((world.last.epoch_ends, world.last.due, world.open()), (Some(end.last), None, vec![]));
    world.finish_epoch();
    assert_eq!((world.epoch, world.validators()), (Epoch(2), set(&[0, 1, 2])));
}

#[test]
fn a_carried_approval_is_completed_by_one_of_the_new_epoch() {
    let mut world = World::new();
    world.approve(&[0, 1, 2], &proposed(&[0, 1, 2, 3]));
    world.approve(&[0, 1], &proposed(&[0, 1, 2]));
    world.finish_epoch();
    assert_eq!((world.last.due, world.open()), (None, vec![0, 1]));
    world.approve(&[2], &proposed(&[0, 1, 2]));
    assert_eq!(world.ends().expect("decided").last, world.tip.height.plus(u64::from(WINDOW)));
}

#[test]
fn what_a_leaving_validator_approved_leaves_with_it() {
    let mut world = World::new();
    world.approve(&[0, 1, 2], &proposed(&[0, 1, 2]));
    world.approve(&[3, 0], &proposed(&[0, 1]));
    assert_eq!(world.open(), [0, 3]);
    world.finish_epoch();
    assert_eq!(world.open(), [0], "one of three, of whom two decide");
    assert_eq!(world.last.due, None);
    assert_eq!(world.outcome(3, proposed(&[0, 1])), failed(0, Failure::NotValidator));
    assert_eq!(world.ends(), None);
    world.approve(&[2], &proposed(&[0, 1]));
    assert!(world.ends().is_some());
}

#[test]
fn who_joins_approves_from_its_first_block_on() {
    let mut world = World::new();
    world.block(Vec::new());
    let joined = world.ready_set(&[0, 1, 2, 9]);
    world.approve(&[0, 1, 2], &joined);
    while world.epoch == Epoch(0) {
        assert_eq!(world.outcome(9, proposed(&[0, 1, 2])), failed(0, Failure::NotValidator));
    }
    assert_eq!(world.outcome(9, proposed(&[0, 1, 2])), Outcome::Ok);
}

#[test]
fn an_operation_that_fails_takes_back_the_approval_and_the_decision() {
    let mut world = World::new();
    world.approve(&[0, 1], &proposed(&[0, 1, 2]));
    let before = world.state.clone();
    let mut operations = approve(proposed(&[0, 1, 2]));
    operations.push(transfer(1, 1));
    let receipt = world.block(vec![(2, operations)]).remove(0);
    assert_eq!(receipt.outcome, failed(1, Failure::InsufficientFunds));
    assert_eq!((receipt.events, &world.state), (vec![], &before));
    assert_eq!(world.last.epoch_ends, None);
}

/// > A key that is not in the set […] counts only with its own signature […] possession and readiness in one
#[test]
fn a_new_key_needs_its_own_statement() {
    let mut world = World::new();
    world.block(Vec::new());
    let anchored = checkpoint(world.tip.height);
    let with = |readiness: Option<Readiness>| {
        let mut change = vec![ProposedValidator { key: key(9).public(), readiness }];
        change.extend([0, 1].map(|number| ProposedValidator { key: key(number).public(), readiness: None }));
        ProposedChange::Validators(change)
    };
    let sign = |chain: Hash, epoch: u64, checkpoint: Hash, key: &SecretKey| {
        Some(Readiness::sign(&chain, Epoch(epoch), checkpoint, key))
    };
    let other = Hash::of(b"another");
    for (readiness, reason) in [
        (None, Failure::NotReady),
        (sign(chain(), 0, other, &key(9)), Failure::ReadinessStale),
        (sign(chain(), 0, anchored, &key(8)), Failure::ReadinessInvalid),
        (sign(chain(), 1, anchored, &key(9)), Failure::ReadinessInvalid),
        (sign(other, 0, anchored, &key(9)), Failure::ReadinessInvalid),
        (
            sign(chain(), 0, other, &key(9)).map(|it| Readiness { checkpoint: anchored, ..it }),
            Failure::ReadinessInvalid,
        ),
    ] {
        assert_eq!(world.outcome(0, with(readiness)), failed(0, reason));
    }
    assert!(world.open().is_empty());
    assert_eq!(world.outcome(0, with(sign(chain(), 0, anchored, &key(9)))), Outcome::Ok);
}

#[test]
fn a_statement_is_no_other_signature() {
    let epoch_and_hash = (Epoch(0), Hash::of(b"checkpoint"));
    let readiness = Readiness::sign(&chain(), epoch_and_hash.0, epoch_and_hash.1, &key(1));
    assert!(readiness.verify(&chain(), Epoch(0), &key(1).public()));
    let domain = quorate_crypto::Domain::Checkpoint;
    let signature = key(1).sign(domain, &chain(), &epoch_and_hash);
    assert!(!Readiness { signature, ..readiness }.verify(&chain(), Epoch(0), &key(1).public()));
}

/// > the hash of a checkpoint that one of the last 1,000 headers below the block anchors
#[test]
fn a_statement_holds_for_a_thousand_headers() {
    let mut world = World::new();
    world.block(Vec::new());
    let (change, named) = (world.ready_set(&[0, 1, 9]), world.tip.height);
    for _ in 1..READINESS_HEADERS {
        world.block(Vec::new());
    }
    assert_eq!(world.tip.height.next().0 - named.0, READINESS_HEADERS, "block 1 is the lowest of them");
    assert_eq!(world.outcome(0, change.clone()), Outcome::Ok);
    assert_eq!(world.outcome(0, change), failed(0, Failure::ReadinessStale));
}

#[test]
fn a_header_does_not_vouch_for_approvals_of_its_own_block() {
    let mut world = World::new();
    let readiness = Readiness::sign(&chain(), Epoch(0), checkpoint(Height(1)), &key(9));
    let change = ProposedChange::Validators(vec![ProposedValidator {
        key: key(9).public(),
        readiness: Some(readiness),
    }]);
    assert_eq!(
        world.outcome(0, change.clone()),
        failed(0, Failure::ReadinessStale),
        "nothing is below block 1"
    );
    assert_eq!(world.outcome(0, change), Outcome::Ok);
}

#[test]
fn once_an_end_is_decided_it_is_the_next_set_whose_keys_need_no_statement() {
    let mut world = World::new();
    world.block(Vec::new());
    let joined = world.ready_set(&[0, 1, 2, 9]);
    world.approve(&[0, 1, 2], &joined);
    assert_eq!(world.outcome(0, proposed(&[0, 1, 2, 9])), Outcome::Ok, "9 has said that it is ready");
    let reason = Failure::NotReady;
    assert_eq!(world.outcome(0, proposed(&[0, 1, 2, 3])), failed(0, reason), "3 leaves, it would be new");
    let ready = world.ready_set(&[0, 1, 2, 3]);
    assert_eq!(world.outcome(0, ready), Outcome::Ok);
}

#[test]
fn a_removed_key_comes_back_only_with_a_statement_for_the_new_epoch() {
    let mut world = World::new();
    world.block(Vec::new());
    let old = world.ready_set(&[0, 1, 2, 3]);
    world.approve(&[0, 1, 2], &proposed(&[0, 1, 2]));
    world.finish_epoch();
    assert_eq!(world.outcome(0, proposed(&[0, 1, 2, 3])), failed(0, Failure::NotReady));
    assert_eq!(world.outcome(0, old), failed(0, Failure::ReadinessInvalid), "signed for the epoch before");
    let ready = world.ready_set(&[0, 1, 2, 3]);
    world.approve(&[0, 1, 2], &ready);
    world.finish_epoch();
    assert_eq!(world.validators(), set(&[0, 1, 2, 3]));
}

#[test]
fn approving_the_set_in_force_makes_a_new_epoch() {
    let mut world = World::new();
    world.approve(&[1, 2, 3], &proposed(&[3, 2, 1, 0]));
    world.finish_epoch();
    assert_eq!((world.epoch, world.validators()), (Epoch(1), set(&[0, 1, 2, 3])));
}

#[test]
fn parameters_change_with_the_epoch_and_end_it_by_the_old_window() {
    let mut world = World::new();
    let new = Parameters { window: 1, heartbeat_ms: 7, ..parameters() };
    world.approve(&[0, 1, 2], &ProposedChange::Parameters(Box::new(new.clone())));
    assert_eq!(world.finish_epoch(), Height(1 + u64::from(WINDOW)));
    let next = world.last.next_epoch.clone().expect("it begins");
    assert_eq!((next.validators, next.parameters), (set(&[0, 1, 2, 3]), new.clone()));
    let record = Record::Parameters(Box::new(new));
    assert_eq!(world.state.0.get(&RecordKey::Parameters), Some(&Arc::new(record)));
    world.approve(&[0, 1, 2], &proposed(&[0, 1, 2]));
    assert_eq!(world.ends().expect("decided").last, world.tip.height.next(), "by the new one");
}

#[test]
fn a_chain_of_one_grows_to_four_and_shrinks_back() {
    let mut world = World::with_validators(&[0]);
    world.block(Vec::new());
    let four = world.ready_set(&[0, 1, 2, 3]);
    world.approve(&[0], &four);
    world.finish_epoch();
    assert_eq!(world.validators(), set(&[0, 1, 2, 3]));
    world.approve(&[1, 3], &proposed(&[0]));
    assert_eq!(world.ends(), None, "one no longer decides alone");
    world.approve(&[2], &proposed(&[0]));
    world.finish_epoch();
    assert_eq!((world.epoch, world.validators()), (Epoch(2), set(&[0])));
    assert_eq!(world.outcome(0, proposed(&[0])), Outcome::Ok);
    assert!(world.ends().is_some(), "and does again");
}

#[test]
fn the_hash_of_a_change_tells_sets_from_parameters() {
    let validators = EpochChange::Validators(set(&[0, 1]));
    assert_eq!(validators.hash(), set(&[0, 1]).hash(), "as a CHECKPOINT names it");
    let parameters = EpochChange::Parameters(Box::new(parameters()));
    assert_ne!(parameters.hash(), EpochChange::Parameters(Box::default()).hash());
}
