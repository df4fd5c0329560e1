//! Networks that are slower than the parameters expect: a bound on delays exists and nobody knows it (`docs/pbft.md` §1), so
//! the chain goes on all the same.

use std::collections::VecDeque;

use quorate_ledger::Parameters;

use super::cluster::{Cluster, Letter, quiet};
use crate::engine::{Backlog, Event, Mono};

/// How far apart time is looked at, in simulated milliseconds.
const PACE_MS: u64 = 20;

/// Four replicas, of whom each has something to do, and a network that takes its time for some messages.
struct Slow {
    cluster: Cluster,
    slow: fn(&Letter) -> bool,
    /// When each message arrives that is on its way slowly, oldest first.
    arrivals: VecDeque<u64>,
    /// When each replica delivered last, and how much that made.
    idle: Vec<(usize, Mono)>,
}

impl Slow {
    fn new(parameters: &Parameters, slow: fn(&Letter) -> bool) -> Self {
        parameters.check().expect("a chain may have these");
        let cluster = Cluster::with(4, &[], parameters);
        let now = cluster.keys().now.mono;
        Self { cluster, slow, arrivals: VecDeque::new(), idle: vec![(0, now); 4] }
    }

    /// How many blocks there are after so long, where slow messages take `delay_ms`.
    fn blocks_after(&mut self, total_ms: u64, delay_ms: u64) -> usize {
        for now in (0..total_ms).step_by(usize::try_from(PACE_MS).expect("it is short")) {
            self.work();
            self.cluster.wait(PACE_MS);
            self.deliver_the_fast();
            let on_their_way = self.cluster.waiting(self.slow);
            self.arrivals.resize(on_their_way, now + delay_ms);
            while self.arrivals.front().is_some_and(|it| *it <= now) {
                self.arrivals.pop_front();
                self.deliver_one_slow();
            }
            self.deliver_the_fast();
        }
        self.cluster.delivered(0)
    }

    fn deliver_the_fast(&mut self) {
        let slow = self.slow;
        self.cluster.deliver(|it| !slow(it));
    }

    fn deliver_one_slow(&mut self) {
        let slow = self.slow;
        let first = std::cell::Cell::new(true);
        self.cluster.deliver(|it| slow(it) && first.replace(false));
    }

    /// A transaction waits at each replica that has no block in flight: eligible since it delivered last.
    fn work(&mut self) {
        for at in 0..4 {
            let delivered = self.cluster.delivered(at);
            if delivered > self.idle[at].0 {
                self.idle[at] = (delivered, self.cluster.keys().now.mono);
            }
            let taken = !self.cluster.in_flight(at).is_empty();
            let waits = Some(self.idle[at].1).filter(|_| !taken);
            let backlog = Backlog { bytes: 200, count: u64::from(!taken), oldest: waits, eligible: waits };
            self.cluster.step(at, Event::Backlog(backlog));
        }
    }
}

/// > A wait that did not grow would end every view of a network that is slower than it.
#[test]
fn a_chain_goes_on_whose_proposals_take_longer_than_a_transaction_may_wait() {
    for delay_ms in [1_000, 2_200, 4_500] {
        let mut chain = Slow::new(&quiet(), Letter::is_proposal);
        let blocks = chain.blocks_after(120_000, delay_ms);
        assert!(blocks >= 5, "{blocks} blocks with proposals that take {delay_ms} ms");
    }
}

/// > A view that has committed nothing is not left by its time
#[test]
fn a_chain_goes_on_whose_messages_take_longer_than_a_view_has() {
    for rotation_time_ms in [20, 100] {
        let parameters = Parameters { rotation_time_ms, ..quiet() };
        let blocks = Slow::new(&parameters, |_| true).blocks_after(20_000, 40);
        assert!(blocks >= 20, "{blocks} blocks with views of {rotation_time_ms} ms");
    }
}
