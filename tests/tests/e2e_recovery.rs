//! Validators die, stand still, restart and lose their disks under load; the chain goes on as soon as a quorum is there,
//! by itself, and whoever comes back takes part again. With f = 1 and f = 2.
//!
//! At the end of each: one chain on every node, every transaction that was acknowledged in it once, nobody accused.

use std::time::Duration;

use nix::sys::signal::Signal;
use quorate_ledger::Parameters;
use quorate_tests::chain::assert_whole;
use quorate_tests::client::Status;
use quorate_tests::load::{HANDS, Load};
use quorate_tests::testnet::Testnet;
use serde_json::json;

/// Validators, and how many of them may be faulty.
const SIZES: [(usize, usize); 2] = [(4, 1), (7, 2)];

/// Each hand has one transaction under way: more than these are not committed by what was under way already.
const MORE: usize = 2 * HANDS;

/// How long a transaction is watched that cannot be decided; as long again all else is watched.
const OUTAGE: Duration = Duration::from_secs(2);

/// A network with so many validators under load.
async fn under_load(validators: usize) -> (Testnet, Load) {
    let testnet = Testnet::of(validators, 0).await;
    let load = Load::on(&testnet);
    load.goes_on(MORE).await;
    (testnet, load)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_primary_is_replaced_and_votes_again_when_it_is_back() {
    for (validators, _) in SIZES {
        let (mut testnet, load) = under_load(validators).await;
        let now = testnet.leadership().await;
        testnet.kill_at_once(&[now.primary]).await;
        load.goes_on(MORE).await;
        let witness = testnet.but(&[now.primary])[0];
        assert!(view(&testnet, witness).await > now.view, "another one leads");

        testnet.start(now.primary).await;
        let back_at = testnet.client(now.primary).height().await;
        testnet.votes(now.primary, back_at).await;
        assert_whole(&testnet, &load.stop().await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_primary_is_replaced_and_votes_again_when_it_goes_on() {
    for (validators, _) in SIZES {
        let (testnet, load) = under_load(validators).await;
        let now = testnet.leadership().await;
        testnet.signal(now.primary, Signal::SIGSTOP);
        load.goes_on(MORE).await;
        let witness = testnet.but(&[now.primary])[0];
        assert!(view(&testnet, witness).await > now.view, "another one leads");
        // Beyond what its peers still hold as votes.
        load.goes_on(10 * MORE).await;

        testnet.signal(now.primary, Signal::SIGCONT);
        let goal = testnet.client(witness).height().await;
        testnet.client(now.primary).reach(goal).await;
        testnet.votes(now.primary, goal).await;
        assert_whole(&testnet, &load.stop().await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f_killed_one_after_another_do_not_stop_the_chain_and_decide_again_when_they_are_back() {
    for (validators, f) in SIZES {
        let (mut testnet, load) = under_load(validators).await;
        let mut killed = Vec::new();
        while killed.len() < f {
            let next = testnet.but(&killed).last().copied().expect("most are left");
            testnet.kill_at_once(&[next]).await;
            killed.push(next);
            load.goes_on(MORE).await;
        }
        testnet.up_again().await;

        // With f others gone nothing is decided unless each of those that came back votes.
        let others: Vec<usize> = testnet.but(&killed).into_iter().take(f).collect();
        testnet.kill_at_once(&others).await;
        load.goes_on(MORE).await;
        testnet.up_again().await;
        assert_whole(&testnet, &load.stop().await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_f_killed_stop_the_chain_until_they_are_back() {
    for (validators, f) in SIZES {
        let (mut testnet, load) = under_load(validators).await;
        let primary = testnet.primary().await;
        let killed = [testnet.but(&[primary])[..f].to_vec(), vec![primary]].concat();
        testnet.kill_at_once(&killed).await;
        let witness = testnet.but(&killed)[0];
        stands_still(&testnet, witness).await;
        let status = testnet.client(witness).status().await;
        assert_eq!(status["ready"], false, "it says that it cannot serve: {status}");

        testnet.up_again().await;
        load.goes_on(MORE).await;
        assert_whole(&testnet, &load.stop().await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_are_restarted_in_turn_and_the_chain_goes_on() {
    for (validators, _) in SIZES {
        let (mut testnet, load) = under_load(validators).await;
        for node in 0..validators {
            // One after the other leaves in good order, and does not.
            if node % 2 == 0 {
                testnet.stop(node).await;
            } else {
                testnet.kill_at_once(&[node]).await;
            }
            load.goes_on(MORE).await;
            testnet.start(node).await;
            let back_at = testnet.client(node).height().await;
            testnet.votes(node, back_at).await;
        }
        assert_whole(&testnet, &load.stop().await).await;
    }
}

/// What a key has signed is known from its log alone. Without it the node has everything but a vote.
#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_validator_has_the_chain_again_and_never_votes() {
    for (validators, f) in SIZES {
        let (mut testnet, load) = under_load(validators).await;
        let wiped = testnet.backups().await[0];
        testnet.kill_at_once(&[wiped]).await;
        testnet.wipe(wiped);
        let others = testnet.but(&[wiped]);
        let wiped_at = testnet.newest(&others).await;
        testnet.start(wiped).await;
        testnet.client(wiped).reach(wiped_at).await;
        load.goes_on(MORE).await;

        let state = testnet.client(wiped).call("consensus_getState", json!({})).await;
        assert_eq!(state["role"], "follower", "{state}");
        let votes = testnet.nodes()[wiped].home.join("data/votes");
        let why = state["refused"].as_str().unwrap_or_default();
        assert!(why.contains(&*votes.to_string_lossy()), "it says what is missing: {state}");
        let log = testnet.nodes()[wiped].log();
        assert!(log.contains("this node follows without voting"), "and what to do: {log}");

        // As many processes as make a quorum, and one vote too few.
        testnet.kill_at_once(&others[..f]).await;
        stands_still(&testnet, wiped).await;
        testnet.up_again().await;
        load.goes_on(MORE).await;

        let last = assert_whole(&testnet, &load.stop().await).await;
        let place = testnet.place(wiped);
        for height in wiped_at + 1..=last {
            let decision = testnet.client(wiped).decision(height).await.expect("it was committed");
            // What was under way when it was killed may have its vote of before.
            let before = height <= wiped_at + u64::from(Parameters::default().window);
            assert!(before || !decision.voters.contains(&place), "block {height}: {decision:?}");
        }
    }
}

/// The view in which a node is.
async fn view(testnet: &Testnet, node: usize) -> u64 {
    let status = testnet.client(node).status().await;
    status["view"].as_u64().expect("a number")
}

/// That nothing is committed without a quorum: neither transactions that are given to a node, nor anything else.
async fn stands_still(testnet: &Testnet, node: usize) {
    let client = testnet.client(node);
    let mut height = None;
    for _ in 0..2 {
        let transaction = testnet.wallet("bob").transfer(testnet.wallet("alice").account(), 1);
        let status = client.try_submit_and_wait(&transaction, OUTAGE).await;
        assert!(matches!(status, Ok(Status::Pending { .. })), "{status:?}");
        // What was decided before the last of the others died may have been executed during the first wait.
        let now = client.height().await;
        assert_eq!(*height.get_or_insert(now), now, "nothing else is decided");
    }
}
