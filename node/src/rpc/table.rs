//! The one table of methods: registration, `rpc.discover` and `docs/json-rpc.md` are made from it, and clients call
//! through its types.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::error::Reason;
use super::types::{
    AccountAnswer, AccountParameters, BlockAnswer, BlockParameters, BlocksAnswer, BlocksParameters,
    CertificateAnswer, CertificateParameters, ChainEvent, ConsensusState, EvidenceAnswer, HeaderAnswer,
    KeyAnswer, KeyParameters, MempoolStatus, NoParameters, NodeStatus as NodeStatusAnswer, Parameters,
    PeersAnswer, ReadinessAnswer, ReadinessParameters, Submitted, SubscribeParameters, TransactionParameters,
    TransactionStatus, TxGetParameters, UnsubscribeParameters, ValidatorsAnswer, ValidatorsParameters,
    WaitParameters,
};

/// A method of the interface.
pub(crate) trait Method {
    /// What callers write.
    const NAME: &'static str;
    /// What it does.
    const SUMMARY: &'static str;
    /// What it may refuse with, beside bad parameters and what any call may meet ([`ANY_CALL`]).
    const REFUSALS: &'static [Reason];
    /// What it takes.
    type Parameters: Parameters;
    /// What it answers.
    type Answer: Serialize + DeserializeOwned + JsonSchema + Clone + Send + 'static;
}

/// Refusals that any call may meet.
pub(crate) const ANY_CALL: &[Reason] = &[Reason::Busy, Reason::RequestTimeout];

/// What can be wrong with a transaction, or with sending it now.
const SUBMIT: &[Reason] = &[
    Reason::Malformed,
    Reason::WrongVersion,
    Reason::WrongChain,
    Reason::TooLarge,
    Reason::NoOperations,
    Reason::TooManyOperations,
    Reason::KeySize,
    Reason::ValueSize,
    Reason::FeeTooLow,
    Reason::BadSender,
    Reason::BadValidators,
    Reason::BadParameters,
    Reason::BadSignature,
    Reason::Expired,
    Reason::ExpiresTooLate,
    Reason::PoolFull,
    Reason::AccountFull,
    Reason::FeesExceedBalance,
    Reason::InsufficientFunds,
    Reason::ShuttingDown,
];

/// [`SUBMIT`], and what can be wrong with waiting.
const SUBMIT_AND_WAIT: &[Reason] = &{
    let mut reasons = [Reason::TooManyWaits; SUBMIT.len() + 1];
    let mut place = 0;
    while place < SUBMIT.len() {
        reasons[place] = SUBMIT[place];
        place += 1;
    }
    reasons
};

/// A row of the table.
pub(crate) struct Row {
    /// [`Method::NAME`].
    pub(crate) name: &'static str,
    /// [`Method::SUMMARY`].
    pub(crate) summary: &'static str,
    /// [`Method::REFUSALS`].
    pub(crate) refusals: &'static [Reason],
    /// Names of the parameters, in the order of the positions.
    pub(crate) parameter_names: &'static [&'static str],
    /// Schema of the parameters as an object.
    pub(crate) parameters: fn(&mut SchemaGenerator) -> Schema,
    /// Schema of the answer.
    pub(crate) answer: fn(&mut SchemaGenerator) -> Schema,
    /// What it sends from then on, if it is a subscription.
    pub(crate) notification: Option<Notification>,
}

/// What a subscription sends.
pub(crate) struct Notification {
    /// The method name of the notifications.
    pub(crate) name: &'static str,
    /// The method that ends the subscription.
    pub(crate) unsubscribe: &'static str,
    /// Schema of what each carries.
    pub(crate) event: fn(&mut SchemaGenerator) -> Schema,
}

impl Row {
    const fn of<M: Method>(notification: Option<Notification>) -> Self {
        Self {
            name: M::NAME,
            summary: M::SUMMARY,
            refusals: M::REFUSALS,
            parameter_names: M::Parameters::NAMES,
            parameters: <M::Parameters as JsonSchema>::json_schema,
            answer: SchemaGenerator::subschema_for::<M::Answer>,
            notification,
        }
    }
}

macro_rules! methods {
    ($(
        $(#[doc = $summary:literal])+
        $method:ident = $name:literal($parameters:ty) -> $answer:ty, $refusals:expr
        $(, notifies $event:ty = $notification:literal until $unsubscribe:literal)?;
    )*) => {
        $(
            $(#[doc = $summary])+
            pub(crate) enum $method {}

            impl Method for $method {
                const NAME: &'static str = $name;
                const SUMMARY: &'static str = concat!($($summary),+);
                const REFUSALS: &'static [Reason] = $refusals;
                type Parameters = $parameters;
                type Answer = $answer;
            }
        )*

        /// Every method there is, in the order of the documentation.
        pub(crate) const TABLE: &[Row] = &[$(
            Row::of::<$method>(methods!(@notification $($event, $notification, $unsubscribe)?)),
        )*];
    };
    (@notification) => { None };
    (@notification $event:ty, $notification:literal, $unsubscribe:literal) => {
        Some(Notification {
            name: $notification,
            unsubscribe: $unsubscribe,
            event: SchemaGenerator::subschema_for::<$event>,
        })
    };
}

methods! {
    /// What this node is and where it stands.
    NodeStatus = "node_status"(NoParameters) -> NodeStatusAnswer, &[];

    /// Gives a signed transaction to this node's pool. Once it has an answer it is kept until it is included or has
    /// expired, unless the node restarts: then send it again. The same bytes again answer the same id.
    TxSubmit = "tx_submit"(TransactionParameters) -> Submitted, SUBMIT;

    /// As `tx_submit`, then waits until the transaction is committed or has expired. A time-out is no error: it
    /// answers `pending`.
    TxSubmitAndWait = "tx_submitAndWait"(WaitParameters) -> TransactionStatus, SUBMIT_AND_WAIT;

    /// What became of a transaction. `expired` is a fact of the chain, not of a clock, and proven by the end of its life,
    /// which the signed bytes carry. Asked by id alone, a node answers it only of what waited there until it expired, as far
    /// as it remembers, and `unknown` otherwise.
    TxGet = "tx_get"(TxGetParameters) -> TransactionStatus, &[Reason::Malformed, Reason::WrongChain];

    /// A block with its transactions and what came of them.
    ChainGetBlock = "chain_getBlock"(BlockParameters) -> Option<BlockAnswer>, &[];

    /// The header of a block.
    ChainGetHeader = "chain_getHeader"(BlockParameters) -> Option<HeaderAnswer>, &[];

    /// Consecutive headers with how many transactions they hold, newest last.
    ChainGetBlocks = "chain_getBlocks"(BlocksParameters) -> BlocksAnswer, &[];

    /// The certificate that proves a block. A block without a commit certificate of its own is proved by that of the
    /// nearest descendant that has one, with the headers between. `null` while there is none.
    ChainGetCertificate = "chain_getCertificate"(CertificateParameters) -> Option<CertificateAnswer>, &[];

    /// What an account has.
    StateGetAccount = "state_getAccount"(AccountParameters) -> AccountAnswer, &[Reason::NotYet];

    /// The value, version and owner of a key.
    StateGetKey = "state_getKey"(KeyParameters) -> KeyAnswer, &[Reason::NotYet];

    /// The validators of an epoch with their participation over recent blocks, its parameters, and how it ends: decided,
    /// or approved of so far.
    ValidatorsGet = "validators_get"(ValidatorsParameters) -> Option<ValidatorsAnswer>, &[];

    /// The statement by which a new validator proves its key and that it has caught up, made now by the node that runs with
    /// the key: this one or a peer. `null` if none of them answers for the key. `quorate tx approve validators --add KEY`
    /// asks for it.
    ValidatorsGetReadiness = "validators_getReadiness"(ReadinessParameters) -> Option<ReadinessAnswer>, &[];

    /// What the consensus engine of this node is doing.
    ConsensusGetState = "consensus_getState"(NoParameters) -> ConsensusState, &[];

    /// Proofs of misbehaviour that this node holds.
    ConsensusGetEvidence = "consensus_getEvidence"(NoParameters) -> EvidenceAnswer, &[];

    /// The peers that this node is connected with.
    NetGetPeers = "net_getPeers"(NoParameters) -> PeersAnswer, &[];

    /// How full this node's pool is.
    MempoolGetStatus = "mempool_getStatus"(NoParameters) -> MempoolStatus, &[];

    /// Notifies every block from a height on, once each and in order (WebSocket only). A reader too slow to take them
    /// is told where it stopped, then the subscription ends.
    ChainSubscribe = "chain_subscribe"(SubscribeParameters) -> String, &[],
        notifies ChainEvent = "chain_subscription" until "chain_unsubscribe";

    /// Ends a subscription of this connection; answers whether there was one.
    ChainUnsubscribe = "chain_unsubscribe"(UnsubscribeParameters) -> bool, &[];

    /// This interface as an OpenRPC document, also at `GET /openrpc.json`.
    Discover = "rpc.discover"(NoParameters) -> Value, &[];
}

/// The row of a method.
pub(crate) fn row(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.name == name)
}
