//! The rules that can be planted wrong. The default is the page; everything else is a mistake that somebody could make.

/// One choice for each rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// When a block counts as prepared.
    pub prepared: Prepared,
    /// Which blocks a NEW-VIEW proposes again.
    pub choice: Choice,
    /// What a replica takes at the heights of those.
    pub proposed_again: ProposedAgain,
    /// What a replica takes at heights up to NEW-VIEW's base.
    pub base_heights: BaseHeights,
    /// What the commit certificates inside a NEW-VIEW teach.
    pub learning: Learning,
    /// Whose requests the new-view timer waits for.
    pub new_view_timer: NewViewTimer,
}

/// §3.3: when a block is prepared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prepared {
    /// It is accepted, has Q PREPAREs, and its parent is prepared in the same view or committed.
    #[default]
    OnItsParent,
    /// *Wrong*: whatever its parent is.
    Alone,
}

/// §4.2: what is proposed again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// From the highest base upwards, the certificate of the highest view, as long as it stands on what was chosen.
    #[default]
    Linked,
    /// *Wrong*: whether it stands on what was chosen or not.
    Unlinked,
    /// *Wrong*: the first certificate found at a height.
    FirstFound,
    /// *Wrong*: the block of the highest (view, height), with its ancestors.
    Tip,
    /// *Wrong*: as it should be, but from the lowest base.
    FromLowestBase,
}

/// §3.1: what is accepted at a height that NEW-VIEW proposes again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProposedAgain {
    /// The block that follows from the VIEW-CHANGEs.
    #[default]
    Exactly,
    /// *Wrong*: what the primary proposes.
    Anything,
}

/// §4.3: what is accepted at heights up to NEW-VIEW's base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BaseHeights {
    /// Nothing.
    #[default]
    Closed,
    /// *Wrong*: what is accepted elsewhere.
    Open,
}

/// §2: a certificate teaches the same wherever it comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Learning {
    /// Those inside a NEW-VIEW are learned with it.
    #[default]
    AtOnce,
    /// *Wrong*: they are learned at some time, or never.
    Later,
}

/// §5: when a replica whose view has not started gives it up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewViewTimer {
    /// When Q ask for this view or a higher one.
    #[default]
    OrHigher,
    /// *Wrong*: when Q ask for exactly this one.
    Exactly,
}

/// Mistakes that must be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// COMMIT without a prepared parent (§3.3).
    PreparedAlone,
    /// Proposing again what does not stand on what was chosen below (§4.2).
    Unlinked,
    /// Proposing again the first certificate found at each height (§4.2).
    FirstFound,
    /// Proposing again the highest tip with its ancestors (§4.2).
    Tip,
    /// Starting from the lowest base, which is all that is learned then (§4.2).
    LowestBase,
    /// Letting the primary propose what it likes where the page says what comes again (§3.1).
    NotEnforced,
    /// Taking fresh proposals at or below NEW-VIEW's base, without learning what that base says (§4.3).
    BelowBase,
    /// A new-view timer that waits for Q requests of exactly one view (§5).
    ExactTimer,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::PreparedAlone,
        Self::Unlinked,
        Self::FirstFound,
        Self::Tip,
        Self::LowestBase,
        Self::NotEnforced,
        Self::BelowBase,
        Self::ExactTimer,
    ];

    /// What it is called on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PreparedAlone => "prepared-alone",
            Self::Unlinked => "unlinked",
            Self::FirstFound => "first-found",
            Self::Tip => "tip",
            Self::LowestBase => "lowest-base",
            Self::NotEnforced => "not-enforced",
            Self::BelowBase => "below-base",
            Self::ExactTimer => "exact-timer",
        }
    }

    /// The rules with this mistake in them.
    #[must_use]
    pub fn rules(self) -> Rules {
        let page = Rules::default();
        match self {
            Self::PreparedAlone => Rules { prepared: Prepared::Alone, ..page },
            Self::Unlinked => Rules { choice: Choice::Unlinked, ..page },
            Self::FirstFound => Rules { choice: Choice::FirstFound, ..page },
            Self::Tip => Rules { choice: Choice::Tip, ..page },
            Self::LowestBase => Rules { choice: Choice::FromLowestBase, learning: Learning::Later, ..page },
            Self::NotEnforced => Rules { proposed_again: ProposedAgain::Anything, ..page },
            Self::BelowBase => Rules { base_heights: BaseHeights::Open, learning: Learning::Later, ..page },
            Self::ExactTimer => Rules { new_view_timer: NewViewTimer::Exactly, ..page },
        }
    }
}
