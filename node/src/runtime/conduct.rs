//! How peers behave, and what follows: a peer that keeps sending what nothing honest sends is disconnected, and one whose
//! bundle failed is verified signature by signature, so many a second.
//!
//! The second rule bounds what a liar costs. A batch with one bad signature costs more than its signatures verified one by
//! one, since it has to be bisected; so whoever sent one gets no more batches for a while.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use quorate_consensus::Mono;
use quorate_crypto::PublicKey;
use quorate_network::PeerId;

/// Offences after which a peer is disconnected.
pub(super) const OFFENCES_MAX: u32 = 8;
/// An offence is forgotten after so long without another one.
const FORGIVEN_AFTER_MS: u64 = 600_000;
/// Signatures verified in a second for a source whose batch has failed.
pub(super) const SINGLE_PER_SECOND: u64 = 256;
/// Sources remembered; beyond it the one that offended longest ago is forgotten.
const SOURCES_MAX: usize = 4_096;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Who sent something to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// A validator, over its stream.
    Validator(PublicKey),
    /// A peer, by gossip or as an answer.
    Peer(PeerId),
}

/// What follows from an offence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// It is remembered.
    Noted,
    /// It was one too many.
    Disconnect,
}

/// How a source's signatures are to be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// All at once.
    Batch,
    /// One by one.
    Singly,
    /// Not now: it has used up what it may.
    NotNow,
}

/// What is remembered of the sources that offended.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    records: Mutex<HashMap<Source, Record>>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    offences: u32,
    last: Mono,
    single: Option<Allowance>,
}

/// Signatures that may be verified, as of a time.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: u64,
    at: Mono,
}

impl Conduct {
    /// Something came that nothing honest sends.
    pub(super) fn offend(&self, source: Source, now: Mono) -> Consequence {
        let mut records = self.lock();
        let record = entry(&mut records, source, now);
        record.offences += 1;
        record.last = now;
        if record.offences < OFFENCES_MAX {
            return Consequence::Noted;
        }
        // It may come back, and then has the same patience again; its signatures are still verified one by one.
        record.offences = 0;
        Consequence::Disconnect
    }

    /// A batch of its signatures had a bad one.
    pub(super) fn batch_failed(&self, source: Source, now: Mono) {
        let mut records = self.lock();
        let record = entry(&mut records, source, now);
        record.last = now;
        record.single.get_or_insert(Allowance { left: SINGLE_PER_SECOND, at: now });
    }

    /// How to verify this many signatures of a source.
    pub(super) fn trust(&self, source: Source, count: usize, now: Mono) -> Trust {
        let mut records = self.lock();
        let Some(record) = records.get_mut(&source) else { return Trust::Batch };
        if forgiven(record, now) {
            records.remove(&source);
            return Trust::Batch;
        }
        let Some(allowance) = &mut record.single else { return Trust::Batch };
        let nanos = now.0.saturating_sub(allowance.at.0).min(NANOS_PER_SECOND);
        let earned = nanos * SINGLE_PER_SECOND / NANOS_PER_SECOND;
        if earned > 0 {
            allowance.left = (allowance.left + earned).min(SINGLE_PER_SECOND);
            allowance.at = now;
        }
        match allowance.left.checked_sub(count as u64) {
            Some(left) => {
                allowance.left = left;
                Trust::Singly
            }
            None => Trust::NotNow,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Source, Record>> {
        self.records.lock().expect("no holder of this lock panics")
    }
}

fn forgiven(record: &Record, now: Mono) -> bool {
    record.last.plus_millis(FORGIVEN_AFTER_MS) <= now
}

/// The source's record, fresh if it is forgiven or new; room is made for it.
fn entry(records: &mut HashMap<Source, Record>, source: Source, now: Mono) -> &mut Record {
    if records.len() >= SOURCES_MAX && !records.contains_key(&source) {
        let oldest = records.iter().min_by_key(|(_, record)| record.last).map(|(source, _)| *source);
        records.remove(&oldest.expect("a full map has an oldest entry"));
    }
    let fresh = Record { offences: 0, last: now, single: None };
    let record = records.entry(source).or_insert(fresh);
    if forgiven(record, now) {
        *record = fresh;
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(byte: u8) -> Source {
        Source::Validator(PublicKey::from_bytes([byte; 32]))
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_last_offence_that_is_borne_disconnects_and_the_count_starts_anew() {
        let conduct = Conduct::default();
        for round in 0..2 {
            for offence in 1..OFFENCES_MAX {
                assert_eq!(
                    conduct.offend(source(1), Mono(0)),
                    Consequence::Noted,
                    "{round}: offence {offence}"
                );
            }
            assert_eq!(conduct.offend(source(1), Mono(0)), Consequence::Disconnect);
        }
        assert_eq!(conduct.offend(source(2), Mono(0)), Consequence::Noted, "others are not concerned");
    }

    #[test]
    fn offences_long_ago_are_forgotten() {
        let conduct = Conduct::default();
        for _ in 1..OFFENCES_MAX {
            conduct.offend(source(1), Mono(0));
        }
        conduct.batch_failed(source(1), Mono(0));
        let later = Mono(0).plus_millis(FORGIVEN_AFTER_MS);
        assert_eq!(conduct.trust(source(1), 1_000_000, later), Trust::Batch);
        assert_eq!(conduct.offend(source(1), later), Consequence::Noted);
    }

    #[test]
    fn after_a_failed_batch_signatures_are_rationed() {
        let conduct = Conduct::default();
        let all = SINGLE_PER_SECOND as usize;
        assert_eq!(conduct.trust(source(1), usize::MAX, Mono(0)), Trust::Batch);
        conduct.batch_failed(source(1), Mono(0));
        assert_eq!(conduct.trust(source(1), all + 1, Mono(0)), Trust::NotNow);
        assert_eq!(conduct.trust(source(1), all, Mono(0)), Trust::Singly);
        assert_eq!(conduct.trust(source(1), 1, Mono(0)), Trust::NotNow);
        assert_eq!(conduct.trust(source(1), all / 2, Mono(SECOND / 2)), Trust::Singly);
        assert_eq!(conduct.trust(source(1), 1, Mono(SECOND / 2)), Trust::NotNow);
        assert_eq!(
            conduct.trust(source(1), all + 1, Mono(99 * SECOND)),
            Trust::NotNow,
            "it does not save up"
        );
        assert_eq!(conduct.trust(source(2), all, Mono(0)), Trust::Batch);
    }

    #[test]
    fn the_source_that_offended_longest_ago_is_forgotten_first() {
        let conduct = Conduct::default();
        let many = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
            Source::Validator(PublicKey::from_bytes(bytes))
        };
        for number in 0..=SOURCES_MAX {
            conduct.batch_failed(many(number), Mono(number as u64));
        }
        let now = Mono(SOURCES_MAX as u64);
        assert_eq!(conduct.lock().len(), SOURCES_MAX);
        assert_eq!(conduct.trust(many(0), 1, now), Trust::Batch);
        assert_eq!(conduct.trust(many(1), 1, now), Trust::Singly);
    }
}
