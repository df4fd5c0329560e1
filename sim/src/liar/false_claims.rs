//! A new view's primary that lies about itself inside its own NEW-VIEW (`docs/pbft.md` §4.2, §4.3): of the VIEW-CHANGEs that
//! it rests on, its own is another than it sent, and claims what is false.
//!
//! What then follows is one of three things. The false claim plays no part in the choice: the NEW-VIEW is as good as
//! without it, and whoever heard both requests holds evidence. The choice looks at the claim: a certificate for it cannot be
//! had, and a NEW-VIEW without it, or with a forged one, is false. Or the blocks are those that its own claim alone leads to:
//! they do not follow, which is false too. What is false is evidence by itself.

use quorate_consensus::pbft::{
    message::{BaseClaim, NewView, NewViewPayload, PreparedCertificate, Request, ViewChangePayload},
    reproposal::reproposal_of,
};
use quorate_crypto::{Domain, Hash};
use quorate_ledger::{CommitPayload, View};

use super::pbft::{PbftLiar, sign};
use crate::coverage::Counter;

/// What is false about the claim.
#[derive(Clone, Copy)]
enum Falsehood {
    /// A block of the height and view of a certificate that there is, and another one.
    Tied,
    /// The base's height, with another block.
    TiedBase,
    /// A view below that of the certificate it holds.
    LowerView,
    /// A base long left behind.
    StaleBase,
}

/// What the NEW-VIEW proposes.
#[derive(Clone, Copy)]
enum Blocks {
    /// What followed before the claim was changed.
    Honest,
    /// What the false claim leads to, proven as far as a liar can: by a certificate that does not hold.
    Matching,
    /// What its own claim alone leads to; the proof is that of the true choice.
    Alone,
}

/// The same NEW-VIEW around a false claim of its own.
pub(super) fn with_false_claim(liar: &mut PbftLiar, it: &NewView) -> Option<NewView> {
    let mut payload = it.payload.clone();
    let own = payload.changes.iter().position(|change| change.signer == liar.place)?;
    let own = payload.changes.remove(own).payload;
    let (falsehood, claims, forged) = falsify(liar, own, &it.payload);
    let signature = sign(liar, Domain::ViewChange, &claims);
    let request = Request { payload: claims, signer: liar.place, signature };
    // Of two claims of one view it may be the order that decides.
    let place = if liar.random.below(2) == 0 { 0 } else { payload.changes.len() };
    payload.changes.insert(place, request.clone());
    let blocks = [Blocks::Honest, Blocks::Matching, Blocks::Alone][liar.random.index(3)];
    propose(&mut payload, blocks, request, forged);
    liar.counted.push(match falsehood {
        Falsehood::Tied => Counter::FALSE_CLAIM_TIED,
        Falsehood::TiedBase => Counter::FALSE_CLAIM_TIED_BASE,
        Falsehood::LowerView => Counter::FALSE_CLAIM_LOWER_VIEW,
        Falsehood::StaleBase => Counter::FALSE_CLAIM_STALE_BASE,
    });
    liar.counted.push(match blocks {
        Blocks::Honest => Counter::FALSE_CLAIM_TRUE_BLOCKS,
        Blocks::Matching => Counter::FALSE_CLAIM_MATCHING_BLOCKS,
        Blocks::Alone => Counter::FALSE_CLAIM_LONE_BLOCKS,
    });
    let signature = sign(liar, Domain::NewView, &payload);
    Some(NewView { payload, signer: liar.place, signature })
}

/// Its claims with a falsehood among them, and the certificate that would prove that, if the signatures held.
fn falsify(
    liar: &mut PbftLiar,
    own: ViewChangePayload,
    truth: &NewViewPayload,
) -> (Falsehood, ViewChangePayload, Option<PreparedCertificate>) {
    let highest = truth.proof.prepared.first().cloned();
    match (liar.random.below(4), highest) {
        (0 | 1, Some(true_one)) => {
            let (claims, forged) = tied(liar, own, true_one);
            (Falsehood::Tied, claims, Some(forged))
        }
        (2, Some(true_one)) if true_one.payload.view > View(0) => {
            let (claims, forged) = lower(own, true_one);
            (Falsehood::LowerView, claims, Some(forged))
        }
        (3, _) => {
            let (height, block) = liar.instance.scope.start;
            (Falsehood::StaleBase, ViewChangePayload { base: BaseClaim { height, block }, ..own }, None)
        }
        (_, _) => {
            let highest = truth.changes.iter().map(|change| change.payload.base.height).max();
            let height = highest.unwrap_or(own.base.height);
            let base = BaseClaim { height, block: liar.nothing() };
            let prepared = own.prepared.iter().filter(|claim| claim.height > height).copied().collect();
            (Falsehood::TiedBase, ViewChangePayload { base, prepared, ..own }, None)
        }
    }
}

/// Another block at a certificate's height, in its view.
fn tied(
    liar: &mut PbftLiar,
    own: ViewChangePayload,
    mut forged: PreparedCertificate,
) -> (ViewChangePayload, PreparedCertificate) {
    forged.header.transactions_root = liar.nothing();
    forged.payload.block = forged.header.hash();
    (claiming(own, forged.payload), forged)
}

/// A certificate's block, in a lower view.
fn lower(
    own: ViewChangePayload,
    mut forged: PreparedCertificate,
) -> (ViewChangePayload, PreparedCertificate) {
    forged.payload.view = View(forged.payload.view.0 - 1);
    (claiming(own, forged.payload), forged)
}

/// The same request with this claim at its height.
fn claiming(own: ViewChangePayload, claim: CommitPayload) -> ViewChangePayload {
    let mut base = own.base;
    if base.height >= claim.height {
        // Its own base is what the claim stands above, or so it says.
        base = BaseClaim { height: quorate_ledger::Height(claim.height.0 - 1), block: Hash::of(b"below") };
    }
    let mut prepared = own.prepared;
    prepared.retain(|other| other.height != claim.height);
    prepared.push(claim);
    prepared.sort_by_key(|claim| claim.height);
    ViewChangePayload { base, prepared, ..own }
}

/// Blocks and proof.
fn propose(payload: &mut NewViewPayload, blocks: Blocks, own: Request, forged: Option<PreparedCertificate>) {
    let honest = payload.proof.clone();
    match blocks {
        Blocks::Honest => {}
        Blocks::Matching => {
            if let Some(forged) = forged {
                payload.proof.prepared.push(forged);
            }
            match reproposal_of(payload) {
                Some(start) => {
                    payload.proof = start.proof();
                    payload.blocks = start.blocks.iter().map(|it| it.payload.block).collect();
                }
                None => payload.proof = honest,
            }
        }
        Blocks::Alone => {
            let mut alone = payload.clone();
            alone.changes = vec![own];
            alone.proof.prepared.extend(forged);
            if let Some(start) = reproposal_of(&alone) {
                payload.blocks = start.blocks.iter().map(|it| it.payload.block).collect();
            }
            if let Some(start) = reproposal_of(payload) {
                payload.proof = start.proof();
            }
        }
    }
}
