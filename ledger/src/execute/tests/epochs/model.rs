//! Random approvals against a model: who approves of what, and when an epoch ends.

use super::*;

/// The rules of `docs/pbft.md §7` over plain lists of numbers.
#[derive(Debug, PartialEq)]
struct Model {
    height: u64,
    epoch: u64,
    start: u64,
    validators: Vec<u16>,
    window: u64,
    /// Who approves of which change, in the order they came.
    open: Vec<(u16, usize)>,
    /// The last height, and the change.
    ends: Option<(u64, usize)>,
}

/// The changes that are proposed in these runs: sets, or a window.
#[derive(Clone, Debug)]
enum Wanted {
    Set(&'static [u16]),
    Window(u32),
}

const WANTED: [Wanted; 4] =
    [Wanted::Set(&[0, 1, 2, 3]), Wanted::Set(&[0, 1, 2]), Wanted::Set(&[2, 3, 4, 5, 6]), Wanted::Window(2)];

impl Model {
    fn quorum(&self) -> usize {
        // The least number of which any two share more than a third, rounded as PBFT needs it.
        let n = self.validators.len();
        (1..=n).find(|q| 2 * q > n + (n - 1) / 3).expect("n itself is one")
    }

    fn count(&self, change: usize) -> usize {
        self.open.iter().filter(|(_, of)| *of == change).count()
    }

    fn begin(&mut self) {
        self.height += 1;
        if self.height == self.start {
            self.decide_if_any();
        }
    }

    fn vote(&mut self, sender: u16, change: usize) -> bool {
        if !self.validators.contains(&sender) {
            return false;
        }
        self.open.retain(|(of, _)| *of != sender);
        self.open.push((sender, change));
        self.decide_if_any();
        true
    }

    fn decide_if_any(&mut self) {
        if self.ends.is_none()
            && let Some(change) = (0..WANTED.len()).find(|change| self.count(*change) >= self.quorum())
        {
            self.ends = Some((self.height + self.window, change));
            self.open.clear();
        }
    }

    fn end(&mut self) {
        let Some((last, change)) = self.ends else { return };
        if self.height == last {
            match WANTED[change] {
                Wanted::Set(numbers) => self.validators = numbers.to_vec(),
                Wanted::Window(window) => self.window = u64::from(window),
            }
            self.ends = None;
            self.epoch += 1;
            self.start = last + 1;
            self.open.retain(|(sender, _)| self.validators.contains(sender));
        }
    }
}

impl World {
    fn wanted(&self, change: usize) -> ProposedChange {
        match WANTED[change] {
            Wanted::Set(numbers) => self.ready_set(numbers),
            Wanted::Window(window) => {
                ProposedChange::Parameters(Box::new(Parameters { window, ..parameters() }))
            }
        }
    }

    fn as_model(&self) -> Model {
        let named = |change: &EpochChange| {
            let matches = |wanted: &Wanted| match (wanted, change) {
                (Wanted::Set(numbers), EpochChange::Validators(validators)) => set(numbers) == *validators,
                (Wanted::Window(window), EpochChange::Parameters(parameters)) => parameters.window == *window,
                _ => false,
            };
            WANTED.iter().position(matches).expect("one of those proposed")
        };
        let EpochRecord { number, start, ends } = self.record();
        let mut open: Vec<(Version, u16, usize)> = (0..10)
            .filter_map(|validator| {
                self.approval(validator).map(|open| (open.given, validator, named(&open.change)))
            })
            .collect();
        open.sort_unstable();
        let Some(Record::Parameters(parameters)) =
            self.state.0.get(&RecordKey::Parameters).map(|record| &**record)
        else {
            panic!("no parameters")
        };
        Model {
            height: self.tip.height.0,
            epoch: number.0,
            start: start.0,
            validators: (0..10)
                .filter(|number| self.validators().index_of(&key(*number).public()).is_some())
                .collect(),
            window: u64::from(parameters.window),
            open: open.into_iter().map(|(_, validator, change)| (validator, change)).collect(),
            ends: ends.map(|end| (end.last.0, named(&end.change))),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn epochs_end_as_the_rules_say(
        blocks in proptest::collection::vec(proptest::collection::vec((0..8u16, 0..WANTED.len()), 0..6), 1..40)
    ) {
        let mut world = World::new();
        let mut model = Model {
            height: 0,
            epoch: 0,
            start: 0,
            validators: vec![0, 1, 2, 3],
            window: u64::from(WINDOW),
            open: Vec::new(),
            ends: None,
        };
        // A block below, so that statements have something to name.
        world.block(Vec::new());
        model.begin();
        for votes in blocks {
            model.begin();
            let expected: Vec<bool> = votes.iter().map(|(sender, change)| model.vote(*sender, *change)).collect();
            let decided = model.ends.map(|(last, _)| Height(last));
            model.end();
            let operations =
                votes.iter().map(|(sender, change)| (*sender, approve(world.wanted(*change)))).collect();
            let receipts = world.block(operations);
            for (receipt, counted) in receipts.iter().zip(expected) {
                let outcome = if counted { Outcome::Ok } else { failed(0, Failure::NotValidator) };
                prop_assert_eq!(&receipt.outcome, &outcome);
            }
            prop_assert_eq!(world.last.epoch_ends, decided);
            prop_assert_eq!(&world.as_model(), &model);
            prop_assert_eq!(world.epoch.0, model.epoch);
        }
    }
}
