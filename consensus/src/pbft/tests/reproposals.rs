//! `docs/pbft.md` §4.2: what a new view proposes again, for every small input there can be.
//!
//! > Beginning with the highest base it chooses, height by height, the certificate of the highest view, as long as its
//! > block stands on the one chosen below; at the first that does not, it stops.
//!
//! Three heights, three views before the one asked for, the Q = 3 requests of four validators. In each view one chain at
//! most was prepared, without holes: so it is with quorums that intersect and COMMITs that wait for prepared parents. All
//! else is open: which chain each view prepared and how far, who reports which certificate or leaves it out, who has
//! which base.

use std::sync::Arc;

use quorate_crypto::Hash;
use quorate_ledger::{Block, Height};

use super::bench::{Bench, START};
use crate::pbft::{
    message::{Base, PreparedCertificate, ViewChange},
    reproposal::reproposal,
};

const HEIGHTS: usize = 3;
const VIEWS: usize = 3;
const REQUESTS: usize = 3;
const ASKED: u64 = 3;

/// What follows, said as the text says it: the highest base, and what is chosen above it as (view, height, block).
fn oracle(requests: &[ViewChange]) -> (Hash, Vec<(u64, u64, Hash)>) {
    let mut base = (Height(0), requests[0].payload.base.block);
    // By height and view: the block and what it stands on.
    let mut table = [[None; VIEWS]; HEIGHTS];
    for request in requests {
        let claimed = &request.payload.base;
        if claimed.height > base.0 {
            base = (claimed.height, claimed.block);
        }
        for certificate in &request.proof.prepared {
            let block = (certificate.payload.block, certificate.header.parent);
            let (height, view) = (certificate.payload.height.0, certificate.payload.view.0);
            let place = &mut table[place(height - 1)][place(view)];
            assert!(place.is_none_or(|other| other == block), "one view prepares one block at a height");
            *place = Some(block);
        }
    }
    let mut chosen = Vec::new();
    let mut below = base.1;
    for height in base.0.0 + 1..=HEIGHTS as u64 {
        let views = table[place(height - 1)];
        let Some(view) = (0..VIEWS).rev().find(|view| views[*view].is_some()) else { break };
        let (block, parent) = views[view].expect("it was looked for");
        if parent != below {
            break;
        }
        chosen.push((view as u64, height, block));
        below = block;
    }
    (base.1, chosen)
}

fn place(number: u64) -> usize {
    usize::try_from(number).expect("a small number")
}

/// The chains that views may have prepared: one, one that leaves it at height 2, and one that has nothing of it.
fn chains(bench: &Bench) -> [Vec<Arc<Block>>; 3] {
    let grow = |first: Arc<Block>, step: u64| {
        let mut chain = vec![first];
        while chain.len() < HEIGHTS {
            let parent = &chain[chain.len() - 1];
            chain.push(bench.block(parent.height().next(), parent.hash(), parent.time().plus_millis(step)));
        }
        chain
    };
    let main = grow(bench.first(), 1);
    let fork = grow(bench.first(), 2);
    let other = grow(bench.block(Height(1), bench.scope.chain, START.plus_millis(7)), 1);
    assert_eq!(main[0], fork[0]);
    [main, fork, other]
}

/// How far a view prepared which chain; the first block of the fork is that of the main chain and not counted twice.
fn outcomes() -> Vec<(usize, usize)> {
    let mut outcomes = vec![(0, 0)];
    for length in 1..=HEIGHTS {
        outcomes.extend([(0, length), (2, length)]);
        if length > 1 {
            outcomes.push((1, length));
        }
    }
    outcomes
}

/// Who reports the certificates of one height: for each view nobody or one of the requests, each request one at most.
fn layouts(prepared: [bool; VIEWS]) -> Vec<[Option<usize>; VIEWS]> {
    let choices = |view: usize| -> Vec<Option<usize>> {
        let holders = (0..REQUESTS).map(Some);
        std::iter::once(None).chain(holders.filter(|_| prepared[view])).collect()
    };
    let mut layouts = Vec::new();
    for first in choices(0) {
        for second in choices(1) {
            for third in choices(2) {
                let apart = |a: Option<usize>, b: Option<usize>| a.is_none() || a != b;
                if apart(first, second) && apart(second, third) && apart(first, third) {
                    layouts.push([first, second, third]);
                }
            }
        }
    }
    layouts
}

/// What three views prepared: of each a chain and how much of it.
struct World<'a> {
    chains: &'a [Vec<Arc<Block>>; 3],
    /// By view, chain and height. Signatures are verified before anything is chosen, and play no part in the choice.
    certificates: &'a [Vec<Vec<PreparedCertificate>>],
    views: [(usize, usize); VIEWS],
}

impl World<'_> {
    fn prepared(&self, view: usize) -> &[Arc<Block>] {
        let (chain, length) = self.views[view];
        &self.chains[chain][..length]
    }

    /// What a request may stand on: the genesis, or a block that some view prepared and no later one disowned, as is true
    /// of all that committed.
    fn bases(&self, genesis: Base) -> Vec<Base> {
        let mut bases = vec![genesis];
        for view in 0..VIEWS {
            for (place, block) in self.prepared(view).iter().enumerate().take(HEIGHTS - 1) {
                let path = &self.prepared(view)[..=place];
                let stays = (view + 1..VIEWS).all(|later| {
                    let later = self.prepared(later);
                    path.starts_with(&later[..later.len().min(path.len())])
                });
                let base = Base { height: block.height(), block: block.hash(), certificate: None };
                if stays && !bases.contains(&base) {
                    bases.push(base);
                }
            }
        }
        bases
    }

    /// Puts the certificates of one height into the requests that report them; nobody reports what is not above its base.
    fn report(&self, height: usize, holders: [Option<usize>; VIEWS], requests: &mut [ViewChange]) {
        for (view, holder) in holders.into_iter().enumerate() {
            let Some(holder) = holder else { continue };
            let certificate = &self.certificates[view][self.views[view].0][height];
            let request = &mut requests[holder];
            if certificate.payload.height > request.payload.base.height {
                request.payload.prepared.push(certificate.payload);
                request.proof.prepared.push(certificate.clone());
            }
        }
    }

    /// Every input that this world allows, against the oracle; how many there were.
    fn hold(&self, requests: &mut [ViewChange], genesis: &Base) -> u64 {
        let by_height =
            [0, 1, 2].map(|height: usize| layouts([0, 1, 2].map(|view| self.views[view].1 > height)));
        let mut count = 0;
        for base in self.bases(genesis.clone()) {
            // Requests are alike, so the first stands for whoever has the higher base.
            requests[0].payload.base = base.claim();
            for first in &by_height[0] {
                // The others are alike too.
                if first.iter().flatten().find(|it| **it != 0) == Some(&2) {
                    continue;
                }
                for second in &by_height[1] {
                    for request in requests.iter_mut() {
                        request.payload.prepared.clear();
                        request.proof.prepared.clear();
                    }
                    self.report(0, *first, requests);
                    self.report(1, *second, requests);
                    let lengths = [0, 1, 2].map(|it: usize| requests[it].payload.prepared.len());
                    for third in &by_height[2] {
                        for (request, length) in requests.iter_mut().zip(lengths) {
                            request.payload.prepared.truncate(length);
                            request.proof.prepared.truncate(length);
                        }
                        self.report(2, *third, requests);
                        let start = reproposal(requests).expect("three requests");
                        let chosen = start.blocks.iter().map(|it| &it.payload);
                        let chosen: Vec<_> = chosen.map(|it| (it.view.0, it.height.0, it.block)).collect();
                        assert_eq!((start.base.block, chosen), oracle(requests), "{requests:#?}");
                        count += 1;
                    }
                }
            }
        }
        count
    }
}

#[test]
fn every_small_input_gives_what_the_text_says() {
    let bench = Bench::new(4, 0);
    let chains = chains(&bench);
    let genesis = Base { height: Height(0), block: bench.scope.chain, certificate: None };
    let of_view = |view: u64| -> Vec<Vec<PreparedCertificate>> {
        chains.iter().map(|it| it.iter().map(|it| bench.prepared(view, it, &[])).collect()).collect()
    };
    let certificates: Vec<_> = (0..VIEWS as u64).map(of_view).collect();
    let mut requests: Vec<ViewChange> =
        (0..REQUESTS).map(|signer| bench.change(signer, ASKED, Vec::new())).collect();
    let mut count = 0;
    for first in outcomes() {
        for second in outcomes() {
            for third in outcomes() {
                let world =
                    World { chains: &chains, certificates: &certificates, views: [first, second, third] };
                count += world.hold(&mut requests, &genesis);
            }
        }
    }
    assert!(count > 1_000_000, "all inputs were tried, not only {count}");
}

#[test]
fn the_order_of_the_requests_does_not_matter() {
    let bench = Bench::new(4, 0);
    let [main, fork, _] = chains(&bench);
    let signers = [0, 1, 2];
    let requests = [
        bench.change(
            0,
            ASKED,
            vec![bench.prepared(0, &main[0], &signers), bench.prepared(0, &main[1], &signers)],
        ),
        bench.change(
            1,
            ASKED,
            vec![bench.prepared(1, &fork[0], &signers), bench.prepared(1, &fork[1], &signers)],
        ),
        bench.change_from(
            2,
            ASKED,
            bench.base(&main[0], &signers),
            vec![bench.prepared(2, &main[1], &signers)],
        ),
    ];
    let expected = reproposal(&requests).expect("three requests");
    assert_eq!(expected.base.block, main[0].hash());
    assert_eq!(expected.blocks.len(), 1);
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        assert_eq!(reproposal(&order.map(|it: usize| requests[it].clone())).as_ref(), Some(&expected));
    }
}

#[test]
fn nothing_follows_on_the_highest_number_there_is() {
    let bench = Bench::new(4, 1);
    let base = Base { height: Height(u64::MAX), block: Hash::of(b"no block"), certificate: None };
    let claims = [bench.change_from(2, 1, base.clone(), Vec::new())];
    let start = reproposal(&claims).expect("one claim");
    assert_eq!((start.base, start.blocks), (base, Vec::new()));
}
