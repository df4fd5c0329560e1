//! Recovery is tried from the essence of a state in place of the state. That takes away nothing that matters: both come
//! to the same view.

use quorate_model::{Bounds, Calm, Claims, Memory, Model, Planted, Protocol, Rules, State, Unhurried};
use stateright::{Chooser, Model as _};

/// Random schedules, each followed to its end.
const SCHEDULES: u64 = 40;

/// How recovery ends, without the states, which differ.
fn outcomes(protocol: &Protocol, memory: Memory, state: &State) -> Vec<Result<usize, String>> {
    Calm::all(protocol, memory)
        .map(|calm| calm.run(state.clone()).map_err(|stuck| stuck.to_string()))
        .collect()
}

#[test]
fn the_essence_recovers_as_the_state_does() {
    for rules in [Rules::default(), Planted::ExactTimer.rules(), Planted::Unlinked.rules()] {
        for seed in 0..SCHEDULES {
            let liar = usize::try_from(seed % 4).expect("a small number");
            let protocol = Protocol { rules, liar, window: 2 };
            let bounds = Bounds { heights: 2, views: 3, claims: Claims::Agreement };
            for state in schedule(&Model::new(protocol, bounds), seed) {
                for memory in Memory::ALL {
                    let essence = state.essence(&protocol, memory);
                    assert_eq!(essence.essence(&protocol, memory), essence);
                    let told = state.told(&protocol, memory);
                    assert_eq!(outcomes(&protocol, memory, &essence), outcomes(&protocol, memory, &told));
                }
            }
        }
    }
}

/// The states on one random schedule.
fn schedule(model: &Model, seed: u64) -> Vec<State> {
    let mut random = Chooser::<Model>::new_state(&Unhurried, seed);
    let mut states = model.init_states();
    let mut actions = Vec::new();
    loop {
        let state = states.last().expect("there is a first");
        model.actions(state, &mut actions);
        if actions.is_empty() {
            return states;
        }
        let chosen = actions[Unhurried.choose_action(&mut random, state, &actions)];
        actions.clear();
        states.push(model.next_state(state, chosen).expect("what may happen can"));
    }
}
