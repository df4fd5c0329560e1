//! `state_…` and `validators_get`: records as they are after the newest block executed here.

use quorate_ledger::{Account, Epoch, Height, ValidatorIndex, ValidatorSet};

use super::Context;
use super::error::RpcError;
use super::types::{
    AccountAnswer, AccountParameters, Bytes, KeyAnswer, KeyParameters, Participation, ValidatorEntry,
    ValidatorsAnswer, ValidatorsParameters,
};

/// Blocks over which the participation of validators is counted.
pub(crate) const PARTICIPATION_BLOCKS: u64 = 100;

/// `state_getAccount`.
pub(crate) fn account(context: &Context, parameters: AccountParameters) -> Result<AccountAnswer, RpcError> {
    let (height, balance) = context.node.reader.account(&parameters.account).map_err(RpcError::internal)?;
    at_least(height, parameters.min_height)?;
    Ok(AccountAnswer { height, account: parameters.account, balance })
}

/// `state_getKey`.
pub(crate) fn key(context: &Context, parameters: KeyParameters) -> Result<KeyAnswer, RpcError> {
    let (height, record) = context.node.reader.key(&parameters.key.0).map_err(RpcError::internal)?;
    at_least(height, parameters.min_height)?;
    let (owner, version) = record.as_ref().map(|record| (record.owner, record.version)).unzip();
    Ok(KeyAnswer {
        height,
        key: parameters.key,
        value: record.map(|record| Bytes(record.value)),
        version,
        owner,
    })
}

/// That what was read is as new as the caller asks.
fn at_least(height: Height, min_height: Option<Height>) -> Result<(), RpcError> {
    match min_height {
        Some(min_height) if height < min_height => Err(RpcError::not_yet(height, min_height)),
        Some(_) | None => Ok(()),
    }
}

/// `validators_get`.
pub(crate) fn validators(
    context: &Context,
    parameters: ValidatorsParameters,
) -> Result<Option<ValidatorsAnswer>, RpcError> {
    let reader = &context.node.reader;
    let tip = reader.tip().0;
    let height = parameters.height.unwrap_or(tip);
    if height > tip {
        return Ok(None);
    }
    let epoch = reader.epoch_at(height);
    let set = &epoch.validators;
    let mut counted = Counted::new(set.len());
    counted.count(context, epoch.number, epoch.start, height, set)?;
    let connected = context.node.network.connected_validators();
    let own = context.node.consensus.borrow().index.filter(|_| epoch.number == reader.epoch_at(tip).number);
    let entries = set.keys().iter().enumerate().map(|(place, key)| {
        let index = ValidatorIndex(u16::try_from(place).expect("a set is smaller"));
        ValidatorEntry {
            index,
            key: *key,
            account: Account(*key),
            name: context.node.genesis.validator_name(key).map(str::to_owned),
            connected: (own != Some(index)).then(|| connected.contains(key)),
            proposed: counted.proposed[place],
            signed: counted.signed[place],
        }
    });
    Ok(Some(ValidatorsAnswer {
        height,
        epoch: epoch.number,
        hash: set.hash(),
        quorum: set.quorum().q() as u64,
        faulty_max: set.quorum().f() as u64,
        validators: entries.collect(),
        participation: counted.span,
    }))
}

/// What each validator of a set did, by its place.
struct Counted {
    span: Option<Participation>,
    proposed: Vec<u64>,
    signed: Vec<u64>,
}

impl Counted {
    fn new(validators: usize) -> Self {
        Self { span: None, proposed: vec![0; validators], signed: vec![0; validators] }
    }

    /// Counts the last blocks of the epoch up to a height.
    fn count(
        &mut self,
        context: &Context,
        epoch: Epoch,
        start: Height,
        to: Height,
        set: &ValidatorSet,
    ) -> Result<(), RpcError> {
        let from = first_counted(start, to);
        let mut certificates = 0;
        for height in (from.0..=to.0).map(Height) {
            let stored = context.node.reader.header(height).map_err(RpcError::internal)?;
            let stored =
                stored.ok_or_else(|| RpcError::internal(format_args!("header {height} is missing")))?;
            assert_eq!(stored.header.epoch, epoch, "an epoch is a span of heights");
            if let Some(proposer) = set.index_of(&stored.header.proposer.0) {
                self.proposed[proposer.as_usize()] += 1;
            }
            let certificate = context.node.reader.commit_certificate(height).map_err(RpcError::internal)?;
            if let Some(certificate) = certificate {
                certificates += 1;
                certificate.signatures.signers().iter().for_each(|signer| self.signed[signer] += 1);
            }
        }
        self.span = (from <= to).then_some(Participation { from, to, certificates });
        Ok(())
    }
}

/// The first block to be counted: of the epoch, and not more than [`PARTICIPATION_BLOCKS`] with the last.
fn first_counted(start: Height, to: Height) -> Height {
    Height(to.0.saturating_sub(PARTICIPATION_BLOCKS - 1)).max(start).max(Height(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_as_new_as_the_caller_asks_or_refused() {
        assert_eq!(at_least(Height(7), None), Ok(()));
        assert_eq!(at_least(Height(7), Some(Height(7))), Ok(()));
        assert_eq!(at_least(Height(7), Some(Height(8))), Err(RpcError::not_yet(Height(7), Height(8))));
    }

    #[test]
    fn participation_is_counted_over_a_limit_of_blocks_of_one_epoch() {
        let counted = |start, to| to - first_counted(Height(start), Height(to)).0 + 1;
        assert_eq!(counted(0, PARTICIPATION_BLOCKS), PARTICIPATION_BLOCKS);
        assert_eq!(counted(0, PARTICIPATION_BLOCKS + 1), PARTICIPATION_BLOCKS);
        assert_eq!(counted(0, 5), 5);
        assert_eq!(counted(90, 100), 11);
        assert_eq!(first_counted(Height(0), Height(0)), Height(1), "the genesis is no block");
    }
}
