//! Everything about a message that can be judged without a replica's state (`docs/pbft.md` §2): it runs before the
//! engine, on any thread, and is what [`Verified`] stands for.

use borsh::BorshSerialize;
use quorate_crypto::{Domain, Signature, verify as verify_signature};
use quorate_ledger::{CheckpointCertificate, CommitCertificate, Epoch, ValidatorIndex, View};

use super::{
    message::{CheckpointVote, Message, PrePrepare, StatusReport, Vote},
    primary,
};
use crate::{
    engine::{Horizon, Scope, Verified},
    evidence::VoteKind,
    rejection::Rejection,
};

/// The most heights that a STATUS may report; wider windows report their lowest heights.
pub const STATUS_HEIGHTS_MAX: usize = 1_024;

/// The version of header that this engine votes for.
const HEADER_VERSION: u8 = 1;

pub(super) fn verify(
    scope: &Scope,
    horizon: Horizon,
    message: Message,
) -> Result<Verified<Message>, Rejection> {
    let message = match message {
        Message::PrePrepare(it) => {
            pre_prepare(scope, &it)?;
            Message::PrePrepare(it)
        }
        Message::Prepare(it) => {
            vote(scope, VoteKind::Prepare, &it)?;
            Message::Prepare(it)
        }
        Message::Commit(it) => {
            vote(scope, VoteKind::Commit, &it)?;
            Message::Commit(it)
        }
        Message::Checkpoint(it) => {
            checkpoint(scope, &it)?;
            Message::Checkpoint(it)
        }
        Message::Status(it) => Message::Status(Box::new(status(scope, horizon, *it)?)),
    };
    Ok(Verified::new(message))
}

fn pre_prepare(scope: &Scope, message: &PrePrepare) -> Result<(), Rejection> {
    let header = &message.proposal.header;
    let payload = &message.prepare.payload;
    if header.chain != scope.chain {
        return Err(Rejection::WrongChain);
    }
    if header.version != HEADER_VERSION {
        return Err(Rejection::Malformed("the header's version is unknown"));
    }
    if (header.epoch, header.height) != (payload.epoch, payload.height) {
        return Err(Rejection::Malformed("the header and the PREPARE with it name different places"));
    }
    if header.hash() != payload.block {
        return Err(Rejection::Malformed("the PREPARE with it names another block"));
    }
    vote(scope, VoteKind::Prepare, &message.prepare)?;
    must_be_primary(scope, payload.view, message.prepare.signer)?;
    if let Some(certificate) = &message.anchor {
        if certificate.payload.anchor() != header.anchor {
            return Err(Rejection::BadAnchor("is not what its certificate says"));
        }
        checkpoint_certificate(scope, certificate)?;
    }
    Ok(())
}

fn must_be_primary(scope: &Scope, view: View, signer: ValidatorIndex) -> Result<(), Rejection> {
    if signer == primary(view, scope.validators.len()) {
        Ok(())
    } else {
        Err(Rejection::NotPrimary { signer, view })
    }
}

fn vote(scope: &Scope, kind: VoteKind, vote: &Vote) -> Result<(), Rejection> {
    epoch(scope, vote.payload.epoch)?;
    signed(scope, kind.domain(), vote.signer, &vote.payload, &vote.signature)
}

fn checkpoint(scope: &Scope, vote: &CheckpointVote) -> Result<(), Rejection> {
    epoch(scope, vote.payload.epoch)?;
    signed(scope, Domain::Checkpoint, vote.signer, &vote.payload, &vote.signature)
}

/// Certificates at or below the horizon are dropped instead of verified: they would teach nothing, and in a large set
/// they are what STATUS costs.
fn status(scope: &Scope, horizon: Horizon, mut status: StatusReport) -> Result<StatusReport, Rejection> {
    epoch(scope, status.epoch)?;
    let n = scope.validators.len();
    if status.heights.len() > STATUS_HEIGHTS_MAX || status.checkpoints.len() > STATUS_HEIGHTS_MAX {
        return Err(Rejection::Malformed("it reports on too many heights"));
    }
    let sizes = status
        .heights
        .iter()
        .flat_map(|it| [&it.prepares, &it.commits])
        .chain(status.checkpoints.iter().map(|it| &it.signers));
    if sizes.map(|it| it.size()).any(|size| size != n) {
        return Err(Rejection::Malformed("a bitmap is not as wide as the validator set"));
    }
    status.certificate = status.certificate.filter(|it| it.payload.height > horizon.committed);
    if let Some(certificate) = &status.certificate {
        commit_certificate(scope, certificate)?;
    }
    status.checkpoint = status.checkpoint.filter(|it| it.payload.height > horizon.stable);
    if let Some(certificate) = &status.checkpoint {
        checkpoint_certificate(scope, certificate)?;
    }
    Ok(status)
}

fn commit_certificate(scope: &Scope, certificate: &CommitCertificate) -> Result<(), Rejection> {
    epoch(scope, certificate.payload.epoch)?;
    certificate
        .verify(&scope.chain, &scope.validators)
        .map_err(|why| Rejection::BadCertificate { height: certificate.payload.height, why: why.to_string() })
}

fn checkpoint_certificate(scope: &Scope, certificate: &CheckpointCertificate) -> Result<(), Rejection> {
    epoch(scope, certificate.payload.epoch)?;
    certificate
        .verify(&scope.chain, &scope.validators)
        .map_err(|why| Rejection::BadCertificate { height: certificate.payload.height, why: why.to_string() })
}

fn epoch(scope: &Scope, got: Epoch) -> Result<(), Rejection> {
    if got == scope.epoch { Ok(()) } else { Err(Rejection::WrongEpoch { got, want: scope.epoch }) }
}

fn signed<T: BorshSerialize>(
    scope: &Scope,
    domain: Domain,
    signer: ValidatorIndex,
    payload: &T,
    signature: &Signature,
) -> Result<(), Rejection> {
    let key = scope.validators.key(signer).ok_or(Rejection::UnknownSigner(signer))?;
    if verify_signature(key, &domain.message(&scope.chain, payload), signature) {
        Ok(())
    } else {
        Err(Rejection::BadSignature(signer))
    }
}
