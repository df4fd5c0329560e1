//! `docs/pbft.md` §6: before its first signature a replica hears from Q - 1 others what they hold of its own.

use quorate_ledger::{Height, Tip, ValidatorIndex, View};

use super::bench::{Bench, START, delivered, genesis_tip, index, sent};
use crate::{
    engine::{Action, Engine as _, Event, Role, To},
    evidence::VoteKind,
    pbft::{
        Message, Record,
        message::{Holdings, Recall, Statement, Vote},
    },
    rejection::Rejection,
};

/// Replica 1 of four that has started again, has asked, and has heard nobody yet.
fn asking() -> Bench {
    let mut bench = Bench::new(4, 1);
    bench.reopen(genesis_tip(&bench.scope));
    bench.step(Event::Tick);
    bench
}

fn votes(actions: &[Action<Message>]) -> usize {
    let signed = |it: &Message| !matches!(it, Message::Status(_) | Message::Recall(_) | Message::Holdings(_));
    sent(actions).iter().filter(|(_, it)| signed(it)).count()
}

fn abstains(actions: &[Action<Message>]) -> bool {
    actions.iter().any(|it| matches!(it, Action::Abstain { .. }))
}

#[test]
fn nothing_is_signed_before_q_minus_1_others_have_answered() {
    let mut bench = asking();
    let block = bench.first();
    assert_eq!(votes(&bench.propose(&block)), 0);
    let answer = bench.holdings(Vec::new());
    assert_eq!(votes(&bench.receive(0, answer.clone())), 0);
    assert_eq!(votes(&bench.receive(0, answer.clone())), 0, "one validator is one witness");
    assert_eq!(votes(&bench.receive(1, answer.clone())), 0, "its own answer is none");
    let Message::Holdings(holdings) = &answer else { unreachable!("it was made above") };
    let stale = Message::Holdings(Box::new(Holdings { nonce: holdings.nonce + 1, ..(**holdings).clone() }));
    assert_eq!(votes(&bench.receive(2, stale)), 0, "that answered a question of an earlier life");
    assert!(bench.engine.status().silent.is_some());
    let vote = Message::Prepare(bench.vote(VoteKind::Prepare, 1, &block));
    assert!(sent(&bench.receive(2, answer)).contains(&(To::All, vote)));
    assert_eq!(bench.engine.status().silent, None);
}

#[test]
fn the_question_is_repeated_until_it_is_answered() {
    let mut bench = asking();
    let question = Message::Recall(Recall { epoch: bench.scope.epoch, nonce: bench.setup().nonce });
    bench.after_millis(bench.parameters.resend_ms);
    assert!(sent(&bench.step(Event::Tick)).contains(&(To::All, question.clone())));
    bench.hear_holdings();
    bench.after_millis(bench.parameters.resend_ms);
    assert!(!sent(&bench.step(Event::Tick)).contains(&(To::All, question)));
}

#[test]
fn who_asks_is_answered_and_asked_back_until_it_has_answered() {
    let mut bench = asking();
    let theirs = Message::Recall(Recall { epoch: bench.scope.epoch, nonce: 99 });
    let empty = Holdings { epoch: bench.scope.epoch, nonce: 99, statements: Vec::new() };
    let answer = (To::One(index(3)), Message::Holdings(Box::new(empty)));
    let back = Message::Recall(Recall { epoch: bench.scope.epoch, nonce: bench.setup().nonce });
    let back = (To::One(index(3)), back);
    assert_eq!(sent(&bench.receive(3, theirs.clone())), vec![answer.clone(), back]);
    let holdings = bench.holdings(Vec::new());
    bench.receive(3, holdings);
    assert!(sent(&bench.receive(3, theirs.clone())).is_empty(), "one answer in a while");
    bench.after_millis(bench.parameters.resend_ms / 2);
    assert!(sent(&bench.receive(3, theirs)).contains(&answer));
}

#[test]
fn a_validator_alone_has_nobody_to_ask() {
    let mut bench = Bench::new(1, 0);
    bench.reopen(genesis_tip(&bench.scope));
    bench.step(Event::Tick);
    assert_eq!(bench.engine.status().role, Role::Primary);
}

#[test]
fn an_answer_holds_every_message_of_the_asker_that_is_here() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    bench.propose(&block);
    for signer in [2, 3] {
        let vote = bench.prepare(signer, &block);
        bench.receive(signer, vote);
    }
    let commit = bench.commit(2, &block);
    bench.receive(2, commit);
    let change = bench.change(2, 1, Vec::new());
    bench.receive(2, Message::ViewChange(Box::new(change.clone())));
    let result = bench.result(&block);
    let checkpoint = bench.checkpoint(2, result);
    bench.receive(2, Message::Checkpoint(checkpoint.clone()));
    let statements = vec![
        Statement::ViewChange(Box::new(change.request())),
        Statement::Commit(bench.vote(VoteKind::Commit, 2, &block)),
        Statement::Prepare(bench.vote(VoteKind::Prepare, 2, &block)),
        Statement::Checkpoint(checkpoint),
    ];
    let recall = Message::Recall(Recall { epoch: bench.scope.epoch, nonce: 5 });
    let holdings = Holdings { epoch: bench.scope.epoch, nonce: 5, statements };
    assert_eq!(
        sent(&bench.receive(2, recall)),
        vec![(To::One(index(2)), Message::Holdings(Box::new(holdings)))]
    );
}

/// > the messages themselves, found among votes, certificates, VIEW-CHANGEs and NEW-VIEWs
#[test]
fn an_answer_holds_what_certificates_and_new_views_hold_too() {
    let mut bench = Bench::new(4, 3);
    let changes = [0, 1, 2].map(|signer| bench.change(signer, 1, Vec::new()));
    let new_view = bench.new_view(1, changes.to_vec(), Vec::new());
    bench.receive(1, Message::NewView(Box::new(new_view.clone())));
    let blocks = bench.chain(2);
    bench.step(bench.certified(&blocks[..1], &[0, 1, 2]));
    bench.executed(&blocks[0]);
    let checkpoint = bench.checkpoint_certificate(bench.result(&blocks[0]), &[0, 1, 2]);
    bench.step(Event::Checkpoint(checkpoint.clone()));
    // After a restart the votes of others are known from certificates alone.
    let prepared = bench.prepared(1, &blocks[1], &[0, 1, 2]);
    let (payload, signatures) = (prepared.payload, prepared.signatures);
    bench.log.records.push(Record::Prepared { payload, signatures });
    let tip = Tip {
        stable: checkpoint.payload.anchor(),
        stable_certificate: Some(checkpoint),
        ..bench.tip_at(&blocks[0], &[0, 1, 2])
    };
    bench.reopen(tip);
    let mut held_of = |signer: usize| {
        let recall = Message::Recall(Recall { epoch: bench.scope.epoch, nonce: 5 });
        let sent = sent(&bench.receive(signer, recall)).into_iter();
        let mut answers = sent.filter_map(|(_, it)| match it {
            Message::Holdings(holdings) => Some(holdings.statements),
            _ => None,
        });
        answers.next().expect("an answer")
    };
    let all: Vec<_> = [0, 1].map(&mut held_of).into_iter().collect();
    for (signer, held) in all.iter().enumerate() {
        let expected = [
            Statement::ViewChange(Box::new(changes[signer].request())),
            Statement::Prepare(bench.vote_in(1, VoteKind::Prepare, signer, &blocks[1])),
            Statement::Commit(bench.vote(VoteKind::Commit, signer, &blocks[0])),
            Statement::Checkpoint(bench.checkpoint(signer, bench.result(&blocks[0]))),
        ];
        for one in expected {
            assert!(held.contains(&one), "{one:?} of {signer} in {held:?}");
        }
    }
    assert!(all[1].contains(&Statement::NewView(Box::new(new_view))), "its primary's");
    assert!(!all[0].iter().any(|it| matches!(it, Statement::NewView(_))));
}

/// An older copy of the log was put back within the same view: neither log nor mark shows it.
#[test]
fn a_vote_that_the_log_does_not_know_silences_the_replica() {
    let block = Bench::new(4, 1).first();
    for kind in [VoteKind::Prepare, VoteKind::Commit] {
        let mut bench = asking();
        bench.propose(&block);
        let vote = bench.vote(kind, 1, &block);
        let held = match kind {
            VoteKind::Prepare => Statement::Prepare(vote),
            VoteKind::Commit => Statement::Commit(vote),
        };
        let answer = bench.holdings(vec![held]);
        assert!(abstains(&bench.receive(0, answer)));
        assert!(bench.hear_holdings().is_empty(), "however many others know nothing of it");
        assert_eq!(bench.engine.status().role, Role::Follower);
        assert!(bench.engine.status().silent.is_some_and(|why| why.contains("of height 1 in view 0")));
        // It goes on following.
        let actions = bench.step(bench.certified(std::slice::from_ref(&block), &[0, 2, 3]));
        assert_eq!(delivered(&actions), vec![(1, true)]);
    }
}

#[test]
fn what_the_log_knows_or_has_dropped_proves_nothing() {
    let mut bench = Bench::new(4, 1);
    let blocks = bench.chain(2);
    bench.propose(&blocks[1 - 1]);
    let held = Statement::Prepare(bench.vote(VoteKind::Prepare, 1, &blocks[0]));
    bench.reopen(genesis_tip(&bench.scope));
    let answer = bench.holdings(vec![held]);
    assert!(!abstains(&bench.receive(0, answer)), "it is in the log");

    let other = bench.block(Height(1), bench.scope.chain, START.plus_millis(9));
    let answer = bench.holdings(vec![Statement::Prepare(bench.vote(VoteKind::Prepare, 1, &other))]);
    assert!(abstains(&bench.receive(0, answer)), "for that place the log holds another");

    // Height 1 was dropped; 2 is one past it.
    for (block, strange) in [(&blocks[0], false), (&blocks[1], true)] {
        let mut bench = Bench::new(4, 1);
        let (epoch, height) = (bench.scope.epoch, Height(1));
        bench.log.records = vec![Record::Dropped { epoch, height, checkpoint: Height(0) }];
        bench.reopen(genesis_tip(&bench.scope));
        let held = Statement::Commit(bench.vote(VoteKind::Commit, 1, block));
        let answer = bench.holdings(vec![held]);
        assert_eq!(abstains(&bench.receive(0, answer)), strange);
    }
}

#[test]
fn a_checkpoint_above_the_stable_one_must_be_in_the_log() {
    for (checkpoint, strange) in [(Height(1), false), (Height(0), true)] {
        let mut bench = Bench::new(4, 1);
        let result = bench.result(&bench.first());
        let (epoch, height) = (bench.scope.epoch, Height(0));
        bench.log.records = vec![Record::Dropped { epoch, height, checkpoint }];
        bench.reopen(genesis_tip(&bench.scope));
        let answer = bench.holdings(vec![Statement::Checkpoint(bench.checkpoint(1, result))]);
        assert_eq!(abstains(&bench.receive(0, answer)), strange);
    }
}

#[test]
fn a_view_change_at_or_above_the_promise_must_be_the_one_in_the_log() {
    let promised = |bench: &mut Bench| {
        let change = bench.change(1, 2, Vec::new());
        bench.log.records = vec![Record::ViewChanged(Box::new(change))];
        bench.reopen(genesis_tip(&bench.scope));
        assert_eq!(bench.engine.status().view, View(2));
    };
    let other = |bench: &Bench, view: u64| {
        let base = bench.base(&bench.first(), &[0, 2, 3]);
        bench.change_from(1, view, base, Vec::new())
    };
    for (view, strange) in [(1, false), (2, true), (3, true)] {
        let mut bench = Bench::new(4, 1);
        promised(&mut bench);
        let held = Statement::ViewChange(Box::new(other(&bench, view).request()));
        let answer = bench.holdings(vec![held]);
        assert_eq!(abstains(&bench.receive(0, answer)), strange, "view {view}");
    }
    let mut bench = Bench::new(4, 1);
    promised(&mut bench);
    let same = Statement::ViewChange(Box::new(bench.change(1, 2, Vec::new()).request()));
    let answer = bench.holdings(vec![same]);
    assert!(!abstains(&bench.receive(0, answer)), "the bytes in the log");
}

/// > a VIEW-CHANGE or NEW-VIEW at or above the highest view it promised or entered
#[test]
fn a_new_view_at_or_above_the_view_it_entered_must_be_the_one_in_the_log() {
    // Validator 1 is the primary of views 1, 5 and 9.
    let started = |bench: &Bench, view: u64, others: [usize; 2]| {
        let changes = [others[0], 1, others[1]].map(|signer| bench.change(signer, view, Vec::new()));
        bench.new_view(view, changes.to_vec(), Vec::new())
    };
    for (view, others, strange) in
        [(5, [0, 2], false), (1, [0, 3], false), (5, [0, 3], true), (9, [0, 2], true)]
    {
        let mut bench = Bench::new(4, 1);
        bench.log.records = vec![Record::NewView(Box::new(started(&bench, 5, [0, 2])))];
        bench.reopen(genesis_tip(&bench.scope));
        let held = Statement::NewView(Box::new(started(&bench, view, others)));
        let answer = bench.holdings(vec![held]);
        assert_eq!(abstains(&bench.receive(0, answer)), strange, "view {view} of {others:?}");
    }
}

/// > silences it for the epoch, whenever and however it comes
#[test]
fn a_strange_vote_silences_it_also_in_an_answer_to_an_earlier_question() {
    let mut bench = asking();
    let held = Statement::Prepare(bench.vote(VoteKind::Prepare, 1, &bench.first()));
    let nonce = bench.setup().nonce + 1;
    let answer = Holdings { epoch: bench.scope.epoch, nonce, statements: vec![held] };
    assert!(abstains(&bench.receive(0, Message::Holdings(Box::new(answer)))));
}

#[test]
fn messages_of_others_in_an_answer_are_nobodys_proof() {
    let mut bench = asking();
    let answer = bench.holdings(vec![Statement::Prepare(bench.vote(VoteKind::Prepare, 2, &bench.first()))]);
    assert!(!abstains(&bench.receive(0, answer)));
}

/// A message of validator 1, with another's signature.
fn forged(bench: &Bench) -> Statement {
    let vote = bench.vote(VoteKind::Prepare, 2, &bench.first());
    Statement::Prepare(Vote { signer: index(1), ..vote })
}

/// Whom an output blames for the forgery.
fn blamed(actions: &[Action<Message>]) -> Option<ValidatorIndex> {
    match actions {
        [Action::Reject { from, why: Rejection::ForgedAnswer(ValidatorIndex(1)) }] => Some(*from),
        [] => None,
        other => panic!("one rejection at most and nothing else, not {other:?}"),
    }
}

/// > if it is forged, the whole answer counts for nothing and its sender is blamed
#[test]
fn an_answer_with_a_forged_message_counts_for_nothing() {
    let mut bench = asking();
    let answer = bench.holdings(vec![forged(&bench)]);
    assert_eq!(blamed(&bench.receive(0, answer)), Some(index(0)));
    // It was no answer, and of one with a forged message and a real one behind it nothing is taken.
    let real = Statement::Prepare(bench.vote(VoteKind::Prepare, 1, &bench.first()));
    let both = bench.holdings(vec![forged(&bench), real]);
    assert_eq!(blamed(&bench.receive(3, both)), Some(index(3)));
    let answer = bench.holdings(Vec::new());
    bench.receive(2, answer);
    assert!(bench.engine.status().silent.is_some_and(|it| it.contains("from 1 more")));
}

/// > Each validator's answers are looked at in this way twice in `resend` at most; one that comes sooner and needs a look
/// > counts for nothing.
#[test]
fn looks_at_signatures_in_answers_are_rationed_and_answers_that_need_none_are_not() {
    let mut bench = asking();
    let forged = bench.holdings(vec![forged(&bench)]);
    let strange = bench.holdings(vec![Statement::Commit(bench.vote(VoteKind::Commit, 1, &bench.first()))]);
    assert_eq!(blamed(&bench.receive(0, forged.clone())), Some(index(0)));
    bench.after_millis(bench.parameters.resend_ms / 2 - 1);
    for answer in [&forged, &strange] {
        assert_eq!(blamed(&bench.receive(0, answer.clone())), None, "nobody looks");
    }
    assert_eq!(blamed(&bench.receive(2, forged.clone())), Some(index(2)), "each has its own ration");
    bench.after_millis(1);
    assert_eq!(blamed(&bench.receive(0, forged)), Some(index(0)));
    let empty = bench.holdings(Vec::new());
    for from in [0, 2] {
        bench.receive(from, empty.clone());
    }
    assert_eq!(bench.engine.status().silent, None, "both have answered");
    assert!(abstains(&bench.receive(3, strange)), "whose first look it is");
}

/// > since who is correct holds nothing unverified
///
/// One key with two logs: whatever the others hold of the one silences the other, and blames nobody.
#[test]
fn nobody_is_blamed_for_what_another_log_of_this_key_has_signed() {
    let mut holder = Bench::new(4, 3);
    let blocks = holder.chain(2);
    for message in
        [holder.pre_prepare(&blocks[0]), holder.prepare(1, &blocks[0]), holder.commit(1, &blocks[1])]
    {
        holder.receive(1, message);
    }
    let checkpoint = holder.checkpoint(1, holder.result(&blocks[0]));
    holder.receive(1, Message::Checkpoint(checkpoint));
    let prepared = holder.prepared(0, &blocks[1], &[0, 1, 2]);
    let base = holder.base(&blocks[0], &[0, 1, 2]);
    let changes = vec![
        holder.change_from(0, 1, base, Vec::new()),
        holder.change(1, 1, vec![prepared]),
        holder.change(2, 1, Vec::new()),
    ];
    let new_view = holder.new_view(1, changes, vec![blocks[1].hash()]);
    holder.receive(1, Message::NewView(Box::new(new_view)));
    let later = holder.change(1, 9, Vec::new());
    holder.receive(1, Message::ViewChange(Box::new(later)));
    let recall = Message::Recall(Recall { epoch: holder.scope.epoch, nonce: holder.setup().nonce });
    let told = sent(&holder.receive(1, recall)).into_iter().find_map(|(_, it)| match it {
        Message::Holdings(it) => Some(it.statements),
        _ => None,
    });
    let held = told.expect("an answer");
    let kinds = |of: fn(&Statement) -> bool| held.iter().filter(|it| of(it)).count();
    assert_eq!(kinds(|it| matches!(it, Statement::NewView(_))), 1, "{held:?}");
    assert_eq!(kinds(|it| matches!(it, Statement::ViewChange(_))), 2, "in the NEW-VIEW and for a later view");
    assert_eq!(kinds(|it| matches!(it, Statement::Prepare(_))), 2, "a vote and one in a certificate");
    assert_eq!(
        kinds(|it| matches!(it, Statement::Commit(_))),
        3,
        "a vote, and in the certificates of two bases"
    );
    assert_eq!(kinds(|it| matches!(it, Statement::Checkpoint(_))), 1);
    for one in held {
        let mut bench = asking();
        let answer = bench.holdings(vec![one.clone()]);
        let actions = bench.receive(3, answer);
        assert!(matches!(actions[..], [Action::Abstain { .. }]), "{one:?}: {actions:?}");
    }
}

/// > Of an answer one signature is looked at, that of a message that the log does not know
///
/// A look would show that these are forged: nobody looks at what would change nothing.
#[test]
fn signatures_in_an_answer_that_would_change_nothing_are_not_looked_at() {
    let mut bench = Bench::new(4, 1);
    let blocks = bench.chain(2);
    bench.propose(&blocks[0]);
    let other = bench.vote(VoteKind::Commit, 3, &blocks[1]).signature;
    let mut known = bench.vote(VoteKind::Prepare, 1, &blocks[0]);
    let mut anothers = bench.vote(VoteKind::Prepare, 2, &blocks[0]);
    (known.signature, anothers.signature) = (other, other);
    let answer = bench.holdings(vec![Statement::Prepare(known), Statement::Prepare(anothers)]);
    let unasked = |bench: &mut Bench| {
        let actions = bench.receive(0, answer.clone());
        assert!(actions.is_empty(), "{actions:?}");
    };
    unasked(&mut bench);
    bench.reopen(genesis_tip(&bench.scope));
    bench.receive(0, answer.clone());
    bench.receive(2, answer.clone());
    assert_eq!(bench.engine.status().silent, None, "both have answered");
}

/// What is strange counts whenever it comes: also when the question has long been answered.
#[test]
fn a_late_answer_silences_too() {
    let mut bench = Bench::new(4, 1);
    let strange = Statement::Commit(bench.vote(VoteKind::Commit, 1, &bench.first()));
    let late = bench.holdings(vec![strange]);
    assert!(abstains(&bench.receive(3, late)));
}

/// One key on two machines: what the other signed reaches this one.
#[test]
fn a_replica_that_meets_itself_falls_silent() {
    let mut bench = Bench::new(4, 1);
    let block = bench.first();
    let vote = bench.prepare(1, &block);
    assert!(abstains(&bench.receive(2, vote)));
    assert_eq!(votes(&bench.propose(&block)), 0);
    assert_eq!(bench.engine.status().role, Role::Follower);
}

#[test]
fn its_own_messages_that_come_back_are_nothing_strange() {
    let mut bench = Bench::new(4, 0);
    let block = bench.first();
    bench.propose(&block);
    let message = bench.pre_prepare(&block);
    assert!(!abstains(&bench.receive(2, message)));
}

#[test]
fn a_replica_that_abstained_does_so_after_a_restart_too() {
    let mut bench = asking();
    let answer = bench.holdings(vec![Statement::Prepare(bench.vote(VoteKind::Prepare, 1, &bench.first()))]);
    assert!(abstains(&bench.receive(0, answer)));
    assert_eq!(bench.log.records, vec![Record::Abstained { epoch: bench.scope.epoch }]);
    bench.restart(genesis_tip(&bench.scope));
    assert!(bench.engine.status().silent.is_some(), "its log says so");
    bench.log.records = bench.engine.records();
    bench.restart(genesis_tip(&bench.scope));
    let block = bench.first();
    assert_eq!(votes(&bench.propose(&block)), 0, "although nobody holds anything any more");
}

#[test]
fn its_own_unknown_request_inside_a_new_view_silences_it() {
    let mut bench = Bench::new(4, 2);
    let changes = [0, 1, 2].map(|signer| bench.change(signer, 1, Vec::new()));
    let new_view = bench.new_view(1, changes.to_vec(), Vec::new());
    assert!(abstains(&bench.receive(1, Message::NewView(Box::new(new_view)))));
}

#[test]
fn its_own_unknown_new_view_silences_it_also_with_its_known_request_inside() {
    // The key runs twice on copies of one log: the other one has started the view that both asked for.
    let mut bench = Bench::new(4, 1);
    for signer in [0, 2] {
        let change = bench.change(signer, 1, Vec::new());
        bench.receive(signer, Message::ViewChange(Box::new(change)));
    }
    let own = bench.engine.own_change.clone().expect("f + 1 ask, and it joins");
    assert!(bench.engine.new_view.is_some(), "it has started the view with them");
    let strange = bench.new_view(
        1,
        vec![own, bench.change(2, 1, Vec::new()), bench.change(3, 1, Vec::new())],
        Vec::new(),
    );
    assert!(abstains(&bench.receive(2, Message::NewView(Box::new(strange)))));
}

#[test]
fn signatures_in_the_proof_of_a_new_view_are_told_to_whom_they_are_of() {
    let mut bench = Bench::new(4, 2);
    let block = bench.first();
    let prepared = bench.prepared(0, &block, &[0, 1, 3]);
    let changes = vec![
        bench.change(0, 1, vec![prepared]),
        bench.change(1, 1, Vec::new()),
        bench.change(3, 1, Vec::new()),
    ];
    let new_view = bench.new_view(1, changes, vec![block.hash()]);
    bench.receive(1, Message::NewView(Box::new(new_view)));
    let recall = Message::Recall(Recall { epoch: bench.scope.epoch, nonce: 9 });
    let told = sent(&bench.receive(3, recall));
    let told = told.iter().find_map(|(_, it)| if let Message::Holdings(it) = it { Some(it) } else { None });
    let told = &told.expect("it answers").statements;
    let prepare =
        told.iter().any(|it| matches!(it, Statement::Prepare(it) if it.payload.block == block.hash()));
    assert!(prepare, "validator 3's PREPARE stands in the certificate alone: {told:?}");
}
