//! `consensus_…`: what the engine of this node last said of itself. Asking costs the engine nothing.

use quorate_crypto::encode;

use super::Context;
use super::error::RpcError;
use super::types::{Bytes, ConsensusState, EvidenceAnswer, EvidenceEntry, NoParameters, Primary, Proposal};
use crate::runtime::{ConsensusView, FoundEvidence, NodeHandle};

/// Pieces of evidence in one answer, the newest.
pub(crate) const EVIDENCE_MAX: usize = 100;

/// `consensus_getState`.
pub(crate) fn state(context: &Context, _: NoParameters) -> Result<ConsensusState, RpcError> {
    let view = context.node.consensus.borrow().clone();
    Ok(ConsensusState {
        epoch: view.epoch,
        view: view.view,
        primary: primary(&context.node, &view),
        role: view.role.to_owned(),
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
    Some(Primary { index, key })
}

/// `consensus_getEvidence`.
pub(crate) fn evidence(context: &Context, _: NoParameters) -> Result<EvidenceAnswer, RpcError> {
    let found = context.node.evidence.list();
    let newest = found.len().saturating_sub(EVIDENCE_MAX);
    Ok(EvidenceAnswer {
        count: context.node.consensus.borrow().evidence_count,
        evidence: found[newest..].iter().map(|found| entry(&context.node, found)).collect(),
    })
}

fn entry(node: &NodeHandle, found: &FoundEvidence) -> EvidenceEntry {
    let evidence = &*found.evidence;
    let (epoch, height) = evidence.place();
    EvidenceEntry {
        at: found.at,
        kind: evidence.kind().to_owned(),
        validator: *evidence.signer(),
        name: node.genesis.validator_name(evidence.signer()).map(str::to_owned),
        epoch,
        height,
        proof: Bytes(encode(evidence)),
    }
}
