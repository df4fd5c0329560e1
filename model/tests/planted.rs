//! Mistakes that somebody could make, each put into the rules: the model finds what comes of it.

use quorate_model::{
    AGREEMENT, Action, Block, Bounds, Claims, Label, Model, NewView, Planted, Protocol, QUORUM, RECOVERY,
    Replica, Rules, State, Stuck, Unhurried,
};
use stateright::{Checker, HasDiscoveries, Model as _};

/// Random schedules give up after so many states.
const STATES: usize = 20_000_000;

/// How states are searched for what must be there.
#[derive(Clone, Copy)]
enum Search {
    BreadthFirst,
    Random,
}

fn model(rules: Rules, liar: usize, heights: usize, views: usize, claims: Claims) -> Model {
    Model::new(Protocol { rules, liar, window: heights }, Bounds { heights, views, claims })
}

/// A state at which `claim` does not hold.
fn find(model: Model, search: Search, claim: &'static str) -> State {
    let builder = model.checker().finish_when(HasDiscoveries::AnyFailures);
    let path = match search {
        Search::BreadthFirst => builder.spawn_bfs().join().discovery(claim),
        Search::Random => {
            builder.target_state_count(STATES).spawn_simulation(0, Unhurried).join().discovery(claim)
        }
    };
    path.expect("the mistake is found").last_state().clone()
}

/// A state with a fork, and the two blocks, the lower first.
fn fork(
    planted: Planted,
    liar: usize,
    heights: usize,
    views: usize,
    search: Search,
) -> (State, Block, Block) {
    let model = |claims| model(planted.rules(), liar, heights, views, claims);
    let state = find(model(Claims::Agreement), search, AGREEMENT);
    let (one, other) = model(Claims::Agreement).fork(&state).expect("agreement does not hold");
    if one.height() < other.height() { (state, one, other) } else { (state, other, one) }
}

/// A correct replica in this state of which that is true.
fn somebody(state: &State, liar: usize, is: impl Fn(&Replica) -> bool) -> bool {
    (0..4).filter(|&index| index != liar).any(|index| is(state.replica(index)))
}

/// One that accepted at this height, in a view that it is in, a block that forks from another; its NEW-VIEW is such.
fn accepted_beside(state: &State, liar: usize, block: Block, such: impl Fn(NewView) -> bool) -> bool {
    somebody(state, liar, |replica| {
        let accepted = replica.prepare(replica.view(), block.height());
        replica.started().is_some_and(&such) && accepted.is_some_and(|accepted| accepted.forks_from(block))
    })
}

fn first_of_view_0() -> Block {
    Block::GENESIS.child(Label::of(0))
}

/// §3.1:
///
/// > the blocks it proposes again are taken from it alone
#[test]
fn proposals_that_ignore_what_comes_again_fork() {
    let (state, one, other) = fork(Planted::NotEnforced, 1, 1, 2, Search::BreadthFirst);
    assert_eq!((one.height(), other.height()), (1, 1));
    let lost = first_of_view_0();
    assert!(one == lost || other == lost);
    assert!(accepted_beside(&state, 1, lost, |new_view| new_view.again(1) == Some(lost)));
}

/// §4.3:
///
/// > heights up to the base are closed
#[test]
fn fresh_proposals_up_to_the_base_fork() {
    let (state, one, other) = fork(Planted::BelowBase, 1, 1, 2, Search::BreadthFirst);
    assert_eq!((one.height(), other.height()), (1, 1));
    let lost = first_of_view_0();
    assert!(accepted_beside(&state, 1, lost, |new_view| new_view.base == lost && new_view.again(1).is_none()));
}

/// §4.2:
///
/// > beginning with the highest base
#[test]
fn starting_from_the_lowest_base_forks() {
    let (state, one, other) = fork(Planted::LowestBase, 1, 1, 2, Search::BreadthFirst);
    assert_eq!((one.height(), other.height()), (1, 1));
    let lost = first_of_view_0();
    let ignores = |new_view: NewView| new_view.base == Block::GENESIS && new_view.newest == lost;
    assert!(accepted_beside(&state, 1, lost, ignores));
}

/// §4.2:
///
/// > the certificate of the highest view
#[test]
fn taking_the_first_certificate_found_forks() {
    let (state, one, other) = fork(Planted::FirstFound, 2, 1, 3, Search::BreadthFirst);
    let (old, new) = (first_of_view_0(), Block::GENESIS.child(Label::of(1)));
    assert!((one, other) == (old, new) || (one, other) == (new, old));
    assert!(somebody(&state, 2, |replica| {
        replica.started().is_some_and(|new_view| replica.view() == 2 && new_view.again(1) == Some(old))
    }));
}

/// §4.2, height by height: the highest (view, height) with its ancestors forgets what committed above in a lower view.
#[test]
fn taking_the_highest_tip_forks() {
    let (state, one, other) = fork(Planted::Tip, 1, 2, 3, Search::Random);
    assert_eq!((one.height(), other.height()), (2, 2));
    assert!([one, other].into_iter().any(|lost| {
        accepted_beside(&state, 1, lost, |new_view| new_view.again(2).is_none() && new_view.base.height() < 2)
    }));
}

/// §4.2:
///
/// > as long as its block stands on the one chosen below
///
/// Whoever proposes such a block again proposes what nobody
/// accepts, in this view and in all that follow.
#[test]
fn proposing_again_what_does_not_link_stands_still() {
    let rules = Planted::Unlinked.rules();
    let searched = model(rules, 1, 2, 2, Claims::AgreementAndRecovery);
    let state = find(searched, Search::Random, RECOVERY);
    let stuck = model(rules, 1, 2, 2, Claims::Agreement).stuck(&state).expect("recovery does not hold");
    assert!(matches!(stuck, Stuck::NoView(_)));
    assert!(somebody(stuck.state(), 1, |replica| {
        replica.started().is_some_and(|new_view| {
            let below = new_view.again(1).unwrap_or(new_view.base);
            new_view.again(2).is_some_and(|again| again.parent() != below)
        })
    }));
    assert_eq!(model(Rules::default(), 1, 2, 2, Claims::Agreement).stuck(&state), None);
}

/// §3.3:
///
/// > a COMMIT tells that its sender holds a prepared certificate for every ancestor that is not committed yet
#[test]
fn committing_on_a_parent_that_is_not_prepared_forks() {
    let (state, one, other) = fork(Planted::PreparedAlone, 3, 2, 2, Search::Random);
    assert_eq!(other.height(), 2);
    assert!([one, other].into_iter().filter(|block| block.height() == 2).any(|block| {
        somebody(&state, 3, |replica| {
            (0..2).any(|view| replica.commit(view, 2) == Some(block) && replica.commit(view, 1).is_none())
        })
    }));
}

/// §5:
///
/// > *or a higher one* matters: replicas that ask for different views, none of them by Q, would wait for ever
#[test]
fn waiting_for_requests_of_exactly_one_view_stands_still() {
    let rules = Planted::ExactTimer.rules();
    let searched = model(rules, 1, 1, 2, Claims::AgreementAndRecovery);
    let state = find(searched, Search::BreadthFirst, RECOVERY);
    let stuck = model(rules, 1, 1, 2, Claims::Agreement).stuck(&state).expect("recovery does not hold");
    assert_waits_for_ever(&stuck, 1);
    assert_eq!(model(Rules::default(), 1, 1, 2, Claims::Agreement).stuck(&state), None);
}

/// The same, as it was first met: r2 heard the liar ask for view 1, had Q, and gave that view up; r0 and r3 had not.
#[test]
fn a_liar_that_asks_one_replica_alone_divides_the_others() {
    let asks = [(0, 1), (2, 2), (3, 1)].map(|(replica, view)| Action::Ask(replica, view));
    let asked = |model: &Model| {
        let first = model.init_states().remove(0);
        asks.iter()
            .fold(first, |state, ask| model.next_state(&state, *ask).expect("anybody may ask at any time"))
    };
    let exact = model(Planted::ExactTimer.rules(), 1, 1, 3, Claims::Agreement);
    assert_waits_for_ever(&exact.stuck(&asked(&exact)).expect("no timer runs"), 1);
    let page = model(Rules::default(), 1, 1, 3, Claims::Agreement);
    assert_eq!(page.stuck(&asked(&page)), None);
}

/// Nobody's view has started, and Q ask for no view, though all ask.
fn assert_waits_for_ever(stuck: &Stuck, liar: usize) {
    assert!(matches!(stuck, Stuck::StandStill(_)));
    let correct = || (0..4).filter(|&index| index != liar).map(|index| stuck.state().replica(index));
    assert!(correct().all(|replica| !replica.is_active()));
    assert!(correct().all(|one| correct().filter(|other| other.view() == one.view()).count() < QUORUM));
}
