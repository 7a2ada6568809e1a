"""What Python has for SHAP values of trees: xgboost's and lightgbm's own, shap's C
extension, and woodelf, on the same rows and one thread, one row at a time and in batches.

Not here: ours, which reads what this leaves in the folder
(`cargo bench -p tapedeck-shap --bench explain -- DIR`).

usage: peer.py DIR [REFERENCE]

REFERENCE is a folder with the models a, b and c and their rows; without it, models of
the same shapes are trained here.
"""

import gzip
import os
import sys
import time
import warnings
from pathlib import Path

# One thread, for all that is loaded below.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"
# woodelf draws a progress bar for each batch.
os.environ["TQDM_DISABLE"] = "1"

import lightgbm
import numpy as np
import pandas
import shap
import xgboost

warnings.filterwarnings("ignore")
BATCHES = (1, 16, 64, 1024)
# woodelf's tables pay off in large batches only.
WOODELF_BATCH = 50_000
TURN_S = 0.5
TURNS = 3
FEATURES = 20


def data(count, seed):
    """Features of a market, NaN in four of them, and whether the price rose."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, FEATURES)).astype(np.float32)
    signal = rows[:, 0] * rows[:, 1] + np.sin(2 * rows[:, 2]) + 0.5 * rows[:, 3:12].sum(axis=1) / 3 + rng.normal(size=count)
    for feature in (3, 7, 11, 17):
        rows[rng.random(count) < 0.05, feature] = np.nan
    return rows, (signal > 0).astype(int)


def train(folder):
    rows, rose = data(20_000, 1)
    matrix = xgboost.DMatrix(rows, rose)
    for name, trees, depth in (("a", 100, 6), ("b", 500, 8)):
        params = {"objective": "binary:logistic", "max_depth": depth, "eta": 0.1, "nthread": 1, "seed": 1}
        xgboost.train(params, matrix, trees).save_model(folder / f"{name}.json")
        (folder / f"{name}.json").rename(folder / f"{name}.model")
    params = {"objective": "binary", "num_leaves": 31, "num_threads": 1, "seed": 1, "verbose": -1}
    lightgbm.train(params, lightgbm.Dataset(rows, rose), 200).save_model(folder / "c.model")
    np.save(folder / "rows.npy", data(2048, 2)[0])


def take(folder, reference):
    (folder / "a.model").write_bytes((reference / "xgb_a_100x6.json").read_bytes())
    (folder / "b.model").write_bytes(gzip.decompress((reference / "xgb_b_500x8.json.gz").read_bytes()))
    (folder / "c.model").write_bytes((reference / "lgb_c_200x31.txt").read_bytes())
    rows = np.load(reference / "X_sample_2000.npy")
    np.save(folder / "rows.npy", np.concatenate([rows, rows[:48]]))


def speed(explain, rows, batch):
    """Rows a processor-second, the best of some turns."""
    best = 0.0
    parts = [rows[at : at + batch] for at in range(0, len(rows) - batch + 1, batch)]
    explain(parts[0])
    for _ in range(TURNS):
        start, before, done = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - start < TURN_S:
            part = parts[done // batch % len(parts)]
            explain(part)
            done += batch
        best = max(best, done / (time.process_time() - before))
    return best


def peers(folder, name):
    """Each peer's name, and its function from rows to values."""
    path = str(folder / f"{name}.model")
    if name == "c":
        model = lightgbm.Booster(model_file=path)
        yield f"lightgbm {lightgbm.__version__}", lambda rows: model.predict(rows, pred_contrib=True, num_threads=1)
    else:
        model = xgboost.Booster({"nthread": 1})
        # The format is told by the name's ending.
        model.load_model(bytearray((folder / f"{name}.model").read_bytes()))
        yield f"xgboost {xgboost.__version__}", lambda rows: model.predict(xgboost.DMatrix(rows, nthread=1), pred_contribs=True, validate_features=False)
    try:
        explainer = shap.TreeExplainer(model)
        explainer.shap_values(np.load(folder / "rows.npy")[:2])
        yield f"shap {shap.__version__}", lambda rows: explainer.shap_values(rows, check_additivity=False)
    except Exception as error:
        print(f"model {name}: shap skipped: {error!r}"[:300])
    try:
        import woodelf
        from importlib.metadata import version

        explainer_w = woodelf.WoodelfExplainer(model)
        # It takes tables with named columns alone.
        names = model.feature_name() if name == "c" else model.feature_names or [f"f{nth}" for nth in range(FEATURES)]
        values = lambda rows: explainer_w.shap_values(pandas.DataFrame(rows, columns=names))
        values(np.load(folder / "rows.npy")[:64])
        yield f"woodelf {version('woodelf-explainer')}", values
    except Exception as error:
        print(f"model {name}: woodelf skipped: {error!r}"[:300])


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    reference = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    if reference and (reference / "X_sample_2000.npy").exists():
        take(folder, reference)
    else:
        train(folder)
    rows = np.load(folder / "rows.npy")
    with open(folder / "peers.tsv", "w") as table:
        for name in "abc":
            for who, explain in peers(folder, name):
                woodelf_many = np.tile(rows, (WOODELF_BATCH // len(rows) + 1, 1))[:WOODELF_BATCH]
                for batch in BATCHES:
                    reached = speed(explain, rows, batch)
                    print(f"model {name}  {who:<20} {batch:>6} rows at a time: {reached:>10.0f} rows/s", flush=True)
                    table.write(f"{name}\t{who}\t{batch}\t{reached}\n")
                if who.startswith("woodelf") and name != "b":
                    reached = speed(explain, woodelf_many, WOODELF_BATCH)
                    print(f"model {name}  {who:<20} {WOODELF_BATCH:>6} rows at a time: {reached:>10.0f} rows/s", flush=True)
                    table.write(f"{name}\t{who} ({WOODELF_BATCH})\t1024\t{reached}\n")


main()
