//! `state_…` and `validators_get`: records as they are after the newest block executed here.

use std::cmp::Reverse;
use std::sync::Arc;

use jsonrpsee::RpcModule;
use quorate_ledger::{
    Account, Approval, Epoch, EpochStart, Height, Reader, StoreError, ValidatorIndex, ValidatorSet,
};

use super::Context;
use super::call;
use super::error::RpcError;
use super::table::{Method, ValidatorsGetReadiness};
use super::types::{
    AccountAnswer, AccountParameters, Bytes, Change, KeyAnswer, KeyParameters, OpenChange, Participation,
    ReadinessAnswer, ReadinessParameters, ValidatorEntry, ValidatorsAnswer, ValidatorsParameters,
};

/// Blocks over which the participation of validators is counted.
pub(crate) const PARTICIPATION_BLOCKS: u64 = 100;

/// Open changes in one answer: each may be a set of the largest size, and each validator may have one of its own.
const OPEN_CHANGES_MAX: usize = 20;

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
    let epoch = if parameters.height.is_some() { reader.epoch_at(height) } else { reader.epoch() };
    let set = &epoch.validators;
    let ending = Ending::of(reader, &epoch).map_err(RpcError::internal)?;
    let mut counted = Counted::new(set.len());
    counted.count(context, epoch.number, epoch.start, height, set)?;
    let connected = context.node.network.connected_validators();
    let own = context.node.own.and_then(|own| set.index_of(&own));
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
        start: epoch.start,
        ends: ending.ends,
        next: ending.next,
        approvals: ending.approvals,
        hash: set.hash(),
        quorum: set.quorum().q() as u64,
        faulty_max: set.quorum().f() as u64,
        validators: entries.collect(),
        participation: counted.span,
        parameters: epoch.parameters.clone(),
    }))
}

/// How an epoch ended, or will.
struct Ending {
    ends: Option<Height>,
    next: Option<Change>,
    approvals: Vec<OpenChange>,
}

impl Ending {
    fn of(reader: &Reader, epoch: &EpochStart) -> Result<Self, StoreError> {
        let (_, decided) = reader.epoch_end()?;
        let (_, approvals) = reader.approvals()?;
        // Asked last: an epoch that was over before the state was read is one that has a successor now.
        match reader.epoch_numbered(epoch.number.next()) {
            Some(after) => Ok(Self { ends: Some(after.base().0), next: None, approvals: Vec::new() }),
            None => Ok(Self {
                ends: decided.as_ref().map(|end| end.last),
                next: decided.as_ref().map(|end| Change::from(&end.change)),
                approvals: by_change(&approvals),
            }),
        }
    }
}

/// Who approves of what: the change with most approvals first.
fn by_change(approvals: &[(Account, Approval)]) -> Vec<OpenChange> {
    let mut open: Vec<OpenChange> = Vec::new();
    for (validator, approval) in approvals {
        let hash = approval.change.hash();
        match open.iter_mut().find(|open| open.hash == hash) {
            Some(open) => open.validators.push(validator.0),
            None => open.push(OpenChange {
                hash,
                change: Change::from(&approval.change),
                validators: vec![validator.0],
            }),
        }
    }
    // Those of equally many stay in the order of the validators, so that the answer is the same on every node.
    open.sort_by_key(|open| Reverse(open.validators.len()));
    open.truncate(OPEN_CHANGES_MAX);
    open
}

/// Registers `validators_getReadiness`, which waits for peers and must not hold a thread.
pub(crate) fn register(module: &mut RpcModule<Context>) {
    module
        .register_async_method(
            ValidatorsGetReadiness::NAME,
            |parameters, context: Arc<Context>, _| async move {
                let ReadinessParameters { key } = call::parameters(&parameters)?;
                let found = context.node.readiness.statement(key).await;
                Ok::<_, RpcError>(found.map(|found| ReadinessAnswer {
                    key,
                    epoch: found.epoch,
                    height: found.height,
                    checkpoint: found.readiness.checkpoint,
                    signature: found.readiness.signature,
                }))
            },
        )
        .expect("the table names each method once");
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
