//! Any events in any order, restarts included: the replica neither panics nor breaks a promise.
//!
//! What is checked after every step is the [`oracle`](super::oracle)'s; the [`world`](super::world) only makes sure that
//! what happens could happen: signatures are those of test keys, its own key signs nothing but what the replica signed,
//! and in company of at most f liars all others keep to what the protocol lets them sign.

use std::time::Duration;

use super::{happening::Life, world::World};

/// Entropy that one life may take; beyond, all is zero.
const LIFE_BYTES_MAX: usize = 1 << 16;

#[test]
fn any_life() {
    // A life is long, and what its bytes mean hangs on what came before: the seed says more than a shorter one found in time.
    let target =
        bolero::check!(name = "any_life").with_shrink_time(Duration::ZERO).with_max_len(LIFE_BYTES_MAX);
    target.with_type::<Life>().for_each(|life| {
        let mut world = World::new(life);
        for happening in &life.happenings {
            world.happen(happening);
        }
    });
}
