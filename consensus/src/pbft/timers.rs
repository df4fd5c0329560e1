//! When a replica stops waiting (`docs/pbft.md` §5).
//!
//! | timer | runs while | on expiry |
//! | --- | --- | --- |
//! | proposal | work waits and the window has room; again from each accepted proposal | suspect the primary |
//! | progress | a block is in flight, or a certificate known whose block is not; again from each commit and delivery | suspect the primary |
//! | inclusion | an eligible transaction waits; counted anew while committed blocks are full | suspect the primary |
//! | new view | Q replicas ask for this view or a later one and it has not started | ask for the next |
//! | rotation | a view has served its blocks, or its time and committed something | planned change |
//!
//! A timer is when its condition began to hold, so it is armed and cleared in one place ([`Pbft::arm_timers`]). Below a
//! quorum nobody climbs: a replica alone repeats its request and waits. Waits double with each view that had its quorum
//! and failed, up to a cap, and a commit makes them short again.

use quorate_ledger::{UnixMillis, View};

use super::{
    Pbft,
    view_change::{Cause, Mode},
};
use crate::engine::{Mono, Now, Output};

/// Since when each condition has held.
#[derive(Clone, Debug)]
pub(super) struct Timers {
    proposal: Option<Mono>,
    progress: Option<Mono>,
    new_view: Option<Mono>,
    /// When the current view started here.
    entered: Mono,
    /// When a block that was full last committed.
    full: Mono,
    /// Views in a row that had a quorum and committed nothing.
    failures: u32,
    /// Whether the current view has committed anything.
    fruitful: bool,
    /// When a wall clock will show that a due block is late.
    late: Option<Mono>,
}

impl Timers {
    pub(super) fn new() -> Self {
        Self {
            proposal: None,
            progress: None,
            new_view: None,
            entered: Mono(0),
            full: Mono(0),
            failures: 0,
            fruitful: false,
            late: None,
        }
    }

    /// An event came; the first of an instance is the start of its view.
    pub(super) fn begun(&mut self, now: Now) {
        if self.entered == Mono(0) {
            self.entered = now.mono;
        }
    }

    /// The view is left for another.
    pub(super) fn left(&mut self) {
        (self.proposal, self.progress, self.new_view) = (None, None, None);
        self.fruitful = false;
    }

    /// The view has started.
    pub(super) fn entered(&mut self, now: Now) {
        self.entered = now.mono;
        self.left();
    }

    /// A proposal was accepted.
    pub(super) fn accepted(&mut self) {
        self.proposal = None;
    }

    /// A block was delivered.
    pub(super) fn delivered(&mut self) {
        self.progress = None;
    }

    /// Something new is committed.
    pub(super) fn committed(&mut self) {
        self.progress = None;
        self.failures = 0;
        self.fruitful = true;
    }

    /// A block that was full has committed: what waits longer may not have fitted.
    pub(super) fn full(&mut self, now: Now) {
        self.full = now.mono;
    }
}

impl Pbft {
    /// Acts on the timers that have run out.
    pub(super) fn expire_timers(&mut self, now: Now, out: &mut Output<Self>) {
        let wait = self.wait_ms();
        let over = |since: Option<Mono>| since.is_some_and(|since| since.plus_millis(wait) <= now.mono);
        if over(self.timers.new_view) {
            self.timers.failures = self.timers.failures.saturating_add(1);
            self.timers.new_view = None;
            self.ask_for_next(Cause::NewView, out);
        } else if over(self.timers.proposal) {
            self.suspect(Cause::Proposal, out);
        } else if over(self.timers.progress) {
            self.suspect(Cause::Progress, out);
        } else if self.inclusion_at().is_some_and(|at| at <= now.mono) {
            self.suspect(Cause::Inclusion, out);
        } else if let Some((at, view)) = self.rotation()
            && at <= now.mono
        {
            self.ask_for(view, Cause::Rotation, out);
        }
    }

    /// Leaves a view whose primary failed it. It counts as failed if it had its quorum, and committed nothing.
    pub(super) fn suspect(&mut self, cause: Cause, out: &mut Output<Self>) {
        if !self.timers.fruitful && (self.is_active() || self.quorum_asks()) {
            self.timers.failures = self.timers.failures.saturating_add(1);
        }
        self.ask_for_next(cause, out);
    }

    /// Starts timers whose condition holds now and clears those whose does not.
    pub(super) fn arm_timers(&mut self, now: Now) {
        let active = self.is_active() && self.signing().is_some();
        // Far behind, what is missing comes as certified blocks: no fault of the primary's.
        let window = u64::from(self.setup.parameters.window);
        let undelivered = self.committed() > self.delivered.height
            && self.committed() <= self.delivered.height.plus(window);
        let in_flight = undelivered || self.highest_accepted() > self.committed();
        let room = self.highest_accepted() < self.highest_open();
        // Looked at first, since it also says when a due block will be late: an old answer would be a deadline in the past.
        let late = self.due_block_is_late(now);
        let waits = self.backlog.eligible.is_some() || late;
        let quorum_asks = self.quorum_asks();
        let set = |timer: &mut Option<Mono>, holds: bool| {
            *timer = if holds { timer.or(Some(now.mono)) } else { None };
        };
        let backup = !self.is_proposer();
        set(&mut self.timers.proposal, active && backup && waits && room);
        set(&mut self.timers.progress, active && in_flight);
        let changing = matches!(self.mode, Mode::Changing) && self.signing().is_some();
        set(&mut self.timers.new_view, changing && quorum_asks);
    }

    /// Whether Q validators ask for this view or a later one.
    fn quorum_asks(&self) -> bool {
        self.asked.values().filter(|it| it.request.payload.view >= self.view).count() >= self.quorum.q()
    }

    /// When the next timer runs out.
    pub(super) fn timers_deadline(&self) -> Option<Mono> {
        let wait = self.wait_ms();
        let timers = [self.timers.proposal, self.timers.progress, self.timers.new_view];
        let timers = timers.into_iter().flatten().map(|since| since.plus_millis(wait));
        let rotation = self.rotation().map(|(at, _)| at);
        timers.chain(self.inclusion_at()).chain(self.timers.late).chain(rotation).min()
    }

    fn wait_ms(&self) -> u64 {
        self.backed_off(self.setup.parameters.base_timeout_ms)
    }

    /// `millis * 2^k`, capped: every wait grows that may end a view which commits nothing, since the network may be slower than
    /// any parameter.
    fn backed_off(&self, millis: u64) -> u64 {
        let factor = 1u64.checked_shl(self.timers.failures).unwrap_or(u64::MAX);
        millis.saturating_mul(factor).min(self.setup.parameters.timeout_cap_ms.max(millis))
    }

    /// When the oldest eligible transaction has waited so long that it must have been left out.
    fn inclusion_at(&self) -> Option<Mono> {
        let active = self.is_active() && self.signing().is_some() && !self.epoch_is_full();
        let eligible = self.backlog.eligible.filter(|_| active && !self.is_proposer())?;
        let since = eligible.max(self.timers.full).max(self.timers.entered);
        Some(since.plus_millis(self.backed_off(self.setup.parameters.inclusion_timeout_ms)))
    }

    /// Whether the epoch's last block is here: nothing is work above it, what waits does so for the next epoch.
    fn epoch_is_full(&self) -> bool {
        self.executed.epoch_ends.is_some_and(|last| self.delivered.height >= last)
    }

    /// A due block counts as work at once when the epoch ends, else once this clock is past the due time by all that an
    /// honest primary's clock may be behind it.
    fn due_block_is_late(&mut self, now: Now) -> bool {
        self.timers.late = None;
        let parent = &self.delivered;
        if self.executed.epoch_ends.is_some_and(|last| parent.height < last) {
            return true;
        }
        let Some(due) = self.due_at(parent) else { return false };
        let late = UnixMillis(due.0.saturating_add(self.setup.parameters.max_clock_drift_ms));
        if late > now.wall {
            self.timers.late = Some(now.mono.plus_millis(late.millis_since(now.wall)));
        }
        late <= now.wall
    }

    /// When this view has served, and for which it is left then: at once with its blocks, or with its time while it has
    /// work. A view that has committed nothing has not served: to end it is for timers that back off. A deadline, so that all
    /// leave with the block that makes it due and not at their next look at the clock.
    fn rotation(&self) -> Option<(Mono, View)> {
        let Mode::Active(start) = &self.mode else { return None };
        if self.signing().is_none() || self.epoch_is_full() {
            return None;
        }
        let (blocks, millis) =
            (self.setup.parameters.rotation_blocks, self.setup.parameters.rotation_time_ms);
        let served = blocks > 0 && self.committed() >= start.counted_from.plus(blocks);
        let works = self.backlog.count > 0 || self.highest_accepted() > self.committed();
        let at = if served {
            self.timers.entered
        } else if millis > 0 && works && self.timers.fruitful {
            self.timers.entered.plus_millis(millis)
        } else {
            return None;
        };
        Some((at, self.next_present_view()?))
    }

    /// The next view whose primary takes part, if it is another than this one's.
    fn next_present_view(&self) -> Option<View> {
        let n = u64::try_from(self.quorum.n()).expect("a set's size fits 64 bits");
        let mut views = (1..n).filter_map(|ahead| self.view.0.checked_add(ahead)).map(View);
        views.find(|view| !self.participation.is_absent(self.primary_of(*view)))
    }
}
