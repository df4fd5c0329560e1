//! From one view to another (`docs/pbft.md` §4).
//!
//! ```text
//!  all        ──VIEW-CHANGE v'──▶ all      "I vote in no view below v'; here is what may have committed"
//!  primary v' ──NEW-VIEW────────▶ all      Q of those, and the blocks that follow from them
//!  all        enter v', accept exactly those blocks again, vote for them
//! ```
//!
//! A replica asks for one view at a time and says the same for it each time, whatever it learned since: its promise and
//! the bytes are on disk before they are sent. It goes on learning commits while it waits.

use std::{collections::BTreeMap, sync::Arc};

use quorate_crypto::{Domain, Hash};
use quorate_ledger::{Block, CommitPayload, Header, Height, ValidatorIndex, View};

use super::{
    Pbft,
    message::{
        Message, NewView, NewViewPayload, PreparedCertificate, Proof, Request, ViewChange, ViewChangePayload,
    },
    primary,
    record::Record,
    reproposal::{Reproposal, reproposal, reproposal_of},
    slot::Accepted,
    verify::{complete, next_led},
};
use crate::{
    engine::{Action, Engine as _, Mono, Now, Output, Places, To},
    evidence::{Evidence, Signed},
};

/// Whether this replica takes part in its view.
#[derive(Clone, Debug)]
pub(super) enum Mode {
    /// The view has started here.
    Active(Start),
    /// Its NEW-VIEW is not here yet.
    Changing,
}

/// The rule by which a replica leaves its view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Work waits and the primary proposes nothing.
    Proposal,
    /// A block is in flight and nothing commits.
    Progress,
    /// A transaction waits that the primary leaves out.
    Inclusion,
    /// A quorum asks for the view and it does not start.
    NewView,
    /// The view has served its blocks or its time.
    Rotation,
    /// The primary began the view with other blocks than those that follow.
    FalseNewView,
    /// f + 1 validators have left.
    Others,
}

impl Cause {
    /// As logs and metrics name it.
    fn name(self) -> &'static str {
        match self {
            Self::Proposal => "proposal",
            Self::Progress => "progress",
            Self::Inclusion => "inclusion",
            Self::NewView => "new_view",
            Self::Rotation => "rotation",
            Self::FalseNewView => "false_new_view",
            Self::Others => "others",
        }
    }
}

/// How an active view started.
#[derive(Clone, Debug)]
pub(super) struct Start {
    /// NEW-VIEW's base: heights up to it are filled by certified blocks only.
    pub(super) closed: Height,
    /// What must be proposed at the heights above it.
    pub(super) reproposed: BTreeMap<Height, Reproposed>,
    /// From where planned rotation counts: the last height proposed again, else the base.
    pub(super) counted_from: Height,
}

/// A block that the view proposes again.
#[derive(Clone, Debug)]
pub(super) struct Reproposed {
    pub(super) header: Header,
    pub(super) hash: Hash,
    /// Who has the body: the signers of its prepared certificate.
    pub(super) holders: Vec<ValidatorIndex>,
    /// When and whom to ask for the body next.
    pub(super) asked: Option<(Mono, usize)>,
}

/// The highest request of a validator.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    /// Kept where this replica is to start the view, and of its own, until the view has started; none of one that came inside
    /// a NEW-VIEW. A proof may take megabytes, and nobody else needs it.
    proof: Option<Proof>,
}

impl Asked {
    fn of(change: &ViewChange) -> Self {
        Self { request: change.request(), proof: Some(change.proof.clone()) }
    }

    /// The whole VIEW-CHANGE, if its proof is here.
    fn proven(&self) -> Option<ViewChange> {
        let Request { payload, signer, signature } = self.request.clone();
        Some(ViewChange { payload, signer, signature, proof: self.proof.clone()? })
    }
}

/// Of which views it was reported that a validator asked for them in two ways, or started them falsely or in two ways: the
/// last such view of each (`docs/pbft.md` §8). Views rise, and what is below the one that a replica is in is not looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Accused {
    asked: BTreeMap<ValidatorIndex, View>,
    started: BTreeMap<ValidatorIndex, View>,
}

impl Accused {
    /// Notes a VIEW-CHANGE that contradicts another; whether that is new.
    fn asks_twice(&mut self, request: &Request) -> bool {
        note(&mut self.asked, request.signer, request.payload.view)
    }

    /// Notes a NEW-VIEW that is false or contradicts another; whether that is new.
    fn starts_wrongly(&mut self, new_view: &NewView) -> bool {
        note(&mut self.started, new_view.signer, new_view.payload.view)
    }
}

fn note(views: &mut BTreeMap<ValidatorIndex, View>, signer: ValidatorIndex, view: View) -> bool {
    let new = views.get(&signer).is_none_or(|last| *last < view);
    if new {
        views.insert(signer, view);
    }
    new
}

impl Start {
    /// The start of view 0: nothing is proposed again.
    pub(super) fn of_epoch(base: Height) -> Self {
        Self { closed: base, reproposed: BTreeMap::new(), counted_from: base }
    }

    /// The height of the base that the view starts from.
    pub(super) fn closed(&self) -> Height {
        self.closed
    }

    /// Up to where the view leaves nothing to propose freshly.
    pub(super) fn filled(&self) -> Height {
        self.reproposed.last_key_value().map_or(self.closed, |(height, _)| *height)
    }

    fn of(reproposal: &Reproposal) -> Self {
        let closed = reproposal.base.height;
        let blocks = reproposal.blocks.iter().map(|it| {
            let holders = it.signatures.signers().iter();
            let holders =
                holders.map(|place| ValidatorIndex(u16::try_from(place).expect("a place in the set")));
            let one = Reproposed {
                header: it.header.clone(),
                hash: it.payload.block,
                holders: holders.collect(),
                asked: None,
            };
            (it.payload.height, one)
        });
        let reproposed: BTreeMap<_, _> = blocks.collect();
        let counted_from = reproposed.last_key_value().map_or(closed, |(height, _)| *height);
        Self { closed, reproposed, counted_from }
    }
}

impl Pbft {
    /// Leaves for a later view: the promise and the VIEW-CHANGE are recorded together, then it is sent.
    pub(super) fn ask_for(&mut self, view: View, cause: Cause, out: &mut Output<Self>) {
        assert!(view > self.view, "views only rise");
        let Some(voter) = self.signing() else { return };
        let prepared = self.prepared_above_base();
        let payload = ViewChangePayload {
            epoch: self.setup.scope.epoch,
            view,
            base: self.base.claim(),
            prepared: prepared.iter().map(|it| it.payload).collect(),
        };
        let signature = voter.key.sign(Domain::ViewChange, &self.setup.scope.chain, &payload);
        let proof = Proof { base: self.base.certificate.clone(), prepared };
        let change = ViewChange { payload, signer: voter.index, signature, proof };
        self.leave_for(view);
        self.asked.insert(change.signer, Asked::of(&change));
        self.own_change = Some(change.clone());
        out.record(Record::ViewChanged(Box::new(change.clone())));
        out.act(Action::Leave { view, rule: cause.name() });
        out.act(Action::Send { to: To::All, message: Message::ViewChange(Box::new(change)) });
    }

    /// Leaves for the view after this one.
    pub(super) fn ask_for_next(&mut self, cause: Cause, out: &mut Output<Self>) {
        if let Some(view) = self.next_view() {
            self.ask_for(view, cause, out);
        }
    }

    /// The view after this one. None follows the last number, to which one message brings everybody where f is 0.
    pub(super) fn next_view(&self) -> Option<View> {
        self.view.0.checked_add(1).map(View)
    }

    /// Stops taking part until the view has started.
    fn leave_for(&mut self, view: View) {
        self.view = view;
        self.mode = Mode::Changing;
        self.timers.left();
        self.thin_slots();
    }

    /// Lets go of what old views leave behind: when one is left, and when the log has brought all of them back.
    pub(super) fn thin_slots(&mut self) {
        let own = self.setup.voter.as_ref().map(|it| it.index);
        self.slots.values_mut().for_each(|slot| slot.thin(own));
    }

    /// For each height above the base the prepared certificate of the highest view, whether it still links or not.
    fn prepared_above_base(&self) -> Vec<PreparedCertificate> {
        let slots = self.slots.range(self.base.height.next()..);
        let best = slots.filter_map(|(_, slot)| {
            let prepared = slot.rounds.values().rev().find_map(|round| round.prepared.as_ref())?;
            let block = slot.blocks.get(&prepared.payload.block)?;
            Some(PreparedCertificate {
                header: block.header().clone(),
                payload: prepared.payload,
                signatures: prepared.signatures.clone(),
            })
        });
        best.collect()
    }

    /// Whether no more is prepared above the base than can be in flight, and than a VIEW-CHANGE may report. It is so as
    /// long as the ledger is where the log left it.
    pub(super) fn report_fits(&self) -> bool {
        let most = self.setup.parameters.window.saturating_mul(2);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        // Every step asks this several times, and hardly ever are there so many heights at all.
        if self.slots.len() <= most {
            return true;
        }
        let slots = self.slots.range(self.base.height.next()..);
        let prepared = slots.filter(|(_, slot)| slot.rounds.values().any(|it| it.prepared.is_some()));
        prepared.count() <= most
    }

    /// Takes a VIEW-CHANGE: each signer's highest counts. Its base is learned at once.
    pub(super) fn on_view_change(&mut self, change: ViewChange, out: &mut Output<Self>) {
        if let Some(certificate) = change.proof.base.clone() {
            self.learn_commit(certificate, out);
        }
        // Verification has looked at the proof for the one who is to start the view alone, and else has taken it away.
        let starts = Some(change.payload.view) == self.next_led();
        let proven = starts && complete(&self.setup.scope, &change).is_ok();
        let proof = proven.then(|| change.proof.clone());
        self.take_request(Asked { request: change.request(), proof }, out);
    }

    /// The view that this replica may have to start next.
    fn next_led(&self) -> Option<View> {
        let own = self.setup.voter.as_ref()?.index;
        next_led(own, self.view, self.new_view.as_ref().map(|it| it.payload.view), self.quorum.n())
    }

    /// Whose requests for that view are proven.
    pub(super) fn proven(&self) -> Places {
        let Some(next) = self.next_led() else { return Places::default() };
        let asking = self.asked.values().filter(|it| it.request.payload.view == next && it.proof.is_some());
        asking.map(|it| it.request.signer).collect()
    }

    /// Counts a request, which may have come without its proof, inside a NEW-VIEW.
    fn take_request(&mut self, asked: Asked, out: &mut Output<Self>) {
        let Asked { request, proof } = &asked;
        match self.asked.get_mut(&request.signer) {
            Some(known) if known.request.payload.view > request.payload.view => {}
            Some(known) if known.request.payload == request.payload => {
                known.proof = known.proof.take().or_else(|| proof.clone());
            }
            Some(known) if known.request.payload.view == request.payload.view => {
                let (first, second) = (Box::new(signed(&known.request)), Box::new(signed(request)));
                if self.accused.asks_twice(request) {
                    let signer = self.key_of(request.signer);
                    let evidence = Evidence::DoubleViewChange { signer, first, second };
                    out.act(Action::Accuse { evidence: Box::new(evidence) });
                }
            }
            Some(_) | None => {
                self.asked.insert(request.signer, asked);
            }
        }
    }

    /// Moves to the (f + 1)-th highest view that is asked for: at least one correct replica wants that or a later one,
    /// and no f messages move anybody.
    pub(super) fn join(&mut self, out: &mut Output<Self>) -> bool {
        let asked = self.asked.values().map(|it| it.request.payload.view);
        let mut views: Vec<View> = asked.filter(|view| *view > self.view).collect();
        views.sort_unstable_by(|a, b| b.cmp(a));
        match views.get(self.quorum.f()) {
            Some(view) if self.signing().is_some() => {
                self.ask_for(*view, Cause::Others, out);
                true
            }
            Some(_) | None => false,
        }
    }

    /// As the primary of the view that is asked for: starts it once Q replicas ask for exactly it.
    pub(super) fn start_view(&mut self, now: Now, out: &mut Output<Self>) -> bool {
        if !matches!(self.mode, Mode::Changing) || !self.is_proposer() {
            return false;
        }
        let asking = self.asked.values().filter(|it| it.request.payload.view == self.view);
        let asking = asking.filter(|it| it.proof.is_some());
        // Counted first: every step asks, and proofs are large.
        if asking.clone().count() < self.quorum.q() {
            return false;
        }
        let changes: Vec<ViewChange> = asking.take(self.quorum.q()).filter_map(Asked::proven).collect();
        let Some(voter) = self.signing() else { return false };
        let start = reproposal(&changes).expect("a quorum is never empty");
        let blocks = start.blocks.iter().map(|it| it.payload.block).collect();
        let (epoch, view) = (self.setup.scope.epoch, self.view);
        let changes = changes.iter().map(ViewChange::request).collect();
        let payload = NewViewPayload { epoch, view, changes, proof: start.proof(), blocks };
        let signature = voter.key.sign(Domain::NewView, &self.setup.scope.chain, &payload);
        let new_view = NewView { payload, signer: voter.index, signature };
        out.act(Action::Send { to: To::All, message: Message::NewView(Box::new(new_view.clone())) });
        self.enter(now, new_view, &start, out);
        true
    }

    /// Takes a NEW-VIEW. The VIEW-CHANGEs in it are processed first: they carry a replica that is below into the view.
    pub(super) fn on_new_view(&mut self, now: Now, new_view: NewView, out: &mut Output<Self>) {
        let view = new_view.payload.view;
        if view < self.view {
            return;
        }
        if let Some(certificate) = new_view.payload.proof.base.clone() {
            self.learn_commit(certificate, out);
        }
        for request in &new_view.payload.changes {
            self.take_request(Asked { request: request.clone(), proof: None }, out);
        }
        let Some(start) = reproposal_of(&new_view.payload) else { return };
        if !start.blocks.iter().map(|it| &it.payload.block).eq(&new_view.payload.blocks) {
            self.on_false_new_view(new_view, out);
            return;
        }
        if view > self.view && !self.join(out) && self.signing().is_none() {
            self.leave_for(view); // it promises nothing, and follows
        }
        match (&self.mode, &self.new_view) {
            (Mode::Changing, _) if view == self.view => self.enter(now, new_view, &start, out),
            (Mode::Active(_), Some(known))
                if known.payload.view == view
                    && known.payload != new_view.payload
                    && self.accused.starts_wrongly(&new_view) =>
            {
                let evidence = Evidence::DoubleNewView {
                    signer: self.key_of(new_view.signer),
                    first: Box::new(Signed { payload: known.payload.clone(), signature: known.signature }),
                    second: Box::new(Signed { payload: new_view.payload, signature: new_view.signature }),
                };
                out.act(Action::Accuse { evidence: Box::new(evidence) });
            }
            (Mode::Changing | Mode::Active(_), _) => {}
        }
    }

    /// Accuses whoever signed a false NEW-VIEW, and leaves the view if it is its primary's.
    pub(super) fn on_false_new_view(&mut self, new_view: NewView, out: &mut Output<Self>) {
        let NewView { ref payload, signer, .. } = new_view;
        let failed = payload.view == self.view && signer == self.primary();
        if self.accused.starts_wrongly(&new_view) {
            let evidence = Evidence::FalseNewView {
                signer: self.key_of(signer),
                new_view: Box::new(Signed { payload: new_view.payload, signature: new_view.signature }),
            };
            out.act(Action::Accuse { evidence: Box::new(evidence) });
        }
        // A replica that may not ask for another view stays in this one, however often it is told.
        if failed && self.signing().is_some() {
            self.suspect(Cause::FalseNewView, out);
        }
    }

    /// Starts the current view by its NEW-VIEW, which is recorded first.
    fn enter(&mut self, now: Now, new_view: NewView, start: &Reproposal, out: &mut Output<Self>) {
        out.record(Record::NewView(Box::new(new_view.clone())));
        if let Some(certificate) = start.base.certificate.clone() {
            self.learn_commit(certificate, out);
        }
        // Views rise: nobody starts this one or an earlier one again.
        for asked in self.asked.values_mut().filter(|it| it.request.payload.view <= self.view) {
            asked.proof = None;
        }
        self.new_view = Some(new_view);
        self.mode = Mode::Active(Start::of(start));
        self.timers.entered(now);
    }

    /// Puts back what a restart found: the view is active only if its NEW-VIEW was found too. What is committed by the proofs
    /// in them is known still: a view that starts above the ledger has no use for what is below, and nobody would repeat it.
    pub(super) fn restore_view(&mut self) {
        let promised = self.own_change.as_ref().map_or(View(0), |it| it.payload.view);
        let started = self.new_view.as_ref().map_or(View(0), |it| it.payload.view);
        self.view = promised.max(started);
        self.mode = if started == self.view {
            let start = self.new_view.as_ref().and_then(|it| reproposal_of(&it.payload));
            Mode::Active(start.map_or_else(|| Start::of_epoch(self.epoch_start()), |it| Start::of(&it)))
        } else {
            Mode::Changing
        };
        let new_view = self.new_view.as_ref().and_then(|it| it.payload.proof.base.clone());
        let own_change = self.own_change.as_ref().and_then(|it| it.proof.base.clone());
        new_view.into_iter().chain(own_change).for_each(|certificate| self.restore_commit(certificate));
        if let Some(own) = &self.own_change {
            let proof = (started < own.payload.view).then(|| own.proof.clone());
            self.asked.insert(own.signer, Asked { request: own.request(), proof });
        }
    }

    /// Accepts the blocks that the view proposes again, as their bodies are here; asks the signers of their certificates,
    /// one after the other, for those that are not.
    pub(super) fn take_reproposed(&mut self, now: Now, out: &mut Output<Self>) -> bool {
        let Mode::Active(start) = &self.mode else { return false };
        let mut changed = false;
        let open: Vec<(Height, Hash)> = start
            .reproposed
            .range(self.committed().next()..)
            .filter(|(height, _)| self.round(**height, self.view).accepted().is_none())
            .map(|(height, it)| (*height, it.hash))
            .collect();
        for (height, hash) in open {
            let body = self.slots.get(&height).and_then(|slot| slot.blocks.get(&hash)).cloned();
            match body {
                Some(block) if self.parent_at(height).is_some_and(|it| it.hash == block.parent()) => {
                    let view = self.view;
                    self.accept(Accepted { block, view, prepare: None, anchor: None }, out);
                    changed = true;
                }
                Some(_) => {}
                None => self.fetch(now, height, out),
            }
        }
        changed
    }

    /// How long one holder has to send a body before another is asked: a few may be dead, and all must fit into the time
    /// that a view is given.
    fn fetch_pause_ms(&self) -> u64 {
        let parameters = &self.setup.parameters;
        (parameters.base_timeout_ms / 4).clamp(1, parameters.resend_ms.max(1))
    }

    /// When another holder is to be asked for a body.
    pub(super) fn fetch_deadline(&self) -> Option<Mono> {
        let Mode::Active(start) = &self.mode else { return None };
        let open = start.reproposed.range(self.committed().next()..);
        let missing = open.filter(|(height, it)| {
            self.slots.get(height).is_none_or(|slot| !slot.blocks.contains_key(&it.hash))
        });
        missing.filter_map(|(_, it)| it.asked.map(|(next, _)| next)).min()
    }

    /// Asks for the body of a block that is proposed again, one holder after another.
    fn fetch(&mut self, now: Now, height: Height, out: &mut Output<Self>) {
        let pause = self.fetch_pause_ms();
        let own = self.setup.voter.as_ref().map(|it| it.index);
        // Another one first in each view: the first holder may be dead, and the view not last long.
        let first = usize::try_from(self.view.0 % u64::from(u16::MAX)).expect("a small number");
        let Mode::Active(start) = &mut self.mode else { return };
        let Some(wanted) = start.reproposed.get_mut(&height) else { return };
        let turn = match wanted.asked {
            Some((next, _)) if now.mono < next => return,
            Some((_, turn)) => turn + 1,
            None => first,
        };
        wanted.asked = Some((now.mono.plus_millis(pause), turn));
        let others: Vec<_> = wanted.holders.iter().filter(|it| Some(**it) != own).collect();
        if let Some(from) = others.get(turn % others.len().max(1)) {
            out.act(Action::Fetch { header: wanted.header.clone(), from: **from });
        }
    }

    /// The body of a block that was asked for. What nobody asked for is left alone.
    pub(super) fn on_fetched(&mut self, block: Arc<Block>) {
        let Mode::Active(start) = &self.mode else { return };
        let height = block.height();
        if start.reproposed.get(&height).is_some_and(|it| it.hash == block.hash()) && height > self.pruned {
            self.slots.entry(height).or_default().blocks.insert(block.hash(), block);
        }
    }

    /// Repeats what was asked for while it has not come about.
    pub(super) fn repeat_request(&self, out: &mut Output<Self>) {
        if let (Mode::Changing, Some(own)) = (&self.mode, &self.own_change)
            && !self.has_ended()
        {
            out.act(Action::Send { to: To::All, message: Message::ViewChange(Box::new(own.clone())) });
        }
    }

    /// Who is primary of a view.
    pub(super) fn primary_of(&self, view: View) -> ValidatorIndex {
        primary(view, self.quorum.n())
    }

    /// What a vote in a view for a block names.
    pub(super) fn payload_of(&self, height: Height, block: Hash, view: View) -> CommitPayload {
        CommitPayload { epoch: self.setup.scope.epoch, view, height, block }
    }
}

fn signed(request: &Request) -> Signed<ViewChangePayload> {
    Signed { payload: request.payload.clone(), signature: request.signature }
}
