//! Waiting for what has no notification of its own, with an upper bound that only a failure reaches.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The longest that anything may take that takes a moment on an idle machine.
pub const SOON: Duration = Duration::from_secs(60);

/// Looks until there is something to see: `Ok`, or meanwhile `Err` with what is there instead.
///
/// # Panics
/// With what was seen last, if it has not come by then.
pub async fn until<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + within;
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        match look().await {
            Ok(seen) => return seen,
            Err(instead) => {
                assert!(
                    Instant::now() < end,
                    "not within {} s: {what}; instead: {instead}",
                    within.as_secs()
                );
            }
        }
    }
}

/// What a future gives.
///
/// # Panics
/// If it gives nothing in time.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future)
        .await
        .unwrap_or_else(|_| panic!("not within {} s: {what}", SOON.as_secs()))
}
