//! What is handed to every validator because it has waited too long (`docs/pbft.md` §5), and what was: a primary may be blamed
//! for leaving out the latter.

use std::sync::Arc;

use quorate_consensus::Mono;
use quorate_ledger::Transaction;

use super::Mempool;

impl Mempool {
    /// What came at or before `until` and was not handed to the validators yet: oldest first, about `bytes_max` bytes,
    /// at least one.
    pub(crate) fn to_hand_over(&self, until: Mono, bytes_max: usize) -> Vec<Arc<Transaction>> {
        let mut bytes = 0usize;
        let mut chosen = Vec::new();
        for sequence in &self.unhanded {
            let entry = &self.entries[&self.waiting[sequence]];
            bytes = bytes.saturating_add(entry.transaction.size());
            if entry.arrived > until || (bytes > bytes_max && !chosen.is_empty()) {
                break;
            }
            chosen.push(Arc::clone(&entry.transaction));
        }
        chosen
    }

    /// When the oldest came that was not handed to the validators yet.
    pub(crate) fn oldest_unhanded(&self) -> Option<Mono> {
        self.unhanded.first().map(|sequence| self.entries[&self.waiting[sequence]].arrived)
    }

    /// Says that every validator was given these: from now on a primary may be blamed for leaving them out.
    pub(crate) fn handed_over(&mut self, transactions: &[Arc<Transaction>], now: Mono) {
        for transaction in transactions {
            let Some(entry) = self.entries.get_mut(&transaction.id()) else { continue };
            if entry.eligible.is_none() {
                entry.eligible = Some(now);
                if entry.waiting {
                    self.unhanded.remove(&entry.sequence);
                    self.eligible.insert((now, entry.sequence));
                }
            }
        }
    }

    /// What waits and was handed to the validators already: oldest first, about `bytes_max` bytes.
    pub(crate) fn handed(&self, bytes_max: usize) -> Vec<Arc<Transaction>> {
        let mut bytes = 0usize;
        let handed =
            self.eligible.iter().map(|(_, sequence)| &self.entries[&self.waiting[sequence]].transaction);
        let fits = handed.take_while(|transaction| {
            bytes = bytes.saturating_add(transaction.size());
            bytes <= bytes_max
        });
        fits.cloned().collect()
    }
}
