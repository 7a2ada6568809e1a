"""Trains small models with the real xgboost and lightgbm over random parameters, and
writes into a folder, for each: the model's file (or files), rows, margins, contributions.

    python trained.py FOLDER

`index.json` lists them. The seed is fixed: the same libraries make the same models.
"""

import json
import pathlib
import sys
import warnings

import lightgbm as lgb
import numpy as np
import xgboost as xgb

XGBOOST, LIGHTGBM = 120, 110
TRAIN, ROWS = 250, 24
# At and around where the libraries treat numbers apart: zero as missing, denormals.
SPECIAL = [0.0, -0.0, 1e-40, -1e-40, 1e-35, -1e-35, 5e-36, 2e-35, 1e-310, np.nan, np.nan, 1e30, -1e30, 3.4e38]
CATEGORIES = 12
SPECIAL_CATEGORIES = [np.nan, -1.0, -0.5, 2.7, 11.0, 13.0, 40.0, 1e6, 1e8]


def data(rng):
    """Features, which of them are categories, and a signal to learn."""
    width = int(rng.integers(2, 9))
    x = rng.normal(size=(TRAIN, width)) * rng.choice([0.1, 1.0, 50.0], width)
    signal = np.sin(x[:, 0]) + (x[:, -1] > 0) * np.sign(x[:, 0])
    categorical = [f for f in range(width) if rng.random() < 0.25]
    for feature in range(width):
        if feature in categorical:
            x[:, feature] = rng.integers(0, CATEGORIES, TRAIN)
            signal = signal + np.cos(x[:, feature] * 2.0)
        elif rng.random() < 0.4:
            x[:, feature] = np.round(x[:, feature])
        if rng.random() < 0.4:
            x[rng.random(TRAIN) < 0.2, feature] = np.nan
    signal = signal + 0.3 * rng.normal(size=TRAIN)
    return x, categorical, (signal - signal.mean()) / signal.std()


def rows_near(rng, x, categorical, thresholds, narrow):
    """Rows of the training data, half of whose values are swapped for awkward ones."""
    rows = x[rng.integers(len(x), size=ROWS)].copy()
    for row in rows:
        for feature in range(len(row)):
            kind = rng.random()
            if feature in categorical:
                if kind < 0.3:
                    row[feature] = rng.choice(SPECIAL_CATEGORIES)
            elif kind < 0.35 and thresholds.get(feature):
                # On a threshold, or the next number on either side of it.
                exact = rng.choice(thresholds[feature])
                to = rng.choice([-np.inf, exact, np.inf])
                row[feature] = np.nextafter(narrow(exact), narrow(to))
            elif kind < 0.55:
                row[feature] = rng.choice(SPECIAL)
    return rows


def one_of(rng, *choices):
    return choices[int(rng.integers(len(choices)))]


def labels(rng, kind, signal):
    if kind == "binary":
        return (signal > 0).astype(float)
    if kind == "share":
        return 1 / (1 + np.exp(-signal))
    if kind == "count":
        return rng.poisson(np.exp(np.clip(signal, -2, 2))).astype(float)
    if kind == "positive":
        return np.exp(signal) + 0.01
    if kind == "grade":
        return np.clip(np.floor(signal + 1.5), 0, 3)
    return signal * 10 + 3


XGBOOST_OBJECTIVES = {
    "reg:squarederror": "real",
    "reg:absoluteerror": "real",
    "reg:pseudohubererror": "real",
    "reg:quantileerror": "real",
    "reg:squaredlogerror": "positive",
    "reg:logistic": "share",
    "binary:logistic": "binary",
    "binary:logitraw": "binary",
    "binary:hinge": "binary",
    "count:poisson": "count",
    "reg:gamma": "positive",
    "reg:tweedie": "count",
    "survival:cox": "positive",
    "survival:aft": "positive",
    "rank:pairwise": "grade",
    "rank:ndcg": "grade",
    "multi:softprob": "grade",
    "multi:softmax": "grade",
}


def xgboost_params(rng, nth, objective, categorical):
    params = {"objective": objective, "seed": nth, "nthread": 1, "verbosity": 0}
    params["eta"] = float(one_of(rng, 0.1, 0.3, 1.0))
    params["max_depth"] = int(rng.integers(1, 9))
    params["tree_method"] = one_of(rng, "hist", "approx") if categorical else one_of(rng, "hist", "approx", "exact")
    params["min_child_weight"] = float(one_of(rng, 0.0, 1.0, 5.0))
    params["gamma"] = float(one_of(rng, 0.0, 0.0, 0.5))
    params["lambda"] = float(one_of(rng, 0.0, 1.0))
    if params["tree_method"] != "exact" and rng.random() < 0.4:
        params |= {"grow_policy": "lossguide", "max_depth": 0, "max_leaves": int(rng.integers(2, 40))}
    if rng.random() < 0.3:
        params |= {"booster": "dart", "rate_drop": 0.4, "normalize_type": one_of(rng, "tree", "forest")}
    if rng.random() < 0.25:
        params |= {"num_parallel_tree": int(rng.integers(2, 5)), "subsample": 0.7, "colsample_bytree": 0.7}
    if categorical:
        params["max_cat_to_onehot"] = int(one_of(rng, 1, 4, 20))
    if rng.random() < 0.4 and not objective.startswith("survival"):
        params["base_score"] = float(one_of(rng, 0.2, 0.5, 0.7))
    if objective in ("survival:cox", "reg:pseudohubererror"):
        # Unrestrained these diverge: the model holds NaN, or leaves of a million whose
        # contributions the library itself, in f32, does not add up to the margin.
        params |= {"lambda": 1.0, "min_child_weight": 1.0, "eta": 0.1}
    if objective in ("multi:softprob", "multi:softmax"):
        params["num_class"] = 4
    if objective == "reg:quantileerror":
        params["quantile_alpha"] = one_of(rng, 0.5, [0.2, 0.5, 0.8])
    return params


def xgboost_matrix(rng, objective, x, y, types, names):
    matrix = xgb.DMatrix(x, feature_types=types, feature_names=names, enable_categorical=True)
    if objective == "survival:aft":
        matrix.set_float_info("label_lower_bound", y)
        matrix.set_float_info("label_upper_bound", np.where(rng.random(len(y)) < 0.3, np.inf, y))
        return matrix
    matrix.set_label(y)
    if objective.startswith("rank:"):
        matrix.set_group([50] * (len(y) // 50))
    elif rng.random() < 0.3:
        matrix.set_weight(rng.random(len(y)) + 0.1)
    return matrix


def xgboost_thresholds(file):
    booster = json.loads(file.read_text())["learner"]["gradient_booster"]
    found = {}
    for tree in booster.get("gbtree", booster)["model"]["trees"]:
        splits = zip(tree["left_children"], tree["split_type"], tree["split_indices"], tree["split_conditions"])
        for left, kind, feature, threshold in splits:
            if left != -1 and kind == 0:
                found.setdefault(feature, []).append(threshold)
    return found


def train_xgboost(rng, nth, folder):
    objective = list(XGBOOST_OBJECTIVES)[nth % len(XGBOOST_OBJECTIVES)]
    x, categorical, signal = data(rng)
    y = labels(rng, XGBOOST_OBJECTIVES[objective], signal)
    if objective == "reg:squarederror" and rng.random() < 0.5:
        y = np.stack([y, -2 * y, np.abs(y)], axis=1)
    types = ["c" if f in categorical else "q" for f in range(x.shape[1])]
    names = [f"name {f} é" for f in range(x.shape[1])] if rng.random() < 0.5 else None
    params = xgboost_params(rng, nth, objective, categorical)
    matrix = xgboost_matrix(rng, objective, x, y, types, names)
    stops = rng.random() < 0.25 and not objective.startswith("rank:") and params.get("booster") != "dart"
    watched = [(xgboost_matrix(rng, objective, x[::-1].copy(), y, types, names), "other")] if stops else []
    stopping = {"early_stopping_rounds": 2, "evals": watched, "verbose_eval": False} if stops else {}
    booster = xgb.train(params, matrix, int(rng.integers(1, 9)), **stopping)

    name = f"xgboost-{nth:03}"
    booster.save_model(folder / f"{name}.json")
    booster.save_model(folder / f"{name}.ubj")
    rows = rows_near(rng, x, categorical, xgboost_thresholds(folder / f"{name}.json"), np.float32)
    # XGBoost rounds what is wider; so must whoever reads its models.
    rows = rows.astype(one_of(rng, np.float32, np.float64))
    asked = xgb.DMatrix(rows, feature_types=types, feature_names=names, enable_categorical=True)
    best = {"iteration_range": (0, booster.best_iteration + 1)} if stops else {}
    margins = booster.predict(asked, output_margin=True, **best)
    everything = booster.predict(asked, output_margin=True)
    contributions = booster.predict(asked, pred_contribs=True, **best)
    return write(folder, name, [f"{name}.json", f"{name}.ubj"], params, rows, margins, everything, contributions)


LIGHTGBM_OBJECTIVES = {
    "regression": "real",
    "regression_l1": "real",
    "huber": "real",
    "fair": "real",
    "quantile": "real",
    "mape": "positive",
    "binary": "binary",
    "cross_entropy": "share",
    "poisson": "count",
    "gamma": "positive",
    "tweedie": "count",
    "multiclass": "grade",
    "multiclassova": "grade",
    "lambdarank": "grade",
}


def lightgbm_params(rng, nth, objective):
    params = {"objective": objective, "seed": nth, "num_threads": 1, "verbose": -1, "deterministic": True}
    params["learning_rate"] = float(one_of(rng, 0.1, 0.3))
    params["num_leaves"] = int(rng.integers(2, 32))
    params["max_depth"] = int(one_of(rng, -1, 3, 6))
    params["min_data_in_leaf"] = int(one_of(rng, 1, 5, 20, 150))
    params["zero_as_missing"] = bool(rng.random() < 0.35)
    params["use_missing"] = bool(rng.random() < 0.8)
    params["boost_from_average"] = bool(rng.random() < 0.7)
    params["boosting"] = one_of(rng, "gbdt", "gbdt", "dart", "rf")
    params["drop_rate"] = 0.5
    params["max_cat_to_onehot"] = int(one_of(rng, 1, 4, 20))
    params["min_data_per_group"] = 1
    params["cat_smooth"] = 1.0
    if params["boosting"] == "rf" or rng.random() < 0.3:
        params |= {"bagging_fraction": 0.7, "bagging_freq": 1, "feature_fraction": 0.8}
    if objective in ("binary", "multiclassova"):
        params["sigmoid"] = float(one_of(rng, 1.0, 2.5))
    if objective in ("multiclass", "multiclassova"):
        params["num_class"] = 4
    return params


def lightgbm_thresholds(booster):
    found = {}

    def visit(node):
        if "split_feature" in node:
            if node["decision_type"] == "<=":
                found.setdefault(node["split_feature"], []).append(node["threshold"])
            visit(node["left_child"])
            visit(node["right_child"])

    for tree in booster.dump_model()["tree_info"]:
        visit(tree["tree_structure"])
    return found


def train_lightgbm(rng, nth, folder):
    objective = list(LIGHTGBM_OBJECTIVES)[nth % len(LIGHTGBM_OBJECTIVES)]
    x, categorical, signal = data(rng)
    if rng.random() < 0.4:
        x[rng.random(x.shape) < 0.2] = 0.0
    y = labels(rng, LIGHTGBM_OBJECTIVES[objective], signal)
    params = lightgbm_params(rng, nth, objective)
    extra = {"group": [50] * (len(y) // 50)} if objective == "lambdarank" else {}
    if rng.random() < 0.3 and not extra:
        extra["weight"] = rng.random(len(y)) + 0.1
    names = [f"name_{f}_é" for f in range(x.shape[1])]
    options = {"categorical_feature": categorical, "feature_name": names, "free_raw_data": False}
    train = lgb.Dataset(x, y, params=params, **options, **extra)
    stopping = {}
    if rng.random() < 0.3 and params["boosting"] == "gbdt" and not extra:
        other = lgb.Dataset(x[::-1].copy(), y, params=params, reference=train, **options)
        stopping = {"valid_sets": [other], "callbacks": [lgb.early_stopping(2, verbose=False)]}
    booster = lgb.train(params, train, int(rng.integers(1, 9)), **stopping)

    name = f"lightgbm-{nth:03}"
    booster.save_model(folder / f"{name}.txt")
    thresholds = lightgbm_thresholds(booster)
    wide = rng.random() < 0.6
    rows = rows_near(rng, x, categorical, thresholds, np.float64 if wide else np.float32)
    rows = rows if wide else rows.astype(np.float32)
    margins = booster.predict(rows, raw_score=True)
    contributions = booster.predict(rows, pred_contrib=True)
    return write(folder, name, [f"{name}.txt"], params, rows, margins, margins, contributions)


def write(folder, name, files, params, rows, margins, everything, contributions):
    arrays = {"rows": rows, "margins": margins, "everything": everything, "contributions": contributions}
    for what, array in arrays.items():
        np.save(folder / f"{name}.{what}.npy", np.ascontiguousarray(array))
    return {"name": name, "files": files, "params": json.dumps(params)}


def main(folder):
    warnings.simplefilter("ignore")
    models = []
    for train, count in [(train_xgboost, XGBOOST), (train_lightgbm, LIGHTGBM)]:
        models += [train(np.random.default_rng([count, nth]), nth, folder) for nth in range(count)]
    index = {"xgboost": xgb.__version__, "lightgbm": lgb.__version__, "models": models}
    (folder / "index.json").write_text(json.dumps(index))


main(pathlib.Path(sys.argv[1]))
