//! The last look at the end of a run: what every node would tell its clients.

use std::ops::ControlFlow;

use quorate_ledger::{
    Delivered, Deliveries, Epoch, Family, Height, Ledger, MemoryStore, Store, StoreError, StoredBlock,
};

use super::Simulation;
use crate::check::Violation;
use crate::liar::Deceptive;

const REPLAY: &str = "executing the chain from the genesis comes to the same again";
const STORED: &str = "what is stored is what was agreed on";
const CERTIFIED: &str = "every stored block is covered by a certificate of its epoch's quorum";
const EPOCHS: &str = "what a node tells of epochs is what was approved of";
const BALANCES: &str = "balances are what the transfers come to";
const OUTCOMES: &str = "what a client was told is so at every node";

impl<E: Deceptive> Simulation<'_, E> {
    /// Reads every running node's ledger and compares it with what was seen. Nodes may differ by empty blocks.
    pub(super) fn audit(&self) -> Result<(), Violation> {
        self.checks.evidence.settled()?;
        let mut first: Option<&Ledger<MemoryStore>> = None;
        for (index, node) in self.nodes.iter().enumerate() {
            if let Some(ledger) = node.ledger().filter(|_| self.checks.is_correct(index)) {
                let at = format!("n{index}");
                if first.is_none() {
                    self.replay(ledger)?;
                }
                self.audit_blocks(&at, ledger, first).unwrap_or_else(|why| Err(unreadable(&at, &why)))?;
                first = first.or(Some(ledger));
                self.audit_epochs(&at, ledger)?;
                self.audit_state(&at, ledger).unwrap_or_else(|why| Err(unreadable(&at, &why)))?;
            }
        }
        Ok(())
    }

    /// Executes the whole chain once more, at one go, on a new ledger: it must come to what all came to on the way.
    fn replay(&self, ledger: &Ledger<MemoryStore>) -> Result<(), Violation> {
        let fail = |why: String| Violation::new(REPLAY, why);
        let mut again =
            Ledger::open(MemoryStore::new(), &self.chain.genesis).map_err(|why| fail(why.to_string()))?;
        let reader = ledger.reader();
        let mut deliveries = Deliveries::default();
        for height in (1..=ledger.tip().height.0).map(Height) {
            let stored = reader.block(height).map_err(|why| fail(why.to_string()))?;
            let StoredBlock { block, certificate, .. } =
                stored.ok_or_else(|| fail(format!("no block at {height}")))?;
            deliveries.push(Delivered { block, certificate });
            let batch = deliveries.batch(usize::MAX);
            let outcomes = again.apply(&batch).map_err(|why| fail(why.to_string()))?;
            for outcome in outcomes {
                let height = outcome.checkpoint.height;
                if Some(outcome) != self.checks.chain.outcome_at(height) {
                    return Err(fail(format!("at height {height} it comes to {outcome:?}")));
                }
            }
        }
        if again.height() != ledger.height() {
            return Err(fail(format!("it ends at height {}", again.height())));
        }
        Ok(())
    }

    /// What a node has stored. Rows that are byte for byte those of the node that was read first are not read once more.
    fn audit_blocks(
        &self,
        at: &str,
        ledger: &Ledger<MemoryStore>,
        first: Option<&Ledger<MemoryStore>>,
    ) -> Result<Result<(), Violation>, StoreError> {
        let reader = ledger.reader();
        for height in (1..=ledger.tip().height.0).map(Height) {
            let read = first.filter(|first| height <= first.base_height());
            let same = read.map(|first| has_same_block(first.store(), ledger.store(), height)).transpose()?;
            if same != Some(true) {
                let stored = reader.block(height)?.map(|stored| stored.block.hash());
                if stored != self.checks.chain.hash_at(height) {
                    let detail = format!("{at} holds {stored:?} at height {height}");
                    return Ok(Err(Violation::new(STORED, detail)));
                }
            }
            let Some((covered, certificate)) = reader.commit_certificate_at_or_above(height)? else {
                return Ok(Err(Violation::new(CERTIFIED, format!("{at} has none at or above {height}"))));
            };
            let payload = &certificate.payload;
            let named = Some(payload.block) == self.checks.chain.hash_at(covered);
            let epochs = &self.checks.chain.epochs;
            let epoch = epochs.at(height).0;
            if !named || payload.epoch != epoch || epochs.at(covered).0 != epoch {
                let detail = format!("{at} has {payload:?} for {height} of epoch {epoch}");
                return Ok(Err(Violation::new(CERTIFIED, detail)));
            }
            if covered == height && !epochs.is_certified(epoch, "commit", payload, &certificate.signatures) {
                let detail = format!("{at} has a certificate for {height} that its quorum did not sign");
                return Ok(Err(Violation::new(CERTIFIED, detail)));
            }
            if let Some(checkpoint) = reader.checkpoint(height)? {
                let (payload, signatures) = (&checkpoint.payload, &checkpoint.signatures);
                let outcome = self.checks.chain.outcome_at(height);
                let same = outcome.is_some_and(|outcome| outcome.checkpoint == *payload);
                if !same || !epochs.is_certified(epoch, "checkpoint", payload, signatures) {
                    let detail = format!("{at} has {payload:?} for {height}, which came to {outcome:?}");
                    return Ok(Err(Violation::new(CERTIFIED, detail)));
                }
            }
        }
        Ok(Ok(()))
    }

    /// The sets, spans and parameters that a node would tell of.
    fn audit_epochs(&self, at: &str, ledger: &Ledger<MemoryStore>) -> Result<(), Violation> {
        let (reader, tip) = (ledger.reader(), ledger.tip().height);
        for (number, span) in (0..).zip(self.checks.chain.epochs.spans()) {
            let told = reader.epoch_numbered(Epoch(number));
            let same = told.as_ref().is_some_and(|told| {
                told.start == span.start
                    && told.validators.keys() == span.validators
                    && told.parameters == span.parameters
            });
            if !same && tip.next() >= span.start {
                let detail = format!("{at} at {tip} has {told:?} for epoch {number}, not {span:?}");
                return Err(Violation::new(EPOCHS, detail));
            }
        }
        Ok(())
    }

    fn audit_state(
        &self,
        at: &str,
        ledger: &Ledger<MemoryStore>,
    ) -> Result<Result<(), Violation>, StoreError> {
        let reader = ledger.reader();
        for (account, balance) in self.checks.chain.balances().all() {
            let stored = reader.account(account)?.1.unwrap_or_default();
            if stored != balance {
                let detail = format!("at {at} account {account} has {stored}, transfers come to {balance}");
                return Ok(Err(Violation::new(BALANCES, detail)));
            }
        }
        for (id, height) in self.clients.acknowledged() {
            let stored = reader.transaction(id)?.map(|place| place.height);
            if stored != Some(*height) || self.checks.chain.place_of(id) != Some(*height) {
                let detail = format!("a client was told {id} is at {height}, {at} has it at {stored:?}");
                return Ok(Err(Violation::new(OUTCOMES, detail)));
            }
        }
        Ok(Ok(()))
    }
}

/// Whether two disks hold the same bytes of a block, its header and outcome, and its receipts.
fn has_same_block(one: &MemoryStore, other: &MemoryStore, height: Height) -> Result<bool, StoreError> {
    let key = height.0.to_be_bytes();
    let mut same = true;
    for family in [Family::Headers, Family::Blocks, Family::Receipts] {
        let mut equal = false;
        // Visited where they are: copies would cost as much as all the rest.
        let mut failed = Ok(());
        one.scan(family, &key, &mut |at, row| {
            failed = other.scan(family, &key, &mut |other_at, other_row| {
                equal = at == key && other_at == key && row == other_row;
                ControlFlow::Break(())
            });
            ControlFlow::Break(())
        })?;
        failed?;
        same &= equal;
    }
    Ok(same)
}

fn unreadable(at: &str, why: &StoreError) -> Violation {
    Violation::new("a ledger can be read", format!("{at}: {why}"))
}
