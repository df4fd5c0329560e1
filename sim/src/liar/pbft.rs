//! How PBFT messages are lied about (`docs/pbft.md` §2 to §5).

use std::sync::Arc;

use borsh::BorshSerialize;
use quorate_consensus::{
    Proposal, Status, To,
    pbft::{
        Message, Pbft,
        message::{
            BaseClaim, CheckpointReport, CheckpointVote, HeightReport, Holdings, NewView, NewViewPayload,
            PrePrepare, PreparedCertificate, Proof, Statement, StatusReport, ViewChange, ViewChangePayload,
            Vote,
        },
        reproposal::reproposal_of,
    },
};
use quorate_crypto::{Domain, Hash, MultiSignature, Signature, Signers};
use quorate_ledger::{Block, CommitPayload, Epoch, Header, Height, UnixMillis, View};

use super::{Deceptive, Double, Liar, Lie, Told, false_claims::with_false_claim, numbers::beyond, told};

pub(super) type PbftLiar = Liar<Message>;

/// How often a liar lies where it could, of 1,000.
const OFTEN: u32 = 700;
const SELDOM: u32 = 250;
/// Most hashes of an over-sized proposal. A limit that is higher is not passed: such a block would cost a run more than it
/// teaches.
const SPOILT_TRANSACTIONS_MAX: usize = 6_000;

impl Deceptive for Pbft {
    fn alter(liar: &mut PbftLiar, to: To, message: Message) -> Vec<Told<Message>> {
        liar.remember(&message);
        match message {
            Message::PrePrepare(it) if it.prepare.signer == liar.place && to == To::All => propose(liar, it),
            Message::Prepare(it) => vote(liar, to, it, Domain::Prepare, Message::Prepare),
            Message::Commit(it) => vote(liar, to, it, Domain::Commit, Message::Commit),
            Message::Checkpoint(it) => checkpoint(liar, to, it),
            Message::ViewChange(it) => view_change(liar, to, *it),
            Message::NewView(it) if it.signer == liar.place => new_view(liar, to, *it),
            Message::Status(it) => vec![told(to, Message::Status(Box::new(status(liar, *it))))],
            Message::Holdings(it) => holdings(liar, to, *it),
            Message::PrePrepare(_) | Message::NewView(_) | Message::Recall(_) => vec![told(to, message)],
        }
    }

    fn answer(liar: &mut PbftLiar, message: &Message) -> Vec<Told<Message>> {
        liar.remember(message);
        let Message::PrePrepare(it) = message else { return Vec::new() };
        if !liar.tells(Lie::VoteForAll, 1_000) {
            return Vec::new();
        }
        let payload = it.prepare.payload;
        if let Some(double) = plotted(liar, payload.block) {
            let prepares = to_each_its_own(liar, Domain::Prepare, &double, payload, Message::Prepare);
            let commits = to_each_its_own(liar, Domain::Commit, &double, payload, Message::Commit);
            return prepares.into_iter().chain(commits).collect();
        }
        vec![
            told(To::All, Message::Prepare(sign_vote(liar, Domain::Prepare, payload))),
            told(To::All, Message::Commit(sign_vote(liar, Domain::Commit, payload))),
        ]
    }

    fn invent(liar: &mut PbftLiar, now: &Status) -> Vec<Told<Message>> {
        let mut all = Vec::new();
        if liar.tells(Lie::Replay, OFTEN)
            && let Some(message) = liar.recall()
        {
            all.push(told(liar.anyone(), message));
        }
        if liar.tells(Lie::Impersonate, OFTEN)
            && let Some(message) = liar.recall().and_then(|it| impersonate(liar, it))
        {
            all.push(told(liar.anyone(), message));
        }
        if liar.tells(Lie::ConflictingVotes, SELDOM) {
            let height = Height(now.committed.0 + liar.random.below(4));
            let view = View(now.view.0.saturating_add(liar.random.below(2)));
            let payload = CommitPayload { epoch: now.epoch, view, height, block: liar.nothing() };
            let vote = sign_vote(liar, Domain::Commit, payload);
            all.push(told(liar.anyone(), Message::Commit(vote)));
        }
        if liar.tells(Lie::CrossEpoch, SELDOM) {
            let epoch = neighbour(liar, now.epoch);
            let height = Height(now.committed.0 + liar.random.below(4));
            let payload =
                CommitPayload { epoch, view: View(liar.random.below(2)), height, block: liar.nothing() };
            let vote = sign_vote(liar, Domain::Commit, payload);
            all.push(told(liar.anyone(), Message::Commit(vote)));
            let view = View(1 + liar.random.below(3));
            let change = sign_view_change(liar, from_genesis(liar, epoch, view), Proof::default());
            all.push(told(liar.anyone(), Message::ViewChange(Box::new(change))));
        }
        if liar.tells(Lie::HugeNumbers, SELDOM) {
            let view = match liar.random.below(3) {
                0 => View(u64::MAX),
                1 => View(u64::MAX - liar.random.below(100)),
                _ => View(now.view.0.saturating_add(1 + liar.random.below(1_000_000))),
            };
            let change = sign_view_change(liar, from_genesis(liar, now.epoch, view), Proof::default());
            all.push(told(liar.anyone(), Message::ViewChange(Box::new(change))));
            let message = beyond(liar, now);
            all.push(told(liar.anyone(), message));
        }
        if liar.tells(Lie::StaleViewChange, SELDOM) {
            let view = View(now.view.0.saturating_add(liar.random.below(3)));
            let change = sign_view_change(liar, from_genesis(liar, now.epoch, view), Proof::default());
            all.push(told(liar.anyone(), Message::ViewChange(Box::new(change))));
        }
        if liar.tells(Lie::ForgeViewChange, SELDOM) {
            let view = View(now.view.0.saturating_add(1));
            let stale = from_genesis(liar, now.epoch, view);
            let change = forge(liar, stale, Proof::default(), now.committed.next());
            all.push(told(liar.anyone(), Message::ViewChange(Box::new(change))));
        }
        if liar.tells(Lie::FalseStatus, SELDOM) {
            let report = boast(liar, now);
            all.push(told(liar.anyone(), Message::Status(Box::new(report))));
        }
        all
    }
}

fn holdings(liar: &mut PbftLiar, to: To, mut it: Holdings) -> Vec<Told<Message>> {
    if liar.tells(Lie::FalseHoldings, OFTEN) {
        match liar.random.below(3) {
            0 => return Vec::new(),
            1 => it.statements.clear(),
            _ => {
                let other = liar.nothing();
                it.statements.iter_mut().for_each(|statement| match statement {
                    Statement::Prepare(vote) | Statement::Commit(vote) => vote.payload.block = other,
                    Statement::Checkpoint(vote) => vote.payload.state_root = other,
                    Statement::ViewChange(change) => change.payload.prepared.clear(),
                    Statement::NewView(new_view) => new_view.payload.blocks.clear(),
                });
            }
        }
    }
    vec![told(to, Message::Holdings(Box::new(it)))]
}

fn propose(liar: &mut PbftLiar, it: PrePrepare) -> Vec<Told<Message>> {
    if liar.tells(Lie::SilentPrimary, OFTEN) {
        return Vec::new();
    }
    if liar.tells(Lie::SpoilBlocks, SELDOM) {
        return vec![told(To::All, Message::PrePrepare(spoil(liar, it)))];
    }
    if liar.tells(Lie::Equivocate, OFTEN) {
        return equivocate(liar, it);
    }
    let mut after_us = 0;
    if liar.tells(Lie::SlowPrimary, OFTEN) {
        after_us = liar.random.below(2_000 * liar.chain.parameters().base_timeout_ms);
    }
    vec![Told { to: To::All, message: Message::PrePrepare(it), after_us }]
}

/// Two blocks for one place, each for some of the others, and its PREPARE for the second to those who have it.
fn equivocate(liar: &mut PbftLiar, it: PrePrepare) -> Vec<Told<Message>> {
    let mut header = it.proposal.header.clone();
    let mut transactions = it.proposal.transactions.clone();
    if liar.random.below(2) == 0 {
        header.time = header.time.plus_millis(1);
    } else if transactions.pop().is_some() {
        header.transactions_root = Block::transactions_root(&transactions);
    } else {
        header.time = header.time.plus_millis(2);
    }
    let other = signed_proposal(liar, header, transactions, &it);
    let given = liar.some();
    liar.plot.tell(Double { first: it.block(), second: other.block(), given: given.clone() });
    let to_each = liar.others().into_iter().map(|index| {
        let message = if given.contains(&index) { other.clone() } else { it.clone() };
        told(To::One(index), Message::PrePrepare(message))
    });
    to_each.collect()
}

/// What it is to help with, of two blocks of which this is one.
fn plotted(liar: &PbftLiar, block: Hash) -> Option<Double> {
    let helps = liar.does(Lie::Equivocate) || liar.does(Lie::VoteForAll);
    liar.plot.about(block).filter(|_| helps)
}

/// A vote to each of the others, for that one of the two blocks that it was given.
fn to_each_its_own(
    liar: &PbftLiar,
    domain: Domain,
    double: &Double,
    place: CommitPayload,
    wrap: fn(Vote) -> Message,
) -> Vec<Told<Message>> {
    let [first, second] = [double.first, double.second]
        .map(|block| wrap(sign_vote(liar, domain, CommitPayload { block, ..place })));
    let to_each = liar.others().into_iter().map(|index| {
        let vote = if double.given.contains(&index) { &second } else { &first };
        told(To::One(index), vote.clone())
    });
    to_each.collect()
}

fn vote(
    liar: &mut PbftLiar,
    to: To,
    it: Vote,
    domain: Domain,
    wrap: fn(Vote) -> Message,
) -> Vec<Told<Message>> {
    if liar.tells(Lie::WithholdVotes, OFTEN) {
        let some = if liar.random.below(2) == 0 { liar.some() } else { Vec::new() };
        return some.into_iter().map(|index| told(To::One(index), wrap(it.clone()))).collect();
    }
    let mut all = vec![told(to, wrap(it.clone()))];
    if let Some(double) = plotted(liar, it.payload.block) {
        all = to_each_its_own(liar, domain, &double, it.payload, wrap);
    }
    if liar.tells(Lie::DoubleVotes, OFTEN) {
        all.push(told(to, wrap(it.clone())));
    }
    if liar.tells(Lie::ConflictingVotes, OFTEN) {
        let payload = CommitPayload { block: liar.nothing(), ..it.payload };
        let other = sign_vote(liar, domain, payload);
        all.push(told(liar.anyone(), wrap(other)));
    }
    if liar.tells(Lie::CrossEpoch, OFTEN) {
        let payload = CommitPayload { epoch: neighbour(liar, it.payload.epoch), ..it.payload };
        all.push(told(to, wrap(sign_vote(liar, domain, payload))));
    }
    if liar.tells(Lie::CrossChain, OFTEN) {
        let payload = CommitPayload { block: liar.nothing(), ..it.payload };
        let signature = liar.key.sign(domain, &Hash::of(b"another chain"), &payload);
        all.push(told(to, wrap(Vote { payload, signer: liar.place, signature })));
    }
    all
}

fn checkpoint(liar: &mut PbftLiar, to: To, it: CheckpointVote) -> Vec<Told<Message>> {
    if liar.tells(Lie::WithholdVotes, OFTEN) {
        return Vec::new();
    }
    let mut all = vec![told(to, Message::Checkpoint(it.clone()))];
    if liar.tells(Lie::FalseCheckpoint, OFTEN) {
        let mut payload = it.payload;
        payload.state_root = liar.nothing();
        let signature = sign(liar, Domain::Checkpoint, &payload);
        let other = CheckpointVote { payload, signer: liar.place, signature };
        let mut one = told(liar.anyone(), Message::Checkpoint(other));
        if liar.random.below(2) == 0 {
            one.to = To::All;
            all.clear();
        }
        all.push(one);
    }
    all
}

fn view_change(liar: &mut PbftLiar, to: To, it: ViewChange) -> Vec<Told<Message>> {
    let honest = told(to, Message::ViewChange(Box::new(it.clone())));
    let ViewChange { payload, mut proof, .. } = it;
    let other = if liar.tells(Lie::StaleViewChange, OFTEN) {
        let stale = from_genesis(liar, payload.epoch, payload.view);
        sign_view_change(liar, stale, Proof::default())
    } else if liar.tells(Lie::PartialViewChange, OFTEN) {
        proof.prepared.retain(|_| liar.random.chance(500));
        // Or it claims all, and proves some.
        let partial = if liar.random.below(8) == 0 {
            payload
        } else {
            ViewChangePayload { prepared: proof.prepared.iter().map(|it| it.payload).collect(), ..payload }
        };
        sign_view_change(liar, partial, proof)
    } else if liar.tells(Lie::ForgeViewChange, OFTEN) {
        let height = payload.base.height.next();
        forge(liar, payload, proof, height)
    } else {
        return vec![honest];
    };
    let other = told(to, Message::ViewChange(Box::new(other)));
    if liar.tells(Lie::TwoViewChanges, OFTEN) { vec![honest, other] } else { vec![other] }
}

/// A VIEW-CHANGE with a certificate that nobody gave.
fn forge(
    liar: &mut PbftLiar,
    mut payload: ViewChangePayload,
    mut proof: Proof,
    height: Height,
) -> ViewChange {
    let header = Header {
        version: Header::VERSION,
        chain: liar.chain.genesis.chain,
        epoch: payload.epoch,
        height,
        parent: payload.base.block,
        transactions_root: Block::transactions_root(&[]),
        time: UnixMillis(liar.chain.genesis.time.0 + liar.random.below(60_000)),
        proposer: quorate_ledger::Account(liar.key.public()),
        anchor: quorate_ledger::Anchor {
            height: Height(0),
            state_root: liar.nothing(),
            checkpoint: liar.nothing(),
        },
    };
    let view = View(payload.view.0.saturating_sub(1));
    let named = CommitPayload { epoch: payload.epoch, view, height, block: header.hash() };
    let own = sign(liar, Domain::Prepare, &named);
    let n = liar.validators();
    let signatures = MultiSignature::from_votes(n, (0..n).map(|place| (place, own)));
    let certificate = PreparedCertificate { header, payload: named, signatures };
    match liar.random.below(3) {
        0 => proof.prepared = vec![certificate],
        1 => proof.prepared.push(certificate),
        // Or a base that nobody certified.
        _ => {
            payload.base = BaseClaim { height, block: named.block };
            proof.base = None;
        }
    }
    payload.prepared = proof.prepared.iter().map(|it| it.payload).collect();
    sign_view_change(liar, payload, proof)
}

/// Everything that happened since the genesis is forgotten.
fn from_genesis(liar: &PbftLiar, epoch: Epoch, view: View) -> ViewChangePayload {
    let known = liar.before.iter().find(|it| it.epoch() == epoch).unwrap_or(&liar.instance);
    let (height, block) = known.scope.start;
    ViewChangePayload { epoch, view, base: BaseClaim { height, block }, prepared: Vec::new() }
}

fn new_view(liar: &mut PbftLiar, to: To, it: NewView) -> Vec<Told<Message>> {
    if liar.tells(Lie::SilentPrimary, SELDOM) {
        return Vec::new();
    }
    if liar.tells(Lie::FalseClaim, OFTEN)
        && let Some(other) = with_false_claim(liar, &it)
    {
        return to_some(liar, &it, &other);
    }
    if !liar.tells(Lie::WrongReproposal, OFTEN) {
        return vec![told(to, Message::NewView(Box::new(it)))];
    }
    let mut payload: NewViewPayload = it.payload.clone();
    match liar.random.below(6) {
        0 => payload.blocks.clear(),
        1 => {
            payload.blocks.pop();
        }
        2 => payload.blocks.push(liar.nothing()),
        3 => payload.blocks.reverse(),
        4 => {
            payload.proof.prepared.pop();
        }
        // Its own VIEW-CHANGE says less there, and what follows from them says less as well.
        _ => {
            let own = from_genesis(liar, payload.epoch, payload.view);
            let own = sign_view_change(liar, own, Proof::default()).request();
            if let Some(place) = payload.changes.iter().position(|change| change.signer == liar.place) {
                payload.changes[place] = own;
            }
            if let Some(start) = reproposal_of(&payload) {
                payload.proof = start.proof();
                payload.blocks = start.blocks.iter().map(|it| it.payload.block).collect();
            }
        }
    }
    let signature = sign(liar, Domain::NewView, &payload);
    let other = NewView { payload, signer: liar.place, signature };
    to_some(liar, &it, &other)
}

/// The other NEW-VIEW to all or some, the one to the rest.
fn to_some(liar: &mut PbftLiar, it: &NewView, other: &NewView) -> Vec<Told<Message>> {
    let given = if liar.random.below(2) == 0 { liar.others() } else { liar.some() };
    let to_each = liar.others().into_iter().map(|index| {
        let one = if given.contains(&index) { other } else { it };
        told(To::One(index), Message::NewView(Box::new(one.clone())))
    });
    to_each.collect()
}

fn status(liar: &mut PbftLiar, mut it: StatusReport) -> StatusReport {
    if liar.tells(Lie::FalseStatus, OFTEN) {
        match liar.random.below(5) {
            0 => it.delivered = Height(u64::MAX),
            1 => it.delivered = Height(0),
            2 => it.view = View(u64::MAX),
            3 => (it.heights, it.checkpoints) = (Vec::new(), Vec::new()),
            _ => it.active = !it.active,
        }
    }
    it
}

/// A STATUS that claims to hold everything, or what cannot be.
pub(super) fn boast(liar: &mut PbftLiar, now: &Status) -> StatusReport {
    let n = liar.validators();
    let mut all = Signers::new(n);
    (0..n).for_each(|place| {
        all.insert(place);
    });
    let first = if liar.random.below(2) == 0 { now.committed.next() } else { Height(u64::MAX - 8) };
    let heights = (0..4).map(|up| Height(first.0.saturating_add(up)));
    let width = if liar.random.below(8) == 0 { n + 1 } else { n };
    let strange = Signers::new(width);
    StatusReport {
        epoch: now.epoch,
        view: now.view,
        active: liar.random.below(2) == 0,
        delivered: if liar.random.below(2) == 0 { Height(0) } else { now.delivered },
        certificate: None,
        stable: if liar.random.below(2) == 0 { Height(0) } else { Height(u64::MAX) },
        checkpoint: None,
        heights: heights
            .clone()
            .map(|height| HeightReport {
                height,
                proposal: true,
                prepares: all.clone(),
                commits: strange.clone(),
            })
            .collect(),
        checkpoints: heights.map(|height| CheckpointReport { height, signers: all.clone() }).collect(),
    }
}

/// What somebody signed, changed, or signed by the liar in another's name.
fn impersonate(liar: &mut PbftLiar, message: Message) -> Option<Message> {
    let nothing = liar.nothing();
    let resign = liar.random.below(2) == 0;
    let change = |it: &mut Vote, domain: Domain| {
        it.payload.block = nothing;
        if resign {
            it.signature = liar.key.sign(domain, &liar.chain.genesis.chain, &it.payload);
        }
    };
    match message {
        Message::Prepare(mut it) => {
            change(&mut it, Domain::Prepare);
            Some(Message::Prepare(it))
        }
        Message::Commit(mut it) => {
            change(&mut it, Domain::Commit);
            Some(Message::Commit(it))
        }
        Message::PrePrepare(mut it) => {
            // The header alone is signed: the hashes beside it, and the anchor's certificate, are anybody's to change.
            if liar.random.below(2) == 0 {
                it.anchor = None;
            } else {
                let Proposal { header, mut transactions } = Proposal::clone(&it.proposal);
                transactions.push(nothing);
                it.proposal = Arc::new(Proposal { header, transactions });
            }
            Some(Message::PrePrepare(it))
        }
        Message::Checkpoint(mut it) => {
            it.payload.state_root = nothing;
            Some(Message::Checkpoint(it))
        }
        Message::ViewChange(mut it) => {
            it.payload.prepared.clear();
            it.proof.prepared.clear();
            Some(Message::ViewChange(it))
        }
        Message::NewView(mut it) => {
            it.payload.blocks.push(nothing);
            Some(Message::NewView(it))
        }
        Message::Status(_) | Message::Recall(_) | Message::Holdings(_) => None,
    }
}

/// A proposal that breaks one rule.
fn spoil(liar: &mut PbftLiar, it: PrePrepare) -> PrePrepare {
    let mut header = it.proposal.header.clone();
    let mut transactions = it.proposal.transactions.clone();
    match liar.random.below(10) {
        0 => header.parent = liar.nothing(),
        1 => header.time = UnixMillis(liar.chain.genesis.time.0),
        2 => header.time = header.time.plus_millis(2 * liar.chain.parameters().max_clock_drift_ms),
        3 => header.proposer = quorate_ledger::Account(liar.instance.scope.validators.keys()[0]),
        4 => header.anchor.state_root = liar.nothing(),
        5 => header.chain = liar.nothing(),
        6 => header.transactions_root = liar.nothing(),
        7 => {
            // A transaction twice, or one that is in an earlier block.
            let earlier = liar.heard.iter().find_map(|message| match message {
                Message::PrePrepare(other) => other.proposal.transactions.first().copied(),
                Message::Prepare(_)
                | Message::Commit(_)
                | Message::Checkpoint(_)
                | Message::ViewChange(_)
                | Message::NewView(_)
                | Message::Status(_)
                | Message::Recall(_)
                | Message::Holdings(_) => None,
            });
            transactions.extend(earlier.or(transactions.first().copied()));
        }
        8 => {
            let room = liar.chain.parameters().block_transactions_max as usize;
            let count = (room + 1).min(SPOILT_TRANSACTIONS_MAX);
            transactions = (0..count).map(|_| liar.nothing()).collect();
        }
        _ => header.anchor.height = Height(header.height.0 + 1),
    }
    if header.transactions_root == it.proposal.header.transactions_root {
        header.transactions_root = Block::transactions_root(&transactions);
    }
    signed_proposal(liar, header, transactions, &it)
}

fn signed_proposal(
    liar: &PbftLiar,
    header: Header,
    transactions: Vec<Hash>,
    like: &PrePrepare,
) -> PrePrepare {
    let payload = CommitPayload { block: header.hash(), ..like.prepare.payload };
    PrePrepare {
        proposal: Arc::new(Proposal { header, transactions }),
        prepare: sign_vote(liar, Domain::Prepare, payload),
        anchor: like.anchor.clone(),
    }
}

/// The epoch before or after.
fn neighbour(liar: &mut PbftLiar, epoch: Epoch) -> Epoch {
    if liar.random.below(2) == 0 { epoch.next() } else { Epoch(epoch.0.saturating_sub(1)) }
}

pub(super) fn sign<T: BorshSerialize>(liar: &PbftLiar, domain: Domain, payload: &T) -> Signature {
    liar.key.sign(domain, &liar.chain.genesis.chain, payload)
}

pub(super) fn sign_vote(liar: &PbftLiar, domain: Domain, payload: CommitPayload) -> Vote {
    Vote { payload, signer: liar.place_in(payload.epoch), signature: sign(liar, domain, &payload) }
}

pub(super) fn sign_view_change(liar: &PbftLiar, payload: ViewChangePayload, proof: Proof) -> ViewChange {
    let signature = sign(liar, Domain::ViewChange, &payload);
    ViewChange { signer: liar.place_in(payload.epoch), payload, signature, proof }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use quorate_consensus::Role;
    use quorate_ledger::{Parameters, ValidatorIndex};

    use super::*;
    use crate::Scenario;
    use crate::liar::Plot;
    use crate::process::epochs::Instance;

    #[test]
    fn what_is_said_unasked_is_told() {
        let chain = Scenario::new("", 4, 1).parameters(Parameters::default()).chain();
        let instance = Instance::new(chain.first_scope(), &chain);
        let mut liar = Liar::new(Lie::ALL.to_vec(), 0, chain, Plot::default(), &instance, 0);
        let voted = CommitPayload { epoch: Epoch(0), view: View(0), height: Height(1), block: Hash::ZERO };
        let now = Status {
            epoch: Epoch(0),
            view: View(0),
            primary: ValidatorIndex(0),
            role: Role::Primary,
            silent: None,
            committed: Height(3),
            delivered: Height(3),
            executed: Height(3),
            stable: Height(3),
            in_flight: Vec::new(),
        };
        // What it says again, or in another's name, it has heard before.
        let heard = sign_vote(&liar, Domain::Prepare, voted);
        liar.remember(&Message::Prepare(heard));
        for _ in 0..200 {
            Pbft::invent(&mut liar, &now);
        }
        let invented: BTreeSet<_> = liar.counted.iter().copied().collect();
        let expected = [
            Lie::Replay,
            Lie::Impersonate,
            Lie::ConflictingVotes,
            Lie::CrossEpoch,
            Lie::HugeNumbers,
            Lie::StaleViewChange,
            Lie::ForgeViewChange,
            Lie::FalseStatus,
        ];
        assert!(expected.iter().all(|lie| invented.contains(&lie.counter())), "{invented:?}");
    }
}
