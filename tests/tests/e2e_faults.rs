//! Machines fail: processes are cut off, killed and started again, and the chain goes on without a contradiction.

use std::time::Duration;

use nix::sys::signal::Signal;
use quorate_ledger::Operation;
use quorate_tests::chain::assert_whole;
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
    for (index, (node, client)) in testnet.nodes().iter().zip(&clients).enumerate() {
        client.reach(next.height).await;
        let outcome = client.outcome(&forgotten).await;
        let Status::Expired { at, .. } = outcome else { panic!("{}: {outcome:?}", node.name) };
        assert!(at <= next.height, "{}: {at}", node.name);
        let by_id = client.outcome_of(&id).await;
        match by_id {
            Status::Expired { .. } => assert_eq!(index, lonely, "only who took it remembers when it expired"),
            Status::Unknown { .. } => assert_ne!(index, lonely, "who took it can tell"),
            Status::Pending { .. } | Status::Committed { .. } => panic!("{}: {by_id:?}", node.name),
        }
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
async fn all_killed_at_once_lose_nothing_that_was_acknowledged() {
    const ROUNDS: usize = 3;
    let mut testnet = Testnet::up().await;
    let load = Load::on(&testnet);
    for _ in 0..ROUNDS {
        load.goes_on(200).await;
        let before = testnet.newest(&[0]).await;
        testnet.kill_at_once(&[0, 1, 2, 3]).await;
        testnet.up_again().await;
        assert!(testnet.newest(&[0]).await >= before, "it goes on from where it was");
    }
    load.goes_on(200).await;
    let outcomes = load.stop().await;
    assert!(outcomes.committed.len() > ROUNDS * 200);
    assert_whole(&testnet, &outcomes).await;
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
