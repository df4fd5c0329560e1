//! The last look at the end of a run: what every node would tell its clients.

use quorate_crypto::{MultiSignature, encode};
use quorate_ledger::{Delivered, Epoch, Height, Ledger, MemoryStore, StoreError};

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
        let mut replayed = false;
        for (index, node) in self.nodes.iter().enumerate() {
            if let Some(ledger) = node.ledger().filter(|_| self.checks.is_correct(index)) {
                if !std::mem::replace(&mut replayed, true) {
                    self.replay(ledger)?;
                }
                let at = format!("n{index}");
                self.audit_blocks(&at, ledger).unwrap_or_else(|why| Err(unreadable(&at, &why)))?;
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
        for height in (1..=ledger.tip().base_height.0).map(Height) {
            let stored = reader.block(height).map_err(|why| fail(why.to_string()))?;
            let block = stored.ok_or_else(|| fail(format!("no block at {height}")))?.block;
            // The last block of an epoch has one of its own.
            let certificate = reader.commit_certificate(height).map_err(|why| fail(why.to_string()))?;
            let outcome = again.apply(&[Delivered { block, certificate }]);
            let outcome = outcome.map_err(|why| fail(why.to_string()))?.first().copied();
            if outcome != self.checks.chain.outcome_at(height) {
                return Err(fail(format!("at height {height} it comes to {outcome:?}")));
            }
        }
        Ok(())
    }

    fn audit_blocks(
        &self,
        at: &str,
        ledger: &Ledger<MemoryStore>,
    ) -> Result<Result<(), Violation>, StoreError> {
        let reader = ledger.reader();
        for height in (1..=ledger.tip().base_height.0).map(Height) {
            let stored = reader.block(height)?.map(|stored| stored.block.hash());
            if stored != self.checks.chain.hash_at(height) {
                return Ok(Err(Violation::new(STORED, format!("{at} holds {stored:?} at height {height}"))));
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
            let signed = |domain: &[u8], payload: Vec<u8>, signatures: &MultiSignature| {
                let message = [domain, self.chain.genesis.chain.as_bytes(), &payload].concat();
                epochs.is_signed(epoch, &message, |place| signatures.of(place).copied())
            };
            if covered == height && !signed(b"quorate/1/commit\0", encode(payload), &certificate.signatures) {
                let detail = format!("{at} has a certificate for {height} that its quorum did not sign");
                return Ok(Err(Violation::new(CERTIFIED, detail)));
            }
            if let Some(checkpoint) = reader.checkpoint(height)? {
                let (payload, signatures) = (&checkpoint.payload, &checkpoint.signatures);
                let outcome = self.checks.chain.outcome_at(height);
                let same = outcome.is_some_and(|outcome| outcome.checkpoint == *payload);
                if !same || !signed(b"quorate/1/checkpoint\0", encode(payload), signatures) {
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
        for (account, balance) in self.checks.chain.model().balances() {
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

fn unreadable(at: &str, why: &StoreError) -> Violation {
    Violation::new("a ledger can be read", format!("{at}: {why}"))
}
