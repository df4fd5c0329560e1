//! What clients read, and how they check it: balances and keys as any node tells them, and proven answers, which they
//! verify offline against a state root that a quorum has signed or anchored. Whose machine lies may prove what it likes.

use quorate_crypto::Hash;
use quorate_ledger::{Height, ProvenRecord, Reader, Record, RecordKey, StoreError, Version};

use super::Simulation;
use crate::check::Violation;
use crate::check::proofs::{Answer, Root};
use crate::coverage::Counter;
use crate::liar::Deceptive;

const READ: &str = "what a client reads is what the chain came to at the height that the answer names";
const STILL_SO: &str = "what a client was told stays so";
const PROVEN: &str = "what a correct node proves holds offline, and is what the chain came to";
const KEPT: &str = "a node can prove its state at its tip";
const UNTRUE: &str = "a proof of what is not so does not hold";
/// Of the newest heights, so many are tried for one whose root is certified.
const HEIGHTS: u64 = 8;

impl<E: Deceptive> Simulation<'_, E> {
    /// A client asks some node for a balance or a key, at times with a proof, and whether something that it was told is
    /// still so.
    pub(super) fn read(&mut self) -> Result<(), Violation> {
        let (key, index) = self.clients.question(self.chain.keys.len());
        let (remembered, proven) = (self.clients.remembered(), self.clients.wants_proof());
        let Some(ledger) = self.nodes[index].ledger() else { return Ok(()) };
        let reader = ledger.reader();
        let at = |why: StoreError| Violation::new("a ledger can be read", format!("n{index}: {why}"));
        if !self.checks.is_correct(index) {
            if proven && let Some(answer) = answer(&reader, &key).map_err(at)? {
                self.refuse(index, &answer)?;
            }
            return Ok(());
        }
        let (height, record) = reader.record(&key).map_err(at)?;
        self.compare(READ, index, height, &key, record.as_deref())?;
        if let Some((id, told)) = remembered {
            let place = reader.transaction(&id).map_err(at)?;
            // A node that is behind may not have it yet.
            let so = place.as_ref().map_or(height < told, |place| place.height == told);
            if !so {
                let detail = format!("n{index}: {id} was at {told}, and is at {place:?} at height {height}");
                return Err(Violation::new(STILL_SO, detail));
            }
        }
        self.coverage.count(Counter::READS_CHECKED);
        if proven {
            if reader.prove(&key, height).map_err(at)?.is_none() {
                return Err(Violation::new(KEPT, format!("n{index} at height {height}: {key:?}")));
            }
            if let Some(answer) = answer(&reader, &key).map_err(at)? {
                self.verify(index, &answer)?;
                self.refuse(index, &answer)?;
            }
        }
        Ok(())
    }

    /// Compares a record with what the model has at a height.
    fn compare(
        &self,
        claim: &'static str,
        index: usize,
        height: Height,
        key: &RecordKey,
        record: Option<&Record>,
    ) -> Result<(), Violation> {
        let chain = &self.checks.chain;
        let expected = match key {
            RecordKey::Account(account) => {
                let balance = chain.balance_at(height, account).unwrap_or_default();
                (balance > 0).then_some(Record::Account { balance })
            }
            RecordKey::Key(key) => chain.keys.at(height, key).map(|entry| {
                let (height, index, operation) = entry.version;
                let version = u128::from(height.0) << 64 | u128::from(index) << 32 | u128::from(operation);
                let (owner, value) = (entry.owner, entry.value.clone());
                Record::Key { owner, version: Version(version), value }
            }),
            RecordKey::Validators | RecordKey::Parameters | RecordKey::Approval(_) | RecordKey::Epoch => {
                unreachable!("clients ask for accounts and keys")
            }
        };
        if expected.as_ref() == record {
            return Ok(());
        }
        let detail =
            format!("n{index}: {key:?} is {record:?} at height {height}, by the blocks {expected:?}");
        Err(Violation::new(claim, detail))
    }

    /// A correct node's answer holds, by the client's own hand and by the code that clients are given.
    fn verify(&mut self, index: usize, answer: &Answer) -> Result<(), Violation> {
        let Answer { key, record, proof, root } = answer;
        let height = answer.proven_at(&self.checks.chain.epochs);
        let given = proof.verify(key, record.as_ref(), &answer.claimed_root());
        let Some(height) = height.filter(|_| given) else {
            return Err(Violation::new(
                PROVEN,
                format!("n{index}: {answer:?} holds for {height:?}, {given}"),
            ));
        };
        self.coverage.count(match root {
            Root::Certified(_) => Counter::PROOFS_OF_CERTIFIED_ROOT,
            Root::Anchored { .. } => Counter::PROOFS_OF_ANCHORED_ROOT,
        });
        self.coverage.count(match record {
            Some(_) => Counter::PROOFS_OF_PRESENCE,
            None => Counter::PROOFS_OF_ABSENCE,
        });
        self.compare(PROVEN, index, height, key, record.as_ref())
    }

    /// The answer changed in some way, as a node that lies would: no client believes it.
    fn refuse(&mut self, index: usize, answer: &Answer) -> Result<(), Violation> {
        let mut false_one = answer.clone();
        let what = self.random.below(5);
        let flip = |hash: &Hash| Hash::of(hash.as_bytes());
        match what {
            0 => {
                false_one.record = match false_one.record.take() {
                    Some(Record::Account { balance }) => Some(Record::Account { balance: balance + 1 }),
                    Some(_) => None,
                    None => Some(Record::Account { balance: 1 }),
                };
            }
            // That another key is absent may well be shown by the same proof.
            1 if answer.record.is_some() => false_one.key = RecordKey::Key(b"another".to_vec()),
            2 if !false_one.proof.siblings.is_empty() => {
                let place = self.random.index(false_one.proof.siblings.len());
                false_one.proof.siblings[place] = flip(&false_one.proof.siblings[place]);
            }
            3 if !false_one.proof.siblings.is_empty() => drop(false_one.proof.siblings.pop()),
            _ => match &mut false_one.root {
                Root::Certified(it) => it.payload.state_root = flip(&it.payload.state_root),
                Root::Anchored { header, .. } => header.anchor.state_root = flip(&header.anchor.state_root),
            },
        }
        let believed = false_one.proven_at(&self.checks.chain.epochs);
        let Answer { key, record, proof, .. } = &false_one;
        let given = proof.verify(key, record.as_ref(), &false_one.claimed_root());
        if believed.is_some() || given {
            let detail = format!("n{index}: {false_one:?} in the place of {answer:?}");
            return Err(Violation::new(UNTRUE, detail));
        }
        self.coverage.count(Counter::FALSE_PROOFS_REFUSED);
        Ok(())
    }
}

/// What a node proves of a key, at the newest height of whose root it can show a certificate or an anchor.
fn answer(reader: &Reader, key: &RecordKey) -> Result<Option<Answer>, StoreError> {
    let (tip, ..) = reader.tip();
    for height in (tip.0.saturating_sub(HEIGHTS)..=tip.0).rev().map(Height).filter(|it| *it > Height(0)) {
        // Half of the heights by their own certificate, the others by a block that anchors them.
        let by_anchor = height.0.is_multiple_of(2);
        let root = if by_anchor { anchored(reader, height)? } else { certified(reader, height)? };
        let Some((root, of)) = root else { continue };
        if let Some(ProvenRecord { record, proof, .. }) = reader.prove(key, of)? {
            let record = record.map(|record| (*record).clone());
            return Ok(Some(Answer { key: key.clone(), record, proof, root }));
        }
    }
    Ok(None)
}

fn certified(reader: &Reader, height: Height) -> Result<Option<(Root, Height)>, StoreError> {
    let certificate = reader.checkpoint(height)?;
    Ok(certificate.map(|it| (Root::Certified(Box::new(it)), height)))
}

/// The root that the block at a height anchors.
fn anchored(reader: &Reader, height: Height) -> Result<Option<(Root, Height)>, StoreError> {
    let (Some(certificate), Some(stored)) = (reader.commit_certificate(height)?, reader.header(height)?)
    else {
        return Ok(None);
    };
    let of = stored.header.anchor.height;
    let (header, certificate) = (Box::new(stored.header), Box::new(certificate));
    Ok(Some((Root::Anchored { header, certificate }, of)))
}
