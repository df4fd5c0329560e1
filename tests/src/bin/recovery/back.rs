//! A validator comes back: how soon it votes, and how soon it has what it missed.
//!
//! It votes when its vote stands in the certificate of a block that another node has. A certificate has the first Q votes,
//! so the first that has this one may be later than the first vote: times are from above.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use quorate_ledger::ValidatorIndex;
use quorate_tests::chain::assert_whole;
use quorate_tests::client::number;
use quorate_tests::load::Load;
use quorate_tests::report::{Times, millis};
use quorate_tests::testnet::Testnet;
use quorate_tests::wait::{SOON, until};
use serde_json::json;

use super::primary::FEW_HANDS;
use super::watch::Watch;
use super::within;

/// Committed transactions while it is away.
const AWAY: usize = 200;

/// How long 10,000 blocks may take to be made before something is wrong.
const MADE_WITHIN: Duration = Duration::from_secs(3_600);

/// What is aimed at (`docs/benchmarks.md`): until it votes, and until it has 10,000 blocks.
const TARGET_VOTES: Duration = Duration::from_secs(2);
const TARGET_CAUGHT_UP: Duration = Duration::from_secs(60);

/// Killed and started again, several times.
pub(crate) async fn restarted(tries: usize) -> String {
    let mut testnet = Testnet::of(4, 0).await;
    let load = Load::by(&testnet, FEW_HANDS);
    let mut times = Times::default();
    while times.count() < tries {
        load.goes_on(AWAY).await;
        let backups = testnet.backups().await;
        let node = backups[times.count() % backups.len()];
        testnet.kill_at_once(&[node]).await;
        load.goes_on(AWAY).await;
        let place = testnet.place(node);
        let watch = Watch::of(&testnet.client(testnet.but(&[node])[0])).await;
        let start = Instant::now();
        let (voted_at, ()) = tokio::join!(votes(watch, place), testnet.manage("start", node));
        times.push(voted_at - start);
        testnet.start(node).await;
    }
    assert_whole(&testnet, &load.stop().await).await;

    let mut text =
        "One of four validators is killed under load and started again: until its vote stands in a certificate, in ms\n"
            .to_owned();
    let _ = writeln!(text, "{}", Times::head("counted from"));
    let _ = writeln!(text, "{}", times.row("the command that starts it"));
    text + &within(&times, TARGET_VOTES)
}

/// Far behind, while the others go on.
pub(crate) async fn behind(missed: u64) -> String {
    let mut testnet = Testnet::of(4, 0).await;
    let load = Load::by(&testnet, FEW_HANDS);
    load.goes_on(AWAY).await;
    let node = testnet.backups().await[0];
    testnet.kill_at_once(&[node]).await;
    let others = testnet.client(testnet.but(&[node])[0]);
    let from = others.height().await;
    until("enough blocks are made", MADE_WITHIN, async || match others.height().await {
        height if height >= from + missed => Ok(()),
        height => Err(format!("{} of {missed}", height - from)),
    })
    .await;

    let (place, client) = (testnet.place(node), testnet.client(node));
    let watch = Watch::of(&others).await;
    let goal = others.height().await;
    let start = Instant::now();
    let has_all = until("it has what it missed", 5 * SOON, async || {
        let status = client.try_call("node_status", json!({})).await.map_err(|error| format!("{error:?}"))?;
        let height = number(&status["height"]);
        if height >= goal { Ok(Instant::now()) } else { Err(height.to_string()) }
    });
    let (has_all_at, voted_at, ()) =
        tokio::join!(has_all, votes(watch, place), testnet.manage("start", node));
    testnet.start(node).await;
    let outcomes = load.stop().await;
    let last = assert_whole(&testnet, &outcomes).await;

    let mut text =
        format!("One of four validators starts {} blocks behind, counted from the command:\n", goal - from);
    let _ = writeln!(text, "  it has them all after {:.1} s", millis(has_all_at - start) / 1_000.0);
    let _ = writeln!(
        text,
        "  its vote stands in a certificate after {:.1} s",
        millis(voted_at - start) / 1_000.0
    );
    let _ = writeln!(
        text,
        "  {last} blocks with {} transactions in the end; the others went on meanwhile",
        outcomes.committed.len()
    );
    text + &within(&Times::from_iter([has_all_at - start]), TARGET_CAUGHT_UP)
}

/// When a block was first seen that was committed with a validator's vote.
async fn votes(mut watch: Watch, place: ValidatorIndex) -> Instant {
    loop {
        let seen = watch.next().await;
        if watch.decision(seen.block.height).await.voters.contains(&place) {
            return seen.at;
        }
    }
}
