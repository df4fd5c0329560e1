//! Opening a ledger: from the genesis, or from a store that may have lost what was written behind.
//!
//! The records in the store stand for the state height. The blocks above it are executed again, and what comes out is
//! compared with everything the chain and the store say of the same height: the outcome stored with the block, the
//! anchors in later headers, the stored checkpoint certificates. A difference is damage or a fault of this program;
//! either way the ledger does not open.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use quorate_crypto::{Hash, encode};

use super::live::{Live, Shared};
use super::{
    GenesisState, Ledger, LedgerError, OVERLAY_BYTES_MAX, Pending, Usable, WRITE_BEHIND_BYTES, error,
};
use crate::block::{Block, Header};
use crate::certificate::{CheckpointCertificate, CommitCertificate};
use crate::primitives::Height;
use crate::state::{Record, RecordKey, Trie};
use crate::store::overlay::Overlay;
use crate::store::rows::{self, EpochStart, FORMAT, Meta, StoredHeader};
use crate::store::{Durability, Family, Store, StoreError, WriteBatch};
use crate::tip::Tip;

const _: () = assert!(WRITE_BEHIND_BYTES < OVERLAY_BYTES_MAX);

impl<S: Store> Ledger<S> {
    /// Opens the ledger in `store`, which is empty or was made from the same genesis.
    ///
    /// # Errors
    /// A genesis that cannot be executed or is another chain's; damaged data; the machine's errors.
    pub fn open(store: S, genesis: &GenesisState) -> Result<Self, LedgerError> {
        let store = Arc::new(store);
        let start = genesis.tip(genesis.checkpoint()?);
        let genesis_root = start.outcome.checkpoint.state_root;
        let state_height = match Meta::read(&*store)? {
            Some(meta) => check_meta(&meta, genesis, genesis_root)?,
            None => write_genesis(&*store, genesis, genesis_root)?,
        };
        let outcome = match state_height {
            Height(0) => start.outcome,
            height => stored_header(&*store, height)?.outcome,
        };
        let window = usize::try_from(genesis.parameters.log_window).expect("at most 4,096");
        let trie = Trie::build(state_height, leaves(&*store)?, window);
        if trie.root() != outcome.checkpoint.state_root {
            let (own, other) = (trie.root(), outcome.checkpoint.state_root);
            return Err(LedgerError::Diverged { height: state_height, what: "state root", own, other });
        }
        let tip = tip_at(&*store, start.clone(), state_height)?;
        let epochs = epochs(&*store)?;
        let epoch = epochs.last().expect("the genesis wrote one").clone();
        let live = Live { tip, overlay: Overlay::default(), replaced: VecDeque::new(), epochs };
        let origin = (genesis.chain, genesis.time, start.outcome);
        let shared = Arc::new(Shared::new(store.clone(), origin, window, live, trie));
        let mut ledger = Ledger { store, shared, epoch, waiting_since: None, state: Usable::Yes };
        ledger.execute_again(state_height)?;
        ledger.read_certificates()?;
        Ok(ledger)
    }

    /// Executes the blocks above the state height.
    fn execute_again(&mut self, state_height: Height) -> Result<(), LedgerError> {
        let Some((top, _)) = rows::last::<StoredHeader>(&*self.store, Family::Headers)? else {
            return Ok(());
        };
        let mut tip = self.tip();
        for height in (state_height.0 + 1..=top.0).map(Height) {
            let stored = stored_header(&*self.store, height)?;
            let block = rows::block(&*self.store, height)?;
            self.check_body(&block, &stored, &tip)?;
            let mut pending = Pending::default();
            self.run(&mut pending, &mut tip, &block)?;
            let own = tip.outcome.checkpoint;
            error::compare(&own, &stored.outcome.checkpoint.anchor())?;
            if let Some(certificate) =
                rows::at::<CheckpointCertificate>(&*self.store, Family::Checkpoints, height)?
            {
                error::compare(&own, &certificate.payload.anchor())?;
            }
            self.publish(pending, tip.clone());
            if self.shared.live().overlay.bytes() > WRITE_BEHIND_BYTES {
                self.write_behind(Durability::Behind)?;
            }
        }
        Ok(())
    }

    /// A stored block is executed again only if it is the one that was stored: the header row's, with the transactions
    /// its header names, on top of the block before it.
    fn check_body(&self, block: &Block, stored: &StoredHeader, tip: &Tip) -> Result<(), StoreError> {
        let header = block.header();
        let problem = if *header != stored.header || block.hash() != stored.outcome.checkpoint.block {
            Some("its header is not that of the header row".to_owned())
        } else if (header.chain, header.epoch) != (self.shared.chain, self.epoch.number)
            || header.parent != tip.hash
            || header.time <= tip.time
        {
            Some("it does not follow from the block below it".to_owned())
        } else {
            block.check_root().err().map(|error| error.to_string())
        };
        match problem {
            Some(reason) => Err(rows::damaged(Family::Blocks, &rows::height_key(header.height), reason)),
            None => Ok(()),
        }
    }

    /// Completes the tip by the highest certificates there are.
    fn read_certificates(&mut self) -> Result<(), LedgerError> {
        let base = rows::last::<CommitCertificate>(&*self.store, Family::Certificates)?;
        let stable = rows::last::<CheckpointCertificate>(&*self.store, Family::Checkpoints)?;
        let mut live = self.shared.live_mut();
        let top = live.tip.height;
        if let Some((height, certificate)) = base {
            check_height(Family::Certificates, height, certificate.payload.height, top)?;
            live.tip.base_height = height;
            live.tip.base = Some(certificate);
        }
        if let Some((height, certificate)) = stable {
            check_height(Family::Checkpoints, height, certificate.payload.height, top)?;
            live.tip.stable = certificate.payload.anchor();
            live.tip.stable_certificate = Some(certificate);
        }
        Ok(())
    }
}

/// A certificate stands in the row of its height, at or below the tip.
fn check_height(family: Family, row: Height, named: Height, top: Height) -> Result<(), StoreError> {
    if row == named && row <= top {
        return Ok(());
    }
    let reason = format!("a certificate of height {named} where the chain ends at {top}");
    Err(rows::damaged(family, &rows::height_key(row), reason))
}

fn check_meta(meta: &Meta, genesis: &GenesisState, genesis_root: Hash) -> Result<Height, LedgerError> {
    if meta.format != FORMAT {
        return Err(LedgerError::WrongFormat { stored: meta.format, known: FORMAT });
    }
    if meta.chain != genesis.chain {
        return Err(LedgerError::WrongGenesis { stored: meta.chain, given: genesis.chain });
    }
    if meta.genesis_root != genesis_root {
        let (own, other) = (genesis_root, meta.genesis_root);
        return Err(LedgerError::Diverged { height: Height(0), what: "state root", own, other });
    }
    Ok(meta.state_height)
}

/// Height 0 in an empty store.
fn write_genesis(
    store: &dyn Store,
    genesis: &GenesisState,
    genesis_root: Hash,
) -> Result<Height, LedgerError> {
    let state_height = Height(0);
    let mut batch = WriteBatch::default();
    for (key, record) in genesis.records()? {
        batch.put(Family::State, key.row(), encode(&record));
    }
    batch.put(Family::Epochs, rows::height_key(state_height), encode(&genesis.epoch()));
    batch.put(Family::Hashes, genesis.chain.as_bytes(), encode(&state_height));
    Meta { format: FORMAT, chain: genesis.chain, genesis_root, state_height }.put(&mut batch);
    store.write(batch, Durability::Synced)?;
    Ok(state_height)
}

/// Path and hash of every record in the store.
fn leaves(store: &dyn Store) -> Result<Vec<(Hash, Hash)>, StoreError> {
    let mut leaves = Vec::new();
    rows::try_scan(store, Family::State, &[], |row, value| {
        let key = RecordKey::from_row(row)
            .ok_or_else(|| rows::damaged(Family::State, row, "the key is of no known kind"))?;
        let record: Record = rows::parse(Family::State, row, value)?;
        if !record.belongs_to(&key) {
            return Err(rows::damaged(Family::State, row, "the record is of another kind than its key"));
        }
        leaves.push((key.path(), Hash::of(value)));
        Ok::<_, StoreError>(ControlFlow::Continue(()))
    })?;
    Ok(leaves)
}

fn epochs(store: &dyn Store) -> Result<Vec<Arc<EpochStart>>, StoreError> {
    let mut epochs = Vec::new();
    rows::try_scan(store, Family::Epochs, &[], |key, value| {
        epochs.push(Arc::new(rows::parse::<EpochStart>(Family::Epochs, key, value)?));
        Ok::<_, StoreError>(ControlFlow::Continue(()))
    })?;
    match epochs.is_empty() {
        true => Err(rows::damaged(Family::Epochs, &rows::height_key(Height(0)), "the row is missing")),
        false => Ok(epochs),
    }
}

fn stored_header(store: &dyn Store, height: Height) -> Result<StoredHeader, StoreError> {
    let stored: StoredHeader = rows::must(store, Family::Headers, height)?;
    if stored.header.height != height || stored.outcome.checkpoint.height != height {
        let reason = format!("it holds the header of height {}", stored.header.height);
        return Err(rows::damaged(Family::Headers, &rows::height_key(height), reason));
    }
    Ok(stored)
}

/// The tip at the state height, its certificates not known yet.
fn tip_at(store: &dyn Store, genesis: Tip, height: Height) -> Result<Tip, StoreError> {
    if height == Height(0) {
        return Ok(genesis);
    }
    let StoredHeader { header, outcome, .. } = stored_header(store, height)?;
    let Header { time, anchor, .. } = header;
    Ok(Tip { height, hash: outcome.checkpoint.block, time, anchor, outcome, ..genesis })
}
