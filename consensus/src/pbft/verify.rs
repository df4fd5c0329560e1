//! Everything about a message that can be judged without a replica's state (`docs/pbft.md` §2): it runs before the
//! engine, on any thread, and is what [`Verified`] stands for.

use std::collections::BTreeSet;

use borsh::BorshSerialize;
use quorate_crypto::{Domain, Hash, Signature, verify as verify_signature};
use quorate_ledger::{
    BLOCK_TRANSACTIONS_LIMIT, Block, CheckpointCertificate, CommitCertificate, Epoch, Header, ValidatorIndex,
    ValidatorSet, View,
};

use super::{
    message::{
        BaseClaim, CheckpointVote, Holdings, Message, NewView, NewViewPayload, PrePrepare,
        PreparedCertificate, Proof, STATEMENTS_MAX, STATUS_HEIGHTS_MAX, Statement, StatusReport, ViewChange,
        ViewChangePayload, Vote,
    },
    primary,
    reproposal::reproposal_of,
};
use crate::{
    engine::{Horizon, Scope, Verified, Voice},
    evidence::VoteKind,
    rejection::Rejection,
};

/// What signatures are checked against: all that a reader of evidence knows, and more than that no reader needs.
#[derive(Clone, Copy)]
pub(crate) struct Electorate<'a> {
    pub(crate) chain: &'a Hash,
    pub(crate) epoch: Epoch,
    pub(crate) validators: &'a ValidatorSet,
}

impl Scope {
    fn electorate(&self) -> Electorate<'_> {
        Electorate { chain: &self.chain, epoch: self.epoch, validators: &self.validators }
    }
}

pub(super) fn verify(
    scope: &Scope,
    horizon: Horizon,
    message: Message,
) -> Result<Verified<Message>, Rejection> {
    let message = match message {
        Message::PrePrepare(mut it) => {
            // Closed, and old: that costs no quorum of signatures each time that it is repeated.
            let teaches = |it: &PrePrepare| {
                it.height() > horizon.committed
                    || it.anchor.as_ref().is_some_and(|it| it.payload.height > horizon.stable)
            };
            if !teaches(&it) {
                it.anchor = None;
            }
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
        Message::ViewChange(it) => {
            if it.payload.view < horizon.view {
                return Err(Rejection::OldView(it.payload.view));
            }
            Message::ViewChange(Box::new(view_change(scope, horizon, *it)?))
        }
        Message::NewView(it) => {
            let known = horizon.entered == Some((it.payload.view, it.signature));
            if it.payload.view < horizon.view || known {
                return Err(Rejection::OldView(it.payload.view));
            }
            if let Some(why) = new_view(scope, &it)? {
                return Ok(Verified::provably_false(Message::NewView(it), why));
            }
            Message::NewView(it)
        }
        Message::Status(it) => Message::Status(Box::new(status(scope, horizon, *it)?)),
        Message::Recall(it) => {
            epoch(scope.electorate(), it.epoch)?;
            Message::Recall(it)
        }
        Message::Holdings(it) => {
            holdings(scope, &it)?;
            Message::Holdings(it)
        }
    };
    Ok(Verified::new(message))
}

fn pre_prepare(scope: &Scope, message: &PrePrepare) -> Result<(), Rejection> {
    let header = &message.proposal.header;
    let payload = &message.prepare.payload;
    if header.chain != scope.chain {
        return Err(Rejection::WrongChain);
    }
    if header.version != Header::VERSION {
        return Err(Rejection::Malformed("the header's version is unknown"));
    }
    if (header.epoch, header.height) != (payload.epoch, payload.height) {
        return Err(Rejection::Malformed("the header and the PREPARE with it name different places"));
    }
    if header.hash() != payload.block {
        return Err(Rejection::Malformed("the PREPARE with it names another block"));
    }
    vote(scope, VoteKind::Prepare, &message.prepare)?;
    must_be_primary(scope.electorate(), payload.view, message.prepare.signer)?;
    // The PREPARE signs the header alone, so whoever relays it could name other transactions.
    let transactions = &message.proposal.transactions;
    if u32::try_from(transactions.len()).is_ok_and(|count| count > BLOCK_TRANSACTIONS_LIMIT)
        || Block::transactions_root(transactions) != header.transactions_root
    {
        return Err(Rejection::Malformed("its transactions are not those that the header names"));
    }
    if let Some(certificate) = &message.anchor {
        if certificate.payload.anchor() != header.anchor {
            return Err(Rejection::BadAnchor("is not what its certificate says"));
        }
        checkpoint_certificate(scope, certificate)?;
    }
    Ok(())
}

fn must_be_primary(electorate: Electorate<'_>, view: View, signer: ValidatorIndex) -> Result<(), Rejection> {
    if signer == primary(view, electorate.validators.len()) {
        Ok(())
    } else {
        Err(Rejection::NotPrimary { signer, view })
    }
}

fn vote(scope: &Scope, kind: VoteKind, vote: &Vote) -> Result<(), Rejection> {
    let electorate = scope.electorate();
    epoch(electorate, vote.payload.epoch)?;
    signed(electorate, kind.domain(), vote.signer, &vote.payload, &vote.signature)
}

fn checkpoint(scope: &Scope, vote: &CheckpointVote) -> Result<(), Rejection> {
    let electorate = scope.electorate();
    epoch(electorate, vote.payload.epoch)?;
    signed(electorate, Domain::Checkpoint, vote.signer, &vote.payload, &vote.signature)
}

/// Certificates at or below the horizon are dropped instead of verified: they would teach nothing, and in a large set
/// they are what STATUS costs.
fn status(scope: &Scope, horizon: Horizon, mut status: StatusReport) -> Result<StatusReport, Rejection> {
    epoch(scope.electorate(), status.epoch)?;
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
        commit_certificate(scope.electorate(), certificate)?;
    }
    status.checkpoint = status.checkpoint.filter(|it| it.payload.height > horizon.stable);
    if let Some(certificate) = &status.checkpoint {
        checkpoint_certificate(scope, certificate)?;
    }
    Ok(status)
}

/// VIEW-CHANGE (`docs/pbft.md` §4.2): a request that is proven claim by claim, to whoever is to start the view next, and once.
/// Nobody else needs the proof, which is a quorum of signatures for each claim and comes again each time that the request is
/// repeated: it is dropped unverified. But a certificate teaches the same wherever it comes from, so that of a base above
/// what is committed here stays.
fn view_change(scope: &Scope, horizon: Horizon, mut change: ViewChange) -> Result<ViewChange, Rejection> {
    let electorate = scope.electorate();
    request(electorate, &change.payload, change.signer, &change.signature)?;
    fits(scope, &change.payload)?;
    if starts(scope, horizon, change.payload.view) && !horizon.proven.has(change.signer) {
        fully_proven(scope, &change)?;
    } else {
        let base = change.proof.base.filter(|it| it.payload.height > horizon.committed);
        change.proof = Proof { base, prepared: Vec::new() };
        proven(electorate, change.payload.base, &change.proof)?;
    }
    Ok(change)
}

/// Whether a view is the next that this replica may have to start: a liar can ask for any number of later ones, each with a
/// proof that is dear to look at. One of which nobody has said who it is may start any.
fn starts(scope: &Scope, horizon: Horizon, view: View) -> bool {
    let entered = horizon.entered.map(|(entered, _)| entered);
    match horizon.voice {
        Voice::Unknown => entered.is_none_or(|entered| entered < view),
        Voice::Nobody => false,
        Voice::Of(own) => Some(view) == next_led(own, horizon.view, entered, scope.validators.len()),
    }
}

/// The first view from the given one on, and above the one that was entered last, that a validator leads.
pub(super) fn next_led(own: ValidatorIndex, view: View, entered: Option<View>, n: usize) -> Option<View> {
    let first = match entered {
        Some(entered) if entered >= view => entered.0.checked_add(1)?,
        Some(_) | None => view.0,
    };
    let n = u64::try_from(n).expect("a set's size fits 64 bits");
    let ahead = (u64::from(own.0) + n - first % n) % n;
    first.checked_add(ahead).map(View)
}

fn fully_proven(scope: &Scope, change: &ViewChange) -> Result<(), Rejection> {
    complete(scope, change)?;
    proven(scope.electorate(), change.payload.base, &change.proof)
}

/// That a request comes with the certificates that it claims, which may not hold. One that was passed on unverified does not.
pub(super) fn complete(scope: &Scope, change: &ViewChange) -> Result<(), Rejection> {
    let ViewChange { payload, proof, .. } = change;
    if !payload.prepared.iter().eq(proof.prepared.iter().map(|it| &it.payload)) {
        return Err(Rejection::Malformed("its certificates are not those that it claims"));
    }
    stands(scope, payload.base, proof)
}

/// What a VIEW-CHANGE claims, as far as it needs no proof. Not demanded: links, absence of gaps, anything about this
/// replica's own state, since each of these refuses honest ones.
fn request(
    electorate: Electorate<'_>,
    payload: &ViewChangePayload,
    signer: ValidatorIndex,
    signature: &Signature,
) -> Result<(), Rejection> {
    let ViewChangePayload { view, base, prepared, .. } = payload;
    epoch(electorate, payload.epoch)?;
    signed(electorate, Domain::ViewChange, signer, payload, signature)?;
    let mut below = base.height;
    for claim in prepared {
        epoch(electorate, claim.epoch)?;
        if claim.height <= below || claim.view >= *view {
            return Err(Rejection::Malformed(
                "its heights do not rise, or a certificate is not of an earlier view",
            ));
        }
        below = claim.height;
    }
    Ok(())
}

/// That no more is claimed than the chain's window lets be in flight.
fn fits(scope: &Scope, payload: &ViewChangePayload) -> Result<(), Rejection> {
    if u64::try_from(payload.prepared.len()).is_ok_and(|count| count > 2 * scope.window) {
        return Err(Rejection::Malformed("it reports more heights than can be in flight"));
    }
    Ok(())
}

/// That a base without a certificate is where the epoch starts.
fn stands(scope: &Scope, base: BaseClaim, proof: &Proof) -> Result<(), Rejection> {
    if proof.base.is_none() && (base.height, base.block) != scope.start {
        return Err(Rejection::Malformed("the base has no certificate"));
    }
    Ok(())
}

/// That a base is what its certificate says, and that all certificates above it hold.
fn proven(electorate: Electorate<'_>, base: BaseClaim, proof: &Proof) -> Result<(), Rejection> {
    if let Some(certificate) = &proof.base {
        if (certificate.payload.height, certificate.payload.block) != (base.height, base.block) {
            return Err(Rejection::Malformed("the base's certificate is for another block"));
        }
        commit_certificate(electorate, certificate)?;
    }
    proof.prepared.iter().try_for_each(|it| prepared_certificate(electorate, it))
}

fn prepared_certificate(
    electorate: Electorate<'_>,
    certificate: &PreparedCertificate,
) -> Result<(), Rejection> {
    let PreparedCertificate { header, payload, signatures } = certificate;
    epoch(electorate, payload.epoch)?;
    if (header.height, header.hash()) != (payload.height, payload.block) {
        return Err(Rejection::Malformed("a prepared certificate comes with another block's header"));
    }
    let message = Domain::Prepare.message(electorate.chain, payload);
    signatures
        .verify(electorate.validators.keys(), electorate.validators.quorum().q(), &message)
        .map_err(|why| Rejection::BadCertificate { height: payload.height, why: why.to_string() })
}

/// NEW-VIEW, all but what follows from its VIEW-CHANGEs, which the engine compares once it has taken these. All that it holds
/// is under its signer's signature, so nobody else can have made it false: the fault that anybody sees is returned, to
/// accuse its signer of. What only those see who know the epoch's window and where it starts is refused.
fn new_view(scope: &Scope, message: &NewView) -> Result<Option<Rejection>, Rejection> {
    let NewViewPayload { changes, proof, .. } = &message.payload;
    let electorate = scope.electorate();
    epoch(electorate, message.payload.epoch)?;
    signed(electorate, Domain::NewView, message.signer, &message.payload, &message.signature)?;
    if let Err(why) = sound(electorate, message.signer, &message.payload) {
        return Ok(Some(why));
    }
    changes.iter().try_for_each(|it| fits(scope, &it.payload))?;
    let highest = changes.iter().map(|it| it.payload.base).max_by_key(|it| it.height);
    highest.map_or(Ok(()), |base| stands(scope, base, proof))?;
    Ok(None)
}

/// Whether a correct validator may have signed this NEW-VIEW, but for the blocks that it proposes
/// ([`follows`](super::reproposal::follows)): it is the view's primary, and whatever it rests on is there and holds.
pub(crate) fn sound(
    electorate: Electorate<'_>,
    signer: ValidatorIndex,
    payload: &NewViewPayload,
) -> Result<(), Rejection> {
    let NewViewPayload { view, changes, proof, .. } = payload;
    must_be_primary(electorate, *view, signer)?;
    let signers: BTreeSet<ValidatorIndex> = changes.iter().map(|it| it.signer).collect();
    if changes.len() != electorate.validators.quorum().q() || signers.len() != changes.len() {
        return Err(Rejection::Malformed("it does not rest on Q different replicas' VIEW-CHANGEs"));
    }
    for change in changes {
        if change.payload.view != *view {
            return Err(Rejection::Malformed("one of its VIEW-CHANGEs asks for another view"));
        }
        request(electorate, &change.payload, change.signer, &change.signature)?;
    }
    // What the choice looks at is proven, and nothing else comes along: so a NEW-VIEW is small, and judged once.
    let unproven = Rejection::Malformed("it does not prove exactly what its blocks follow from");
    let start = reproposal_of(payload).ok_or_else(|| unproven.clone())?;
    if start.proof() != *proof {
        return Err(unproven);
    }
    proven(electorate, start.base.claim(), proof)
}

/// What is held of the asker, whose engine looks at the signature of the one statement that would mean something to it
/// ([`statement`]): an answer that nobody asked for must not cost a thousand of them.
fn holdings(scope: &Scope, message: &Holdings) -> Result<(), Rejection> {
    epoch(scope.electorate(), message.epoch)?;
    if message.statements.len() > STATEMENTS_MAX {
        return Err(Rejection::Malformed("it holds too many messages"));
    }
    Ok(())
}

/// That its signer made a statement in this epoch: who signed what is all that matters, so nothing inside is verified.
pub(super) fn statement(scope: &Scope, statement: &Statement) -> Result<(), Rejection> {
    let electorate = scope.electorate();
    match statement {
        Statement::Prepare(it) => vote(scope, VoteKind::Prepare, it),
        Statement::Commit(it) => vote(scope, VoteKind::Commit, it),
        Statement::Checkpoint(it) => checkpoint(scope, it),
        Statement::ViewChange(it) => {
            epoch(electorate, it.payload.epoch)?;
            signed(electorate, Domain::ViewChange, it.signer, &it.payload, &it.signature)
        }
        Statement::NewView(it) => {
            epoch(electorate, it.payload.epoch)?;
            signed(electorate, Domain::NewView, it.signer, &it.payload, &it.signature)
        }
    }
}

fn commit_certificate(electorate: Electorate<'_>, certificate: &CommitCertificate) -> Result<(), Rejection> {
    epoch(electorate, certificate.payload.epoch)?;
    certificate
        .verify(electorate.chain, electorate.validators)
        .map_err(|why| Rejection::BadCertificate { height: certificate.payload.height, why: why.to_string() })
}

/// A checkpoint of this epoch, or the one that it starts from, which the set of the epoch before has signed.
fn checkpoint_certificate(scope: &Scope, certificate: &CheckpointCertificate) -> Result<(), Rejection> {
    let payload = &certificate.payload;
    let closes_the_one_before =
        payload.height == scope.start.0 && Some(payload.epoch) == scope.epoch.previous();
    let validators = match &scope.previous {
        Some(previous) if closes_the_one_before => previous,
        Some(_) | None => {
            epoch(scope.electorate(), payload.epoch)?;
            &scope.validators
        }
    };
    certificate
        .verify(&scope.chain, validators)
        .map_err(|why| Rejection::BadCertificate { height: certificate.payload.height, why: why.to_string() })
}

fn epoch(electorate: Electorate<'_>, got: Epoch) -> Result<(), Rejection> {
    let want = electorate.epoch;
    if got == want { Ok(()) } else { Err(Rejection::WrongEpoch { got, want }) }
}

fn signed<T: BorshSerialize>(
    electorate: Electorate<'_>,
    domain: Domain,
    signer: ValidatorIndex,
    payload: &T,
    signature: &Signature,
) -> Result<(), Rejection> {
    let key = electorate.validators.key(signer).ok_or(Rejection::UnknownSigner(signer))?;
    if verify_signature(key, &domain.message(electorate.chain, payload), signature) {
        Ok(())
    } else {
        Err(Rejection::BadSignature(signer))
    }
}
