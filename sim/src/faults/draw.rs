//! Any faults, drawn from a seed.

use super::{Fault, Link, MarkFault, NetworkFaults, Point, Scheduled};
use crate::network::links;
use crate::random::Random;

/// The longest that a node is down or a link cut, in milliseconds; now and then more, to see what a long outage does.
const SHORT_MS: u64 = 2_000;
const LONG_MS: u64 = 15_000;
/// The farthest that a clock jumps: past the drift that a header is forgiven.
const JUMP_MS: u64 = 8_000;
/// The fastest that a clock runs away, in millionths.
const DRIFT_PPM: u64 = 20_000;
/// How far the rate of a monotonic clock is off at most that is not in order, in millionths.
const RATE_PPM: u64 = 50_000;

/// Any network up to very bad ones.
pub(crate) fn draw_network(random: &mut Random) -> NetworkFaults {
    let slowest = [1_000, 5_000, 30_000, 150_000][random.index(4)];
    let faults = NetworkFaults::calm()
        .losing([0, 10, 100, 300][random.index(4)])
        .doubling([0, 50, 200][random.index(3)])
        .corrupting([0, 0, 2, 20][random.index(4)])
        .delaying(100..=slowest)
        .spiking([0, 0, 20, 100][random.index(4)], 50_000..=800_000);
    if random.below(3) == 0 { faults.with_long_tail() } else { faults }
}

/// Any script for a run of `chaos_ms`, in the order of time: about one fault each `every_ms`. Those that take a vote away
/// for good strike only `expendable` nodes: those that may be lost for good.
pub(crate) fn draw_script(
    random: &mut Random,
    nodes: usize,
    chaos_ms: u64,
    every_ms: u64,
    expendable: &[usize],
) -> Vec<Scheduled> {
    let count = random.below(2 * chaos_ms / every_ms.max(1) + 1);
    let at = |random: &mut Random| random.below(chaos_ms.max(1));
    let mut script: Vec<Scheduled> =
        (0..count).map(|_| Scheduled { at_ms: at(random), fault: draw_fault(random, nodes) }).collect();
    for node in expendable {
        let restart_after_ms = draw_ms(random);
        let fault = match random.below(3) {
            0 => Fault::BitRot { node: *node, restart_after_ms },
            1 => {
                Fault::LogRestored { node: *node, syncs: random.within(&(1..=20)) as usize, restart_after_ms }
            }
            _ => Fault::Crash { node: *node, restart_after_ms: None },
        };
        script.push(Scheduled { at_ms: at(random), fault });
    }
    script.sort_by_key(|scheduled| scheduled.at_ms);
    script
}

/// Wrong rates of monotonic clocks in a run of `chaos_ms`, in one run of three.
pub(crate) fn draw_rates(random: &mut Random, nodes: usize, chaos_ms: u64) -> Vec<Scheduled> {
    let count = if random.below(3) == 0 { random.within(&(1..=4)) } else { 0 };
    let rate = |random: &mut Random| {
        let ppm = random.within(&(0..=2 * RATE_PPM)) as i64 - RATE_PPM as i64;
        let fault = Fault::ClockRate { node: random.index(nodes), ppm };
        Scheduled { at_ms: random.below(chaos_ms.max(1)), fault }
    };
    (0..count).map(|_| rate(random)).collect()
}

/// What happens to marks in a run of `chaos_ms`, in one run of two. What makes a key refused strikes only `expendable` nodes.
pub(crate) fn draw_marks(
    random: &mut Random,
    nodes: usize,
    chaos_ms: u64,
    expendable: &[usize],
) -> Vec<Scheduled> {
    if random.below(2) == 0 {
        return Vec::new();
    }
    let at = |random: &mut Random| random.below(chaos_ms.max(1));
    let mut all: Vec<Scheduled> = Vec::new();
    for _ in 0..random.within(&(1..=4)) {
        let (node, restart_after_ms) = (random.index(nodes), draw_ms(random));
        let fault = match random.below(3) {
            0 => Fault::CrashAt { node, point: Point::BeforeMark, restart_after_ms },
            1 => Fault::MarkSyncFails { node, restart_after_ms },
            _ => Fault::Mark { node, what: MarkFault::Older, restart_after_ms },
        };
        all.push(Scheduled { at_ms: at(random), fault });
    }
    for node in expendable {
        let whats = [MarkFault::Lost, MarkFault::Torn, MarkFault::Foreign, MarkFault::Unused];
        let what = whats[random.index(whats.len())];
        let fault = Fault::Mark { node: *node, what, restart_after_ms: draw_ms(random) };
        all.push(Scheduled { at_ms: at(random), fault });
    }
    all
}

/// For how long something lasts.
pub(crate) fn draw_ms(random: &mut Random) -> u64 {
    let longest = if random.below(8) == 0 { LONG_MS } else { SHORT_MS };
    random.within(&(1..=longest))
}

fn draw_fault(random: &mut Random, nodes: usize) -> Fault {
    let node = random.index(nodes);
    let ms = draw_ms(random);
    match random.below(24) {
        0..=1 => Fault::Crash { node, restart_after_ms: Some(ms) },
        2..=6 => Fault::CrashAt { node, point: draw_point(random), restart_after_ms: ms },
        7..=8 => Fault::PowerCut { node, restart_after_ms: ms },
        9 => Fault::PowerCutAll { restart_after_ms: ms },
        10 => Fault::Pause { node, for_ms: ms },
        11 => Fault::SyncFails { node, restart_after_ms: ms },
        12 => Fault::DiskFull { node, ledger: random.below(2) == 0, restart_after_ms: ms },
        13 => {
            let by_ms = random.within(&(0..=2 * JUMP_MS)) as i64 - JUMP_MS as i64;
            Fault::ClockJump { node, by_ms }
        }
        14 => {
            let ppm = random.within(&(0..=2 * DRIFT_PPM)) as i64 - DRIFT_PPM as i64;
            Fault::ClockDrift { node, ppm }
        }
        15..=16 => Fault::Isolate { node, for_ms: ms },
        17..=19 => Fault::Cut { links: draw_links(random, nodes), for_ms: ms },
        20 => {
            let by_ms = random.within(&(1..=500));
            Fault::Slow { links: draw_links(random, nodes), by_ms, for_ms: ms }
        }
        21 => Fault::Reconnect { node },
        _ => Fault::Network(draw_network(random)),
    }
}

/// Any point of a process's work but that between log and mark, which is drawn with what happens to marks.
pub(crate) fn draw_point(random: &mut Random) -> Point {
    match random.below(8) {
        0 => Point::BeforeAppend,
        1 => Point::BeforeSync,
        2 => Point::BeforeActions,
        3 => Point::BeforeExecuted,
        _ => Point::AfterActions(random.within(&(1..=6)) as usize),
    }
}

/// A partition, one that only one side notices, or a single link.
fn draw_links(random: &mut Random, nodes: usize) -> Vec<Link> {
    let mut places: Vec<usize> = (0..nodes).collect();
    for place in (1..nodes).rev() {
        places.swap(place, random.index(place + 1));
    }
    let (one, other) = places.split_at(random.index(nodes + 1));
    let mut cut = links(one, other);
    match random.below(3) {
        0 => cut.extend(links(other, one)),
        1 => {}
        _ => cut.truncate(1),
    }
    cut
}
