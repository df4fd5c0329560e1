//! What a new view must propose again: one pure function of the VIEW-CHANGEs it rests on (`docs/pbft.md` §4.2).
//!
//! > Beginning with the highest base it chooses, height by height, the certificate of the highest view, as long as its
//! > block stands on the one chosen below; at the first that does not, it stops.
//!
//! Why nothing committed is lost: if a block committed in view *w*, then f + 1 correct replicas held prepared certificates
//! for it and for its uncommitted ancestors in *w*, and every later quorum of VIEW-CHANGEs contains one of them. By
//! induction over the views, the highest-view certificate at each of those heights is that block's, and the links match.
//! Where they do not match, nothing from there on can have committed.
//!
//! A NEW-VIEW shows of the certificates in its VIEW-CHANGEs only those that the choice looks at: that of the highest base,
//! and at each height above it that of the highest view, up to the first that does not stand on the one below. What else is
//! claimed may be true or not; the choice is the same.

use quorate_ledger::{CommitPayload, Height};

use super::message::{Base, NewViewPayload, PreparedCertificate, Proof, ViewChange, ViewChangePayload};

/// Where a view starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reproposal {
    /// The highest base: everything up to it is committed, and closed in the view.
    pub base: Base,
    /// What is proposed again right above it, lowest first.
    pub blocks: Vec<PreparedCertificate>,
    /// The certificate of the height above, where there is one: its block does not stand on the one below.
    pub stop: Option<PreparedCertificate>,
}

impl Reproposal {
    /// All that proves it.
    #[must_use]
    pub fn proof(&self) -> Proof {
        let prepared = self.blocks.iter().chain(&self.stop).cloned().collect();
        Proof { base: self.base.certificate.clone(), prepared }
    }
}

/// Computes where a view starts that rests on these VIEW-CHANGEs, which prove all that they claim; none for none.
#[must_use]
pub fn reproposal(changes: &[ViewChange]) -> Option<Reproposal> {
    choose(changes.iter().map(|it| &it.payload), changes.iter().map(|it| &it.proof))
}

/// Computes where the view of a NEW-VIEW starts; none if its proof lacks something that the choice looks at. What it proves
/// beyond that is passed over.
#[must_use]
pub fn reproposal_of(new_view: &NewViewPayload) -> Option<Reproposal> {
    choose(new_view.changes.iter().map(|it| &it.payload), std::iter::once(&new_view.proof))
}

/// Whether a NEW-VIEW proposes what follows from its VIEW-CHANGEs, and proves exactly that.
#[must_use]
pub fn follows(new_view: &NewViewPayload) -> bool {
    reproposal_of(new_view).is_some_and(|it| {
        it.proof() == new_view.proof && it.blocks.iter().map(|it| &it.payload.block).eq(&new_view.blocks)
    })
}

fn choose<'a>(
    claims: impl Iterator<Item = &'a ViewChangePayload> + Clone,
    proofs: impl Iterator<Item = &'a Proof> + Clone,
) -> Option<Reproposal> {
    let claimed = claims.clone().map(|it| it.base).max_by_key(|it| it.height)?;
    let mut certificates = proofs.clone().filter_map(|it| it.base.as_ref());
    let certificate =
        certificates.find(|it| (it.payload.height, it.payload.block) == (claimed.height, claimed.block));
    let base = Base { height: claimed.height, block: claimed.block, certificate: certificate.cloned() };
    let (mut blocks, mut stop) = (Vec::new(), None);
    let (mut height, mut below) = (base.height, base.block);
    // The claims may be a stranger's, in evidence that nobody has verified yet: a height may be any number.
    while let Some(above) = height.0.checked_add(1).map(Height)
        && let Some(best) = highest_view_at(claims.clone(), above)
    {
        let mut certificates = proofs.clone().flat_map(|it| &it.prepared);
        let certificate = certificates.find(|it| it.payload == *best)?;
        if certificate.header.parent != below {
            stop = Some(certificate.clone());
            break;
        }
        (height, below) = (above, certificate.payload.block);
        blocks.push(certificate.clone());
    }
    Some(Reproposal { base, blocks, stop })
}

/// What is claimed of the highest view at a height. Two certificates of one view name one block, since quorums intersect.
fn highest_view_at<'a>(
    claims: impl Iterator<Item = &'a ViewChangePayload>,
    height: Height,
) -> Option<&'a CommitPayload> {
    let all = claims.flat_map(|it| &it.prepared);
    all.filter(|it| it.height == height).max_by_key(|it| it.view)
}
