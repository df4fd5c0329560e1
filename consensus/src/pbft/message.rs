//! What PBFT replicas say to each other (`docs/pbft.md` §2, §3, §5).
//!
//! Votes carry their signer, so they prove themselves whoever relays them. STATUS is not signed: it claims nothing that
//! is believed without a certificate, and the stream it comes by is authenticated.
//!
//! Every list has a bound with a name that the decoder enforces before it believes a length. Each is what no parameters
//! of a chain let a correct replica exceed; what the chain's own parameters allow is `verify`'s to judge.

use std::{
    io::{Read, Result as IoResult},
    sync::Arc,
};

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_crypto::{Hash, MultiSignature, Signature, Signers, codec::bounded_list};
use quorate_ledger::{
    Block, CheckpointCertificate, CheckpointPayload, CommitCertificate, CommitPayload, Epoch, Header, Height,
    VALIDATORS_MAX, ValidatorIndex, View, WINDOW_LIMIT,
};

use crate::engine::Proposal;

/// Prepared certificates in a VIEW-CHANGE: twice the widest window (`docs/pbft.md` §4.2).
pub const PREPARED_MAX: usize = 2 * WINDOW_LIMIT as usize;
/// Blocks that a NEW-VIEW proposes again: what a single VIEW-CHANGE may report is all that can be in flight.
pub const REPROPOSED_MAX: usize = PREPARED_MAX;
/// VIEW-CHANGEs in a NEW-VIEW: one of each validator of the largest set.
pub const VIEW_CHANGES_MAX: usize = VALIDATORS_MAX;
/// Heights that a STATUS may report, of votes and of CHECKPOINTs each; wider windows report their lowest heights.
pub const STATUS_HEIGHTS_MAX: usize = 1_024;
/// The most messages of the asker's that an answer may hold; of more, the newest are sent: one that its log does not know is
/// enough.
pub const STATEMENTS_MAX: usize = 1_024;

/// The largest message there can be, encoded, whatever parameters a chain has: a NEW-VIEW of 200 validators with 256 heights
/// in flight, or an answer with one in it.
pub const MESSAGE_BYTES_MAX: usize = 6 << 20;

/// A message of the PBFT engine.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Message {
    /// The primary's proposal, or anybody's repetition of it.
    PrePrepare(PrePrepare) = 0,
    /// First vote.
    Prepare(Vote) = 1,
    /// Second vote.
    Commit(Vote) = 2,
    /// What executing a block came to.
    Checkpoint(CheckpointVote) = 3,
    /// The wish for a later view, with what must not be forgotten there.
    ViewChange(Box<ViewChange>) = 4,
    /// The start of a view.
    NewView(Box<NewView>) = 5,
    /// How far a replica has come and what it holds.
    Status(Box<StatusReport>) = 6,
    /// The question before the first signature: what do you hold that I have signed?
    Recall(Recall) = 7,
    /// The answer.
    Holdings(Box<Holdings>) = 8,
}

impl Message {
    /// The epoch it belongs to.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::PrePrepare(it) => it.prepare.payload.epoch,
            Self::Prepare(it) | Self::Commit(it) => it.payload.epoch,
            Self::Checkpoint(it) => it.payload.epoch,
            Self::ViewChange(it) => it.payload.epoch,
            Self::NewView(it) => it.payload.epoch,
            Self::Status(it) => it.epoch,
            Self::Recall(it) => it.epoch,
            Self::Holdings(it) => it.epoch,
        }
    }

    /// Who signed it, if anybody did.
    #[must_use]
    pub fn signer(&self) -> Option<ValidatorIndex> {
        match self {
            Self::PrePrepare(it) => Some(it.prepare.signer),
            Self::Prepare(it) | Self::Commit(it) => Some(it.signer),
            Self::Checkpoint(it) => Some(it.signer),
            Self::ViewChange(it) => Some(it.signer),
            Self::NewView(it) => Some(it.signer),
            Self::Status(_) | Self::Recall(_) | Self::Holdings(_) => None,
        }
    }
}

/// PREPARE or COMMIT.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Vote {
    /// What is voted for.
    pub payload: CommitPayload,
    /// Who votes.
    pub signer: ValidatorIndex,
    /// Over the payload, in the domain of the vote's kind.
    pub signature: Signature,
}

/// CHECKPOINT.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CheckpointVote {
    /// The result.
    pub payload: CheckpointPayload,
    /// Who says so.
    pub signer: ValidatorIndex,
    /// Over the payload.
    pub signature: Signature,
}

/// PRE-PREPARE: header and transaction hashes with the primary's own PREPARE, which signs both (the header holds the
/// root of the hashes).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PrePrepare {
    /// The block without its bodies.
    pub proposal: Arc<Proposal>,
    /// The primary's PREPARE.
    pub prepare: Vote,
    /// Certificate of the checkpoint that the header's anchor names, where it is above the parent's.
    pub anchor: Option<Arc<CheckpointCertificate>>,
}

impl PrePrepare {
    /// The PRE-PREPARE of a block whose body is known.
    #[must_use]
    pub fn of(block: &Block, prepare: Vote, anchor: Option<Arc<CheckpointCertificate>>) -> Self {
        let proposal = Proposal { header: block.header().clone(), transactions: block.transaction_hashes() };
        Self { proposal: Arc::new(proposal), prepare, anchor }
    }

    /// The view it was made for.
    #[must_use]
    pub fn view(&self) -> View {
        self.prepare.payload.view
    }

    /// The height it fills.
    #[must_use]
    pub fn height(&self) -> Height {
        self.prepare.payload.height
    }

    /// Hash of the block.
    #[must_use]
    pub fn block(&self) -> Hash {
        self.prepare.payload.block
    }
}

/// Q PREPAREs for a block, with its header: what a replica reports of a height that may have committed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PreparedCertificate {
    /// The block's header.
    pub header: Header,
    /// What was signed.
    pub payload: CommitPayload,
    /// Signatures of Q validators.
    pub signatures: MultiSignature,
}

/// The highest block that a replica has delivered with a commit certificate of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub block: Hash,
    /// Its certificate; only the block that the epoch starts from needs none.
    pub certificate: Option<CommitCertificate>,
}

impl Base {
    /// What a VIEW-CHANGE says of it.
    #[must_use]
    pub fn claim(&self) -> BaseClaim {
        BaseClaim { height: self.height, block: self.block }
    }
}

/// A base as it is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BaseClaim {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub block: Hash,
}

/// What a VIEW-CHANGE says, without what proves it: a signature over this is as small in a large set as in a small one, and
/// says the same whoever's signatures a certificate holds.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ViewChangePayload {
    /// Epoch.
    pub epoch: Epoch,
    /// The view that is asked for. Its sender votes in none below any more.
    pub view: View,
    /// Where the sender stands.
    pub base: BaseClaim,
    /// For each height above the base what the prepared certificate of the highest view names that the sender ever held.
    #[borsh(deserialize_with = "claims")]
    pub prepared: Vec<CommitPayload>,
}

/// What a VIEW-CHANGE says, signed: what remains of one in a NEW-VIEW and in an answer.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Request {
    /// What is said.
    pub payload: ViewChangePayload,
    /// Who asks.
    pub signer: ValidatorIndex,
    /// Over the payload.
    pub signature: Signature,
}

/// The certificates that prove claims.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Proof {
    /// Of the base; none for the block that the epoch starts from.
    pub base: Option<CommitCertificate>,
    /// Of heights above it, lowest first.
    #[borsh(deserialize_with = "prepared")]
    pub prepared: Vec<PreparedCertificate>,
}

/// VIEW-CHANGE: a request with the proof of all that it claims.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ViewChange {
    /// What is said.
    pub payload: ViewChangePayload,
    /// Who asks.
    pub signer: ValidatorIndex,
    /// Over the payload.
    pub signature: Signature,
    /// A certificate for each claim. Not signed: any that proves the claim is as good.
    pub proof: Proof,
}

impl ViewChange {
    /// The request without its proof.
    #[must_use]
    pub fn request(&self) -> Request {
        Request { payload: self.payload.clone(), signer: self.signer, signature: self.signature }
    }
}

/// What a NEW-VIEW says.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NewViewPayload {
    /// Epoch.
    pub epoch: Epoch,
    /// The view that starts.
    pub view: View,
    /// The VIEW-CHANGEs that it rests on.
    #[borsh(deserialize_with = "view_changes")]
    pub changes: Vec<Request>,
    /// What proves of their claims what the choice of blocks rests on, and nothing else ([`Reproposal::proof`]).
    ///
    /// [`Reproposal::proof`]: super::reproposal::Reproposal::proof
    pub proof: Proof,
    /// The blocks that it proposes again, from the height above the highest base on.
    #[borsh(deserialize_with = "reproposed")]
    pub blocks: Vec<Hash>,
}

/// NEW-VIEW.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NewView {
    /// What is said.
    pub payload: NewViewPayload,
    /// The primary of the view.
    pub signer: ValidatorIndex,
    /// Over the payload.
    pub signature: Signature,
}

/// STATUS: lets whoever is ahead send what is missing.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StatusReport {
    /// Epoch of the sender's instance.
    pub epoch: Epoch,
    /// The sender's view.
    pub view: View,
    /// Whether it has the view's NEW-VIEW; view 0 needs none.
    pub active: bool,
    /// Highest block that it has given to its ledger: certified blocks above are wanted.
    pub delivered: Height,
    /// The highest commit certificate it knows.
    pub certificate: Option<CommitCertificate>,
    /// Height of its last stable checkpoint.
    pub stable: Height,
    /// That checkpoint's certificate; none at the genesis.
    pub checkpoint: Option<CheckpointCertificate>,
    /// What it holds of its view above the delivered height; heights that are not named hold nothing.
    #[borsh(deserialize_with = "heights")]
    pub heights: Vec<HeightReport>,
    /// Whose CHECKPOINTs it holds above the stable height; heights that are not named hold nothing.
    #[borsh(deserialize_with = "checkpoints")]
    pub checkpoints: Vec<CheckpointReport>,
}

/// What a replica holds of one height in its view.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HeightReport {
    /// The height.
    pub height: Height,
    /// Whether it holds a proposal.
    pub proposal: bool,
    /// Whose PREPAREs.
    pub prepares: Signers,
    /// Whose COMMITs.
    pub commits: Signers,
}

/// Whose CHECKPOINTs a replica holds for one height.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CheckpointReport {
    /// The height.
    pub height: Height,
    /// Whose.
    pub signers: Signers,
}

/// "What do you hold that I have signed in this epoch?"
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Recall {
    /// Epoch of the sender's instance.
    pub epoch: Epoch,
    /// Any number, another in each life of the sender: it comes back in the answer.
    pub nonce: u64,
}

/// What a replica holds that the asker has signed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Holdings {
    /// Epoch of the question.
    pub epoch: Epoch,
    /// The question's.
    pub nonce: u64,
    /// The messages themselves.
    #[borsh(deserialize_with = "statements")]
    pub statements: Vec<Statement>,
}

/// A signed message that is held of somebody.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Statement {
    /// A PREPARE.
    Prepare(Vote) = 0,
    /// A COMMIT.
    Commit(Vote) = 1,
    /// A CHECKPOINT.
    Checkpoint(CheckpointVote) = 2,
    /// A VIEW-CHANGE.
    ViewChange(Box<Request>) = 3,
    /// A NEW-VIEW.
    NewView(Box<NewView>) = 4,
}

impl Statement {
    /// The statement that a message makes in its signer's name.
    #[must_use]
    pub fn of(message: &Message) -> Option<Self> {
        match message {
            Message::PrePrepare(it) => Some(Self::Prepare(it.prepare.clone())),
            Message::Prepare(it) => Some(Self::Prepare(it.clone())),
            Message::Commit(it) => Some(Self::Commit(it.clone())),
            Message::Checkpoint(it) => Some(Self::Checkpoint(it.clone())),
            Message::ViewChange(it) => Some(Self::ViewChange(Box::new(it.request()))),
            Message::NewView(it) => Some(Self::NewView(it.clone())),
            Message::Status(_) | Message::Recall(_) | Message::Holdings(_) => None,
        }
    }

    /// Who signed it.
    #[must_use]
    pub fn signer(&self) -> ValidatorIndex {
        match self {
            Self::Prepare(it) | Self::Commit(it) => it.signer,
            Self::Checkpoint(it) => it.signer,
            Self::ViewChange(it) => it.signer,
            Self::NewView(it) => it.signer,
        }
    }

    /// Kind and place, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Prepare(it) => {
                format!("PREPARE of height {} in view {}", it.payload.height, it.payload.view)
            }
            Self::Commit(it) => format!("COMMIT of height {} in view {}", it.payload.height, it.payload.view),
            Self::Checkpoint(it) => format!("CHECKPOINT of height {}", it.payload.height),
            Self::ViewChange(it) => format!("VIEW-CHANGE for view {}", it.payload.view),
            Self::NewView(it) => format!("NEW-VIEW of view {}", it.payload.view),
        }
    }
}

fn prepared<R: Read>(reader: &mut R) -> IoResult<Vec<PreparedCertificate>> {
    bounded_list(reader, PREPARED_MAX, "prepared certificates", PreparedCertificate::deserialize_reader)
}

fn claims<R: Read>(reader: &mut R) -> IoResult<Vec<CommitPayload>> {
    bounded_list(reader, PREPARED_MAX, "claims", CommitPayload::deserialize_reader)
}

fn view_changes<R: Read>(reader: &mut R) -> IoResult<Vec<Request>> {
    bounded_list(reader, VIEW_CHANGES_MAX, "VIEW-CHANGEs", Request::deserialize_reader)
}

fn reproposed<R: Read>(reader: &mut R) -> IoResult<Vec<Hash>> {
    bounded_list(reader, REPROPOSED_MAX, "blocks proposed again", Hash::deserialize_reader)
}

fn heights<R: Read>(reader: &mut R) -> IoResult<Vec<HeightReport>> {
    bounded_list(reader, STATUS_HEIGHTS_MAX, "heights", HeightReport::deserialize_reader)
}

fn checkpoints<R: Read>(reader: &mut R) -> IoResult<Vec<CheckpointReport>> {
    bounded_list(reader, STATUS_HEIGHTS_MAX, "heights with CHECKPOINTs", CheckpointReport::deserialize_reader)
}

fn statements<R: Read>(reader: &mut R) -> IoResult<Vec<Statement>> {
    bounded_list(reader, STATEMENTS_MAX, "messages of the asker", Statement::deserialize_reader)
}
