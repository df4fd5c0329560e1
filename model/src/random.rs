//! Random schedules that get somewhere: replicas that leave their view at every other step commit nothing, and those that
//! hear of every certificate at once make no mistakes.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use stateright::Chooser;

use crate::model::{Action, Model};
use crate::state::State;

/// Chooses what happens next at random; to leave a view, or to learn from others, less often than anything else.
#[derive(Clone, Copy, Debug)]
pub struct Unhurried;

/// Of so many choices, one may be to do so though there is something else to do.
const HURRY_ONE_IN: u32 = 8;

impl Chooser<Model> for Unhurried {
    type State = ChaCha8Rng;

    fn new_state(&self, seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    fn choose_initial_state(&self, _: &mut ChaCha8Rng, _: &[State]) -> usize {
        0
    }

    fn choose_action(&self, random: &mut ChaCha8Rng, _: &State, actions: &[Action]) -> usize {
        let rare = |index: &usize| matches!(actions[*index], Action::Ask(..) | Action::Learn(..));
        let others: Vec<usize> = (0..actions.len()).filter(|index| !rare(index)).collect();
        if others.is_empty() || random.next_u32().is_multiple_of(HURRY_ONE_IN) {
            index(random, actions.len())
        } else {
            others[index(random, others.len())]
        }
    }
}

/// A number below `length`.
fn index(random: &mut ChaCha8Rng, length: usize) -> usize {
    random.next_u32() as usize % length
}
