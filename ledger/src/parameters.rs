//! What the genesis fixes and a later epoch may change: limits, fees, the window and the timers.
//!
//! Each parameter is declared once, below, with its unit, default, bounds and meaning; the struct, its defaults, its
//! table and its refusals all come from that declaration. The upper bounds of sizes and counts are also the limits of
//! the decoders: what no parameters could allow is refused while it is being read.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::primitives::Amount;

/// Most that `block_bytes_max` can be.
pub const BLOCK_BYTES_LIMIT: u32 = 16 << 20;
/// Most that `block_transactions_max` can be.
pub const BLOCK_TRANSACTIONS_LIMIT: u32 = 65_536;
/// Most that `window` + 1 blocks of `block_bytes_max` can be.
const IN_FLIGHT_BYTES_LIMIT: u64 = 192 << 20;
/// Most that `transaction_bytes_max` can be.
pub const TRANSACTION_BYTES_LIMIT: u32 = 1 << 20;
/// Most that `operations_max` can be.
pub const OPERATIONS_LIMIT: u32 = 1_024;
/// Most that `key_bytes_max` can be.
pub const KEY_BYTES_LIMIT: u32 = 4_096;
/// Most that `value_bytes_max` can be.
pub const VALUE_BYTES_LIMIT: u32 = 1 << 20;
/// Most that `window` can be.
pub const WINDOW_LIMIT: u32 = 128;

/// Most that either fee parameter can be: the fee of the largest transaction stays far below `u128::MAX`.
const FEE_LIMIT: Amount = 10u128.pow(30);
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const WEEK_MS: u64 = 7 * 24 * HOUR_MS;

/// One line of the table of parameters. Units: `ms`, `bytes`, `blocks`, `coins` or a plain `number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterRow {
    /// Its name in the genesis document.
    pub key: &'static str,
    /// What it counts.
    pub unit: &'static str,
    /// Its value when the genesis names none.
    pub default: u128,
    /// The least value allowed.
    pub min: u128,
    /// The greatest value allowed.
    pub max: u128,
    /// What it does.
    pub meaning: &'static str,
}

/// A parameter outside its bounds, or at odds with another: the author of the genesis must change it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: {reason}")]
pub struct ParameterError {
    /// Which parameter.
    pub key: &'static str,
    /// The value it has.
    pub value: u128,
    /// What is allowed.
    pub reason: String,
}

macro_rules! parameters {
    ($(
        $(#[$attribute:meta])*
        $key:ident: $kind:ty = $default:expr, $unit:literal, $min:expr => $max:expr, $meaning:literal;
    )*) => {
        /// The rules of a chain that are numbers; the bounds are in [`Parameters::table`].
        #[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Parameters {
            $(
                #[doc = $meaning]
                #[doc = concat!("(", $unit, ")")]
                $(#[$attribute])*
                pub $key: $kind,
            )*
        }

        impl Default for Parameters {
            fn default() -> Self {
                Parameters { $( $key: $default, )* }
            }
        }

        /// The table, in the order of the declaration.
        const TABLE: &[ParameterRow] = &[$(
            ParameterRow {
                key: stringify!($key),
                unit: $unit,
                default: { let default: $kind = $default; default as u128 },
                min: { let min: $kind = $min; min as u128 },
                max: { let max: $kind = $max; max as u128 },
                meaning: $meaning,
            },
        )*];

        impl Parameters {
            /// The values in the order of [`Parameters::table`].
            #[must_use]
            pub fn values(&self) -> Vec<u128> {
                vec![$( u128::from(self.$key) ),*]
            }
        }
    };
}

parameters! {
    block_bytes_max: u32 = 1 << 20, "bytes", 1_024 => BLOCK_BYTES_LIMIT,
        "Most bytes of transactions in a block; what the header adds is not counted.";
    block_transactions_max: u32 = 5_000, "number", 1 => BLOCK_TRANSACTIONS_LIMIT,
        "Most transactions in a block.";
    batch_delay_ms: u32 = 5, "ms", 0 => 10_000,
        "How long a transaction may wait for others to fill its block.";
    transaction_bytes_max: u32 = 65_536, "bytes", 1_024 => TRANSACTION_BYTES_LIMIT,
        "Most bytes of a transaction, signature included.";
    operations_max: u32 = 64, "number", 1 => OPERATIONS_LIMIT,
        "Most operations of a transaction.";
    key_bytes_max: u32 = 256, "bytes", 1 => KEY_BYTES_LIMIT,
        "Most bytes of a key.";
    value_bytes_max: u32 = 16_384, "bytes", 1 => VALUE_BYTES_LIMIT,
        "Most bytes of a value.";
    transaction_lifetime_max_ms: u64 = MINUTE_MS, "ms", 1_000 => HOUR_MS,
        "How far ahead of the block's time a transaction may expire, and so how long ids are remembered; no epoch \
         changes it.";
    #[serde(with = "crate::decimal")]
    fee_base: u128 = 0, "coins", 0 => FEE_LIMIT,
        "What every transaction pays at least.";
    #[serde(with = "crate::decimal")]
    fee_per_byte: u128 = 0, "coins", 0 => FEE_LIMIT,
        "What every transaction pays on top for each of its bytes.";
    window: u32 = 8, "blocks", 1 => WINDOW_LIMIT,
        "W: how many heights above the executed one may be in flight.";
    log_window: u32 = 128, "blocks", 2 => 4_096,
        "L: how many heights above the last stable checkpoint may be in flight, and for how many proofs are kept.";
    max_clock_drift_ms: u64 = 5_000, "ms", 100 => 10 * MINUTE_MS,
        "How far a fresh block's time may be from a validator's clock.";
    heartbeat_ms: u64 = MINUTE_MS, "ms", 0 => WEEK_MS,
        "After how long an idle chain makes an empty block; 0: never.";
    rotation_blocks: u64 = 1_000, "blocks", 0 => 1_000_000_000,
        "After how many heights the next validator becomes primary; 0: never.";
    rotation_time_ms: u64 = 30_000, "ms", 0 => WEEK_MS,
        "After how long, with work, the next validator becomes primary; 0: never.";
    base_timeout_ms: u64 = 500, "ms", 10 => MINUTE_MS,
        "How long a primary may take to propose, and a block in flight to commit, before it is suspected.";
    timeout_cap_ms: u64 = 10_000, "ms", 1_000 => HOUR_MS,
        "What waits that double with each failed view grow to.";
    inclusion_timeout_ms: u64 = 2_000, "ms", 10 => HOUR_MS,
        "How long an eligible transaction may be left out before the primary is suspected of censorship.";
    resend_ms: u64 = 500, "ms", 10 => MINUTE_MS,
        "How often a validator repeats where it stands.";
    snapshot_interval_ms: u64 = 10 * MINUTE_MS, "ms", 1_000 => WEEK_MS,
        "Reserved for how often snapshots are cut. No rule depends on it yet.";
}

impl Parameters {
    /// Every parameter with unit, default, bounds and meaning: for documentation and for refusals.
    #[must_use]
    pub fn table() -> &'static [ParameterRow] {
        TABLE
    }

    /// That every value is in its bounds and that they fit each other.
    ///
    /// # Errors
    /// The first parameter that must be changed, and to what.
    pub fn check(&self) -> Result<(), ParameterError> {
        for (row, value) in TABLE.iter().zip(self.values()) {
            if value < row.min || value > row.max {
                let reason = format!("must be {} to {} ({})", row.min, row.max, row.unit);
                return Err(ParameterError { key: row.key, value, reason });
            }
        }
        self.check_together()
    }

    fn check_together(&self) -> Result<(), ParameterError> {
        // A transaction that fits no block would wait for ever and make every primary look like a censor.
        at_most(
            ("transaction_bytes_max", self.transaction_bytes_max),
            ("block_bytes_max", self.block_bytes_max),
        )?;
        at_most(
            ("value_bytes_max", self.value_bytes_max),
            ("transaction_bytes_max", self.transaction_bytes_max),
        )?;
        at_most(
            ("key_bytes_max", self.key_bytes_max),
            ("transaction_bytes_max", self.transaction_bytes_max),
        )?;
        // All that is in flight goes to whoever is behind in one answer, which has to have an end.
        let in_flight = (u64::from(self.window) + 1) * u64::from(self.block_bytes_max);
        if in_flight > IN_FLIGHT_BYTES_LIMIT {
            let value = u128::from(self.window);
            let most = IN_FLIGHT_BYTES_LIMIT / u64::from(self.block_bytes_max) - 1;
            let reason = format!("must be at most {most} with blocks of {} bytes", self.block_bytes_max);
            return Err(ParameterError { key: "window", value, reason });
        }
        // `docs/pbft.md §3.1`: L is at least 2 W, or a window could never be filled past the last checkpoint.
        let least = 2 * self.window;
        if self.log_window < least {
            let value = u128::from(self.log_window);
            let reason = format!("must be at least {least}, twice the window");
            return Err(ParameterError { key: "log_window", value, reason });
        }
        at_most(("base_timeout_ms", self.base_timeout_ms), ("timeout_cap_ms", self.timeout_cap_ms))?;
        // Otherwise an honest primary is suspected while it waits to fill a block.
        at_most(
            ("batch_delay_ms", u64::from(self.batch_delay_ms)),
            ("half of base_timeout_ms", self.base_timeout_ms / 2),
        )?;
        // Otherwise what is left out has expired before anybody complains.
        at_most(
            ("inclusion_timeout_ms", self.inclusion_timeout_ms),
            ("transaction_lifetime_max_ms", self.transaction_lifetime_max_ms),
        )
    }
}

/// That one parameter is not above another.
fn at_most<T: Into<u128>>(
    (key, value): (&'static str, T),
    (other, bound): (&str, T),
) -> Result<(), ParameterError> {
    let (value, bound) = (value.into(), bound.into());
    if value <= bound {
        return Ok(());
    }
    Err(ParameterError { key, value, reason: format!("must not be above {other}, which is {bound}") })
}

#[cfg(test)]
mod tests;
