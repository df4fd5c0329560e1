//! The store on disk: RocksDB, a column family per kind of rows.
//!
//! What matters here, and why:
//! - families are opened with `open_cf_descriptors`, because `open_cf` silently gives every family default options;
//! - the write-ahead log is never disabled, and recovery is the default point-in-time: it stops at the first thing
//!   it cannot read, so what survives is always a prefix of what was written, which is what
//!   [`Durability::Behind`](super::Durability::Behind) promises;
//! - `max_total_wal_size` is set, because a family that is rarely written to (`meta`) would otherwise keep every log
//!   since its last flush.

use std::io;
use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, Direction,
    ErrorKind, IteratorMode, LogLevel, Options, WriteBatch as RocksBatch, WriteOptions,
};

use super::{Durability, Family, Row, Store, StoreError, Visit, WriteBatch, rows};

const MIB: usize = 1 << 20;
/// Memory for the blocks of files that were read lately, all families together.
const CACHE_BYTES: usize = 128 * MIB;
/// Memory in which a family of large sequential values gathers writes before it makes a file.
const SEQUENTIAL_BUFFER_BYTES: usize = 64 * MIB;
/// The same for families of small rows in random order.
const RANDOM_BUFFER_BYTES: usize = 32 * MIB;
/// The same for families that are hardly written to.
const SMALL_BUFFER_BYTES: usize = MIB;
/// When the logs together are larger, the family that holds the oldest is flushed.
const WAL_BYTES_MAX: u64 = 256 * MIB as u64;
/// Files are handed to the system for writing at this pace, instead of all at once.
const BYTES_PER_SYNC: u64 = MIB as u64;
/// Open files; beyond these they are closed and opened again.
const OPEN_FILES_MAX: i32 = 1_024;
/// Threads for flushes and compactions.
const BACKGROUND_JOBS: i32 = 2;
/// RocksDB's own text logs kept.
const LOG_FILES_KEPT: usize = 4;
/// Bits per key of the filters that spare reading files which do not hold a key.
const FILTER_BITS: f64 = 10.0;

/// A directory with the rows of one chain.
pub struct RocksStore {
    db: DB,
    path: PathBuf,
}

impl RocksStore {
    /// Opens the store at `path`, and makes it if it is not there.
    ///
    /// # Errors
    /// The machine's, with the path; also when another process has it open.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_path_buf();
        let cache = Cache::new_lru_cache(CACHE_BYTES);
        let families = Family::ALL
            .map(|family| ColumnFamilyDescriptor::new(family.name(), family_options(family, &cache)));
        let db = DB::open_cf_descriptors(&database_options(), &path, families)
            .map_err(|error| io_error(&path, error))?;
        Ok(Self { db, path })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn handle(&self, family: Family) -> &rocksdb::ColumnFamily {
        self.db.cf_handle(family.name()).expect("all families were opened")
    }

    /// Names the row where RocksDB found damage, and the directory in every other case.
    fn error(&self, family: Family, key: &[u8], error: rocksdb::Error) -> StoreError {
        if error.kind() == ErrorKind::Corruption {
            return rows::damaged(family, key, error);
        }
        io_error(&self.path, error)
    }
}

impl Store for RocksStore {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(self.handle(family), key).map_err(|error| self.error(family, key, error))
    }

    fn scan(&self, family: Family, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let mode = IteratorMode::From(from, Direction::Forward);
        for row in self.db.iterator_cf(self.handle(family), mode) {
            let (key, value) = row.map_err(|error| self.error(family, from, error))?;
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, family: Family) -> Result<Option<Row>, StoreError> {
        let row = self.db.iterator_cf(self.handle(family), IteratorMode::End).next().transpose();
        let row = row.map_err(|error| self.error(family, &[], error))?;
        Ok(row.map(|(key, value)| (key.into_vec(), value.into_vec())))
    }

    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), StoreError> {
        let mut rows = RocksBatch::default();
        for write in batch.writes() {
            let family = self.handle(write.family);
            match &write.value {
                Some(value) => rows.put_cf(family, &write.key, value),
                None => rows.delete_cf(family, &write.key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        self.db.write_opt(rows, &options).map_err(|error| io_error(&self.path, error))
    }
}

fn io_error(path: &Path, error: rocksdb::Error) -> StoreError {
    let damaged = error.kind() == ErrorKind::Corruption;
    let kind = if damaged { io::ErrorKind::InvalidData } else { io::ErrorKind::Other };
    StoreError::Io { place: path.display().to_string(), source: io::Error::new(kind, error) }
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_bytes_per_sync(BYTES_PER_SYNC);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(BACKGROUND_JOBS);
    options.set_keep_log_file_num(LOG_FILES_KEPT);
    options.set_log_level(LogLevel::Warn);
    options
}

fn family_options(family: Family, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::Lz4);
    match family {
        // Appended in the order of heights and read in runs: large blocks, and zstd once they have settled.
        Family::Headers | Family::Blocks | Family::Receipts | Family::Certificates | Family::Checkpoints => {
            table.set_block_size(64 << 10);
            options.set_write_buffer_size(SEQUENTIAL_BUFFER_BYTES);
            options.set_bottommost_compression_type(DBCompressionType::Zstd);
        }
        // Looked up one by one, often for what is not there.
        Family::State => {
            table.set_bloom_filter(FILTER_BITS, false);
            options.set_write_buffer_size(RANDOM_BUFFER_BYTES);
        }
        // The same, and made of hashes, which nothing compresses.
        Family::Transactions | Family::Hashes => {
            table.set_bloom_filter(FILTER_BITS, false);
            options.set_write_buffer_size(RANDOM_BUFFER_BYTES);
            options.set_compression_type(DBCompressionType::None);
        }
        Family::Meta | Family::Epochs => options.set_write_buffer_size(SMALL_BUFFER_BYTES),
    }
    options.set_block_based_table_factory(&table);
    options
}

#[cfg(test)]
mod tests;
