//! Which part of a batch to try next, where some of its records are bad and a
//! try says only whether the part holds one, or names one: halves what is
//! suspected until a record is alone, and takes parts as large as the bad ones
//! lie apart, so that neither few nor many of them cost many tries.
//!
//! Not here: trying, and what becomes of the bad ones.

/// Where bad records are named, no part is smaller for their sake: handling so
/// many a few times more costs less than making each few visible in a step.
const NAMED_FLOOR: usize = 32;

/// A search through records in their order. What waits is always its rest: parts
/// that passed and records that were taken out are gone from its front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bisect {
    /// A part that nothing is known of has at most so many records.
    limit: usize,
    /// So many of the first hold a bad one.
    suspect: Option<usize>,
    /// So many of the first went through before a bad one behind them was named.
    clean: usize,
    /// How many passed since the last bad one.
    since: usize,
}

impl Default for Bisect {
    fn default() -> Self {
        Self { limit: usize::MAX, suspect: None, clean: 0, since: 0 }
    }
}

impl Bisect {
    /// How many of those that wait to try next; at least one where one waits.
    pub fn size(&self, waiting: usize) -> usize {
        match self.suspect {
            Some(suspect) => suspect.min(waiting).div_ceil(2),
            None => self.limit.min(waiting),
        }
    }

    /// How many to take at once into a search that begins.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether nothing is suspected.
    pub fn is_idle(&self) -> bool {
        self.suspect.is_none()
    }

    /// The first `size` passed, and are gone. Without a suspicion the next part
    /// may be twice as large.
    pub fn passed(&mut self, size: usize) {
        self.since = self.since.saturating_add(size - self.clean.min(size));
        self.clean -= self.clean.min(size);
        match self.suspect {
            Some(suspect) => self.suspect = Some(suspect.saturating_sub(size)).filter(|left| *left > 0),
            None => self.limit = self.limit.max(size).saturating_mul(2),
        }
    }

    /// One of the first `size` is bad, and nobody says which. True where it is
    /// found: it is the first, and is to be taken out.
    pub fn failed(&mut self, size: usize) -> bool {
        if size > 1 {
            self.suspect = Some(size);
            return false;
        }
        self.found(0, size, 1);
        true
    }

    /// The one at `index` of the first `size` is bad, and is taken out.
    pub fn named(&mut self, index: usize, size: usize) {
        self.found(index, size, NAMED_FLOOR);
    }

    /// The first `size` took too long: no part is as large again at once.
    pub fn slow(&mut self, size: usize) {
        self.limit = (size / 2).max(1);
    }

    /// What waits is not what it was.
    pub fn forget(&mut self) {
        self.suspect = None;
        self.clean = 0;
    }

    /// The next parts are about twice as long as the bad ones lie apart, so that
    /// most hold one at most; one close pair alone only halves them.
    fn found(&mut self, index: usize, size: usize, floor: usize) {
        let apart = self.since.saturating_add(index.saturating_sub(self.clean));
        let half = self.limit.min(size.max(self.suspect.unwrap_or(0))) / 2;
        self.limit = self.limit.min(apart.saturating_mul(2).max(half).max(floor));
        self.suspect = None;
        self.clean = index;
        self.since = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How a try ends that finds a bad record.
    #[derive(Clone, Copy, Debug)]
    enum Says {
        /// Only that there is one.
        Nothing,
        /// Which is the first.
        Name,
    }

    /// What a search came to.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Course {
        passed: Vec<usize>,
        found: Vec<usize>,
        tries: usize,
        /// Records in all tries, each up to the first bad one.
        handled: usize,
    }

    /// Goes through records of which some are bad.
    fn search(bad: &[bool], says: Says, bisect: &mut Bisect) -> Course {
        let mut course = Course::default();
        let mut waiting: Vec<usize> = (0..bad.len()).collect();
        while !waiting.is_empty() {
            let size = bisect.size(waiting.len());
            assert!((1..=waiting.len()).contains(&size), "{size} of {}", waiting.len());
            course.tries += 1;
            let first = waiting[..size].iter().position(|record| bad[*record]);
            course.handled += first.map_or(size, |first| first + 1);
            match (first, says) {
                (None, _) => {
                    course.passed.extend(waiting.drain(..size));
                    bisect.passed(size);
                }
                (Some(index), Says::Name) => {
                    course.found.push(waiting.remove(index));
                    bisect.named(index, size);
                }
                (Some(_), Says::Nothing) => {
                    if bisect.failed(size) {
                        course.found.push(waiting.remove(0));
                    }
                }
            }
        }
        course
    }

    fn says() -> impl Strategy<Value = Says> {
        prop_oneof![Just(Says::Nothing), Just(Says::Name)]
    }

    proptest! {
        #[test]
        fn a_search_finds_what_a_look_at_each_record_finds_and_passes_the_rest_in_order(
            bad in prop::collection::vec(any::<bool>(), 0..300),
            says in says(),
        ) {
            let course = search(&bad, says, &mut Bisect::default());
            let model = |wanted: bool| -> Vec<usize> { (0..bad.len()).filter(|at| bad[*at] == wanted).collect() };
            prop_assert_eq!(&course.found, &model(true));
            prop_assert_eq!(&course.passed, &model(false));
        }

        #[test]
        fn one_bad_record_is_found_in_as_many_tries_as_halving_takes(size in 1_usize..3_000, at in any::<prop::sample::Index>()) {
            let mut bad = vec![false; size];
            bad[at.index(size)] = true;
            let course = search(&bad, Says::Nothing, &mut Bisect::default());
            let halvings = size.next_power_of_two().trailing_zeros() as usize;
            // Behind the bad one, parts that begin small double until all is through.
            prop_assert!(course.tries <= 2 * halvings + 3, "{} tries for {size}", course.tries);
        }

        #[test]
        fn however_many_are_bad_a_record_is_tried_a_few_times(
            one_in in prop_oneof![Just(1_u32), Just(2), Just(10), Just(100), Just(1_000)],
            says in says(),
            seed in prop::collection::vec(any::<u32>(), 2_000),
        ) {
            let bad: Vec<bool> = seed.iter().map(|random| random % one_in == 0).collect();
            let course = search(&bad, says, &mut Bisect::default());
            let found = course.found.len();
            prop_assert!(course.tries <= bad.len() / 2 + 12 * found + 40, "{} tries, {found} found", course.tries);
            prop_assert!(course.handled <= 30 * bad.len(), "{} handled", course.handled);
        }

        #[test]
        fn a_search_ends_whatever_the_tries_say(
            answers in prop::collection::vec(any::<bool>(), 0..2_000),
            size in 1_usize..100,
        ) {
            let (mut bisect, mut waiting) = (Bisect::default(), size);
            for bad in answers {
                if waiting == 0 {
                    break;
                }
                let tried = bisect.size(waiting);
                prop_assert!((1..=waiting).contains(&tried));
                if !bad {
                    waiting -= tried;
                    bisect.passed(tried);
                } else if bisect.failed(tried) {
                    waiting -= 1;
                }
            }
            while waiting > 0 {
                let tried = bisect.size(waiting);
                prop_assert!(tried > 0);
                waiting -= tried;
                bisect.passed(tried);
            }
        }
    }

    #[test]
    fn a_part_that_took_too_long_is_halved_and_grows_again() {
        let mut bisect = Bisect::default();
        bisect.slow(1_000);
        assert_eq!(bisect.size(5_000), 500);
        bisect.passed(500);
        assert_eq!(bisect.size(5_000), 1_000);
    }
}
