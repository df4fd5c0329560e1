//! *What did I sign?* The questions to the others before the first signature (`docs/pbft.md` §6).
//!
//! A vote log can be lost, run twice or put back from a copy, and not everything of that shows in the log and its mark. So
//! an instance with a voice begins by asking: it signs nothing until Q - 1 other validators have sent it every signed
//! message of its own that they hold in this epoch, and if one of these is not in its log, nothing in this epoch at all.
//!
//! ```text
//!  replica ──RECALL(nonce)────▶ all        "what do you hold that I have signed?"
//!  others  ──HOLDINGS(nonce)──▶ replica    the messages themselves
//! ```
//!
//! Everybody answers, also who asks itself, or a whole network that was switched off would wait for ever. Who asks is asked
//! back, if its own answer is missing: it has just begun, and a question that was sent before found nobody.

use std::collections::BTreeSet;

use quorate_crypto::MultiSignature;
use quorate_ledger::{CommitPayload, ValidatorIndex, View};

use super::{
    Pbft,
    message::{CheckpointVote, Holdings, Message, Recall, STATEMENTS_MAX, Statement, Vote},
    record::Record,
    tally::Tally,
    verify,
};
use crate::{
    engine::{Action, Now, Output, To},
    evidence::{Signed, VoteKind},
    rejection::Rejection,
};

/// Whether this instance may sign.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// Not yet: these have answered.
    Asking(BTreeSet<ValidatorIndex>),
    /// It knows what it signed.
    Sure,
    /// Not in this epoch: somebody holds what the log does not know.
    Forgetful(String),
}

impl Standing {
    /// What a restart finds of a replica that abstained.
    pub(super) fn forgetful_before() -> Self {
        let why = "before it started again it met a message of its own that its vote log does not know";
        Self::Forgetful(why.to_owned())
    }
}

impl Pbft {
    /// Asks everybody, as long as answers are missing.
    pub(super) fn send_recall(&mut self, out: &mut Output<Self>) {
        self.settle_standing();
        if let Some(recall) = self.question() {
            out.act(Action::Send { to: To::All, message: Message::Recall(recall) });
        }
    }

    /// The question, while it is open. A follower has none.
    fn question(&self) -> Option<Recall> {
        let open = matches!(self.standing, Standing::Asking(_)) && self.setup.voter.is_some();
        open.then_some(Recall { epoch: self.setup.scope.epoch, nonce: self.setup.nonce })
    }

    /// Answers a question, and asks back whoever has not answered: it was not there before. An answer may be large, so each
    /// validator gets one in half the time after which questions are repeated.
    pub(super) fn on_recall(
        &mut self,
        now: Now,
        from: ValidatorIndex,
        recall: &Recall,
        out: &mut Output<Self>,
    ) {
        if !self.recalls.grant(from, now, self.setup.parameters.resend_ms) {
            return;
        }
        let statements = self.statements_of(from);
        let holdings = Holdings { epoch: recall.epoch, nonce: recall.nonce, statements };
        out.act(Action::Send { to: To::One(from), message: Message::Holdings(Box::new(holdings)) });
        if let Standing::Asking(heard) = &self.standing
            && !heard.contains(&from)
            && let Some(question) = self.question()
        {
            out.act(Action::Send { to: To::One(from), message: Message::Recall(question) });
        }
    }

    /// Takes an answer. A message of one's own that the log does not know counts whenever it comes; an answer to an earlier
    /// life's question counts for nothing else.
    ///
    /// Of all that an answer holds, only such a message changes anything, so its signature alone is looked at. If that is
    /// forged the whole answer counts for nothing, and its sender is blamed: whoever is correct holds nothing unverified. So no
    /// answer costs more than one look at a signature, asked for or not, and nobody's answers more than a ration of looks,
    /// since this is not done by the threads that verify. What a correct validator holds is looked at once at most: it silences.
    pub(super) fn on_holdings(
        &mut self,
        now: Now,
        from: ValidatorIndex,
        holdings: &Holdings,
        out: &mut Output<Self>,
    ) -> Result<(), Rejection> {
        let Some(voter) = &self.setup.voter else { return Ok(()) };
        let (own, fresh) = (voter.index, holdings.nonce == self.setup.nonce && from != voter.index);
        if matches!(self.standing, Standing::Forgetful(_)) {
            return Ok(());
        }
        let strange = holdings.statements.iter().find(|it| it.signer() == own && !self.knows(it));
        if let Some(strange) = strange {
            if self.looks.grant(from, now, self.setup.parameters.resend_ms) {
                verify::statement(&self.setup.scope, strange).map_err(|_| Rejection::ForgedAnswer(own))?;
                self.abstain(from, strange, out);
            }
            return Ok(());
        }
        if let Standing::Asking(heard) = &mut self.standing
            && fresh
        {
            heard.insert(from);
            self.settle_standing();
        }
        Ok(())
    }

    /// Whether a message is of this replica's own and none that its log knows: its key is in use elsewhere, or its log is not
    /// the one that it signed with. It is silent from then on, so that it cannot come to contradict itself.
    pub(super) fn meets_itself(
        &mut self,
        from: ValidatorIndex,
        message: &Message,
        out: &mut Output<Self>,
    ) -> bool {
        let Some(own) = self.setup.voter.as_ref().map(|it| it.index) else { return false };
        let inside = match message {
            Message::NewView(it) => it.payload.changes.iter().find(|it| it.signer == own),
            Message::PrePrepare(_)
            | Message::Prepare(_)
            | Message::Commit(_)
            | Message::Checkpoint(_)
            | Message::ViewChange(_)
            | Message::Status(_)
            | Message::Recall(_)
            | Message::Holdings(_) => None,
        };
        let inside = inside.map(|it| Statement::ViewChange(Box::new(it.clone())));
        let outer = self.own_statement(message);
        self.meets_own(from, inside.into_iter().chain(outer), out)
    }

    /// What a message states, if it is of this replica's own. Nobody else's is copied: it may take megabytes.
    pub(super) fn own_statement(&self, message: &Message) -> Option<Statement> {
        let own = self.setup.voter.as_ref()?.index;
        (message.signer() == Some(own)).then(|| Statement::of(message)).flatten()
    }

    /// Whether one of these statements, whose signatures were verified, is such a one.
    pub(super) fn meets_own(
        &mut self,
        from: ValidatorIndex,
        statements: impl IntoIterator<Item = Statement>,
        out: &mut Output<Self>,
    ) -> bool {
        let Some(own) = self.setup.voter.as_ref().map(|it| it.index) else { return false };
        let strange = statements.into_iter().find(|it| it.signer() == own && !self.knows(it));
        let Some(statement) = strange else { return false };
        if !matches!(self.standing, Standing::Forgetful(_)) {
            self.abstain(from, &statement, out);
        }
        true
    }

    fn abstain(&mut self, from: ValidatorIndex, strange: &Statement, out: &mut Output<Self>) {
        let what = strange.describe();
        let why =
            format!("validator {from} holds a {what} of this validator that its vote log does not know");
        self.standing = Standing::Forgetful(why.clone());
        out.record(Record::Abstained { epoch: self.setup.scope.epoch });
        out.act(Action::Abstain { why });
    }

    /// Q - 1 others have answered: as many as are sure to come, though not all that could know.
    fn settle_standing(&mut self) {
        if let Standing::Asking(heard) = &self.standing
            && heard.len() + 1 >= self.quorum.q()
        {
            self.standing = Standing::Sure;
        }
    }

    /// Whether the log has this message of one's own, or had it and dropped it: what lies below proves nothing.
    fn knows(&self, statement: &Statement) -> bool {
        let own = statement.signer();
        let votes = |kind: VoteKind, vote: &Vote| {
            let CommitPayload { view, height, .. } = vote.payload;
            let cast = self.round(height, view).votes(kind).of(own);
            height <= self.pruned.max(self.dropped.votes) || cast.is_some_and(|it| it.payload == vote.payload)
        };
        let asked = self.own_change.as_ref().map(|it| it.payload.view);
        let started = self.new_view.as_ref().map(|it| it.payload.view);
        let promised = asked.max(started).unwrap_or(View(0));
        match statement {
            Statement::Prepare(vote) => votes(VoteKind::Prepare, vote),
            Statement::Commit(vote) => votes(VoteKind::Commit, vote),
            Statement::Checkpoint(vote) => {
                let height = vote.payload.height;
                let dropped = self.checkpoints.stable.height.max(self.dropped.checkpoints);
                let cast = self.checkpoints.vote_of(height, own);
                height <= dropped || cast.is_some_and(|it| it.payload == vote.payload)
            }
            Statement::ViewChange(change) => {
                change.payload.view < promised
                    || self.own_change.as_ref().is_some_and(|it| it.payload == change.payload)
            }
            Statement::NewView(new_view) => {
                new_view.payload.view < promised
                    || self.new_view.as_ref().is_some_and(|it| it.payload == new_view.payload)
            }
        }
    }

    /// What is held here that this validator has signed, the newest first, no more than fits one answer.
    fn statements_of(&self, signer: ValidatorIndex) -> Vec<Statement> {
        let mut found = Vec::new();
        if let Some(new_view) = &self.new_view {
            if new_view.signer == signer {
                found.push(Statement::NewView(Box::new(new_view.clone())));
            }
            let inside = new_view.payload.changes.iter().filter(|it| it.signer == signer);
            found.extend(inside.map(|it| Statement::ViewChange(Box::new(it.clone()))));
            let proof = &new_view.payload.proof;
            let base = proof.base.iter().filter_map(|it| share(&it.payload, &it.signatures, signer));
            found.extend(base.map(Statement::Commit));
            let prepared = proof.prepared.iter();
            let prepared = prepared.filter_map(|it| share(&it.payload, &it.signatures, signer));
            found.extend(prepared.map(Statement::Prepare));
        }
        if let Some(asked) = self.asked.get(&signer) {
            found.push(Statement::ViewChange(Box::new(asked.request.clone())));
        }
        for slot in self.slots.values().rev() {
            for round in slot.rounds.values().rev() {
                let prepared =
                    round.prepared.as_ref().and_then(|it| share(&it.payload, &it.signatures, signer));
                let prepare = cast(&round.prepares, signer).or(prepared);
                found.extend(cast(&round.commits, signer).map(Statement::Commit));
                found.extend(prepare.map(Statement::Prepare));
            }
        }
        let certificates = self.certificates.values().rev().chain(&self.base.certificate);
        let shares = certificates.filter_map(|it| share(&it.payload, &it.signatures, signer));
        found.extend(shares.map(Statement::Commit));
        let tallies: Vec<_> = self.checkpoints.tallies().map(|(height, _)| height).collect();
        let checkpoints = tallies.into_iter().rev().filter_map(|it| self.checkpoints.vote_of(it, signer));
        found.extend(checkpoints.map(Statement::Checkpoint));
        if let Some(stable) = &self.checkpoints.certificate
            && stable.payload.epoch == self.setup.scope.epoch
            && let Some(signature) = stable.signatures.of(signer.as_usize())
        {
            let vote = CheckpointVote { payload: stable.payload, signer, signature: *signature };
            found.push(Statement::Checkpoint(vote));
        }
        found.truncate(STATEMENTS_MAX);
        found
    }
}

/// A validator's vote in a tally.
fn cast(tally: &Tally<CommitPayload>, signer: ValidatorIndex) -> Option<Vote> {
    let Signed { payload, signature } = tally.of(signer)?.clone();
    Some(Vote { payload, signer, signature })
}

/// A validator's vote in a certificate.
fn share(payload: &CommitPayload, signatures: &MultiSignature, signer: ValidatorIndex) -> Option<Vote> {
    let signature = *signatures.of(signer.as_usize())?;
    Some(Vote { payload: *payload, signer, signature })
}
