//! What the parts of a node know of its epochs (`docs/pbft.md` §7): the current one, and the one before while it closes.
//!
//! The consensus thread alone writes; those who verify what comes in read it for each message.

use std::{
    iter,
    sync::{Arc, RwLock},
};

use quorate_consensus::{Horizon, Scope};
use quorate_crypto::{Hash, PublicKey};
use quorate_ledger::{Epoch, EpochStart, Reader, TransactionRules};

/// The instances that the replica runs, the current one first.
#[derive(Debug)]
pub(super) struct Epochs(RwLock<Vec<Instance>>);

#[derive(Clone, Debug)]
struct Instance {
    scope: Arc<Scope>,
    horizon: Horizon,
}

/// Where a message of some epoch belongs.
#[derive(Debug)]
pub(super) enum Place {
    /// To an instance that runs here.
    Here(Arc<Scope>, Horizon),
    /// To an epoch that is over here: its sender is behind.
    Past,
    /// To an epoch that has not begun here: this node is behind, and will be told again.
    Future,
}

impl Epochs {
    /// The instances that a replica is opened with, the current one first.
    pub(super) fn new(scopes: Vec<Arc<Scope>>) -> Self {
        assert!(!scopes.is_empty(), "a replica has a current epoch");
        let instance = |scope| Instance { scope, horizon: Horizon::default() };
        Self(RwLock::new(scopes.into_iter().map(instance).collect()))
    }

    /// Which instance a message of this epoch is for.
    pub(super) fn place_of(&self, epoch: Epoch) -> Place {
        let instances = self.0.read().expect("no holder of this lock panics");
        match instances.iter().find(|it| it.scope.epoch == epoch) {
            Some(Instance { scope, horizon }) => Place::Here(Arc::clone(scope), *horizon),
            None if epoch > instances[0].scope.epoch => Place::Future,
            None => Place::Past,
        }
    }

    /// An epoch begins; the one that was current closes.
    pub(super) fn begin(&self, scope: Arc<Scope>) {
        let mut instances = self.0.write().expect("no holder of this lock panics");
        instances.truncate(1);
        instances.insert(0, Instance { scope, horizon: Horizon::default() });
    }

    /// How far the instances are that run now; those that are not named are gone.
    pub(super) fn moved(&self, horizons: &[(Epoch, Horizon)]) {
        let mut instances = self.0.write().expect("no holder of this lock panics");
        instances.retain_mut(|instance| {
            let moved = horizons.iter().find(|(epoch, _)| *epoch == instance.scope.epoch);
            moved.inspect(|(_, horizon)| instance.horizon = *horizon).is_some()
        });
    }

    /// Everybody who votes in one of them.
    pub(super) fn validators(&self) -> Vec<PublicKey> {
        let instances = self.0.read().expect("no holder of this lock panics");
        let mut keys: Vec<PublicKey> =
            instances.iter().flat_map(|it| it.scope.validators.keys().iter().copied()).collect();
        keys.sort_unstable_by_key(|key| *key.as_bytes());
        keys.dedup();
        keys
    }
}

/// What verifies the messages of an epoch, where `epochs` tells those before it.
pub(super) fn scope_of(
    chain: Hash,
    epoch: &EpochStart,
    epochs: impl FnOnce(Epoch) -> Option<Arc<EpochStart>>,
) -> Scope {
    let before = epoch.number.previous().and_then(epochs);
    Scope {
        chain,
        epoch: epoch.number,
        validators: epoch.validators.clone(),
        start: epoch.base(),
        previous: before.map(|before| before.validators.clone()),
        window: u64::from(epoch.parameters.window),
    }
}

/// Goes through the epochs of a chain, from the first on, and further once more have begun.
#[derive(Debug, Default)]
pub(crate) struct EpochWalk {
    next: Epoch,
}

impl EpochWalk {
    /// Those that have begun since it was asked last, where `epochs` tells them.
    pub(crate) fn begun(
        &mut self,
        epochs: impl Fn(Epoch) -> Option<Arc<EpochStart>>,
    ) -> impl Iterator<Item = Arc<EpochStart>> {
        iter::from_fn(move || {
            let epoch = epochs(self.next)?;
            self.next = self.next.next();
            Some(epoch)
        })
    }
}

/// The rules for transactions of the next block, whatever its epoch.
pub(crate) struct CurrentRules {
    reader: Reader,
    latest: RwLock<TransactionRules>,
}

impl CurrentRules {
    /// Of the chain that is read by `reader`.
    pub(crate) fn new(reader: Reader) -> Self {
        let latest = RwLock::new(TransactionRules::of(reader.chain(), &reader.epoch()));
        Self { reader, latest }
    }

    /// As they are now. Cheap: they are made once an epoch.
    pub(crate) fn now(&self) -> TransactionRules {
        let epoch = self.reader.epoch();
        let latest = self.latest.read().expect("no holder of this lock panics").clone();
        if latest.epoch == epoch.number {
            return latest;
        }
        let rules = TransactionRules::of(self.reader.chain(), &epoch);
        *self.latest.write().expect("no holder of this lock panics") = rules.clone();
        rules
    }
}

#[cfg(test)]
mod tests {
    use quorate_crypto::SecretKey;
    use quorate_ledger::{Height, Parameters, ValidatorSet};

    use super::*;

    fn set(seed: u8) -> ValidatorSet {
        ValidatorSet::new(vec![SecretKey::from_seed([seed; 32]).public()]).expect("one key")
    }

    fn scope(epoch: u64, seed: u8) -> Arc<Scope> {
        let validators = set(seed);
        let start = (Height(0), Hash::ZERO);
        Arc::new(Scope {
            chain: Hash::ZERO,
            epoch: Epoch(epoch),
            validators,
            start,
            previous: None,
            window: 1,
        })
    }

    #[test]
    fn two_of_the_largest_sets_with_nobody_in_common_are_not_too_many_for_the_network() {
        let largest = |first: u16| {
            let seed = |index: u16| [index.to_le_bytes(), [1, 1]].concat().repeat(8);
            let seeds =
                (first..first + 200).map(|index| <[u8; 32]>::try_from(seed(index)).expect("32 bytes"));
            let keys = seeds.map(|seed| SecretKey::from_seed(seed).public()).collect();
            ValidatorSet::new(keys).expect("200 keys")
        };
        let of = |epoch, first| Arc::new(Scope { validators: largest(first), ..(*scope(epoch, 1)).clone() });
        let epochs = Epochs::new(vec![of(1, 0)]);
        epochs.begin(of(2, 200));
        assert_eq!(epochs.validators().len(), 400);
        assert!(epochs.validators().len() <= quorate_network::limits::VALIDATORS_MAX);
    }

    #[test]
    fn a_message_goes_to_the_instance_of_its_epoch() {
        let epochs = Epochs::new(vec![scope(1, 1)]);
        epochs.begin(scope(2, 2));
        let here = |epoch| matches!(epochs.place_of(Epoch(epoch)), Place::Here(scope, _) if scope.epoch == Epoch(epoch));
        assert!(here(1) && here(2));
        assert!(matches!(epochs.place_of(Epoch(0)), Place::Past));
        assert!(matches!(epochs.place_of(Epoch(3)), Place::Future));
        assert_eq!(epochs.validators().len(), 2);
        epochs.moved(&[(Epoch(2), Horizon::default())]);
        assert!(matches!(epochs.place_of(Epoch(1)), Place::Past), "it has closed");
        assert_eq!(epochs.validators().len(), 1);
    }

    fn epoch(number: u8) -> EpochStart {
        EpochStart {
            number: Epoch(number.into()),
            start: Height(10 * u64::from(number)),
            below: Hash::of(&[number]),
            validators: set(number),
            parameters: Parameters::default(),
        }
    }

    /// A chain on which so many epochs have begun.
    fn chain_of(count: u8) -> impl Fn(Epoch) -> Option<Arc<EpochStart>> {
        move |number| (0..count).map(epoch).find(|epoch| epoch.number == number).map(Arc::new)
    }

    #[test]
    fn a_walk_meets_each_epoch_once_however_often_it_goes_on() {
        let mut walk = EpochWalk::default();
        let mut met =
            |count| -> Vec<u64> { walk.begun(chain_of(count)).map(|epoch| epoch.number.0).collect() };
        assert_eq!((met(2), met(2), met(4)), (vec![0, 1], vec![], vec![2, 3]));
    }

    /// `docs/pbft.md` §7, of the block that closes an epoch:
    ///
    /// > its CHECKPOINT names the next set and is signed by the old one.
    #[test]
    fn a_closing_checkpoint_is_verified_by_the_set_of_the_epoch_before() {
        let known = chain_of(3);
        let scope = scope_of(Hash::ZERO, &epoch(2), &known);
        assert_eq!((scope.epoch, scope.start), (Epoch(2), (Height(19), Hash::of(&[2]))));
        assert_eq!((scope.validators, scope.previous), (set(2), Some(set(1))));
        assert_eq!(scope_of(Hash::ZERO, &epoch(0), known).previous, None, "there is none before the first");
    }
}
