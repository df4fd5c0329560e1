//! Where a chain is kept: families of ordered keys and values, written in atomic batches.
//!
//! The trait is small on purpose, so that the store on disk ([`RocksStore`], feature `rocksdb`) and the one in memory
//! ([`MemoryStore`], which can also lose its power) are interchangeable, in the simulator too.
//!
//! What is written when is the ledger's business (`ARCHITECTURE.md`, Storage): a committed block with its
//! certificate, receipts and outcome goes out in one [`Durability::Synced`] batch; records and indexes are written
//! behind in batches of [`Durability::Behind`], which may be lost and are then computed again from the blocks.

mod memory;
pub(crate) mod overlay;
#[cfg(feature = "rocksdb")]
mod rocks;
pub(crate) mod rows;

use std::io;
use std::ops::ControlFlow;

use thiserror::Error;

pub use memory::MemoryStore;
#[cfg(feature = "rocksdb")]
pub use rocks::RocksStore;
pub use rows::StoredHeader;

/// A kind of rows; a column family on disk. Heights are keys of 8 bytes, most significant first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// The chain's id, the format, and the height the state records stand for.
    Meta,
    /// First height of an epoch → its number, validators and parameters.
    Epochs,
    /// Height → header, number of transactions, outcome.
    Headers,
    /// Height → block.
    Blocks,
    /// Height → receipts of the block.
    Receipts,
    /// Height → the block's own commit certificate, where it has one.
    Certificates,
    /// Height → checkpoint certificate, where one has been formed or received.
    Checkpoints,
    /// Row key of a record → record. Written behind.
    State,
    /// Transaction id → height and index. Written behind.
    Transactions,
    /// Block hash → height. Written behind.
    Hashes,
}

impl Family {
    /// All of them, in the order of their index.
    pub const ALL: [Family; 10] = [
        Family::Meta,
        Family::Epochs,
        Family::Headers,
        Family::Blocks,
        Family::Receipts,
        Family::Certificates,
        Family::Checkpoints,
        Family::State,
        Family::Transactions,
        Family::Hashes,
    ];

    /// The column family's name on disk.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Family::Meta => "meta",
            Family::Epochs => "epochs",
            Family::Headers => "headers",
            Family::Blocks => "blocks",
            Family::Receipts => "receipts",
            Family::Certificates => "certificates",
            Family::Checkpoints => "checkpoints",
            Family::State => "state",
            Family::Transactions => "transactions",
            Family::Hashes => "hashes",
        }
    }

    /// Its place in [`Family::ALL`].
    const fn index(self) -> usize {
        self as usize
    }
}

/// What must hold when a write returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On disk, together with every batch written before it.
    Synced,
    /// Visible to readers. A crash of the machine may lose it, but only together with everything written after it.
    Behind,
}

/// One row to set (`value`) or to remove (no value).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The family it is in.
    pub family: Family,
    /// Its key.
    pub key: Vec<u8>,
    /// What it becomes.
    pub value: Option<Vec<u8>>,
}

/// Rows that are written all or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBatch {
    writes: Vec<Write>,
}

impl WriteBatch {
    /// Sets a row.
    pub fn put(&mut self, family: Family, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.writes.push(Write { family, key: key.into(), value: Some(value.into()) });
    }

    /// Removes a row, if it is there.
    pub fn delete(&mut self, family: Family, key: impl Into<Vec<u8>>) {
        self.writes.push(Write { family, key: key.into(), value: None });
    }

    /// The rows in the order they were added; a later one for the same key wins.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// True when there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// A row's key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// What a scan calls for each row; `Break` ends it.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Ordered rows on some medium. One writer, any number of readers.
pub trait Store: Send + Sync + 'static {
    /// The value of a row.
    ///
    /// # Errors
    /// The machine's, or a row that reads back damaged.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits the rows of a family from `from` on, in ascending order of keys.
    ///
    /// # Errors
    /// The machine's, or a row that reads back damaged.
    fn scan(&self, family: Family, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError>;

    /// The row with the highest key of a family.
    ///
    /// # Errors
    /// The machine's, or a row that reads back damaged.
    fn last(&self, family: Family) -> Result<Option<Row>, StoreError>;

    /// Writes all rows of a batch, or none.
    ///
    /// # Errors
    /// The machine's. What is on the medium is then unknown, and nothing more may be written: a failed `fsync` is
    /// never tried again, because the kernel may have dropped the pages it could not write.
    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), StoreError>;
}

/// The store cannot answer.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The machine: a full disk, a missing permission, hardware. Of the kind `InvalidData` if it is a file of the store
    /// that is damaged.
    #[error("{place}: {source}")]
    Io {
        /// The directory of the store.
        place: String,
        /// What the system says.
        source: io::Error,
    },
    /// A row is there and is not what was written.
    #[error("damaged data: column family `{family}`, key {key}: {reason}")]
    Damaged {
        /// The family's name.
        family: &'static str,
        /// The row's key: a height in decimal, anything else in hex.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl StoreError {
    /// Whether what is stored is damaged, a row or a whole file of the store; else the machine refuses.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::InvalidData,
            Self::Damaged { .. } => true,
        }
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Io { source, .. } => source.kind(),
            StoreError::Damaged { .. } => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What any store must do; run against each of them.
    pub(crate) fn keeps_rows_in_order(store: &impl Store) {
        let mut batch = WriteBatch::default();
        for key in [3u8, 1, 2] {
            batch.put(Family::Headers, [key], [key, key]);
        }
        batch.put(Family::Blocks, [9], []);
        batch.put(Family::Headers, [4], [4]);
        batch.delete(Family::Headers, [4]);
        store.write(batch, Durability::Behind).expect("a working store");

        assert_eq!(store.get(Family::Headers, &[2]).expect("reads"), Some(vec![2, 2]));
        assert_eq!(store.get(Family::Headers, &[4]).expect("reads"), None, "the later write of a batch wins");
        assert_eq!(
            store.get(Family::Blocks, &[9]).expect("reads"),
            Some(vec![]),
            "an empty value is a value"
        );
        assert_eq!(store.get(Family::Blocks, &[2]).expect("reads"), None, "families do not mix");
        assert_eq!(store.last(Family::Headers).expect("reads"), Some((vec![3], vec![3, 3])));
        assert_eq!(store.last(Family::Receipts).expect("reads"), None);

        let mut seen = Vec::new();
        let mut visit = |key: &[u8], _: &[u8]| {
            seen.push(key[0]);
            if seen.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        store.scan(Family::Headers, &[2], &mut visit).expect("reads");
        assert_eq!(seen, [2, 3], "ascending from the key asked for");

        let mut batch = WriteBatch::default();
        batch.delete(Family::Headers, [3]);
        batch.put(Family::Headers, [2], [7]);
        store.write(batch, Durability::Synced).expect("a working store");
        assert_eq!(store.last(Family::Headers).expect("reads"), Some((vec![2], vec![7])));
    }

    #[test]
    fn names_are_distinct_and_indices_are_places() {
        for (at, family) in Family::ALL.iter().enumerate() {
            assert_eq!(family.index(), at);
            assert!(Family::ALL.iter().filter(|other| other.name() == family.name()).count() == 1);
        }
    }
}
