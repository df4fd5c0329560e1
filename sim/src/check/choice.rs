//! What a new view must propose again, by a second reading of `docs/pbft.md` §4.2: from plain claims, sharing no code with
//! the engine.

use std::collections::BTreeMap;

use quorate_crypto::Hash;
use quorate_ledger::{Height, View};

/// What a NEW-VIEW says, as far as it matters to what it must propose.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claimed {
    /// Bases of its VIEW-CHANGEs.
    pub(crate) bases: Vec<(Height, Hash)>,
    /// Blocks that they claim to be prepared: height, view, block.
    pub(crate) prepared: Vec<(Height, View, Hash)>,
    /// Of those that are proven, the block each stands on.
    pub(crate) parents: BTreeMap<(Height, View, Hash), Hash>,
    /// What it proposes.
    pub(crate) blocks: Vec<Hash>,
}

impl Claimed {
    /// Whether it proposes something else than what follows from proven claims.
    pub(crate) fn proposes_wrongly(&self) -> bool {
        self.chosen() != self.blocks
    }

    /// Upwards from the highest base: of each height the block of the highest view, while it stands on the one below.
    fn chosen(&self) -> Vec<Hash> {
        let mut chosen = Vec::new();
        let Some((mut height, mut below)) = self.bases.iter().copied().max_by_key(|(height, _)| *height)
        else {
            return chosen;
        };
        loop {
            height = height.next();
            let here = self.prepared.iter().filter(|(at, ..)| *at == height);
            let Some(view) = here.clone().map(|(_, view, _)| *view).max() else { return chosen };
            let proven =
                here.filter(|(_, of, _)| *of == view).find_map(|it| Some((it.2, *self.parents.get(it)?)));
            match proven {
                Some((block, parent)) if parent == below => {
                    chosen.push(block);
                    below = block;
                }
                Some(_) | None => return chosen,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(text: &str) -> Hash {
        Hash::of(text.as_bytes())
    }

    fn claimed(prepared: &[(u64, u64, &str, &str)], blocks: &[&str]) -> Claimed {
        let key = |it: &(u64, u64, &str, &str)| (Height(it.0), View(it.1), hash(it.2));
        Claimed {
            bases: vec![(Height(1), hash("old")), (Height(2), hash("base"))],
            prepared: prepared.iter().map(key).collect(),
            parents: prepared.iter().map(|it| (key(it), hash(it.3))).collect(),
            blocks: blocks.iter().map(|block| hash(block)).collect(),
        }
    }

    #[test]
    fn the_highest_view_of_each_height_counts_as_far_as_blocks_stand_on_each_other() {
        let prepared = [
            (3, 0, "x", "base"),
            (3, 1, "a", "base"),
            (4, 0, "b", "a"),
            (5, 1, "c", "other"),
            (6, 1, "d", "c"),
        ];
        assert!(!claimed(&prepared, &["a", "b"]).proposes_wrongly());
        for blocks in [&["a"][..], &["x"], &["a", "b", "c"], &[]] {
            assert!(claimed(&prepared, blocks).proposes_wrongly(), "{blocks:?}");
        }
        assert!(
            !claimed(&[(4, 0, "b", "a")], &[]).proposes_wrongly(),
            "nothing is known of the height between"
        );
    }
}
