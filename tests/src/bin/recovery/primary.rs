//! Primaries die.
//!
//! Under load, what was in flight with the dead one's votes may still be committed, so the block that counts is the first
//! that was decided in a later view. Without load, work comes only when the primary is dead already: that takes longer by
//! the time after which a transaction is handed to everybody.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use quorate_tests::chain::assert_whole;
use quorate_tests::load::Load;
use quorate_tests::report::Times;
use quorate_tests::testnet::Testnet;

use super::watch::Watch;
use super::within;

/// Transactions under way at a time: few, for what is measured is the chain and not the load.
pub(crate) const FEW_HANDS: usize = 4;

/// Committed transactions between two tries.
const BETWEEN: usize = 50;

/// Faster than this nobody suspects a primary (`base_timeout` is 500 ms, counted from the last block): the validators had
/// taken turns just before, and the one that died was not the primary any more.
const TOO_SOON: Duration = Duration::from_millis(250);

/// What is aimed at after one primary (`docs/benchmarks.md`): on an idle machine, and on one that is loaded.
const TARGET: Duration = Duration::from_secs(2);
const TARGET_LOADED: Duration = Duration::from_secs(3);
/// What is aimed at after three in a row, whose waits double.
const TARGET_IN_A_ROW: Duration = Duration::from_secs(8);

/// The primary of four, under load and without.
pub(crate) async fn alone(tries: usize) -> String {
    let mut text = "The primary of four validators is killed: until the next block, in ms\n".to_owned();
    let _ = writeln!(text, "{}", Times::head("with"));
    let mut testnet = Testnet::of(4, 0).await;
    let loaded = under_load(&mut testnet, 1, tries).await;
    let _ = writeln!(text, "{}", loaded.row("4 transactions under way"));

    let (alice, bob) = (testnet.wallet("alice"), testnet.wallet("bob"));
    let mut idle = Times::default();
    while idle.count() < tries {
        testnet.settled().await;
        let killed = testnet.primary().await;
        let witness = testnet.client(testnet.but(&[killed])[0]);
        let transaction = alice.transfer(bob.account(), 1);
        let start = Instant::now();
        testnet.signal(killed, Signal::SIGKILL);
        witness.execute(&transaction).await;
        idle.push(start.elapsed());
        testnet.manage("kill", killed).await;
        testnet.start(killed).await;
    }
    testnet.assert_no_evidence().await;
    let _ = writeln!(text, "{}", idle.row("one, sent after the death"));
    let all: Times = loaded.iter().chain(idle.iter()).copied().collect();
    text + &within(&all, TARGET) + &within(&all, TARGET_LOADED)
}

/// Those of three views in a row, of ten.
pub(crate) async fn in_a_row(tries: usize) -> String {
    let mut text =
        "The primaries of three views in a row, of ten validators, are killed at once: until the next block, in ms\n"
            .to_owned();
    let mut testnet = Testnet::of(10, 0).await;
    let times = under_load(&mut testnet, 3, tries).await;
    let _ = writeln!(text, "{}\n{}", Times::head("with"), times.row("4 transactions under way"));
    text + &within(&times, TARGET_IN_A_ROW)
}

async fn under_load(testnet: &mut Testnet, primaries: u64, tries: usize) -> Times {
    let load = Load::by(testnet, FEW_HANDS);
    let mut times = Times::default();
    while times.count() < tries {
        load.goes_on(BETWEEN).await;
        let view = testnet.leadership().await.view;
        let killed: Vec<usize> = (view..view + primaries).map(|view| testnet.primary_of(view)).collect();
        let mut watch = Watch::of(&testnet.client(testnet.but(&killed)[0])).await;
        let start = Instant::now();
        for node in &killed {
            testnet.signal(*node, Signal::SIGKILL);
        }
        let took = watch.decided_from(view + primaries).await.at - start;
        if took >= TOO_SOON {
            times.push(took);
        }
        for node in &killed {
            testnet.manage("kill", *node).await;
        }
        testnet.up_again().await;
    }
    assert_whole(testnet, &load.stop().await).await;
    times
}
