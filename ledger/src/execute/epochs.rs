//! What execution does about epochs (`docs/pbft.md §7`): approvals, the decision of a quorum, the change itself.
//!
//! An approval is open until its validator gives another, or a change is decided. Only validators have one, so those of
//! a set are all there are: they are counted by asking for each member's. Once an end is decided no other can be;
//! approvals that come after it are for the epoch that follows, are held against its set, and are counted in its first
//! block, if no later one makes the quorum.

use std::sync::Arc;

use super::{Execution, Records, Stop, Working};
use crate::approval::{ProposedChange, ProposedValidator};
use crate::block::{Block, Header};
use crate::epoch::{Approval, EpochChange, EpochEnd, EpochRecord, EpochStart};
use crate::parameters::Parameters;
use crate::primitives::{Account, Height, Version};
use crate::receipt::{Failure, LedgerEvent};
use crate::state::{Record, RecordKey};
use crate::store::StoreError;
use crate::validators::ValidatorSet;

impl<R: Records> Working<'_, R> {
    /// Before the transactions of an epoch's first block: approvals that were given for it while the one before it was
    /// ending may already make a quorum.
    pub(super) fn begin_block(&mut self, header: &Header) -> Result<(), StoreError> {
        let epoch = self.epoch()?;
        if epoch.start != header.height || epoch.ends.is_some() {
            return Ok(());
        }
        let validators = self.validators()?;
        match self.change_with_quorum(&validators)? {
            Some(change) => self.decide(header.height, epoch, &validators, change).map(drop),
            None => Ok(()),
        }
    }

    /// One validator's vote for a change.
    pub(super) fn approve(
        &mut self,
        header: &Header,
        sender: Account,
        version: Version,
        proposed: &ProposedChange,
        events: &mut Vec<LedgerEvent>,
    ) -> Result<(), Stop> {
        let (epoch, validators) = (self.epoch()?, self.validators()?);
        if validators.index_of(&sender.0).is_none() {
            return Err(Failure::NotValidator.into());
        }
        let change =
            proposed.resulting().expect("a change no epoch can have is in no block (docs/pbft.md §3.1)");
        if let ProposedChange::Validators(proposed) = proposed {
            self.check_readiness(header, &epoch, &validators, proposed)?;
        }
        let approval = Record::Approval(Approval { change: change.clone(), given: version });
        self.set(RecordKey::Approval(sender), Some(Arc::new(approval)))?;
        let approvals = self.approvals_of(&change, &validators)?;
        let hash = change.hash();
        events.push(LedgerEvent::Approved {
            validator: sender,
            change: hash,
            approvals: u32::try_from(approvals).expect("at most VALIDATORS_MAX"),
        });
        if epoch.ends.is_none() && approvals >= validators.quorum().q() {
            let last = self.decide(header.height, epoch, &validators, change)?;
            events.push(LedgerEvent::EpochEnds { last, change: hash });
        }
        Ok(())
    }

    /// That each key which is not a validator's yet says itself that it is ready. Once an end is decided, the set that
    /// follows is the one to compare with: a key that is leaving is as new as any other.
    fn check_readiness(
        &self,
        header: &Header,
        epoch: &EpochRecord,
        validators: &ValidatorSet,
        proposed: &[ProposedValidator],
    ) -> Result<(), Failure> {
        let known = match &epoch.ends {
            Some(EpochEnd { change: EpochChange::Validators(next), .. }) => next,
            Some(EpochEnd { change: EpochChange::Parameters(_), .. }) | None => validators,
        };
        for ProposedValidator { key, readiness } in proposed {
            if known.index_of(key).is_some() {
                continue;
            }
            let readiness = readiness.as_ref().ok_or(Failure::NotReady)?;
            if !self.anchors.contains(&readiness.checkpoint) {
                return Err(Failure::ReadinessStale);
            }
            if !readiness.verify(&header.chain, epoch.number, key) {
                return Err(Failure::ReadinessInvalid);
            }
        }
        Ok(())
    }

    /// Fixes the end of the epoch, by the block at `height`, and returns its last height. All open approvals are void.
    fn decide(
        &mut self,
        height: Height,
        epoch: EpochRecord,
        validators: &ValidatorSet,
        change: EpochChange,
    ) -> Result<Height, StoreError> {
        let last = height.plus(u64::from(self.parameters()?.window));
        let record = EpochRecord { ends: Some(EpochEnd { last, change }), ..epoch };
        self.set(RecordKey::Epoch, Some(Arc::new(Record::Epoch(record))))?;
        for validator in validators.keys() {
            self.set(RecordKey::Approval(Account(*validator)), None)?;
        }
        Ok(last)
    }

    /// After the transactions: says how the epoch ends, if that is decided, and ends it with its last block.
    pub(super) fn end_block(&mut self, block: &Block, execution: &mut Execution) -> Result<(), StoreError> {
        let EpochRecord { number, start, ends } = self.epoch()?;
        let Some(EpochEnd { last, change }) = ends else { return Ok(()) };
        assert!(
            block.height() <= last,
            "nothing is executed above the end of an epoch before the next begins"
        );
        execution.epoch_ends = Some(last);
        if block.height() < last {
            return Ok(());
        }
        let (before, parameters) = (self.validators()?, self.parameters()?);
        // The hash of the block below is of no use to what follows.
        let below = block.parent();
        let ending = EpochStart { number, start, below, validators: before.clone(), parameters };
        let next = ending.followed_by(change, last, block.hash());
        let record = EpochRecord { number: next.number, start: next.start, ends: None };
        self.set(RecordKey::Epoch, Some(Arc::new(Record::Epoch(record))))?;
        let validators = Record::Validators(next.validators.clone());
        self.set(RecordKey::Validators, Some(Arc::new(validators)))?;
        let parameters = Record::Parameters(Box::new(next.parameters.clone()));
        self.set(RecordKey::Parameters, Some(Arc::new(parameters)))?;
        for leaver in before.keys().iter().filter(|key| next.validators.index_of(key).is_none()) {
            self.set(RecordKey::Approval(Account(*leaver)), None)?;
        }
        // The next block decides at once what has its quorum already; it is not to wait for a transaction.
        execution.due = self.change_with_quorum(&next.validators)?.map(|_| block.time());
        execution.next_epoch = Some(next);
        Ok(())
    }

    /// The change of which a quorum of `validators` approves. There can be one only: each has one open approval.
    fn change_with_quorum(&mut self, validators: &ValidatorSet) -> Result<Option<EpochChange>, StoreError> {
        let mut counts: Vec<(Open, usize)> = Vec::new();
        for validator in validators.keys() {
            let Some(open) = self.approval(Account(*validator))? else { continue };
            match counts.iter_mut().find(|(counted, _)| counted.change() == open.change()) {
                Some((_, count)) => *count += 1,
                None => counts.push((open, 1)),
            }
        }
        let decided = counts.iter().find(|(_, count)| *count >= validators.quorum().q());
        Ok(decided.map(|(open, _)| open.change().clone()))
    }

    /// How many of `validators` approve of `change`.
    fn approvals_of(&mut self, change: &EpochChange, validators: &ValidatorSet) -> Result<usize, StoreError> {
        let mut count = 0;
        for validator in validators.keys() {
            let open = self.approval(Account(*validator))?;
            count += usize::from(open.is_some_and(|open| open.change() == change));
        }
        Ok(count)
    }

    fn approval(&mut self, validator: Account) -> Result<Option<Open>, StoreError> {
        Ok(self.read(RecordKey::Approval(validator))?.map(Open))
    }

    fn epoch(&mut self) -> Result<EpochRecord, StoreError> {
        match self.read(RecordKey::Epoch)?.as_deref() {
            Some(Record::Epoch(epoch)) => Ok(epoch.clone()),
            other => unreachable!("the genesis sets the epoch and nothing removes it, it is {other:?}"),
        }
    }

    fn validators(&mut self) -> Result<ValidatorSet, StoreError> {
        match self.read(RecordKey::Validators)?.as_deref() {
            Some(Record::Validators(validators)) => Ok(validators.clone()),
            other => {
                unreachable!("the genesis sets the validators and nothing removes them, they are {other:?}")
            }
        }
    }

    fn parameters(&mut self) -> Result<Parameters, StoreError> {
        match self.read(RecordKey::Parameters)?.as_deref() {
            Some(Record::Parameters(parameters)) => Ok((**parameters).clone()),
            other => {
                unreachable!("the genesis sets the parameters and nothing removes them, they are {other:?}")
            }
        }
    }
}

/// A record known to be an open approval.
struct Open(Arc<Record>);

impl Open {
    fn change(&self) -> &EpochChange {
        match &*self.0 {
            Record::Approval(approval) => &approval.change,
            other @ (Record::Account { .. }
            | Record::Key { .. }
            | Record::Validators(_)
            | Record::Parameters(_)
            | Record::Epoch(_)) => {
                unreachable!("records are read with their kind checked, an approval is {other:?}")
            }
        }
    }
}
