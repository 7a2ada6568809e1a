"""What a team would write in Python for the work of forensics: decisions from Kafka,
validated with pydantic, explained by xgboost and lightgbm in batches of 500, weighed,
into PostgreSQL by COPY, offsets committed after the rows; until a number of rows is there.

It does less: no chain, no record of the decision before, no sums of importance, and
offsets that are not in the rows' transaction.

Not here: who fills the topic and compares the rates (`tapedeck-bench pipeline`).

usage: peer.py BOOTSTRAP POSTGRES_URL TOPIC ROWS MODELS_DIR
"""

import asyncio
import json
import sys
import time
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

import asyncpg
import lightgbm
import numpy as np
import uvloop
import xgboost
from aiokafka import AIOKafkaConsumer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

BATCH = 500
SCHEMA = "peer_forensics"
# Longer than any run here: whoever starts the peer gets an error, not silence.
PATIENCE_S = 600

TABLES = f"""
DROP SCHEMA IF EXISTS {SCHEMA} CASCADE;
CREATE SCHEMA {SCHEMA};
CREATE TABLE {SCHEMA}.forensics (
    decision_id text PRIMARY KEY, ts timestamptz NOT NULL, partition int NOT NULL, log_offset bigint NOT NULL,
    account text, symbol text NOT NULL, action text NOT NULL, outcome text NOT NULL, base float8 NOT NULL,
    margin float8 NOT NULL, additivity_error float8 NOT NULL, shap jsonb NOT NULL, decision jsonb NOT NULL
);
CREATE INDEX ON {SCHEMA}.forensics (symbol, ts);
CREATE INDEX ON {SCHEMA}.forensics (ts);
"""
COLUMNS = "decision_id ts partition log_offset account symbol action outcome base margin additivity_error shap decision".split()


class Decision(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    decision_id: str = Field(min_length=1, max_length=128)
    timestamp: datetime
    account: str | None = None
    symbol: str = Field(min_length=1)
    action: Literal["BUY", "SELL", "HOLD"]
    quantity: Decimal = Field(ge=0)
    confidence: float = Field(ge=0, le=1)
    regime_probs: dict[str, float]
    strategy_weights: dict[str, float]
    model_versions: dict[str, str]
    features: dict[str, float | None]
    risk_checks: dict[str, bool]
    position_before: Decimal | None = None
    outcome: Literal["accepted", "rejected"] = "accepted"
    reasons: list[str] = []


class Specialist:
    """A model of either library: contributions with the base value at the end, and margins."""

    def __init__(self, path: Path):
        if path.suffix == ".txt":
            self.model = lightgbm.Booster(model_file=str(path))
            self.names = self.model.feature_name()
            self.contributions = lambda rows: self.model.predict(rows, pred_contrib=True, num_threads=1)
            self.margins = lambda rows: self.model.predict(rows, raw_score=True, num_threads=1)
        else:
            self.model = xgboost.Booster({"nthread": 1}, model_file=str(path))
            self.names = self.model.feature_names
            matrix = lambda rows: xgboost.DMatrix(rows, feature_names=self.names, nthread=1)
            self.contributions = lambda rows: self.model.predict(matrix(rows), pred_contribs=True)
            self.margins = lambda rows: self.model.predict(matrix(rows), output_margin=True)


def explain(specialists: dict[str, Specialist], decisions: list[Decision]) -> list[tuple[float, float, dict]]:
    """Base value, margin and contributions of each decision."""
    names = sorted({name for one in specialists.values() for name in one.names})
    place = {name: at for at, name in enumerate(names)}
    total = np.zeros((len(decisions), len(names)))
    base, margin = np.zeros(len(decisions)), np.zeros(len(decisions))
    for name, one in specialists.items():
        rows = np.array(
            [[np.nan if d.features[f] is None else d.features[f] for f in one.names] for d in decisions], dtype=np.float32
        )
        weights = np.array([d.strategy_weights[name] for d in decisions])
        phi = np.asarray(one.contributions(rows), dtype=float)
        total[:, [place[f] for f in one.names]] += weights[:, None] * phi[:, :-1]
        base += weights * phi[:, -1]
        margin += weights * np.asarray(one.margins(rows), dtype=float)
    return [(b, m, dict(zip(names, row.tolist()))) for b, m, row in zip(base.tolist(), margin.tolist(), total)]


async def main(bootstrap: str, url: str, topic: str, wanted: int, models: Path) -> None:
    specialists = {
        folder.name: Specialist(next(folder.glob("v1.*"))) for folder in sorted(models.iterdir()) if folder.is_dir()
    }
    db = await asyncpg.connect(url)
    await db.execute(TABLES)
    began = time.perf_counter()
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=f"peer-forensics-{time.time_ns()}",
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
            batches = await consumer.getmany(timeout_ms=200, max_records=min(BATCH, wanted - stored))
            records, decisions = [], []
            for record in (record for batch in batches.values() for record in batch):
                try:
                    decisions.append(Decision.model_validate_json(record.value))
                    records.append(record)
                except ValidationError as error:
                    raise SystemExit(f"a decision is wrong: {error}") from error
            if not decisions:
                continue
            rows = [
                (
                    d.decision_id, d.timestamp, r.partition, r.offset, d.account, d.symbol, d.action, d.outcome, base,
                    margin, abs(base + sum(shap.values()) - margin), json.dumps(shap), r.value.decode(),
                )
                for r, d, (base, margin, shap) in zip(records, decisions, explain(specialists, decisions))
            ]  # fmt: skip
            async with db.transaction():
                await db.copy_records_to_table("forensics", schema_name=SCHEMA, records=rows, columns=COLUMNS)
            await consumer.commit()
            stored += len(rows)
        count = await db.fetchval(f"SELECT count(*) FROM {SCHEMA}.forensics")
        worst = await db.fetchval(f"SELECT max(additivity_error) FROM {SCHEMA}.forensics")
        seconds = time.perf_counter() - began
    finally:
        await consumer.stop()
    await db.close()
    if worst > 1e-4:
        raise SystemExit(f"contributions and margins are {worst} apart")
    print(json.dumps({"rows": count, "seconds": seconds}), flush=True)


uvloop.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), Path(sys.argv[5])))
