//! The ledger: the chain as executed here, its state and its store. One writer, any number of readers.
//!
//! ```text
//!            apply(blocks)                      flush_due(now)
//!                 │ execute, one by one              │
//!                 ▼                                  ▼
//!   one synced batch: headers, blocks,     one batch, not synced: changed records,
//!   receipts, certificates, outcomes       index entries, the height they stand for
//!                 │                                  │
//!                 └───────────▶ store ◀──────────────┘
//!                                 ▲
//!            Reader ── overlay ───┘   what is not written behind yet is read from memory
//! ```
//!
//! Invariants:
//! - A block is executed only on the state of its parent. What [`Ledger::apply`] returns, and what a [`Reader`] says
//!   of the tip, is on disk: synced together with the block it came from.
//! - The tip has a commit certificate of its own, but for the genesis, which needs none. What a crash leaves is the end
//!   of some batch, so a replica never starts on a block that it can neither prove nor vote for (`docs/pbft.md` §6).
//! - The records in the store stand for one height, the *state height*, at or below the tip. [`Ledger::open`] executes
//!   the blocks above it again and compares what comes out with what was stored, with the anchors of later headers and
//!   with the stored checkpoint certificates.
//! - After an error nothing more is written. A failed write leaves the store in a state nobody knows, so the ledger
//!   answers [`LedgerError::Stopped`] from then on.

mod error;
mod genesis_state;
mod live;
mod open;
mod reader;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::encode;

pub use error::LedgerError;
pub use genesis_state::{GenesisState, GenesisStateError};
pub use reader::{
    KeyRecord, NamedKey, ProvenRecord, Reader, StoredBlock, TransactionPlace, TransactionStatus,
};

use crate::anchors::RecentAnchors;
use crate::block::{Block, Header};
use crate::certificate::{CheckpointCertificate, CheckpointPayload};
use crate::delivery::Delivered;
use crate::epoch::EpochStart;
use crate::execute::{Change, Execution, execute};
use crate::primitives::{Height, UnixMillis};
use crate::receipt::{Receipt, receipts_root};
use crate::state::{LeafChange, Record, RecordKey};
use crate::store::overlay::Overlay;
use crate::store::rows::{self, StoredHeader};
use crate::store::{Durability, Family, Store, WriteBatch};
use crate::tip::Tip;
use live::{Replaced, Shared, View};

/// After so long changed records are written behind: it bounds how much is executed again after a crash.
pub const WRITE_BEHIND_MS: u64 = 2_000;
/// So much that waits is written without waiting longer. One batch of this size holds other writes up for some tens
/// of milliseconds.
pub const WRITE_BEHIND_BYTES: usize = 8 << 20;
/// More than this never waits: where nobody calls [`Ledger::flush_due`], [`Ledger::apply`] itself writes.
pub const OVERLAY_BYTES_MAX: usize = 8 * WRITE_BEHIND_BYTES;

/// What executing a block gave, as the consensus engine needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ExecutionOutcome {
    /// What this validator signs as its CHECKPOINT; height and block hash are in it.
    pub checkpoint: CheckpointPayload,
    /// When the state wants a block although nobody submits anything; `None`: it does not.
    pub due: Option<UnixMillis>,
    /// The last height of the epoch, once that is known.
    pub epoch_ends: Option<Height>,
}

/// The chain and its state, to be written to. There is one for each store.
pub struct Ledger<S: Store> {
    store: Arc<S>,
    shared: Arc<Shared>,
    /// What the headers up to the tip anchor.
    anchors: RecentAnchors,
    /// When the oldest change that waits to be written behind was first seen by [`Ledger::flush_due`].
    waiting_since: Option<UnixMillis>,
    state: Usable,
}

/// Whether the store may still be written to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Usable {
    Yes,
    /// Something failed before; what is on disk is not known.
    Stopped,
}

/// Blocks that are executed and not published yet.
#[derive(Default)]
struct Pending {
    /// The epochs that begin above the last of them, or between them.
    epochs: Vec<Arc<EpochStart>>,
    overlay: Overlay,
    replaced: VecDeque<Replaced>,
    outcomes: Vec<ExecutionOutcome>,
}

impl<S: Store> Ledger<S> {
    /// Where the ledger stands.
    #[must_use]
    pub fn tip(&self) -> Tip {
        self.shared.live().tip.clone()
    }

    /// The highest block executed and stored: [`Tip::height`], without the rest.
    #[must_use]
    pub fn height(&self) -> Height {
        self.shared.live().tip.height
    }

    /// The highest of them with a commit certificate of its own: [`Tip::base_height`], without the rest.
    #[must_use]
    pub fn base_height(&self) -> Height {
        self.shared.live().tip.base_height
    }

    /// A handle for reading, from any thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.shared.clone())
    }

    /// The store written to.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The epoch of the next block.
    #[must_use]
    pub fn epoch(&self) -> Arc<EpochStart> {
        self.shared.live().newest_epoch()
    }

    /// Executes committed blocks, which must follow the tip in height order and end with one that has a commit certificate
    /// of its own ([`Deliveries`](crate::Deliveries)), and stores all of them in one synced write. What it returns, an outcome for each block, is on disk.
    ///
    /// # Errors
    /// The store's; [`LedgerError::Diverged`] when a block's anchor contradicts what was executed here. In both cases
    /// none of these blocks is shown to readers, and the ledger is stopped.
    ///
    /// # Panics
    /// If a block does not follow the one before it or its certificate names another: the engine delivers in order. If
    /// the last block of the batch has no certificate of its own, before anything is written: after a crash the replica
    /// would stand on it, and could neither prove it nor vote for it. If the last block of an epoch has none: none of the
    /// next epoch's covers it.
    pub fn apply(&mut self, batch: &[Delivered]) -> Result<Vec<ExecutionOutcome>, LedgerError> {
        self.guarded(|ledger| ledger.apply_batch(batch))
    }

    fn apply_batch(&mut self, batch: &[Delivered]) -> Result<Vec<ExecutionOutcome>, LedgerError> {
        let Some(last) = batch.last() else { return Ok(Vec::new()) };
        assert!(last.certificate.is_some(), "a batch ends with a certified block (docs/pbft.md §6)");
        let mut tip = self.tip();
        let mut pending = Pending::default();
        let mut rows = WriteBatch::default();
        for Delivered { block, certificate } in batch {
            let Done { receipts, next_epoch } = self.run(&mut pending, &mut tip, block)?;
            put_block(&mut rows, block, &tip.outcome, &receipts);
            if let Some(next) = next_epoch {
                assert!(
                    certificate.is_some(),
                    "the last block of an epoch is certified in it (docs/pbft.md §7)"
                );
                rows.put(Family::Epochs, rows::height_key(next.start), encode(&*next));
            }
            if let Some(certificate) = certificate {
                let payload = &certificate.payload;
                assert_eq!(
                    (payload.epoch, payload.height, payload.block),
                    (block.header().epoch, tip.height, tip.hash),
                    "a certificate of its own"
                );
                rows.put(Family::Certificates, rows::height_key(tip.height), encode(certificate));
                tip.base_height = tip.height;
                tip.base = Some(certificate.clone());
            }
        }
        self.store.write(rows, Durability::Synced)?;
        let outcomes = pending.outcomes.clone();
        self.publish(pending, tip);
        if self.shared.live().overlay.bytes() > OVERLAY_BYTES_MAX {
            self.write_behind(Durability::Behind)?;
        }
        Ok(outcomes)
    }

    /// Executes one block on top of what is pending, takes the trie one height up, and moves the tip.
    fn run(&mut self, pending: &mut Pending, tip: &mut Tip, block: &Arc<Block>) -> Result<Done, LedgerError> {
        let header = block.header();
        let epoch = pending.epochs.last().cloned().unwrap_or_else(|| self.epoch());
        assert_eq!(header.chain, self.shared.chain, "a block of this chain");
        assert_eq!(header.epoch, epoch.number, "a block of this epoch");
        assert_eq!((header.height, header.parent), (tip.height.next(), tip.hash), "the block after the tip");
        assert!(header.time > tip.time, "time grows from block to block (docs/pbft.md §3.1)");
        self.check_anchor(pending, tip, &epoch, header)?;

        let Execution { receipts, changes, due, epoch_ends, next_epoch } = {
            let live = self.shared.live();
            let view = View { newest: &pending.overlay, live: &live, store: &*self.store };
            execute(&view, &self.anchors, block)?
        };
        let next_epoch = next_epoch.map(Arc::new);
        pending.epochs.extend(next_epoch.clone());
        // Hashed before the lock is taken: those who want a proof wait for the trie only.
        let leaf = |(key, change): (&RecordKey, &Change)| LeafChange {
            path: key.path(),
            record: change.after.as_deref().map(Record::hash),
        };
        let leaves: Vec<_> = changes.iter().map(leaf).collect();
        let state_root = self.shared.trie_mut().advance(leaves);
        let outcome = ExecutionOutcome {
            checkpoint: CheckpointPayload {
                epoch: header.epoch,
                height: header.height,
                block: block.hash(),
                state_root,
                receipts_root: receipts_root(&receipts),
                next_validators: next_epoch.as_ref().unwrap_or(&epoch).validators.hash(),
            },
            due,
            epoch_ends,
        };
        self.anchors.push(header);
        pending.take(block, changes, outcome);
        tip.height = header.height;
        tip.hash = block.hash();
        tip.time = header.time;
        tip.anchor = header.anchor;
        tip.outcome = outcome;
        Ok(Done { receipts, next_epoch })
    }

    /// A header's anchor is certified by a quorum. If it is not what was executed here, this replica or the quorum
    /// has gone wrong, and neither may go on. The first header of an epoch anchors the last block of the one before it:
    /// that checkpoint names the set that decides from here on, and the old set signed it (`docs/pbft.md §7`).
    fn check_anchor(
        &self,
        pending: &Pending,
        tip: &Tip,
        epoch: &EpochStart,
        header: &Header,
    ) -> Result<(), LedgerError> {
        let anchor = &header.anchor;
        assert!(
            anchor.height <= tip.height,
            "a checkpoint is anchored above its height, once it is certified"
        );
        if header.height == epoch.start {
            assert_eq!(
                anchor.height, tip.height,
                "an epoch begins with the checkpoint that ends the one before"
            );
        }
        let first_pending = self.shared.live().tip.height.next();
        let own = match anchor.height.0.checked_sub(first_pending.0) {
            Some(index) => pending.outcomes[usize::try_from(index).expect("a place in memory")],
            None => self.shared.outcome(anchor.height)?,
        };
        error::compare(&own.checkpoint, anchor)
    }

    /// Shows executed blocks to readers.
    fn publish(&self, pending: Pending, tip: Tip) {
        let mut live = self.shared.live_mut();
        live.tip = tip;
        let epochs_begun = !pending.epochs.is_empty();
        live.epochs.extend(pending.epochs);
        let window = proof_window(&live.newest_epoch());
        if epochs_begun {
            self.shared.trie_mut().set_window(window);
        }
        live.overlay.absorb(pending.overlay);
        live.replaced.extend(pending.replaced);
        while live.replaced.len() > window {
            live.replaced.pop_front();
        }
    }

    /// Stores the checkpoint certificate of an executed height, which the caller has verified. It is written without
    /// a sync of its own and is durable with the next block: whoever loses it in a crash is given it again by others.
    ///
    /// # Errors
    /// [`LedgerError::Diverged`] when a quorum signed something else than was executed here: the ledger stops. The
    /// store's.
    ///
    /// # Panics
    /// If the height has not been executed: the engine calls nothing else stable.
    pub fn stable(&mut self, certificate: &CheckpointCertificate) -> Result<(), LedgerError> {
        self.guarded(|ledger| ledger.store_stable(certificate))
    }

    fn store_stable(&mut self, certificate: &CheckpointCertificate) -> Result<(), LedgerError> {
        let height = certificate.payload.height;
        assert!(height <= self.shared.live().tip.height, "stable, so executed (docs/pbft.md §1)");
        let own = self.shared.outcome(height)?.checkpoint;
        let anchor = certificate.payload.anchor();
        if own != certificate.payload {
            error::compare(&own, &anchor)?; // says which part of it
        }
        let mut rows = WriteBatch::default();
        rows.put(Family::Checkpoints, rows::height_key(height), encode(certificate));
        self.store.write(rows, Durability::Behind)?;
        let mut live = self.shared.live_mut();
        if height > live.tip.stable.height {
            live.tip.stable = anchor;
            live.tip.stable_certificate = Some(certificate.clone());
        }
        Ok(())
    }

    /// Writes changed records and indexes behind if they have waited [`WRITE_BEHIND_MS`] or are
    /// [`WRITE_BEHIND_BYTES`]. `now` may be any clock that does not go back; call it every few hundred milliseconds.
    /// True if something was written.
    ///
    /// # Errors
    /// The store's; the ledger is then stopped.
    pub fn flush_due(&mut self, now: UnixMillis) -> Result<bool, LedgerError> {
        let bytes = self.shared.live().overlay.bytes();
        if bytes == 0 {
            self.waiting_since = None;
            return Ok(false);
        }
        let since = *self.waiting_since.get_or_insert(now);
        if bytes < WRITE_BEHIND_BYTES && now.millis_since(since) < WRITE_BEHIND_MS {
            return Ok(false);
        }
        self.guarded(|ledger| ledger.write_behind(Durability::Behind))?;
        Ok(true)
    }

    /// Writes everything that waits, and syncs: for a clean stop, after which nothing is executed again.
    ///
    /// # Errors
    /// The store's; the ledger is then stopped.
    pub fn flush(&mut self) -> Result<(), LedgerError> {
        self.guarded(|ledger| ledger.write_behind(Durability::Synced))
    }

    fn write_behind(&mut self, durability: Durability) -> Result<(), LedgerError> {
        self.waiting_since = None;
        let batch = {
            let live = self.shared.live();
            if live.overlay.is_empty() && durability == Durability::Behind {
                return Ok(());
            }
            live.overlay.to_batch(live.tip.height)
        };
        // Readers go on finding all of it in the overlay until the store has it.
        self.store.write(batch, durability)?;
        self.shared.live_mut().overlay = Overlay::default();
        Ok(())
    }

    /// Does something that must not be half done: after an error nothing more is.
    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        if self.state == Usable::Stopped {
            return Err(LedgerError::Stopped);
        }
        let result = work(self);
        if result.is_err() {
            self.state = Usable::Stopped;
        }
        result
    }
}

impl<S: Store> fmt::Debug for Ledger<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("tip", &self.tip()).finish_non_exhaustive()
    }
}

/// What a block came to, beside what is pending.
struct Done {
    receipts: Vec<Receipt>,
    next_epoch: Option<Arc<EpochStart>>,
}

/// For how many heights below the tip proofs can be given.
fn proof_window(epoch: &EpochStart) -> usize {
    usize::try_from(epoch.parameters.log_window).expect("at most 4,096")
}

impl Pending {
    /// Takes over what one block did.
    fn take(&mut self, block: &Block, changes: BTreeMap<RecordKey, Change>, outcome: ExecutionOutcome) {
        let mut replaced = Replaced { outcome, records: BTreeMap::new() };
        for (key, change) in changes {
            replaced.records.insert(key.clone(), change.before);
            self.overlay.set_record(key, change.after);
        }
        for (index, transaction) in (0u32..).zip(block.transactions()) {
            self.overlay.set_transaction(transaction.id(), block.height(), index);
        }
        self.overlay.set_hash(block.hash(), block.height());
        self.replaced.push_back(replaced);
        self.outcomes.push(outcome);
    }
}

/// The rows of an executed block.
fn put_block(rows: &mut WriteBatch, block: &Arc<Block>, outcome: &ExecutionOutcome, receipts: &[Receipt]) {
    let key = rows::height_key(block.height());
    let header = StoredHeader {
        header: block.header().clone(),
        transactions: u32::try_from(block.transactions().len()).expect("bounded by BLOCK_TRANSACTIONS_LIMIT"),
        outcome: *outcome,
    };
    rows.put(Family::Headers, key, encode(&header));
    rows.put(Family::Blocks, key, encode(&**block));
    rows.put(Family::Receipts, key, encode(receipts));
}

#[cfg(test)]
pub(crate) mod tests;
