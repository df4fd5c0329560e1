//! The last look at the end of a run: what every node would tell its clients.

use quorate_ledger::{Delivered, Height, Ledger, MemoryStore, StoreError};

use super::Simulation;
use crate::check::Violation;
use crate::liar::Deceptive;

const REPLAY: &str = "executing the chain from the genesis comes to the same again";
const STORED: &str = "what is stored is what was agreed on";
const CERTIFIED: &str = "every stored block is covered by a quorum's certificate";
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
            let outcome = again.apply(&[Delivered { block, certificate: None }]);
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
            let signers = certificate.signatures.signers().count();
            let named = Some(certificate.payload.block) == self.checks.chain.hash_at(covered);
            if !named || signers < quorum(self.scenario.nodes) {
                let detail = format!("{at} has {:?} of {signers} signers at {covered}", certificate.payload);
                return Ok(Err(Violation::new(CERTIFIED, detail)));
            }
        }
        Ok(Ok(()))
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

/// The least number of validators of `n` such that any two such groups share a correct one (`docs/pbft.md` §1): counted
/// up, not computed by the formula that is under test.
fn quorum(n: usize) -> usize {
    let faulty = (0..n).take_while(|faulty| 3 * faulty < n).last().unwrap_or_default();
    (1..=n).find(|size| 2 * size > n + faulty).unwrap_or(n)
}

fn unreadable(at: &str, why: &StoreError) -> Violation {
    Violation::new("a ledger can be read", format!("{at}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::quorum;

    #[test]
    fn quorums_are_those_of_the_paper_and_right_between() {
        assert_eq!([1, 4, 5, 6, 7, 10].map(quorum), [1, 3, 4, 4, 5, 7]);
    }
}
