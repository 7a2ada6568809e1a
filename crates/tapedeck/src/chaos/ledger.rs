//! The ledger: what was sent, and what was promised of it, a line each in a file
//! that outlives whoever writes it.
//!
//! Not here: comparing it with what is stored (`verdict`).

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
};

use anyhow::Context as _;

use super::load::{Ack, Name, Run};

/// What is known of an event that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// No answer came: it may be there, once.
    Unknown,
    /// It was refused at the door: it must not be there.
    Refused,
    /// It is in the log, or kept to be sent there.
    Kept(Ack),
}

/// An event that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) promise: Promise,
    /// Its readers must set it aside.
    pub(crate) poison: bool,
}

/// What was sent: for each key, its events by number, from 1.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    keys: BTreeMap<String, Vec<Sent>>,
}

impl Book {
    /// Notes an event that is about to be sent; again changes nothing.
    fn send(&mut self, name: &Name, poison: bool) -> anyhow::Result<()> {
        let events = self.keys.entry(name.key.clone()).or_default();
        let at = index(name)?;
        match at.cmp(&events.len()) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => events.push(Sent { promise: Promise::Unknown, poison }),
            std::cmp::Ordering::Greater => anyhow::bail!("{name} was sent before {} of its key", events.len() + 1),
        }
        Ok(())
    }

    /// Notes an answer. What was promised once stays promised.
    fn answer(&mut self, name: &Name, promise: Promise) -> anyhow::Result<()> {
        let sent = self.keys.get_mut(&name.key).and_then(|events| events.get_mut(index(name).ok()?));
        let sent = sent.with_context(|| format!("{name} was answered and never sent"))?;
        if !matches!(sent.promise, Promise::Kept(_)) {
            sent.promise = promise;
        }
        Ok(())
    }

    pub(crate) fn get(&self, name: &Name) -> Option<Sent> {
        self.keys.get(&name.key)?.get(index(name).ok()?).copied()
    }

    /// All keys and what was sent under them, by number from 1.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&str, &[Sent])> {
        self.keys.iter().map(|(key, events)| (key.as_str(), events.as_slice()))
    }

    /// The newest event of each key that must be in the log.
    pub(crate) fn newest_in_log(&self) -> Vec<Name> {
        let kept = |sent: &Sent| sent.promise == Promise::Kept(Ack::Log) && !sent.poison;
        let newest =
            |(key, events): (&String, &Vec<Sent>)| Some(Name::new(key, events.iter().rposition(kept)? as u64 + 1));
        self.keys.iter().filter_map(newest).collect()
    }

    pub(crate) fn count(&self, which: impl Fn(&Sent) -> bool) -> u64 {
        self.keys.values().flatten().filter(|sent| which(sent)).count() as u64
    }
}

fn index(name: &Name) -> anyhow::Result<usize> {
    let at = name.n.checked_sub(1).with_context(|| format!("{name}: numbers begin at 1"))?;
    Ok(usize::try_from(at)?)
}

/// The book, and the file that keeps it.
pub(crate) struct Ledger {
    pub(crate) book: Book,
    file: File,
}

impl Ledger {
    /// Begins a ledger of a run.
    ///
    /// # Errors
    /// The file cannot be written, or is there.
    pub(crate) fn create(path: &Path, run: &Run) -> anyhow::Result<Self> {
        let file = File::options().create_new(true).append(true).open(path);
        let mut file = file.with_context(|| format!("cannot write the ledger {}", path.display()))?;
        writeln!(file, "run {} {}", run.id, run.time)?;
        Ok(Self { book: Book::default(), file })
    }

    /// Writes down events before they leave.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn send<'a>(&mut self, events: impl Iterator<Item = (&'a Name, bool)>) -> anyhow::Result<()> {
        let mut lines = String::new();
        for (name, poison) in events {
            self.book.send(name, poison)?;
            let mark = if poison { " poison" } else { "" };
            let _ = writeln!(lines, "sent {} {}{mark}", name.key, name.n);
        }
        self.write(&lines)
    }

    /// Writes down what was answered, before anything else is done.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn answer<'a>(&mut self, events: impl Iterator<Item = (&'a Name, Promise)>) -> anyhow::Result<()> {
        let mut lines = String::new();
        for (name, promise) in events {
            self.book.answer(name, promise)?;
            let word = match promise {
                Promise::Unknown => continue,
                Promise::Refused => "refused",
                Promise::Kept(ack) => ack.name(),
            };
            let _ = writeln!(lines, "{word} {} {}", name.key, name.n);
        }
        self.write(&lines)
    }

    fn write(&mut self, lines: &str) -> anyhow::Result<()> {
        // One write: a rehearsal that is killed leaves whole lines but for the last.
        self.file.write_all(lines.as_bytes()).context("cannot write the ledger")
    }
}

/// Reads a ledger. A last line that was not finished is left out.
///
/// # Errors
/// Names the line that makes no sense.
pub(crate) fn read(path: &Path) -> anyhow::Result<(Run, Book)> {
    let file = File::open(path).with_context(|| format!("cannot read the ledger {}", path.display()))?;
    let mut reader = BufReader::new(file);
    let (mut run, mut book, mut line, mut number) = (None, Book::default(), String::new(), 0);
    loop {
        line.clear();
        number += 1;
        if reader.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            break;
        }
        take(&mut run, &mut book, &line).with_context(|| format!("{}:{number}: `{}`", path.display(), line.trim()))?;
    }
    Ok((run.with_context(|| format!("{} does not begin with a run", path.display()))?, book))
}

fn take(run: &mut Option<Run>, book: &mut Book, line: &str) -> anyhow::Result<()> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (word, key, n) = match words.as_slice() {
        ["run", id, time] => {
            *run = Some(Run { id: (*id).to_owned(), time: (*time).to_owned() });
            return Ok(());
        }
        ["sent", key, n, "poison"] => ("poison", *key, *n),
        [word, key, n] => (*word, *key, *n),
        _ => anyhow::bail!("expected a word, a key and a number"),
    };
    let name = Name::new(key, n.parse()?);
    match word {
        "sent" => book.send(&name, false),
        "poison" => book.send(&name, true),
        "log" => book.answer(&name, Promise::Kept(Ack::Log)),
        "spool" => book.answer(&name, Promise::Kept(Ack::Spool)),
        "refused" => book.answer(&name, Promise::Refused),
        other => anyhow::bail!("there is no word `{other}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::read(text).unwrap()
    }

    #[test]
    fn a_ledger_is_read_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.txt");
        let run = Run { id: "r1".into(), time: "2026-01-02T03:04:05Z".into() };
        let mut ledger = Ledger::create(&path, &run).unwrap();
        let names = ["L0-1", "L0-2", "L0-3", "P0-1", "A0-1"].map(name);
        ledger.send(names.iter().map(|name| (name, name.n == 3))).unwrap();
        ledger
            .answer([(&names[0], Promise::Kept(Ack::Log)), (&names[3], Promise::Kept(Ack::Spool))].into_iter())
            .unwrap();
        ledger.answer([(&names[4], Promise::Refused), (&names[1], Promise::Unknown)].into_iter()).unwrap();
        let (again, book) = read(&path).unwrap();
        assert_eq!((again.id, again.time), (run.id, run.time));
        for name in &names {
            assert_eq!(book.get(name), ledger.book.get(name), "{name}");
            assert!(book.get(name).is_some());
        }
        assert_eq!(book.newest_in_log(), [name("L0-1")]);
    }

    #[test]
    fn what_was_promised_once_stays_promised() {
        let mut book = Book::default();
        book.send(&name("L0-1"), false).unwrap();
        book.answer(&name("L0-1"), Promise::Kept(Ack::Log)).unwrap();
        book.send(&name("L0-1"), false).unwrap();
        book.answer(&name("L0-1"), Promise::Unknown).unwrap();
        assert_eq!(book.get(&name("L0-1")).unwrap().promise, Promise::Kept(Ack::Log));
    }

    #[test]
    fn a_line_that_was_not_finished_is_left_out_and_one_without_sense_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.txt");
        std::fs::write(&path, "run r 2026-01-02T03:04:05Z\nsent L0 1\nlog L0 1\nsent L0 2").unwrap();
        let (_, book) = read(&path).unwrap();
        assert_eq!((book.get(&name("L0-1")).is_some(), book.get(&name("L0-2")).is_some()), (true, false));
        std::fs::write(&path, "run r 2026-01-02T03:04:05Z\nsent L0 1\nlost L0 1\n").unwrap();
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains(":3:") && error.contains("lost"), "{error}");
        std::fs::write(&path, "run r 2026-01-02T03:04:05Z\nlog L0 1\n").unwrap();
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("never sent"));
    }
}
