//! Primaries take turns: what that costs, with all alive, and with one dead.
//!
//! A gap is the time from one block to the next, as one node executes them. When a view ends, the gap is that before the
//! first block that was decided in the next one. Who leads a view follows from its number, so a validator that was passed
//! over shows in the numbers.

use std::fmt::Write as _;
use std::time::Duration;

use nix::sys::signal::Signal;
use quorate_tests::chain::assert_whole;
use quorate_tests::load::Load;
use quorate_tests::report::{Times, millis};
use quorate_tests::testnet::Testnet;

use super::primary::FEW_HANDS;
use super::watch::{Seen, Watch};

/// Changes of views that are watched in each part, unless more are asked for: every validator's turn, and again.
pub(crate) const CHANGES: usize = 8;

/// Transactions before, so that every node is as it is in use.
const WARM_UP: usize = 500;

/// Between two looks at the view; the default is a change each 1,000 blocks or 30 s.
const LOOK_EVERY: u64 = 25;

/// How many times the median the gap at a change may be.
const TARGET: u32 = 3;

/// The first block that was decided in a view.
struct Change {
    view: u64,
    height: u64,
    gap: Duration,
}

/// What was seen of a stretch of the chain.
struct Stretch {
    gaps: Times,
    changes: Vec<Change>,
}

pub(crate) async fn measure(changes: usize) -> String {
    let mut testnet = Testnet::of(4, 0).await;
    let load = Load::by(&testnet, FEW_HANDS);
    load.goes_on(WARM_UP).await;
    let mut watch = Watch::of(&testnet.client(0)).await;
    let first = watch.next().await;
    let all = stretch(watch, first, changes).await;

    let dead = testnet.primary().await;
    let mut watch = Watch::of(&testnet.client(testnet.but(&[dead])[0])).await;
    let first = watch.next().await;
    testnet.signal(dead, Signal::SIGKILL);
    // One more: that of its death.
    let without = stretch(watch, first, changes + 1).await;
    testnet.manage("kill", dead).await;
    testnet.start(dead).await;
    assert_whole(&testnet, &load.stop().await).await;

    format!(
        "Four validators take turns as primary, {FEW_HANDS} transactions under way, all alive\n{}\
         The same from the moment at which the primary, {}, is killed\n{}",
        all.describe(&testnet),
        testnet.nodes()[dead].name,
        without.describe(&testnet)
    )
}

/// Watches from a block on until so many views have ended.
async fn stretch(mut watch: Watch, first: Seen, changes: usize) -> Stretch {
    let mut views = vec![watch.decision(first.block.height).await.view];
    let mut seen = vec![first];
    while views.len() <= changes {
        let next = watch.next().await;
        if next.block.height.is_multiple_of(LOOK_EVERY) {
            views.push(watch.decision(next.block.height).await.view);
            views.dedup();
        }
        seen.push(next);
    }

    let mut stretch = Stretch { gaps: Times::default(), changes: Vec::new() };
    let mut before = Some(views[0]);
    for pair in seen.windows(2) {
        let height = pair[1].block.height;
        let gap = pair[1].at - pair[0].at;
        let view = watch.decision(height).await.view;
        if before.replace(view).is_some_and(|before| before != view) {
            stretch.changes.push(Change { view, height, gap });
        } else {
            stretch.gaps.push(gap);
        }
    }
    stretch
}

impl Stretch {
    fn describe(&self, testnet: &Testnet) -> String {
        let mut text = String::new();
        let at_changes: Times = self.changes.iter().map(|change| change.gap).collect();
        let _ = writeln!(text, "{}", Times::head("gaps, in ms"));
        let _ = writeln!(text, "{}", self.gaps.row("within views"));
        let _ = writeln!(text, "{}", at_changes.row("between views"));
        let limit = TARGET * self.gaps.percentile(50);
        let short = self.changes.iter().filter(|change| change.gap <= limit).count();
        let _ = writeln!(text, "  at most {TARGET} times the median: {short} of {}", self.changes.len());
        for Change { view, height, gap } in &self.changes {
            let primary = &testnet.nodes()[testnet.primary_of(*view)].name;
            let _ = writeln!(
                text,
                "  view {view:>4}, {primary}: from block {height:>6}, gap {:>7.1}",
                millis(*gap)
            );
        }
        text
    }
}
