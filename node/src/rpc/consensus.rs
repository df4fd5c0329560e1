//! `consensus_…`: what the engine of this node last said of itself. Asking costs the engine nothing.

use quorate_crypto::encode;

use super::Context;
use super::error::RpcError;
use super::types::{Bytes, ConsensusState, EvidenceAnswer, EvidenceEntry, NoParameters, Primary, Proposal};
use crate::runtime::{ConsensusView, FoundEvidence, NodeHandle};

/// Pieces of evidence in one answer, the newest.
pub(crate) const EVIDENCE_MAX: usize = 100;

/// The proofs in an answer take at most one in so many of the bytes that it may have: they are hex there, and not alone.
const RESPONSE_PER_PROOF_BYTE: usize = 4;

/// `consensus_getState`.
pub(crate) fn state(context: &Context, _: NoParameters) -> Result<ConsensusState, RpcError> {
    let view = context.node.consensus.borrow().clone();
    Ok(ConsensusState {
        epoch: view.epoch,
        view: view.view,
        primary: primary(&context.node, &view),
        role: view.role.name().to_owned(),
        committed: view.committed,
        executed: view.executed,
        stable: view.stable,
        syncing: view.syncing,
        halted: view.halted.clone(),
        refused: view.refused.clone(),
        in_flight: view
            .in_flight
            .iter()
            .map(|one| Proposal {
                height: one.height,
                block: one.block,
                prepares: one.prepares.clone(),
                commits: one.commits.clone(),
            })
            .collect(),
    })
}

/// Whose term the view is.
pub(crate) fn primary(node: &NodeHandle, view: &ConsensusView) -> Option<Primary> {
    let index = view.primary?;
    let epoch = node.reader.epoch_at(view.executed.next());
    // Between two epochs the engine's word and the store's may be of different ones for a moment.
    let key = (epoch.number == view.epoch).then(|| epoch.validators.key(index).copied()).flatten()?;
    Some(Primary { index, key, name: node.genesis.validator_name(&key).map(str::to_owned) })
}

/// `consensus_getEvidence`.
pub(crate) fn evidence(context: &Context, _: NoParameters) -> Result<EvidenceAnswer, RpcError> {
    let found = context.node.evidence.list();
    let newest = &found[found.len().saturating_sub(EVIDENCE_MAX)..];
    let bytes_max = context.sizes.now().response_bytes_max as usize / RESPONSE_PER_PROOF_BYTE;
    let fits = fitting(newest.iter().map(|found| found.size), bytes_max);
    let evidence = newest.iter().zip(fits).map(|(found, fits)| {
        let proof = fits.then(|| Bytes(encode(&*found.evidence)));
        entry(&context.node, found, proof)
    });
    Ok(EvidenceAnswer { count: found.len() as u64, evidence: evidence.collect() })
}

/// Which of these sizes, the newest last, go into so many bytes: from the newest on each that still has room. A proof is as
/// large as who is accused has made it, and one that does not fit is to hide none of those before it.
fn fitting(sizes: impl DoubleEndedIterator<Item = usize>, bytes_max: usize) -> Vec<bool> {
    let mut left = bytes_max;
    let fits = sizes.rev().map(|size| {
        let fits = size <= left;
        left -= if fits { size } else { 0 };
        fits
    });
    let mut fits: Vec<bool> = fits.collect();
    fits.reverse();
    fits
}

fn entry(node: &NodeHandle, found: &FoundEvidence, proof: Option<Bytes>) -> EvidenceEntry {
    let evidence = &*found.evidence;
    let (epoch, height) = evidence.place();
    EvidenceEntry {
        at: found.at,
        kind: evidence.kind().to_owned(),
        validator: *evidence.signer(),
        name: node.genesis.validator_name(evidence.signer()).map(str::to_owned),
        epoch,
        height,
        hash: found.hash,
        size: found.size as u64,
        proof,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_that_does_not_fit_hides_none_of_those_before_it() {
        let fits = |sizes: &[usize], bytes_max| fitting(sizes.iter().copied(), bytes_max);
        assert_eq!(fits(&[10, 10, 10], 20), [false, true, true], "the newest first");
        assert_eq!(fits(&[10, 11, 10], 20), [true, false, true]);
        assert_eq!(fits(&[1, 2, usize::MAX], 3), [true, true, false]);
        assert_eq!(fits(&[1], 0), [false]);
    }
}
