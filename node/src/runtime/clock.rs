//! Where time enters: engines and pools are told it, they never ask.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quorate_consensus::{Mono, Now};
use quorate_ledger::UnixMillis;

/// Both clocks of the machine; copies agree about the start of monotonic time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    /// Monotonic time starts here.
    pub(super) fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Both clocks now.
    pub(super) fn now(&self) -> Now {
        Now { mono: self.mono(), wall: wall() }
    }

    /// The monotonic clock now.
    pub(super) fn mono(&self) -> Mono {
        let nanos = self.start.elapsed().as_nanos();
        Mono(u64::try_from(nanos).expect("a process runs for less than 584 years"))
    }

    /// The moment at which [`Clock::mono`] shows this; the far future if that cannot be written.
    pub(super) fn instant(&self, mono: Mono) -> Instant {
        /// Longer than anybody waits.
        const FAR: Duration = Duration::from_secs(3_600);
        self.start.checked_add(Duration::from_nanos(mono.0)).unwrap_or_else(|| Instant::now() + FAR)
    }
}

/// The wall clock; 0 for one set before 1970.
pub(super) fn wall() -> UnixMillis {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
