"""Damaged tariff and campaign documents: each is refused in the library's words, or prices by every law of a price."""

import random
import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from unicodedata import category

import numpy as np

from benchmarks.attack import mutations
from benchmarks.attack.world import LIMITED_RULES, OPEN_RULES, draw_orders, tariffs
from freightrisk import FreightRiskError, Tariff, _reference
from freightrisk.campaigns import load_campaigns, save_campaigns
from freightrisk.tariff.document import parse_tariff
from freightrisk.tariff.parts import document_of

STEPS = ["claim_intensity", "expected_claims", "expected_payout", "pure_premium", "technical_premium"]
CAMPAIGN_SHARE = 0.15
TEXT_SHARE = 0.25
KEPT_DIGEST = 0.05


def printed(sign: str) -> bool:
    """Return whether a terminal shows a sign, rather than obey it or turn or break the line."""
    return category(sign) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or sign in "\u200c\u200d"


class FaultError(Exception):
    """A law that does not hold."""


def require(holds: Any, law: str) -> None:
    """Raise where a law does not hold."""
    if not holds:
        raise FaultError(law)


@cache
def _documents() -> dict[str, bytes]:
    return {name: document_of(tariff) for name, tariff in tariffs().items()}


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
    text = _documents()[rng.choice(list(_documents()))]
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
    """Return how a document of a seed ended; raise `FaultError`, or what the library should not raise."""
    rng = random.Random(seed)
    if rng.random() < CAMPAIGN_SHARE:
        return _campaign_case(*make_campaigns(rng))
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


def check_message(error: FreightRiskError) -> None:
    """Hold a message against what a terminal may be given."""
    text = str(error)
    require(all(map(printed, text)), "a message holds only signs that are printed")
    require(len(text) < 20_000, "a message is longer than a page")


def _priced(tariff: Tariff, *, thorough: bool) -> str:
    """Price orders by a tariff and hold the quotes against every law of a price."""
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
        sheet = "".join((*tariff.pricer.explain(_records()[0]).lines, repr(tariff)))
        require(all(map(printed, sheet)), "a worksheet holds only signs that are printed")
    return "priced"


def _check_single(tariff: Tariff, quotes: Any) -> None:
    """Hold quotes against the slow twin and against quotes of one order, where orders do not share budgets."""
    if tariff.in_sequence or tariff.rounding == "dither":
        return
    for row in (0, 7):
        order = _records()[row]
        twin = _reference.price_order(tariff.codes_of(order), tariff.pricer.plan_arguments, len(tariff.payers))
        found = [int(quotes[f"{name}_fen"].iloc[row]) for name in ("list", *tariff.payers, "merchant")]
        require(found == [twin.list_fen, *twin.payers_fen, twin.merchant_fen], "the slow twin prices the same")
        one = tariff.quote(order)
        require((one["list_fen"], one["merchant_fen"]) == (found[0], found[-1]), "a quote of one order is the same")
