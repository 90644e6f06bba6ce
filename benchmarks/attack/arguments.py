"""Odd arguments: every public call with one or two arguments replaced by values that they do not accept.

Each call returns, or is refused by an error of the library.
"""

import inspect
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import freightrisk as fr
from benchmarks.attack.documents import check_message
from benchmarks.attack.frames import NUMBERS, OTHERS, TEXTS, TIMES
from benchmarks.attack.world import FACTORS, book_of, draw_orders, models, tariffs


class Hostile:
    """An object whose methods all raise an error."""

    def _fail(self, *_: Any) -> Any:
        raise ZeroDivisionError("of the object that was given")

    __repr__ = __str__ = __eq__ = __ne__ = __lt__ = __len__ = __iter__ = __bool__ = __float__ = __index__ = _fail
    __getitem__ = __contains__ = __add__ = __mul__ = __array__ = __hash__ = _fail


class HostileText(str):
    """A text whose repr raises an error."""

    __slots__ = ()

    def __repr__(self) -> str:
        raise ZeroDivisionError("of the text that was given")


def _nested(depth: int = 2_000) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def odd_values() -> list[Any]:
    """Return values that hardly any argument accepts."""
    own: list[Any] = [
        10**5_000, -(10**400), Hostile(), HostileText("zone"), [Hostile()], {Hostile: 1}, np.array(3), np.array([]),
        np.zeros((2, 2)), np.array(["zone"]), np.array([np.nan]), np.array([None, 1], dtype=object), range(3), b"",
        "x" * 300, iter([1]), (k for k in ("zone",)), lambda: 3, int, fr, Path("nowhere"), Path("/"), pd.DataFrame(),
        pd.Series([1.0]), pd.Series(dtype=object), pd.Index(["zone"]), pd.Timestamp("2026-06-01", tz="UTC"),
        slice(3), ..., NotImplemented, fr.Balances(), fr.Interval(above=1), fr.Factor("zone"), FACTORS,
        [FACTORS[0]] * 2, {"zone": 1}, {1: "zone"}, {"a": {"b": 1}}, _nested(), memoryview(b"abc"),
        Exception("an error"), "zone", ["zone"], ["zone", "zone"], 1, 2.5, "2026-06-01", -1, 10**5, 0.5, False,
    ]  # fmt: skip
    return [*NUMBERS, *TEXTS, *TIMES, *OTHERS, *own]


Call = tuple[Callable[..., Any], dict[str, Any]]


@cache
def _fixed() -> dict[str, Call]:
    """Return calls that write no file, with valid arguments."""
    book = book_of(400)
    orders = draw_orders(40, 3)
    claims = orders[["order_id"]].iloc[:9].assign(freight=8.0, report_date=pd.Timestamp("2026-07-09"))
    tariff, limited = tariffs()["full"], tariffs()["limited"]
    lag = fr.ReportLag.fit(book)
    frequency = fr.FrequencyModel(["channel"]).fit(book)
    severity = fr.SeverityModel(["zone"]).fit(book)
    pooled = fr.FrequencyModel([fr.Credibility("zone")]).fit(book)
    larger = fr.FrequencyModel(["channel", "zone"]).fit(book)
    merchants = orders["merchant_id"].to_numpy()
    of_book = np.resize(merchants, book.n_orders)
    quotes = tariff.price(orders, campaigns=True)
    cells = pd.DataFrame({"zone": ["near", "far"], "claims": [3, 5], "paid": [24.0, 50.0], "insured": [10.0, 20.0]})
    periods = fr.credibility.merchant_periods(book, frequency, of_book)
    panel = pd.DataFrame({"group": list("aaaabbbb"), "risk": list("ppqqrrss"), "value": np.arange(1.0, 9.0), "w": 2.0})
    controls = pd.DataFrame({"merchant_id": list("aabbccdd"), "treated": [True] * 4 + [False] * 4,
                             "after": [False, True] * 4, "events": [4, 3, 5, 3, 4, 5, 6, 5], "trials": 20})  # fmt: skip
    audits = pd.DataFrame({"zone": ["city", "far"], "audited": [90, 60], "fraud": [2, 4], "w": [5.0, 9.0]})
    by_level = fr.ByLevel("zone", {"city": 0.5}, default=0.7)
    history = pd.DataFrame(
        {"merchant_id": ["m1", "m2"], "date": pd.Timestamp("2026-05-20"), "experience_score": [4.0, 4.9]}
    )
    fees = pd.DataFrame(
        {"zone": ["city", "near", "far"], "first_fee": [6.0, 8.0, 12.5], "step_fee": [1.0, 2.0, 6.0]}
    ).assign(first_weight_g=1000, step_weight_g=1000)
    schedule = fr.FreightSchedule(fees)
    score = book.codings["score"]
    curve = fr.ScoreCurve(score, np.linspace(1.3, 0.7, score.n_slots), np.ones(score.n_slots), version="2026")
    lines = pd.DataFrame({"n_lines": [1, 2, 3], "none": [90, 70, 60], "partial": [0, 20, 30], "complete": [10, 10, 10]})
    response = pd.DataFrame(
        {"segment": ["a", "a", "b", "b"], "subsidy_fen": [0, 10, 0, 10], "take_up": [0.2, 0.4, 0.3, 0.4]}
    )
    segment = np.resize(np.array(["a", "b"]), len(quotes))
    offers = fr.campaigns.subsidy_offers(quotes, segment, response)
    order = orders.iloc[0].to_dict()
    settled = fr.Settlement.of(tariff, orders, quotes)
    coded = tariff.encode(orders)
    grams = np.resize([500, 1500, 3000], book.n_orders)
    spending = {"spent": {"s": 3}, "spent_by_merchant": {"s": {("m1", "2026-06-01"): 3}}, "remainders": {"m1": 5}}
    counted = {"cells": cells, "claims": "claims", "amount": "paid", "exposure": "insured", "factors": [FACTORS[1]]}
    placed = {"coding": score, "relativity": curve.relativity, "weight": curve.weight, "version": "1"}
    calls: dict[str, Call] = {
        "Factor": (fr.Factor, {"name": "zone"}),
        "Band": (fr.Band, {"name": "w", "edges": [1.0, 2.0]}),
        "Hierarchy": (fr.Hierarchy, {"name": "c", "columns": ["industry", "leaf"]}),
        "Interval": (fr.Interval, {"above": 1.0, "at_most": 2.0}),
        "Subsidy": (
            fr.Subsidy,
            {"name": "s", "payer": "a", "fixed_fen": 3, "where": {"x": ["y"]}, "merchant_cap_fen": 3, "period": "day"},
        ),
        "Subsidy, percent": (fr.Subsidy, {"name": "s", "payer": "a", "percent_of_list": 0.2, "start": "2026-06-18"}),
        "Cover": (fr.Cover, {"max_claims": 2, "limit": 20.0}),
        "Loadings": (fr.Loadings, {"channel": 0.1}),
        "Loadings, by level": (fr.Loadings, {"fraud_load": by_level, "filed_factor": by_level, "moral_hazard": 0.1}),
        "ByLevel": (fr.ByLevel, {"factor": "zone", "values": {"city": 6.0}}),
        "Balances": (fr.Balances, spending),
        "Credibility": (fr.Credibility, {"name": "zone"}),
        "Free": (fr.Free, {"name": "zone"}),
        "Given": (fr.Given, {"name": "zone", "relativities": {"city": 1.2}}),
        "Interaction": (fr.Interaction, {"first": "zone", "second": "channel"}),
        "Smooth": (fr.Smooth, {"name": "score"}),
        "FrequencyModel": (fr.FrequencyModel, {"factors": ["channel"]}),
        "SeverityModel": (fr.SeverityModel, {"factors": ["channel"]}),
        "PurePremiumModel": (fr.PurePremiumModel, {"factors": ["channel"]}),
        "FrequencyModel.fit": (fr.FrequencyModel(["channel"]).fit, {"book": book}),
        "SeverityModel.fit": (fr.SeverityModel(["zone"]).fit, {"book": book}),
        "Solver": (fr.Solver, {"threads": 1}),
        "PurePremiumModel.fit": (fr.PurePremiumModel(["zone"]).fit, {"book": book}),
        "from_frames": (fr.OrderBook.from_frames, {"orders": orders, "claims": claims, "factors": [fr.Factor("zone")]}),
        "from_counts": (fr.OrderBook.from_counts, counted),
        "align": (book.align, {"values": of_book}),
        "mature": (book.mature, {"min_age_days": 5}),
        "select": (book.select, {"rows": np.ones(book.n_orders, dtype=bool)}),
        "aged_from_receipt": (book.aged_from_receipt, {"received": np.full(book.n_orders, book.as_of)}),
        "ReportLag.fit": (fr.ReportLag.fit, {"book": book}),
        "shifted": (lag.shifted, {"days": -4, "where": {"zone": ["near"]}}),
        "truncated": (lag.truncated, {"hours": 48, "transit_days": 3, "where": {"zone": ["near"]}}),
        "with_segment": (lag.with_segment, {"where": {"zone": ["near"]}, "lag": lag}),
        "at_most_one_claim": (fr.lines.at_most_one_claim, {"book": book}),
        "predict": (frequency.predict, {"orders": book}),
        "predict of a frame": (frequency.predict, {"orders": orders, "std_errors": True, "exposure": 1.0}),
        "rates": (frequency.rates, {"book": book}),
        "evaluate": (frequency.evaluate, {"book": book}),
        "cross_validate": (fr.cross_validate, {"model": fr.FrequencyModel([]), "book": book, "by": 2}),
        "expected_claims of a model": (frequency.expected_claims, {"book": book}),
        "credibility": (pooled.credibility, {"factor": "zone"}),
        "buhlmann": (fr.credibility.buhlmann, {"frame": panel, "risk": "group", "value": "value"}),
        "buhlmann_straub": (
            fr.credibility.buhlmann_straub,
            {"frame": panel, "risk": "group", "value": "value", "weight": "w"},
        ),
        "jewell": (fr.credibility.jewell, {"frame": panel, "path": ["group", "risk"], "value": "value", "weight": "w"}),
        "fraud_loads": (fr.credibility.fraud_loads, {"audits": audits, "by": "zone", "weight": "w"}),
        "FraudLoads.by_level": (fr.credibility.fraud_loads(audits, by="zone").by_level, {"default": 0.0}),
        "moral_hazard_table": (
            fr.reports.moral_hazard_table,
            {"tariff": tariff, "orders": orders, "values": [0.1], "threads": 1},
        ),
        "merchant_experience": (fr.merchant_experience, {"periods": periods, "min_units": 1}),
        "merchant_periods": (fr.credibility.merchant_periods, {"book": book, "fitted": frequency, "merchant": of_book}),
        "expected_claims": (fr.shapes.expected_claims, {"intensity": np.array([0.1, 0.2]), "max_claims": 2}),
        "expected_line_claims": (
            fr.lines.expected_line_claims,
            {"lines": [1, 2], "probability": 0.1, "correlation": 0.2, "max_claims": 2},
        ),
        "fit_line_returns": (fr.lines.fit_line_returns, {"orders": lines}),
        "likelihood_ratio_test": (fr.inference.likelihood_ratio_test, {"smaller": frequency, "larger": larger}),
        "wald_tests": (fr.inference.wald_tests, {"fitted": frequency}),
        "actual_vs_expected": (fr.actual_vs_expected, {"actual": [1.0, 0.0], "expected": [0.5, 0.4]}),
        "subsidy_offers": (fr.campaigns.subsidy_offers, {"quotes": quotes, "segment": segment, "response": response}),
        "allocate": (fr.campaigns.allocate, {"offers": offers, "budget_fen": 100, "seconds": 5.0}),
        "load_campaigns": (fr.campaigns.load_campaigns, {"path": "nowhere.json"}),
        "load_tariff": (fr.load_tariff, {"path": "nowhere.json"}),
        "load_model": (fr.load_model, {"path": "nowhere.json"}),
        "open_book": (fr.open_book, {"folder": "nowhere"}),
        "Tariff.build": (fr.Tariff.build, {"frequency": frequency, "severity": severity}),
        "price": (tariff.price, {"orders": orders, "threads": 1}),
        "price, limits": (limited.price, {"orders": orders, "threads": 1, "balances": fr.Balances()}),
        "quote": (tariff.quote, {"order": order}),
        "explain": (tariff.explain, {"order": order}),
        "encode": (tariff.encode, {"orders": orders}),
        "with_off_balance": (tariffs()["rated"].with_off_balance, {"orders": orders}),
        "buffers": (tariff.buffers, {"n_orders": 3}),
        "price_columns": (tariff.price_columns, {"coded": coded, "threads": 1}),
        "with_subsidies": (tariff.with_subsidies, {"subsidies": []}),
        "Settlement": (fr.Settlement, {"payers": settled.payers, "accounts": settled.accounts}),
        "Settlement.of": (fr.Settlement.of, {"tariff": tariff, "orders": orders, "quotes": quotes}),
        "Settlement +": (settled.__add__, {"other": settled}),
        "rounding_report": (fr.reports.rounding_report, {"premium": [0.1, 0.2], "merchant": ["a", "b"]}),
        "gate_report": (
            fr.reports.gate_report,
            {"scores": [4.75, 4.85, 4.78], "claims": [1, 0, 0], "expected": [0.2, 0.3, 0.1]},
        ),
        "control_effect": (fr.programmes.control_effect, {"table": controls}),
        "compare": (fr.presets.compare, {"orders": orders, "offers": [tariff], "by": "zone", "threads": 1}),
        "presets.table": (fr.presets.table, {"name": "jd_2024"}),
        "negotiation_tool": (fr.presets.negotiation_tool, {"evidence": 0.3, "reach": 1.0}),
        "account_integrity": (fr.presets.account_integrity, {"effect": -0.1, "evidence": 0.5}),
        "taobao_seller": (
            fr.presets.taobao_seller,
            {
                "frequency": frequency,
                "severity": severity,
                "first_weight_fee": None,
                "double_11": {"zone": ["far"]},
                "discounts_618": {"new": 0.1},
                "dates_618": ("2024-06-01", "2024-06-20"),
                "columns": {"segment": "kind"},
            },
        ),
        "return_treasure": (
            fr.presets.return_treasure,
            {"frequency": frequency, "severity": severity, "first_weight_fee": None, "saving": 0.2},
        ),
        "buyer_protection_1688": (
            fr.presets.buyer_protection_1688,
            {
                "frequency": frequency,
                "severity": severity,
                "large_order": 1e3,
                "big_purchase": 5e3,
                "joined": ["m1"],
                "events": {"refund only": (0.01, 0.3), "late delivery": (0.01, 5.0)},
                "monthly_refunds": {"high": 5.0},
                "backstop": True,
                "reading": "S3-6",
            },
        ),
        "jd_2024": (
            fr.presets.jd_2024,
            {
                "frequency": frequency,
                "severity": severity,
                "large_goods": ["sofa"],
                "light_cheap": (20.0, 0.5),
                "merge_share": 0.7,
                "packaging": 0.5,
                "return_damage": (0.001, 0.3),
                "childrens_goods": ["toys"],
            },
        ),
        "lagged_scores": (fr.credibility.lagged_scores, {"orders": orders, "history": history}),
        "limited_expected_value": (
            fr.shapes.limited_expected_value,
            {"mean": [5.0], "limit": [8.0], "dispersion": 0.5},
        ),
        "ScaleShape": (fr.shapes.ScaleShape, {"dispersion": 0.5}),
        "EmpiricalShape": (fr.shapes.EmpiricalShape, {"ratios": np.linspace(0.5, 1.5, 30)}),
        "EmpiricalShape.fit": (fr.shapes.EmpiricalShape.fit, {"severity": severity, "book": book}),
        "ParetoTail": (fr.shapes.ParetoTail, {"body": fr.shapes.ScaleShape(0.5), "threshold": 2.0, "index": 3.0}),
        "ParetoTail.fit": (fr.shapes.ParetoTail.fit, {"severity": severity, "book": book, "share": 0.4}),
        "FreightSchedule": (fr.FreightSchedule, {"fees": fees}),
        "freight": (schedule.freight, {"zone": ["city"], "weight_g": [1500]}),
        "ScheduleSeverity": (fr.ScheduleSeverity, {"schedule": schedule, "zone": "zone"}),
        "ScheduleSeverity.fit": (fr.ScheduleSeverity(schedule, zone="zone").fit, {"book": book, "weight_g": grams}),
        "ScoreCurve": (fr.ScoreCurve, placed),
        "ExperienceRating": (fr.ExperienceRating, {"curves": [curve], "mods": {"m1": 0.7}, "version": "1"}),
        "simulate_book": (fr.simulate_book, {"n_orders": 50, "n_merchants": 3}),
        "left": (fr.Balances().left, {"rule": fr.Subsidy("s", "platform", fixed_fen=1, budget_fen=5)}),
        "remainder_of": (fr.Balances().remainder_of, {"merchant": "m1"}),
    }
    return calls


@contextmanager
def _writers(folder: Path) -> Iterator[dict[str, Call]]:
    """Give calls that write into a folder, with valid arguments."""
    tariff = tariffs()["limited"]
    orders = draw_orders(20, 3)
    orders.to_parquet(folder / "orders.parquet")
    claims = orders[["order_id"]].iloc[:5].assign(freight=8.0, report_date=pd.Timestamp("2026-07-09"))
    quotes = tariff.price(orders, campaigns=True)
    settled = fr.Settlement.of(tariff, orders, quotes)
    stored = {"folder": folder / "book", "orders": folder / "orders.parquet", "claims": claims, "factors": [FACTORS[1]]}
    with fr.Ledger(folder / "ledger.db") as ledger:
        ledger.price(tariff, orders, batch="first", threads=1)
        yield {
            "price_parquet": (
                fr.price_parquet,
                {"tariff": tariff, "orders": folder / "orders.parquet", "out": folder / "q.parquet", "threads": 1},
            ),
            "store_book": (fr.store_book, stored),
            "Tariff.save": (tariff.save, {"path": folder / "tariff.json"}),
            "FittedModel.save": (models()["free"].save, {"path": folder / "model.json"}),
            "save_campaigns": (
                fr.campaigns.save_campaigns,
                {"subsidies": tariff.subsidies, "path": folder / "campaigns.json"},
            ),
            "Settlement.save": (settled.save, {"folder": folder}),
            "Ledger": (fr.Ledger, {"where": folder / "ledger.db"}),
            "Ledger.price": (ledger.price, {"tariff": tariff, "orders": orders, "batch": "second", "threads": 1}),
            "Ledger.confirm": (ledger.confirm, {"batch": "first"}),
            "Ledger.release": (ledger.release, {"batch": "first"}),
            "Ledger.reverse": (ledger.reverse, {"order_ids": ["1"]}),
            "Ledger.amend": (ledger.amend, {"tariff": tariff}),
        }


WRITING = 0.13  # share of the cases
COLUMNS = ("order_id", "merchant_id", "ship_date", "priority", "date_format")
TERMS = ("shape", "loadings", "experience", "rounding", "dither_key", "clock")


def _names(call: Callable[..., Any], given: Mapping[str, Any]) -> list[str]:
    """Return the names of all arguments of a call; for ``**columns`` and ``**terms``, the names of these."""
    found = []
    for name, parameter in inspect.signature(call).parameters.items():
        rest = TERMS if name == "terms" else COLUMNS
        found += rest if parameter.kind is parameter.VAR_KEYWORD else [name]
    return [*found, *found, *given]


def _changed(call: Call, rng: random.Random) -> dict[str, Any]:
    """Return the arguments of a call, one or two of them odd."""
    _, given = call
    values = odd_values()
    odd: dict[str, Any] = {}
    for name in rng.sample(_names(*call), rng.choice((1, 1, 1, 2))):
        value = rng.choice(values)
        if rng.random() < 0.15 and name in given:  # the valid argument, inside a container
            sound = given[name]
            value = rng.choice(([sound], {"zone": sound}, (sound, sound)))
        odd[name] = value
    return {**given, **odd}


def case(seed: int) -> str:
    """Return the outcome for the call of a seed; raises `FaultError`, or any error that the library must not raise."""
    rng = random.Random(seed)
    writes = rng.random() < WRITING
    # Odd texts are also used as file names, and a name without a folder is written to the working folder.
    with tempfile.TemporaryDirectory() as folder, chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of numpy and pandas about odd values are not under test
        with _writers(Path(folder)) if writes else nullcontext(_fixed()) as calls:
            name = rng.choice(sorted(calls))
            function, _ = calls[name]
            try:
                function(**_changed(calls[name], rng))
            except fr.FreightRiskError as error:
                check_message(error)
                return f"{name} refused"
            except (
                MemoryError
            ):  # numpy names the size that was asked for; only buffers are made of a size that is given
                if name != "buffers":
                    raise
                return f"{name} refused"
        return f"{name} done"
