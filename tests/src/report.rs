//! What the measurements print: the machine, and times in order.

use std::fmt;
use std::fs;
use std::time::Duration;

/// Times that were measured, shown by their ranks in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// One more.
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// In the order in which they were measured.
    pub fn iter(&self) -> impl Iterator<Item = &Duration> {
        self.0.iter()
    }

    /// The time that so many percent do not exceed, by the nearest rank: one that was measured, not one between two.
    ///
    /// # Panics
    /// If nothing was measured.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
    }

    /// The head of a table of which [`Times`] are rows.
    #[must_use]
    pub fn head(name: &str) -> String {
        format!("  {name:34} {:>5} {:>8} {:>8} {:>8} {:>8}", "times", "min", "median", "p90", "max")
    }

    /// A row of that table.
    #[must_use]
    pub fn row(&self, name: &str) -> String {
        format!("  {name:34} {:>5} {self}", self.count())
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        Self(times.into_iter().collect())
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [min, median, p90, max] = [0, 50, 90, 100].map(|percent| millis(self.percentile(percent)));
        write!(f, "{min:>8.1} {median:>8.1} {p90:>8.1} {max:>8.1}")
    }
}

/// As a number of milliseconds.
#[must_use]
pub fn millis(time: Duration) -> f64 {
    1_000.0 * time.as_secs_f64()
}

/// What it was measured on, and what else that machine does.
#[must_use]
pub fn machine() -> String {
    let text = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let after = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let system = after(&text("/etc/os-release").replace('=', ":"), "PRETTY_NAME");
    format!(
        "{cores} cores, {}; memory {}; {}; Linux {}; {}\n",
        after(&text("/proc/cpuinfo"), "model name"),
        after(&text("/proc/meminfo"), "MemTotal"),
        system.trim_matches('"'),
        text("/proc/sys/kernel/osrelease").trim(),
        load(),
    )
}

/// How many processes wanted a processor over the last minute.
#[must_use]
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("load {}", text.split(' ').next().unwrap_or_default())
}
