//! Proofs that validators broke the protocol: kept for readers, and on disk so that a restart does not lose them
//! (`docs/pbft.md` §8).
//!
//! ```text
//! consensus ─Accuse─▶ Recorder ─(bounded queue)─▶ thread `evidence` ─▶ EvidenceShelf ─▶ JSON-RPC
//!                                                          └─▶ data/evidence/, a file for each piece
//! ```
//!
//! - One piece for one offence: the same validator, kind, epoch and height again proves nothing more.
//! - Bounded, and no liar can push out what is held against another: a validator has at most
//!   [`PER_VALIDATOR_MAX`] pieces, its first ones; over the bytes allowed the largest goes, over the number the oldest.
//! - Evidence is no part of safety. A disk that does not take it, a file that cannot be read, a queue that is full: each is
//!   said in the log, and the node goes on.

mod files;

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        mpsc::{Receiver, SyncSender, TrySendError},
    },
};

use quorate_consensus::Evidence;
use quorate_crypto::{Hash, PublicKey, encode};
use quorate_ledger::{Epoch, Height, UnixMillis};

use self::files::Files;

/// Pieces kept. More than all validators of one epoch that may lie together can fill.
pub(crate) const KEPT_MAX: usize = 1_000;
/// Pieces kept against one validator.
pub(crate) const PER_VALIDATOR_MAX: usize = 10;
/// Bytes of all pieces together.
pub(crate) const KEPT_BYTES_MAX: usize = 128 << 20;
/// Accusations that wait for the thread; beyond it they are dropped: a liar who makes so many has pieces enough.
pub(super) const ACCUSATIONS_MAX: usize = 64;

/// A proof, and when it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundEvidence {
    /// By the wall clock.
    pub(crate) at: UnixMillis,
    /// The proof.
    pub(crate) evidence: Arc<Evidence>,
    /// Hash of its bytes, which names it.
    pub(crate) hash: Hash,
    /// How many bytes it has.
    pub(crate) size: usize,
}

impl FoundEvidence {
    fn new(at: UnixMillis, evidence: Evidence) -> Self {
        let bytes = encode(&evidence);
        Self { at, evidence: Arc::new(evidence), hash: Hash::of(&bytes), size: bytes.len() }
    }

    /// What it proves, without how.
    fn offence(&self) -> (PublicKey, &'static str, (Epoch, Height)) {
        (*self.evidence.signer(), self.evidence.kind(), self.evidence.place())
    }
}

/// What became of a piece that came.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Placed {
    /// It is kept, in the place of these.
    Kept(Vec<FoundEvidence>),
    /// It proves nothing that is not proven here already, or there is no room for it.
    Left,
}

/// The pieces kept, oldest first.
#[derive(Debug, Default)]
struct Shelf {
    pieces: VecDeque<FoundEvidence>,
    bytes: usize,
}

impl Shelf {
    fn put(&mut self, found: FoundEvidence) -> Placed {
        let signer = *found.evidence.signer();
        let against = self.pieces.iter().filter(|piece| *piece.evidence.signer() == signer).count();
        if against >= PER_VALIDATOR_MAX || self.pieces.iter().any(|piece| piece.offence() == found.offence())
        {
            return Placed::Left;
        }
        let hash = found.hash;
        self.bytes += found.size;
        self.pieces.push_back(found);
        let mut gone = Vec::new();
        while self.bytes > KEPT_BYTES_MAX {
            // Of equal ones the newest.
            let largest = (0..self.pieces.len()).max_by_key(|place| self.pieces[*place].size);
            gone.extend(largest.and_then(|place| self.take(place)));
        }
        while self.pieces.len() > KEPT_MAX {
            gone.extend(self.take(0));
        }
        if gone.iter().any(|piece| piece.hash == hash) {
            assert!(gone.len() == 1, "nothing else goes for a piece that does not fit by itself");
            return Placed::Left;
        }
        Placed::Kept(gone)
    }

    fn take(&mut self, place: usize) -> Option<FoundEvidence> {
        let piece = self.pieces.remove(place)?;
        self.bytes -= piece.size;
        Some(piece)
    }
}

/// The pieces of evidence that this node holds, for readers.
#[derive(Clone, Debug, Default)]
pub(crate) struct EvidenceShelf(Arc<Mutex<Shelf>>);

impl EvidenceShelf {
    /// All that is kept, oldest first.
    pub(crate) fn list(&self) -> Vec<FoundEvidence> {
        self.shelf().pieces.iter().cloned().collect()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

/// What is found and by whom it is written: the consensus thread's end of the queue.
#[derive(Clone, Debug)]
pub(super) struct Recorder(SyncSender<(UnixMillis, Evidence)>);

impl Recorder {
    /// The end of a queue that a [`Keeper`] empties.
    pub(super) fn new(queue: SyncSender<(UnixMillis, Evidence)>) -> Self {
        Self(queue)
    }

    /// Hands a proof over; never waits.
    pub(super) fn record(&self, at: UnixMillis, evidence: Evidence) {
        match self.0.try_send((at, evidence)) {
            Ok(()) => {}
            Err(TrySendError::Full((_, evidence)) | TrySendError::Disconnected((_, evidence))) => {
                tracing::warn!(validator = %evidence.signer(), kind = evidence.kind(), "evidence not kept: too much at once");
            }
        }
    }
}

/// What keeps evidence: the shelf's and the directory's only writer.
pub(super) struct Keeper {
    shelf: EvidenceShelf,
    files: Option<Files>,
}

impl Keeper {
    /// Reads what `dir` holds. What cannot be read is left as it is and said in the log; where the directory cannot be
    /// used, evidence is kept in memory only.
    pub(super) fn open(dir: PathBuf) -> Self {
        let shelf = EvidenceShelf::default();
        let files = match Files::open(dir) {
            Ok((files, found)) => {
                for piece in found {
                    // What does not fit is what a larger bound once allowed; its file stays.
                    shelf.shelf().put(piece);
                }
                Some(files)
            }
            Err(error) => {
                tracing::warn!(%error, "evidence cannot be stored and is kept in memory only");
                None
            }
        };
        Self { shelf, files }
    }

    /// For readers.
    pub(super) fn shelf(&self) -> EvidenceShelf {
        self.shelf.clone()
    }

    /// Keeps what comes, until nobody can send any more.
    pub(super) fn run(self, queue: &Receiver<(UnixMillis, Evidence)>) {
        while let Ok((at, evidence)) = queue.recv() {
            self.keep(FoundEvidence::new(at, evidence));
        }
    }

    fn keep(&self, found: FoundEvidence) {
        // The lock is not held while the disk writes.
        let placed = self.shelf.shelf().put(found.clone());
        let Placed::Kept(gone) = placed else { return };
        let (epoch, height) = found.evidence.place();
        tracing::warn!(
            validator = %found.evidence.signer(), kind = found.evidence.kind(), %epoch, %height,
            "evidence: a validator signed what no correct one signs; `quorate query evidence` shows the proof"
        );
        let Some(files) = &self.files else { return };
        for piece in &gone {
            files.remove(piece);
        }
        if let Err(error) = files.write(&found) {
            tracing::warn!(%error, "evidence cannot be stored and is kept in memory only");
        }
    }
}

#[cfg(test)]
mod tests;
