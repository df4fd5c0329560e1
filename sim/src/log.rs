//! A replica's vote log on a simulated disk: the frames of the production log ([`Image`]), and what a disk does to them.
//!
//! What [`Log::append`] writes is safe only after [`DiskLog::sync`]; the node calls that when the simulated fsync has come
//! back, and takes the actions of the batch only then. A crash before it leaves any number of the bytes that were written,
//! so frames tear; a compaction that was under way either happened or did not. A restart reads the bytes as a node does:
//! a torn tail is cut off, damage before it is refused, and so is a log that is not what the mark says.

mod mark;

use std::io;

use borsh::{BorshDeserialize, BorshSerialize};
use quorate_consensus::{Log, Promise, Promised, vote_log::Image};
use quorate_ledger::Epoch;

use crate::faults::MarkFault;
use crate::observe::Kept;
use crate::random::Random;
use mark::MarkFile;

/// How long that is what all frames of a log begin with.
const FRAME_TAG_BYTES: usize = 4;

/// Records kept before the log asks to be compacted: low, so that every longer run compacts.
pub(crate) const COMPACT_RECORDS: usize = 256;

/// The log of one replica. It survives the replica's process.
#[derive(Debug)]
pub(crate) struct DiskLog<R> {
    id: [u8; 16],
    image: Image,
    /// How many of its bytes are safe.
    synced: usize,
    /// Whether something was appended since.
    appended: bool,
    /// What there is in there that votes are or rest on.
    appended_kept: Vec<Kept>,
    /// What a record keeps of that.
    kept: fn(&R) -> Vec<Kept>,
    /// What a record promises.
    promises: fn(&R) -> Option<Promise>,
    /// The highest promise in there, and the highest that the mark has.
    promise: Promise,
    marked: Promise,
    mark: MarkFile,
    /// Whether the sync of the mark has failed in this life.
    half_marked: bool,
    replacement: Option<Image>,
    records: usize,
    compact_at: usize,
    failing: Option<Failing>,
}

/// How a disk refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failing {
    /// There is no room: the write fails, after any number of bytes.
    Full,
    /// The write is taken, and the sync fails.
    Sync,
    /// The log is synced, and the mark is not.
    Mark,
}

/// What a restart finds.
pub(crate) enum Found<R> {
    /// These records.
    Records(Vec<R>),
    /// Damage: whoever signed by this log must not sign again.
    Damage(String),
}

impl<R: BorshSerialize + BorshDeserialize + Clone> DiskLog<R> {
    /// The log of a replica that never ran.
    pub(crate) fn new(id: u64, kept: fn(&R) -> Vec<Kept>, promises: fn(&R) -> Option<Promise>) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&id.to_le_bytes());
        let image = Image::new(bytes);
        let synced = image.bytes().len();
        Self {
            id: bytes,
            image,
            synced,
            appended: false,
            appended_kept: Vec::new(),
            kept,
            promises,
            promise: Promise::default(),
            marked: Promise::default(),
            mark: MarkFile::new(),
            half_marked: false,
            replacement: None,
            records: 0,
            compact_at: COMPACT_RECORDS,
            failing: None,
        }
    }

    /// Whether something was written that is not safe yet.
    pub(crate) fn is_dirty(&self) -> bool {
        self.appended || self.replacement.is_some()
    }

    /// How many records it has written since it was made smaller, with those that stayed.
    pub(crate) fn len(&self) -> usize {
        self.records
    }

    /// From the next write on the disk refuses, until a crash.
    pub(crate) fn fail(&mut self, failing: Failing) {
        self.failing = Some(failing);
    }

    /// Whether the disk refuses now.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// Whether a promise waits to be marked.
    pub(crate) fn raises_promise(&self) -> bool {
        self.promise > self.marked
    }

    /// The fsync of the log comes back, and the process dies before the mark is written: whatever comes next was not
    /// begun.
    pub(crate) fn sync_log_alone(&mut self) {
        self.replacement = None;
        self.synced = self.image.bytes().len();
        self.appended = false;
    }

    /// The fsync comes back, of the log and then, where a promise rises, of the mark. Returns what is safe now.
    pub(crate) fn sync(&mut self) -> io::Result<Vec<Kept>> {
        if self.failing == Some(Failing::Sync) {
            return Err(io::Error::other("the simulated disk does not sync"));
        }
        if self.raises_promise() {
            if self.failing == Some(Failing::Mark) {
                self.half_marked = true;
                self.sync_log_alone();
                return Err(io::Error::other("the simulated disk does not sync the mark"));
            }
            self.marked = self.promise;
            self.mark.write(self.image.mark(self.promise));
        }
        if let Some(replacement) = self.replacement.take() {
            self.compact_at = COMPACT_RECORDS.max(2 * self.records);
            self.image = replacement;
        }
        self.synced = self.image.bytes().len();
        self.appended = false;
        Ok(std::mem::take(&mut self.appended_kept))
    }

    /// The process or the machine dies: of what was not safe, any number of bytes may have reached the disk. Says whether
    /// a frame was torn by that.
    pub(crate) fn crash(&mut self, random: &mut Random) -> bool {
        let unsafe_bytes = self.image.bytes().len() - self.synced;
        let kept = random.index(unsafe_bytes + 1);
        self.survive(kept, random)
    }

    /// As [`DiskLog::crash`], where none of them has, or all.
    pub(crate) fn crash_keeping(&mut self, all: bool, random: &mut Random) -> bool {
        let unsafe_bytes = self.image.bytes().len() - self.synced;
        self.survive(if all { unsafe_bytes } else { 0 }, random)
    }

    fn survive(&mut self, kept: usize, random: &mut Random) -> bool {
        let end = self.synced + kept;
        let torn = kept > 0 && end < self.image.bytes().len();
        // The batch is synced before a compaction begins.
        let whole = end == self.image.bytes().len();
        let replacement = self.replacement.take().filter(|_| whole && random.chance(500));
        let bytes = replacement.map_or_else(|| self.image.bytes()[..end].to_vec(), |it| it.bytes().to_vec());
        self.appended = false;
        self.appended_kept.clear();
        self.failing = None;
        // Nobody knows whether a mark whose sync failed is there.
        if std::mem::take(&mut self.half_marked) && random.chance(500) {
            self.mark.write(self.image.mark(self.promise));
        }
        // Damage from before stays where it was.
        if let Ok((image, _)) = Image::read::<R>(&bytes) {
            self.image = image;
        }
        self.synced = self.image.bytes().len();
        torn
    }

    /// Something happens to the mark while no process runs.
    pub(crate) fn strike_mark(&mut self, fault: MarkFault, random: &mut Random) {
        let signed = self.image.bytes().len() > Image::new([0; 16]).bytes().len();
        self.mark.strike(fault, signed, random);
    }

    /// Whether the mark says that the key has promised something in this epoch or a later one.
    pub(crate) fn binds(&self, epoch: Epoch) -> bool {
        self.mark.binds(epoch)
    }

    /// Whether the page says that the key is refused for its mark.
    pub(crate) fn has_spoilt_mark(&self) -> bool {
        self.mark.is_spoilt()
    }

    /// Cuts off so many of the last frames, as putting back an older copy does, the mark of then with it; says whether
    /// there were that many.
    pub(crate) fn forget(&mut self, frames: usize) -> bool {
        if self.mark.is_spoilt() {
            return false;
        }
        let bytes = self.image.bytes();
        let header = Image::new([0; 16]).bytes().len();
        let Some(tag) = bytes.get(header..header + FRAME_TAG_BYTES) else { return false };
        let ends: Vec<usize> = (header..bytes.len()).filter(|at| bytes[*at..].starts_with(tag)).collect();
        let Some(end) = ends.len().checked_sub(frames).and_then(|kept| ends.get(kept)) else { return false };
        let Ok((image, records)) = Image::read::<R>(&bytes[..*end]) else { return false };
        self.synced = image.bytes().len();
        self.image = image;
        let promise = records.iter().filter_map(self.promises).max().unwrap_or_default();
        self.mark.restore(self.image.mark(promise));
        true
    }

    /// A new log takes its place, which promises to sign nothing below an epoch.
    pub(crate) fn renew(&mut self, epoch: Epoch)
    where
        R: Promised,
    {
        // Another name than that of the one set aside.
        self.id[15] = self.id[15].wrapping_add(1);
        self.image = Image::new(self.id);
        let beginning = R::beginning(epoch);
        self.promise = beginning.promised().unwrap_or_default();
        self.marked = self.promise;
        self.image.append(&[beginning]).expect("a record is encoded");
        self.mark.write(self.image.mark(self.promise));
        self.synced = self.image.bytes().len();
        self.records = 1;
    }

    /// Lets one bit of what was safe long ago turn, where a later frame shows that it was. Says whether there was one.
    pub(crate) fn rot(&mut self, random: &mut Random) -> Option<Vec<u8>> {
        let (whole, _) = Image::read::<R>(self.image.bytes()).ok()?;
        let mut bytes = whole.bytes().to_vec();
        let header = Image::new([0; 16]).bytes().len();
        for _ in 0..16 {
            let place = header + random.index(bytes.len().saturating_sub(header).max(1));
            let bit = 1u8 << random.index(8);
            let Some(byte) = bytes.get_mut(place) else { continue };
            *byte ^= bit;
            // What looks like a torn tail is one to every reader: that is the mark's and the peers' to notice.
            if Image::read::<R>(&bytes).is_err() {
                return Some(bytes);
            }
            bytes[place] ^= bit;
        }
        None
    }

    /// What a restarted process reads; if the key is taken up, that is entered in its mark.
    pub(crate) fn open(&mut self, rotten: Option<&[u8]>) -> Found<R> {
        let bytes = rotten.unwrap_or(self.image.bytes());
        match Image::open::<R>(self.mark.text(), bytes, self.promises) {
            Ok((_, records, mark)) => {
                self.promise = records.iter().filter_map(self.promises).max().unwrap_or_default();
                self.marked = self.promise;
                self.mark.write(mark);
                Found::Records(records)
            }
            Err(why) => Found::Damage(why.to_string()),
        }
    }
}

impl<R: BorshSerialize + BorshDeserialize + Clone> Log<R> for DiskLog<R> {
    fn append(&mut self, records: &[R]) -> io::Result<()> {
        assert!(!self.is_dirty(), "one batch at a time: the one before is not synced");
        if self.failing == Some(Failing::Full) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full"));
        }
        self.image.append(records)?;
        self.records += records.len();
        self.appended = true;
        self.appended_kept.extend(records.iter().flat_map(self.kept));
        let promise = records.iter().filter_map(self.promises).max();
        self.promise = self.promise.max(promise.unwrap_or_default());
        Ok(())
    }

    fn wants_compaction(&self) -> bool {
        self.records > self.compact_at
    }

    fn compact(&mut self, records: &[R]) -> io::Result<()> {
        self.replacement = Some(self.image.compacted(records)?);
        self.records = records.len();
        Ok(())
    }
}

/// Where a replica writes that has no vote, or no disk: nowhere.
pub(crate) struct NoLog;

impl<R> Log<R> for NoLog {
    fn append(&mut self, _: &[R]) -> io::Result<()> {
        Ok(())
    }

    fn wants_compaction(&self) -> bool {
        false
    }

    fn compact(&mut self, _: &[R]) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use quorate_crypto::Hash;
    use quorate_ledger::{Epoch, Height, ValidatorIndex, View};

    use super::*;
    use crate::observe::{Slot, Vote, VoteKind};
    use crate::random::Stream;

    fn random(seed: u64) -> Random {
        Random::new(seed, Stream::Node(0))
    }

    fn found(log: &mut DiskLog<u32>) -> Vec<u32> {
        match log.open(None) {
            Found::Records(records) => records,
            Found::Damage(why) => panic!("{why}"),
        }
    }

    fn vote(record: &u32) -> Kept {
        let slot = Slot {
            kind: VoteKind::Prepare,
            epoch: Epoch(0),
            view: View(0),
            height: Height(u64::from(*record)),
        };
        Kept::Vote(Vote { signer: ValidatorIndex(0), slot, target: Hash::of(&record.to_le_bytes()) })
    }

    /// A log that its key's mark names: a process has started once.
    fn empty() -> DiskLog<u32> {
        let mut log = DiskLog::new(0, |record| vec![vote(record)], |_| None);
        assert!(found(&mut log).is_empty());
        log
    }

    fn appended(records: &[u32]) -> DiskLog<u32> {
        let mut log = empty();
        log.append(&[0]).expect("memory");
        assert_eq!(log.sync().expect("memory"), [vote(&0)]);
        log.append(records).expect("memory");
        log
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_the_rest_whole_or_not_at_all() {
        let (mut seen, mut torn) = (BTreeSet::new(), false);
        for seed in 0..200 {
            let mut log = appended(&[1, 2, 3]);
            torn |= log.crash(&mut random(seed));
            seen.insert(found(&mut log));
        }
        assert_eq!(seen, [vec![0], vec![0, 1, 2, 3]].into());
        assert!(torn, "frames tear");
    }

    #[test]
    fn a_crash_in_a_compaction_leaves_the_old_log_or_the_new_one() {
        let mut seen = BTreeSet::new();
        for seed in 0..400 {
            let mut log = appended(&[1]);
            log.compact(&[7]).expect("memory");
            log.crash(&mut random(seed));
            seen.insert(found(&mut log));
        }
        assert_eq!(seen, [vec![0], vec![0, 1], vec![7]].into());
    }

    #[test]
    fn it_asks_for_compaction_one_past_the_limit() {
        let mut log = empty();
        log.append(&vec![1u32; COMPACT_RECORDS]).expect("memory");
        assert!(!log.wants_compaction());
        log.sync().expect("memory");
        log.append(&[1]).expect("memory");
        assert!(log.wants_compaction());
        log.compact(&[1]).expect("memory");
        log.sync().expect("memory");
        assert!(!log.wants_compaction());
        assert_eq!(found(&mut log), [1]);
    }

    #[test]
    fn a_disk_that_fails_keeps_what_was_safe() {
        let mut log = appended(&[1]);
        log.fail(Failing::Sync);
        assert!(log.sync().is_err());
        log.crash_keeping(false, &mut random(1));
        assert_eq!(found(&mut log), [0]);
        log.fail(Failing::Full);
        assert!(log.append(&[2]).is_err());
        log.crash(&mut random(1));
        log.append(&[3]).expect("mended");
        log.sync().expect("mended");
        assert_eq!(found(&mut log), [0, 3]);
    }

    #[test]
    fn an_older_copy_lacks_the_last_frames() {
        let mut log = appended(&[1]);
        log.sync().expect("memory");
        assert!(!log.forget(3));
        assert!(log.forget(1));
        assert_eq!(found(&mut log), [0]);
    }

    #[test]
    fn rot_is_refused() {
        let mut log = appended(&[1]);
        log.sync().expect("memory");
        let rotten = log.rot(&mut random(1)).expect("there is a frame before the last");
        assert!(matches!(log.open(Some(&rotten)), Found::Damage(_)));
    }
}
