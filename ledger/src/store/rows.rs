//! The rows of a store as the types they hold.
//!
//! Every value is borsh and is decoded whole or refused; a row that does not decode is named by family and key, so
//! that the operator knows what is damaged.

use std::ops::ControlFlow;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{Hash, decode, encode, to_hex};

use super::{Family, Store, StoreError, WriteBatch};
use crate::block::{Block, Header};
use crate::ledger::ExecutionOutcome;
use crate::primitives::Height;
use crate::state::{Record, RecordKey};

/// The layout of the rows; another number is another program's data.
pub(crate) const FORMAT: u32 = 2;

const META_FORMAT: &[u8] = b"format";
const META_CHAIN: &[u8] = b"chain";
const META_GENESIS_ROOT: &[u8] = b"genesis-root";
const META_STATE_HEIGHT: &[u8] = b"state-height";

/// What is kept about a block beside its body: enough to walk the chain without reading transactions.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StoredHeader {
    /// The block's header.
    pub header: Header,
    /// How many transactions it holds.
    pub transactions: u32,
    /// What executing it gave.
    pub outcome: ExecutionOutcome,
}

/// The key of the row of a height: sorted as heights are.
pub(crate) fn height_key(height: Height) -> [u8; 8] {
    height.0.to_be_bytes()
}

/// A height from its row key.
pub(crate) fn height_of_key(family: Family, key: &[u8]) -> Result<Height, StoreError> {
    let bytes = key.try_into().map_err(|_| damaged(family, key, "the key is not a height"))?;
    Ok(Height(u64::from_be_bytes(bytes)))
}

/// The error for a row that is not what was written.
pub(crate) fn damaged(family: Family, key: &[u8], reason: impl ToString) -> StoreError {
    let by_height = !matches!(family, Family::Meta | Family::State | Family::Transactions | Family::Hashes);
    let key = match <[u8; 8]>::try_from(key) {
        Ok(height) if by_height => u64::from_be_bytes(height).to_string(),
        _ => to_hex(key),
    };
    StoreError::Damaged { family: family.name(), key, reason: reason.to_string() }
}

/// Decodes the value of a row.
pub(crate) fn parse<T: BorshSerialize + BorshDeserialize>(
    family: Family,
    key: &[u8],
    value: &[u8],
) -> Result<T, StoreError> {
    decode(value).map_err(|error| damaged(family, key, error))
}

/// Reads and decodes a row.
pub(crate) fn read<T: BorshSerialize + BorshDeserialize>(
    store: &dyn Store,
    family: Family,
    key: &[u8],
) -> Result<Option<T>, StoreError> {
    store.get(family, key)?.map(|value| parse(family, key, &value)).transpose()
}

/// Reads and decodes the row of a height.
pub(crate) fn at<T: BorshSerialize + BorshDeserialize>(
    store: &dyn Store,
    family: Family,
    height: Height,
) -> Result<Option<T>, StoreError> {
    read(store, family, &height_key(height))
}

/// Reads the row of a height that must be there.
pub(crate) fn must<T: BorshSerialize + BorshDeserialize>(
    store: &dyn Store,
    family: Family,
    height: Height,
) -> Result<T, StoreError> {
    at(store, family, height)?.ok_or_else(|| damaged(family, &height_key(height), "the row is missing"))
}

/// Reads the block of a height, which must be there.
pub(crate) fn block(store: &dyn Store, height: Height) -> Result<Arc<Block>, StoreError> {
    let block: Block = must(store, Family::Blocks, height)?;
    if block.height() != height {
        let reason = format!("it holds the block of height {}", block.height());
        return Err(damaged(Family::Blocks, &height_key(height), reason));
    }
    Ok(Arc::new(block))
}

/// The highest row of a family that is sorted by height.
pub(crate) fn last<T: BorshSerialize + BorshDeserialize>(
    store: &dyn Store,
    family: Family,
) -> Result<Option<(Height, T)>, StoreError> {
    let Some((key, value)) = store.last(family)? else { return Ok(None) };
    Ok(Some((height_of_key(family, &key)?, parse(family, &key, &value)?)))
}

/// The lowest row at or above `height` of a family that is sorted by height.
pub(crate) fn first_from<T: BorshSerialize + BorshDeserialize>(
    store: &dyn Store,
    family: Family,
    height: Height,
) -> Result<Option<(Height, T)>, StoreError> {
    let mut found = None;
    store.scan(family, &height_key(height), &mut |key, value| {
        found = Some((key.to_vec(), value.to_vec()));
        ControlFlow::Break(())
    })?;
    let Some((key, value)) = found else { return Ok(None) };
    Ok(Some((height_of_key(family, &key)?, parse(family, &key, &value)?)))
}

/// Calls `each` with every row of a family from `from` on; the first error ends it.
pub(crate) fn try_scan<E: From<StoreError>>(
    store: &dyn Store,
    family: Family,
    from: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let mut outcome = Ok(());
    store.scan(family, from, &mut |key, value| match each(key, value) {
        Ok(flow) => flow,
        Err(error) => {
            outcome = Err(error);
            ControlFlow::Break(())
        }
    })?;
    outcome
}

/// The record in a state row.
pub(crate) fn record(store: &dyn Store, key: &RecordKey) -> Result<Option<Arc<Record>>, StoreError> {
    let row = key.row();
    let Some(value) = store.get(Family::State, &row)? else { return Ok(None) };
    let record: Record = parse(Family::State, &row, &value)?;
    if !record.belongs_to(key) {
        return Err(damaged(Family::State, &row, "the record is of another kind than its key"));
    }
    Ok(Some(Arc::new(record)))
}

/// What a store says about itself.
pub(crate) struct Meta {
    pub(crate) format: u32,
    pub(crate) chain: Hash,
    pub(crate) genesis_root: Hash,
    pub(crate) state_height: Height,
}

impl Meta {
    /// Reads it; `None` from a store nobody has written to.
    pub(crate) fn read(store: &dyn Store) -> Result<Option<Meta>, StoreError> {
        let Some(format) = read(store, Family::Meta, META_FORMAT)? else { return Ok(None) };
        let missing = |key| damaged(Family::Meta, key, "the row is missing");
        Ok(Some(Meta {
            format,
            chain: read(store, Family::Meta, META_CHAIN)?.ok_or_else(|| missing(META_CHAIN))?,
            genesis_root: read(store, Family::Meta, META_GENESIS_ROOT)?
                .ok_or_else(|| missing(META_GENESIS_ROOT))?,
            state_height: read(store, Family::Meta, META_STATE_HEIGHT)?
                .ok_or_else(|| missing(META_STATE_HEIGHT))?,
        }))
    }

    pub(crate) fn put(&self, batch: &mut WriteBatch) {
        batch.put(Family::Meta, META_FORMAT, encode(&self.format));
        batch.put(Family::Meta, META_CHAIN, encode(&self.chain));
        batch.put(Family::Meta, META_GENESIS_ROOT, encode(&self.genesis_root));
        put_state_height(batch, self.state_height);
    }
}

/// The height the records in the store stand for.
pub(crate) fn put_state_height(batch: &mut WriteBatch, height: Height) {
    batch.put(Family::Meta, META_STATE_HEIGHT, encode(&height));
}
