//! Blocks across the end of an epoch, and approvals that pay nothing.

use super::*;
use crate::fixtures::validators;
use crate::{EpochStart, ProposedChange, ProposedValidator, Readiness, ValidatorSet};

/// The epoch that begins above the genesis' block, decided by these validators.
fn second(validators: ValidatorSet, parameters: Parameters) -> EpochStart {
    EpochStart { number: Epoch(1), start: Height(1), below: chain(), validators, parameters }
}

/// The header of a block of the second epoch.
fn header_in_second(parent: Parent, transactions: &[Arc<Transaction>]) -> Header {
    Header { epoch: Epoch(1), ..header_on(parent, transactions) }
}

/// An approval of a validator and nothing else, for this fee. It asks for parameters of its own, so that it differs.
fn approval(sender: u16, nonce: u64, fee: u128) -> Arc<Transaction> {
    let change = ProposedChange::Parameters(Box::default());
    let operations = vec![Operation::Approve { change }];
    let payload = Payload { sender: account(sender), fee, operations, ..payload(nonce) };
    Arc::new(Transaction::sign(payload, &key(sender)))
}

/// Candidates of a chain on which transactions cost something.
fn priced() -> Candidates {
    with(Parameters { fee_base: 10, ..Parameters::default() })
}

#[test]
fn a_new_epoch_brings_new_limits() {
    let mut candidates = candidates();
    candidates.enter_epoch(&second(
        validators(),
        Parameters { block_transactions_max: 1, ..Parameters::default() },
    ));
    let two = vec![transaction(1), transaction(2)];
    let error = candidates.check(&header_in_second(genesis(), &two), two);
    assert_eq!(error, Err(BlockError::TooManyTransactions { count: 2, max: 1 }));
}

#[test]
fn a_block_is_judged_by_the_rules_of_its_own_epoch_or_not_at_all() {
    let mut candidates = candidates();
    let transactions = vec![transaction(1)];
    let early = candidates.check(&header_in_second(genesis(), &transactions), transactions.clone());
    let error = BlockError::WrongEpoch { epoch: Epoch(1), expected: Epoch(0) };
    assert!(!error.is_fault(), "the engine knows the epoch; this part was told late");
    assert_eq!(early, Err(error));
    candidates.enter_epoch(&second(validators(), Parameters::default()));
    let late = check_on(&mut candidates, genesis(), transactions.clone());
    assert_eq!(late, Err(BlockError::WrongEpoch { epoch: Epoch(0), expected: Epoch(1) }));
    assert!(build_on(&mut candidates, genesis(), transactions.clone()).transactions().is_empty());
    candidates.check(&header_in_second(genesis(), &transactions), transactions).expect("a fit block");
}

#[test]
fn what_was_committed_before_stays_excluded_in_the_next_epoch() {
    let mut candidates = candidates();
    let last = block_on(genesis(), vec![transaction(1)]);
    candidates.remember(&last);
    let start = Height(2);
    candidates.enter_epoch(&EpochStart { start, ..second(validators(), Parameters::default()) });
    let again = vec![transaction(1)];
    let refused = candidates.check(&header_in_second(Parent::of(&last), &again), again);
    assert_eq!(refused, Err(BlockError::Included { index: 0, id: transaction(1).id() }));
}

#[test]
#[should_panic(expected = "the lifetime of transactions is fixed by the genesis")]
fn no_epoch_changes_the_lifetime_of_transactions() {
    let parameters = Parameters { transaction_lifetime_max_ms: 1_000, ..Parameters::default() };
    candidates().enter_epoch(&second(validators(), parameters));
}

#[test]
#[should_panic(expected = "the last block of the epoch before is committed")]
fn no_epoch_is_entered_before_its_time() {
    let start = Height(2);
    candidates().enter_epoch(&EpochStart { start, ..second(validators(), Parameters::default()) });
}

#[test]
#[should_panic(expected = "from epoch 0 to 0")]
fn no_epoch_is_entered_twice() {
    candidates().enter_epoch(&EpochStart { number: Epoch(0), ..second(validators(), Parameters::default()) });
}

/// `docs/formats.md §7`:
///
/// > A block holds at most one free transaction of each sender.
#[test]
fn a_block_holds_one_free_approval_of_each_validator() {
    let mut candidates = priced();
    let each = vec![approval(0, 1, 0), approval(1, 1, 0), approval(2, 1, 0), approval(3, 1, 0)];
    check_on(&mut candidates, genesis(), each).expect("one of each");
    let twice = vec![approval(0, 1, 0), approval(1, 1, 0), approval(0, 2, 0)];
    let refused = check_on(&mut candidates, genesis(), twice);
    let error = BlockError::SecondFreeApproval { index: 2, sender: account(0) };
    assert!(error.is_fault());
    assert_eq!(refused, Err(error));
    let paid = vec![approval(0, 1, 0), approval(0, 2, 10), approval(0, 3, 10)];
    check_on(&mut candidates, genesis(), paid).expect("those that pay are not counted");
}

#[test]
fn the_next_block_may_hold_another_free_approval_of_the_same_validator() {
    let mut candidates = priced();
    let parent = stack(&mut candidates, genesis(), vec![approval(0, 1, 0)]);
    check_on(&mut candidates, parent, vec![approval(0, 2, 0)]).expect("one a block");
}

#[test]
fn where_nothing_costs_approvals_are_not_counted() {
    check_on(&mut candidates(), genesis(), vec![approval(0, 1, 0), approval(0, 2, 0)])
        .expect("they pay enough");
}

#[test]
fn building_takes_one_free_approval_of_each_validator() {
    let mut candidates = priced();
    let offered =
        [approval(0, 1, 0), approval(0, 2, 0), approval(1, 1, 0), approval(0, 3, 10), approval(9, 1, 0)];
    let block = build_on(&mut candidates, genesis(), offered.clone());
    let expected = [&offered[0], &offered[2], &offered[3]].map(Arc::clone);
    assert_eq!(block.transactions(), expected, "neither a second free one nor that of a stranger");
    let transactions = block.transactions().to_vec();
    check_on(&mut priced(), genesis(), transactions).expect("what is built passes the check");
}

/// An approval of a set with a new validator's statement.
fn with_statement(sender: u16, nonce: u64) -> Arc<Transaction> {
    let new = key(9);
    let readiness = Some(Readiness::sign(&chain(), Epoch(0), Hash::ZERO, &new));
    let validators = vec![ProposedValidator { key: new.public(), readiness }];
    let operations = vec![Operation::Approve { change: ProposedChange::Validators(validators) }];
    let payload = Payload { sender: account(sender), fee: 1_000, operations, ..payload(nonce) };
    Arc::new(Transaction::sign(payload, &key(sender)))
}

/// `docs/formats.md §7`, whatever it pays:
///
/// > it holds at most one transaction of each sender that carries statements of new validators: executing it takes the
/// > check of a signature for each
#[test]
fn a_block_holds_one_transaction_with_statements_of_each_sender() {
    let each = vec![with_statement(0, 1), with_statement(1, 1), approval(0, 2, 10), approval(0, 3, 0)];
    check_on(&mut priced(), genesis(), each).expect("approvals without statements are not counted");
    let twice = vec![with_statement(0, 1), with_statement(1, 1), with_statement(0, 2)];
    let refused = check_on(&mut priced(), genesis(), twice.clone());
    let error = BlockError::SecondStatements { index: 2, sender: account(0) };
    assert!(error.is_fault());
    assert_eq!(refused, Err(error));
    let mut candidates = priced();
    let block = build_on(&mut candidates, genesis(), twice.clone());
    assert_eq!(block.transactions(), &twice[..2], "the second waits for the next block");
    candidates.remember(&block);
    check_on(&mut candidates, Parent::of(&block), vec![Arc::clone(&twice[2])]).expect("one a block");
}

#[test]
fn who_left_the_set_pays_and_who_joined_does_not() {
    let joined =
        ValidatorSet::new([1, 2, 3, 9].map(|number| key(number).public()).to_vec()).expect("four keys");
    let mut candidates = priced();
    let parameters = Parameters { fee_base: 10, ..Parameters::default() };
    candidates.enter_epoch(&second(joined, parameters));
    let mut check = |transactions: Vec<Arc<Transaction>>| {
        candidates.check(&header_in_second(genesis(), &transactions), transactions)
    };
    check(vec![approval(9, 1, 0)]).expect("a validator now");
    let source = TransactionError::FeeTooLow { fee: 0, least: 10 };
    assert_eq!(check(vec![approval(0, 1, 0)]), Err(BlockError::Transaction { index: 0, source }));
}
