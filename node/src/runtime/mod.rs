//! The threads that join the parts of a node.

mod handle;
mod pool;

pub(crate) use handle::{
    ConsensusView, EvidenceShelf, FoundEvidence, InFlightView, NodeHandle, PoolHandle, PoolStatus, Role,
    SubmitError, TipView,
};
