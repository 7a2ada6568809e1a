"""Trains the demo's three specialists and fits the regime filter.

    python scripts/train.py rows.csv models

Rows come from `cargo run -p tapedeck-roles --example training_rows` (scripts/train.sh
runs both). A specialist is a binary:logistic model of "the next bars rise", trained on
all rows, those of its own regime counting most. What is written:

    models/bull_specialist/v1.json      XGBoost, JSON
    models/bear_specialist/v1.ubj       XGBoost, UBJSON
    models/sideways_specialist/v1.txt   LightGBM, text
    models/regimes.toml                 parameters of the hidden Markov model

The same rows give the same files: one thread, fixed seeds. Rows of the last market of
each interval are held back and only scored.
"""

import csv
import os
import sys

import lightgbm
import numpy as np
import xgboost

REGIMES = ["Bull", "Bear", "Sideways"]
# What the specialists look at. Left out: what the demo's bars never have (spread) and
# what says nearly the same as another one.
LEFT_OUT = {"spread", "momentum_10", "efficiency_20", "bollinger_width"}
# What a row of another regime counts: enough to know what it looks like.
OTHERS_COUNT = 0.1
SEED = 20260101
TREES = 40
DEPTH = 3


def read(path):
    with open(path, newline="") as file:
        reader = csv.reader(file)
        header = next(reader)
        rows = list(reader)
    number = lambda text: float(text) if text else float("nan")
    names = header[4:]
    market = np.array([row[0] for row in rows])
    minutes = np.array([float(row[1]) for row in rows])
    regime = np.array([REGIMES.index(row[2]) for row in rows])
    forward = np.array([float(row[3]) for row in rows])
    features = np.array([[number(value) for value in row[4:]] for row in rows])
    return names, market, minutes, regime, forward, features


def log_loss(label, p, weight):
    p = np.clip(p, 1e-9, 1 - 1e-9)
    losses = -(label * np.log(p) + (1 - label) * np.log(1 - p))
    return float(np.average(losses, weights=weight))


def train_xgboost(names, x, y, weight, seed):
    data = xgboost.DMatrix(x.astype(np.float32), label=y, weight=weight, feature_names=names)
    params = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_depth": DEPTH,
        "eta": 0.08,
        "min_child_weight": 150,
        "lambda": 20.0,
        "subsample": 0.8,
        "colsample_bytree": 0.8,
        "seed": seed,
        "nthread": 1,
    }
    return xgboost.train(params, data, num_boost_round=TREES)


def train_lightgbm(names, x, y, weight, seed):
    data = lightgbm.Dataset(x, label=y, weight=weight, feature_name=names)
    params = {
        "objective": "binary",
        "num_leaves": 2**DEPTH,
        "max_depth": DEPTH,
        "learning_rate": 0.08,
        "min_data_in_leaf": 600,
        "lambda_l2": 20.0,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "feature_fraction": 0.8,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    return lightgbm.train(params, data, num_boost_round=TREES)


def fit_regimes(names, market, minutes, regime, features):
    """The parameters of the filter, from the hidden regimes themselves: means and
    deviations of what it observes in each, and counts of what follows what."""
    scale = np.sqrt(minutes)
    log_return = features[:, names.index("return_1")] / scale
    volatility = features[:, names.index("volatility_15")] / scale
    log_volatility = np.log(np.maximum(volatility, 1e-7))
    seen = np.isfinite(log_return) & np.isfinite(log_volatility)
    emissions = []
    for state in range(3):
        own = seen & (regime == state)
        x, y = log_return[own], log_volatility[own]
        emissions.append(
            {
                "mean": [float(x.mean()), float(y.mean())],
                "deviation": [float(x.std()), float(y.std())],
                "correlation": float(np.corrcoef(x, y)[0, 1]),
            }
        )
    counts = np.zeros((3, 3))
    together = market[1:] == market[:-1]
    np.add.at(counts, (regime[:-1][together], regime[1:][together]), 1)
    transition = counts / counts.sum(axis=1, keepdims=True)
    initial = np.bincount(regime, minlength=3) / len(regime)
    return initial, transition, emissions


def toml(initial, transition, emissions):
    # The last of a row is what is left of 1, so that rounding does not add up.
    def row(values):
        first = [round(float(value), 6) for value in values[:2]]
        return [*first, round(1 - sum(first), 6)]

    lines = [
        "# Parameters of the regime filter, fitted by scripts/train.py to the generator's market:",
        "# log return and log realised volatility (15 bars), per square root of a minute.",
        f"initial = {row(initial)}",
        f"transition = {[row(values) for values in transition]}",
    ]
    for name, emission in zip(REGIMES, emissions):
        lines += ["", f"[{name.lower()}]"]
        for key in ("mean", "deviation"):
            lines.append(f"{key} = {[float(f'{value:.6g}') for value in emission[key]]}")
        lines.append(f"correlation = {round(emission['correlation'], 6)}")
    return "\n".join(lines) + "\n"


def main():
    rows, out = sys.argv[1:3]
    names, market, minutes, regime, forward, features = read(rows)
    used = [name for name in names if name not in LEFT_OUT]
    x = features[:, [names.index(name) for name in used]]
    y = (forward > 0).astype(float)
    sets = sorted({name.rsplit("/", 1)[0] for name in market}, key=lambda name: (name.split(":")[0], name))
    last = {name.split(":")[0]: name for name in sets}
    held_back = np.array([name.rsplit("/", 1)[0] in last.values() for name in market])
    train = ~held_back

    initial, transition, emissions = fit_regimes(names, market[train], minutes[train], regime[train], features[train])
    with open(os.path.join(out, "regimes.toml"), "w") as file:
        file.write(toml(initial, transition, emissions))

    for state, (name, ending) in enumerate([("bull", "json"), ("bear", "ubj"), ("sideways", "txt")]):
        folder = os.path.join(out, f"{name}_specialist")
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, f"v1.{ending}")
        weight = np.where(regime == state, 1.0, OTHERS_COUNT)
        if ending == "txt":
            model = train_lightgbm(used, x[train], y[train], weight[train], SEED + state)
            model.save_model(path)
            predict = lambda rows: model.predict(rows)
        else:
            model = train_xgboost(used, x[train], y[train], weight[train], SEED + state)
            model.save_model(path)
            predict = lambda rows: model.predict(
                xgboost.DMatrix(rows.astype(np.float32), feature_names=used)
            )
        own = held_back & (regime == state)
        p, chance = predict(x[own]), np.average(y[train & (regime == state)])
        print(
            f"{path}: {os.path.getsize(path)} bytes, {TREES} trees; held back, own regime: "
            f"log loss {log_loss(y[own], p, None):.4f} (always {chance:.3f}: "
            f"{log_loss(y[own], np.full(own.sum(), chance), None):.4f}), mean p {p.mean():.3f}"
        )


if __name__ == "__main__":
    main()
