"""Damaged tariff, model and campaign documents: the library refuses each by an error, or every law of its use holds."""

import random
import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from unicodedata import category

import numpy as np

from benchmarks.attack import mutations
from benchmarks.attack.world import LIMITED_RULES, OPEN_RULES, draw_orders, models, tariffs
from freightrisk import FittedModel, FreightRiskError, Tariff, _reference
from freightrisk.campaigns import load_campaigns, save_campaigns
from freightrisk.models import model_document
from freightrisk.models.document import parse_model
from freightrisk.tariff.document import parse_tariff
from freightrisk.tariff.one_order import codes_of
from freightrisk.tariff.parts import document_of

STEPS = ["claim_intensity", "expected_claims", "expected_payout", "pure_premium", "technical_premium"]
CAMPAIGN_SHARE = 0.15  # share of cases with a campaign document
MODEL_SHARE = 0.25  # share of cases with a document of a fitted model
TEXT_SHARE = 0.25  # share of documents damaged as bytes instead of as a tree
KEPT_DIGEST = 0.05  # share of tariffs that keep their digest, which refuses most damage before anything else can


def printed(sign: str) -> bool:
    """Return whether a terminal prints a character, instead of obeying it, turning direction or breaking the line."""
    return category(sign) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or sign in "\u200c\u200d"


class FaultError(Exception):
    """A law that does not hold."""


def require(holds: Any, law: str) -> None:
    """Raise a `FaultError` if a law does not hold."""
    if not holds:
        raise FaultError(law)


@cache
def _documents() -> dict[str, bytes]:
    return {name: document_of(tariff) for name, tariff in tariffs().items()}


@cache
def _models() -> dict[str, bytes]:
    return {name: model_document.document_of(fitted) for name, fitted in models().items()}


@cache
def _campaigns() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"campaigns.{suffix}") for suffix in ("json", "yaml")]
        for path in paths:
            save_campaigns([*OPEN_RULES, *LIMITED_RULES], path)
        return {path.suffix: path.read_bytes() for path in paths}


@cache
def _orders() -> Any:
    return draw_orders(10, 3)


@cache
def _records() -> list[dict[str, Any]]:
    return _orders().to_dict("records")


def make_tariff(rng: random.Random) -> bytes:
    """Return the bytes of a damaged tariff document."""
    return _damaged(_documents()[rng.choice(list(_documents()))], rng)


def _damaged(text: bytes, rng: random.Random) -> bytes:
    if rng.random() < TEXT_SHARE:
        return rng.choice((mutations.damaged_text, mutations.damaged_text, mutations.repeated_key))(text, rng)
    damaged = mutations.damaged_tree(text, rng)
    if isinstance(damaged, dict) and rng.random() > KEPT_DIGEST:
        damaged["digest"] = ""
    return mutations.as_json(damaged)


def make_campaigns(rng: random.Random) -> tuple[bytes, str]:
    """Return the bytes of a damaged campaign document and its suffix."""
    suffix = rng.choice((".json", ".yaml"))
    text = _campaigns()[suffix]
    if suffix == ".yaml" and rng.random() < 0.6:
        return mutations.damaged_yaml(text.decode(), rng), suffix
    if suffix == ".json" and rng.random() > TEXT_SHARE:
        return mutations.as_json(mutations.damaged_tree(text, rng)), suffix
    return mutations.damaged_text(text, rng), suffix


def case(seed: int) -> str:
    """Return the outcome for a seed's document; raises `FaultError`, or any error that the library must not raise."""
    rng = random.Random(seed)
    if rng.random() < CAMPAIGN_SHARE:
        return _campaign_case(*make_campaigns(rng))
    if rng.random() < MODEL_SHARE:
        return _model_case(_damaged(_models()[rng.choice(list(_models()))], rng))
    try:
        tariff = parse_tariff(make_tariff(rng))
    except FreightRiskError as error:
        check_message(error)
        return "tariff refused"
    return _priced(tariff, thorough=seed % 8 == 0)


def _campaign_case(data: bytes, suffix: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "campaigns" + suffix)
        path.write_bytes(data)
        try:
            rules = load_campaigns(path)
            tariff = tariffs()["plain"].with_subsidies(rules)
        except FreightRiskError as error:
            check_message(error)
            return "campaigns refused"
    return _priced(tariff, thorough=True)


def _model_case(data: bytes) -> str:
    """Predict by the model of a document, and check every law of a prediction."""
    try:
        fitted = parse_model(data)
    except FreightRiskError as error:
        check_message(error)
        return "model refused"
    text = f"{fitted.summary()}{fitted!r}".replace("\n", "")
    require(all(map(printed, text)), "a summary holds only characters that are printed")
    saved = model_document.document_of(fitted)
    require(model_document.document_of(parse_model(saved)) == saved, "a saved model is the same")
    return _predicted(fitted)


def _predicted(fitted: FittedModel) -> str:
    try:
        found = fitted.predict(_orders(), std_errors=True, threads=1)
    except FreightRiskError as error:
        check_message(error)
        return "orders of a model refused"
    require(len(found) == len(_orders()), "a prediction for every order")
    rates, lower, upper = found.iloc[:, 0], found["lower"], found["upper"]
    require(np.isfinite(rates).all() and (rates > 0.0).all(), "every rate is finite and above zero")
    require(not found["std_error"].isna().any() or np.isnan(fitted.dispersion), "every standard error is a number")
    require(((lower <= rates) & (rates <= upper) | lower.isna()).all(), "every rate lies within its bounds")
    return "predicted"


def check_message(error: FreightRiskError) -> None:
    """Raise if a message is too long or holds a character that a terminal does not print."""
    text = str(error)
    require(all(map(printed, text)), "a message holds only characters that are printed")
    require(len(text) < 20_000, "a message is longer than a page")


def _priced(tariff: Tariff, *, thorough: bool) -> str:
    """Price orders by a tariff and check every law of a price on the quotes."""
    orders = _orders()
    try:
        quotes = tariff.price(orders, campaigns=True, threads=1)
    except FreightRiskError as error:
        check_message(error)
        return "orders refused"
    money = quotes[[name for name in quotes if name.endswith("_fen")]].astype(np.int64)
    require(len(quotes) == len(orders), "a quote for every order")
    require((money >= 0).all().all(), "no fen below zero")
    require((money["list_fen"] == money.drop(columns="list_fen").sum(axis=1)).all(), "payers sum to the list price")
    require((money["merchant_fen"] >= tariff.floor_fen).all(), "the merchant pays the floor")
    require((money["list_fen"] <= tariff.loadings.filed_max * 100 + 1 + tariff.floor_fen).all(), "filed_max holds")
    steps = quotes[STEPS].to_numpy()
    require(np.isfinite(steps).all() and (steps >= 0.0).all(), "every step is finite and not negative")
    _check_single(tariff, quotes)
    if thorough:
        again = parse_tariff(document_of(tariff))
        require(again.price(orders, campaigns=True, threads=1).equals(quotes), "a saved tariff prices the same")
        require(again == tariff and again.digest == tariff.digest, "a saved tariff is the same")
        sheet = "".join((*tariff.pricer.explain(_records()[0]).rows, repr(tariff)))
        require(all(map(printed, sheet)), "a worksheet holds only characters that are printed")
    return "priced"


def _check_single(tariff: Tariff, quotes: Any) -> None:
    """Compare quotes with the slow twin and with quotes of single orders, unless orders share budgets or have draws."""
    if tariff.in_sequence or tariff.rounding == "dither":
        return
    for row in (0, 7):
        order = _records()[row]
        twin = _reference.price_order(codes_of(tariff, order), tariff.pricer.plan_arguments, len(tariff.payers))
        found = [int(quotes[f"{name}_fen"].iloc[row]) for name in ("list", *tariff.payers, "merchant")]
        require(found == [twin.list_fen, *twin.payers_fen, twin.merchant_fen], "the slow twin prices the same")
        one = tariff.quote(order)
        require((one["list_fen"], one["merchant_fen"]) == (found[0], found[-1]), "a quote of one order is the same")
