//! How large bodies and responses may be: what the chain's parameters ask for, which later epochs may change while the node
//! runs. A WebSocket keeps what was allowed when it was opened.

use std::sync::{Arc, Mutex};

use quorate_ledger::{Parameters, Reader};

use crate::runtime::EpochWalk;

/// A response may be this many times as large as a block: decoded, with names, hex and receipts, the smallest
/// operations grow most.
const RESPONSE_PER_BLOCK_BYTE: u32 = 32;

/// What responses may be beside the block they hold.
const RESPONSE_BYTES_BASE: u32 = 1 << 20;

/// What a call may be beside the transaction in it, which is hex there.
const CALL_BYTES: u32 = 4 << 10;

/// What is allowed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// The largest body of a request.
    pub(crate) body_bytes_max: u32,
    /// The largest response, to a call or to a batch.
    pub(crate) response_bytes_max: u32,
}

/// Tells what is allowed now.
#[derive(Clone)]
pub(crate) struct Sizes(Arc<dyn Fn() -> Allowed + Send + Sync>);

impl Sizes {
    /// Sizes that do not change.
    #[cfg(test)]
    pub(crate) fn fixed(body_bytes_max: u32, response_bytes_max: u32) -> Self {
        Self(Arc::new(move || Allowed { body_bytes_max, response_bytes_max }))
    }

    /// Sizes that fit a chain. `body_bytes_max` is the operator's: where it is too small for the largest transaction the
    /// node would be of no use, and the limit is meant against what is of no use.
    pub(crate) fn of(reader: Reader, body_bytes_max: u32) -> Self {
        let least = body_bytes_least(&reader.epoch().parameters);
        if body_bytes_max < least {
            tracing::warn!(
                configured = body_bytes_max,
                least,
                "`rpc.body_bytes_max` is too small for the largest transaction of this chain; the least that is not is in \
                 force"
            );
        }
        let blocks = Mutex::new(LargestBlock::default());
        Self(Arc::new(move || {
            let largest = blocks.lock().expect("no holder of this lock panics").up_to(&reader);
            Allowed {
                body_bytes_max: body_bytes_max.max(body_bytes_least(&reader.epoch().parameters)),
                response_bytes_max: response_bytes_max(largest),
            }
        }))
    }

    /// As they are now. Cheap.
    pub(crate) fn now(&self) -> Allowed {
        (self.0)()
    }
}

/// A body that holds the largest transaction of an epoch.
fn body_bytes_least(parameters: &Parameters) -> u32 {
    parameters.transaction_bytes_max.saturating_mul(2).saturating_add(CALL_BYTES)
}

fn response_bytes_max(block_bytes_max: u32) -> u32 {
    block_bytes_max.saturating_mul(RESPONSE_PER_BLOCK_BYTE).saturating_add(RESPONSE_BYTES_BASE)
}

/// The largest block that may be asked for: old ones stay readable, whatever epochs followed.
#[derive(Debug, Default)]
struct LargestBlock {
    bytes: u32,
    /// Over the epochs that were looked at.
    walk: EpochWalk,
}

impl LargestBlock {
    fn up_to(&mut self, reader: &Reader) -> u32 {
        let begun = self.walk.begun(|number| reader.epoch_numbered(number));
        self.bytes = begun.map(|epoch| epoch.parameters.block_bytes_max).fold(self.bytes, u32::max);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_large_enough_for_the_largest_transaction() {
        let of = |transaction_bytes_max| {
            body_bytes_least(&Parameters { transaction_bytes_max, ..Parameters::default() })
        };
        assert_eq!(of(10_000), 20_000 + CALL_BYTES);
        assert_eq!(of(u32::MAX), u32::MAX, "no more can be said");
        assert_eq!(response_bytes_max(u32::MAX), u32::MAX);
    }
}
