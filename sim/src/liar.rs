//! Validators that lie: what ways there are, and what a liar knows. How an engine's messages are lied about is its own file.
//!
//! A liar runs the real engine, log and ledger, and what it sends is changed on the way out; besides, it sends at any
//! time what no engine would. It signs with its own key, which is the only one that it holds. Up to f of a run's
//! validators lie, each in ways of its own, and those of one run may help each other: whatever one proposes, another votes
//! for, and where it proposes two blocks, to each replica for the one that it was given.

mod false_claims;
mod numbers;
mod pbft;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use quorate_consensus::{Status, To};
use quorate_crypto::{Hash, SecretKey};
use quorate_ledger::{Epoch, ValidatorIndex};

use crate::coverage::Counter;
use crate::machine::Chain;
use crate::observe::Observed;
use crate::process::epochs::Instance;
use crate::random::{Random, Stream};

/// How many proposals liars remember to have made twice: more than are in flight with the windows that runs have.
const DOUBLES_MAX: usize = 16;
/// How many messages of others a liar remembers, to say them again.
const HEARD_MAX: usize = 64;

/// A way to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// As primary: two different blocks at one place, each for one half of the others, and votes for both.
    Equivocate,
    /// As primary: it proposes nothing.
    SilentPrimary,
    /// As primary: it proposes late.
    SlowPrimary,
    /// As primary: it leaves out what one half of the accounts submit.
    Censor,
    /// As primary: blocks that break a rule: wrong parent, time, proposer, root, anchor, chain; with a transaction twice,
    /// or of another block; over-sized.
    SpoilBlocks,
    /// It keeps votes back, from all or from some.
    WithholdVotes,
    /// It sends each vote twice.
    DoubleVotes,
    /// It votes for another block too.
    ConflictingVotes,
    /// It votes for whatever anybody proposes.
    VoteForAll,
    /// It says again what others and itself said before.
    Replay,
    /// It casts its votes in the epochs before and after, too.
    CrossEpoch,
    /// It votes on other chains.
    CrossChain,
    /// VIEW-CHANGEs with certificates that nobody gave.
    ForgeViewChange,
    /// VIEW-CHANGEs that know of nothing since the genesis.
    StaleViewChange,
    /// VIEW-CHANGEs that leave prepared blocks out.
    PartialViewChange,
    /// Two different VIEW-CHANGEs for one view.
    TwoViewChanges,
    /// As primary of a new view: other blocks than follow, or a start that differs from one replica to the other.
    WrongReproposal,
    /// As primary of a new view: among the VIEW-CHANGEs that it rests on its own is a false one.
    FalseClaim,
    /// It asks for views that are never reached, and names heights and epochs that are none.
    HugeNumbers,
    /// A STATUS that claims to have everything, nothing, or what cannot be.
    FalseStatus,
    /// CHECKPOINTs of another state.
    FalseCheckpoint,
    /// It answers those who ask what they signed with what they did not, or not at all.
    FalseHoldings,
    /// It gives nobody a body, and spreads no transaction.
    WithholdBodies,
    /// It serves blocks that are not certified.
    FalseBlocks,
    /// It signs in the name of others, and changes what they signed: evidence against the correct, if anybody took it.
    Impersonate,
    /// Its key is on two machines, both of which run the real engine.
    Twin,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::Equivocate,
        Self::SilentPrimary,
        Self::SlowPrimary,
        Self::Censor,
        Self::SpoilBlocks,
        Self::WithholdVotes,
        Self::DoubleVotes,
        Self::ConflictingVotes,
        Self::VoteForAll,
        Self::Replay,
        Self::CrossEpoch,
        Self::CrossChain,
        Self::ForgeViewChange,
        Self::StaleViewChange,
        Self::PartialViewChange,
        Self::TwoViewChanges,
        Self::WrongReproposal,
        Self::FalseClaim,
        Self::HugeNumbers,
        Self::FalseStatus,
        Self::FalseCheckpoint,
        Self::FalseHoldings,
        Self::WithholdBodies,
        Self::FalseBlocks,
        Self::Impersonate,
        Self::Twin,
    ];

    /// What counts it.
    #[must_use]
    pub fn counter(self) -> Counter {
        let name = match self {
            Self::Equivocate => "lie: equivocating primary",
            Self::SilentPrimary => "lie: silent primary",
            Self::SlowPrimary => "lie: slow primary",
            Self::Censor => "lie: censoring primary",
            Self::SpoilBlocks => "lie: spoilt proposals",
            Self::WithholdVotes => "lie: votes withheld",
            Self::DoubleVotes => "lie: votes doubled",
            Self::ConflictingVotes => "lie: conflicting votes",
            Self::VoteForAll => "lie: votes for all",
            Self::Replay => "lie: replays",
            Self::CrossEpoch => "lie: cross-epoch votes",
            Self::CrossChain => "lie: cross-chain votes",
            Self::ForgeViewChange => "lie: forged VIEW-CHANGE",
            Self::StaleViewChange => "lie: stale VIEW-CHANGE",
            Self::PartialViewChange => "lie: partial VIEW-CHANGE",
            Self::TwoViewChanges => "lie: two VIEW-CHANGEs",
            Self::WrongReproposal => "lie: wrong re-proposal",
            Self::FalseClaim => "lie: false claim in its own NEW-VIEW",
            Self::HugeNumbers => "lie: huge numbers",
            Self::FalseStatus => "lie: false STATUS",
            Self::FalseCheckpoint => "lie: false CHECKPOINT",
            Self::FalseHoldings => "lie: false HOLDINGS",
            Self::WithholdBodies => "lie: bodies withheld",
            Self::FalseBlocks => "lie: false blocks",
            Self::Impersonate => "lie: impersonation",
            Self::Twin => "lie: twin",
        };
        Counter::named(name)
    }
}

/// A validator and how it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiarPlan {
    /// Its place in the set.
    pub node: usize,
    /// All its ways.
    pub lies: Vec<Lie>,
}

/// A message that a liar sends.
pub struct Told<M> {
    pub(crate) to: To,
    pub(crate) message: M,
    /// After so many microseconds.
    pub(crate) after_us: u64,
}

/// Two blocks that a liar proposed for one place.
#[derive(Clone, Debug)]
pub(crate) struct Double {
    /// The one that its engine stands by.
    pub(crate) first: Hash,
    pub(crate) second: Hash,
    /// Who was given the second; everybody else has the first.
    pub(crate) given: Vec<ValidatorIndex>,
}

/// What the liars of a run know of each other: who was given which of two blocks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plot(Rc<RefCell<VecDeque<Double>>>);

impl Plot {
    /// Tells the others.
    pub(crate) fn tell(&self, double: Double) {
        let mut doubles = self.0.borrow_mut();
        if doubles.len() == DOUBLES_MAX {
            doubles.pop_front();
        }
        doubles.push_back(double);
    }

    /// What there is about a block.
    pub(crate) fn about(&self, block: Hash) -> Option<Double> {
        self.0.borrow().iter().find(|it| [it.first, it.second].contains(&block)).cloned()
    }
}

/// One lying validator at work. It dies with its process; lies are made up anew.
pub struct Liar<M> {
    pub(crate) lies: Vec<Lie>,
    member: usize,
    /// The epoch before the newest, if it has seen that end.
    pub(crate) before: Option<Rc<Instance>>,
    /// The epoch that it speaks in.
    pub(crate) instance: Rc<Instance>,
    /// Its place in there. Where it has none it claims the one that it had last, which is another's, or nobody's.
    pub(crate) place: ValidatorIndex,
    /// The one key that it holds.
    pub(crate) key: SecretKey,
    pub(crate) chain: Arc<Chain>,
    pub(crate) random: Random,
    /// What it heard and said of late.
    pub(crate) heard: VecDeque<M>,
    /// What it has arranged with the others that lie.
    pub(crate) plot: Plot,
    /// What is still to be counted for the report.
    pub(crate) counted: Vec<Counter>,
}

impl<M: Clone> Liar<M> {
    pub(crate) fn new(
        lies: Vec<Lie>,
        member: usize,
        chain: Arc<Chain>,
        plot: Plot,
        instance: &Rc<Instance>,
        life: u32,
    ) -> Self {
        let key = chain.keys[member].clone();
        let random = Random::new(chain.seed.wrapping_add(u64::from(life) << 32), Stream::Liar(member));
        Self {
            lies,
            member,
            before: None,
            instance: Rc::clone(instance),
            place: instance.index_of(member).unwrap_or(ValidatorIndex(0)),
            key,
            chain,
            random,
            heard: VecDeque::new(),
            plot,
            counted: Vec::new(),
        }
    }

    /// From now on it speaks in this epoch.
    pub(crate) fn turn_to(&mut self, instance: &Rc<Instance>) {
        self.place = instance.index_of(self.member).unwrap_or(self.place);
        let left = std::mem::replace(&mut self.instance, Rc::clone(instance));
        if left.epoch() < instance.epoch() {
            self.before = Some(left);
        }
    }

    /// The place that its signatures in an epoch name: its own, as far as it knows the set.
    pub(crate) fn place_in(&self, epoch: Epoch) -> ValidatorIndex {
        let known = self.before.iter().find(|it| it.epoch() == epoch);
        known.and_then(|it| it.index_of(self.member)).unwrap_or(self.place)
    }

    /// How many validators there are.
    pub(crate) fn validators(&self) -> usize {
        self.instance.members.len()
    }

    /// Whether it lies so at all.
    pub(crate) fn does(&self, lie: Lie) -> bool {
        self.lies.contains(&lie)
    }

    /// Whether it lies so this time, in so many of 1,000 cases; if so, that is counted.
    pub(crate) fn tells(&mut self, lie: Lie, permille: u32) -> bool {
        let now = self.does(lie) && self.random.chance(permille);
        if now {
            self.counted.push(lie.counter());
        }
        now
    }

    /// Remembers a message.
    pub(crate) fn remember(&mut self, message: &M) {
        if self.heard.len() == HEARD_MAX {
            self.heard.pop_front();
        }
        self.heard.push_back(message.clone());
    }

    /// One that it remembers.
    pub(crate) fn recall(&mut self) -> Option<M> {
        (!self.heard.is_empty()).then(|| self.heard[self.random.index(self.heard.len())].clone())
    }

    /// The other validators.
    pub(crate) fn others(&self) -> Vec<ValidatorIndex> {
        let count = u16::try_from(self.validators()).expect("a run has a handful of nodes");
        (0..count).map(ValidatorIndex).filter(|index| *index != self.place).collect()
    }

    /// Any of the others, each or not.
    pub(crate) fn some(&mut self) -> Vec<ValidatorIndex> {
        let mut some = self.others();
        some.retain(|_| self.random.chance(500));
        some
    }

    /// Anyone or everyone.
    pub(crate) fn anyone(&mut self) -> To {
        let others = self.others();
        if others.is_empty() || self.random.chance(500) {
            To::All
        } else {
            To::One(others[self.random.index(others.len())])
        }
    }

    /// A hash that names nothing.
    pub(crate) fn nothing(&mut self) -> Hash {
        Hash::of(&self.random.any().to_le_bytes())
    }
}

/// An engine whose messages can be lied about.
pub trait Deceptive: Observed {
    /// What becomes of a message that the liar's own engine sends.
    fn alter(liar: &mut Liar<Self::Message>, to: To, message: Self::Message) -> Vec<Told<Self::Message>>;

    /// What the liar says on hearing a message.
    fn answer(liar: &mut Liar<Self::Message>, message: &Self::Message) -> Vec<Told<Self::Message>>;

    /// What the liar says unasked, knowing how its own engine stands.
    fn invent(liar: &mut Liar<Self::Message>, now: &Status) -> Vec<Told<Self::Message>>;
}

/// The message, at once.
pub(crate) fn told<M>(to: To, message: M) -> Told<M> {
    Told { to, message, after_us: 0 }
}
