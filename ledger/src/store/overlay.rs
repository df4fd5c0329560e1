//! What the store does not hold yet: changed records and index entries that wait to be written behind.
//!
//! Each changed record waits once, however often it changes, so that a hot account costs one row every few seconds
//! and not one in every block.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_crypto::{Hash, encode};

use super::{Family, WriteBatch, rows};
use crate::epoch::EpochChange;
use crate::parameters::Parameters;
use crate::primitives::Height;
use crate::state::{Record, RecordKey};

/// What an entry is counted for beside its key and value.
const ENTRY_BYTES: usize = 64;

/// Records and index entries that are newer than the store's. `None` in place of a record: it is gone.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    records: BTreeMap<RecordKey, Option<Arc<Record>>>,
    transactions: BTreeMap<Hash, (Height, u32)>,
    hashes: BTreeMap<Hash, Height>,
    bytes: usize,
}

impl Overlay {
    /// The newest form of a record, if it is here: `Some(None)` says it is gone.
    pub(crate) fn record(&self, key: &RecordKey) -> Option<&Option<Arc<Record>>> {
        self.records.get(key)
    }

    /// The records from `from` on, in the order of their keys.
    pub(crate) fn records_from(
        &self,
        from: &RecordKey,
    ) -> impl Iterator<Item = (&RecordKey, &Option<Arc<Record>>)> {
        self.records.range(from..)
    }

    /// Where a transaction stands, if it is here.
    pub(crate) fn transaction(&self, id: &Hash) -> Option<(Height, u32)> {
        self.transactions.get(id).copied()
    }

    /// The height of a block, if it is here.
    pub(crate) fn height_of(&self, hash: &Hash) -> Option<Height> {
        self.hashes.get(hash).copied()
    }

    /// Roughly how much memory this takes and how much there is to write.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when the store holds everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.transactions.is_empty() && self.hashes.is_empty()
    }

    pub(crate) fn set_record(&mut self, key: RecordKey, record: Option<Arc<Record>>) {
        self.bytes += ENTRY_BYTES + weight(&key, record.as_deref());
        let key_weight = weight(&key, None);
        if let Some(before) = self.records.insert(key, record) {
            self.bytes -= ENTRY_BYTES + key_weight + before.as_deref().map_or(0, record_weight);
        }
    }

    pub(crate) fn set_transaction(&mut self, id: Hash, height: Height, index: u32) {
        self.transactions.insert(id, (height, index));
        self.bytes += ENTRY_BYTES;
    }

    pub(crate) fn set_hash(&mut self, hash: Hash, height: Height) {
        self.hashes.insert(hash, height);
        self.bytes += ENTRY_BYTES;
    }

    /// Takes over what is newer.
    pub(crate) fn absorb(&mut self, newer: Overlay) {
        for (key, record) in newer.records {
            self.set_record(key, record);
        }
        self.bytes += ENTRY_BYTES * (newer.transactions.len() + newer.hashes.len());
        self.transactions.extend(newer.transactions);
        self.hashes.extend(newer.hashes);
    }

    /// Everything as one batch, with the height the records stand for.
    pub(crate) fn to_batch(&self, height: Height) -> WriteBatch {
        let mut batch = WriteBatch::default();
        for (key, record) in &self.records {
            match record {
                Some(record) => batch.put(Family::State, key.row(), encode(&**record)),
                None => batch.delete(Family::State, key.row()),
            }
        }
        for (id, place) in &self.transactions {
            batch.put(Family::Transactions, id.as_bytes(), encode(place));
        }
        for (hash, height) in &self.hashes {
            batch.put(Family::Hashes, hash.as_bytes(), encode(height));
        }
        rows::put_state_height(&mut batch, height);
        batch
    }
}

fn weight(key: &RecordKey, record: Option<&Record>) -> usize {
    let key = match key {
        RecordKey::Key(key) => key.len(),
        RecordKey::Account(_)
        | RecordKey::Validators
        | RecordKey::Parameters
        | RecordKey::Approval(_)
        | RecordKey::Epoch => 32,
    };
    key + record.map_or(0, record_weight)
}

fn record_weight(record: &Record) -> usize {
    size_of::<Record>()
        + match record {
            Record::Key { value, .. } => value.len(),
            Record::Validators(set) => 32 * set.len(),
            Record::Parameters(_) => size_of::<Parameters>(),
            Record::Approval(approval) => change_weight(&approval.change),
            Record::Epoch(epoch) => epoch.ends.as_ref().map_or(0, |end| change_weight(&end.change)),
            Record::Account { .. } => 0,
        }
}

fn change_weight(change: &EpochChange) -> usize {
    match change {
        EpochChange::Validators(set) => 32 * set.len(),
        EpochChange::Parameters(_) => size_of::<Parameters>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(overlay: &mut Overlay, value: usize) {
        let record = Record::Account { balance: value as u128 };
        overlay.set_record(RecordKey::Key(vec![7]), Some(Arc::new(record)));
    }

    #[test]
    fn a_record_that_changes_often_is_counted_and_written_once() {
        let (mut once, mut often) = (Overlay::default(), Overlay::default());
        put(&mut once, 9);
        for value in 0..10 {
            put(&mut often, value);
        }
        assert_eq!(once.bytes(), often.bytes());
        assert_eq!(once.to_batch(Height(3)), often.to_batch(Height(3)));

        let mut newer = Overlay::default();
        newer.set_record(RecordKey::Key(vec![7]), None);
        newer.set_hash(Hash::of(b"block"), Height(4));
        often.absorb(newer);
        assert_eq!(often.record(&RecordKey::Key(vec![7])), Some(&None));
        assert_eq!(often.height_of(&Hash::of(b"block")), Some(Height(4)));
    }
}
