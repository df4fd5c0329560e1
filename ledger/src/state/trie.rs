//! The Merkle trie over the records, in memory, as it is and as it was at the last heights.
//!
//! Nodes stand in two arenas, inner nodes and leaves, and name each other by number; freed places are used again. An
//! inner node holds the hashes of both its children, so that rehashing a path and proving it touch the nodes on it
//! and no others. A record costs one leaf (64 B) and, in a trie of random paths, 1/ln 2 inner nodes (72 B each): about
//! 170 B.
//!
//! Nodes are never changed. A block's changes are sorted by path and applied in one walk that makes each touched
//! node anew, once; the nodes it replaces are the reverse delta: they stay until no height of the window needs them.
//! So a proof at any of those heights is a walk from that height's root.
//!
//! What the trie must be is in [`proof`](super::proof). The recursion follows the bits of a path: 256 deep at most.

use std::collections::VecDeque;

use quorate_crypto::Hash;

use super::proof::{PROOF_SIBLINGS_MAX, ProofEnd, StateProof, bit, leaf_hash, node_hash};
use crate::primitives::Height;

/// The trie at a height and at the heights before it that proofs may be asked for.
#[derive(Debug)]
pub struct Trie {
    inners: Arena<Inner>,
    leaves: Arena<Leaf>,
    /// Rising heights without gaps; the last is the present.
    revisions: VecDeque<Revision>,
    /// How many heights below the present are kept.
    window: usize,
}

/// What becomes of one path: the hash of its record, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafChange {
    /// Where.
    pub path: Hash,
    /// The hash of the record from now on; `None`: no record.
    pub record: Option<Hash>,
}

#[derive(Debug)]
struct Revision {
    height: Height,
    root: Link,
    /// The nodes of the revision below that are not in this one.
    replaced: Vec<NodeId>,
}

/// A node and the hash of the subtree below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link {
    node: NodeId,
    hash: Hash,
}

#[derive(Clone, Copy, Debug)]
struct Inner {
    children: [Link; 2],
}

#[derive(Clone, Copy, Debug)]
struct Leaf {
    path: Hash,
    record: Hash,
}

/// A leaf on its way to its place.
#[derive(Clone, Copy)]
struct Placed {
    path: Hash,
    link: Link,
}

impl Trie {
    /// The trie of these records (path and record hash, in any order) at `height`, which will keep `window` heights
    /// below the present.
    ///
    /// # Panics
    /// If a path is there twice.
    #[must_use]
    pub fn build(height: Height, records: impl IntoIterator<Item = (Hash, Hash)>, window: usize) -> Self {
        let mut trie =
            Self { inners: Arena::default(), leaves: Arena::default(), revisions: VecDeque::new(), window };
        let mut placed: Vec<Placed> =
            records.into_iter().map(|(path, record)| trie.new_leaf(path, record)).collect();
        placed.sort_unstable_by_key(|leaf| leaf.path);
        assert!(placed.windows(2).all(|pair| pair[0].path < pair[1].path), "a path is there twice");
        let root = trie.assemble(&placed, 0);
        trie.revisions.push_back(Revision { height, root, replaced: Vec::new() });
        trie
    }

    /// The present height.
    #[must_use]
    pub fn height(&self) -> Height {
        self.present().height
    }

    /// The lowest height that can still be proven.
    #[must_use]
    pub fn oldest(&self) -> Height {
        self.revisions.front().expect("there is always a present").height
    }

    /// The root at the present height.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.present().root.hash
    }

    /// The number of nodes held, those of past heights included: inner nodes and leaves.
    #[must_use]
    pub fn nodes(&self) -> (usize, usize) {
        (self.inners.len(), self.leaves.len())
    }

    /// Keeps so many heights below the present from now on.
    pub fn set_window(&mut self, window: usize) {
        self.window = window;
        self.forget();
    }

    /// Goes to the next height by these changes (in any order) and returns its root.
    ///
    /// # Panics
    /// If a path is there twice.
    pub fn advance(&mut self, mut changes: Vec<LeafChange>) -> Hash {
        changes.sort_unstable_by_key(|change| change.path);
        assert!(changes.windows(2).all(|pair| pair[0].path < pair[1].path), "a path is changed twice");
        let Revision { height, root, .. } = *self.present();
        let mut replaced = Vec::new();
        let root = self.change(root, 0, &changes, &mut replaced);
        self.revisions.push_back(Revision { height: height.next(), root, replaced });
        self.forget();
        root.hash
    }

    /// Lets go of the heights below the window.
    fn forget(&mut self) {
        while self.revisions.len() > self.window + 1 {
            self.revisions.pop_front();
            self.release_replaced();
        }
    }

    /// What proves the record at `path`, or its absence, at a height; `None` outside the window.
    #[must_use]
    pub fn prove(&self, path: &Hash, height: Height) -> Option<StateProof> {
        let index = usize::try_from(height.0.checked_sub(self.oldest().0)?).ok()?;
        let mut node = self.revisions.get(index)?.root.node;
        let mut siblings = Vec::new();
        let end = loop {
            match node.kind() {
                Kind::Empty => break ProofEnd::Empty,
                Kind::Leaf(at) => {
                    let Leaf { path: other, record } = *self.leaves.at(at);
                    break if other == *path {
                        ProofEnd::Present
                    } else {
                        ProofEnd::Other { path: other, record }
                    };
                }
                Kind::Inner(at) => {
                    let children = &self.inners.at(at).children;
                    let side = usize::from(bit(path, siblings.len()));
                    siblings.push(children[1 - side].hash);
                    node = children[side].node;
                }
            }
        };
        Some(StateProof { siblings, end })
    }

    fn present(&self) -> &Revision {
        self.revisions.back().expect("there is always a present")
    }

    /// Frees the nodes that only the revision just dropped needed: those its successor replaced.
    fn release_replaced(&mut self) {
        let oldest = self.revisions.front_mut().expect("there is always a present");
        for node in std::mem::take(&mut oldest.replaced) {
            match node.kind() {
                Kind::Empty => {}
                Kind::Inner(at) => self.inners.release(at),
                Kind::Leaf(at) => self.leaves.release(at),
            }
        }
    }

    /// The subtree `old` at `depth` after `changes`, which are sorted and all belong below it.
    fn change(
        &mut self,
        old: Link,
        depth: usize,
        changes: &[LeafChange],
        replaced: &mut Vec<NodeId>,
    ) -> Link {
        if changes.is_empty() {
            return old;
        }
        match old.node.kind() {
            Kind::Empty => {
                let placed = self.place(changes);
                self.assemble(&placed, depth)
            }
            Kind::Leaf(at) => self.change_leaf(old, at, depth, changes, replaced),
            Kind::Inner(at) => {
                let children = self.inners.at(at).children;
                let (left, right) = split(changes, depth, |change| &change.path);
                let new = [
                    self.change(children[0], depth + 1, left, replaced),
                    self.change(children[1], depth + 1, right, replaced),
                ];
                if new == children {
                    return old;
                }
                replaced.push(old.node);
                self.join(new)
            }
        }
    }

    /// The same where the subtree is one leaf, which the changes replace, remove, or push deeper.
    fn change_leaf(
        &mut self,
        old: Link,
        at: usize,
        depth: usize,
        changes: &[LeafChange],
        replaced: &mut Vec<NodeId>,
    ) -> Link {
        let path = self.leaves.at(at).path;
        let stays = changes.binary_search_by_key(&path, |change| change.path).is_err();
        let mut placed = self.place(changes);
        if stays {
            let before = placed.partition_point(|leaf| leaf.path < path);
            placed.insert(before, Placed { path, link: old });
        } else {
            replaced.push(old.node);
        }
        self.assemble(&placed, depth)
    }

    /// New leaves for the records among the changes.
    fn place(&mut self, changes: &[LeafChange]) -> Vec<Placed> {
        let set = changes.iter().filter_map(|change| Some((change.path, change.record?)));
        set.map(|(path, record)| self.new_leaf(path, record)).collect()
    }

    /// The subtree at `depth` that holds exactly these leaves, which are sorted.
    fn assemble(&mut self, leaves: &[Placed], depth: usize) -> Link {
        match leaves {
            [] => Link::EMPTY,
            [alone] => alone.link,
            _ => {
                let (left, right) = split(leaves, depth, |leaf| &leaf.path);
                let children = [self.assemble(left, depth + 1), self.assemble(right, depth + 1)];
                self.join(children)
            }
        }
    }

    /// The subtree above two others. A lone leaf moves up: it stands at the shallowest place that is its own.
    fn join(&mut self, children: [Link; 2]) -> Link {
        match children.map(|child| child.node.kind()) {
            [Kind::Empty, Kind::Empty | Kind::Leaf(_)] => children[1],
            [Kind::Leaf(_), Kind::Empty] => children[0],
            [Kind::Empty | Kind::Inner(_) | Kind::Leaf(_), _] => {
                let hash = node_hash(&children[0].hash, &children[1].hash);
                Link { node: NodeId::inner(self.inners.insert(Inner { children })), hash }
            }
        }
    }

    fn new_leaf(&mut self, path: Hash, record: Hash) -> Placed {
        let node = NodeId::leaf(self.leaves.insert(Leaf { path, record }));
        Placed { path, link: Link { node, hash: leaf_hash(&path, &record) } }
    }
}

/// Parts sorted entries by the bit at `depth`.
fn split<T>(entries: &[T], depth: usize, path: impl Fn(&T) -> &Hash) -> (&[T], &[T]) {
    assert!(depth < PROOF_SIBLINGS_MAX, "two paths that differ do so in one of their bits");
    entries.split_at(entries.partition_point(|entry| !bit(path(entry), depth)))
}

impl Link {
    const EMPTY: Link = Link { node: NodeId(0), hash: Hash::ZERO };
}

/// The number of a node: 0 is the empty subtree, the top bit marks leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NodeId(u32);

enum Kind {
    Empty,
    Inner(usize),
    Leaf(usize),
}

impl NodeId {
    const LEAF: u32 = 1 << 31;

    fn inner(at: u32) -> Self {
        NodeId(at + 1)
    }

    fn leaf(at: u32) -> Self {
        NodeId(at | Self::LEAF)
    }

    fn kind(self) -> Kind {
        match self.0 {
            0 => Kind::Empty,
            id if id & Self::LEAF == 0 => Kind::Inner(id as usize - 1),
            id => Kind::Leaf((id & !Self::LEAF) as usize),
        }
    }
}

/// Nodes of one kind by number, with the numbers that are free.
#[derive(Debug)]
struct Arena<T> {
    slots: Vec<T>,
    free: Vec<u32>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Arena<T> {
    /// One less than the numbers that 31 bits give, since one names the empty subtree.
    const SLOTS_MAX: usize = NodeId::LEAF as usize - 1;

    fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn at(&self, at: usize) -> &T {
        &self.slots[at]
    }

    fn insert(&mut self, node: T) -> u32 {
        if let Some(at) = self.free.pop() {
            self.slots[at as usize] = node;
            return at;
        }
        assert!(self.slots.len() < Self::SLOTS_MAX, "memory ends long before 2^31 nodes");
        self.slots.push(node);
        (self.slots.len() - 1) as u32
    }

    fn release(&mut self, at: usize) {
        self.free.push(at as u32);
    }
}
