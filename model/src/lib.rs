//! A model of `docs/pbft.md` §3 and §4, small enough that every state of it can be visited: four validators, one of
//! whom lies, a few heights and views. It is written from the page and shares no code with the engine.
//!
//! - **A message is a signature that exists.** Whoever may act on it does so at any later time, or never. So loss, delay,
//!   reordering and duplication are all in, without a network to model.
//! - **The liar** votes for everything to everybody, proposes two blocks of its own or any old one at each place, reports
//!   any base and any certificates that exist or keeps them back, and rests a NEW-VIEW on any quorum ([`Protocol`]'s
//!   part `liar`).
//! - **Correct replicas** follow the rules, at any pace. They may ask for any higher view at any time: that covers
//!   suspicion, planned rotation and joining others.
//!
//! Two claims are checked at every state ([`Model`]): blocks that can be certified lie on one chain; and if the liar
//! falls silent here and every message arrives from now on, a block commits ([`Calm`]).
//!
//! [`Rules`] can be planted wrong, one at a time: each such mistake must be found. That says what the model is able to
//! see.
//!
//! What it leaves out: hashes and signatures are perfect; bodies are everywhere, so what is committed is delivered and
//! executed too; nobody crashes; there are no checkpoints, epochs, clocks or transactions.

mod block;
mod calm;
mod essence;
mod liar;
mod model;
mod normal;
mod random;
mod rules;
mod state;
mod view_change;

pub use block::{Block, HEIGHTS, Height, Label};
pub use calm::{Calm, Memory, Stuck};
pub use model::{AGREEMENT, Action, Bounds, Claims, Model, REACH, RECOVERY};
pub use normal::{Protocol, QUORUM, REPLICAS};
pub use random::Unhurried;
pub use rules::{BaseHeights, Choice, Learning, NewViewTimer, Planted, Prepared, ProposedAgain, Rules};
pub use state::{Replica, State, VIEWS, View};
pub use view_change::{NewView, ViewChange};
