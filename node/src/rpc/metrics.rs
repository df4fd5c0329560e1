//! What the server counts, in the registry that `GET /metrics` shows.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Calls by method and by how they ended. Names that are not methods count as `unknown`, so a caller cannot make new
/// series.
#[derive(Clone)]
pub(crate) struct Metrics {
    calls: Family<Call, Counter>,
    seconds: Family<MethodName, Histogram, Buckets>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    method: &'static str,
    /// The code of the error; 0 for an answer.
    code: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodName {
    method: &'static str,
}

/// From a tenth of a millisecond to a good minute.
#[derive(Clone)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(0.000_1, 4.0, 11))
    }
}

impl Metrics {
    /// Metrics that are shown by a registry.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { calls: Family::default(), seconds: Family::new_with_constructor(Buckets) };
        let registry = registry.sub_registry_with_prefix("quorate_rpc");
        registry.register(
            "calls",
            "JSON-RPC calls, by method and error code (0: answered)",
            metrics.calls.clone(),
        );
        registry.register("seconds", "How long JSON-RPC calls took, by method", metrics.seconds.clone());
        metrics
    }

    /// Counts a call.
    pub(crate) fn observe(&self, method: &'static str, error: Option<i32>, took: Duration) {
        self.calls.get_or_create(&Call { method, code: error.unwrap_or(0).into() }).inc();
        self.seconds.get_or_create(&MethodName { method }).observe(took.as_secs_f64());
    }
}
