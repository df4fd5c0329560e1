//! The table of keys: what each means, what it allows, and how a value is checked against that.

use std::net::SocketAddr;

use config::Value;
use quorate_network::Multiaddr;

use crate::rpc::origin;

use super::{ConfigError, ENVIRONMENT_PREFIX, Setting};

/// One key of the configuration.
pub(crate) struct Key {
    /// Section and name: `rpc.listen`.
    pub(crate) name: &'static str,
    /// What it does, in a line.
    pub(crate) meaning: &'static str,
    pub(super) allowed: Allowed,
}

/// What a key allows.
pub(super) enum Allowed {
    Number { min: u64, max: u64 },
    Switch,
    Socket,
    Multiaddrs,
    Origins,
    Filter,
}

/// Every key there is, by section.
pub(crate) const KEYS: [Key; 15] = [
    Key { name: "p2p.listen", meaning: "addresses to listen on for peers", allowed: Allowed::Multiaddrs },
    Key {
        name: "p2p.bootstrap",
        meaning: "peers to dial first; the others are found through them",
        allowed: Allowed::Multiaddrs,
    },
    Key {
        name: "p2p.external",
        meaning: "addresses under which others reach this node, behind NAT or in a container",
        allowed: Allowed::Multiaddrs,
    },
    Key {
        name: "p2p.mdns",
        meaning: "find peers on the local network by multicast DNS",
        allowed: Allowed::Switch,
    },
    Key {
        name: "rpc.listen",
        meaning: "address of the HTTP server (JSON-RPC, health, metrics)",
        allowed: Allowed::Socket,
    },
    Key {
        name: "rpc.body_bytes_max",
        meaning: "largest request body, in bytes",
        allowed: Allowed::Number { min: 4_096, max: 64 << 20 },
    },
    Key {
        name: "rpc.batch_max",
        meaning: "most requests in one batch",
        allowed: Allowed::Number { min: 1, max: 10_000 },
    },
    Key {
        name: "rpc.connections_max",
        meaning: "most connections at a time",
        allowed: Allowed::Number { min: 1, max: 100_000 },
    },
    Key {
        name: "rpc.subscriptions_max",
        meaning: "most subscriptions per connection",
        allowed: Allowed::Number { min: 1, max: 10_000 },
    },
    Key {
        name: "rpc.request_timeout_ms",
        meaning: "longest time one request may take, in milliseconds",
        allowed: Allowed::Number { min: 1_000, max: 600_000 },
    },
    Key {
        name: "rpc.origins",
        meaning: "web pages that may call this node, beside its own",
        allowed: Allowed::Origins,
    },
    Key {
        name: "pool.transactions_max",
        meaning: "most transactions that wait for a block",
        allowed: Allowed::Number { min: 1, max: 10_000_000 },
    },
    Key {
        name: "pool.bytes_max",
        meaning: "most bytes of transactions that wait for a block",
        allowed: Allowed::Number { min: 1 << 20, max: 64 << 30 },
    },
    Key {
        name: "pool.per_account",
        meaning: "most transactions of one account that wait for a block",
        allowed: Allowed::Number { min: 1, max: 1_000_000 },
    },
    Key {
        name: "log.filter",
        meaning: "what is logged on stderr: a level, or directives such as `info,quorate_network=debug`",
        allowed: Allowed::Filter,
    },
];

impl Key {
    pub(super) fn section(&self) -> &'static str {
        self.name.split_once('.').expect("keys are section.name").0
    }

    pub(super) fn entry(&self) -> &'static str {
        self.name.split_once('.').expect("keys are section.name").1
    }

    /// The environment variable: `rpc.listen` is `QUORATE_RPC_LISTEN`.
    pub(super) fn variable(&self) -> String {
        format!("{ENVIRONMENT_PREFIX}{}", self.name.replace('.', "_").to_uppercase())
    }

    /// Checks a merged value and gives it the JSON shape its field has.
    pub(super) fn check(&self, value: Value) -> Result<Setting, ConfigError> {
        let source = origin(&value);
        let refused = self.refused(&value);
        let value = self.allowed.json(value).ok_or(refused)?;
        Ok(Setting { key: self.name, value, source })
    }

    pub(super) fn refused(&self, value: &Value) -> ConfigError {
        ConfigError::Value {
            origin: origin(value),
            key: self.name.to_owned(),
            value: format!("{:?}", value.to_string()),
            allowed: self.allowed.words(),
        }
    }
}

/// The layer that a value is from.
fn origin(value: &Value) -> String {
    value.origin().unwrap_or("default").to_owned()
}

impl Allowed {
    pub(super) fn words(&self) -> String {
        match self {
            Allowed::Number { min, max } => format!("a number from {min} to {max}"),
            Allowed::Switch => "true or false".to_owned(),
            Allowed::Socket => "an IP address and port, such as 127.0.0.1:7601".to_owned(),
            Allowed::Multiaddrs => "a list of multiaddrs, such as /ip4/192.0.2.1/tcp/7600".to_owned(),
            Allowed::Origins => "a list of origins, such as https://wallet.example, or * for all".to_owned(),
            Allowed::Filter => "a level (error, warn, info, debug, trace) or target=level,…".to_owned(),
        }
    }

    /// The value as JSON, or nothing if it is not allowed.
    pub(super) fn json(&self, value: Value) -> Option<serde_json::Value> {
        match self {
            Allowed::Number { min, max } => {
                let number = value.into_uint().ok()?;
                (*min..=*max).contains(&number).then(|| number.into())
            }
            Allowed::Switch => value.into_bool().ok().map(Into::into),
            Allowed::Socket => {
                let address: SocketAddr = value.into_string().ok()?.parse().ok()?;
                Some(address.to_string().into())
            }
            Allowed::Multiaddrs => {
                let one = |value: Value| -> Option<serde_json::Value> {
                    let address: Multiaddr = value.into_string().ok()?.parse().ok()?;
                    (!address.is_empty()).then(|| address.to_string().into())
                };
                value.into_array().ok()?.into_iter().map(one).collect()
            }
            Allowed::Origins => {
                let one = |value: Value| -> Option<serde_json::Value> {
                    let text = value.into_string().ok()?;
                    (text == origin::ANY || origin::is_origin(&text)).then(|| text.into())
                };
                value.into_array().ok()?.into_iter().map(one).collect()
            }
            Allowed::Filter => {
                let filter = value.into_string().ok()?;
                tracing_subscriber::EnvFilter::try_new(&filter).ok()?;
                Some(filter.into())
            }
        }
    }
}
