-- A list for each symbol, account, action and outcome: whatever is asked for, it is some of these
-- lists, merged.
CREATE TABLE forensics_lists (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol text COLLATE "C" NOT NULL, account text COLLATE "C",
    action text COLLATE "C" NOT NULL, outcome text COLLATE "C" NOT NULL,
    UNIQUE NULLS NOT DISTINCT (symbol, account, action, outcome)
);

CREATE TABLE feature_sets (id bytea PRIMARY KEY, body bytea NOT NULL);

-- Explained decisions; partitioned by ingest as all that arrives.
CREATE TABLE forensics (
    ingested_at timestamptz NOT NULL, time timestamptz NOT NULL, place bigint NOT NULL,
    topic text COLLATE "C" NOT NULL, list bigint NOT NULL, feature_set bytea NOT NULL,
    chain bigint NOT NULL, chain_index bigint NOT NULL,
    decision_id text COLLATE "C" NOT NULL, hash bytea NOT NULL, record bytea NOT NULL
) PARTITION BY RANGE (ingested_at);
CREATE INDEX forensics_time ON forensics (list, time, place);
CREATE INDEX forensics_chain ON forensics (chain, chain_index);

-- Ids outlive their rows: whether it is a UUID and the id, in 17 bytes where it is one; and where
-- the row lies.
CREATE TABLE forensics_ids (
    id bytea PRIMARY KEY, ingested_at timestamptz NOT NULL, chain bigint NOT NULL, chain_index bigint NOT NULL
);

-- `begins` and the hash before it are there where retention took the beginning of a chain.
CREATE TABLE forensics_chains (
    chain bigint PRIMARY KEY, records bigint NOT NULL, hash bytea NOT NULL,
    anchored bigint, anchored_hash bytea, begins bigint, begins_hash bytea
);
-- The last record of each symbol, and where it lies.
CREATE TABLE forensics_symbols (
    chain bigint NOT NULL, symbol text COLLATE "C" NOT NULL,
    ingested_at timestamptz NOT NULL, chain_index bigint NOT NULL,
    PRIMARY KEY (chain, symbol)
);

-- `sums` are the 8 bytes of each number, lowest first. A writer locks all of it, last of all.
CREATE TABLE forensics_importance (
    hour timestamptz NOT NULL, symbol text COLLATE "C" NOT NULL, feature_set bytea NOT NULL,
    decisions bigint NOT NULL, sums bytea NOT NULL,
    PRIMARY KEY (hour, symbol, feature_set)
);

-- The fills of a decision: reports without one are not in it.
CREATE INDEX fills_decision ON exec_reports (decision_id, time, place)
    WHERE decision_id IS NOT NULL AND fill_id IS NOT NULL;
