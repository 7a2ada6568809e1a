-- Explained decisions, as many as come: 100,000 a second are 10 microseconds each for all that is
-- here. So a row has one index, written at the right edge of its list, and ids, which are random,
-- are apart. `seq` is the number of records that all chains had before it, and one.

-- A list for each symbol, account (0 is none), action and outcome: whatever is asked for, it is some
-- of these lists, merged.
CREATE TABLE forensics_lists (
    id INTEGER PRIMARY KEY,
    symbol INTEGER NOT NULL, account INTEGER NOT NULL, action INTEGER NOT NULL, outcome INTEGER NOT NULL,
    UNIQUE (symbol, account, action, outcome)
) STRICT;

CREATE TABLE feature_sets (number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, body BLOB NOT NULL) STRICT;

CREATE TABLE forensics (
    seq INTEGER PRIMARY KEY,
    time_us INTEGER NOT NULL, place INTEGER NOT NULL, ingested_ms INTEGER NOT NULL, topic INTEGER NOT NULL,
    list INTEGER NOT NULL, feature_set INTEGER NOT NULL, chain INTEGER NOT NULL, chain_index INTEGER NOT NULL,
    decision_id ANY NOT NULL, hash BLOB NOT NULL, record BLOB NOT NULL
) STRICT;
CREATE INDEX forensics_time ON forensics (list, time_us, place);

-- Ids outlive their rows. The key is 8 bytes of hash, the whole id is in the row, and compared on a
-- hit; the second id of a hash lies apart, and so do the ids of rows that retention took.
-- Hashes come in no order: among millions, nearly each would change a page of its own. So they are
-- first written in runs, each a few pages in a row, and settled among the others later, some hundred
-- thousand together, stretch by stretch of the hashes. A run is in 16 parts by the first 4 bits of
-- a hash (`part` is run * 16 + these), each a sorted list of 8 bytes of hash and 8 of `seq`, highest
-- first. Settled are, of the runs up to `run`, the hashes up to `hash` (none where it is null); runs
-- that are settled wholly are deleted.
CREATE TABLE forensics_ids (hash INTEGER PRIMARY KEY, seq INTEGER NOT NULL) STRICT;
CREATE TABLE forensics_new_ids (part INTEGER PRIMARY KEY, ids BLOB NOT NULL) STRICT;
CREATE TABLE forensics_settled (run INTEGER NOT NULL, hash INTEGER) STRICT;
INSERT INTO forensics_settled VALUES (0, NULL);
CREATE TABLE forensics_id_collisions (id ANY PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE forensics_gone_ids (id ANY PRIMARY KEY) STRICT, WITHOUT ROWID;

-- `begins` and the hash before it are there where retention took the beginning of a chain.
CREATE TABLE forensics_chains (
    chain INTEGER PRIMARY KEY, records INTEGER NOT NULL, hash BLOB NOT NULL,
    anchored INTEGER, anchored_hash BLOB, begins INTEGER, begins_hash BLOB
) STRICT;
-- Where its records lie: those of a stretch have the numbers of their rows in a row.
CREATE TABLE forensics_stretches (
    chain INTEGER NOT NULL, first_index INTEGER NOT NULL, first_seq INTEGER NOT NULL, records INTEGER NOT NULL,
    PRIMARY KEY (chain, first_index)
) STRICT, WITHOUT ROWID;
CREATE TABLE forensics_symbols (
    chain INTEGER NOT NULL, symbol INTEGER NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (chain, symbol)
) STRICT, WITHOUT ROWID;

-- `sums` are the 8 bytes of each number, lowest first.
CREATE TABLE forensics_importance (
    hour_us INTEGER NOT NULL, symbol INTEGER NOT NULL, feature_set INTEGER NOT NULL,
    decisions INTEGER NOT NULL, sums BLOB NOT NULL,
    PRIMARY KEY (hour_us, symbol, feature_set)
) STRICT, WITHOUT ROWID;

-- The fills of a decision: reports without one are not in it.
CREATE INDEX fills_decision ON exec_reports (decision_id, time_us, place)
    WHERE decision_id IS NOT NULL AND fill_id IS NOT NULL;
