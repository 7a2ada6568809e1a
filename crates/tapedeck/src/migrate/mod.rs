//! A move from the embedded log and store to a cluster: what is there is counted,
//! copied in order, and read back and compared.
//!
//! How far it came is seen in the target: a partition holds the beginning of what
//! it will hold, and the store the position of a group of its own. The folder
//! keeps only where it is moved to, and which records there were at the start
//! (`migration.json`), so that the same command goes on after a kill. Until it has
//! ended the target is marked, and nobody starts on it.
//!
//! Not here: flags and tables (`commands::migrate`).

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tapedeck_flow::Stop;
use tapedeck_log::{Log, TopicConfig, TopicInfo};
use tapedeck_store::{
    Store,
    sqlite::{Kept, SqliteConfig, SqliteStore},
};

use crate::{
    backends::{self, STORE_FILE, find},
    config::{Config, LogKind, StoreKind},
    exit,
    folder::Folder,
};

mod explained;
mod mark;
mod offsets;
mod rewrite;
mod rows;
mod tape;
#[cfg(test)]
mod tests;

pub(crate) use mark::{refuse_half_moved_log, refuse_half_moved_store};
pub(crate) use rows::Answered;
pub(crate) use tape::Compared;

use offsets::Offsets;
use rows::Rows;
use tape::Tape;

/// In the source's folder: where it is moved to.
const MIGRATION_FILE: &str = "migration.json";
/// Under the data folder, of each emitter: what a file there means is that
/// something was emitted and not sent.
const EMITTERS: &str = "emitter";

/// Where a folder is moved to, and what there was.
#[derive(Debug, Serialize, Deserialize)]
struct Migration {
    target: String,
    offsets: Offsets,
    /// When all was copied and compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished: Option<String>,
}

/// What was moved, or would be.
#[derive(Debug, Serialize)]
pub(crate) struct Moved {
    pub(crate) target: String,
    pub(crate) dry_run: bool,
    /// Records of the log.
    pub(crate) records: u64,
    /// Whether every record keeps its offset.
    pub(crate) same_offsets: bool,
    pub(crate) topics: Vec<Compared>,
    /// Groups, and how many offsets each has.
    pub(crate) groups: Vec<(String, usize)>,
    /// Tables, and how many rows each has.
    pub(crate) rows: Vec<(String, u64)>,
    pub(crate) answers: Vec<Answered>,
    /// Whether all that was compared is equal.
    pub(crate) equal: bool,
}

/// The stores of both sides.
pub(crate) struct Stores<'a> {
    pub(crate) source: &'a SqliteStore,
    /// The target's, where it was there before.
    pub(crate) there: Option<Arc<dyn Store>>,
    /// Makes the target's, once nothing speaks against the move.
    pub(crate) make: &'a dyn Fn() -> anyhow::Result<Arc<dyn Store>>,
}

/// The move, with both sides open.
pub(crate) struct Move<'a> {
    pub(crate) source: &'a dyn Log,
    pub(crate) target: &'a dyn Log,
    pub(crate) stores: Option<Stores<'a>>,
    pub(crate) wanted: &'a [TopicConfig],
    /// Who the target is, as far as a second run must find the same.
    pub(crate) name: String,
    /// The folder of the source.
    pub(crate) dir: &'a Path,
    pub(crate) stop: &'a Stop,
    /// Told what is done now, and how much of it there is.
    pub(crate) phase: &'a dyn Fn(&str, u64),
    /// Told how much more was done.
    pub(crate) seen: &'a dyn Fn(u64),
}

/// Moves what a config describes to what another describes.
///
/// # Errors
/// A process holds the folder; the target is not empty; those of both sides.
pub(crate) fn run(
    from: &Config,
    to: &Config,
    dry_run: bool,
    stop: &Stop,
    phase: &dyn Fn(&str, u64),
    seen: &dyn Fn(u64),
) -> anyhow::Result<Moved> {
    // All of a store is compared: its queries may take as long as anything else.
    let mut to = to.clone();
    to.postgres_section.read_timeout_ms = to.postgres_section.statement_timeout_ms;
    let to = &to;
    if from.log.kind != LogKind::Embedded || from.store.kind != StoreKind::Sqlite {
        return Err(exit::input("--from must describe the embedded log and SQLite: that is what is moved"));
    }
    if to.log.kind != LogKind::Kafka || to.store.kind != StoreKind::Postgres {
        return Err(exit::input("--to must have log.kind = \"kafka\" and store.kind = \"postgres\""));
    }
    let dir = &from.data.dir;
    if !dir.join(backends::LOG_FILE).exists() {
        return Err(exit::folder(format!("{} holds no embedded log: name the folder with --data", dir.display())));
    }
    let folder = Folder::claim_alone(dir)?;
    refuse_unsent(dir)?;
    let source = backends::open_log(folder.dir(), from)?;
    let source_store = SqliteStore::open(&dir.join(STORE_FILE), SqliteConfig::default()).map_err(exit::folder)?;
    let target = backends::open_log(&to.data.dir, to)?;
    let make = || backends::open_store(&to.data.dir, to);
    // What is there is asked, and what is not there is made last: a refusal changes nothing.
    let there = if backends::has_store(&to.data.dir, to)? { Some(make()?) } else { None };
    let kafka = backends::kafka_config(&to.data.dir, to)?;
    let postgres = &to.postgres_section;
    let moving = Move {
        source: &*source,
        target: &*target,
        stores: Some(Stores { source: &source_store, there, make: &make }),
        wanted: &backends::wanted_topics(to, backends::keeps_all(dir)),
        name: format!("{} {:?}, {} {}", kafka.bootstrap_servers, kafka.prefix, postgres.url, postgres.schema),
        dir,
        stop,
        phase,
        seen,
    };
    moving.perform(dry_run)
}

impl Move<'_> {
    /// Does it, or only says what would be done.
    ///
    /// # Errors
    /// Those of [`run`].
    pub(crate) fn perform(&self, dry_run: bool) -> anyhow::Result<Moved> {
        let topics = self.source.topics()?;
        let before = self.before()?;
        let missing = self.missing_topics(&topics)?;
        let records = topics.iter().flat_map(|info| &info.partitions).map(|part| part.end - part.start).sum();
        let tape = Tape { source: self.source, target: self.target, stop: self.stop, seen: self.seen };
        let offsets = match before {
            Some(before) => before.offsets,
            None => {
                self.refuse_full(&topics)?;
                (self.phase)("looking through the source", records);
                tape.survey(&topics)?
            }
        };
        let mut moved = Moved {
            target: self.name.clone(),
            dry_run,
            records: offsets.count(),
            same_offsets: offsets.are_same(),
            topics: Vec::new(),
            groups: Vec::new(),
            rows: Vec::new(),
            answers: Vec::new(),
            equal: true,
        };
        if let Some(stores) = &self.stores {
            for table in Kept::ALL {
                moved.rows.push((table.table().to_owned(), stores.source.kept_count(table)?));
            }
            moved.rows.push(("forensics".to_owned(), stores.source.explained_count()?));
        }
        if dry_run {
            moved.groups = self.source.groups()?.into_iter().map(|group| (group.group, group.offsets.len())).collect();
            return Ok(moved);
        }
        self.write(&Migration { target: self.name.clone(), offsets: offsets.clone(), finished: None })?;
        let target_store = self.begin()?;
        if !missing.is_empty() {
            self.target.create_topics(&missing)?;
        }
        (self.phase)("copying the log", moved.records);
        for place in topics.iter().flat_map(tape::places) {
            tape.copy(&place, &offsets)?;
        }
        moved.groups = tape.carry_groups(&offsets)?;
        if let (Some(Stores { source, .. }), Some(target)) = (&self.stores, &target_store) {
            let rows = Rows { source, target: &**target, offsets: &offsets, stop: self.stop, seen: self.seen };
            (self.phase)("copying the store", moved.rows.iter().map(|(_, count)| count).sum());
            rows.copy()?;
            (self.phase)("comparing the store", 0);
            moved.answers = rows.compare()?;
            rows.carry_positions(&tape, self.target)?;
        }
        (self.phase)("comparing the log", moved.records);
        for info in &topics {
            moved.topics.push(tape.compare(info, &offsets)?);
        }
        moved.equal = moved.topics.iter().all(|topic| topic.equal) && moved.answers.iter().all(|answer| answer.equal);
        if moved.equal {
            let finished = Some(jiff::Timestamp::now().to_string());
            self.write(&Migration { target: self.name.clone(), offsets, finished })?;
            self.end(target_store.as_deref())?;
        }
        Ok(moved)
    }

    /// Marks both sides of the target; the store, where one is moved to, is made.
    fn begin(&self) -> anyhow::Result<Option<Arc<dyn Store>>> {
        mark::begin_log(self.target, self.dir)?;
        let Some(Stores { there, make, .. }) = &self.stores else { return Ok(None) };
        let store = there.as_ref().map_or_else(make, |there| Ok(Arc::clone(there)))?;
        mark::begin_store(&*store)?;
        Ok(Some(store))
    }

    /// Takes the marks away: from here on somebody may start there.
    fn end(&self, store: Option<&dyn Store>) -> anyhow::Result<()> {
        store.map_or(Ok(()), mark::end_store)?;
        mark::end_log(self.target).context("all was moved, and the mark that it had begun cannot be taken away")
    }

    /// What an earlier run began.
    fn before(&self) -> anyhow::Result<Option<Migration>> {
        let path = self.dir.join(MIGRATION_FILE);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let before: Migration = serde_json::from_slice(&bytes).map_err(|error| {
            exit::folder(format!("{} cannot be read ({error}): delete it to begin anew", path.display()))
        })?;
        if let Some(when) = &before.finished {
            if before.target == self.name {
                // A kill may have come between the last word and this.
                self.end(self.stores.as_ref().and_then(|stores| stores.there.as_deref()))?;
            }
            return Err(exit::input(format!(
                "{} was moved to {} at {when}; delete {} to move it again, to an empty target",
                self.dir.display(),
                before.target,
                path.display()
            )));
        }
        if before.target != self.name {
            return Err(exit::input(format!(
                "{} is half moved to {}, not to {}: finish that, or delete {} to begin anew",
                self.dir.display(),
                before.target,
                self.name,
                path.display()
            )));
        }
        Ok(Some(before))
    }

    fn write(&self, migration: &Migration) -> anyhow::Result<()> {
        let path = self.dir.join(MIGRATION_FILE);
        let mut file = tempfile::NamedTempFile::new_in(self.dir)?;
        serde_json::to_writer(&mut file, migration)?;
        file.as_file().sync_all()?;
        file.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }

    /// A target that holds what is not ours is not written to.
    fn refuse_full(&self, topics: &[TopicInfo]) -> anyhow::Result<()> {
        if let Some(begun) = mark::of_log(self.target)? {
            return Err(exit::input(format!(
                "the target is not empty: a move of {begun} there, and has not ended. Give its command again to go on with it, or take \
                 another kafka.prefix and another postgres.schema"
            )));
        }
        let there = self.target.topics()?;
        for info in topics {
            let Some(found) = find(&there, &info.config) else { continue };
            for place in tape::places(found) {
                let end = self.target.written_end(&place)?;
                if end > 0 {
                    return Err(exit::input(format!(
                        "the target is not empty: {place} holds {end} offsets. Take another kafka.prefix, or delete the topics there \
                         (`tapedeck topics apply --delete TOPIC…`)"
                    )));
                }
            }
        }
        let members = self
            .target
            .groups()?
            .into_iter()
            .find(|group| !group.members.is_empty() && group.group.starts_with("tapedeck."));
        if let Some(group) = members {
            return Err(exit::input(format!("`{}` has members on the target: stop what runs there", group.group)));
        }
        let Some(there) = self.stores.as_ref().and_then(|stores| stores.there.as_ref()) else { return Ok(()) };
        match rows::what_is_in(&**there)? {
            None => Ok(()),
            Some(what) => Err(exit::input(format!(
                "the target's store is not empty: it holds {what}. Take another postgres.schema, or drop the one that is there"
            ))),
        }
    }

    /// The topics that the target lacks: those of the source, as the target's config
    /// wants them, of neither catalogue as they are; and those of the catalogue.
    fn missing_topics(&self, topics: &[TopicInfo]) -> anyhow::Result<Vec<TopicConfig>> {
        let there = self.target.topics()?;
        let mut missing = Vec::new();
        for info in topics {
            let known = self.wanted.iter().find(|topic| topic.name == info.config.name);
            match find(&there, &info.config) {
                None => missing
                    .push(TopicConfig { partitions: info.config.partitions, ..known.unwrap_or(&info.config).clone() }),
                Some(found) if found.config.partitions != info.config.partitions => {
                    return Err(exit::input(format!(
                        "{} has {} partitions on the target and {} here: keys would lie elsewhere. Delete it there, it is made anew",
                        info.config.name, found.config.partitions, info.config.partitions
                    )));
                }
                Some(_) => {}
            }
        }
        let is_new = |topic: &&TopicConfig| {
            find(&there, topic).is_none() && !topics.iter().any(|info| info.config.name == topic.name)
        };
        missing.extend(self.wanted.iter().filter(is_new).cloned());
        Ok(missing)
    }
}

/// What was emitted and not sent is not in the log, and would stay behind.
fn refuse_unsent(dir: &Path) -> anyhow::Result<()> {
    let Ok(emitters) = std::fs::read_dir(dir.join(EMITTERS)) else { return Ok(()) };
    for emitter in emitters.flatten() {
        let list = std::fs::read_to_string(emitter.path().join("rings")).unwrap_or_default();
        let has_rings = list.lines().any(|line| line.starts_with("ring ") || line.starts_with("maybe "));
        let spool = std::fs::read_dir(emitter.path().join("spool")).into_iter().flatten().flatten();
        let has_spool = spool.into_iter().any(|file| file.path().extension().is_some_and(|ending| ending == "seg"));
        if has_rings || has_spool {
            return Err(exit::folder(format!(
                "{} holds events that were emitted and not sent: run `tapedeck up` on the folder until /health/ready says ok, end it, \
                 and give the command again",
                emitter.path().display()
            )));
        }
    }
    Ok(())
}
