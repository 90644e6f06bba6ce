"""Held-out deviance on public data of freightrisk, an unpenalised GLM in glum, and LightGBM, on the same factors.

python -m benchmarks.validation [FOLDER]     FOLDER holds the public data, ../shared/data by default
"""

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from freightrisk import (
    Band,
    Credibility,
    Factor,
    FrequencyModel,
    Hierarchy,
    Interaction,
    OrderBook,
    SeverityModel,
    Smooth,
    Solver,
)

SEED = 20_250_101
LEAVES = (7, 15, 31)
RATE = 0.05


def deviance(family, y, mean, weight=None):
    """Return the mean deviance per unit of weight."""
    weight = np.ones(len(y)) if weight is None else weight
    if family == "poisson":
        each = 2 * (np.where(y > 0, y * np.log(np.where(y > 0, y, 1) / mean), 0) - (y - mean))
    elif family == "gamma":
        each = 2 * (y / mean - 1 - np.log(y / mean))
    else:
        each = -2 * np.where(y > 0, np.log(mean), np.log1p(-mean))
    return float((weight * each).sum() / weight.sum())


def report(title, lines):
    """Print a table of held-out deviances, each compared with the mean of the learning rows and with LightGBM."""
    print(f"\n{title}")
    base = lines[0][1]
    best = next(value for name, value, _ in lines if name.startswith("LightGBM"))
    for name, value, seconds in lines:
        print(f"  {name:<46}{value:10.5f}  explained {1 - value / base:7.2%}  to LightGBM {value / best - 1:+7.2%}"
              f"  {seconds:6.1f} s")  # fmt: skip


def note(lines, line):
    """Append a line to a table and show it at once, because some lines take minutes."""
    lines.append(line)
    print(f"  ... {line[0]}: {line[1]:.5f} in {line[2]:.1f} s", flush=True)


def timed(work):
    """Return a result and its seconds."""
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def glum_mean(family, learn, test, names, y, exposure=None, fewest=0):
    """Return the means of an unpenalised glum fit to code columns.

    A level has relativity 1 if the learning rows lack it, or if fewer than `fewest` of its rows have a claim or have
    none.
    """
    import tabmat
    from glum import GeneralizedLinearRegressor

    sizes = {name: pd.DataFrame({"level": learn[name], "some": y > 0}).groupby("level")["some"] for name in names}
    both = {name: np.minimum(rows.sum(), rows.count() - rows.sum()) for name, rows in sizes.items()}
    kept = {name: sorted(both[name].index[both[name] >= fewest]) for name in names}

    def matrix(frame):
        known = {name: frame[name].where(frame[name].isin(levels)) for name, levels in kept.items()}
        parts = [
            tabmat.CategoricalMatrix(pd.Categorical(known[name], categories=levels), drop_first=True,
                                     cat_missing_method="zero")
            for name, levels in kept.items()
        ]  # fmt: skip
        return tabmat.SplitMatrix(parts)

    kind = {"poisson": "poisson", "gamma": "gamma", "bernoulli": "binomial"}[family]
    model = GeneralizedLinearRegressor(family=kind, alpha=0, max_iter=200, gradient_tol=1e-6)
    if exposure is None:
        return model.fit(matrix(learn), y).predict(matrix(test))
    return model.fit(matrix(learn), y / exposure, sample_weight=exposure).predict(matrix(test))


def lightgbm_mean(family, learn, test, y, offset=None, categories=()):
    """Return LightGBM's raw predictions; a fifth of the learning rows selects leaves and rounds, then all rows fit."""
    import lightgbm

    objective = {"poisson": "poisson", "gamma": "gamma", "bernoulli": "binary"}[family]
    options = {"objective": objective, "learning_rate": RATE, "min_data_in_leaf": 100, "verbose": -1, "num_threads": 1,
               "seed": SEED, "deterministic": True, "force_row_wise": True}  # fmt: skip

    def data(rows, **rest):
        start = None if offset is None else offset[rows]
        return lightgbm.Dataset(learn[rows], y[rows], init_score=start, categorical_feature=list(categories), **rest)

    watched = np.random.default_rng(SEED + 1).uniform(size=len(learn)) < 0.2
    found = []
    for leaves in LEAVES:
        known = data(~watched)
        stop = lightgbm.early_stopping(50, verbose=False)
        model = lightgbm.train(options | {"num_leaves": leaves}, known, 2_000,
                               valid_sets=[data(watched, reference=known)], callbacks=[stop])  # fmt: skip
        (score,) = model.best_score["valid_0"].values()
        found.append((score, leaves, model.best_iteration))
        print(f"  ... LightGBM, {leaves} leaves: {score:.6f} after {model.best_iteration} rounds", flush=True)
    _, leaves, rounds = min(found)
    model = lightgbm.train(options | {"num_leaves": leaves}, data(np.full(len(learn), True)), rounds)
    return model.predict(test, raw_score=True), f"LightGBM, {leaves} leaves, {rounds} rounds"


def fashion(folder):
    """Returns of a fashion shop: fitted to April-September 2012, tested on October-December."""
    frame = pd.read_parquet(folder / "fashion_returns" / "order_lines.parquet")
    frame["month_known"] = (frame["order_date"] - frame["user_reg_date"]).dt.days.clip(lower=0) / 30.4
    frame["birth"] = frame["user_birth_year"].astype(float)
    frame["claims"] = frame["returned"].astype(int)
    for name in ("item_size", "item_color", "user_title", "user_state"):
        frame[name] = frame[name].astype(str)
    factors = [
        Hierarchy("article", ["brand_id", "item_id"], unseen="parent"),
        Factor("item_size", unseen="parent"), Factor("item_color", unseen="parent"),
        Band("item_price", 40), Factor("user_title", unseen="parent"), Factor("user_state", unseen="parent"),
        Band("birth", 25, valid=(1850, 2020), missing="level"), Band("month_known", 15, missing="level"),
    ]  # fmt: skip
    known = (frame["order_date"] < "2012-10-01").to_numpy()
    train = OrderBook.from_counts(frame[known], claims="claims", factors=factors)
    test = OrderBook.from_counts(frame[~known], claims="claims", factors=list(train.codings.values()))
    y, held = frame["claims"].to_numpy()[known], frame["claims"].to_numpy()[~known]
    effects = [Credibility("article"), Credibility("item_size"), Credibility("item_color"), Smooth("item_price"),
               "user_title", Credibility("user_state"), Smooth("birth"), Smooth("month_known")]  # fmt: skip
    lines = [("mean of the learning rows", deviance("bernoulli", held, np.full(len(held), y.mean())), 0.0)]
    model, seconds = timed(
        lambda: FrequencyModel(effects, family="bernoulli").fit(train, solver=Solver(max_iterations=200))
    )
    note(lines, ("freightrisk", deviance("bernoulli", held, model.predict(test)), seconds))
    codes, ahead = pd.DataFrame(dict(train.codes)), pd.DataFrame(dict(test.codes))
    brand = {True: frame["brand_id"][known].to_numpy(), False: frame["brand_id"][~known].to_numpy()}
    coarse, coarse_ahead = codes.assign(article=brand[True]), ahead.assign(article=brand[False])
    # With a free level for every item, the information of glum's fit is singular, because some items always or never
    # came back. glum therefore gets the brand. Levels with fewer than five returned or kept lines share a relativity.
    mean, seconds = timed(lambda: glum_mean("bernoulli", coarse, coarse_ahead, list(codes), y.astype(float), fewest=5))
    held_mean = np.clip(mean, 1e-9, 1 - 1e-9)
    note(lines, ("glum, unpenalised, brand for item", deviance("bernoulli", held, held_mean), seconds))
    wide, wide_ahead = codes.assign(brand=brand[True]), ahead.assign(brand=brand[False])
    names = ["article", "brand", "item_size", "item_color", "user_title", "user_state"]
    (raw, label), seconds = timed(lambda: lightgbm_mean("bernoulli", wide, wide_ahead, y, categories=names))
    note(lines, (label, deviance("bernoulli", held, 1 / (1 + np.exp(-raw))), seconds))
    report(
        f"fashion_returns: {known.sum():,} order lines Apr-Sep 2012, {len(held):,} Oct-Dec; binomial deviance", lines
    )


def motor(folder):
    """French motor third party claims: 80 % to learn, 20 % held out."""
    frame = pd.read_parquet(folder / "motor_third_party" / "frequency.parquet")
    frame["claims"], frame["log_density"] = frame["ClaimNb"].astype(int), np.log(frame["Density"])
    known = np.random.default_rng(SEED).uniform(size=len(frame)) < 0.8
    factors = [
        Factor("VehPower"), Band("VehAge", [*np.arange(0.5, 20.5), 25.0]), Band("DrivAge", list(np.arange(18.5, 86.5))),
        Band("BonusMalus", [50, 51, 52, 53, 54, 55, 57, 60, 64, 68, 72, 76, 80, 85, 90, 95, 100, 110, 120, 150]),
        Factor("VehBrand"), Factor("VehGas"), Band("log_density", 40), Factor("Region"), Factor("Area"),
    ]  # fmt: skip
    columns = {"claims": "claims", "exposure": "Exposure"}
    train = OrderBook.from_counts(frame[known], factors=factors, **columns)
    test = OrderBook.from_counts(frame[~known], factors=list(train.codings.values()), **columns)
    held, at_risk = frame["claims"].to_numpy()[~known], frame["Exposure"].to_numpy()[~known]
    y, exposure = frame["claims"].to_numpy()[known].astype(float), frame["Exposure"].to_numpy()[known]
    effects = ["VehPower", Smooth("VehAge"), Smooth("DrivAge"), Smooth("BonusMalus"), Credibility("VehBrand"), "VehGas",
               Smooth("log_density"), Credibility("Region")]  # fmt: skip
    pairs = [("VehBrand", "VehAge"), ("VehGas", "VehAge"), ("DrivAge", "BonusMalus"), ("Region", "VehAge"),
             ("VehPower", "VehAge")]  # fmt: skip
    more = [*effects, *(Interaction(*pair) for pair in pairs)]
    flat = np.full(len(held), y.sum() / exposure.sum()) * at_risk
    lines = [("mean of the learning rows", deviance("poisson", held, flat), 0.0)]
    for name, chosen in (("freightrisk, main effects", effects), ("freightrisk, five interactions too", more)):
        model, seconds = timed(lambda chosen=chosen: FrequencyModel(chosen).fit(train))
        note(lines, (name, deviance("poisson", held, model.predict(test)), seconds))
        print(model.effects.to_string())
    codes, ahead = pd.DataFrame(dict(train.codes)), pd.DataFrame(dict(test.codes))
    names = [name for name in codes if name != "Area"]
    rate, seconds = timed(lambda: glum_mean("poisson", codes, ahead, names, y, exposure))
    note(lines, ("glum, unpenalised", deviance("poisson", held, rate * at_risk), seconds))
    wide = frame[["VehPower", "VehAge", "DrivAge", "BonusMalus", "log_density"]].copy()
    for name in ("VehBrand", "VehGas", "Region"):
        wide[name] = pd.Categorical(frame[name]).codes
    found, seconds = timed(lambda: lightgbm_mean("poisson", wide[known], wide[~known], y, offset=np.log(exposure),
                                                 categories=["VehBrand", "VehGas", "Region"]))  # fmt: skip
    note(lines, (found[1], deviance("poisson", held, np.exp(found[0]) * at_risk), seconds))
    report(f"motor_third_party: {known.sum():,} policies to learn, {len(held):,} held out; Poisson deviance", lines)


def freight(folder):
    """Freight of a marketplace's items: 80 % to learn, 20 % held out."""
    frame = pd.read_parquet(folder / "marketplace_freight" / "order_items.parquet")
    frame = frame[(frame["freight_value"] > 0) & frame["product_weight_g"].notna()].reset_index(drop=True)
    frame["volume"] = frame[["product_length_cm", "product_height_cm", "product_width_cm"]].prod(axis=1)
    frame["claims"], frame["category"] = 1, frame["product_category_name"].astype(object).fillna("none")
    known = np.random.default_rng(SEED).uniform(size=len(frame)) < 0.8
    factors = [Band("product_weight_g", 40), Band("volume", 40), Band("price", 40), Factor("category", unseen="parent"),
               Factor("seller_state", unseen="parent")]  # fmt: skip
    columns = {"claims": "claims", "amount": "freight_value"}
    train = OrderBook.from_counts(frame[known], factors=factors, **columns)
    test = OrderBook.from_counts(frame[~known], factors=list(train.codings.values()), **columns)
    y, held = frame["freight_value"].to_numpy()[known], frame["freight_value"].to_numpy()[~known]
    effects = [Smooth("product_weight_g"), Smooth("volume"), Smooth("price"), Credibility("category"),
               Credibility("seller_state")]  # fmt: skip
    more = [*effects, Interaction("product_weight_g", "volume"), Interaction("seller_state", "product_weight_g")]
    lines = [("mean of the learning rows", deviance("gamma", held, np.full(len(held), y.mean())), 0.0)]
    for name, chosen in (("freightrisk, main effects", effects), ("freightrisk, two interactions too", more)):
        model, seconds = timed(
            lambda chosen=chosen: SeverityModel(chosen).fit(train, solver=Solver(max_iterations=200))
        )
        note(lines, (name, deviance("gamma", held, model.predict(test)), seconds))
        print(model.effects.to_string())
    codes, ahead = pd.DataFrame(dict(train.codes)), pd.DataFrame(dict(test.codes))
    mean, seconds = timed(lambda: glum_mean("gamma", codes, ahead, list(codes), y))
    note(lines, ("glum, unpenalised", deviance("gamma", held, mean), seconds))
    wide = frame[["product_weight_g", "volume", "price"]].copy()
    for name in ("category", "seller_state"):
        wide[name] = pd.Categorical(frame[name]).codes
    found, seconds = timed(lambda: lightgbm_mean("gamma", wide[known], wide[~known], y,
                                                 categories=["category", "seller_state"]))  # fmt: skip
    note(lines, (found[1], deviance("gamma", held, np.exp(found[0])), seconds))
    report(f"marketplace_freight: {known.sum():,} items to learn, {len(held):,} held out; gamma deviance", lines)


if __name__ == "__main__":
    chosen = sys.argv[2:] or ["fashion", "motor", "freight"]
    for name in chosen:
        {"fashion": fashion, "motor": motor, "freight": freight}[name](
            Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")
        )
