//! What the writer and the readers share, and the view of the records that execution reads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use quorate_crypto::Hash;

use super::ExecutionOutcome;
use crate::epoch::EpochStart;
use crate::execute::Records;
use crate::primitives::{Height, UnixMillis};
use crate::state::{Record, RecordKey, Trie};
use crate::store::overlay::Overlay;
use crate::store::rows::{self, StoredHeader};
use crate::store::{Family, Store, StoreError};
use crate::tip::Tip;

/// One for each open ledger.
///
/// Two locks, always taken in this order: `live`, held by the writer only to swap things in, and by a reader for as
/// long as its answer must be of one height; then `trie`, which the writer holds while it rehashes a block's changes,
/// so that only those who want a proof wait for that.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) chain: Hash,
    pub(super) genesis_time: UnixMillis,
    pub(super) genesis: ExecutionOutcome,
    live: RwLock<Live>,
    trie: RwLock<Trie>,
}

/// The present: changes only as a whole.
pub(super) struct Live {
    pub(super) tip: Tip,
    /// What the store does not hold yet.
    pub(super) overlay: Overlay,
    /// The records that the last heights replaced, rising.
    pub(super) replaced: VecDeque<Replaced>,
    /// The epochs of the chain, rising.
    pub(super) epochs: Vec<Arc<EpochStart>>,
}

/// What one of the last heights came to, and its reverse delta: the records it changed, as they were before.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) outcome: ExecutionOutcome,
    pub(super) records: BTreeMap<RecordKey, Option<Arc<Record>>>,
}

const POISONED: &str = "the writer does not go on after a panic, so nobody reads what it left";

impl Shared {
    pub(super) fn new(
        store: Arc<dyn Store>,
        genesis: (Hash, UnixMillis, ExecutionOutcome),
        live: Live,
        trie: Trie,
    ) -> Self {
        let (chain, genesis_time, genesis) = genesis;
        let (live, trie) = (RwLock::new(live), RwLock::new(trie));
        Self { store, chain, genesis_time, genesis, live, trie }
    }

    pub(super) fn live(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().expect(POISONED)
    }

    pub(super) fn live_mut(&self) -> RwLockWriteGuard<'_, Live> {
        self.live.write().expect(POISONED)
    }

    pub(super) fn trie(&self) -> RwLockReadGuard<'_, Trie> {
        self.trie.read().expect(POISONED)
    }

    pub(super) fn trie_mut(&self) -> RwLockWriteGuard<'_, Trie> {
        self.trie.write().expect(POISONED)
    }

    /// What executing a height that is in the store gave.
    pub(super) fn outcome(&self, height: Height) -> Result<ExecutionOutcome, StoreError> {
        if height == Height(0) {
            return Ok(self.genesis);
        }
        // Asked of the last heights, of each of them twice.
        if let Some(known) = self.live().replaced.iter().rfind(|it| it.height() == height) {
            return Ok(known.outcome);
        }
        let header: StoredHeader = rows::must(&*self.store, Family::Headers, height)?;
        Ok(header.outcome)
    }
}

impl Replaced {
    pub(super) fn height(&self) -> Height {
        self.outcome.checkpoint.height
    }
}

impl Live {
    /// The epoch of the next block.
    pub(super) fn newest_epoch(&self) -> Arc<EpochStart> {
        self.epochs.last().expect("the genesis starts one").clone()
    }

    /// The record as it is at the tip.
    pub(super) fn record(
        &self,
        store: &dyn Store,
        key: &RecordKey,
    ) -> Result<Option<Arc<Record>>, StoreError> {
        match self.overlay.record(key) {
            Some(record) => Ok(record.clone()),
            None => rows::record(store, key),
        }
    }

    /// The record as it was at a height of the window: the lowest height above that replaced it knows.
    pub(super) fn record_at(
        &self,
        store: &dyn Store,
        key: &RecordKey,
        height: Height,
    ) -> Result<Option<Arc<Record>>, StoreError> {
        let above = self.replaced.iter().filter(|replaced| replaced.height() > height);
        match above.filter_map(|replaced| replaced.records.get(key)).next() {
            Some(record) => Ok(record.clone()),
            None => self.record(store, key),
        }
    }
}

/// The records a block is executed on: those of blocks not published yet, then the overlay, then the store.
pub(super) struct View<'a> {
    pub(super) newest: &'a Overlay,
    pub(super) live: &'a Live,
    pub(super) store: &'a dyn Store,
}

impl Records for View<'_> {
    fn record(&self, key: &RecordKey) -> Result<Option<Arc<Record>>, StoreError> {
        match self.newest.record(key) {
            Some(record) => Ok(record.clone()),
            None => self.live.record(self.store, key),
        }
    }
}
