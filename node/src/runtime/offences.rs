//! Counts what nothing honest sends, wherever in the node it is found, and disconnects whoever keeps sending it.

use std::sync::Arc;

use quorate_network::Network;

use super::{
    clock::Clock,
    conduct::{Conduct, Consequence, Source},
};
use crate::metrics::Metrics;

/// Where offences are reported.
#[derive(Clone)]
pub(super) struct Offences {
    pub(super) conduct: Arc<Conduct>,
    pub(super) clock: Clock,
    pub(super) network: Network,
    pub(super) metrics: Metrics,
}

impl Offences {
    /// Something came from this source that nothing honest sends.
    pub(super) fn count(&self, source: Source, what: &str) {
        tracing::debug!(?source, %what, "offence");
        self.metrics.offended();
        if self.conduct.offend(source, self.clock.mono()) == Consequence::Noted {
            return;
        }
        let peer = match source {
            Source::Peer(peer) => Some(peer),
            Source::Validator(key) => self
                .network
                .peers()
                .into_iter()
                .find(|info| info.validator == Some(key))
                .map(|info| info.peer),
        };
        if let Some(peer) = peer {
            self.network.disconnect(peer, format!("it keeps sending invalid things, the last: {what}"));
        }
    }
}
