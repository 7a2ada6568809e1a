"""What a team would write in Python for the recorder's work: execution reports from
Kafka, validated with pydantic, into PostgreSQL by COPY, offsets committed after the
rows; until a number of rows can be queried.

It does less than the recorder: no orders, no curves, no statistics, offsets that are
not in the rows' transaction. Duplicates are left out by unique ids, as there.

Not here: who fills the topic and compares the rates (`tapedeck-bench pipeline`).

usage: peer.py BOOTSTRAP POSTGRES_URL TOPIC ROWS
"""

import asyncio
import json
import sys
import time
from datetime import datetime
from decimal import Decimal
from typing import Literal

import asyncpg
import uvloop
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

# As the recorder's own batches.
BATCH = 8192
SCHEMA = "peer"
# Longer than any run here: whoever starts the peer gets an error, not silence.
PATIENCE_S = 600


class Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Order(Part):
    order_id: str = Field(min_length=1, max_length=128)
    client_order_id: str = Field(min_length=1, max_length=128)
    side: Literal["BUY", "SELL"]
    type: Literal["MARKET", "LIMIT", "STOP", "STOP_LIMIT"]
    quantity: Decimal = Field(gt=0)
    limit_price: Decimal | None
    time_in_force: Literal["GTC", "DAY", "IOC", "FOK"]
    status: Literal["NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED", "EXPIRED"]
    cum_qty: Decimal = Field(ge=0)
    leaves_qty: Decimal = Field(ge=0)
    avg_px: Decimal | None

    @model_validator(mode="after")
    def quantities_agree(self) -> "Order":
        if self.status in ("NEW", "PARTIALLY_FILLED", "FILLED"):
            if self.cum_qty + self.leaves_qty != self.quantity:
                raise ValueError("cum_qty + leaves_qty is not quantity")
        elif self.leaves_qty != 0 or self.cum_qty > self.quantity:
            raise ValueError("an order that is over has no leaves_qty, and at most its quantity")
        if (self.avg_px is None) != (self.cum_qty == 0):
            raise ValueError("avg_px is there where something filled, and only there")
        return self


class Fill(Part):
    fill_id: str = Field(min_length=1, max_length=128)
    execution_number: int | None = Field(default=None, ge=0)
    last_qty: Decimal = Field(gt=0)
    last_px: Decimal = Field(gt=0)
    liquidity: Literal["MAKER", "TAKER"]
    ref_fill_id: str | None = None


class Costs(Part):
    commission: Decimal
    currency: str = Field(min_length=1)
    slippage_bps: float | None


class Pnl(Part):
    realized: Decimal
    unrealized: Decimal


class ExecutionReport(Part):
    event_id: str = Field(min_length=1, max_length=128)
    schema_version: str
    timestamp: datetime
    account: str = Field(min_length=1)
    venue: str = Field(min_length=1)
    symbol: str = Field(min_length=1)
    exec_type: Literal["NEW", "TRADE", "CANCELED", "REPLACED", "REJECTED", "EXPIRED", "TRADE_CORRECT", "TRADE_CANCEL"]
    decision_id: str | None = None
    strategy_id: str | None = None
    order: Order
    fill: Fill | None
    costs: Costs
    pnl: Pnl


# The same questions get their index as in the recorder's store.
TABLES = f"""
DROP SCHEMA IF EXISTS {SCHEMA} CASCADE;
CREATE SCHEMA {SCHEMA};
CREATE TABLE {SCHEMA}.exec_reports (
    event_id text PRIMARY KEY, ts timestamptz NOT NULL, partition int NOT NULL, log_offset bigint NOT NULL,
    account text NOT NULL, venue text NOT NULL, symbol text NOT NULL, exec_type text NOT NULL,
    decision_id text, strategy_id text, order_id text NOT NULL, client_order_id text NOT NULL, side text NOT NULL,
    order_type text NOT NULL, quantity numeric NOT NULL, limit_price numeric, time_in_force text NOT NULL,
    status text NOT NULL, cum_qty numeric NOT NULL, leaves_qty numeric NOT NULL, avg_px numeric,
    fill_id text, execution_number bigint, last_qty numeric, last_px numeric, liquidity text, ref_fill_id text,
    commission numeric NOT NULL, currency text NOT NULL, slippage_bps float8,
    realized numeric NOT NULL, unrealized numeric NOT NULL
);
CREATE UNIQUE INDEX ON {SCHEMA}.exec_reports (account, venue, symbol, fill_id);
CREATE INDEX ON {SCHEMA}.exec_reports (ts, partition, log_offset);
CREATE INDEX ON {SCHEMA}.exec_reports (account, symbol, venue, ts, partition, log_offset);
CREATE TABLE {SCHEMA}.dead_letters (partition int, log_offset bigint, reason text, body bytea);
"""
COLUMNS = (
    "event_id ts partition log_offset account venue symbol exec_type decision_id strategy_id order_id client_order_id "
    "side order_type quantity limit_price time_in_force status cum_qty leaves_qty avg_px fill_id execution_number "
    "last_qty last_px liquidity ref_fill_id commission currency slippage_bps realized unrealized"
).split()


def row(record: ConsumerRecord, report: ExecutionReport) -> tuple:
    order, fill = report.order, report.fill
    filled = (
        (fill.fill_id, fill.execution_number, fill.last_qty, fill.last_px, fill.liquidity, fill.ref_fill_id)
        if fill
        else (None,) * 6
    )
    return (
        report.event_id, report.timestamp, record.partition, record.offset, report.account, report.venue,
        report.symbol, report.exec_type, report.decision_id, report.strategy_id, order.order_id,
        order.client_order_id, order.side, order.type, order.quantity, order.limit_price, order.time_in_force,
        order.status, order.cum_qty, order.leaves_qty, order.avg_px, *filled, report.costs.commission,
        report.costs.currency, report.costs.slippage_bps, report.pnl.realized, report.pnl.unrealized,
    )  # fmt: skip


async def store(db: asyncpg.Connection, rows: list[tuple]) -> None:
    """COPY into place; through a table aside only where a row is there already."""
    try:
        async with db.transaction():
            await db.copy_records_to_table("exec_reports", schema_name=SCHEMA, records=rows, columns=COLUMNS)
    except asyncpg.UniqueViolationError:
        async with db.transaction():
            await db.execute(f"CREATE TEMP TABLE aside (LIKE {SCHEMA}.exec_reports) ON COMMIT DROP")
            await db.copy_records_to_table("aside", records=rows, columns=COLUMNS)
            await db.execute(f"INSERT INTO {SCHEMA}.exec_reports SELECT * FROM aside ON CONFLICT DO NOTHING")


async def main(bootstrap: str, url: str, topic: str, wanted: int) -> None:
    db = await asyncpg.connect(url)
    await db.execute(TABLES)
    began = time.perf_counter()
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=f"peer-pipeline-{time.time_ns()}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_partition_fetch_bytes=4 << 20,
    )
    await consumer.start()
    stored = 0
    try:
        while stored < wanted:
            if time.perf_counter() - began > PATIENCE_S:
                raise TimeoutError(f"{stored} of {wanted} rows after {PATIENCE_S} s")
            batches = await consumer.getmany(timeout_ms=200, max_records=BATCH)
            rows, dead = [], []
            for record in (record for batch in batches.values() for record in batch):
                try:
                    rows.append(row(record, ExecutionReport.model_validate_json(record.value)))
                except ValidationError as error:
                    dead.append((record.partition, record.offset, str(error), record.value))
            if dead:
                await db.copy_records_to_table("dead_letters", schema_name=SCHEMA, records=dead)
            if rows:
                await store(db, rows)
            if rows or dead:
                await consumer.commit()
            stored += len(rows)
        count = await db.fetchval(f"SELECT count(*) FROM {SCHEMA}.exec_reports")
        seconds = time.perf_counter() - began
    finally:
        await consumer.stop()
    await db.close()
    print(json.dumps({"rows": count, "seconds": seconds}), flush=True)


uvloop.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
