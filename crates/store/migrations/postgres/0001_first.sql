-- Prices, quantities and money are numeric: every digit is kept. Times are timestamptz, which
-- keeps microseconds from 4713 BC to the year 294276. `place` is partition * 2^48 + offset: one
-- integer that sorts as (partition, offset). Texts sort by their bytes (collation "C"), as on
-- every other store. Words are those of the contract.
--
-- What arrives is partitioned by `ingested_at`, the time of its ingest: late events and replays
-- of years long past go where everything of today goes, retention (which counts from ingest)
-- drops whole partitions, and what is compressed is not written to again. Nothing in them is
-- updated; the summaries by `ingested_at` (brin) are a few pages each, and are for retention within
-- a partition. What stands (sums, orders, newest states, ids) is not partitioned and never dropped.
--
-- A planner takes an index in part only for a query that repeats the index's condition. Some
-- conditions here are true of every row (a place is never negative) and are there for that alone:
-- each query has one index, and a guess about how often a name occurs cannot send it along another.

CREATE TABLE consumer_offsets (
    consumer_group text COLLATE "C" NOT NULL, topic text COLLATE "C" NOT NULL, partition bigint NOT NULL,
    next bigint NOT NULL, last_offset bigint NOT NULL, last_hash bigint NOT NULL,
    PRIMARY KEY (consumer_group, topic, partition)
);

-- Ids outlive their rows, and a unique index of a partitioned table cannot tell whether an id is
-- in another partition. The kind of the event and its id, in 17 bytes where that is a UUID.
CREATE TABLE event_ids (id bytea PRIMARY KEY);
-- Where the row of the fill lies: a correction looks at the fill it names.
CREATE TABLE fill_ids (
    account text COLLATE "C" NOT NULL, venue text COLLATE "C" NOT NULL, symbol text COLLATE "C" NOT NULL,
    fill_id text COLLATE "C" NOT NULL, content bigint NOT NULL,
    ingested_at timestamptz NOT NULL, time timestamptz NOT NULL, place bigint NOT NULL,
    PRIMARY KEY (account, venue, symbol, fill_id)
);

CREATE TABLE exec_reports (
    ingested_at timestamptz NOT NULL, time timestamptz NOT NULL, place bigint NOT NULL,
    account text COLLATE "C" NOT NULL, venue text COLLATE "C" NOT NULL, symbol text COLLATE "C" NOT NULL,
    strategy_id text COLLATE "C", exec_type text COLLATE "C" NOT NULL, event_id text COLLATE "C" NOT NULL,
    decision_id text COLLATE "C", order_id text COLLATE "C" NOT NULL, client_order_id text COLLATE "C" NOT NULL,
    side text COLLATE "C" NOT NULL, order_type text COLLATE "C" NOT NULL, quantity numeric NOT NULL,
    limit_price numeric, time_in_force text COLLATE "C" NOT NULL, status text COLLATE "C" NOT NULL,
    cum_qty numeric NOT NULL, leaves_qty numeric NOT NULL, avg_px numeric,
    fill_id text COLLATE "C", execution_number bigint, last_qty numeric, last_px numeric,
    liquidity text COLLATE "C", ref_fill_id text COLLATE "C",
    commission numeric NOT NULL, currency text COLLATE "C" NOT NULL, slippage_bps float8,
    realized numeric NOT NULL, unrealized numeric NOT NULL, reason text
) PARTITION BY RANGE (ingested_at);
CREATE INDEX exec_reports_ingested ON exec_reports USING brin (ingested_at);
CREATE INDEX fills_time ON exec_reports (time, place) WHERE fill_id IS NOT NULL AND place >= 0;
CREATE INDEX fills_series ON exec_reports (account, symbol, venue, time, place) WHERE fill_id IS NOT NULL;
CREATE INDEX executions ON exec_reports (account, execution_number)
    WHERE execution_number IS NOT NULL AND exec_type = 'TRADE';

-- The newest report of each order, in the order of the log.
CREATE TABLE orders (
    account text COLLATE "C" NOT NULL, venue text COLLATE "C" NOT NULL, symbol text COLLATE "C" NOT NULL,
    order_id text COLLATE "C" NOT NULL,
    time timestamptz NOT NULL, place bigint NOT NULL, ingested_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL, open boolean NOT NULL, client_order_id text COLLATE "C" NOT NULL,
    side text COLLATE "C" NOT NULL, order_type text COLLATE "C" NOT NULL, quantity numeric NOT NULL,
    limit_price numeric, time_in_force text COLLATE "C" NOT NULL, status text COLLATE "C" NOT NULL,
    cum_qty numeric NOT NULL, leaves_qty numeric NOT NULL, avg_px numeric,
    decision_id text COLLATE "C", strategy_id text COLLATE "C",
    PRIMARY KEY (account, venue, symbol, order_id)
);
CREATE INDEX orders_time ON orders (time, place) WHERE place >= 0;
CREATE INDEX orders_account_symbol ON orders (account, symbol, time, place);
-- Open orders are few: these stay small, and a filter by symbol reads at most the open ones.
CREATE INDEX orders_open_time ON orders (time, place) WHERE open AND place >= 0;
CREATE INDEX orders_open_account ON orders (account, time, place) WHERE open;
-- For retention alone. New versions of rows are written in the order of their ingest, so that a
-- summary of each stretch of pages finds the oldest.
CREATE INDEX orders_ingested ON orders USING brin (ingested_at) WITH (pages_per_range = 32);

-- Sums of each symbol of an account since its start. The totals hold them as they stand: they are
-- the last point of the curve, also when retention took the curve's own. `reports` counts what the
-- sums are made of: of several points with one time, the one with the highest stands.
CREATE TABLE pnl_totals (
    account text COLLATE "C" NOT NULL, symbol text COLLATE "C" NOT NULL, time timestamptz NOT NULL,
    reports bigint NOT NULL, realized numeric NOT NULL, fees numeric NOT NULL,
    PRIMARY KEY (account, symbol)
);
CREATE TABLE pnl_curve (
    ingested_at timestamptz NOT NULL, account text COLLATE "C" NOT NULL, symbol text COLLATE "C" NOT NULL,
    time timestamptz NOT NULL, reports bigint NOT NULL, realized numeric NOT NULL, fees numeric NOT NULL
) PARTITION BY RANGE (ingested_at);
CREATE INDEX pnl_curve_ingested ON pnl_curve USING brin (ingested_at);
CREATE INDEX pnl_curve_points ON pnl_curve (account, symbol, time, reports);

-- What is held, at each risk metrics; the symbol '' is the whole account. The newest by (time, place)
-- stands in the totals, for ever. Of several points with one time, the one with the highest place stands.
CREATE TABLE unrealized_totals (
    account text COLLATE "C" NOT NULL, symbol text COLLATE "C" NOT NULL, time timestamptz NOT NULL,
    place bigint NOT NULL, unrealized numeric NOT NULL,
    PRIMARY KEY (account, symbol)
);
CREATE TABLE unrealized_curve (
    ingested_at timestamptz NOT NULL, account text COLLATE "C" NOT NULL, symbol text COLLATE "C" NOT NULL,
    time timestamptz NOT NULL, place bigint NOT NULL, unrealized numeric NOT NULL
) PARTITION BY RANGE (ingested_at);
CREATE INDEX unrealized_curve_ingested ON unrealized_curve USING brin (ingested_at);
CREATE INDEX unrealized_curve_points ON unrealized_curve (account, symbol, time, place);

CREATE TABLE symbol_stats (
    account text COLLATE "C" NOT NULL, venue text COLLATE "C" NOT NULL, symbol text COLLATE "C" NOT NULL,
    fills bigint NOT NULL, volume numeric NOT NULL, turnover numeric NOT NULL, realized numeric NOT NULL,
    position numeric NOT NULL, trip_net numeric NOT NULL, round_trips bigint NOT NULL, round_trips_won bigint NOT NULL,
    slippage_sum float8 NOT NULL, slippage_weight float8 NOT NULL,
    PRIMARY KEY (account, venue, symbol)
);
CREATE TABLE symbol_fees (
    account text COLLATE "C" NOT NULL, venue text COLLATE "C" NOT NULL, symbol text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL, total numeric NOT NULL,
    PRIMARY KEY (account, venue, symbol, currency)
);

-- A writer locks the accounts that its batch touches, in the order of their names, before it
-- touches anything that is kept by account: two writers take turns and never wait in a circle.
-- `as_of` is null only inside the transaction that adds the account. `held` is a JSON array of
-- the symbols held at the newest metrics.
CREATE TABLE accounts (
    account text COLLATE "C" PRIMARY KEY,
    currency text COLLATE "C", fee_currency text COLLATE "C", session_id text COLLATE "C", source text COLLATE "C",
    starting_equity numeric, equity numeric, metrics_time timestamptz, held text COLLATE "C" NOT NULL DEFAULT '[]',
    as_of timestamptz
);

-- Bodies are the JSON of the event.
CREATE TABLE risk_latest (
    account text COLLATE "C" PRIMARY KEY, time timestamptz NOT NULL, place bigint NOT NULL, body text NOT NULL
);
CREATE TABLE risk_metrics (
    ingested_at timestamptz NOT NULL, account text COLLATE "C" NOT NULL, time timestamptz NOT NULL,
    place bigint NOT NULL, event_id text COLLATE "C" NOT NULL, body text NOT NULL
) PARTITION BY RANGE (ingested_at);
CREATE INDEX risk_metrics_ingested ON risk_metrics USING brin (ingested_at);
CREATE INDEX risk_metrics_account ON risk_metrics (account, time, place);

CREATE TABLE alerts (
    ingested_at timestamptz NOT NULL, time timestamptz NOT NULL, place bigint NOT NULL,
    severity text COLLATE "C" NOT NULL, account text COLLATE "C", body text NOT NULL
) PARTITION BY RANGE (ingested_at);
CREATE INDEX alerts_ingested ON alerts USING brin (ingested_at);
CREATE INDEX alerts_time ON alerts (time, place) WHERE place >= 0;
CREATE INDEX alerts_severity ON alerts (severity, time, place) WHERE place > -1;
CREATE INDEX alerts_account ON alerts (account, time, place) WHERE place > -2;
CREATE INDEX alerts_account_severity ON alerts (account, severity, time, place);

CREATE TABLE signals (
    ingested_at timestamptz NOT NULL, time timestamptz NOT NULL, place bigint NOT NULL,
    symbol text COLLATE "C" NOT NULL, event_id text COLLATE "C" NOT NULL, body text NOT NULL
) PARTITION BY RANGE (ingested_at);
CREATE INDEX signals_ingested ON signals USING brin (ingested_at);
CREATE INDEX signals_time ON signals (time, place);
