//! A store in memory that can lose its power.
//!
//! It models what a disk promises and no more: a synced batch survives together with all before it; of the batches
//! written since, a power cut leaves a prefix, and the harshest power cut leaves none. For that it keeps, beside the
//! rows, what undoes each batch that is not synced yet.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Durability, Family, Row, Store, StoreError, Visit, Write, WriteBatch};

/// Rows in memory. Clones share them, as two handles of one disk do.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    disk: Arc<RwLock<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    families: [BTreeMap<Vec<u8>, Vec<u8>>; Family::ALL.len()],
    /// One entry for each batch that is not synced, oldest first: the rows as they were before it.
    undo: Vec<Vec<Write>>,
    /// How many more writes succeed; without a number all do.
    writes_left: Option<u64>,
}

impl MemoryStore {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power: every batch that was not synced is gone.
    pub fn power_cut(&self) {
        self.power_cut_keeping(0);
    }

    /// Cuts the power when the first `batches` of those not synced have reached the disk by themselves.
    pub fn power_cut_keeping(&self, batches: usize) {
        let mut disk = self.write_lock();
        while disk.undo.len() > batches {
            let undo = disk.undo.pop().expect("longer than `batches`");
            for write in undo.into_iter().rev() {
                disk.put(write);
            }
        }
        disk.undo.clear();
    }

    /// The number of batches a power cut could take.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.read_lock().undo.len()
    }

    /// Lets `writes` more batches through and fails all after them, as a disk does that is full or dying; `None`
    /// mends it.
    pub fn fail_after(&self, writes: Option<u64>) {
        self.write_lock().writes_left = writes;
    }

    fn read_lock(&self) -> RwLockReadGuard<'_, Disk> {
        self.disk.read().expect("nothing panics while it holds the lock")
    }

    fn write_lock(&self) -> RwLockWriteGuard<'_, Disk> {
        self.disk.write().expect("nothing panics while it holds the lock")
    }
}

impl Disk {
    /// Sets or removes a row for good.
    fn put(&mut self, write: Write) {
        let rows = &mut self.families[write.family.index()];
        match write.value {
            Some(value) => rows.insert(write.key, value),
            None => rows.remove(&write.key),
        };
    }

    /// Sets or removes a row and returns how it was.
    fn set(&mut self, write: Write) -> Write {
        let rows = &mut self.families[write.family.index()];
        let before = match write.value {
            Some(value) => rows.insert(write.key.clone(), value),
            None => rows.remove(&write.key),
        };
        Write { family: write.family, key: write.key, value: before }
    }
}

impl Store for MemoryStore {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.read_lock().families[family.index()].get(key).cloned())
    }

    fn scan(&self, family: Family, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let disk = self.read_lock();
        let range = (Bound::Included(from), Bound::Unbounded);
        for (key, value) in disk.families[family.index()].range::<[u8], _>(range) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, family: Family) -> Result<Option<Row>, StoreError> {
        let disk = self.read_lock();
        Ok(disk.families[family.index()].last_key_value().map(|(key, value)| (key.clone(), value.clone())))
    }

    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), StoreError> {
        let mut disk = self.write_lock();
        match &mut disk.writes_left {
            Some(0) => {
                let source = io::Error::new(io::ErrorKind::StorageFull, "the simulated disk fails");
                return Err(StoreError::Io { place: "memory".to_owned(), source });
            }
            Some(left) => *left -= 1,
            None => {}
        }
        match durability {
            Durability::Synced => {
                batch.writes.into_iter().for_each(|write| disk.put(write));
                disk.undo.clear();
            }
            Durability::Behind => {
                let undo = batch.writes.into_iter().map(|write| disk.set(write)).collect();
                disk.undo.push(undo);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_row(key: u8, value: u8) -> WriteBatch {
        let mut batch = WriteBatch::default();
        batch.put(Family::Meta, [key], [value]);
        batch
    }

    fn row(store: &MemoryStore, key: u8) -> Option<u8> {
        store.get(Family::Meta, &[key]).expect("memory reads").map(|value| value[0])
    }

    #[test]
    fn it_is_a_store() {
        crate::store::tests::keeps_rows_in_order(&MemoryStore::new());
    }

    #[test]
    fn a_power_cut_takes_what_was_not_synced_and_nothing_else() {
        let store = MemoryStore::new();
        store.write(one_row(1, 1), Durability::Behind).expect("memory");
        store.write(one_row(2, 1), Durability::Synced).expect("memory");
        store.write(one_row(1, 2), Durability::Behind).expect("memory");
        store.write(one_row(3, 1), Durability::Behind).expect("memory");
        assert_eq!((row(&store, 1), row(&store, 2), row(&store, 3)), (Some(2), Some(1), Some(1)));
        assert_eq!(store.unsynced(), 2);
        store.power_cut();
        assert_eq!((row(&store, 1), row(&store, 2), row(&store, 3)), (Some(1), Some(1), None));
        assert_eq!(store.unsynced(), 0);
    }

    #[test]
    fn a_power_cut_can_leave_any_prefix() {
        let store = MemoryStore::new();
        for value in 1..=3 {
            store.write(one_row(1, value), Durability::Behind).expect("memory");
        }
        store.power_cut_keeping(2);
        assert_eq!(row(&store, 1), Some(2));
        store.power_cut();
        assert_eq!(row(&store, 1), Some(2), "what reached the disk stays there");
    }

    #[test]
    fn a_failed_write_changes_nothing() {
        let store = MemoryStore::new();
        store.fail_after(Some(1));
        store.write(one_row(1, 1), Durability::Synced).expect("one is let through");
        assert!(store.write(one_row(1, 2), Durability::Synced).is_err());
        assert_eq!(row(&store, 1), Some(1));
        store.fail_after(None);
        store.write(one_row(1, 2), Durability::Synced).expect("mended");
    }
}
