//! For minutes more validators are dead than may be. Clients go on sending, and those that are left go on wanting a view
//! in which that would be decided. Then one returns, and with it a quorum; the other stays dead.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use quorate_tests::client::{Client, number};
use quorate_tests::report::Times;
use quorate_tests::testnet::Testnet;
use quorate_tests::wait::{SOON, until};
use tokio::time::{interval, sleep_until};

use super::watch::Watch;
use super::within;

/// Between two transactions of the clients that go on sending.
const SEND_EVERY: Duration = Duration::from_secs(5);

/// What is aimed at (`docs/benchmarks.md`), however long the outage was.
const TARGET: Duration = Duration::from_secs(5);

pub(crate) async fn measure(tries: usize, lasts: Duration) -> String {
    let (mut from_start, mut from_quorum) = (Times::default(), Times::default());
    let mut testnet = Testnet::of(4, 0).await;
    let (alice, bob) = (testnet.wallet("alice"), testnet.wallet("bob"));
    for _ in 0..tries {
        testnet.client(0).execute(&alice.transfer(bob.account(), 1)).await;
        let view = testnet.leadership().await.view;
        let killed = [view, view + 1].map(|view| testnet.primary_of(view));
        testnet.kill_at_once(&killed).await;
        let witness = testnet.client(testnet.but(&killed)[0]);

        let end = Instant::now() + lasts;
        let mut sends = interval(SEND_EVERY);
        let before = witness.height().await;
        while Instant::now() < end {
            sends.tick().await;
            witness.submit(&alice.transfer(bob.account(), 1)).await;
        }
        sleep_until(end.into()).await;
        assert_eq!(witness.height().await, before, "nothing is decided without a quorum");

        let mut watch = Watch::of(&witness).await;
        let start = Instant::now();
        let (quorum_at, first, ()) =
            tokio::join!(quorum(&witness), watch.next(), testnet.manage("start", killed[1]));
        from_start.push(first.at - start);
        from_quorum.push(first.at.saturating_duration_since(quorum_at));
        testnet.up_again().await;
    }
    testnet.settled().await;
    testnet.assert_no_evidence().await;

    let mut text = format!(
        "Two of four validators are dead for {} s, then one returns: until the first block, in ms\n",
        lasts.as_secs()
    );
    let _ = writeln!(text, "{}", Times::head("counted from"));
    let _ = writeln!(text, "{}", from_start.row("the command that starts it"));
    let _ = writeln!(text, "{}", from_quorum.row("a quorum being connected"));
    text + &within(&from_start, TARGET)
}

/// When a node is connected with a quorum.
async fn quorum(client: &Client) -> Instant {
    until("a quorum is connected", SOON, async || {
        let status = client.status().await;
        let connected = number(&status["validators_connected"]);
        if connected >= number(&status["quorum"]) { Ok(Instant::now()) } else { Err(connected.to_string()) }
    })
    .await
}
