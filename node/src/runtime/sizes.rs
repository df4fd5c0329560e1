//! How large the network's messages may be: as the chain's parameters ask for, of every epoch so far. Old blocks stay to be
//! served whatever epochs follow, and a later epoch may allow larger ones.

use quorate_ledger::{BLOCK_BYTES_LIMIT, Parameters, Reader, TRANSACTION_BYTES_LIMIT};
use quorate_network::{Limits, Network, limits::MESSAGE_BYTES_CEILING};

use super::epochs::EpochWalk;
use crate::wire::{ANSWER_BYTES, BUNDLE_BYTES};

/// What a message may be beyond the transactions in it: headers, lengths, certificates.
const MESSAGE_BYTES_SLACK: usize = 256 << 10;

/// Lets pass what the parameters of all epochs so far allow.
pub(super) fn raise_to_all(network: &Network, reader: &Reader) {
    for epoch in EpochWalk::default().begun(|number| reader.epoch_numbered(number)) {
        raise_to(network, &epoch.parameters);
    }
}

/// Lets pass what the parameters of one more epoch allow.
pub(super) fn raise_to(network: &Network, parameters: &Parameters) {
    network.raise_sizes(&limits_of(parameters)).expect("whatever a chain may allow can be sent");
}

/// Limits that let everything pass that these parameters allow, and one block of the largest that any could: one may come
/// before this node has executed what allows it.
pub(super) fn limits_of(parameters: &Parameters) -> Limits {
    let defaults = Limits::default();
    let bundle = BUNDLE_BYTES.max(TRANSACTION_BYTES_LIMIT as usize) + MESSAGE_BYTES_SLACK;
    // A certificate may come only after a whole window of blocks that have none of their own.
    let blocks = (parameters.window as usize + 1)
        .saturating_mul(parameters.block_bytes_max as usize + MESSAGE_BYTES_SLACK)
        .saturating_add(ANSWER_BYTES)
        .max(BLOCK_BYTES_LIMIT as usize + MESSAGE_BYTES_SLACK + ANSWER_BYTES);
    Limits {
        gossip_bytes_max: defaults.gossip_bytes_max.max(bundle),
        response_bytes_max: defaults.response_bytes_max.max(blocks).min(MESSAGE_BYTES_CEILING),
        ..defaults
    }
}

#[cfg(test)]
mod tests {
    use quorate_consensus::pbft::message::MESSAGE_BYTES_MAX;

    use super::*;

    #[test]
    fn whatever_a_chain_may_allow_can_be_served() {
        let largest = Parameters { window: 11, block_bytes_max: BLOCK_BYTES_LIMIT, ..Parameters::default() };
        let widest = Parameters { window: 128, log_window: 256, ..Parameters::default() };
        for parameters in [Parameters::default(), largest, widest] {
            parameters.check().expect("a chain may have these");
            let limits = limits_of(&parameters);
            limits.check().expect("well formed");
            assert!(limits.response_bytes_max < MESSAGE_BYTES_CEILING, "nothing had to be cut off");
            // Whatever validators say to each other fits, also with all that a frame is beside it.
            assert!(limits.frame_bytes_max > MESSAGE_BYTES_MAX + MESSAGE_BYTES_SLACK);
        }
    }
}
