//! Opening a ledger: from the genesis, or from a store that may have lost what was written behind.
//!
//! The records in the store stand for the state height. The blocks above it are executed again, and what comes out is
//! compared with everything the chain and the store say of the same height: the outcome stored with the block, the
//! anchors in later headers, the stored checkpoint certificates. A difference is damage or a fault of this program;
//! either way the ledger does not open. Nor does it on a highest block without a commit certificate of its own: none is
//! ever written as the last of a batch.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use quorate_crypto::{Hash, encode};

use super::live::{Live, Shared};
use super::{
    Done, GenesisState, Ledger, LedgerError, OVERLAY_BYTES_MAX, Pending, Usable, WRITE_BEHIND_BYTES, error,
    proof_window,
};
use crate::anchors::RecentAnchors;
use crate::block::{Block, Header};
use crate::certificate::{CheckpointCertificate, CommitCertificate};
use crate::epoch::EpochStart;
use crate::primitives::{Epoch, Height};
use crate::state::{Record, RecordKey, Trie};
use crate::store::overlay::Overlay;
use crate::store::rows::{self, FORMAT, Meta, StoredHeader};
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
        let (epochs, later) = epochs(&*store, state_height)?;
        let epoch = epochs.last().expect("the first starts at 0");
        let trie = Trie::build(state_height, leaves(&*store)?, proof_window(epoch));
        if trie.root() != outcome.checkpoint.state_root {
            let (own, other) = (trie.root(), outcome.checkpoint.state_root);
            return Err(LedgerError::Diverged { height: state_height, what: "state root", own, other });
        }
        let tip = tip_at(&*store, start.clone(), state_height)?;
        check_epoch(&*store, epoch)?;
        let live = Live { tip, overlay: Overlay::default(), replaced: VecDeque::new(), epochs };
        let origin = (genesis.chain, genesis.time, start.outcome);
        let shared = Arc::new(Shared::new(store.clone(), origin, live, trie));
        let anchors = recent_anchors(&*store, state_height)?;
        let mut ledger = Ledger { store, shared, anchors, waiting_since: None, state: Usable::Yes };
        ledger.execute_again(state_height, &later)?;
        ledger.read_certificates()?;
        Ok(ledger)
    }

    /// Executes the blocks above the state height, with which the `later` epochs come about again.
    fn execute_again(&mut self, state_height: Height, later: &[EpochStart]) -> Result<(), LedgerError> {
        let mut later = later.iter();
        let top =
            rows::last::<StoredHeader>(&*self.store, Family::Headers)?.map_or(Height(0), |(top, _)| top);
        let mut tip = self.tip();
        for height in (state_height.0 + 1..=top.0).map(Height) {
            let stored = stored_header(&*self.store, height)?;
            let block = rows::block(&*self.store, height)?;
            self.check_body(&block, &stored, &tip)?;
            let mut pending = Pending::default();
            let Done { next_epoch, .. } = self.run(&mut pending, &mut tip, &block)?;
            if let Some(next) = next_epoch
                && later.next() != Some(&*next)
            {
                let reason = "it is not the epoch that executing the blocks below gives";
                return Err(rows::damaged(Family::Epochs, &rows::height_key(next.start), reason).into());
            }
            let own = tip.outcome.checkpoint;
            error::compare(&own, &stored.outcome.checkpoint.anchor())?;
            if tip.outcome != stored.outcome {
                let reason = "what it says of the end of the epoch is not what executing it gives";
                return Err(rows::damaged(Family::Headers, &rows::height_key(height), reason).into());
            }
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
        match later.next() {
            None => Ok(()),
            Some(beyond) => {
                let reason = "an epoch that no stored block begins";
                Err(rows::damaged(Family::Epochs, &rows::height_key(beyond.start), reason).into())
            }
        }
    }

    /// A stored block is executed again only if it is the one that was stored: the header row's, with the transactions
    /// its header names, on top of the block before it.
    fn check_body(&self, block: &Block, stored: &StoredHeader, tip: &Tip) -> Result<(), StoreError> {
        let header = block.header();
        let problem = if *header != stored.header || block.hash() != stored.outcome.checkpoint.block {
            Some("its header is not that of the header row".to_owned())
        } else if (header.chain, header.epoch) != (self.shared.chain, self.epoch().number)
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
        if live.tip.base_height != top {
            let reason = "the highest block has no certificate of its own";
            return Err(rows::damaged(Family::Certificates, &rows::height_key(top), reason).into());
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

/// The epochs known at a height, the last of them that of the next block, and those that begin above.
type Epochs = (Vec<Arc<EpochStart>>, Vec<EpochStart>);

fn epochs(store: &dyn Store, state_height: Height) -> Result<Epochs, StoreError> {
    let (mut known, mut later) = (Vec::new(), Vec::new());
    rows::try_scan(store, Family::Epochs, &[], |key, value| {
        let epoch: EpochStart = rows::parse(Family::Epochs, key, value)?;
        let number = Epoch((known.len() + later.len()) as u64);
        if (epoch.number, epoch.start) != (number, rows::height_of_key(Family::Epochs, key)?) {
            return Err(rows::damaged(Family::Epochs, key, format!("it holds epoch {}", epoch.number)));
        }
        if epoch.start <= state_height.next() {
            known.push(Arc::new(epoch))
        } else {
            later.push(epoch)
        }
        Ok::<_, StoreError>(ControlFlow::Continue(()))
    })?;
    match known.first() {
        Some(first) if first.start == Height(0) => Ok((known, later)),
        _ => Err(rows::damaged(Family::Epochs, &rows::height_key(Height(0)), "the row is missing")),
    }
}

/// That the epoch of the next block is the one in the state.
fn check_epoch(store: &dyn Store, epoch: &EpochStart) -> Result<(), StoreError> {
    let record = |key| rows::record(store, &key);
    let in_state = match record(RecordKey::Epoch)?.as_deref() {
        Some(Record::Epoch(state)) => (state.number, state.start) == (epoch.number, epoch.start),
        _ => false,
    };
    let validators = Record::Validators(epoch.validators.clone());
    let parameters = Record::Parameters(Box::new(epoch.parameters.clone()));
    if in_state
        && record(RecordKey::Validators)?.as_deref() == Some(&validators)
        && record(RecordKey::Parameters)?.as_deref() == Some(&parameters)
    {
        return Ok(());
    }
    let key = rows::height_key(epoch.start);
    Err(rows::damaged(Family::Epochs, &key, "the state at this height is of another epoch"))
}

/// What the last headers up to a height anchor.
fn recent_anchors(store: &dyn Store, height: Height) -> Result<RecentAnchors, StoreError> {
    let mut anchors = RecentAnchors::default();
    for height in (RecentAnchors::first_height(height).0..=height.0).map(Height) {
        anchors.push(&stored_header(store, height)?.header);
    }
    Ok(anchors)
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
