//! What a new view must propose again: one pure function of the VIEW-CHANGEs it rests on (`docs/pbft.md` §4.2).
//!
//! > Beginning with the highest base it chooses, height by height, the certificate of the highest view, as long as its
//! > block stands on the one chosen below; at the first that does not, it stops.
//!
//! Why nothing committed is lost: if a block committed in view *w*, then f + 1 correct replicas held prepared certificates
//! for it and for its uncommitted ancestors in *w*, and every later quorum of VIEW-CHANGEs contains one of them. By
//! induction over the views, the highest-view certificate at each of those heights is that block's, and the links match.
//! Where they do not match, nothing from there on can have committed.

use quorate_ledger::Height;

use super::message::{BaseClaim, PreparedCertificate, ViewChange};

/// Where a view starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reproposal {
    /// The highest base: everything up to it is committed, and closed in the view.
    pub base: BaseClaim,
    /// What is proposed again right above it, lowest first.
    pub blocks: Vec<PreparedCertificate>,
}

/// Computes where a view starts that rests on these VIEW-CHANGEs; none for none.
#[must_use]
pub fn reproposal(changes: &[ViewChange]) -> Option<Reproposal> {
    let base = changes.iter().map(|it| &it.payload.base).max_by_key(|it| it.height)?.clone();
    let mut blocks = Vec::new();
    let (mut height, mut below) = (base.height, base.block);
    // The claims may be a stranger's, in evidence that nobody has verified yet: a height may be any number.
    while let Some(above) = height.0.checked_add(1).map(Height)
        && let Some(best) = highest_view_at(changes, above)
        && best.header.parent == below
    {
        (height, below) = (above, best.payload.block);
        blocks.push(best.clone());
    }
    Some(Reproposal { base, blocks })
}

/// The certificate of the highest view at a height. Two of one view name one block, since quorums intersect.
fn highest_view_at(changes: &[ViewChange], height: Height) -> Option<&PreparedCertificate> {
    let all = changes.iter().flat_map(|it| &it.payload.prepared);
    all.filter(|it| it.payload.height == height).max_by_key(|it| it.payload.view)
}
