//! A bound on a size that may rise while the network runs: a later epoch may allow larger blocks, and no node should have to
//! be started again for it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The bound; clones are the same one. It never falls: what was allowed once may still be under way, or be asked for.
#[derive(Clone, Debug)]
pub(crate) struct Bound(Arc<AtomicUsize>);

impl Bound {
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(max)))
    }

    /// As it is now.
    pub(crate) fn max(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Allows sizes up to `max`, if they are not allowed already.
    pub(crate) fn raise(&self, max: usize) {
        self.0.fetch_max(max, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_for_all_clones_and_never_falls() {
        let bound = Bound::new(5);
        let other = bound.clone();
        bound.raise(7);
        assert_eq!(other.max(), 7);
        other.raise(6);
        assert_eq!(bound.max(), 7);
    }
}
