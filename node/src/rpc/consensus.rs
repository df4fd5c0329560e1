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
    let whole = fitting(newest, context.sizes.now().response_bytes_max as usize / RESPONSE_PER_PROOF_BYTE);
    let (bare, whole) = newest.split_at(newest.len() - whole);
    let bare = bare.iter().map(|found| entry(&context.node, found, None));
    let whole = whole.iter().map(|found| entry(&context.node, found, Some(Bytes(encode(&*found.evidence)))));
    Ok(EvidenceAnswer { count: found.len() as u64, evidence: bare.chain(whole).collect() })
}

/// How many of the newest have proofs that are together at most `bytes_max` long.
fn fitting(found: &[FoundEvidence], bytes_max: usize) -> usize {
    let sizes = found.iter().rev().scan(0usize, |bytes, found| {
        *bytes = bytes.saturating_add(found.size);
        Some(*bytes)
    });
    sizes.take_while(|bytes| *bytes <= bytes_max).count()
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
