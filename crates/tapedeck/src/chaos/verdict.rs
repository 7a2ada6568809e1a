//! The ledger against what is stored: what is lost, visible twice, out of order.
//!
//! Not here: asking for what is stored (`observe`).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    ledger::{Book, Promise},
    load::{Ack, Name},
};

/// How many events of each kind of trouble are named: enough to begin looking.
const NAMED: usize = 10;

/// What is stored of a run, and what was set aside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The stored events of each key, in the order in which they came in.
    pub(crate) stored: BTreeMap<String, Vec<u64>>,
    /// Rows that are none of the run's events, by what they call themselves.
    pub(crate) strange: Vec<String>,
    /// Dead letters, one for each copy.
    pub(crate) dead: Vec<Name>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// Events sent, poison too.
    pub(crate) written: u64,
    /// Promised to be sent to the log (`ack=spool`).
    pub(crate) accepted: u64,
    /// Promised to be in the log (`ack=log`).
    pub(crate) acknowledged: u64,
    /// Without an answer: may be there, once.
    pub(crate) unknown: u64,
    /// Rows that are visible.
    pub(crate) stored: u64,
    /// Promised and not visible.
    pub(crate) lost: u64,
    /// Visible more than once.
    pub(crate) twice: u64,
    /// Visible behind an event of their key that was sent later.
    pub(crate) out_of_order: u64,
    /// Visible, and never sent, refused, or poison.
    pub(crate) never_sent: u64,
    pub(crate) dead_letters: DeadLetters,
    /// The first events of each kind of trouble.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) examples: BTreeMap<&'static str, Vec<String>>,
}

/// What was set aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct DeadLetters {
    /// Poison that was promised to be in the log.
    pub(crate) expected: u64,
    /// Of those, found.
    pub(crate) found: u64,
    /// Good events that were set aside.
    pub(crate) unexpected: u64,
    /// Copies beyond the first: a kill between a dead letter and its commit, or a replay.
    pub(crate) copies: u64,
}

impl Verdict {
    /// Compares.
    pub(crate) fn of(book: &Book, seen: &Seen) -> Self {
        let kept = |ack: Ack| move |sent: &super::ledger::Sent| sent.promise == Promise::Kept(ack);
        let mut verdict = Self {
            written: book.count(|_| true),
            accepted: book.count(kept(Ack::Spool)),
            acknowledged: book.count(kept(Ack::Log)),
            unknown: book.count(|sent| sent.promise == Promise::Unknown),
            ..Self::default()
        };
        for strange in &seen.strange {
            verdict.stored += 1;
            verdict.note("never_sent", strange.clone());
        }
        for (key, numbers) in &seen.stored {
            verdict.in_order(key, numbers, book);
        }
        for (key, events) in book.keys() {
            let stored: BTreeSet<u64> = seen.stored.get(key).into_iter().flatten().copied().collect();
            for (sent, n) in events.iter().zip(1..) {
                if matches!(sent.promise, Promise::Kept(_)) && !sent.poison && !stored.contains(&n) {
                    verdict.note("lost", Name::new(key, n).to_string());
                }
            }
        }
        verdict.count_dead(book, seen);
        verdict
    }

    /// Whether a promise was broken.
    pub(crate) fn holds(&self) -> bool {
        let DeadLetters { expected, found, unexpected, .. } = self.dead_letters;
        self.lost + self.twice + self.out_of_order + self.never_sent + unexpected == 0 && expected == found
    }

    fn in_order(&mut self, key: &str, numbers: &[u64], book: &Book) {
        let (mut newest, mut known) = (0, BTreeSet::new());
        for n in numbers {
            self.stored += 1;
            let name = Name::new(key, *n);
            let promised = book.get(&name).is_some_and(|sent| !sent.poison && sent.promise != Promise::Refused);
            if !promised {
                self.note("never_sent", name.to_string());
            } else if !known.insert(*n) {
                self.note("twice", name.to_string());
            } else if *n < newest {
                self.note("out_of_order", format!("{name} behind {newest}"));
            }
            newest = newest.max(*n);
        }
    }

    fn count_dead(&mut self, book: &Book, seen: &Seen) {
        let dead: BTreeSet<&Name> = seen.dead.iter().collect();
        self.dead_letters.copies = (seen.dead.len() - dead.len()) as u64;
        for (key, events) in book.keys() {
            for (sent, n) in events.iter().zip(1..) {
                let name = Name::new(key, n);
                let expected = sent.poison && matches!(sent.promise, Promise::Kept(_));
                self.dead_letters.expected += u64::from(expected);
                match (sent.poison, dead.contains(&name)) {
                    (true, true) => self.dead_letters.found += u64::from(expected),
                    (true, false) if expected => self.name("dead_letters_missing", name.to_string()),
                    (false, true) => {
                        self.dead_letters.unexpected += 1;
                        self.name("dead_letters_unexpected", name.to_string());
                    }
                    _ => {}
                }
            }
        }
    }

    fn note(&mut self, what: &'static str, which: String) {
        match what {
            "lost" => self.lost += 1,
            "twice" => self.twice += 1,
            "out_of_order" => self.out_of_order += 1,
            _ => self.never_sent += 1,
        }
        self.name(what, which);
    }

    fn name(&mut self, what: &'static str, which: String) {
        let named = self.examples.entry(what).or_default();
        if named.len() < NAMED {
            named.push(which);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::ledger;

    /// A book of a text such as a ledger file's, without its first line.
    fn book(lines: &str) -> Book {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("run r 2026-01-02T03:04:05Z\n{lines}")).unwrap();
        ledger::read(file.path()).unwrap().1
    }

    fn seen(stored: &[u64]) -> Seen {
        Seen { stored: BTreeMap::from([("L0".to_owned(), stored.to_vec())]), ..Seen::default() }
    }

    const THREE: &str = "sent L0 1\nsent L0 2\nsent L0 3\nlog L0 1\nlog L0 2\n";

    #[test]
    fn all_promised_events_in_order_break_no_promise_with_or_without_the_unknown_one() {
        for stored in [&[1, 2][..], &[1, 2, 3]] {
            let verdict = Verdict::of(&book(THREE), &seen(stored));
            assert!(verdict.holds(), "{verdict:?}");
            assert_eq!((verdict.written, verdict.acknowledged, verdict.unknown), (3, 2, 1));
        }
    }

    #[test]
    fn a_promised_event_that_is_not_there_is_lost_and_named() {
        let verdict = Verdict::of(&book(THREE), &seen(&[1, 3]));
        assert_eq!((verdict.lost, verdict.holds()), (1, false));
        assert_eq!(verdict.examples["lost"], ["L0-2"]);
    }

    #[test]
    fn a_key_of_which_nothing_is_there_is_lost_whole() {
        assert_eq!(Verdict::of(&book(THREE), &Seen::default()).lost, 2);
    }

    #[test]
    fn an_event_that_is_there_again_is_visible_twice_and_not_out_of_order() {
        let verdict = Verdict::of(&book(THREE), &seen(&[1, 2, 1]));
        assert_eq!((verdict.twice, verdict.out_of_order, verdict.holds()), (1, 0, false));
    }

    #[test]
    fn an_event_behind_a_later_one_of_its_key_is_out_of_order() {
        let verdict = Verdict::of(&book(THREE), &seen(&[2, 1]));
        assert_eq!((verdict.out_of_order, verdict.lost, verdict.holds()), (1, 0, false));
    }

    #[test]
    fn an_event_that_nobody_sent_or_that_was_refused_must_not_be_there() {
        let verdict = Verdict::of(&book("sent L0 1\nrefused L0 1\n"), &seen(&[1, 2]));
        assert_eq!((verdict.never_sent, verdict.holds()), (2, false));
    }

    #[test]
    fn poison_belongs_among_the_dead_letters_and_nothing_else_does() {
        let poisoned = book("sent L0 1\nlog L0 1\nsent L0 2 poison\nlog L0 2\nsent L0 3 poison\n");
        let dead = |names: &[&str]| names.iter().map(|name| Name::read(name).unwrap()).collect();
        let good = Verdict::of(&poisoned, &Seen { dead: dead(&["L0-2", "L0-2", "L0-3"]), ..seen(&[1]) });
        assert!(good.holds(), "{good:?}");
        assert_eq!(good.dead_letters, DeadLetters { expected: 1, found: 1, unexpected: 0, copies: 1 });
        assert!(!Verdict::of(&poisoned, &seen(&[1])).holds(), "a dead letter is missing");
        let stored = Verdict::of(&poisoned, &Seen { dead: dead(&["L0-2"]), ..seen(&[1, 2]) });
        assert_eq!((stored.never_sent, stored.holds()), (1, false));
        let wrong = Verdict::of(&poisoned, &Seen { dead: dead(&["L0-1", "L0-2"]), ..seen(&[1]) });
        assert_eq!((wrong.dead_letters.unexpected, wrong.holds()), (1, false));
    }
}
