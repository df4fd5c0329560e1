//! The forks and stand-stills that models of the protocol found in earlier wordings of it, each played message by
//! message on real replicas: a rule of `docs/pbft.md` that went missing would bring its schedule back.
//!
//! | what went wrong | rule | played by |
//! | --- | --- | --- |
//! | a fresh block at or below NEW-VIEW's base | §4.3 heights up to the base are closed | [`a_base_that_a_liar_alone_knows_closes_its_height`], `views::heights_up_to_the_base_are_closed_in_the_new_view` |
//! | a second block where one is committed and not yet executed | §3.1 `committed < h` | [`a_height_that_commits_while_its_proposal_is_checked_is_closed`], `proposals::committed_heights_are_closed_even_before_their_bodies_are_here` |
//! | certificates dropped before the ledger had synced | §6 dropping | [`a_power_cut_that_takes_the_ledgers_tail_loses_no_committed_block`], `restart::records_stay_until_the_ledger_has_synced`, `restart::a_ledger_below_what_was_dropped_is_followed_without_signing` |
//! | a ledger that stands on a block without a certificate after a crash | §6 ends with a block that has one | [`a_crash_below_a_certificate_leaves_a_ledger_whose_holder_still_votes`] |
//! | a view taken for active after a restart without its NEW-VIEW | §4.3, §6 | `views::a_restarted_replica_is_active_only_with_the_new_view_on_disk` |
//! | another VIEW-CHANGE for the same view after a restart | §4.1 the same message | [`a_request_has_the_same_bytes_after_a_restart_on_a_higher_base`], `views::a_request_carries_what_is_prepared_and_repeats_its_bytes` |
//! | another NEW-VIEW for the same view after a restart | §6 NEW-VIEWs sent | [`a_primary_that_restarts_starts_its_view_with_the_same_bytes`] |
//! | a timer that waits for Q requests of exactly one view | §5 or a higher one | [`replicas_that_ask_for_different_views_find_together`], `views::a_view_that_does_not_start_is_left_only_with_a_quorum_asking` |
//! | a VIEW-CHANGE refused because its certificates do not link | §4.2 nothing is asked | [`certificates_that_do_not_link_are_reported_and_taken`] |
//! | one certificate for many blocks | §2, §3.4 ancestors | [`a_base_above_blocks_without_certificates_carries_the_view_over`], `commits::a_certificate_commits_all_ancestors`, `timers::a_certificate_whose_block_is_not_here_counts_as_work` |
//! | bodies of earlier views thrown away | §3.2 kept and served | [`a_body_of_an_earlier_view_is_kept_and_sent`] |
//! | an anchor that only those confirm who hold its votes | §3.1 anchor | `anchors` in [`super::windows`], `proposals::anchor_moves_forward_only_with_its_certificate` |
//! | an idle chain that never reaches its epoch's last height, or complains above it | §7, §3 due blocks | `timers::the_end_of_an_epoch_counts_as_work_at_once_and_nothing_does_above_it`, `timers::a_primary_fills_an_ending_epoch_with_empty_blocks_and_stops_at_its_end`, `timers::what_waits_for_the_next_epoch_accuses_nobody_in_this_one` |
//! | leavers gone, or the old epoch forgotten, before everybody had closed it | §7 closing | `epochs` |
//! | rotation counted by each for himself | §3 counted from NEW-VIEW | [`planned_rotation_is_counted_alike_however_heights_were_learned`] |
//! | a lost PRE-PREPARE costs the view | §5 STATUS | [`a_lost_proposal_comes_from_anybody_and_costs_no_view`], `repetition::status_brings_the_proposal_and_own_votes_that_its_sender_lacks` |
//! | a correct replica accused | §8 | the three `nobody_is_accused_…` here, and every other schedule: the cluster fails if a correct one is |
//! | two NEW-VIEWs for one view | §8 | [`two_new_views_for_one_view_are_evidence_and_the_first_counts`] |

use std::sync::Arc;

use quorate_crypto::Hash;
use quorate_ledger::{Block, Parameters};

use super::{
    bench::{Bench, START, delivered, sent},
    cluster::{Cluster, quiet},
};
use crate::{
    engine::Engine,
    evidence::{Evidence, VoteKind},
    pbft::{
        Message, Record,
        message::{StatusReport, ViewChange},
    },
};

/// Longer than any view is given in these schedules, and not as long as two.
const TIMEOUT_MS: u64 = 500;

fn reported(change: &ViewChange) -> Vec<(u64, u64, Hash)> {
    let all = change.payload.prepared.iter();
    all.map(|it| (it.view.0, it.height.0, it.block)).collect()
}

/// The liar's PREPARE for a block, for one replica.
fn lend_prepare(cluster: &mut Cluster, view: u64, liar: usize, to: usize, block: &Block) {
    let vote = cluster.keys().vote_in(view, VoteKind::Prepare, liar, block);
    cluster.says(liar, to, Message::Prepare(vote));
}

/// A liar's VIEW-CHANGE that reports nothing.
fn empty_change(cluster: &Cluster, liar: usize, view: u64) -> ViewChange {
    cluster.keys().change(liar, view, Vec::new())
}

fn asks(cluster: &mut Cluster, liar: usize, to: usize, change: ViewChange) {
    cluster.says(liar, to, Message::ViewChange(Box::new(change)));
}

/// The VIEW-CHANGE that a correct replica has sent.
fn sent_change(cluster: &Cluster, at: usize, view: u64) -> ViewChange {
    cluster.change(at, view).unwrap_or_else(|| panic!("replica {at} asks for view {view}")).clone()
}

/// > Heights up to the base are closed and are filled by certified blocks alone.
#[test]
fn a_base_that_a_liar_alone_knows_closes_its_height() {
    let mut cluster = Cluster::new(4, &[1]);
    cluster.propose(0);
    let block = Arc::clone(&cluster.in_flight(0)[0]);
    cluster.deliver(|it| it.is_proposal() && it.to == 2);
    for to in [0, 2] {
        lend_prepare(&mut cluster, 0, 1, to, &block);
    }
    cluster.deliver(|it| it.is_prepare() && it.to != 3);
    for at in [0, 2] {
        assert_eq!(cluster.voted(at, VoteKind::Commit, 0, 1), Some(block.hash()));
    }
    // With the liar's own these COMMITs are a certificate, which it keeps to itself.
    cluster.lose(|_| true);
    cluster.wait(TIMEOUT_MS);
    cluster.lose(|_| true);
    let base = cluster.keys().base(&block, &[0, 1, 2]);
    let changes = vec![
        sent_change(&cluster, 0, 1),
        cluster.keys().change_from(1, 1, base, Vec::new()),
        sent_change(&cluster, 2, 1),
    ];
    let new_view = cluster.keys().new_view(1, changes, Vec::new());
    cluster.tells(1, &Message::NewView(Box::new(new_view)));
    let second = cluster.block(1, 1, cluster.keys().scope.chain);
    let proposal = cluster.proposal(1, 1, &second);
    cluster.tells(1, &proposal);
    cluster.deliver(|_| true);
    for at in cluster.correct() {
        assert_eq!(cluster.voted(at, VoteKind::Prepare, 1, 1), None, "replica {at} votes below the base");
    }
    cluster.recovers();
    assert_eq!(cluster.block_at(3, 1), Some(block.hash()));
}

/// > A committed height is closed, even while its body is missing: only certified blocks fill it.
#[test]
fn a_height_that_commits_while_its_proposal_is_checked_is_closed() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let other = bench.block(block.height(), bench.scope.chain, START.plus_millis(2));
    let message = bench.pre_prepare(&other);
    bench.receive(0, message);
    let certificate = Some(bench.certificate(&block, &[0, 2, 3]));
    let report = StatusReport { certificate, ..bench.empty_status() };
    bench.receive(2, Message::Status(Box::new(report)));
    assert!(sent(&bench.accept(&other)).is_empty());
    assert!(!bench.log.records.iter().any(|it| matches!(it, Record::Accepted { .. } | Record::Voted { .. })));
    assert_eq!(delivered(&bench.step(bench.certified(&[block], &[0, 2, 3]))), vec![(1, true)]);
}

/// > Records of a height go only when a base has reached it that the ledger has synced
#[test]
fn a_power_cut_that_takes_the_ledgers_tail_loses_no_committed_block() {
    let mut cluster = Cluster::new(4, &[3]);
    cluster.hold_execution();
    cluster.propose(0);
    cluster.deliver(|_| true);
    let block = cluster.block_at(0, 1).expect("three of four commit");
    for at in cluster.correct() {
        assert_eq!(cluster.delivered(at), 1);
        let replica = &mut cluster.replicas[at];
        replica.log.records = replica.engine.records(); // each log was compacted meanwhile
    }
    cluster.lose(|_| true);
    cluster.execute_again();
    for at in cluster.correct() {
        cluster.stop(at);
    }
    for at in 0..3 {
        cluster.start(at);
        assert_eq!(cluster.delivered(at), 0, "the ledger had not synced it");
    }
    // Replica 0 is not heard; the liar, whose vote is needed now, remembers nothing.
    cluster.lose(|_| true);
    cluster.wait(TIMEOUT_MS);
    for to in [1, 2] {
        let change = empty_change(&cluster, 3, 1);
        asks(&mut cluster, 3, to, change);
    }
    cluster.deliver(|it| it.is_change() && it.from == 2 && it.to == 1);
    let started = cluster.start_of(1).expect("three ask for view 1");
    assert_eq!(started.payload.changes.iter().map(|it| it.signer.0).collect::<Vec<_>>(), vec![1, 2, 3]);
    assert_eq!(started.payload.blocks, vec![block]);
    cluster.recovers();
    assert_eq!(cluster.block_at(2, 1), Some(block));
}

/// > The highest block that a ledger has synced has a commit certificate of its own.
///
/// Two blocks, committed by a certificate of the upper one that a liar has given to replica 0 alone; the power goes when
/// the lower one has been given to the ledger. If it stood there after the restart, it could neither prove that block
/// nor vote for it, and without it there are two of four.
#[test]
fn a_crash_below_a_certificate_leaves_a_ledger_whose_holder_still_votes() {
    let mut cluster = Cluster::new(4, &[3]);
    cluster.hold_execution();
    cluster.propose(0);
    cluster.propose(0);
    cluster.deliver(|it| it.is_proposal());
    let blocks = cluster.in_flight(0);
    cluster.deliver(|it| it.is_prepare() && it.to != 0);
    for (at, height) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        assert!(cluster.voted(at, VoteKind::Commit, 0, height).is_some(), "replica {at} at {height}");
    }
    cluster.lose(|_| true);
    let certificate = Some(cluster.keys().certificate(&blocks[1], &[1, 2, 3]));
    let report = StatusReport { certificate, ..cluster.keys().empty_status() };
    cluster.says(3, 0, Message::Status(Box::new(report)));
    assert_eq!(cluster.delivered(0), 2);
    assert_eq!(cluster.voted(0, VoteKind::Commit, 0, 1), None, "it saw no PREPAREs");

    cluster.execute(0, 1);
    cluster.stop(0);
    cluster.lose(|_| true);
    cluster.execute_again();
    cluster.start(0);
    cluster.recovers();
    for at in cluster.correct() {
        let committed = [1, 2].map(|height| cluster.block_at(at, height));
        assert_eq!(committed, [Some(blocks[0].hash()), Some(blocks[1].hash())], "replica {at}");
    }
}

/// > it records its VIEW-CHANGE, and sends that same message from then on, whatever it learns later, also after a
/// > restart.
#[test]
fn a_request_has_the_same_bytes_after_a_restart_on_a_higher_base() {
    let mut cluster = Cluster::new(4, &[1]);
    cluster.propose(0);
    cluster.deliver(|it| it.is_proposal() && it.to == 2);
    let block = Arc::clone(&cluster.in_flight(2)[0]);
    cluster.lose(|_| true);
    cluster.wait(TIMEOUT_MS);
    let before = sent_change(&cluster, 2, 1);
    assert_eq!(before.payload.base.height.0, 0);
    let certified = cluster.keys().certified(std::slice::from_ref(&block), &[0, 1, 3]);
    cluster.step(2, certified);
    assert_eq!(cluster.delivered(2), 1);
    cluster.stop(2);
    cluster.start(2);
    assert_eq!(cluster.replicas[2].engine.status().delivered, block.height(), "its base has moved on");
    cluster.lose(|_| true);
    cluster.wait(TIMEOUT_MS);
    // The cluster compares the bytes of each one sent.
    assert!(cluster.waiting(|it| it.from == 2 && it.is_change()) > 0, "it asks again");
    cluster.recovers();
}

/// > Recorded are: […] NEW-VIEWs sent and entered.
#[test]
fn a_primary_that_restarts_starts_its_view_with_the_same_bytes() {
    let mut cluster = Cluster::new(4, &[3]);
    cluster.propose(0);
    cluster.deliver(|it| it.is_proposal());
    cluster.lose(|_| true);
    cluster.wait(TIMEOUT_MS);
    cluster.deliver(|it| it.is_change() && it.to == 1);
    let started = cluster.start_of(1).expect("three ask for view 1").clone();
    cluster.lose(|_| true);
    cluster.stop(1);
    cluster.start(1);
    // Other requests come first now: they would make another NEW-VIEW. The cluster compares the bytes.
    let change = empty_change(&cluster, 3, 1);
    asks(&mut cluster, 3, 1, change);
    cluster.deliver(|it| it.to == 1);
    cluster.recovers();
    assert!(
        cluster
            .replicas
            .iter()
            .any(|it| it.log.records.contains(&Record::NewView(Box::new(started.clone()))))
    );
}

/// > Q validators, itself included, ask for this view or a higher one […] *Or a higher one* matters: replicas that
/// > ask for different views, none of them by Q, would wait for ever.
#[test]
fn replicas_that_ask_for_different_views_find_together() {
    let mut cluster = Cluster::new(4, &[1]);
    cluster.propose(0);
    cluster.deliver(|it| it.is_proposal());
    cluster.lose(|_| true);
    cluster.wait(TIMEOUT_MS);
    // Replica 2 alone sees three that ask for view 1, one of them the liar.
    let change = empty_change(&cluster, 1, 1);
    asks(&mut cluster, 1, 2, change);
    cluster.deliver(|it| it.is_change() && it.from == 0 && it.to == 2);
    cluster.lose(|_| true);
    for _ in 0..4 {
        cluster.wait(TIMEOUT_MS);
        cluster.lose(|_| true);
    }
    let views: Vec<u64> = cluster.correct().iter().map(|it| cluster.view(*it)).collect();
    assert_eq!(views, vec![1, 2, 1], "no view is asked for by three");
    cluster.recovers();
}

/// The view 0 in which replica 3 alone prepares two blocks, with the liar's help, and a view 1 that knows of neither.
fn unlinked() -> (Cluster, [Arc<Block>; 2]) {
    let mut cluster = Cluster::new(4, &[1]);
    cluster.propose(0);
    cluster.propose(0);
    let blocks = cluster.in_flight(0);
    let [first, second] = [0, 1].map(|it| Arc::clone(&blocks[it]));
    cluster.deliver(|it| it.is_proposal() && it.to == 3);
    for block in [&first, &second] {
        lend_prepare(&mut cluster, 0, 1, 3, block);
    }
    assert_eq!(cluster.voted(3, VoteKind::Commit, 0, 2), Some(second.hash()), "it prepared both");
    cluster.lose(|_| true);
    cluster.wait(TIMEOUT_MS);
    cluster.deliver(|it| it.is_change() && it.from == 0 && it.to == 2);
    let change = empty_change(&cluster, 1, 1);
    asks(&mut cluster, 1, 2, change.clone());
    cluster.lose(|_| true);
    let changes = vec![sent_change(&cluster, 0, 1), change, sent_change(&cluster, 2, 1)];
    let new_view = cluster.keys().new_view(1, changes, Vec::new());
    cluster.tells(1, &Message::NewView(Box::new(new_view)));
    cluster.lose(|_| true);
    (cluster, [first, second])
}

/// > Nothing is asked about the receiver's own state, and certificates need neither link nor be without gaps: correct
/// > replicas may hold such ones.
#[test]
fn certificates_that_do_not_link_are_reported_and_taken() {
    let (mut cluster, [_, second]) = unlinked();
    let other = cluster.block(1, 1, cluster.keys().scope.chain);
    let proposal = cluster.proposal(1, 1, &other);
    cluster.tells(1, &proposal);
    cluster.deliver(|it| it.is_prepare() && it.to == 3);
    assert_eq!(cluster.voted(3, VoteKind::Commit, 1, 1), Some(other.hash()), "prepared again, in view 1");
    cluster.lose(|_| true);
    cluster.wait(4 * TIMEOUT_MS);
    let reported = reported(&sent_change(&cluster, 3, 2));
    assert_eq!(
        reported,
        vec![(1, 1, other.hash()), (0, 2, second.hash())],
        "the second stands on another first"
    );
    cluster.deliver(|it| it.is_change() && it.to == 2);
    let started = cluster.start_of(2).expect("three ask for view 2");
    assert_eq!(started.payload.blocks, vec![other.hash()], "what does not link is left");
    cluster.recovers();
    assert_eq!(cluster.block_at(0, 1), Some(other.hash()));
}

/// > A commit certificate commits the block it names and every ancestor.
#[test]
fn a_base_above_blocks_without_certificates_carries_the_view_over() {
    let mut cluster = Cluster::new(4, &[3]);
    for _ in 0..3 {
        cluster.propose(0);
    }
    let blocks = cluster.in_flight(0);
    cluster.deliver(|it| it.is_proposal());
    cluster.deliver(|it| it.is_prepare());
    cluster.lose(|_| true);
    // Only the third has a certificate, and only the liar showed it, to one replica.
    let certificate = Some(cluster.keys().certificate(&blocks[2], &[0, 2, 3]));
    let report = StatusReport { certificate, ..cluster.keys().empty_status() };
    cluster.says(3, 2, Message::Status(Box::new(report)));
    assert_eq!(cluster.delivered(2), 3);
    cluster.wait(TIMEOUT_MS);
    let change = empty_change(&cluster, 3, 1);
    asks(&mut cluster, 3, 2, change);
    cluster.deliver(|it| it.is_change());
    assert_eq!(sent_change(&cluster, 2, 1).payload.base.height, blocks[2].height());
    cluster.recovers();
    for (place, block) in blocks.iter().enumerate() {
        assert_eq!(cluster.block_at(1, place + 1), Some(block.hash()));
    }
}

/// > Accepted bodies are kept and served, committed or not, until the base has reached their height and that is synced.
#[test]
fn a_body_of_an_earlier_view_is_kept_and_sent() {
    let (mut cluster, [first, second]) = unlinked();
    cluster.wait(4 * TIMEOUT_MS); // view 1 has a silent primary
    for at in cluster.correct() {
        cluster.work(at);
    }
    cluster.wait(4 * TIMEOUT_MS);
    cluster.deliver(|it| it.is_change() && it.to == 2);
    let started = cluster.start_of(2).expect("three ask for view 2").payload.clone();
    assert_eq!(started.blocks, vec![first.hash(), second.hash()], "what view 0 prepared");
    for at in [0, 3] {
        let holds = |cluster: &Cluster| {
            let accepted = cluster.replicas[at].engine.accepted();
            [&first, &second].iter().all(|block| accepted.contains(block))
        };
        assert!(holds(&cluster), "replica {at} accepted them two views ago");
        let replica = &mut cluster.replicas[at];
        replica.log.records = replica.engine.records();
        cluster.stop(at);
        cluster.start(at);
        assert!(holds(&cluster), "also after a restart on what its log was compacted to");
    }
    // Replica 2, the primary, never had them.
    cluster.recovers();
    assert_eq!(cluster.block_at(2, 2), Some(second.hash()));
}

/// One block more, at the primary of the view that all are in.
fn commit_one(cluster: &mut Cluster) {
    let view = usize::try_from(cluster.view(0)).expect("a small view");
    cluster.propose(view % cluster.replicas.len());
    cluster.deliver(|_| true);
}

/// > once `rotation_blocks` heights have committed since the view began (counted from the last height it proposed again,
/// > else from its base)
#[test]
fn planned_rotation_is_counted_alike_however_heights_were_learned() {
    let parameters = Parameters { rotation_blocks: 3, base_timeout_ms: 5_000, ..quiet() };
    let mut cluster = Cluster::with(4, &[], &parameters);
    // Replica 3 hears nothing of the first view, and is brought up by certified blocks.
    for _ in 0..3 {
        cluster.propose(0);
        cluster.deliver(|it| it.to != 3);
        cluster.lose(|_| true);
    }
    assert_eq!((cluster.delivered(0), cluster.delivered(3)), (3, 0));
    cluster.wait(1);
    cluster.deliver(|_| true);
    cluster.wait(500);
    cluster.deliver(|_| true);
    for at in 0..4 {
        assert_eq!((cluster.view(at), cluster.delivered(at)), (1, 3), "replica {at} is with the others");
    }
    for height in 4..=6 {
        assert!((0..4).all(|it| cluster.view(it) == 1), "nobody leaves before height 6, at {height}");
        commit_one(&mut cluster);
        cluster.wait(1);
    }
    for at in 0..4 {
        assert_eq!((cluster.view(at), cluster.delivered(at)), (2, 6), "replica {at} counted as the others");
    }
    cluster.deliver(|_| true);
    commit_one(&mut cluster);
    assert!((0..4).all(|it| cluster.delivered(it) == 7));
}

/// > A replica in an active view leaves it […] once `rotation_blocks` heights have committed since the view began.
#[test]
fn a_view_entered_meanwhile_is_not_left_for_the_old_count() {
    let mut cluster = Cluster::with(4, &[], &Parameters { rotation_blocks: 3, ..quiet() });
    commit_one(&mut cluster);
    commit_one(&mut cluster);
    cluster.propose(0);
    cluster.deliver(|it| it.is_proposal() || it.is_prepare());
    cluster.lose(|_| true);
    cluster.wait(TIMEOUT_MS);
    cluster.deliver(|_| true);
    // View 1 began by proposing height 3 again, which would have been the old count's end.
    assert!((0..4).all(|it| (cluster.view(it), cluster.delivered(it)) == (1, 3)));
    for _height in 4..=5 {
        commit_one(&mut cluster);
        cluster.wait(1);
        assert!((0..4).all(|it| cluster.view(it) == 1));
    }
    commit_one(&mut cluster);
    cluster.wait(1);
    assert!((0..4).all(|it| cluster.view(it) == 2), "three heights after the one it proposed again");
}

/// > Whoever has more sends what is missing: […] proposals it has accepted.
#[test]
fn a_lost_proposal_comes_from_anybody_and_costs_no_view() {
    let mut cluster = Cluster::with(4, &[3], &Parameters { base_timeout_ms: 5_000, ..quiet() });
    cluster.propose(0);
    cluster.lose(|it| it.to == 2);
    cluster.deliver(|_| true);
    assert_eq!(cluster.delivered(0), 0, "the third of three is missing");
    cluster.wait(500);
    cluster.lose(|it| it.from == 0 && it.to == 2); // the primary's stream is down
    cluster.deliver(|it| it.from != 0 || it.to != 2);
    cluster.deliver(|it| !it.is_proposal());
    cluster.wait(500);
    cluster.deliver(|_| true);
    for at in cluster.correct() {
        assert_eq!((cluster.view(at), cluster.delivered(at)), (0, 1));
    }
}

/// > for each height above it the prepared certificate of the highest view the replica ever held there
#[test]
fn nobody_is_accused_for_preparing_the_same_block_again() {
    let mut cluster = Cluster::new(4, &[3]);
    cluster.propose(0);
    cluster.deliver(|it| it.is_proposal() || it.is_prepare());
    let block = cluster.voted(2, VoteKind::Commit, 0, 1).expect("prepared in view 0");
    cluster.lose(|_| true);
    cluster.wait(TIMEOUT_MS);
    cluster.deliver(|it| it.is_change() || it.is_new_view() || it.is_prepare());
    assert_eq!(cluster.voted(2, VoteKind::Commit, 1, 1), Some(block), "and again in view 1");
    cluster.lose(|_| true);
    cluster.wait(2 * TIMEOUT_MS);
    assert_eq!(reported(&sent_change(&cluster, 2, 2)), vec![(1, 1, block)], "one certificate a height");
    cluster.recovers();
    assert!(cluster.evidence().is_empty());
}

/// > whether it still links or not
#[test]
fn nobody_is_accused_for_a_certificate_above_another_block() {
    let (mut cluster, [_, second]) = unlinked();
    let other = cluster.block(1, 1, cluster.keys().scope.chain);
    let proposal = cluster.proposal(1, 1, &other);
    cluster.tells(1, &proposal);
    cluster.deliver(|it| it.is_prepare() || it.is_commit());
    assert_eq!(cluster.block_at(3, 1), Some(other.hash()), "another first block commits");
    for at in cluster.correct() {
        cluster.work(at);
    }
    cluster.lose(|_| true);
    cluster.wait(4 * TIMEOUT_MS);
    let change = sent_change(&cluster, 3, 2);
    assert_eq!(change.payload.base.block, other.hash());
    assert_eq!(reported(&change), vec![(0, 2, second.hash())], "what it signed COMMIT for is still reported");
    cluster.recovers();
    assert!(cluster.evidence().is_empty());
}

/// > in whatever order they arrive
#[test]
fn nobody_is_accused_for_a_request_that_comes_after_votes_of_its_view() {
    let mut cluster = Cluster::new(4, &[3]);
    cluster.propose(0);
    cluster.deliver(|it| it.is_proposal() || it.is_prepare());
    cluster.lose(|_| true);
    cluster.wait(TIMEOUT_MS);
    let late = |it: &super::cluster::Letter| it.is_change() && it.from == 2 && it.to == 0;
    cluster.deliver(|it| !late(it));
    assert_eq!(cluster.view(0), 1);
    assert_eq!(cluster.delivered(0), 1, "view 1 commits");
    assert!(cluster.waiting(late) > 0);
    cluster.deliver(late);
    assert!(cluster.evidence().is_empty());
    cluster.recovers();
}

/// > two different NEW-VIEWs of one validator for one view
#[test]
fn two_new_views_for_one_view_are_evidence_and_the_first_counts() {
    let mut cluster = Cluster::new(4, &[1]);
    cluster.propose(0);
    let block = Arc::clone(&cluster.in_flight(0)[0]);
    cluster.deliver(|it| it.is_proposal() && it.to == 3);
    lend_prepare(&mut cluster, 0, 1, 3, &block);
    cluster.lose(|_| true);
    cluster.wait(TIMEOUT_MS);
    let change = empty_change(&cluster, 1, 1);
    cluster.deliver(|it| it.is_change() && it.from == 0 && it.to == 2);
    asks(&mut cluster, 1, 2, change.clone());
    cluster.lose(|_| true);
    let own = |cluster: &Cluster, at| sent_change(cluster, at, 1);
    // Both follow from the requests that they rest on: one has replica 3's certificate, the other has not.
    let without = vec![own(&cluster, 0), change.clone(), own(&cluster, 2)];
    let with = vec![own(&cluster, 0), change, own(&cluster, 3)];
    let first = cluster.keys().new_view(1, without, Vec::new());
    let second = cluster.keys().new_view(1, with, vec![block.hash()]);
    cluster.says(1, 2, Message::NewView(Box::new(first)));
    assert!(cluster.evidence().is_empty());
    for _ in 0..2 {
        cluster.says(1, 2, Message::NewView(Box::new(second.clone())));
        assert!(matches!(cluster.evidence(), [Evidence::DoubleNewView { .. }]), "{:?}", cluster.evidence());
    }
    assert_eq!(cluster.voted(2, VoteKind::Prepare, 1, 1), None, "the first proposes nothing again");
    cluster.recovers();
}
