//! The mark beside a key, on a simulated disk: which log the key signs with, and what it has promised at least
//! (`docs/pbft.md` §6). The production code reads and words it; what a disk does to it is here.

use quorate_consensus::vote_log::Mark;
use quorate_ledger::Epoch;

use crate::faults::MarkFault;
use crate::random::Random;

/// The text of a key that was never used.
const UNUSED: &str = "unused\n";

/// The file.
#[derive(Debug)]
pub(crate) struct MarkFile {
    text: Option<String>,
    /// What it held before, oldest first.
    copies: Vec<String>,
    /// Whether something was done to it that the key must not be used after.
    spoilt: bool,
}

impl MarkFile {
    /// That of a key that was never used.
    pub(super) fn new() -> Self {
        Self { text: Some(UNUSED.to_owned()), copies: Vec::new(), spoilt: false }
    }

    /// What is read.
    pub(super) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// It is replaced in one step, durably.
    pub(super) fn write(&mut self, mark: Mark) {
        let text = format!("{mark}\n");
        if self.text.as_ref() != Some(&text) {
            self.copies.extend(self.text.replace(text));
        }
        self.spoilt = false;
    }

    /// Puts back the copy that was made when it was written so. Copies that were made later went with what was replaced.
    pub(super) fn restore(&mut self, mark: Mark) {
        let text = format!("{mark}\n");
        if let Some(place) = self.copies.iter().position(|copy| *copy == text) {
            self.copies.truncate(place);
        }
        self.text = Some(text);
    }

    /// Whether the page says that the key is refused.
    pub(super) fn is_spoilt(&self) -> bool {
        self.spoilt
    }

    /// Whether it says that the key has promised something in this epoch or a later one.
    pub(super) fn binds(&self, epoch: Epoch) -> bool {
        let words: Vec<&str> = self.text.iter().flat_map(|text| text.split_whitespace()).collect();
        match words[..] {
            ["log", _, "epoch", promised, ..] => promised.parse::<u64>().is_ok_and(|it| it >= epoch.0),
            _ => false,
        }
    }

    /// Something happens to it while no process runs. `signed` says whether anything was signed with the key.
    pub(super) fn strike(&mut self, fault: MarkFault, signed: bool, random: &mut Random) {
        let Some(text) = &self.text else { return };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (text, spoilt) = match (fault, &words[..]) {
            (MarkFault::Lost, _) => (None, true),
            // Somewhere before its last number: a number that is cut short is a lower promise.
            (MarkFault::Torn, _) => {
                let end = text.trim_end().rfind(' ').unwrap_or(text.len() - 2);
                (Some(text[..random.index(end)].to_owned()), true)
            }
            (MarkFault::Foreign, ["log", _, rest @ ..]) => {
                (Some(format!("log {} {}\n", "f".repeat(32), rest.join(" "))), true)
            }
            (MarkFault::Unused, _) => (Some(UNUSED.to_owned()), signed),
            (MarkFault::Older, _) if self.spoilt => return,
            (MarkFault::Older, _) => {
                let copies = self.copies.iter().filter(|copy| *copy != UNUSED);
                let same_log = copies.filter(|copy| copy.split_whitespace().nth(1) == words.get(1).copied());
                let same_log: Vec<_> = same_log.collect();
                if same_log.is_empty() {
                    return;
                }
                (Some(same_log[random.index(same_log.len())].clone()), false)
            }
            (MarkFault::Foreign, _) => return,
        };
        self.text = text;
        self.spoilt = spoilt;
    }
}

#[cfg(test)]
mod tests {
    use quorate_consensus::{Promise, vote_log::Image};
    use quorate_ledger::View;

    use super::*;
    use crate::random::Stream;

    fn image() -> Image {
        let mut image = Image::new([7; 16]);
        image.append(&[12u32]).expect("memory");
        image
    }

    fn mark(view: u64) -> Mark {
        image().mark(Promise { epoch: Epoch(1), view: View(view) })
    }

    fn opens(file: &MarkFile) -> bool {
        let promise = |view: &u32| Some(Promise { epoch: Epoch(1), view: View(u64::from(*view)) });
        Image::open::<u32>(file.text(), image().bytes(), promise).is_ok()
    }

    #[test]
    fn no_copy_is_later_than_what_was_put_back() {
        let mut file = MarkFile::new();
        [3, 11, 12, 13].map(mark).into_iter().for_each(|mark| file.write(mark));
        file.restore(mark(11));
        for seed in 0..50 {
            file.strike(MarkFault::Older, true, &mut Random::new(seed, Stream::Node(0)));
            assert_eq!(file.text(), Some(format!("{}\n", mark(3)).as_str()));
        }
    }

    #[test]
    fn what_spoils_a_mark_is_refused_and_an_older_copy_is_not() {
        let all = [MarkFault::Lost, MarkFault::Torn, MarkFault::Foreign, MarkFault::Unused, MarkFault::Older];
        for (seed, fault) in (0..50).flat_map(|seed| all.map(|fault| (seed, fault))) {
            let mut file = MarkFile::new();
            [3, 11, 12].map(mark).into_iter().for_each(|mark| file.write(mark));
            assert!(opens(&file) && !file.is_spoilt());
            file.strike(fault, true, &mut Random::new(seed, Stream::Node(0)));
            assert_eq!(
                (file.is_spoilt(), opens(&file)),
                match fault {
                    MarkFault::Older => (false, true),
                    MarkFault::Lost | MarkFault::Torn | MarkFault::Foreign | MarkFault::Unused =>
                        (true, false),
                },
                "{fault:?} {:?}",
                file.text()
            );
        }
    }
}
