//! Reading the chain and its state from any thread, through what is not written behind yet.
//!
//! An answer about the state says at which height it holds. To make sure of that a reader holds the shared lock while
//! it looks into the overlay and, where the overlay says nothing, into the store: the writer changes a record in the
//! store only while the overlay still holds it.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use quorate_crypto::Hash;

use super::live::Shared;
use crate::block::Block;
use crate::certificate::{CertifiedBlocks, CheckpointCertificate, CommitCertificate};
use crate::epoch::{Approval, EpochEnd, EpochStart};
use crate::primitives::{Account, Amount, Epoch, Height, UnixMillis, Version};
use crate::receipt::Receipt;
use crate::state::{Record, RecordKey, StateProof};
use crate::store::rows::{self, StoredHeader};
use crate::store::{Family, StoreError};
use crate::tip::Tip;

/// A handle for reading. Clones are cheap and share everything.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

/// A block with everything that was stored with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    /// The block.
    pub block: Arc<Block>,
    /// Its own commit certificate; without one see [`Reader::commit_certificate_at_or_above`].
    pub certificate: Option<CommitCertificate>,
    /// One for each transaction, in their order.
    pub receipts: Vec<Receipt>,
    /// What executing it gave.
    pub outcome: super::ExecutionOutcome,
}

/// Where a transaction was included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionPlace {
    /// The height of its block.
    pub height: Height,
    /// Its place in the block.
    pub index: u32,
    /// What became of it.
    pub receipt: Receipt,
}

/// What the chain, and nothing else, says about a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// It was included; the receipt says whether it succeeded.
    Committed(TransactionPlace),
    /// It can never be included: no block up to the first whose time reached its expiry holds it.
    Expired {
        /// That first block.
        at: Height,
    },
    /// It may still be included: the chain's time has not reached its expiry.
    Open {
        /// The height up to which no block holds it.
        height: Height,
        /// The time of that block.
        time: UnixMillis,
    },
}

/// A key as applications see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Who created it and alone may change it.
    pub owner: Account,
    /// Which operation set it last.
    pub version: Version,
    /// What it is set to.
    pub value: Vec<u8>,
}

/// A key's name and what it is.
pub type NamedKey = (Vec<u8>, KeyRecord);

/// A record, or its absence, with what proves it against the state root of a height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenRecord {
    /// The height.
    pub height: Height,
    /// The record as it was at that height.
    pub record: Option<Arc<Record>>,
    /// Verified by [`StateProof::verify`] against the state root in the checkpoint certificate of that height.
    pub proof: StateProof,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The chain's id.
    #[must_use]
    pub fn chain(&self) -> Hash {
        self.shared.chain
    }

    /// Height, hash and time of the highest executed block.
    #[must_use]
    pub fn tip(&self) -> (Height, Hash, UnixMillis) {
        let live = self.shared.live();
        (live.tip.height, live.tip.hash, live.tip.time)
    }

    /// Where the ledger stands, with certificates.
    #[must_use]
    pub fn full_tip(&self) -> Tip {
        self.shared.live().tip.clone()
    }

    /// A block with certificate and receipts. Height 0 has no block.
    ///
    /// # Errors
    /// The store's.
    pub fn block(&self, height: Height) -> Result<Option<StoredBlock>, StoreError> {
        let Some(header) = self.header(height)? else { return Ok(None) };
        let store = &*self.shared.store;
        Ok(Some(StoredBlock {
            block: rows::block(store, height)?,
            certificate: self.commit_certificate(height)?,
            receipts: rows::must(store, Family::Receipts, height)?,
            outcome: header.outcome,
        }))
    }

    /// A header with the number of transactions and the outcome, without reading the transactions.
    ///
    /// # Errors
    /// The store's.
    pub fn header(&self, height: Height) -> Result<Option<StoredHeader>, StoreError> {
        if height == Height(0) || height > self.tip().0 {
            return Ok(None);
        }
        rows::must(&*self.shared.store, Family::Headers, height).map(Some)
    }

    /// The receipts of a block, in the order of its transactions.
    ///
    /// # Errors
    /// The store's.
    pub fn receipts(&self, height: Height) -> Result<Option<Vec<Receipt>>, StoreError> {
        rows::at(&*self.shared.store, Family::Receipts, height)
    }

    /// The height of a committed block; that of the chain id is 0.
    ///
    /// # Errors
    /// The store's.
    pub fn height_of(&self, hash: &Hash) -> Result<Option<Height>, StoreError> {
        let live = self.shared.live();
        match live.overlay.height_of(hash) {
            Some(height) => Ok(Some(height)),
            None => rows::read(&*self.shared.store, Family::Hashes, hash.as_bytes()),
        }
    }

    /// Where a transaction was included, and what became of it.
    ///
    /// # Errors
    /// The store's.
    pub fn transaction(&self, id: &Hash) -> Result<Option<TransactionPlace>, StoreError> {
        let Some((height, index)) = self.place_of(id)? else { return Ok(None) };
        let receipts: Vec<Receipt> = rows::must(&*self.shared.store, Family::Receipts, height)?;
        match receipts.into_iter().nth(index as usize) {
            Some(receipt) if receipt.id == *id => Ok(Some(TransactionPlace { height, index, receipt })),
            _ => {
                Err(rows::damaged(Family::Receipts, &rows::height_key(height), format!("no receipt of {id}")))
            }
        }
    }

    /// The height of the block that holds a transaction. It costs one small read, where [`Reader::transaction`] reads all
    /// receipts of the block: this is for those who look up what strangers send.
    ///
    /// # Errors
    /// The store's.
    pub fn height_of_transaction(&self, id: &Hash) -> Result<Option<Height>, StoreError> {
        Ok(self.place_of(id)?.map(|(height, _)| height))
    }

    /// Height and place in the block.
    fn place_of(&self, id: &Hash) -> Result<Option<(Height, u32)>, StoreError> {
        let live = self.shared.live();
        match live.overlay.transaction(id) {
            Some(place) => Ok(Some(place)),
            None => rows::read(&*self.shared.store, Family::Transactions, id.as_bytes()),
        }
    }

    /// What the chain says about a transaction: committed, expired, or neither yet. No clock is asked: it is expired
    /// when a committed block's time has reached its expiry and no block up to the first such holds its id.
    ///
    /// # Errors
    /// The store's.
    pub fn status(&self, id: &Hash, expires_at: UnixMillis) -> Result<TransactionStatus, StoreError> {
        // The tip is read first: a block that comes between the two reads can only commit the transaction.
        let (height, _, time) = self.tip();
        if let Some(place) = self.transaction(id)? {
            return Ok(TransactionStatus::Committed(place));
        }
        if time < expires_at {
            return Ok(TransactionStatus::Open { height, time });
        }
        let at = self.first_block_since(expires_at)?.expect("the tip's time has reached it");
        Ok(TransactionStatus::Expired { at })
    }

    /// The lowest height whose time is `time` or later, the genesis included; `None`: the chain has not got there.
    ///
    /// # Errors
    /// The store's.
    pub fn first_block_since(&self, time: UnixMillis) -> Result<Option<Height>, StoreError> {
        let (tip, _, tip_time) = self.tip();
        if tip_time < time {
            return Ok(None);
        }
        if self.shared.genesis_time >= time {
            return Ok(Some(Height(0)));
        }
        // Times rise from block to block: below `low` they are lower, at `high` and above they are not.
        let (mut low, mut high) = (1, tip.0);
        while low < high {
            let middle = low + (high - low) / 2;
            let stored: StoredHeader = rows::must(&*self.shared.store, Family::Headers, Height(middle))?;
            if stored.header.time < time { low = middle + 1 } else { high = middle }
        }
        Ok(Some(Height(low)))
    }

    /// The committed blocks whose time is `since` or later, in height order, up to the present tip: what the window of
    /// ids is rebuilt from.
    ///
    /// # Errors
    /// The store's.
    pub fn recent_blocks(
        &self,
        since: UnixMillis,
    ) -> Result<impl Iterator<Item = Result<Arc<Block>, StoreError>> + use<>, StoreError> {
        let reader = self.clone();
        let (tip, ..) = self.tip();
        let first = self.first_block_since(since)?.unwrap_or(tip.next()).max(Height(1));
        Ok((first.0..=tip.0).map(move |height| rows::block(&*reader.shared.store, Height(height))))
    }

    /// An account's balance at the tip; `None`: it holds nothing.
    ///
    /// # Errors
    /// The store's.
    pub fn account(&self, account: &Account) -> Result<(Height, Option<Amount>), StoreError> {
        let (height, record) = self.record(&RecordKey::Account(*account))?;
        match record.as_deref() {
            None => Ok((height, None)),
            Some(Record::Account { balance }) => Ok((height, Some(*balance))),
            Some(other) => unreachable!("records are read with their kind checked, an account is {other:?}"),
        }
    }

    /// A key at the tip.
    ///
    /// # Errors
    /// The store's.
    pub fn key(&self, key: &[u8]) -> Result<(Height, Option<KeyRecord>), StoreError> {
        let (height, record) = self.record(&RecordKey::Key(key.to_vec()))?;
        Ok((height, record.as_deref().and_then(key_record)))
    }

    /// Any record at the tip.
    ///
    /// # Errors
    /// The store's.
    pub fn record(&self, key: &RecordKey) -> Result<(Height, Option<Arc<Record>>), StoreError> {
        let live = self.shared.live();
        Ok((live.tip.height, live.record(&*self.shared.store, key)?))
    }

    /// How the epoch of the next block ends, once that is decided.
    ///
    /// # Errors
    /// The store's.
    pub fn epoch_end(&self) -> Result<(Height, Option<EpochEnd>), StoreError> {
        let (height, record) = self.record(&RecordKey::Epoch)?;
        match record.as_deref() {
            Some(Record::Epoch(epoch)) => Ok((height, epoch.ends.clone())),
            other => unreachable!("the genesis sets the epoch and nothing removes it, it is {other:?}"),
        }
    }

    /// The open approvals, in the order of the validators who gave them.
    ///
    /// # Errors
    /// The store's.
    pub fn approvals(&self) -> Result<(Height, Vec<(Account, Approval)>), StoreError> {
        let live = self.shared.live();
        let mut open = Vec::new();
        for validator in live.newest_epoch().validators.keys() {
            let record = live.record(&*self.shared.store, &RecordKey::Approval(Account(*validator)))?;
            if let Some(Record::Approval(approval)) = record.as_deref() {
                open.push((Account(*validator), approval.clone()));
            }
        }
        Ok((live.tip.height, open))
    }

    /// Up to `limit` keys that begin with `prefix`, in order, from the first after `after` on.
    ///
    /// # Errors
    /// The store's.
    pub fn list_keys(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<(Height, Vec<NamedKey>), StoreError> {
        // The first key above another is that key and a zero byte.
        let from = after.map_or(prefix.to_vec(), |after| prefix.to_vec().max([after, &[0]].concat()));
        let from = RecordKey::Key(from);
        let live = self.shared.live();
        let mut waiting = live.overlay.records_from(&from).peekable();
        let mut found = Found { prefix, limit, keys: Vec::new() };
        rows::try_scan(&*self.shared.store, Family::State, &from.row(), |row, value| {
            let key = RecordKey::from_row(row)
                .ok_or_else(|| rows::damaged(Family::State, row, "the key is of no known kind"))?;
            while let Some((newer, record)) = waiting.next_if(|(newer, _)| **newer < key) {
                if found.add(newer, record.as_deref())?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            match waiting.next_if(|(newer, _)| **newer == key) {
                Some((_, record)) => found.add(&key, record.as_deref()),
                None => found.add(&key, Some(&rows::parse(Family::State, row, value)?)),
            }
        })?;
        for (key, record) in waiting {
            if found.add(key, record.as_deref())?.is_break() {
                break;
            }
        }
        Ok((live.tip.height, found.keys))
    }

    /// A record, or its absence, at a height, with the proof; `None` for heights that cannot be proven any more or
    /// yet: proofs are kept for the last `log_window` heights, and after a start for those executed since.
    ///
    /// # Errors
    /// The store's.
    pub fn prove(&self, key: &RecordKey, height: Height) -> Result<Option<ProvenRecord>, StoreError> {
        let live = self.shared.live();
        if height > live.tip.height {
            return Ok(None);
        }
        let Some(proof) = self.shared.trie().prove(&key.path(), height) else { return Ok(None) };
        let record = live.record_at(&*self.shared.store, key, height)?;
        Ok(Some(ProvenRecord { height, record, proof }))
    }

    /// The epoch whose validators decide a height: number, validators, parameters. Above the tip this is the last epoch
    /// known; one that is ending does not know yet, before its last block is executed, what follows.
    #[must_use]
    pub fn epoch_at(&self, height: Height) -> Arc<EpochStart> {
        let live = self.shared.live();
        let after = live.epochs.partition_point(|epoch| epoch.start <= height);
        live.epochs[after.checked_sub(1).expect("the first epoch starts at 0")].clone()
    }

    /// The validators that decide a height.
    #[must_use]
    pub fn validators(&self, height: Height) -> crate::validators::ValidatorSet {
        self.epoch_at(height).validators.clone()
    }

    /// The parameters in force at a height.
    #[must_use]
    pub fn parameters(&self, height: Height) -> crate::parameters::Parameters {
        self.epoch_at(height).parameters.clone()
    }

    /// The epoch of the next block.
    #[must_use]
    pub fn epoch(&self) -> Arc<EpochStart> {
        self.shared.live().newest_epoch()
    }

    /// An epoch by its number; `None`: it has not begun.
    #[must_use]
    pub fn epoch_numbered(&self, number: Epoch) -> Option<Arc<EpochStart>> {
        let live = self.shared.live();
        live.epochs.get(usize::try_from(number.0).ok()?).cloned()
    }

    /// Whether a commit certificate of the epoch of the next block is known, or there was no epoch before it: until
    /// then validators of the epoch before may still need its votes repeated (`docs/pbft.md §7`).
    #[must_use]
    pub fn epoch_is_confirmed(&self) -> bool {
        let live = self.shared.live();
        let number = live.newest_epoch().number;
        number == Epoch(0) || live.tip.base.as_ref().is_some_and(|base| base.payload.epoch == number)
    }

    /// A block's own commit certificate.
    ///
    /// # Errors
    /// The store's.
    pub fn commit_certificate(&self, height: Height) -> Result<Option<CommitCertificate>, StoreError> {
        rows::at(&*self.shared.store, Family::Certificates, height)
    }

    /// The lowest commit certificate that covers a height, and the height it names.
    ///
    /// # Errors
    /// The store's.
    pub fn commit_certificate_at_or_above(
        &self,
        height: Height,
    ) -> Result<Option<(Height, CommitCertificate)>, StoreError> {
        rows::first_from(&*self.shared.store, Family::Certificates, height)
    }

    /// The checkpoint certificate of a height, if one is stored.
    ///
    /// # Errors
    /// The store's.
    pub fn checkpoint(&self, height: Height) -> Result<Option<CheckpointCertificate>, StoreError> {
        rows::at(&*self.shared.store, Family::Checkpoints, height)
    }

    /// The blocks above a height, up to one that has a commit certificate of its own: as many as fit `max_blocks` and
    /// `max_bytes`, and at least up to the first such, so that whoever asks gets on; limits should leave room for a
    /// full window of blocks. They are all of one epoch, since a certificate is. `None`: no block above has one.
    ///
    /// # Errors
    /// The store's.
    pub fn certified_above(
        &self,
        height: Height,
        max_blocks: usize,
        max_bytes: usize,
    ) -> Result<Option<CertifiedBlocks>, StoreError> {
        let mut blocks = Vec::new();
        let mut bytes = 0usize;
        let mut whole: Option<(usize, CommitCertificate)> = None;
        let tip = self.tip().0;
        for next in (height.0.saturating_add(1)..=tip.0).map(Height) {
            let block = rows::block(&*self.shared.store, next)?;
            if blocks.last().is_some_and(|below: &Arc<Block>| below.header().epoch != block.header().epoch) {
                break;
            }
            bytes = bytes.saturating_add(block.size());
            let fits = blocks.len() < max_blocks && bytes <= max_bytes;
            if whole.is_some() && !fits {
                break;
            }
            blocks.push(block);
            if let Some(certificate) = self.commit_certificate(next)? {
                whole = Some((blocks.len(), certificate));
            }
        }
        let Some((count, certificate)) = whole else { return Ok(None) };
        blocks.truncate(count);
        Ok(Some(CertifiedBlocks { blocks, certificate }))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("tip", &self.tip()).finish_non_exhaustive()
    }
}

/// What a listing has found so far.
struct Found<'a> {
    prefix: &'a [u8],
    limit: usize,
    keys: Vec<NamedKey>,
}

impl Found<'_> {
    /// Takes the next record in order; `None`: it is gone. Breaks when there is nothing more to find.
    fn add(&mut self, key: &RecordKey, record: Option<&Record>) -> Result<ControlFlow<()>, StoreError> {
        let RecordKey::Key(key) = key else { return Ok(ControlFlow::Break(())) };
        if self.keys.len() >= self.limit || !key.starts_with(self.prefix) {
            return Ok(ControlFlow::Break(()));
        }
        self.keys.extend(record.and_then(key_record).map(|record| (key.clone(), record)));
        Ok(ControlFlow::Continue(()))
    }
}

fn key_record(record: &Record) -> Option<KeyRecord> {
    match record {
        Record::Key { owner, version, value } => {
            Some(KeyRecord { owner: *owner, version: *version, value: value.clone() })
        }
        Record::Account { .. }
        | Record::Validators(_)
        | Record::Parameters(_)
        | Record::Approval(_)
        | Record::Epoch(_) => None,
    }
}
