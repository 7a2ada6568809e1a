"""What a team would write with aiokafka: acks=all, idempotence, and `send_and_wait`
for every decision on the trading path; its broker up, paused, and killed.

Not here: the emitter, whose benchmark has the same payload (`tapedeck-bench emit`).

usage: peer.py KAFKA.SH DIR SECONDS
"""

import asyncio
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError

TOPIC = "trading_decisions"
PARTITIONS = 8
SYMBOLS = 16
FEATURES = [
    "rsi_14", "macd", "macd_signal", "bb_width", "bb_pos", "ema_9_21", "sma_20_50", "atr_14", "ret_1", "ret_5",
    "ret_20", "vol_20", "vol_60", "volume_ratio", "vwap_dev", "spread_bps", "imbalance", "momentum", "zscore_60",
    "skew_60",
]
# Longer than the request time-out of 40 s that the client has by default: one call
# that meets an outage is waited for so long.
PATIENCE_S = 45


def decision(n: int) -> dict:
    event_id = f"{n * 0x9E3779B9 & 0xFFFFFFFF:08x}-0000-4000-8000-{n:012x}"
    return {
        "event_type": "trading_decision",
        "event_id": event_id,
        "schema_version": "1.0",
        "timestamp": "2025-10-21T14:30:00.123456Z",
        "decision_id": event_id,
        "correlation_id": "8f14e45f-ceea-467f-a1d8-3b2c9f0a7e11",
        "account": "ACC-1",
        "symbol": f"SYM{n % SYMBOLS:02}USDT",
        "action": "BUY",
        "quantity": 0.25,
        "confidence": random.random(),
        "regime_probs": {"bull": 0.65, "bear": 0.15, "sideways": 0.2},
        "strategy_weights": {"bull_specialist": 0.6, "bear_specialist": 0.1, "sideways_specialist": 0.3},
        "model_versions": {"bull_specialist": "v127", "bear_specialist": "v90", "sideways_specialist": "v44"},
        "features": {name: random.random() * 2 - 1 for name in FEATURES},
        "risk_checks": {"position_limit_ok": True, "concentration_ok": True, "correlation_ok": True},
        "position_before": "1.75",
        "outcome": "accepted",
        "reasons": [],
    }


def show(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def print_laps(what: str, laps: list[float], beside: str) -> None:
    laps = sorted(laps)
    at = lambda share: laps[max(0, -int(-len(laps) * share // 1) - 1)]
    figures = "  ".join(
        f"{name} {show(at(share)):>9}" for name, share in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)]
    )
    print(f"{what:<40} {figures}  n {len(laps)}{beside}", flush=True)


async def send_for(producer: AIOKafkaProducer, seconds: float, laps: list[float]) -> None:
    began = time.perf_counter()
    n = 0
    while time.perf_counter() - began < seconds:
        event = decision(n)
        before = time.perf_counter()
        await producer.send_and_wait(TOPIC, json.dumps(event).encode(), key=event["symbol"].encode())
        laps.append(time.perf_counter() - before)
        n += 1


async def outage(producer: AIOKafkaProducer, name: str) -> None:
    """One decision is made while the broker is away."""
    event = decision(0)
    before = time.perf_counter()
    try:
        call = producer.send_and_wait(TOPIC, json.dumps(event).encode(), key=event["symbol"].encode())
        await asyncio.wait_for(call, PATIENCE_S)
        end = "then delivered"
    except asyncio.TimeoutError:
        end = "then given up by us, not by the client"
    except Exception as error:  # whatever the client says of it is the figure
        end = f"then {type(error).__name__}: the decision is lost unless the caller keeps it"
    blocked = time.perf_counter() - before
    print(f"aiokafka send_and_wait, {name}: the first call blocked for {show(blocked)}, {end}", flush=True)


async def main(script: str, folder: Path, seconds: float) -> None:
    bootstrap = (folder / "bootstrap").read_text().strip()
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])
    except TopicAlreadyExistsError:
        pass
    await admin.close()

    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        laps: list[float] = []
        await send_for(producer, 1, [])
        began = time.perf_counter()
        await send_for(producer, seconds, laps)
        rate = len(laps) / (time.perf_counter() - began)
        print_laps("aiokafka send_and_wait, broker up", laps, f"  {rate:.0f} calls/s, as fast as they go")
        os.kill(int((folder / "pid").read_text()), signal.SIGSTOP)
        try:
            await outage(producer, "broker paused")
        finally:
            os.kill(int((folder / "pid").read_text()), signal.SIGCONT)
        await send_for(producer, 1, [])
        os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
        await outage(producer, "broker killed")
        subprocess.run(["sh", script, "start", str(folder)], check=True, stdout=subprocess.DEVNULL)


# An outage makes its log speak once for every try.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
asyncio.run(main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])))
