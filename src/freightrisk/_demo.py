"""The demonstration: simulate a book, fit it as of a date, price every order, and check on later orders."""

import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from freightrisk import _check, _text
from freightrisk._config import Fitted, book_of, fit_models, parse_plan
from freightrisk._files import arrow_table, check_outputs, row_of, write_report, write_table
from freightrisk._progress import is_watched
from freightrisk._staged import staged
from freightrisk._text import show, show_at_the_end
from freightrisk.book.book import OrderBook
from freightrisk.datasets import SimulatedBook, simulate_book
from freightrisk.models.frequency import at_most_one_claim
from freightrisk.portfolio.validation import actual_vs_expected, equal_groups
from freightrisk.tariff.parts import document_of

if TYPE_CHECKING:
    import pandas as pd

DAYS = 730
FIT_DATE = date(2026, 7, 1)
MATURE_DAYS = 60  # at this age nearly all claims are reported: the mean lag is 11 days
FILES = {
    "tariff.json": "the tariff document",
    "quotes.parquet": "a row for each order: premium, list price, who pays each fen",
    "relativities.csv": "both models, every level, with standard errors",
    "calibration.csv": "actual over expected claims by decile of the held-out orders",
    "freightrisk.toml": "the configuration of the fit",
    "orders.parquet": "the input: orders",
    "claims.parquet": "the input: claims",
    "merchants.parquet": "the input: merchants",
}

Quotes = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Clock:
    """The seconds that each stage took."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time a stage."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start

    def lines(self) -> list[str]:
        """Return the stages and their sum as a table."""
        rows = {**self.seconds, "all stages": sum(self.seconds.values())}
        return _text.aligned([[stage, f"{seconds:.2f} s"] for stage, seconds in rows.items()])


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Orders shipped after the fit's valuation date, one row each: actual and expected claims and payouts.

    Payouts are in yuan; `merchant` holds merchant ids; `list_fen` is the total list price in fen.
    """

    first: np.datetime64
    last: np.datetime64
    merchant: NDArray[np.int64]
    claims: NDArray[np.float64]
    expected_claims: NDArray[np.float64]
    paid: NDArray[np.float64]
    expected_paid: NDArray[np.float64]
    list_fen: int

    def merchant_error(self, actual: NDArray[Any], expected: NDArray[Any], rows: Any = slice(None)) -> float:
        """Return the standard error of A/E if merchants are independent and claims of one merchant are not."""
        # Residuals are added up by merchant before they are squared: a cluster-robust variance of the total.
        residual = np.bincount(self.merchant[rows], (actual - expected)[rows])
        return float(np.sqrt((residual**2).sum()) / expected[rows].sum())

    @cached_property
    def calibration(self) -> "pd.DataFrame":
        """Return actual over expected claims by decile of expected claims, with a second standard error by merchant."""
        decile = equal_groups(self.expected_claims, np.ones(len(self.claims)), 10)
        table = actual_vs_expected(self.claims, self.expected_claims, by=decile)
        table["std_error_by_merchant"] = [
            self.merchant_error(self.claims, self.expected_claims, decile == group) for group in table["group"]
        ]
        return table


def run_demo(n_orders: int, *, seed: int, out: Path, threads: int | None, then: Callable[[], None]) -> None:
    """Simulate, fit as of a date, price every order and check on later orders; show each stage, write files at the end.

    `then` is called once the files are in place.
    """
    files = {name: out / name for name in FILES}
    check_outputs([*files.values()], inputs=[], may_make_folder=True)
    _check.whole(n_orders, argument="--orders", low=1_000, high=10**8)
    threads, clock = _check.threads(threads), Clock()
    config = CONFIG.format(as_of=FIT_DATE, min_age_days=MATURE_DAYS)
    plan = parse_plan(config, source="demo", folder=out)

    show(_text.heading("1. Simulate"))
    with clock("simulate"):
        book = simulate_book(n_orders, seed=seed, n_days=DAYS)
        claims = book.claims[book.claims["report_date"] <= book.as_of].reset_index(drop=True)
    show(_simulated_lines(book, claims, seed))

    show(_text.heading(f"2. Fit on the claims known on {FIT_DATE}"))
    with clock("code the book"):
        known = book_of(plan, book.orders, claims, book.merchants, FIT_DATE)
    with clock("fit frequency and severity"):
        fitted = fit_models(plan, known, threads)
    show([*_text.fit_lines(plan, known, fitted), *_text.heading("3. Relativities")])
    show(_text.relativity_lines(fitted.frequency, fitted.severity))

    show(_text.heading(f"4. Price all {n_orders:,} orders"))
    show(["quotes are given when orders are placed, so cancelled orders have quotes too"])
    with clock("code the orders"):
        coded = fitted.tariff.encode(book.orders, merchants=book.merchants)
    with clock("price"):
        quotes = fitted.tariff.price_columns(coded, threads=threads, progress=is_watched())
    show(_text.quote_lines(fitted.tariff, quotes))

    order = _telling_order(book, quotes, fitted.tariff.payers)
    show(_text.heading(f"5. Worksheet of order {order['order_id']}"))
    fitted.tariff.explain(order)

    show(_text.heading(f"6. Check on orders shipped after {FIT_DATE}, which the fit has not seen"))
    with clock("check on later orders"):
        held_out = _held_out(book, claims, quotes, limit=plan.cover.flat_limit)
    show(_held_out_lines(held_out))

    # Everything is computed before anything is written, so that a failure leaves no files.
    with clock("write the files"), staged(files.values(), then=then) as parts:
        _write(dict(zip(FILES, parts, strict=True)), config, fitted, held_out, book, claims, quotes)
    written = [*_text.heading(f"Written to {out}"), *_next_lines(out, order["order_id"])]
    show_at_the_end([*_text.heading("Time"), *clock.lines(), *written])


def _simulated_lines(book: SimulatedBook, claims: "pd.DataFrame", seed: int) -> list[str]:
    ordered, cancelled = book.orders["order_date"], int(book.orders["ship_date"].isna().sum())
    return [
        f"synthetic book, seed {seed}: {len(book.orders):,} orders by {len(book.merchants):,} merchants,",
        f"ordered {ordered.min().date()} to {ordered.max().date()}, {cancelled:,} cancelled before shipment;",
        f"{len(claims):,} claims reported by {book.as_of.date()}, mean freight {claims['freight'].mean():.2f} yuan",
    ]


def _telling_order(book: SimulatedBook, quotes: Quotes, payers: Sequence[str]) -> dict[str, Any]:
    """Return the first of the orders with the most payers, with its merchant's columns."""
    paying = np.sum([quotes[f"{payer}_fen"] > 0 for payer in ("merchant", *payers)], axis=0)
    order = row_of(arrow_table(book.orders.iloc[[int(np.argmax(paying))]]), 0)
    chosen = book.merchants["merchant_id"] == order["merchant_id"]
    merchant = row_of(arrow_table(book.merchants[chosen]), 0)
    return merchant | order


def _held_out(book: SimulatedBook, claims: "pd.DataFrame", quotes: Quotes, *, limit: float) -> HeldOut:
    in_force = OrderBook.from_frames(book.orders, claims, factors=(), as_of=book.as_of)
    # Orders younger than MATURE_DAYS are left out, because some of their claims are not reported yet.
    later = (in_force.age_days >= MATURE_DAYS) & (in_force.age_days < (book.as_of.date() - FIT_DATE).days)
    seen = in_force.select(later)
    rows = np.flatnonzero((book.orders["ship_date"] <= book.as_of).to_numpy())[later]
    covered = at_most_one_claim(seen)
    paid = np.bincount(covered.claim_row, np.minimum(covered.claim_amount, limit), minlength=len(rows))
    return HeldOut(
        first=np.datetime64(FIT_DATE, "D") + np.timedelta64(1, "D"),
        last=np.datetime64(book.as_of, "D") + np.timedelta64(-MATURE_DAYS, "D"),
        merchant=book.orders["merchant_id"].to_numpy()[rows],
        claims=seen.counts.astype(np.float64),
        expected_claims=quotes["claim_intensity"][rows],
        paid=paid.astype(np.float64, copy=False),
        expected_paid=quotes["pure_premium"][rows],
        list_fen=int(quotes["list_fen"][rows].sum(dtype=np.int64)),
    )


def _held_out_lines(held_out: HeldOut) -> list[str]:
    paid, expected = float(held_out.paid.sum()), float(held_out.expected_paid.sum())
    rows = [
        ["payouts of the cover, yuan", f"{paid:,.2f}"],
        ["expected payouts, yuan", f"{expected:,.2f}"],
        ["A/E", f"{paid / expected:.3f}"],
        ["std error", f"{np.sqrt((held_out.paid**2).sum()) / expected:.3f}"],
        ["by merchant", f"{held_out.merchant_error(held_out.paid, held_out.expected_paid):.3f}"],
        ["list price, yuan", _text.yuan(held_out.list_fen)],
        ["loss ratio", _text.percent(100 * paid / held_out.list_fen)],
    ]
    total_error = held_out.merchant_error(held_out.claims, held_out.expected_claims)
    return [
        f"shipped {held_out.first} to {held_out.last}, so {MATURE_DAYS} days old or more when valued;",
        "claims by decile of the claim intensity that was priced:",
        "",
        *_text.calibration_lines(held_out.calibration, total_error),
        "",
        *_text.aligned(rows),
        "",
        "std error: of A/E if claims were independent. by merchant: of A/E if only merchants are, because",
        "this tariff does not rate the deviation of each merchant.",
    ]


def _write(
    paths: Mapping[str, Path],
    config: str,
    fitted: Fitted,
    held_out: HeldOut,
    book: SimulatedBook,
    claims: "pd.DataFrame",
    quotes: Quotes,
) -> None:
    paths["tariff.json"].write_bytes(document_of(fitted.tariff))
    write_report(fitted.relativities, paths["relativities.csv"])
    write_report(held_out.calibration, paths["calibration.csv"])
    paths["freightrisk.toml"].write_text(config, encoding="utf-8")
    for name, frame in {"orders": book.orders, "claims": claims, "merchants": book.merchants}.items():
        write_table(arrow_table(frame), paths[f"{name}.parquet"])
    keyed = {"order_id": book.orders["order_id"].to_numpy(), **quotes}
    write_table(arrow_table(keyed), paths["quotes.parquet"])


def _next_lines(out: Path, order_id: Any) -> list[str]:
    here = {name: shlex.quote(str(out / name)) for name in FILES}
    frames = [f"      --orders {here['orders.parquet']} \\", f"      --merchants {here['merchants.parquet']}"]
    return [
        *(f"  {name:<18} {what}" for name, what in FILES.items()),
        "",
        "Next, on these files or on your own:",
        f"  freightrisk fit --config {here['freightrisk.toml']} --out tariff.json",
        f"  freightrisk price --tariff {here['tariff.json']} --out quotes.parquet \\",
        *frames,
        f"  freightrisk explain --tariff {here['tariff.json']} --order-id {order_id} \\",
        *frames,
    ]


CONFIG = """\
# Configuration of `freightrisk fit`. Paths are relative to this file; options of the command win over it.

name = "demo return-freight cover"
as_of = {as_of}        # valuation date: claims reported later are not known yet
floor_fen = 1             # least that a merchant pays an order: 0.01 yuan

[data]
orders = "orders.parquet"
claims = "claims.parquet"
merchants = "merchants.parquet"

[columns]                 # these names are the defaults
order_id = "order_id"
merchant_id = "merchant_id"
ship_date = "ship_date"
report_date = "report_date"
freight = "freight"

[[factors]]
kind = "hierarchy"
name = "category_path"
columns = ["industry", "category", "leaf"]
unseen = "parent"         # an unseen leaf takes the mean of its category
min_claims = 20           # leaves with fewer claims are pooled as "(other)" of their category

[[factors]]
kind = "factor"
name = "channel"
unseen = "parent"
min_claims = 20

[[factors]]
kind = "factor"
name = "campaign"
unseen = "parent"
min_claims = 20

[[factors]]
kind = "factor"
name = "zone"
unseen = "parent"
min_claims = 20

[[factors]]
kind = "band"
name = "price"            # yuan; bands are closed on the right
edges = [20, 50, 100, 200, 500, 1000]
min_claims = 20

[[factors]]
kind = "band"
name = "weight_kg"
edges = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
min_claims = 20

[[factors]]
kind = "band"
name = "experience_score"
edges = [3.5, 4.0, 4.3, 4.5, 4.6, 4.7, 4.8, 4.9]
valid = [1, 5]
min_claims = 20

[frequency]
family = "poisson"        # or "bernoulli": of several claims of an order the first counts
# A name is a relativity for each level; {{ effect = "credibility", name = "category_path" }} shrinks thin ones.
factors = ["category_path", "channel", "campaign", "zone", "price", "weight_kg", "experience_score"]
min_age_days = {min_age_days}         # younger orders have not reported all of their claims

[severity]
family = "gamma"
factors = ["zone", "weight_kg"]

[cover]
max_claims = 1            # one claim an order; "all" for every claim
limit = 25.0              # yuan a claim

[loadings]
fraud_load = 0.01         # of expected payouts
claim_handling = 0.30     # yuan an expected claim
policy_cost = 0.0005      # yuan an order
channel = 0.15            # shares of the premium
levy = 0.01
profit = 0.02

# Rules apply in this order; no rule takes the merchant below the floor.
[[subsidies]]
name = "live-stream campaign"
payer = "platform"
percent_of_list = 0.20
cap_fen = 50
where = {{ channel = ["live_stream"], campaign = ["618", "double_11", "double_12"] }}

[[subsidies]]
name = "score above 4.8"
payer = "insurer"
percent_of_rest = 0.10
where = {{ experience_score = {{ above = 4.8 }} }}

[[subsidies]]
name = "new merchant"
payer = "platform"
fixed_fen = 10
where = {{ segment = ["new"] }}
start = 2026-01-01        # first day, by ship date; end = ... is the last

[[subsidies]]
name = "ten-billion to 1 fen"
payer = "platform"
price_to_fen = 1
where = {{ channel = ["ten_billion"], price = {{ at_most = 50 }} }}
"""
