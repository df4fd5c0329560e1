//! A replica's log in memory, as honest about crashes as a disk.
//!
//! What [`Log::append`] writes is safe only after [`MemoryLog::sync`]; the node calls that when the simulated fsync has
//! come back, and takes the actions of the batch only then. A crash before it leaves any prefix of what was written
//! (the machine may or may not have got so far), and a compaction that was under way either happened or did not.
//! Records are kept encoded, so a restart decodes what was written, as a node does.

use std::io;
use std::marker::PhantomData;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_consensus::Log;
use quorate_crypto::{decode, encode};

use crate::random::Random;

/// Records kept before the log asks to be compacted: low, so that every longer run compacts.
const COMPACT_RECORDS: usize = 256;

/// The log of one replica. It survives the replica's process.
#[derive(Debug)]
pub(crate) struct MemoryLog<R> {
    synced: Vec<Vec<u8>>,
    written: Vec<Vec<u8>>,
    replacement: Option<Vec<Vec<u8>>>,
    compact_at: usize,
    record: PhantomData<R>,
}

impl<R: BorshSerialize + BorshDeserialize> MemoryLog<R> {
    /// The log of a replica that never ran.
    pub(crate) fn new() -> Self {
        Self {
            synced: Vec::new(),
            written: Vec::new(),
            replacement: None,
            compact_at: COMPACT_RECORDS,
            record: PhantomData,
        }
    }

    /// Whether something was written that is not safe yet.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.written.is_empty() || self.replacement.is_some()
    }

    /// The fsync has come back: everything written is safe. Returns the records that became so.
    pub(crate) fn sync(&mut self) -> Vec<R> {
        let fresh = self.written.iter().map(|bytes| Self::read(bytes)).collect();
        self.synced.append(&mut self.written);
        if let Some(replacement) = self.replacement.take() {
            self.compact_at = COMPACT_RECORDS.max(2 * replacement.len());
            self.synced = replacement;
        }
        fresh
    }

    /// The process or the machine dies: of what was not safe, any prefix may have reached the disk.
    pub(crate) fn crash(&mut self, random: &mut Random) {
        let keep = random.below(self.written.len() as u64 + 1) as usize;
        let compacted = self.replacement.take().filter(|_| random.chance(500));
        match compacted {
            // The batch is synced before a compaction begins.
            Some(replacement) => self.synced = replacement,
            None => self.synced.extend(self.written.drain(..).take(keep)),
        }
        self.written.clear();
    }

    /// What a restarted process reads.
    pub(crate) fn records(&self) -> Vec<R> {
        self.synced.iter().map(|bytes| Self::read(bytes)).collect()
    }

    fn read(bytes: &[u8]) -> R {
        decode(bytes).expect("the log wrote these bytes from a record")
    }
}

impl<R: BorshSerialize + BorshDeserialize> Log<R> for MemoryLog<R> {
    fn append(&mut self, records: &[R]) -> io::Result<()> {
        assert!(!self.is_dirty(), "one batch at a time: the one before is not synced");
        self.written.extend(records.iter().map(encode));
        Ok(())
    }

    fn wants_compaction(&self) -> bool {
        self.synced.len() + self.written.len() > self.compact_at
    }

    fn compact(&mut self, records: &[R]) -> io::Result<()> {
        self.replacement = Some(records.iter().map(encode).collect());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn appended(records: &[u32]) -> MemoryLog<u32> {
        let mut log = MemoryLog::new();
        log.append(&[0]).expect("memory");
        assert_eq!(log.sync(), [0]);
        log.append(records).expect("memory");
        log
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_some_prefix_of_the_rest() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let mut log = appended(&[1, 2, 3]);
            log.crash(&mut Random::new(seed, Stream::Node(0)));
            let records = log.records();
            assert_eq!(records, (0..records.len() as u32).collect::<Vec<_>>());
            lengths.insert(records.len());
        }
        assert_eq!(lengths, (1..=4).collect());
    }

    #[test]
    fn a_crash_in_a_compaction_leaves_the_old_log_or_the_new_one() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let mut log = appended(&[1]);
            log.compact(&[7]).expect("memory");
            log.crash(&mut Random::new(seed, Stream::Node(0)));
            seen.insert(log.records());
        }
        assert_eq!(seen, [vec![0], vec![0, 1], vec![7]].into());
    }

    #[test]
    fn it_asks_for_compaction_one_past_the_limit() {
        let mut log = MemoryLog::new();
        log.append(&vec![1u32; COMPACT_RECORDS]).expect("memory");
        assert!(!log.wants_compaction());
        log.sync();
        log.append(&[1]).expect("memory");
        assert!(log.wants_compaction());
        log.compact(&[1]).expect("memory");
        log.sync();
        assert!(!log.wants_compaction());
        assert_eq!(log.records(), [1]);
    }
}
