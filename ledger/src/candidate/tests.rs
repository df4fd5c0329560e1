use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use quorate_crypto::PublicKey;

use super::*;
use crate::fixtures::{
    GENESIS_TIME, account, anchor, block_on, chain, genesis, header_on, key, payload, rules, transaction,
};
use crate::{Operation, Parameters, Payload};

mod epochs;

fn candidates() -> Candidates {
    with(Parameters::default())
}

fn with(parameters: Parameters) -> Candidates {
    Candidates::new(rules(parameters), genesis())
}

fn check_on(
    candidates: &mut Candidates,
    parent: Parent,
    transactions: Vec<Arc<Transaction>>,
) -> Result<Arc<Block>, BlockError> {
    candidates.check(&header_on(parent, &transactions), transactions)
}

/// Has a block on `parent` checked and returns it as a parent.
fn stack(candidates: &mut Candidates, parent: Parent, transactions: Vec<Arc<Transaction>>) -> Parent {
    Parent::of(&check_on(candidates, parent, transactions).expect("a fit block"))
}

fn build_on(
    candidates: &mut Candidates,
    parent: Parent,
    transactions: impl IntoIterator<Item = Arc<Transaction>>,
) -> Arc<Block> {
    let (height, time) = (parent.height.next(), parent.time.plus_millis(10));
    candidates.build(height, parent.hash, anchor(), time, Epoch(0), account(100), transactions)
}

/// A transaction that puts a value of this size.
fn sized(nonce: u64, value: usize) -> Arc<Transaction> {
    let operations = vec![Operation::Put { key: vec![1], value: vec![0; value] }];
    Arc::new(Transaction::sign(Payload { operations, ..payload(nonce) }, &key(1)))
}

/// The payload of `transaction` under a second signature: the same id, another hash.
fn resigned(transaction: &Transaction) -> Arc<Transaction> {
    let again = Transaction::new(transaction.payload().clone(), key(1).sign_bytes(b"another valid one, say"));
    assert_eq!(again.id(), transaction.id());
    assert_ne!(again.hash(), transaction.hash());
    Arc::new(again)
}

#[test]
fn a_fit_block_is_held_with_its_transactions() {
    let mut candidates = candidates();
    let transactions = vec![transaction(1), transaction(2)];
    let block = check_on(&mut candidates, genesis(), transactions.clone()).expect("fit");
    assert_eq!(block.transactions(), transactions);
    assert_eq!(candidates.block(&block.hash()), Some(block));
    for transaction in transactions {
        assert_eq!(candidates.transaction(&transaction.hash()), Some(Arc::clone(&transaction)));
        assert_eq!(candidates.transaction(&transaction.id()), None, "bodies are named by hash");
    }
}

#[test]
fn an_unfit_block_is_not_held() {
    let mut candidates = candidates();
    let header = header_on(genesis(), &[transaction(1)]);
    assert!(candidates.check(&header, vec![transaction(2)]).is_err());
    assert!(candidates.is_empty());
    assert_eq!(candidates.transaction(&transaction(2).hash()), None);
}

#[test]
fn the_header_is_of_this_format_and_chain() {
    let mut candidates = candidates();
    let header = Header { version: 2, ..header_on(genesis(), &[]) };
    assert_eq!(candidates.check(&header, vec![]), Err(BlockError::WrongVersion { version: 2 }));
    let header = Header { chain: Hash::ZERO, ..header_on(genesis(), &[]) };
    let error = candidates.check(&header, vec![]);
    assert_eq!(error, Err(BlockError::WrongChain { chain: Hash::ZERO, expected: chain() }));
}

#[test]
fn a_block_stands_one_above_its_parent_and_later() {
    let mut candidates = candidates();
    let fit = header_on(genesis(), &[]);
    for height in [Height(2), Height(u64::MAX)] {
        let error = candidates.check(&Header { height, ..fit.clone() }, vec![]);
        assert_eq!(error, Err(BlockError::WrongHeight { height, expected: Height(1) }));
    }
    let time = GENESIS_TIME;
    let error = candidates.check(&Header { time, ..fit.clone() }, vec![]);
    assert_eq!(error, Err(BlockError::NotAfterParent { time, parent: time }));
    let soonest = Header { time: GENESIS_TIME.plus_millis(1), ..fit };
    assert!(candidates.check(&soonest, vec![]).is_ok());
}

#[test]
fn a_missing_late_or_abandoned_parent_is_nobodys_fault() {
    let mut candidates = candidates();
    let winner = block_on(genesis(), vec![transaction(1)]);
    let loser = stack(&mut candidates, genesis(), vec![transaction(2)]);
    let orphan = Parent { hash: Hash::of(b"elsewhere"), ..loser };
    let unknown = check_on(&mut candidates, orphan, vec![]).expect_err("no parent");
    assert_eq!(unknown, BlockError::UnknownParent { parent: orphan.hash });

    candidates.remember(&winner);
    let late = check_on(&mut candidates, genesis(), vec![transaction(3)]).expect_err("height 1 is committed");
    assert_eq!(late, BlockError::AlreadyCommitted { height: Height(1), committed: Height(1) });
    let abandoned = check_on(&mut candidates, loser, vec![]).expect_err("on the loser");
    assert_eq!(abandoned, BlockError::Abandoned { parent: loser.hash, committed: winner.hash() });
    assert!([unknown, late, abandoned].iter().all(|error| !error.is_fault()));
}

#[test]
fn a_whole_branch_is_abandoned_with_its_root() {
    let mut candidates = candidates();
    let first = stack(&mut candidates, genesis(), vec![transaction(1)]);
    let second = stack(&mut candidates, first, vec![transaction(2)]);
    let third = stack(&mut candidates, second, vec![transaction(3)]);
    candidates.remember(&block_on(genesis(), vec![transaction(9)]));
    let error = check_on(&mut candidates, third, vec![]).expect_err("three above the fork");
    assert!(matches!(error, BlockError::Abandoned { parent, .. } if parent == third.hash));
}

#[test]
fn the_number_of_transactions_is_limited() {
    let mut candidates = with(Parameters { block_transactions_max: 2, ..Parameters::default() });
    assert!(check_on(&mut candidates, genesis(), vec![transaction(1), transaction(2)]).is_ok());
    let three = vec![transaction(1), transaction(2), transaction(3)];
    let error = check_on(&mut candidates, genesis(), three);
    assert_eq!(error, Err(BlockError::TooManyTransactions { count: 3, max: 2 }));
}

#[test]
fn the_bytes_of_transactions_are_limited() {
    let pair = || vec![sized(1, 600), sized(2, 600)];
    let bytes: usize = pair().iter().map(|transaction| transaction.size()).sum();
    let max = u32::try_from(bytes).expect("small");
    let of = |block_bytes_max| with(Parameters { block_bytes_max, ..Parameters::default() });
    assert!(check_on(&mut of(max), genesis(), pair()).is_ok());
    let error = check_on(&mut of(max - 1), genesis(), pair());
    assert_eq!(error, Err(BlockError::TooLarge { bytes, max: max - 1 }));
}

#[test]
fn the_transactions_are_those_the_header_names() {
    let mut candidates = candidates();
    let (first, second) = (transaction(1), transaction(2));
    let header = header_on(genesis(), &[Arc::clone(&first), Arc::clone(&second)]);
    for other in [vec![], vec![Arc::clone(&second), Arc::clone(&first)], vec![resigned(&first), second]] {
        let error = candidates.check(&header, other).expect_err("not those");
        assert!(matches!(error, BlockError::WrongRoot(_)));
        assert!(error.is_fault());
    }
}

#[test]
fn every_transaction_is_valid_on_its_own() {
    let mut candidates = candidates();
    let wrong = [
        Payload { version: 9, ..payload(1) },
        Payload { chain: Hash::ZERO, ..payload(1) },
        Payload { operations: vec![], ..payload(1) },
        Payload { sender: Account(PublicKey::from_bytes([0; 32])), ..payload(1) },
    ];
    for payload in wrong {
        let unfit = Arc::new(Transaction::sign(payload, &key(1)));
        let source = unfit.check(candidates.rules()).expect_err("unfit");
        let error = check_on(&mut candidates, genesis(), vec![transaction(2), unfit]);
        assert_eq!(error, Err(BlockError::Transaction { index: 1, source }));
    }
}

#[test]
fn every_transaction_fits_the_time_of_the_block() {
    let lifetime = Parameters::default().transaction_lifetime_max_ms;
    let time = header_on(genesis(), &[]).time;
    let check = |expires_at| {
        let transaction = Arc::new(Transaction::sign(Payload { expires_at, ..payload(1) }, &key(1)));
        match check_on(&mut candidates(), genesis(), vec![transaction]) {
            Err(BlockError::Transaction { index: 0, source }) => Err(source.reason()),
            other => Ok(other.expect("no other error")),
        }
    };
    assert_eq!(check(time), Err("EXPIRED"));
    assert!(check(time.plus_millis(1)).is_ok());
    assert!(check(time.plus_millis(lifetime)).is_ok());
    assert_eq!(check(time.plus_millis(lifetime + 1)), Err("EXPIRES_TOO_LATE"));
}

#[test]
fn an_id_is_in_a_block_once_whatever_its_signature() {
    let mut candidates = candidates();
    let once = transaction(1);
    for again in [Arc::clone(&once), resigned(&once)] {
        let error = check_on(&mut candidates, genesis(), vec![Arc::clone(&once), transaction(2), again]);
        assert_eq!(error, Err(BlockError::Repeated { index: 2, id: once.id() }));
    }
}

#[test]
fn an_id_is_in_no_ancestor_in_flight_nor_committed() {
    let mut candidates = candidates();
    let (committed, flying) = (transaction(1), transaction(2));
    let first = block_on(genesis(), vec![Arc::clone(&committed)]);
    candidates.remember(&first);
    let second = stack(&mut candidates, Parent::of(&first), vec![Arc::clone(&flying)]);
    let third = stack(&mut candidates, second, vec![]);
    for again in [Arc::clone(&committed), resigned(&committed), Arc::clone(&flying), resigned(&flying)] {
        let error = check_on(&mut candidates, third, vec![transaction(3), Arc::clone(&again)]);
        assert_eq!(error, Err(BlockError::Included { index: 1, id: again.id() }));
        assert!(candidates.included(&third.hash, &again.id()));
    }
    assert_eq!(candidates.contains_committed(&committed.id()), Some(Height(1)));
    assert_eq!(candidates.contains_committed(&flying.id()), None);
}

#[test]
fn an_id_in_another_branch_does_not_matter() {
    let mut candidates = candidates();
    let shared = transaction(1);
    let left = stack(&mut candidates, genesis(), vec![Arc::clone(&shared)]);
    let right = stack(&mut candidates, genesis(), vec![transaction(2)]);
    assert!(candidates.included(&left.hash, &shared.id()));
    assert!(!candidates.included(&right.hash, &shared.id()));
    assert!(check_on(&mut candidates, right, vec![shared]).is_ok());
}

#[test]
fn ids_stay_excluded_while_their_block_commits() {
    let mut candidates = candidates();
    let once = transaction(1);
    let first = check_on(&mut candidates, genesis(), vec![Arc::clone(&once)]).expect("fit");
    let second = stack(&mut candidates, Parent::of(&first), vec![]);
    assert!(candidates.included(&second.hash, &once.id()), "in flight");
    candidates.remember(&first);
    assert!(candidates.included(&second.hash, &once.id()), "committed");
    candidates.release(Height(1));
    assert!(candidates.included(&second.hash, &once.id()), "released");
}

/// > For a block that comes again or comes certified, no clock and no anchor is asked again.
#[test]
fn a_block_that_is_held_is_not_judged_again() {
    let mut candidates = candidates();
    let fit = check_on(&mut candidates, genesis(), vec![transaction(1)]).expect("fit");
    let again = candidates.check(fit.header(), fit.transactions().to_vec()).expect("known");
    assert!(Arc::ptr_eq(&again, &fit));
    let accepted = Arc::new(block_on(genesis(), vec![transaction(2)]));
    candidates.insert(Arc::clone(&accepted));
    candidates.insert(Arc::clone(&accepted));
    assert_eq!(candidates.len(), 2);
    assert!(candidates.check(accepted.header(), vec![transaction(2)]).is_ok());
    let on_accepted = check_on(&mut candidates, Parent::of(&accepted), vec![transaction(2)]);
    assert!(matches!(on_accepted, Err(BlockError::Included { .. })));
}

#[test]
fn bodies_are_kept_past_their_commit_until_they_are_released() {
    let mut candidates = candidates();
    let shared = transaction(1);
    let left = check_on(&mut candidates, genesis(), vec![Arc::clone(&shared), transaction(2)]).expect("fit");
    let right = check_on(&mut candidates, genesis(), vec![Arc::clone(&shared)]).expect("fit");
    let above = check_on(&mut candidates, Parent::of(&left), vec![transaction(3)]).expect("fit");
    candidates.remember(&left);
    candidates.remember(&above);
    assert_eq!(candidates.len(), 3);
    assert!(candidates.transaction(&shared.hash()).is_some());
    candidates.forget(&right.hash());
    assert!(candidates.transaction(&shared.hash()).is_some(), "another block holds it");
    candidates.release(Height(1));
    assert_eq!(candidates.block(&left.hash()), None);
    assert_eq!(candidates.transaction(&shared.hash()), None);
    assert!(
        candidates.block(&above.hash()).is_some() && candidates.transaction(&transaction(3).hash()).is_some()
    );
    candidates.release(Height(2));
    assert!(candidates.is_empty());
}

#[test]
#[should_panic(expected = "height 1 is not committed, only 0")]
fn what_is_not_committed_is_not_released() {
    candidates().release(Height(1));
}

#[test]
fn committed_blocks_below_the_tip_rebuild_the_ids() {
    let first = block_on(genesis(), vec![transaction(1)]);
    let second = block_on(Parent::of(&first), vec![transaction(2)]);
    let mut rebuilt = Candidates::new(rules(Parameters::default()), Parent::of(&second));
    rebuilt.remember(&first);
    rebuilt.remember(&second);
    assert_eq!(rebuilt.tip(), Parent::of(&second));
    assert_eq!(rebuilt.contains_committed(&transaction(1).id()), Some(Height(1)));
    let third = block_on(Parent::of(&second), vec![transaction(3)]);
    rebuilt.remember(&third);
    assert_eq!(rebuilt.tip(), Parent::of(&third));
}

#[test]
#[should_panic(expected = "committed blocks come in the order of heights")]
fn commits_leave_no_gap() {
    let first = block_on(genesis(), vec![]);
    candidates().remember(&block_on(Parent::of(&first), vec![]));
}

#[test]
#[should_panic(expected = "a committed block stands on the one before")]
fn commits_are_linked() {
    candidates().remember(&block_on(Parent { hash: Hash::ZERO, ..genesis() }, vec![]));
}

#[test]
fn a_built_block_passes_its_own_check() {
    let mut builder = candidates();
    let block = build_on(&mut builder, genesis(), (1..4).map(transaction));
    assert_eq!(block.transactions().len(), 3);
    assert_eq!(builder.block(&block.hash()), Some(Arc::clone(&block)), "held to serve its bodies");
    let checked = candidates().check(block.header(), block.transactions().to_vec()).expect("fit elsewhere");
    assert_eq!(checked, block);
    assert_eq!(block.header(), &header_on(genesis(), block.transactions()));
}

#[test]
fn building_takes_the_fit_in_order_and_passes_over_the_rest() {
    let mut candidates = candidates();
    let committed = transaction(1);
    let first = block_on(genesis(), vec![Arc::clone(&committed)]);
    candidates.remember(&first);
    let flying = transaction(2);
    let parent = stack(&mut candidates, Parent::of(&first), vec![Arc::clone(&flying)]);
    let expired = Arc::new(Transaction::sign(Payload { expires_at: parent.time, ..payload(3) }, &key(1)));
    let foreign = Arc::new(Transaction::sign(Payload { chain: Hash::ZERO, ..payload(4) }, &key(1)));
    let (good, better) = (transaction(6), transaction(5));
    let waiting =
        [committed, Arc::clone(&good), flying, expired, foreign, resigned(&good), Arc::clone(&better)];
    let block = build_on(&mut candidates, parent, waiting);
    assert_eq!(block.transactions(), [good, better]);
}

#[test]
fn building_stops_at_the_number_of_transactions() {
    let mut candidates = with(Parameters { block_transactions_max: 3, ..Parameters::default() });
    let mut offered = 0;
    let waiting = (0..).map(|nonce| {
        offered += 1;
        transaction(nonce)
    });
    let block = build_on(&mut candidates, genesis(), waiting);
    assert_eq!(block.transactions().len(), 3);
    assert_eq!(offered, 4, "what waits is not walked to its end");
}

#[test]
fn building_fills_the_bytes_exactly_and_lets_smaller_ones_pass_larger() {
    let (large, small) = (sized(1, 700), transaction(9));
    let max = u32::try_from(large.size() + small.size()).expect("small");
    let mut candidates = with(Parameters { block_bytes_max: max, ..Parameters::default() });
    let waiting = [Arc::clone(&large), sized(2, 700), sized(3, 100), Arc::clone(&small)];
    assert_eq!(build_on(&mut candidates, genesis(), waiting).transactions(), [large, small]);
}

#[test]
fn building_counts_a_block_as_full_after_many_misfits() {
    let large = sized(0, 900);
    let max = u32::try_from(large.size() + transaction(9).size()).expect("small");
    let build = |misfits: u64| {
        let waiting = std::iter::once(Arc::clone(&large))
            .chain((1..=misfits).map(|nonce| sized(nonce, 700)))
            .chain([transaction(1_000)]);
        let mut candidates = with(Parameters { block_bytes_max: max, ..Parameters::default() });
        build_on(&mut candidates, genesis(), waiting).transactions().len()
    };
    assert_eq!(build(MISFITS_MAX as u64 - 1), 2);
    assert_eq!(build(MISFITS_MAX as u64), 1);
}

#[test]
fn building_on_what_a_commit_overtook_gives_an_empty_block() {
    let mut candidates = candidates();
    let loser = stack(&mut candidates, genesis(), vec![transaction(1)]);
    candidates.remember(&block_on(genesis(), vec![transaction(2)]));
    let block = build_on(&mut candidates, loser, [transaction(3)]);
    assert!(block.transactions().is_empty());
    assert_eq!((block.parent(), block.height()), (loser.hash, Height(2)));
}

/// All blocks there ever were, and nothing cleverer: what [`Candidates`] must agree with.
struct Model {
    blocks: Vec<Arc<Block>>,
    tip: Parent,
}

impl Model {
    /// The ids in `parent` and below, or `None` where the branch does not lead to the tip.
    fn ancestors(&self, parent: Hash) -> Option<BTreeSet<Hash>> {
        let (mut ids, mut at, mut meets_tip) = (BTreeSet::new(), parent, parent == self.tip.hash);
        while let Some(block) = self.blocks.iter().find(|block| block.hash() == at) {
            ids.extend(block.transactions().iter().map(|transaction| transaction.id()));
            at = block.parent();
            meets_tip |= at == self.tip.hash;
        }
        meets_tip.then_some(ids)
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Have a block on one of the last few checked, this much later, with some of the transactions.
    Check { parent: Index, later: u64, transactions: Vec<Index> },
    /// Commit a child of the tip.
    Commit(Index),
    /// Let go of what is at or below the tip.
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<Index>(), 1..400u64, vec(any::<Index>(), 0..4))
            .prop_map(|(parent, later, transactions)| Step::Check { parent, later, transactions }),
        2 => any::<Index>().prop_map(Step::Commit),
        1 => Just(Step::Release),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Branches, commits, forgetting and release together never let an id into a chain twice, nor refuse a fit block.
    #[test]
    fn proposals_are_judged_as_by_somebody_who_forgets_nothing(steps in vec(step(), 1..60)) {
        const LIFETIME_MS: u64 = 1_000;
        let mut candidates =
            with(Parameters { transaction_lifetime_max_ms: LIFETIME_MS, ..Parameters::default() });
        let mut model = Model { blocks: Vec::new(), tip: genesis() };
        let all: Vec<Arc<Transaction>> = (0..24).map(|nonce| {
            let expires_at = GENESIS_TIME.plus_millis(500 + nonce * 100);
            Arc::new(Transaction::sign(Payload { expires_at, ..payload(nonce) }, &key(1)))
        }).collect();
        for step in steps {
            match step {
                Step::Check { parent, later, transactions } => {
                    let recent = model.blocks.iter().rev().take(6).map(|block| Parent::of(block));
                    let parents: Vec<Parent> = recent.chain([model.tip]).collect();
                    let parent = *parent.get(&parents);
                    let chosen: Vec<_> = transactions.iter().map(|at| Arc::clone(at.get(&all))).collect();
                    let time = parent.time.plus_millis(later);
                    let header = Header { time, ..header_on(parent, &chosen) };
                    if candidates.block(&header.hash()).is_some() {
                        continue;
                    }
                    let ids: BTreeSet<Hash> = chosen.iter().map(|transaction| transaction.id()).collect();
                    let fit = ids.len() == chosen.len()
                        && header.height > model.tip.height
                        && chosen.iter().all(|transaction| transaction.fits_time(time, LIFETIME_MS).is_ok())
                        && model.ancestors(parent.hash).is_some_and(|below| below.is_disjoint(&ids));
                    let answer = candidates.check(&header, chosen);
                    prop_assert_eq!(answer.is_ok(), fit, "{:?}", answer);
                    model.blocks.extend(answer);
                }
                Step::Commit(which) => {
                    let children: Vec<_> =
                        model.blocks.iter().filter(|block| block.parent() == model.tip.hash).cloned().collect();
                    if !children.is_empty() {
                        let block = which.get(&children);
                        candidates.remember(block);
                        model.tip = Parent::of(block);
                    }
                }
                Step::Release => {
                    candidates.release(model.tip.height);
                    let held: usize =
                        model.blocks.iter().filter(|block| block.height() > model.tip.height).count();
                    prop_assert_eq!(candidates.len(), held);
                }
            }
        }
    }
}
