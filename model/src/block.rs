//! A block is the path that leads to it: whose block stands at each height above the genesis.

use std::fmt;
use std::num::NonZeroU16;

use crate::state::View;

/// A height above the genesis, which is 0.
pub type Height = usize;

/// Heights that fit into a [`Block`]: one more than is searched exhaustively, so that there is room to recover.
pub const HEIGHTS: usize = 3;

const BITS: usize = 4;

/// What tells blocks with one parent from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(u16);

impl Label {
    /// The other block of a primary that proposes two. At most one replica lies, in one view of its own.
    pub const SECOND: Self = Self((1 << BITS) - 1);

    /// The block that the primary of `view` makes.
    ///
    /// # Panics
    /// When there are more views than labels.
    #[must_use]
    pub fn of(view: View) -> Self {
        let label = Self(u16::try_from(view + 1).expect("a small number"));
        assert!(label.0 < Self::SECOND.0);
        label
    }
}

/// A block with all its ancestors, as digits behind a leading 1: the genesis is `1`. So blocks are equal when their
/// chains are, and an ancestor is a prefix.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Block(NonZeroU16);

impl Block {
    /// Where every chain begins.
    pub const GENESIS: Self = Self(NonZeroU16::MIN);

    /// The block with this parent and label.
    ///
    /// # Panics
    /// When it would stand above [`HEIGHTS`].
    #[must_use]
    pub fn child(self, label: Label) -> Self {
        assert!(self.height() < HEIGHTS);
        Self(NonZeroU16::new(self.0.get() << BITS | label.0).expect("the leading 1 stays"))
    }

    /// Its height.
    #[must_use]
    pub fn height(self) -> Height {
        self.0.ilog2() as usize / BITS
    }

    /// The block it stands on.
    ///
    /// # Panics
    /// For the genesis.
    #[must_use]
    pub fn parent(self) -> Self {
        self.at(self.height() - 1)
    }

    /// Its ancestor at `height`, or itself.
    ///
    /// # Panics
    /// When `height` is above it.
    #[must_use]
    pub fn at(self, height: Height) -> Self {
        let above = self.height() - height;
        Self(NonZeroU16::new(self.0.get() >> (BITS * above)).expect("the leading 1 stays"))
    }

    /// Whether `ancestor` is on its chain; each block is on its own.
    #[must_use]
    pub fn is_on(self, ancestor: Self) -> bool {
        ancestor.height() <= self.height() && self.at(ancestor.height()) == ancestor
    }

    /// Whether no chain holds both.
    #[must_use]
    pub fn forks_from(self, other: Self) -> bool {
        !self.is_on(other) && !other.is_on(self)
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Block {
    /// The views whose primaries made it and its ancestors, from height 1 upwards; `x` is the second block of a liar.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::GENESIS {
            return f.write_str("genesis");
        }
        for height in 1..=self.height() {
            let label = self.at(height).0.get() & Label::SECOND.0;
            let dot = if height == 1 { "" } else { "." };
            if label == Label::SECOND.0 { write!(f, "{dot}x")? } else { write!(f, "{dot}{}", label - 1)? }
        }
        Ok(())
    }
}
