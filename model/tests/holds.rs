//! The page's rules, searched as far as a test may take: no state forks, and from every state the replicas recover.
//! `docs/testing.md` has the larger searches.

use quorate_model::{
    AGREEMENT, BaseHeights, Bounds, Choice, Claims, Learning, Model, Protocol, REACH, RECOVERY, REPLICAS,
    Rules, Unhurried,
};
use stateright::{Checker, Model as _};

fn model(rules: Rules, liar: usize, heights: usize, views: usize) -> Model {
    let bounds = Bounds { heights, views, claims: Claims::AgreementAndRecovery };
    Model::new(Protocol { rules, liar, window: heights }, bounds)
}

/// Nothing was found that must not be, and the search came to the end of its bounds.
fn assert_holds(checker: &impl Checker<Model>) {
    assert!(checker.discovery(AGREEMENT).is_none());
    assert!(checker.discovery(RECOVERY).is_none());
    assert!(checker.discovery(REACH).is_some());
}

/// Two views of one height, whoever lies: every state.
#[test]
fn two_views_of_one_height_with_each_liar() {
    for liar in 0..REPLICAS {
        let checker = model(Rules::default(), liar, 1, 2).checker().spawn_bfs().join();
        assert!(checker.is_done());
        assert_holds(&checker);
    }
}

/// Three views of one height, with a liar that is no primary: every state.
#[test]
fn three_views_of_one_height() {
    let checker = model(Rules::default(), 3, 1, 3).checker().spawn_bfs().join();
    assert!(checker.is_done());
    assert_holds(&checker);
}

/// Three views of two heights, whoever lies: schedules at random.
#[test]
fn three_views_of_two_heights_at_random() {
    for liar in 0..REPLICAS {
        let builder = model(Rules::default(), liar, 2, 3).checker().target_state_count(150_000);
        assert_holds(&builder.spawn_simulation(1, Unhurried).join());
    }
}

/// Heights up to the base are closed, and its certificate is learned with the NEW-VIEW: either would do within these
/// bounds. `planted.rs` shows that something must.
#[test]
fn either_closing_or_learning_keeps_the_base() {
    let open = Rules { base_heights: BaseHeights::Open, ..Rules::default() };
    let later = Rules { learning: Learning::Later, ..Rules::default() };
    for rules in [open, later] {
        assert_holds(&model(rules, 1, 1, 2).checker().spawn_bfs().join());
    }
}

/// Whoever starts from the lowest base still learns the highest, and takes nothing up to there: within these bounds that
/// saves it.
#[test]
fn learning_makes_up_for_the_lowest_base() {
    let lowest = Rules { choice: Choice::FromLowestBase, ..Rules::default() };
    assert_holds(&model(lowest, 1, 1, 2).checker().spawn_bfs().join());
}
