-- Decimals are exact: an INTEGER of 10^-8 where that holds them, else TEXT. Times are
-- microseconds since the epoch (`_us`), ingest times milliseconds (`_ms`). `place` is
-- partition * 2^48 + offset: one integer that sorts as (partition, offset). Names that
-- repeat in every row are numbers of `names`; symbol 0 is the whole account. Ids are
-- 16 bytes where they are UUIDs, else TEXT.

CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;

CREATE TABLE consumer_offsets (
    consumer_group TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    next INTEGER NOT NULL, last_offset INTEGER NOT NULL, last_hash INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, topic, partition)
) STRICT, WITHOUT ROWID;

-- Ids outlive their rows: about 30 bytes an event, for ever. The key is 8 bytes of
-- hash; the whole id is compared on a hit, and the second id of a hash lies apart.
CREATE TABLE event_ids (hash INTEGER PRIMARY KEY, id BLOB NOT NULL) STRICT;
CREATE TABLE event_id_collisions (id BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE fill_ids (
    account INTEGER NOT NULL, venue INTEGER NOT NULL, symbol INTEGER NOT NULL, fill_id ANY NOT NULL,
    content INTEGER NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (account, venue, symbol, fill_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE exec_reports (
    seq INTEGER PRIMARY KEY,
    time_us INTEGER NOT NULL, place INTEGER NOT NULL, ingested_ms INTEGER NOT NULL,
    account INTEGER NOT NULL, venue INTEGER NOT NULL, symbol INTEGER NOT NULL, strategy INTEGER,
    exec_type INTEGER NOT NULL, event_id ANY NOT NULL, decision_id ANY,
    order_id ANY NOT NULL, client_order_id ANY NOT NULL, side INTEGER NOT NULL, order_type INTEGER NOT NULL,
    quantity ANY NOT NULL, limit_price ANY, time_in_force INTEGER NOT NULL, status INTEGER NOT NULL,
    cum_qty ANY NOT NULL, leaves_qty ANY NOT NULL, avg_px ANY,
    fill_id ANY, execution_number INTEGER, last_qty ANY, last_px ANY, liquidity INTEGER, ref_fill_id ANY,
    commission ANY NOT NULL, currency INTEGER NOT NULL, slippage_bps REAL,
    realized ANY NOT NULL, unrealized ANY NOT NULL, reason TEXT
) STRICT;
CREATE INDEX fills_time ON exec_reports (time_us, place) WHERE fill_id IS NOT NULL;
CREATE INDEX fills_series ON exec_reports (account, symbol, venue, time_us, place) WHERE fill_id IS NOT NULL;
CREATE INDEX executions ON exec_reports (account, execution_number)
    WHERE execution_number IS NOT NULL AND exec_type = 1;

CREATE TABLE orders (
    seq INTEGER PRIMARY KEY,
    account INTEGER NOT NULL, venue INTEGER NOT NULL, symbol INTEGER NOT NULL, order_id ANY NOT NULL,
    time_us INTEGER NOT NULL, place INTEGER NOT NULL, ingested_ms INTEGER NOT NULL, created_us INTEGER NOT NULL,
    open INTEGER NOT NULL, client_order_id ANY NOT NULL, side INTEGER NOT NULL, order_type INTEGER NOT NULL,
    quantity ANY NOT NULL, limit_price ANY, time_in_force INTEGER NOT NULL, status INTEGER NOT NULL,
    cum_qty ANY NOT NULL, leaves_qty ANY NOT NULL, avg_px ANY, decision_id ANY, strategy INTEGER,
    UNIQUE (account, venue, symbol, order_id)
) STRICT;
CREATE INDEX orders_time ON orders (time_us, place);
CREATE INDEX orders_account_symbol ON orders (account, symbol, time_us, place);
-- Other filters merge the lists of their series: an index more is an insert more a report.
-- Open orders are few: these stay small, and a filter by symbol reads at most the open ones.
CREATE INDEX orders_open_time ON orders (time_us, place) WHERE open = 1;
CREATE INDEX orders_open_account ON orders (account, time_us, place) WHERE open = 1;
CREATE INDEX orders_closed ON orders (ingested_ms) WHERE open = 0;

-- Sums since the account's start; the curve holds them as they stood, the totals as they stand.
CREATE TABLE pnl_totals (
    account INTEGER NOT NULL, symbol INTEGER NOT NULL, time_us INTEGER NOT NULL,
    realized ANY NOT NULL, fees ANY NOT NULL,
    PRIMARY KEY (account, symbol)
) STRICT, WITHOUT ROWID;
CREATE TABLE pnl_curve (
    account INTEGER NOT NULL, symbol INTEGER NOT NULL, time_us INTEGER NOT NULL,
    realized ANY NOT NULL, fees ANY NOT NULL, ingested_ms INTEGER NOT NULL,
    PRIMARY KEY (account, symbol, time_us)
) STRICT, WITHOUT ROWID;
CREATE TABLE unrealized_curve (
    account INTEGER NOT NULL, symbol INTEGER NOT NULL, time_us INTEGER NOT NULL,
    place INTEGER NOT NULL, unrealized ANY NOT NULL, ingested_ms INTEGER NOT NULL,
    PRIMARY KEY (account, symbol, time_us)
) STRICT, WITHOUT ROWID;

CREATE TABLE symbol_stats (
    account INTEGER NOT NULL, venue INTEGER NOT NULL, symbol INTEGER NOT NULL,
    fills INTEGER NOT NULL, volume ANY NOT NULL, turnover ANY NOT NULL, realized ANY NOT NULL,
    position ANY NOT NULL, trip_net ANY NOT NULL, round_trips INTEGER NOT NULL, round_trips_won INTEGER NOT NULL,
    slippage_sum REAL NOT NULL, slippage_weight REAL NOT NULL,
    PRIMARY KEY (account, venue, symbol)
) STRICT, WITHOUT ROWID;
CREATE TABLE symbol_fees (
    account INTEGER NOT NULL, venue INTEGER NOT NULL, symbol INTEGER NOT NULL, currency TEXT NOT NULL,
    total ANY NOT NULL,
    PRIMARY KEY (account, venue, symbol, currency)
) STRICT, WITHOUT ROWID;

CREATE TABLE accounts (
    account INTEGER PRIMARY KEY,
    currency TEXT, fee_currency TEXT, session_id TEXT, source TEXT, starting_equity ANY,
    equity ANY, metrics_us INTEGER, held TEXT NOT NULL, as_of_us INTEGER NOT NULL
) STRICT;

CREATE TABLE risk_metrics (
    seq INTEGER PRIMARY KEY,
    account INTEGER NOT NULL, time_us INTEGER NOT NULL, place INTEGER NOT NULL, ingested_ms INTEGER NOT NULL,
    event_id ANY NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE INDEX risk_metrics_account ON risk_metrics (account, time_us, place);

CREATE TABLE alerts (
    seq INTEGER PRIMARY KEY,
    time_us INTEGER NOT NULL, place INTEGER NOT NULL, ingested_ms INTEGER NOT NULL,
    severity INTEGER NOT NULL, account INTEGER, body TEXT NOT NULL
) STRICT;
CREATE INDEX alerts_time ON alerts (time_us, place);
CREATE INDEX alerts_severity ON alerts (severity, time_us, place);
CREATE INDEX alerts_account ON alerts (account, time_us, place);
CREATE INDEX alerts_account_severity ON alerts (account, severity, time_us, place);

CREATE TABLE signals (
    seq INTEGER PRIMARY KEY,
    time_us INTEGER NOT NULL, place INTEGER NOT NULL, ingested_ms INTEGER NOT NULL,
    symbol INTEGER NOT NULL, event_id ANY NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE INDEX signals_time ON signals (time_us, place);
