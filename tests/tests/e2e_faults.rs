//! Machines fail: processes are cut off, killed and started again, and the chain goes on without a contradiction.

use std::time::Duration;

use nix::sys::signal::Signal;
use quorate_ledger::Operation;
use quorate_tests::client::{CallError, Status};
use quorate_tests::load::Load;
use quorate_tests::testnet::Testnet;
use quorate_tests::wait::{SOON, until};
use quorate_tests::wallet::from_now;

#[tokio::test(flavor = "multi_thread")]
async fn what_expires_on_a_node_that_is_cut_off_is_pending_there_and_never_executed() {
    const LIFE: Duration = Duration::from_secs(2);
    let testnet = Testnet::up().await;
    let (alice, bob) = (testnet.wallet("alice"), testnet.wallet("bob"));
    let lonely = testnet.backups().await[0];
    let others: Vec<usize> = (0..4).filter(|node| *node != lonely).collect();
    let clients = testnet.clients();
    let first = clients[lonely].execute(&alice.transfer(bob.account(), 1)).await;
    let before = clients[lonely].balance(bob.account(), first.height).await;

    // To a node whose peers stand still, they are as far away as behind a cut cable.
    for node in &others {
        testnet.signal(*node, Signal::SIGSTOP);
    }
    let mut payload = alice.payload(vec![Operation::Transfer { to: bob.account(), amount: 1_000 }]);
    payload.expires_at = from_now(LIFE);
    let forgotten = alice.sign(payload);
    let id = forgotten.id().to_string();
    // Its life is over before the wait is, and no block says so: the node does not guess.
    let status = clients[lonely].try_submit_and_wait(&forgotten, 2 * LIFE).await;
    assert_eq!(status, Ok(Status::Pending { id: id.clone() }));
    assert_eq!(clients[lonely].outcome(&forgotten).await, Status::Pending { id: id.clone() });
    assert_eq!(clients[lonely].outcome_of(&id).await, Status::Pending { id: id.clone() });

    for node in &others {
        testnet.signal(*node, Signal::SIGCONT);
    }
    let next = clients[lonely].execute(&alice.transfer(bob.account(), 1)).await;
    for (node, client) in testnet.nodes().iter().zip(&clients) {
        client.reach(next.height).await;
        let outcome = client.outcome(&forgotten).await;
        let Status::Expired { at, .. } = outcome else { panic!("{}: {outcome:?}", node.name) };
        assert!(at <= next.height, "{}: {at}", node.name);
        assert_eq!(client.outcome_of(&id).await, Status::Unknown { id: id.clone() }, "{}", node.name);
        assert_eq!(client.balance(bob.account(), next.height).await, before + 1, "{}", node.name);
        let again = client.try_submit_and_wait(&forgotten, LIFE).await;
        assert!(
            matches!(&again, Err(CallError::Refused { reason: Some(reason), .. }) if reason == "EXPIRED"),
            "{again:?}"
        );
    }
    testnet.assert_no_evidence().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_killed_under_load_catches_up_and_votes_again() {
    let mut testnet = Testnet::up().await;
    let (alice, bob) = (testnet.wallet("alice"), testnet.wallet("bob"));
    let [killed, other, ..] = testnet.backups().await[..] else { panic!("three backups") };
    let stay: Vec<usize> = (0..4).filter(|node| *node != killed).collect();
    let clients: Vec<_> = stay.iter().map(|node| testnet.client(*node)).collect();

    let load = Load::start(&clients, testnet.wallet("alice"), bob.account());
    load.goes_on(100).await;
    testnet.kill_at_once(&[killed]).await;
    // Enough that it cannot catch up from the votes that its peers still hold.
    load.goes_on(1_000).await;
    testnet.start(killed).await;
    let goal = testnet.newest(&stay).await;
    testnet.client(killed).reach(goal).await;
    load.goes_on(100).await;
    let places = load.stop().await;
    let last = places.iter().map(|place| place.height).max().expect("some");
    testnet.agreed(last).await;

    // With one more gone, nothing is decided unless the one that came back votes.
    testnet.kill_at_once(&[other]).await;
    let decided = testnet.client(killed).execute(&alice.transfer(bob.account(), 1)).await;
    assert!(decided.height > last);
    testnet.start(other).await;
    testnet.agreed(decided.height).await;
    testnet.assert_no_evidence().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_killed_under_load_is_replaced_and_comes_back() {
    let mut testnet = Testnet::up().await;
    let bob = testnet.wallet("bob");
    let killed = testnet.primary().await;
    let stay = testnet.backups().await;
    let clients: Vec<_> = stay.iter().map(|node| testnet.client(*node)).collect();

    let load = Load::start(&clients, testnet.wallet("alice"), bob.account());
    load.goes_on(100).await;
    testnet.kill_at_once(&[killed]).await;
    load.goes_on(200).await;
    testnet.start(killed).await;
    let goal = testnet.newest(&stay).await;
    testnet.client(killed).reach(goal).await;
    load.goes_on(100).await;
    let places = load.stop().await;
    testnet.agreed(places.iter().map(|place| place.height).max().expect("some")).await;
    testnet.assert_no_evidence().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_killed_at_once_lose_nothing_that_was_acknowledged() {
    const ROUNDS: usize = 3;
    let mut testnet = Testnet::up().await;
    let (alice, bob) = (testnet.wallet("alice"), testnet.wallet("bob"));
    let mut acknowledged = Vec::new();
    for _ in 0..ROUNDS {
        let load = Load::start(&testnet.clients(), testnet.wallet("alice"), bob.account());
        load.goes_on(200).await;
        testnet.kill_at_once(&[0, 1, 2, 3]).await;
        acknowledged.extend(load.stop().await);
        let last = acknowledged.iter().map(|place| place.height).max().expect("some");

        testnet.up_again().await;
        let next = testnet.client(3).execute(&alice.transfer(bob.account(), 1)).await;
        assert!(next.height > last, "the chain goes on from where it was");
        testnet.agreed(next.height).await;
        acknowledged.push(next);
    }
    assert!(acknowledged.len() > ROUNDS * 200);
    for (node, client) in testnet.nodes().iter().zip(testnet.clients()) {
        for place in &acknowledged {
            assert_eq!(client.outcome_of(&place.id).await.place(), *place, "on {}", node.name);
        }
    }
    testnet.assert_no_evidence().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_leaves_cleanly_and_comes_back() {
    let mut testnet = Testnet::up().await;
    let (alice, bob) = (testnet.wallet("alice"), testnet.wallet("bob"));
    let stopped = testnet.backups().await[0];
    let stays = (stopped + 1) % 4;
    testnet.manage("stop", stopped).await;
    assert_eq!(testnet.nodes()[stopped].pid, None, "no process is left");
    assert!(testnet.nodes()[stopped].log().contains("stopped"), "{}", testnet.nodes()[stopped].log());
    let meanwhile = testnet.client(stays).execute(&alice.transfer(bob.account(), 1)).await;

    testnet.start(stopped).await;
    let back = testnet.client(stopped);
    until("it has what it missed", SOON, async || match back.height().await {
        height if height >= meanwhile.height => Ok(()),
        height => Err(format!("height {height}")),
    })
    .await;
    assert_eq!(back.outcome_of(&meanwhile.id).await.place(), meanwhile);
}
